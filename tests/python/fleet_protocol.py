"""The fleet protocol of docs/protocol.md: CBOR, envelopes, documents, archives, delivery, telemetry. Knows no client.

It uses nothing but what that page says. `device.py` beside it puts the parts together; `test_device.py` holds both against
bytes that the Rust code made. Needs cbor2, cryptography and zstandard.
"""

from __future__ import annotations

import hashlib
import io
import secrets
import tarfile
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import cbor2
import zstandard
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

# docs/protocol.md, "Limits"
MAX_DEPTH = 16
MAX_SIGNATURES = 16
LIMITS = {
    "root": 16 * 1024,
    "manifest": 1024 * 1024,
    "assignment": 16 * 1024,
    "command": 4 * 1024,
    "ack": 32 * 1024,
    "up-batch": 192 * 1024,
    "hello": 8 * 1024,
    "answer": 192 * 1024,
    "enrolment": 8 * 1024,
    "renewal": 8 * 1024,
    "certificate": 32 * 1024,
}
MAX_CHUNK_BYTES = 64 * 1024
MAX_CHUNK_MESSAGE_BYTES = MAX_CHUNK_BYTES + 512
MAX_BLOB_BYTES = 512 * 1024 * 1024
MAX_PACKET_BYTES = 256 * 1024
FETCH_WINDOW_BYTES = 128 * 1024
MAX_FETCH_CHUNKS = 256

TAG = b"\xd8\x62"
EDDSA = -8


class Refused(Exception):
    """A message that isn't acted on, and why."""


# Deterministic CBOR


def encode(value: object) -> bytes:
    """Canonical CBOR; the order of its text keys is that of RFC 8949, 4.2.1."""
    return cbor2.dumps(value, canonical=True)


def decode(data: bytes, limit: int) -> object:
    """Scans, then decodes."""
    scan(data, limit)
    return cbor2.loads(data)


def scan(data: bytes, limit: int) -> None:
    """Refuses everything but one data item in deterministic encoding."""
    if len(data) > limit:
        raise Refused(f"{len(data)} bytes, at most {limit} may be")
    if _item(data, 0, 0) != len(data):
        raise Refused("bytes after the document")


def _item(data: bytes, at: int, depth: int) -> int:
    """The offset behind the item that begins at `at`. Recursion is bounded by MAX_DEPTH."""
    if at >= len(data):
        raise Refused("the document ends in the middle")
    major, info = data[at] >> 5, data[at] & 0x1F
    if major == 7:
        width = {20: 0, 21: 0, 22: 0, 25: 2, 26: 4, 27: 8}.get(info)
        if width is None:
            raise Refused(f"simple value {info}")
        return _behind(data, at + 1, width)
    if major == 6:
        raise Refused("a tag")
    argument, at = _argument(data, at + 1, info)
    if major in (0, 1):
        return at
    if major in (2, 3):
        end = _behind(data, at, argument)
        if major == 3:
            try:
                data[at:end].decode()
            except UnicodeDecodeError as error:
                raise Refused("text that is not UTF-8") from error
        return end
    if argument > len(data) - at:
        raise Refused("a length beyond the end")
    if depth == MAX_DEPTH:
        raise Refused("more than 16 levels")
    previous = b""
    for _ in range(argument):
        if major == 5:
            start, at = at, _item(data, at, depth + 1)
            if data[start:at] <= previous:
                raise Refused("map keys that are repeated or out of order")
            previous = data[start:at]
        at = _item(data, at, depth + 1)
    return at


def _argument(data: bytes, at: int, info: int) -> tuple[int, int]:
    if info < 24:
        return info, at
    if info > 27:
        raise Refused("an indefinite length or a reserved head")
    width, least = {24: (1, 24), 25: (2, 1 << 8), 26: (4, 1 << 16), 27: (8, 1 << 32)}[info]
    end = _behind(data, at, width)
    value = int.from_bytes(data[at:end])
    if value < least:
        raise Refused("an integer or length that is not in its shortest form")
    return value, end


def _behind(data: bytes, at: int, length: int) -> int:
    if at + length > len(data):
        raise Refused("the document ends in the middle")
    return at + length


# Keys and envelopes


def public_bytes(key: Ed25519PrivateKey | Ed25519PublicKey) -> bytes:
    public = key.public_key() if isinstance(key, Ed25519PrivateKey) else key
    return public.public_bytes(Encoding.Raw, PublicFormat.Raw)


def key_id(public: bytes) -> bytes:
    return hashlib.sha256(public).digest()[:16]


def to_be_signed(domain: str, protected: bytes, payload: bytes) -> bytes:
    """The Sig_structure of RFC 9052, 4.4."""
    return encode(["Signature", b"", protected, f"floorhand/v1/{domain}".encode(), payload])


def seal(domain: str, document: object, keys: Iterable[Ed25519PrivateKey]) -> bytes:
    """Encodes and signs."""
    payload = encode(document)
    signatures = []
    for key in keys:
        protected = encode({1: EDDSA, 4: key_id(public_bytes(key))})
        signatures.append([protected, {}, key.sign(to_be_signed(domain, protected, payload))])
    return TAG + encode([b"", {}, payload, signatures])


@dataclass
class Envelope:
    """A signed document whose signatures have not been checked yet."""

    domain: str
    payload: bytes
    signatures: list[tuple[bytes, bytes, bytes]]
    """Protected header, key id, signature."""

    @classmethod
    def open(cls, domain: str, data: bytes) -> Envelope:
        if not data.startswith(TAG):
            raise Refused("no COSE_Sign tag")
        match decode(data[len(TAG) :], LIMITS[domain]):
            case [b"", dict() as unprotected, bytes() as payload, list() as signatures]:
                pass
            case _:
                raise Refused("not a COSE_Sign envelope")
        if unprotected:
            raise Refused("headers on the envelope itself")
        if len(signatures) > MAX_SIGNATURES:
            raise Refused("more than 16 signatures")
        return cls(domain, payload, [cls._signature(one) for one in signatures])

    @staticmethod
    def _signature(one: object) -> tuple[bytes, bytes, bytes]:
        match one:
            case [bytes() as protected, {}, bytes() as signature] if not one[1]:
                header = decode(protected, 256)
            case _:
                raise Refused("not a COSE_Signature, or one with unprotected headers")
        if not isinstance(header, dict) or set(header) != {1, 4} or header[1] != EDDSA or len(header[4]) != 16:
            raise Refused("a header other than EdDSA and a key id of 16 bytes")
        return protected, header[4], signature

    def verify(self, keys: Iterable[bytes], threshold: int) -> bytes:
        """The payload, if enough different keys have signed it."""
        valid = {key_id(public) for public in keys if self._signed_by(public)}
        if len(valid) < max(threshold, 1):
            raise Refused(f"{self.domain} is signed by {len(valid)} of the {threshold} keys it needs")
        return self.payload

    def _signed_by(self, public: bytes) -> bool:
        for protected, who, signature in self.signatures:
            if who != key_id(public):
                continue
            try:
                message = to_be_signed(self.domain, protected, self.payload)
                Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
            except InvalidSignature:
                continue
            return True
        return False


def check_critical(document: dict) -> None:
    """This device knows no critical field."""
    if document.get("critical"):
        raise Refused(f"it needs {document['critical'][0]!r} to be understood")


# What the hub and the releaser sign


@dataclass
class Root:
    """A trust root that was put on the device."""

    document: dict

    @classmethod
    def open(cls, data: bytes) -> Root:
        envelope = Envelope.open("root", data)
        document = decode(envelope.payload, LIMITS["root"])
        check_critical(document)
        for role in ("root", "release", "assignment"):
            keys, threshold = document[role]["keys"], document[role]["threshold"]
            if len(set(keys)) != len(keys) or not 1 <= threshold <= len(keys):
                raise Refused(f"role {role} lists a key twice, or its threshold can't be met")
        envelope.verify(document["root"]["keys"], document["root"]["threshold"])
        return cls(document)

    def open_under(self, role: str, domain: str, data: bytes, now_ms: int) -> tuple[dict, bytes]:
        """A document that a role's keys have signed, and the digest of its signed bytes."""
        if now_ms > self.document["expires_ms"]:
            raise Refused("the trust root has expired")
        keys = self.document[role]
        payload = Envelope.open(domain, data).verify(keys["keys"], keys["threshold"])
        document = decode(payload, LIMITS[domain])
        check_critical(document)
        return document, hashlib.sha256(payload).digest()

    def open_order(self, domain: str, data: bytes, device: str, now_ms: int) -> dict:
        """An assignment, a command or an ack for this device."""
        document, _ = self.open_under("assignment", domain, data, now_ms)
        if document["device"] != device or document.get("fleet", self.document["fleet"]) != self.document["fleet"]:
            raise Refused(f"it is for {document['device']}")
        if domain != "ack" and now_ms > document["expires_ms"]:
            raise Refused("it has expired")
        return document

    def open_manifest(self, data: bytes, assigned: bytes, now_ms: int) -> dict:
        """The manifest of the bundle that was assigned."""
        manifest, digest = self.open_under("release", "manifest", data, now_ms)
        if digest != assigned:
            raise Refused(f"the manifest is that of {digest.hex()}, which was not assigned")
        for component in manifest["components"]:
            check_blob(component["blob"])
        return manifest


def check_blob(blob: dict) -> None:
    lengths = [chunk["length"] for chunk in blob["chunks"]]
    if blob["length"] > MAX_BLOB_BYTES or sum(lengths) != blob["length"]:
        raise Refused("the chunks' lengths don't add up to the blob's")
    if not all(0 < length <= MAX_CHUNK_BYTES for length in lengths):
        raise Refused("a chunk that is empty or longer than 64 KiB")


def read_archive(data: bytes) -> tuple[bytes, bytes | None, dict[bytes, bytes]]:
    """A .fhb file's manifest, its assignment if it has one, and its blobs by digest."""
    manifest, assignment, blobs = None, None, {}
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:
        for entry in tar:
            content = tar.extractfile(entry).read()
            folder, _, name = entry.name.rpartition("/")
            if entry.name == "manifest.cose":
                manifest = content
            elif entry.name == "assignment.cose":
                assignment = content
            elif folder == "blobs/sha256" and hashlib.sha256(content).hexdigest() == name:
                blobs[bytes.fromhex(name)] = content
            else:
                raise Refused(f"entry {entry.name} is no entry of a bundle, or is damaged")
    if manifest is None:
        raise Refused("no manifest.cose")
    return manifest, assignment, blobs


# Delivery


def fetch(token: int, digest: bytes, indices: list[int]) -> bytes:
    """A request for chunks whose indices rise and lie within 256 of the first."""
    first, count = indices[0], indices[-1] - indices[0] + 1
    bits = bytearray((count + 7) // 8)
    for index in indices:
        bits[(index - first) // 8] |= 1 << (index - first) % 8
    return encode({"token": token, "digest": digest, "first": first, "count": count, "missing": bytes(bits)})


@dataclass
class Download:
    """A blob that is being fetched."""

    blob: dict
    token: int = 0
    chunks: dict[int, bytes] = field(default_factory=dict)
    asked: set[int] = field(default_factory=set)

    def request(self) -> bytes | None:
        """Asks for the first missing chunks that fit into the window; None when a request is under way or all is there."""
        if self.asked or self.is_complete():
            return None
        indices: list[int] = []
        room = FETCH_WINDOW_BYTES
        for index, chunk in enumerate(self.blob["chunks"]):
            if index in self.chunks:
                continue
            if chunk["length"] > room or (indices and index - indices[0] >= MAX_FETCH_CHUNKS):
                break
            indices.append(index)
            room -= chunk["length"]
        self.token, self.asked = secrets.randbits(64), set(indices)
        return fetch(self.token, self.blob["sha256"], indices)

    def give_up_waiting(self) -> None:
        """What didn't come in time is asked for again."""
        self.asked.clear()

    def take(self, data: bytes) -> None:
        """Takes a chunk message; one that isn't ours or was asked for before is let go by."""
        message = decode(data, MAX_CHUNK_MESSAGE_BYTES)
        if message["digest"] != self.blob["sha256"] or message["token"] != self.token:
            return
        index, body = message["index"], message["body"]
        if body == "unknown":
            raise Refused(f"the hub has no chunk {index} of {self.blob['sha256'].hex()}")
        content = body["data"]["data"]
        if body["data"]["encoding"] == "zstd":
            content = zstandard.ZstdDecompressor().decompress(content, max_output_size=MAX_CHUNK_BYTES)
        expected = self.blob["chunks"][index]
        if len(content) != expected["length"] or hashlib.sha256(content).digest() != expected["sha256"]:
            raise Refused(f"chunk {index} isn't what the signed list says")
        self.chunks[index] = content
        self.asked.discard(index)

    def is_complete(self) -> bool:
        return len(self.chunks) == len(self.blob["chunks"])

    def content(self) -> bytes:
        whole = b"".join(self.chunks[index] for index in range(len(self.blob["chunks"])))
        if hashlib.sha256(whole).digest() != self.blob["sha256"]:
            raise Refused("the whole isn't what its digest says")
        return whole


# Telemetry


class Spool:
    """Records that wait for the hub's ack. In memory: a real device keeps them on its disk."""

    def __init__(self, boot_id: int) -> None:
        self.boot_id = boot_id
        self.records: OrderedDict[int, dict] = OrderedDict()
        self.next = 1

    def add(self, time_ms: int, body: dict) -> None:
        self.records[self.next] = {"seq": self.next, "time_ms": time_ms, "body": body}
        self.next += 1

    def batch(self, device: str, most: int = 100) -> dict | None:
        if not self.records:
            return None
        records = [record for _, record in zip(range(most), self.records.values(), strict=False)]
        return {"device": device, "boot_id": self.boot_id, "historical": False, "records": records}

    def acknowledge(self, ack: dict) -> None:
        if ack["boot_id"] != self.boot_id:
            return
        for seq in [seq for seq in self.records if any(r["first"] <= seq <= r["last"] for r in ack["ranges"])]:
            del self.records[seq]


def chunks_of(blob: dict, content: bytes) -> Iterator[bytes]:
    """The chunks that a list cuts a blob's content into."""
    at = 0
    for chunk in blob["chunks"]:
        yield content[at : at + chunk["length"]]
        at += chunk["length"]
