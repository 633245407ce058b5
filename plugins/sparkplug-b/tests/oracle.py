#!/usr/bin/env python3
"""Writes cases/*.jsonl: Sparkplug B payloads as Google's protobuf encodes them, and the samples that follow from the
specification.

Run with protobuf 7.36.2 installed: python3 plugins/sparkplug-b/tests/oracle.py
With --check nothing is written: the cases are made again and compared with those that are there.
"""

import argparse
import base64
import json
import math
import pathlib
import random

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

CASES = pathlib.Path(__file__).parent / "cases"
UNBORN = BAD = {"error": "bad-input"}

# Names, numbers and types of the fields: those of the specification's payload and metric, as far as they are used.
KINDS = descriptor_pb2.FieldDescriptorProto
PAYLOAD = {"timestamp": (1, KINDS.TYPE_UINT64), "metrics": (2, "Metric"), "seq": (3, KINDS.TYPE_UINT64)}
METRIC = {
    "name": (1, KINDS.TYPE_STRING),
    "alias": (2, KINDS.TYPE_UINT64),
    "timestamp": (3, KINDS.TYPE_UINT64),
    "datatype": (4, KINDS.TYPE_UINT32),
    "is_historical": (5, KINDS.TYPE_BOOL),
    "is_transient": (6, KINDS.TYPE_BOOL),
    "is_null": (7, KINDS.TYPE_BOOL),
    "int_value": (10, KINDS.TYPE_UINT32),
    "long_value": (11, KINDS.TYPE_UINT64),
    "float_value": (12, KINDS.TYPE_FLOAT),
    "double_value": (13, KINDS.TYPE_DOUBLE),
    "boolean_value": (14, KINDS.TYPE_BOOL),
    "string_value": (15, KINDS.TYPE_STRING),
}
# A datatype's number, the field that holds it and its bits where it is an integer.
TYPES = {
    "Int8": (1, "int_value", 8),
    "Int16": (2, "int_value", 16),
    "Int32": (3, "int_value", 32),
    "Int64": (4, "long_value", 64),
    "UInt8": (5, "int_value", 8),
    "UInt16": (6, "int_value", 16),
    "UInt32": (7, "int_value", 32),
    "UInt64": (8, "long_value", 64),
    "Float": (9, "float_value", None),
    "Double": (10, "double_value", None),
    "Boolean": (11, "boolean_value", None),
    "String": (12, "string_value", None),
    "DateTime": (13, "long_value", 64),
}


def message_class():
    file = descriptor_pb2.FileDescriptorProto(name="payload.proto", package="oracle", syntax="proto2")
    for message, fields in (("Metric", METRIC), ("Payload", PAYLOAD)):
        described = file.message_type.add(name=message)
        for name, (number, kind) in fields.items():
            field = described.field.add(name=name, number=number, label=KINDS.LABEL_OPTIONAL)
            if kind == "Metric":
                field.type, field.type_name, field.label = KINDS.TYPE_MESSAGE, ".oracle.Metric", KINDS.LABEL_REPEATED
            else:
                field.type = kind
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("oracle.Payload"))


Payload = message_class()


def encode(value, datatype):
    number, field, width = TYPES[datatype]
    return {field: value % (1 << width) if width else value}


def metric(datatype, value, name=None, alias=None, typed=True, **more):
    fields = {"is_null": True} if value is None else encode(value, datatype)
    if typed:
        fields["datatype"] = TYPES[datatype][0]
    fields |= {key: field for key, field in (("name", name), ("alias", alias)) if field is not None}
    return fields | more


def line(topic, metrics, seq=None, timestamp=1_767_225_600_000, **answer):
    payload = Payload(timestamp=timestamp, metrics=metrics, seq=seq)
    encoded = base64.b64encode(payload.SerializeToString()).decode()
    return {"topic": f"spBv1.0/{topic}", "message_base64": encoded} | answer


def sample(values, source, time_ms):
    shown = ["NaN" if value is None or math.isnan(value) else value for value in values]
    return {"tensors": {"x": [shown]}, "key": source, "time_ms": time_ms}


def types():
    """A metric of every type with numbers, at its ends and in between, with and without the type in the data."""
    names = [name for name in TYPES if name != "String"]
    fields = [{"name": name} for name in names]
    yield {"config": {"outputs": [{"name": "x", "datatype": "FP64", "fields": fields}]}, "tolerance": 0}
    draw = random.Random(1)

    def value(name):
        _, _, width = TYPES[name]
        if width is None:
            return {"Float": float(draw.randrange(-1000, 1000)) / 8, "Double": draw.gauss(0, 1e9)}.get(name, draw.random() < 0.5)
        low, high = (-(1 << width - 1), (1 << width - 1) - 1) if name.startswith("Int") else (0, (1 << width) - 1)
        return draw.choice([low, high, draw.randint(low, high)])

    values = {name: value(name) for name in names}
    births = [metric(name, values[name], name=name, alias=100 + index) for index, name in enumerate(names)]
    births.append(metric("String", "text", name="Note", alias=99))
    as_numbers = lambda: [float(values[name]) for name in names]
    yield line("g/NBIRTH/n", births, 0, samples=[sample(as_numbers(), "g/n", 1_767_225_600_000)])
    for seq in range(1, 16):
        changed = draw.sample(names, draw.randint(1, 4))
        values |= {name: value(name) for name in changed}
        metrics = [metric(name, values[name], alias=100 + names.index(name), typed=seq % 2 == 0) for name in changed]
        time = 1_767_225_600_000 + 250 * seq
        yield line("g/NDATA/n", metrics, seq, time, samples=[sample(as_numbers(), "g/n", time)])
    yield line("g/NDATA/n", [metric("String", "text", alias=99, typed=False)], 16, samples=[])
    # A name that no longer has a number, and has one again.
    yield line("g/NDATA/n", [metric("String", "text", alias=100)], 17, samples=[BAD])
    values["Int8"] = -5
    yield line("g/NDATA/n", [metric("Int8", -5, alias=100)], 18, samples=[sample(as_numbers(), "g/n", 1_767_225_600_000)])


def sessions():
    """Births, data, nulls and deaths of a node with two devices, whose values are kept apart."""
    fields = [{"name": "p", "metric": "Press/p"}, {"name": "t", "metric": "Press/t"}]
    yield {"config": {"outputs": [{"name": "x", "fields": fields}], "missing": "nan"}, "tolerance": 0}
    draw, latest, seq, aliases = random.Random(2), {}, 0, {"p": 7, "t": 300}
    yield line("plant/DDATA/line/a", [metric("Float", 1.0, alias=7, typed=False)], 5) | UNBORN
    bd = metric("Int64", 3, name="bdSeq")
    yield line("plant/NBIRTH/line", [bd], 0, samples=[])
    for step in range(60):
        device, seq, time = draw.choice("ab"), (seq + 1) % 256, 1_767_225_600_000 + 1000 * step
        source, kind = f"plant/line/{device}", draw.random()
        if kind < 0.15:
            latest[device] = {key: float(draw.randrange(100)) for key in aliases if draw.random() < 0.8}
            births = [
                metric("Float", value, name=f"Press/{key}", alias=aliases[key] + ord(device))
                for key, value in latest[device].items()
            ]
            answer = [sample([latest[device].get(key) for key in "pt"], source, time)] if births else []
            yield line(f"plant/DBIRTH/line/{device}", births, seq, time, samples=answer)
        elif kind < 0.2:
            latest.pop(device, None)
            yield line(f"plant/DDEATH/line/{device}", [], seq, time, samples=[])
        elif kind < 0.23:
            latest.clear()
            yield line("plant/NDEATH/line", [bd], None, time, samples=[])
            yield line("plant/NBIRTH/line", [bd], 0, time, samples=[])
            seq = 0
        else:
            key = draw.choice("pt")
            value = None if draw.random() < 0.2 else float(draw.randrange(100))
            metrics = [metric("Float", value, alias=aliases[key] + ord(device), typed=False)]
            topic = f"plant/DDATA/line/{device}"
            if device not in latest:
                yield line(topic, metrics, seq, time) | UNBORN
            elif key not in latest[device]:
                # Not in the birth, so nobody knows the alias.
                yield line(topic, metrics, seq, time, samples=[])
            else:
                latest[device][key] = value
                answer = sample([latest[device].get(key) for key in "pt"], source, time)
                yield line(topic, metrics, seq, time, samples=[answer])


def timestamps():
    """A sample for every point in time in a message; historical values are left out."""
    fields = [{"name": "p"}, {"name": "t"}]
    yield {"config": {"outputs": [{"name": "x", "fields": fields}], "samples": "timestamp"}, "tolerance": 0}
    draw, latest = random.Random(3), {"p": 1.0, "t": 2.0}
    births = [metric("Double", value, name=key, timestamp=5 + index) for index, (key, value) in enumerate(latest.items())]
    yield line("g/NBIRTH/n", births, 0, 1000, samples=[sample([1.0, 2.0], "g/n", 1000)])
    for seq in range(1, 12):
        metrics, times = [], {}
        for _ in range(draw.randint(1, 6)):
            key, value, time = draw.choice("pt"), float(draw.randrange(100)), 1000 * seq + draw.randrange(4)
            historical = draw.random() < 0.2
            # Some have the payload's own time.
            more = {} if time == 1000 * seq else {"timestamp": time}
            metrics.append(metric("Double", value, name=key, is_historical=historical, **more))
            if not historical:
                times.setdefault(time, {})[key] = value
        samples = []
        for time in sorted(times):
            latest |= times[time]
            samples.append(sample([latest["p"], latest["t"]], "g/n", time))
        yield line("g/NDATA/n", metrics, seq, 1000 * seq, samples=samples)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    for make in (types, sessions, timestamps):
        text = "".join(json.dumps(case) + "\n" for case in make())
        path = CASES / f"{make.__name__}.jsonl"
        if not check:
            path.write_text(text)
        elif path.read_text() != text:
            raise SystemExit(f"{path.name} differs from what is made now")


if __name__ == "__main__":
    main()
