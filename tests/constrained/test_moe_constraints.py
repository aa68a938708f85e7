"""The checks of moe_constraints: partition, rows, solver, derivative, layers, training."""

from __future__ import annotations

import copy
import inspect
import pickle

import numpy as np
import pytest
import scipy.optimize as so
import torch

from lib.constrained import moe_constraints as moe
from lib.constrained.moe_constraints import navier_stokes, pde, solver, study

RNG = np.random.default_rng(0)


@pytest.fixture
def task():
    return moe.DiffusionSorption(n_t=8, n_x=16, weight=1.5, loss_weight=3.0)


@pytest.fixture
def basis():
    return torch.from_numpy(0.2 + np.random.default_rng(3).random((2, 8, 16, 3)))


@pytest.fixture
def flow():
    return moe.NavierStokes(n_t=5, n=8, t_end=1.0)


U0 = [0.05, 0.15]


# Partition and assembly


@pytest.mark.parametrize(
    ("equation", "experts"),
    [
        (moe.DiffusionSorption(8, 16), (1, 4)),
        (moe.DiffusionSorption(8, 16), (4, 1)),
        (moe.DiffusionSorption(8, 16), (2, 8)),
        (moe.NavierStokes(4, 8), (1, 2, 2)),
        (moe.NavierStokes(4, 8), (2, 4, 1)),
    ],
)
def test_assembly_undoes_partition(equation, experts):
    layer = moe.ConstraintMoE(equation, experts)
    x = torch.rand(3, *equation.shape, 2)
    parts = layer.partition(x)
    assert parts.shape == (3, layer.n_experts, layer.block, 2)
    torch.testing.assert_close(layer.assemble(parts[..., 0]), x[..., 0])


def test_blocks_are_blocks():
    layer = moe.ConstraintMoE(moe.DiffusionSorption(8, 16), (2, 4))
    x = torch.arange(8 * 16).reshape(1, 8, 16, 1)
    np.testing.assert_array_equal(layer.partition(x)[0, 5, :, 0], x[0, 4:, 4:8, 0].flatten())  # second in time, second in space


def test_random_assignment_is_a_partition():
    layer = study.RandomMoE(moe.DiffusionSorption(8, 16), (1, 4), seed=2)
    x = torch.rand(2, 8, 16, 1)
    torch.testing.assert_close(layer.assemble(layer.partition(x)[..., 0]), x[..., 0])
    assert not torch.equal(layer.order, torch.arange(128))


# Rows


def test_differences_are_exact_for_quadratics_inside_and_lines_at_the_ends():
    x = torch.linspace(0, 1, 9, dtype=torch.float64)
    np.testing.assert_allclose(pde.difference(x**2, 0, 1 / 8)[1:-1], 2 * x[1:-1], rtol=1e-12)
    np.testing.assert_allclose(pde.difference(3 * x, 0, 1 / 8), 3.0, rtol=1e-12)


def test_constants_are_the_papers():
    equation = moe.DiffusionSorption()
    assert equation.shape == (101, 1024)
    assert (equation.D, equation.porosity, equation.density, equation.k, equation.exponent) == (
        5e-4,
        0.29,
        2880.0,
        3.5e-4,
        0.874,
    )
    assert (equation.t_end, equation.ridge, equation.start, equation.tol, equation.safe) == (500.0, 1e-4, 1.0, 1e-4, 1e-6)
    np.testing.assert_allclose(equation.R(torch.tensor([0.0, 0.1, 1.0]).double()), [13.29794, 3.882915, 3.156911], rtol=1e-6)
    flow = moe.NavierStokes()
    assert (flow.shape, flow.viscosity, flow.t_end, flow.scale, flow.tol, flow.start) == (
        (64, 64, 64),
        1e-4,
        5.0,
        0.005,
        1e-7,
        0.0,
    )


def test_defaults_of_layers_networks_and_training_are_the_papers():
    def defaults(target):
        return {k: p.default for k, p in inspect.signature(target).parameters.items()}

    told = defaults(moe.levenberg_marquardt)
    assert (told["tol"], told["max_iter"], told["damping"], told["shrink"], told["grow"]) == (1e-4, 50, 1e-2, 0.3, 5.0)
    assert defaults(moe.ConstraintMoE)["experts"] == (1, 4)
    assert defaults(moe.ConstraintMoE)["max_iter"] == 50
    told = defaults(moe.FNO2d)
    assert [told[k] for k in ("n_basis", "layers", "modes", "width", "head")] == [16, 5, 8, 64, 128]
    told = defaults(moe.FNO3d)
    assert [told[k] for k in ("n_basis", "layers", "modes", "width", "head")] == [64, 8, 8, 64, 256]
    told = defaults(moe.SoftConstraint)
    assert [told[k] for k in ("lr", "decay", "every", "floor", "clip", "batch")] == [1e-3, 0.5, 800, 1e-4, 1.0, 6]
    assert study.instances.PAPER_SAMPLED == 20_000


def jacobian_by_autograd(equation, rows, omega):
    J = torch.autograd.functional.jacobian(lambda w: equation.residual(w, rows), omega)
    return torch.stack([J[p, :, p] for p in range(len(omega))])


def test_jacobian_of_diffusion_sorption(task, basis):
    rows = moe.ConstraintMoE(task).rows(basis, task.check_condition(U0))
    omega = torch.from_numpy(RNG.normal(size=(8, 3)))  # negative fields too
    torch.testing.assert_close(task.jacobian(omega, rows), jacobian_by_autograd(task, rows, omega), rtol=1e-10, atol=1e-10)


def test_jacobian_of_the_flow(flow):
    w0 = flow.check_condition(study.vorticities(8, 2, 0))
    rows = moe.ConstraintMoE(flow, (1, 2, 2)).rows(flow.ansatz(torch.rand(2, 5, 8, 8, 3).double() * 200), w0)
    omega = torch.from_numpy(RNG.normal(size=(8, 3)))
    torch.testing.assert_close(flow.jacobian(omega, rows), jacobian_by_autograd(flow, rows, omega), rtol=1e-9, atol=1e-9)


def test_rows_are_the_residuals_of_the_combined_field(task, basis):
    omega = torch.from_numpy(RNG.normal(size=(2, 3)))
    condition = task.check_condition(U0)
    rows = moe.HardConstraintLayer(task).rows(basis, condition)
    u = (basis @ omega[:, None, :, None]).squeeze(-1)
    r = task.residual(omega, rows)
    np.testing.assert_allclose(r[:, :128], 1.5 * task.field_residual(u).flatten(1), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(r[:, 128:144], (u[:, 0] - condition[:, None]) / condition[:, None], rtol=1e-9)
    np.testing.assert_allclose(r[:, 144:151], u[:, 1:, 0] - 1, rtol=1e-9)
    np.testing.assert_allclose(r[:, 151:158], u[:, 1:, -1] - 5e-4 * 15 * (u[:, 1:, -1] - u[:, 1:, -2]), rtol=1e-9)
    np.testing.assert_allclose(r[:, 158:], 1e-4 * omega, rtol=1e-9)


def test_loss_by_hand(task, basis):
    u, condition = basis[..., 0], task.check_condition(U0)
    parts = 3.0 * task.field_residual(u).flatten(1).norm(dim=1)
    parts = parts + (u[:, 0] - condition[:, None]).norm(dim=1) / (condition * 4)
    parts = parts + (u[:, 1:, 0] - 1).norm(dim=1) + (u[:, 1:, -1] - 0.0075 * (u[:, 1:, -1] - u[:, 1:, -2])).norm(dim=1)
    np.testing.assert_allclose(task.loss(u, condition), parts.mean(), rtol=1e-12)


def test_law_of_diffusion_by_a_known_field():
    equation = moe.DiffusionSorption(n_t=9, n_x=9, retardation=False)
    t, x = torch.linspace(0, 500, 9).double()[:, None], torch.linspace(0, 1, 9).double()
    u = x**2 + 2 * 5e-4 * t  # u_t = D u_xx
    np.testing.assert_allclose(equation.field_residual(u[None])[0, :, 2:-2], 0, atol=1e-15)


def test_retardation_slope():
    equation = moe.DiffusionSorption(8, 16)
    u = torch.tensor([-0.1, 0.0, 0.05, 0.7], dtype=torch.float64, requires_grad=True)
    equation.R(u).sum().backward()
    np.testing.assert_allclose(equation.R_slope(u.detach())[[0, 2, 3]], u.grad[[0, 2, 3]], rtol=1e-12)
    assert equation.R_slope(torch.zeros(1).double()) == 0


def test_velocity_has_the_curl_and_no_divergence():
    n = 16
    x = torch.arange(n).double() / n
    w = torch.sin(2 * torch.pi * x)[:, None] * torch.cos(4 * torch.pi * x)
    u_x, u_y = navier_stokes.velocity(w[None, None, ..., None])
    k = 20 * torch.pi**2
    expected = -4 * torch.pi / k * torch.sin(2 * torch.pi * x)[:, None] * torch.sin(4 * torch.pi * x)
    np.testing.assert_allclose(u_x[0, 0, ..., 0], expected, atol=1e-12)
    np.testing.assert_allclose(
        u_y[0, 0, ..., 0], -2 * torch.pi / k * torch.cos(2 * torch.pi * x)[:, None] * torch.cos(4 * torch.pi * x), atol=1e-12
    )


def test_a_decaying_shear_flow_solves_the_flow_equation():
    equation = moe.NavierStokes(n_t=5, n=32, viscosity=0.01, t_end=0.5)
    x, t = torch.arange(32).double() / 32, torch.linspace(0, 0.5, 5).double()
    rate = 0.01 * (32 * np.sin(2 * np.pi / 32)) ** 2  # of the difference Laplacian
    w = torch.exp(-rate * t)[:, None, None] * torch.sin(2 * torch.pi * x)[:, None].expand(32, 32)
    left = equation.field_residual(w[None])[0, 1:-1]
    assert left.abs().max() < 1e-2 * rate
    reference = equation.reference(w[:1])
    exact = np.exp(-0.01 * 4 * np.pi**2 * t.numpy())[:, None, None] * np.sin(2 * np.pi * x.numpy())[:, None]
    np.testing.assert_allclose(reference[0], np.broadcast_to(exact, (5, 32, 32)), atol=1e-6)


def test_flow_ansatz_starts_at_the_condition_and_has_no_mean(flow):
    b = flow.ansatz(torch.rand(1, 5, 8, 8, 2).double())
    np.testing.assert_allclose(b[:, 0], 0)
    np.testing.assert_allclose(b.mean(dim=(2, 3)), 0, atol=1e-15)
    ones = flow.ansatz(torch.eye(8).double()[None, None, :, :, None].expand(1, 5, 8, 8, 1))
    np.testing.assert_allclose(ones[0, -1, 0, 0], 0.005 * (1 - 1 / 8), rtol=1e-12)
    np.testing.assert_allclose(ones[0, 1, 0, 0], 0.005 * 0.25 * (1 - 1 / 8), rtol=1e-12)


# References


def test_reference_of_diffusion_sorption_converges_and_meets_its_conditions():
    equation = moe.DiffusionSorption(16, 32)
    coarse, fine = equation.reference([0.1], finer=8), equation.reference([0.1], finer=16)
    assert study.relative_error(coarse, fine)[0] < 1e-3
    np.testing.assert_allclose(fine[0, 0], 0.1)
    np.testing.assert_allclose(fine[0, 1:, 0], 1.0)
    np.testing.assert_allclose(fine[0, :, -1][1:], (5e-4 * 31 * (fine[0, :, -1] - fine[0, :, -2]))[1:], rtol=1e-6)


def test_implicit_euler_comes_closer_with_more_times():
    errors = []
    for n_t in (9, 33):
        equation = moe.DiffusionSorption(n_t, 32)
        errors.append(study.relative_error(study.implicit_euler(equation, [0.1]), equation.reference([0.1]))[0])
    assert errors[1] < 0.5 * errors[0] < 0.05


def test_sparse_least_squares_is_the_layers():
    equation = moe.DiffusionSorption(8, 12, weight=1.7)
    points = torch.eye(96, dtype=torch.float64).reshape(1, 8, 12, 96).expand(2, -1, -1, -1)
    dense = moe.HardConstraintLayer(equation, tol=1e-9, max_iter=200)(points, U0)
    sparse = study.least_squares_fields(equation, U0, tol=1e-9)
    np.testing.assert_allclose(sparse, dense.u, rtol=1e-4, atol=1e-5)
    with pytest.raises(RuntimeError, match="not found"):
        study.least_squares_fields(equation, U0, max_iter=1)


def test_reference_flow_is_settled_in_step_and_grid(flow):
    w0 = study.vorticities(8, 2, 1, length=1.5)
    assert study.relative_error(flow.reference(w0), flow.reference(w0, finer=3, max_step=0.02)).max() < 1e-2


def test_random_vorticities_have_the_kernel():
    fields = study.vorticities(16, 4000, 0)
    product = (fields[:, 0, 0] * fields[:, 3, 0]).mean()
    row = np.exp(-2 * np.sin(np.pi * np.arange(16) / 16) ** 2 / 0.64)
    np.testing.assert_allclose(product, row[3] - row.mean() ** 2, atol=0.06)
    np.testing.assert_allclose(fields.mean(axis=(1, 2)), 0, atol=1e-14)


# The solver


def test_step_by_hand():
    J, r = torch.tensor([[[1.0], [2.0]]]).double(), torch.tensor([[0.0, -1.0]]).double()
    np.testing.assert_allclose(solver.step(J, r, torch.tensor([0.01]).double()), 2 / 5.05)


def test_linear_problem_takes_one_undamped_step():
    A, b = torch.from_numpy(RNG.normal(size=(4, 9, 3))), torch.from_numpy(RNG.normal(size=(4, 9)))
    found = moe.levenberg_marquardt(lambda x: (A @ x[..., None]).squeeze(-1) - b, torch.zeros(4, 3).double(), damping=1e-13)
    expected = torch.linalg.lstsq(A, b[..., None]).solution.squeeze(-1)
    torch.testing.assert_close(found.x, expected, rtol=1e-9, atol=1e-10)
    assert found.nit <= 2
    assert found.success


def test_solver_agrees_with_scipy(task, basis):
    layer = moe.ConstraintMoE(task, (1, 2), tol=1e-13, max_iter=300)
    out, rows = layer(basis, U0), layer.rows(basis, task.check_condition(U0))
    for p in range(4):
        own = pde.Rows(rows.points[:, [p]], None, rows.fixed[[p]], rows.target[[p]])
        theirs = so.least_squares(
            lambda w, own=own: task.residual(torch.from_numpy(w)[None], own)[0].numpy(),
            np.ones(3),
            method="lm",
            ftol=1e-13,
            xtol=1e-13,
        )
        np.testing.assert_allclose(out.cost.flatten()[p], theirs.cost, rtol=1e-6)
        np.testing.assert_allclose(out.omega.reshape(4, 3)[p], theirs.x, rtol=1e-4)


def test_cost_never_grows_and_a_callback_can_stop():
    costs = []

    def rosenbrock(x):
        return torch.stack([10 * (x[:, 1] - x[:, 0] ** 2), 1 - x[:, 0]], dim=1)

    found = moe.levenberg_marquardt(
        rosenbrock, [[-1.2, 1.0], [3.0, -2.0]], tol=1e-12, max_iter=200,
        callback=lambda intermediate_result: costs.append(intermediate_result.fun),
    )  # fmt: skip
    assert found.success
    np.testing.assert_allclose(found.x, 1.0, rtol=1e-5)
    assert (np.diff(np.array(costs), axis=0) <= 0).all()
    stopped = moe.levenberg_marquardt(rosenbrock, [-1.2, 1.0], callback=lambda x: True)
    assert (stopped.nit, stopped.success, stopped.message) == (1, False, "stopped by callback")


def test_solver_goes_on_where_it_ended():
    def rows(x):
        return torch.stack([10 * (x[:, 1] - x[:, 0] ** 2), 1 - x[:, 0]], dim=1)

    once = moe.levenberg_marquardt(rows, [-1.2, 1.0], max_iter=9, tol=0.0)
    part = moe.levenberg_marquardt(rows, [-1.2, 1.0], max_iter=4, tol=0.0)
    rest = moe.levenberg_marquardt(rows, part.x, max_iter=5, tol=0.0, damping=part.damping)
    np.testing.assert_array_equal(rest.x, once.x)


def test_exhausted_and_stuck_runs_are_no_success():
    assert not moe.levenberg_marquardt(lambda x: torch.exp(x) + x**2, [5.0], max_iter=1).success
    kink = moe.levenberg_marquardt(lambda x: 1 + x.abs(), [0.5], lambda x: -torch.ones(1, 1, 1).double())  # a wrong slope
    assert not kink.success


def test_a_small_gain_under_heavy_damping_is_no_convergence():
    found = moe.levenberg_marquardt(lambda x: x - 5.0, [0.0], damping=1e6, max_iter=2)
    assert not found.success


def test_finished_problems_stay_as_they_are():
    def rows(x):
        return torch.stack([10 * (x[:, 1] - x[:, 0] ** 2), 1 - x[:, 0]], dim=1)

    alone = moe.levenberg_marquardt(rows, [[1.01, 1.0]], max_iter=300).x[0]
    np.testing.assert_array_equal(moe.levenberg_marquardt(rows, [[1.01, 1.0], [-30.0, 4.0]], max_iter=300).x[0], alone)


def test_float32_stays_and_half_is_refused():
    assert moe.levenberg_marquardt(lambda x: x**2 - 2, torch.tensor([1.0])).x.dtype == torch.float32
    with pytest.raises(TypeError, match="x0"):
        moe.levenberg_marquardt(lambda x: x, torch.tensor([1.0]).half())


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (lambda x: x / 0, "residual"),
        (lambda x: x[:, 0], "residual"),
        (lambda x: x.numpy(), "residual"),
    ],
)
def test_bad_residuals_are_refused(rows, message):
    with pytest.raises(ValueError, match=message):
        moe.levenberg_marquardt(rows, [1.0, 2.0], lambda x: torch.ones(1, 2, 2).double())


def test_user_functions_get_copies():
    def greedy(x):
        x.zero_()
        return torch.ones(1, 1).double()

    found = moe.levenberg_marquardt(greedy, [3.0], lambda x: torch.ones(1, 1, 1).double(), max_iter=2)
    assert found.x[0] == 3.0


# The derivative


@pytest.mark.parametrize("hessian", ["exact", "gauss_newton"])
def test_implicit_derivative_by_differences(task, basis, hessian):
    mix = torch.from_numpy(np.random.default_rng(5).random((2, 4, 3)))

    def through(b):
        return (moe.ConstraintMoE(task, (1, 4), tol=0.0, max_iter=400, hessian=hessian)(b, U0).omega * mix).sum()

    leaf = basis.clone().requires_grad_()
    through(leaf).backward()
    large = torch.argsort(leaf.grad.abs().flatten(), descending=True)[:20:4]
    for i in large:
        shift = torch.zeros_like(basis)
        shift.view(-1)[i] = 3e-3
        with torch.no_grad():
            slope = (through(basis + shift) - through(basis - shift)) / 6e-3
        np.testing.assert_allclose(leaf.grad.flatten()[i], slope, rtol=1e-4)


def test_exact_curvature_is_the_derivative_of_the_optimality(task, basis):
    layer = moe.ConstraintMoE(task, hessian="exact")
    rows, omega = layer.rows(basis, task.check_condition(U0)), torch.from_numpy(0.5 + RNG.random((8, 3)))
    H = torch.autograd.functional.jacobian(lambda w: layer.optimality(w, rows), omega)
    H = torch.stack([H[p, :, p] for p in range(8)])
    torch.testing.assert_close(layer.curvature(omega, rows), H, rtol=1e-9, atol=1e-9)
    layer.hessian = "gauss_newton"
    J = task.jacobian(omega, rows)
    torch.testing.assert_close(layer.curvature(omega, rows), J.mT @ J)


def test_value_stays_and_the_derivative_can_be_left_out(task, basis):
    leaf = basis.clone().requires_grad_()
    attached = moe.ConstraintMoE(task)(leaf, U0)
    detached = moe.ConstraintMoE(task, implicit=False)(leaf, U0)
    assert torch.equal(attached.omega, detached.omega)
    assert attached.omega.requires_grad
    assert not detached.omega.requires_grad
    assert detached.u.requires_grad  # the direct path stays


def test_implicit_solution_of_a_root():
    b = torch.tensor([[2.0], [9.0]], dtype=torch.float64, requires_grad=True)
    root = b.detach().sqrt()
    omega = moe.implicit_solution(root, root**2 - b, 2 * root[..., None])
    np.testing.assert_array_equal(omega.detach(), root)
    omega.sum().backward()
    np.testing.assert_allclose(b.grad, 1 / (2 * root), rtol=1e-12)


def test_singular_hessian_is_refused():
    with pytest.raises(ValueError, match="singular"):
        moe.implicit_solution(torch.ones(1, 2), torch.zeros(1, 2), torch.ones(1, 2, 2))


# Layers


def test_one_expert_is_the_global_solve(task, basis):
    for n_points in (None, 40):
        alone = moe.HardConstraintLayer(task, n_points=n_points)(basis, U0, np.random.default_rng(1))
        one = moe.ConstraintMoE(task, (1, 1), n_points=n_points)(basis, U0, np.random.default_rng(1))
        assert torch.equal(alone.u, one.u)


def test_experts_do_not_know_each_other(task, basis):
    layer = moe.ConstraintMoE(task)
    rows = layer.rows(basis, task.check_condition(U0))
    before = layer._solve(rows)[0]["x"]
    rows.points[:, 1] *= 1.3
    after = layer._solve(rows)[0]["x"]
    kept = [p for p in range(8) if p != 1]
    np.testing.assert_allclose(after[kept], before[kept], rtol=1e-9)
    assert (after[1] - before[1]).abs().max() > 1e-9  # conditions rule on this axis of time
    assert torch.equal(rows.fixed[0], rows.fixed[3])  # all see the conditions of the whole domain


def test_without_conditions_costs_of_experts_add_up_to_less(task, basis):
    task.conditions = lambda field, _: (field.new_zeros(len(field), 0, 3), field.new_zeros(len(field), 0))
    task.ridge = 0.0
    cost = {k: moe.ConstraintMoE(task, (1, k), tol=1e-12, max_iter=400)(basis, U0).cost.sum(1) for k in (1, 2, 8)}
    assert (cost[2] <= cost[1] * (1 + 1e-9)).all()
    assert (cost[8] <= cost[2] * (1 + 1e-9)).all()


def test_a_basis_with_the_solution_finds_it():
    equation = moe.DiffusionSorption(16, 32)
    solution = equation.reference([0.1])
    noise = 0.3 * np.random.default_rng(0).random((1, 16, 32, 2))
    b = torch.from_numpy(np.concatenate([solution[..., None], noise], axis=-1))
    out = moe.HardConstraintLayer(equation, tol=1e-10, max_iter=200)(b, [0.1])
    assert out.converged.all()
    assert study.relative_error(out.u.numpy(), solution)[0] < 0.05


def test_sampled_points_are_distinct_and_follow_the_generator(task, basis):
    layer = moe.ConstraintMoE(task, n_points=10)
    marked = task.check_condition(U0)
    basis = basis.clone()
    basis[..., 0] = torch.arange(128).reshape(8, 16).double()
    draws = [layer.rows(basis, marked, np.random.default_rng(s)).points[0, :, :, 0] for s in (1, 1, 2)]
    assert draws[0].shape == (8, 10)
    assert all(len(set(row.tolist())) == 10 for row in draws[0])
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def test_the_flow_layer_keeps_the_initial_state(flow):
    w0 = study.vorticities(8, 1, 0)
    out = moe.ConstraintMoE(flow, (1, 2, 2))(torch.rand(1, 5, 8, 8, 3).double(), w0)
    np.testing.assert_allclose(out.u[:, 0], w0, atol=1e-12)
    assert out.converged.all()


def flow_functions(count=3):
    return 200 * torch.from_numpy(np.random.default_rng(7).normal(size=(1, 5, 8, 8, count)))


def test_the_flow_solver_agrees_with_scipy(flow):
    w0 = study.vorticities(8, 1, 0)
    layer = moe.ConstraintMoE(flow, (1, 2, 2), tol=1e-13, max_iter=300)
    out, rows = layer(flow_functions(), w0), layer.rows(flow.ansatz(flow_functions()), flow.check_condition(w0))
    for p in range(4):
        own = pde.Rows(rows.points[:, [p]], rows.offset[:, [p]], rows.fixed[[p]], rows.target[[p]])
        theirs = so.least_squares(
            lambda w, own=own: flow.residual(torch.from_numpy(w)[None], own)[0].numpy(),
            np.zeros(3),
            method="lm",
            ftol=1e-13,
            xtol=1e-13,
        )
        np.testing.assert_allclose(out.cost.flatten()[p], theirs.cost, rtol=1e-6)


@pytest.mark.parametrize("hessian", ["exact", "gauss_newton"])
def test_implicit_derivative_of_a_flow(flow, hessian):
    w0, mix = study.vorticities(8, 1, 0), torch.from_numpy(np.random.default_rng(5).random((1, 4, 3)))

    def through(b):
        return (moe.ConstraintMoE(flow, (1, 2, 2), tol=0.0, max_iter=200, hessian=hessian)(b, w0).omega * mix).sum()

    leaf = flow_functions().requires_grad_()
    through(leaf).backward()
    along = torch.from_numpy(np.random.default_rng(8).normal(size=leaf.shape))  # all entries at once
    with torch.no_grad():
        slope = (through(leaf + 1e-2 * along) - through(leaf - 1e-2 * along)) / 2e-2
    wanted = (leaf.grad * along).sum()
    np.testing.assert_allclose(wanted, slope, rtol=1e-3 if hessian == "exact" else 0.2)


def test_the_factor_of_the_flow_is_nothing_to_a_solve():
    w0, b = study.vorticities(8, 1, 0), flow_functions()
    fields = [moe.ConstraintMoE(moe.NavierStokes(5, 8, t_end=1.0, scale=c), (1, 2, 2))(b, w0).u for c in (0.005, 1.0)]
    torch.testing.assert_close(*fields, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", ["soft", "global", "experts"])
def test_flow_training_lowers_the_loss(kind):
    equation = moe.NavierStokes(4, 8, t_end=1.0)
    model = study.build(kind, equation, 3, lr=0.1 if kind == "soft" else 0.02, width=4, layers=1, modes=2, batch=2, steps=15)
    model.fit(study.vorticities(8, 2, 3), 15)
    loss = model.history_["loss"]
    assert np.mean(loss[-3:]) < 0.99 * loss[0]
    assert min(model.history_["converged"]) == 1.0


@pytest.mark.parametrize("experts", [(1, 3), (4,), (1, 0), "14", 4, (1, 2.5)])
def test_bad_experts_are_refused(experts):
    with pytest.raises((ValueError, TypeError), match="experts"):
        moe.ConstraintMoE(moe.DiffusionSorption(8, 16), experts)


def test_bad_inputs_of_a_layer_are_refused(task, basis):
    layer = moe.ConstraintMoE(task)
    for bad_basis, u0, word in [
        (basis[:, :4], U0, "basis"),
        (basis * torch.nan, U0, "basis"),
        (basis, [0.1, 0.0], "condition"),
        (basis, [0.1], "basis"),
        (torch.rand(1, 8, 16, 100).double(), [0.1], "basis"),
    ]:
        with pytest.raises(ValueError, match=word):
            layer(bad_basis, u0)
    with pytest.raises(ValueError, match="n_points"):
        moe.ConstraintMoE(task, n_points=33)


# Networks and training


def tiny(kind, seed=0, **more):
    equation = moe.DiffusionSorption(8, 16)
    net = moe.FNO2d(
        n_basis=1 if kind is moe.SoftConstraint else 3,
        layers=1,
        modes=2,
        width=4,
        head=8,
        activate=kind is not moe.SoftConstraint,
        seed=seed,
    )
    return kind(equation, net, batch=2, **more)


KINDS = [moe.SoftConstraint, moe.PIHC, moe.PIHCMoE]


def test_spectral_convolution_acts_on_single_modes():
    from lib.constrained.moe_constraints.network import SpectralConv

    conv = SpectralConv(1, 2, 2)
    x = torch.arange(8).double() / 8
    weight = torch.view_as_complex(conv.weight.detach())
    for sign, row in ((1, 1), (-1, 3)):  # modes (+-1, 1): rows 0, 1, -2, -1 are kept
        phase = 2 * torch.pi * (sign * x[:, None] + x)
        expected = weight[row, 1, 0, 0].real * torch.cos(phase) - weight[row, 1, 0, 0].imag * torch.sin(phase)
        found = conv(torch.cos(phase)[None, ..., None])[0, ..., 0]
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
    fast = conv(torch.cos(2 * torch.pi * 3 * x)[None, None, :, None].expand(1, 8, 8, 1))
    np.testing.assert_allclose(fast.detach(), 0, atol=1e-14)


@pytest.mark.parametrize("kind", KINDS)
def test_training_lowers_the_loss_and_repeats_itself(kind):
    first, second = tiny(kind, lr=1e-2), tiny(kind, lr=1e-2)
    ics = np.linspace(0.02, 0.19, 2)
    first.fit(ics, 12)
    second.fit(ics, 12)
    assert first.history_ == second.history_
    assert np.mean(first.history_["loss"][-3:]) < 0.95 * first.history_["loss"][0]
    assert set(first.history_["converged"]) == {1.0}


@pytest.mark.parametrize("kind", KINDS)
def test_training_goes_on_after_pickling(kind):
    ics = [0.05, 0.1, 0.15]
    once = tiny(kind).fit(ics, 5)
    part = pickle.loads(pickle.dumps(tiny(kind).fit(ics, 2)))
    rest = copy.deepcopy(part).fit(ics, 3)
    np.testing.assert_array_equal(once.predict([0.1]), rest.predict([0.1]))


def test_step_size_is_halved_down_to_the_floor():
    model, seen = tiny(moe.SoftConstraint, lr=1e-3, decay=0.5, every=2, floor=3e-4), []
    for _ in range(6):
        model.fit([0.1, 0.2], 1)
        seen.append(model.optimizer.param_groups[0]["lr"])
    np.testing.assert_allclose(seen, [1e-3, 1e-3, 5e-4, 5e-4, 3e-4, 3e-4])


def test_gradients_are_clipped():
    model = tiny(moe.SoftConstraint, clip=1e-3)
    model.fit([0.1, 0.2], 1)
    total = torch.cat([p.grad.flatten() for p in model.network.parameters()]).norm()
    np.testing.assert_allclose(total, 1e-3, rtol=1e-4)


def test_a_loss_that_is_not_finite_ends_training():
    model = tiny(moe.SoftConstraint)
    with torch.no_grad():
        model.network.out.bias.fill_(1e308)
    before = model.network.lift.weight.detach().clone()
    with pytest.raises(FloatingPointError, match="not finite"):
        model.fit([0.1, 0.2], 1)
    assert torch.equal(before, model.network.lift.weight)


def test_networks_leave_the_global_generator_alone():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    moe.FNO2d(n_basis=2, layers=1, modes=2, width=4, head=8, seed=9)
    assert torch.equal(torch.rand(1), expected)


def test_a_grid_too_small_for_the_modes_is_refused():
    with pytest.raises(ValueError, match="points along each axis"):
        moe.FNO2d(n_basis=2, layers=1, modes=5, width=4, head=8)(torch.zeros(1, 8, 16, 3))


# The study


def test_matched_weights_keep_the_papers_balance():
    assert study.matched_weights(101, 1024, 20_000) == pytest.approx((1.0, 1.0))
    solve, loss = study.matched_weights(32, 32, 256)
    assert solve**2 * 256 / (32 + 62) == pytest.approx(20_000 / 1224)
    assert loss == pytest.approx((101 * 1024 / 1024) ** 0.5)


def test_early_rows_do_not_count():
    equation = study.EarlyDiffusionSorption(8, 16, seen=6)
    layer, u0 = moe.ConstraintMoE(equation), [0.1]
    b = torch.from_numpy(0.2 + RNG.random((1, 8, 16, 3)))
    later = b.clone()
    later[:, 6:] += 1.0
    assert torch.equal(layer(b, u0).omega, layer(later, u0).omega)
    u = b[..., 0]
    assert torch.equal(
        equation.loss(u, equation.check_condition(u0)), equation.loss(later[..., 0], equation.check_condition(u0))
    )


def test_work_counts_rows_and_iterations(task, basis):
    work = study.solve_work(task, basis[:1], [0.1], (1, 4), total=80)
    assert work.rows == 20 + 16 + 14 + 3
    assert (work.longest, work.total) == (work.rows * work.iterations.max(), work.rows * work.iterations.sum())


def test_training_is_measured_on_the_way_and_leaves_the_model_alone():
    equation = moe.DiffusionSorption(8, 16)
    model = study.build("soft", equation, width=4, layers=1, modes=2, lr=1e-2, batch=2, steps=7)
    truth = equation.reference([0.1])
    run = study.trained(model, [0.05, 0.1], [0.1], truth, steps=7, every=3)
    assert (run.steps, run.errors.shape) == ([0, 3, 6, 7], (4, 1))
    assert model.history_["loss"] == []
    np.testing.assert_allclose(run.errors[-1], study.relative_error(run.model.predict([0.1]), truth))
    at_once = copy.deepcopy(model).fit([0.05, 0.1], steps=7).predict([0.1])
    np.testing.assert_array_equal(run.model.predict([0.1]), at_once)


def test_change_across_borders_is_measured_there_only():
    truth = RNG.random((2, 5, 8)).cumsum(axis=2)
    u = truth.copy()
    u[..., 1] += 5.0  # inside a block
    np.testing.assert_allclose(study.border_change(u, truth, 2), 1.0)
    u[..., 4:] += 10.0
    changes = np.abs(np.diff(truth, axis=2))[..., 3]
    np.testing.assert_allclose(study.border_change(u, truth, 2), (changes + 10.0).mean() / changes.mean())
    with pytest.raises(ValueError, match="experts"):
        study.border_change(u, truth, 3)


def test_a_model_on_another_grid_keeps_its_network_and_its_experts():
    model = study.build("experts", moe.NavierStokes(4, 8), n_basis=2, width=2, layers=1, modes=2)
    finer = study.on_grid(model, moe.NavierStokes(4, 16))
    assert (finer.layer.experts, finer.layer.pde.shape, model.layer.pde.shape) == ((1, 2, 2), (4, 16, 16), (4, 8, 8))
    w0 = study.vorticities(8, 2, 0)
    np.testing.assert_array_equal(study.on_grid(finer, moe.NavierStokes(4, 8)).predict(w0), model.predict(w0))
    with pytest.raises(TypeError, match="pde"):
        study.on_grid(model, moe.DiffusionSorption(8, 16))


def test_nudged_weights_differ_in_their_last_bits():
    model = study.build("global", moe.DiffusionSorption(8, 16), n_basis=3, width=4, layers=1, modes=2)
    twin = study.nudged(model, 1e-15, seed=3)
    for one, other in zip(model.network.parameters(), twin.network.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-14, atol=0)
    assert not torch.equal(model.network.head.weight, twin.network.head.weight)
    far = study.nudged(model, 0.1, seed=3)
    assert 0.05 < float((far.network.head.weight / model.network.head.weight - 1).detach().std()) < 0.2
