"""Gaussian answers: rollouts, gradients by quadrature, classes without bounds on entries, training."""

import itertools

import numpy as np
import pytest
import torch
from scipy.stats import norm

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
from lib.online.learned_active_learning.study import Halving, SoftBinarySearch, TopTwo, Uniform, all_episodes

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


def every_episode(policy, problem, theta, noise, weights):
    """All queries of two turns at n = 2, with answers at the nodes of a rule of quadrature, and their probabilities."""
    turns = list(itertools.product(range(2), range(2), range(len(noise)), range(len(noise))))
    first, second, a, b = np.array(turns).T
    actions, each = np.stack([first, second]), np.arange(len(turns))
    answers = np.asarray(theta)[actions] + noise[np.stack([a, b])]
    counts, sums = np.zeros((3, len(turns), 2)), np.zeros((3, len(turns), 2))
    p = weights[a] * weights[b]
    for t in range(2):
        p = p * policy.probabilities(counts[t], sums[t])[0][each, actions[t]]
        counts[t + 1], sums[t + 1] = counts[t], sums[t]
        counts[t + 1, each, actions[t]] += 1
        sums[t + 1, each, actions[t]] += answers[t]
    return Episodes(counts, sums, actions, answers, policy.probabilities(counts[2], sums[2])[1], "gaussian"), p


def two_turns(loss):
    noise, weights = np.polynomial.hermite_e.hermegauss(40)
    problem = BanditProblem([[1.0, 1.0], [-1.0, 1.0], [-1.0, -1.0]], loss, "gaussian")
    policy = QueryPolicy(problem, 2, hidden=3, seed=5, split=0.0)  # splits are absolute values, whose kink quadrature misses
    return problem, np.array([0.7, 1.4]), policy, noise, weights / weights.sum()


@pytest.mark.parametrize("loss", ["error", "regret"])
def test_estimates_over_two_adaptive_queries_have_the_exact_gradient_as_their_mean(loss):
    problem, theta, policy, noise, weights = two_turns(loss)

    def exact(at):
        played, p = every_episode(policy, problem, at, noise, weights)
        return p @ played.losses(np.repeat(problem.losses([at]), len(p), axis=0))

    played, p = every_episode(policy, problem, theta, noise, weights)
    assert p.sum() == pytest.approx(1, abs=1e-12)
    costs = np.repeat(problem.losses([theta]), len(p), axis=0)
    scores = instance_scores(played, np.tile(theta, (len(p), 1)))
    estimate = p @ ((played.losses(costs) - 0.3)[:, None] * scores)
    if loss == "regret":
        estimate += problem.Z[problem.best([theta])[0]] - p @ played.decisions @ problem.Z
    h = 1e-5
    slopes = [(exact(theta + step) - exact(theta - step)) / (2 * h) for step in h * np.eye(2)]
    assert np.allclose(estimate, slopes, atol=1e-6)

    # An episode's price is its share of the mean; the second query depends on the first answer, so all weights learn.
    value, _ = policy_surrogate(policy, played, costs * (p * len(p))[:, None])
    value.backward()
    rng = np.random.default_rng(0)
    ways = [torch.as_tensor(rng.standard_normal(tuple(w.shape))) for w in policy.parameters()]
    slope = sum(float((w.grad * way).sum()) for w, way in zip(policy.parameters(), ways, strict=True))
    ends = []
    with torch.no_grad():
        for step in (h, -2 * h):
            for w, way in zip(policy.parameters(), ways, strict=True):
                w += step * way
            ends.append(exact(theta))
    assert abs(slope) > 1e-3
    assert slope == pytest.approx((ends[0] - ends[1]) / (2 * h), abs=1e-6)
    assert policy.layers[0].weight.grad.abs().max() > 1e-6


def test_sampled_episodes_have_the_mean_of_the_quadrature():
    problem, theta, policy, noise, weights = two_turns("regret")
    played, p = every_episode(policy, problem, theta, noise, weights)
    exact = p @ played.losses(np.repeat(problem.losses([theta]), len(p), axis=0))
    B = 20_000
    losses = rollout(policy, problem, np.tile(theta, (B, 1)), 2, seed=4).losses(np.repeat(problem.losses([theta]), B, axis=0))
    assert abs(losses.mean() - exact) < 4 * losses.std() / np.sqrt(B)


def test_a_baseline_changes_no_mean_and_an_answer_has_one_unit_of_information():
    problem, theta, policy, noise, weights = two_turns("error")
    played, p = every_episode(policy, problem, theta, noise, weights)
    scores = instance_scores(played, np.tile(theta, (len(p), 1)))
    assert np.allclose(p @ scores, 0, atol=1e-9)
    information = np.einsum("b,bi,bj->ij", p, scores, scores)
    assert np.allclose(information, np.diag(p @ played.counts[-1]), atol=1e-9)


@pytest.mark.parametrize(("theta", "budget"), [(0.3, 1), (-0.5, 4), (1.5, 2)])
def test_one_entry_is_decided_by_the_sign_of_a_normal_number(theta, budget):
    problem = thresholds(1, noise="gaussian")
    B = 20_000
    played = rollout(Uniform(problem), problem, np.full((B, 1), theta), budget, seed=2)
    error = played.losses(np.repeat(problem.losses([[theta]]), B, axis=0)).mean()
    exact = norm.cdf(-abs(theta) * np.sqrt(budget))
    assert abs(error - exact) < 4 * np.sqrt(exact * (1 - exact) / B)
    assert complexity([[theta]], problem)[0][0] == pytest.approx(1 / theta**2, rel=1e-3)


@pytest.mark.parametrize("gap", [0.1, 1.0, 7.0])
def test_two_arms_have_complexity_four_over_the_squared_gap_at_the_even_plan(gap):
    rho, plan = complexity([[gap - 2.0, -2.0]], best_arm(2, noise="gaussian"))
    assert rho[0] == pytest.approx(4 / gap**2, rel=1e-3)
    assert np.allclose(plan, 0.5, atol=1e-3)


@pytest.mark.parametrize(
    "make", [Uniform, lambda p: TopTwo(p, 0.3), lambda p: SoftBinarySearch(p, 0.3), lambda p: Halving(p, 12)]
)
def test_rules_without_training_play_numbers(make):
    problem, theta = thresholds(3, noise="gaussian"), np.array([[-4.0, -4.0, 4.0]])
    B = 400
    played = rollout(make(problem), problem, np.tile(theta, (B, 1)), 12, seed=3)
    errors = played.losses(np.repeat(problem.losses(theta), B, axis=0))
    assert (played.counts[-1].sum(1) == 12).all()
    assert np.allclose(played.decisions.sum(1), 1)
    assert errors.mean() < 0.1
    assert problem.losses(theta)[0][problem.best(theta)[0]] == 0


def test_numbers_beyond_one_are_refused_for_coins_alone():
    for problem in (thresholds(2), best_arm(2)):
        with pytest.raises(ValueError, match="thetas"):
            project([[1.5, 0.2]], 30.0, problem)
    assert project([[1.5, 0.2]], 30.0, best_arm(2, noise="gaussian")).tolist() == [[1.5, 0.2]]
    for bad in (np.nan, np.inf):
        with pytest.raises(ValueError, match="thetas"):
            project([[bad, 0.2]], 30.0, best_arm(2, noise="gaussian"))
