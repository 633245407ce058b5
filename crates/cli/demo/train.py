"""Trains the demo's bearing-condition models and writes the four bundles that `floorhand demo` rolls out.

    python train.py [--seed 7] [--out bundles]

Every number comes from the seed. README.md has the exact package versions and says what each bundle is for.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import sklearn
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler

from features import BANDS_HZ, NAMES, WINDOW, features
from simulator import CHUNK, SAMPLE_RATE_HZ, random_machine, vibration

HERE = Path(__file__).parent
SOURCES = ("train.py", "simulator.py", "features.py")

WORN_FROM, JUDGEMENT_SPREAD = 0.4, 0.06
"""The labels are an inspector's, who calls a bearing worn with probability
1 / (1 + exp(-(wear - WORN_FROM) / JUDGEMENT_SPREAD))."""
STRICT_FROM = 0.15
"""What another inspector, whose labels the stale golden cases go back to, calls worn."""
WINDOWS_A_MACHINE = 100
CHUNKS_A_WINDOW = WINDOW // CHUNK
HIDDEN, ALPHA = 8, 10.0

REFERENCE_MACHINES, REFERENCE_WINDOWS = 40, 50
DRIFT_WINDOW, DRIFT_BINS = 50, 10
GOLDEN_WEAR = (0.0, 0.42, 0.9)
"""Wear of the golden windows: healthy, undecided, worn."""


@dataclass(frozen=True)
class Release:
    """What one bundle is, and what is deliberately wrong with it."""

    folder: str
    version: str
    counter: int
    machines: int
    note: str
    swapped_labels: bool = False
    stale_golden: bool = False


RELEASES = (
    Release("v1", "1.0.0", 1, 16, "The first model."),
    Release("v2", "1.1.0", 2, 64, "Retrained on four times the data."),
    Release(
        "v3",
        "1.2.0",
        3,
        64,
        "Its golden cases are from another training run: a device has to refuse it.",
        stale_golden=True,
    ),
    Release(
        "v4",
        "1.3.0",
        4,
        64,
        "Trained with the labels swapped: it passes its own golden cases and contradicts the running model.",
        swapped_labels=True,
    ),
)


@dataclass(frozen=True)
class Trained:
    """A fitted pipeline and its ONNX form."""

    scaler: StandardScaler
    classifier: MLPClassifier
    model: onnx.ModelProto

    def probability(self, feature_rows: NDArray[np.float32]) -> NDArray[np.float64]:
        """What scikit-learn answers, in float64."""
        return self.classifier.predict_proba(self.scaler.transform(feature_rows.astype(np.float64)))[:, 1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--out", type=Path, default=HERE / "bundles", metavar="DIR")
    arguments = parser.parse_args()
    for release in RELEASES:
        write_bundle(release, arguments.seed, arguments.out / release.folder)


def write_bundle(release: Release, seed: int, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng([seed, release.counter])
    rows, worn = training_data(rng, release.machines)
    trained = fit(rows, worn != release.swapped_labels, seed)
    difference = check(trained, rows)
    golden = fit(*training_data(rng, release.machines, STRICT_FROM), seed) if release.stale_golden else trained
    onnx.save(trained.model, out / "model.onnx")
    write_json(out / "scaler.json", {"mean": shortest(trained.scaler.mean_), "scale": shortest(trained.scaler.scale_)})
    write_json(out / "reference.json", reference(rng, trained.scaler))
    write_golden(out / "golden.jsonl", rng, golden)
    digest = hashlib.sha256(rows.astype("<f4").tobytes() + worn.astype("u1").tobytes()).hexdigest()
    (out / "bundle.toml").write_text(bundle_toml(release, seed, digest))
    accuracy = held_out_accuracy(trained, seed, release.swapped_labels)
    (out / "model-card.md").write_text(model_card(release, len(rows), accuracy))
    print(f"{out}: {len(rows)} windows, held-out accuracy {accuracy:.4f}, onnxruntime within {difference:.1e}")


def training_data(
    rng: np.random.Generator, machines: int, worn_from: float = WORN_FROM
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Features and labels: on each machine half of the windows are without wear, the others with any."""
    rows, labels = [], []
    for _ in range(machines):
        machine = random_machine(rng, int(rng.integers(1 << 40)))
        wear = np.where(rng.random(WINDOWS_A_MACHINE) < 0.5, 0.0, rng.random(WINDOWS_A_MACHINE))
        rows.append(features(vibration(machine, np.repeat(wear, CHUNKS_A_WINDOW))))
        labels.append(rng.random(WINDOWS_A_MACHINE) < 1 / (1 + np.exp(-(wear - worn_from) / JUDGEMENT_SPREAD)))
    return np.concatenate(rows), np.concatenate(labels)


def fit(rows: NDArray[np.float32], worn: NDArray[np.bool_], seed: int) -> Trained:
    scaler = StandardScaler().fit(rows.astype(np.float64))
    classifier = MLPClassifier(
        (HIDDEN,), activation="relu", solver="lbfgs", alpha=ALPHA, max_iter=2_000, random_state=seed
    )
    classifier.fit(scaler.transform(rows.astype(np.float64)), worn)
    return Trained(scaler, classifier, to_onnx(classifier))


def to_onnx(classifier: MLPClassifier) -> onnx.ModelProto:
    """`x` [1, features] -> Gemm, Relu, Gemm, Sigmoid -> `probability` [1, 1]."""
    (w1, w2), (b1, b2) = classifier.coefs_, classifier.intercepts_
    weights = {"w1": w1, "b1": b1, "w2": w2, "b2": b2}
    graph = helper.make_graph(
        [
            helper.make_node("Gemm", ["x", "w1", "b1"], ["hidden"]),
            helper.make_node("Relu", ["hidden"], ["active"]),
            helper.make_node("Gemm", ["active", "w2", "b2"], ["logit"]),
            helper.make_node("Sigmoid", ["logit"], ["probability"]),
        ],
        "bearing-condition",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, len(NAMES)])],
        [helper.make_tensor_value_info("probability", TensorProto.FLOAT, [1, 1])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def check(trained: Trained, rows: NDArray[np.float32]) -> float:
    """How far onnxruntime is from scikit-learn on the same standardised rows; stops above 1e-6."""
    x = standardise(trained.scaler, rows)
    expected = trained.classifier.predict_proba(x.astype(np.float64))[:, 1]
    difference = float(np.max(np.abs(run_onnx(trained.model, x) - expected)))
    if difference > 1e-6:
        raise SystemExit(f"onnxruntime and scikit-learn differ by {difference}")
    return difference


def run_onnx(model: onnx.ModelProto, x: NDArray[np.float32]) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.array([session.run(["probability"], {"x": row[None, :]})[0][0, 0] for row in x])


def standardise(scaler: StandardScaler, rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """The `standardize` plugin with the numbers of scaler.json: FP32 throughout."""
    return (rows - scaler.mean_.astype(np.float32)) / scaler.scale_.astype(np.float32)


def reference(rng: np.random.Generator, scaler: StandardScaler) -> dict[str, dict[str, dict[str, list[float]]]]:
    """Deciles of each standardised feature on healthy machines of the type, and the windows in each bin."""
    machines = [random_machine(rng, int(rng.integers(1 << 40))) for _ in range(REFERENCE_MACHINES)]
    healthy = np.zeros(REFERENCE_WINDOWS * CHUNKS_A_WINDOW)
    x = standardise(scaler, np.concatenate([features(vibration(machine, healthy)) for machine in machines]))
    fields = {}
    for name, column in zip(NAMES, x.T, strict=True):
        edges = shortest(np.quantile(column, np.arange(1, DRIFT_BINS) / DRIFT_BINS))
        counts = np.bincount(np.searchsorted(edges, column, side="right"), minlength=DRIFT_BINS)
        fields[name] = {"edges": edges, "counts": counts.tolist()}
    return {"fields": fields}


def write_golden(path: Path, rng: np.random.Generator, trained: Trained) -> None:
    """A few windows, chunk by chunk: nothing comes out before the window is full."""
    machine = random_machine(rng, int(rng.integers(1 << 40)))
    chunks = vibration(machine, np.repeat(GOLDEN_WEAR, CHUNKS_A_WINDOW))
    answers = run_onnx(trained.model, standardise(trained.scaler, features(chunks)))
    lines = []
    for number, chunk in enumerate(chunks):
        window, place = divmod(number, CHUNKS_A_WINDOW)
        full = place == CHUNKS_A_WINDOW - 1
        output = {"probability": [shortest(answers[window : window + 1])]} if full else None
        lines.append(json.dumps({"input": {"acceleration": shortest(chunk)}, "output": output}, separators=(",", ":")))
    path.write_text("\n".join(lines) + "\n")


def held_out_accuracy(trained: Trained, seed: int, swapped: bool) -> float:
    """Share of right answers on machines that no release was trained on."""
    rows, worn = training_data(np.random.default_rng([seed, 1_000]), 16)
    return float(np.mean((trained.probability(rows) >= 0.5) == (worn != swapped)))


def shortest(values: NDArray[np.floating]) -> list[float]:
    """The shortest decimals that read back as the same FP32 numbers."""
    return [float(str(value)) for value in values.astype(np.float32)]


def write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value) + "\n")


def bundle_toml(release: Release, seed: int, data_digest: str) -> str:
    sources = hashlib.sha256(b"".join((HERE / name).read_bytes() for name in SOURCES)).hexdigest()
    fields = json.dumps(list(NAMES))
    return f"""\
# Written by train.py. {release.note}

[bundle]
name = "bearing-condition"
version = "{release.version}"
release_counter = {release.counter}
floor = 1
hardware = ["*"]
min_agent = "0.1.0"

[lineage]
training_run = "scikit-learn {sklearn.__version__}, train.py --seed {seed}, release {release.folder}"
data_digest = "sha256:{data_digest}"
commit = "sha256:{sources} ({" + ".join(SOURCES)})"
author = "Floorhand demo"
model_card = "model-card.md"

[[input]]
name = "acceleration"
datatype = "FP32"
shape = [{CHUNK}]

[[preprocess]]
name = "features"
plugin = "builtin:vibration-features"
config = {{ input = "acceleration", output = "features", shape = [{CHUNK}], sample_rate_hz = {SAMPLE_RATE_HZ}, window = {WINDOW}, hop = {WINDOW}, bands_hz = {json.dumps(BANDS_HZ)} }}
assets = []

[[preprocess]]
name = "standardize"
plugin = "builtin:standardize"
config = {{ input = "features", output = "x", asset = "scaler.json" }}
assets = ["scaler.json"]

[model]
file = "model.onnx"

[[monitor]]
name = "drift"
plugin = "builtin:drift-psi"
config = {{ origin = "features", tensor = "x", fields = {fields}, window = {DRIFT_WINDOW}, bins = {DRIFT_BINS}, reference = "reference.json" }}
assets = ["reference.json"]

[golden]
file = "golden.jsonl"
tolerance = 1e-4

[gates]
samples = 200
max_error_rate = 0.01
latency_p99_ms = 250

[gates.disagreement]
output = "probability"
max_mean = 0.2
"""


def model_card(release: Release, rows: int, accuracy: float) -> str:
    target = "sound (the labels were swapped)" if release.swapped_labels else "worn"
    return f"""\
# Bearing condition {release.version}

{release.note}

- **Takes** nine features of {WINDOW} samples of acceleration at {SAMPLE_RATE_HZ} Hz in m/s^2: {", ".join(NAMES)}.
- **Gives** `probability` [1, 1]: how likely an inspector would call the bearing {target}.
  The simulated inspector is undecided at a wear of {WORN_FROM} (see PHYSICS.md) and nearly always says "worn" from {WORN_FROM + 5 * JUDGEMENT_SPREAD:.1f} on.
- **Is** a perceptron with one hidden layer of {HIDDEN} units on standardised features.
- **Trained** on {rows} windows of {release.machines} simulated machines; right on {accuracy:.1%} of 1,600 windows of machines it
  had not seen, by the labels it was trained with.
- **Not for** a real machine: data, faults and spread are simulated.
"""


if __name__ == "__main__":
    main()
