"""Runs a model in ONNX Runtime for `floorhand bundle pack --golden-from onnxruntime`.

    python -c THIS MODEL

First one line of JSON: {"version": ...}. Then for each line {"inputs": [{"name", "datatype", "shape", "bytes"}, ...]}, with
the tensors' bytes behind it, a line {"outputs": [...]} with theirs, or {"error": ...}. Data is little-endian; each element
of a BYTES tensor stands behind its length in four bytes.
"""

import json
import struct
import sys

import numpy
import onnxruntime

TYPES = {
    "BOOL": "?", "UINT8": "u1", "UINT16": "u2", "UINT32": "u4", "UINT64": "u8", "INT8": "i1", "INT16": "i2", "INT32": "i4",
    "INT64": "i8", "FP16": "f2", "FP32": "f4", "FP64": "f8",
}
NAMES = {numpy.dtype(code): name for name, code in TYPES.items()}


def decode(entry, data):
    if entry["datatype"] != "BYTES":
        return numpy.frombuffer(data, "<" + TYPES[entry["datatype"]]).reshape(entry["shape"])
    texts, at = [], 0
    while at < len(data):
        (length,) = struct.unpack_from("<I", data, at)
        texts.append(data[at + 4 : at + 4 + length].decode())
        at += 4 + length
    return numpy.array(texts, object).reshape(entry["shape"])


def encode(value):
    if isinstance(value, list):
        # What a ZipMap gives: a dictionary for each row.
        value = numpy.array([list(row.values()) for row in value], numpy.float32)
    value = numpy.asarray(value)
    if value.dtype.kind in "OU":
        texts = [str(text).encode() for text in value.ravel()]
        return "BYTES", value.shape, b"".join(struct.pack("<I", len(text)) + text for text in texts)
    return NAMES[value.dtype], value.shape, numpy.ascontiguousarray(value).tobytes()


def main():
    ours, theirs = sys.stdin.buffer, sys.stdout.buffer
    session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def tell(told, data=()):
        theirs.write(json.dumps(told).encode() + b"\n")
        for part in data:
            theirs.write(part)
        theirs.flush()

    tell({"version": onnxruntime.__version__})
    for line in ours:
        entries = json.loads(line)["inputs"]
        feeds = {entry["name"]: decode(entry, ours.read(entry["bytes"])) for entry in entries}
        try:
            answers = [encode(answer) for answer in session.run(None, feeds)]
        except Exception as error:  # its own types are many
            tell({"error": str(error)})
            continue
        outputs = [
            {"name": name, "datatype": datatype, "shape": shape, "bytes": len(data)}
            for name, (datatype, shape, data) in zip(names, answers)
        ]
        tell({"outputs": outputs}, [data for _, _, data in answers])


main()
