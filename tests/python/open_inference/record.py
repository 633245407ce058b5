"""What NVIDIA's tritonclient sends and reads: the cases of crates/open-inference/tests/tritonclient.rs.

    python record.py            writes cases.json: requests as tritonclient's builders make them
    python record.py --check    makes them again and compares
    python record.py --read     reads answers from standard input, a line of JSON each, and writes what tritonclient takes them for

Needs tritonclient, geventhttpclient and grpcio as ../requirements.txt names them. No server is started.
"""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import tritonclient.grpc as tg
import tritonclient.http as th
from tritonclient.grpc import service_pb2
from tritonclient.grpc._utils import _get_inference_request
from tritonclient.utils import triton_to_np_dtype

CASES = Path(__file__).parent / "cases.json"

EDGES = {
    "BOOL": [True, False, True, True],
    "UINT8": [0, 1, 2, 255],
    "UINT16": [0, 1, 2, 2**16 - 1],
    "UINT32": [0, 1, 2, 2**32 - 1],
    "UINT64": [0, 2**53 + 1, 2**63, 2**64 - 1],
    "INT8": [-(2**7), -1, 0, 2**7 - 1],
    "INT16": [-(2**15), -1, 0, 2**15 - 1],
    "INT32": [-(2**31), -1, 0, 2**31 - 1],
    "INT64": [-(2**63), -(2**53) - 1, 0, 2**63 - 1],
    "FP16": [-0.0, 0.1, 65504.0, 6e-8],
    "FP32": [-0.0, 0.1, 3.4028235e38, 1e-45],
    "FP64": [-0.0, 0.1, 1.7976931348623157e308, 5e-324],
    "BYTES": ["", "ok", "w\u00e4rm \U0001f600", 'a"\\\n\u0001'],
}


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def array(datatype: str, values: list[Any], shape: list[int]) -> np.ndarray:
    if datatype == "BYTES":
        values = [value.encode() if isinstance(value, str) else value for value in values]
    return np.array(values, dtype=triton_to_np_dtype(datatype)).reshape(shape)


def tensor_bytes(datatype: str, values: np.ndarray) -> bytes:
    """The bytes of a tensor, by numpy and struct alone."""
    if datatype != "BYTES":
        return values.astype(values.dtype.newbyteorder("<")).tobytes()
    return b"".join(len(value).to_bytes(4, "little") + value for value in values.flatten())


def expected(name: str, datatype: str, values: np.ndarray) -> dict[str, Any]:
    return {
        "name": name,
        "datatype": datatype,
        "shape": list(values.shape),
        "data": text(tensor_bytes(datatype, values)),
    }


def http_case(name: str, inputs: list[tuple[str, str, np.ndarray, bool]], **options: Any) -> dict[str, Any]:
    built = []
    for tensor, datatype, values, binary in inputs:
        built.append(th.InferInput(tensor, list(values.shape), datatype))
        built[-1].set_data_from_numpy(values, binary_data=binary)
    body, header_length = th.InferenceServerClient.generate_request_body(built, **options)
    return {
        "name": name,
        "body": text(body),
        "header_length": header_length,
        "inputs": [expected(tensor, datatype, values) for tensor, datatype, values, _ in inputs],
    }


def grpc_case(name: str, inputs: list[tuple[str, str, np.ndarray]], **options: Any) -> dict[str, Any]:
    built = []
    for tensor, datatype, values in inputs:
        built.append(tg.InferInput(tensor, list(values.shape), datatype))
        built[-1].set_data_from_numpy(values)
    defaults: dict[str, Any] = {
        "model_name": "m",
        "model_version": "",
        "request_id": "",
        "outputs": None,
        "sequence_id": 0,
        "sequence_start": False,
        "sequence_end": False,
        "priority": 0,
        "timeout": None,
        "parameters": None,
    }
    request = _get_inference_request(inputs=built, **(defaults | options))
    return {
        "name": name,
        "body": text(request.SerializeToString(deterministic=True)),
        "inputs": [expected(tensor, datatype, values) for tensor, datatype, values in inputs],
    }


def typed_case(datatype: str, field: str, values: np.ndarray) -> dict[str, Any]:
    request = service_pb2.ModelInferRequest(model_name="m")
    tensor = request.inputs.add(name="x", datatype=datatype, shape=list(values.shape))
    getattr(tensor.contents, field).extend(values.flatten().tolist())
    return {
        "name": f"{datatype} in {field}",
        "body": text(request.SerializeToString(deterministic=True)),
        "inputs": [expected("x", datatype, values)],
    }


def http_cases() -> list[dict[str, Any]]:
    cases = []
    for datatype, values in EDGES.items():
        square = array(datatype, values, [2, 2])
        cases.append(http_case(f"{datatype} binary", [("x", datatype, square, True)]))
        if datatype != "FP16":
            cases.append(http_case(f"{datatype} in JSON", [("x", datatype, square, False)]))
        empty = array(datatype, [], [0, 3])
        cases.append(http_case(f"{datatype} empty, binary", [("x", datatype, empty, True)]))
        if datatype != "FP16":
            cases.append(http_case(f"{datatype} empty, in JSON", [("x", datatype, empty, False)]))
    mixed = [
        ("a", "FP32", array("FP32", [1, 2], [1, 2]), True),
        ("b", "INT64", array("INT64", [2**53 + 1], [1]), False),
        ("c", "BYTES", array("BYTES", ["x", b"\xff\x00"], [2]), True),
    ]
    outputs = [
        th.InferRequestedOutput("y", binary_data=True),
        th.InferRequestedOutput("z", binary_data=False, class_count=2),
    ]
    options = {
        "outputs": outputs,
        "request_id": "42",
        "sequence_id": "s",
        "sequence_start": True,
        "priority": 1,
        "timeout": 1000,
        "parameters": {"mine": 1.5},
    }
    cases.append(http_case("mixed", mixed, **options))
    return cases


def grpc_cases() -> list[dict[str, Any]]:
    cases = []
    for datatype, values in EDGES.items():
        cases.append(grpc_case(f"{datatype} raw", [("x", datatype, array(datatype, values, [2, 2]))]))
        cases.append(grpc_case(f"{datatype} empty", [("x", datatype, array(datatype, [], [0, 3]))]))
    fields = {
        "bool_contents": ["BOOL"],
        "int_contents": ["INT8", "INT16", "INT32"],
        "int64_contents": ["INT64"],
        "uint_contents": ["UINT8", "UINT16", "UINT32"],
        "uint64_contents": ["UINT64"],
        "fp32_contents": ["FP32"],
        "fp64_contents": ["FP64"],
        "bytes_contents": ["BYTES"],
    }
    for field, datatypes in fields.items():
        for datatype in datatypes:
            cases.append(typed_case(datatype, field, array(datatype, EDGES[datatype], [2, 2])))
    mixed = [("a", "FP32", array("FP32", [1, 2], [1, 2])), ("c", "BYTES", array("BYTES", ["x", b"\xff\x00"], [2]))]
    options = {
        "model_version": "3",
        "outputs": [tg.InferRequestedOutput("y"), tg.InferRequestedOutput("z", class_count=2)],
        "request_id": "42",
        "sequence_id": "s",
        "sequence_start": True,
        "priority": 1,
        "timeout": 1000,
        "parameters": {"mine": 1.5},
    }
    cases.append(grpc_case("mixed", mixed, **options))
    return cases


def messages() -> dict[str, str]:
    """Small messages as protobuf writes them."""
    pb = service_pb2
    metadata = pb.ModelMetadataResponse(name="pump", versions=["1", "2"], platform="onnx_tract")
    metadata.inputs.add(name="x", datatype="FP32", shape=[-1, 4])
    metadata.outputs.add(name="label", datatype="BYTES", shape=[-1])
    infer = pb.ModelInferResponse(model_name="pump", model_version="2", id="42")
    infer.outputs.add(name="y", datatype="FP32", shape=[1, 2])
    infer.outputs.add(name="label", datatype="BYTES", shape=[1])
    infer.raw_output_contents.append(np.array([0.5, -2], "<f4").tobytes())
    infer.raw_output_contents.append(b"\x02\x00\x00\x00ok")
    made = {
        "live": pb.ServerLiveResponse(live=True),
        "ready": pb.ServerReadyResponse(ready=True),
        "model_ready": pb.ModelReadyResponse(ready=True),
        "not_ready": pb.ModelReadyResponse(ready=False),
        "server_metadata": pb.ServerMetadataResponse(name="floorhand", version="0.1.0", extensions=["a", "b"]),
        "model_metadata": metadata,
        "model_infer": infer,
        "model_request": pb.ModelMetadataRequest(name="pump", version="2"),
    }
    return {name: text(message.SerializeToString(deterministic=True)) for name, message in made.items()}


def read(line: str) -> dict[str, Any]:
    """What tritonclient takes an answer for."""
    answer = json.loads(line)
    body = base64.b64decode(answer["body"])
    if answer["grpc"]:
        message = service_pb2.ModelInferResponse.FromString(body)
        result = tg.InferResult(message)
        head = {"model_name": message.model_name, "model_version": message.model_version, "id": message.id}
        outputs = [(output.name, output.datatype) for output in message.outputs]
    else:
        result = th.InferenceServerClient.parse_response_body(body, header_length=answer["header_length"])
        head = {key: result.get_response()[key] for key in ("model_name", "model_version", "id")}
        outputs = [(output["name"], output["datatype"]) for output in result.get_response()["outputs"]]
    tensors = []
    for name, datatype in outputs:
        values = result.as_numpy(name)
        if datatype == "BYTES":
            flat = [value.encode() if isinstance(value, str) else value for value in values.flatten()]
            values = np.array(flat, dtype=np.object_).reshape(values.shape)
        tensors.append(expected(name, datatype, values))
    return head | {"outputs": tensors}


def main() -> int:
    if "--read" in sys.argv:
        for line in sys.stdin:
            print(json.dumps(read(line)))
        return 0
    cases = {"http": http_cases(), "grpc": grpc_cases(), "messages": messages()}
    made = json.dumps(cases, indent=1, ensure_ascii=True) + "\n"
    if "--check" not in sys.argv:
        CASES.write_text(made)
        return 0
    if CASES.read_text() != made:
        print("tritonclient gives other requests than cases.json has")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
