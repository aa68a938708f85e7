"""LV-HBA: the value and its gradients, the loop on problems with known answers, the solver's door."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from lib.constrained import lv_hba
from lib.constrained.lv_hba import LVHBA, constraint_scale, penalty_weight, prox_lagrangian_value, study
from lib.constrained.lv_hba.core import State, Steps, iterate, penalty_slopes, saddle_step
from lib.problems.bilevel import BilevelProblem

RNG = np.random.default_rng(0)


def rand(*shape):
    return torch.from_numpy(RNG.normal(size=shape))


A, G, H, T = rand(4, 4), rand(2, 4), rand(2, 3), rand(3, 4)
Q = A @ A.T + 0.1 * torch.eye(4, dtype=A.dtype)


def upper(x, y):
    return (x**2).sum() / 2 + ((y - 1) ** 2).sum() / 2


def lower(x, y):
    return y @ Q @ y / 2 + x @ T @ y + (x**2).sum()


def constraints(x, y):
    return G @ y + H @ x - 0.5


def box(y):
    return y.clamp(-0.4, 0.4)


SLOPES = {"lower_slopes": lambda x, y: (T @ y + 2 * x, Q @ y + x @ T)}
PULL = {"constraint_pull": lambda x, y, u: (u @ H, u @ G), "project_joint": lambda x, y: (x, y)}
KINDS = {
    "inequality": BilevelProblem(upper, lower, constraints, **SLOPES, **PULL),
    "equality": BilevelProblem(upper, lower, constraints, equality=True, **SLOPES, **PULL),
    "box": BilevelProblem(upper, lower, constraints, project_y=box, **SLOPES, **PULL),
    "none": BilevelProblem(upper, lower, **SLOPES),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("r", [1000.0, 0.6])
def test_slopes_of_the_value_are_its_central_differences(kind, r):
    problem, x, y, z = KINDS[kind], rand(3), 2 * rand(4), rand(2).abs()
    z = z[:0] if kind == "none" else z.clamp(max=r)

    def value(u):
        parts = torch.split(u, [3, 4, len(z)])
        found = prox_lagrangian_value(problem, *parts, gamma1=0.7, gamma2=1.9, r=r, tol=1e-12)
        assert found.success
        return found

    at = torch.cat([x, y, z])
    found, h = value(at), 1e-5
    eye = h * torch.eye(len(at), dtype=at.dtype)
    wanted = [(value(at + e).value - value(at - e).value) / (2 * h) for e in eye]
    ours = torch.cat([found.slope_x, found.slope_y, found.slope_z])
    np.testing.assert_allclose(ours, wanted, atol=1e-5)
    if kind in ("inequality", "box") and r < 1:
        assert float(found.lam.max()) <= r


def test_value_is_the_saddle_that_scipy_finds():
    """The multiplier maximized over in closed form by hand, theta by BFGS."""
    x, y, z = rand(3), rand(4), rand(2).abs()
    g1, g2 = 0.8, 1.7

    def outer(theta):
        th = torch.from_numpy(theta)
        g = constraints(x, th)
        lam = (z + g2 * g).clamp(0, 1000)
        return float(lower(x, th) + lam @ g - ((lam - z) ** 2).sum() / (2 * g2) + ((th - y) ** 2).sum() / (2 * g1))

    peer = minimize(outer, y.numpy(), method="BFGS", tol=1e-9)
    found = prox_lagrangian_value(KINDS["inequality"], x, y, z, g1, g2)
    assert found.value == pytest.approx(peer.fun, rel=1e-8)
    np.testing.assert_allclose(found.theta, peer.x, atol=1e-5)


def test_without_constraints_it_is_the_moreau_envelope():
    problem = BilevelProblem(upper, lambda x, y: 0.5 * y @ y)
    y = rand(4)
    for gamma in (0.1, 1.0, 10.0):
        found = prox_lagrangian_value(problem, rand(3), y, gamma1=gamma)
        assert found.value == pytest.approx(float(y @ y) / (2 * (1 + gamma)), rel=1e-9)


def test_small_gamma1_gives_the_lower_level_itself_where_it_is_feasible():
    y, x = 0.01 * rand(4), torch.zeros(3).double()
    assert float(constraints(x, y).max()) < 0
    found = prox_lagrangian_value(KINDS["inequality"], x, y, gamma1=1e-6)
    assert found.value == pytest.approx(float(lower(x, y)), abs=1e-4)


def test_large_gammas_give_the_lower_level_optimum():
    x = rand(3)
    constraint = {"type": "ineq", "fun": lambda y: -constraints(x, torch.from_numpy(y)).numpy()}
    peer = minimize(
        lambda y: float(lower(x, torch.from_numpy(y))), np.zeros(4), constraints=constraint, method="SLSQP", tol=1e-12
    )
    found = prox_lagrangian_value(KINDS["inequality"], x, rand(4), gamma1=1e3, gamma2=1e3, tol=1e-6)
    assert found.success
    assert found.value == pytest.approx(peer.fun, abs=0.02)


def test_gap_is_not_negative_on_feasible_points_and_zero_at_solutions():
    x = rand(3)
    for _ in range(50):
        y = rand(4)
        y = y - torch.linalg.pinv(G) @ constraints(x, y).clamp(min=0) * 1.0001
        if float(constraints(x, y).max()) > 0:
            continue
        found = prox_lagrangian_value(KINDS["inequality"], x, y, rand(2).abs())
        assert float(lower(x, y)) - found.value >= -1e-9
    constraint = {"type": "ineq", "fun": lambda y: -constraints(x, torch.from_numpy(y)).numpy()}
    y = minimize(
        lambda y: float(lower(x, torch.from_numpy(y))), np.zeros(4), constraints=constraint, method="SLSQP", tol=1e-14
    ).x
    y = torch.from_numpy(y)
    active = constraints(x, y).abs() < 1e-6
    z = torch.zeros(2).double()
    z[active] = -torch.linalg.pinv(G[active].T) @ (Q @ y + x @ T)
    found = prox_lagrangian_value(KINDS["inequality"], x, y, z.clamp(min=0))
    assert float(lower(x, y)) - found.value == pytest.approx(0, abs=1e-7)


def test_scale_divides_constraints_and_multiplies_multipliers():
    x, y = rand(3), rand(4)
    plain = prox_lagrangian_value(KINDS["equality"], x, y, gamma2=1.0)
    scaled = prox_lagrangian_value(KINDS["equality"], x, y, gamma2=9.0, scale=3.0, r=1e6)
    assert scaled.value == pytest.approx(plain.value, rel=1e-8)
    np.testing.assert_allclose(scaled.lam / 3, plain.lam, rtol=1e-6)
    assert constraint_scale(KINDS["equality"], x, y) == pytest.approx(float(torch.linalg.matrix_norm(G, ord=2)))
    assert constraint_scale(KINDS["none"], x, y) == 1.0


def test_an_unfinished_value_says_so():
    assert not prox_lagrangian_value(KINDS["inequality"], rand(3), rand(4), max_iter=2).success


def test_one_iteration_by_hand():
    """One variable each: F = y, f = (y - x)^2 / 2, g = y + x - 1."""
    problem = BilevelProblem(
        lambda x, y: y.sum(), lambda x, y: ((y - x) ** 2).sum() / 2, lambda x, y: x + y - 1, project_joint=lambda x, y: (x, y)
    )
    one = [torch.tensor([v], dtype=torch.float64) for v in (0.2, 0.3, 0.6, 0.5, 0.4)]
    s, steps = State(*one, 3), Steps(alpha=0.1, alpha_x=0.2, beta=0.3, eta=0.05, gamma1=2.0, gamma2=4.0, r=10.0, scale=2.0)
    theta, lam = saddle_step(problem, s, steps)
    t = 0.6 - 0.05 * ((0.6 - 0.2) + 0.5 / 2 + (0.6 - 0.3) / 2)
    m = 0.5 - 0.05 * (-(0.6 + 0.2 - 1) / 2 + (0.5 - 0.4) / 4)
    assert (theta.item(), lam.item()) == pytest.approx((t, m))
    d_x = 0 + (0.2 - 0.3) - ((0.2 - t) + m / 2)
    d_y = 1 / 5 + (0.3 - 0.2) - (0.3 - t) / 2
    d_z = -(m - 0.4) / 4
    got = penalty_slopes(problem, s, theta, lam, 5.0, steps)
    assert [g.item() for g in got] == pytest.approx([d_x, d_y, d_z])
    new = iterate(problem, s, 5.0, steps)
    assert (new.x.item(), new.y.item(), new.z.item()) == pytest.approx((0.2 - 0.2 * d_x, 0.3 - 0.1 * d_y, 0.4 - 0.3 * d_z))
    assert new.k == 4


def test_multipliers_of_inequalities_stay_between_zero_and_r():
    problem = BilevelProblem(
        lambda x, y: y.sum(), lambda x, y: -y.sum(), lambda x, y: y - x, project_joint=lambda x, y: (x, torch.minimum(x, y))
    )
    result = LVHBA(r=0.5, scale_constraints=False, max_iter=400).solve(problem, [0.0], [0.0])
    assert result.multiplier.item() == 0.5  # wants to be 1
    equal = BilevelProblem(
        lambda x, y: y.sum(),
        lambda x, y: y.sum(),
        lambda x, y: y - x,
        equality=True,
        project_joint=lambda x, y: ((x + y) / 2,) * 2,
    )
    assert LVHBA(r=0.5, scale_constraints=False, max_iter=400).solve(equal, [0.0], [0.0]).multiplier.item() == -0.5


@pytest.mark.parametrize("c", [1.0, 3.0, 10.0])
def test_bias_of_the_first_toy_is_the_closed_form(c):
    toy = study.merely_convex_toy(4)
    x, y = (part[0] for part in study.authors_start(toy, 0.0))
    result = LVHBA(0.3, 0.5, 0.4, c0=c, p=0.0, max_iter=1500, record_every=3000).solve(toy.problem(), x, y)
    assert float(toy.score(result.x)) == pytest.approx(4 / (5 * c + 6), rel=1e-4)


def test_first_toy_does_not_depend_on_its_size():
    errors = []
    for n in (10, 1000):
        toy = study.merely_convex_toy(n)
        x, y = (part[0] for part in study.authors_start(toy, 2.0))
        result = LVHBA(0.5, 0.5, 0.4, c0=4.0, p=0.45, max_iter=300).solve(toy.problem(), x, y)
        errors.append(float(toy.score(result.x)))
        assert result.multiplier.item() == pytest.approx(-1, abs=0.02)
    assert errors[0] == pytest.approx(errors[1], rel=1e-6)


def test_every_iterate_satisfies_the_constraints():
    toy, worst = study.merely_convex_toy(5), []
    x, y = (part[0] for part in study.toy_starts(toy, 1, seed=0))
    see = lambda s: worst.append(float(toy.constraints(s.x, s.y).abs()))  # noqa: E731
    LVHBA(0.5, 0.5, 0.4, max_iter=100, callback=see).solve(toy.problem(), x, y)
    assert len(worst) == 100
    assert max(worst) < 1e-8


def test_without_an_upper_level_the_gap_closes():
    toy = study.affine_toy(6, 3, 2, seed=1)
    one = study.toys.Affine(*(getattr(toy, name)[0] for name in ("A", "H", "B", "c", "d", "onto", "answer")))
    zero = BilevelProblem(
        lambda x, y: (x * 0).sum(), one.lower, one.constraints, equality=True, project_joint=one.project,
    )  # fmt: skip
    x, y = one.project(*torch.from_numpy(np.random.default_rng(0).normal(size=(2, 6))))
    result = LVHBA(0.2, 0.2, 0.2, max_iter=1000, tol=1e-5).solve(zero, x, y)
    assert result.success
    assert result.gap == pytest.approx(0, abs=1e-5)
    assert float(one.gap(result.x, result.y)) == pytest.approx(0, abs=1e-3)


def test_autograd_and_closed_slopes_give_the_same_run():
    toy = study.merely_convex_toy(4)
    plain = BilevelProblem(toy.upper, toy.lower, toy.constraints, equality=True, project_joint=toy.project)
    x, y = (part[0] for part in study.toy_starts(toy, 1, seed=0))
    runs = [LVHBA(max_iter=30).solve(problem, x, y) for problem in (plain, toy.problem())]
    np.testing.assert_allclose(runs[0].x, runs[1].x, rtol=1e-12)


def test_resuming_continues_the_same_run():
    toy = study.merely_convex_toy(4)
    x, y = (part[0] for part in study.toy_starts(toy, 1, seed=0))
    whole = LVHBA(max_iter=60, record_every=20).solve(toy.problem(), x, y)
    half = LVHBA(max_iter=30, record_every=20).solve(toy.problem(), x, y)
    again = LVHBA(max_iter=30, record_every=20).solve(toy.problem(), resume=pickle.loads(pickle.dumps(copy.deepcopy(half))))
    assert again.nit == whole.nit == 60
    assert torch.equal(again.x, whole.x)
    assert torch.equal(again.state.z, whole.state.z)
    assert again.history["upper"][-1] == whole.history["upper"][-1]
    assert len(half.history["k"]) == 2  # the earlier result is not written into


def test_success_only_where_moves_and_gap_are_small():
    toy = study.merely_convex_toy(4)
    x, y = (part[0] for part in study.authors_start(toy))
    stationary = LVHBA(0.3, 0.5, 0.4, c0=1.0, p=0.0, tol=1e-4, max_iter=300).solve(toy.problem(), x, y)
    assert not stationary.success  # the penalized problem is solved, the lower level is not
    assert stationary.gap > 1e-3
    assert "iteration limit" in stationary.message
    assert not LVHBA(max_iter=5).solve(toy.problem(), x, y).success


def test_single_precision_is_kept_and_half_becomes_single():
    toy = study.merely_convex_toy(4)
    for kind in (torch.float32, torch.float16):
        x, y = (part[0].to(kind) for part in study.authors_start(toy, 0.0))
        result = LVHBA(max_iter=20).solve(toy.problem(), x, y)
        assert result.x.dtype == torch.float32
        assert torch.isfinite(result.x).all()


def test_steps_too_long_say_why():
    toy = study.merely_convex_toy(100)
    x, y = (part[0] for part in study.authors_start(toy))
    bounded = LVHBA(0.5, 0.5, 0.4, scale_constraints=False, max_iter=300).solve(toy.problem(), x, y)
    assert "multiplier at its bound" in bounded.message  # the bound r keeps it from leaving all bounds
    with pytest.raises(FloatingPointError, match="scale_constraints"):
        LVHBA(5.0, 5.0, 5.0, max_iter=3000).solve(toy.problem(), x, y)


def test_bad_starts_and_problems_are_refused():
    toy = study.merely_convex_toy(2)
    x, y = (part[0] for part in study.authors_start(toy))
    with pytest.raises(ValueError, match="project_joint"):
        LVHBA().solve(toy.problem(), x + 1, y)
    wrong = BilevelProblem(toy.upper, toy.lower, toy.constraints, equality=True, project_joint=lambda x, y: (x + 1, y))
    with pytest.raises(ValueError, match="violated"):
        LVHBA().solve(wrong, x, y)
    with pytest.raises(ValueError, match="z0"):
        LVHBA().solve(toy.problem(), x, y, z0=[0.0, 0.0])
    with pytest.raises(TypeError, match="x0"):
        LVHBA().solve(toy.problem())
    with pytest.raises(TypeError, match="problem"):
        LVHBA().solve(toy, x, y)
    with pytest.raises(TypeError, match="resume"):
        LVHBA().solve(toy.problem(), resume=3)
    flat = BilevelProblem(toy.upper, toy.lower, lambda x, y: x[:1] + 0 * y[:1], project_joint=lambda x, y: (0 * x, y))
    with pytest.raises(ValueError, match="scale"):
        constraint_scale(flat, 0 * x, y)


def test_the_papers_constants_and_ours():
    assert penalty_weight(15, c0=2.0, p=0.25) == 4.0
    assert penalty_weight(0, c0=3.0, p=0.3) == 3.0
    solver = LVHBA()
    known = (solver.alpha, solver.beta, solver.eta, solver.gamma1, solver.gamma2, solver.c0, solver.p, solver.r)
    assert known == (0.1, 0.1, 0.1, 1.0, 1.0, 1.0, 0.3, 1000.0)
    assert solver.scale_constraints
    for bad in (0.5, -0.1):
        with pytest.raises(ValueError, match="p must"):
            LVHBA(p=bad)
    assert set(lv_hba.__all__) >= {"LVHBA", "BilevelSVC", "prox_lagrangian_value"}
