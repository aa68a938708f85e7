"""Constrained RLHF with three rewards: the exact bandit, surfaces and searches in three dimensions, four value heads."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from lib.networks import Transformer, generate, response_log_probs
from lib.policies import constrained_rlhf as cr
from lib.policies.constrained_rlhf import study

# ------------------------------------------------------------------------------------------------------- the exact bandit


@pytest.mark.parametrize("seed", range(3))
def test_three_thresholds_are_met_by_the_primal_solution(seed):
    problem = study.instance(0.2, responses=40, seed=seed, rewards=3).bandit
    theta = problem.values(np.random.default_rng(seed).uniform(-0.2, 0.2, 3))
    found = problem.solve(theta=theta)
    np.testing.assert_allclose(found.values, theta, atol=1e-8)
    np.testing.assert_allclose(study.primal(problem, theta), found.policy, atol=1e-6)


def test_of_three_inequalities_those_that_are_exceeded_have_no_multiplier():
    problem = study.instance(0.0, responses=60, seed=1, rewards=3).bandit
    found = problem.solve(theta=problem.values(np.zeros(3)) + np.array([0.4, -0.8, 0.3]), kind="inequality")
    assert found.mu[1] == 0
    assert found.mu[0] > 0
    assert found.mu[2] > 0


def test_instances_of_three_rewards_have_the_moments_they_say():
    toy = study.instance(-0.3, responses=80, seed=2, rewards=3)
    wanted = np.eye(3) - 0.3 * (1 - np.eye(3))
    np.testing.assert_allclose(toy.bandit.values([0, 0, 0]), 0, atol=1e-10)
    np.testing.assert_allclose(toy.bandit.covariance([0, 0, 0]), wanted, atol=1e-10)
    with pytest.raises(ValueError, match="rho"):
        study.instance(-0.6, rewards=3)
    with pytest.raises(ValueError, match="rewards"):
        study.instance(0.1, rewards=4)
    with pytest.raises(ValueError, match="pi0"):
        study.instance_on(np.full(5, 0.2), 0.1)


@pytest.mark.parametrize("rho", [-0.7, 0.0, 0.7])
@pytest.mark.parametrize("signs", [(1, 1), (1, -1), (-1, 1), (-1, -1)])
def test_the_papers_mixture_rests_on_policies_of_positive_multipliers_only(rho, signs):
    problem = study.instance(rho, responses=60, seed=3).bandit
    lam, rest = study.balance(problem, 0.1 * np.array([1.0, 0.3]) * signs)
    assert rest < 1e-9
    assert (np.abs(lam).max() < 1) == (signs == (1, 1))


def test_the_mixture_that_rests_is_the_trainers():
    problem = study.instance(0.3, responses=60, seed=4, rewards=3).bandit
    mu = np.array([0.06, 0.04, 0.05])
    lam, _ = study.balance(problem, mu)
    pi = problem.policy(mu)
    rows = np.random.default_rng(0).choice(60, size=400_000, p=pi)
    own = -problem.beta * np.log(pi / problem.pi0)
    drawn = torch.from_numpy(np.vstack([own, problem.rewards])[:, rows].T[:, None])
    columns = cr.normalized(drawn, torch.ones(len(rows), 1, dtype=torch.bool))[:, 0]
    multipliers = cr.LagrangeMultipliers(np.zeros(3), "equality")
    with torch.no_grad():
        multipliers.mu.copy_(torch.atanh(torch.from_numpy(lam)))
    assert float(multipliers.mix(columns[:, 0], columns[:, 1:]).abs().max()) < 0.01
    other = multipliers.mix(columns[:, 0], 0.9 * columns[:, 1:])
    assert float(other.abs().max()) > 0.1


@pytest.mark.parametrize("mu", [[0.0, 0.0], [0.1], [np.nan, 0.1]])
def test_a_balance_needs_multipliers_that_tilt(mu):
    with pytest.raises(ValueError, match="mu"):
        study.balance(study.instance(0.1, responses=20).bandit, mu)


# ------------------------------------------------------------------------------------------------------------ thresholds


def bowl(t):
    return -float(((t - [0.3, 0.7, 0.2]) ** 2 * [1, 2, 3]).sum() + (t[0] - 0.3) * (t[2] - 0.2))


def test_a_search_of_four_vertices_is_scipys():
    start = np.vstack([np.zeros(3), 0.4 * np.eye(3)])
    ours = cr.nelder_mead_thresholds(bowl, start, tol=0.0, cache_tol=0.0, max_iter=80, max_evals=10_000)
    theirs = minimize(
        lambda t: -bowl(t), start[0], method="Nelder-Mead",
        options={"initial_simplex": start, "maxiter": ours.nit + 1, "xatol": 0.0, "fatol": 0.0},
    )  # fmt: skip
    assert ours.path.shape == (81, 4, 3)
    np.testing.assert_allclose(ours.x, theirs.x, atol=1e-9)
    np.testing.assert_allclose(ours.x, [0.3, 0.7, 0.2], atol=1e-3)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_search_over_three_thresholds_finds_the_joint_proxy_point(seed):
    toy = study.instance(0.2, responses=1000, seed=seed, rewards=3)
    mu, theta = study.joint_point(toy)
    searched, score = study.searched_point(toy)
    assert toy.score(mu) - 1e-3 < score <= toy.score(mu) + 1e-9
    np.testing.assert_allclose(searched, theta, atol=0.02)


def test_the_proxy_point_of_three_rewards():
    seen = np.random.default_rng(0).random((600, 3))
    score = -((seen - [0.4, 0.6, 0.5]) ** 2).sum(1)
    point = cr.find_proxy_point(seen, score, degree=3, bandwidth=0.0)
    np.testing.assert_allclose(point.theta, [0.4, 0.6, 0.5], atol=0.04)
    assert point.inside


# ----------------------------------------------------------------------------------------------------------- the training


def test_four_value_heads_have_a_column_each():
    exam = study.task(seed=0)
    trainer = exam.trainer("xi", episodes=32, minibatch=16)
    trainer.fit([[2]], iterations=2)
    batch = trainer.collect([[2]] * 40)
    mask, last = batch.rollouts.mask, batch.rollouts.lengths - 1
    assert trainer.policy.value_heads.out_features == 4
    assert batch.scores.shape == (40, 3)
    assert batch.advantages.shape == (*mask.shape, 4)
    for b in range(40):
        np.testing.assert_allclose(batch.rewards[b, last[b], 1:], batch.scores[b])
    lam = trainer.multipliers.weights()
    columns = cr.normalized(batch.advantages, mask, 0.05)
    by_hand = (3 - lam.sum()) * columns[..., 0] + columns[..., 1:] @ lam
    torch.testing.assert_close(trainer.advantage(batch.advantages, mask), by_hand)
    first, rest = trainer.multipliers.coefficients()
    assert float(first + rest.sum()) == pytest.approx(3)


@pytest.mark.parametrize("variant", cr.VARIANTS)
def test_every_variant_takes_three_rewards(variant):
    history = study.task(seed=0).trainer(variant, episodes=16, minibatch=8).fit([[2]], iterations=2)
    assert history.array("values").shape == (2, 3)
    assert history.array("coefficients").shape == (2, 4)


def test_thresholds_of_three_rewards_are_searched_within_one_run():
    exam = study.task(seed=0)
    trainer = exam.trainer("xi", episodes=32, minibatch=16)

    def worth(theta):
        trainer.approach(theta, [[2]], iterations=2)
        return float(exam.toy.gold @ study.probabilities(trainer.policy))

    found = cr.nelder_mead_thresholds(worth, np.vstack([np.zeros(3), 0.3 * np.eye(3)]), max_evals=6)
    assert found.x.shape == (3,)
    assert found.nfev == 6
    assert 6 <= len(trainer.history.kl) <= 12
    np.testing.assert_allclose(trainer.history.thresholds[-1], found.evaluated[-1])


def test_every_response_of_a_task_has_its_probability_and_its_rewards():
    exam = study.task(seed=3)
    pi = study.probabilities(exam.policy)
    assert pi.sum() == pytest.approx(1, abs=1e-9)
    drawn = generate(exam.policy, [[2]] * 4000, 2, end=1, pad=0, min_new=1, seed=0)
    logs, _ = response_log_probs(exam.policy, drawn)
    likely = np.exp(logs.sum(1).detach().numpy())
    assert all(np.abs(pi - p).min() < 1e-9 for p in likely[:50])
    texts = [
        [t for t, m in zip(row, on, strict=True) if m and t != 1]
        for row, on in zip(drawn.responses.tolist(), drawn.mask.tolist(), strict=True)
    ]
    models = exam.reward_models()
    assert len(models) == 3
    for model in models:  # the mean is zero, the deviation one
        assert abs(np.mean(model([], texts, None))) < 4 / 4000**0.5
    missed, apart = exam.distance(exam.policy)
    assert missed == pytest.approx(np.abs(exam.theta).max(), abs=1e-9)
    assert apart > 0.05


def test_the_lagrangian_finds_the_exact_policy_of_three_rewards_and_its_multipliers():
    exam = study.task(seed=7)
    found = study.learn(exam, squash=False, iterations=40, seed=0)
    assert found["apart"] < 0.25
    np.testing.assert_allclose(found["mu"], exam.solution.mu, atol=0.03)
    assert (np.sign(found["mu"]) == [1, 1, -1]).all()


def test_tasks_refuse_what_they_cannot_take():
    with pytest.raises(TypeError, match="policy"):
        study.probabilities("gpt2")
    with pytest.raises(TypeError, match="toy"):
        study.learn(Transformer(8, 3), squash=False)
    with pytest.raises(ValueError, match="rewards"):
        study.task(rewards=0)
