"""Vibration of a motor with a rolling bearing whose outer race wears.

The physics, the constants and the random numbers are those of PHYSICS.md, which a second implementation follows to
give the same samples. This module knows nothing of features, models or bundles.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

SAMPLE_RATE_HZ = 12_000
CHUNK = 256
"""Samples in one message: what the pipeline takes as one input."""

BALLS, BALL_MM, PITCH_MM, CONTACT_RAD = 9, 7.94, 39.04, 0.0
"""A 6205 deep-groove ball bearing."""
BPFO_PER_REV = BALLS / 2 * (1 - BALL_MM / PITCH_MM * math.cos(CONTACT_RAD))
"""Balls that pass one point of the outer race in one turn of the shaft: 3.5848."""

SLIP_PER_LOAD = 0.017
LOAD_SD, LOAD_LIMIT_SD = 0.2, 2.5
HARMONICS = ((1, 0.8, 0.0), (2, 0.3, 0.7), (3, 0.15, 1.9))
"""Shaft harmonics: (order, amplitude in m/s^2 at load 1, phase in rad)."""
NOISE_MS2 = 0.5
NOISE_SHARE_OF_LOAD = 0.5
IMPACT_MS2 = 12.0
INTERVAL_SD, IMPACT_SD = 0.01, 0.1
RESONANCE_HZ, DAMPING_RATIO = 3_200.0, 0.03
RANGE_MS2, STEPS_PER_MS2 = 80.0, 1_000.0

STREAM_NOISE, STREAM_LOAD, STREAM_IMPACT = 0, 1, 2


@dataclass(frozen=True)
class Machine:
    """What tells one machine from the next of the same type."""

    seed: int
    speed_hz: float = 29.5
    """Shaft speed at load 1."""
    gain: float = 1.0
    """Sensor and mounting."""
    noise: float = 1.0
    """Factor on the broadband noise."""


DEMO_MACHINES = {
    "press-1": Machine(seed=1_546, speed_hz=29.45, gain=1.003, noise=0.995),
    "press-2": Machine(seed=2_177, speed_hz=29.55, gain=0.998, noise=1.004),
    "press-3": Machine(seed=3_667, speed_hz=29.50, gain=1.000, noise=1.000),
}
"""The machines of `floorhand demo`; press-3 is the one that wears.

Seeds are chosen so that no machine in good order raises a drift finding within its first 800 feature windows, wherever
drift windows begin. With other seeds one in about 120 drift windows has one (check_demo.py).
"""


def random_machine(rng: np.random.Generator, seed: int) -> Machine:
    """A machine within the spread of its type (see PHYSICS.md)."""
    return Machine(
        seed=seed,
        speed_hz=29.5 + 0.1 * float(rng.uniform(-1, 1)),
        gain=1 + 0.005 * float(rng.uniform(-1, 1)),
        noise=1 + 0.01 * float(rng.uniform(-1, 1)),
    )


def vibration(machine: Machine, wear: NDArray[np.float64]) -> NDArray[np.float32]:
    """Acceleration in m/s^2, one row of CHUNK samples for each element of `wear` (0 new .. 1 destroyed)."""
    chunks = len(wear)
    samples = chunks * CHUNK
    load = _load(machine, chunks)
    turns = np.concatenate(([0.0], np.cumsum(_turns_per_sample(machine, load))[:-1]))
    shaft = sum(a * np.sin(2 * np.pi * order * turns + phase) for order, a, phase in HARMONICS)
    noise = normals(machine.seed, STREAM_NOISE, samples)
    level = NOISE_MS2 * machine.noise * (1 - NOISE_SHARE_OF_LOAD + NOISE_SHARE_OF_LOAD * load)
    acceleration = load * shaft + level * noise + _ring(_impacts(machine, turns, load, wear))
    clipped = np.clip(machine.gain * acceleration, -RANGE_MS2, RANGE_MS2)
    return (np.round(clipped * STEPS_PER_MS2) / STEPS_PER_MS2).astype(np.float32).reshape(chunks, CHUNK)


def _load(machine: Machine, chunks: int) -> NDArray[np.float64]:
    """Load of each sample: a random knot at each chunk's start, straight lines between them."""
    z = np.clip(normals(machine.seed, STREAM_LOAD, chunks + 1), -LOAD_LIMIT_SD, LOAD_LIMIT_SD)
    knots = 1 + LOAD_SD * z
    part = np.arange(CHUNK) / CHUNK
    return (knots[:-1, None] + (knots[1:] - knots[:-1])[:, None] * part).ravel()


def _turns_per_sample(machine: Machine, load: NDArray[np.float64]) -> NDArray[np.float64]:
    return machine.speed_hz * (1 - SLIP_PER_LOAD * (load - 1)) / SAMPLE_RATE_HZ


def _impacts(
    machine: Machine, turns: NDArray[np.float64], load: NDArray[np.float64], wear: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The blow of each sample: zero but where a ball has just passed the fault."""
    most = int(turns[-1] * BPFO_PER_REV * 1.1) + 10
    z = normals(machine.seed, STREAM_IMPACT, 2 * most).reshape(most, 2)
    at = np.cumsum((1 + INTERVAL_SD * z[:, 0]) / BPFO_PER_REV)
    first_sample = np.searchsorted(turns, at)
    inside = first_sample < len(turns)
    sample = first_sample[inside]
    blows = np.zeros(len(turns))
    blows[sample] = IMPACT_MS2 * wear[sample // CHUNK] * load[sample] * (1 + IMPACT_SD * z[inside, 1])
    return blows


def _ring(blows: NDArray[np.float64]) -> NDArray[np.float64]:
    """The structure's answer: a blow b gives b * r^n * sin(w n), n samples later."""
    natural = 2 * math.pi * RESONANCE_HZ / SAMPLE_RATE_HZ
    r = math.exp(-DAMPING_RATIO * natural)
    w = natural * math.sqrt(1 - DAMPING_RATIO**2)
    return lfilter([0.0, r * math.sin(w)], [1.0, -2 * r * math.cos(w), r * r], blows)


def normals(seed: int, stream: int, count: int) -> NDArray[np.float64]:
    """The first `count` standard normals of a stream: Box-Muller's cosine over pairs of SplitMix64 outputs."""
    u = uniforms(seed, stream, 2 * count)
    return np.sqrt(-2 * np.log(1 - u[0::2])) * np.cos(2 * np.pi * u[1::2])


def uniforms(seed: int, stream: int, count: int) -> NDArray[np.float64]:
    """The first `count` numbers in [0, 1) of a stream."""
    start = _mix(np.array([4 * seed + stream], dtype=np.uint64))
    steps = np.arange(1, count + 1, dtype=np.uint64)
    bits = _mix(start + steps * np.uint64(0x9E3779B97F4A7C15))
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mix(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64's output function; multiplication wraps."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
