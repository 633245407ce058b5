#!/usr/bin/env python3
"""Writes cases/*.jsonl: at which samples River's ADWIN alarms, and what its window's mean is then.

Run with NumPy 2.4 and River 0.26.1 installed: python3 plugins/drift-adwin/tests/oracle.py
With --check nothing is written: the cases are made again and compared with those that are there.
"""

import argparse
import json
import pathlib

import numpy as np
from river import drift

CASES = pathlib.Path(__file__).parent / "cases"


def lines(parameters, values):
    config = {"tensor": "x", "datatype": "FP64", "fields": ["value"]} | parameters
    yield {"config": config, "tolerance": 1e-9}
    detector = drift.ADWIN(**parameters)
    for value in values:
        width, total = detector.width, detector.total
        if detector.drift_detected:
            width, total = 0, 0.0
        detector.update(value)
        line = {"input": {}, "features": {"x": [[value]]}}
        if detector.drift_detected:
            dropped = width + 1 - detector.width
            before = (total + value - detector.total) / dropped
            line["findings"] = [
                {
                    "kind": "drift",
                    "subject": "value",
                    "severity": "alarm",
                    "phase": "once",
                    "value": detector.estimation - before,
                    "threshold": None,
                }
            ]
        yield line


def files():
    rng = np.random.default_rng(20261122)
    moved = np.concatenate([rng.uniform(0, 0.5, 200), rng.uniform(0.3, 1, 200), rng.uniform(0, 0.4, 150)])
    yield "defaults", {}, moved
    yield "every-sample", {"delta": 0.05, "clock": 1, "max_buckets": 3}, moved


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    for name, parameters, values in files():
        values = np.round(values, 3).tolist()
        text = "".join(json.dumps(line) + "\n" for line in lines(parameters, values))
        path = CASES / f"{name}.jsonl"
        if not check:
            path.write_text(text)
        elif path.read_text() != text:
            raise SystemExit(f"{path.name} differs from what is made now")


if __name__ == "__main__":
    main()
