"""Trains and exports the pipelines that run on edge devices, with what ONNX Runtime answers to 10,000 rows of each.

    python pipelines.py OUT [NAME ...]

Everything is seeded. What the library that trained a model foretells is compared, too: an export that isn't the model
it was made from would prove nothing. That is why KNeighborsRegressor weighs neighbours alike: with weights by distance
skl2onnx 1.20 exports another model.
"""

import sys
import time
import warnings

import numpy as np

import boosters
import kernels
import linear
import trees
import unsupervised
from cases import Cases, onnxruntime_outputs
from export import PIPELINES

# Of labels, and of numbers within a thousandth of their spread: what 32-bit floats in the exported model may cost.
AGREEMENT = 0.999


def agreement(foretold, outputs):
    """The share of rows for which the exported model says what the library that trained it does."""
    answer = next(iter(outputs.values()))
    if foretold.dtype.kind == "f":
        near = np.abs(answer.reshape(foretold.shape) - foretold) <= 1e-3 * max(1.0, float(foretold.std()))
        return float(near.mean())
    return float((answer.ravel() == foretold.ravel()).mean())


def main(out, *wanted):
    # Converters and estimators warn of what is to come in versions that aren't pinned.
    warnings.simplefilter("ignore")
    cases = Cases(out)
    for name in wanted or PIPELINES:
        started = time.perf_counter()
        model, inputs, foretold = PIPELINES[name]()
        outputs = onnxruntime_outputs(model, inputs)
        agreed = agreement(foretold, outputs)
        cases.add(name, model, inputs, outputs)
        print(f"{name}: {len(model)} bytes, agreement {agreed:.4f}, {time.perf_counter() - started:.1f} s", flush=True)
        assert agreed >= AGREEMENT, f"{name}: exported is another model than trained"
    cases.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
