"""Reports columns that change by more than a limit from one sample to the next: a monitor in Python.

The first sample of a series, and the first after a gap, is compared with nothing.
"""

import math

from guest import (
    MAX_KEYS, Series, bad_config, check_finite, each, fields_of, guarded, integer_of, is_row, parse_config, row_spec,
    rows_of, text_of,
)
from wit_world import exports
from wit_world.exports.monitoring import Detail, Finding, Origin, Phase, Report, Severity, Subscription, Watch
from wit_world.imports import host

ORIGINS = {origin.name.lower(): origin for origin in Origin if origin != Origin.LABEL}

# The longest FP32 number in JSON, with its comma.
NUMBER_BYTES = 25


class Jump:
    """A configured plugin, and the row before for each series."""

    def __init__(self, text, given):
        config = parse_config(text, ["fields", "limits", "max_keys", "origin", "tensor"])
        self.fields = fields_of(config)
        self.limits = config.get("limits")
        fits = isinstance(self.limits, list) and len(self.limits) == len(self.fields)
        if not fits or not all(map(is_limit, self.limits)):
            raise bad_config("configuration, key limits: has to have a number of at least 0 for each of fields")
        origin = config.get("origin", "input")
        if origin not in ORIGINS:
            raise bad_config(f"configuration, key origin: has to be one of {', '.join(ORIGINS)}")
        name = text_of(config, "tensor")
        known = next((watch.spec for watch in given if (watch.origin, watch.spec.name) == (ORIGINS[origin], name)), None)
        self.watch = Watch(ORIGINS[origin], row_spec(name, self.fields, known))
        self.series = Series(integer_of(config, "max_keys", 1, MAX_KEYS, 1))

    def subscription(self):
        return Subscription([self.watch], self.series.bytes(2 + NUMBER_BYTES * len(self.fields)), 64)

    def observe(self, samples, tensors):
        rows = rows_of(samples, tensors, len(self.fields))
        indices, found, refusals = each(samples, rows, self.compare)
        findings = [finding(index, *jump) for index, jumps in zip(indices, found) for jump in jumps]
        host.counter("jumps", len(findings))
        return Report(findings, refusals)

    def compare(self, sample, row):
        before = self.series.before(sample, row)
        check_finite(self.fields, row)
        self.series.set(sample, list(row))
        compared = zip(self.watch.spec.fields, self.limits, before, row)
        return [(field, limit, then, now) for field, limit, then, now in compared if abs(now - then) > limit]

    def snapshot(self):
        return self.series.snapshot()

    def restore(self, state):
        self.series.restore(state, lambda row: is_row(row, len(self.fields)))


def is_limit(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < math.inf


def finding(index, field, limit, then, now):
    return Finding(
        index=index,
        kind="jump",
        severity=Severity.WARNING,
        phase=Phase.ONCE,
        watch=0,
        subject=field.name,
        value=abs(now - then),
        threshold=float(limit),
        unit=field.unit,
        message=f"{field.name} went from {then} to {now}",
        details=[Detail("before", str(then)), Detail("after", str(now))],
    )


# Every call comes to a new object of the class below: what lasts stands outside of it.
plugin = None


class Monitoring(exports.Monitoring):
    """What the component exports."""

    @guarded
    def configure(self, config, assets, given):
        global plugin
        plugin = Jump(config, given)
        return plugin.subscription()

    @guarded
    def observe(self, samples, tensors):
        return plugin.observe(samples, tensors)

    @guarded
    def snapshot(self):
        return plugin.snapshot()

    @guarded
    def restore(self, state):
        plugin.restore(state)
