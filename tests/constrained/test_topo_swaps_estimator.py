"""TOPO as scikit-learn sees it: its score, grid search, names of columns, random states, losses of one's own."""

from __future__ import annotations

import pickle
import sys
import types

import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV
from sklearn.utils.estimator_checks import check_estimator, parametrize_with_checks

from lib.constrained import topo_swaps as topo
from lib.problems import dags


def data(d=10, k=3, seed=3, n=1000):
    W = dags.simulate_weights(dags.simulate_dag(d, k * d, seed=seed), seed=seed)
    return W, dags.simulate_sem(W, n, seed=seed)


def least_squares(X, y):
    coef = np.linalg.lstsq(X, y, rcond=None)[0] if X.shape[1] else np.empty(0)
    return 0.5 * float(np.mean((y - X @ coef) ** 2)), coef


@parametrize_with_checks([topo.TOPO(random_state=0)])
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)


def test_scikit_learns_own_checks_hold_with_a_loss_of_ones_own():
    # One test: in names of tests the function would show its address, which differs between workers.
    check_estimator(topo.TOPO("all", "all", loss=least_squares, random_state=0))


def test_score_is_minus_the_loss_on_any_data():
    _, X = data()
    fit, held_out = X[:600] + 2.0, X[600:] + 2.0
    model = topo.TOPO(random_state=0).fit(fit)
    assert model.score(fit) == pytest.approx(-model.loss_, rel=1e-12)
    residual = (held_out - fit.mean(axis=0)) @ (np.eye(10) - model.weights_)
    assert model.score(held_out) == pytest.approx(-0.5 * np.mean(np.sum(residual**2, axis=1)))
    assert model.score(held_out) < -topo.TOPO(init=model.order_).fit(held_out).loss_  # held-out data fit worse
    own = topo.TOPO(loss=least_squares, random_state=0).fit(fit)
    assert own.score(fit) == pytest.approx(model.score(fit), rel=1e-9)


def test_a_grid_search_picks_the_larger_candidate_sets():
    _, X = data(12, 4)
    grid = {"size_small": [1, "all"]}
    model = topo.TOPO(size_large="all", n_large=0, random_state=0)
    search = GridSearchCV(model, grid, cv=3).fit(X)
    assert np.all(np.isfinite(search.cv_results_["mean_test_score"]))
    assert search.best_params_ == {"size_small": "all"}


def test_edges_carry_the_names_of_the_columns():
    pd = pytest.importorskip("pandas")
    X = dags.simulate_sem([[0, 1.5, 0.6], [0, 0, 0], [0, 0, 0]], 2000, seed=0)
    model = topo.TOPO(random_state=0).fit(pd.DataFrame(X, columns=["rain", "river", "mood"]))
    assert [edge[:2] for edge in model.edges_] == [("rain", "river"), ("rain", "mood")]
    assert model.edges_[0][2] == pytest.approx(1.5, abs=0.1)
    assert [edge[:2] for edge in topo.TOPO(random_state=0).fit(X).edges_] == [(0, 1), (0, 2)]


@pytest.mark.parametrize(
    "make", [lambda: 5, lambda: np.random.default_rng(5), lambda: np.random.RandomState(5), lambda: np.random.SeedSequence(5)]
)
def test_any_random_state_is_taken_and_repeats(make):
    _, X = data()
    one, two = (topo.TOPO(3, 3, n_large=0, random_state=make()).fit(X) for _ in range(2))
    assert one.history_ == two.history_


def test_a_fitted_one_survives_pickling():
    _, X = data()
    model = topo.TOPO(random_state=0).fit(X)
    again = pickle.loads(pickle.dumps(model))
    assert again.score(X) == model.score(X)
    assert again.edges_ == model.edges_


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (lambda A, y: (np.nan, np.zeros(A.shape[1])), "loss of node . must be a finite number"),
        (lambda A, y: (1.0, np.full(A.shape[1], np.inf)), "strengths for node . must be finite"),
        (lambda A, y: (1.0, np.zeros(A.shape[1] + 1)), "must return 0 strengths"),
    ],
)
def test_a_bad_loss_of_ones_own_is_refused(loss, message):
    with pytest.raises(ValueError, match=message):
        topo.TOPO(loss=loss, random_state=0).fit(data()[1])


def test_every_check_of_the_data_holds_for_a_loss_of_ones_own():
    _, X = data(n=50)
    seen = []

    def spy(A, y):
        seen.append(y.mean())
        return least_squares(A, y)

    topo.TOPO(loss=spy, random_state=0).fit(X + 7.0)
    assert abs(np.array(seen)).max() < 1e-9  # centered, unless told otherwise
    seen.clear()
    topo.TOPO(loss=spy, assume_centered=True, random_state=0).fit(X + 7.0)
    assert np.mean(seen) > 5
    with pytest.raises(ValueError, match="constant: 0"):
        topo.TOPO(loss=spy).fit(np.c_[np.ones(50), X])
    with pytest.raises(ValueError, match="eps must be"):
        topo.TOPO(loss=spy, eps=-1.0).fit(X)
    fit = topo.OrderFit.of(np.eye(3), np.arange(3))
    with pytest.raises(ValueError, match="finite score"):
        topo.topological_swaps(None, [0, 1, 2], refit=lambda order: topo.OrderFit(order, fit.L * np.nan))


@pytest.mark.parametrize(("version", "words"), [("1.6.1", {"penalty": "l1"}), ("1.8.0", {"l1_ratio": 1.0})])
def test_the_l1_penalty_is_named_in_the_words_of_the_installed_version(monkeypatch, version, words):
    from lib.constrained.topo_swaps import columns

    monkeypatch.setitem(sys.modules, "sklearn", types.SimpleNamespace(__version__=version))
    assert columns._l1() == words


def test_the_penalty_is_l1_indeed():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 6))
    y = (rng.random(200) < 1 / (1 + np.exp(-2 * X[:, 0]))).astype(float)
    loss, strength = topo.logistic_column(X, y, C=0.05)
    assert strength[0] > 0.3
    assert np.sum(strength == 0) >= 3  # l2 makes no zeros
    margin = (2 * y - 1)[:, None] * X
    smooth = np.logaddexp(0.0, -margin[:, 0] * strength[0]).mean()
    assert loss == pytest.approx(smooth + strength.sum() / (0.05 * 200), abs=0.02)
    with pytest.raises(ValueError, match="not centered"):
        topo.logistic_column(X, y - y.mean())
    binary = dags.simulate_binary_sem([[0, 3.0], [0, 0]], 500, seed=0)
    model = topo.TOPO(loss=topo.logistic_column, assume_centered=True, random_state=0).fit(binary)
    assert model.edges_[0][:2] == (0, 1)
    assert model.score(binary) == pytest.approx(-model.loss_)
