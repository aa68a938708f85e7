"""Directional attacks: the hybrid against CMA-ES at equal evaluations, FGSM against PGD, growth with the dimension."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lib import experiment
from lib.backprop_free import directional_attacks as da
from lib.backprop_free.directional_attacks import study


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    experiment.one_thread()


@pytest.mark.parametrize("peer", [None, "CMA-ES"])
def test_evaluations(benchmark, peer):
    work = "a thousand evaluations for a patient, 30 variables"
    benchmark.extra_info.update(slug="directional_attacks", work=work, peer=peer)
    task = study.counterfactual(5)
    name, knob = ("cma", 0.3) if peer else ("hybrid", 1.0)
    run = benchmark.pedantic(lambda: study.race(name, task, knob, 1000, seed=0), rounds=3, warmup_rounds=1)
    assert len(run.best) == 1000


@pytest.mark.parametrize("peer", [None, "PGD"])
def test_attack(benchmark, peer):
    benchmark.extra_info.update(slug="directional_attacks", work="an attack on the network of the plant", peer=peer)
    problem, x0, *_ = study.plant()
    u = problem.direction(problem.outputs(x0))
    method = "pgd" if peer else "fgsm"
    move = benchmark.pedantic(lambda: problem.attack(x0, u, 0.01, method=method), rounds=20, warmup_rounds=2)
    assert abs(move).max() <= 0.01


@pytest.mark.parametrize("n", [10, 100, 1000])
def test_growth_with_dimension(benchmark, n):
    benchmark.extra_info.update(slug="directional_attacks", work="300 evaluations on a bowl of n variables", size=n)
    goal = torch.linspace(-1, 1, n, dtype=torch.float64)
    bowl = da.SurrogateProblem(lambda x: x - goal, lambda y: -(y**2).sum(), n=n)
    result = benchmark.pedantic(lambda: da.maximize_hybrid(bowl, np.ones(n), max_eval=300, seed=0), rounds=3)
    assert result.fun > -float(((1 - goal) ** 2).sum())
