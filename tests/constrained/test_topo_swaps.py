"""TOPO: the algebra of orders against regressions, brute force and path enumeration; the search; the exact optimum."""

from __future__ import annotations

import inspect
from itertools import pairwise, permutations

import numpy as np
import pytest
from scipy.optimize import approx_fprime

from lib.constrained import topo_swaps as topo
from lib.constrained.topo_swaps import study
from lib.problems import dags


def instance(d, k, seed, n=1000, kind="ER", scales=1.0):
    A = dags.simulate_dag(d, k * d, kind, seed)
    W = dags.simulate_weights(A, seed=seed + 100)
    return A, W, dags.simulate_sem(W, n, scales=scales, seed=seed + 200)


def random_moments(d, seed):
    rng = np.random.default_rng(seed)
    return topo.second_moments(rng.normal(size=(5 * d, d)) @ rng.normal(size=(d, d)))


def all_swaps(d):
    b, a = np.tril_indices(d, -1)
    return a, b


# ------------------------------------------------------------------------------------------------------- orders and scores


@pytest.mark.parametrize("seed", range(3))
def test_score_and_weights_equal_regressions_on_the_data(seed):
    _, _, X = instance(12, 3, seed)
    X = X - X.mean(axis=0)
    order = np.random.default_rng(seed).permutation(12)
    total, W = 0.0, np.zeros((12, 12))
    for k, j in enumerate(order):
        W[order[:k], j] = np.linalg.lstsq(X[:, order[:k]], X[:, j], rcond=None)[0]
        total += 0.5 * np.mean((X[:, j] - X @ W[:, j]) ** 2)
    S = topo.second_moments(X)
    assert topo.order_score(S, order) == pytest.approx(total, rel=1e-10)
    np.testing.assert_allclose(topo.order_weights(S, order), W, atol=1e-10)


def test_score_of_the_order_is_that_of_its_weights_and_the_gradient_vanishes_on_free_entries():
    S, order = random_moments(9, 1), np.random.default_rng(1).permutation(9)
    W = topo.order_weights(S, order)
    value, gradient = topo.score_and_gradient(S, W)
    assert value == pytest.approx(topo.order_score(S, order), rel=1e-12)
    place = np.argsort(order)
    free = place[:, None] < place[None, :]
    assert abs(gradient[free]).max() < 1e-12 * abs(S).max()
    assert abs(gradient[~free]).max() > 1e-3


def test_weights_of_a_graph_are_the_regressions_on_its_parents():
    X, order = np.random.default_rng(3).normal(size=(50, 6)) @ random_moments(6, 3), np.random.default_rng(4).permutation(6)
    X -= X.mean(axis=0)
    S, graph = topo.second_moments(X), dags.simulate_dag(6, 7, seed=5)
    W = study.graph_weights(S, graph)
    for j in range(6):
        parents = np.flatnonzero(graph[:, j])
        np.testing.assert_allclose(W[parents, j], np.linalg.lstsq(X[:, parents], X[:, j], rcond=None)[0], rtol=1e-7)
    assert np.all(W[graph == 0] == 0)
    complete = np.argsort(order)[:, None] < np.argsort(order)[None, :]
    np.testing.assert_allclose(study.graph_weights(S, complete), topo.order_weights(S, order), rtol=1e-7, atol=1e-10)
    shrunk = study.graph_weights(S, complete, eps=0.5)
    np.testing.assert_allclose(shrunk, topo.order_weights(S, order, eps=0.5), rtol=1e-9, atol=1e-12)


def test_gradient_of_the_score_matches_finite_differences():
    S, W = random_moments(4, 2), np.random.default_rng(2).normal(size=(4, 4))
    numeric = approx_fprime(W.ravel(), lambda w: topo.score_and_gradient(S, w.reshape(4, 4))[0], 1e-6)
    np.testing.assert_allclose(topo.score_and_gradient(S, W)[1].ravel(), numeric, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("d", [2, 3, 7, 15])
def test_every_swap_change_equals_factoring_again(d):
    S, order = random_moments(d, d), np.random.default_rng(d).permutation(d)
    fit = topo.OrderFit.of(S, order)
    a, b = all_swaps(d)
    again = [topo.order_score(S, topo.swapped(order, i, j)) - fit.score for i, j in zip(a, b, strict=True)]
    np.testing.assert_allclose(fit.swap_changes(a, b), again, atol=1e-11 * fit.score)


def test_swap_changes_hold_on_ill_conditioned_orders_of_many_nodes():
    _, _, X = instance(60, 4, 0)
    S, order = topo.second_moments(X), np.random.default_rng(0).permutation(60)
    fit = topo.OrderFit.of(S, order)
    a, b = all_swaps(60)
    some = np.random.default_rng(1).choice(len(a), 200, replace=False)
    again = [topo.order_score(S, topo.swapped(order, a[c], b[c])) - fit.score for c in some]
    np.testing.assert_allclose(fit.swap_changes(a, b)[some], again, atol=1e-9 * fit.score)


def test_a_swap_leaves_the_columns_outside_its_interval_alone():
    S, order = random_moments(10, 3), np.random.default_rng(3).permutation(10)
    before, after = topo.order_weights(S, order), topo.order_weights(S, topo.swapped(order, 3, 6))
    outside = np.r_[order[:3], order[7:]]
    np.testing.assert_allclose(after[:, outside], before[:, outside], atol=1e-10)
    assert np.all(abs(after - before)[:, order[3:7]].max(axis=0) > 1e-6)


def test_scaling_all_columns_scales_the_score_by_the_square():
    S, order = random_moments(6, 4), np.arange(6)
    assert topo.order_score(9.0 * S, order) == pytest.approx(9.0 * topo.order_score(S, order), rel=1e-12)


def test_population_score_is_half_the_nodes_for_true_orders_and_more_otherwise():
    A = dags.simulate_dag(6, 7, seed=1)
    S = dags.population_covariance(dags.simulate_weights(A, seed=2))
    seen = set()
    for order in permutations(range(6)):
        place = np.argsort(order)
        i, j = np.nonzero(A)
        true = bool(np.all(place[i] < place[j]))
        seen.add(true)
        score = topo.order_score(S, order)
        assert score == pytest.approx(3.0, abs=1e-9) if true else score > 3.0 + 1e-3
    assert seen == {True, False}


# -------------------------------------------------------------------------------------------------------------- acyclicity


def path_sums(W):
    """[G]_ij = sum over simple paths j -> ... -> i of the products of |W|, by enumeration."""
    d, G = len(W), np.eye(len(W))
    for length in range(2, d + 1):
        for path in permutations(range(d), length):
            G[path[-1], path[0]] += np.prod([abs(W[u, v]) for u, v in pairwise(path)])
    return G


@pytest.mark.parametrize("seed", range(3))
def test_gradient_on_a_dag_sums_its_paths(seed):
    W = dags.simulate_weights(dags.simulate_dag(6, 9, seed=seed), seed=seed)
    h, G = topo.acyclicity(W)
    assert h == 0.0
    np.testing.assert_allclose(G, path_sums(W), rtol=1e-12)
    np.testing.assert_array_equal(G == 0, path_sums(W) == 0)
    np.testing.assert_allclose(topo.path_weights(W, dags.topological_order(W)), G, atol=1e-12)


@pytest.mark.parametrize("kind", ["logdet", "exp", "poly"])
@pytest.mark.parametrize("of", ["abs", "square"])
def test_h_is_zero_on_dags_only_and_its_gradient_is_the_derivative(kind, of):
    W = dags.simulate_weights(dags.simulate_dag(5, 8, seed=0), seed=1)
    h, G = topo.acyclicity(W, kind, of)
    assert h == pytest.approx(0.0, abs=1e-9)
    np.testing.assert_array_equal(G > 1e-12, path_sums(W) > 0)  # the same pairs for every kind
    cyclic = np.random.default_rng(2).normal(size=(4, 4)) * 0.2
    h, G = topo.acyclicity(cyclic, kind, of)
    assert h > 0
    outer = {"abs": np.sign(cyclic), "square": 2 * cyclic}[of]
    numeric = approx_fprime(cyclic.ravel(), lambda w: topo.acyclicity(w.reshape(4, 4), kind, of)[0], 1e-7)
    np.testing.assert_allclose((G * outer).ravel(), numeric, atol=1e-5)


def test_two_cycles_are_seen_and_the_domain_of_logdet_ends():
    assert topo.acyclicity([[0, 0.5], [0.5, 0]])[0] == pytest.approx(-np.log(0.75))
    h, G = topo.acyclicity([[0, 2.0], [2.0, 0]])
    assert np.isinf(h)
    assert np.isinf(G).all()
    assert topo.acyclicity([[0, 2.0], [2.0, 0]], s=5.0)[0] == pytest.approx(-np.log(1 - 4 / 25))
    assert topo.acyclicity([[0, 2.0], [2.0, 0]], "exp")[0] > 1


def test_squared_weights_have_no_gradient_on_dags():
    W = dags.simulate_weights(dags.simulate_dag(8, 16, seed=3), seed=4)
    assert abs(topo.acyclicity(W, of="square")[1] * 2 * W).max() == 0.0


def test_candidates_are_the_smallest_forbidden_entries_with_ties():
    rng, d = np.random.default_rng(5), 7
    order, G = rng.permutation(d), rng.random((d, d)).round(1)
    place = np.argsort(order)
    forbidden = sorted(G[i, j] for i in range(d) for j in range(d) if place[i] > place[j])
    pairs = topo.candidate_pairs(G, order, 6)
    assert np.all(place[pairs[:, 0]] > place[pairs[:, 1]])
    assert len(set(map(tuple, pairs))) == len(pairs) == sum(value <= forbidden[5] for value in forbidden)
    np.testing.assert_array_equal(G[pairs[:, 0], pairs[:, 1]], forbidden[: len(pairs)])
    assert len(topo.candidate_pairs(G, order, 10_000)) == d * (d - 1) // 2
    gradient = rng.normal(size=(d, d))
    kept = topo.candidate_pairs(G, order, 100, gradient, xi=0.5)
    assert len(kept) == sum(place[i] > place[j] and abs(gradient[i, j]) > 0.5 for i in range(d) for j in range(d))


def test_kkt_violation_sees_the_entry_that_may_move():
    S = topo.second_moments(instance(5, 2, 0)[2])
    W = topo.order_weights(S, np.arange(5))
    assert topo.kkt_violation(W, topo.score_and_gradient(S, W)[1]) < 1e-10
    W[0, 4] = 0.0  # 0 -> 4 closes no cycle, so its gradient counts
    W[:4, 4] = np.r_[0.0, np.linalg.solve(S[1:4, 1:4], S[1:4, 4])]
    gradient = topo.score_and_gradient(S, W)[1]
    assert topo.kkt_violation(W, gradient) == pytest.approx(abs(gradient[0, 4]))
    with pytest.raises(ValueError, match="has a cycle"):
        topo.kkt_violation([[0, 1.0], [1.0, 0]], np.eye(2))


def test_dag_from_weights_drops_no_more_than_it_must():
    rng = np.random.default_rng(6)
    for _ in range(20):
        W = rng.normal(size=(5, 5))
        cut, order, threshold = topo.dag_from_weights(W)
        assert dags.is_dag(cut)
        np.testing.assert_array_equal(cut != 0, (abs(W) > threshold) & ~np.eye(5, dtype=bool))
        less = W * ((abs(W) >= threshold) & ~np.eye(5, dtype=bool))
        assert threshold == 0 or not dags.is_dag(less)
        place = np.argsort(order)
        assert np.all(place[np.nonzero(cut)[0]] < place[np.nonzero(cut)[1]])
    assert topo.dag_from_weights([[0, 0.2], [0, 0]], 0.3)[0].any() == np.False_


# -------------------------------------------------------------------------------------------------------------- the search


def test_disjoint_swaps_add_up_exactly():
    S, order = random_moments(20, 7), np.random.default_rng(7).permutation(20)
    fit = topo.OrderFit.of(S, order)
    a, b = all_swaps(20)
    changes = fit.swap_changes(a, b)
    chosen = topo.disjoint_swaps(a, b, changes)
    assert len(chosen) > 1
    covered = np.concatenate([np.arange(a[c], b[c] + 1) for c in chosen])
    assert len(set(covered)) == len(covered)
    joint = order
    for c in chosen:
        joint = topo.swapped(joint, a[c], b[c])
    assert topo.order_score(S, joint) - fit.score == pytest.approx(changes[chosen].sum(), rel=1e-10)
    assert changes[chosen[0]] == changes.min()


@pytest.mark.parametrize("seed", range(5))
def test_all_pairs_and_restarts_reach_the_exact_optimum(seed):
    S = topo.second_moments(instance(8, 2, seed)[2])
    best, order = study.exact_order_dp(S)
    assert topo.order_score(S, order) == pytest.approx(best, rel=1e-12)
    rng = np.random.default_rng(seed)
    runs = [topo.topological_swaps(S, rng.permutation(8), 28, 28) for _ in range(20)]
    assert min(run.fun for run in runs) == pytest.approx(best, rel=1e-12)
    assert all(run.fun >= best - 1e-9 for run in runs)


@pytest.mark.parametrize("seed", range(3))
def test_exact_optimum_equals_brute_force(seed):
    S = random_moments(6, seed)
    best = min(topo.order_score(S, order) for order in permutations(range(6)))
    assert study.exact_order_dp(S)[0] == pytest.approx(best, rel=1e-12)


@pytest.mark.parametrize("swap", ["greedy", "best", "first"])
def test_score_falls_strictly_and_the_end_is_a_swap_local_kkt_point(swap):
    S = topo.second_moments(instance(15, 3, 1)[2])
    run = topo.topological_swaps(S, np.random.default_rng(1).permutation(15), 200, 200, swap=swap)
    assert np.all(np.diff(run.history["score"]) < 0)
    assert run.success
    assert run.history["score"][-1] == run.fun == pytest.approx(topo.order_score(S, run.order))
    a, b = all_swaps(15)
    assert topo.OrderFit.of(S, run.order).swap_changes(a, b).min() > -1e-9
    assert topo.kkt_violation(run.weights, topo.score_and_gradient(S, run.weights)[1]) <= 1e-8
    assert max(run.history["swaps"]) == 1 or swap == "greedy"


def test_a_reversed_chain_is_turned_in_two_rounds():
    W = np.array([[0, 1.0, 0], [0, 0, 1.0], [0, 0, 0]])
    run = topo.topological_swaps(dags.population_covariance(W), [2, 1, 0])
    assert run.nit <= 2
    assert run.fun == pytest.approx(1.5)
    np.testing.assert_array_equal(run.order, [0, 1, 2])
    np.testing.assert_allclose(run.weights, W, atol=1e-12)


def test_evaluations_are_the_candidates_looked_at():
    S = topo.second_moments(instance(10, 2, 2)[2])
    start = np.random.default_rng(2).permutation(10)
    run = topo.topological_swaps(S, start, 45, 45)
    assert run.nfev == 45 * (run.nit + 1)
    run = topo.topological_swaps(S, start, 5, 45, n_large=0)
    assert run.nfev == 5 * (run.nit + 1)
    run = topo.topological_swaps(S, start, 5, 45, n_large=1)
    used = run.history["set"].count("large")
    assert used <= 1
    assert run.nfev == 5 * (run.nit - used + 1 + used) + 40 * max(used, 1) + 5 * 0


def test_large_set_is_used_when_the_small_one_fails():
    S = topo.second_moments(instance(20, 4, 0)[2])
    start = np.random.default_rng(3).permutation(20)
    small = topo.topological_swaps(S, start, 5, 190, n_large=0)
    large = topo.topological_swaps(S, start, 5, 190, n_large=50)
    assert "large" in large.history["set"]
    assert large.fun < small.fun


def test_relabeling_the_nodes_relabels_the_solution():
    S = topo.second_moments(instance(12, 2, 4)[2])
    rng = np.random.default_rng(4)
    start, relabel = rng.permutation(12), rng.permutation(12)
    run = topo.topological_swaps(S, start, 30, 66)
    moved = topo.topological_swaps(S[np.ix_(relabel, relabel)], np.argsort(relabel)[start], 30, 66)
    assert moved.fun == pytest.approx(run.fun, rel=1e-12)
    np.testing.assert_array_equal(relabel[moved.order], run.order)


def test_default_sizes_follow_their_formula_and_are_clipped():
    assert topo.default_sizes(30) == (100, 400)
    assert topo.default_sizes(100) == (500, 2000)
    assert topo.default_sizes(10) == (45, 45)


# ---------------------------------------------------------------------------------------------------------------- estimator


@pytest.mark.parametrize("seed", range(3))
def test_recovers_sparse_graphs_from_random_orders(seed):
    A, W, X = instance(20, 2, seed)
    model = topo.TOPO(100, 400, random_state=seed).fit(X)
    S = topo.second_moments(X)
    assert model.loss_ <= topo.order_score(S, dags.topological_order(W)) + 1e-3
    assert dags.shd(model.adjacency_, A) <= 1


def test_estimator_agrees_with_the_function():
    _, _, X = instance(10, 2, 5)
    model = topo.TOPO(20, 45, init=np.arange(10)).fit(X + 3.0)
    run = topo.topological_swaps(topo.second_moments(X), np.arange(10), 20, 45)
    assert model.loss_ == pytest.approx(run.fun, rel=1e-12)
    np.testing.assert_array_equal(model.order_, run.order)
    np.testing.assert_array_equal(model.adjacency_, (abs(run.weights) >= 0.3).astype(int))
    assert model.n_evaluations_ == run.nfev
    assert model.history_["score"] == pytest.approx(run.history["score"])


def test_restarts_keep_the_best():
    X = instance(15, 4, 6)[2]
    model = topo.TOPO(3, 3, n_large=0, n_restarts=6, random_state=0).fit(X)
    assert model.loss_ == min(run.fun for run in model.restarts_)
    assert model.n_evaluations_ == sum(run.nfev for run in model.restarts_)
    assert len(model.restarts_) == 6
    again = topo.TOPO(3, 3, n_large=0, n_restarts=6, random_state=0).fit(X)
    np.testing.assert_array_equal(again.weights_, model.weights_)


def test_starts_from_other_methods_are_never_made_worse():
    _, _, X = instance(10, 2, 0)
    S = topo.second_moments(X)
    for W in (study.notears_linear(X), np.random.default_rng(0).normal(size=(10, 10))):
        order = topo.dag_from_weights(W)[1]
        model = topo.TOPO(init=W).fit(X)
        assert model.restarts_[0].history["score"][0] == pytest.approx(topo.order_score(S, order))
        assert model.loss_ <= topo.order_score(S, order)
    by_variance = topo.TOPO(init="variance").fit(X)
    assert by_variance.history_["score"][0] == pytest.approx(topo.order_score(S, np.argsort(np.diag(S))))


def test_means_do_not_matter_unless_they_are_kept():
    _, _, X = instance(6, 1, 7)
    plain, moved = topo.TOPO(random_state=0).fit(X), topo.TOPO(random_state=0).fit(X + 5.0)
    assert moved.loss_ == pytest.approx(plain.loss_, rel=1e-9)
    with pytest.warns(UserWarning, match="not centered"):
        topo.TOPO(assume_centered=True, random_state=0).fit(X + 5.0)


def test_more_columns_than_rows_need_a_ridge():
    X = np.random.default_rng(0).normal(size=(8, 12))
    with pytest.raises(ValueError, match="eps > 0"):
        topo.TOPO(random_state=0).fit(X)
    assert np.isfinite(topo.TOPO(eps=0.1, random_state=0).fit(X).loss_)
    S = topo.second_moments(X)
    ridge = S + 0.1 * np.trace(S) / 12 * np.eye(12)
    assert topo.order_score(S, np.arange(12), eps=0.1) == pytest.approx(topo.order_score(ridge, np.arange(12)))


def test_float32_data_give_float64_results():
    _, _, X = instance(6, 1, 8)
    model = topo.TOPO(random_state=0).fit(X.astype(np.float32))
    assert model.weights_.dtype == np.float64
    assert model.loss_ == pytest.approx(topo.TOPO(random_state=0).fit(X).loss_, rel=1e-5)


# ---------------------------------------------------------------------------------------------------------------- bad input

GOOD = np.random.default_rng(0).normal(size=(20, 3))
EYE = np.eye(3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: topo.TOPO().fit(np.where(GOOD > 1, np.nan, GOOD)), "NaN"),
        (lambda: topo.TOPO().fit(np.c_[GOOD, np.ones(20)]), "constant: 3"),
        (lambda: topo.TOPO().fit(GOOD[:, :1]), "minimum of 2 is required"),
        (lambda: topo.TOPO(init=[0, 0, 1]).fit(GOOD), r"init must be a permutation of 0 \.\. 2, got \[0\. 0\. 1\.\]"),
        (lambda: topo.TOPO(init="best").fit(GOOD), "init must be 'random', 'variance'"),
        (lambda: topo.TOPO(init=np.eye(4)).fit(GOOD), r"shape \(3, 3\), got \(4, 4\)"),
        (lambda: topo.TOPO(loss="l1").fit(GOOD), "loss must be 'l2' or a callable, got 'l1'"),
        (lambda: topo.TOPO(threshold=-1).fit(GOOD), "threshold must be a finite number at least 0"),
        (lambda: topo.TOPO(n_restarts=0).fit(GOOD), "n_restarts must be an integer at least 1"),
        (lambda: topo.TOPO(swap="worst").fit(GOOD), "swap must be one of 'greedy', 'best', 'first'"),
        (lambda: topo.TOPO(size_small=0).fit(GOOD), "size_small must be an integer at least 1"),
        (lambda: topo.TOPO(size_large="most").fit(GOOD), "size_large must be an integer, 'auto' or 'all', got 'most'"),
        (lambda: topo.TOPO(random_state=-1).fit(GOOD), "random_state must be an integer at least 0"),
        (lambda: topo.topological_swaps(EYE, [0, 1, 2], 3, 2), "size_large must not be below size_small"),
        (lambda: topo.topological_swaps(EYE, [0, 1, 2], tol=np.nan), "tol must be"),
        (lambda: topo.topological_swaps(None, [0, 1, 2]), "either S"),
        (lambda: topo.order_score(np.ones((2, 3)), [0, 1]), r"square, shape \(d, d\)"),
        (lambda: topo.order_score([[1.0, 2.0], [0.0, 5.0]], [0, 1]), "symmetric"),
        (lambda: topo.order_score([[1.0, 1.0], [1.0, 1.0]], [0, 1]), "not positive definite"),
        (lambda: topo.order_score(EYE * np.nan, [0, 1, 2]), "NaN"),
        (lambda: topo.order_score(EYE, [0, 1, 2], eps=-1), "eps must be a finite number at least 0"),
        (lambda: topo.order_score(EYE, [0, 1]), "permutation"),
        (lambda: topo.OrderFit.of(EYE, np.arange(3)).swap_changes([1], [1]), "0 <= a < b < 3"),
        (lambda: topo.OrderFit.of(EYE, np.arange(3)).swap_changes([0.5], [1]), "a must hold whole numbers"),
        (lambda: study.exact_order_dp(np.eye(16)), "at most 15 nodes"),
        (lambda: study.exact_order_dp(np.ones((2, 2))), "positive definite"),
        (lambda: topo.acyclicity(EYE, "trace"), "kind must be one of 'logdet', 'exp', 'poly', got 'trace'"),
        (lambda: topo.acyclicity(EYE, of="cube"), "of must be one of 'abs', 'square'"),
        (lambda: topo.acyclicity(EYE, s=0), "s must be a finite number above 0"),
        (lambda: topo.candidate_pairs(EYE, [0, 1, 2], 0), "size must be an integer at least 1"),
        (lambda: topo.kkt_violation(np.zeros((3, 3)), EYE, tol=np.nan), "tol must be a finite number at least 0"),
        (lambda: topo.dag_from_weights(EYE, -0.1), "threshold must be a finite number at least 0"),
        (lambda: topo.path_weights([[0, 1.0], [0, 0]], [1, 0]), "W must respect the order"),
        (lambda: topo.second_moments(np.ones((3, 1))), r"shape \(n, d\)"),
        (lambda: topo.score_and_gradient(EYE, np.eye(2)), "shape of S"),
        (lambda: study.graph_weights(EYE, np.eye(2)), r"edges must have the shape of S, \(3, 3\), got \(2, 2\)"),
        (lambda: study.graph_weights(EYE, EYE * np.nan), "edges must be finite, got NaN"),
        (lambda: study.graph_weights(EYE, np.diag([0, 1, 1])), "its own parent, these are: 1, 2"),
        (lambda: study.graph_weights(np.ones((3, 3)), np.triu(np.ones((3, 3)), 1)), "parents of node 2 collinear"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_wrong_types_are_named():
    with pytest.raises(TypeError, match=r"size_small must be an integer at least 1, got 2\.5"):
        topo.topological_swaps(EYE, [0, 1, 2], 2.5)
    with pytest.raises(TypeError, match="size_small must be an integer at least 1, got True"):
        topo.topological_swaps(EYE, [0, 1, 2], True)
    with pytest.raises(TypeError, match="assume_centered must be True or False"):
        topo.TOPO(assume_centered="no").fit(GOOD)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_column_that_varies_by_rounding_alone_is_constant(dtype):
    nearly = np.where(np.arange(20) % 2, 0.3, 0.1 + 0.2).astype(dtype)
    if dtype == np.float32:
        nearly[0] = np.nextafter(nearly[0], dtype(1))
    data = np.c_[GOOD.astype(dtype), nearly]
    assert np.ptp(data[:, 3]) > 0
    with pytest.raises(ValueError, match="constant: 3"):
        topo.TOPO().fit(data)
    tiny = np.c_[GOOD, 1e6 + 1e-6 * GOOD[:, 0] + 1e-7 * GOOD[:, 1] ** 2]  # small against its mean, yet it varies
    assert np.isfinite(topo.TOPO(random_state=0).fit(tiny).loss_)


@pytest.mark.parametrize("unit", [1e-12, 1e9])
def test_units_do_not_change_what_is_found(unit):
    X = instance(10, 3, 3)[2]
    start = np.random.default_rng(3).permutation(10)
    plain = topo.topological_swaps(topo.second_moments(X), start, 10, 45)
    scaled = topo.topological_swaps(topo.second_moments(unit * X), start, 10, 45)
    np.testing.assert_array_equal(scaled.order, plain.order)
    assert scaled.nfev == plain.nfev
    assert scaled.fun == pytest.approx(unit**2 * plain.fun, rel=1e-9)


def test_huge_weights_overflow_to_infinity_and_never_to_nan():
    W = np.triu(np.full((6, 6), 1e80), 1)
    W[0, 5] = 0.0
    for kind in ("logdet", "exp", "poly"):
        for of in ("abs", "square"):
            h, G = topo.acyclicity(W, kind, of)
            assert h == 0.0
            assert not np.isnan(G).any()
            np.testing.assert_array_equal(G > 0, np.tri(6) > 0)
        h, G = topo.acyclicity(W + W.T, kind)
        assert np.isinf(h)
        assert np.isinf(G).all()
    G = topo.path_weights(W, np.arange(6))
    assert len(topo.candidate_pairs(G, np.arange(6), 15)) == 15


def test_arguments_stay_as_they_are_also_where_a_model_writes_into_its_own():
    def vandal(A, y):
        loss = float(np.var(y)) + 0.1 * A.shape[1]
        A[:], y[:] = 0.0, 0.0
        return loss, np.ones(A.shape[1])

    X = GOOD.copy()
    model = topo.ColumnModel(X, vandal)
    order = np.array([2, 1, 0])
    topo.topological_swaps(None, order, refit=model)
    np.testing.assert_array_equal(X, GOOD)
    np.testing.assert_array_equal(model.X, GOOD)
    np.testing.assert_array_equal(order, [2, 1, 0])
    topo.TOPO(loss=vandal, assume_centered=True, random_state=0).fit(X)
    np.testing.assert_array_equal(X, GOOD)


@pytest.mark.parametrize("sizes", [(5, 45, 3), ("all", "all", 1)])
def test_a_stopped_search_goes_on_as_if_it_had_not_stopped(sizes):
    small, large, n_large = sizes
    S, start = topo.second_moments(instance(10, 3, 3)[2]), np.random.default_rng(1).permutation(10)
    whole = topo.topological_swaps(S, start, small, large, n_large)
    assert whole.nit > 3
    part = topo.topological_swaps(S, start, small, large, n_large, max_rounds=2)
    assert not part.success
    assert "stopped after 2 rounds" in part.message
    rest = topo.topological_swaps(S, part.order, small, large, part.n_large_left)
    np.testing.assert_array_equal(rest.order, whole.order)
    assert part.history["score"] + rest.history["score"][1:] == whole.history["score"]
    assert part.nfev + rest.nfev == whole.nfev


def test_all_pairs_can_be_asked_for_by_name():
    S, start = topo.second_moments(instance(15, 2, 0)[2]), np.random.default_rng(0).permutation(15)
    by_name, by_number = topo.topological_swaps(S, start, "all", "all"), topo.topological_swaps(S, start, 105, 105)
    assert by_name.history == by_number.history
    assert by_name.nfev == 105 * (by_name.nit + 1)
    np.testing.assert_array_equal(topo.TOPO("all", "all", init=start).fit(instance(15, 2, 0)[2]).order_, by_name.order)


def test_ties_do_not_hang_on_rounding():
    a, b = np.array([0, 2, 4]), np.array([1, 3, 5])
    for noise in np.random.default_rng(0).normal(size=(10, 3)) * 1e-14:
        np.testing.assert_array_equal(topo.disjoint_swaps(a, b, -1.0 + noise), [0, 1, 2])


def test_defaults_are_the_papers():
    """The authors' demonstration (30 nodes): s_small 100, s_large 400, the large set once, edges at 0.3."""
    assert topo.default_sizes(30) == (100, 400)
    model = topo.TOPO()
    assert (model.n_large, model.threshold, model.swap, model.loss) == (1, 0.3, "greedy", "l2")
    defaults = {name: p.default for name, p in inspect.signature(topo.topological_swaps).parameters.items()}
    assert (defaults["n_large"], defaults["swap"], defaults["size_small"]) == (1, "greedy", "auto")
    h = {name: p.default for name, p in inspect.signature(topo.acyclicity).parameters.items()}
    assert (h["kind"], h["of"], h["s"]) == ("logdet", "abs", 1.0)
    assert inspect.signature(topo.logistic_column).parameters["C"].default == 0.1
    assert inspect.signature(topo.candidate_pairs).parameters["xi"].default == 0.0
    notears = {name: p.default for name, p in inspect.signature(study.notears_linear).parameters.items()}
    assert (notears["max_iter"], notears["h_tol"], notears["rho_max"]) == (100, 1e-8, 1e16)
    weights = inspect.signature(dags.simulate_weights).parameters
    assert (weights["low"].default, weights["high"].default) == (0.5, 2.0)
