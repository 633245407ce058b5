"""What ONNX Runtime answers to 1,000 seeded inputs of each model of MLPerf Tiny that there is.

    python mlperf_tiny.py OUT MODELS

MODELS is a folder with files such as `mlperf-tiny-kws-int8.onnx`. Both answers that ONNX Runtime has are written: the
one with its optimisations, and the one without, of each node for itself.
"""

import sys
from pathlib import Path

import numpy as np
import onnx

from cases import Cases, onnxruntime_outputs

ROWS = 1_000

# What a model takes -> the middle and the spread of that: decibels of a spectrum, cepstral coefficients, pixels. One
# that is quantised takes bytes.
SPREADS = {"ad01-fp32": (-35.0, 20.0), "kws-fp32": (0.0, 15.0), "resnet8-fp32": (128.0, 60.0)}
QUANTISED = (0.0, 45.0)


def patterns(shape):
    """Seeded patches of one value with noise, each row with a contrast of its own.

    Of noise alone a classifier says the same of every row.
    """
    random = np.random.default_rng(3)
    values = random.normal(size=(ROWS, *[-(-size // 8) for size in shape]))
    for axis, size in enumerate(shape, start=1):
        values = np.repeat(values, 8, axis=axis).take(range(size), axis=axis)
    values = values + 0.3 * random.normal(size=values.shape)
    return values * random.uniform(0.2, 2.0, size=(ROWS, *[1] * len(shape)))


def rows_for(path, tensor):
    """Rows in the model's own type and range."""
    middle, spread = SPREADS.get(path.stem.removeprefix("mlperf-tiny-"), QUANTISED)
    values = middle + spread * patterns([dim.dim_value for dim in tensor.shape.dim[1:]])
    if tensor.elem_type == onnx.TensorProto.INT8:
        return values.round().clip(-128, 127).astype(np.int8)
    assert tensor.elem_type == onnx.TensorProto.FLOAT, path
    # Pixels are bytes, whatever they are stored as.
    return (values.round().clip(0, 255) if "resnet8" in path.stem else values).astype(np.float32)


def main(out, models):
    cases = Cases(out)
    for path in sorted(Path(models).glob("mlperf-tiny-*.onnx")):
        declared = onnx.load(path).graph.input[0]
        inputs = {declared.name: rows_for(path, declared.type.tensor_type)}
        outputs, plain = (onnxruntime_outputs(path.read_bytes(), inputs, optimised) for optimised in (True, False))
        cases.add(path.stem, path.read_bytes(), inputs, outputs, also=plain)
        if next(iter(outputs.values())).shape[1] < 100:
            classes = np.unique(next(iter(outputs.values())).argmax(axis=1), return_counts=True)
            print(f"{path.stem}: classes {dict(zip(*map(np.ndarray.tolist, classes), strict=True))}")
    cases.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
