#!/usr/bin/env python3
"""Writes cases/*.jsonl: at which samples River's Page-Hinkley test alarms, and what its sums are then.

Run with NumPy 2.4 and River 0.26.1 installed: python3 plugins/page-hinkley/tests/oracle.py
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
    detector = drift.PageHinkley(**parameters)
    for value in values:
        detector.update(value)
        line = {"input": {}, "features": {"x": [[value]]}}
        if detector.drift_detected:
            rise = detector._sum_increase - detector._min_increase
            fall = detector._max_decrease - detector._sum_decrease
            statistic = {"up": rise, "down": fall}.get(parameters.get("mode"), max(rise, fall))
            line["findings"] = [
                {
                    "kind": "drift",
                    "subject": "value",
                    "severity": "alarm",
                    "phase": "once",
                    "value": statistic,
                    "threshold": parameters.get("threshold", 50.0),
                }
            ]
        yield line


def files():
    rng = np.random.default_rng(20261122)
    moved = np.concatenate([rng.normal(0, 1, 200), rng.normal(1, 1, 150), rng.normal(-1, 1, 150)])
    yield "defaults", {}, moved
    yield "down", {"mode": "down", "delta": 0.1, "threshold": 15.0, "min_instances": 50, "alpha": 0.999}, moved


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
