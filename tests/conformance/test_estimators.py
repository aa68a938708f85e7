"""What every scikit-learn estimator of the package must hold. To enroll a new one, add a line to ESTIMATORS."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import make_classification
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from lib.backprop_free.gbnn import GBNNClassifier, GBNNRegressor
from lib.backprop_free.tpsgd import TPSGDClassifier
from lib.constrained.bilevel_penalty import HyperCleaner
from lib.constrained.lv_hba import BilevelSVC
from lib.constrained.topo_swaps import TOPO
from lib.objectives.anyloss import AnyLossClassifier
from lib.objectives.pareto_da import ParetoDA
from tests.conftest import OLD_CHECKS

#: One instance per configuration that is worth checking.
CLASSIFIERS = [
    AnyLossClassifier(max_iter=50),
    AnyLossClassifier(metric="gmean", max_iter=50),
    GBNNClassifier(n_units=6, max_iter=40, random_state=0),
    TPSGDClassifier((16,), max_iter=60, random_state=0),
]
ESTIMATORS = [
    *CLASSIFIERS,
    BilevelSVC(max_iter=30, random_state=0),
    GBNNRegressor(n_units=6, max_iter=40, random_state=0),
    HyperCleaner(max_iter=10, random_state=0),
    ParetoDA(iterations=5, warmup=60, random_state=0),
    TOPO(random_state=0),
]


def excused(estimator):
    """Checks that cannot hold, with the reason."""
    if isinstance(estimator, AnyLossClassifier):
        reason = (
            "weights of classes act on the counts inside a score: g-mean does not change at all, F1 only through its precision"
        )
        return {"check_class_weight_classifiers": reason} | OLD_CHECKS
    return {}


@parametrize_with_checks(ESTIMATORS, expected_failed_checks=excused)
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)


@pytest.fixture(params=CLASSIFIERS, ids=repr)
def estimator(request):
    return clone(request.param)


@pytest.fixture(scope="module")
def problem():
    X, y = make_classification(300, 5, weights=[0.8], class_sep=1.5, random_state=0)
    return X, y


def test_works_in_a_pipeline_and_a_grid_search(estimator, problem):
    pipeline = make_pipeline(StandardScaler(), estimator)
    name = type(estimator).__name__.lower()
    search = GridSearchCV(pipeline, {f"{name}__max_iter": [5, 200]}, cv=2, scoring="balanced_accuracy").fit(*problem)
    assert search.best_score_ > 0.7


def test_labels_of_any_kind_come_back(estimator, problem):
    X, y = problem
    words = np.array(["no", "yes"])[y]
    assert set(estimator.fit(X, words).predict(X)) <= {"no", "yes"}


def test_probabilities_agree_with_predictions(estimator, problem):
    X, y = problem
    proba = estimator.fit(X, y).predict_proba(X)
    np.testing.assert_allclose(proba.sum(axis=1), 1)
    np.testing.assert_array_equal(estimator.classes_[proba.argmax(axis=1)], estimator.predict(X))


def test_a_fitted_one_survives_pickling(estimator, problem):
    X, y = problem
    again = pickle.loads(pickle.dumps(estimator.fit(X, y)))
    np.testing.assert_array_equal(again.predict(X), estimator.predict(X))
