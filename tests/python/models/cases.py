"""Writes models with inputs and the outputs that are expected of them, for tests in Rust.

A folder gets for each case its model, `<name>.onnx`, and its tensors one after the other, `<name>.bin`: little-endian
and row-major, a string as its length in four bytes and its UTF-8, as BYTES tensors of the Open Inference Protocol are.
What is where in them is told in `index.json`.
"""

import json
from pathlib import Path

import numpy as np
import onnxruntime

# numpy's type -> the Open Inference Protocol's. Others are written by their own name, in capitals and without data.
DATATYPES = {
    "bool": "BOOL",
    "uint8": "UINT8",
    "uint16": "UINT16",
    "uint32": "UINT32",
    "uint64": "UINT64",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "int64": "INT64",
    "float16": "FP16",
    "float32": "FP32",
    "float64": "FP64",
    "object": "BYTES",
    "str": "BYTES",
}


class Cases:
    """Cases on their way into a folder; `close` writes the index."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.cases = []

    def add(self, name, model, inputs, outputs, also=None, **more):
        """Writes a case: the model's bytes, and tensors by their names.

        `also` are outputs that are as right as the first. `more` goes into the index as it is.
        """
        (self.folder / f"{name}.onnx").write_bytes(model)
        with (self.folder / f"{name}.bin").open("wb") as data:
            case = {"name": name, **more}
            case["inputs"] = [_write(data, name, value) for name, value in inputs.items()]
            case["outputs"] = [_write(data, name, value) for name, value in outputs.items()]
            case["also"] = [_write(data, name, value) for name, value in (also or {}).items()]
        self.cases.append(case)

    def close(self):
        (self.folder / "index.json").write_text(json.dumps({"cases": self.cases}))


def _write(data, name, value):
    """Appends a tensor, and returns what the index says of it."""
    if not isinstance(value, (np.ndarray, np.generic)):
        return {"name": name, "datatype": type(value).__name__.upper()}
    value = np.asarray(value)
    kind = "str" if value.dtype.kind == "U" else value.dtype.name
    entry = {"name": name, "datatype": DATATYPES.get(kind, kind.upper()), "shape": list(value.shape)}
    if kind not in DATATYPES:
        return entry
    content = _strings(value) if entry["datatype"] == "BYTES" else _little_endian(value)
    entry |= {"offset": data.tell(), "length": len(content)}
    data.write(content)
    return entry


def _little_endian(value):
    return np.ascontiguousarray(value, dtype=value.dtype.newbyteorder("<")).tobytes()


def _strings(value):
    texts = [text if isinstance(text, bytes) else str(text).encode() for text in value.ravel().tolist()]
    return b"".join(len(text).to_bytes(4, "little") + text for text in texts)


def onnxruntime_outputs(model, inputs, optimised=True):
    """What ONNX Runtime answers on one thread, by the outputs' names.

    `optimised` as it comes, else with the graph's nodes as they are.

    ZipMap's sequence of a map a row is taken as the tensor that it was made of: [rows, classes], in its maps' order.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    if not optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return {name: _tensor(value) for name, value in zip(names, session.run(None, inputs), strict=True)}


def _tensor(value):
    if isinstance(value, list):
        return np.array([list(row.values()) for row in value], dtype=np.float32)
    return value
