"""What the scripts of this folder share: reading SKAB's CSV files, and the PCA detector in scikit-learn.

SKAB is the Skoltech Anomaly Benchmark: eight sensors of a water circulation test bed, one row a second.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

SENSORS = (
    "Accelerometer1RMS",
    "Accelerometer2RMS",
    "Current",
    "Pressure",
    "Temperature",
    "Thermocouple",
    "Voltage",
    "Volume Flow RateRMS",
)
LABEL = "anomaly"

EXPLAINED_VARIANCE = 0.9
"""Share of the variance that the kept components have to explain."""
LIMIT_QUANTILE = 0.999
"""A statistic's limit is this quantile of its values on the training rows."""


@dataclass(frozen=True)
class Rows:
    """One file: readings of shape [rows, 8] in the order of SENSORS, and the labels if the file has them."""

    readings: NDArray[np.float64]
    labels: NDArray[np.bool_] | None


def read_rows(path: Path, head: int | None = None) -> Rows:
    """Reads a `;`-separated file with a header, of which at most the first `head` rows."""
    with path.open(newline="") as file:
        reader = csv.DictReader(file, delimiter=";")
        missing = [name for name in SENSORS if name not in (reader.fieldnames or [])]
        if missing:
            raise SystemExit(f"{path} has no column {', '.join(missing)}")
        rows = [row for count, row in enumerate(reader) if head is None or count < head]
        labelled = LABEL in (reader.fieldnames or [])
    readings = np.array([[float(row[name]) for name in SENSORS] for row in rows], dtype=np.float64)
    labels = np.array([float(row[LABEL]) > 0.5 for row in rows]) if labelled else None
    return Rows(readings, labels)


@dataclass(frozen=True)
class Detector:
    """Standardisation and PCA, with Hotelling's T2 within the components and Q (squared error) outside of them."""

    scaler: StandardScaler
    pca: PCA
    t2_limit: float
    q_limit: float

    @classmethod
    def fit(cls, readings: NDArray[np.float64]) -> Detector:
        """Fits everything on rows without anomalies."""
        scaler = StandardScaler().fit(readings)
        pca = PCA(n_components=EXPLAINED_VARIANCE, svd_solver="full").fit(scaler.transform(readings))
        t2, q = cls(scaler, pca, 1.0, 1.0).statistics(readings)
        return cls(scaler, pca, float(np.quantile(t2, LIMIT_QUANTILE)), float(np.quantile(q, LIMIT_QUANTILE)))

    def statistics(self, readings: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """T2 and Q of each row, each divided by its limit, in float64."""
        x = self.scaler.transform(readings)
        components = self.pca.transform(x)
        residual = x - self.pca.inverse_transform(components)
        t2 = np.sum(components**2 / self.pca.explained_variance_, axis=1)
        return t2 / self.t2_limit, np.sum(residual**2, axis=1) / self.q_limit

    def score(self, readings: NDArray[np.float64]) -> NDArray[np.float64]:
        """The larger of both statistics; a row is an outlier above 1."""
        return np.maximum(*self.statistics(readings))
