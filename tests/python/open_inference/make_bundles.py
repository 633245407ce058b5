"""Two bundles for tests/tests/open_inference.rs, into this folder: `types`, whose model gives what it takes, one tensor for
each datatype, and `words`, which takes and gives texts.

    python make_bundles.py FOLDER
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto, helper

TYPES = {
    "BOOL": (TensorProto.BOOL, [True, False, True]),
    "UINT8": (TensorProto.UINT8, [0, 7, 255]),
    "UINT16": (TensorProto.UINT16, [0, 7, 65535]),
    "UINT32": (TensorProto.UINT32, [0, 7, 4294967295]),
    "UINT64": (TensorProto.UINT64, [0, 7, 9007199254740991]),
    "INT8": (TensorProto.INT8, [-128, 7, 127]),
    "INT16": (TensorProto.INT16, [-32768, 7, 32767]),
    "INT32": (TensorProto.INT32, [-2147483648, 7, 2147483647]),
    "INT64": (TensorProto.INT64, [-9007199254740991, 7, 9007199254740991]),
    "FP16": (TensorProto.FLOAT16, [0.5, -1.25, 65504.0]),
    "FP32": (TensorProto.FLOAT, [0.5, -1.25, 1e30]),
    "FP64": (TensorProto.DOUBLE, [0.1, -1.25, 1e300]),
}

RECIPE = """[bundle]
name = "{name}"
version = "1.0.0"
release_counter = 1
floor = 1
hardware = ["*"]
min_agent = "0.1.0"

{inputs}
[model]
file = "model.onnx"

[golden]
file = "golden.jsonl"
tolerance = 0

[gates]
samples = 3
latency_p99_ms = 5000
"""


def write(folder: Path, nodes: list[Any], inputs: dict[str, tuple[int, list[Any]]], outputs: dict[str, int], answer: Any) -> None:
    folder.mkdir()
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        folder.name,
        [value(name, kind, [1, len(values)]) for name, (kind, values) in inputs.items()],
        [value(name, kind, [1, 3]) for name, kind in outputs.items()],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), str(folder / "model.onnx"))
    datatypes = {kind: name for name, (kind, _) in TYPES.items()} | {TensorProto.STRING: "BYTES"}
    sections = [
        f'[[input]]\nname = "{name}"\ndatatype = "{datatypes[kind]}"\nshape = [1, {len(values)}]\n'
        for name, (kind, values) in inputs.items()
    ]
    (folder / "bundle.toml").write_text(RECIPE.format(name=folder.name, inputs="\n".join(sections)))
    case = {"input": {name: [[int(v) if isinstance(v, bool) else v for v in values]] for name, (_, values) in inputs.items()}, "output": answer}
    (folder / "golden.jsonl").write_text(json.dumps(case) + "\n")


def main() -> None:
    folder = Path(sys.argv[1])
    nodes = [helper.make_node("Identity", [name], [f"{name}_again"]) for name in TYPES]
    outputs = {f"{name}_again": kind for name, (kind, _) in TYPES.items()}
    answer = {f"{name}_again": [[float(v) if isinstance(v, bool) else v for v in values]] for name, (_, values) in TYPES.items()}
    write(folder / "types", nodes, TYPES, outputs, answer)
    label = helper.make_node(
        "LabelEncoder",
        ["word"],
        ["meaning"],
        domain="ai.onnx.ml",
        keys_strings=["ok", "worn", "broken"],
        values_strings=["go on", "order a part", "stop"],
        default_string="ask",
    )
    words = {"word": (TensorProto.STRING, ["ok", "broken", "w\u00e4re"])}
    write(folder / "words", [label], words, {"meaning": TensorProto.STRING}, {"meaning": [["go on", "stop", "ask"]]})


main()
