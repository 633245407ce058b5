#!/usr/bin/env python3
"""Writes oracle.json: what scikit-learn's StandardScaler gives for FP32 rows, as bits; and cases/scaler.jsonl from them.

Run with NumPy and scikit-learn installed: python3 plugins/standardize/tests/oracle.py
"""

import json
import pathlib

import numpy as np
from sklearn.preprocessing import StandardScaler

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
here = pathlib.Path(__file__).parent
(here / "oracle.json").write_text(json.dumps(cases) + "\n")

first = {"config": {"input": "x", "output": "y", "mean": cases["mean"], "scale": cases["scale"]}, "tolerance": 0}
calls = [
    {"input": {"x": [row.tolist()]}, "output": {"y": [answer.tolist()]}} for row, answer in zip(rows, result, strict=True)
]
(here / "cases").mkdir(exist_ok=True)
(here / "cases/scaler.jsonl").write_text("".join(json.dumps(line) + "\n" for line in [first, *calls]))
