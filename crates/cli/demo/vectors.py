"""Writes vectors.json: what another implementation of PHYSICS.md has to give.

    python vectors.py

Run it after any change of simulator.py or features.py.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from features import NAMES, features
from simulator import STREAM_IMPACT, STREAM_LOAD, STREAM_NOISE, Machine, normals, uniforms, vibration

CASES = (
    (Machine(seed=12_345), [0.0] * 4),
    (Machine(seed=101, speed_hz=29.45, gain=1.003, noise=0.995), [0.0, 0.0, 0.2, 0.4, 0.6, 0.8, 0.9, 0.9]),
)


def main() -> None:
    streams = [
        {
            "seed": 12_345,
            "stream": stream,
            "uniforms": uniforms(12_345, stream, 4).tolist(),
            "normals": normals(12_345, stream, 4).tolist(),
        }
        for stream in (STREAM_NOISE, STREAM_LOAD, STREAM_IMPACT)
    ]
    cases = []
    for machine, wear in CASES:
        chunks = vibration(machine, np.array(wear))
        rows = [dict(zip(NAMES, (float(str(value)) for value in row), strict=True)) for row in features(chunks)]
        first = [[float(str(value)) for value in chunk[:32]] for chunk in chunks]
        squares = [round(float(np.sum(chunk.astype(np.float64) ** 2)), 6) for chunk in chunks]
        cases.append(
            {
                "machine": vars(machine),
                "wear_of_chunk": wear,
                "first_32_samples_of_chunk": first,
                "sum_of_squares_of_chunk": squares,
                "features_of_window": rows,
            }
        )
    path = Path(__file__).parent / "vectors.json"
    path.write_text(json.dumps({"random": streams, "vibration": cases}, indent=1) + "\n")


if __name__ == "__main__":
    main()
