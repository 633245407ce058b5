#!/usr/bin/env python3
"""Writes tests/cases/oracle.json: what NumPy and SciPy give on recorded inputs.

Run with NumPy and SciPy installed: python3 crates/statistics/tests/oracle.py
With --check nothing is written: the cases are made again and compared with those that are there.
The inputs are drawn with fixed seeds and recorded with the answers, so that the comparison needs no Python.
"""

import argparse
import json
import pathlib

import drift_cases
import numpy as np
from scipy import signal, stats

# Relative and absolute: another build of NumPy sums in another order.
TOLERANCES = 1e-9, 1e-12

RATE_HZ = 1000.0
BANDS_HZ = [[0.0, 50.0], [50.0, 180.5], [180.5, 400.0], [400.0, 500.0]]


def windows():
    rng = np.random.default_rng(20260101)
    time = np.arange(256) / RATE_HZ
    yield "normal", rng.normal(size=256)
    yield "offset", 1e4 + rng.normal(size=64)
    yield "sine", 3.0 * np.sin(2 * np.pi * 60.0 * time) + 9.81
    yield "impacts", rng.normal(size=1024) + 20.0 * (np.arange(1024) % 97 == 0)
    yield "laplace", rng.laplace(scale=0.01, size=16)
    yield "smallest", rng.uniform(size=8)


def window_case(name, values):
    frequency, density = signal.periodogram(values, RATE_HZ, "hann", detrend="constant", scaling="density")
    power = density * RATE_HZ / len(values)
    bands = [
        power[(frequency >= low) & ((frequency < high) | (high >= RATE_HZ / 2))].sum() for low, high in BANDS_HZ
    ]
    rms = np.sqrt(np.mean(values**2))
    return {
        "name": name,
        "values": values.tolist(),
        "mean": values.mean(),
        "variance": values.var(),
        "sample_variance": values.var(ddof=1),
        "skewness": stats.skew(values),
        "rms": rms,
        "peak": np.abs(values).max(),
        "crest_factor": np.abs(values).max() / rms,
        "kurtosis": stats.kurtosis(values, fisher=False, bias=True),
        "power": power.tolist(),
        "bands": bands,
    }


def psi_case(name, reference, current, bins):
    edges = np.unique(np.quantile(reference, np.arange(1, bins) / bins))
    count = lambda values: np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(edges) + 1)
    before, now = count(reference), count(current)
    cells = len(before)
    p = (before + 0.5) / (before.sum() + 0.5 * cells)
    q = (now + 0.5) / (now.sum() + 0.5 * cells)
    noise = stats.chi2.ppf(0.999, cells - 1) * (1 / len(reference) + 1 / len(current))
    return {
        "name": name,
        "reference": reference.tolist(),
        "current": current.tolist(),
        "bins": bins,
        "edges": edges.tolist(),
        "counts": before.tolist(),
        "psi": float(((q - p) * np.log(q / p)).sum()),
        "threshold": max(0.1, noise),
    }


def psi_cases():
    rng = np.random.default_rng(7)
    yield psi_case("same", rng.normal(size=400), rng.normal(size=100), 10)
    yield psi_case("shifted", rng.normal(size=400), rng.normal(loc=1.0, size=100), 10)
    yield psi_case("disjoint", rng.uniform(size=300), rng.uniform(5, 6, size=200), 10)
    yield psi_case("ties", rng.integers(0, 4, size=500).astype(float), rng.integers(0, 4, size=150).astype(float), 10)
    yield psi_case("large", rng.normal(size=1500), rng.normal(scale=1.1, size=1500), 20)


def chi_square_cases():
    for degrees in [1, 2, 3, 9, 10, 19, 50, 255, 1000]:
        for probability in [1e-6, 0.01, 0.5, 0.95, 0.999, 0.999999]:
            yield {"degrees": degrees, "probability": probability, "quantile": stats.chi2.ppf(probability, degrees)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    cases = {
        "rate_hz": RATE_HZ,
        "bands_hz": BANDS_HZ,
        "windows": [window_case(name, values) for name, values in windows()],
        "psi": list(psi_cases()),
        "chi_square": list(chi_square_cases()),
    }
    path = pathlib.Path(__file__).parent / "cases" / "oracle.json"
    text = json.dumps(cases)
    if check:
        drift_cases.check(path.name, json.loads(text), json.loads(path.read_text()), *TOLERANCES)
    else:
        path.write_text(text + "\n")


if __name__ == "__main__":
    main()
