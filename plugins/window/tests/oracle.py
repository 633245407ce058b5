#!/usr/bin/env python3
"""Writes cases/*.jsonl: windows of a stream as numpy.lib.stride_tricks.sliding_window_view has them.

    pip install numpy    # 2.4.6
    python3 plugins/window/tests/oracle.py            # writes
    python3 plugins/window/tests/oracle.py --check    # makes them again and compares
"""

import json
import pathlib
import sys

import numpy as np

FOLDER = pathlib.Path(__file__).parent / "cases"


def lines(config, rows, chunk):
    """A head, then a line for each chunk of rows."""
    length, hop = config["length"], config.get("hop", config["length"])
    windows = np.lib.stride_tricks.sliding_window_view(rows, length, axis=0)[::hop].transpose(0, 2, 1)
    ends = {length - 1 + index * hop: window for index, window in enumerate(windows)}
    yield {"config": config, "tolerance": 0}
    for start in range(0, len(rows), chunk):
        full = [ends[row] for row in range(start, min(start + chunk, len(rows))) if row in ends]
        output = None
        if full:
            window = full[0].T if config.get("columns_first") else full[0]
            output = {config["output"]: window.reshape(config.get("output_shape", window.shape)).tolist()}
        yield {"input": {config["input"]: rows[start : start + chunk].tolist()}, "output": output}


def files():
    rng = np.random.default_rng(1)
    sensors = np.round(rng.normal(size=(30, 3)) * 64) / 64
    config = {"input": "x", "output": "w", "columns": 3, "length": 8, "hop": 3}
    yield "sliding", lines(config, sensors, 1)
    counts = rng.integers(-30_000, 30_000, size=(40, 2))
    config = {
        "input": "x", "output": "w", "datatype": "INT16", "columns": 2, "length": 10, "columns_first": True,
        "output_shape": [1, 2, 10],
    }  # fmt: skip
    yield "tumbling_columns_first", lines(config, counts, 4)


def main():
    for name, content in files():
        path = FOLDER / f"{name}.jsonl"
        made = "".join(json.dumps(line) + "\n" for line in content)
        if "--check" not in sys.argv:
            path.write_text(made)
        elif path.read_text() != made:
            sys.exit(f"{path.name} is another one")


if __name__ == "__main__":
    main()
