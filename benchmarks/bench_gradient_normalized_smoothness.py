"""Gradient-normalized smoothness: one step by its structure, whole runs against SciPy's Newton methods, growth of the chain."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.optimize as so

from lib import experiment
from lib.gradient import gradient_normalized_smoothness as gns
from lib.gradient.gradient_normalized_smoothness import study

SLUG = "gradient_normalized_smoothness"


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    experiment.one_thread()


@pytest.mark.parametrize("peer", [None, "dense Cholesky factorization"])
def test_rank_one_step(benchmark, peer):
    benchmark.extra_info.update(slug=SLUG, work="a damped step with the Fisher term, 1000 unknowns", peer=peer)
    problem = study.linear_residual(1000, 500)
    B, H = gns.Metric(problem.metric), problem.f.hess(problem.x0, "fisher")
    g = problem.f.grad(problem.x0)
    shown = H.todense() if peer else H
    h = benchmark.pedantic(lambda: gns.hessians.prepare(shown, B)(1.0, -g)[0], rounds=3)
    np.testing.assert_allclose(B.norm(H @ h + B.apply(h) + g), 0, atol=1e-4 * np.linalg.norm(g))


@pytest.mark.parametrize("peer", [None, "scipy trust-exact", "scipy Newton-CG", "scipy L-BFGS-B"])
def test_to_equal_gap(benchmark, peer):
    benchmark.extra_info.update(slug=SLUG, work="a soft maximum of 200 terms to a gap of 1e-8, exact Hessian", peer=peer)
    problem = study.soft_maximum(200)
    f = problem.f
    options = {"trust-exact": {"gtol": 1e-7}, "Newton-CG": {"xtol": 1e-10}, "L-BFGS-B": {"ftol": 0, "gtol": 1e-6}}

    def run():
        if peer is None:
            return study.solve(problem).fun
        name = peer.removeprefix("scipy ")
        hess = None if name == "L-BFGS-B" else f.hess
        more = {"maxiter": 5000, **options[name]}
        return so.minimize(f.value, problem.x0, jac=f.grad, hess=hess, method=name, options=more).fun

    assert benchmark.pedantic(run, rounds=3) - problem.minimum <= 1e-6


@pytest.mark.parametrize("size", [1000, 10_000, 100_000])
def test_growth_with_the_variables(benchmark, size):
    benchmark.extra_info.update(slug=SLUG, work="the Chebyshev chain to a gap of 1e-8, inexact Hessian", size=size)
    problem = study.chebyshev(size)
    assert benchmark.pedantic(lambda: study.solve(problem, "inexact"), rounds=2).success
