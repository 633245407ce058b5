#!/usr/bin/env python3
"""Writes tests/cases/detectors.json: what River's drift detectors say on recorded streams.

Run with NumPy and River 0.26.1 installed: python3 crates/statistics/tests/oracle_detectors.py
With --check nothing is written: the cases are made again and compared with those that are there.
With --streams FOLDER the Harvard concept-drift streams in FOLDER are run, too, and only alarms are recorded of them, in
tests/cases/drift_streams.json (the streams themselves are no part of the repository).

Streams are drawn with fixed seeds. Those of zeros and ones are recorded as a string of digits, the others as whole
numbers to be divided by "divisor", which gives the same double everywhere.
"""

import argparse
import csv
import gzip
import json
import math
import pathlib

import numpy as np
from river import drift

RIVER = "0.26.1"
CASES = pathlib.Path(__file__).parent / "cases"

ADWIN = [
    {},
    {"delta": 0.05, "clock": 1},
    {"delta": 1e-5, "max_buckets": 3, "min_window_length": 20, "grace_period": 200},
    {"delta": 0.3, "clock": 7, "max_buckets": 2, "min_window_length": 1, "grace_period": 0},
]
HDDM_A = [
    {},
    {"two_sided_test": True},
    {"drift_confidence": 0.05, "warning_confidence": 0.2, "two_sided_test": True},
    {"drift_confidence": 1e-6, "warning_confidence": 1e-3},
]
HDDM_W = [
    {},
    {"two_sided_test": True},
    {"drift_confidence": 0.02, "warning_confidence": 0.1, "lambda_val": 0.2, "two_sided_test": True},
    {"drift_confidence": 0.001, "warning_confidence": 0.01, "lambda_val": 0.01},
]
DDM = [
    {},
    {"warm_start": 200, "warning_threshold": 1.5, "drift_threshold": 2.5},
    {"warm_start": 1, "warning_threshold": 3.0, "drift_threshold": 4.0},
]
PAGE_HINKLEY = [
    {},
    {"threshold": 10.0, "delta": 0.05, "mode": "up"},
    {"threshold": 10.0, "delta": 0.05, "mode": "down"},
    {"threshold": 20.0, "delta": 0.0, "alpha": 1.0, "min_instances": 500},
]


def adwin_state(detector):
    return [detector.width, detector.estimation, detector.variance / max(detector.width, 1)]


def hddm_a_state(detector):
    means = [detector._z, detector._x_min, detector._x_max]
    return [number for mean in means for number in (mean.n, mean.get())]


def hddm_w_state(detector):
    means = [detector._total, detector._s1_incr, detector._s2_incr]
    return [number for mean in means for number in (mean.ewma, mean.ibc)]


def ddm_state(detector):
    lowest = [detector._p_min, detector._s_min] if detector._p_min is not None else []
    return [detector._p.n, detector._p.get(), *lowest]


def page_hinkley_state(detector):
    rise = detector._sum_increase - detector._min_increase
    fall = detector._max_decrease - detector._sum_decrease
    return [detector._x_mean.n, detector._x_mean.get(), rise, fall]


# What there is: parameter sets, how to make one, what to compare at the end, and which streams it takes.
DETECTORS = {
    "adwin": (ADWIN, drift.ADWIN, adwin_state, ("bits", "shares", "reals")),
    "hddm_a": (HDDM_A, drift.binary.HDDMA, hddm_a_state, ("bits", "shares")),
    "hddm_w": (HDDM_W, drift.binary.HDDMW, hddm_w_state, ("bits", "shares")),
    "ddm": (DDM, drift.binary.DDM, ddm_state, ("bits",)),
    "page_hinkley": (PAGE_HINKLEY, drift.PageHinkley, page_hinkley_state, ("bits", "shares", "reals")),
}


def bits(name, rng, rates):
    values = (rng.uniform(size=len(rates)) < rates).astype(int)
    return {"name": name, "kind": "bits", "values": "".join(map(str, values))}


def numbers(name, kind, values, divisor):
    values = np.rint(np.asarray(values) * divisor).astype(int)
    return {"name": name, "kind": kind, "divisor": divisor, "values": values.tolist()}


def steps(*levels_and_lengths):
    return np.concatenate([np.full(length, level) for level, length in levels_and_lengths])


def streams():
    rng = np.random.default_rng(20260711)
    ramp = np.interp(np.arange(4000), [0, 1500, 3000, 4000], [0.1, 0.1, 0.5, 0.5])
    yield bits("steady", rng, steps((0.2, 4000)))
    yield bits("steady fair", rng, steps((0.5, 3000)))
    yield bits("abrupt", rng, steps((0.1, 2000), (0.4, 2000)))
    yield bits("gradual", rng, ramp)
    yield bits("falling", rng, steps((0.6, 1500), (0.1, 1500)))
    yield bits("recurring", rng, np.tile(steps((0.05, 700), (0.3, 500)), 4))
    yield bits("perfect, then not", rng, steps((0.0, 400), (0.05, 1600)))
    yield bits("all wrong", rng, steps((1.0, 600)))
    yield bits("reversed", rng, steps((0.0, 300), (1.0, 300), (0.0, 300)))

    mixture = np.concatenate([rng.beta(2, 8, size=1200), rng.beta(4, 6, size=1200)])
    yield numbers("abrupt shares", "shares", mixture, 100)
    yield numbers("steady shares", "shares", rng.uniform(size=1500), 100)
    drifting = np.clip(rng.normal(np.interp(np.arange(2400), [0, 800, 2000, 2400], [0.7, 0.7, 0.3, 0.3]), 0.15), 0, 1)
    yield numbers("gradual shares", "shares", drifting, 100)

    yield numbers("steady normal", "reals", rng.normal(size=2000), 100)
    yield numbers("down and up", "reals", rng.normal(steps((0.0, 600), (-0.5, 600), (0.5, 600))), 100)
    slope = np.interp(np.arange(2000), [0, 600, 1600, 2000], [0.0, 0.0, 2.0, 2.0])
    yield numbers("gradual normal", "reals", rng.normal(slope), 100)
    yield numbers("offset", "reals", 20000.0 + rng.normal(steps((0.0, 500), (3.0, 500)), 2.0), 10)
    yield numbers("small", "reals", rng.normal(steps((0.0, 800), (0.02, 800)), 0.01), 1000)
    yield numbers("constant steps", "reals", steps((0.1, 500), (5.3, 500), (-2.7, 500)), 10)
    # At a sample that every clock looks at: the newest part is this one value.
    yield numbers("spike", "reals", np.where(np.arange(600) == 7 * 64 - 1, 50, np.arange(600) % 2), 1)
    noise = rng.normal(size=1500)
    for n in range(1, len(noise)):
        noise[n] += 0.9 * noise[n - 1]
    yield numbers("correlated", "reals", noise, 10)


def values_of(stream):
    if stream["kind"] == "bits":
        return [int(digit) for digit in stream["values"]]
    return [value / stream["divisor"] for value in stream["values"]]


def runs(flags):
    """Flags as pairs of first index and length."""
    found = []
    for index, flag in enumerate(flags):
        if flag and found and sum(found[-1]) == index:
            found[-1][1] += 1
        elif flag:
            found.append([index, 1])
    return found


def run(make, parameters, state_of, values):
    detector = make(**parameters)
    alarms, warnings, states = [], [], []
    for index, value in enumerate(values):
        detector.update(value)
        warnings.append(getattr(detector, "warning_detected", False) and not detector.drift_detected)
        if detector.drift_detected:
            alarms.append(index)
            states.append(state_of(detector))
    return {
        "alarms": alarms,
        "warnings": runs(warnings),
        # At the first alarm, if there was one, and at the end.
        "first": states[:1],
        "end": state_of(detector),
    }


def detector_cases():
    recorded = []
    for stream in streams():
        values = values_of(stream)
        answers = [
            {"detector": name, "parameters": parameters} | run(make, parameters, state_of, values)
            for name, (sets, make, state_of, kinds) in DETECTORS.items()
            if stream["kind"] in kinds
            for parameters in sets
        ]
        recorded.append(stream | {"answers": answers})
    return {"river": RIVER, "streams": recorded}


class GaussianBayes:
    """Naive Bayes with a normal distribution per class and feature, learnt one row at a time. The same, operation by
    operation, as in tests/detectors/streams.rs, so that both predict the same."""

    def __init__(self, features):
        self.rows = 0
        self.classes = [([0], [0.0] * features, [0.0] * features) for _ in range(2)]

    def predict(self, row):
        scores = [self.score(part, row) for part in self.classes]
        return 1 if scores[1] > scores[0] else 0

    def score(self, part, row):
        (count,), means, squares = part
        if count < 2:
            return -math.inf if count == 0 else 0.0
        score = math.log(count / self.rows)
        for value, mean, square in zip(row, means, squares):
            variance = square / count + 1e-9
            distance = value - mean
            score -= 0.5 * math.log(variance) + distance * distance / (2.0 * variance)
        return score

    def learn(self, row, label):
        self.rows += 1
        count, means, squares = self.classes[label]
        count[0] += 1
        for index, value in enumerate(row):
            distance = value - means[index]
            means[index] += distance / count[0]
            squares[index] += distance * (value - means[index])


STREAM_SETS = {
    "adwin": [{}, {"delta": 0.05}],
    "hddm_a": [{}, {"drift_confidence": 1e-4, "warning_confidence": 1e-3}],
    "hddm_w": [{}, {"drift_confidence": 1e-4, "warning_confidence": 1e-3, "lambda_val": 0.02}],
    "ddm": [{}, {"warm_start": 300, "warning_threshold": 2.5, "drift_threshold": 3.5}],
    "page_hinkley": [{}, {"threshold": 20.0, "delta": 0.05, "mode": "up"}],
}


def read_stream(path):
    with gzip.open(path, "rt", newline="") as text:
        rows = list(csv.reader(text))[1:]
    return [([float(value) for value in row[:-1]], int(float(row[-1]))) for row in rows]


def prequential(detector, rows):
    """Each row is predicted first and learnt then; whether the prediction was wrong goes to the detector; at an alarm the
    learner is replaced with one that knows nothing."""
    learner, alarms, errors = GaussianBayes(len(rows[0][0])), [], 0
    for index, (row, label) in enumerate(rows):
        error = int(learner.predict(row) != label)
        errors += error
        learner.learn(row, label)
        detector.update(error)
        if detector.drift_detected:
            alarms.append(index)
            learner = GaussianBayes(len(row))
    return {"alarms": alarms, "errors": errors}


def stream_cases(folder):
    recorded = []
    for path in sorted(folder.glob("*.csv.gz")):
        rows = read_stream(path)
        never = prequential(drift.NoDrift(), rows)
        answers = [
            {"detector": name, "parameters": parameters} | prequential(DETECTORS[name][1](**parameters), rows)
            for name, sets in STREAM_SETS.items()
            for parameters in sets
        ]
        recorded.append({"stream": path.name, "rows": len(rows), "errors_alone": never["errors"], "answers": answers})
    return {"river": RIVER, "streams": recorded}


def close(left, right):
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(close(left[key], right[key]) for key in left)
    if isinstance(left, list):
        return len(left) == len(right) and all(map(close, left, right))
    if isinstance(left, float):
        return math.isclose(left, right, rel_tol=1e-9, abs_tol=1e-12)
    return left == right


def put(path, cases, check):
    text = json.dumps(cases, separators=(",", ":"))
    if not check:
        path.write_text(text + "\n")
    elif not close(json.loads(text), json.loads(path.read_text())):
        raise SystemExit(f"{path.name} differs from what is made now")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--streams", type=pathlib.Path)
    arguments = parser.parse_args()
    put(CASES / "detectors.json", detector_cases(), arguments.check)
    if arguments.streams:
        put(CASES / "drift_streams.json", stream_cases(arguments.streams), arguments.check)


if __name__ == "__main__":
    main()
