"""tritonclient's HTTP and gRPC clients to a running agent; called by tests/tests/open_inference.rs.

    python agent.py unready HTTP GRPC            # nothing is there yet
    python agent.py try HTTP GRPC MODEL GOLDEN   # samples until a bundle is committed that has nothing beside it
    python agent.py ask HTTP GRPC MODEL GOLDEN   # every call, and what is refused
    python agent.py types HTTP GRPC              # the bundle `types` of make_bundles.py
    python agent.py words HTTP GRPC              # the bundle `words`
    python agent.py swap HTTP GRPC MODEL GOLDEN OLD NEW   # several clients, until each was answered by NEW
    python agent.py secure HTTP GRPC MODEL GOLDEN CA TOKEN   # with TLS and a token
"""

from __future__ import annotations

import http.client
import json
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import grpc
import numpy as np
import tritonclient.grpc as tg
import tritonclient.http as th
from tritonclient.utils import InferenceServerException

# What a client of either kind is called with: the module of its classes beside it.
Client = tuple[Any, Any]
PATIENCE_S = 120


def clients(address_http: str, address_grpc: str) -> list[Client]:
    return [(th.InferenceServerClient(address_http), th), (tg.InferenceServerClient(address_grpc), tg)]


def cases(path: str) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The golden cases of tests/skab: rows of eight sensors, and each output's rows."""
    with open(path, encoding="utf-8") as file:
        read = [json.loads(line) for line in file]
    rows = np.array([case["input"]["sensors"][0] for case in read], dtype=np.float32)
    outputs = {name: np.array([case["output"][name][0] for case in read], dtype=np.float32) for name in read[0]["output"]}
    return rows, outputs


def infer(client: Client, model: str, rows: np.ndarray, **more: Any) -> Any:
    at, kind = client
    x = kind.InferInput("sensors", list(rows.shape), "FP32")
    x.set_data_from_numpy(rows)
    return at.infer(model, [x], **more)


def refused(call: Callable[[], Any], status: tuple[str, str], message: str, client: Client) -> None:
    wanted = status[0] if client[1] is th else f"StatusCode.{status[1]}"
    try:
        call()
    except InferenceServerException as error:
        assert error.status() == wanted, (error.status(), error.message())
        assert message in error.message(), error.message()
    else:
        raise AssertionError(f"no error of status {wanted}")


NOT_READY = ("503", "UNAVAILABLE")
NOT_FOUND = ("404", "NOT_FOUND")
WRONG = ("400", "INVALID_ARGUMENT")


def unready(addresses: list[str]) -> None:
    for client in clients(*addresses):
        at, _ = client
        assert at.is_server_live() and not at.is_server_ready()
        assert not at.is_model_ready("skab-pca")
        assert "statistics" in str(at.get_server_metadata())
        refused(lambda: at.get_model_metadata("skab-pca"), NOT_READY, "is not ready", client)
        refused(lambda: infer(client, "skab-pca", np.zeros((1, 8), np.float32)), NOT_READY, "is not ready", client)


def try_alone(addresses: list[str], model: str, golden: str) -> None:
    rows, _ = cases(golden)
    by = time.monotonic() + PATIENCE_S
    given = clients(*addresses)
    while not given[0][0].is_server_ready():
        for client in given:
            try:
                infer(client, model, rows[:4])
            except InferenceServerException as error:
                assert error.status() in ("503", "StatusCode.UNAVAILABLE"), error
        assert time.monotonic() < by, "it was never ready"
        # Not faster than the core hears of it.
        time.sleep(0.02)


def look(client: Client, model: str) -> None:
    at, kind = client
    assert at.is_server_live() and at.is_server_ready() and at.is_model_ready(model) and at.is_model_ready(model, "1.0.0")
    metadata = at.get_model_metadata(model) if kind is th else at.get_model_metadata(model, as_json=True)
    sensors = metadata["inputs"][0]
    assert [int(size) for size in sensors["shape"]] == [-1, 8] and sensors["datatype"] == "FP32", metadata
    assert metadata["versions"] == ["1.0.0"] and metadata["platform"] == "onnx_tract", metadata
    assert [[int(size) for size in output["shape"]] for output in metadata["outputs"]] == [[-1, 1]] * 3, metadata
    refused(lambda: at.get_model_metadata("else"), NOT_FOUND, 'no model "else"', client)
    refused(lambda: at.get_model_metadata(model, "9"), NOT_FOUND, 'no version "9"', client)
    if kind is th:
        assert at.get_model_config(model)["input"][0]["data_type"] == "TYPE_FP32"
        assert [(entry["name"], entry["version"], entry["state"]) for entry in at.get_model_repository_index()] == [
            (model, "1.0.0", "READY")
        ]


def answers(client: Client, model: str, golden: str) -> None:
    rows, expected = cases(golden)
    one_by_one = [infer(client, model, row.reshape(1, 8), request_id=str(at)) for at, row in enumerate(rows)]
    assert one_by_one[3].get_response(**({} if client[1] is th else {"as_json": True}))["id"] == "3"
    together = infer(client, model, rows)
    in_front = infer(client, model, rows.reshape(-1, 1, 8))
    for name, values in expected.items():
        single = np.concatenate([result.as_numpy(name) for result in one_by_one])
        assert single.shape == values.shape and np.allclose(single, values, rtol=1e-4, atol=1e-4), name
        assert together.as_numpy(name).shape == values.shape, together.as_numpy(name).shape
        assert np.allclose(together.as_numpy(name), single, rtol=1e-5, atol=1e-6), name
        assert in_front.as_numpy(name).shape == (len(rows), 1, 1)
    wanted = [client[1].InferRequestedOutput("q"), client[1].InferRequestedOutput("t2", class_count=1)]
    result = infer(client, model, rows[:2], outputs=wanted, parameters={"key": "valve-1", "time_ms": 1_700_000_000_000})
    assert result.as_numpy("score") is None and result.as_numpy("q").shape == (2, 1)
    assert [text.split(b":")[1] for text in result.as_numpy("t2").flatten()] == [b"0", b"0"], result.as_numpy("t2")


def errors(client: Client, model: str) -> None:
    at, kind = client
    row = np.zeros((1, 8), np.float32)
    refused(lambda: infer(client, "else", row), NOT_FOUND, 'no model "else"', client)
    refused(lambda: infer(client, model, row, model_version="9"), NOT_FOUND, 'no version "9"', client)
    refused(lambda: infer(client, model, np.zeros((1, 7), np.float32)), WRONG, "[1, 7], expected [-1, 8]", client)
    refused(lambda: infer(client, model, np.zeros((0, 8), np.float32)), WRONG, "", client)
    refused(lambda: infer(client, model, np.zeros((4097, 8), np.float32)), WRONG, "more than 4096", client)
    refused(lambda: infer(client, model, row, parameters={"key": 7}), WRONG, 'parameter "key"', client)
    other = kind.InferInput("sensors", [1, 8], "FP64").set_data_from_numpy(np.zeros((1, 8)))
    refused(lambda: at.infer(model, [other]), WRONG, "FP64", client)
    other = kind.InferInput("noise", [1, 8], "FP32").set_data_from_numpy(row)
    refused(lambda: at.infer(model, [other]), WRONG, 'input "sensors" is missing', client)
    unknown = [kind.InferRequestedOutput("z")]
    refused(lambda: infer(client, model, row, outputs=unknown), WRONG, 'output "z" is none', client)
    # A row that has no answer is named. It isn't the server's fault, and neither are its neighbours.
    rows = np.ones((3, 8), np.float32)
    rows[1, 2] = np.nan
    refused(lambda: infer(client, model, rows), WRONG, "row 1 of the batch: ", client)
    refused(lambda: infer(client, model, rows[1:2].reshape(1, 8)), WRONG, "NaN", client)
    large = np.zeros((20_000, 8), np.float32)
    refused(lambda: infer(client, model, large), ("413", "RESOURCE_EXHAUSTED"), "more than", client)


def raw_errors(address: str, model: str) -> None:
    def ask(method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None) -> tuple[int, str, Any]:
        connection = http.client.HTTPConnection(address, timeout=PATIENCE_S)
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer.status, text, answer.headers

    infer_path = f"/v2/models/{model}/infer"
    for body in (b"", b"{", b"[]", b'{"inputs": 1}', b"\xff\xfe", b'{"inputs": []} x'):
        status, text, _ = ask("POST", infer_path, body)
        assert status == 400 and "error" in json.loads(text), (body, status, text)
    status, text, _ = ask("POST", infer_path, b"{}", {"Inference-Header-Content-Length": "9999"})
    assert status == 400 and "9999" in text, text
    assert ask("POST", infer_path, b"{}", {"Content-Encoding": "gzip"})[0] == 415
    status, _, headers = ask("GET", infer_path)
    assert status == 405 and headers["allow"] == "POST"
    assert ask("GET", "/v1")[0] == 404
    assert ask("POST", f"/v2/repository/models/{model}/unload")[0] == 501
    status, text, _ = ask("GET", "/v2", headers={"Origin": "http://somewhere.example"})
    assert status == 403 and "browser" in text, text
    status, text, headers = ask("HEAD", "/v2")
    assert (status, text) == (200, "") and int(headers["content-length"]) > 0


def grpc_errors(address: str) -> None:
    channel = grpc.insecure_channel(address)

    def ask(method: str, message: bytes) -> grpc.StatusCode:
        try:
            channel.unary_unary(f"/inference.GRPCInferenceService/{method}")(message, timeout=PATIENCE_S)
        except grpc.RpcError as error:
            return error.code()
        return grpc.StatusCode.OK

    assert ask("ServerLive", b"") == grpc.StatusCode.OK
    assert ask("RepositoryIndex", b"") == grpc.StatusCode.UNIMPLEMENTED
    assert ask("ModelInfer", b"\xff\xff\xff") == grpc.StatusCode.INVALID_ARGUMENT
    assert ask("ModelReady", b"") == grpc.StatusCode.INVALID_ARGUMENT
    try:
        channel.unary_unary("/other.Service/Call")(b"", timeout=PATIENCE_S)
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.UNIMPLEMENTED, error
    compressed = grpc.insecure_channel(address, compression=grpc.Compression.Gzip)
    try:
        compressed.unary_unary("/inference.GRPCInferenceService/ServerLive")(b"x" * 1000, timeout=PATIENCE_S)
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.UNIMPLEMENTED, error
    else:
        raise AssertionError("a compressed message was taken")


def counts(at: Any, model: str) -> tuple[int, int, int, int]:
    [stats] = at.get_inference_statistics(model)["model_stats"]
    of = stats["inference_stats"]
    assert of["queue"]["count"] == of["success"]["count"] + of["fail"]["count"], of
    return stats["inference_count"], stats["execution_count"], of["success"]["count"], of["fail"]["count"]


def ask(addresses: list[str], model: str, golden: str) -> None:
    given = clients(*addresses)
    for client in given:
        look(client, model)
        before = counts(given[0][0], model)
        answers(client, model, golden)
        after = counts(given[0][0], model)
        samples = len(cases(golden)[0])
        assert after[0] - before[0] == 3 * samples + 2 and after[2] - before[2] == samples + 3, (before, after)
        errors(client, model)
        # Of what is refused only the rows that nobody could know to be wrong have been to the pipeline.
        assert counts(given[0][0], model)[3] - after[3] == 2
    raw_errors(addresses[0], model)
    grpc_errors(addresses[1])
    several(addresses, model, golden)


def several(addresses: list[str], model: str, golden: str) -> None:
    """Eight clients at once, each with its own rows: nobody gets another's answer."""
    rows, expected = cases(golden)
    wrong: list[str] = []

    def work(number: int) -> None:
        client = clients(*addresses)[number % 2]
        for turn in range(30):
            at = (number * 7 + turn) % (len(rows) - 2)
            result = infer(client, model, rows[at : at + 2], request_id=f"{number}-{turn}").as_numpy("score")
            if not np.allclose(result, expected["score"][at : at + 2], rtol=1e-4, atol=1e-4):
                wrong.append(f"{number}: row {at} gave {result}")

    client = clients(*addresses)[0][0]
    before = counts(client, model)
    threads(work, 8)
    assert not wrong, wrong
    after = counts(client, model)
    asked, ran = after[2] - before[2], after[1] - before[1]
    assert asked == 8 * 30 and after[0] - before[0] == 2 * asked, (before, after)
    # They waited for each other, and ran together.
    assert ran < asked, (ran, asked)


def threads(work: Callable[[int], None], count: int) -> None:
    failed: list[str] = []

    def guarded(number: int) -> None:
        try:
            work(number)
        except Exception as error:
            failed.append(f"{number}: {type(error).__name__}: {error}")

    running = [threading.Thread(target=guarded, args=(number,)) for number in range(count)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    assert not failed, failed


def types(addresses: list[str]) -> None:
    from tritonclient.utils import np_to_triton_dtype

    values = {
        "BOOL": np.array([[True, False, True], [False, False, True]]),
        "UINT8": np.array([[0, 7, 255], [1, 2, 3]], np.uint8),
        "UINT16": np.array([[0, 7, 65535], [1, 2, 3]], np.uint16),
        "UINT32": np.array([[0, 7, 2**32 - 1], [1, 2, 3]], np.uint32),
        "UINT64": np.array([[0, 7, 2**64 - 1], [1, 2, 3]], np.uint64),
        "INT8": np.array([[-128, 7, 127], [1, 2, 3]], np.int8),
        "INT16": np.array([[-32768, 7, 32767], [1, 2, 3]], np.int16),
        "INT32": np.array([[-(2**31), 7, 2**31 - 1], [1, 2, 3]], np.int32),
        "INT64": np.array([[-(2**63), 7, 2**63 - 1], [1, 2, 3]], np.int64),
        "FP16": np.array([[0.1, -1.25, 65504], [1, 2, 3]], np.float16),
        "FP32": np.array([[0.1, -1.25, 1e30], [1, 2, 3]], np.float32),
        "FP64": np.array([[0.1, -1.25, 1e300], [1, 2, 3]], np.float64),
    }
    by = time.monotonic() + PATIENCE_S
    for client in clients(*addresses):
        at, kind = client
        for binary in (True, False) if kind is th else (True,):
            # FP16 has no JSON.
            extension = {name: {"binary_data": binary or name == "FP16"} if kind is th else {} for name in values}
            given = []
            for name, array in values.items():
                assert np_to_triton_dtype(array.dtype) == name
                tensor = kind.InferInput(name, [2, 3], name)
                given.append(tensor.set_data_from_numpy(array, **extension[name]))
            wanted = [kind.InferRequestedOutput(f"{name}_again", **extension[name]) for name in values]
            result = until_ready(lambda: at.infer("types", given, outputs=wanted), by)
            for name, array in values.items():
                again = result.as_numpy(f"{name}_again")
                assert again.dtype == array.dtype and np.array_equal(again, array), (name, binary, again)


def words(addresses: list[str]) -> None:
    said = np.array([[b"ok", b"worn", b"broken"], ["w\u00e4re".encode(), b"", b"ok"]], dtype=np.object_)
    meant = [[b"go on", b"order a part", b"stop"], [b"ask", b"ask", b"go on"]]
    by = time.monotonic() + PATIENCE_S
    for client in clients(*addresses):
        at, kind = client
        for binary in (True, False) if kind is th else (True,):
            more = {"binary_data": binary} if kind is th else {}
            word = kind.InferInput("word", [2, 3], "BYTES").set_data_from_numpy(said, **more)
            wanted = [kind.InferRequestedOutput("meaning", **more)]
            result = until_ready(lambda: at.infer("words", [word], outputs=wanted), by).as_numpy("meaning")
            texts = [[text if isinstance(text, bytes) else text.encode() for text in row] for row in result]
            assert texts == meant, texts


def until_ready(call: Callable[[], Any], by: float) -> Any:
    while True:
        try:
            return call()
        except InferenceServerException as error:
            assert error.status() in ("503", "StatusCode.UNAVAILABLE"), error
            assert time.monotonic() < by, error
            time.sleep(0.02)


def swap(addresses: list[str], model: str, golden: str, old: str, new: str) -> None:
    rows, expected = cases(golden)
    by = time.monotonic() + PATIENCE_S
    print("asking", flush=True)

    def work(number: int) -> None:
        client = clients(*addresses)[number % 2]
        seen = []
        while seen[-1:] != [new]:
            assert time.monotonic() < by, f"only {sorted(set(seen))} answered"
            at = (number + len(seen)) % len(rows)
            try:
                result = infer(client, model, rows[at : at + 1])
            except InferenceServerException as error:
                assert error.status() in ("503", "StatusCode.UNAVAILABLE"), error
                continue
            response = result.get_response(**({} if client[1] is th else {"as_json": True}))
            seen.append(response["model_version"])
            assert np.allclose(result.as_numpy("score"), expected["score"][at : at + 1], rtol=1e-4, atol=1e-4)
        assert set(seen) <= {old, new} and seen == sorted(seen), sorted(set(seen))

    threads(work, 4)
    at = clients(*addresses)[0][0]
    assert at.is_model_ready(model, new)
    refused(lambda: at.is_model_ready(model, old) or at.get_model_metadata(model, old), NOT_FOUND, f'no version "{old}"', (at, th))


def secure(addresses: list[str], model: str, golden: str, ca: str, token: str) -> None:
    import ssl

    rows, _ = cases(golden)
    context = ssl.create_default_context(cafile=ca)
    for headers, status in (({}, 401), ({"Authorization": "Bearer wrong"}, 401), ({"Authorization": f"Bearer {token}"}, 200)):
        connection = http.client.HTTPSConnection(addresses[0], context=context, timeout=PATIENCE_S)
        connection.request("GET", "/v2/health/live", headers=headers)
        assert connection.getresponse().status == status, headers
        connection.close()
    plain = http.client.HTTPConnection(addresses[0], timeout=PATIENCE_S)
    try:
        plain.request("GET", "/v2/health/live")
        plain.getresponse()
    except (http.client.HTTPException, OSError):
        pass
    else:
        raise AssertionError("HTTP without TLS was answered")
    with open(ca, "rb") as file:
        roots = file.read()
    credentials = grpc.ssl_channel_credentials(root_certificates=roots)
    at = tg.InferenceServerClient(addresses[1], ssl=True, creds=credentials)
    refused(lambda: at.is_server_live(), ("401", "UNAUTHENTICATED"), "bearer token", (at, tg))
    headers = {"authorization": f"Bearer {token}"}
    assert at.is_server_live(headers=headers)
    by = time.monotonic() + PATIENCE_S
    until_ready(lambda: infer((at, tg), model, rows[:4], headers=headers), by)


def main() -> None:
    command, *rest = sys.argv[1:]
    addresses, more = rest[:2], rest[2:]
    commands = {
        "unready": unready,
        "try": try_alone,
        "ask": ask,
        "types": types,
        "words": words,
        "swap": swap,
        "secure": secure,
    }
    commands[command](addresses, *more)


main()
