"""The procedure on a fixed batch: identities of the theory, the exact program, known answers, the door."""

import copy
import itertools
import pickle

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from lib.online import alf_lb as al
from lib.online.alf_lb import ConstStep, InvStep, SignStep, SqrtStep

RULES = [SignStep(0.001), SignStep(0.01), ConstStep(0.05), SqrtStep(0.1), InvStep(1.0)]
SHAPES = [(64, 4, 1), (96, 8, 2), (60, 6, 3)]


def scores(T, E, seed=0, lead=()):
    rng = np.random.default_rng(seed)
    return 1 / (1 + np.exp(-rng.normal(size=(*lead, T, E)) - rng.normal(size=(*lead, 1, E))))


def test_module_says_what_it_implements():
    assert "not implemented" in al.__doc__.lower()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_change_of_the_lagrangian_and_preference_rule(rule, shape):
    """(10): the change is benefit minus descent; (11): tokens move to experts whose price moved further; (12) from loads."""
    T, E, K = shape
    g, L = scores(T, E), K * T / E
    run = al.alf_lb(g, K, rule, 300)
    change = np.diff(run.lagrangian)
    np.testing.assert_allclose(change, run.benefit - run.descent, atol=1e-9)
    off = run.loads - L
    eps = np.array([rule.eps(n + 1, A, L) for n, A in enumerate(run.loads[:-1])])
    np.testing.assert_allclose(run.descent, (eps * off[:-1] ** 2).sum(1), atol=1e-12)
    np.testing.assert_allclose(np.diff(run.prices, axis=0), -eps * off[:-1], atol=1e-14)
    assert (run.margin >= -1e-12).all()
    assert (run.benefit >= -1e-12).all()
    assert (run.benefit <= (np.diff(run.prices, axis=0) * np.diff(run.loads, axis=0)).sum(1) + 1e-10).all()
    assert (change <= -(eps * off[:-1] * off[1:]).sum(1) + 1e-9).all()
    moved = run.switches > 0
    assert np.isinf(run.margin[~moved]).all()
    assert np.isfinite(run.margin[moved]).all()


def test_switches_benefit_and_margin_by_brute_force():
    g = scores(20, 4, seed=3)
    run = al.alf_lb(g, 2, SqrtStep(0.3), 6)
    for t in range(6):
        x, x1 = (al.topk_assign(g + p, 2) for p in run.prices[t : t + 2])
        delta = run.prices[t + 1] - run.prices[t]
        pairs = [(delta[b] - delta[a]) for i in range(20)
                 for a, b in itertools.product(np.flatnonzero(x[i] & ~x1[i]), np.flatnonzero(x1[i] & ~x[i]))]  # fmt: skip
        assert run.switches[t] == (x != x1).any(1).sum()
        assert run.margin[t] == pytest.approx(min(pairs, default=np.inf))
        benefit = ((g + run.prices[t + 1]) * (x1.astype(float) - x)).sum()
        assert run.benefit[t] == pytest.approx(benefit)
        assert run.lagrangian[t] == pytest.approx(al.lagrangian(g, x, run.prices[t], 2))
    np.testing.assert_array_equal(run.x, al.topk_assign(g + run.p, 2))
    np.testing.assert_array_equal(run.loads[-1], run.x.sum(0))


def test_weak_duality_and_equality_at_the_programs_prices():
    g = scores(48, 6, seed=1)
    best = al.solve_assignment_lp(g, 2)
    assert best.success
    assert set(np.unique(best.x)) == {0.0, 1.0}
    np.testing.assert_array_equal(best.x.sum(0), np.full(6, 16))
    np.testing.assert_array_equal(best.x.sum(1), np.full(48, 2))
    assert best.fun == pytest.approx((g * best.x).sum())
    assert best.prices.mean() == pytest.approx(0, abs=1e-12)
    assert al.dual_value(g, best.prices, 2) == pytest.approx(best.fun, abs=1e-8)
    for seed in range(20):
        p = np.random.default_rng(seed).normal(size=6) * 0.3
        assert al.dual_value(g, p, 2) >= best.fun - 1e-9


def test_one_expert_each_is_linear_assignment():
    g = scores(24, 4, seed=2)
    rows, columns = linear_sum_assignment(-np.repeat(g, 6, axis=1))
    assert al.solve_assignment_lp(g, 1).fun == pytest.approx(np.repeat(g, 6, axis=1)[rows, columns].sum())


@pytest.mark.parametrize("K", [1, 2, 3])
def test_dual_is_the_largest_lagrangian(K):
    g, p = scores(5, 4, seed=4), np.array([0.1, -0.2, 0.3, 0.0])
    best = sum(max(sum(row[list(s)] + p[list(s)]) for s in itertools.combinations(range(4), K)) for row in g)
    assert al.dual_value(g, p, K) == pytest.approx(best - K * 5 / 4 * p.sum())
    assert al.lagrangian(g, al.topk_assign(g + p, K), p, K) == pytest.approx(al.dual_value(g, p, K))
    other = np.roll(al.topk_assign(g + p, K), 1, axis=1)
    assert al.lagrangian(g, other, p, K) <= al.dual_value(g, p, K)


def test_a_constant_on_all_prices_changes_nothing():
    g, p = scores(40, 5), np.linspace(-0.2, 0.2, 5)
    assert al.dual_value(g, p + 3, 2) == pytest.approx(al.dual_value(g, p, 2))
    a, b = (al.alf_lb(g, 2, SqrtStep(0.1), 30, p0=p + shift) for shift in (0.0, 0.5))
    np.testing.assert_array_equal(a.loads, b.loads)


def test_two_experts_have_the_median_as_their_price():
    g = scores(40, 2, seed=5)
    difference = np.sort(g[:, 1] - g[:, 0])
    run = al.alf_lb(g, 1, InvStep(0.5), 4000)
    assert -difference[20] - 1e-3 <= run.p[1] - run.p[0] <= -difference[19] + 1e-3
    exact = al.solve_assignment_lp(g, 1).prices
    assert -difference[20] - 1e-9 <= exact[1] - exact[0] <= -difference[19] + 1e-9


@pytest.mark.parametrize("rule", [SignStep(0.001), SqrtStep(0.1), InvStep(0.5)], ids=repr)
def test_ends_nearly_balanced(rule):
    g = scores(128, 8, seed=6)
    run = al.alf_lb(g, 2, rule, 2500)
    assert np.abs(run.loads[-100:] - 32).max() <= 7
    assert run.lagrangian[-1] <= al.solve_assignment_lp(g, 2).fun * (1 + 1e-3)


@pytest.mark.parametrize("rule", [ConstStep(0.1), SqrtStep(0.1), InvStep(1.0)], ids=repr)
def test_proportional_steps_keep_the_sum_of_prices(rule):
    run = al.alf_lb(scores(64, 8), 3, rule, 200)
    np.testing.assert_allclose(run.prices.sum(1), 0, atol=1e-9)


def test_equal_scores_stay_bounded():
    run = al.alf_lb(np.full((32, 4), 0.5), 1, SignStep(0.01), 100)
    assert np.ptp(run.prices, axis=1).max() <= 0.04  # the sign rule moves their mean, which changes nothing
    np.testing.assert_array_equal(run.loads[0], [32, 0, 0, 0])


def test_step_rules_and_defaults():
    load, L = np.array([14.0, 10.0, 6.0]), 10.0
    np.testing.assert_allclose(SignStep(0.2).eps(5, load, L) * (L - load), [-0.2, 0, 0.2])
    np.testing.assert_allclose(ConstStep(0.2).eps(4, load, L), np.full(3, 0.02))
    np.testing.assert_allclose(SqrtStep(0.2).eps(4, load, L), np.full(3, 0.01))
    np.testing.assert_allclose(InvStep(0.2).eps(4, load, L), np.full(3, 0.005))
    close = np.array([11.0, 10.5, 9.0])  # one token, or half of one, counts in full
    np.testing.assert_allclose(SignStep(0.2).eps(1, close, L) * (L - close), [-0.2, -0.2, 0.2])
    assert SignStep().u == 0.001
    assert (ConstStep().u, SqrtStep().u, InvStep().u) == (0.05, 0.1, 1.0)
    assert SignStep(0.0).eps(1, load, L).tolist() == [0, 0, 0]
    assert repr(SignStep(0.5)) == "SignStep(0.5)"
    assert SignStep(0.5) == SignStep(0.5) != InvStep(0.5)
    assert hash(SignStep(0.5)) == hash(SignStep(0.5))


def test_batches_run_side_by_side():
    g = scores(32, 4, lead=(3,))
    together = al.alf_lb(g, 2, SqrtStep(0.1), 25)
    for i in range(3):
        alone = al.alf_lb(g[i], 2, SqrtStep(0.1), 25)
        np.testing.assert_array_equal(together.loads[:, i], alone.loads)
        np.testing.assert_allclose(together.lagrangian[:, i], alone.lagrangian)
        np.testing.assert_allclose(together.margin[:, i], alone.margin)
        np.testing.assert_allclose(together.benefit[:, i], alone.benefit)
    np.testing.assert_allclose(al.dual_value(g, together.p, 2), together.lagrangian[-1])
    np.testing.assert_allclose(al.lagrangian(g, together.x, together.p, 2), together.lagrangian[-1])


@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_resumed_in_the_middle_goes_on_alike(rule):
    g = scores(40, 5)
    whole, first = al.alf_lb(g, 1, rule, 20), al.alf_lb(g, 1, rule, 8)
    kept = pickle.loads(pickle.dumps(copy.deepcopy(first)))
    rest = al.alf_lb(g, 1, rule, 12, p0=kept.p, n0=kept.n)
    np.testing.assert_array_equal(rest.prices[1:], whole.prices[9:])
    np.testing.assert_array_equal(rest.x, whole.x)
    assert rest.n == whole.n == 20


def test_lower_precision_and_lists():
    g = scores(30, 3)
    low = al.alf_lb(g.astype(np.float16), 1, SqrtStep(0.1), 10)
    assert low.p.dtype == np.float64
    np.testing.assert_array_equal(al.alf_lb(g.tolist(), 1, SqrtStep(0.1), 10).p, al.alf_lb(g, 1, SqrtStep(0.1), 10).p)


def test_violation():
    assert al.max_violation([10, 10, 10]) == 0
    assert al.max_violation([30, 0, 0]) == 2
    np.testing.assert_allclose(al.max_violation([[3, 1], [2, 2]]), [0.5, 0])
    with pytest.raises(ValueError, match="load"):
        al.max_violation([0, 0])


def test_bad_input_is_refused_by_name():
    g = scores(10, 3)
    with pytest.raises(ValueError, match="K must be an integer at least 1 and at most 3"):
        al.alf_lb(g, 4, SignStep(), 3)
    with pytest.raises(ValueError, match="whole"):
        al.solve_assignment_lp(g, 1)
    with pytest.raises(TypeError, match="step must be a step rule"):
        al.alf_lb(g, 1, 0.1, 3)
    with pytest.raises(ValueError, match="p0 must have shape"):
        al.alf_lb(g, 1, SignStep(), 3, p0=[0.0, 0.0])
    with pytest.raises(ValueError, match="u must be"):
        SignStep(-1)
    with pytest.raises(ValueError, match="gamma must be finite"):
        al.dual_value(g * np.nan, np.zeros(3), 1)
    with pytest.raises(ValueError, match="gamma must be small"):
        al.dual_value(g * 1e200, np.zeros(3), 1)
    with pytest.warns(UserWarning, match="nothing to balance"):
        al.alf_lb(g, 3, SignStep(), 1)
    with pytest.raises(ValueError, match="x must"):
        al.lagrangian(g, np.ones((3, 10)), np.zeros(3), 1)


@pytest.mark.parametrize("scale", [1e-100, 1e-12, 1e-6, 1e6, 1e100])
def test_the_program_does_not_depend_on_the_unit_of_the_affinities(scale):
    """A solver's tolerances are absolute: small affinities once came back 17 percent short, as a success."""
    g = scores(64, 4)
    best, other = al.solve_assignment_lp(g, 2), al.solve_assignment_lp(scale * g, 2)
    assert other.success
    assert other.fun == pytest.approx(scale * best.fun, rel=1e-12)
    np.testing.assert_array_equal(other.x, best.x)
    np.testing.assert_allclose(other.prices, scale * best.prices, rtol=1e-9)
    assert al.dual_value(scale * g, other.prices, 2) == pytest.approx(other.fun, rel=1e-12)


def test_experts_in_another_order_are_the_same():
    g, order = scores(64, 5), np.array([3, 0, 4, 1, 2])
    for rule in RULES:
        one, two = al.alf_lb(g, 2, rule, 40), al.alf_lb(g[:, order], 2, rule, 40)
        np.testing.assert_allclose(two.prices, one.prices[:, order], atol=1e-12)
        np.testing.assert_array_equal(two.loads, one.loads[:, order])


def test_loads_and_targets_of_absurd_size_are_named():
    with pytest.raises(ValueError, match="load"):
        al.max_violation([1e308, 1e308])
    with pytest.raises(ValueError, match="target"):
        ConstStep(0.1).eps(1, [0.0, 0.0], 1e-310)


@pytest.mark.parametrize(("T", "E", "K"), [(4, 2, 1), (6, 3, 1), (3, 3, 2), (4, 4, 2), (6, 3, 2)])
def test_the_program_is_the_best_of_all_balanced_assignments(T, E, K):
    gamma = np.random.default_rng(T).random((T, E)).round(2)  # some ties
    best = -np.inf
    for chosen in itertools.product(itertools.combinations(range(E), K), repeat=T):
        if (np.bincount(np.concatenate(chosen), minlength=E) == K * T // E).all():
            best = max(best, sum(gamma[i, list(c)].sum() for i, c in enumerate(chosen)))
    assert al.solve_assignment_lp(gamma, K).fun == pytest.approx(best, abs=1e-9)
