"""Writes a synthetic data set of SKAB's shape, so that the test on SKAB runs where SKAB isn't.

    python make_fixture.py [--seed 11] [--out fixture]

`anomaly-free.csv` has 600 rows, `valve1-0.csv` 400 rows with two labelled stretches of anomalies: a valve that closes (the flow
falls, current and pressure follow) and a rotor that vibrates. Beside them stand what the other scripts make of them:
`bundle/` from train_skab.py and `expected.jsonl` from expected.py, so that the test itself needs no Python.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from skab import SENSORS

HERE = Path(__file__).parent
TRAINING_ROWS, TEST_ROWS = 600, 400
VALVE = slice(150, 210)
ROTOR = slice(300, 350)
START = datetime(2020, 3, 9, 10, 0, 0)

LEVELS = np.array([0.2, 0.26, 1.5, 0.1, 75.0, 26.0, 230.0, 60.0])
SPREADS = np.array([0.004, 0.005, 0.25, 0.2, 0.6, 0.3, 9.0, 1.2])
DECIMALS = (6, 6, 5, 6, 4, 4, 3, 0)
"""The flow comes in whole numbers, as SKAB's does."""
LOADINGS = np.array(
    [
        [0.7, 0.7, 0.6, 0.0, 0.0, 0.0, 0.0, 0.3],
        [0.0, 0.0, 0.4, 0.5, 0.0, 0.0, 0.0, -0.7],
        [0.0, 0.0, 0.0, 0.0, 0.8, 0.8, 0.0, 0.0],
    ]
)
"""How much of each of three hidden influences (speed, valve, heat) is in each sensor."""
MEMORY = np.array([0.6, 0.7, 0.95])
"""How slowly the influences change: the correlation of one second with the next."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--out", type=Path, default=HERE / "fixture", metavar="DIR")
    arguments = parser.parse_args()
    out: Path = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(arguments.seed)
    training, test = out / "anomaly-free.csv", out / "valve1-0.csv"
    write(training, normal_rows(rng, TRAINING_ROWS), None)
    readings = normal_rows(rng, TEST_ROWS)
    add_anomalies(rng, readings)
    anomaly = np.zeros(TEST_ROWS, dtype=bool)
    anomaly[VALVE] = anomaly[ROTOR] = True
    write(test, readings, anomaly)
    run("train_skab.py", "--train", training, "--out", out / "bundle")
    run("expected.py", "--bundle", out / "bundle", "--train", training, "--csv", test, "--out", out / "expected.jsonl")


def normal_rows(rng: np.random.Generator, rows: int) -> NDArray[np.float64]:
    """A factor model: slow hidden influences, and noise of each sensor's own."""
    influences = np.zeros((rows, len(MEMORY)))
    state = rng.normal(size=len(MEMORY))
    for row in range(rows):
        state = MEMORY * state + np.sqrt(1 - MEMORY**2) * rng.normal(size=len(MEMORY))
        influences[row] = state
    own = np.sqrt(1 - np.sum(LOADINGS**2, axis=0))
    return LEVELS + SPREADS * (influences @ LOADINGS + own * rng.normal(size=(rows, len(SENSORS))))


def add_anomalies(rng: np.random.Generator, readings: NDArray[np.float64]) -> None:
    closing = np.concatenate([np.linspace(0, 1, 20), np.ones(20), np.linspace(1, 0, 20)])
    for sensor, change in (("Volume Flow RateRMS", -12), ("Current", 4), ("Pressure", 3)):
        column = SENSORS.index(sensor)
        readings[VALVE, column] += change * SPREADS[column] * closing
    for sensor in ("Accelerometer1RMS", "Accelerometer2RMS"):
        column = SENSORS.index(sensor)
        readings[ROTOR, column] += SPREADS[column] * np.abs(rng.normal(5, 2, size=ROTOR.stop - ROTOR.start))


def write(path: Path, readings: NDArray[np.float64], anomaly: NDArray[np.bool_] | None) -> None:
    header = ["datetime", *SENSORS] + ([] if anomaly is None else ["anomaly", "changepoint"])
    lines = [";".join(header)]
    for row, values in enumerate(readings):
        cells = [f"{START + timedelta(seconds=row):%Y-%m-%d %H:%M:%S}"]
        cells += [str(round(float(value), digits)) for value, digits in zip(values, DECIMALS, strict=True)]
        if anomaly is not None:
            changed = row > 0 and anomaly[row] != anomaly[row - 1]
            cells += [f"{float(anomaly[row])}", f"{float(changed)}"]
        lines.append(";".join(cells))
    path.write_text("\n".join(lines) + "\n")


def run(script: str, *arguments: str | Path) -> None:
    subprocess.run([sys.executable, HERE / script, *arguments], check=True)


if __name__ == "__main__":
    main()
