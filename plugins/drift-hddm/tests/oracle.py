#!/usr/bin/env python3
"""Writes cases/*.jsonl: at which samples River's HDDM-A and HDDM-W warn and alarm.

Run with NumPy 2.4 and River 0.26.1 installed: python3 plugins/drift-hddm/tests/oracle.py
With --check nothing is written: the cases are made again and compared with those that are there.
"""

import argparse
import json
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
            findings.append(("warning", "raised") if warns else ("info", "cleared"))
        if detector.drift_detected:
            findings.append(("alarm", "once"))
        if findings:
            line["findings"] = [
                {"kind": "drift", "subject": "value", "severity": severity, "phase": phase}
                for severity, phase in findings
            ]
        yield line


def files():
    rng = np.random.default_rng(20261122)
    errors = (rng.uniform(size=650) < np.repeat([0.1, 0.5, 0.05], [300, 200, 150])).astype(int)
    shares = np.round(np.clip(rng.normal(np.repeat([0.3, 0.7], 200), 0.2), 0, 1), 3)
    two = {"two_sided_test": True, "drift_confidence": 0.01, "warning_confidence": 0.1}
    ours = {"two_sided": True, "drift_confidence": 0.01, "warning_confidence": 0.1}
    yield "average", drift.binary.HDDMA, {}, {}, errors
    yield "average-shares", drift.binary.HDDMA, two, ours, shares
    yield "weighted", drift.binary.HDDMW, {}, {"variant": "w"}, errors
    yield "weighted-shares", drift.binary.HDDMW, two, ours | {"variant": "w"}, shares


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
