"""Gaussian answers: rollouts, gradients by quadrature, classes without bounds on entries, training."""

import numpy as np
import pytest
import torch

from lib.online.learned_active_learning import (
    MAPO,
    BanditProblem,
    Episodes,
    Lattice,
    QueryPolicy,
    best_arm,
    complexity,
    draw_class,
    instance_scores,
    learn_robust,
    policy_surrogate,
    project,
    rollout,
    thresholds,
)
from lib.online.learned_active_learning.study import Uniform, all_episodes

NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(80)
WEIGHTS = WEIGHTS / WEIGHTS.sum()


def test_answers_have_the_mean_and_the_unit_variance():
    problem = BanditProblem([[1, 0], [0, 1]], noise="gaussian")
    played = rollout(Uniform(problem), problem, np.tile([[3.0, -0.5]], (20_000, 1)), 2, seed=0)
    for i, mean in enumerate((3.0, -0.5)):
        answers = played.answers[played.actions == i]
        assert abs(answers.mean() - mean) < 4 / np.sqrt(len(answers))
        assert abs(answers.var() - 1) < 4 * np.sqrt(2 / len(answers))
    assert played.noise == "gaussian"


@pytest.mark.parametrize("loss", ["error", "regret"])
def test_both_estimates_have_the_exact_gradient_as_their_mean(loss):
    # One query of one entry and one answer: expectations are integrals over a normal number.
    problem, theta = BanditProblem([[1.0], [-1.0]], loss, "gaussian"), 0.7
    policy = QueryPolicy(problem, 1, hidden=4, seed=3)

    def episodes(at):
        answers = at + NODES
        counts, sums = np.zeros((2, 80, 1)), np.zeros((2, 80, 1))
        counts[1], sums[1, :, 0] = 1, answers
        return Episodes(
            counts, sums, np.zeros((1, 80), dtype=int), answers[None], policy.probabilities(counts[1], sums[1])[1], "gaussian"
        )

    def exact(at):
        played = episodes(at)
        return WEIGHTS @ played.losses(np.repeat(problem.losses([[at]]), 80, axis=0))

    played = episodes(theta)
    costs = np.repeat(problem.losses([[theta]]), 80, axis=0)
    scores = instance_scores(played, np.full((80, 1), theta))[:, 0]
    inner = 0.0
    if loss == "regret":
        inner = WEIGHTS @ (problem.Z[0, 0] - played.decisions @ problem.Z[:, 0])
    estimate = WEIGHTS @ ((played.losses(costs) - 0.3) * scores) + inner
    h = 1e-5
    assert estimate == pytest.approx((exact(theta + h) - exact(theta - h)) / (2 * h), abs=1e-7)

    value, _ = policy_surrogate(policy, played, costs * (80 * WEIGHTS)[:, None])  # one query: only the recommendation learns
    value.backward()
    slope = policy.factor.grad.item()
    with torch.no_grad():
        policy.factor += h
        high = exact(theta)
        policy.factor -= 2 * h
        low = exact(theta)
    assert slope == pytest.approx((high - low) / (2 * h), abs=1e-7)


def test_scores_are_residuals_summed_by_query():
    problem = thresholds(2, noise="gaussian")
    thetas = np.tile([[0.4, 2.0]], (5, 1))
    played = rollout(Uniform(problem), problem, thetas, 6, seed=1)
    by_hand = np.zeros((5, 2))
    for t in range(6):
        for b in range(5):
            i = played.actions[t, b]
            by_hand[b, i] += played.answers[t, b] - thetas[b, i]
    assert np.allclose(instance_scores(played, thetas), by_hand)


def test_classes_have_no_bound_on_entries():
    problem = best_arm(2, noise="gaussian")
    assert complexity([[3.0, 1.0]], problem)[0][0] == pytest.approx(1.0)  # 4 / gap^2
    easy = draw_class(problem, 0.5, 20, seed=0)
    assert np.abs(easy).max() > 1
    assert np.allclose(complexity(easy, problem)[0], 0.5, rtol=5e-3)
    assert project([[0.1, 0.0]], 0.25, problem)[0].tolist() == pytest.approx([4.0, 0.0])
    with pytest.raises(ValueError, match="hardly any"):
        draw_class(best_arm(2), 0.5, 20, seed=0)


def test_training_with_sampled_episodes_lowers_the_worst_loss_and_moves_instances():
    problem = thresholds(2, noise="gaussian")
    thetas = draw_class(problem, 4.0, 12, seed=0)
    trained = MAPO(problem, 4, thetas, 4.0, rollouts="sampled", iterations=250, lr=0.02, rate=0.3, move=0.1, batch=256,
                   hidden=8, seed=0).run()  # fmt: skip
    assert not np.array_equal(trained.thetas, thetas)
    assert (complexity(trained.thetas, problem)[0] <= 4.0 * 1.01).all()

    def worst(policy):
        each = [rollout(policy, problem, np.tile(theta, (3000, 1)), 4, seed=1) for theta in thetas]
        return max(e.losses(np.repeat(problem.losses([t]), 3000, 0)).mean() for e, t in zip(each, thetas, strict=True))

    assert worst(trained.answer()) < worst(Uniform(problem)) - 0.05


def test_the_workflow_and_play_by_hand():
    problem = thresholds(2, noise="gaussian")
    made = learn_robust(problem, 3, [2.0, 8.0], particles=4, seed=0, iterations=6, rollouts="sampled", batch=32, hidden=4)
    assert made.robust.query([(0, -1.7)], seed=0) in (0, 1)
    assert made.robust.recommend([(0, -2.5), (1, 3.1), (1, 0.4)]) in (0, 1, 2)


def test_what_needs_finitely_many_answers_says_so():
    problem = thresholds(2, noise="gaussian")
    for call in (
        lambda: Lattice(problem, 3),
        lambda: MAPO(problem, 3, [[0.5, 2.0]]),
        lambda: all_episodes(None, problem, [1.5, 2], 2),
    ):
        with pytest.raises(ValueError, match="noise='gaussian'"):
            call()
    with pytest.raises(ValueError, match="noise must be"):
        BanditProblem([[1], [-1]], noise="cauchy")
    with pytest.raises(ValueError, match="thetas"):
        rollout(Uniform(thresholds(2)), thresholds(2), [[0.5, 2.0]], 2)
    with pytest.raises(ValueError, match="finite"):
        rollout(Uniform(problem), problem, [[0.5, 1e200]], 2)
