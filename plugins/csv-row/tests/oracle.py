#!/usr/bin/env python3
"""Writes cases/*.jsonl: what Python's csv and NumPy make of messages.

Run with NumPy 2.4 installed: python3 plugins/csv-row/tests/oracle.py
With --check nothing is written: the cases are made again and compared with those that are there.
"""

import argparse
import csv
import io
import json
import math
import pathlib

import numpy as np

CASES = pathlib.Path(__file__).parent / "cases"
BAD = {"error": "bad-input"}


def plain(array):
    return [plain(row) for row in array] if array.ndim else ("NaN" if math.isnan(array) else array.item())


def written(rows, **dialect):
    text = io.StringIO()
    csv.writer(text, **dialect).writerows(rows)
    return text.getvalue()


def quoted():
    """Quotes, separators and line ends within values; rows that are too short or hold no number."""
    config = {
        "outputs": [{"name": "x", "fields": [{"name": "p"}, {"name": "q"}]}],
        "columns": ["part", "p", "at", "q"],
        "id": "part",
        "time": {"column": "at", "unit": "ms"},
    }
    yield {"config": config, "tolerance": 0}
    rng = np.random.default_rng(1)
    for index in range(20):
        rows = []
        for row in range(int(rng.integers(0, 5))):
            part = ["P 1", 'say "P2"', "a,b", "two\nlines", "\u00fc"][int(rng.integers(5))]
            rows.append([part, f"{rng.normal():.7g}", 1_700_000_000_000 + row, repr(float(10.0 ** rng.integers(-20, 20)))])
            if rng.integers(6) == 0:
                rows[-1][1] = "high"
            if rng.integers(6) == 0:
                rows[-1].pop()
        quoting = [csv.QUOTE_MINIMAL, csv.QUOTE_ALL][index % 2]
        text = written(rows, quoting=quoting, lineterminator=["\r\n", "\n"][index % 3 == 0])
        samples = []
        for row in csv.reader(io.StringIO(text, newline="")):
            if len(row) != 4 or row[1] == "high":
                samples.append(BAD)
                continue
            values = np.array([[float(row[1]), float(row[3])]], np.float32)
            samples.append({"tensors": {"x": plain(values)}, "id": row[0], "time_ms": int(row[2])})
        yield {"message": text, "samples": samples}


def together():
    """A header, decimal commas, missing values, and all rows of a message one sample."""
    config = {
        "outputs": [{"name": "x", "datatype": "FP64", "fields": [{"name": "p"}, {"name": "q"}]}],
        "header": True,
        "separator": ";",
        "decimal": ",",
        "rows": "one-sample",
        "missing": "nan",
        "missing_values": ["NA"],
    }
    yield {"config": config, "tolerance": 0}
    rng = np.random.default_rng(2)
    for _ in range(10):
        values = rng.normal(size=(int(rng.integers(1, 5)), 2))
        values[rng.uniform(size=values.shape) < 0.2] = math.nan
        order = ["q", "p"] if rng.integers(2) else ["p", "q"]
        columns = values if order == ["p", "q"] else values[:, ::-1]
        rows = [[("NA" if rng.integers(2) else "") if math.isnan(v) else repr(float(v)).replace(".", ",") for v in r] for r in columns]
        text = written([[*order, "note"]] + [[*row, "x;y"] for row in rows], delimiter=";")
        yield {"message": text, "samples": [{"tensors": {"x": plain(values)}}]}
    yield {"message": "p;q\n"}
    yield {"message": "p;r\n1;2\n"} | BAD


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    for make in (quoted, together):
        text = "".join(json.dumps(line) + "\n" for line in make())
        path = CASES / f"{make.__name__}.jsonl"
        if not check:
            path.write_text(text)
        elif path.read_text() != text:
            raise SystemExit(f"{path.name} differs from what is made now")


if __name__ == "__main__":
    main()
