#!/usr/bin/env python3
"""Writes cases/*.jsonl: frames as a straightforward definition in NumPy prepares them, held against ONNX Runtime.

    pip install numpy onnx onnxruntime    # 2.4.6, 1.23.2, 1.31.1
    python3 plugins/image-normalize/tests/oracle.py            # writes
    python3 plugins/image-normalize/tests/oracle.py --check    # makes them again and compares

`prepare` is the reference implementation for training code: FP32 throughout, the same bits as the plugin's. ONNX Runtime
rounds positions to single precision, of which a step from pixel to pixel has 255 times, so that its bilinear pixels may
differ by 2e-4; its nearest ones and its QuantizeLinear are the same.
"""

import json
import pathlib
import sys

import numpy as np

FOLDER = pathlib.Path(__file__).parent / "cases"
ONE = np.float32(1)


def prepare(tensor, config):
    """A frame of the shape that the configuration says."""
    frame = np.asarray(tensor, np.uint8).reshape(config["shape"][-3:])
    frame = frame.transpose(1, 2, 0) if config.get("layout") == "chw" else frame
    height, width = config.get("height", frame.shape[0]), config.get("width", frame.shape[1])
    pixels = resize(frame, height, width, config.get("method", "bilinear"))
    pixels = pixels[..., ::-1] if config.get("reverse_channels") else pixels
    datatype, quantization = config.get("datatype", "FP32"), config.get("quantization")
    if datatype == "UINT8" and quantization is None:
        result = np.floor(pixels + np.float32(0.5)).astype(np.uint8)
    else:
        mean = np.array(config.get("mean", [0] * frame.shape[2]), np.float32)
        deviation = np.array(config.get("deviation", [1] * frame.shape[2]), np.float32)
        result = (pixels / np.float32(config.get("divisor", 255)) - mean) / deviation
    if quantization:
        result = quantize(result, datatype, **quantization)
    result = result if config.get("output_layout") == "hwc" else result.transpose(2, 0, 1)
    return result[None] if config.get("batch_dimension", True) else result


def resize(frame, height, width, method):
    """With half-pixel centres: along the rows, then between them."""
    pixels = frame.astype(np.float32)
    if method == "nearest":
        rows = (2 * np.arange(height) + 1) * frame.shape[0] // (2 * height)
        columns = (2 * np.arange(width) + 1) * frame.shape[1] // (2 * width)
        return pixels[rows][:, columns]
    (top, bottom, down), (left, right, across) = taps(frame.shape[0], height), taps(frame.shape[1], width)
    across, down = across[None, :, None], down[:, None, None]
    along = pixels[:, left] + (pixels[:, right] - pixels[:, left]) * across
    return along[top] + (along[bottom] - along[top]) * down


def taps(source, target):
    distance = np.maximum((2 * np.arange(target) + 1) * source - target, 0)
    weight = (distance % (2 * target)).astype(np.float32) / np.float32(2 * target)
    first = distance // (2 * target)
    return first, np.minimum(first + 1, source - 1), weight


def quantize(values, datatype, scale, zero_point):
    limits = np.iinfo(np.uint8 if datatype == "UINT8" else np.int8)
    steps = np.rint(values / np.float32(scale)) + np.float32(zero_point)
    return np.clip(steps, limits.min, limits.max).astype(limits.dtype)


def compare_with_onnx(frame, config, result):
    """The same as a graph of Resize, Sub, Div and QuantizeLinear, but for the rounding of positions."""
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    channels = frame.shape[2]
    nearest = config.get("method") == "nearest"
    attributes = {"mode": "nearest", "nearest_mode": "round_prefer_ceil"} if nearest else {"mode": "linear"}
    column = lambda key, usual: np.array(config.get(key, [usual] * channels), np.float32).reshape(1, channels, 1, 1)
    sizes = [1, channels, config.get("height", frame.shape[0]), config.get("width", frame.shape[1])]
    datatype, quantization = config.get("datatype", "FP32"), config.get("quantization")
    constants = {
        "sizes": np.array(sizes, np.int64), "divisor": np.float32(config.get("divisor", 255)),
        "mean": column("mean", 0), "deviation": column("deviation", 1),
    }  # fmt: skip
    nodes = [
        helper.make_node("Resize", ["x", "", "", "sizes"], ["r"], coordinate_transformation_mode="half_pixel", **attributes),
        helper.make_node("Div", ["r", "divisor"], ["d"]),
        helper.make_node("Sub", ["d", "mean"], ["m"]),
        helper.make_node("Div", ["m", "deviation"], ["n"]),
    ]
    kind = TensorProto.FLOAT
    if quantization:
        kind = getattr(TensorProto, datatype)
        constants["scale"] = np.float32(quantization["scale"])
        constants["zero"] = np.array(quantization["zero_point"], datatype.lower())
        nodes.append(helper.make_node("QuantizeLinear", ["n", "scale", "zero"], ["q"]))
    graph = helper.make_graph(
        nodes,
        "frame",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, channels, *frame.shape[:2]])],
        [helper.make_tensor_value_info("q" if quantization else "n", kind, sizes)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    pixels = frame[..., ::-1] if config.get("reverse_channels") else frame
    theirs = session.run(None, {"x": pixels.transpose(2, 0, 1)[None].astype(np.float32)})[0][0]
    ours = result.reshape(result.shape[-3:])
    ours = ours.transpose(2, 0, 1) if config.get("output_layout") == "hwc" else ours
    steps = np.abs(theirs.astype(float) - ours.astype(float)).max()
    allowed = 0 if nearest else 1 if quantization else 2e-4 / min(config.get("deviation", [1])) / config.get("divisor", 255)
    # A last bit of the quotient, too.
    assert steps <= allowed + (0 if quantization else 1e-6), (config, steps)


def lines(config, frames):
    """A head, then a line for each frame."""
    yield {"config": config, "tolerance": 0}
    for tensor in frames:
        tensor = tensor.reshape(config["shape"])
        result = prepare(tensor, config)
        if config.get("datatype") != "UINT8" or "quantization" in config:
            frame = tensor.reshape(config["shape"][-3:])
            compare_with_onnx(frame.transpose(1, 2, 0) if config.get("layout") == "chw" else frame, config, result)
        yield {"input": {config["input"]: tensor.tolist()}, "output": {config["output"]: result.astype(float).tolist()}}


def files():
    rng = np.random.default_rng(17)
    frames = rng.integers(0, 256, size=(2, 7 * 9 * 3), dtype=np.uint8)
    base = {"input": "frame", "output": "x", "shape": [1, 7, 9, 3]}
    normal = {"mean": [0.485, 0.456, 0.406], "deviation": [0.229, 0.224, 0.225]}
    yield "normalised", lines({**base, **normal, "width": 5, "height": 4, "reverse_channels": True}, frames)
    yield "enlarged_hwc", lines({**base, **normal, "width": 13, "height": 8, "output_layout": "hwc"}, frames[:1])
    yield "same_size", lines({**base, **normal}, frames[:1])
    planes = {"input": "frame", "output": "x", "shape": [3, 7, 9], "layout": "chw", "batch_dimension": False}
    yield "nearest_planes", lines({**planes, "width": 4, "height": 11, "method": "nearest", "divisor": 1}, frames[:1])
    yield "pixels", lines({**base, "datatype": "UINT8", "width": 6, "height": 5, "output_layout": "hwc"}, frames)
    quantized = {"quantization": {"scale": 0.0186584, "zero_point": -14}, "datatype": "INT8", "width": 6, "height": 6}
    yield "int8", lines({**base, **normal, **quantized}, frames)
    quantized = {"quantization": {"scale": 0.012, "zero_point": 128}, "datatype": "UINT8", "method": "nearest"}
    yield "uint8_saturated", lines({**base, **normal, **quantized, "width": 12, "height": 3}, frames)


def main():
    for name, content in files():
        path = FOLDER / f"{name}.jsonl"
        made = "".join(json.dumps(line) + "\n" for line in content)
        if "--check" not in sys.argv:
            path.write_text(made)
        elif path.read_text() != made:
            sys.exit(f"{path.name} is another one")


if __name__ == "__main__":
    main()
