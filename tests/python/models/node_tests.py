"""Writes ONNX's own test cases of single nodes, with the outputs and the tolerance that the ONNX project gives.

    python node_tests.py OUT

A case gives all that a node takes as inputs, also what in models is nearly always a constant: axes, shapes, scales,
bounds. So it is written twice where it has several inputs: as it is, and as `<name>-constants` with all but the first
stored in the model, the way exporters write it.

Every case is written, whether Floorhand can have its tensors or not. A tensor that no `Datatype` holds (a sequence, a
bfloat16) has its kind in the index and no data.
"""

import sys
import warnings

import numpy as np
import onnx
from onnx.backend.test.case.node import collect_testcases

from cases import Cases

# What it gives is drawn at random: of its cases type and shape count. ONNX's own runner leaves them out.
RANDOM = "Bernoulli"


def tensor(value):
    """A tensor as numpy has it; what is none as it is."""
    return onnx.numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else value


def operators(tests):
    """Test's name -> the operator it tests: an `_expanded` one has that of the test that it spells out."""
    single = {test.name: test.model.graph.node[0].op_type for test in tests if len(test.model.graph.node) == 1}
    stem = lambda name: name.partition("_expanded")[0]
    return {test.name: single.get(stem(test.name)) or test.model.graph.node[-1].op_type for test in tests}


def values(data, declared):
    """Tensors by the names that the graph declares; an optional one that isn't given has neither."""
    given = [value for value in data if value is not None]
    return {value.name: tensor(data) for value, data in zip(declared, given, strict=False)}


def with_constants(model, inputs):
    """The model with all inputs but the first stored in it; none where they can't be."""
    kept, *others = inputs.items()
    if not others or not all(isinstance(value, (np.ndarray, np.generic)) for _name, value in others):
        return None
    stored = onnx.ModelProto()
    stored.CopyFrom(model)
    del stored.graph.input[:]
    stored.graph.input.extend(declared for declared in model.graph.input if declared.name == kept[0])
    stored.graph.initializer.extend(onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in others)
    return stored


def main(out):
    # Casts that overflow, divisions by zero: cases are made of them.
    warnings.simplefilter("ignore")
    tests = collect_testcases()
    tested = operators(tests)
    cases = Cases(out)
    for test in tests:
        (inputs, outputs), graph = test.data_sets[0], test.model.graph
        inputs, outputs = values(inputs, graph.input), values(outputs, graph.output)
        operator = tested[test.name]
        more = {"operator": operator, "rtol": test.rtol, "atol": test.atol, "random": operator == RANDOM}
        cases.add(test.name, test.model.SerializeToString(), inputs, outputs, **more)
        if stored := with_constants(test.model, inputs) if inputs else None:
            first = dict([next(iter(inputs.items()))])
            cases.add(f"{test.name}-constants", stored.SerializeToString(), first, outputs, **more)
    cases.close()


if __name__ == "__main__":
    np.seterr(all="ignore")
    main(*sys.argv[1:])
