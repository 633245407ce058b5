#!/usr/bin/env python3
"""Writes oracle.json: what scikit-learn's StandardScaler gives for FP32 rows, as bits; and cases/scaler.jsonl from them.

Run with NumPy and scikit-learn installed: python3 plugins/standardize/tests/oracle.py
With --check nothing is written: the cases are made again and compared with those that are there.
"""

import argparse
import json
import pathlib

import numpy as np
from sklearn.preprocessing import StandardScaler

HERE = pathlib.Path(__file__).parent


def oracle():
    rng = np.random.default_rng(3)
    spread = np.array([1e-3, 1.0, 40.0, 1e6, 7.0])
    centre = np.array([0.2, -3.0, 1e3, 0.0, 1e-4])
    rows = (centre + spread * rng.normal(size=(40, 5))).astype(np.float32)
    scaler = StandardScaler().fit(rows.astype(np.float64))
    result = scaler.transform(rows)
    assert result.dtype == np.float32
    cases = {
        "mean": scaler.mean_.tolist(),
        "scale": scaler.scale_.tolist(),
        "input_bits": rows.ravel().view(np.uint32).tolist(),
        "output_bits": result.ravel().view(np.uint32).tolist(),
    }
    config = {"input": "x", "output": "y", "mean": cases["mean"], "scale": cases["scale"]}
    calls = [
        {"input": {"x": [row.tolist()]}, "output": {"y": [answer.tolist()]}}
        for row, answer in zip(rows, result, strict=True)
    ]
    return {"oracle.json": [cases], "cases/scaler.jsonl": [{"config": config, "tolerance": 0}, *calls]}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    for name, lines in oracle().items():
        text = "".join(json.dumps(line) + "\n" for line in lines)
        path = HERE / name
        if not check:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        elif path.read_text() != text:
            # Bit by bit: that is what the plugin is held to.
            raise SystemExit(f"{name} differs from what is made now")


if __name__ == "__main__":
    main()
