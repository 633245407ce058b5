#!/usr/bin/env python3
"""Writes tests/cases/oracle.json: small models, rows, backgrounds, and what the shap package gives for them.

Run with shap 0.51.0, scikit-learn 1.9.1 and NumPy 2.4.6 installed: python3 crates/explanation/tests/oracle.py
With --check it makes the cases again and compares them with the recorded ones, to 1e-7 relative.
Models are recorded as numbers that the Rust tests evaluate themselves; inputs are multiples of 1/256, which are exact in f32.

Attributions are those of TreeExplainer (interventional), LinearExplainer (independent) and, for the autoencoder's
reconstruction error, ExactExplainer or KernelExplainer with all coalitions; for an autoencoder of too many features for that,
PermutationExplainer with 500 permutations there and back, which are exact for interactions of two features, and `uncertainty`
says how far they are from one another. `kernel` is KernelExplainer's own error with as many coalitions as `coalitions`
says: the length of the difference over that of the attributions, mean over rows and seeds; `plain` without feature selection,
`default` with the ten features that it selects by default.
"""

import json
import math
import pathlib
import sys
import warnings

import numpy as np
import shap
from shap.utils._legacy import DenseData
from sklearn.ensemble import GradientBoostingRegressor, RandomForestClassifier
from sklearn.linear_model import LinearRegression
from sklearn.neural_network import MLPRegressor

PATH = pathlib.Path(__file__).parent / "cases" / "oracle.json"
BACKGROUND_ROWS = 16
ROWS = 4
SEEDS = 10


def samples(features, rng, rows=800):
    """Rows whose features depend on each other, as sensors of one machine do."""
    mixing = rng.normal(size=(features, max(3, features // 6)))
    hidden = rng.normal(size=(rows, mixing.shape[1]))
    values = hidden @ mixing.T / math.sqrt(mixing.shape[1]) + 0.5 * rng.normal(size=(rows, features))
    return np.round(values * 256) / 256


def target(x, rng):
    weights = rng.normal(size=x.shape[1]) * (rng.random(x.shape[1]) < 0.5)
    bent = 2 * x[:, 0] * x[:, 1] + 3 * np.abs(x[:, 2]) + 2 * np.sin(2 * x[:, 3]) * x[:, 4]
    return x @ weights + bent + 0.1 * rng.normal(size=len(x))


def tree(estimator):
    """Inner nodes as [feature, threshold, left, right]: to the left if the value is at most the threshold. Leaves as lists."""
    nodes = estimator.tree_
    described = []
    for node in range(nodes.node_count):
        if nodes.children_left[node] < 0:
            described.append({"leaf": nodes.value[node].ravel().tolist()})
        else:
            left, right = int(nodes.children_left[node]), int(nodes.children_right[node])
            described.append({"split": [int(nodes.feature[node]), float(nodes.threshold[node]), left, right]})
    return described


def boosted(x, y):
    model = GradientBoostingRegressor(n_estimators=40, max_depth=3, random_state=0).fit(x, y)
    start = float(model.init_.constant_.ravel()[0])
    trees = [tree(stage[0]) for stage in model.estimators_]
    return model, {"trees": trees, "start": [start], "scale": model.learning_rate}


def forest(x, y):
    classes = np.digitize(y, np.quantile(y, [0.3, 0.7]))
    model = RandomForestClassifier(n_estimators=8, max_depth=4, random_state=0).fit(x, classes)
    trees = [tree(estimator) for estimator in model.estimators_]
    return model, {"trees": trees, "start": [0.0] * 3, "scale": 1 / len(trees)}


def linear(x, y):
    model = LinearRegression().fit(x, y)
    return model, {"weights": model.coef_.tolist(), "intercept": float(model.intercept_)}


def autoencoder(x):
    """Its reconstruction error as a function, and its layers with rounded weights."""
    hidden = max(3, x.shape[1] // 4)
    model = MLPRegressor(hidden_layer_sizes=(hidden,), activation="tanh", max_iter=200, random_state=0).fit(x, x)
    model.coefs_ = [np.round(weights, 3) for weights in model.coefs_]
    model.intercepts_ = [np.round(biases, 3) for biases in model.intercepts_]
    layers = [
        {"weights": weights.T.tolist(), "biases": biases.tolist()}
        for weights, biases in zip(model.coefs_, model.intercepts_)
    ]
    return (lambda rows: ((model.predict(rows) - rows) ** 2).mean(axis=1)), {"layers": layers}


def outputs_first(values):
    """(rows, features) or (rows, features, outputs) as rows of outputs of features."""
    values = np.asarray(values)
    values = values[:, :, None] if values.ndim == 2 else values
    return values.transpose(0, 2, 1)


def case(name, model, function, x, rows, values, **more):
    background = x[:BACKGROUND_ROWS]
    base = np.atleast_1d(np.asarray(function(background)).mean(axis=0))
    recorded = {
        "name": name,
        "model": model,
        "background": background.tolist(),
        "base": base.tolist(),
        "rows": [
            {
                "row": row.tolist(),
                "output": np.atleast_1d(np.asarray(function(row[None]))[0]).tolist(),
                "attributions": attributions.tolist(),
            }
            for row, attributions in zip(rows, outputs_first(values))
        ],
    }
    return recorded | more


def kernel_values(function, background, rows, coalitions, seed, selection, groups=None):
    np.random.seed(seed)
    data = background
    if groups is not None:
        data = DenseData(background, [str(index) for index in range(len(groups))], groups)
    explainer = shap.KernelExplainer(function, data)
    return np.array(
        [explainer.shap_values(row, nsamples=coalitions, l1_reg=selection, silent=True) for row in rows]
    )


def kernel_error(function, background, rows, values, coalitions):
    errors = {}
    for name, selection in [("plain", False), ("default", "num_features(10)")]:
        found = []
        for seed in range(SEEDS):
            estimates = kernel_values(function, background, rows, coalitions, seed, selection)
            lengths = np.linalg.norm(values, axis=1)
            found.extend(np.linalg.norm(estimates - values, axis=1) / lengths)
        errors[name] = float(np.mean(found))
    return errors


def tree_values(model, background, rows):
    explainer = shap.TreeExplainer(model, background, feature_perturbation="interventional")
    return explainer.shap_values(rows, check_additivity=False)


def permutation_values(function, background, rows):
    """The mean over seeds, and how uncertain its length is, of itself, in the worst row."""
    masker = shap.maskers.Independent(background, max_samples=BACKGROUND_ROWS)
    evaluations = 100 * (2 * rows.shape[1] + 1)
    many = [
        shap.PermutationExplainer(function, masker, seed=seed)(rows, max_evals=evaluations, silent=True).values
        for seed in range(5)
    ]
    values = np.mean(many, axis=0)
    spread = np.std(many, axis=0, ddof=1) / math.sqrt(len(many))
    return values, float(np.max(np.linalg.norm(spread, axis=1) / np.linalg.norm(values, axis=1)))


def exact_cases():
    rng = np.random.default_rng(5)
    x = samples(8, rng)
    y = target(x, rng)
    background, rows = x[:BACKGROUND_ROWS], x[100 : 100 + ROWS]
    model, described = boosted(x, y)
    yield case("boosted trees", described, model.predict, x, rows, tree_values(model, background, rows))
    model, described = forest(x, y)
    yield case("forest of three classes", described, model.predict_proba, x, rows, tree_values(model, background, rows))
    x = samples(10, rng)
    background, rows = x[:BACKGROUND_ROWS], x[100 : 100 + ROWS].copy()
    model, described = linear(x, target(x, rng))
    explainer = shap.LinearExplainer(model, shap.maskers.Independent(background, max_samples=BACKGROUND_ROWS))
    yield case("linear", described, model.predict, x, rows, explainer.shap_values(rows))
    function, described = autoencoder(x)
    rows[:, 1] += 3
    explainer = shap.ExactExplainer(function, shap.maskers.Independent(background, max_samples=BACKGROUND_ROWS))
    yield case("autoencoder", described, function, x, rows, explainer(rows).values)
    x = samples(30, rng)
    background, rows = x[:BACKGROUND_ROWS], x[100 : 100 + ROWS].copy()
    function, described = autoencoder(x)
    rows[:, 4] += 3
    labels = [column % 10 for column in range(30)]
    groups = [[column for column in range(30) if labels[column] == group] for group in range(10)]
    values = kernel_values(function, background, rows, 2**10 - 2, 0, False, groups)
    yield case("autoencoder of ten groups", described, function, x, rows, values, labels=labels)


def sampled_cases():
    for features in (30, 31, 64):
        rng = np.random.default_rng(features)
        x = samples(features, rng)
        y = target(x, rng)
        background, rows = x[:BACKGROUND_ROWS], x[100 : 100 + ROWS].copy()
        model, described = boosted(x, y)
        values = tree_values(model, background, rows)
        kernel = kernel_error(model.predict, background, rows, values, 256)
        yield case(f"boosted trees, {features}", described, model.predict, x, rows, values, coalitions=256, kernel=kernel)
        if features == 30:
            model, described = linear(x, y)
            explainer = shap.LinearExplainer(model, shap.maskers.Independent(background, max_samples=BACKGROUND_ROWS))
            values = explainer.shap_values(rows)
            kernel = kernel_error(model.predict, background, rows, values, 256)
            yield case(f"linear, {features}", described, model.predict, x, rows, values, coalitions=256, kernel=kernel)
        function, described = autoencoder(x)
        rows = rows.copy()
        rows[:, 4] += 3
        values, uncertainty = permutation_values(function, background, rows)
        kernel = kernel_error(function, background, rows, values, 256)
        yield case(
            f"autoencoder, {features}", described, function, x, rows, values,
            coalitions=256, kernel=kernel, uncertainty=uncertainty,
        )  # fmt: skip


def make():
    return {"exact": list(exact_cases()), "sampled": list(sampled_cases())}


def differences(made, recorded, where="cases"):
    if isinstance(made, dict) and isinstance(recorded, dict) and made.keys() == recorded.keys():
        for key in made:
            yield from differences(made[key], recorded[key], f"{where}.{key}")
    elif isinstance(made, list) and isinstance(recorded, list) and len(made) == len(recorded):
        for index, both in enumerate(zip(made, recorded)):
            yield from differences(*both, f"{where}[{index}]")
    elif isinstance(made, (int, float)) and isinstance(recorded, (int, float)):
        if not math.isclose(made, recorded, rel_tol=1e-7, abs_tol=1e-12):
            yield f"{where}: {made}, recorded is {recorded}"
    elif made != recorded:
        yield f"{where}: {made}, recorded is {recorded}"


def main():
    warnings.filterwarnings("ignore")
    made = json.loads(json.dumps(make()))
    if sys.argv[1:] == ["--check"]:
        found = list(differences(made, json.loads(PATH.read_text())))
        if found:
            sys.exit("\n".join(found[:50]))
    elif sys.argv[1:]:
        sys.exit("usage: oracle.py [--check]")
    else:
        PATH.write_text(json.dumps(made, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
