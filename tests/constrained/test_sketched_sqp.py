"""The parts of AdaSketch-Newton: merit function, bounds, sketches, linear solvers; exact checks first."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lib.constrained import sketched_sqp as ssqp
from lib.constrained.sketched_sqp import lagrangian as al
from lib.constrained.sketched_sqp import study
from lib.constrained.sketched_sqp.directions import Newton, factorized, minimal_residual
from lib.constrained.sketched_sqp.sketching import _Sketcher, projection_step, step_lengths


def random_point(problem, seed):
    rng = np.random.default_rng(seed)
    x, lam = problem.x0 + 0.3 * rng.standard_normal(problem.n), rng.standard_normal(problem.m)
    return al.Point(x, lam, *problem.first_order(x)), problem.lag_hess(x, lam)


def system(d, seed=0, dominant=2.0):
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((d, d))
    A = A + A.T + dominant * d * np.diag(np.where(np.arange(d) % 2, 1.0, -1.0))
    return A, A @ rng.standard_normal(d), rng


# --- the merit function -----------------------------------------------------------------------------------------------


def torch_hs77():
    def f(x):
        return (x[0] - 1) ** 2 + (x[0] - x[1]) ** 2 + (x[2] - 1) ** 2 + (x[3] - 1) ** 4 + (x[4] - 1) ** 6

    def c(x):
        return [
            x[0] ** 2 * x[3] + torch.sin(x[3] - x[4]) - 2 * 2**0.5,
            x[1] + x[2] ** 4 * x[3] ** 2 - 8 - 2**0.5,
        ]

    return f, c


@pytest.mark.parametrize("seed", range(5))
def test_gradient_of_the_merit_function_is_that_of_autograd(seed):
    f, c = torch_hs77()
    at, _ = random_point(study.small_problem("HS77"), seed)
    eta1, eta2 = 3.0, 0.2

    def merit(z):
        x, lam = z[:5], z[5:]
        slope = torch.func.grad(lambda y: f(y) + lam @ torch.stack(c(y)))(x)
        values = torch.stack(c(x))
        return f(x) + lam @ values + eta1 / 2 * values @ values + eta2 / 2 * slope @ slope

    z = torch.from_numpy(np.concatenate([at.x, at.lam]))
    value, gradient = ssqp.exact_augmented_lagrangian(study.small_problem("HS77"), at.x, at.lam, eta1, eta2)
    np.testing.assert_allclose(value, float(merit(z)), rtol=1e-12)
    wanted = torch.func.grad(merit)(z).numpy()
    np.testing.assert_allclose(gradient, wanted, atol=1e-10 * abs(wanted).max())


@pytest.mark.parametrize("name", ["HS7", "BT5", "HS56", "HS100LNP", "HELIXNE", "DENSCHNCNE"])
def test_merit_gradient_by_central_differences(name):
    problem = study.small_problem(name)
    at, _ = random_point(problem, 1)
    z, h, n = np.concatenate([at.x, at.lam]), 1e-6, problem.n
    value = lambda z: ssqp.exact_augmented_lagrangian(problem, z[:n], z[n:], 2.0, 0.3)[0]  # noqa: E731
    wanted = [(value(z + h * e) - value(z - h * e)) / (2 * h) for e in np.eye(len(z))]
    gradient = ssqp.exact_augmented_lagrangian(problem, z[:n], z[n:], 2.0, 0.3)[1]
    np.testing.assert_allclose(gradient, wanted, atol=1e-6 * abs(gradient).max())


@pytest.mark.parametrize("name", ["HS77", "HS40", "BT2"])
@pytest.mark.parametrize("shift", [0.0, 2.5])
def test_descent_identity(name, shift):
    """With an exact step: -dx'B dx + 2 c'dlam - eta1 |c|^2 - eta2 |slope|^2 + eta2 slope'(H - B) dx."""
    problem, eta1, eta2 = study.small_problem(name), 1.7, 0.3
    at, H = random_point(problem, 2)
    B = H + shift * np.eye(problem.n)
    step = np.linalg.solve(al.kkt_matrix(B, at.G), -at.kkt)
    dx, dlam = step[: problem.n], step[problem.n :]
    wanted = -dx @ B @ dx + 2 * at.c @ dlam - eta1 * at.c @ at.c - eta2 * at.slope @ at.slope
    wanted += eta2 * at.slope @ (H - B) @ dx
    np.testing.assert_allclose(al.merit_gradient(at, H, eta1, eta2) @ step, wanted, rtol=1e-9)


def test_kkt_matrix_is_the_derivative_of_the_kkt_residual():
    problem = study.small_problem("HS78")
    at, H = random_point(problem, 3)
    z, h, n = np.concatenate([at.x, at.lam]), 1e-6, problem.n
    kkt = lambda z: al.Point(z[:n], z[n:], *problem.first_order(z[:n])).kkt  # noqa: E731
    wanted = np.column_stack([(kkt(z + h * e) - kkt(z - h * e)) / (2 * h) for e in np.eye(len(z))])
    np.testing.assert_allclose(al.kkt_matrix(H, at.G), wanted, atol=1e-6)


def test_bounds_by_hand():
    B, H, G = np.diag([3.0, 4.0]), np.diag([1.0, 1.0]), np.array([[0.0, 0.5]])
    psi, upsilon = al.bounds(B, H, G, 0.1, 0.25)
    np.testing.assert_allclose(psi, 20 * 25 / (0.25 * 0.1))
    np.testing.assert_allclose(upsilon, np.sqrt(2))
    assert al.bounds(0.1 * B, 0.1 * H, G, 5.0, 7.0) == (20.0, 1.0)
    np.testing.assert_allclose(al.trial_delta(1.0, 0.1, 0.1, 20.0, 2.0), 0.4 * 0.1 / (2.1 * 4 * 400))


def test_psi_bounds_the_inverse_of_the_kkt_matrix():
    rng = np.random.default_rng(0)
    for _ in range(200):
        n, m = 6, 3
        H = rng.standard_normal((n, n)) * 10 ** rng.uniform(-2, 2)
        G = rng.standard_normal((m, n)) * 10 ** rng.uniform(-1, 1)
        H = H + H.T
        Z = np.linalg.qr(G.T, mode="complete")[0][:, m:]
        least = np.linalg.eigvalsh(Z.T @ H @ Z)[0]
        H = H + max(0, 0.1 - least) * np.eye(n)  # at least xi_B on the null space
        psi, _ = al.bounds(H, H, G, 0.1, np.linalg.eigvalsh(G @ G.T)[0])
        assert np.linalg.norm(np.linalg.inv(al.kkt_matrix(H, G)), 2) <= psi


def test_hessian_is_shifted_only_where_its_reduced_curvature_is_too_small():
    G = np.array([[1.0, 0.0, 0.0]])
    good = np.diag([-5.0, 1.0, 2.0])
    assert al.modified_hessian(good, G, 0.1, 1e-6) is good
    bad = np.diag([5.0, -1.0, 2.0])
    np.testing.assert_allclose(al.modified_hessian(bad, G, 0.1, 1e-6), bad + (0.1 + np.sqrt(30)) * np.eye(3))
    assert al.modified_hessian(good, G, 0.1, 1.0) is good  # equal is enough
    assert al.modified_hessian(bad[:1, :1], np.eye(1), 0.1, 1e-6) is not None


# --- sketch and project -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sketch", ["rk", "gv"])
@pytest.mark.parametrize("size", [1, 3])
def test_blocks_are_the_steps_one_at_a_time(sketch, size):
    A, b, _ = system(12)
    by_one = _Sketcher(A, sketch, size, np.random.default_rng(5))
    z = np.zeros(12)
    for _ in range(300):
        P, w, images = by_one(1, A @ z - b)
        np.testing.assert_allclose(images, P @ A.T, atol=1e-9)
        z = z - w @ P
    found = [
        ssqp.sketch_and_project(A, b, sketch=sketch, sketch_size=size, block=block, tol=0, max_steps=300, seed=5)
        for block in (1, 7, 64, 128)
    ]
    for one in found:
        np.testing.assert_allclose(one.x, z, rtol=1e-9, atol=1e-11)
        assert one.steps == 300 or one.status == "precision"


@pytest.mark.parametrize("sketch", ["rk", "gv"])
def test_a_thousand_steps_are_those_of_the_textbook_loop(sketch):
    """Draws repeated by hand; the loop knows nothing of blocks."""
    A, b, _ = system(20, seed=1)
    rng, z = np.random.default_rng(7), np.zeros(20)
    for _ in range(1000):
        if sketch == "rk":
            i = rng.integers(20)
            z = z - (A[i] @ z - b[i]) / (A[i] @ A[i]) * A[i]
        else:
            s = rng.standard_normal(20)
            p = A.T @ s
            z = z - (s @ (A @ z - b)) / (p @ p) * p
    found = ssqp.sketch_and_project(A, b, sketch=sketch, tol=0, max_steps=1000, seed=7)
    np.testing.assert_allclose(found.x, z, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("size", [1, 2, 4])
def test_a_step_satisfies_the_sketched_equations_and_is_the_nearest_point_that_does(size):
    A, b, rng = system(6)
    z, S = rng.standard_normal(6), rng.standard_normal((6, size))
    new = projection_step(A, b, z, S)
    np.testing.assert_allclose(S.T @ (A @ new - b), 0, atol=1e-8)
    free = np.linalg.qr((S.T @ A).T, mode="complete")[0][:, size:]
    np.testing.assert_allclose(free.T @ (new - z), 0, atol=1e-9)


def test_projection_step_is_the_step_of_a_block():
    A, b, _ = system(8)
    sketcher = _Sketcher(A, "gv", 3, np.random.default_rng(0))
    P, w, _ = sketcher(1, A @ np.ones(8) - b)
    S = np.random.default_rng(0).standard_normal((1, 3, 8))[0].T
    np.testing.assert_allclose(np.ones(8) - w @ P, projection_step(A, b, np.ones(8), S), atol=1e-9)


@pytest.mark.parametrize("sketch", ["rk", "gv"])
def test_the_error_never_grows(sketch):
    A, b, _ = system(10)
    truth, before = np.linalg.solve(A, b), np.inf
    for steps in range(0, 200, 9):
        found = ssqp.sketch_and_project(A, b, sketch=sketch, tol=0, max_steps=steps, seed=3)
        error = np.linalg.norm(found.x - truth)
        assert error <= before * (1 + 1e-10)
        before = error


def test_expected_error_after_one_kaczmarz_step():
    A, b, rng = system(7, dominant=0.3)
    z, truth = rng.standard_normal(7), np.linalg.solve(A, b)
    e = z - truth
    units = A / np.linalg.norm(A, axis=1, keepdims=True)
    wanted = e @ (np.eye(7) - units.T @ units / 7) @ e
    errors = [np.sum((ssqp.sketch_and_project(A, b, z, tol=0, max_steps=1, seed=s).x - truth) ** 2) for s in range(2000)]
    assert abs(np.mean(errors) - wanted) <= 3 * np.std(errors) / np.sqrt(2000)


def test_step_lengths_solve_the_lower_triangle():
    rng = np.random.default_rng(0)
    P = rng.standard_normal((9, 4))
    P /= np.linalg.norm(P, axis=1, keepdims=True)
    w = rng.standard_normal(9)
    np.testing.assert_allclose(np.tril(P @ P.T) @ step_lengths(P, w), w, atol=1e-12)


@pytest.mark.parametrize("sketch", ["rk", "gv"])
def test_stops_at_the_first_step_that_meets_the_tolerance(sketch):
    A, b, _ = system(9)
    found = ssqp.sketch_and_project(A, b, sketch=sketch, tol=1e-3, seed=1)
    assert found.converged
    assert np.linalg.norm(A @ found.x - b) <= 1e-3
    before = ssqp.sketch_and_project(A, b, sketch=sketch, tol=1e-3, max_steps=found.steps - 1, seed=1)
    assert before.residual > 1e-3
    assert not before.converged


def test_rows_of_zeros_are_never_drawn_and_contradictions_are_told():
    A = np.array([[2.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    found = ssqp.sketch_and_project(A, [2.0, 0.0, 3.0], tol=1e-10, seed=0)
    np.testing.assert_allclose(found.x, [1, 0, 3])
    against = ssqp.sketch_and_project(A, [2.0, 1.0, 3.0], tol=1e-10, max_steps=500, seed=0)
    assert (against.status, against.steps) == ("max_steps", 500)
    nothing = ssqp.sketch_and_project(np.zeros((2, 2)), [1.0, 1.0], seed=0)
    assert (nothing.status, nothing.steps) == ("max_steps", 0)


def test_dependent_rows_in_one_sketch():
    A = np.array([[1.0, 2.0], [2.0, 4.0], [1.0, -1.0]])
    found = ssqp.sketch_and_project(A, A @ [1.0, 1.0], sketch_size=3, tol=1e-12, seed=0)
    np.testing.assert_allclose(found.x, [1, 1], atol=1e-9)
    assert found.steps == 1


def test_a_tolerance_below_rounding_ends_with_precision():
    A, b, _ = system(5)
    found = ssqp.sketch_and_project(A, b, tol=0, seed=0)
    assert found.status == "precision"
    np.testing.assert_allclose(found.x, np.linalg.solve(A, b), rtol=1e-9)


def test_a_start_that_is_good_enough_takes_no_step():
    A, b, _ = system(5)
    found = ssqp.sketch_and_project(A, b, np.linalg.solve(A, b), tol=1e-6, seed=0)
    assert (found.steps, found.status) == (0, "tolerance")


@pytest.mark.parametrize("kind", ["exact", "minres", "rk", "gv"])
def test_every_direction_meets_its_tolerance(kind):
    A, b, rng = system(11)
    solved = Newton(A, kind, 1, 128, 100_000)(b, np.zeros(11), 1e-8, rng)
    assert solved.converged
    assert solved.steps >= 1
    np.testing.assert_allclose(solved.x, np.linalg.solve(A, b), atol=1e-6)


def test_minres_goes_on_from_where_it_was_and_ends_where_rounding_does():
    A, b, _ = system(11)
    rough = minimal_residual(A, b, np.zeros(11), 1e-1, 1000)
    assert rough.steps < minimal_residual(A, b, np.zeros(11), 1e-6, 1000).steps
    assert minimal_residual(A, b, rough.x, 1e-6, 1000).converged
    assert minimal_residual(A, b, np.zeros(11), 0.0, 1000).status == "precision"
    assert minimal_residual(A, b, np.zeros(11), 1e-6, 1).status == "max_steps"


def test_a_singular_matrix_has_no_factorization():
    assert factorized(np.array([[1.0, 1.0], [1.0, 1.0]]), np.array([1.0, 2.0]), 1e-8) is None


# --- derivatives of the study -----------------------------------------------------------------------------------------


def test_jets_are_torchs_derivatives():
    def rule(x, m):
        return m.exp(x[0] / 3) * x[1] ** 3 + m.sin(x[0] * x[1]) - m.log(x[1] + 4) / 2 + m.atan(x[0] / x[1]) + 2 / x[1]

    class Jets:
        from lib.constrained.sketched_sqp.study.jets import atan, exp, log, sin

    at = [0.7, 1.3]
    found, x = rule(study.variables(at), Jets), torch.tensor(at, dtype=torch.float64)
    np.testing.assert_allclose(found.value, float(rule(x, torch)))
    np.testing.assert_allclose(found.g, torch.func.grad(rule)(x, torch).numpy())
    np.testing.assert_allclose(found.H, torch.func.hessian(rule)(x, torch).numpy())


@pytest.mark.parametrize("name", study.NAMES)
def test_derivatives_of_the_small_problems(name):
    problem = study.small_problem(name)
    at, H = random_point(problem, 4)
    h = 1e-6
    for i, e in enumerate(np.eye(problem.n)):
        (f1, c1, g1, G1), (f0, c0, g0, G0) = (problem.first_order(at.x + s * h * e) for s in (1, -1))
        scale = 1 + abs(H).max()
        np.testing.assert_allclose(at.g[i], (f1 - f0) / (2 * h), atol=1e-7 * (1 + abs(at.f)) * 10)
        np.testing.assert_allclose(at.G[:, i], (c1 - c0) / (2 * h), atol=1e-6 * (1 + abs(at.G).max()))
        np.testing.assert_allclose(H[i], ((g1 + at.lam @ G1) - (g0 + at.lam @ G0)) / (2 * h), atol=1e-6 * scale)


def test_the_descent_test_and_armijos_rule_allow_equality():
    assert al.descends(-2.0, 4.0, 1.0)
    assert not al.descends(-1.75, 4.0, 1.0)
    assert al.descends(-8.0, 4.0, 2.0)
    assert not al.descends(-7.75, 4.0, 2.0)
    assert al.falls_enough(0.5, 0.5, 0.25, -4.0)
    assert not al.falls_enough(0.4375, 0.5, 0.25, -4.0)


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_systems_of_any_scale(scale):
    A, b, _ = system(6)
    plain = ssqp.sketch_and_project(A, b, tol=1e-6, seed=0)
    scaled = ssqp.sketch_and_project(A * scale, b * scale, tol=1e-6 * scale, seed=0)
    assert scaled.status == plain.status == "tolerance"
    np.testing.assert_allclose(scaled.x, plain.x, rtol=1e-9)
    np.testing.assert_allclose(scaled.residual / scale, plain.residual, rtol=1e-6)
