"""HyperCleaner: wrong labels found, coefficients against scikit-learn's, bad input, scikit-learn's own checks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.utils.estimator_checks import parametrize_with_checks

from lib.constrained import bilevel_penalty as bp
from lib.constrained.bilevel_penalty import cleaner as cleaner_module
from lib.problems.bilevel import BilevelProblem


@pytest.fixture(scope="module")
def blobs():
    rng = np.random.default_rng(0)
    y = np.arange(240) % 3
    X = 2.0 * np.eye(3)[y] @ rng.normal(size=(3, 4)) * 2 + rng.normal(size=(240, 4))
    wrong = np.where(np.arange(120) % 2 == 0, (y[:120] + 1) % 3, y[:120])
    return X, y, wrong


@pytest.mark.parametrize("both", [False, True])
def test_slopes_inside_are_those_of_autograd(blobs, both):
    X, y, wrong = blobs
    inside, held = (np.column_stack([part, np.ones(len(part))]) for part in (X[:120], X[120:180]))
    problem = cleaner_module._problem(inside, wrong, held, y[120:180], (3, 5), 0.1, both)
    plain = BilevelProblem(problem.upper, problem.lower)
    torch.manual_seed(0)
    x, w = torch.randn(120, dtype=torch.float64), torch.randn(15, dtype=torch.float64)
    for found, exact in ((problem.upper_slopes, plain.upper_slopes), (problem.lower_slopes, plain.lower_slopes)):
        for a, b in zip(found(x, w), exact(x, w), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


def test_the_cleaner_finds_wrong_labels_and_predicts_right_ones(blobs):
    X, y, wrong = blobs
    cleaner = bp.HyperCleaner().fit(X[:120], wrong, X[120:180], y[120:180])
    flipped = wrong != y[:120]
    assert cleaner.sample_weight_[flipped].mean() < 0.3
    assert cleaner.sample_weight_[~flipped].mean() > 0.7
    assert cleaner.score(X[180:], y[180:]) > 0.85
    np.testing.assert_allclose(cleaner.predict_proba(X).sum(1), 1)
    assert (cleaner.predict_proba(X).argmax(1) == cleaner.predict(X)).all()


@pytest.mark.parametrize("both", [False, True])
def test_the_cleaners_coefficients_are_those_of_weighted_logistic_regression(blobs, both):
    X, y, wrong = blobs
    cleaner = bp.HyperCleaner(penalty=1e-2, refit_validation=both, max_iter=60).fit(X[:120], wrong, X[120:180], y[120:180])
    weight = cleaner.sample_weight_
    mean = X[:120].mean(0)
    scale = np.sqrt(((X[:120] - mean) ** 2).sum(1).mean())
    rows, labels = X[:120], wrong
    if both:
        rows, labels, weight = X[:180], np.concatenate([wrong, y[120:180]]), np.concatenate([weight, np.ones(60)])
    inside = np.column_stack([(rows - mean) / scale, np.ones(len(rows))])
    peer = LogisticRegression(C=1 / (1e-2 * len(rows)), fit_intercept=False, tol=1e-10, max_iter=5000)
    peer.fit(inside, labels, sample_weight=weight)
    np.testing.assert_allclose(cleaner.coef_, peer.coef_[:, :-1] / scale, atol=2e-4)


def test_the_cleaner_sets_validation_data_aside_and_names_what_is_wrong(blobs):
    X, y, _ = blobs
    cleaner = bp.HyperCleaner(max_iter=5, random_state=0).fit(X, y)
    assert len(cleaner.train_rows_) == len(cleaner.sample_weight_) == 168
    for change in ({"sigma": 0.0}, {"gamma": 3.0}, {"max_iter": 0}, {"validation_fraction": 1.0}, {"refit_validation": 1}):
        with pytest.raises((ValueError, TypeError), match=next(iter(change))):
            bp.HyperCleaner(**change).fit(X, y)
    with pytest.raises(ValueError, match="X_val"):
        bp.HyperCleaner().fit(X, y, X[:, :2], y)
    with pytest.raises(ValueError, match="y_val"):
        bp.HyperCleaner().fit(X, y, X, y + 7)
    with pytest.raises(ValueError, match="together"):
        bp.HyperCleaner().fit(X, y, X)


@parametrize_with_checks([bp.HyperCleaner(max_iter=10, random_state=0)])
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)
