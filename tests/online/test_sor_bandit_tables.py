"""Batched kernels and instances of `lib.online.sor_bandit` against single solves and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from lib.online.sor_bandit import (
    cg,
    defect_matrix,
    jacobi_radius,
    omega_grid,
    optimal_omega,
    sor,
    ssor_pcg,
)
from lib.online.sor_bandit.study import (
    degenerate_target,
    delsq,
    laplacian,
    numgrid,
    sample_shifts,
    sor_cost_table,
    ssor_cg_bound,
    ssor_pcg_cost_table,
    truncated_normal,
)

GRID = np.linspace(1.0, 1.95, 20)


def dense_recursion_cost(A: np.ndarray, b: np.ndarray, omega: float, tol: float = 1e-8) -> int:
    defect = np.eye(len(b)) - A @ np.linalg.inv(np.diag(np.diag(A)) / omega + np.tril(A, -1))
    residual, k = b.copy(), 0
    while True:
        residual, k = defect @ residual, k + 1
        if np.linalg.norm(residual) < tol * np.linalg.norm(b):
            return k


# Batched kernels


def test_sor_table_equals_single_solves_exactly() -> None:
    shifts, b = sample_shifts(12, "high", seed=0), truncated_normal(100, 12, seed=1)
    table = sor_cost_table(4 + shifts, 1.0, b, GRID[::3])
    single = [[sor(laplacian(10, float(c)), target, w).nit for w in GRID[::3]] for c, target in zip(shifts, b, strict=True)]
    np.testing.assert_array_equal(table, single)


@pytest.mark.parametrize("m", [1, 2, 5])
def test_sor_table_on_small_grids_scales_and_signs(m: int) -> None:
    rng = np.random.default_rng(m)
    diagonal, off = rng.uniform(5, 9, 6), np.array([1.0, -1.0, 0.5, -1.3, 1e-3, 1.1])
    b = rng.standard_normal((6, m * m))
    links = laplacian(m) - 4 * sp.eye_array(m * m)  # -(S + S^T)
    table = sor_cost_table(diagonal, off, b, [0.8, 1.2])
    single = [
        [dense_recursion_cost((diagonal[t] * sp.eye_array(m * m) + off[t] * links).toarray(), b[t], w) for w in (0.8, 1.2)]
        for t in range(6)
    ]
    np.testing.assert_array_equal(table, single)


def test_ssor_pcg_table_equals_single_solves_exactly() -> None:
    rng = np.random.default_rng(3)
    strength, b, x0 = rng.uniform(0, 3, 8), rng.standard_normal((8, 81)), rng.standard_normal((8, 81))
    strength[0] = 0.0
    table = ssor_pcg_cost_table(1 + 4 * strength, strength, b, GRID[::4], x0=x0)
    plain = ssor_pcg_cost_table(1 + 4 * strength, strength, b, None, x0=x0)
    for t, k in enumerate(strength):
        A = sp.csr_array(sp.eye_array(81) + k * laplacian(9))
        assert table[t].tolist() == [ssor_pcg(A, b[t], w, x0=x0[t]).nit for w in GRID[::4]]
        assert plain[t, 0] == cg(A, b[t], x0=x0[t]).nit


def test_tables_do_not_depend_on_the_batch_size(monkeypatch: pytest.MonkeyPatch) -> None:
    shifts, b = sample_shifts(9, "low", seed=5), truncated_normal(25, 9, seed=6)
    whole = sor_cost_table(4 + shifts, 1.0, b, GRID), ssor_pcg_cost_table(4 + shifts, 1.0, b, GRID)
    monkeypatch.setattr("lib.online.sor_bandit.study.kernels.BATCH_DOUBLES", 300)
    pieces = sor_cost_table(4 + shifts, 1.0, b, GRID), ssor_pcg_cost_table(4 + shifts, 1.0, b, GRID)
    np.testing.assert_array_equal(whole, pieces)


def test_tables_count_zero_right_hand_sides_and_the_limit() -> None:
    b = np.stack([np.zeros(25), np.ones(25)])
    assert sor_cost_table(4.0, 1.0, b, [1.0, 1.5], max_iter=3).tolist() == [[0, 0], [3, 3]]
    assert ssor_pcg_cost_table(4.0, 1.0, b, [1.0, 1.5], x0=b + 1, max_iter=2).tolist() == [[0, 0], [2, 2]]
    assert sor(laplacian(5), np.ones(25), 1.0, max_iter=3).nit == 3


# Instances


def test_laplacian_equals_the_kronecker_sum() -> None:
    line = 2 * np.eye(7) - np.eye(7, k=1) - np.eye(7, k=-1)
    np.testing.assert_array_equal(laplacian(7).toarray(), np.kron(np.eye(7), line) + np.kron(line, np.eye(7)))
    np.testing.assert_array_equal(laplacian(3, 0.5).diagonal(), 4.5)


def test_l_shaped_domain_lacks_one_quadrant() -> None:
    points = numgrid("L", 12)
    assert [int(numgrid(region, s).max()) for region in "SL" for s in (12, 32)] == [100, 900, 75, 675]
    assert not points[6:, :6].any()
    assert (points[1:6, 1:11] > 0).all()
    assert points[1:, 1].tolist()[:5] == [1, 2, 3, 4, 5]  # numbered down the columns
    A = delsq(points).toarray()
    np.testing.assert_array_equal(A, A.T)
    for here, there in [((1, 1), (2, 1)), ((5, 5), (5, 6))]:
        assert A[points[here] - 1, points[there] - 1] == -1.0
    assert A.sum() == 4 * 75 - 2 * sum(((points[1:] > 0) & (points[:-1] > 0)).sum() for points in (points, points.T))


def test_truncated_normal_lies_in_the_ball_with_the_conditional_law() -> None:
    draws = truncated_normal(4, 20_000, seed=0)
    squared = (draws**2).sum(axis=1)
    assert squared.max() <= 4.0
    # Conditional mean of a chi-square variable: n F_{n+2}(n) / F_n(n) with n = 4.
    expected = 4 * (1 - np.exp(-2) * (1 + 2 + 2)) / (1 - np.exp(-2) * (1 + 2))
    assert squared.mean() == pytest.approx(expected, abs=0.03)  # four standard errors
    assert truncated_normal(100, seed=1).shape == (100,)


def test_shifts_have_the_moments_of_their_beta_law() -> None:
    for variance, (a, b) in {"low": (2.0, 6.0), "high": (0.5, 1.5)}.items():
        c = sample_shifts(40_000, variance, seed=0)
        assert c.min() >= -0.15
        assert c.max() <= 0.45
        assert c.mean() == pytest.approx(-0.15 + 0.6 * a / (a + b), abs=0.004)
        assert c.std() == pytest.approx(0.6 * np.sqrt(a * b / (a + b + 1)) / (a + b), rel=0.03)


def test_degenerate_target_is_an_eigenvector_with_a_notch_in_the_cost() -> None:
    A = laplacian(10)
    target = degenerate_target(A, 1.4)
    image = defect_matrix(A, 1.4) @ target
    eigenvalue = float(target @ image)
    np.testing.assert_allclose(image, eigenvalue * target, atol=1e-10)
    assert eigenvalue == pytest.approx(0.1985, abs=1e-4)
    counts = [sor(A, target, w).nit for w in (1.399, 1.4, 1.401)]
    assert counts[1] == 12
    assert min(counts[0], counts[2]) > 3 * counts[1]


def test_omega_grid_contains_the_optimum_once() -> None:
    grid = omega_grid(laplacian(10), 1.0, 1.9, 0.1)
    assert len(grid) == 11
    assert optimal_omega(jacobi_radius(laplacian(10))) in grid
    assert (np.diff(grid) > 0).all()


def test_tables_and_theory_refuse_bad_input() -> None:
    b = np.ones((2, 9))
    with pytest.raises(ValueError, match=r"b must have 2 dimensions"):
        sor_cost_table(4.0, 1.0, np.ones(9), GRID)
    with pytest.raises(ValueError, match=r"m\*m columns"):
        sor_cost_table(4.0, 1.0, np.ones((2, 8)), GRID)
    with pytest.raises(ValueError, match="positive definite"):
        ssor_pcg_cost_table(2.0, 1.0, b, GRID)
    with pytest.raises(ValueError, match="finite"):
        sor_cost_table([4.0, np.nan], 1.0, b, GRID)
    with pytest.raises(ValueError, match="off must not be zero"):
        sor_cost_table(4.0, 0.0, b, GRID)
    with pytest.raises(ValueError, match="x0 must have shape"):
        ssor_pcg_cost_table(4.0, 1.0, b, GRID, x0=np.ones(9))
    with pytest.raises(ValueError, match=r"beta must lie in \[0, 1\)"):
        optimal_omega(1.0)
    with pytest.raises(ValueError, match="positive definite, its smallest eigenvalue"):
        ssor_cg_bound(laplacian(4, -3.0), GRID)
    with pytest.raises(ValueError, match="region must be"):
        numgrid("C", 12)
    with pytest.raises(ValueError, match="variance must be one of 'low', 'high'"):
        sample_shifts(3, "medium")
    with pytest.raises(ValueError, match="n must be"):
        truncated_normal(0)
    with pytest.raises(ValueError, match="no positive real eigenvalue"):
        degenerate_target(np.eye(3), 1.0)
