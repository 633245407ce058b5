"""Holds fleet_protocol.py and device.py, which follow docs/protocol.md, against bytes that the Rust code made.

    python test_device.py [vectors.json]

Both ways: what Rust signed is opened and read here, and the same documents, made here, come out as the same bytes.
`cargo run -p floorhand-protocol --example vectors` prints the vectors.
"""

from __future__ import annotations

import hashlib
import json
import math
import sys
from pathlib import Path

import cbor2
import fleet_protocol as fh
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from device import Device

HERE = Path(__file__).parent
ISSUED_MS = 1_700_000_000_000
DAY_MS = 86_400_000
BOOT_ID = 0x1234_5678_9ABC_DEF0

path = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "vectors.json"
VECTORS = {name: bytes.fromhex(text) for name, text in json.loads(path.read_text()).items()}
OFFLINE, SECOND, ONLINE, DEVICE = (Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32) for seed in (1, 2, 3, 4))
PUBLIC = {name: fh.public_bytes(key) for name, key in
          {"offline": OFFLINE, "second": SECOND, "online": ONLINE, "device": DEVICE}.items()}
MODEL = bytes((at * 2_654_435_761 % 2**32 >> 13) & 0x3F for at in range(100_000))
FILES = {"model.onnx": MODEL, "golden.jsonl": VECTORS["file.golden.jsonl"],
         "standardize.wasm": VECTORS["file.standardize.wasm"]}


def same(name: str, made: bytes) -> None:
    assert made == VECTORS[name], f"{name}:\n{made.hex()}\n{VECTORS[name].hex()}"


def refused(part: str, call, *arguments) -> None:
    try:
        call(*arguments)
    except fh.Refused as error:
        assert part in str(error), f"{part!r} is not in {error}"
    else:
        raise AssertionError(f"expected a refusal with {part!r}")


def root() -> fh.Root:
    return fh.Root.open(VECTORS["root"])


def signed_by(domain: str, name: str, who: str) -> dict:
    payload = fh.Envelope.open(domain, VECTORS[name]).verify([PUBLIC[who]], 1)
    return fh.decode(payload, fh.LIMITS[domain])


def test_keys() -> None:
    for name, public in PUBLIC.items():
        same(f"key.{name}.public", public)


def test_root() -> None:
    role = lambda *names: {"keys": [PUBLIC[name] for name in names], "threshold": 1}
    document = {
        "fleet": "plant-a", "version": 1, "expires_ms": ISSUED_MS + 365 * DAY_MS, "issued_ms": ISSUED_MS,
        "critical": [],
        "root": role("offline", "second"), "release": role("offline"), "assignment": role("online"),
    }
    assert root().document == document
    same("root", fh.seal("root", document, [OFFLINE]))
    same("root.two-signatures", fh.seal("root", document, [OFFLINE, SECOND]))
    fh.Root.open(VECTORS["root.two-signatures"])
    refused("signed by 0", fh.Root.open, fh.seal("root", document, [ONLINE]))
    refused("threshold", fh.Root.open, fh.seal("root", document | {"release": role("offline", "offline")}, [OFFLINE]))
    refused("quota", fh.Root.open, fh.seal("root", document | {"critical": ["quota"]}, [OFFLINE]))


def test_identity() -> None:
    request = b"a certificate request"
    enrolment = {
        "device": "press-07", "hardware": "gateway-x86", "public_key": PUBLIC["device"], "csr": request,
        "fleet": "plant-a", "critical": [],
    }
    same("enrolment", fh.seal("enrolment", enrolment, [DEVICE, SECOND]))
    both = fh.Envelope.open("enrolment", VECTORS["enrolment"]).verify([PUBLIC["device"], PUBLIC["second"]], 2)
    assert fh.decode(both, fh.LIMITS["enrolment"]) == enrolment
    renewal = {"device": "press-07", "csr": request, "critical": []}
    same("renewal", fh.seal("renewal", renewal, [DEVICE]))
    certificate = {
        "fleet": "plant-a", "device": "press-07", "csr": hashlib.sha256(request).digest(),
        "chain": [b"a certificate", b"its CA"], "broker": "mqtts://broker.plant-a:8883",
        "issued_ms": ISSUED_MS, "critical": [],
    }
    same("certificate", fh.seal("certificate", certificate, [ONLINE]))
    assert signed_by("certificate", "certificate", "online") == certificate


def blob_of(content: bytes, lengths: list[int]) -> dict:
    """A blob as a chunk list describes it; where the cuts lie is the packer's choice."""
    at, chunks = 0, []
    for length in lengths:
        chunks.append({"length": length, "sha256": hashlib.sha256(content[at : at + length]).digest()})
        at += length
    return {"sha256": hashlib.sha256(content).digest(), "length": len(content), "chunks": chunks}


def lengths(blob: dict) -> list[int]:
    return [chunk["length"] for chunk in blob["chunks"]]


def manifest_document(model_cuts: list[int]) -> dict:
    spec = lambda name, shape: {"name": name, "datatype": "FP32", "shape": shape}
    roles = {"golden.jsonl": "golden", "model.onnx": "model", "standardize.wasm": "plugin"}
    blob = lambda name: blob_of(FILES[name], model_cuts if name == "model.onnx" else [len(FILES[name])])
    return {
        "name": "valve", "version": "1.2.0", "release_counter": 3, "floor": 1,
        "hardware": ["gateway-x86", "gateway-arm"], "min_agent": "0.1.0", "critical": [],
        "components": [{"name": name, "role": role, "blob": blob(name)} for name, role in roles.items()],
        "pipeline": {
            "inputs": [{"tensor": spec("sensors", [2]), "fields": ["pressure", "flow"]}],
            "preprocess": [{
                "name": "scale", "plugin": "standardize.wasm", "config": '{"input":"sensors","output":"x"}',
                "assets": [], "limits": {"deadline_ms": 20}, "on_break": "rollback",
            }],
            "model": {
                "component": "model.onnx",
                "signature": {"inputs": [spec("x", [-1, 2])], "outputs": [spec("score", [1])]},
            },
            "postprocess": [], "monitors": [],
        },
        "golden": {"component": "golden.jsonl", "cases": 1, "tolerance": 1e-4, "tolerances": {"score": 0.001}},
        "gates": {"samples": 200, "max_error_rate": 0.01, "latency_p99_ms": 50, "timeout_s": 3600, "tries": 2},
        "lineage": {"author": "quality"},
    }


def test_manifest() -> None:
    bundle = VECTORS["bundle.digest"]
    manifest = root().open_manifest(VECTORS["manifest"], bundle, ISSUED_MS)
    cuts = lengths(manifest["components"][1]["blob"])
    assert len(cuts) > 1
    document = manifest_document(cuts)
    assert manifest == document
    same("manifest", fh.seal("manifest", document, [OFFLINE]))
    same("bundle.digest", hashlib.sha256(fh.encode(document)).digest())
    refused("not assigned", root().open_manifest, VECTORS["manifest"], bytes(32), ISSUED_MS)
    refused("signed by 0", root().open_manifest, fh.seal("manifest", document, [ONLINE]), bundle, ISSUED_MS)
    tampered = VECTORS["manifest"].replace(b"valve", b"salve")
    refused("signed by 0", root().open_manifest, tampered, bundle, ISSUED_MS)


def assignment(seq: int, more: dict) -> dict:
    return {
        "fleet": "plant-a", "device": "press-07", "seq": seq, "job": f"deploy-{seq}", "mode": "run",
        "parameters": {"sampling_ppm": 10_000}, "issued_ms": ISSUED_MS, "expires_ms": ISSUED_MS + DAY_MS,
        "critical": [], **more,
    }


def test_assignments() -> None:
    opened = root().open_order("assignment", VECTORS["assignment"], "press-07", ISSUED_MS)
    manifest = VECTORS["manifest"]
    run = {"bundle": VECTORS["bundle.digest"], "manifest": blob_of(manifest, lengths(opened["run"]["manifest"]))}
    assert opened == assignment(7, {"run": run})
    same("assignment", fh.seal("assignment", assignment(7, {"run": run}), [ONLINE]))
    same("assignment.keep", fh.seal("assignment", assignment(8, {"mode": "paused"}), [ONLINE]))
    open_order = root().open_order
    refused("for press-07", open_order, "assignment", VECTORS["assignment"], "press-08", ISSUED_MS)
    refused("expired", open_order, "assignment", VECTORS["assignment"], "press-07", ISSUED_MS + DAY_MS + 1)
    refused("root has expired", open_order, "assignment", VECTORS["assignment"], "press-07", ISSUED_MS + 366 * DAY_MS)
    refused("signed by 0", open_order, "command", VECTORS["assignment"], "press-07", ISSUED_MS)


def test_commands_and_acks() -> None:
    for number, name, action in [(1, "report-now", "report-now"), (2, "fetch-logs", {"fetch-logs": {"lines": 100}})]:
        document = {
            "fleet": "plant-a", "device": "press-07", "id": number, "issued_ms": ISSUED_MS,
            "expires_ms": ISSUED_MS + 60_000, "action": action, "critical": [],
        }
        assert root().open_order("command", VECTORS[f"command.{name}"], "press-07", ISSUED_MS) == document
        same(f"command.{name}", fh.seal("command", document, [ONLINE]))
    document = {
        "device": "press-07", "boot_id": BOOT_ID, "ranges": [{"first": 0, "last": 4}, {"first": 7, "last": 300}],
    }
    assert root().open_order("ack", VECTORS["ack"], "press-07", ISSUED_MS) == document
    same("ack", fh.seal("ack", document, [ONLINE]))
    document = {
        "device": "press-07", "boot_id": BOOT_ID - 1, "ranges": [], "gaps": [{"first": 10, "last": 20}],
    }
    assert root().open_order("ack", VECTORS["ack.gaps"], "press-07", ISSUED_MS) == document
    same("ack.gaps", fh.seal("ack", document, [ONLINE]))


def bundle_id() -> dict:
    return {"digest": VECTORS["bundle.digest"], "name": "valve", "version": "1.2.0"}


def test_hello() -> None:
    document = {
        "device": "press-07", "boot_id": BOOT_ID, "count": 2, "time_ms": ISSUED_MS + 5, "agent": "0.1.0",
        "hardware": "gateway-x86", "platform": "x86_64-linux", "seq": 7, "command_id": 0, "root_version": 1, "floor": 1,
        "mode": "run", "parameters": {"sampling_ppm": 10_000}, "active": {"generation": 1, "bundle": bundle_id()},
        "deployment": "idle",
    }
    assert signed_by("hello", "hello", "device") == document
    same("hello", fh.seal("hello", document, [DEVICE]))


def bodies() -> list[dict]:
    digest = VECTORS["bundle.digest"]
    return [
        {"job": {"job": "deploy-7", "seq": 7, "bundle": digest, "id": bundle_id(), "status": "IN_PROGRESS", "step": "staged"}},
        {"finding": {
            "bundle": digest, "candidate": False, "stage": "drift", "kind": "drift", "severity": "alarm",
            "subject": "pressure", "value": 0.31, "threshold": 0.25, "sample": 512, "message": "psi above its threshold",
        }},
        {"metrics": {
            "bundle": digest, "window_ms": 10_000, "samples": 100, "results": 99, "failures": 1, "latency_p50_us": 850,
            "latency_p99_us": 2100, "gauges": {"drift/psi-flow": 0.0, "drift/psi": 1e300},
        }},
        {"event": {"kind": "plugin-fault", "severity": "warning", "subject": "scale", "message": "deadline"}},
        {"prediction": {
            "bundle": digest, "sample": 512, "time_ms": ISSUED_MS,
            "outputs": {"score": [0.5, 0.1, math.nan, math.inf, -0.0, 100_000.5]},
        }},
        {"explanation": {
            "bundle": digest, "sample": 512, "time_ms": ISSUED_MS, "finding": "drift/drift", "method": "kernel-shap",
            "output": "score", "element": 1, "base": 0.25, "prediction": 0.75,
            "features": [
                {"feature": "pressure", "value": "2.5", "contribution": 0.625}, {"feature": "window", "contribution": -0.25},
            ],
            "others": 0.125, "evaluations": 256, "exact": False, "complete": True,
        }},
    ]


def test_batch() -> None:
    records = [{"seq": seq, "time_ms": ISSUED_MS + 10 + seq, "body": body} for seq, body in enumerate(bodies())]
    document = {
        "device": "press-07", "boot_id": BOOT_ID, "historical": False, "records": records,
        "gaps": [{"boot_id": BOOT_ID - 1, "first": 10, "last": 20, "count": 11}],
    }
    assert fh.encode(signed_by("up-batch", "batch", "device")) == fh.encode(document)
    same("batch", fh.seal("up-batch", document, [DEVICE]))


def test_answers_and_presence() -> None:
    for name, to, outcome in [
        ("accepted", "assign/7", "accepted"),
        ("done", "cmd/1", {"done": {"body": "{}"}}),
        ("rejected", "assign/6", {"rejected": {"reason": "6 is not above 7"}}),
    ]:
        document = {"device": "press-07", "boot_id": BOOT_ID, "to": to, "time_ms": ISSUED_MS + 6, "outcome": outcome}
        assert signed_by("answer", f"answer.{name}", "device") == document
        same(f"answer.{name}", fh.seal("answer", document, [DEVICE]))
    same("presence", fh.encode({"boot_id": BOOT_ID, "online": True}))


def model_blob() -> dict:
    manifest = root().open_manifest(VECTORS["manifest"], VECTORS["bundle.digest"], ISSUED_MS)
    return manifest["components"][1]["blob"]


def test_delivery() -> None:
    blob = model_blob()
    same("fetch", fh.fetch(99, blob["sha256"], [1, 2, 9]))
    download = fh.Download(blob)
    assert download.request() is not None and download.request() is None
    download.token = 98
    download.take(VECTORS["chunk.model.0"])
    assert not download.chunks, "an answer to another request"
    download.token = 99
    encodings = set()
    for index in reversed(range(len(blob["chunks"]))):
        data = VECTORS[f"chunk.model.{index}"]
        encodings.add(cbor2.loads(data)["body"]["data"]["encoding"])
        download.take(data)
        download.take(data)
    assert download.is_complete() and download.content() == MODEL
    encodings.add(cbor2.loads(VECTORS["chunk.golden.0"])["body"]["data"]["encoding"])
    assert encodings == {"raw", "zstd"}
    refused("no chunk 9", fh.Download(blob, token=99).take, VECTORS["chunk.unknown"])
    wrong = {"token": 99, "digest": blob["sha256"], "index": 0, "body": {"data": {"encoding": "raw", "data": b"x"}}}
    refused("signed list", fh.Download(blob, token=99).take, fh.encode(wrong))


def test_archive() -> None:
    manifest, assignment, blobs = fh.read_archive(VECTORS["archive"])
    assert manifest == VECTORS["manifest"] and assignment == VECTORS["assignment"]
    assert set(blobs.values()) == {FILES["golden.jsonl"], FILES["standardize.wasm"]}


def test_scanner() -> None:
    for good in ["a0", "a2616101616202", "a261620262616101", "f97e00", "3863", "1818", "f5", "fb3ff199999999999a", "81" * 16 + "00"]:
        fh.scan(bytes.fromhex(good), 100)
    for bad, part in [
        ("1817", "shortest"), ("190018", "shortest"), ("5818" + "00" * 23, "middle"), ("9fff", "indefinite"),
        ("a2616201616101", "order"), ("a2616101616102", "order"), ("c000", "tag"), ("0000", "after"), ("61ff", "UTF-8"),
        ("f7", "simple"), ("9b0000000100000000", "beyond"), ("", "middle"), ("81" * 17 + "00", "16 levels"), ("ff", "simple"),
    ]:
        refused(part, fh.scan, bytes.fromhex(bad), 100)
    refused("at most", fh.scan, bytes(101), 100)


def test_envelopes_in_other_forms() -> None:
    body = cbor2.loads(VECTORS["ack"][2:])
    protected, _, signature = body[3][0]
    forms = [
        ([b"\xa1\x01\x27", {}, body[2], body[3]], "not a COSE_Sign"),
        ([b"", {4: b"x"}, body[2], body[3]], "headers on the envelope"),
        ([b"", {}, body[2], [[protected, {4: b"x"}, signature]]], "unprotected"),
        ([b"", {}, body[2], body[3] * 17], "16 signatures"),
        ([b"", {}, body[2], [[fh.encode({1: -7, 4: bytes(16)}), {}, signature]]], "other than EdDSA"),
    ]
    for form, part in forms:
        refused(part, fh.Envelope.open, "ack", fh.TAG + fh.encode(form))
    refused("tag", fh.Envelope.open, "ack", VECTORS["ack"][2:])
    fh.Envelope.open("ack", VECTORS["ack"]).verify([PUBLIC["online"]], 1)
    refused("1 of the 2", fh.Envelope.open("ack", VECTORS["ack"]).verify, [PUBLIC["online"]] * 2, 2)


def test_a_device_from_hello_to_verified() -> None:
    """The whole way without a broker: a hub made of the vectors answers each of the device's messages."""
    sent: list[tuple[str, bytes]] = []
    device = Device(root(), "press-07", DEVICE, lambda kind, data: sent.append((kind, data)), lambda: ISSUED_MS)
    device.connected()
    assert [kind for kind, _ in sent] == ["presence", "hello"]
    device.take("assign", VECTORS["assignment"])
    device.take("assign", VECTORS["assignment"])
    contents = {hashlib.sha256(content).digest(): content for content in FILES.values()}
    contents[hashlib.sha256(VECTORS["manifest"]).digest()] = VECTORS["manifest"]
    blobs = {one["blob"]["sha256"]: one["blob"] for one in manifest_document(lengths(model_blob()))["components"]}
    opened = root().open_order("assignment", VECTORS["assignment"], "press-07", ISSUED_MS)
    blobs[opened["run"]["manifest"]["sha256"]] = opened["run"]["manifest"]
    for kind, data in sent:  # grows while the device answers
        if kind == "fetch":
            serve(device, cbor2.loads(data), blobs, contents)
    assert set(device.blobs.values()) == set(FILES.values())
    device.take("cmd", VECTORS["command.report-now"])
    device.take("cmd", VECTORS["command.report-now"])
    answers = [signed(data, "answer")["to"] for kind, data in sent if kind == "answer"]
    assert answers == ["assign/7", "cmd/1"]
    batch = signed([data for kind, data in sent if kind == "batch"][-1], "up-batch")
    steps = [record["body"]["job"]["step"] for record in batch["records"]]
    assert steps == ["assigned", "fetching", "verified", "staged"]
    ack = {"device": "press-07", "boot_id": device.boot_id, "ranges": [{"first": 1, "last": 3}]}
    device.take("ack", fh.seal("ack", ack, [ONLINE]))
    assert list(device.spool.records) == [4]
    refused("signed by 0", device.take, "ack", fh.seal("ack", ack, [DEVICE]))


def signed(data: bytes, domain: str) -> dict:
    return fh.decode(fh.Envelope.open(domain, data).verify([PUBLIC["device"]], 1), fh.LIMITS[domain])


def serve(device: Device, request: dict, blobs: dict, contents: dict) -> None:
    digest = request["digest"]
    chunks = list(fh.chunks_of(blobs[digest], contents[digest]))
    asked = 0
    for at in range(request["count"]):
        if request["missing"][at // 8] >> at % 8 & 1:
            index = request["first"] + at
            asked += len(chunks[index])
            body = {"data": {"encoding": "raw", "data": chunks[index]}}
            device.take("chunk", fh.encode({"token": request["token"], "digest": digest, "index": index, "body": body}))
    assert 0 < asked <= fh.FETCH_WINDOW_BYTES


if __name__ == "__main__":
    tests = [(name, test) for name, test in list(globals().items()) if name.startswith("test_")]
    for name, test in tests:
        test()
    print(f"{len(tests)} tests passed on {len(VECTORS)} vectors")
