"""Trains the PCA detector on rows without anomalies and writes a bundle's directory, ready for `floorhand bundle pack`.

    python train_skab.py --train anomaly-free.csv --out bundle/

The model is written in plain ONNX operators. It takes standardised readings `x` [1, 8] and gives `t2`, `q` and `score`,
each [1, 1] and in units of its limit: a row is an outlier where `score` is above 1.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import sklearn
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from skab import EXPLAINED_VARIANCE, LIMIT_QUANTILE, SENSORS, Detector, read_rows

SOURCES = ("train_skab.py", "skab.py")
DRIFT_WINDOW, DRIFT_BINS = 100, 10
GOLDEN_ROWS = 20
RANGE_MARGIN = 3.0
"""Readings may leave the range seen in training by this many times its width before they count as impossible."""


def main() -> None:
    arguments = parse_arguments()
    parts = [read_rows(path, arguments.head).readings for path in arguments.train]
    readings = np.concatenate(parts)
    detector = Detector.fit(readings)
    out: Path = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    model = build_model(detector)
    onnx.save(model, out / "model.onnx")
    write_json(out / "scaler.json", scaler_of(detector))
    write_json(out / "reference.json", reference_of(standardised(detector, readings)))
    write_golden(out / "golden.jsonl", model, detector, readings)
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in arguments.train)).hexdigest()
    (out / "bundle.toml").write_text(bundle_toml(readings, digest))
    (out / "model-card.md").write_text(model_card(detector, len(readings)))
    limits = f"limits T2 {detector.t2_limit:.3f}, Q {detector.q_limit:.3f}"
    print(f"{out}: {len(readings)} rows, {detector.pca.n_components_} components, {limits}")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=Path, nargs="+", required=True, metavar="CSV", help="rows without anomalies")
    parser.add_argument("--head", type=int, metavar="N", help="take only the first N rows of each file")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the bundle's directory")
    return parser.parse_args()


def build_model(detector: Detector) -> onnx.ModelProto:
    """T2 and Q as squared lengths of two affine images of x, the limits folded into the weights."""
    loadings, mean = detector.pca.components_.T, detector.pca.mean_
    within = loadings / np.sqrt(detector.pca.explained_variance_ * detector.t2_limit)
    outside = (np.eye(len(SENSORS)) - loadings @ loadings.T) / np.sqrt(detector.q_limit)
    weights = {"within": within, "within_bias": -mean @ within, "outside": outside, "outside_bias": -mean @ outside}
    initializers = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()]
    initializers.append(numpy_helper.from_array(np.array([1], dtype=np.int64), "columns"))
    nodes = []
    for part, statistic in (("within", "t2"), ("outside", "q")):
        nodes += [
            helper.make_node("Gemm", ["x", part, f"{part}_bias"], [f"{part}_image"]),
            helper.make_node("Mul", [f"{part}_image", f"{part}_image"], [f"{part}_squares"]),
            helper.make_node("ReduceSum", [f"{part}_squares", "columns"], [statistic], keepdims=1),
        ]
    nodes.append(helper.make_node("Max", ["t2", "q"], ["score"]))
    graph = helper.make_graph(
        nodes,
        "pca-t2-q",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, len(SENSORS)])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1]) for name in ("t2", "q", "score")],
        initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def scaler_of(detector: Detector) -> dict[str, list[float]]:
    return {"mean": shortest(detector.scaler.mean_), "scale": shortest(detector.scaler.scale_)}


def standardised(detector: Detector, readings: NDArray[np.float64]) -> NDArray[np.float32]:
    """What the `standardize` plugin gives with the numbers of scaler.json: it computes in FP32."""
    mean, scale = detector.scaler.mean_.astype(np.float32), detector.scaler.scale_.astype(np.float32)
    return (readings.astype(np.float32) - mean) / scale


def reference_of(x: NDArray[np.float32]) -> dict[str, dict[str, dict[str, list[float]]]]:
    """Deciles of each standardised reading as inner edges, and how many training rows fall into each bin.

    A sensor with few different values has deciles that fall together, and then fewer bins.
    """
    fields = {}
    for name, column in zip(SENSORS, x.T, strict=True):
        edges = sorted(set(shortest(np.quantile(column, np.arange(1, DRIFT_BINS) / DRIFT_BINS))))
        counts = np.bincount(np.searchsorted(edges, column, side="right"), minlength=len(edges) + 1)
        fields[name] = {"edges": edges, "counts": counts.tolist()}
    return {"fields": fields}


def write_golden(path: Path, model: onnx.ModelProto, detector: Detector, readings: NDArray[np.float64]) -> None:
    """Training rows evenly spread, every fifth with its flow halved so that outliers are among the cases."""
    rows = readings[np.linspace(0, len(readings) - 1, GOLDEN_ROWS).astype(int)].astype(np.float32)
    rows[::5, -1] /= 2
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    lines = []
    for row, x in zip(rows, standardised(detector, rows.astype(np.float64)), strict=True):
        outputs = session.run(["t2", "q", "score"], {"x": x[None, :]})
        named = {name: [shortest(value[0])] for name, value in zip(("t2", "q", "score"), outputs, strict=True)}
        lines.append(json.dumps({"input": {"sensors": [shortest(row)]}, "output": named}))
    path.write_text("\n".join(lines) + "\n")


def shortest(values: NDArray[np.floating]) -> list[float]:
    """The shortest decimals that read back as the same FP32 numbers."""
    return [float(str(value)) for value in values.astype(np.float32)]


def write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value) + "\n")


def bundle_toml(readings: NDArray[np.float64], data_digest: str) -> str:
    names = json.dumps(list(SENSORS))
    sources = hashlib.sha256(b"".join(Path(__file__).with_name(name).read_bytes() for name in SOURCES)).hexdigest()
    low, high = readings.min(axis=0), readings.max(axis=0)
    margin = RANGE_MARGIN * (high - low)
    ranges = [
        f"{{ name = {json.dumps(name)}, index = {index}, min = {lowest:.6g}, max = {highest:.6g} }}"
        for index, (name, lowest, highest) in enumerate(zip(SENSORS, low - margin, high + margin, strict=True))
    ]
    return f"""\
[bundle]
name = "skab-pca"
version = "1.0.0"
release_counter = 1
floor = 1
hardware = ["*"]
min_agent = "0.1.0"

[lineage]
training_run = "scikit-learn {sklearn.__version__}, tests/skab/train_skab.py"
data_digest = "sha256:{data_digest}"
commit = "sha256:{sources} ({" + ".join(SOURCES)})"
author = "Floorhand"
model_card = "model-card.md"

[[input]]
name = "sensors"
datatype = "FP32"
shape = [1, {len(SENSORS)}]
fields = {names}

[[preprocess]]
name = "standardize"
plugin = "builtin:standardize"
config = {{ input = "sensors", output = "x", asset = "scaler.json" }}
assets = ["scaler.json"]

[model]
file = "model.onnx"

[[monitor]]
name = "validation"
plugin = "builtin:data-validation"

[monitor.config]
input = "sensors"
fields = [
  {f",{chr(10)}  ".join(ranges)},
]

[[monitor]]
name = "drift"
plugin = "builtin:drift-psi"
config = {{ origin = "features", tensor = "x", fields = {names}, window = {DRIFT_WINDOW}, bins = {DRIFT_BINS}, reference = "reference.json" }}
assets = ["reference.json"]

[golden]
file = "golden.jsonl"
tolerance = 1e-4

[gates]
samples = 200
max_error_rate = 0.01
latency_p99_ms = 250
"""


def model_card(detector: Detector, rows: int) -> str:
    return f"""\
# PCA detector for a water circulation test bed

- **Takes** eight sensor readings of one second, standardised: {", ".join(SENSORS)}.
- **Gives** `t2` (Hotelling's T2 within {detector.pca.n_components_} principal components, which explain at least
  {EXPLAINED_VARIANCE:.0%} of the variance), `q` (squared error outside of them) and `score`, the larger of both. Each is in units of its
  limit, the {LIMIT_QUANTILE:g} quantile over the training rows. A row is an outlier where `score` is above 1.
- **Trained** on {rows} rows without anomalies.
- **Not for** another operating point than that of the training rows: everything is an outlier there.
"""


if __name__ == "__main__":
    main()
