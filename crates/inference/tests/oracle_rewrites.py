"""Records what ONNX Runtime answers where tract alone answers otherwise, one small model for each case.

    python crates/inference/tests/oracle_rewrites.py

Writes rewrites.json, or with `--check` compares with it.
"""

import itertools

import numpy as np
from onnx import helper, numpy_helper

from recorder import F32, finish, record

random = np.random.default_rng(20261124)


def constant(name, array):
    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(np.asarray(array), name))


def quantised_tails():
    """What int8 classifiers end with: their logits, a softmax, and integers again."""
    for stored, axis in itertools.product([np.int8, np.uint8], [-1, 0]):
        logits = random.integers(0 if stored == np.uint8 else -128, 120, (2, 5)).astype(stored)
        zero = stored(-128 if stored == np.int8 else 0)
        nodes = [
            constant("s", F32(0.07)),
            constant("z", stored(3)),
            constant("t", F32(1 / 256)),
            constant("u", zero),
            helper.make_node("DequantizeLinear", ["x", "s", "z"], ["f"]),
            helper.make_node("Softmax", ["f"], ["p"], axis=axis),
            helper.make_node("QuantizeLinear", ["p", "t", "u"], ["y"]),
        ]
        record(f"tail {stored.__name__} axis {axis}", nodes, {"x": logits}, ["y"])


def quantised():
    for stored in [np.int8, np.uint8, np.int16, np.uint16]:
        x = np.append(random.normal(0, 20, 40), [0.25, 0.75, 1.25, -0.25, 1e9, -1e9, np.inf, -np.inf]).astype(F32)
        nodes = [
            constant("s", F32(0.5)),
            constant("z", stored(7)),
            helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
            helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
            helper.make_node("Relu", ["y"], ["r"]),
        ]
        record(f"there and back {stored.__name__}", nodes, {"x": x}, ["r"], opset=21)
        record(f"there {stored.__name__}", nodes[:3], {"x": x}, ["q"], opset=21)
    for axis, stored in itertools.product([0, 1, -1], [np.int8, np.uint8]):
        x = random.normal(0, 3, (3, 3, 3)).astype(F32)
        nodes = [
            constant("s", np.array([0.1, 0.02, 1.5], F32)),
            constant("z", np.array([0, 3, 100], stored)),
            helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], axis=axis),
            helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"], axis=axis),
        ]
        record(f"axis {axis} {stored.__name__}", nodes, {"x": x}, ["q", "y"])
    nodes = [constant("s", F32(0.1)), helper.make_node("QuantizeLinear", ["x", "s"], ["y"])]
    record("without a zero point", nodes, {"x": random.normal(5, 9, (2, 3)).astype(F32)}, ["y"])
    nodes = [constant("s", F32(0.01)), helper.make_node("DequantizeLinear", ["x", "s"], ["y"])]
    record("bias", nodes, {"x": np.array([-70000, 0, 1 << 20], np.int32)}, ["y"])


GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}


def recurrent():
    length, batch, width, hidden = 4, 2, 3, 5
    directions = ["forward", "reverse", "bidirectional"]
    for kind, direction, layout in itertools.product(GATES, directions, [0, 1]):
        if layout == 1:
            continue  # ONNX Runtime has no batch first
        for wanted, start in [(("y", "h"), False), (("", "h"), True), (("y", ""), False)]:
            count = 2 if direction == "bidirectional" else 1
            shapes = {"w": (GATES[kind] * hidden, width), "r": (GATES[kind] * hidden, hidden), "b": (2 * GATES[kind] * hidden,)}
            nodes = [constant(name, random.normal(0, 0.5, (count, *shape)).astype(F32)) for name, shape in shapes.items()]
            inputs = ["x", "w", "r", "b"]
            if start:
                nodes.append(constant("i", random.normal(0, 0.5, (count, batch, hidden)).astype(F32)))
                inputs += ["", "i"]
            outputs = list(wanted)
            node = helper.make_node(kind, inputs, outputs, hidden_size=hidden, direction=direction)
            x = random.normal(0, 1, (length, batch, width)).astype(F32)
            named = [name for name in outputs if name]
            record(f"{kind} {direction} {wanted} start {start}", [*nodes, node], {"x": x}, named)


def extremes():
    x = random.normal(0, 3, (3, 4)).astype(F32)
    x[1] = -np.inf
    x[2, 1] = np.inf
    for operator, keep in itertools.product(["ReduceMax", "ReduceMin", "ReduceLogSumExp"], [0, 1]):
        nodes = [constant("a", np.array([1])), helper.make_node(operator, ["x", "a"], ["y"], keepdims=keep)]
        for name, values in [("infinite", x), ("negative", -x), ("large", np.float32(100) * np.abs(x[:1]) + 1000)]:
            if operator == "ReduceLogSumExp" and name == "infinite":
                continue  # ONNX Runtime gives NaN for a row with an infinity in it
            record(f"{operator} {name} keep {keep}", nodes, {"x": values}, ["y"], opset=20)
    node = helper.make_node("ReduceLogSumExp", ["x"], ["y"], axes=[0, -1])
    record("ReduceLogSumExp with axes as attribute", [node], {"x": 200 * x[:1]}, ["y"], opset=13)


def activations():
    x = np.append(random.normal(0, 3, 12), [0.0, -0.0, 1e-6, -1e-6]).astype(F32)
    for alpha in [0.5, 1.0, 2.0]:
        record(f"celu {alpha}", [helper.make_node("Celu", ["x"], ["y"], alpha=alpha)], {"x": x}, ["y"])


def saturated():
    x = np.array([100, 89, 88, 20, 1, 0, -1, -20, -100, 1e30, np.inf, -np.inf, np.nan])
    node = helper.make_node("Softplus", ["x"], ["y"])
    record("softplus", [node], {"x": x.astype(F32)}, ["y"])
    # Of doubles from 710 on ONNX Runtime's is infinite.
    record("softplus of doubles", [node], {"x": x[x != 1e30]}, ["y"])


def logarithms():
    for opset, axis in itertools.product([12, 13], [None, 0, 1, -1]):
        given = {} if axis is None else {"axis": axis}
        node = helper.make_node("LogSoftmax", ["x"], ["y"], **given)
        x = random.normal(0, 40, (2, 3, 4)).astype(F32)
        record(f"LogSoftmax {axis} of opset {opset}", [node], {"x": x}, ["y"], opset=opset)
    node = helper.make_node("LogSoftmax", ["x"], ["y"])
    record("LogSoftmax of NaN", [node], {"x": with_nan(2, 5)}, ["y"])
    record("LogSoftmax of doubles", [node], {"x": np.array([[0, -1e4, 1], [1e4, 5, -5]])}, ["y"])


def with_nan(*shape):
    """Random numbers, the fourth of which is none."""
    x = random.normal(0, 2, shape).astype(F32)
    x.flat[3] = np.nan
    return x


CURVES = ["Relu", "Sigmoid", "Tanh", "HardSigmoid", "HardSwish", "LeakyRelu", "Elu", "Celu", "Softplus", "Clip"]


def curve(name, x, y):
    """The nodes of an activation."""
    if name == "Clip":
        bounds = [constant("low", F32(-0.5)), constant("high", F32(1.5))]
        return [*bounds, helper.make_node("Clip", [x, "low", "high"], [y])]
    return [helper.make_node(name, [x], [y])]


def not_a_number():
    for name in CURVES:
        record(f"NaN alone {name}", curve(name, "x", "y"), {"x": with_nan(2, 5)}, ["y"], batch=True)
        weights = [constant("w", random.normal(0, 1, (5, 6)).astype(F32)), constant("b", random.normal(0, 1, 6).astype(F32))]
        product = helper.make_node("Gemm", ["x", "w", "b"], ["h"])
        record(f"NaN behind a product {name}", [*weights, product, *curve(name, "h", "y")], {"x": with_nan(3, 5)}, ["y"], batch=True)
        for groups, outputs in [(1, 4), (3, 3)]:
            weights = [
                constant("w", random.normal(0, 1, (outputs, 3 // groups, 3, 3)).astype(F32)),
                constant("b", random.normal(0, 1, outputs).astype(F32)),
            ]
            convolution = helper.make_node("Conv", ["x", "w", "b"], ["h"], group=groups, pads=[1, 1, 1, 1])
            nodes = [*weights, convolution, *curve(name, "h", "y")]
            record(f"NaN behind a convolution of {groups} {name}", nodes, {"x": with_nan(1, 3, 5, 4)}, ["y"])
    for name, kind in itertools.product(["Max", "Min"], [F32, np.float64]):
        inputs = {"x": with_nan(2, 5).astype(kind), "z": with_nan(5)[::-1].astype(kind)}
        record(f"NaN {name} {kind.__name__}", [helper.make_node(name, ["x", "z"], ["y"])], inputs, ["y"])
        nodes = [constant("c", kind(0.5)), helper.make_node(name, ["c", "x"], ["y"])]
        record(f"NaN {name} of one number {kind.__name__}", nodes, {"x": inputs["x"]}, ["y"])
    nodes = [helper.make_node("Sigmoid", ["x"], ["s"]), helper.make_node("Mul", ["x", "s"], ["y"])]
    record("NaN times its sigmoid", nodes, {"x": with_nan(2, 5)}, ["y"])


def gated():
    """GRUs as PyTorch exports them, of few steps and of many."""
    for length, direction, start in itertools.product([2, 6], ["forward", "reverse", "bidirectional"], [False, True]):
        count = 2 if direction == "bidirectional" else 1
        shapes = {"w": (12, 3), "r": (12, 4), "b": (24,)}
        nodes = [constant(name, random.normal(0, 0.5, (count, *shape)).astype(F32)) for name, shape in shapes.items()]
        inputs = ["x", "w", "r", "b"]
        if start:
            nodes.append(constant("i", random.normal(0, 0.5, (count, 2, 4)).astype(F32)))
            inputs += ["", "i"]
        attributes = {"hidden_size": 4, "direction": direction, "linear_before_reset": 1}
        node = helper.make_node("GRU", inputs, ["y", "h"], **attributes)
        x = random.normal(0, 1, (length, 2, 3)).astype(F32)
        record(f"GRU of {length} steps {direction} start {start}", [*nodes, node], {"x": x}, ["y", "h"])


def of_other_lengths():
    """Rows with fewer steps than others, and one without any."""
    for kind, direction in itertools.product(GATES, ["forward", "reverse", "bidirectional"]):
        count = 2 if direction == "bidirectional" else 1
        gates = GATES[kind]
        shapes = {"w": (gates * 4, 3), "r": (gates * 4, 4), "b": (8 * gates,), "i": (3, 4), "j": (3, 4), "p": (12,)}
        nodes = [constant(name, random.normal(0, 0.5, (count, *shape)).astype(F32)) for name, shape in shapes.items()]
        inputs = ["x", "w", "r", "b", "n", "i"]
        outputs = ["y", "h"]
        if kind == "LSTM":
            inputs += ["j", "p"]
            outputs.append("c")
        node = helper.make_node(kind, inputs, outputs, hidden_size=4, direction=direction)
        x = random.normal(0, 1, (5, 3, 3)).astype(F32)
        for lengths in [[5, 2, 3], [1, 0, 4]]:
            given = {"x": x, "n": np.array(lengths, np.int32)}
            record(f"{kind} {direction} of lengths {lengths}", [*nodes, node], given, outputs)


def with_other_activations():
    """What Keras and PyTorch offer beside a layer's own."""
    names = ["Relu", "Softsign", "HardSigmoid", "Sigmoid", "Tanh"]
    for kind, name, direction in itertools.product(GATES, names, ["forward", "bidirectional"]):
        gates, count = GATES[kind], 2 if direction == "bidirectional" else 1
        own = {"RNN": [name], "GRU": [name, "Softsign"], "LSTM": [name, "Tanh", name]}[kind]
        if name == "Relu" and kind != "RNN":
            own = {"GRU": ["Sigmoid", name], "LSTM": ["Sigmoid", name, "Tanh"]}[kind]
        given = {}
        if name == "HardSigmoid":
            takers = [kept for kept in own * count if kept == name]
            given = {"activation_alpha": [0.3 - 0.02 * place for place in range(len(takers))]}
            given["activation_beta"] = [0.4 + 0.03 * place for place in range(len(takers))]
        shapes = {"w": (gates * 4, 3), "r": (gates * 4, 4), "b": (8 * gates,)}
        nodes = [constant(part, random.normal(0, 0.5, (count, *shape)).astype(F32)) for part, shape in shapes.items()]
        attributes = {"hidden_size": 4, "direction": direction, "activations": own * count, **given}
        node = helper.make_node(kind, ["x", "w", "r", "b"], ["y", "h"], **attributes)
        record(f"{kind} {direction} {name}", [*nodes, node], {"x": random.normal(0, 1, (4, 2, 3)).astype(F32)}, ["y", "h"])


def between_integers():
    """Convolutions whose inputs and outputs are integers, as quantisers write them."""
    shapes = [
        # channels, outputs, groups, picture, kernel, strides, pads, dilations
        (8, 6, 1, (5, 7), (1, 1), (1, 1), (0, 0, 0, 0), (1, 1)),
        (3, 9, 1, (9, 8), (3, 3), (2, 2), (0, 1, 1, 1), (1, 1)),
        (6, 12, 1, (6, 6), (3, 3), (1, 1), (1, 1, 1, 1), (1, 1)),
        (1, 17, 1, (13, 9), (10, 4), (2, 2), (4, 1, 5, 1), (1, 1)),
        (1, 3, 1, (6, 20), (3, 7), (1, 1), (1, 3, 1, 3), (1, 1)),
        (5, 5, 5, (7, 5), (3, 3), (1, 1), (1, 1, 1, 1), (1, 1)),
        (5, 5, 5, (8, 9), (3, 3), (2, 2), (0, 0, 1, 1), (1, 1)),
        (4, 8, 4, (6, 6), (5, 1), (1, 1), (2, 0, 2, 0), (1, 1)),
        (8, 8, 2, (5, 5), (3, 2), (1, 2), (2, 0, 2, 1), (2, 1)),
        (2, 4, 1, (5, 18), (2, 5), (1, 1), (0, 4, 0, 4), (1, 2)),
        (7, 3, 1, (11,), (3,), (2,), (1, 1), (1,)),
    ]
    for place, (channels, outputs, groups, picture, kernel, strides, pads, dilations) in enumerate(shapes):
        for kind, (of, to) in enumerate([(np.int8, np.int8), (np.uint8, np.uint8), (np.uint8, np.int8)]):
            by_channel, relu, is_biased = (place + kind) % 2 == 0, (place + kind) % 3 != 0, (place + kind) % 4 != 0
            scale = random.uniform(0.002, 0.01, outputs if by_channel else ()).astype(F32)
            weights = random.integers(-127, 128, (outputs, channels // groups, *kernel)).astype(np.int8)
            of_zero, to_zero = (of(random.integers(*range_of(kind))) for kind in (of, to))
            if relu and place % 2:
                to_zero = to(range_of(to)[0])
            reach = np.sqrt(weights[0].size) * 128 * 60 * 0.05 * 0.006 / 60
            constants = {
                "xs": F32(0.05),
                "xz": of_zero,
                "w": weights,
                "ws": scale,
                "wz": np.zeros_like(scale, np.int8),
                "ys": F32(reach),
                "yz": to_zero,
            }
            nodes = [helper.make_node("DequantizeLinear", ["x", "xs", "xz"], ["xf"])]
            axis = {"axis": 0} if by_channel else {}
            nodes.append(helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["wf"], **axis))
            inputs = ["xf", "wf"]
            if is_biased:
                constants["b"] = random.integers(-9000, 9000, outputs).astype(np.int32)
                constants["bs"] = (F32(0.05) * scale).astype(F32)
                constants["bz"] = np.zeros_like(scale, np.int32)
                nodes.append(helper.make_node("DequantizeLinear", ["b", "bs", "bz"], ["bf"], **axis))
                inputs.append("bf")
            attributes = {"group": groups, "kernel_shape": kernel, "strides": strides, "dilations": dilations}
            if place == 1:
                attributes["auto_pad"] = ["SAME_UPPER", "SAME_LOWER", "VALID"][kind]
            else:
                attributes["pads"] = pads
            nodes.append(helper.make_node("Conv", inputs, ["c"], **attributes))
            if relu:
                nodes.append(helper.make_node("Relu", ["c"], ["r"]))
            nodes.append(helper.make_node("QuantizeLinear", ["r" if relu else "c", "ys", "yz"], ["y"]))
            x = random.integers(*range_of(of), (1, channels, *picture)).astype(of)
            given = [constant(name, value) for name, value in constants.items()]
            record(f"between integers {place} {of.__name__} to {to.__name__}", [*given, *nodes], {"x": x}, ["y"])


def products_of_integers():
    """MatMul, with an Add or without, Gemm, and QLinearMatMul, between integers."""
    for place, (kind, of, to) in enumerate(itertools.product(["MatMul", "Gemm", "turned", "QLinear"], [np.int8, np.uint8], [np.int8, np.uint8])):
        if kind == "QLinear" and of != to:
            continue  # ONNX Runtime has none
        length, outputs, rows = random.integers(1, 40), random.integers(2, 40), 3
        by_output, relu, is_biased = place % 2 == 0, place % 3 == 0, kind != "QLinear" and place % 4 != 1
        turned = kind == "turned"
        weights = random.integers(-127, 128, (outputs, length) if turned else (length, outputs)).astype(np.int8)
        scale = random.uniform(0.002, 0.01, outputs if by_output and kind != "QLinear" else ()).astype(F32)
        constants = {
            "xs": F32(0.05),
            "xz": of(random.integers(*range_of(of))),
            "w": weights,
            "ws": scale,
            "wz": np.zeros_like(scale, np.int8),
            "ys": F32(0.03 * np.sqrt(length)),
            "yz": to(random.integers(*range_of(to))),
        }
        if kind == "QLinear":
            names = ["x", "xs", "xz", "w", "ws", "wz", "ys", "yz"]
            nodes = [helper.make_node("QLinearMatMul", names, ["y"])]
        else:
            axis = {"axis": 0 if turned else 1} if by_output else {}
            nodes = [
                helper.make_node("DequantizeLinear", ["x", "xs", "xz"], ["xf"]),
                helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["wf"], **axis),
            ]
            inputs = ["xf", "wf"]
            if is_biased:
                constants["b"] = random.integers(-9000, 9000, outputs).astype(np.int32)
                constants["bs"] = (F32(0.05) * scale).astype(F32)
                constants["bz"] = np.zeros_like(scale, np.int32)
                of_bias = {"axis": 0} if by_output else {}
                nodes.append(helper.make_node("DequantizeLinear", ["b", "bs", "bz"], ["bf"], **of_bias))
            if kind == "MatMul":
                nodes.append(helper.make_node("MatMul", inputs, ["p"]))
                if is_biased:
                    nodes.append(helper.make_node("Add", ["bf", "p"] if place % 2 else ["p", "bf"], ["c"]))
            else:
                inputs += ["bf"] if is_biased else []
                nodes.append(helper.make_node("Gemm", inputs, ["c"], transB=int(turned)))
            last = "c" if is_biased or kind != "MatMul" else "p"
            if relu:
                nodes.append(helper.make_node("Relu", [last], ["r"]))
                last = "r"
            nodes.append(helper.make_node("QuantizeLinear", [last, "ys", "yz"], ["y"]))
        x = random.integers(*range_of(of), (rows, length)).astype(of)
        given = [constant(name, value) for name, value in constants.items()]
        record(f"product of integers {kind} {of.__name__} to {to.__name__}", [*given, *nodes], {"x": x}, ["y"])


def convolution(x, y, outputs, channels, kernel=3, bias=True, **attributes):
    """The nodes of a convolution with weights by lot; what it is given beside them."""
    shape = (outputs, channels // attributes.get("group", 1), kernel, kernel)
    nodes = [constant(f"{y}.w", random.normal(0, 1 / np.sqrt(shape[1] * kernel * kernel), shape).astype(F32))]
    if bias:
        nodes.append(constant(f"{y}.b", random.normal(0, 1, outputs).astype(F32)))
    return [*nodes, helper.make_node("Conv", [x, f"{y}.w", f"{y}.b"][: 2 + bias], [y], **attributes)]


def steps_behind_convolutions():
    """Every second place of what a convolution answers, which is no convolution with twice its stride."""
    x = {"x": random.normal(0, 1, (1, 4, 9, 8)).astype(F32)}
    around = {"pads": [1, 1, 1, 1]}
    for padding in [{"auto_pad": "SAME_UPPER"}, {"auto_pad": "SAME_LOWER"}, around]:
        nodes = [*convolution("x", "a", 4, 4, **padding), *convolution("a", "y", 6, 4, kernel=1, strides=[2, 2])]
        record(f"a step behind {padding}", nodes, x, ["y"])
        nodes.insert(-3, helper.make_node("Relu", ["a"], ["r"]))
        nodes[-1] = helper.make_node("Conv", ["r", "y.w", "y.b"], ["y"], strides=[2, 2])
        record(f"a step behind a ReLU behind {padding}", nodes, x, ["y"])
    for first, step in itertools.product([0, 1, 2, 5], [1, 2, 3, -1, -2]):
        numbers = {"s": [first if step > 0 else 8 - first], "e": [1 << 40 if step > 0 else -(1 << 40)], "i": [2], "t": [step]}
        cut = [constant(name, np.array(value)) for name, value in numbers.items()]
        cut.append(helper.make_node("Slice", ["a", "s", "e", "i", "t"], ["y"]))
        record(f"every {step} from {first} behind a convolution", [*convolution("x", "a", 4, 4, **around), *cut], x, ["y"])
        if step == 1:
            cut[-1] = helper.make_node("Slice", ["a", "s", "e", "i", "t"], ["c"])
            nodes = [*convolution("x", "a", 4, 4, **around), *cut, *convolution("c", "y", 3, 4, kernel=1, strides=[2, 1])]
            record(f"a step behind rows from {first}", nodes, x, ["y"])
    for axis in [1, 2, 3]:
        nodes = [*convolution("x", "a", 4, 4), helper.make_node("Softmax", ["a"], ["p"], axis=axis)]
        record(f"a step behind a softmax along {axis}", [*nodes, *convolution("p", "y", 3, 4, kernel=1, strides=[2, 2])], x, ["y"])
    shape = constant("n", np.array([1, 4, 4, 8]))
    nodes = [shape, helper.make_node("Reshape", ["x", "n"], ["c"]), *convolution("c", "y", 3, 4, kernel=1, strides=[2, 2])]
    record("a step behind another shape", nodes, {"x": random.normal(0, 1, (1, 16, 2, 4)).astype(F32)}, ["y"])
    nodes = [helper.make_node("GlobalAveragePool", ["x"], ["g"]), shape, helper.make_node("Expand", ["g", "n"], ["c"])]
    record("a step behind what is repeated", [*nodes, *convolution("c", "y", 3, 4, kernel=1, strides=[2, 2])], x, ["y"])


def constants_before_convolutions():
    """A number for each channel less a convolution, or divided by one; and the other way round."""
    x = {"x": random.normal(0, 1, (1, 3, 5, 4)).astype(F32)}
    for operator, outputs, is_first, is_alone in itertools.product(["Sub", "Div", "Add", "Mul"], [1, 4], [True, False], [True, False]):
        nodes = convolution("x", "a", outputs, 3)
        # Far from 0, by which a quotient would be of any size.
        nodes[1] = constant("a.b", random.uniform(5, 6, outputs).astype(F32))
        last = "a"
        if not is_alone:
            nodes += [constant("o", random.uniform(1, 2, (outputs, 1, 1)).astype(F32)), helper.make_node("Mul", ["a", "o"], ["m"])]
            last = "m"
        nodes.append(constant("c", random.uniform(1, 2, (outputs, 1, 1)).astype(F32)))
        given = ["c", last] if is_first else [last, "c"]
        nodes.append(helper.make_node(operator, given, ["y"]))
        record(f"{operator} of {outputs} and a convolution, first {is_first}, alone {is_alone}", nodes, x, ["y"])


def repeated_before_products():
    """One of something along an axis, made many, and summed up over it."""
    x = {"x": random.normal(0, 1, (1, 1, 5, 4)).astype(F32)}
    of_one = [constant("n", np.array([1, 3, 5, 4])), helper.make_node("Expand", ["x", "n"], ["e"])]
    tiled = [constant("n", np.array([1, 3, 1, 1])), helper.make_node("Tile", ["x", "n"], ["e"])]
    for name, made in [("expanded", of_one), ("tiled", tiled)]:
        record(f"{name} before a convolution", [*made, *convolution("e", "y", 4, 3, kernel=1)], x, ["y"])
        relu = helper.make_node("Relu", ["e"], ["r"])
        record(f"{name} before a convolution, bounded", [*made, relu, *convolution("r", "y", 4, 3, kernel=1)], x, ["y"])
    weights = constant("w", random.normal(0, 1, (3, 6)).astype(F32))
    for shape, to in [((2, 1), [2, 3]), ((1, 3), [4, 3]), ((3,), [2, 4, 3])]:
        nodes = [weights, constant("n", np.array(to)), helper.make_node("Expand", ["x", "n"], ["e"])]
        given = {"x": random.normal(0, 1, shape).astype(F32)}
        record(f"{shape} expanded before a product", [*nodes, helper.make_node("MatMul", ["e", "w"], ["y"])], given, ["y"])
    # What a convolution of one channel has made of it is read by another.
    for stride in [1, 2]:
        x = {"x": random.normal(0, 1, (1, 1, 17 * stride, 16 * stride)).astype(F32)}
        nodes = convolution("x", "a", 32, 1, kernel=1, bias=stride == 2, strides=[stride, stride])
        record(f"one channel with a stride of {stride}", [*nodes, *convolution("a", "y", 4, 32, kernel=1)], x, ["y"])


def differences_behind_convolutions():
    """A number for each of many channels less what a convolution has become."""
    x = {"x": random.normal(0, 1, (1, 3, 4, 4)).astype(F32)}
    by_channel = [constant(name, random.uniform(1, 2, (17, 1, 1)).astype(F32)) for name in ["c", "d"]]
    conv = convolution("x", "a", 17, 3, kernel=3)
    for operator in ["Add", "Sub", "Mul", "Div"]:
        nodes = [*by_channel, *conv, helper.make_node(operator, ["a", "d"], ["b"]), helper.make_node("Sub", ["c", "b"], ["y"])]
        record(f"difference behind {operator}", nodes, x, ["y"])
    for operator in ["Identity", "Dropout", "Cast", "Concat"]:
        given = {"Cast": {"to": 1}, "Concat": {"axis": 1}}.get(operator, {})
        nodes = [*by_channel[:1], *conv, helper.make_node(operator, ["a"], ["b"], **given), helper.make_node("Sub", ["c", "b"], ["y"])]
        record(f"difference behind {operator}", nodes, x, ["y"])
    mean = helper.make_node("GlobalAveragePool", ["x"], ["g"])
    nodes = [*by_channel[:1], *conv, mean, *convolution("g", "h", 17, 3, kernel=1)]
    nodes += [helper.make_node("Add", ["a", "h"], ["b"]), helper.make_node("Sub", ["c", "b"], ["y"])]
    record("difference behind what is by channel", nodes, x, ["y"])


def padded():
    """A number that is given, and isn't asked for."""
    x = {"x": random.normal(0, 1, (2, 4)).astype(F32)}
    for mode in ["constant", "edge", "reflect"]:
        nodes = [constant("p", np.array([0, 1, 1, 2])), constant("v", F32(7))]
        record(f"Pad {mode} with a number", [*nodes, helper.make_node("Pad", ["x", "p", "v"], ["y"], mode=mode)], x, ["y"])


def networks():
    """Convolutions one behind the other, and two ways round: values between them lie in another order."""
    x = {"x": random.normal(0, 1, (1, 3, 9, 7)).astype(F32)}
    around = {"pads": [1, 1, 1, 1]}
    for kind in ["Relu", "Clip", "HardSwish", "Sigmoid"]:
        nodes = [*convolution("x", "a", 12, 3, strides=[2, 1], **around), *curve(kind, "a", "b")]
        nodes += [*convolution("b", "c", 12, 12, group=12, **around), helper.make_node("Relu", ["c"], ["d"])]
        nodes += [*convolution("d", "e", 17, 12, kernel=1, bias=kind != "Clip"), helper.make_node("Relu", ["e"], ["f"])]
        nodes += [*convolution("f", "g", 9, 17, **around), helper.make_node("GlobalAveragePool", ["g"], ["y"])]
        record(f"network with {kind}", nodes, x, ["y", "d"] if kind == "Relu" else ["y"])
    nodes = [*convolution("x", "a", 12, 3, **around), helper.make_node("Relu", ["a"], ["b"])]
    nodes += [*convolution("b", "c", 9, 12, **around), helper.make_node("Relu", ["c"], ["d"])]
    nodes += [*convolution("d", "e", 12, 9, **around), helper.make_node("Add", ["e", "b"], ["f"]), helper.make_node("Relu", ["f"], ["g"])]
    nodes += [*convolution("g", "h", 10, 12, strides=[2, 2], **around), helper.make_node("Relu", ["h"], ["i"])]
    nodes += [*convolution("i", "j", 9, 10, **around), *convolution("g", "k", 9, 12, kernel=1, strides=[2, 2])]
    nodes += [helper.make_node("Add", ["j", "k"], ["l"]), helper.make_node("Relu", ["l"], ["m"])]
    record("network two ways round", [*nodes, helper.make_node("GlobalMaxPool", ["m"], ["y"])], x, ["y"])
    record("network of NaN", nodes, {"x": with_nan(1, 3, 9, 7)}, ["m"])


def biases_that_are_not_by_output():
    """What is added behind a product may be by row, or have more axes than it."""
    cases = [((4, 3), (4, 1)), ((2, 3), (1, 1, 4)), ((3,), (1, 4)), ((2, 1, 3), (4, 1)), ((2, 3), (1, 4)), ((2, 3), (1,))]
    for (shape, of_bias), kind in itertools.product(cases, ["MatMul", "Gemm"]):
        if kind == "Gemm" and (len(shape) != 2 or len(of_bias) > 2):
            continue
        constants = {
            "xs": F32(0.05),
            "xz": np.int8(3),
            "w": random.integers(-127, 128, (3, 4)).astype(np.int8),
            "ws": F32(0.004),
            "wz": np.int8(0),
            "b": random.integers(-9000, 9000, of_bias).astype(np.int32),
            "bs": F32(F32(0.05) * F32(0.004)),
            "bz": np.int32(0),
            "ys": F32(0.05),
            "yz": np.int8(-5),
        }
        read = [helper.make_node("DequantizeLinear", [name, f"{name}s", f"{name}z"], [f"{name}f"]) for name in "xwb"]
        product = [helper.make_node("MatMul", ["xf", "wf"], ["p"]), helper.make_node("Add", ["p", "bf"], ["c"])]
        if kind == "Gemm":
            product = [helper.make_node("Gemm", ["xf", "wf", "bf"], ["c"])]
        last = helper.make_node("QuantizeLinear", ["c", "ys", "yz"], ["y"])
        x = random.integers(-128, 128, shape).astype(np.int8)
        given = [constant(name, value) for name, value in constants.items()]
        record(f"{kind} of {shape} and a bias of {of_bias}", [*given, *read, *product, last], {"x": x}, ["y"])


def range_of(kind):
    limits = np.iinfo(kind)
    return limits.min, limits.max + 1


if __name__ == "__main__":
    extremes()
    activations()
    quantised_tails()
    quantised()
    recurrent()
    saturated()
    not_a_number()
    logarithms()
    gated()
    of_other_lengths()
    with_other_activations()
    between_integers()
    products_of_integers()
    biases_that_are_not_by_output()
    steps_behind_convolutions()
    constants_before_convolutions()
    networks()
    repeated_before_products()
    differences_behind_convolutions()
    padded()
    finish(__file__)
