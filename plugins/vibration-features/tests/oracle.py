#!/usr/bin/env python3
"""Writes oracle.json: the features of windows of a stream, computed with NumPy and SciPy; and cases/stream.jsonl from it.

`features` is the reference implementation for training code. Run with NumPy and SciPy installed:
python3 plugins/vibration-features/tests/oracle.py
With --check nothing is written: the cases are made again and compared with those that are there.
"""

import argparse
import json
import pathlib
import sys

import numpy as np
from scipy import signal, stats

HERE = pathlib.Path(__file__).parent

sys.path.append(str(HERE.parents[2] / "crates" / "statistics" / "tests"))
import drift_cases  # noqa: E402

# Relative and absolute: another build of NumPy sums in another order.
TOLERANCES = 1e-9, 1e-12

RATE_HZ, WINDOW, HOP, CHUNK = 1000.0, 128, 48, 20
BANDS_HZ = [[0.0, 100.0], [100.0, 320.5], [320.5, 500.0]]


def features(window, rate_hz=RATE_HZ, bands_hz=BANDS_HZ):
    """RMS, peak, crest factor, kurtosis and band energies of one window (remove_mean = true)."""
    window = np.asarray(window, dtype=np.float64)
    window = window - window.mean()
    frequency, density = signal.periodogram(window, rate_hz, "hann", detrend="constant", scaling="density")
    power = density * rate_hz / len(window)
    rms, peak = np.sqrt(np.mean(window**2)), np.abs(window).max()
    bands = [power[(frequency >= lo) & ((frequency < hi) | (hi >= rate_hz / 2))].sum() for lo, hi in bands_hz]
    return [rms, peak, peak / rms, stats.kurtosis(window, fisher=False, bias=True), *bands]


def oracle():
    time = np.arange(600) / RATE_HZ
    noise = np.random.default_rng(11).normal(size=len(time))
    stream = (9.81 + 2 * np.sin(2 * np.pi * 50 * time) + 0.3 * noise).astype(np.float32)
    starts = range(0, len(stream) - WINDOW + 1, HOP)
    cases = {
        "config": {
            "input": "acceleration", "output": "features", "sample_rate_hz": RATE_HZ, "window": WINDOW, "hop": HOP,
            "bands_hz": BANDS_HZ,
        },
        "chunk": CHUNK,
        "stream": stream.tolist(),
        "features": [features(stream[start : start + WINDOW]) for start in starts],
    }
    lines = [{"config": cases["config"]}]
    windows = dict(zip((start + WINDOW for start in starts), cases["features"], strict=True))
    for end in range(CHUNK, len(stream) + 1, CHUNK):
        # A chunk isn't longer than the hop: at most one window ends in it.
        ended = next((windows[place] for place in range(end - CHUNK + 1, end + 1) if place in windows), None)
        output = None if ended is None else {"features": [ended]}
        lines.append({"input": {"acceleration": [stream[end - CHUNK : end].tolist()]}, "output": output})
    return {"oracle.json": [cases], "cases/stream.jsonl": lines}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    for name, lines in oracle().items():
        path = HERE / name
        if check:
            drift_cases.check(name, lines, [json.loads(line) for line in path.read_text().splitlines()], *TOLERANCES)
        else:
            path.parent.mkdir(exist_ok=True)
            path.write_text("".join(json.dumps(line) + "\n" for line in lines))


if __name__ == "__main__":
    main()
