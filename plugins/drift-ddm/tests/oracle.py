#!/usr/bin/env python3
"""Writes cases/*.jsonl: at which samples River's DDM warns and alarms, and at which rates.

Run with NumPy 2.4 and River 0.26.1 installed: python3 plugins/drift-ddm/tests/oracle.py
With --check nothing is written: the cases are made again and compared with those that are there.
"""

import argparse
import json
import math
import pathlib

import numpy as np
from river import drift

CASES = pathlib.Path(__file__).parent / "cases"


def lines(make, parameters, ours, values):
    """Which samples warn, alarm or say that a warning is over; every value from one to the other is in the zone."""
    config = {"tensor": "x", "datatype": "FP64", "fields": ["value"]} | ours
    yield {"config": config, "tolerance": 1e-9}
    detector, warns = make(**parameters), False
    for value in values:
        detector.update(value)
        line = {"input": {}, "output": {"x": [[value]]}}
        warned, warns = warns, detector.warning_detected and not detector.drift_detected
        findings = []
        if warned != warns:
            severity, phase = ("warning", "raised") if warns else ("info", "cleared")
            findings.append((severity, phase, "warning_threshold"))
        if detector.drift_detected:
            findings.append(("alarm", "once", "drift_threshold"))
        if findings:
            rate = detector._p.get()
            line["findings"] = [
                {
                    "kind": "drift",
                    "subject": "value",
                    "severity": severity,
                    "phase": phase,
                    "value": rate + math.sqrt(rate * (1 - rate) / detector._p.n),
                    "threshold": detector._p_min + detector._s_min * getattr(detector, deviations),
                }
                for severity, phase, deviations in findings
            ]
        yield line


def files():
    rng = np.random.default_rng(20261122)
    errors = (rng.uniform(size=900) < np.repeat([0.15, 0.4, 0.1], [400, 300, 200])).astype(int)
    late = {"warm_start": 100, "warning_threshold": 1.5, "drift_threshold": 2.5}
    yield "defaults", drift.binary.DDM, {}, {}, errors
    yield "late", drift.binary.DDM, late, late, errors


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    for name, make, parameters, ours, values in files():
        text = "".join(json.dumps(line) + "\n" for line in lines(make, parameters, ours, values.tolist()))
        path = CASES / f"{name}.jsonl"
        if not check:
            path.write_text(text)
        elif path.read_text() != text:
            raise SystemExit(f"{path.name} differs from what is made now")


if __name__ == "__main__":
    main()
