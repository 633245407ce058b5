"""From a CSV file to a bundle's directory: StandardScaler and LogisticRegression of scikit-learn, as plain ONNX.

    python train.py pump.csv bundle/

The last column of the file is the label, 0 or 1; the others are the model's inputs.
"""

import csv
import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

data, out = Path(sys.argv[1]), Path(sys.argv[2])
header, *rows = csv.reader(data.open())
table = np.array(rows, dtype=np.float64)
fields, readings, label = header[:-1], table[:, :-1], table[:, -1]

# 1. The pipeline, as you have it already.
pipeline = make_pipeline(StandardScaler(), LogisticRegression()).fit(readings, label)
scaler, classifier = pipeline[0], pipeline[1]
print(f"right on {pipeline.score(readings, label):.1%} of {len(table)} rows")

# 2. The classifier in ONNX operators. Scaling is the `standardize` plugin's work, with the numbers of scaler.json.
weights = {"w": classifier.coef_.T, "b": classifier.intercept_}
graph = helper.make_graph(
    [helper.make_node("Gemm", ["x", "w", "b"], ["logit"]), helper.make_node("Sigmoid", ["logit"], ["probability"])],
    "breakdown",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, len(fields)])],
    [helper.make_tensor_value_info("probability", TensorProto.FLOAT, [1, 1])],
    [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
)
out.mkdir(parents=True, exist_ok=True)
onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), out / "model.onnx")
(out / "scaler.json").write_text(json.dumps({"mean": scaler.mean_.tolist(), "scale": scaler.scale_.tolist()}) + "\n")

# 3. Golden cases: what every device has to answer, within the tolerance, before it runs the model.
samples = readings[:: len(readings) // 10]
cases = [
    {"input": {"sensors": [sample.tolist()]}, "output": {"probability": [[float(probability)]]}}
    for sample, probability in zip(samples, pipeline.predict_proba(samples)[:, 1], strict=True)
]
(out / "golden.jsonl").write_text("".join(json.dumps(case) + "\n" for case in cases))

# 4. What belongs together, and where it comes from.
(out / "bundle.toml").write_text(f"""\
[bundle]
name = "pump-breakdown"
version = "1.0.0"
release_counter = 1     # rises with every release
floor = 1               # the lowest release_counter a device may go back to
hardware = ["*"]        # any device
min_agent = "0.1.0"

[lineage]
training_run = "train.py {data.name}"
data_digest = "sha256:{hashlib.sha256(data.read_bytes()).hexdigest()}"
commit = "unknown"
author = "you"
model_card = "model-card.md"

[[input]]
name = "sensors"
datatype = "FP32"
shape = [1, {len(fields)}]
fields = {json.dumps(fields)}

[[preprocess]]
name = "standardize"
plugin = "builtin:standardize"
config = {{ input = "sensors", output = "x", asset = "scaler.json" }}
assets = ["scaler.json"]

[model]
file = "model.onnx"

[golden]
file = "golden.jsonl"
tolerance = 1e-4

[gates]
samples = 200           # a device tries the bundle on so many samples before it commits
max_error_rate = 0.01
latency_p99_ms = 50
""")
(out / "model-card.md").write_text(f"Probability of a breakdown within a day, from {', '.join(fields)}.\n")
