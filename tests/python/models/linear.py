"""Scalers and other preparation before linear models and small neural networks, of scikit-learn."""

from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.feature_selection import SelectKBest, f_regression
from sklearn.impute import SimpleImputer
from sklearn.linear_model import Lasso, LinearRegression, LogisticRegression, Ridge, SGDClassifier, SGDRegressor
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import (
    KBinsDiscretizer,
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    OneHotEncoder,
    PolynomialFeatures,
    RobustScaler,
    StandardScaler,
)

import data
from export import classifier, column_classifier, pipeline, regressor

NUMBERS, STRINGS = ["temperature", "pressure"], ["place", "kind"]


@pipeline("standard-scaler-logistic-regression-zipmap")
def _():
    return classifier(make_pipeline(StandardScaler(), LogisticRegression()), zipmap=True)


@pipeline("min-max-scaler-logistic-regression-string-labels")
def _():
    return classifier(make_pipeline(MinMaxScaler(), LogisticRegression(max_iter=500)), classes=4, labels=data.names)


@pipeline("max-abs-scaler-logistic-regression-string-labels-zipmap")
def _():
    estimator = make_pipeline(MaxAbsScaler(), LogisticRegression(max_iter=500))
    return classifier(estimator, classes=3, labels=data.names, zipmap=True)


@pipeline("robust-scaler-sgd-classifier")
def _():
    return classifier(make_pipeline(RobustScaler(), SGDClassifier(loss="log_loss", random_state=1)))


@pipeline("pca-logistic-regression")
def _():
    return classifier(make_pipeline(StandardScaler(), PCA(5), LogisticRegression()), classes=3)


@pipeline("k-bins-discretizer-logistic-regression")
def _():
    bins = KBinsDiscretizer(n_bins=6, encode="onehot-dense", quantile_method="averaged_inverted_cdf")
    return classifier(make_pipeline(bins, LogisticRegression(max_iter=500)))


@pipeline("column-transformer-one-hot-logistic-regression")
def _():
    numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    strings = OneHotEncoder(handle_unknown="ignore")
    columns = ColumnTransformer([("numbers", numbers, NUMBERS), ("strings", strings, STRINGS)])
    return column_classifier(make_pipeline(columns, LogisticRegression()))


@pipeline("polynomial-features-linear-regression-multi-output")
def _():
    return regressor(make_pipeline(PolynomialFeatures(2), LinearRegression()), targets=3)


@pipeline("normalizer-select-k-best-ridge")
def _():
    return regressor(make_pipeline(SelectKBest(f_regression, k=5), Normalizer(), Ridge()))


@pipeline("simple-imputer-lasso")
def _():
    return regressor(make_pipeline(SimpleImputer(), StandardScaler(), Lasso(0.01)), missing=0.05)


@pipeline("feature-union-sgd-regressor")
def _():
    features = FeatureUnion([("pca", PCA(3)), ("best", SelectKBest(f_regression, k=4))])
    return regressor(make_pipeline(StandardScaler(), features, SGDRegressor(random_state=1)))


@pipeline("mlp-classifier")
def _():
    network = MLPClassifier(hidden_layer_sizes=(32, 16), max_iter=60, random_state=1)
    return classifier(make_pipeline(StandardScaler(), network), classes=3)


@pipeline("mlp-regressor")
def _():
    network = MLPRegressor(hidden_layer_sizes=(32, 16), activation="tanh", max_iter=60, random_state=1)
    return regressor(make_pipeline(StandardScaler(), network))
