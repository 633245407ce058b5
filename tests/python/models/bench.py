"""Models for the bench of inference, and ONNX Runtime's times for them.

    python bench.py make OUT [MODELS]     trains trees, takes the models in MODELS, and writes what they are asked
    python bench.py time OUT              answers lines `NAME BATCH` with a line of JSON: load_ms, first_us, steady_us, pss_kib

ONNX Runtime has one thread. `steady_us` is the median of rounds, each over different rows; what is measured is a call of
`InferenceSession.run`, with what Python costs.
"""

import json
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

ROWS = 1_000
# Rows that are asked about one at a time, and batches of a round.
SINGLE, BATCHES = 64, 2
ROUNDS = 15


def trees():
    """Forests of 100 and of 1,000 trees, as scikit-learn makes them of 4,000 rows of 20 features."""
    from sklearn.ensemble import GradientBoostingRegressor, RandomForestClassifier
    from skl2onnx import to_onnx

    random = np.random.default_rng(0)
    rows = random.normal(size=(4_000, 20)).astype(np.float32)
    target = rows[:, 0] * rows[:, 1] + np.sin(2 * rows[:, 2]) + 0.3 * random.normal(size=len(rows))
    classes = np.digitize(target, [-0.5, 0.5])
    for count in (100, 1_000):
        boosting = GradientBoostingRegressor(n_estimators=count, max_depth=6, subsample=0.5, random_state=0)
        forest = RandomForestClassifier(count, max_depth=10, random_state=0)
        yield f"gradient-boosting-{count}", to_onnx(boosting.fit(rows, target), rows[:1])
        for name, labels in (("binary", target > 0), ("3-classes", classes)):
            fitted = forest.fit(rows, labels.astype(int))
            yield f"random-forest-{name}-{count}", to_onnx(fitted, rows[:1], options={"zipmap": False})


def make(out, models):
    entries = []
    random = np.random.default_rng(1)
    published = ((path.stem, onnx.load(path)) for path in sorted(models.glob("*.onnx"))) if models else ()
    for name, model in [*trees(), *published]:
        given = model.graph.input[0]
        tail = [dim.dim_value for dim in given.type.tensor_type.shape.dim[1:]]
        is_int8 = given.type.tensor_type.elem_type == onnx.TensorProto.INT8
        values = random.normal(size=(ROWS, *tail)) * (40 if is_int8 else 1)
        values = values.round().clip(-128, 127).astype(np.int8) if is_int8 else values.astype(np.float32)
        (out / f"{name}.onnx").write_bytes(model.SerializeToString())
        (out / f"{name}.bin").write_bytes(values.tobytes())
        # A published model takes one sample at a time.
        batches = [1, ROWS] if "forest" in name or "boosting" in name else [1]
        datatype = "INT8" if is_int8 else "FP32"
        entries.append({"name": name, "input": given.name, "tail": tail, "datatype": datatype, "batches": batches})
    (out / "index.json").write_text(json.dumps(entries))


def pss_kib():
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])


def measure(out, entry, batch):
    values = np.fromfile(out / f"{entry['name']}.bin", np.int8 if entry["datatype"] == "INT8" else np.float32)
    values = values.reshape(ROWS, *entry["tail"])
    inputs = [values[row : row + 1] for row in range(SINGLE)] if batch == 1 else [values] * BATCHES
    data, before = (out / f"{entry['name']}.onnx").read_bytes(), pss_kib()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    begun = time.perf_counter()
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    loaded = time.perf_counter()
    session.run(None, {entry["input"]: inputs[0]})
    answered = time.perf_counter()
    rounds = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        for rows in inputs:
            session.run(None, {entry["input"]: rows})
        rounds.append((time.perf_counter() - start) / len(inputs))
    return {
        "load_ms": 1e3 * (loaded - begun),
        "first_us": 1e6 * (answered - loaded),
        "steady_us": 1e6 * statistics.median(rounds),
        "pss_kib": pss_kib() - before,
    }


if __name__ == "__main__":
    command, out = sys.argv[1], Path(sys.argv[2])
    if command == "make":
        make(out, Path(sys.argv[3]) if len(sys.argv) > 3 else None)
    else:
        entries = {entry["name"]: entry for entry in json.loads((out / "index.json").read_text())}
        for line in sys.stdin:
            name, batch = line.split()
            print(json.dumps(measure(out, entries[name], int(batch))), flush=True)
