"""Records what ONNX Runtime answers for the operators of ai.onnx.ml, one small model for each case.

    python crates/inference/tests/oracle_ml_operators.py

The same seed gives the same file, ml_operators.json; with `--check` it is compared with the one that is there. What ONNX
Runtime can't run is no case: the tests of what is refused are written by hand.
"""

import itertools

import numpy as np
from onnx import TensorProto, helper

from recorder import F32, F64, I32, I64, INF, NAN, TRANSFORMS, finish, node, record

TYPES = {"float": F32, "double": F64, "int64": I64, "int32": I32}

random = np.random.default_rng(20261122)

def one(name, operator, x, ml=1, batch=False, outputs=("y",), **attributes):
    record(name, [node(operator, ["x"], list(outputs), **attributes)], {"x": x}, list(outputs), ml, batch)


def numbers(shape, dtype):
    values = random.normal(0, 3, shape)
    return np.round(values).astype(dtype) if np.issubdtype(dtype, np.integer) else values.astype(dtype)


def floats(count, scale=1.0):
    return [float(F32(x)) for x in random.normal(0, scale, count)]


def scaler():
    for kind, dtype in TYPES.items():
        for shape in [(4,), (3, 4)]:
            one(f"scaler {kind} {shape}", "Scaler", numbers(shape, dtype), scale=floats(4), offset=floats(4))
            one(f"scaler {kind} {shape} one", "Scaler", numbers(shape, dtype), scale=[2.5], offset=[0.5])
    odd = np.array([[NAN, INF, -INF, 1e38]], F32)
    one("scaler special", "Scaler", odd, scale=[1.0, 2.0, 3.0, 10.0], offset=[1.0, 2.0, 3.0, -3e38])
    one("scaler batch", "Scaler", numbers((5, 2), F32), batch=True, scale=floats(2), offset=floats(2))


def imputer():
    holes = np.array([[NAN, 1, 2], [0, NAN, NAN], [-0.0, 5, INF]], F32)
    for values in [[7.0], [7.0, 8.0, 9.0]]:
        for missing in [NAN, 0.0, None, INF]:
            attributes = {"imputed_value_floats": values, "replaced_value_float": missing}
            one(f"imputer {missing} {values}", "Imputer", holes, **attributes)
            one(f"imputer {missing} {values} 1-D", "Imputer", holes[0], **attributes)
        ints = [int(x) for x in values]
        for missing in [1, None]:
            x = np.array([[0, 1, 2], [1, 1, 0]], I64)
            one(f"imputer int64 {missing} {ints}", "Imputer", x, imputed_value_int64s=ints, replaced_value_int64=missing)


def normalizer():
    for norm, (kind, dtype) in itertools.product(["MAX", "L1", "L2", None], TYPES.items()):
        for shape in [(4,), (3, 4)]:
            one(f"normalizer {norm} {kind} {shape}", "Normalizer", numbers(shape, dtype), norm=norm)
    for norm in ["MAX", "L1", "L2"]:
        odd = np.array([[0, 0, 0], [-4, -2, -1], [NAN, 1, 2], [1, INF, 2], [1e-30, 0, 0], [-0.0, 3, -3]], F32)
        one(f"normalizer {norm} special", "Normalizer", odd, norm=norm)
        one(f"normalizer {norm} batch", "Normalizer", numbers((2, 3), F32), batch=True, norm=norm)


def binarizer():
    x = np.array([[0.5, 1.0, 1.5], [-0.0, INF, -INF]], F32)
    for threshold in [None, 1.0, -0.5]:
        one(f"binarizer {threshold}", "Binarizer", x, threshold=threshold)
    one("binarizer 3-D", "Binarizer", numbers((2, 2, 2), F32), threshold=0.1)


def one_hot_encoder():
    for kind in ["float", "double", "int64"]:
        for shape in [(4,), (3, 2), (4, 1)]:
            x = random.integers(-1, 5, shape).astype(TYPES[kind])
            for zeros in [None, 1]:
                one(f"one hot {kind} {shape} {zeros}", "OneHotEncoder", x, cats_int64s=[3, 0, 1], zeros=zeros)
    one("one hot cut", "OneHotEncoder", np.array([2.9, -0.5, NAN, INF, -INF, 1e30], F32), cats_int64s=[2, 0])
    one("one hot twins", "OneHotEncoder", np.array([2, 3], I64), cats_int64s=[2, 3, 2])
    one("one hot known", "OneHotEncoder", np.array([2, 3], I64), cats_int64s=[2, 3], zeros=0)
    names = np.array([["ä", "b"], ["", "other"]], object)
    one("one hot strings", "OneHotEncoder", names, cats_strings=["b", "ä", ""])
    one("one hot strings 1-D", "OneHotEncoder", names[0], cats_strings=["b", "ä", ""])


def attribute_tensor(values, dtype):
    kind = TensorProto.STRING if dtype is str else helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    return helper.make_tensor("t", kind, [len(values)], values)


def label_encoder():
    strings = np.array([["a", "b"], ["ü", ""]], object)
    one("label encoder 1 to int", "LabelEncoder", strings, ml=1, classes_strings=["ü", "a", "", "a"])
    one("label encoder 1 default", "LabelEncoder", strings, ml=1, classes_strings=["x"], default_int64=9)
    x = np.array([0, 2, 5, -1], I64)
    one("label encoder 1 to string", "LabelEncoder", x, ml=1, classes_strings=["p", "q", "r"])
    one("label encoder 1 to string default", "LabelEncoder", x, ml=1, classes_strings=["p"], default_string="?")
    keys = {"int64s": [1, 2, 1], "floats": [0.0, NAN, 2.5], "strings": ["a", "ü", "a"]}
    values = {"int64s": [7, 8, 9], "floats": [0.5, -1.5, NAN], "strings": ["u", "v", "w"]}
    given = {
        "int64s": np.array([[1, 2], [3, 0]], I64),
        "floats": np.array([0.0, -0.0, NAN, 2.5, 2.500001], F32),
        "strings": strings,
    }
    defaults = {"default_int64": 42, "default_float": 4.25, "default_string": "none"}
    for ml, key, value in itertools.product([2, 4], keys, values):
        if ml == 2 and key == value:
            continue  # ONNX Runtime has these since version 4
        attributes = {f"keys_{key}": keys[key], f"values_{value}": values[value]}
        one(f"label encoder {ml} {key} {value}", "LabelEncoder", given[key], ml=ml, **attributes)
        one(f"label encoder {ml} {key} {value} defaults", "LabelEncoder", given[key], ml=ml, **attributes, **defaults)
    label_encoder_tensors()


def label_encoder_tensors():
    tables = [
        ("double to double", F64, [0.1, NAN, 2.0], F64, [1.1, 2.2, 3.3], np.array([0.1, NAN, 3.0]), [9.5]),
        ("double to string", F64, [0.1, NAN], str, ["x", "y"], np.array([0.1, NAN, 3.0]), ["z"]),
        ("string to double", str, ["x", "y"], F64, [0.1, 0.2], np.array(["y", "x", "w"], object), [-1.5]),
        ("double to int64", F64, [0.1, NAN], I64, [5, 6], np.array([0.1, NAN, 3.0]), [7]),
        ("int64 to double", I64, [5, 6], F64, [0.1, 0.2], np.array([5, 6, 7], I64), [0.3]),
        ("string to int16", str, ["x", "y"], np.int16, [3, -4], np.array(["y", "x", "w"], object), [11]),
        ("int64 to int64", I64, [5, 6], I64, [1, 2], np.array([5, 6, 7], I64), [3]),
        ("float to float", F32, [0.5, NAN], F32, [1, 2], np.array([0.5, NAN, 7], F32), [3]),
        ("string to string", str, ["x", "y"], str, ["X", "Y"], np.array(["y", "x", "w"], object), ["?"]),
    ]
    for name, key_type, keys, value_type, values, x, default in tables:
        one(
            f"label encoder 4 tensors {name}",
            "LabelEncoder",
            x,
            ml=4,
            keys_tensor=attribute_tensor(keys, key_type),
            values_tensor=attribute_tensor(values, value_type),
            default_tensor=attribute_tensor(default, value_type),
        )


def category_mapper():
    attributes = {"cats_strings": ["b", "ü", "b"], "cats_int64s": [5, 6, 7]}
    one("category mapper to int", "CategoryMapper", np.array([["b", "ü"], ["x", ""]], object), **attributes)
    one("category mapper to string", "CategoryMapper", np.array([5, 6, 7, 8], I64), **attributes)
    other = {**attributes, "default_int64": 99, "default_string": "?"}
    one("category mapper int default", "CategoryMapper", np.array(["b", "x"], object), **other)
    one("category mapper string default", "CategoryMapper", np.array([5, 8], I64), **other)


def array_feature_extractor():
    pick = [node("ArrayFeatureExtractor", ["x", "i"], ["y"])]
    for kind, dtype in TYPES.items():
        for shape in [(4,), (3, 4), (2, 3, 4)]:
            feed = {"x": numbers(shape, dtype), "i": np.array([3, 0, 0], I64)}
            record(f"extractor {kind} {shape}", pick, feed, ["y"])
    names = np.array([["a", "b"], ["c", ""]], object)
    for shape in [(1,), (1, 1), (2, 1)]:
        index = np.ones(shape, I64)
        record(f"extractor string {shape}", pick, {"x": names, "i": index}, ["y"])
        record(f"extractor string 1-D {shape}", pick, {"x": names[0], "i": index}, ["y"])


def feature_vectorizer():
    for kind, dtype in TYPES.items():
        feed = {"a": numbers((3, 2), dtype), "b": numbers((3, 4), dtype)}
        for widths in [[2, 4], [1, 2], [3, 5]]:
            sides = [node("FeatureVectorizer", ["a", "b"], ["y"], inputdimensions=widths)]
            record(f"vectorizer {kind} {widths}", sides, feed, ["y"])
    feed = {"a": numbers((2,), F32), "b": numbers((1, 3), F32)}
    record("vectorizer 1-D", [node("FeatureVectorizer", ["a", "b"], ["y"], inputdimensions=[2, 3])], feed, ["y"])


def zip_map():
    one("zip map ints", "ZipMap", numbers((3, 2), F32), classlabels_int64s=[4, 9])
    one("zip map strings", "ZipMap", numbers((3, 2), F32), classlabels_strings=["a", "b"])


def labels(count, strings):
    if strings:
        return {"classlabels_strings": [chr(97 + i) for i in range(count)]}
    return {"classlabels_ints": [int(x) for x in random.permutation(20)[:count]]}


def linear_classifier():
    outputs = ("label", "score")
    for transform, classes, strings in itertools.product(TRANSFORMS, [2, 3, 6], [False, True]):
        for scores in {1, 2} if classes == 2 else {classes}:
            if scores == 1 and transform == "PROBIT":
                continue  # it leaves the second score undefined
            # The probit has values between 0 and 1 only.
            scale = 0.05 if transform == "PROBIT" else 1.0
            offset = 0.5 if transform == "PROBIT" else 0.0
            attributes = {
                "coefficients": floats(scores * 4, scale),
                "intercepts": [x + offset for x in floats(scores, scale)],
                "post_transform": transform,
                "multi_class": int(random.integers(0, 2)),
                **labels(classes, strings),
            }
            name = f"linear classifier {transform} {scores} of {classes} {strings}"
            one(name, "LinearClassifier", numbers((6, 4), F32), outputs=outputs, **attributes)
    base = {"coefficients": floats(12), "intercepts": floats(3), "post_transform": "SOFTMAX"}
    for kind, dtype in TYPES.items():
        for shape in [(4,), (3, 4)]:
            x = numbers(shape, dtype)
            one(f"linear classifier {kind} {shape}", "LinearClassifier", x, outputs=outputs, **base, **labels(3, False))
    odd = np.array([[NAN, 0, 0, 0], [INF, 1, 1, 1], [0, 0, 0, 0], [3e38, 3e38, 1, 1]], F32)
    for transform in TRANSFORMS[:4]:
        attributes = {**base, "post_transform": transform, **labels(3, False)}
        one(f"linear classifier special {transform}", "LinearClassifier", odd, outputs=outputs, **attributes)
    ties = {"coefficients": [0.0] * 12, "intercepts": [0.0, 1.0, 1.0], **labels(3, False)}
    one("linear classifier ties", "LinearClassifier", numbers((2, 4), F32), outputs=outputs, **ties)
    flat = {"coefficients": [1.0], "intercepts": [0.0], **labels(2, False)}
    one("linear classifier at zero", "LinearClassifier", np.array([[0], [NAN], [1], [-1]], F32), outputs=outputs, **flat)
    x = numbers((5, 4), F32)
    one("linear classifier batch", "LinearClassifier", x, batch=True, outputs=outputs, **base, **labels(3, True))
    zipped = [
        node("LinearClassifier", ["x"], ["label", "p"], **base, classlabels_strings=["u", "v", "w"]),
        node("ZipMap", ["p"], ["z"], classlabels_strings=["u", "v", "w"]),
    ]
    record("linear classifier zip map", zipped, {"x": x}, ["label", "z"], batch=True)
    alone = [node("LinearClassifier", ["x"], ["label", "p"], **base, classlabels_ints=[1, 2, 3])]
    record("linear classifier scores alone", alone, {"x": x}, ["p"])


def linear_regressor():
    for transform, targets in itertools.product(TRANSFORMS, [1, 3]):
        scale, offset = (0.05, 0.5) if transform == "PROBIT" else (1.0, 0.0)
        attributes = {"coefficients": floats(targets * 4, scale), "targets": targets, "post_transform": transform}
        added = [x + offset for x in floats(targets, scale)]
        x = numbers((4, 4), F32)
        one(f"linear regressor {transform} {targets}", "LinearRegressor", x, intercepts=added, **attributes)
        if transform == "NONE":
            one(f"linear regressor bare {targets}", "LinearRegressor", x, **attributes)
            one(f"linear regressor 1-D {targets}", "LinearRegressor", x[0], intercepts=added, **attributes)
    wide = floats(37)
    one("linear regressor wide", "LinearRegressor", numbers((3, 37), F32), coefficients=wide, intercepts=[0.5])


KERNELS = {"LINEAR": [0, 0, 0], "POLY": [0.3, 0.7, 3], "RBF": [0.2, 0, 0], "SIGMOID": [0.1, -0.4, 0]}


def svm_attributes(classes, kernel, counts, features, params=None):
    total = sum(counts)
    return {
        "kernel_type": kernel,
        "kernel_params": [float(x) for x in params or KERNELS[kernel]],
        "support_vectors": floats(total * features),
        "vectors_per_class": counts,
        "coefficients": floats((classes - 1) * total),
        "rho": floats(classes * (classes - 1) // 2, 0.2),
    }


def svm_classifier():
    outputs = ("label", "score")
    counts = {2: [3, 2], 3: [2, 3, 1], 4: [2, 1, 1, 3]}
    for kernel, classes, sure in itertools.product(KERNELS, counts, [False, True]):
        attributes = svm_attributes(classes, kernel, counts[classes], 3)
        pairs = len(attributes["rho"])
        if sure:
            attributes |= {"prob_a": [-abs(x) for x in floats(pairs)], "prob_b": floats(pairs, 0.1)}
        attributes |= labels(classes, strings=classes == 3)
        name = f"svm classifier {kernel} {classes} {sure}"
        one(name, "SVMClassifier", numbers((5, 3), F32), outputs=outputs, **attributes)
    for transform, classes, sure in itertools.product(TRANSFORMS, counts, [False, True]):
        if transform == "PROBIT" and not sure:
            continue  # undefined for two classes, and without meaning for more
        attributes = svm_attributes(classes, "RBF", counts[classes], 3)
        pairs = len(attributes["rho"])
        if sure:
            attributes |= {"prob_a": [-abs(x) for x in floats(pairs)], "prob_b": floats(pairs, 0.1)}
        attributes |= {"post_transform": transform, **labels(classes, False)}
        name = f"svm classifier {transform} {classes} {sure}"
        one(name, "SVMClassifier", numbers((5, 3), F32), outputs=outputs, **attributes)
    for kind, dtype in TYPES.items():
        attributes = svm_attributes(3, "POLY", [2, 1, 2], 3, [0.1, 1, 2]) | labels(3, False)
        for shape in [(3,), (2, 3)]:
            one(f"svm classifier {kind} {shape}", "SVMClassifier", numbers(shape, dtype), outputs=outputs, **attributes)
    attributes = svm_attributes(2, "RBF", [4, 3], 19) | labels(2, True)
    one("svm classifier batch", "SVMClassifier", numbers((4, 19), F32), batch=True, outputs=outputs, **attributes)
    odd = np.array([[NAN, 0, 0], [INF, 1, 1], [-INF, 0, INF], [1e30, 1e30, 1]], F32)
    for kernel, sure in itertools.product(KERNELS, [False, True]):
        attributes = svm_attributes(3, kernel, [2, 1, 2], 3) | labels(3, False)
        if sure:
            attributes |= {"prob_a": [-1.0, -2.0, -0.5], "prob_b": [0.1, 0.0, -0.1]}
        one(f"svm classifier special {kernel} {sure}", "SVMClassifier", odd, outputs=outputs, **attributes)
    svm_rows(outputs)


def svm_rows(outputs):
    """Without support vectors: liblinear's rows."""
    for transform, classes, sign in itertools.product(TRANSFORMS[:4], [2, 3], [False, True]):
        weights = [abs(x) if sign else x for x in floats(classes * 3)]
        attributes = {"coefficients": weights, "rho": [0.1], "kernel_params": [0.0, 0.0, 0.0]}
        attributes |= {"post_transform": transform, **labels(classes, False)}
        name = f"svm classifier rows {transform} {classes} {sign}"
        one(name, "SVMClassifier", numbers((6, 3), F32), outputs=outputs, **attributes)


def svm_regressor():
    odd = np.array([[NAN, 0, 0], [INF, 1, 1], [-INF, 0, INF], [1e30, 1e30, 1]], F32)
    for kernel, one_class in itertools.product(KERNELS, [None, 0, 1]):
        attributes = {
            "kernel_type": kernel,
            "kernel_params": [float(x) for x in KERNELS[kernel]],
            "support_vectors": floats(4 * 3),
            "n_supports": 4,
            "coefficients": floats(4),
            "rho": floats(1),
            "one_class": one_class,
        }
        one(f"svm regressor {kernel} {one_class}", "SVMRegressor", numbers((5, 3), F32), **attributes)
        one(f"svm regressor {kernel} {one_class} 1-D", "SVMRegressor", numbers((3,), F32), **attributes)
        one(f"svm regressor {kernel} {one_class} special", "SVMRegressor", odd, **attributes)
    rows = {"coefficients": floats(3), "rho": [0.25], "kernel_params": [0.0, 0.0, 0.0], "n_supports": 0}
    one("svm regressor rows", "SVMRegressor", numbers((5, 3), F32), **rows)


def plain(operator, inputs, outputs, **attributes):
    return helper.make_node(operator, inputs, outputs, **attributes)


def casts():
    written = {
        "float": np.array([0, -0.0, -1.5, 0.1, 1 / 3, 1e-5, 123456789, 1e20, 1e-40, NAN, INF, -INF], F32),
        "double": np.array([0, 0.1, 1 / 3, 1e-300, 99999999.9, 1e17]),
        "float16": np.array([0.1, 1.5, 65504], np.float16),
        "bool": np.array([True, False]),
        "int64": np.array([0, -(2**63), 2**63 - 1], I64),
        "uint8": np.array([0, 255], np.uint8),
    }
    for kind, x in written.items():
        record(f"cast {kind} to string", [plain("Cast", ["x"], ["y"], to=TensorProto.STRING)], {"x": x}, ["y"])
    texts = np.array([["1", " 2 ", "-3"], ["+4", "5.9", "-0"]], object)
    for to in ["FLOAT", "DOUBLE", "INT64", "INT32", "INT8", "BOOL", "STRING"]:
        nodes = [plain("Cast", ["x"], ["y"], to=getattr(TensorProto, to))]
        record(f"cast string to {to}", nodes, {"x": texts}, ["y"])
    special = np.array(["1e3", "NaN", "INF", "-INF", "0.1", ".5"], object)
    record("cast special", [plain("Cast", ["x"], ["y"], to=TensorProto.FLOAT)], {"x": special}, ["y"])
    large = np.array([2.0**31, -(2.0**40), 1.9], F32)
    record("cast large to int64", [plain("Cast", ["x"], ["y"], to=TensorProto.INT64)], {"x": large}, ["y"])
    like = [plain("CastLike", ["x", "o"], ["y"])]
    record("cast like string", like, {"x": written["float"], "o": texts}, ["y"])
    record("cast string like int64", like, {"x": texts, "o": np.array([1], I64)}, ["y"])
    record("cast large like int64", like, {"x": large, "o": np.array([1], I64)}, ["y"])
    large = np.array([2**31, -(2**62), 5], I64)
    record("cast int64 to int64", [plain("Cast", ["x"], ["y"], to=TensorProto.INT64)], {"x": large}, ["y"])


def strings():
    """What exporters do with labels on their way out."""
    names = np.array([["a", "b", "c"], ["d", "ü", ""]], object)
    other = np.array([["A", "B", "C"], ["D", "E", "F"]], object)
    size = helper.make_tensor("s", TensorProto.INT64, [1], [-1])
    chosen = np.array([[True, False, True], [False, True, False]])

    def constant(name, proto):
        return plain("Constant", [], [name], value=proto)

    record("strings identity", [plain("Identity", ["x"], ["y"])], {"x": names}, ["y"])
    record("strings reshape", [constant("s", size), plain("Reshape", ["x", "s"], ["y"])], {"x": names}, ["y"])
    record("strings concat", [plain("Concat", ["x", "o"], ["y"], axis=1)], {"x": names, "o": other}, ["y"])
    feed = {"c": chosen, "x": names, "o": other}
    record("strings where", [plain("Where", ["c", "x", "o"], ["y"])], feed, ["y"])
    # Along the first axis ONNX Runtime 1.31.1 gathers the first string of each row only.
    feed = {"x": names, "i": np.array([1, 1, 0], I64)}
    record("strings gather", [plain("Gather", ["x", "i"], ["y"], axis=1)], feed, ["y"])
    record("strings transpose", [plain("Transpose", ["x"], ["y"], perm=[1, 0])], {"x": names}, ["y"])
    record("strings flatten", [plain("Flatten", ["x"], ["y"], axis=0)], {"x": names}, ["y"])
    axes = helper.make_tensor("a", TensorProto.INT64, [1], [0])
    nodes = [constant("a", axes), plain("Unsqueeze", ["x", "a"], ["u"]), plain("Squeeze", ["u", "a"], ["y"])]
    record("strings squeeze", nodes, {"x": names}, ["y"])
    picked = [
        plain("Constant", [], ["classes"], value=helper.make_tensor("k", TensorProto.STRING, [3], [b"p", b"q", b"r"])),
        plain("ArgMax", ["x"], ["i"], axis=1, keepdims=0),
        node("ArrayFeatureExtractor", ["classes", "i"], ["l"]),
        constant("s", size),
        plain("Reshape", ["l", "s"], ["label"]),
    ]
    record("strings label", picked, {"x": numbers((4, 3), F32)}, ["label"])


def main():
    for group in [
        scaler,
        imputer,
        normalizer,
        binarizer,
        one_hot_encoder,
        label_encoder,
        category_mapper,
        array_feature_extractor,
        feature_vectorizer,
        zip_map,
        linear_classifier,
        linear_regressor,
        svm_classifier,
        svm_regressor,
        casts,
        strings,
    ]:
        group()
    finish(__file__)


if __name__ == "__main__":
    main()
