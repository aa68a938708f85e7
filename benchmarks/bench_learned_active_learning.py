"""Learning to actively learn: complexity against SciPy, iterations of training, exact losses and the exact game."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from lib.online.learned_active_learning import MAPO, Lattice, TablePolicy, complexity, draw_class, solve_game, thresholds
from lib.online.learned_active_learning.hardness import _costs


@pytest.mark.parametrize("peer", [None, "scipy SLSQP"])
def test_complexity(benchmark, peer):
    benchmark.extra_info.update(slug="learned_active_learning", work="complexities of 20 instances, 4 points", peer=peer)
    problem, thetas = thresholds(4), draw_class(thresholds(4), 12.0, 20, seed=0)

    def one_by_one():
        found = []
        for costs in _costs(thetas, problem):
            unit = 4 * costs.sum(1).max()
            found.append(unit * minimize(
                lambda x: x[4], [0.25] * 4 + [1.0], method="SLSQP", tol=1e-6, bounds=[(1e-4, 1)] * 4 + [(0, None)],
                constraints=[{"type": "eq", "fun": lambda x: x[:4].sum() - 1},
                             {"type": "ineq", "fun": lambda x, c=costs / unit: x[4] - c @ (1 / x[:4])}],
            ).fun)  # fmt: skip
        return np.array(found)

    call = one_by_one if peer else lambda: complexity(thetas, problem)[0]
    assert np.allclose(benchmark.pedantic(call, rounds=3, warmup_rounds=1), 12.0, rtol=0.02)


@pytest.mark.parametrize("peer", [None, "sampled rollouts"])
def test_iteration(benchmark, peer):
    benchmark.extra_info.update(
        slug="learned_active_learning", work="one iteration of training, exact rollouts, 3 points, 8 answers", peer=peer
    )
    rollouts = "sampled" if peer else "exact"
    thetas = draw_class(thresholds(3), 8.0, 60, seed=0)
    mapo = MAPO(thresholds(3), 8, thetas, 8.0, rollouts=rollouts, iterations=100, seed=0)
    benchmark.pedantic(mapo.step, rounds=10, warmup_rounds=1)


@pytest.mark.parametrize("budget", [4, 6, 8])
def test_losses(benchmark, budget):
    benchmark.extra_info.update(
        slug="learned_active_learning", work="exact losses of 200 instances, 3 points, by answers", size=budget
    )
    lattice, thetas = Lattice(thresholds(3), budget), draw_class(thresholds(3), 8.0, 200, seed=0)
    assert benchmark(lambda: lattice.losses(TablePolicy(lattice), thetas)).max() < 1


@pytest.mark.parametrize("budget", [4, 6])
def test_game(benchmark, budget):
    benchmark.extra_info.update(
        slug="learned_active_learning", work="50 rounds of an exact game, 3 points, by answers", size=budget
    )
    lattice, thetas = Lattice(thresholds(3), budget), draw_class(thresholds(3), 8.0, 60, seed=0)
    game = benchmark.pedantic(lambda: solve_game(lattice, thetas, rounds=50), rounds=3, warmup_rounds=1)
    assert game.lower <= game.upper
