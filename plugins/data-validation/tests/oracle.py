#!/usr/bin/env python3
"""Writes tests/cases: a made-up recording of two sensors, and the episodes that pandas finds in it.

Run with NumPy 2.4.6 and pandas 3.1.1 (PyPI): python3 plugins/data-validation/tests/oracle.py
With --check it makes the cases again and compares them with the recorded ones.
"""

import pathlib
import sys

import numpy as np
import pandas as pd

sys.path.append(str(pathlib.Path(__file__).parents[3] / "crates" / "statistics" / "tests"))
import drift_cases  # noqa: E402

MIN, MAX, STUCK, MISSING, RATE = 0.0, 10.0, 4, 1, 2.0
ROWS = 120


def recording():
    rng = np.random.default_rng(8)
    level = np.round(5 + np.cumsum(rng.normal(0, 0.6, ROWS)), 3).astype(np.float32)
    level[[20, 21, 22, 60, 90, 91]] = np.nan
    level[40:48] = level[40]
    times = 1_767_225_600_000 + np.cumsum(rng.integers(200, 1500, ROWS))
    return level, times


def conditions(level, times):
    """For each kind, whether it holds at each row, its value and threshold; rows that it can't be said of are NA."""
    series = pd.Series(level.astype(np.float64))
    seen = series.dropna()
    outside = ((seen < MIN) | (seen > MAX)).reindex(series.index).astype("boolean")
    nearer = np.where(MAX - series < series - MIN, MAX, MIN)
    limit = pd.Series(np.where(series > MAX, MAX, np.where(series < MIN, MIN, nearer)))
    yield "out-of-range", outside, series, limit
    gone = series.isna()
    run = gone.groupby((~gone).cumsum()).cumsum()
    yield "missing", (run > MISSING).astype("boolean"), run.astype(float), pd.Series(float(MISSING), series.index)
    changed = series.ne(series.shift()) | series.isna()
    same = changed.groupby(changed.cumsum()).cumcount() + 1
    stuck = (same >= STUCK) & ~gone
    yield "stuck", stuck.astype("boolean"), same.astype(float), pd.Series(float(STUCK), series.index)
    seconds = pd.Series(times)[seen.index].diff() / 1000.0
    rate = (seen.diff().abs() / seconds).dropna()
    fast = (rate > RATE).reindex(series.index).astype("boolean")
    yield "rate", fast, rate.reindex(series.index), pd.Series(RATE, series.index)


def main():
    level, times = recording()
    found = [[] for _ in range(ROWS)]
    for kind, holds, values, thresholds in conditions(level, times):
        before = False
        for row in holds.dropna().index:
            now = bool(holds[row])
            if now != before:
                entry = {"kind": kind, "subject": "level"} | drift_cases.episode(now, "warning")
                found[row].append(entry | {"value": float(values[row]), "threshold": float(thresholds[row])})
            before = now
    field = {"name": "level", "index": 0, "min": MIN, "max": MAX, "stuck_after": STUCK}
    field |= {"max_missing_run": MISSING, "max_rate": RATE}
    lines = [{"config": {"input": "sensors", "fields": [field]}, "tolerance": 1e-9}]
    for value, time, findings in zip(level, times, found):
        shown = "NaN" if np.isnan(value) else float(str(value))
        line = {"input": {"sensors": [[shown]]}, "time_ms": int(time)}
        lines.append(line | ({"findings": findings} if findings else {}))
    drift_cases.main(__file__, {"recording.jsonl": lines})


if __name__ == "__main__":
    main()
