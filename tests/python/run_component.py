#!/usr/bin/env python3
"""Runs a plugin's component in wasmtime-py, as a job says, and prints what it answered: run_component.py COMPONENT JOB

A job is a file of JSON lines. The first has the `world`, the `config` as text, `assets` with `name` and `data`, and what is
`given`: specs for a processor or a decoder, watches for a monitor. Every further line is a call, and one JSON line is printed
for each. tests/javascript/run_component.mjs and tests/tests/bit_equality do the same with other engines, and what comes
out has to be the same:

  {"process": {"samples": [CONTEXT, ...], "tensors": [TENSOR, ...]}}   and `observe`
  {"decode": [MESSAGE, ...]}
  {"snapshot": {}}                                        the state
  {"restart": {}}                                         another instance, that is given the last snapshot

Bytes are hexadecimal, 64-bit integers text, and FP64 numbers their bits, so that JSON rounds nothing. What a call came to is
put apart into samples: `null` is one without an answer. Which NaN an operation gives, WebAssembly leaves open: in tensors
and findings every NaN is written as one. States are compared as they are.

Written for wasmtime 50.0.1.
"""

import json
import struct
import sys

from wasmtime import Engine, Store
from wasmtime.component import Component, Linker, Record, Variant

PACKAGE = "floorhand:plugin/{}@0.1.0"
INTERFACES = {"processor": "processing", "monitor": "monitoring", "decoder": "decoding"}
# How a float's bits are read, the bits of infinity, and those of the NaN that is written for all.
FLOATS = {
    "fp16": ("<H", 0x7C00, 0x7E00),
    "bf16": ("<H", 0x7F80, 0x7FC0),
    "fp32": ("<I", 0x7F800000, 0x7FC00000),
    "fp64": ("<Q", 0x7FF0000000000000, 0x7FF8000000000000),
}


def record(known, /, **more):
    """A record of the interface; its fields' names have dashes."""
    made = Record()
    for name, value in {**known, **more}.items():
        setattr(made, name.replace("_", "-"), value)
    return made


def plain(made):
    """The same the other way: records as dicts."""
    if isinstance(made, Record):
        return {name.replace("-", "_"): plain(value) for name, value in vars(made).items()}
    if isinstance(made, list):
        return [plain(value) for value in made]
    return error(made) if isinstance(made, Variant) else made


class Plugin:
    """An instance of a component, and what it told the host."""

    def __init__(self, path, setup):
        self.setup = setup
        self.interface = PACKAGE.format(INTERFACES[setup["world"]])
        self.engine = Engine()
        self.component = Component.from_file(self.engine, path)
        self.counters, self.gauges = {}, {}

    def start(self):
        self.store = Store(self.engine)
        self.instance = self.linker().instantiate(self.store, self.component)
        assets = [record({}, name=asset["name"], data=bytes.fromhex(asset["data"])) for asset in self.setup["assets"]]
        given = [watch_in(given) if "origin" in given else spec_in(given) for given in self.setup["given"]]
        return plain(self.call("configure", self.setup["config"], assets, given))

    def linker(self):
        linker = Linker(self.engine)
        with linker.root() as root, root.add_instance(PACKAGE.format("host")) as host:
            host.add_func("log", lambda _store, level, message: None)
            host.add_func("counter", lambda _store, name, n: self.counters.update({name: self.counters.get(name, 0) + n}))
            host.add_func("gauge", lambda _store, name, value: self.gauges.update({name: bits(value)}))
        return linker

    def call(self, name, *values):
        interface = self.instance.get_export_index(self.store, self.interface)
        function = self.instance.get_func(self.store, self.instance.get_export_index(self.store, name, interface))
        answer = function(self.store, *values)
        function.post_return(self.store)
        return answer


def bits(value):
    if value is None:
        return None
    return struct.pack(">d", value).hex() if value == value else "7ff8000000000000"


def one_nan(datatype, data):
    if datatype not in FLOATS:
        return data.hex()
    layout, infinity, nan = FLOATS[datatype]
    all_but_sign = (1 << 8 * struct.calcsize(layout) - 1) - 1
    numbers = (number for (number,) in struct.iter_unpack(layout, data))
    return b"".join(struct.pack(layout, nan if number & all_but_sign > infinity else number) for number in numbers).hex()


def spec_in(spec):
    return record(spec, fields=[record(field) for field in spec["fields"]])


def watch_in(watch):
    return record(watch, spec=spec_in(watch["spec"]))


def tensor_in(tensor):
    return record(tensor, data=bytes.fromhex(tensor["data"]))


def context_in(context):
    return record(context, sequence=int(context["sequence"]), time_ns=int(context["time_ns"]))


def message_in(message):
    properties = [record(named) for named in message["properties"]]
    payload, received_ns = bytes.fromhex(message["payload"]), int(message["received_ns"])
    return record(message, properties=properties, payload=payload, received_ns=received_ns)


def row(tensor, place):
    """Of a tensor of several samples the part of one."""
    count, *shape = tensor.shape
    size = len(tensor.data) // count
    data = tensor.data[place * size : (place + 1) * size]
    return {"datatype": tensor.datatype, "shape": shape, "data": one_nan(tensor.datatype, data)}


def error(variant):
    return {"error": {variant.tag: variant.payload}}


def process(plugin, call):
    samples = [context_in(context) for context in call["samples"]]
    outcome = plugin.call("process", samples, [tensor_in(tensor) for tensor in call["tensors"]])
    if isinstance(outcome, Variant):
        return [error(outcome) for _ in samples]
    told = [None for _ in samples]
    for answer in outcome.answers:
        for place, index in enumerate(answer.indices):
            told[index] = [row(tensor, place) for tensor in answer.tensors]
    for refusal in outcome.refusals:
        told[refusal.index] = error(refusal.error)
    return told


def observe(plugin, call):
    samples = [context_in(context) for context in call["samples"]]
    report = plugin.call("observe", samples, [tensor_in(tensor) for tensor in call["tensors"]])
    if isinstance(report, Variant):
        return [error(report) for _ in samples]
    told = [[] for _ in samples]
    for found in report.findings:
        told[found.index].append({**plain(found), "value": bits(found.value), "threshold": bits(found.threshold)})
    for refusal in report.refusals:
        told[refusal.index] = error(refusal.error)
    return told


def decode(plugin, call):
    decoded = plugin.call("decode", [message_in(message) for message in call])
    if isinstance(decoded, Variant):
        return error(decoded)
    samples = []
    for batch in decoded.batches:
        for place, sample in enumerate(batch.samples):
            known = plain(sample)
            if known["time_ns"] is not None:
                known["time_ns"] = str(known["time_ns"])
            samples.append({**known, "tensors": [row(tensor, place) for tensor in batch.tensors]})
    failures = [{**plain(failed), **error(failed.error)} for failed in decoded.failures]
    return {"samples": samples, "failures": failures}


def run(path, lines):
    setup = json.loads(next(lines))
    plugin = Plugin(path, setup)
    yield plugin.start()
    state = b""
    for line in lines:
        ((name, call),) = json.loads(line).items()
        if name == "snapshot":
            state = plugin.call("snapshot")
            yield state.hex()
        elif name == "restart":
            plugin.start()
            # An empty state is that of a new instance, and isn't given to it.
            refused = plugin.call("restore", state) if state else None
            yield None if refused is None else error(refused)
        else:
            yield {"process": process, "observe": observe, "decode": decode}[name](plugin, call)
    yield {"counters": {name: str(count) for name, count in plugin.counters.items()}, "gauges": plugin.gauges}


def main(path, job):
    with open(job, encoding="utf-8") as lines:
        for told in run(path, lines):
            print(json.dumps(told, ensure_ascii=False))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
