"""The rivals of TOPO, models other than least squares, and scikit-learn's own checks of the estimator."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from scipy.linalg import expm

from lib import experiment
from lib.constrained import topo_swaps as topo
from lib.constrained.topo_swaps import study
from lib.constrained.topo_swaps.study import protocols
from lib.problems import dags


def instance(d, k, seed, n=1000):
    W = dags.simulate_weights(dags.simulate_dag(d, k * d, "ER", seed), seed=seed + 100)
    return W, dags.simulate_sem(W, n, seed=seed + 200)


@pytest.mark.slow
def test_notears_finds_small_graphs_and_ends_nearly_acyclic():
    W, X = instance(6, 1, 1)
    found = study.notears_linear(X)
    assert np.trace(expm(found * found)) - 6 <= 1e-8
    assert dags.shd(abs(found) >= 0.3, W) == 0
    penalized = study.notears_linear(X, lam=0.1)
    assert abs(penalized).sum() < abs(found).sum()
    cut = study.notears_linear(X, threshold=0.3)
    np.testing.assert_array_equal(cut, np.where(abs(found) < 0.3, 0.0, found))


def test_nofears_ends_at_a_kkt_point_that_keeps_the_edges():
    W, X = instance(12, 2, 1)
    S = topo.second_moments(X)
    reversed_edges = W.T
    repaired = study.nofears(S, reversed_edges)
    assert np.all(repaired[reversed_edges != 0] != 0)
    assert dags.is_dag(repaired)
    assert topo.kkt_violation(repaired, topo.score_and_gradient(S, repaired)[1], tol=0.0) <= 1e-7
    # A KKT point, yet not a good one: the edges that it was given still point backward.
    assert topo.score_and_gradient(S, repaired)[0] > topo.order_score(S, dags.topological_order(W)) + 0.1


@pytest.mark.slow
def test_dagma_leaves_its_input_alone_and_repeats_itself(capfd):
    pytest.importorskip("dagma")
    W, X = instance(5, 1, 3)
    kept = X.copy()
    options = {"warm_iter": 2000, "max_iter": 4000, "lr": 0.003}
    first, second = (study.dagma_linear(X, **options) for _ in range(2))
    np.testing.assert_array_equal(X, kept)
    np.testing.assert_array_equal(first, second)
    assert dags.shd(abs(first) >= 0.3, W) == 0
    assert capfd.readouterr().err == ""


def test_missing_dagma_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "dagma.linear", None)
    with pytest.raises(ModuleNotFoundError, match="needs the package 'dagma'"):
        study.dagma_linear(np.random.default_rng(0).normal(size=(10, 3)))


def test_negative_penalties_are_named():
    with pytest.raises(ValueError, match="lam must be a finite number at least 0, got -1"):
        study.notears_linear(np.random.default_rng(0).normal(size=(10, 3)), lam=-1)
    with pytest.raises(ValueError, match="weights of a DAG"):
        study.nofears(np.eye(2), [[0, 1], [1, 0]])


# ------------------------------------------------------------------------------------------------------------- other models


def least_squares(X, y):
    coef = np.linalg.lstsq(X, y, rcond=None)[0] if X.shape[1] else np.empty(0)
    return 0.5 * float(np.mean((y - X @ coef) ** 2)), coef


@pytest.mark.parametrize("swap", ["greedy", "first"])
def test_any_regression_takes_the_same_path_as_least_squares(swap):
    _, X = instance(8, 2, 4)
    X = X - X.mean(axis=0)
    start = np.random.default_rng(4).permutation(8)
    model = topo.ColumnModel(X, least_squares)
    general = topo.topological_swaps(None, start, 10, 28, swap=swap, refit=model)
    special = topo.topological_swaps(topo.second_moments(X), start, 10, 28, swap=swap)
    np.testing.assert_array_equal(general.order, special.order)
    assert general.nfev == special.nfev
    np.testing.assert_allclose(general.history["score"], special.history["score"], rtol=1e-10)
    np.testing.assert_allclose(general.weights, special.weights, atol=1e-9)
    assert model.n_regressions < 8 * general.nfev


def test_estimator_takes_a_regression():
    _, X = instance(5, 1, 5)
    X = X - X.mean(axis=0)
    model = topo.TOPO(loss=least_squares, init=np.arange(5)).fit(X)
    assert model.loss_ == pytest.approx(topo.TOPO(init=np.arange(5)).fit(X).loss_, rel=1e-10)


def test_logistic_columns_find_the_neighbors_of_a_binary_chain():
    W = np.array([[0, 3.0, 0], [0, 0, -3.0], [0, 0, 0]])
    X = dags.simulate_binary_sem(W, 4000, seed=0)
    run = topo.topological_swaps(None, [2, 1, 0], refit=topo.ColumnModel(X, topo.logistic_column))
    assert np.all(np.diff(run.history["score"]) < 0)
    np.testing.assert_array_equal(run.order, [0, 1, 2])
    # (no intercepts: the reverse direction fits worse, since P(x = 1) is not one half there)
    assert run.weights[0, 1] > 1 > run.weights[0, 2]


def test_fourier_columns_turn_a_nonlinear_pair():
    x = np.random.default_rng(0).normal(size=2000)
    X = np.c_[x, x**2 + 0.3 * np.random.default_rng(1).normal(size=2000)]
    run = topo.topological_swaps(None, [1, 0], refit=topo.ColumnModel(X, study.FourierColumn()))
    np.testing.assert_array_equal(run.order, [0, 1])
    assert run.weights[0, 1] > 1.0


def test_bad_models_are_named():
    X = np.random.default_rng(0).normal(size=(10, 3))
    with pytest.raises(ValueError, match=r"shape \(n, d\)"):
        topo.ColumnModel(X[:, :1], least_squares)
    with pytest.raises(ValueError, match="must return 1 strengths"):
        topo.ColumnModel(X, lambda A, y: (0.0, np.empty(0)))([0, 1, 2]).score  # noqa: B018
    with pytest.raises(ValueError, match="both values 0 and 1"):
        topo.logistic_column(X, np.zeros(10))


# --------------------------------------------------------------------------------------------------------------- instances


def stream(*axes):
    return experiment.rng(0, *axes)


def test_instances_are_those_of_the_simulation_and_judge_by_the_truth():
    inst = study.draw_instance(stream, "SF2-12", 1)
    np.testing.assert_array_equal(inst.W, study.draw_instance(stream, "SF2-12", 1).W)
    assert not np.array_equal(inst.W, study.draw_instance(stream, "SF2-12", 2).W)
    assert (inst.W != 0).sum() == 2 * 10
    assert inst.gap(inst.order) == 0.0
    assert inst.judge_order(inst.order)["shd"] <= 1
    found = inst.judge(inst.W)  # already a DAG with no small entry: nothing to cut, so both violations are one
    assert found == pytest.approx({"gap": 0.0, "shd": 0, "kkt": found["kkt"], "kkt_full": found["kkt"]})
    wide = study.draw_instance(stream, "SF2-12", 1, scales=np.full(12, 2.0))
    np.testing.assert_allclose(wide.X, 2.0 * inst.X)
    assert wide.score == pytest.approx(4 * inst.score)


def test_small_cycles_are_cut_before_judging():
    inst = study.draw_instance(stream, "ER1-5")
    noisy = inst.W + 1e-6 * np.random.default_rng(0).random((5, 5))
    assert inst.judge(noisy)["shd"] == 0
    assert abs(inst.judge(noisy)["gap"]) < 0.01


def test_kkt_is_judged_with_and_without_small_entries():
    inst = study.draw_instance(stream, "ER1-5")
    W = topo.order_weights(inst.S, inst.order)
    assert np.any((W != 0) & (abs(W) < inst.threshold))
    by_order, by_weights = inst.judge_order(inst.order), inst.judge(W)
    assert by_order["kkt"] == by_order["kkt_full"] < 1e-12
    assert by_weights == pytest.approx(by_order | {"kkt": by_weights["kkt"]}, abs=1e-12)
    cut = np.where(abs(W) < inst.threshold, 0.0, W)
    assert by_weights["kkt"] == topo.kkt_violation(cut, topo.score_and_gradient(inst.S, cut)[1]) > 1e-3
    # With a small cycle, its smallest entry is dropped, and no other.
    i, j = np.argwhere(abs(W) > inst.threshold)[0]
    cyclic = W.copy()
    cyclic[j, i] = 1e-9
    assert inst.judge(cyclic)["kkt_full"] < 1e-12


def test_families_are_named_like_er4_50():
    assert study.parse_family("ER4-50") == ("ER", 4, 50)
    with pytest.raises(ValueError, match="named like 'ER4-50'"):
        study.parse_family("ER-50")


# ------------------------------------------------------------------------------------------------------ other neighborhoods


@pytest.mark.parametrize("d", [2, 5, 9])
def test_every_insertion_equals_factoring_again(d):
    rng = np.random.default_rng(d)
    S, order = topo.second_moments(rng.normal(size=(60, d)) @ rng.normal(size=(d, d))), rng.permutation(d)
    fit = topo.OrderFit.of(S, order)
    again = [[topo.order_score(S, study.inserted(order, i, j)) - fit.score for j in range(d)] for i in range(d)]
    np.testing.assert_allclose(study.insertion_changes(fit), again, atol=1e-11 * fit.score)


def test_neighborhoods_end_where_none_of_their_moves_improves():
    inst = study.draw_instance(stream, "ER2-10")
    start = np.random.default_rng(0).permutation(10)
    run = study.insertion_search(inst.S, start)
    assert np.all(np.diff(run.history["score"]) < 0)
    assert run.nfev == 90 * (run.nit + 1)
    assert study.insertion_changes(topo.OrderFit.of(inst.S, run.order)).min() > -1e-9
    one, two = (study.random_pair_search(inst.S, start, 10, 4, seed=s) for s in (1, 1))
    assert one.history == two.history
    assert one.nfev >= 10 * (one.nit + 4)
    every = study.random_pair_search(inst.S, start, 45, 1, seed=0)  # all pairs: nothing is left to chance
    assert every.fun == pytest.approx(topo.topological_swaps(inst.S, start, "all", "all").fun, rel=1e-9)
    assert every.nfev == 45 * (every.nit + 1)


def test_more_redraws_go_on_where_fewer_stop():
    inst = study.draw_instance(stream, "ER4-20")
    start = np.random.default_rng(1).permutation(20)
    few, many = (study.random_pair_search(inst.S, start, 10, r, seed=3) for r in (1, 8))
    assert many.fun < few.fun
    assert many.history["score"][: len(few.history["score"])] == few.history["score"]


def test_the_published_form_takes_the_same_path():
    inst = study.draw_instance(stream, "ER2-8")
    start = np.random.default_rng(2).permutation(8)
    published = topo.topological_swaps(None, start, 8, 28, refit=study.PublishedModel(inst.X))
    ours = topo.topological_swaps(inst.S, start, 8, 28)
    np.testing.assert_array_equal(published.order, ours.order)
    assert published.nfev == ours.nfev
    np.testing.assert_allclose(published.history["score"], ours.history["score"], rtol=1e-10)
    np.testing.assert_allclose(published.weights, ours.weights, atol=1e-9)


def test_notears_wants_a_ridge_where_columns_outnumber_rows():
    X = np.random.default_rng(0).normal(size=(5, 8))
    with pytest.raises(ValueError, match="eps > 0"):
        study.notears_linear(X)


# --------------------------------------------------------------------------------------------------------------- protocols


def test_one_swap_at_a_time_ends_where_no_proposed_swap_improves():
    inst = study.draw_instance(stream, "ER2-8")
    steps = protocols.one_by_one(topo.OrderFit.of(inst.S, protocols.random_start(stream, "ER2-8", 0)), 8, 30)
    scores = [fit.score for fit in steps]
    assert 1 < len(steps) < 30
    assert np.all(np.diff(scores) < 0)
    assert scores[-1] == pytest.approx(topo.order_score(inst.S, steps[-1].order), rel=1e-10)
    assert protocols.proposed(steps[-1], 8)[2].min() > -1e-9


def test_the_race_counts_swaps_and_successes():
    race = protocols.candidate_race(stream, "ER1-6", 3, [2, 15], [1, 4])
    assert set(race) == {("gradient", 2), ("gradient", 15), ("random, 1 draws", 2), ("random, 4 draws", 2)}
    assert all(table.shape == (3, 2) for table in race.values())
    assert np.all(race["gradient", 15][:, 0] % 15 == 0)
    table = np.array([[10.0, 0.0], [20.0, 1.0]])
    assert protocols.price(table) == 30.0
    assert protocols.price(table[:1]) == np.inf
    cells = {("gradient", 2): np.array([[50.0, 1.0], [1.0, 1.0]]), ("gradient", 5): np.array([[10.0, 1.0], [99.0, 1.0]])}
    assert protocols.tuned(cells, "gradient", 1) == ("gradient", 5)  # the first half decides


def test_a_thorough_search_is_no_worse_than_the_truth_on_its_own_score():
    inst = study.draw_instance(stream, "ER2-10")
    starts = [protocols.random_start(stream, "ER2-10", j) for j in range(3)]
    gap, mine, truth = protocols.thorough(inst, starts)
    assert gap <= 1e-9
    assert abs(mine - truth) <= 1
    spread = inst.X.std(axis=0)
    standard = study.Instance.of(inst.W, inst.X / spread)
    assert protocols.thorough(standard, [inst.order], spread)[2] == truth  # scaled back, the true order's edges are the same


def test_other_models_report_end_and_start():
    found = protocols.other_models(stream, 0, 3, 300)
    assert set(found) == {"logistic", "additive"}
    assert all(end <= begin for end, begin in found.values())
