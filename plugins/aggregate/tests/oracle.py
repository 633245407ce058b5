#!/usr/bin/env python3
"""Writes oracle.json and cases/*.jsonl: rolling features of a stream as pandas and SciPy compute them.

    pip install numpy scipy pandas    # 2.4.6, 1.17.1, 3.1.1
    python3 plugins/aggregate/tests/oracle.py            # writes
    python3 plugins/aggregate/tests/oracle.py --check    # makes them again and compares

`features` is the reference implementation for training code: a table with the samples' times as its index.
"""

import json
import pathlib
import sys

import numpy as np
import pandas
from scipy import stats

FOLDER = pathlib.Path(__file__).parent
START_MS = 1_767_225_600_000

# Another build of pandas sums in another order.
TOLERANCE = 1e-9


def features(table, windows, statistics=("mean", "std", "min", "max", "slope"), min_values=1):
    """Columns like pressure_mean_5m for a table whose index are times."""
    columns = {}
    for field in table:
        for window in windows:
            width = pandas.Timedelta(window.replace("m", "min") if window[-1] == "m" else window)
            rolling = table[field].rolling(width, min_periods=min_values)
            for statistic in statistics:
                if statistic == "slope":
                    values = slopes(table[field], width, min_values)
                elif statistic == "count":
                    values = table[field].rolling(width, min_periods=0).count()
                else:
                    values = rolling.agg(statistic)
                columns[f"{field}_{statistic}_{window}"] = values
    return pandas.DataFrame(columns)


def slopes(series, width, min_values):
    """Of the least-squares line through each window, per second."""
    answers = []
    for end in range(len(series)):
        window = series.iloc[: end + 1]
        window = window[window.index > series.index[end] - width].dropna()
        seconds = (window.index - series.index[0]).total_seconds().to_numpy()
        known = len(window) >= max(2, min_values) and seconds[0] != seconds[-1]
        answers.append(stats.linregress(seconds, window.to_numpy()).slope if known else np.nan)
    return answers


def stream(length, seed):
    """Irregular times, some of them the same, and fields with holes; all values are FP32."""
    rng = np.random.default_rng(seed)
    steps = rng.choice([0, 40, 250, 1000, 1700, 9000], p=[0.1, 0.2, 0.3, 0.25, 0.1, 0.05], size=length)
    values = np.round((np.array([1e3, -2.0]) + np.cumsum(rng.normal(size=(length, 2)), axis=0)) * 256) / 256
    values[rng.random(size=values.shape) < 0.1] = np.nan
    values[40:46, 1] = np.nan
    return START_MS + np.cumsum(steps), values


def table(times_ms, values, fields):
    return pandas.DataFrame(values, columns=fields, index=pandas.to_datetime(times_ms, unit="ms"))


def json_number(value):
    return float(value) if np.isfinite(value) else "NaN"


def lines(config, times_ms, values, late=()):
    """A head, then a line for each row; those that are late get the answer of the row before."""
    yield {"config": config}
    kept = [row for row in range(len(times_ms)) if row not in late]
    windows = [window["width"] for window in config["windows"]]
    options = {key: config[key] for key in ("statistics", "min_values") if key in config}
    answers = features(table(times_ms[kept], values[kept], config["fields"]), windows, **options).to_numpy()
    answers = np.where(np.isnan(answers), config.get("missing", np.nan), answers)
    for row in range(len(times_ms)):
        seen = sum(index <= row for index in kept)
        answer = answers[seen - 1]
        yield {
            "time_ms": int(times_ms[row]),
            "input": {config["input"]: [list(map(json_number, values[row]))]},
            # The widest window never has less again in these streams.
            "output": {config["output"]: [list(map(json_number, answer))]} if seen >= 2 else None,
        }


def files():
    config = {"input": "x", "output": "f", "fields": ["pressure", "flow"], "windows": [{"width": "5s"}, {"width": "1m"}]}
    yield "irregular", lines(config, *stream(60, 3))
    config = {
        "input": "x", "output": "f", "fields": ["pressure", "flow"], "windows": [{"width": "2500ms", "max_samples": 50}],
        "statistics": ["count", "slope", "mean"], "min_values": 3, "missing": -1.0,
    }  # fmt: skip
    times_ms, values = stream(40, 4)
    times_ms = START_MS + 500 * np.arange(40)
    times_ms[[12, 25]] -= 900
    yield "late", lines(config, times_ms, values, late=(12, 25))


def oracle():
    times_ms, values = stream(400, 5)
    answers = features(table(times_ms, values, ["pressure", "flow"]), ["750ms", "30s", "5m"])
    rows = list(range(0, 400, 9))
    return {
        "times_ms": times_ms.tolist(),
        "values": [list(map(json_number, row)) for row in values],
        "names": list(answers.columns),
        "rows": rows,
        "features": [list(map(json_number, row)) for row in answers.iloc[rows].to_numpy()],
    }


def same(recorded, made):
    if isinstance(made, dict):
        return sorted(recorded) == sorted(made) and all(same(recorded[key], made[key]) for key in made)
    if isinstance(made, list):
        return len(recorded) == len(made) and all(map(same, recorded, made))
    if isinstance(made, float) and isinstance(recorded, float):
        return abs(recorded - made) <= TOLERANCE * max(abs(made), 1.0)
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
