"""From a trained pipeline to a case: what the files of pipelines share."""

from typing import NamedTuple

import numpy as np
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType, StringTensorType

import data

# A pipeline's name -> the function that trains and exports it.
PIPELINES = {}


class Exported(NamedTuple):
    """A model, rows for it, and what the library that trained it foretells of them."""

    model: bytes
    inputs: dict
    foretold: np.ndarray


def pipeline(name):
    """Registers a function that gives an `Exported`."""

    def register(function):
        assert name not in PIPELINES, name
        PIPELINES[name] = function
        return function

    return register


def classifier(estimator, zipmap=False, **of_data):
    """Trains a classifier on seeded numbers, and exports it with skl2onnx."""
    labels = of_data.pop("labels", lambda classes: classes)
    rows, classes, asked = data.classification(**of_data)
    estimator.fit(rows, labels(classes))
    # ZipMap is what skl2onnx adds where nothing is said.
    return exported(estimator, asked, None if zipmap else {id(estimator): {"zipmap": False}})


def regressor(estimator, **of_data):
    """Trains a regressor on seeded numbers, and exports it with skl2onnx."""
    rows, truth, asked = data.regression(**of_data)
    return exported(estimator.fit(rows, truth), asked)


def exported(estimator, asked, options=None, opset=None):
    """A trained estimator as skl2onnx exports it, to be asked about rows of numbers."""
    types = [("features", FloatTensorType([None, asked.shape[1]]))]
    model = to_onnx(estimator, initial_types=types, options=options, target_opset=opset)
    return Exported(model.SerializeToString(), {"features": asked}, estimator.predict(asked))


def column_classifier(estimator):
    """Trains on columns by name, of numbers and of strings, and exports with an input for each."""
    import pandas

    train, classes, asked = data.mixed()
    frame = lambda columns: pandas.DataFrame({name: column[:, 0] for name, column in columns.items()})
    estimator.fit(frame(train), classes)
    kind = lambda column: StringTensorType if column.dtype == object else FloatTensorType
    types = [(name, kind(column)([None, 1])) for name, column in train.items()]
    model = to_onnx(estimator, initial_types=types, options={id(estimator): {"zipmap": False}})
    return Exported(model.SerializeToString(), asked, estimator.predict(frame(asked)))
