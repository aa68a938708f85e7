"""Constrained PPO: an iteration against that of plain PPO, the exact bandit against a general solver, and how they grow."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from lib.networks import Transformer
from lib.policies import constrained_rlhf as cr

torch.set_num_threads(1)
SLUG = "constrained_rlhf"
PROMPTS = [list(np.random.default_rng(i).integers(2, 200, size=8)) for i in range(64)]


def share(first):
    """A reward: share of the tokens below a number."""
    return lambda prompts, responses, references: [np.mean([t < first for t in response] or [0.0]) for response in responses]


def trainer(variant, n=2, episodes=32):
    config = cr.PPOConfig(episodes=episodes, minibatch=16, epochs=2, lr=1e-3, max_new=16)
    base = Transformer(vocab_size=200, context=32, width=64, seed=0)
    thresholds = None if variant == "ppo" else np.full(n, 0.6)
    return cr.ConstrainedPPO(base, [share(50 + 10 * i) for i in range(n)], thresholds, variant, config, end=1, pad=0, seed=0)


@pytest.mark.parametrize("variant", ["xi", "mu", "ppo"])
def test_an_iteration(benchmark, variant):
    peer = {"xi": None, "mu": "mu-PPO", "ppo": "PPO"}[variant]
    benchmark.extra_info.update(slug=SLUG, work="one iteration, 32 episodes, 2 rewards", peer=peer)
    run = trainer(variant)
    benchmark.pedantic(lambda: run.step(PROMPTS), rounds=5, warmup_rounds=1)


@pytest.mark.parametrize("n", [1, 2, 4, 8])
def test_growth_with_rewards(benchmark, n):
    benchmark.extra_info.update(slug=SLUG, work="one iteration of xi-PPO, n rewards", size=n)
    run = trainer("xi", n)
    benchmark.pedantic(lambda: run.step(PROMPTS), rounds=3, warmup_rounds=1)


def bandit(m):
    rng = np.random.default_rng(0)
    problem = cr.TiltedBandit(rng.dirichlet(np.ones(m)), rng.random((2, m)), 0.2)
    return problem, problem.values([0.1, 0.1])


@pytest.mark.parametrize("peer", [None, "SciPy, SLSQP on the primal problem"])
def test_bandit(benchmark, peer):
    benchmark.extra_info.update(slug=SLUG, work="bandit of 50 responses, 2 thresholds", peer=peer)
    problem, theta = bandit(50)
    constraints = [{"type": "eq", "fun": lambda pi: np.append(problem.rewards @ pi - theta, pi.sum() - 1)}]

    def primal():
        return minimize(
            lambda pi: float(pi @ np.log(pi / problem.pi0)), problem.pi0, jac=lambda pi: np.log(pi / problem.pi0) + 1,
            method="SLSQP", bounds=[(1e-12, 1)] * 50, constraints=constraints, options={"ftol": 1e-14, "maxiter": 300},
        )  # fmt: skip

    benchmark(primal if peer else lambda: problem.solve(theta=theta))


@pytest.mark.parametrize("m", [100, 1000, 10_000])
def test_growth_with_responses(benchmark, m):
    benchmark.extra_info.update(slug=SLUG, work="bandit of m responses, 2 thresholds", size=m)
    problem, theta = bandit(m)
    benchmark(lambda: problem.solve(theta=theta))
