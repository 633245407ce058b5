#!/usr/bin/env python3
"""Writes cases/*.jsonl: what Python's struct, binascii and NumPy make of messages.

Run with NumPy 2.4 installed: python3 plugins/binary-frame/tests/oracle.py
With --check nothing is written: the cases are made again and compared with those that are there.
"""

import argparse
import base64
import binascii
import json
import math
import pathlib
import struct
import zlib

import numpy as np

CASES = pathlib.Path(__file__).parent / "cases"
BAD = {"error": "bad-input"}
# A type's letter in struct.
TYPES = {
    "UINT8": "B",
    "INT8": "b",
    "UINT16": "H",
    "INT16": "h",
    "UINT32": "I",
    "INT32": "i",
    "UINT64": "Q",
    "INT64": "q",
    "FP16": "e",
    "FP32": "f",
    "FP64": "d",
}


def plain(array):
    return [plain(row) for row in array] if array.ndim else ("NaN" if math.isnan(array) else array.item())


def message(payload, **answer):
    return {"message_base64": base64.b64encode(payload).decode()} | answer


def every_type(endianness):
    """One field of every type, one after another."""
    fields = [{"name": name.lower(), "type": name} for name in TYPES]
    config = {"outputs": [{"name": "x", "datatype": "FP64", "fields": fields}], "endianness": endianness}
    yield {"config": config, "tolerance": 0}
    layout = struct.Struct({"little": "<", "big": ">"}[endianness] + "".join(TYPES.values()))
    rng = np.random.default_rng(1)
    for _ in range(20):
        payload = rng.bytes(layout.size)
        values = [[float(value) for value in layout.unpack(payload)]]
        infinite = any(math.isinf(value) for value in values[0])
        if not infinite:
            yield message(payload, samples=[{"tensors": {"x": plain(np.array(values))}}])
    yield message(payload + b"\0", **BAD)


def checked():
    """A header with magic, length and time, records with scaled numbers and bits, CRC-32 or the CRC of XMODEM behind."""
    fields = [
        {"name": "p", "type": "INT16", "scale": 0.01, "add": -40},
        {"name": "high", "type": "UINT32", "bits": {"first": 20, "count": 12}},
        {"name": "low", "type": "UINT32", "offset": 2, "bits": {"first": 0, "count": 20}},
    ]
    config = {
        "outputs": [{"name": "x", "fields": fields}],
        "endianness": "big",
        "magic": "464c5231",
        "header_bytes": 16,
        "length": {"offset": 4, "type": "UINT32", "plus": 8},
        "check": {"kind": "crc16-xmodem", "from": 4},
        "record_bytes": 8,
        "repeat": True,
        "id": {"offset": 6, "type": "UINT16"},
        "time": {"offset": 8, "type": "UINT64", "in": "message", "unit": "us"},
    }
    yield {"config": config, "tolerance": 0}
    rng = np.random.default_rng(2)
    for index in range(12):
        time = int(rng.integers(2**50))
        body, samples = b"", []
        for _ in range(int(rng.integers(0, 4))):
            p, word, part = int(rng.integers(-(2**15), 2**15)), int(rng.integers(2**32)), int(rng.integers(2**16))
            body += struct.pack(">hIH", p, word, part)
            values = np.array([[p * 0.01 - 40, word >> 20, word & 0xFFFFF]], np.float32)
            samples.append({"tensors": {"x": plain(values)}, "id": str(part), "time_ms": time // 1000})
        head = b"FLR1" + struct.pack(">IQ", len(body) + 10, time)
        crc = binascii.crc_hqx((head + body)[4:], 0)
        yield message(head + body + struct.pack(">H", crc), samples=samples)
        if index % 4 == 0:
            yield message(head + body + struct.pack(">H", crc ^ 1), **BAD)


def crc32():
    """Little-endian CRC-32 behind an array of numbers."""
    fields = [{"name": "wave", "type": "INT16", "count": 32}]
    config = {
        "outputs": [{"name": "wave", "datatype": "INT16", "shape": [1, 32], "fields": fields}],
        "check": {"kind": "crc32"},
    }
    yield {"config": config, "tolerance": 0}
    rng = np.random.default_rng(3)
    for _ in range(3):
        wave = rng.integers(-(2**15), 2**15, size=(1, 32)).astype("<i2")
        body = wave.tobytes()
        yield message(body + struct.pack("<I", zlib.crc32(body)), samples=[{"tensors": {"wave": plain(wave)}}])
        yield message(body[:-1] + b"\x55" + struct.pack("<I", zlib.crc32(body)), **BAD)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    files = {"little": every_type("little"), "big": every_type("big"), "checked": checked(), "crc32": crc32()}
    for name, lines in files.items():
        text = "".join(json.dumps(line) + "\n" for line in lines)
        path = CASES / f"{name}.jsonl"
        if not check:
            path.write_text(text)
        elif path.read_text() != text:
            raise SystemExit(f"{path.name} differs from what is made now")


if __name__ == "__main__":
    main()
