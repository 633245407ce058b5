"""Every call of tritonclient's HTTP client that ours answers, and some that it doesn't, to a server on this port.

    python client.py PORT

The server is that of crates/open-inference/tests/client.rs: the model `pump` doubles its input `x` (FP32) into `y`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import tritonclient.http as th
from tritonclient.utils import InferenceServerException


def refused(call: Callable[[], Any], status: str, message: str) -> None:
    try:
        call()
    except InferenceServerException as error:
        assert error.status() == status and message in error.message(), error
    else:
        raise AssertionError(f"no error of status {status}")


def ask(client: th.InferenceServerClient) -> None:
    assert client.is_server_live() and client.is_server_ready()
    assert client.is_model_ready("pump") and client.is_model_ready("pump", "1")
    assert not client.is_model_ready("else")
    assert client.get_server_metadata()["name"] == "floorhand"
    metadata = client.get_model_metadata("pump", "1")
    assert metadata["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}], metadata
    assert client.get_model_config("pump")["input"][0]["data_type"] == "TYPE_FP32"
    assert client.get_inference_statistics()["model_stats"][0]["name"] == "pump"
    assert client.get_model_repository_index()[0]["state"] == "READY"
    refused(lambda: client.get_model_metadata("a b/\u00e4"), "404", "")
    refused(lambda: client.get_model_metadata("a b \u00e4"), "404", 'there is no model "a b \u00e4"')
    refused(lambda: client.load_model("pump"), "501", "decided by the bundle")
    refused(lambda: client.get_log_settings(), "501", "not supported")
    refused(lambda: client.get_system_shared_memory_status(), "501", "shared memory")


def infer(client: th.InferenceServerClient) -> None:
    values = np.array([[0.1, -2], [3, 4]], dtype=np.float32)
    for binary in (True, False):
        x = th.InferInput("x", [2, 2], "FP32").set_data_from_numpy(values, binary_data=binary)
        result = client.infer("pump", [x], request_id="7")
        assert result.get_response()["id"] == "7"
        assert np.array_equal(result.as_numpy("y"), values * 2)
        result = client.infer("pump", [x], outputs=[th.InferRequestedOutput("y", binary_data=False)])
        assert "data" in result.get_output("y") and np.array_equal(result.as_numpy("y"), values * 2)
        result = client.infer("pump", [x], outputs=[th.InferRequestedOutput("y", class_count=1)])
        assert result.as_numpy("y").tolist() == [[b"0.2:0"], [b"8.0:1"]], result.as_numpy("y")
        refused(lambda: client.infer("pump", [x], outputs=[th.InferRequestedOutput("z")]), "400", 'output "z"')
        refused(lambda: client.infer("pump", [x], model_version="9"), "404", 'no version "9"')
        refused(lambda: client.infer("pump", [x], request_compression_algorithm="gzip"), "415", "gzip")
    nan = np.array([[np.nan, 1]], dtype=np.float32)
    x = th.InferInput("x", [1, 2], "FP32").set_data_from_numpy(nan, binary_data=False)
    refused(lambda: client.infer("pump", [x]), "400", "JSON has no NaN")
    x.set_data_from_numpy(nan)
    assert np.array_equal(client.infer("pump", [x]).as_numpy("y"), nan * 2, equal_nan=True)
    json_output = [th.InferRequestedOutput("y", binary_data=False)]
    refused(lambda: client.infer("pump", [x], outputs=json_output), "400", "ask for it with binary_data")


def main() -> None:
    client = th.InferenceServerClient(f"127.0.0.1:{sys.argv[1]}")
    ask(client)
    infer(client)
    client.close()


main()
