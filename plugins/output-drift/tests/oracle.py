#!/usr/bin/env python3
"""Writes tests/cases: a classifier's probabilities and a model's scores, and what scipy.stats.chisquare and ks_2samp give.

The reference of the classes is so large that the test of two samples is the goodness of fit to 1e-6.

Run with NumPy 2.4.6 and SciPy 1.17.1 (PyPI): python3 plugins/output-drift/tests/oracle.py
With --check it makes the cases again and compares them with the recorded ones.
"""

import math
import pathlib
import sys

import numpy as np
from scipy import stats

sys.path.append(str(pathlib.Path(__file__).parents[3] / "crates" / "statistics" / "tests"))
import drift_cases  # noqa: E402

WINDOW = 200
SHARES = np.array([0.5, 0.3, 0.2])


def classes():
    rng = np.random.default_rng(6)
    counts = SHARES * 1e9
    drifted = False
    config = {"tensor": "probabilities", "holds": "classes", "fields": ["class"]}
    config |= {"window": WINDOW, "reference": "classes.json"}
    lines = [{"config": config, "assets": ["classes.json"], "tolerance": 1e-5}]
    for change in [0, 0.2, 0.2, 0]:
        truth = rng.choice(3, WINDOW, p=SHARES + [-change, 0, change])
        logits = rng.normal(size=(WINDOW, 3))
        logits[np.arange(WINDOW), truth] = logits.max(axis=1) + 0.5
        rows = drift_cases.rounded(np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True))
        now = np.bincount(rows.argmax(axis=1), minlength=3)
        value = float(stats.chisquare(now, SHARES * WINDOW).statistic)
        # A class that is expected less than 50 times: at most its binomial quantile. And a least drift of 0.05.
        held = stats.betabinom.ppf(0.999, WINDOW, 0.2e9 + 0.5, 0.8e9 + 0.5)
        rare = (held - 40) ** 2 / 40 + (held - 40) ** 2 / 160
        threshold = float(max(stats.chi2.ppf(0.999, 2), rare, 0.05 * WINDOW))
        found = []
        if (value > threshold) != drifted:
            drifted = value > threshold
            entry = {"kind": "drift", "subject": "class"} | drift_cases.episode(drifted)
            found.append(entry | {"value": value, "threshold": threshold})
        line = {"prediction": {"probabilities": drift_cases.written(rows)}}
        lines.append(line | ({"findings": found} if found else {}))
    field = {"categories": [0, 1, 2], "counts": counts.tolist()}
    return lines, [{"fields": {"class": field}}]


def scores():
    rng = np.random.default_rng(7)
    reference = rng.gamma(2, 1, 500).round(3)
    threshold = max(0.05, stats.kstwobign.ppf(0.999) * math.sqrt(1 / 500 + 1 / WINDOW))
    config = {"tensor": "score", "holds": "scores", "fields": ["score"], "window": WINDOW, "reference": "scores.json"}
    windows = [drift_cases.rounded(rng.gamma(2 + shift, 1, (WINDOW, 1))) for shift in [0, 1, 1, 0]]
    lines = drift_cases.lines(
        config, windows, lambda _, values: (stats.ks_2samp(reference, values).statistic, threshold)
    )
    lines[0]["assets"] = ["scores.json"]
    for line in lines[1:]:
        line["prediction"] = line.pop("features")
    return lines, [{"fields": {"score": {"values": reference.tolist()}}}]


def main():
    (classes_lines, classes_reference), (scores_lines, scores_reference) = classes(), scores()
    files = {"classes.jsonl": classes_lines, "classes.json": classes_reference}
    drift_cases.main(__file__, files | {"scores.jsonl": scores_lines, "scores.json": scores_reference})


if __name__ == "__main__":
    main()
