"""GBNN: settings that change between fits, rules of a user, units that overflow, parts that do not fit."""

from __future__ import annotations

import numpy as np
import pytest

from lib.backprop_free.gbnn import GBNNClassifier, GBNNRegressor, assemble, fit_piece

X = np.random.default_rng(0).normal(size=(40, 3))
LABELS = (X[:, 0] > 0.2).astype(int)
Y = np.sin(X[:, 0]) + X[:, 1]
FAST = {"n_units": 3, "max_iter": 10, "random_state": 0}


def test_trained_units_keep_their_activation():
    model = GBNNRegressor(warm_start=True, **FAST).fit(X, Y)
    before, staged = model.predict(X), list(model.staged_predict(X))[-1]
    model.set_params(activation="relu", n_units=5)
    np.testing.assert_array_equal(model.predict(X), before)
    np.testing.assert_array_equal(list(model.staged_predict(X))[-1], staged)
    assert "Sigmoid" in str(model.to_torch())
    with pytest.raises(ValueError, match="activation must not change"):
        model.fit(X, Y)
    assert model.set_params(warm_start=False).fit(X, Y).activation_ == "relu"


@pytest.mark.parametrize("answer", [np.nan, np.inf, None, "1", np.ones(2)])
def test_a_rule_that_returns_no_finite_number_is_named(answer):
    with pytest.raises((TypeError, ValueError), match="what newton returns"):
        GBNNClassifier(newton=lambda y, F, h: answer, **FAST).fit(X, LABELS)


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_a_spread_that_leaves_the_numbers_is_refused(scale):
    with pytest.raises(ValueError, match="underflows" if scale < 1 else "overflows"):
        GBNNRegressor(**FAST).fit(X, scale * Y)
    assert GBNNRegressor(**FAST).fit(X, np.full(40, 0.1)).n_steps_ == 0


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("scale", [1e100, 1e200])
def test_features_that_overflow_are_refused(scale):
    with pytest.raises(ValueError, match="another unit"):
        GBNNRegressor(activation="relu", **FAST).fit(scale * X, Y)


def test_parts_that_do_not_fit_are_refused():
    piece = fit_piece(X, Y, 1, seed=0, max_iter=5)
    with pytest.raises(ValueError, match="same outputs, got 1 and 3"):
        assemble([1.0, 2.0, 3.0], [(piece, 1.0)])
    assert piece(X[:2].tolist()).shape == (2, 1)
    for part in (piece, assemble(0.0, [(piece, 1.0)])):
        with pytest.raises(ValueError, match="activation must be one of"):
            part(X, "nope")
