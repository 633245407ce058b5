"""XGBoost and LightGBM, exported with onnxmltools."""

from lightgbm import LGBMClassifier, LGBMRegressor
from onnxmltools import convert_lightgbm, convert_xgboost
from onnxmltools.convert.common.data_types import FloatTensorType
from xgboost import XGBClassifier, XGBRegressor

import data
from export import Exported, pipeline

XGBOOST = {"n_estimators": 200, "max_depth": 5, "n_jobs": 1, "random_state": 1}
LIGHTGBM = {"n_estimators": 200, "num_leaves": 31, "n_jobs": 1, "random_state": 1, "verbose": -1}
INPUTS = [("features", FloatTensorType([None, data.FEATURES]))]


def _xgboost(estimator, rows, truth, asked):
    model = convert_xgboost(estimator.fit(rows, truth), initial_types=INPUTS)
    return Exported(model.SerializeToString(), {"features": asked}, estimator.predict(asked))


def _lightgbm(estimator, rows, truth, asked, **options):
    model = convert_lightgbm(estimator.fit(rows, truth), initial_types=INPUTS, **options)
    return Exported(model.SerializeToString(), {"features": asked}, estimator.predict(asked))


@pipeline("xgb-classifier-binary")
def _():
    return _xgboost(XGBClassifier(**XGBOOST), *data.classification())


@pipeline("xgb-classifier-multiclass")
def _():
    return _xgboost(XGBClassifier(**XGBOOST | {"n_estimators": 100}), *data.classification(classes=4))


@pipeline("xgb-regressor-missing-values")
def _():
    return _xgboost(XGBRegressor(**XGBOOST), *data.regression(missing=0.05))


@pipeline("lgbm-classifier-binary-zipmap")
def _():
    return _lightgbm(LGBMClassifier(**LIGHTGBM), *data.classification())


@pipeline("lgbm-classifier-multiclass-string-labels")
def _():
    rows, classes, asked = data.classification(classes=4)
    estimator = LGBMClassifier(**LIGHTGBM | {"n_estimators": 100})
    return _lightgbm(estimator, rows, data.names(classes), asked, zipmap=False)


@pipeline("lgbm-classifier-missing-values")
def _():
    return _lightgbm(LGBMClassifier(**LIGHTGBM), *data.classification(missing=0.05), zipmap=False)


@pipeline("lgbm-regressor")
def _():
    return _lightgbm(LGBMRegressor(**LIGHTGBM | {"n_estimators": 300}), *data.regression())
