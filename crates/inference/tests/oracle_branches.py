"""Records what ONNX Runtime answers where a model has an `If` whose condition is always the same.

    python crates/inference/tests/oracle_branches.py

Writes branches.json, or with `--check` compares with it.
"""

import itertools

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from recorder import F32, finish, record

random = np.random.default_rng(20261125)
X = random.normal(0, 2, (2, 3)).astype(F32)


def constant(name, array):
    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(np.asarray(array), name))


def branch(nodes, outputs=("r",), weights=()):
    outs = [helper.make_empty_tensor_value_info(name) for name in outputs]
    weights = [numpy_helper.from_array(np.asarray(array, F32), name) for name, array in weights]
    return helper.make_graph(nodes, "branch", [], outs, weights)


def scaled(by, source="x", name="r", inner="k"):
    """A branch that multiplies by a number of its own."""
    return branch([constant(inner, F32(by)), helper.make_node("Mul", [source, inner], [name])], [name])


def choose(condition, then=None, other=None, outputs=("y",), name="choice"):
    then, other = then or scaled(2), other or scaled(-3)
    return helper.make_node("If", [condition], list(outputs), then_branch=then, else_branch=other, name=name)


def conditions():
    x = constant("one", np.array(1))
    shape = helper.make_node("Shape", ["x"], ["s"])
    first = [constant("at", np.array(0)), helper.make_node("Gather", ["s", "at"], ["n"])]
    cases = {
        "true": [constant("c", True)],
        "false": [constant("c", False)],
        "of one element": [constant("c", np.array([True]))],
        "identity": [constant("d", True), helper.make_node("Identity", ["d"], ["c"])],
        "not": [constant("d", True), helper.make_node("Not", ["d"], ["c"])],
        "cast": [constant("d", np.array(2)), helper.make_node("Cast", ["d"], ["c"], to=TensorProto.BOOL)],
        "equal": [x, constant("d", np.array(2)), helper.make_node("Equal", ["one", "d"], ["c"])],
        "greater and": [
            constant("a", F32(1)),
            constant("b", F32(0.5)),
            constant("d", True),
            helper.make_node("Greater", ["a", "b"], ["g"]),
            helper.make_node("And", ["g", "d"], ["c"]),
        ],
        "shape": [shape, *first, x, helper.make_node("Equal", ["n", "one"], ["c"])],
        "rank": [
            shape,
            constant("two", np.array(2)),
            helper.make_node("Size", ["s"], ["n"]),
            helper.make_node("Equal", ["n", "two"], ["c"]),
        ],
        "shape of what was computed": [
            constant("w", np.ones((3, 1), F32)),
            helper.make_node("MatMul", ["x", "w"], ["h"]),
            helper.make_node("Relu", ["h"], ["p"]),
            helper.make_node("Shape", ["p"], ["s"], start=1),
            helper.make_node("Squeeze", ["s"], ["n"]),
            x,
            helper.make_node("Equal", ["n", "one"], ["c"]),
        ],
    }
    for name, nodes in cases.items():
        record(f"condition {name}", [*nodes, choose("c")], {"x": X}, ["y"])


def names():
    """Names of a branch that are also those of something else."""
    yes, no = constant("yes", True), constant("no", False)
    twice = [choose("yes", outputs=["a"]), choose("no", scaled(5, "a"), scaled(7, "a"), name="again")]
    record("two with the same names inside", [yes, no, *twice], {"x": X}, ["y"])
    later = helper.make_node("Add", ["a", "x"], ["y"])
    record("and something behind", [yes, choose("yes", outputs=["a"]), later], {"x": X}, ["a", "y"])
    two = branch(
        [helper.make_node("Relu", ["x"], ["r"]), helper.make_node("Neg", ["r"], ["q"])],
        ["q", "r"],
    )
    record("two outputs", [yes, choose("yes", two, two, ["y", "z"])], {"x": X}, ["y", "z"])
    weights = branch([helper.make_node("Mul", ["x", "w"], ["r"])], weights=[("w", [1, 2, 3])])
    record("weights inside", [yes, choose("yes", weights)], {"x": X}, ["y"])
    both = [choose("yes", weights, outputs=["a"]), choose("yes", weights, outputs=["b"], name="again")]
    record("weights of one name", [yes, *both, helper.make_node("Add", ["a", "b"], ["y"])], {"x": X}, ["y"])


def nested():
    yes = constant("yes", True)
    for outer, inner in itertools.product([True, False], repeat=2):
        nodes = [constant("outer", outer), constant("inner", inner)]
        inside = branch([choose("inner", scaled(2, inner="k2"), scaled(3, inner="k3"), ["r"], "inside")])
        other = branch(
            [constant("own", inner), choose("own", scaled(5, inner="k5"), scaled(7, inner="k7"), ["r"], "inside")]
        )
        record(f"nested {outer} {inner}", [*nodes, choose("outer", inside, other)], {"x": X}, ["y"])
    # A scan inside, which sums rows after they were multiplied by something of the branch.
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [
            helper.make_node("Mul", ["row", "k"], ["m"]),
            helper.make_node("Add", ["sum", "m"], ["next"]),
            helper.make_node("Identity", ["next"], ["seen"]),
        ],
        "body",
        [value("sum", TensorProto.FLOAT, [3]), value("row", TensorProto.FLOAT, [3])],
        [value("next", TensorProto.FLOAT, [3]), value("seen", TensorProto.FLOAT, [3])],
    )
    scan = helper.make_node("Scan", ["start", "x"], ["last", "r"], body=body, num_scan_inputs=1)
    inside = branch([constant("k", F32(1.5)), constant("start", np.zeros(3, F32)), scan], ["r"])
    record("a scan inside", [yes, choose("yes", inside)], {"x": X}, ["y"])
    # The other way round: a choice inside a scan, by something outside of it.
    picked = branch([helper.make_node("Neg", ["row"], ["r"])])
    other = branch([helper.make_node("Abs", ["row"], ["r"])])
    for value_of in [True, False]:
        body = helper.make_graph(
            [choose("outside", picked, other, ["m"]), *body_of_sum()],
            "body",
            [value("sum", TensorProto.FLOAT, [3]), value("row", TensorProto.FLOAT, [3])],
            [value("next", TensorProto.FLOAT, [3]), value("seen", TensorProto.FLOAT, [3])],
        )
        scan = helper.make_node("Scan", ["start", "x"], ["last", "y"], body=body, num_scan_inputs=1)
        nodes = [constant("outside", value_of), constant("start", np.zeros(3, F32)), scan]
        record(f"inside a scan {value_of}", nodes, {"x": X}, ["y"])


def body_of_sum():
    return [
        helper.make_node("Add", ["sum", "m"], ["next"]),
        helper.make_node("Identity", ["next"], ["seen"]),
    ]


def not_taken():
    """What isn't taken may have what isn't supported, or another shape."""
    shift = branch(
        [
            helper.make_node("Cast", ["x"], ["u"], to=TensorProto.UINT8),
            helper.make_node("BitShift", ["u", "u"], ["v"], direction="LEFT"),
            helper.make_node("Cast", ["v"], ["r"], to=TensorProto.FLOAT),
        ]
    )
    record("unsupported and not taken", [constant("c", False), choose("c", shift)], {"x": X}, ["y"])
    squeezed = branch([constant("axes", np.array([0])), helper.make_node("Squeeze", ["x", "axes"], ["r"])])
    kept = branch([helper.make_node("Identity", ["x"], ["r"])])
    nodes = [
        helper.make_node("Shape", ["x"], ["s"], end=1),
        constant("one", np.array([1])),
        helper.make_node("Equal", ["s", "one"], ["c"]),
        choose("c", squeezed, kept),
    ]
    record("squeeze of one", nodes, {"x": X[:1]}, ["y"], batch=True)
    record("squeeze of two", nodes, {"x": X}, ["y"], batch=True)


if __name__ == "__main__":
    conditions()
    names()
    nested()
    not_taken()
    finish(__file__)
