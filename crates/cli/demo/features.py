"""The `vibration-features` plugin in NumPy and SciPy: what the model is trained on is what the device computes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.signal import periodogram
from scipy.stats import kurtosis

from simulator import SAMPLE_RATE_HZ

WINDOW = 1_024
BANDS_HZ = ((0, 500), (500, 1_500), (1_500, 2_500), (2_500, 4_000), (4_000, 6_000))
NAMES = ("rms", "peak", "crest_factor", "kurtosis", *(f"band_{low}_{high}_hz" for low, high in BANDS_HZ))


def features(vibration: NDArray[np.float32]) -> NDArray[np.float32]:
    """Features of consecutive windows that don't overlap, one row a window, in the order of NAMES."""
    x = vibration.reshape(-1, WINDOW).astype(np.float64)
    x -= x.mean(axis=1, keepdims=True)
    rms = np.sqrt(np.mean(x**2, axis=1))
    peak = np.max(np.abs(x), axis=1)
    shape = kurtosis(x, axis=1, fisher=False, bias=True)
    return np.column_stack([rms, peak, peak / rms, shape, band_energies(x)]).astype(np.float32)


def band_energies(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """The share of the variance in each band, in the signal's unit squared.

    A band takes the bins with low <= frequency < high; one that ends at half the sample rate takes that bin too.
    """
    hz, density = periodogram(x, SAMPLE_RATE_HZ, "hann", detrend="constant", scaling="density", axis=1)
    energy = density * SAMPLE_RATE_HZ / WINDOW
    last = SAMPLE_RATE_HZ / 2
    inside = [(hz >= low) & ((hz < high) | ((hz == last) & (high >= last))) for low, high in BANDS_HZ]
    return np.column_stack([energy[:, band].sum(axis=1) for band in inside])
