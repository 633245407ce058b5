#!/usr/bin/env python3
"""Writes tests/cases/distances.json: what SciPy gives for the distances between samples on recorded inputs.

Run with NumPy and SciPy installed: python3 crates/statistics/tests/oracle_distances.py
With --check it makes the cases again and compares them with the recorded ones, answers to 1e-12 relative.
The inputs are drawn with fixed seeds and recorded with the answers, so that the comparison needs no Python.
"""

import json
import math
import pathlib
import sys

import numpy as np
from scipy import stats
from scipy.spatial import distance

PATH = pathlib.Path(__file__).parent / "cases" / "distances.json"
CONFIDENCE = 0.999


def numbers(values):
    """Rounded, so that the recorded inputs are short and the same everywhere."""
    return [round(float(value), 4) for value in values]


def pairs():
    rng = np.random.default_rng(20260401)
    yield "same", rng.normal(size=200), rng.normal(size=50)
    yield "shifted", rng.normal(size=150), rng.normal(loc=0.7, size=120)
    yield "disjoint", rng.uniform(size=40), rng.uniform(5, 6, size=60)
    yield "skewed", rng.lognormal(size=300), rng.lognormal(sigma=1.2, size=80)
    yield "ties", rng.integers(0, 4, size=90), rng.integers(1, 5, size=70)
    yield "rounded", np.round(rng.normal(size=100), 1), np.round(rng.normal(scale=2, size=100), 1)


def pair_case(name, reference, current):
    reference, current = numbers(reference), numbers(current)
    n, m = len(reference), len(current)
    skewness = float(stats.skew(reference))
    z = stats.norm.isf((1 - CONFIDENCE) / 2)
    noise = (z + 0.1) * math.sqrt(1 / n + 1 / m) + abs(skewness) * (z * z - 1) * abs(1 / m - 1 / n) / 6
    return {
        "name": name,
        "reference": reference,
        "current": current,
        "deviation": float(np.std(reference)),
        "skewness": skewness,
        "ks": float(stats.ks_2samp(reference, current).statistic),
        "ks_noise": float(stats.kstwobign.isf(1 - CONFIDENCE) * math.sqrt(1 / n + 1 / m)),
        "wasserstein": float(stats.wasserstein_distance(reference, current)),
        "wasserstein_noise": noise,
    }


def histogram_cases():
    rng = np.random.default_rng(11)
    for name, p, q, n, m in [
        ("same", np.ones(10) / 10, np.ones(10) / 10, 1000, 100),
        ("moved", np.ones(10) / 10, np.arange(1, 11) / 55, 1000, 200),
        ("empty", np.array([0.5, 0.5, 0.0]), np.array([0.0, 0.5, 0.5]), 50, 50),
        ("many", np.ones(40) / 40, np.ones(40) / 40, 400, 80),
    ]:
        before, now = rng.multinomial(n, p), rng.multinomial(m, q)
        yield {
            "name": name,
            "reference": before.tolist(),
            "current": now.tolist(),
            "jensen_shannon": float(distance.jensenshannon(before + 0.5, now + 0.5, 2)),
            "noise": math.sqrt(stats.chi2.ppf(CONFIDENCE, len(p) - 1) * (1 / n + 1 / m) / (8 * math.log(2))),
        }


def category_cases():
    rng = np.random.default_rng(12)
    for name, p, q, n, m in [
        ("same", [0.5, 0.3, 0.2], [0.5, 0.3, 0.2], 1000, 100),
        ("moved", [0.25] * 4, [0.4, 0.3, 0.2, 0.1], 400, 400),
        ("two", [0.9, 0.1], [0.8, 0.2], 300, 60),
        ("many", [1 / 20] * 20, [1 / 20] * 20, 5000, 200),
    ]:
        before, now = rng.multinomial(n, p), rng.multinomial(m, q)
        fit = stats.chisquare(now, before * (now.sum() / before.sum()))
        both = stats.chi2_contingency(np.array([before, now]), correction=False)
        yield {
            "name": name,
            "reference": before.tolist(),
            "current": now.tolist(),
            "fit": float(fit.statistic),
            "fit_p": float(fit.pvalue),
            "homogeneity": float(both.statistic),
            "homogeneity_p": float(both.pvalue),
        }


def rare_cases():
    """The most samples that a category with these in the reference holds by noise, and the statistic there."""
    for count, n, m in [(0, 1000, 50), (3, 1000, 50), (40, 10_000, 500), (300, 10_000, 1000), (5, 300, 600)]:
        held = int(stats.betabinom.ppf(CONFIDENCE, m, count + 0.5, n - count + 0.5))
        share = np.array([count + held, n - count + m - held]) / (n + m)
        both = np.array([[count, n - count], [held, m - held]])
        expected = np.outer([n, m], share)
        statistic = float(((both - expected) ** 2 / expected).sum())
        noise = max(statistic * (1 + 1e-9), float(stats.chi2.ppf(CONFIDENCE, 1)))
        yield {"reference": [n - count, count], "window": m, "noise": noise}


def distribution_cases():
    for degrees, x in [(1, 1e-3), (1, 30.0), (3, 3.0), (9, 27.9), (9, 200.0), (100, 80.0), (255, 400.0)]:
        yield {"of": "chi_square", "degrees": degrees, "x": x, "survival": float(stats.chi2.sf(x, degrees))}
    for x in [0.3, 0.6, 0.99, 1.0, 1.36, 1.95, 3.0, 6.0]:
        yield {"of": "kolmogorov", "x": x, "survival": float(stats.kstwobign.sf(x))}


def tolerance_cases():
    for blocks, confidence in [(10, 0.5), (99, 0.99), (199, 0.99), (500, 0.99), (2000, 0.999), (50, 0.9)]:
        rank = min(max(math.ceil(confidence * (blocks + 1) - 1e-9), 1), blocks)
        at_most = stats.beta.ppf(0.95, blocks + 1 - rank, rank)
        yield {"blocks": blocks, "confidence": confidence, "rank": rank, "at_most": float(at_most)}


def make():
    return {
        "confidence": CONFIDENCE,
        "pairs": [pair_case(*pair) for pair in pairs()],
        "histograms": list(histogram_cases()),
        "categories": list(category_cases()),
        "rare": list(rare_cases()),
        "distributions": list(distribution_cases()),
        "tolerance": list(tolerance_cases()),
    }


def differences(made, recorded, where="cases"):
    if isinstance(made, dict) and isinstance(recorded, dict) and made.keys() == recorded.keys():
        for key in made:
            yield from differences(made[key], recorded[key], f"{where}.{key}")
    elif isinstance(made, list) and isinstance(recorded, list) and len(made) == len(recorded):
        for index, both in enumerate(zip(made, recorded)):
            yield from differences(*both, f"{where}[{index}]")
    elif isinstance(made, (int, float)) and isinstance(recorded, (int, float)):
        # An answer near 0 is what is left of numbers near 1.
        if not math.isclose(made, recorded, rel_tol=1e-12, abs_tol=1e-14):
            yield f"{where}: {made}, recorded is {recorded}"
    elif made != recorded:
        yield f"{where}: {made}, recorded is {recorded}"


def main():
    made = json.loads(json.dumps(make()))
    if sys.argv[1:] == ["--check"]:
        found = list(differences(made, json.loads(PATH.read_text())))
        if found:
            sys.exit("\n".join(found))
    elif sys.argv[1:]:
        sys.exit("usage: oracle_distances.py [--check]")
    else:
        PATH.write_text(json.dumps(made) + "\n")


if __name__ == "__main__":
    main()
