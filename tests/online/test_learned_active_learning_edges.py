"""Values at the edges: near-certain answers, tied instances, baselines, early stops."""

import itertools

import numpy as np
import pytest
import torch
from scipy.optimize import linprog

from lib.online import learned_active_learning as lal
from lib.online.learned_active_learning import (
    MAPO,
    Episodes,
    Lattice,
    QueryPolicy,
    best_arm,
    draw_class,
    instance_scores,
    learn_robust,
    solve_game,
    thresholds,
)
from lib.online.learned_active_learning.hardness import scaled


def test_scores_of_near_certain_answers_are_exact():
    counts, sums = np.array([[[0.0]], [[1.0]]]), np.array([[[0.0]], [[1.0]]])
    played = Episodes(counts, sums, np.array([[0]]), np.array([[1.0]]), np.array([[0.5, 0.5]]))
    assert np.isclose(instance_scores(played, np.array([[-0.99]]))[0, 0], 1 / 0.01)
    refused = Episodes(counts, -sums, np.array([[0]]), np.array([[-1.0]]), np.array([[0.5, 0.5]]))
    assert np.isclose(instance_scores(refused, np.array([[0.99]]))[0, 0], -1 / 0.01)


def test_a_tied_instance_is_not_scaled():
    rows = np.array([[0.3, 0.3], [0.1, 0.0]])
    moved, inside = scaled(rows, 100.0, best_arm(2))
    assert np.array_equal(moved[0], rows[0])
    assert inside.tolist() == [False, True]


def test_a_loss_that_is_known_moves_no_instance():
    problem = thresholds(1)
    policy = QueryPolicy(problem, 2, hidden=2, seed=0, factor=0.0)
    with torch.no_grad():
        for parameter in policy.layers[-1].parameters():
            parameter.zero_()  # every recommendation is a coin: the loss is 1/2 whatever is asked
    mapo = MAPO(problem, 2, [[0.5]], 5.0, policy=policy, rollouts="sampled", lr=1e-12, move=0.1, every=100, batch=64, seed=0)
    mapo.step()
    first = mapo._slopes.copy()
    mapo.step()
    assert np.abs(first).max() > 0.1
    assert np.allclose(mapo._slopes, first, atol=1e-6)


def test_a_game_stops_at_its_tolerance():
    lattice = Lattice(thresholds(2), 3)
    thetas = draw_class(thresholds(2), 8.0, 12, seed=0)
    loose, tight = (solve_game(lattice, thetas, rounds=300, tol=tol) for tol in (0.05, 0.0))
    assert loose.upper - loose.lower <= 0.05
    assert loose.upper - loose.lower > tight.upper - tight.lower


def test_the_robust_training_goes_on_from_the_hardest_specialist():
    made = learn_robust(thresholds(2), 3, [4.0, 16.0], particles=4, seed=0, iterations=2, hidden=3, lr=1e-9)
    easy, hard, robust = (run.policy.layers[0].weight.detach().numpy() for run in made.runs)
    assert np.allclose(robust, hard, atol=1e-6)
    assert not np.allclose(robust, easy, atol=1e-3)


@pytest.mark.parametrize("kind", ["network", "table"])
def test_a_policy_is_played_answer_by_answer(kind):
    """What to ask and what to recommend agree with the probabilities, from a history of pairs."""
    problem = lal.thresholds(3)
    policy = lal.QueryPolicy(problem, 4, hidden=4, seed=0) if kind == "network" else lal.TablePolicy(lal.Lattice(problem, 4))
    history = [(1, -1), (2, 1), (1, -1)]
    chances = policy.probabilities([[0, 2, 1]], [[0, -2, 1]])[0][0]
    rng = np.random.default_rng(0)
    asked = np.bincount([policy.query(history, rng) for _ in range(2000)], minlength=3) / 2000
    assert np.abs(asked - chances).max() < 4 * np.sqrt(0.25 / 2000)
    assert policy.query(history, 3) == policy.query(history, 3)
    assert 0 <= policy.query(seed=1) < 3
    full = [*history, (0, -1)]
    assert policy.recommend(full) == policy.probabilities([[1, 2, 1]], [[-1, -2, 1]])[1][0].argmax()
    for bad, word in ((full, "at most 3"), ([(3, 1)], "integer"), ([(0, 2)], "answers of -1 or 1"), ([(0,)], "shape")):
        with pytest.raises(ValueError, match=word):
            policy.query(bad)
    with pytest.raises(ValueError, match="4 answers before"):
        policy.recommend(history)


def test_probabilities_name_what_they_refuse():
    policy = lal.QueryPolicy(lal.thresholds(3), 4, hidden=4, seed=0)
    for counts, sums, word in (
        ([[np.nan, 0, 0]], [[0, 0, 0]], "counts"),
        ([[0, 0]], [[0, 0]], "counts"),
        ([[0, 0, 0]], [[0, 0]], "sums"),
    ):
        with pytest.raises(ValueError, match=word):
            policy.probabilities(counts, sums)
    single = lal.QueryPolicy(lal.thresholds(3), 4, hidden=4, seed=0).float()
    for a, b in zip(
        single.probabilities([[1, 0, 0]], [[1, 0, 0]]), policy.probabilities([[1, 0, 0]], [[1, 0, 0]]), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=1e-5)


def test_complexity_does_not_depend_on_units_or_order():
    thetas = np.array([[-0.8, 0.2, 0.6], [0.5, 0.4, 0.9]])
    problem = lal.thresholds(3)
    rho = lal.complexity(thetas, problem)[0]
    for scale in (1e-100, 1e-8, 1e8, 1e100):
        np.testing.assert_allclose(lal.complexity(scale * thetas, problem)[0] * scale**2, rho, rtol=3e-3)
        np.testing.assert_allclose(lal.complexity(thetas, lal.BanditProblem(scale * problem.Z))[0], rho, rtol=3e-3)
    order = [2, 0, 1]
    turned = lal.complexity(thetas[:, order], lal.BanditProblem(problem.Z[::-1, order]))[0]
    np.testing.assert_allclose(turned, rho, rtol=3e-3)


@pytest.mark.parametrize("unit", [2.0**-40, 2.0**40])
def test_regret_in_another_unit_is_the_same_game(unit):
    """Weights once moved by the loss itself: in large units the bounds stayed far apart, in small ones as well."""
    thetas = [[0.5, 0.2, 0.1], [0.1, 0.4, 0.2], [0.0, 0.1, 0.3], [-0.3, -0.2, -0.5]]
    games = []
    for scale in (1.0, unit):
        problem = lal.BanditProblem(scale * np.eye(3), "regret")
        games.append(lal.solve_game(lal.Lattice(problem, 3), thetas, rounds=60))
    assert games[1].lower == pytest.approx(unit * games[0].lower, rel=1e-9)
    assert games[1].upper == pytest.approx(unit * games[0].upper, rel=1e-9)
    assert games[0].upper - games[0].lower < 0.01
    rows = []
    for scale in (1.0, unit):
        table = lal.TablePolicy(lal.Lattice(lal.BanditProblem(scale * np.eye(3)), 2))
        rows.append(table.probabilities([[1, 1, 0]], [[1, -1, 0]])[1])
    np.testing.assert_array_equal(*rows)


def test_the_game_is_the_linear_program_over_all_plans():
    thetas = np.array([[0.7, 0.5], [-0.4, 0.6], [-0.5, -0.3]])
    problem = lal.thresholds(2)
    costs, rows = problem.losses(thetas), []
    for first, *rest in itertools.product(range(2), range(2), range(2), *[range(3)] * 4):
        then, told = rest[:2], rest[2:]  # what is asked after either answer, what is recommended after all four
        rows.append([
            sum((1 + y * theta[first]) / 2 * (1 + z * theta[then[a]]) / 2 * cost[told[2 * a + b]]
                for a, y in enumerate((1, -1)) for b, z in enumerate((1, -1)))
            for theta, cost in zip(thetas, costs, strict=True)
        ])  # fmt: skip
    table = np.array(rows)
    m, k = table.shape
    value = linprog(
        np.r_[np.zeros(m), 1], np.c_[table.T, -np.ones(k)], np.zeros(k), [np.r_[np.ones(m), 0]], [1],
        [(0, None)] * m + [(None, None)],
    ).fun  # fmt: skip
    game = lal.solve_game(lal.Lattice(problem, 2), thetas, rounds=2000)
    assert game.lower - 1e-9 <= value <= game.upper + 1e-9
    assert game.upper - game.lower < 3e-4


def test_hypotheses_in_another_order_are_the_same_game():
    thetas = [[0.5, 0.4], [-0.3, 0.2]]
    rows = np.array([[1.0, 1.0], [-1.0, 1.0], [-1.0, -1.0]])
    games = []
    for order in ([0, 1, 2], [2, 0, 1]):
        lattice = lal.Lattice(lal.BanditProblem(rows[order]), 3)
        games.append([*lattice.losses(lal.TablePolicy(lattice), thetas), lal.solve_game(lattice, thetas, rounds=100).lower])
    np.testing.assert_allclose(games[0], games[1], rtol=1e-9)
