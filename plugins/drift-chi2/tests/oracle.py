#!/usr/bin/env python3
"""Writes tests/cases: windows of two fields, and what scipy.stats.chi2_contingency gives for each.

Run with NumPy 2.4.6 and SciPy 1.17.1 (PyPI): python3 plugins/drift-chi2/tests/oracle.py
With --check it makes the cases again and compares them with the recorded ones.
"""

import pathlib
import sys

import numpy as np
from scipy import stats

sys.path.append(str(pathlib.Path(__file__).parents[3] / "crates" / "statistics" / "tests"))
import drift_cases  # noqa: E402

WINDOW = 200
FIELDS = ["mode", "code"]
CATEGORIES = {"mode": [0, 1, 2], "code": [10, 20, 30, 40]}
SHARES = {"mode": [0.5, 0.3, 0.2], "code": [0.4, 0.3, 0.2, 0.1]}
REFERENCE = 2000


def windows(rng):
    # Of the field `mode` the share of the first category falls; of `code` a new category comes up at the end.
    for change, new in [(0, 0), (0.3, 0), (0.3, 0), (0, 0), (0, 40)]:
        mode = rng.choice(CATEGORIES["mode"], WINDOW, p=[0.5 - change, 0.3 + change, 0.2])
        code = rng.choice(CATEGORIES["code"], WINDOW, p=SHARES["code"])
        code[:new] = 99
        yield np.column_stack([mode, code]).astype(np.int32)


def main():
    rng = np.random.default_rng(5)
    reference = {name: rng.multinomial(REFERENCE, SHARES[name]) for name in FIELDS}
    confidence = drift_cases.shared_confidence(2)

    def rare(count, total):
        """The statistic where a cell holds as many as noise puts there at most."""
        held = stats.betabinom.ppf(confidence, WINDOW, count + 0.5, total - count + 0.5)
        return statistic(np.array([count, total - count]), np.array([held, WINDOW - held])) * (1 + 1e-9)

    def statistic(before, now):
        there = before + now > 0
        table = np.array([before[there], now[there]])
        return 0.0 if table.shape[1] < 2 else float(stats.chi2_contingency(table, correction=False).statistic)

    def judge(name, values):
        counts = np.append(reference[name], 0)
        now = np.array([(values == category).sum() for category in CATEGORIES[name]])
        now = np.append(now, WINDOW - now.sum())
        noise = stats.chi2.ppf(confidence, len(CATEGORIES[name]) - 1)
        total = counts.sum()
        for count in counts:
            if count * WINDOW < 50 * total and 2 * count <= total:
                noise = max(noise, rare(count, total))
        return statistic(counts, now), max(0.05 * total * WINDOW / (total + WINDOW), noise)

    config = {"tensor": "features", "datatype": "INT32", "fields": FIELDS}
    config |= {"window": WINDOW, "reference": "reference.json"}
    fields = {name: {"categories": CATEGORIES[name], "counts": reference[name].tolist()} for name in FIELDS}
    made = drift_cases.lines(config, windows(rng), judge)
    drift_cases.main(__file__, {"windows.jsonl": made, "reference.json": [{"fields": fields}]})


if __name__ == "__main__":
    main()
