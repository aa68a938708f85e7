"""DAG simulators and graph measures: counts, exact covariances, brute force, bad input, determinism."""

from __future__ import annotations

from itertools import pairwise, permutations

import networkx as nx
import numpy as np
import pytest

from lib.problems import dags


@pytest.mark.parametrize(("d", "m"), [(1, 0), (5, 10), (20, 40), (20, 80), (30, 1)])
def test_er_graph_has_exactly_the_edges_asked_for_and_no_cycle(d, m):
    A = dags.simulate_dag(d, m, "ER", seed=d + m)
    assert A.shape == (d, d)
    assert A.dtype == np.int64
    assert A.sum() == m
    assert nx.is_directed_acyclic_graph(nx.DiGraph(A))


def test_er_draws_every_edge_equally_often():
    mean = np.mean([dags.simulate_dag(5, 4, seed=s) for s in range(4000)], axis=0)
    off = mean[~np.eye(5, dtype=bool)]
    # 4 of 10 pairs, both directions alike: 0.2; standard error 0.0063
    assert abs(off - 0.2).max() < 0.03


@pytest.mark.parametrize("k", [1, 2, 4])
def test_sf_graph_has_k_edges_per_new_node_and_hubs(k):
    d = 60
    A = dags.simulate_dag(d, k * d, "SF", seed=k)
    assert A.sum() == k * (d - k)
    assert nx.is_directed_acyclic_graph(nx.DiGraph(A))
    assert np.sort(A.sum(axis=0))[k] == k  # all but the k first nodes have k parents
    degree = (A + A.T).sum(axis=0)
    random = dags.simulate_dag(d, int(A.sum()), "ER", seed=k)
    assert degree.max() > 1.3 * (random + random.T).sum(axis=0).max()


def test_topological_order_puts_parents_first():
    A = dags.simulate_dag(30, 100, seed=1)
    place = np.argsort(dags.topological_order(A))
    i, j = np.nonzero(A)
    assert np.all(place[i] < place[j])


def test_is_dag_agrees_with_networkx():
    rng = np.random.default_rng(0)
    found = []
    for _ in range(200):
        A = rng.random((5, 5)) < 0.2
        found.append(dags.is_dag(A))
        assert found[-1] == nx.is_directed_acyclic_graph(nx.DiGraph(A))
    assert 0 < sum(found) < 200
    with pytest.raises(ValueError, match="cycle"):
        dags.topological_order([[0, 1], [1, 0]])


def test_weights_stand_on_the_edges_within_their_range():
    A = dags.simulate_dag(40, 160, seed=2)
    W = dags.simulate_weights(A, seed=3)
    np.testing.assert_array_equal(W != 0, A == 1)
    size = abs(W[A == 1])
    assert 0.5 <= size.min() < 0.6
    assert 1.9 < size.max() <= 2.0
    assert 0.3 < (W[A == 1] > 0).mean() < 0.7


@pytest.mark.parametrize("noise", ["gaussian", "exponential", "gumbel", "uniform"])
def test_samples_have_the_population_covariance(noise):
    W = np.array([[0, 1.5, 0], [0, 0, -0.7], [0, 0, 0]])
    scales = [1.0, 0.5, 2.0]
    X = dags.simulate_sem(W, 200_000, noise, scales, seed=4)
    np.testing.assert_allclose(X.T @ X / len(X), dags.population_covariance(W, scales), atol=0.06)
    assert abs(X.mean(axis=0)).max() < 0.02


def test_samples_solve_the_structural_equations():
    W = dags.simulate_weights(dags.simulate_dag(12, 30, seed=5), seed=6)
    X, E = dags.simulate_sem(W, 50, seed=7), np.random.default_rng(7).standard_normal((50, 12))
    np.testing.assert_allclose(X, E @ np.linalg.inv(np.eye(12) - W), rtol=1e-9, atol=1e-9)


def test_binary_samples_follow_the_logistic_law():
    X = dags.simulate_binary_sem([[0, 2.0], [0, 0]], 100_000, seed=8)
    assert X[:, 0].mean() == pytest.approx(0.5, abs=0.01)
    assert X[X[:, 0] == 1, 1].mean() == pytest.approx(1 / (1 + np.exp(-2)), abs=0.01)


def test_nonlinear_samples_depend_on_parents_only():
    A = np.array([[0, 1, 0], [0, 0, 0], [0, 0, 0]])
    X = dags.simulate_nonlinear_sem(A, 20_000, seed=9)
    assert X[:, 1].std() > 1.1
    assert abs(np.corrcoef(X[:, 2], X[:, :2], rowvar=False)[0, 1:]).max() < 0.03


def brute_shd(A, B):
    """Fewest single-edge changes (add, remove, reverse) by the definition, pair by pair."""
    d = len(A)
    return sum((A[i, j], A[j, i]) != (B[i, j], B[j, i]) for i in range(d) for j in range(i))


def test_shd_counts_a_reversed_edge_once():
    truth = np.array([[0, 1, 1], [0, 0, 0], [0, 0, 0]])
    assert dags.shd(truth, truth) == 0
    assert dags.shd(truth.T, truth) == 2
    assert dags.shd(np.zeros((3, 3)), truth) == 2
    rng = np.random.default_rng(0)
    for _ in range(20):
        A, B = (dags.simulate_dag(6, int(rng.integers(0, 15)), seed=rng) for _ in range(2))
        assert dags.shd(A, B) == brute_shd(A, B) == dags.shd(B, A)


def test_count_accuracy_of_a_known_case():
    truth = np.array([[0, 1, 1], [0, 0, 0], [0, 0, 0]])
    found = np.array([[0, 1, 0], [0, 0, 1], [1, 0, 0]])  # one right, one extra, one reversed
    assert dags.count_accuracy(found, truth) == {"fdr": 2 / 3, "tpr": 0.5, "fpr": 2.0, "shd": 2, "nnz": 3}


def test_varsortability_by_its_definition():
    """Paths enumerated by brute force, one per length and pair of ends."""
    A = dags.simulate_dag(6, 8, seed=10)
    X = np.random.default_rng(0).normal(0, np.random.default_rng(1).uniform(0.5, 2, 6), (50, 6))
    var, seen = X.var(axis=0), set()
    for length in range(2, 7):
        for path in permutations(range(6), length):
            if all(A[i, j] for i, j in pairwise(path)):
                seen.add((length, path[0], path[-1]))
    expected = np.mean([var[j] > var[i] for _, i, j in seen])
    assert dags.varsortability(X, A) == pytest.approx(expected)
    assert dags.varsortability(np.array([[0.0, 0.0], [1.0, 1.0]]), [[0, 1], [0, 0]]) == 0.5


def test_equal_variance_model_is_varsortable():
    W = dags.simulate_weights(dags.simulate_dag(30, 120, seed=11), seed=12)
    assert dags.varsortability(dags.simulate_sem(W, 1000, seed=13), W) > 0.95


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: dags.simulate_dag(5, 11), r"at most d \(d - 1\) / 2 = 10, got 11"),
        (lambda: dags.simulate_dag(0, 0), "n_nodes must be an integer at least 1, got 0"),
        (lambda: dags.simulate_dag(5, 5, "WS"), "kind must be one of 'ER', 'SF', got 'WS'"),
        (lambda: dags.simulate_dag(5, 4, "SF"), "between 1 and d - 1 = 4, got 0"),
        (lambda: dags.simulate_weights([[0, 1], [1, 0]]), "cycle"),
        (lambda: dags.simulate_weights([[0, 1], [0, 0]], low=2, high=1), "high must be a finite number at least 2, got 1"),
        (lambda: dags.simulate_sem([[0, 1.0]], 5), r"square, shape \(d, d\), got shape \(1, 2\)"),
        (lambda: dags.simulate_sem([[0, np.nan], [0, 0]], 5), "NaN"),
        (lambda: dags.simulate_sem([[0, 1.0], [1.0, 0]], 5), "cycle"),
        (lambda: dags.simulate_sem([[0, 1.0], [0, 0]], 5, "cauchy"), "noise must be one of .* got 'cauchy'"),
        (lambda: dags.simulate_sem([[0, 1.0], [0, 0]], 0), "n_samples must be an integer at least 1"),
        (lambda: dags.simulate_sem([[0, 1.0], [0, 0]], 5, scales=[1.0]), r"shape \(2,\), got shape \(1,\)"),
        (lambda: dags.simulate_sem([[0, 1.0], [0, 0]], 5, scales=-1.0), "every entry of scales must be above 0"),
        (lambda: dags.shd(np.eye(2), np.eye(3)), r"\(2, 2\) and \(3, 3\)"),
        (lambda: dags.varsortability(np.ones((5, 3)), np.zeros((2, 2))), r"X must have shape \(any, 2\)"),
        (lambda: dags.varsortability(np.ones((5, 2)), np.zeros((2, 2))), "at least one edge"),
        (lambda: dags.varsortability(np.ones((5, 2)), [[0, 1], [0, 0]]), "every column of X must vary"),
        (lambda: dags.simulate_nonlinear_sem(np.zeros((2, 2)), 5, hidden=0), "hidden must be an integer at least 1"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_counts_must_be_integers():
    with pytest.raises(TypeError, match="n_nodes must be an integer"):
        dags.simulate_dag(5.5, 3)
    with pytest.raises(TypeError, match="n_nodes must be an integer at least 1, got True"):
        dags.simulate_dag(True, 0)


def test_same_seed_same_draw():
    for draw in (
        lambda s: dags.simulate_dag(20, 40, seed=s),
        lambda s: dags.simulate_dag(20, 40, "SF", seed=s),
        lambda s: dags.simulate_sem(np.zeros((3, 3)), 10, seed=s),
        lambda s: dags.simulate_binary_sem(np.zeros((3, 3)), 40, seed=s),
    ):
        np.testing.assert_array_equal(draw(3), draw(3))
        assert not np.array_equal(draw(3), draw(4))
