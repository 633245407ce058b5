#!/usr/bin/env python3
"""Writes tests/cases: windows of two fields, and what scipy.spatial.distance.jensenshannon gives for each.

Run with NumPy 2.4.6 and SciPy 1.17.1 (PyPI): python3 plugins/drift-js/tests/oracle.py
With --check it makes the cases again and compares them with the recorded ones.
"""

import math
import pathlib
import sys

import numpy as np
from scipy import stats
from scipy.spatial import distance

sys.path.append(str(pathlib.Path(__file__).parents[3] / "crates" / "statistics" / "tests"))
import drift_cases  # noqa: E402

WINDOW = 100
FIELDS = ["pressure", "flow"]


def windows(rng):
    for shift in [0, 0.6, 0.6, 0, 2]:
        columns = [rng.normal(3 + shift, 0.5, WINDOW), rng.exponential(2 + shift, WINDOW)]
        yield drift_cases.rounded(np.column_stack(columns))


def counted(edges, values):
    """Bins are closed on the left."""
    return np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(edges) + 1)


def main():
    rng = np.random.default_rng(5)
    training = np.column_stack([rng.normal(3, 0.5, 5000), rng.exponential(2, 5000)])
    edges = {name: np.quantile(v, np.arange(1, 10) / 10).round(6) for name, v in zip(FIELDS, training.T)}
    reference = {name: counted(edges[name], v) for name, v in zip(FIELDS, training.T)}
    quantile = stats.chi2.ppf(drift_cases.shared_confidence(2), 9) * (1 / 5000 + 1 / WINDOW)


    def judge(name, values):
        moved = distance.jensenshannon(reference[name] + 0.5, counted(edges[name], values) + 0.5, base=2)
        return moved, max(0.1, math.sqrt(quantile / (8 * math.log(2))))

    config = {"tensor": "features", "fields": FIELDS, "window": WINDOW, "reference": "reference.json"}
    fields = {name: {"edges": edges[name].tolist(), "counts": reference[name].tolist()} for name in FIELDS}
    files = {"windows.jsonl": drift_cases.lines(config, windows(rng), judge), "reference.json": [{"fields": fields}]}
    drift_cases.main(__file__, files)


if __name__ == "__main__":
    main()
