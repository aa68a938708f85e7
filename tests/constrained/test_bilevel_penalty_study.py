"""The study: closed forms against autograd, samples against the whole, hyper-cleaning's gradients and methods."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import lib.data
from lib.constrained import bilevel_penalty as bp
from lib.constrained.bilevel_penalty import study
from lib.constrained.bilevel_penalty.study import cleaning as cleaning_module
from lib.problems.cleaning import cleaning_task


@pytest.fixture(scope="module")
def cleaning():
    X, y = lib.data.digits()
    return study.SoftmaxCleaning(cleaning_task(X / 16, y, n_train=150, n_val=80, share=0.5, seed=0))


@pytest.fixture(scope="module")
def toy():
    return study.WideToy(0, 3, noise=0.3)


def by_autograd(of, x, y):
    x, y = x.clone().requires_grad_(), y.clone().requires_grad_()
    found = torch.autograd.grad(of(x, y), (x, y), allow_unused=True)
    return [torch.zeros_like(v) if g is None else g for v, g in zip((x, y), found, strict=True)]


def test_closed_slopes_are_those_of_autograd(toy, cleaning):
    rng = np.random.default_rng(0)
    problems = [toy.problem, toy.sample(rng, 4), cleaning.problem, cleaning.sample(rng, 30)]
    for problem, owner in zip(problems, (toy, toy, cleaning, cleaning), strict=True):
        x, y = (torch.randn_like(v) for v in (owner.x0, owner.y0))
        for of, slopes in ((problem.upper, problem.upper_slopes), (problem.lower, problem.lower_slopes)):
            for ours, theirs in zip(slopes(x, y), by_autograd(of, x, y), strict=True):
                torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


def test_samples_are_right_on_average(toy, cleaning):
    rng = np.random.default_rng(0)
    for owner, n in ((toy, 4000), (cleaning, 3000)):
        x, y = owner.x0 + 0.3, owner.y0 + 0.1
        drawn = [owner.sample(rng, 5).lower_slopes(x, y) for _ in range(n)]
        for k, exact in enumerate(owner.problem.lower_slopes(x, y)):
            found = torch.stack([d[k] for d in drawn])
            error = (found.mean(0) - exact).abs() / (found.std(0) / np.sqrt(n) + 1e-12)
            assert float(error.max()) < 5.5


def test_the_toys_hypergradient_is_the_methods(toy):
    one = study.WideToy(0, 3)
    for i in range(3):
        A, B, c, D = (part[i] for part in (one.A, one.B, one.c, one.D))
        problem = bp_problem(A, B, c, D)
        exact = bp.exact_hypergradient(problem, one.x0[i], one.best(one.x0)[i])
        torch.testing.assert_close(one.slope(one.x0)[i], exact, rtol=1e-9, atol=1e-10)
        y = one.solve(one.x0, 0.1)[i]
        assert float((0.1 * (y - c - D @ one.x0[i]) + A.T @ (A @ y - B @ one.x0[i])).norm()) < 1e-12


def bp_problem(A, B, c, D):
    from lib.problems.bilevel import BilevelProblem

    return BilevelProblem(
        lambda x, y: ((y - c - D @ x) ** 2).sum() / 2 + 0.05 * (x**2).sum(), lambda x, y: ((A @ y - B @ x) ** 2).sum() / 2
    )


def test_products_with_second_derivatives_are_those_of_autograd(cleaning):
    x, y, v = (torch.randn_like(t) for t in (cleaning.x0, cleaning.y0, cleaning.y0))

    def slope(a, b):
        return torch.autograd.grad(cleaning.lower(a, b), b, create_graph=True)[0]

    a, b = x.clone().requires_grad_(), y.clone().requires_grad_()
    mixed, hessian = torch.autograd.grad(slope(a, b) @ v, (a, b))
    torch.testing.assert_close(cleaning.hessian_times(x, y, v), hessian, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(cleaning.mixed_times(x, y, v), mixed, rtol=1e-9, atol=1e-12)


def test_the_way_back_through_the_steps_is_that_of_autograd(cleaning):
    x, path, gamma = cleaning.x0.clone().requires_grad_(), [cleaning.y0], 0.5
    for _ in range(4):
        y = path[-1].detach().requires_grad_() if len(path) == 1 else path[-1]
        path.append(y - gamma * torch.autograd.grad(cleaning.lower(x, y), y, create_graph=True)[0])
    exact = torch.autograd.grad(cleaning.upper(x, path[-1]), x)[0]
    found = cleaning_module.back_through(cleaning, x.detach(), [y.detach() for y in path], gamma)
    torch.testing.assert_close(found, exact, rtol=1e-9, atol=1e-14)


def test_penalized_and_implicit_gradients_agree_on_digits(cleaning):
    x = cleaning.x0
    z = cleaning.solve(x, max_iter=3000)
    exact = bp.exact_hypergradient(cleaning.problem, x, z, method="cg", check_tol=1e-3)
    errors = {}
    for sigma in (0.1, 0.01):
        y = cleaning.solve(x, z, max_iter=3000, sigma=sigma)
        found = bp.penalty_hypergradient(cleaning.problem, x, y, z, sigma)
        errors[sigma] = float((found - exact).norm() / exact.norm())
        if sigma == 0.01:
            assert float(found @ exact / found.norm() / exact.norm()) > 0.999
    assert 5 < errors[0.1] / errors[0.01] < 12


def test_a_race_keeps_the_best_step_and_reads_between_checkpoints():
    race = study.rate_race("exact", seed=0, n_runs=2, alphas=[1e-6, 0.2], n_steps=60)
    for one in race.values():
        assert one.alpha == 0.2
        np.testing.assert_allclose(one.at(one.calls[-1]), one.norms[-1])
    assert not np.allclose(race["one"].norms, race["plane"].norms)
    calls = {kind: study.rate_race(kind, 0, 2, [0.2], 12)["one"].calls[-1] for kind in ("double", "momentum", "plain")}
    batches = np.ceil(np.arange(1, 13) ** (4 / 3)).astype(int)
    assert calls == {"double": 33 * batches.sum(), "momentum": 3 * (1 + 2 * 11), "plain": 36}


def test_the_toys_ranks_are_those_asked_for():
    toy = study.WideToy(0, 2, repeats=2, ranks=(6, 4))
    assert torch.linalg.matrix_rank(toy.A, rtol=1e-9).tolist() == [6, 6, 4, 4] * 2
    assert study.RANKS == {"one": 6, "plane": 4}
    y = toy.best(toy.x0)
    assert float(toy.lower_slopes(toy.x0, y)[1].abs().max()) < 1e-12


def test_the_promised_schedules():
    assert study.SCHEDULES["momentum"] == {"sigma": 1 / 5, "alpha": 3 / 5, "eta": 4 / 5}
    assert study.SCHEDULES["double"] == {"sigma": 1 / 3, "alpha": 1 / 3, "batch": -4 / 3}
    assert study.SCHEDULES["exact"] == {"sigma": 1 / 3, "alpha": 1 / 3}


@pytest.mark.parametrize("method", ["penalty", "implicit", "unrolled"])
def test_each_method_finds_wrong_labels(cleaning, method):
    run = {"penalty": study.clean_penalty, "implicit": study.clean_implicit, "unrolled": study.clean_unrolled}[method]
    alpha = 100.0 if method == "penalty" else 300.0
    result = run(cleaning, calls=1200, alpha=alpha)
    assert result.calls <= 1200
    assert result.auc > 0.85
    assert 0 < result.accuracy <= 1


def test_batches_count_as_calls_of_a_batch(cleaning):
    assert study.clean_penalty(cleaning, calls=30, alpha=5.0, gamma=0.3, batch=16).calls == 30


def test_traces_end_at_the_last_step(toy):
    loop = bp.SingleLoopPenalty(
        toy.problem, toy.x0, toy.y0, sigma=bp.PowerSchedule(0.5, 0.5), alpha=bp.PowerSchedule(0.1, 0.5), gamma=1.0
    )
    found = study.trace(loop, toy.slope, 500, 8)
    assert found.steps[-1] == 500
    assert found.calls[-1] == loop.calls == 1500
    assert (np.diff(found.norms.mean(1)) < 0).all()


def test_the_bias_falls_with_the_weight_and_independent_noise_grows(toy):
    near, far = (study.gradient_noise(toy, s, 200, False, True, 0) for s in (0.003, 0.03))
    assert 5 < far[0] / near[0] < 12
    assert 8 < near[1].mean() / far[1].mean() < 12


def test_constants_of_the_cleaning_task():
    assert study.SoftmaxCleaning.__init__.__defaults__ == (1e-3,)
    assert study.clean_penalty.__defaults__[:3] == (100.0, 0.5, 0.1)
