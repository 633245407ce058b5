#!/usr/bin/env python3
"""Writes oracle.json: the features of windows of a stream, computed with NumPy and SciPy.

`features` is the reference implementation for training code. Run with NumPy and SciPy installed:
python3 plugins/vibration-features/tests/oracle.py
"""

import json
import pathlib

import numpy as np
from scipy import signal, stats

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


def main():
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
    pathlib.Path(__file__).with_name("oracle.json").write_text(json.dumps(cases) + "\n")


if __name__ == "__main__":
    main()
