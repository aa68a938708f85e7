"""The guarantees: closed forms against quadrature and an ODE solver, the paper's constants, coupled runs."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from scipy.integrate import quad, solve_ivp

from lib.online import online_matching as om
from lib.online.online_matching import gains, lps, study

#: Solved once for all tests.
solved = functools.cache(om.competitive_ratio)
LOADS = np.array([0.0, 0.1, 0.5, 1.0, 2.0, 4.0, 7.0])


def test_constants_of_the_abstracts():
    assert round(om.competitive_ratio("stochastic", "none").ratio, 4) == 0.5963  # Goyal and Udwani: 0.596
    assert round(om.competitive_ratio("stochastic", "equal").ratio, 4) == 0.6137  # the paper: 0.613
    assert 0.611 < solved("stochastic", "general").ratio < 0.6137  # the paper: 0.611
    assert round(om.competitive_ratio("configuration", "equal").ratio, 4) == 0.5761  # Huang and Zhang: 0.576
    assert round(solved("configuration", "general").ratio, 3) == 0.574  # Huang and Zhang: 0.572
    assert om.competitive_ratio("configuration", "none").ratio == 0.5
    assert pytest.approx(2 - 2 * np.log(2), rel=1e-15) == gains.EQUAL
    assert pytest.approx(quad(lambda x: np.exp(-x) / (1 + x), 0, np.inf)[0], abs=1e-10) == gains.GOMPERTZ


def test_the_gain_of_no_knowledge_is_its_integral():
    for load in LOADS:
        integral = np.exp(load) * quad(lambda z: np.exp(-z) * z / (1 + z), load, np.inf)[0]
        assert gains.gain_goyal_udwani(load) == pytest.approx(integral, abs=1e-8)
    assert gains.gain_goyal_udwani([499.9, 500.1]) == pytest.approx(1 - 1 / np.array([501.9, 502.1]), abs=1e-6)


def test_the_gain_of_equal_chances_solves_its_equation():
    f = 1 - gains.gain_equal(LOADS)
    kept = 2 * np.exp(-LOADS / 2) - np.exp(-LOADS)
    own = np.array([quad(lambda z: np.exp(-z) * float(gains.gain_equal(z)), 0, x, epsabs=1e-13)[0] for x in LOADS])
    np.testing.assert_allclose(own + f * kept, gains.EQUAL, atol=1e-11)
    near = 2 * np.log(1e3)  # where the series takes over
    assert gains.gain_equal(near - 1e-6) == pytest.approx(gains.gain_equal(near + 1e-6), abs=1e-8)
    assert gains.gain_equal(np.inf) == 1.0


def test_kept_masses_are_their_integrals():
    for x in LOADS:
        late = quad(lambda t: t * np.exp(-t), x, np.inf)[0]
        early = quad(lambda t, x=x: max(2 * t - x, 0) * np.exp(-t), 0, x, points=[x / 2])[0]
        assert gains.kept_mass("stochastic", "none", x, 0) == pytest.approx(late, abs=1e-9)
        assert gains.kept_mass("stochastic", "equal", x, 0) == pytest.approx(late + early, abs=1e-7)
        early = quad(lambda t, x=x: max(1 - (x - t), 0) * np.exp(-t), 0, x, points=[max(x - 1, 0)])[0]
        assert gains.kept_mass("configuration", "none", x, 0) == pytest.approx(np.exp(-x), abs=1e-12)
        assert gains.kept_mass("configuration", "equal", x, 0) == pytest.approx(np.exp(-x) + early, abs=1e-7)


@pytest.mark.parametrize("bound", gains.BENCHMARKS)
def test_general_kept_mass_is_its_integral(bound):
    x = np.linspace(0, 6, 1201)
    f = 0.6 * np.exp(-0.6 * x)
    area = 1 - np.exp(-0.6 * x)
    kept = gains.kept_mass(bound, "general", x, f)
    for k in (0, 100, 400, 1000):
        theta = np.linspace(0, x[k], 4001)
        mass = theta if bound == "stochastic" else np.ones_like(theta)
        early = np.maximum(mass - (area[k] - (1 - np.exp(-0.6 * theta))) / f[k], 0) * np.exp(-theta)
        late = (1 + x[k]) * np.exp(-x[k]) if bound == "stochastic" else np.exp(-x[k])
        assert kept[k] == pytest.approx(late + np.trapezoid(early, theta), abs=2e-5)


@pytest.mark.parametrize("bound", gains.BENCHMARKS)
@pytest.mark.parametrize("displaced", gains.DISPLACED)
def test_the_guarantee_is_the_same_at_every_load(bound, displaced):
    found = solved(bound, displaced)
    near = found.loads < 8
    tight = 2e-4 if displaced == "general" else 1e-7
    np.testing.assert_allclose(found.achieved[near], found.ratio, atol=tight)
    assert found.gains[0] == pytest.approx(1 - found.ratio)
    assert (np.diff(found.gains) >= -1e-12).all()
    assert 0 <= found.gains.min() <= found.gains.max() <= 1


def test_equal_chances_by_a_solver():
    def slope(x, f):
        return (f * np.exp(-x / 2) - np.exp(-x)) / (2 * np.exp(-x / 2) - np.exp(-x))

    f = solve_ivp(slope, (60, 0), [0.5], rtol=1e-11, atol=1e-13, t_eval=LOADS[::-1]).y[0, ::-1]
    np.testing.assert_allclose(f, 1 - gains.gain_equal(LOADS), atol=1e-8)


def test_the_slope_follows_from_the_guarantee():
    # F' = 0 with the kept mass of the general case, by differences along the solution
    for bound in gains.BENCHMARKS:
        found = solved(bound, "general")
        moves = np.gradient(found.achieved, found.loads)
        assert np.abs(moves[25:400]).max() < 1e-3


def test_a_higher_start_is_infeasible():
    x = np.linspace(0, gains.REACH, 601)
    best = solved("stochastic", "general").ratio
    _, good = gains._shoot("stochastic", np.array([best - 1e-3, best + 1e-3]), x)
    assert good.tolist() == [True, False]


def test_literal_values_of_the_gains():
    assert om.gain_function("goyal-udwani")([0.0, 1.0]) == pytest.approx([0.403653, 0.638671], abs=1e-6)
    assert om.gain_function("equal")([0.0, 0.5, 3.0]) == pytest.approx([0.386294, 0.547082, 0.884038], abs=1e-6)
    assert om.gain_function("configuration")([0.0, 0.5, 1.0, 9.0]) == pytest.approx(
        [0.423898, 0.576701, 1 - np.exp(-1), 1 - np.exp(-1)], abs=1e-4
    )
    assert om.gain_function("general")(0.0) == pytest.approx(1 - solved("stochastic", "general").ratio, abs=1e-4)


def test_defaults_are_what_the_page_says():
    assert om.StochasticBalance().gain == "equal"
    assert om.competitive_ratio().ratio == gains.EQUAL
    assert gains.REACH == 12.0
    assert policies_tie() == 1e-9


def policies_tie():
    from lib.online.online_matching import policies

    return policies.TIED


@pytest.mark.parametrize("seed", range(6))
def test_an_early_success_displaces_no_more_than_it_frees(seed):
    board = study.random_graph(5, 60, 0.6, 0.12, equal=True, seed=seed)
    found = study.displacement(board, u=seed % 5, pairs=40, seed=seed)
    assert (found.fallen <= found.missed).all()
    assert found.sinking == 0
    assert found.missed.max() > 0
    mixed = study.random_graph(5, 120, 0.6, 0.08, seed=seed)
    prices = study.price_loss(mixed, gain="equal", pairs=40, seed=seed)
    assert (prices.loss <= prices.area + 0.09).all()
    assert prices.sinking < 1.5


def test_finite_lists_are_no_worse():
    at = np.linspace(0, 6, 25)
    own = gains.cumulative_simpson(np.exp(-at) * gains.gain_equal(at), x=at, initial=0)
    masses = np.array([0.05, 0.3, 1, 3, 9])
    have = own[:, None] + (1 - gains.gain_equal(at))[:, None] * study.least_mass(at, masses)
    assert (have >= gains.EQUAL * (1 - np.exp(-masses)) - 2e-3).all()
    np.testing.assert_allclose(study.least_mass(at, [60.0])[:, 0], gains.kept_mass("stochastic", "equal", at, 0), atol=2e-3)


def test_best_list_is_the_best_of_all():
    rng = np.random.default_rng(0)
    for _ in range(20):
        p, beta = rng.random((1, 5)) * (rng.random((1, 5)) < 0.8), rng.random(5) / 2
        problem = om.StochasticMatching(p, [1.5])
        best = 0.0
        for _, offers in lps.all_columns(problem):
            q = p[0, list(offers)]
            best = max(best, 1.5 * (1 - np.prod(1 - q)) - beta[list(offers)] @ lps.survivals(q))
        values, taken = lps.best_column(p[0], beta, 1.5)
        assert values[0] == pytest.approx(best, abs=1e-12)
        offers = np.flatnonzero(taken)
        if len(offers):
            got = 1.5 * (1 - np.prod(1 - p[0, offers])) - beta[offers] @ lps.survivals(p[0, offers])
            assert got == pytest.approx(best, abs=1e-12)
        np.testing.assert_allclose(lps.opportunity(problem, beta)[0], values, atol=1e-12)
