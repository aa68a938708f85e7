"""Optimistic online mirror descent: a round against rivals' rounds, runs side by side against one by one, projections."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from lib.online.sea_omd import Ball, OptimisticEnsemble, OptimisticOMD, OptimisticONS, play
from lib.online.sea_omd.study import OFTRL, OGD, ONS, AdaGradNorm, Ader, CoinBetting, stream

#: Peer -> why ours takes longer.
SLOWER = {
    "OGD": "the optimistic step projects twice a round, gradient descent once",
    "AdaGrad-norm": "the optimistic step projects twice a round, AdaGrad-norm once",
}

ROUNDS, RUNS = 300, 20
BALL = Ball(5)
LEARNERS = {
    None: lambda n: OptimisticOMD(BALL, 2.0, 1.0, shape=(n,)),
    "ensemble": lambda n: OptimisticEnsemble(BALL, 2.0, 1.0, 4000, shape=(n,)),
    "Newton step": lambda n: OptimisticONS(BALL, 2.0, 1.0, shape=(n,)),
    "OGD": lambda n: OGD(BALL, 2.0, shape=(n,)),
    "AdaGrad-norm": lambda n: AdaGradNorm(BALL, shape=(n,)),
    "OFTRL": lambda n: OFTRL(BALL, 2.0, 1.0, shape=(n,)),
    "ONS": lambda n: ONS(BALL, 2.0, 1.0, shape=(n,)),
    "coin betting": lambda n: CoinBetting(BALL, 2.0, shape=(n,)),
    "Ader": lambda n: Ader(BALL, 2.0, 1.0, 4000, shape=(n,)),
}


@pytest.fixture(scope="module")
def losses():
    return stream("drifting", ROUNDS, RUNS, period=100, sigma=0.4)


@pytest.mark.parametrize("peer", list(LEARNERS))
def test_rounds(benchmark, losses, peer):
    benchmark.extra_info.update(slug="sea_omd", work=f"{ROUNDS} rounds, {RUNS} runs side by side, 5 dimensions", peer=peer)
    out = benchmark.pedantic(lambda: play(LEARNERS[peer](RUNS), losses.gradient, ROUNDS), rounds=3, warmup_rounds=1)
    assert np.linalg.norm(out.decisions, axis=-1).max() <= 1 + 1e-12


@pytest.mark.parametrize("peer", [None, "one by one"])
def test_side_by_side(benchmark, losses, peer):
    benchmark.extra_info.update(slug="sea_omd", work=f"{ROUNDS} rounds of {RUNS} runs", peer=peer)

    def one_by_one():
        return [play(LEARNERS[None](1), lambda t, x, j=j: losses.gradient(t, x)[j : j + 1], ROUNDS) for j in range(RUNS)]

    def together():
        return play(LEARNERS[None](RUNS), losses.gradient, ROUNDS)

    benchmark.pedantic(one_by_one if peer else together, rounds=3, warmup_rounds=1)


@pytest.mark.parametrize("peer", [None, "scipy SLSQP"])
def test_projection_in_a_norm(benchmark, peer):
    benchmark.extra_info.update(slug="sea_omd", work="projection onto a ball in the norm of a 5 x 5 matrix", peer=peer)
    root = np.random.default_rng(0).normal(size=(5, 5))
    H, y = root @ root.T + np.eye(5), np.full(5, 2.0)
    inside = [{"type": "ineq", "fun": lambda x: 1 - x @ x, "jac": lambda x: -2 * x}]

    def solve():
        return minimize(lambda x: (x - y) @ H @ (x - y), np.zeros(5), jac=lambda x: 2 * H @ (x - y), constraints=inside).x

    x = benchmark(solve if peer else lambda: BALL.project_norm(y, H))
    assert np.linalg.norm(x) <= 1 + 1e-6


@pytest.mark.parametrize("dim", [5, 20, 80])
def test_newton_growth(benchmark, dim):
    benchmark.extra_info.update(slug="sea_omd", work="50 rounds of the Newton step, n dimensions", size=dim)
    g = np.random.default_rng(0).normal(size=(50, dim)) / np.sqrt(dim)
    benchmark.pedantic(lambda: play(OptimisticONS(Ball(dim), 2.0, 1.0), lambda t, x: g[t], 50), rounds=3, warmup_rounds=1)
