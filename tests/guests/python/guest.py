"""What the plugins here share: errors, the configuration, states of series, and bytes as numbers.

Everything is imported at the top, while the component is built. On the device there are no files to import from: an import
inside a function is a trap.
"""

import functools
import itertools
import json
import math
import struct

from componentize_py_types import Err
from wit_world.imports import types

# The most bytes that a key takes in a snapshot: 256 bytes may each be written as six.
KEY_BYTES = 6 * 256

MAX_KEYS = 1024


def bad_input(text):
    return Err(types.Error_BadInput(text))


def bad_config(text):
    return Err(types.Error_BadConfig(text))


def exhausted(text):
    return Err(types.Error_Exhausted(text))


def error_of(raised):
    """What was raised, if it is one of the above; of a bug of ours an `internal` error with its text."""
    if isinstance(raised, Err):
        return raised.value
    return types.Error_Internal(f"{type(raised).__name__}: {raised}")


def guarded(function):
    """The same function, but a bug of ours is an error and no trap."""

    @functools.wraps(function)
    def guard(*values):
        try:
            return function(*values)
        except Exception as raised:
            raise Err(error_of(raised)) from None

    return guard


def each(samples, rows, work):
    """Does the same to each of a call's samples, in order. What is raised refuses that one; `None` is no answer."""
    indices, results, refusals = [], [], []
    for index, (sample, row) in enumerate(zip(samples, rows)):
        try:
            result = work(sample, row)
        except Exception as raised:
            refusals.append(types.Refusal(index, error_of(raised)))
            continue
        if result is not None:
            indices.append(index)
            results.append(result)
    return indices, results, refusals


def parse_config(text, keys):
    """The configuration's object, if it has none but these keys."""
    try:
        config = json.loads(text)
    except ValueError as error:
        raise bad_config(f"configuration: {error}") from None
    if not isinstance(config, dict):
        raise bad_config("configuration: has to be an object")
    for key in config:
        if key not in keys:
            raise bad_config(f"configuration, key {key}: unknown, it takes {', '.join(keys)}")
    return config


def text_of(config, key, missing=None):
    value = config.get(key, missing)
    if not isinstance(value, str) or not value:
        raise bad_config(f"configuration, key {key}: has to be a text")
    return value


def integer_of(config, key, least, most, missing=None):
    value = config.get(key, missing)
    if type(value) is not int or not least <= value <= most:
        raise bad_config(f"configuration, key {key}: has to be a whole number from {least} to {most}")
    return value


def fields_of(config):
    """The names of the columns: each once."""
    fields = config.get("fields")
    named = isinstance(fields, list) and fields and all(isinstance(field, str) and field for field in fields)
    if not named or len(set(fields)) != len(fields):
        raise bad_config("configuration, key fields: has to be a list of the names of columns, each once")
    return fields


def row_spec(name, names, given=None):
    """A row of single-precision numbers; with the units of the tensor that is given, if there is one."""
    units = {field.name: field.unit for field in given.fields} if given else {}
    fields = [types.Field(field, units.get(field, "")) for field in names]
    return types.TensorSpec(name, types.Datatype.FP32, [len(names)], fields)


def rows_of(samples, tensors, columns):
    """The numbers of each sample in the only tensor of a call, after a close look at it."""
    wanted = [len(samples), columns]
    fits = len(tensors) == 1 and tensors[0].datatype == types.Datatype.FP32 and list(tensors[0].shape) == wanted
    if not fits or len(tensors[0].data) != 4 * math.prod(wanted):
        raise bad_input(f"it takes one FP32 tensor of shape {wanted}")
    return list(struct.iter_unpack(f"<{columns}f", tensors[0].data))


def tensor_of(rows, columns):
    """Rows of numbers as one FP32 tensor."""
    numbers = list(itertools.chain.from_iterable(rows))
    return types.Tensor(types.Datatype.FP32, [len(rows), columns], struct.pack(f"<{len(numbers)}f", *numbers))


def check_finite(names, row):
    for name, value in zip(names, row):
        if not math.isfinite(value):
            raise bad_input(f"{name} is {value}")


class Series:
    """A state for each series of samples, by their key; at most so many. A state is what JSON can hold."""

    def __init__(self, most):
        self.most = most
        self.states = {}

    def before(self, sample, begin):
        """The state of a sample's series; `begin` if it begins with this sample. A gap is of the sample's own series: the
        others go on. Asked of every sample, refused ones too.
        """
        if sample.gap:
            self.states.pop(sample.key, None)
        if sample.key not in self.states and len(self.states) >= self.most:
            raise exhausted(f"there are more series than max_keys, {self.most}: raise it")
        return self.states.get(sample.key, begin)

    def set(self, sample, state):
        self.states[sample.key] = state

    def bytes(self, state_bytes):
        """How long a snapshot can get, when a state's JSON can get so long."""
        return 32 + self.most * (KEY_BYTES + 8 + state_bytes)

    def snapshot(self):
        """Empty where there is no series yet: an empty state isn't given to `restore`."""
        if not self.states:
            return b""
        saved = {"version": 1, "series": list(self.states.items())}
        return json.dumps(saved, separators=(",", ":")).encode()

    def restore(self, saved, fits):
        """`fits` says whether something can be a state."""
        try:
            read = json.loads(saved)
            series = read["series"] if read["version"] == 1 else []
            states = {key: state for key, state in series if (key is None or isinstance(key, str)) and fits(state)}
        except (KeyError, TypeError, ValueError):
            raise bad_config("the state is none of this plugin: start without it") from None
        if not 1 <= len(states) <= self.most or len(states) != len(series):
            raise bad_config("the state is of another version or configuration: start without it")
        self.states = states


def is_row(row, columns):
    """Whether something read from a state is a row of finite numbers."""
    return isinstance(row, list) and len(row) == columns and all(type(value) is float and math.isfinite(value) for value in row)
