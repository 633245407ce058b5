"""Clusters and outliers, of scikit-learn."""

from sklearn.cluster import KMeans
from sklearn.ensemble import IsolationForest
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import LocalOutlierFactor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import data
from export import exported, pipeline


def _fitted(estimator, rows=1_500, opset=None):
    rows, _classes, asked = data.classification(classes=4, rows=rows)
    return exported(estimator.fit(rows), asked, opset=opset)


@pipeline("k-means")
def _():
    return _fitted(make_pipeline(StandardScaler(), KMeans(5, random_state=1, n_init=3)))


@pipeline("gaussian-mixture")
def _():
    return _fitted(GaussianMixture(3, reg_covar=1e-3, random_state=1))


@pipeline("isolation-forest")
def _():
    # With its usual 100 trees skl2onnx takes a minute.
    return _fitted(IsolationForest(n_estimators=25, random_state=1), opset={"": 18, "ai.onnx.ml": 3})


@pipeline("local-outlier-factor")
def _():
    return _fitted(LocalOutlierFactor(10, novelty=True), rows=300)
