#!/usr/bin/env python3
"""Writes ad01.json: what the shap package gives for the reconstruction error of MLPerf Tiny's anomaly autoencoder.

    record_shap.py MODELS [--check]

with shap 0.51.0, NumPy and onnxruntime 1.31.1 installed; MODELS is the folder with mlperf-tiny-ad01-fp32.onnx. With --check it makes the
values again and compares them, to 1e-6 relative. Rows are made by a formula that the test has, too: multiples of a quarter decibel.

The 640 features are 10 groups of 64 neighbours. The game's value for a coalition of groups is the mean of the error over the background rows
with the coalition's groups replaced by the row's own; shap.ExactExplainer explains the row in which all groups are present.
"""

import json
import pathlib
import sys

import numpy as np
import onnxruntime
import shap

PATH = pathlib.Path(__file__).parent / "ad01.json"
VALUES, GROUPS, ROWS, BACKGROUND = 640, 10, 3, 8


def row(number):
    place = np.arange(VALUES, dtype=np.int64)
    return (((place * 37 + number * 101 + (place * place * number) % 53) % 97) / 4 - 50).astype(np.float32)


def record(models):
    session = onnxruntime.InferenceSession(str(models / "mlperf-tiny-ad01-fp32.onnx"), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    background = np.stack([row(number) for number in range(BACKGROUND)])

    def error(x):
        return float(np.mean((session.run(None, {name: x[None]})[0].ravel().astype(np.float64) - x) ** 2))

    recorded = []
    for number in range(ROWS):
        own = row(100 + number)

        def game(shown):
            masks = np.repeat(np.asarray(shown) > 0.5, VALUES // GROUPS, axis=1)
            return np.array([np.mean([error(np.where(mask, own, hidden)) for hidden in background]) for mask in masks])

        explained = shap.ExactExplainer(game, np.zeros((1, GROUPS)))(np.ones((1, GROUPS)))
        recorded.append({
            "base": float(explained.base_values[0]), "prediction": error(own), "contributions": explained.values[0].tolist(),
        })
    return recorded


def main():
    made = record(pathlib.Path(sys.argv[1]))
    if "--check" not in sys.argv:
        PATH.write_text(json.dumps(made, indent=1) + "\n")
        return
    flat = lambda rows: np.array([[one["base"], one["prediction"], *one["contributions"]] for one in rows])
    difference = np.max(np.abs(flat(made) - flat(json.loads(PATH.read_text()))) / np.abs(flat(made)).max(axis=1, keepdims=True))
    print(f"largest difference {difference:.1e}")
    sys.exit(0 if difference < 1e-6 else 1)


if __name__ == "__main__":
    main()
