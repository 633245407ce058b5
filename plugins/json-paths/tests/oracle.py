#!/usr/bin/env python3
"""Writes cases/*.jsonl: what Python's json, NumPy and datetime make of messages.

Run with NumPy 2.4 installed, on Python 3.11 or later: python3 plugins/json-paths/tests/oracle.py
With --check nothing is written: the cases are made again and compared with those that are there.
"""

import argparse
import datetime
import functools
import json
import math
import pathlib

import numpy as np

CASES = pathlib.Path(__file__).parent / "cases"
BAD = {"error": "bad-input"}


def pointer(document, path):
    keys = [key.replace("~1", "/").replace("~0", "~") for key in path.split("/")[1:]]
    return functools.reduce(lambda value, key: value[int(key) if isinstance(value, list) else key], keys, document)


def plain(array):
    return [plain(row) for row in array] if array.ndim else ("NaN" if math.isnan(array) else array.item())


def nested():
    """Pointers, keys with slashes and tildes, an integer beyond 2^53, numbers in every notation."""
    fields = {"a": "/m/a~1b", "b": "/m/c~0d", "c": "/list/1/v"}
    config = {
        "outputs": [
            {"name": "x", "fields": [{"name": name, "path": path} for name, path in fields.items()]},
            {"name": "n", "datatype": "INT64", "fields": [{"name": "n", "path": "/n"}], "shape": [1]},
            {"name": "wave", "datatype": "FP16", "path": "/wave", "shape": [-1, 2]},
        ],
        "id": {"path": "/part"},
        "time": {"path": "/at", "unit": "rfc3339"},
    }
    yield {"config": config, "tolerance": 0}
    rng = np.random.default_rng(1)
    for index in range(20):
        at = datetime.datetime.fromtimestamp(int(rng.integers(4e9)), datetime.timezone(datetime.timedelta(minutes=90)))
        message = {
            "m": {"a/b": float(rng.normal()), "c~d": int(rng.integers(-1000, 1000))},
            "list": [{}, {"v": float(10.0 ** rng.integers(-30, 30))}],
            "n": int(rng.integers(-(2**50), 2**50)),
            "wave": rng.normal(size=(int(rng.integers(1, 4)), 2)).tolist(),
            "part": f"P-{index} \u00fc",
            "at": at.isoformat(),
        }
        text = json.dumps(message, ensure_ascii=bool(index % 2), indent=index % 3 or None)
        message = json.loads(text)
        sample = {
            "tensors": {
                "x": plain(np.array([[pointer(message, path) for path in fields.values()]], np.float32)),
                "n": [message["n"]],
                "wave": plain(np.array(message["wave"], np.float16)),
            },
            "id": message["part"],
            "time_ms": int(datetime.datetime.fromisoformat(message["at"]).timestamp()) * 1000,
        }
        yield {"message": text, "samples": [sample]}


def lists():
    """An array of samples: some values missing, some samples no samples."""
    config = {
        "outputs": [{"name": "x", "datatype": "FP64", "fields": [{"name": "p"}, {"name": "q", "path": "v.q"}]}],
        "samples": "/data/readings",
        "id": {"path": "/device", "from": "message"},
        "time": {"path": "t", "unit": "s"},
        "missing": "nan",
    }
    yield {"config": config, "tolerance": 0}
    rng = np.random.default_rng(2)
    for _ in range(10):
        readings, samples = [], []
        for _ in range(int(rng.integers(0, 6))):
            t = int(rng.integers(1_700_000_000_000, 1_800_000_000_000))
            reading = {"t": t / 1000, "p": float(rng.normal()), "v": {"q": float(rng.normal())}}
            kind = rng.integers(4)
            if kind == 1:
                reading["p"] = None
            elif kind == 2:
                del reading["v"]
            elif kind == 3:
                reading["p"] = "high"
            readings.append(reading)
            values = [[math.nan if reading["p"] is None else reading["p"], reading.get("v", {"q": math.nan})["q"]]]
            good = kind != 3
            samples.append(
                {"tensors": {"x": plain(np.array(values))}, "id": "D1", "time_ms": t} if good else BAD
            )
        yield {"message": json.dumps({"device": "D1", "data": {"readings": readings}}), "samples": samples}
    for text in ["", "{", "[]", '{"data": {}}', '{"data": {"readings": 1}}', '{"data": {"readings": []}} x', "NaN"]:
        yield {"message": text} | BAD


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    for make in (nested, lists):
        text = "".join(json.dumps(line) + "\n" for line in make())
        path = CASES / f"{make.__name__}.jsonl"
        if not check:
            path.write_text(text)
        elif path.read_text() != text:
            raise SystemExit(f"{path.name} differs from what is made now")


if __name__ == "__main__":
    main()
