"""Learning to relax: solvers and batched counts against plain loops and SciPy, learners per round, growth with the grid."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse.linalg as sla
from scipy.optimize import lsq_linear

from lib.online.sor_bandit import ChebCB, SSORPreconditioner, TsallisINF, box_least_squares, replay, sor, ssor_pcg
from lib.online.sor_bandit.study import (
    EpsilonGreedy,
    GPThompson,
    HeatEquation2D,
    ShiftedLaplacians,
    heat_cost_table,
    laplacian,
    sor_cost_table,
)

#: Peer -> why ours takes longer.
SLOWER = {
    "Tsallis-INF": "the peer ignores the context; ours fits a polynomial of it in every arm",
    "epsilon-greedy": "the peer ignores the context; ours fits a polynomial of it in every arm",
}

GRID = np.linspace(1, 1.95, 20)
SHIFTS = (-0.15, 0.65)
ROUNDS = 400
POLICIES = {
    None: lambda: ChebCB(20, 6, SHIFTS, seed=0),
    "Tsallis-INF": lambda: TsallisINF(20, seed=0),
    "epsilon-greedy": lambda: EpsilonGreedy(20, seed=0),
    "GP Thompson": lambda: GPThompson(GRID, SHIFTS, seed=0),
}


@pytest.fixture(scope="module")
def problems():
    return ShiftedLaplacians(ROUNDS, "low", seed=0)


@pytest.fixture(scope="module")
def table(problems):
    return sor_cost_table(4 + problems.contexts, 1.0, problems.targets, GRID)


@pytest.mark.parametrize("peer", [None, "sor, one by one"])
def test_cost_table(benchmark, problems, table, peer):
    benchmark.extra_info.update(slug="sor_bandit", work="SOR counts of 40 systems (n = 100) at 20 arms", peer=peer)
    diagonal, targets = 4 + problems.contexts[:40], problems.targets[:40]

    def one_by_one():
        matrices = [laplacian(10, d - 4.0).toarray() for d in diagonal]
        return [[sor(A, b, omega).nit for omega in GRID] for A, b in zip(matrices, targets, strict=True)]

    call = one_by_one if peer else lambda: sor_cost_table(diagonal, 1.0, targets, GRID)
    counts = benchmark.pedantic(call, rounds=3, warmup_rounds=1)
    assert np.array_equal(counts, table[:40])


@pytest.mark.parametrize("peer", [None, "scipy cg, same preconditioner"])
def test_ssor_cg(benchmark, peer):
    benchmark.extra_info.update(slug="sor_bandit", work="one SSOR-CG solve of a 50 x 50 Laplacian, 1e-8", peer=peer)
    A, b = laplacian(50), np.random.default_rng(0).standard_normal(2500)
    if peer:
        x = benchmark(lambda: sla.cg(A, b, rtol=1e-8, M=SSORPreconditioner(A, 1.8))[0])
    else:
        x = benchmark(lambda: ssor_pcg(A, b, 1.8).x)
    assert np.linalg.norm(A @ x - b) < 1e-7 * np.linalg.norm(b)


@pytest.mark.parametrize("peer", list(POLICIES))
def test_learning(benchmark, problems, table, peer):
    benchmark.extra_info.update(
        slug="sor_bandit", work=f"{ROUNDS} rounds of learning with 20 arms, without the solves", peer=peer
    )
    benchmark.pedantic(lambda: replay(table, POLICIES[peer](), problems.contexts), rounds=3, warmup_rounds=1)


@pytest.mark.parametrize("peer", [None, "scipy lsq_linear"])
def test_box_least_squares(benchmark, peer):
    benchmark.extra_info.update(slug="sor_bandit", work="one least-squares fit of 6 coefficients in a box", peer=peer)
    rng = np.random.default_rng(0)
    design, target, bound = rng.standard_normal((7, 6)), rng.standard_normal(7), np.full(6, 0.2)
    if peer:
        theta = benchmark(lambda: lsq_linear(design, target, bounds=(-bound, bound), method="bvls").x)
    else:
        theta = benchmark(box_least_squares, design, target, bound)
    assert np.abs(theta).max() <= 0.2 + 1e-9


@pytest.mark.parametrize("nx", [10, 20, 40, 80])
def test_heat_growth(benchmark, nx):
    work = "SSOR-CG counts of 5 steps of the heat equation at 20 arms, n cells per side"
    benchmark.extra_info.update(slug="sor_bandit", work=work, size=nx)

    def table():
        heat = HeatEquation2D(nx)
        heat.step = 700
        return heat_cost_table(heat, GRID, 5)["costs"]

    assert benchmark.pedantic(table, rounds=3, warmup_rounds=1).min() >= 1
