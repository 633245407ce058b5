"""Records what ONNX Runtime answers, as the oracles beside this file do. Needs onnx and onnxruntime.

Each case is a model, its inputs and the outputs; a float that JSON doesn't have is a string, a tensor of strings a list
of them.
"""

import base64
import json
import math
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from onnx import TensorProto, helper

F32, F64, I64, I32 = np.float32, np.float64, np.int64, np.int32
TRANSFORMS = ["NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT"]
NAN, INF = float("nan"), float("inf")
# Other processors add in another order.
TOLERANCE = 1e-5

cases = []


def element_type(array):
    if array.dtype.kind in "OU":
        return TensorProto.STRING
    return helper.np_dtype_to_tensor_dtype(array.dtype)


def listed(array):
    """An array's elements, in order, as JSON can hold them exactly."""
    if array.dtype.kind in "OU":
        return [str(x) for x in array.ravel()]
    if array.dtype.kind != "f":
        return [int(x) for x in array.ravel()]
    # The shortest text that means this number in its own type.
    return [float(np.format_float_scientific(x)) if np.isfinite(x) else str(x) for x in array.ravel()]


def tensor(name, array):
    array = np.asarray(array)
    kind = "string" if array.dtype.kind in "OU" else array.dtype.name
    return {"name": name, "type": kind, "shape": list(array.shape), "data": listed(array)}


def record(name, nodes, inputs, outputs, ml=1, batch=False, opset=18):
    """Runs a graph of `nodes` on `inputs` (name to array), and keeps what comes out of `outputs`.

    With `batch`, the first dimension of the inputs has a name instead of a size.
    """
    inputs = {key: np.asarray(value) for key, value in inputs.items()}
    infos = []
    for key, value in inputs.items():
        shape = ["N", *value.shape[1:]] if batch else list(value.shape)
        infos.append(helper.make_tensor_value_info(key, element_type(value), shape))
    # An output's type is found out, not declared: some are sequences of maps.
    outs = [helper.make_empty_tensor_value_info(key) for key in outputs]
    graph = helper.make_graph(nodes, "case", infos, outs)
    imports = [helper.make_opsetid("", opset), helper.make_opsetid("ai.onnx.ml", ml)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=9 if opset < 21 else 10)
    data = model.SerializeToString()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        answers = session.run(None, inputs)
    except Exception as error:  # its own types are many, and say nothing more
        raise SystemExit(f"{name}: ONNX Runtime can't: {error}")
    answers = [mapped(answer) if isinstance(answer, list) else answer for answer in answers]
    cases.append(
        {
            "name": name,
            "model": base64.b64encode(data).decode(),
            "inputs": [tensor(key, value) for key, value in inputs.items()],
            "outputs": [tensor(key, answer) for key, answer in zip(outputs, answers)],
        }
    )


def mapped(maps):
    """A ZipMap's list of maps as the tensor of its values, which is what the model gives here."""
    return np.array([list(entry.values()) for entry in maps], F32)


def node(operator, inputs, outputs, **attributes):
    attributes = {key: value for key, value in attributes.items() if value is not None}
    return helper.make_node(operator, inputs, outputs, domain="ai.onnx.ml", **attributes)


def finish(script):
    """Writes the cases beside the script, or with `--check` holds them against those that are there."""
    path = Path(script).with_name(Path(script).stem.removeprefix("oracle_") + ".json")
    if "--check" in sys.argv:
        recorded = json.loads(path.read_text(encoding="utf-8"))
        problem = difference(json.loads(json.dumps(cases)), recorded)
        if problem:
            raise SystemExit(f"{path.name}: {problem}")
    else:
        lines = (json.dumps(case, ensure_ascii=False, separators=(",", ":")) for case in cases)
        path.write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")
    print(f"{len(cases)} cases of ONNX Runtime {onnxruntime.__version__}")


def difference(made, recorded, place=""):
    """Where two JSON values differ, floats by more than the tolerance; none if nowhere."""
    if isinstance(made, float) and isinstance(recorded, float):
        return None if math.isclose(made, recorded, rel_tol=TOLERANCE, abs_tol=TOLERANCE) else f"{place}: {made}, not {recorded}"
    if isinstance(made, dict) and isinstance(recorded, dict) and made.keys() == recorded.keys():
        pairs = [(made[key], recorded[key], f"{place}/{key}") for key in made]
    elif isinstance(made, list) and isinstance(recorded, list) and len(made) == len(recorded):
        pairs = [(a, b, f"{place}/{index}") for index, (a, b) in enumerate(zip(made, recorded))]
    else:
        return None if made == recorded else f"{place}: {str(made)[:80]}, not {str(recorded)[:80]}"
    return next((found for pair in pairs if (found := difference(*pair))), None)
