"""Golden cases for Floorhand bundles, from a training script.

    import floorhand

    floorhand.write_golden("pump/golden.jsonl",
                           inputs={"sensors": rows},                      # as bundle.toml names them, a row for each case
                           outputs={"probability": model.predict_proba(rows)[:, 1]})

Each row is one case: what a source sends, and what the training code answers to it. `floorhand bundle pack` and every
device run the cases through the whole bundle and refuse it where an answer is further off than its tolerance, so give the
answers of the trained estimator, not those of the exported model. Needs nothing but Python 3.9; arrays may be numpy's.
"""

import json
import math
from pathlib import Path

__all__ = ["write_golden"]
__version__ = "0.1.0"


def write_golden(path, inputs, outputs, rows=None):
    """Writes golden cases to `path`, one JSON object a line, and returns how many.

    `inputs` has for each input of the bundle, or for each of its fields, an array whose first dimension is the case; a
    number, a text, or an array of them for each. NaN is a missing number. `outputs` has the same for outputs; those that
    are left out aren't compared. `rows` picks cases by their places, in that order; without it all are written.

    Raises `ValueError` where arrays differ in length, or an output is NaN or infinite: such an answer never passes.
    """
    columns = {("input", name): values for name, values in inputs.items()}
    columns.update({("output", name): values for name, values in outputs.items()})
    for what, given in (("inputs", inputs), ("outputs", outputs)):
        if not given:
            raise ValueError(f"there are no {what}: name at least one")
    lengths = {key: len(values) for key, values in columns.items()}
    if len(set(lengths.values())) != 1:
        told = ", ".join(f"{kind} {name!r} has {length}" for (kind, name), length in lengths.items())
        raise ValueError(f"all need as many rows as there are cases: {told}")
    places = range(next(iter(lengths.values()))) if rows is None else rows
    lines = []
    for place in places:
        case = {"input": {}, "output": {}}
        for (kind, name), values in columns.items():
            case[kind][name] = _plain(values[place], kind, name, place)
        lines.append(json.dumps(case, allow_nan=False))
    if not lines:
        raise ValueError("there are no cases: give at least one row")
    Path(path).write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return len(lines)


def _plain(value, kind, name, place):
    """A value as JSON has it."""
    if hasattr(value, "dtype") and getattr(value, "ndim", 0) == 0:
        # A float32 with its own digits, not with those of the double it would become.
        value = float(str(value)) if value.dtype.kind == "f" else value.item()
    if hasattr(value, "__len__") and not isinstance(value, (str, bytes, dict, set)):
        return [_plain(element, kind, name, place) for element in value]
    if isinstance(value, float) and not math.isfinite(value):
        if kind == "output" or not math.isnan(value):
            raise ValueError(f"{kind} {name!r} is {value} in row {place}: no case can have that")
        return None
    if isinstance(value, (bool, int, float, str)):
        return value
    raise ValueError(f"{kind} {name!r} is a {type(value).__name__} in row {place}: give numbers or texts")
