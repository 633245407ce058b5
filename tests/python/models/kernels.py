"""Support vectors, neighbours and naive Bayes, of scikit-learn."""

from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, SVR, LinearSVC, OneClassSVM

import data
from export import classifier, exported, pipeline, regressor


@pipeline("svc-rbf-binary")
def _():
    return classifier(make_pipeline(StandardScaler(), SVC()), rows=400)


@pipeline("svc-rbf-probability-string-labels")
def _():
    return classifier(SVC(probability=True, random_state=1), classes=3, labels=data.names, rows=400)


@pipeline("svc-polynomial-multiclass")
def _():
    return classifier(make_pipeline(StandardScaler(), SVC(kernel="poly", degree=3, coef0=1.0)), classes=4, rows=400)


@pipeline("linear-svc")
def _():
    rows, classes, asked = data.classification(classes=3)
    machine = LinearSVC(random_state=1)
    estimator = make_pipeline(StandardScaler(), machine).fit(rows, classes)
    # It has no probabilities and doesn't know ZipMap, which skl2onnx takes for granted in a pipeline without options.
    return exported(estimator, asked, {id(machine): {"raw_scores": True}})


@pipeline("svr-rbf")
def _():
    return regressor(make_pipeline(StandardScaler(), SVR(C=5.0)), rows=400)


@pipeline("one-class-svm")
def _():
    rows, _classes, asked = data.classification(rows=400)
    return exported(make_pipeline(StandardScaler(), OneClassSVM(nu=0.05)).fit(rows), asked)


@pipeline("k-neighbors-classifier")
def _():
    return classifier(make_pipeline(StandardScaler(), KNeighborsClassifier(5)), classes=3, rows=300)


@pipeline("k-neighbors-regressor")
def _():
    # With `weights="distance"` skl2onnx exports a model that weighs neighbours alike.
    return regressor(make_pipeline(StandardScaler(), KNeighborsRegressor(5)), rows=300)


@pipeline("gaussian-nb")
def _():
    return classifier(GaussianNB(), classes=3)
