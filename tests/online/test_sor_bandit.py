"""Solvers and theory of `lib.online.sor_bandit` against dense linear algebra, explicit loops and scipy."""

from __future__ import annotations

import copy
import inspect
import pickle
import warnings

import numpy as np
import pytest
import scipy.sparse as sp
import scipy.sparse.linalg as sla

from lib.online import sor_bandit
from lib.online.sor_bandit import (
    BETA_SQUARED_THRESHOLD,
    TAU_THRESHOLD,
    SSORPreconditioner,
    asymptoticity,
    cg,
    defect_matrix,
    jacobi_radius,
    near_asymptotic_bound,
    optimal_omega,
    sor,
    sor_spectral_radius,
    ssor_pcg,
    surrogate_cost,
)
from lib.online.sor_bandit.study import (
    delsq,
    energy_cost_bound,
    energy_norm_bound,
    laplacian,
    numgrid,
    sor_cost_table,
    ssor_cg_bound,
    ssor_cg_tau,
    truncated_normal,
)

GRID = np.linspace(1.0, 1.95, 20)
SHIFTS = (-0.15, 0.0, 0.45)


def random_spd(n: int, seed: int) -> np.ndarray:
    factor = np.random.default_rng(seed).standard_normal((n, n))
    return factor @ factor.T / n + np.diag(np.linspace(0.5, 3.0, n))


def literal_sor(A: np.ndarray, b: np.ndarray, omega: float, x: np.ndarray, sweeps: int) -> np.ndarray:
    """Textbook SOR, one unknown after the other."""
    x = x.copy()
    for _ in range(sweeps):
        for i in range(len(b)):
            x[i] += omega * (b[i] - A[i] @ x) / A[i, i]
    return x


def dense_recursion_cost(A: np.ndarray, b: np.ndarray, omega: float, tol: float = 1e-8) -> int:
    defect = np.eye(len(b)) - A @ np.linalg.inv(np.diag(np.diag(A)) / omega + np.tril(A, -1))
    residual, k = b.copy(), 0
    while True:
        residual, k = defect @ residual, k + 1
        if np.linalg.norm(residual) < tol * np.linalg.norm(b):
            return k


# Identities of the theory


@pytest.mark.parametrize("shift", SHIFTS)
def test_spectral_radius_formula_equals_eigenvalues(shift: float) -> None:
    A = laplacian(10, shift)
    beta = jacobi_radius(A)
    assert beta == pytest.approx(4 * np.cos(np.pi / 11) / (4 + shift), abs=1e-13)
    # Away from omega* the largest eigenvalue is simple; near it a Jordan block costs half the digits.
    numeric = [np.abs(np.linalg.eigvals(defect_matrix(A, w))).max() for w in GRID]
    np.testing.assert_allclose(sor_spectral_radius(GRID, beta), numeric, atol=1e-10)


def test_values_of_the_paper_problem() -> None:
    beta = jacobi_radius(laplacian(10))
    assert beta == pytest.approx(0.959493, abs=5e-7)
    assert optimal_omega(beta) == pytest.approx(1.560388, abs=5e-7)


def test_optimal_omega_minimizes_the_spectral_radius() -> None:
    beta = np.array([0.3, 0.9, 0.99])
    fine = np.linspace(0.5, 1.99, 20_001)[:, None]
    np.testing.assert_allclose(fine[sor_spectral_radius(fine, beta).argmin(axis=0), 0], optimal_omega(beta), atol=1e-4)


def test_jacobi_radius_of_a_nonsymmetric_matrix_and_of_a_large_sparse_one() -> None:
    A = np.array([[2.0, 1.0, 0.0], [-1.0, 3.0, 1.0], [0.5, 0.0, 1.0]])
    expected = np.abs(np.linalg.eigvals(np.eye(3) - np.diag(1 / np.diag(A)) @ A)).max()
    assert jacobi_radius(A) == pytest.approx(expected, rel=1e-12)
    assert jacobi_radius(laplacian(30, 0.2)) == pytest.approx(4 * np.cos(np.pi / 31) / 4.2, rel=1e-9)


def test_residuals_follow_powers_of_the_defect_matrix() -> None:
    A, b = laplacian(6), truncated_normal(36, seed=1)
    residuals = sor(A, b, 1.3).residuals
    defect = defect_matrix(A, 1.3)
    powers = [np.linalg.norm(np.linalg.matrix_power(defect, k) @ b) for k in range(15)]
    np.testing.assert_allclose(residuals[:15], powers, rtol=1e-12)


@pytest.mark.parametrize("shift", SHIFTS)
def test_surrogate_bounds_the_cost_on_the_whole_grid(shift: float) -> None:
    A, b = laplacian(10, shift), truncated_normal(100, seed=2)
    costs = np.array([dense_recursion_cost(A.toarray(), b, w) for w in GRID])
    bound = near_asymptotic_bound(A, GRID, 1e-8, b)
    assert (bound >= costs).all()
    assert GRID[bound.argmin()] == pytest.approx(GRID[costs.argmin()], abs=0.051)
    np.testing.assert_allclose(near_asymptotic_bound(A, GRID, 1e-8, tau=asymptoticity(A, GRID, 1e-8, b).tau), bound)


def test_tau_is_the_largest_relative_excess_of_the_power_norms() -> None:
    A, b = laplacian(6).toarray(), truncated_normal(36, seed=3)
    excess = []
    for omega in (1.1, 1.5):
        k = dense_recursion_cost(A, b, omega)
        defect = np.eye(36) - A @ np.linalg.inv(np.diag(np.diag(A)) / omega + np.tril(A, -1))
        largest = np.sqrt(
            np.linalg.eigvalsh(np.linalg.matrix_power(defect, k - 1).T @ np.linalg.matrix_power(defect, k - 1))[-1]
        )
        rho = np.abs(np.linalg.eigvals(defect)).max()
        excess.append((largest ** (1 / (k - 1)) - rho) / (1 - rho))
    assert asymptoticity(A, [1.1, 1.5], 1e-8, b).tau == pytest.approx(max(excess), rel=1e-9)


def test_surrogate_is_infinite_without_contraction() -> None:
    assert surrogate_cost([0.9], 1.0)[0] == np.inf
    assert surrogate_cost([0.01], 0.0, 1e-8)[0] == pytest.approx(5.0)


def energy_norms(A: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(A)
    root, inverse_root = vectors * np.sqrt(values) @ vectors.T, vectors / np.sqrt(values) @ vectors.T
    splittings = [np.diag(np.diag(A)) / w + np.tril(A, -1) for w in GRID]
    return np.array([np.linalg.norm(root @ (np.eye(len(A)) - np.linalg.solve(M, A)) @ inverse_root, 2) for M in splittings])


# The second matrix has rho(D^{-1} L D^{-1} L^T) above 1/4.
@pytest.mark.parametrize("A", [laplacian(7, 0.1).toarray(), np.eye(9) + 0.7 * (1 - np.eye(9))])
def test_energy_bound_dominates_the_energy_norm(A: np.ndarray) -> None:
    norms, bound = energy_norms(A), energy_norm_bound(A, GRID)
    assert (norms <= bound + 1e-12).all()
    assert (bound < 1.0).all()
    assert (bound - norms).min() < 0.05  # not vacuous


def test_energy_bound_as_published_is_violated_by_the_laplacian() -> None:
    A = laplacian(10).toarray()
    assert (energy_norms(A) > energy_norm_bound(A, GRID, as_published=True) + 1e-3).any()


def test_energy_cost_bound_dominates_the_cost() -> None:
    A, b = laplacian(6), truncated_normal(36, seed=0)
    assert (energy_cost_bound(A, GRID) >= [sor(A, b, w).nit for w in GRID]).all()


@pytest.mark.parametrize("region", ["L", "S"])
def test_cg_bound_equals_the_formula_with_dense_eigenvalues(region: str) -> None:
    A = delsq(numgrid(region, 8)).toarray() + 0.5 * np.eye(int(numgrid(region, 8).max()))
    D, L, inverse = np.diag(np.diag(A)), np.tril(A, -1), np.linalg.inv(A)
    kappa = np.linalg.cond(A)
    alpha = np.linalg.eigvals(D @ inverse).real.max()
    delta = np.linalg.eigvals((L @ np.linalg.inv(D) @ L.T - D / 4) @ inverse).real.max()
    omega = 1.3
    condition = (1 + (2 - omega) ** 2 / (4 * omega) * alpha + omega * delta) / (2 - omega)
    rate = (np.sqrt(condition) - 1) / (np.sqrt(condition) + 1)
    expected = 1 + np.log(np.sqrt(kappa) / 1e-8 + np.sqrt(kappa / 1e-16 - 1)) / -np.log(rate)
    assert ssor_cg_bound(A, [omega])[0] == pytest.approx(expected, rel=1e-9)
    costs = [ssor_pcg(A, truncated_normal(len(A), seed=0), w).nit for w in GRID]
    assert 0.2 < ssor_cg_tau(costs, ssor_cg_bound(A, GRID)) <= 1.0


# Solvers against explicit loops and peers


@pytest.mark.parametrize("omega", [0.7, 1.0, 1.5, 1.9])
def test_sor_counts_equal_the_dense_matrix_recursion(omega: float) -> None:
    for shift in SHIFTS:
        A, b = laplacian(8, shift), truncated_normal(64, seed=4)
        assert sor(A, b, omega).nit == dense_recursion_cost(A.toarray(), b, omega)


@pytest.mark.parametrize("omega", [1.0, 1.4])
def test_sor_equals_an_explicit_sweep_over_the_unknowns(omega: float) -> None:
    A, b, x0 = random_spd(12, 0), np.arange(12.0), np.ones(12)
    result = sor(A, b, omega, x0=x0, max_iter=5)
    assert (result.nit, result.success, result.status) == (5, False, 1)
    np.testing.assert_allclose(result.x, literal_sor(A, b, omega, x0, 5), rtol=1e-12)


@pytest.mark.parametrize("kind", ["dense", "banded", "superlu", "csr with duplicates"])
def test_every_storage_gives_the_same_sor_solution(kind: str) -> None:
    dense = random_spd(200, 1)
    dense[np.abs(dense) < 0.12] = 0.0
    dense += 8 * np.eye(200)
    if kind in ("banded", "csr with duplicates"):
        dense = np.triu(np.tril(dense, 20), -20)
    matrix = {"dense": dense, "banded": sp.csr_matrix(dense), "superlu": sp.csc_array(dense)}.get(kind)
    if matrix is None:
        part = sp.csr_array(dense)
        matrix = sp.csr_array((np.repeat(part.data / 2, 2), np.repeat(part.indices, 2), 2 * part.indptr), shape=dense.shape)
    before = matrix.copy()
    b = np.sin(np.arange(200.0))
    result = sor(matrix, b, 1.2, tol=1e-12)
    assert result.success
    np.testing.assert_allclose(result.x, np.linalg.solve(dense, b), atol=1e-10)
    assert result.nit == sor(dense, b, 1.2, tol=1e-12).nit
    np.testing.assert_allclose(ssor_pcg(matrix, b, 1.2, tol=1e-12).x, result.x, atol=1e-10)
    assert abs(matrix - before).max() == 0.0


def test_result_reports_residual_norms_and_the_stopping_rule() -> None:
    A, b = laplacian(10), truncated_normal(100, seed=5)
    x0 = np.ones(100)
    result = sor(A, b, 1.5, x0=x0)
    assert result.residuals.shape == (result.nit + 1,)
    assert result.residuals[0] == pytest.approx(np.linalg.norm(b - A @ x0))
    assert result.residuals[-1] == pytest.approx(np.linalg.norm(b - A @ result.x), rel=1e-6)
    assert result.residuals[-1] < 1e-8 * result.residuals[0] <= result.residuals[-2]
    assert (result.success, result.status, result.message) == (True, 0, "converged")


@pytest.mark.parametrize("omega", [0.6, 1.0, 1.3, 1.7])
def test_ssor_pcg_equals_scipy_cg_with_the_operator(omega: float) -> None:
    A, b = laplacian(12, 0.1), truncated_normal(144, seed=6)
    iterates: list[np.ndarray] = []
    expected, info = sla.cg(A, b, rtol=1e-8, M=SSORPreconditioner(A, omega), callback=lambda x: iterates.append(x.copy()))
    result = ssor_pcg(A, b, omega)
    assert info == 0
    assert abs(result.nit - len(iterates)) <= 1
    np.testing.assert_allclose(result.x, expected, atol=1e-10)
    assert np.linalg.norm(b - A @ result.x) <= 1e-8 * np.linalg.norm(b)


@pytest.mark.parametrize("storage", [np.asarray, sp.csr_array])
def test_preconditioner_solves_with_the_ssor_matrix(storage: object) -> None:
    A, omega = random_spd(15, 2), 1.3
    D, L = np.diag(np.diag(A)), np.tril(A, -1)
    P = (D + omega * L) @ np.linalg.inv(D) @ (D + omega * L).T / (omega * (2 - omega))
    operator = SSORPreconditioner(storage(A), omega)  # type: ignore[operator]
    np.testing.assert_allclose(operator @ np.eye(15), np.linalg.inv(P), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(operator.T @ np.ones(15), np.linalg.inv(P) @ np.ones(15), rtol=1e-9)


def test_pcg_stops_relative_to_b_and_rewards_a_good_start() -> None:
    A, b = laplacian(10), truncated_normal(100, seed=7)
    solution = np.linalg.solve(A.toarray(), b)
    assert ssor_pcg(A, b, 1.3, x0=solution).nit == 0
    warm = ssor_pcg(A, b, 1.3, x0=solution + 1e-5 * np.ones(100))
    assert 0 < warm.nit < ssor_pcg(A, b, 1.3).nit
    # SOR asks for a reduction of the first residual instead.
    assert sor(A, b, 1.3, x0=solution + 1e-5 * np.ones(100)).nit > 20


def test_plain_cg_equals_scipy() -> None:
    A, b = laplacian(12), truncated_normal(144, seed=8)
    iterates: list[np.ndarray] = []
    expected, _ = sla.cg(A, b, rtol=1e-8, callback=lambda x: iterates.append(x.copy()))
    assert cg(A, b).nit == len(iterates)
    np.testing.assert_allclose(cg(A, b).x, expected, atol=1e-10)


def test_pcg_tolerance_near_rounding_is_met_by_the_true_residual() -> None:
    A, b = laplacian(10), truncated_normal(100, seed=9)
    result = ssor_pcg(A, b, 1.3, tol=3e-16, max_iter=60)
    true_norm = np.linalg.norm(b - A @ result.x)
    rounding = 2.3e-16 * (8 * np.linalg.norm(result.x) + np.linalg.norm(b))
    assert result.success == (true_norm <= max(3e-16 * np.linalg.norm(b), rounding))


# Bad input and special cases


@pytest.mark.parametrize("omega", [0.0, 2.0, -1.0, 2.5, np.nan])
def test_omega_outside_the_open_interval_is_refused(omega: float) -> None:
    A, b = laplacian(3), np.ones(9)
    for call in (
        lambda: sor(A, b, omega),
        lambda: ssor_pcg(A, b, omega),
        lambda: SSORPreconditioner(A, omega),
        lambda: sor_spectral_radius(omega, 0.5),
        lambda: sor_cost_table(4.0, 1.0, b[None], [omega]),
        lambda: near_asymptotic_bound(A, [omega], 1e-8, b),
    ):
        with pytest.raises(ValueError, match=r"(omega|grid|omegas) must"):
            call()


@pytest.mark.parametrize("solver", [lambda A, b: sor(A, b, 1.5), lambda A, b: ssor_pcg(A, b, 1.5), cg])
def test_solvers_refuse_bad_matrices_and_vectors(solver: object) -> None:
    b = np.ones(4)
    bad = np.diag([1.0, 2.0, 0.0, 1.0])
    cases = [
        (np.ones((4, 3)), b, "square matrix"),
        (np.ones(4), b, "A must have 2 dimensions"),
        (np.empty((0, 0)), np.empty(0), "A must not be empty"),
        (bad, b, r"zero diagonal entry \(row 2\)"),
        (sp.csr_array(bad), b, "zero diagonal"),
        (np.full((4, 4), np.nan), b, "A must be finite"),
        (sp.csr_array(np.full((4, 4), np.inf)), b, "A must be finite"),
        (np.eye(4), np.ones(3), r"b must have shape \(4\), got \(3,\)"),
        (np.eye(4), np.ones((4, 1)), r"b must have shape \(4\)"),
        (np.eye(4), np.array([1.0, np.nan, 0, 0]), "b must be finite"),
    ]
    for A, right, message in cases:
        with pytest.raises(ValueError, match=message):
            solver(A, right)  # type: ignore[operator]
    with pytest.raises(TypeError, match="LinearOperator"):
        solver(sla.aslinearoperator(np.eye(4)), b)  # type: ignore[operator]


def test_solvers_refuse_bad_options() -> None:
    A, b = laplacian(2), np.ones(4)
    with pytest.raises(ValueError, match="tol must be a finite number above 0 and below 1"):
        sor(A, b, 1.5, tol=0.0)
    with pytest.raises(ValueError, match="max_iter must be an integer at least 1"):
        ssor_pcg(A, b, 1.5, max_iter=0)
    with pytest.raises(ValueError, match="x0 must have shape"):
        sor(A, b, 1.5, x0=np.ones(3))
    with pytest.raises(ValueError, match="x0 must be finite"):
        ssor_pcg(A, b, 1.5, x0=np.full(4, np.nan))


@pytest.mark.parametrize("storage", [np.asarray, sp.csr_array])
def test_conjugate_gradients_refuse_matrices_that_are_not_spd(storage: object) -> None:
    nonsymmetric = np.array([[2.0, 1.0], [0.0, 2.0]])
    for call in (lambda A: ssor_pcg(A, np.ones(2), 1.2), lambda A: SSORPreconditioner(A, 1.2), lambda A: cg(A, np.ones(2))):
        with pytest.raises(ValueError, match="symmetric"):
            call(storage(nonsymmetric))  # type: ignore[operator]
        with pytest.raises(ValueError, match="not positive definite"):
            call(storage(np.diag([1.0, -1.0])))  # type: ignore[operator]
    assert sor(storage(nonsymmetric), np.ones(2), 1.0).success  # type: ignore[operator]


def test_an_indefinite_matrix_is_reported_not_hidden() -> None:
    A = np.array([[1.0, 3.0], [3.0, 1.0]])
    broken = ssor_pcg(A, np.array([1.0, -1.0]), 1.0)
    assert (broken.success, broken.status) == (False, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        diverged = sor(A, np.array([1.0, -1.0]), 1.9)
    assert (diverged.success, diverged.status) == (False, 2)
    assert "broke down" in diverged.message


@pytest.mark.parametrize("solver", [sor, ssor_pcg])
def test_zero_right_hand_side_needs_no_iteration(solver: object) -> None:
    for x0 in (None, np.zeros(9), np.ones(9)):
        result = solver(laplacian(3), np.zeros(9), 1.5, x0=x0)  # type: ignore[operator]
        assert (result.nit, result.success) == (0, True)
        np.testing.assert_array_equal(result.x, np.zeros(9))
    exact = solver(np.eye(3), np.ones(3), 1.0, x0=np.ones(3))  # type: ignore[operator]
    assert (exact.nit, exact.success) == (0, True)


def test_the_start_is_not_modified() -> None:
    x0 = np.ones(9)
    sor(laplacian(3), np.arange(9.0), 1.5, x0=x0)
    ssor_pcg(laplacian(3), np.arange(9.0), 1.5, x0=x0)
    np.testing.assert_array_equal(x0, 1.0)


def test_everything_public_is_exported_and_documented() -> None:
    for name in sor_bandit.__all__:
        member = getattr(sor_bandit, name)
        assert not callable(member) or (member.__doc__ or "").strip(), name


# Extreme numbers, starts that are solutions, kinds of numbers


@pytest.mark.parametrize("power", [-1000, -600, 700, 960])
def test_extreme_right_hand_sides_are_solved_as_ordinary_ones(power: int) -> None:
    A, b = laplacian(5), truncated_normal(25, seed=0)
    for solve in (lambda r: sor(A, r, 1.4), lambda r: ssor_pcg(A, r, 1.4), lambda r: cg(A, r)):
        plain, extreme = solve(b), solve(np.ldexp(b, power))
        assert extreme.success
        assert extreme.nit == plain.nit
        np.testing.assert_allclose(extreme.x, np.ldexp(plain.x, power), rtol=1e-12)


@pytest.mark.parametrize("power", [-1000, 700])
def test_extreme_matrices_too(power: int) -> None:
    A, b = laplacian(5), truncated_normal(25, seed=0)
    for solve in (sor, ssor_pcg):
        plain, extreme = solve(A, b, 1.4), solve(A * 2.0**power, b, 1.4)
        assert extreme.success
        assert extreme.nit == plain.nit
        np.testing.assert_allclose(extreme.x, np.ldexp(plain.x, -power), rtol=1e-12)


def test_a_solution_that_doubles_cannot_hold_is_no_success() -> None:
    A = laplacian(5)
    for scale, b in ((2.0**-1000, np.full(25, 2.0**100)), (2.0**1000, np.full(25, 2.0**-80))):
        for result in (sor(A * scale, b, 1.4), ssor_pcg(A * scale, b, 1.4), cg(A * scale, b)):
            assert not result.success
            assert result.message == "the solution over- or underflows"


def test_a_start_that_solves_the_system_is_a_success_at_once() -> None:
    A, b = laplacian(10), truncated_normal(100, seed=0)
    x = np.linalg.solve(A.toarray(), b)
    for result in (sor(A, b, 1.5, x0=x), ssor_pcg(A, b, 1.5, x0=x), cg(A, b, x0=x)):
        assert (result.nit, result.success) == (0, True)
    near = sor(A, b, 1.5, x0=x * (1 + 1e-12))  # cannot be reduced by 1e-8: ends at rounding
    assert near.success
    assert near.nit < 100


@pytest.mark.parametrize("solve", [lambda A, b: sor(A, b, 1.2), lambda A, b: ssor_pcg(A, b, 1.2), cg])
def test_complex_systems_are_refused_not_cut(solve: object) -> None:
    A = np.diag([4.0, 3.0, 2.0])
    for bad in (A + 1j, sp.csr_array(A + 1j * A)):
        with pytest.raises(TypeError, match="A must hold real numbers"):
            solve(bad, np.ones(3))  # type: ignore[operator]
    with pytest.raises(TypeError, match="b must hold real numbers"):
        solve(A, np.ones(3) * 1j)  # type: ignore[operator]


def test_defaults_are_those_of_the_paper() -> None:
    for function in (sor, ssor_pcg, cg):
        defaults = {name: p.default for name, p in inspect.signature(function).parameters.items()}
        assert (defaults["tol"], defaults["max_iter"], defaults["x0"]) == (1e-8, 10_000, None)
    assert pytest.approx(0.1353352832366127) == TAU_THRESHOLD
    assert pytest.approx(0.46807823120976) == BETA_SQUARED_THRESHOLD


@pytest.mark.parametrize("side", [10, 90])  # banded, and SuperLU
def test_preconditioners_are_copied_and_pickled(side: int) -> None:
    M, v = SSORPreconditioner(laplacian(side), 1.3), np.arange(side**2, dtype=float)
    for other in (pickle.loads(pickle.dumps(M)), copy.deepcopy(M)):
        np.testing.assert_array_equal(other @ v, M @ v)
