"""The method: gradients against finite differences, algorithms against hand-written loops, limits, bad input, resuming."""

from __future__ import annotations

import copy
import inspect
import pickle

import numpy as np
import pytest
import torch

from lib.constrained import bilevel_penalty as bp
from lib.constrained.bilevel_penalty import study
from lib.problems.bilevel import BilevelProblem

F64 = {"dtype": torch.float64}


def cases(family, n=3):
    return [study.instance(family, seed) for seed in range(n)]


@pytest.fixture(params=study.FAMILIES, scope="module")
def family(request):
    return request.param


# The landscape


def test_exact_hypergradient_is_that_of_finite_differences(family):
    for case in cases(family):
        found = bp.exact_hypergrad(case.problem, case.x0, case.best(case.x0))
        numeric = study.numeric_hypergradient(case, case.x0)
        assert float((found - numeric).norm()) <= 1e-7 * (1 + float(numeric.norm()))


def test_conjugate_gradients_give_the_pseudo_inverse():
    for family in ("strong", "wide", "ring"):
        case = study.instance(family, 5)
        y = case.best(case.x0)
        dense, free = (
            bp.exact_hypergrad(case.problem, case.x0, y, method=m, check_tol=1e-9, rtol=1e-9) for m in ("pinv", "cg")
        )
        torch.testing.assert_close(free, dense, rtol=1e-7, atol=1e-9)


def test_one_minimizer_gives_the_usual_implicit_formula():
    case = study.instance("strong", 1)
    x, y = case.x0, case.best(case.x0)
    f_x, f_y = case.problem.upper_slopes(x, y)
    mixed, H = (torch.autograd.functional.hessian(case.problem.lower, (x, y))[i][j] for i, j in ((0, 1), (1, 1)))
    usual = f_x - mixed @ torch.linalg.solve(H, f_y)
    torch.testing.assert_close(bp.exact_hypergrad(case.problem, x, y), usual, rtol=1e-10, atol=1e-12)


def test_penalized_gradient_is_that_of_the_penalized_value(family):
    sigma = 0.05
    for case in cases(family):
        z = case.lower(case.x0, 0.0)
        found = bp.penalty_hypergrad(case.problem, case.x0, case.lower(case.x0, sigma), z, sigma)

        def value(x, case=case):
            return bp.penalty_value(case.problem, x, case.lower(x, sigma), case.lower(x, 0.0), sigma)

        eye = 1e-5 * torch.eye(len(case.x0), **F64)
        numeric = torch.tensor([(value(case.x0 + e) - value(case.x0 - e)) / 2e-5 for e in eye], **F64)
        assert float((found - numeric).norm()) <= 1e-6 * (1 + float(numeric.norm()))


def test_penalized_value_is_below_and_falls_with_the_weight(family):
    sigmas = np.geomspace(1e-4, 0.3, 8)
    for case in cases(family):
        gaps = study.landscape_gaps(case, case.x0, sigmas).value
        assert (gaps >= -1e-10).all()
        assert (np.diff(gaps) >= -1e-10).all()


def test_any_minimizer_of_the_lower_level_serves_as_second_point():
    case = study.instance("ring", 2)
    y, r = case.lower(case.x0, 0.1), study.ring_radius(case.x0)
    values = [
        bp.penalty_hypergrad(case.problem, case.x0, y, r * torch.tensor([np.cos(a), np.sin(a)], **F64), 0.1)
        for a in (0.0, 1.0, 4.0)
    ]
    torch.testing.assert_close(values[0], values[1])
    torch.testing.assert_close(values[0], values[2])


def test_the_ring_has_its_closed_form():
    case = study.instance("ring", 3)
    x, y = case.x0, case.best(case.x0)
    far, r = float(y.norm() / study.ring_radius(x)), study.ring_radius(x)
    assert abs(far - 1) < 1e-12
    c = y - case.problem.upper_slopes(x, y)[1]
    slope = -(c.norm() - r) * torch.cos(2 * x)
    torch.testing.assert_close(bp.exact_hypergrad(case.problem, x, y), slope, rtol=1e-9, atol=1e-12)


def test_without_an_error_bound_the_closed_form_is_brute_force():
    x, y = np.linspace(-1, 1, 41), np.linspace(-1, 1, 4001)
    for sigma in (0.5, 0.2, 0.05):
        brute = [np.min(sigma * (t**2 + y**2) + t * y) / sigma - np.min(t * y) / sigma for t in x]
        np.testing.assert_allclose(study.no_error_bound(x, sigma)[1], brute, atol=1e-6 / sigma)
    assert study.no_error_bound(np.array([0.0]), 0.1)[0] == 0


def test_a_point_that_is_not_the_solution_is_refused():
    case = study.instance("wide", 0)
    x, y = case.x0, case.best(case.x0)
    with pytest.raises(ValueError, match="stationary"):
        bp.exact_hypergrad(case.problem, x, y + 0.1)
    z = case.lower(x, 0.0)  # a minimizer of g, but not the one with the least f
    for method in ("pinv", "cg"):
        with pytest.raises(ValueError, match="upper level's slope is left"):
            bp.exact_hypergrad(case.problem, x, z, method=method)
    assert torch.isfinite(bp.exact_hypergrad(case.problem, x, z, check_tol=np.inf)).all()


def test_degenerate_active_sets_are_refused():
    def make(constraints):
        return BilevelProblem(lambda x, y: (y**2).sum(), lambda x, y: ((y - x) ** 2).sum(), constraints)

    x, y = torch.tensor([0.0], **F64), torch.tensor([0.0], **F64)
    with pytest.raises(bp.DegenerateActiveSet, match="multiplier"):  # active, but nothing pushes against it
        bp.exact_hypergrad(make(lambda x, y: -y), x, y)
    with pytest.raises(bp.DegenerateActiveSet, match="dependent"):
        bp.exact_hypergrad(make(lambda x, y: torch.cat([-y, -2 * y])), x - 1, y)
    with pytest.raises(ValueError, match="satisfy"):
        bp.exact_hypergrad(make(lambda x, y: 1 - y), x, y)
    with pytest.raises(ValueError, match="depend on x"):
        bp.exact_hypergrad(make(lambda x, y: x - y), x, y)
    with pytest.raises(ValueError, match="pinv"):
        bp.exact_hypergrad(make(lambda x, y: -y), x - 1, y, method="cg")


def test_equality_constraints_fix_the_point():
    problem = BilevelProblem(lambda x, y: (y**2).sum() + (x**2).sum(), lambda x, y: ((y - x) ** 2).sum(),
                             lambda x, y: y.sum()[None] - 1, equality=True)  # fmt: skip
    x = torch.tensor([2.0, 0.0], **F64)
    y = torch.tensor([1.5, -0.5], **F64)  # the projection of x on the line
    expected = 2 * x + torch.tensor([2.0, -2.0], **F64)  # dy/dx = I - 11'/2
    torch.testing.assert_close(bp.exact_hypergrad(problem, x, y), expected)


def test_half_precision_is_computed_in_float32():
    problem = BilevelProblem(lambda x, y: ((y - 1) ** 2).sum(), lambda x, y: ((y - x) ** 2).sum())
    x, y = torch.tensor([3.0], dtype=torch.float16), torch.tensor([2.0], dtype=torch.float16)
    assert bp.penalty_hypergrad(problem, x, y, x, 1.0).dtype == torch.float32


# The loops


def slopes_of(case, x, w):
    return case.problem.upper_slopes(x, w), case.problem.lower_slopes(x, w)


def test_the_double_loop_is_algorithm_1_written_out():
    case = study.instance("box", 0)
    sigma, alpha, gamma, beta, rho, T = 0.3, 0.05, 0.2, 0.6, 2.0, 3
    y0, z0 = torch.full((6,), 0.4, **F64), torch.full((6,), 0.7, **F64)
    loop = bp.DoubleLoopPenalty(case.problem, case.x0, y0, z0, sigma=sigma, alpha=alpha, gamma=gamma, beta=beta, rho=rho,
                                inner_steps=T)  # fmt: skip
    x, y, z = case.x0, y0, z0
    for _ in range(4):
        wy, wz = y, z
        for _ in range(T):
            (_, f), (_, g) = slopes_of(case, x, wy)
            wy = (wy - gamma * (sigma * f + g + (wy - y) / rho)).clamp(0, 1)
            wz = (wz - gamma * (slopes_of(case, x, wz)[1][1] + (wz - z) / rho)).clamp(0, 1)
        y, z = (1 - beta) * y + beta * wy, (1 - beta) * z + beta * wz
        (f, _), (g, _) = slopes_of(case, x, wy)
        x = x - alpha / sigma * (sigma * f + g - slopes_of(case, x, wz)[1][0])
        loop.step()
        for ours, theirs in ((loop.x, x), (loop.y, y), (loop.z, z)):
            torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    assert loop.calls == 4 * (T + 1) * 3


def test_without_proximal_term_it_is_plain_penalty_descent():
    case = study.instance("wide", 0)
    start = torch.zeros(6, **F64)
    common = {"sigma": 0.2, "alpha": 0.02, "gamma": 0.3, "inner_steps": 2}
    wide = bp.DoubleLoopPenalty(case.problem, case.x0, start, **common)
    far = bp.DoubleLoopPenalty(case.problem, case.x0, start, rho=1e14, beta=1.0, **common)
    wide.run(20), far.run(20)
    torch.testing.assert_close(wide.x, far.x, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(wide.y, far.y, rtol=1e-9, atol=1e-9)


def test_the_single_loop_is_algorithm_2_written_out():
    toy = study.WideToy(0, 2, noise=0.5)
    sigma, alpha, gamma, beta, rho, eta = 0.3, 0.02, 0.2, 0.6, 2.0, 0.3
    loop = bp.SingleLoopPenalty(toy.sample, toy.x0, toy.y0, toy.y0 + 1, sigma=sigma, alpha=alpha, gamma=gamma, beta=beta,
                                rho=rho, eta=eta, batch=2, seed=7)  # fmt: skip
    rng = np.random.default_rng(7)
    x, y, z, wy, wz, d, before = toy.x0, toy.y0, toy.y0 + 1, toy.y0, toy.y0 + 1, None, None

    def all_slopes(p, x, wy, wz):
        return [*p.upper_slopes(x, wy), *p.lower_slopes(x, wy), *p.lower_slopes(x, wz)]

    for _ in range(4):
        sample = toy.sample(rng, 2)
        new = all_slopes(sample, x, wy, wz)
        if d is not None:
            new = [n + (1 - eta) * (e - o) for e, n, o in zip(d, new, all_slopes(sample, *before), strict=True)]
        d, before = new, (x, wy, wz)
        wy, wz = wy - gamma * (sigma * d[1] + d[3] + (wy - y) / rho), wz - gamma * (d[5] + (wz - z) / rho)
        y, z = (1 - beta) * y + beta * wy, (1 - beta) * z + beta * wz
        x = x - alpha * (d[0] + (d[2] - d[4]) / sigma)
        loop.step()
        for ours, theirs in ((loop.x, x), (loop.y, y), (loop.z, z), (loop.wy, wy), (loop.wz, wz)):
            torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    assert loop.calls == 2 * 3 * (1 + 3 * 2)


def test_the_single_loop_ends_at_a_zero_of_the_penalized_gradient():
    for sigma in (0.3, 0.1):
        toy = study.WideToy(1, 3)
        loop = bp.SingleLoopPenalty(toy.problem, toy.x0, toy.y0, sigma=sigma, alpha=0.3 * sigma, gamma=1.0)
        loop.run(int(600 / sigma))
        y, z = toy.solve(loop.x, sigma), toy.solve(loop.x, 0.0)
        direction = toy.upper_slopes(loop.x, y)[0] + (toy.lower_slopes(loop.x, y)[0] - toy.lower_slopes(loop.x, z)[0]) / sigma
        assert float(direction.norm()) <= 1e-8
        assert float(toy.slope(loop.x).norm(dim=1).max()) / sigma < 20


def test_momentum_of_one_is_plain_and_without_noise_every_momentum_is():
    toy = study.WideToy(0, 2)
    args = {"sigma": 0.2, "alpha": 0.05, "gamma": 0.4, "seed": 3}
    ends = {}
    for name, problem, eta in (("plain", toy.problem, 1.0), ("momentum", toy.problem, 0.1)):
        loop = bp.SingleLoopPenalty(problem, toy.x0, toy.y0, eta=eta, **args)
        loop.run(30)
        ends[name] = loop.x
    torch.testing.assert_close(ends["plain"], ends["momentum"], rtol=1e-10, atol=1e-12)


def test_several_runs_with_settings_of_their_own_are_the_runs_one_by_one():
    toy = study.WideToy(0, 1, repeats=2)
    sigma, alpha = torch.tensor([[0.3], [0.1]], **F64), torch.tensor([[0.1], [0.02]], **F64)
    both = bp.SingleLoopPenalty(toy.problem, toy.x0, toy.y0, sigma=lambda k: sigma, alpha=lambda k: alpha, gamma=0.5)
    both.run(25)
    for i in range(2):
        one = study.WideToy(0, 1)
        alone = bp.SingleLoopPenalty(one.problem, one.x0, one.y0, sigma=float(sigma[i]), alpha=float(alpha[i]), gamma=0.5)
        alone.run(25)
        torch.testing.assert_close(both.x[i], alone.x[0], rtol=1e-12, atol=1e-12)


def make_loop(kind, toy, **more):
    args = {"sigma": bp.PowerSchedule(0.5, 0.2), "alpha": 0.01, "gamma": 0.4, "seed": 5, "batch": 3} | more
    if kind == "single":
        return bp.SingleLoopPenalty(toy.sample, toy.x0, toy.y0, eta=bp.PowerSchedule(1.0, 0.5), **args)
    return bp.DoubleLoopPenalty(toy.sample, toy.x0, toy.y0, inner_steps=2, **args)


@pytest.mark.parametrize("kind", ["single", "double"])
@pytest.mark.parametrize("how", ["state", "pickle", "deepcopy"])
def test_resumed_in_the_middle_it_goes_on_as_if_never_stopped(kind, how):
    toy = study.WideToy(0, 2)
    loop = make_loop(kind, toy)
    loop.run(5)
    if how == "state":
        again = make_loop(kind, toy, seed=99)
        again.load_state_dict(pickle.loads(pickle.dumps(loop.state_dict())))
    else:
        again = pickle.loads(pickle.dumps(loop)) if how == "pickle" else copy.deepcopy(loop)
    loop.run(5), again.run(5)
    assert torch.equal(loop.x, again.x)
    assert torch.equal(loop.y, again.y)
    assert (loop.k, loop.calls) == (again.k, again.calls)


@pytest.mark.parametrize("kind", ["single", "double"])
def test_what_ends_a_step_leaves_everything_as_it_was(kind):
    toy = study.WideToy(0, 2)
    loop = make_loop(kind, toy, alpha=lambda k: 0.01 if k < 3 else 1e308, sigma=lambda k: 0.1 if k < 3 else 1e-300)
    with pytest.raises(FloatingPointError, match="x is not finite"):
        loop.run(10)
    assert loop.k == 3
    before = loop.x.clone()
    with pytest.raises(FloatingPointError):
        loop.step()
    assert torch.equal(loop.x, before)


def test_shared_samples_cancel_noise_that_is_the_same_everywhere():
    toy = study.WideToy(0, 20, noise=0.3)
    settings = {"shared": (True, True), "far": (True, False), "independent": (False, True)}
    spread = {name: study.gradient_noise(toy, 0.01, 100, *s, 0)[1].mean() for name, s in settings.items()}
    assert spread["independent"] > 5 * spread["shared"]
    assert spread["far"] > 5 * spread["shared"]


def test_the_projection_of_x_is_taken():
    levels = (lambda x, y: ((y + 1) ** 2).sum()), (lambda x, y: ((y - x) ** 2).sum())
    problem = BilevelProblem(*levels, project_x=lambda x: x.clamp(min=0))
    for kind in (bp.SingleLoopPenalty, bp.DoubleLoopPenalty):
        loop = kind(problem, torch.tensor([3.0]), torch.tensor([0.0]), sigma=0.1, alpha=0.02, gamma=0.4)
        loop.run(300)
        assert loop.x.item() == 0


def test_a_callback_stops_and_a_function_that_writes_into_its_argument_changes_nothing():
    def spoiled(x, y):
        by_x, by_y = 2 * (x - y), 2 * (y - x)
        x.fill_(np.nan), y.fill_(np.nan)
        return by_x, by_y

    problem = BilevelProblem(lambda x, y: ((y - 1) ** 2).sum(), lambda x, y: ((y - x) ** 2).sum(), lower_slopes=spoiled)
    x, y = torch.tensor([3.0]), torch.tensor([0.0])
    loop = bp.SingleLoopPenalty(problem, x, y, sigma=0.1, alpha=0.02, gamma=0.4)
    loop.run(50, callback=lambda loop: loop.k == 4)
    assert loop.k == 4
    assert torch.isfinite(loop.x).all()
    assert (x.item(), y.item()) == (3.0, 0.0)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"sigma": 0.0}, "sigma"), ({"sigma": lambda k: -1.0}, "sigma"), ({"gamma": 0.0}, "gamma"), ({"alpha": -1.0}, "alpha"),
        ({"beta": 1.5}, "beta"), ({"eta": 0.0}, "eta"), ({"eta": 1.1}, "eta"), ({"batch": 0}, "batch"), ({"rho": 0.0}, "rho"),
        ({"batch": lambda k: 0.5}, "batch"), ({"problem": 3}, "problem"), ({"shared": 1}, "shared"),
        ({"z": torch.zeros(5)}, "z"), ({"sigma": lambda k: torch.tensor([[0.1], [0.0]])}, "sigma"),
    ],
)  # fmt: skip
def test_bad_settings_are_named(change, match):
    toy = study.WideToy(0, 1)
    args = {"problem": toy.sample, "x": toy.x0, "y": toy.y0, "sigma": 0.1, "alpha": 0.01, "gamma": 0.4} | change
    with pytest.raises((ValueError, TypeError), match=match):
        bp.SingleLoopPenalty(**args).step()


def test_inner_steps_may_grow_and_are_checked():
    toy = study.WideToy(0, 1)
    args = {"sigma": 0.1, "alpha": 0.01, "gamma": 0.4}
    loop = bp.DoubleLoopPenalty(toy.problem, toy.x0, toy.y0, inner_steps=lambda k: k + 1, **args)
    loop.run(3)
    assert loop.calls == 3 * (2 + 3 + 4)
    for bad in (0, lambda k: 0):
        with pytest.raises(ValueError, match="inner_steps"):
            bp.DoubleLoopPenalty(toy.problem, toy.x0, toy.y0, inner_steps=bad, **args).step()


def test_a_state_of_another_problem_is_refused():
    small, large = (bp.SingleLoopPenalty(study.WideToy(0, n).sample, torch.zeros(n, 3), torch.zeros(n, 6), sigma=0.1,
                                         alpha=0.1, gamma=0.1) for n in (1, 2))  # fmt: skip
    with pytest.raises(ValueError, match="shape"):
        small.load_state_dict(large.state_dict())
    with pytest.raises(ValueError, match="has no"):
        small.load_state_dict({"k": 0})


def test_defaults_are_those_that_the_docstrings_name():
    single = inspect.signature(bp.SingleLoopPenalty).parameters
    double = inspect.signature(bp.DoubleLoopPenalty).parameters
    assert (single["eta"].default, single["beta"].default, single["shared"].default) == (1.0, 1.0, True)
    assert (double["inner_steps"].default, double["batch"].default, double["rho"].default) == (10, 1, np.inf)
    assert bp.PowerSchedule(2.0, 1.0, most=0.5)(0) == 0.5
    assert bp.PowerSchedule(2.0, 1.0)(3) == 0.5


@pytest.mark.parametrize("value", [torch.tensor([1, 2]), torch.tensor([1j]), torch.empty(0), torch.tensor([np.nan])])
def test_steps_by_coordinate_are_floats(value):
    from lib.constrained.bilevel_penalty import loops

    with pytest.raises((TypeError, ValueError), match="alpha must"):
        loops._value("alpha", value, 0, {"above": 0.0})
