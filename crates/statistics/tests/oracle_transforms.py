#!/usr/bin/env python3
"""Writes tests/cases/transforms.json: what SciPy, pandas, scikit-learn, librosa and ONNX Runtime give on recorded inputs.

    pip install numpy scipy pandas scikit-learn librosa onnx onnxruntime
    python3 crates/statistics/tests/oracle_transforms.py            # all sections
    python3 crates/statistics/tests/oracle_transforms.py --check    # make them again and compare with the recorded ones
    python3 crates/statistics/tests/oracle_transforms.py --check f_distribution softmax    # some of them

Each section imports what it needs alone. Inputs are drawn with fixed seeds and recorded with the answers, so that the
comparison in tests/transforms.rs needs no Python.
"""

import json
import pathlib
import sys
from fractions import Fraction

import numpy as np

PATH = pathlib.Path(__file__).parent / "cases" / "transforms.json"

# Another build of NumPy sums in another order.
TOLERANCE = 1e-9


def rounded(values, digits=4):
    return [round(float(value), digits) for value in values]


def f_distribution():
    from scipy import stats

    degrees = [(1, 1), (1, 7), (1, 99), (2, 48), (3, 31), (3, 33), (10, 10), (50, 200), (128, 1), (1000, 1000)]
    large = [(1, 10_000_000), (7, 1_000_000), (1000, 10_000_000)]
    for numerator, denominator in degrees + large:
        for probability in [1e-6, 0.01, 0.5, 0.99, 0.999, 0.999999]:
            quantile = stats.f.ppf(probability, numerator, denominator)
            if (numerator, denominator) in large and probability == 0.5:
                # SciPy's own answer is only good to 3e-10 here: take the other tail's.
                quantile = 1 / stats.f.ppf(0.5, denominator, numerator)
            yield {"probability": probability, "degrees": [numerator, denominator], "quantile": quantile}
    for degrees in [7, 30, 1000]:
        for tail in [0.0027, 1e-6, 1e-15, 1e-40]:
            yield {"tail": tail, "degrees": [1, degrees], "t": stats.t.isf(tail / 2, degrees)}


def rolling():
    rng = np.random.default_rng(11)
    steps = rng.choice([0, 1, 3, 10, 20, 60, 400], p=[0.2, 0.2, 0.2, 0.15, 0.15, 0.08, 0.02], size=300)
    times = (1_790_000_000_000 + np.cumsum(steps)).tolist()
    values = rounded(1e4 + np.cumsum(rng.normal(size=300)))
    for position in rng.choice(300, size=30, replace=False).tolist() + [100, 101, 102, 103, 104, 105]:
        values[position] = None
    case = {"times_ms": times, "values": values, "extents": []}
    for extent in [{"samples": 5}, {"samples": 64}, {"width_ms": 50}, {"width_ms": 1000}]:
        rows = [rolling_row(extent, times, values, row) for row in [0, 1, 2, *range(5, 300, 7), 105]]
        compare_with_pandas(extent, times, values, rows)
        case["extents"].append({"extent": extent, "rows": rows})
    yield case


def rolling_row(extent, times, values, row):
    """Of the samples in the window, with fractions: exact but for the last rounding."""
    first = max(0, row + 1 - extent["samples"]) if "samples" in extent else 0
    window = [
        (Fraction(times[i]), Fraction(values[i]))
        for i in range(first, row + 1)
        if values[i] is not None and ("samples" in extent or times[i] > times[row] - extent["width_ms"])
    ]
    count = len(window)
    result = {"row": row, "count": count, "mean": None, "std": None, "min": None, "max": None, "slope": None}
    if count:
        xs, ts = [x for _, x in window], [t for t, _ in window]
        mean_x, mean_t = sum(xs) / count, sum(ts) / count
        squares = sum((t - mean_t) ** 2 for t in ts)
        result |= {"mean": float(mean_x), "min": float(min(xs)), "max": float(max(xs))}
        if count > 1:
            result["std"] = float(np.sqrt(float(sum((x - mean_x) ** 2 for x in xs) / (count - 1))))
        if squares:
            result["slope"] = float(1000 * sum((t - mean_t) * (x - mean_x) for t, x in window) / squares)
    return result


def compare_with_pandas(extent, times, values, rows):
    """That windows are pandas' own; its standard deviation is only good to a few digits here."""
    import pandas

    series = pandas.Series(values, index=pandas.to_datetime(times, unit="ms"), dtype=float)
    window = extent["samples"] if "samples" in extent else f"{extent['width_ms']}ms"
    pandas_rolling = series.rolling(window, min_periods=1)
    answers = pandas_rolling.agg(["count", "mean", "std", "min", "max"])
    for row in rows:
        theirs = answers.iloc[row["row"]]
        for name in answers.columns:
            ours = np.nan if row[name] is None else row[name]
            assert np.isclose(theirs[name], ours, rtol=1e-6, equal_nan=True), (extent, row, name, theirs[name])


def pca():
    from scipy import stats
    from sklearn.decomposition import PCA
    from sklearn.preprocessing import StandardScaler

    rng = np.random.default_rng(5)
    for name, rows, variables, kept in [("two of six", 60, 6, 2), ("one of three", 20, 3, 1), ("all", 30, 2, 2)]:
        mixing = rng.normal(size=(variables, variables)) * np.linspace(1, 0.2, variables)
        draw = lambda count: rng.normal(size=(count, variables)) @ mixing.T * 3 + np.linspace(0, 500, variables)
        train = draw(rows)
        scaler = StandardScaler().fit(train)
        full = PCA().fit(scaler.transform(train))
        model = PCA(n_components=kept).fit(scaler.transform(train))
        test = np.array([rounded(row) for row in np.vstack([draw(12), draw(3) + 30])])
        z = scaler.transform(test)
        scores = model.transform(z)
        residuals = z - model.inverse_transform(scores)
        case = {
            "name": name,
            # PCA centres once more, by what is left of the mean: nothing but rounding.
            "mean": (scaler.mean_ + model.mean_ * scaler.scale_).tolist(),
            "scale": scaler.scale_.tolist(),
            "components": model.components_.ravel().tolist(),
            "explained_variances": full.explained_variance_.tolist(),
            "training_rows": rows,
            "rows": test.tolist(),
            "t2": (scores**2 / model.explained_variance_).sum(axis=1).tolist(),
            "q": (residuals**2).sum(axis=1).tolist(),
            "limits": [],
        }
        for probability in [0.5, 0.95, 0.99, 0.9999]:
            t2 = kept * (rows**2 - 1) / (rows * (rows - kept)) * stats.f.ppf(probability, kept, rows - kept)
            limit = jackson_mudholkar(full.explained_variance_[kept:], stats.norm.ppf(probability))
            case["limits"].append({"probability": probability, "t2": t2, "q": limit})
        yield case


def jackson_mudholkar(variances, deviate):
    if len(variances) == 0:
        return None
    one, two, three = (np.sum(variances**k) for k in (1, 2, 3))
    h = 1 - 2 * one * three / (3 * two**2)
    return one * (deviate * np.sqrt(2 * two * h**2) * np.sign(h) / one + 1 + two * h * (h - 1) / one**2) ** (1 / h)


def zscore():
    rng = np.random.default_rng(3)
    values = rng.normal(size=600)
    values[250:300] += 6
    values[450:] += np.linspace(0, 30, 150)
    values[[80, 81, 400]] = [9, -9, 7]
    values = rounded(values, 3)
    yield {"values": values, "baselines": [zscore_case(values, b) for b in [{"samples": 40}, {"half_life": 15.5}]]}


def zscore_case(values, baseline):
    import pandas
    from scipy import stats

    raise_, clear, clear_after = 4.0, 2.0, 3
    series = pandas.Series(values)
    if "samples" in baseline:
        equal = baseline["samples"]
        means, deviations = series.rolling(equal).mean(), series.rolling(equal).std()
    else:
        decay = 2 ** (-1 / baseline["half_life"])
        equal = (1 + decay) / (1 - decay)
        weighted = series.ewm(halflife=baseline["half_life"])
        means, deviations = weighted.mean(), weighted.std()
        means[: int(np.ceil(4.33 * baseline["half_life"])) - 1] = np.nan
    z = (series - means.shift(1)) / deviations.shift(1)
    limit = stats.t.isf(stats.norm.sf(raise_), int(equal - 1)) * np.sqrt(1 + 1 / equal)
    raised, near, alarms = False, 0, []
    for row, distance in enumerate(abs(z)):
        if raised:
            near = near + 1 if distance <= clear * limit / raise_ else 0
            raised = near < clear_after
        else:
            raised, near = distance > limit, 0
        if raised:
            alarms.append(row)
    rows = list(range(0, len(values), 5))
    zs = [None if np.isnan(z[row]) else float(z[row]) for row in rows]
    return {"baseline": baseline, "limit": limit, "alarms": alarms, "rows": rows, "z": zs}


def softmax():
    from scipy import special, stats

    rng = np.random.default_rng(8)
    for name, logits in [
        ("usual", rng.normal(scale=3, size=10)),
        ("two", rng.normal(size=2)),
        ("large", rng.normal(scale=30, size=50) + 1e4),
        ("flat", np.full(7, -3.25)),
        ("one", np.array([5.0])),
    ]:
        logits = np.array(rounded(logits))
        probabilities = special.softmax(logits)
        order = np.argsort(-probabilities, kind="stable")
        yield {
            "name": name,
            "logits": logits.tolist(),
            "probabilities": probabilities.tolist(),
            "entropy": stats.entropy(probabilities),
            "argmax": int(np.argmax(probabilities)),
            "top": order[:5].tolist(),
            "confidence": probabilities.max(),
            "margin": float(np.diff(np.sort(probabilities)[-2:])[0]) if len(logits) > 1 else None,
        }


def spectrum():
    rng = np.random.default_rng(21)
    values = np.array(rounded(rng.normal(size=64) + 2 + np.sin(np.arange(64))))
    yield {"values": values.tolist(), "options": [spectrum_case(values, *options) for options in [
        ("hann", 64, True), ("hann", 64, False), ("hamming", 64, True), ("hamming", 50, False), ("boxcar", 64, True),
        ("boxcar", 33, False),
    ]]}  # fmt: skip


def spectrum_case(values, function, weighted, remove_mean):
    from scipy import signal

    window = np.zeros(64)
    before = (64 - weighted) // 2
    window[before : before + weighted] = signal.get_window(function, weighted, fftbins=True)
    frame = (values - values.mean() * remove_mean) * window
    squared = np.abs(np.fft.rfft(frame)) ** 2
    shares = signal.periodogram(values, 1.0, window, detrend="constant" if remove_mean else False)[1] / 64
    options = {"function": function, "weighted": weighted, "remove_mean": remove_mean}
    return {**options, "squared": squared.tolist(), "mean_square": shares.tolist()}


def mel():
    import librosa

    variants = [(htk, norm) for htk in (False, True) for norm in ("slaney", None, 1, np.inf)]
    filters = []
    for htk, norm in variants:
        weights = librosa.filters.mel(
            sr=8000, n_fft=128, n_mels=10, fmin=100, fmax=3900, htk=htk, norm=norm, dtype=np.float64
        )
        named = "infinity" if norm is np.inf else str(norm)
        filters.append({"htk": htk, "norm": named, "weights": [sparse(row) for row in weights]})
    rng = np.random.default_rng(2)
    time = np.arange(512 + 2 * 160) / 16_000
    sound = np.array(rounded(np.sin(2 * np.pi * (300 + 9e4 * time) * time) + 0.1 * rng.normal(size=len(time))))
    settings = dict(sr=16_000, n_fft=512, hop_length=160, win_length=400, center=False, n_mels=40, dtype=np.float64)
    bands = librosa.feature.melspectrogram(y=sound, **settings, fmin=20, fmax=7600, htk=True)
    levels = librosa.power_to_db(bands[:, 0], ref=2.0, amin=1e-3, top_db=20.0)
    default = librosa.filters.mel(sr=22_050, n_fft=2048, dtype=np.float64) @ (1 / (1 + np.arange(1025)))
    yield {
        "filters": filters,
        "sound": sound.tolist(),
        "bands": bands.T.tolist(),
        "levels": levels.tolist(),
        "default": default.tolist(),
    }


def sparse(row):
    nonzero = np.flatnonzero(row)
    return {"first": int(nonzero[0]), "weights": row[nonzero[0] : nonzero[-1] + 1].tolist()}


def image():
    rng = np.random.default_rng(17)
    frame = rng.integers(0, 256, size=(7, 9, 3), dtype=np.uint8)
    mean, deviation = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    case = {"frame": frame.ravel().tolist(), "mean": mean, "deviation": deviation, "results": []}
    for height, width in [(7, 9), (3, 4), (14, 18), (5, 23), (1, 1)]:
        for method in ["nearest", "linear"]:
            resized = resize(frame, height, width, method)
            compare_with_onnx(frame, resized, method)
            scaled = (resized / np.float32(255) - np.array(mean, np.float32)) / np.array(deviation, np.float32)
            case["results"].append({
                "size": [height, width],
                "method": method,
                "nchw": shortest(scaled.transpose(2, 0, 1)),
                "nhwc_u8": np.floor(resized + np.float32(0.5)).astype(np.uint8).ravel().tolist(),
            })  # fmt: skip
    yield case


def resize(frame, height, width, method):
    """With half-pixel centres and in single precision: along the rows, then between them."""
    pixels = frame.astype(np.float32)
    (top, bottom, down), (left, right, across) = taps(frame.shape[0], height), taps(frame.shape[1], width)
    if method == "nearest":
        rows = (2 * np.arange(height) + 1) * frame.shape[0] // (2 * height)
        columns = (2 * np.arange(width) + 1) * frame.shape[1] // (2 * width)
        return pixels[rows][:, columns]
    across, down = across[None, :, None], down[:, None, None]
    along = pixels[:, left] + (pixels[:, right] - pixels[:, left]) * across
    return along[top] + (along[bottom] - along[top]) * down


def taps(source, target):
    distance = np.maximum((2 * np.arange(target) + 1) * source - target, 0)
    first = distance // (2 * target)
    weight = (distance % (2 * target)).astype(np.float32) / np.float32(2 * target)
    return first, np.minimum(first + 1, source - 1), weight


def compare_with_onnx(frame, resized, method):
    import onnxruntime
    from onnx import TensorProto, helper

    attributes = {"mode": method, "coordinate_transformation_mode": "half_pixel"}
    if method == "nearest":
        attributes["nearest_mode"] = "round_prefer_ceil"
    sizes = [1, 3, *resized.shape[:2]]
    node = helper.make_node("Resize", ["x", "", "", "sizes"], ["y"], **attributes)
    graph = helper.make_graph(
        [node],
        "resize",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, *frame.shape[:2]])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, sizes)],
        [helper.make_tensor("sizes", TensorProto.INT64, [4], sizes)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    theirs = session.run(None, {"x": frame.transpose(2, 0, 1)[None].astype(np.float32)})[0][0].transpose(1, 2, 0)
    # It rounds positions to single precision, of which a step from pixel to pixel has 255 times.
    difference = np.abs(theirs - resized).max()
    assert difference <= (0 if method == "nearest" else 2e-4), (method, resized.shape, difference)


def shortest(values):
    return [float(str(np.float32(value))) for value in values.ravel()]


SECTIONS = {
    section.__name__: section
    for section in [f_distribution, image, mel, pca, rolling, softmax, spectrum, zscore]
}


def same(recorded, made, where):
    """Where they differ, or nothing."""
    if isinstance(made, dict):
        if sorted(recorded) != sorted(made):
            return f"{where}: other names"
        return next(filter(None, (same(recorded[name], made[name], f"{where}.{name}") for name in made)), None)
    if isinstance(made, list):
        if len(recorded) != len(made):
            return f"{where}: {len(made)} elements and not {len(recorded)}"
        return next(filter(None, (same(a, b, f"{where}[{i}]") for i, (a, b) in enumerate(zip(recorded, made)))), None)
    if isinstance(made, float) and recorded is not None:
        # Numbers of these cases are around 1 or larger; below that a difference is rounding.
        close = abs(recorded - made) <= TOLERANCE * max(abs(recorded), 1e-3)
        return None if close else f"{where}: {made} and not {recorded}"
    return None if recorded == made else f"{where}: {made} and not {recorded}"


def main(arguments):
    names = [argument for argument in arguments if argument != "--check"] or list(SECTIONS)
    unknown = sorted(set(names) - set(SECTIONS))
    if unknown:
        sys.exit(f"no section {', '.join(unknown)}: there are {', '.join(SECTIONS)}")
    recorded = json.loads(PATH.read_text()) if PATH.exists() else {}
    made = {name: json.loads(json.dumps(list(SECTIONS[name]()), allow_nan=False)) for name in names}
    if "--check" not in arguments:
        PATH.write_text(json.dumps({**recorded, **made}, sort_keys=True) + "\n")
        return
    differences = [same(recorded[name], made[name], name) for name in names]
    if any(differences):
        sys.exit("\n".join(filter(None, differences)))
    print(f"the same: {', '.join(names)}")


if __name__ == "__main__":
    main(sys.argv[1:])
