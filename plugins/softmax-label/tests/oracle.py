#!/usr/bin/env python3
"""Writes cases/*.jsonl: probabilities by scipy.special.softmax and classes by NumPy's stable argsort.

    pip install numpy scipy    # 2.4.6, 1.17.1
    python3 plugins/softmax-label/tests/oracle.py            # writes
    python3 plugins/softmax-label/tests/oracle.py --check    # makes them again and compares
"""

import json
import pathlib
import sys

import numpy as np
from scipy import special

FOLDER = pathlib.Path(__file__).parent / "cases"
TOLERANCE = 1e-12


def lines(config, batches):
    """A head, then a line for each batch of rows."""
    yield {"config": config, "tolerance": 1e-7}
    for rows in batches:
        rows = rows.astype(np.float32)
        probabilities = rows.astype(float)
        if config.get("softmax", True):
            probabilities = special.softmax(probabilities / config.get("temperature", 1.0), axis=1)
        order = np.argsort(-probabilities, axis=1, kind="stable")[:, : config.get("top", 1)]
        confidence = np.take_along_axis(probabilities, order, axis=1)
        yield {
            "input": {config["input"]: rows.astype(float).tolist()},
            "output": {
                "probabilities": probabilities.tolist(),
                "class": np.where(confidence >= config.get("threshold", 0), order, -1).tolist(),
                "confidence": confidence.tolist(),
            },
        }


def files():
    rng = np.random.default_rng(8)
    labels = ["ok", "scratch", "dent", "hole", "stain"]
    draw = lambda scale, rows: np.round(rng.normal(scale=scale, size=(rows, 5)), 3)
    config = {"input": "y", "labels": labels, "top": 3, "threshold": 0.3}
    yield "logits", lines(config, [draw(2, 1) for _ in range(12)] + [np.zeros((1, 5)), np.full((1, 5), 1e4)])
    yield "temperature", lines({**config, "temperature": 2.5, "top": 1}, [draw(30, 3) for _ in range(6)])
    probabilities = [special.softmax(draw(1, 2), axis=1) for _ in range(12)]
    yield "probabilities", lines({"input": "y", "labels": labels, "softmax": False, "top": 2, "threshold": 0.4}, probabilities)


def same(recorded, made):
    if isinstance(made, dict):
        return sorted(recorded) == sorted(made) and all(same(recorded[key], made[key]) for key in made)
    if isinstance(made, list):
        return len(recorded) == len(made) and all(map(same, recorded, made))
    return abs(recorded - made) <= TOLERANCE if isinstance(made, float) else recorded == made


def main():
    for name, content in files():
        path = FOLDER / f"{name}.jsonl"
        made = [json.loads(json.dumps(line)) for line in content]
        if "--check" not in sys.argv:
            path.write_text("".join(json.dumps(line) + "\n" for line in made))
        elif not same([json.loads(line) for line in path.read_text().splitlines()], made):
            sys.exit(f"{path.name} is another one")


if __name__ == "__main__":
    main()
