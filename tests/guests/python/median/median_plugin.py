"""The median of the last few samples, column by column: a processor in Python.

A window begins anew with a series, and after a gap. Until it is full, samples get no answer.
"""

from guest import (
    MAX_KEYS, Series, bad_config, check_finite, each, fields_of, guarded, integer_of, is_row, parse_config, row_spec,
    rows_of, tensor_of, text_of,
)
from wit_world import exports
from wit_world.exports.processing import Answer, Outcome, Signature
from wit_world.imports import host

MAX_WINDOW = 101

# The longest FP32 number in JSON, with its comma.
NUMBER_BYTES = 25


class Median:
    """A configured plugin, and a window for each series."""

    def __init__(self, text, given):
        config = parse_config(text, ["fields", "input", "max_keys", "output", "window"])
        self.fields = fields_of(config)
        self.size = integer_of(config, "window", 1, MAX_WINDOW)
        if self.size % 2 == 0:
            raise bad_config("configuration, key window: has to be odd")
        name = text_of(config, "input")
        known = next((spec for spec in given if spec.name == name), None)
        self.input = row_spec(name, self.fields, known)
        self.output = row_spec(text_of(config, "output", name), self.fields, known)
        self.series = Series(integer_of(config, "max_keys", 1, MAX_KEYS, 1))

    def signature(self):
        window_bytes = 2 + self.size * (3 + NUMBER_BYTES * len(self.fields))
        return Signature([self.input], [self.output], self.series.bytes(window_bytes), 64)

    def process(self, samples, tensors):
        rows = rows_of(samples, tensors, len(self.fields))
        indices, medians, refusals = each(samples, rows, self.median)
        answers = [Answer(indices, [tensor_of(medians, len(self.fields))])] if indices else []
        return Outcome(answers, refusals)

    def median(self, sample, row):
        before = self.series.before(sample, [])
        check_finite(self.fields, row)
        window = [*before, list(row)][-self.size :]
        self.series.set(sample, window)
        host.gauge("window-samples", len(window))
        if len(window) < self.size:
            return None
        return [sorted(column)[self.size // 2] for column in zip(*window)]

    def snapshot(self):
        return self.series.snapshot()

    def restore(self, state):
        self.series.restore(state, self.is_window)

    def is_window(self, state):
        return 1 <= len(state) <= self.size and all(is_row(row, len(self.fields)) for row in state)


# Every call comes to a new object of the class below: what lasts stands outside of it.
plugin = None


class Processing(exports.Processing):
    """What the component exports."""

    @guarded
    def configure(self, config, assets, given):
        global plugin
        plugin = Median(config, given)
        return plugin.signature()

    @guarded
    def process(self, samples, inputs):
        return plugin.process(samples, inputs)

    @guarded
    def snapshot(self):
        return plugin.snapshot()

    @guarded
    def restore(self, state):
        plugin.restore(state)
