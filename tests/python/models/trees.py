"""Trees, and ensembles of them and of others, of scikit-learn."""

from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder, StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from skl2onnx.common import tree_ensemble

import data
from export import classifier, column_classifier, pipeline, regressor


def _with_whole_numbers(add_node):
    """skl2onnx 1.20 gives a boolean for an integer in HistGradientBoosting's nodes, which protobuf 7 refuses."""

    def add(*arguments, nodes_missing_value_tracks_true=0, **more):
        add_node(*arguments, nodes_missing_value_tracks_true=int(nodes_missing_value_tracks_true), **more)

    return add


tree_ensemble.add_node = _with_whole_numbers(tree_ensemble.add_node)


@pipeline("ordinal-encoder-decision-tree")
def _():
    # skl2onnx exports no `handle_unknown`: every category there can be is named.
    encoder = OrdinalEncoder(categories=[[*sorted(data.PLACES), "elsewhere"], sorted(data.KINDS)])
    columns = ColumnTransformer([("strings", encoder, ["place", "kind"])], remainder="drop")
    return column_classifier(make_pipeline(columns, DecisionTreeClassifier(max_depth=8)))


@pipeline("decision-tree-regressor")
def _():
    return regressor(DecisionTreeRegressor(max_depth=10))


@pipeline("random-forest-binary")
def _():
    return classifier(RandomForestClassifier(100, random_state=1))


@pipeline("random-forest-multiclass-string-labels-zipmap")
def _():
    estimator = RandomForestClassifier(100, max_depth=10, random_state=1)
    return classifier(estimator, classes=4, labels=data.names, zipmap=True)


@pipeline("random-forest-regressor-multi-output")
def _():
    return regressor(RandomForestRegressor(100, max_depth=10, random_state=1), targets=3)


@pipeline("extra-trees-classifier")
def _():
    return classifier(make_pipeline(StandardScaler(), ExtraTreesClassifier(100, random_state=1)), classes=3)


@pipeline("gradient-boosting-binary")
def _():
    return classifier(GradientBoostingClassifier(n_estimators=200, random_state=1))


@pipeline("gradient-boosting-multiclass")
def _():
    return classifier(GradientBoostingClassifier(n_estimators=100, random_state=1), classes=3)


@pipeline("gradient-boosting-regressor")
def _():
    return regressor(GradientBoostingRegressor(n_estimators=200, random_state=1))


@pipeline("hist-gradient-boosting-classifier-missing-values")
def _():
    return classifier(HistGradientBoostingClassifier(max_iter=150, random_state=1), missing=0.05)


@pipeline("hist-gradient-boosting-regressor")
def _():
    return regressor(HistGradientBoostingRegressor(max_iter=300, random_state=1))


@pipeline("ada-boost-classifier")
def _():
    estimator = AdaBoostClassifier(DecisionTreeClassifier(max_depth=2), n_estimators=50, random_state=1)
    return classifier(estimator, classes=3)


@pipeline("bagging-classifier")
def _():
    return classifier(BaggingClassifier(DecisionTreeClassifier(max_depth=8), 20, random_state=1))


@pipeline("voting-classifier-soft")
def _():
    forest = RandomForestClassifier(50, random_state=1)
    members = [("logistic", LogisticRegression()), ("bayes", GaussianNB()), ("forest", forest)]
    return classifier(VotingClassifier(members, voting="soft", flatten_transform=False))


@pipeline("stacking-classifier")
def _():
    members = [("logistic", LogisticRegression()), ("forest", RandomForestClassifier(50, random_state=1))]
    return classifier(StackingClassifier(members, LogisticRegression(), cv=3))


@pipeline("calibrated-classifier")
def _():
    return classifier(CalibratedClassifierCV(LinearSVC(random_state=1), cv=3), classes=3)
