"""Online matching: small cases by hand, independent oracles, limits, bad input."""

from __future__ import annotations

import copy
import itertools
import pickle

import numpy as np
import pytest
from scipy.optimize import linprog
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching

from lib.online import online_matching as om
from lib.online.online_matching import lps, policies, simulation
from lib.online.online_matching.study import LeastLoaded, ladder, random_graph, triangle

RULES = [om.StochasticBalance(), om.Greedy(), om.RandomPolicy(), om.Ranking()]
SMALL = [random_graph(3, 6, p=0.9, seed=s) for s in range(6)]


def test_module_says_what_it_implements():
    assert "Not" in om.__doc__
    assert "(8)" in om.__doc__


def test_one_advertiser_gets_the_chance_of_any_success():
    p = np.array([[0.3, 0.5, 0.4]])
    chance = 1 - np.prod(1 - p)
    steps = ladder(p)
    assert steps.balance == pytest.approx(chance)
    assert steps.optimum == pytest.approx(chance)
    assert steps.stochastic == pytest.approx(chance)
    assert steps.matching == pytest.approx(1.0)
    assert om.matching_lp([[0.3, 0.1]]).fun == pytest.approx(0.4)


def test_two_by_two_by_hand():
    P = [[0.5, 0.5], [0.5, 0.0]]
    steps = ladder(P)
    assert steps == pytest.approx((0.875, 1.0, 1.0, 1.0, 1.0))


@pytest.mark.parametrize("seed", range(5))
def test_certain_successes_give_a_maximum_matching(seed):
    rng = np.random.default_rng(seed)
    edges = (rng.random((5, 6)) < 0.3).astype(float)
    size = int((maximum_bipartite_matching(csr_array(edges)) >= 0).sum())
    assert om.stochastic_configuration_lp(edges).fun == pytest.approx(size)
    assert om.offline_optimum(edges).value == pytest.approx(size)
    near = edges * (1 - 1e-12)
    assert om.stochastic_configuration_lp(near).fun == pytest.approx(size, rel=1e-9)


def brute_force_optimum(P, w):
    """The best planner by plain recursion over the set of living vertices."""
    n, m = P.shape

    def best(v, alive):
        if v == m:
            return 0.0
        options = [best(v + 1, alive)]
        for u in alive:
            p = P[u, v]
            options.append(p * (w[u] + best(v + 1, alive - {u})) + (1 - p) * best(v + 1, alive))
        return max(options)

    return best(0, frozenset(range(n)))


def brute_force_sclp(P, w):
    """Program (5), column by column, straight from its definition."""
    n, m = P.shape
    worth, rows = [], []
    for u in range(n):
        for size in range(1, m + 1):
            for S in itertools.combinations(range(m), size):
                row, left = np.zeros(n + m), 1.0
                row[u] = 1.0
                for v in S:
                    row[n + v] = left
                    left *= 1 - P[u, v]
                worth.append(w[u] * (1 - left))
                rows.append(row)
    return -linprog(-np.array(worth), np.array(rows).T, np.ones(n + m)).fun


@pytest.mark.parametrize("seed", range(4))
def test_optimum_and_program_equal_their_definitions(seed):
    rng = np.random.default_rng(seed)
    P = rng.random((3, 5)) * (rng.random((3, 5)) < 0.7)
    w = rng.uniform(0.5, 2, 3)
    problem = om.StochasticMatching(P, w)
    assert om.offline_optimum(problem).value == pytest.approx(brute_force_optimum(P, w), rel=1e-12)
    assert om.stochastic_configuration_lp(problem).fun == pytest.approx(brute_force_sclp(P, w), rel=1e-8)


@pytest.mark.parametrize("method", ["compact", "columns", "generation"])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_forms_agree_and_prices_are_a_dual_solution(method, weighted):
    for s, board in enumerate(SMALL):
        problem = om.StochasticMatching(board.P, np.random.default_rng(s).uniform(0.5, 2, 3) if weighted else None)
        found = om.stochastic_configuration_lp(problem, method)
        assert found.success
        assert found.fun == pytest.approx(om.stochastic_configuration_lp(problem).fun, rel=1e-7)
        assert (found.alpha >= -1e-9).all()
        assert (found.beta >= -1e-9).all()
        assert found.alpha.sum() + found.beta.sum() == pytest.approx(found.fun, rel=1e-7)
        for u, offers in lps.all_columns(problem):
            p = problem.P[u, list(offers)]
            left = np.array([np.prod(1 - p[:k]) for k in range(len(p))])
            worth = problem.weights[u] * (1 - np.prod(1 - p))
            assert worth <= found.alpha[u] + found.beta[list(offers)] @ left + 1e-7
        # the offers are a solution: nobody is offered twice, and their successes are the value
        assert found.x.sum(axis=0).max() <= 1 + 1e-7
        assert (problem.weights @ (problem.P * found.x)).sum() == pytest.approx(found.fun, rel=1e-7)


def test_columns_hold_what_the_value_is_made_of():
    problem = SMALL[0]
    found = om.stochastic_configuration_lp(problem, "generation")
    value = sum(c.weight * (1 - np.prod(1 - problem.P[c.u, list(c.offers)])) for c in found.columns)
    assert value == pytest.approx(found.fun, rel=1e-7)
    worth = sum(c.weight * min(1, problem.P[c.u, list(c.offers)].sum()) for c in om.configuration_lp(problem).columns)
    assert worth == pytest.approx(om.configuration_lp(problem).fun, rel=1e-7)


def test_column_generation_that_is_cut_short_is_no_success():
    found = om.stochastic_configuration_lp(triangle(4, 0.25), "generation", max_rounds=1)
    assert not found.success
    assert found.status == 1
    assert found.fun < om.stochastic_configuration_lp(triangle(4, 0.25)).fun


@pytest.mark.parametrize("seed", range(8))
def test_the_ladder_holds(seed):
    board = random_graph(3, 7, p=[0.1, 0.5, 0.95][seed % 3], seed=seed)
    steps = ladder(board)
    assert steps.violations() == 0
    assert steps.balance <= steps.optimum + 1e-12


def test_the_configuration_lp_may_be_below_the_best_planner():
    dense = np.full((2, 3), 0.8)
    assert om.configuration_lp(dense).fun == pytest.approx(1.8)
    assert om.offline_optimum(dense).value == pytest.approx(1.888)


def test_order_matters_to_the_stochastic_program_only():
    board = om.StochasticMatching([[0.5, 0.5, 0.0], [0.0, 0.5, 0.5]])
    other = board.permuted([1, 0, 2])
    assert om.matching_lp(board).fun == pytest.approx(om.matching_lp(other).fun)
    assert om.configuration_lp(board).fun == pytest.approx(om.configuration_lp(other).fun)
    assert om.stochastic_configuration_lp(board).fun > om.stochastic_configuration_lp(other).fun + 0.1


def test_the_plan_as_a_rule_gets_its_value():
    for board in SMALL:
        plan = om.offline_optimum(board)
        assert om.exact_value(board, plan.policy()) == pytest.approx(plan.value, rel=1e-12)
        assert plan.values[0, -1] == plan.value


def enumerate_balance(P, w, g):
    """Expected reward of Stochastic Balance by recursion, ties shared."""
    n, m = P.shape

    def go(v, loads, alive):
        if v == m:
            return 0.0
        scores = {u: w[u] * P[u, v] * (1 - float(g(np.array(loads[u])))) for u in alive if P[u, v] > 0}
        if not scores:
            return go(v + 1, loads, alive)
        best = max(scores.values())
        tied = [u for u, s in scores.items() if s >= best * (1 - 1e-9)]
        total = 0.0
        for u in tied:
            p, more = P[u, v], list(loads)
            more[u] -= np.log(1 - p)
            total += p * (w[u] + go(v + 1, loads, alive - {u})) + (1 - p) * go(v + 1, tuple(more), alive)
        return total / len(tied)

    return go(0, (0.0,) * n, frozenset(range(n)))


@pytest.mark.parametrize("equal", [False, True])
@pytest.mark.parametrize("kind", ["equal", "goyal-udwani"])
def test_exact_value_is_the_recursion(equal, kind):
    board = random_graph(3, 6, 0.8, 0.6, equal=equal, seed=4)
    w = np.ones(3) if equal else np.array([1.0, 0.7, 1.4])
    problem = om.StochasticMatching(board.P, w)
    expected = enumerate_balance(board.P, w, om.gain_function(kind))
    assert om.exact_value(problem, om.StochasticBalance(kind)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("rule", RULES[:3], ids=repr)
def test_simulation_agrees_with_the_exact_value(rule):
    for s, board in enumerate(SMALL[:3]):
        seen = om.simulate(board, rule, 20_000, seed=s)
        assert abs(seen.value - om.exact_value(board, rule)) < 4.5 * seen.error


def test_ranking_gets_the_classical_value_on_certain_successes():
    # two advertisers, the second visitor wants the first only: y decides, so 1.5 on average
    seen = om.simulate([[1.0, 1.0], [1.0, 0.0]], om.Ranking(), 20_000, seed=0)
    assert abs(seen.value - 1.5) < 4.5 * seen.error


def test_ranking_weighs_chances_by_its_marks():
    marks, p = np.array([[0.9, 0.1]]), np.array([0.5, 0.4])
    view = policies.View(0, np.arange(2), p, np.ones(2), np.zeros((1, 2)), np.ones((1, 2), bool), marks)
    expected = np.array([[0.5 * (1 - np.exp(-0.1)), 0.4 * (1 - np.exp(-0.9))]])
    np.testing.assert_allclose(om.Ranking().scores(view), expected)


def test_equal_chances_make_every_gain_the_least_loaded():
    board = triangle(5, 0.2)
    gains = ["equal", "goyal-udwani", "configuration", lambda load: load / (1 + load)]
    seen = [om.simulate(board, om.StochasticBalance(g), 50, 3, keep_choices=True).choices for g in gains[:2] + gains[3:]]
    seen.append(om.simulate(board, LeastLoaded(), 50, 3, keep_choices=True).choices)
    for other in seen[1:]:
        np.testing.assert_array_equal(seen[0], other)


def test_splitting_brings_the_two_programs_apart_and_keeps_joint_chances():
    board = random_graph(3, 4, p=0.6, seed=1)
    fine = board.split(8)
    assert fine.shape == (3, 32)
    np.testing.assert_allclose(np.prod(1 - fine.P.reshape(3, 4, 8), axis=2), 1 - board.P, rtol=1e-12)
    assert om.stochastic_configuration_lp(fine).fun >= om.stochastic_configuration_lp(board).fun - 1e-9


def test_what_a_run_holds_is_consistent():
    board = random_graph(4, 30, p=0.4, seed=2)
    theta = board.sample_thresholds(200, seed=5)
    seen = om.simulate(board, om.StochasticBalance(), 200, 1, thresholds=theta, keep_choices=True)
    np.testing.assert_array_equal(seen.successes, seen.loads >= theta)
    again = np.zeros_like(seen.loads)
    for row, choices in enumerate(seen.choices):
        for v, u in enumerate(choices):
            if u >= 0:
                assert board.P[u, v] > 0
                assert again[row, u] < theta[row, u], "an offer to one that had succeeded"
                again[row, u] += board.hazards[u, v]
    np.testing.assert_allclose(again, seen.loads)
    np.testing.assert_array_equal(seen.rewards, seen.successes.sum(axis=1))


def test_thresholds_are_exponential_and_rules_share_them():
    theta = triangle(2, 0.5).sample_thresholds(40_000, 0)
    assert abs(theta.mean() - 1) < 0.03
    assert abs((theta > 1).mean() - np.exp(-1)) < 0.01
    a, b = (om.simulate(triangle(1, 0.01), rule, 50, 7).rewards for rule in RULES[:2])
    np.testing.assert_array_equal(a, b)


def test_weights_count():
    problem = om.StochasticMatching([[1.0], [0.5]], [1.0, 3.0])
    assert om.exact_value(problem, om.Greedy()) == pytest.approx(1.5)
    assert om.matching_lp(problem).fun == pytest.approx(1.5)
    assert om.simulate(problem, om.Greedy(), 5000, 0).value == pytest.approx(1.5, abs=0.1)


def test_no_edges_and_certain_edges():
    empty = np.zeros((2, 3))
    for found in (om.matching_lp(empty), om.configuration_lp(empty), *map(om.stochastic_configuration_lp, [empty])):
        assert found.fun == 0
        assert found.success
    assert om.stochastic_configuration_lp(empty, "generation").fun == 0
    assert om.simulate(empty, RULES[0], 3, 0).rewards.tolist() == [0, 0, 0]
    assert om.simulate([[1.0]], RULES[0], 3, 0, thresholds=np.full((3, 1), np.inf)).rewards.tolist() == [1, 1, 1]
    assert om.exact_value(np.ones((2, 2)), RULES[0]) == 2.0


def test_larger_programs_are_solved_by_the_interior_point_method():
    board = triangle(8, 0.1)
    assert 2 * (board.P > 0).sum() < lps.LARGE
    lps_large, saved = om.stochastic_configuration_lp(board).fun, lps.LARGE
    try:
        lps.LARGE = 0
        assert om.stochastic_configuration_lp(board).fun == pytest.approx(lps_large, rel=1e-7)
    finally:
        lps.LARGE = saved


def test_a_matcher_goes_on_after_a_copy_and_matches_the_simulation():
    one = om.OnlineMatcher(3, om.Ranking(), seed=3)
    assert one.offer([0.5, 0.5, 0.5]) is not None
    one.report(False)
    two, three = copy.deepcopy(one), pickle.loads(pickle.dumps(one))
    ends = []
    for matcher in (one, two, three):
        coins, seen = np.random.default_rng(1), []
        for _ in range(6):
            u = matcher.offer([0.4, 0.3, 0.2])
            seen.append(u)
            if u is not None:
                matcher.report(bool(coins.random() < 0.4))
        ends.append((seen, matcher.loads.tolist(), matcher.alive.tolist(), matcher.steps))
    assert ends[0] == ends[1] == ends[2]
    assert ends[0][3] == 7


def test_a_matcher_keeps_its_order_of_calls():
    matcher = om.OnlineMatcher(2, om.StochasticBalance(), seed=0)
    with pytest.raises(RuntimeError, match="no offer"):
        matcher.report(True)
    assert matcher.offer([0.0, 0.0]) is None
    assert matcher.offer([0.0, 0.3]) == 1
    with pytest.raises(RuntimeError, match="report"):
        matcher.offer([0.1, 0.1])
    matcher.report(True)
    assert matcher.loads[1] == pytest.approx(-np.log(0.7))
    assert matcher.offer([0.0, 0.9]) is None


@pytest.mark.parametrize(
    ("P", "message"),
    [
        ([[0.1, 1.2]], r"P\[0, 1\]"),
        ([[-0.1, 0.2]], r"P\[0, 0\]"),
        ([[np.nan]], "P must be finite"),
        ([0.1, 0.2], "P must have 2 dimensions"),
        (np.zeros((0, 3)), "P must not be empty"),
    ],
)
def test_bad_probabilities_are_named(P, message):
    for call in (om.StochasticMatching, om.matching_lp, om.offline_optimum):
        with pytest.raises(ValueError, match=message):
            call(P)


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="weights"):
        om.StochasticMatching([[0.1]], [0.0])
    with pytest.raises(ValueError, match="parts"):
        om.StochasticMatching([[0.1]]).split(0)
    with pytest.raises(ValueError, match="certain"):
        om.StochasticMatching([[1.0]]).split(2)
    with pytest.raises(ValueError, match="permutation"):
        om.StochasticMatching([[0.1, 0.2]]).permuted([0, 0])
    with pytest.raises(TypeError, match="policy"):
        om.simulate([[0.1]], "greedy")
    with pytest.raises(ValueError, match="marks"):
        om.exact_value([[0.1]], om.Ranking())
    with pytest.raises(ValueError, match="gain must give"):
        om.simulate([[0.1]], om.StochasticBalance(lambda load: load + 2), 2, 0)
    with pytest.raises(ValueError, match="gain must give"):
        om.simulate([[0.1]], om.StochasticBalance(lambda load: 0.5), 2, 0)
    with pytest.raises(ValueError, match="kind"):
        om.StochasticBalance("best")
    with pytest.raises(TypeError, match="gain"):
        om.StochasticBalance(3)
    with pytest.raises(ValueError, match="at most 16 rows"):
        om.offline_optimum(np.full((17, 1), 0.1))
    with pytest.raises(ValueError, match="compact form"):
        om.configuration_lp(np.full((1, 15), 0.1))
    with pytest.raises(ValueError, match="another shape"):
        om.simulate([[0.1, 0.1]], om.offline_optimum([[0.1]]).policy(), 1, 0)


def test_too_many_states_are_refused(monkeypatch):
    monkeypatch.setattr(simulation, "MOST_STATES", 50)
    with pytest.raises(ValueError, match="more than 50 states"):
        om.exact_value(np.random.default_rng(0).random((4, 20)) / 2, om.StochasticBalance())


def test_a_user_function_gets_copies():
    def writes(load):
        load[:] = 0.5
        return load

    seen = om.simulate(triangle(3, 0.3), om.StochasticBalance(writes), 20, 0)
    same = om.simulate(triangle(3, 0.3), om.StochasticBalance(lambda load: np.full(load.shape, 0.5)), 20, 0)
    np.testing.assert_array_equal(seen.loads, same.loads)


@pytest.mark.parametrize("unit", [1e-200, 1e-12, 1e-4, 1e6, 1e200])
def test_the_unit_of_the_weights_does_not_matter(unit):
    P, weights = np.array([[0.5, 0.2, 0.3], [0.5, 0.1, 0.9]]), np.array([1.0, 2.0])
    solvers = [om.matching_lp, om.configuration_lp, lambda p: om.stochastic_configuration_lp(p)]
    solvers += [lambda p, method=method: om.stochastic_configuration_lp(p, method) for method in ("columns", "generation")]
    for solve in solvers:
        plain, scaled = (solve(om.StochasticMatching(P, c * weights)) for c in (1.0, unit))
        assert scaled.success
        assert scaled.fun / unit == pytest.approx(plain.fun, rel=1e-8)
        assert (scaled.alpha.sum() + scaled.beta.sum()) / unit == pytest.approx(plain.fun, rel=1e-6)


@pytest.mark.parametrize("p", [1e-300, 1e-12, 1e-7])
def test_tiny_chances_add_up(p):
    board = np.full((2, 3), p)
    values = [om.matching_lp(board).fun, om.offline_optimum(board).value, om.exact_value(board, om.StochasticBalance())]
    values += [om.stochastic_configuration_lp(board, method).fun for method in ("compact", "columns", "generation")]
    np.testing.assert_allclose(values, 3 * p, rtol=1e-5)


def test_an_order_of_broken_numbers_is_refused():
    with pytest.raises(ValueError, match="permutation"):
        om.StochasticMatching([[0.5, 0.4, 0.3]]).permuted([2, 1.9, 0.2])


@pytest.mark.parametrize("kind", ["equal", "general", "goyal-udwani", "configuration"])
def test_gains_want_loads(kind):
    g = om.gain_function(kind)
    far = g([0.0, 1e3, 1e308, np.inf])
    assert np.isfinite(far).all()
    assert (np.diff(far) >= 0).all()
    assert far[-1] <= 1
    for bad in (-1.0, np.nan, [0.5, -5.0]):
        with pytest.raises(ValueError, match="load"):
            g(bad)
