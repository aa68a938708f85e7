"""Values at the edges: near-certain answers, tied instances, baselines, early stops."""

import numpy as np
import torch

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
