"""Checks by simulation that the demo's story holds with the bundles in bundles/. Exits with 1 if it doesn't.

    python check_demo.py [--runs 200] [--windows 500]

1. Machines in good order raise next to no drift findings.
2. A machine that wears raises one soon after the wear begins.
3. The retrained model agrees with the first one, the one with swapped labels doesn't: at any wear and wherever the
   windows begin, since a bundle that arrives later cuts the stream into windows elsewhere.
4. The demo's own machines, while in good order, raise no finding in their first windows.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from scipy.stats import chi2

from features import NAMES, features
from simulator import DEMO_MACHINES, Machine, random_machine, vibration

BUNDLES = Path(__file__).parent / "bundles"
CHUNKS_A_WINDOW = 4
WINDOW = 50
"""Feature windows in one drift test: `window` in bundle.toml."""
WEAR_A_WINDOW = 0.9 / 200
"""The demo's wear: from 0 to 0.9 in 200 feature windows."""
MOST_ALARMS_A_WINDOW = 1e-3
MOST_DELAY_WINDOWS = 100
GATE = 0.2
SILENT_WINDOWS = 800
"""Feature windows for which the demo's machines have to stay without a finding."""


class Bundle:
    """A bundle's model and its drift monitor, as the device runs them."""

    def __init__(self, folder: str) -> None:
        scaler = json.loads((BUNDLES / folder / "scaler.json").read_text())
        self.mean, self.scale = (np.array(scaler[key], dtype=np.float32) for key in ("mean", "scale"))
        self.fields = json.loads((BUNDLES / folder / "reference.json").read_text())["fields"]
        self.session = onnxruntime.InferenceSession(BUNDLES / folder / "model.onnx", providers=["CPUExecutionProvider"])

    def standardise(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        return (rows - self.mean) / self.scale

    def probability(self, rows: NDArray[np.float32]) -> NDArray[np.float64]:
        x = self.standardise(rows)
        return np.array([float(self.session.run(None, {"x": row[None, :]})[0][0, 0]) for row in x])

    def alarms(self, rows: NDArray[np.float32], step: int = WINDOW) -> NDArray[np.bool_]:
        """Whether PSI is above its threshold, of each feature and each drift window; windows begin `step` apart."""
        x = self.standardise(rows)
        return np.column_stack([self._drifted(name, x[:, column])[::step] for column, name in enumerate(NAMES)])

    def _drifted(self, name: str, values: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Of each stretch of WINDOW values: PSI, with half a count in each bin, above chi-square quantile and 0.1."""
        edges, reference = self.fields[name]["edges"], np.array(self.fields[name]["counts"])
        seen = np.eye(len(reference))[np.searchsorted(edges, values, side="right")].cumsum(axis=0)
        seen = np.vstack([np.zeros(len(reference)), seen])
        current = seen[WINDOW:] - seen[:-WINDOW] + 0.5
        p, q = (reference + 0.5) / (reference + 0.5).sum(), current / current.sum(axis=1, keepdims=True)
        psi = np.sum((q - p) * np.log(q / p), axis=1)
        by_noise = chi2.ppf(0.999, len(reference) - 1) * (1 / reference.sum() + 1 / WINDOW)
        return psi > max(0.1, by_noise)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200, help="machines simulated")
    parser.add_argument("--windows", type=int, default=500, help="feature windows on each healthy machine")
    arguments = parser.parse_args()
    bundles = {folder: Bundle(folder) for folder in ("v1", "v2", "v4")}
    rng = np.random.default_rng(2_000)
    machines = [random_machine(rng, int(rng.integers(1 << 40))) for _ in range(arguments.runs)]
    holds = [
        check_healthy(bundles, machines, arguments.windows),
        check_worn(bundles, machines),
        check_disagreement(bundles, machines[:10]),
        check_demo_machines(bundles),
    ]
    sys.exit(0 if all(holds) else 1)


def check_healthy(bundles: dict[str, Bundle], machines: list[Machine], windows: int) -> bool:
    alarms: dict[str, list[NDArray[np.bool_]]] = {"v1": [], "v2": []}
    for machine in machines:
        rows = features(vibration(machine, np.zeros(windows * CHUNKS_A_WINDOW)))
        for folder, found in alarms.items():
            found.append(bundles[folder].alarms(rows))
    holds = True
    for folder, found in alarms.items():
        tests = np.concatenate(found)
        rate = float(tests.any(axis=1).mean()) / WINDOW
        holds &= rate < MOST_ALARMS_A_WINDOW
        share = tests.any(axis=1).mean()
        print(f"healthy, {folder}: {len(tests)} drift windows, with a finding {share:.4f}; {rate:.1e} a feature window")
        by_feature = zip(NAMES, tests.mean(axis=0), strict=True)
        print("  by feature:", ", ".join(f"{name} {part:.4f}" for name, part in by_feature))
    return holds


def check_worn(bundles: dict[str, Bundle], machines: list[Machine]) -> bool:
    """Wear begins anywhere in a drift window; the delay is from there to the end of the window with the finding."""
    rng = np.random.default_rng(3_000)
    delays = []
    for machine in machines:
        healthy = int(rng.integers(WINDOW, 2 * WINDOW))
        alarms = bundles["v1"].alarms(features(vibration(machine, ramp(healthy, 5 * WINDOW - healthy))))
        band = alarms[:, NAMES.index("band_2500_4000_hz")]
        ends = (np.flatnonzero(band) + 1) * WINDOW - healthy
        delays.append(min((int(end) for end in ends if end > 0), default=10_000))
    print(
        f"worn: first finding after {np.min(delays)} to {np.max(delays)} feature windows, median {np.median(delays):.0f}"
    )
    return max(delays) <= MOST_DELAY_WINDOWS


def ramp(healthy_windows: int, wearing_windows: int) -> NDArray[np.float64]:
    """Wear of each chunk: none, then rising by WEAR_A_WINDOW a feature window."""
    rising = np.minimum(np.arange(wearing_windows * CHUNKS_A_WINDOW) / CHUNKS_A_WINDOW * WEAR_A_WINDOW, 0.9)
    return np.concatenate([np.zeros(healthy_windows * CHUNKS_A_WINDOW), rising])


def check_disagreement(bundles: dict[str, Bundle], machines: list[Machine]) -> bool:
    """Mean |p - p of v1| of v2 and v4 by wear, with windows that begin on a chunk of each phase."""
    holds = True
    for wear in np.linspace(0, 0.9, 10):
        apart: dict[str, list[float]] = {"v2": [], "v4": []}
        probabilities = []
        for machine in machines:
            chunks = vibration(machine, np.full(50 * CHUNKS_A_WINDOW + 3, wear))
            for phase in range(CHUNKS_A_WINDOW):
                rows = features(chunks[phase : phase + 50 * CHUNKS_A_WINDOW])
                running = bundles["v1"].probability(rows)
                probabilities.append(running.mean())
                for folder, means in apart.items():
                    means.append(float(np.mean(np.abs(bundles[folder].probability(rows) - running))))
        holds &= max(apart["v2"]) < GATE and (min(apart["v4"]) > GATE or 0.3 < wear < 0.5)
        print(
            f"wear {wear:.1f}: v1 says {np.mean(probabilities):.3f}; mean disagreement of v2 at most {max(apart['v2']):.3f}, "
            f"of v4 at least {min(apart['v4']):.3f}"
        )
    return holds


def check_demo_machines(bundles: dict[str, Bundle]) -> bool:
    """The demo's own machines in good order: no finding, wherever feature windows and drift windows begin."""
    count = SILENT_WINDOWS * CHUNKS_A_WINDOW
    findings = 0
    for machine in DEMO_MACHINES.values():
        chunks = vibration(machine, np.zeros(count + CHUNKS_A_WINDOW - 1))
        for phase in range(CHUNKS_A_WINDOW):
            rows = features(chunks[phase : phase + count])
            findings += sum(int(bundles[folder].alarms(rows, step=1).sum()) for folder in ("v1", "v2"))
    print(f"the demo's machines in good order: {findings} findings within {SILENT_WINDOWS} feature windows")
    return findings == 0


if __name__ == "__main__":
    main()
