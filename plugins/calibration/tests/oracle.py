#!/usr/bin/env python3
"""Writes tests/cases: a classifier's probabilities and labels, and what SciPy and NumPy give of confidence, entropy and error.

Run with NumPy 2.4.6 and SciPy 1.17.1 (PyPI): python3 plugins/calibration/tests/oracle.py
With --check it makes the cases again and compares them with the recorded ones.
"""

import math
import pathlib
import sys

import numpy as np
from scipy import special, stats

sys.path.append(str(pathlib.Path(__file__).parents[3] / "crates" / "statistics" / "tests"))
import drift_cases  # noqa: E402

WINDOW, LOW, BINS, VALIDATION = 100, 0.6, 10, 2000
CONFIDENCE = drift_cases.shared_confidence(4)


def classify(rng, count, sharpness, wrong=0.0):
    """Probabilities of three classes and true labels; of overconfident answers a share is wrong."""
    logits = sharpness * rng.normal(size=(count, 3))
    rows = drift_cases.rounded(special.softmax(logits, axis=1))
    shares = rows.astype(np.float64) / rows.sum(axis=1, keepdims=True, dtype=np.float64)
    labels = np.array([rng.choice(3, p=row) for row in shares])
    other = rng.uniform(size=count) < wrong
    labels[other] = (rows.argmax(axis=1)[other] + 1) % 3
    return rows, labels


def measures(rows):
    rows = rows.astype(np.float64)
    sure = rows.max(axis=1)
    entropy = -special.xlogy(rows, rows).sum(axis=1)
    return {"confidence": sure, "entropy": entropy, "low-confidence": (sure < LOW).astype(float)}


def error(rows, labels):
    sure, right = rows.astype(np.float64).max(axis=1), rows.argmax(axis=1) == labels
    edges = np.linspace(0, 1, BINS + 1)
    def total(values):
        return stats.binned_statistic(sure, values, "sum", edges).statistic
    return float(np.abs(total(right.astype(float)) - total(sure)).sum() / len(rows))


def error_limit(rows, labels, before):
    sure, right = rows.astype(np.float64).max(axis=1), rows.argmax(axis=1) == labels
    place = np.minimum((sure * BINS).astype(int), BINS - 1)
    m, z = len(rows), stats.norm.isf(1 - CONFIDENCE)
    deviations = variance = third = 0.0
    for one in np.unique(place):
        p, correct = sure[place == one], right[place == one].mean()
        larger = max((p * (1 - p)).sum(), len(p) * correct * (1 - correct))
        deviations += math.sqrt(larger) / m
        variance += larger / m**2
        third += (p * (1 - p) * abs(1 - 2 * p)).sum() / m**3
    noise = math.sqrt(2 / math.pi) * deviations + z * math.sqrt(variance) + (z * z - 1) * third / (6 * variance)
    return before + max(0.05, noise)


def main():
    rng = np.random.default_rng(12)
    rows, labels = classify(rng, VALIDATION, 2)
    before = measures(rows)
    reference = {"samples": VALIDATION, "low": int(before["low-confidence"].sum())}
    reference["calibration_error"] = error(rows, labels)
    moments = {name: (v.mean(), v.std(), stats.skew(v)) for name, v in before.items()}
    for name in ["confidence", "entropy"]:
        reference[name] = dict(zip(["mean", "deviation", "skewness"], map(float, moments[name])))
    share = (reference["low"] + 0.5) / (VALIDATION + 1)
    deviation = math.sqrt(share * (1 - share))
    moments["low-confidence"] = (share, deviation, (1 - 2 * share) / deviation)

    z = stats.norm.isf((1 - CONFIDENCE) / 2)
    config = {"tensor": "p", "window": WINDOW, "reference": "reference.json", "low_confidence": LOW}
    config["labels"] = {"tensor": "truth", "bins": BINS}
    lines = [{"config": config, "assets": ["reference.json"], "tolerance": 1e-6}]
    drifted = dict.fromkeys([*moments, "calibration-error"], False)
    for sharpness, wrong in [(2, 0), (0.7, 0), (2, 0), (2, 0.5), (2, 0)]:
        rows, labels = classify(rng, WINDOW, sharpness, wrong)
        judged = {}
        for name, values in measures(rows).items():
            mean, spread, skewness = moments[name]
            noise = z * math.sqrt(1 / VALIDATION + 1 / WINDOW)
            noise += abs(skewness) * (z * z - 1) * (1 / WINDOW - 1 / VALIDATION) / 6
            judged[name] = (abs(values.mean() - mean) / spread, max(0.1, noise))
        limit = error_limit(rows, labels, reference["calibration_error"])
        judged["calibration-error"] = (error(rows, labels), limit)
        found = []
        for name, (value, threshold) in judged.items():
            now = bool(value > threshold)
            if now != drifted[name]:
                kind = "miscalibrated" if name == "calibration-error" else "drift"
                entry = {"kind": kind, "subject": name} | drift_cases.episode(now)
                found.append(entry | {"value": float(value), "threshold": float(threshold)})
            drifted[name] = now
        line = {"prediction": {"p": drift_cases.written(rows)}, "input": {"truth": labels.tolist()}}
        lines.append(line | ({"findings": found} if found else {}))
    drift_cases.main(__file__, {"windows.jsonl": lines, "reference.json": [reference]})


if __name__ == "__main__":
    main()
