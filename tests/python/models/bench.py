"""Models for the bench of inference, and ONNX Runtime's times for them.

    python bench.py make OUT [MODELS]     trains trees, takes the models in MODELS, and writes what they are asked
    python bench.py time OUT              answers lines `NAME BATCH` with a line of JSON: load_ms, first_us, steady_us, pss_kib

ONNX Runtime has one thread. `steady_us` is the median of runs over different rows; what is measured is a call of
`InferenceSession.run`, with what Python costs.
"""

import copy
import json
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

ROWS = 1_000
# Rows that are asked about one at a time, batches, and how often each is.
SINGLE, BATCHES = 288, 18


def rows_of(features, count=4_000):
    """Rows, a number that follows from them, and three classes of it."""
    random = np.random.default_rng(0)
    rows = random.normal(size=(count, features)).astype(np.float32)
    target = rows[:, 0] * rows[:, 1] + np.sin(2 * rows[:, 2]) + 0.3 * random.normal(size=count)
    return rows, target, np.digitize(target, [-0.5, 0.5])


def trees():
    """Forests of 100, 300 and 1,000 trees, as scikit-learn makes them of 4,000 rows of 20 features."""
    from sklearn.ensemble import GradientBoostingRegressor, RandomForestClassifier
    from skl2onnx import to_onnx

    rows, target, classes = rows_of(20)
    for count in (100, 300, 1_000):
        boosting = GradientBoostingRegressor(n_estimators=count, max_depth=6, subsample=0.5, random_state=0)
        yield f"gradient-boosting-{count}", to_onnx(boosting.fit(rows, target), rows[:1])
        forest = RandomForestClassifier(count, max_depth=10, random_state=0).fit(rows, classes)
        yield f"random-forest-{count}", to_onnx(forest, rows[:1], options={"zipmap": False})


def pipelines():
    """What stands behind scaled features: a linear model, and a small network."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from skl2onnx import to_onnx

    rows, _, classes = rows_of(20)
    network = MLPClassifier((64, 32), max_iter=30, random_state=0)
    for name, last in (("scaler-logistic", LogisticRegression()), ("scaler-mlp", network)):
        fitted = make_pipeline(StandardScaler(), last).fit(rows, classes)
        yield name, to_onnx(fitted, rows[:1], options={"zipmap": False})


def network(name, nodes, weights, shapes):
    """A model of `x` and `y`, of which the weights are given."""
    given = [onnx.helper.make_tensor_value_info(end, onnx.TensorProto.FLOAT, shapes[end]) for end in "xy"]
    weights = [onnx.numpy_helper.from_array(values.astype(np.float32), key) for key, values in weights.items()]
    graph = onnx.helper.make_graph(nodes, name, given[:1], given[1:], weights)
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)


def networks():
    """Recurrent layers over 32 steps of 8 channels, and the layers of MLPerf Tiny's person detector (MobileNetV1 0.25, 96 x 96),
    all with weights drawn by lot."""
    random = np.random.default_rng(2)
    make = onnx.helper.make_node
    transposed = make("Transpose", ["x"], ["t"], perm=[1, 0, 2])
    for kind, gates, given in (("LSTM", 4, {}), ("GRU", 3, {"linear_before_reset": 1}), ("RNN", 1, {})):
        sizes = {"w": 8, "r": 64}
        layer = {name: random.normal(size=(1, gates * 64, size)) / 2 / size**0.5 for name, size in sizes.items()}
        node = make(kind, ["t", "w", "r"], ["", "y"], hidden_size=64, **given)
        yield f"{kind.lower()}-64", network(kind, [transposed, node], layer, {"x": [1, 32, 8], "y": [1, 1, 64]})
    nodes, weights, at, channels = [], {}, "x", 3

    def convolve(width, size, stride, group=1):
        nonlocal at, channels
        key = f"{len(nodes)}"
        fan = channels // group * size * size
        weights[f"w{key}"] = random.normal(size=(width, channels // group, size, size)) * (2 / fan) ** 0.5
        weights[f"b{key}"] = random.normal(size=width) / 10
        pads = [size // 2 - (stride - 1) * (size > 1), size // 2 - (stride - 1) * (size > 1), size // 2, size // 2]
        pads = [max(pad, 0) for pad in pads]
        nodes.append(make("Conv", [at, f"w{key}", f"b{key}"], [f"c{key}"], strides=[stride] * 2, pads=pads, group=group))
        nodes.append(make("Relu", [f"c{key}"], [f"r{key}"]))
        at, channels = f"r{key}", width

    convolve(8, 3, 2)
    for width, stride in ((16, 1), (32, 2), (32, 1), (64, 2), (64, 1), (128, 2), *((128, 1),) * 5, (256, 2), (256, 1)):
        convolve(channels, 3, stride, group=channels)
        convolve(width, 1, 1)
    nodes += [make("GlobalAveragePool", [at], ["pool"]), make("Flatten", ["pool"], ["flat"])]
    weights |= {"wl": random.normal(size=(256, 2)) / 16, "bl": np.zeros(2)}
    nodes += [make("Gemm", ["flat", "wl", "bl"], ["logits"]), make("Softmax", ["logits"], ["y"])]
    yield "person-layers", network("person", nodes, weights, {"x": [1, 3, 96, 96], "y": [1, 2]})


def in_integers(name, model, out):
    """A network of floats as ONNX Runtime's tool quantises it, after 16 random samples."""
    from onnxruntime import quantization

    given = model.graph.input[0]
    shape = [dim.dim_value or 1 for dim in given.type.tensor_type.shape.dim]
    random = np.random.default_rng(3)

    class Samples(quantization.CalibrationDataReader):
        left = 16

        def get_next(self):
            self.left -= 1
            return {given.name: random.normal(size=shape).astype(np.float32)} if self.left >= 0 else None

    path = out / f"{name}.quantised"
    kinds = {"activation_type": quantization.QuantType.QInt8, "weight_type": quantization.QuantType.QInt8}
    # The tool changes what it is given.
    quantization.quantize_static(copy.deepcopy(model), path, Samples(), per_channel=True, **kinds)
    return name, onnx.load(path)


def make(out, models):
    entries = []
    random = np.random.default_rng(1)
    published = [(path.stem, onnx.load(path)) for path in sorted(models.glob("*.onnx"))] if models else []
    drawn = list(networks())
    twins = {"mlperf-tiny-resnet8-fp32": "resnet8-int8", "person-layers": "person-layers-int8"}
    quantised = [in_integers(twins[name], model, out) for name, model in [*published, *drawn] if name in twins]
    for name, model in [*published, *drawn, *quantised, *pipelines(), *trees()]:
        given = model.graph.input[0]
        tail = [dim.dim_value for dim in given.type.tensor_type.shape.dim[1:]]
        is_int8 = given.type.tensor_type.elem_type == onnx.TensorProto.INT8
        values = random.normal(size=(ROWS, *tail), scale=40 if is_int8 else 1)
        values = values.round().clip(-128, 127).astype(np.int8) if is_int8 else values.astype(np.float32)
        (out / f"{name}.onnx").write_bytes(model.SerializeToString())
        (out / f"{name}.bin").write_bytes(values.tobytes())
        # A network takes one sample at a time.
        batches = [1, 64, ROWS] if "forest" in name or "boosting" in name else [1, 64] if "scaler" in name else [1]
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
    # Other rows each time, as far as there are any: of what it has seen before a processor guesses the branches.
    places = [number % (ROWS // batch) * batch for number in range(SINGLE if batch == 1 else BATCHES)]
    inputs = [values[place : place + batch] for place in places]
    data, before = (out / f"{entry['name']}.onnx").read_bytes(), pss_kib()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    begun = time.perf_counter()
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    loaded = time.perf_counter()
    session.run(None, {entry["input"]: inputs[0]})
    answered = time.perf_counter()
    runs = []
    for rows in inputs:
        start = time.perf_counter()
        session.run(None, {entry["input"]: rows})
        runs.append(time.perf_counter() - start)
    return {
        "load_ms": 1e3 * (loaded - begun),
        "first_us": 1e6 * (answered - loaded),
        "steady_us": 1e6 * statistics.median(runs),
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
