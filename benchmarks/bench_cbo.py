"""Consensus-based optimization against CBXpy on the canyon, and how its cost grows with particles and dimension."""

from __future__ import annotations

import numpy as np
import pytest

from lib.backprop_free import cbo
from lib.backprop_free.cbo import study
from lib.problems import blackbox

CANYON = blackbox.grand_canyon()
FIGURE = "50 runs of CBO in the canyon: 200 particles, 250 steps, isotropic noise"


def particles(n_runs: int = 50, n_particles: int = 200) -> np.ndarray:
    return np.random.default_rng(0).normal(8.0, 0.5, (n_runs, n_particles, 2))


def test_canyon(benchmark):
    benchmark.extra_info.update(slug="cbo", work=FIGURE, peer=None)
    result = benchmark.pedantic(lambda: cbo.minimize_cbo(CANYON, particles(), seed=0), rounds=5, warmup_rounds=1)
    assert study.success_rate(result.x) >= 0.9


def test_canyon_cbx(benchmark):
    pytest.importorskip("cbx")
    benchmark.extra_info.update(slug="cbo", work=FIGURE, peer="cbx")
    points = benchmark.pedantic(lambda: study.cbx_consensus(CANYON, particles(), seed=0), rounds=5, warmup_rounds=1)
    assert study.success_rate(points) >= 0.8


@pytest.mark.parametrize("n", [100, 400, 1600, 6400])
def test_growth_with_particles(benchmark, n):
    benchmark.extra_info.update(slug="cbo", work="one run of CBO in the canyon, 50 steps, n particles", size=n)
    benchmark.pedantic(lambda: cbo.minimize_cbo(CANYON, particles(1, n)[0], max_iter=50, seed=0), rounds=5, warmup_rounds=1)


@pytest.mark.parametrize("d", [2, 8, 32, 128])
def test_growth_with_dimension(benchmark, d):
    fun = blackbox.rastrigin(d, amplitude=2.5)
    work = "ten runs of CBO on Rastrigin's function in n dimensions, 200 particles, 50 steps, anisotropic noise"
    benchmark.extra_info.update(slug="cbo", work=work, size=d)
    how = {
        "mean": np.full(d, 3.0),
        "std": 2.0,
        "noise": 5.1,
        "noise_type": "anisotropic",
        "max_iter": 50,
        "n_runs": 10,
        "seed": 0,
    }
    benchmark.pedantic(lambda: cbo.minimize_cbo(fun, **how), rounds=5, warmup_rounds=1)
