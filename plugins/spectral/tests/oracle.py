#!/usr/bin/env python3
"""Writes oracle.json and cases/*.jsonl: spectra of a signal as SciPy and NumPy compute them.

    pip install numpy scipy    # 2.4.6, 1.17.1
    python3 plugins/spectral/tests/oracle.py            # writes
    python3 plugins/spectral/tests/oracle.py --check    # makes them again and compares

`bands` is the reference implementation for training code. Mel filters are built from librosa's definitions; the cases of
crates/statistics hold its own numbers.
"""

import json
import pathlib
import sys

import numpy as np
from scipy import signal

FOLDER = pathlib.Path(__file__).parent
FUNCTIONS = {"hann": "hann", "hamming": "hamming", "rectangular": "boxcar"}

# Another build of NumPy sums in another order.
TOLERANCE = 1e-9


def bands(frame, config):
    """One frame's bins or bands."""
    size = config["window"]
    frame = np.asarray(frame, dtype=np.float64) * config.get("gain", 1.0)
    length = config.get("function_length", size)
    function = np.zeros(size)
    before = (size - length) // 2
    function[before : before + length] = signal.get_window(FUNCTIONS[config.get("function", "hann")], length, fftbins=True)
    if config.get("scaling", "squared") == "mean-square":
        detrend = "constant" if config.get("remove_mean", False) else False
        power = signal.periodogram(frame, 1.0, function, detrend=detrend, scaling="density")[1] / size
    else:
        power = np.abs(np.fft.rfft((frame - frame.mean() * config.get("remove_mean", False)) * function)) ** 2
    if config.get("values") == "magnitude":
        power = np.sqrt(power)
    if "mel" in config:
        power = filters(size, **config["mel"]) @ power
    level = config.get("level", {})
    if "decibel" in level:
        power = decibel(power, **level["decibel"])
    if "logarithm" in level:
        power = np.log(np.maximum(power, level["logarithm"].get("floor", 1e-10)))
    return power


def decibel(power, reference=1.0, floor=1e-10, range_db=None):
    levels = 10 * np.log10(np.maximum(power, floor)) - 10 * np.log10(max(reference, floor))
    return levels if range_db is None else np.maximum(levels, levels.max() - range_db)


def filters(size, bands, sample_rate_hz, low_hz=0.0, high_hz=None, scale="slaney", norm="area"):
    """A row of weights for each band."""
    high_hz = sample_rate_hz / 2 if high_hz is None else high_hz
    corners = hz(np.linspace(mels(low_hz, scale), mels(high_hz, scale), bands + 2), scale)
    frequencies = np.fft.rfftfreq(size, 1 / sample_rate_hz)
    rising = (frequencies - corners[:-2, None]) / np.diff(corners)[:-1, None]
    falling = (corners[2:, None] - frequencies) / np.diff(corners)[1:, None]
    weights = np.maximum(0, np.minimum(rising, falling))
    heights = {
        "area": 2 / (corners[2:] - corners[:-2]),
        "peak": np.ones(bands),
        "sum": 1 / weights.sum(axis=1),
        "largest": 1 / weights.max(axis=1),
    }
    return weights * heights[norm][:, None]


def mels(frequency, scale):
    if scale == "htk":
        return 2595 * np.log10(1 + frequency / 700)
    return frequency * 3 / 200 if frequency < 1000 else 15 + 27 * np.log(frequency / 1000) / np.log(6.4)


def hz(mel, scale):
    if scale == "htk":
        return 700 * (10 ** (mel / 2595) - 1)
    return np.where(mel < 15, mel * 200 / 3, 1000 * np.exp((mel - 15) * np.log(6.4) / 27))


def sound(length, rng):
    time = np.arange(length) / 16_000
    wave = 0.25 + np.sin(2 * np.pi * (300 + 4e4 * time) * time) + 0.1 * rng.normal(size=length)
    # Fractions that FP32 has exactly, with few digits.
    return np.round(wave * 1024) / 1024


def oracle():
    wave = sound(512, np.random.default_rng(2))
    base = {"input": "a", "output": "s", "window": 512}
    mel = {"bands": 24, "sample_rate_hz": 16_000.0, "low_hz": 20.0, "high_hz": 7600.0}
    configs = [
        {},
        {"remove_mean": True, "scaling": "mean-square"},
        {"function": "hamming", "values": "magnitude"},
        {"function": "rectangular", "function_length": 400, "gain": 0.5, "scaling": "mean-square"},
        {"function_length": 400, "mel": mel},
        {"function_length": 400, "mel": {**mel, "scale": "htk", "norm": "peak"}, "level": {"decibel": {}}},
        {"mel": {**mel, "norm": "sum"}, "level": {"decibel": {"reference": 2.0, "floor": 1e-3, "range_db": 20.0}}},
        {"mel": {**mel, "norm": "largest"}, "values": "magnitude", "level": {"logarithm": {"floor": 0.01}}},
    ]
    cases = [{"config": {**base, **config}, "bands": bands(wave, {**base, **config}).tolist()} for config in configs]
    return {"signal": wave.tolist(), "cases": cases}


def lines(config, wave, chunk):
    """A head, then a line for each chunk of the signal."""
    size, hop = config["window"], config["hop"]
    yield {"config": config}
    for start in range(0, len(wave) - chunk + 1, chunk):
        ends = [end for end in range(start + 1, start + chunk + 1) if end >= size and (end - size) % hop == 0]
        output = {config["output"]: [bands(wave[end - size : end], config).tolist()] for end in ends} or None
        yield {"input": {config["input"]: [wave[start : start + chunk].tolist()]}, "output": output}


def files():
    rng = np.random.default_rng(7)
    config = {"input": "a", "output": "s", "window": 32, "hop": 8, "remove_mean": True, "scaling": "mean-square"}
    yield "power", lines(config, sound(200, rng), 4)
    config = {
        "input": "a", "output": "s", "window": 256, "hop": 80, "function_length": 200,
        "mel": {"bands": 12, "sample_rate_hz": 16_000, "scale": "htk"}, "level": {"decibel": {"range_db": 80}},
    }  # fmt: skip
    yield "log_mel", lines(config, sound(1600, rng), 80)


def same(recorded, made):
    if isinstance(made, dict):
        return sorted(recorded) == sorted(made) and all(same(recorded[key], made[key]) for key in made)
    if isinstance(made, list):
        return len(recorded) == len(made) and all(map(same, recorded, made))
    if isinstance(made, float):
        return abs(recorded - made) <= TOLERANCE * max(abs(made), 1e-3)
    return recorded == made


def main():
    made = {FOLDER / "cases" / f"{name}.jsonl": [json.loads(json.dumps(line)) for line in content] for name, content in files()}
    made[FOLDER / "oracle.json"] = [json.loads(json.dumps(oracle()))]
    for path, content in made.items():
        if "--check" not in sys.argv:
            path.write_text("".join(json.dumps(line) + "\n" for line in content))
        elif not same([json.loads(line) for line in path.read_text().splitlines()], content):
            sys.exit(f"{path.name} is another one")


if __name__ == "__main__":
    main()
