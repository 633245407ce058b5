"""Writes pump.csv: a made-up pump's readings, one row a minute, and whether it broke down within the next day.

    python make_data.py [--rows 1000] [--seed 3] [--out pump.csv]

The same seed gives the same file.
"""

import argparse
from pathlib import Path

import numpy as np

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--rows", type=int, default=1_000)
parser.add_argument("--seed", type=int, default=3)
parser.add_argument("--out", type=Path, default=Path(__file__).parent / "pump.csv")
arguments = parser.parse_args()

rng = np.random.default_rng(arguments.seed)
clogged = np.where(rng.random(arguments.rows) < 0.7, 0.0, rng.random(arguments.rows))
load = rng.uniform(0.6, 1.0, arguments.rows)
readings = {
    "flow_l_min": 120 * load * (1 - 0.4 * clogged) + rng.normal(0, 2, arguments.rows),
    "pressure_bar": 3.2 * load + 0.9 * clogged + rng.normal(0, 0.1, arguments.rows),
    "current_a": 11 * load + 2.5 * clogged + rng.normal(0, 0.3, arguments.rows),
    "temperature_c": 48 + 10 * load + 9 * clogged + rng.normal(0, 1.5, arguments.rows),
}
broke_down = rng.random(arguments.rows) < 1 / (1 + np.exp(-(clogged - 0.5) / 0.08))

lines = [",".join([*readings, "broke_down"])]
for row in range(arguments.rows):
    cells = [f"{column[row]:.2f}" for column in readings.values()]
    lines.append(",".join([*cells, str(int(broke_down[row]))]))
arguments.out.write_text("\n".join(lines) + "\n")
