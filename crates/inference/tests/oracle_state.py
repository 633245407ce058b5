"""Records what ONNX Runtime answers for a recurrent model: row by row is held against one run over all rows.

    python crates/inference/tests/oracle_state.py

Writes state.json, or with `--check` compares with it. Each cell is there twice: as it is served, with a row and its state in
and out, and as one graph over the whole sequence.
"""

import numpy as np
from onnx import helper, numpy_helper

from recorder import F32, finish, record

LENGTH, WIDTH, HIDDEN = 24, 3, 5
GATES = {"LSTM": 4, "GRU": 3}
random = np.random.default_rng(20261126)


def constant(name, array):
    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(np.asarray(array), name))


def cell(kind):
    gates = GATES[kind] * HIDDEN
    shapes = {"w": (1, gates, WIDTH), "r": (1, gates, HIDDEN), "b": (1, 2 * gates), "out": (HIDDEN, 2)}
    weights = [constant(name, random.normal(0, 0.7, shape).astype(F32)) for name, shape in shapes.items()]
    states = ["h", "c"] if kind == "LSTM" else ["h"]
    behind = [f"{state}n" for state in states]
    layer = helper.make_node(
        kind, ["x", "w", "r", "b", "", *states], ["all", *behind], hidden_size=HIDDEN
    )
    # [rows, 1, 1, hidden] to [rows, 1, 2]
    nodes = [
        *weights,
        layer,
        constant("axes", np.array([1])),
        helper.make_node("Squeeze", ["all", "axes"], ["rows"]),
        helper.make_node("MatMul", ["rows", "out"], ["y"]),
    ]
    x = random.normal(0, 1.5, (LENGTH, 1, WIDTH)).astype(F32)
    zeros = {state: np.zeros((1, 1, HIDDEN), F32) for state in states}
    record(f"{kind} a row", nodes, {"x": x[:1], **zeros}, ["y", *behind])
    record(f"{kind} all rows", nodes, {"x": x, **zeros}, ["y", *behind])


if __name__ == "__main__":
    for kind in GATES:
        cell(kind)
    finish(__file__)
