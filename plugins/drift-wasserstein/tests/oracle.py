#!/usr/bin/env python3
"""Writes tests/cases: windows of two fields, and what scipy.stats.wasserstein_distance gives for each.

Run with NumPy 2.4.6 and SciPy 1.17.1 (PyPI): python3 plugins/drift-wasserstein/tests/oracle.py
With --check it makes the cases again and compares them with the recorded ones.
"""

import math
import pathlib
import sys

import numpy as np
from scipy import stats

sys.path.append(str(pathlib.Path(__file__).parents[3] / "crates" / "statistics" / "tests"))
import drift_cases  # noqa: E402

REFERENCE, WINDOW = 400, 500
FIELDS = ["pressure", "flow"]


def windows(rng, sizes):
    for shift in [0, 0.6, 0.6, 0, 2]:
        columns = [rng.normal(3 + shift, 0.5, sizes), rng.exponential(2 + shift, sizes)]
        yield drift_cases.rounded(np.column_stack(columns))


def main():
    rng = np.random.default_rng(5)
    training = np.column_stack([rng.normal(3, 0.5, REFERENCE), rng.exponential(2, REFERENCE)])
    # Rounded to what windows have: some values repeat.
    reference = {name: values.round(3) for name, values in zip(FIELDS, training.T)}
    confidence = drift_cases.shared_confidence(2)

    z = stats.norm.isf((1 - confidence) / 2)

    def judge(name, values):
        skewness = abs(stats.skew(reference[name]))
        noise = (z + 0.1) * math.sqrt(1 / REFERENCE + 1 / WINDOW)
        noise += skewness * (z * z - 1) * abs(1 / WINDOW - 1 / REFERENCE) / 6
        distance = stats.wasserstein_distance(reference[name], values) / np.std(reference[name])
        return distance, max(0.1, noise)

    config = {"tensor": "features", "fields": FIELDS, "window": WINDOW, "reference": "reference.json"}
    fields = {name: {"values": values.tolist()} for name, values in reference.items()}
    made = drift_cases.lines(config, windows(rng, WINDOW), judge)
    drift_cases.main(__file__, {"windows.jsonl": made, "reference.json": [{"fields": fields}]})


if __name__ == "__main__":
    main()
