"""Records what ONNX Runtime answers for tree ensembles, one small model for each case.

    python crates/inference/tests/oracle_tree_ensembles.py

Writes tree_ensembles.json, or with `--check` compares with it. Trees are random: every kind of split, in one ensemble or
alone, values on both sides of each threshold and on it, NaN and infinity, leaves at different depths.
"""

import itertools

import numpy as np
from onnx import numpy_helper

from recorder import F32, F64, I32, I64, INF, NAN, TRANSFORMS, finish, node, record

random = np.random.default_rng(20261123)
MODES = ["BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ"]
# Few values, so that features often are thresholds.
VALUES = np.array([-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0], F32)


class Trees:
    """Random trees as columns of the older operators."""

    def __init__(self, count, depth, features, modes=("BRANCH_LEQ",), nan=False, values=VALUES):
        self.nodes = {key: [] for key in ["treeids", "nodeids", "featureids", "modes", "values", "truenodeids", "falsenodeids"]}
        self.nan = [] if nan else None
        self.leaves = []
        self.features, self.modes, self.values = features, modes, values
        for tree in range(count):
            self.rows = []
            self.grow(depth)
            for number, (mode, feature, value, yes, no) in enumerate(self.rows):
                for key, held in zip(self.nodes, [tree, number, feature, mode, value, yes, no]):
                    self.nodes[key].append(held)
                if nan:
                    self.nan.append(int(random.integers(2)))
                if mode == "LEAF":
                    self.leaves.append((tree, number))

    def grow(self, depth):
        number = len(self.rows)
        self.rows.append(("LEAF", 0, 0.0, 0, 0))
        if depth > 0 and (number == 0 or random.random() < 0.8):
            mode, feature = str(random.choice(self.modes)), int(random.integers(self.features))
            value = float(random.choice(self.values))
            yes = self.grow(depth - 1)
            no = self.grow(depth - 1)
            self.rows[number] = (mode, feature, value, yes, no)
        return number

    def attributes(self):
        named = {f"nodes_{key}": column for key, column in self.nodes.items()}
        if self.nan is not None:
            named["nodes_missing_value_tracks_true"] = self.nan
        return named

    def given(self, prefix, targets, positive=False, every=False):
        """What leaves give: one weight each, or with `every` one for each target."""
        rows = []
        for tree, number in self.leaves:
            for target in targets if every else [targets[tree % len(targets)]]:
                weight = float(F32(random.normal()))
                rows.append((tree, number, target, abs(weight) / 4 if positive else weight))
        columns = list(zip(*rows))
        names = [f"{prefix}_{key}" for key in ["treeids", "nodeids", "ids", "weights"]]
        return {name: list(column) for name, column in zip(names, columns)}


def rows(count, features, nan=False, dtype=F32):
    x = random.choice(np.append(VALUES, [VALUES[0] - 1, VALUES[-1] + 1, 0.25]), (count, features))
    if nan:
        x[random.random(x.shape) < 0.2] = NAN
        x[0, 0], x[-1, -1] = INF, -INF
    return x.astype(dtype)


def regressor(name, x, trees, targets=1, every=False, ml=1, **attributes):
    given = trees.given("target", list(range(targets)), every=every)
    held = {**trees.attributes(), **given, **attributes}
    ensemble = node("TreeEnsembleRegressor", ["x"], ["y"], n_targets=targets, **held)
    record(name, [ensemble], {"x": x}, ["y"], ml)


def classifier(name, x, trees, ids, labels, positive, every=False, **attributes):
    kind = "classlabels_strings" if isinstance(labels[0], str) else "classlabels_int64s"
    held = {**trees.attributes(), **trees.given("class", ids, positive, every), kind: labels, **attributes}
    record(name, [node("TreeEnsembleClassifier", ["x"], ["l", "y"], **held)], {"x": x}, ["l", "y"])


def regressors():
    for mode, nan in itertools.product(MODES, [False, True]):
        trees = Trees(4, 3, 3, (mode,), nan)
        regressor(f"regressor {mode} nan {nan}", rows(19, 3, True), trees)
    for aggregate, targets in itertools.product(["SUM", "AVERAGE", "MIN", "MAX"], [1, 3]):
        base = [0.25, -1.5, 3.0][:targets]
        for every, values in itertools.product([False, True], [None, base]):
            trees = Trees(3, 3, 4, MODES, True)
            name = f"regressor {aggregate} {targets} every {every} base {values}"
            regressor(name, rows(9, 4, True), trees, targets, every, aggregate_function=aggregate, base_values=values)
    for transform, targets in itertools.product(TRANSFORMS, [1, 3]):
        values = rows(3, 4)
        regressor(f"regressor {transform} {targets}", values, Trees(4, 2, 4), targets, True, post_transform=transform)
    for count in [1, 11]:
        regressor(f"regressor double {count}", rows(count, 3, dtype=F64), Trees(5, 3, 3))
    for count in [1, 7, 8, 77]:
        regressor(f"regressor rows {count}", rows(count, 3), Trees(11, 3, 3))
    regressor("regressor of leaves", rows(2, 3), Trees(3, 0, 3))


def classifiers():
    for ids, positive, transform in itertools.product([[0], [1]], [True, False], TRANSFORMS):
        if transform == "PROBIT":
            continue
        for base, labels in itertools.product([None, [0.25]] if ids == [0] else [None], [[3, 7], ["off", "on"]]):
            name = f"classifier {ids} positive {positive} {transform} base {base} {labels}"
            trees = Trees(3, 2, 4)
            classifier(name, rows(9, 4), trees, ids, labels, positive, base_values=base, post_transform=transform)
    for transform, every, base in itertools.product(TRANSFORMS, [True, False], [None, [0.25, -0.5, 1.0]]):
        name = f"classifier of three {transform} every {every} base {base}"
        positive = transform == "PROBIT"
        if positive and base:
            continue
        trees = Trees(3, 2, 4, nan=True)
        values = rows(5, 4, True)
        classifier(name, values, trees, [0, 1, 2], [5, 6, 9], positive, every, base_values=base, post_transform=transform)
    trees = Trees(4, 3, 4)
    classifier("classifier with a class that nobody gives to", rows(9, 4), trees, [0, 2], ["a", "b", "c"], False)
    for dtype, count in itertools.product([F64, I64, I32], [1, 11]):
        values = rows(count, 4, dtype=dtype)
        classifier(f"classifier {dtype.__name__} {count}", values, Trees(4, 3, 4), [0], [0, 1], False)


def as_ensemble(trees, dtype, targets, members=None):
    """The same trees as a TreeEnsemble's columns."""
    splits, leaves = [], []
    places = {}
    for row, mode in enumerate(trees.nodes["modes"]):
        key = (trees.nodes["treeids"][row], trees.nodes["nodeids"][row])
        places[key] = ("leaf", len(leaves)) if mode == "LEAF" else ("split", len(splits))
        (leaves if mode == "LEAF" else splits).append(row)
    column = lambda key: [trees.nodes[key][row] for row in splits]
    side = lambda key: [places[trees.nodes["treeids"][row], trees.nodes[key][row]] for row in splits]
    yes, no = side("truenodeids"), side("falsenodeids")
    numbers = {mode: number for number, mode in enumerate([*MODES, "BRANCH_MEMBER"])}
    tensor = lambda values, dtype: numpy_helper.from_array(np.array(values, dtype))
    held = {
        "n_targets": targets,
        "tree_roots": [places[tree, 0][1] for tree in sorted(set(trees.nodes["treeids"]))],
        "nodes_featureids": column("featureids"),
        "nodes_splits": tensor(column("values"), dtype),
        "nodes_modes": tensor([numbers[mode] for mode in column("modes")], np.uint8),
        "nodes_truenodeids": [place for _, place in yes],
        "nodes_trueleafs": [int(kind == "leaf") for kind, _ in yes],
        "nodes_falsenodeids": [place for _, place in no],
        "nodes_falseleafs": [int(kind == "leaf") for kind, _ in no],
        "leaf_targetids": [int(random.integers(targets)) for _ in leaves],
        "leaf_weights": tensor([float(F32(random.normal())) for _ in leaves], dtype),
    }
    if trees.nan is not None:
        held["nodes_missing_value_tracks_true"] = [trees.nan[row] for row in splits]
    if members is not None:
        sets = [value for mode in column("modes") if mode == "BRANCH_MEMBER" for value in [*members(), NAN]]
        held["membership_values"] = tensor(sets, dtype)
    return held


def ensembles():
    for dtype, targets, aggregate in itertools.product([F32, F64], [1, 3], [0, 1, 2, 3]):
        held = as_ensemble(Trees(5, 3, 4, MODES, True), dtype, targets)
        ensemble = node("TreeEnsemble", ["x"], ["y"], aggregate_function=aggregate, **held)
        x = rows(9, 4, True, dtype)
        record(f"ensemble {dtype.__name__} {targets} {aggregate}", [ensemble], {"x": x}, ["y"], 5)
    # Of whole numbers alone: ONNX Runtime cuts off what is behind the point before it looks for a member.
    for nan in [False, True]:
        members = lambda: sorted(float(value) for value in random.choice([-2, -1, 0, 1, 2], 3, replace=False))
        trees = Trees(5, 3, 4, ["BRANCH_MEMBER"], nan)
        ensemble = node("TreeEnsemble", ["x"], ["y"], **as_ensemble(trees, F32, 1, members))
        record(f"ensemble member nan {nan}", [ensemble], {"x": np.round(rows(19, 4, nan))}, ["y"], 5)


if __name__ == "__main__":
    regressors()
    classifiers()
    ensembles()
    finish(__file__)
