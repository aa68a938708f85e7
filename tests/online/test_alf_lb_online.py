"""Fresh tokens: the dual as an online objective, its gradient and curvature, regret and its bound."""

import numpy as np
import pytest

from lib.online import alf_lb as al
from lib.online.alf_lb import InvStep, SignStep, SqrtStep


def scores(T, E, seed=0):
    rng = np.random.default_rng(seed)
    return 1 / (1 + np.exp(-rng.normal(size=(T, E)) - rng.normal(size=E)))


def tokens(rng):
    return rng.random((32, 4)) * [1.0, 0.9, 0.8, 0.7]


def test_violation_is_the_gradient():
    g, p, K = scores(500, 5), np.array([0.1, -0.1, 0.05, 0.0, -0.05]), 2
    L, h = K * 500 / 5, 1e-7
    load = al.topk_assign(g + p, K).sum(0)

    def objective(q):
        return al.dual_value(g, q, K) / L

    slope = [(objective(p + h * e) - objective(p - h * e)) / (2 * h) for e in np.eye(5)]
    np.testing.assert_allclose(slope, load / L - 1, atol=1e-6)


@pytest.mark.parametrize("K", [1, 2])
def test_curvature_is_that_of_finite_differences(K):
    g, p, h = scores(200_000, 4, seed=1), np.array([0.05, -0.05, 0.0, 0.0]), 0.02
    L = K * len(g) / 4

    def load(q):
        return al.topk_assign(g + q, K).sum(0) / L

    numeric = np.array([(load(p + h * e) - load(p - h * e)) / (2 * h) for e in np.eye(4)])
    H = al.price_hessian(g, p, K, width=h)
    np.testing.assert_allclose(H, numeric, atol=0.05 * np.abs(H).max())
    np.testing.assert_allclose(H, H.T)
    np.testing.assert_allclose(H.sum(1), 0, atol=1e-10)
    assert (H - np.diag(np.diag(H)) <= 0).all()
    assert np.linalg.eigvalsh(H)[1] > 0.3


def test_curvature_of_a_known_density():
    """Two uniform scores: the difference has density 1 at 0, so with L = T / 2 the curvature is [[2, -2], [-2, 2]]."""
    g = np.random.default_rng(0).random((400_000, 2))
    np.testing.assert_allclose(al.price_hessian(g, np.zeros(2), 1, 0.01), [[2, -2], [-2, 2]], rtol=0.05)


def test_curvature_by_hand():
    g = np.array([[0.5, 0.45], [0.5, 0.2], [0.3, 0.35], [0.0, 0.9]])
    H = al.price_hessian(g, np.zeros(2), 1, width=0.1)
    np.testing.assert_allclose(H, [[5.0, -5.0], [-5.0, 5.0]])  # two of four tokens within 0.1, L = 2, half of 2 / (0.1 * 2)


def test_rounds_are_gradient_steps():
    g, K = scores(40, 4), 1
    run = al.online_balance(lambda rng: g[rng.permutation(40)], K, SqrtStep(0.2), 10, seed=0)
    fixed = al.alf_lb(g, K, SqrtStep(0.2), 10)
    np.testing.assert_allclose(run.prices, fixed.prices, atol=1e-12)
    np.testing.assert_array_equal(run.loads, fixed.loads[:-1])
    assert run.target == 10


def test_resumed_in_the_middle_goes_on_alike():
    rng = np.random.default_rng(3)
    whole = al.online_balance(tokens, 1, InvStep(0.4), 30, seed=3)
    first = al.online_balance(tokens, 1, InvStep(0.4), 12, seed=rng)
    rest = al.online_balance(tokens, 1, InvStep(0.4), 18, p0=first.prices[-1], n0=first.n, seed=rng)
    np.testing.assert_array_equal(rest.prices, whole.prices[12:])
    assert rest.n == 30


def test_regret_is_the_sum_where_every_round_is_asked():
    g, K = scores(60, 3, seed=2), 1
    rng = np.random.default_rng(0)
    path, L = rng.normal(size=(6, 2, 3)) * 0.1, 20
    best = al.solve_assignment_lp(g, K).fun / L
    got = al.cumulative_regret(path, g, K, best, np.arange(1, 7))
    excess = np.array([[al.dual_value(g, p, K) / L - best for p in row] for row in path])
    np.testing.assert_allclose(got, np.cumsum(excess, axis=0))
    assert (excess >= -1e-9).all()
    sparse = al.cumulative_regret(path, g, K, best, [1, 3, 6])
    between = excess[0] + 0.5 * (excess[0] + excess[2]) + excess[2]
    np.testing.assert_allclose(sparse[1], between)
    np.testing.assert_allclose(sparse[2], between + 2 * 0.5 * (excess[2] + excess[5]) + excess[5])


def test_bound_by_hand_and_kept():
    bound = al.regret_bound([[[12.0, 8.0]], [[11.0, 9.0]]], 10.0, 0.5)
    np.testing.assert_allclose(bound[:, 0], [0.08, 0.08 + 0.02 / 2])
    g, K = scores(4000, 4, seed=2), 1
    best = min(al.alf_lb(g, K, InvStep(1.0), 400).lagrangian) / 1000
    mu = min(np.linalg.eigvalsh(al.price_hessian(g, q, K, 0.1))[1] for q in (np.zeros(4), al.alf_lb(g, K, InvStep(1.0), 400).p))

    def draw(rng):
        return g[rng.integers(4000, size=64)]

    runs = [al.online_balance(draw, K, InvStep(1 / mu), 400, seed=s) for s in range(5)]
    at = np.unique(np.geomspace(1, 400, 30).astype(int))
    regret = np.mean([al.cumulative_regret(r.prices[:-1], g, K, best, at)[-1] for r in runs])
    assert 0 < regret < np.mean([al.regret_bound(r.loads, r.target, mu)[-1] for r in runs])


def test_bad_input_is_refused_by_name():
    g = scores(10, 2)
    sizes = iter([4, 6, 8])
    with pytest.raises(ValueError, match="sample must give shape"):
        al.online_balance(lambda rng: rng.random((next(sizes), 2)), 1, SignStep(), 3, seed=0)
    with pytest.raises(ValueError, match="K must be"):
        al.online_balance(lambda rng: g, 3, SignStep(), 3, seed=0)
    with pytest.raises(ValueError, match="rounds must start at 1"):
        al.cumulative_regret(np.zeros((4, 2)), g, 1, 0.0, [2, 3])
    with pytest.raises(ValueError, match="rounds must start at 1"):
        al.cumulative_regret(np.zeros((4, 2)), g, 1, 0.0, [1, 1])
    with pytest.raises(ValueError, match="prices and population"):
        al.cumulative_regret(np.zeros((4, 3)), g, 1, 0.0, [1, 3])
    with pytest.raises(ValueError, match="loads"):
        al.regret_bound([1.0, 2.0], 1.0, 1.0)
    with pytest.raises(ValueError, match="overflow"):
        al.regret_bound([[1e200, 2.0]], 1e-200, 1e-100)
    with pytest.raises(ValueError, match="2 dimensions"):
        al.price_hessian(g[None], np.zeros(2), 1)
    with pytest.raises(ValueError, match="K must be"):
        al.price_hessian(g, np.zeros(2), 2)
