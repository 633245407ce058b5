#!/usr/bin/env python3
"""Writes bundles with models of scikit-learn and what explains their answers, for tests/tests/explain.rs.

    bundles.py OUT

Each of OUT/trees, forest, linear and autoencoder is a bundle's folder with a background, and beside what belongs to it `input.csv` with
samples and `expected.jsonl` with the Shapley values of each by their definition: the mean of ONNX Runtime's answers over the background for
every coalition of features, at most 2^10, in double precision. Nothing here is of this project but the layout of a bundle.
"""

import itertools
import json
import math
import pathlib
import sys

import numpy as np
import onnxruntime
import pandas as pd
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.ensemble import GradientBoostingRegressor, RandomForestClassifier
from sklearn.linear_model import LinearRegression
from sklearn.neural_network import MLPRegressor

BACKGROUND_ROWS = 12
SAMPLES = 5


def data(features, seed):
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(3, features))
    x = (rng.normal(size=(400, 3)) @ mixing + 0.4 * rng.normal(size=(400, features))).astype(np.float32)
    # As short as they are written.
    x = np.round(x, 3).astype(np.float32)
    y = 2 * x[:, 0] * x[:, 1] + np.abs(x[:, 2]) + x[:, 3]
    return x, y


def shapley(value, features):
    """By the definition, of the function `value` of a tuple of the players that show their true values."""
    known = {
        players: value(players) for size in range(features + 1) for players in itertools.combinations(range(features), size)
    }
    weights = [math.factorial(s) * math.factorial(features - s - 1) / math.factorial(features) for s in range(features)]
    contributions = [0.0] * features
    for players, worth in known.items():
        for player in set(range(features)) - set(players):
            larger = tuple(sorted((*players, player)))
            contributions[player] += weights[len(players)] * (known[larger] - worth)
    return known[()], known[tuple(range(features))], contributions


def outputs(session, rows, output):
    """Of each row by itself, as a device has it."""
    name = session.get_inputs()[0].name
    return np.array([session.run([output], {name: row[None]})[0].ravel() for row in rows], np.float64)


def explain(session, output, row, background, error):
    """Element and Shapley values: of the reconstruction error, or of the element that is largest for the row."""
    answer = outputs(session, row[None], output)[0]
    element = None if error else int(np.argmax(answer))

    def value(players):
        mixed = background.copy()
        mixed[:, list(players)] = row[list(players)]
        given = outputs(session, mixed, output)
        return float(np.mean((given - mixed.astype(np.float64)) ** 2) if error else np.mean(given[:, element]))

    return element, *shapley(value, len(row))


def write(folder, model, x, output, explain_keys="", error=False):
    folder.mkdir(parents=True)
    fields = [f"sensor_{k}" for k in range(x.shape[1])]
    options = {id(model): {"zipmap": False}} if hasattr(model, "classes_") else None
    onnx = to_onnx(model, initial_types=[("x", FloatTensorType([1, x.shape[1]]))], options=options, target_opset=17)
    (folder / "model.onnx").write_bytes(onnx.SerializeToString())
    session = onnxruntime.InferenceSession(onnx.SerializeToString(), providers=["CPUExecutionProvider"])
    background, samples = x[:BACKGROUND_ROWS], x[100 : 100 + SAMPLES]
    # As people write one: rows of the training data, by pandas.
    pd.DataFrame(background, columns=fields).to_csv(folder / "background.csv", index=False)
    pd.DataFrame(samples, columns=fields).to_csv(folder / "input.csv", index=False)
    golden = [
        {"input": {"x": row.tolist()}, "output": {output: outputs(session, row[None], output)[0].tolist()}} for row in samples[:3]
    ]
    (folder / "golden.jsonl").write_text("".join(json.dumps(case) + "\n" for case in golden))
    expected = []
    for row in samples:
        element, base, prediction, contributions = explain(session, output, row, background, error)
        expected.append({
            "element": element, "base": base, "prediction": prediction, "contributions": dict(zip(fields, contributions, strict=True)),
        })
    (folder / "expected.jsonl").write_text("".join(json.dumps(line) + "\n" for line in expected))
    (folder / "bundle.toml").write_text(f"""\
[bundle]
name = "{folder.name}"
version = "1.0.0"
release_counter = 1

[[input]]
name = "x"
datatype = "FP32"
shape = [1, {len(fields)}]
fields = {json.dumps(fields)}

[model]
file = "model.onnx"

[golden]
file = "golden.jsonl"

[explain]
background = "background.csv"
budget_ms = 600000
{explain_keys}
""")


def main():
    out = pathlib.Path(sys.argv[1])
    x, y = data(8, 1)
    write(out / "trees", GradientBoostingRegressor(n_estimators=30, random_state=0).fit(x, y), x, "variable")
    x, y = data(6, 2)
    classes = np.digitize(y, np.quantile(y, [0.3, 0.7]))
    forest = RandomForestClassifier(n_estimators=10, max_depth=4, random_state=0).fit(x, classes)
    write(out / "forest", forest, x, "probabilities")
    x, y = data(10, 3)
    write(out / "linear", LinearRegression().fit(x, y), x, "variable")
    x, _ = data(9, 4)
    autoencoder = MLPRegressor(hidden_layer_sizes=(4,), activation="tanh", max_iter=300, random_state=0).fit(x, x)
    write(out / "autoencoder", autoencoder, x, "variable", 'measure = "reconstruction-error"', error=True)


if __name__ == "__main__":
    main()
