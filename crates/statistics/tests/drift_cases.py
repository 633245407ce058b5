"""What the oracles of the windowed drift monitors share: case files from the statistics of windows.

A file has a window in every line after the first, and the findings that a monitor owes for it: one is raised when a field
begins to be above its threshold, and cleared when it no longer is.
"""

import json
import pathlib
import sys

import numpy as np

CONFIDENCE = 0.999


def shared_confidence(fields):
    """Of one field's windows, when all fields together keep CONFIDENCE (Bonferroni)."""
    return 1 - (1 - CONFIDENCE) / fields


def rounded(values):
    """Short in JSON, and exactly what the plugin reads as FP32."""
    return np.asarray(values).round(4).astype(np.float32)


def written(rows):
    return [[float(str(value)) for value in row] for row in rows]


def episode(begins, severity="alarm"):
    """What a finding says of an episode that begins or ends."""
    return {"severity": severity, "phase": "raised"} if begins else {"severity": "info", "phase": "cleared"}


def lines(config, windows, judge):
    """`windows` are arrays with a column for each field; `judge(name, values)` gives statistic and threshold."""
    made = [{"config": config, "assets": ["reference.json"], "tolerance": 1e-9}]
    drifted = dict.fromkeys(config["fields"], False)
    for rows in windows:
        found = []
        for name, values in zip(config["fields"], rows.T):
            value, threshold = judge(name, values.astype(np.float64))
            now = bool(value > threshold)
            if now != drifted[name]:
                found.append({"kind": "drift", "subject": name} | episode(now))
                found[-1] |= {"value": float(value), "threshold": float(threshold)}
            drifted[name] = now
        line = {"features": {config["tensor"]: written(rows)}}
        made.append(line | ({"findings": found} if found else {}))
    return made


def main(script, files):
    """Writes the files, by name a list of JSON lines, into `cases` beside the script; --check compares instead."""
    folder = pathlib.Path(script).with_name("cases")
    for name, content in files.items():
        text = "".join(json.dumps(line) + "\n" for line in content)
        path = folder / name
        if sys.argv[1:] == ["--check"]:
            check(name, content, [json.loads(line) for line in path.read_text().splitlines()])
        elif sys.argv[1:]:
            sys.exit(f"usage: {pathlib.Path(script).name} [--check]")
        else:
            folder.mkdir(exist_ok=True)
            path.write_text(text)


def check(where, made, recorded, rtol=1e-12, atol=1e-14):
    """Numbers may differ in their last digits from one release of the libraries to the next."""
    if isinstance(made, dict) and isinstance(recorded, dict) and made.keys() == recorded.keys():
        for key in made:
            check(f"{where}, {key}", made[key], recorded[key], rtol, atol)
    elif isinstance(made, list) and isinstance(recorded, list) and len(made) == len(recorded):
        for index, (one, other) in enumerate(zip(made, recorded)):
            check(f"{where}[{index}]", one, other, rtol, atol)
    elif isinstance(made, float) and isinstance(recorded, float):
        if not np.isclose(made, recorded, rtol=rtol, atol=atol):
            sys.exit(f"{where}: {made}, recorded is {recorded}")
    elif made != recorded:
        sys.exit(f"{where}: {made}, recorded is {recorded}")
