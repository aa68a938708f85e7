"""LV-HBA on the weighted machine, against implicit differentiation; its projection against a QP solver; growth."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lib.constrained.lv_hba import LVHBA, project_svm, study, weighted_svm
from lib.constrained.lv_hba.study.races import PER_ITERATION

#: Peer -> why ours takes longer.
SLOWER = {
    "implicit differentiation": "fewer steps, each a warm exact solve of a small machine; ours projects every time",
}


def samples(n: int, d: int = 30, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d)) / np.sqrt(d)
    return X, np.where(X[:, 0] + 0.1 * rng.normal(size=n) > 0, 1.0, -1.0)


@pytest.mark.parametrize("peer", [None, "implicit differentiation"])
def test_cleaning(benchmark, peer):
    work = "breast cancer, 300 training samples, 40 % wrong: 200 iterations; the peer 150 steps"
    benchmark.extra_info.update(slug="lv_hba", work=work, peer=peer)
    task, solver = study.machines("breast cancer", 0.4, [0]), LVHBA(0.1, 0.3, 0.3, alpha_x=5.0, max_iter=200)
    start = task.start - 1
    calls = {
        None: lambda: study.run_lvhba(task, start, solver, n_records=1),
        "implicit differentiation": lambda: study.run_implicit(task, start, n_records=1),
    }
    run = benchmark.pedantic(calls[peer], rounds=3, warmup_rounds=1)
    assert run.trace["solved_val"][-1].mean() < run.trace["solved_val"][0].mean()


@pytest.mark.parametrize("peer", [None, "Clarabel through cvxpy"])
def test_projection(benchmark, peer):
    benchmark.extra_info.update(slug="lv_hba", work="nearest feasible machine, 500 samples, 30 features", peer=peer)
    X, y = samples(500)
    rng = np.random.default_rng(1)
    v, slack = rng.normal(size=31), rng.normal(size=500)
    near, xi = project_svm(X, y, v, slack)
    if peer is None:
        benchmark.pedantic(lambda: project_svm(X, y, v, slack), rounds=20, warmup_rounds=1)
        return
    cvxpy = pytest.importorskip("cvxpy")
    a, b = cvxpy.Variable(31), cvxpy.Variable(500)
    Q = np.hstack([X, np.ones((500, 1))]) * y[:, None]
    cost = cvxpy.sum_squares(a - v) + cvxpy.sum_squares(b - slack)
    program = cvxpy.Problem(cvxpy.Minimize(cost), [b >= 1 - Q @ a])
    benchmark.pedantic(lambda: program.solve(solver="CLARABEL"), rounds=3, warmup_rounds=1)
    np.testing.assert_allclose(near, a.value, atol=1e-3)  # the solver stops at a relative 1e-8 of the cost
    np.testing.assert_allclose(xi, b.value, atol=1e-3)  # the solver stops at a relative 1e-8 of the cost


@pytest.mark.parametrize("peer", [None, "E-AiPOD"])
def test_toy(benchmark, peer):
    benchmark.extra_info.update(slug="lv_hba", work="toy 1, 100 entries, 4,000 gradients of F and f", peer=peer)
    toy, n = study.merely_convex_toy(100), 4000
    start = study.toy_starts(toy, 1, seed=0)
    solver = LVHBA(0.5, 0.5, 0.4, max_iter=n // PER_ITERATION)
    calls = {
        None: lambda: study.race_lvhba(toy, start, solver, [(4.0, 0.45)], 1),
        "E-AiPOD": lambda: study.race_aipod(toy, start, [0.1], n, n_records=1),
    }
    run = benchmark.pedantic(calls[peer], rounds=3, warmup_rounds=1)
    assert np.isfinite(run.score).all()


@pytest.mark.parametrize("n", [250, 500, 1000, 2000])
def test_growth_with_samples(benchmark, n):
    benchmark.extra_info.update(slug="lv_hba", work="100 iterations on a machine of n samples, 30 features", size=n)
    task = weighted_svm(*samples(n), *samples(150, seed=1))
    start, solver = torch.full((n,), -1.0, dtype=torch.float64), LVHBA(0.1, 0.3, 0.3, alpha_x=5.0)
    state = solver.start(task.problem(), start, task.solved(start))
    steps = solver.steps(task.problem(), state)

    def run() -> None:
        s = state
        for _ in range(100):
            s = solver.step(task.problem(), s, steps)

    benchmark.pedantic(run, rounds=3, warmup_rounds=1)
