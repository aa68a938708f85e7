"""BilevelSVC: scikit-learn's own checks, given validation data, refit, units of the features."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from sklearn.datasets import make_classification
from sklearn.svm import LinearSVC
from sklearn.utils.estimator_checks import parametrize_with_checks

from lib.constrained.lv_hba import BilevelSVC


@parametrize_with_checks([BilevelSVC(max_iter=30, random_state=0)])
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def data():
    X, y = make_classification(260, 6, n_informative=4, class_sep=1.5, random_state=1)
    return X[:120], y[:120], X[120:180], y[120:180], X[180:], y[180:]


def test_labels_flipped_on_purpose_get_lower_weights(data):
    X, y, X_val, y_val, X_test, y_test = data
    wrong = np.arange(len(y)) % 3 == 0
    model = BilevelSVC(max_iter=400).fit(X, np.where(wrong, 1 - y, y), X_val, y_val)
    weights = model.sample_weight_
    assert np.median(weights[wrong]) < np.median(weights[~wrong])
    assert model.score(X_test, y_test) > 0.75
    assert model.gap_ >= -1e-6


def test_refit_solves_the_weighted_machine(data):
    X, y, X_val, y_val, _, _ = data
    model = BilevelSVC(max_iter=50).fit(X, y, X_val, y_val)
    scale = X.std(axis=0) * np.sqrt(X.shape[1])
    inside = (X - X.mean(axis=0)) / scale
    peer = LinearSVC(loss="squared_hinge", C=0.5, tol=1e-10, intercept_scaling=1e4, max_iter=500_000)
    # liblinear: |w|^2 / 2 + C sum s_i max(0, .)^2, the intercept penalized next to nothing through its scaling
    peer.fit(inside, y, sample_weight=model.sample_weight_)
    np.testing.assert_allclose(model.coef_[0] * scale, peer.coef_[0], rtol=2e-3, atol=2e-4)


def test_units_of_the_features_do_not_matter(data):
    X, y, X_val, y_val, X_test, _ = data
    units = 10.0 ** np.arange(-3, 3)
    plain = BilevelSVC(max_iter=40).fit(X, y, X_val, y_val)
    other = BilevelSVC(max_iter=40).fit(X * units, y, X_val * units, y_val)
    np.testing.assert_allclose(other.coef_ * units, plain.coef_, rtol=1e-6)
    np.testing.assert_array_equal(other.predict(X_test * units), plain.predict(X_test))


def test_a_fitted_one_survives_pickling(data):
    X, y, *_ = data
    model = BilevelSVC(max_iter=20, random_state=0).fit(X, y)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).decision_function(X), model.decision_function(X))


def test_without_refit_the_last_iterate_is_kept(data):
    X, y, X_val, y_val, _, _ = data
    kept = BilevelSVC(max_iter=60, refit_lower=False).fit(X, y, X_val, y_val)
    refit = BilevelSVC(max_iter=60).fit(X, y, X_val, y_val)
    np.testing.assert_array_equal(kept.sample_weight_, refit.sample_weight_)
    assert not np.allclose(kept.coef_, refit.coef_, rtol=1e-3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"low": 1.0, "high": 0.0}, "low"),
        ({"start": 5.0}, "start"),
        ({"p": 0.5}, "p must"),
        ({"validation_fraction": 1.0}, "validation_fraction"),
        ({"max_iter": 0}, "max_iter"),
        ({"refit_lower": 1}, "refit_lower"),
    ],
)
def test_bad_parameters_are_refused(data, changes, message):
    with pytest.raises((ValueError, TypeError), match=message):
        BilevelSVC(**changes).fit(data[0], data[1])


def test_bad_validation_data_are_refused(data):
    X, y, X_val, y_val, _, _ = data
    with pytest.raises(ValueError, match="go together"):
        BilevelSVC().fit(X, y, X_val)
    with pytest.raises(ValueError, match="features"):
        BilevelSVC().fit(X, y, X_val[:, :2], y_val)
    with pytest.raises(ValueError, match="y_val"):
        BilevelSVC().fit(X, y, X_val, y_val + 5)


def test_defaults_are_those_that_the_docstring_gives():
    known = BilevelSVC().get_params()
    assert (known["gamma"], known["p"], known["low"], known["high"], known["start"]) == (1.0, 0.3, -6.0, 2.0, -1.0)
