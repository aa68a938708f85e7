"""SOR, SSOR-preconditioned conjugate gradients and plain conjugate gradients that report their iteration counts.

The triangular solves go through LAPACK/BLAS (dense or banded) or SuperLU, so that a sweep costs microseconds for the sizes
of the paper. Matrices may be dense or sparse; nothing is modified in place.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike, NDArray
from scipy.linalg.blas import dtbsv, dtrsv
from scipy.optimize import OptimizeResult
from scipy.sparse.linalg import LinearOperator, splu

Array = NDArray[np.float64]
# A dense two-dimensional array, or a csr_array.
Matrix = Any

# Measured crossover: a banded solve beats SuperLU, whose factorization costs about 14 solves, up to about this bandwidth.
MAX_BANDWIDTH = 80

MESSAGES = {0: "converged", 1: "iteration limit reached", 2: "stopped: the iteration broke down"}


def check_omega(omega: float) -> float:
    """Return `omega` as a float, or raise ``ValueError`` when it is outside the open interval (0, 2)."""
    value = float(omega)
    if not 0.0 < value < 2.0:
        raise ValueError(f"omega must lie in the open interval (0, 2), got {omega}")
    return value


def as_square_matrix(A: Any) -> Matrix:
    """Return `A` as a float64 array or csr_array after checking that it is square, finite and has no zero diagonal."""
    if isinstance(A, LinearOperator):
        raise TypeError("A must be a dense or sparse matrix: a LinearOperator has no triangular part to solve with")
    matrix: Matrix = sp.csr_array(A, dtype=np.float64) if sp.issparse(A) else np.asarray(A, dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or matrix.shape[0] == 0:
        raise ValueError(f"A must be a non-empty square matrix, got shape {matrix.shape}")
    if not np.isfinite(matrix.data if sp.issparse(matrix) else matrix).all():
        raise ValueError("A contains NaN or infinity")
    zeros = np.flatnonzero(matrix.diagonal() == 0.0)
    if zeros.size:
        raise ValueError(f"A has a zero diagonal entry (row {zeros[0]}); SOR divides by the diagonal")
    return matrix


def check_symmetric(matrix: Matrix) -> None:
    """Raise ``ValueError`` unless `matrix` is symmetric with a positive diagonal (needed by conjugate gradients).

    Symmetry is tested on one fixed vector without structure, two products instead of a transposition and a comparison.
    """
    if (matrix.diagonal() <= 0.0).any():
        raise ValueError("A is not positive definite: its diagonal has a negative entry")
    probe = np.cos(np.arange(matrix.shape[0]) ** 2 + 1.0)
    left, right = matrix @ probe, matrix.T @ probe
    if np.abs(left - right).max() > 1e-10 * max(np.abs(left).max(), np.abs(right).max()):
        raise ValueError("A must be symmetric for conjugate gradients")


def _check_vector(vector: ArrayLike, n: int, name: str) -> Array:
    result = np.asarray(vector, dtype=np.float64)
    if result.shape != (n,):
        raise ValueError(f"{name} must have shape ({n},), got {result.shape}")
    if not np.isfinite(result).all():
        raise ValueError(f"{name} contains NaN or infinity")
    return result


def _check_problem(matrix: Matrix, b: ArrayLike, x0: ArrayLike | None, tol: float, max_iter: int) -> tuple[Array, Array]:
    n = matrix.shape[0]
    if not 0.0 < tol < 1.0:
        raise ValueError(f"tol must lie in (0, 1), got {tol}")
    if int(max_iter) != max_iter or max_iter < 1:
        raise ValueError(f"max_iter must be a positive integer, got {max_iter}")
    right = _check_vector(b, n, "b")
    # A right-hand side of zero has the solution zero, whatever the start.
    if x0 is None or not right.any():
        return right, np.zeros(n)
    return right, _check_vector(x0, n, "x0").copy()


class _TriangularSolver(Protocol):
    def solve(self, vector: Array) -> Array: ...

    def solve_transposed(self, vector: Array) -> Array: ...


class _DenseTriangle:
    def __init__(self, lower: Array) -> None:
        self._lower = np.asfortranarray(lower)

    def solve(self, vector: Array) -> Array:
        return dtrsv(self._lower, vector, lower=1)

    def solve_transposed(self, vector: Array) -> Array:
        return dtrsv(self._lower, vector, lower=1, trans=1)


class _BandedTriangle:
    def __init__(self, lower: sp.coo_array, bandwidth: int) -> None:
        self._bandwidth = bandwidth
        self._bands = np.zeros((bandwidth + 1, lower.shape[0]), order="F")
        self._bands[lower.row - lower.col, lower.col] = lower.data

    def solve(self, vector: Array) -> Array:
        return dtbsv(self._bandwidth, self._bands, vector, lower=1)

    def solve_transposed(self, vector: Array) -> Array:
        return dtbsv(self._bandwidth, self._bands, vector, lower=1, trans=1)


class _SparseTriangle:
    def __init__(self, lower: sp.coo_array) -> None:
        # In the natural order and without pivoting the LU factors of a triangle are the triangle and its diagonal.
        options = {"SymmetricMode": True}
        self._lu = splu(lower.tocsc(), permc_spec="NATURAL", diag_pivot_thresh=0.0, options=options)

    def solve(self, vector: Array) -> Array:
        return self._lu.solve(vector)

    def solve_transposed(self, vector: Array) -> Array:
        return self._lu.solve(vector, "T")


def _triangular_solver(matrix: Matrix, diagonal_scale: float, lower_scale: float) -> _TriangularSolver:
    """Solver for ``diagonal_scale * D + lower_scale * L``, D and L the diagonal and strictly lower part of `matrix`."""
    if not sp.issparse(matrix):
        lower = lower_scale * np.tril(matrix, -1)
        lower[np.diag_indices_from(lower)] = diagonal_scale * matrix.diagonal()
        return _DenseTriangle(lower)
    entries = matrix.tocoo()
    keep = entries.row >= entries.col
    row, col, data = entries.row[keep], entries.col[keep], entries.data[keep]
    scaled = data * np.where(row == col, diagonal_scale, lower_scale)
    triangle = sp.coo_array((scaled, (row, col)), shape=matrix.shape)
    if not matrix.has_canonical_format:
        triangle.sum_duplicates()
    bandwidth = int((triangle.row - triangle.col).max())
    return _BandedTriangle(triangle, bandwidth) if bandwidth <= MAX_BANDWIDTH else _SparseTriangle(triangle)


def _result(x: Array, residuals: list[float], status: int) -> OptimizeResult:
    return OptimizeResult(
        x=x,
        nit=len(residuals) - 1,
        success=status == 0,
        status=status,
        message=MESSAGES[status],
        residuals=np.array(residuals),
    )


def sor(
    A: Any, b: ArrayLike, omega: float, *, x0: ArrayLike | None = None, tol: float = 1e-8, max_iter: int = 10_000
) -> OptimizeResult:
    """Solve ``A x = b`` by successive over-relaxation and count the sweeps.

    One sweep is ``x <- x + M^{-1} r`` with ``M = D / omega + L`` and ``r = b - A x``; the cost of the paper is the smallest
    ``k >= 1`` with ``||r_k|| < tol * ||r_0||``.

    Parameters
    ----------
    A : array or sparse matrix, shape (n, n)
        Square with a nonzero diagonal. Convergence is guaranteed for symmetric positive definite A.
    b : array, shape (n,)
        Right-hand side. For ``b = 0`` the exact solution zero is returned with ``nit = 0``.
    omega : float
        Relaxation parameter in (0, 2); 1 is Gauss-Seidel.
    x0 : array, shape (n,), optional
        Start, default zero (the paper's choice).
    tol : float
        Reduction of the residual norm relative to the *first residual*, default 1e-8 (the paper's value).
    max_iter : int
        Limit, default 10 000 (the paper's value).

    Returns
    -------
    scipy.optimize.OptimizeResult
        ``x``, ``nit``, ``success``, ``status`` (0 converged, 1 limit, 2 diverged), ``message`` and ``residuals``, the
        Euclidean norms ``||r_0||, ..., ||r_nit||``.

    Raises
    ------
    ValueError
        Omega outside (0, 2), A not square or not finite or with a zero diagonal, a wrong shape of b or x0.

    Examples
    --------
    >>> from lib.online.sor_bandit import sor
    >>> from lib.online.sor_bandit.study import laplacian
    >>> sor(laplacian(10), [1.0] * 100, 1.56).nit < sor(laplacian(10), [1.0] * 100, 1.0).nit
    True

    Source: Khodak et al. (2024), the SOR solver of the learning experiments.
    """
    matrix, omega = as_square_matrix(A), check_omega(omega)
    right, x = _check_problem(matrix, b, x0, tol, max_iter)
    triangle = _triangular_solver(matrix, 1.0 / omega, 1.0)
    residual = right - matrix @ x
    residuals = [float(np.linalg.norm(residual))]
    if residuals[0] == 0.0:
        return _result(x, residuals, 0)
    # A diverging iteration (possible when A is not positive definite) overflows; that is reported, not warned about.
    with np.errstate(over="ignore", invalid="ignore"):
        for _ in range(int(max_iter)):
            x += triangle.solve(residual)
            residual = right - matrix @ x
            residuals.append(float(np.linalg.norm(residual)))
            if residuals[-1] < tol * residuals[0]:
                return _result(x, residuals, 0)
            if not np.isfinite(residuals[-1]):
                return _result(x, residuals, 2)
    return _result(x, residuals, 1)


class SSORPreconditioner(LinearOperator):
    """The inverse of the SSOR matrix, as the ``M`` of scipy's Krylov solvers.

    ``P = (D + omega L) D^{-1} (D + omega L)^T / (omega (2 - omega))``; applying the operator solves with P.

    Parameters
    ----------
    A : array or sparse matrix, shape (n, n)
        Symmetric with a positive diagonal.
    omega : float
        Relaxation parameter in (0, 2).

    Raises
    ------
    ValueError
        As for `ssor_pcg`.

    Examples
    --------
    >>> import numpy as np, scipy.sparse.linalg as sla
    >>> from lib.online.sor_bandit import SSORPreconditioner
    >>> from lib.online.sor_bandit.study import laplacian
    >>> sla.cg(laplacian(10), np.ones(100), M=SSORPreconditioner(laplacian(10), 1.3))[1]
    0
    """

    def __init__(self, A: Any, omega: float) -> None:
        matrix = as_square_matrix(A)
        check_symmetric(matrix)
        self.omega = check_omega(omega)
        self._triangle = _triangular_solver(matrix, 1.0, self.omega)
        self._scaled_diagonal = self.omega * (2.0 - self.omega) * matrix.diagonal()
        super().__init__(np.dtype(np.float64), matrix.shape)

    def _matvec(self, vector: Array) -> Array:
        # P^{-1} r = omega (2 - omega) (D + omega L)^{-T} D (D + omega L)^{-1} r
        vector = np.asarray(vector, dtype=np.float64).ravel()
        return self._triangle.solve_transposed(self._scaled_diagonal * self._triangle.solve(vector))

    def _rmatvec(self, vector: Array) -> Array:
        return self._matvec(vector)


def _pcg(
    matrix: Matrix, right: Array, x: Array, precondition: Callable[[Array], Array], tol: float, max_iter: int
) -> OptimizeResult:
    """Preconditioned conjugate gradients, stopped at ``||b - A x|| <= tol ||b||`` (the true residual is checked)."""
    limit = tol * float(np.linalg.norm(right))
    residual = right - matrix @ x
    residuals = [float(np.linalg.norm(residual))]
    if residuals[0] <= limit:
        return _result(x, residuals, 0)
    direction, previous = np.zeros_like(x), np.inf
    for _ in range(int(max_iter)):
        z = precondition(residual)
        rho = float(residual @ z)
        direction = z + (rho / previous) * direction
        image = matrix @ direction
        curvature = float(direction @ image)
        if not curvature > 0.0 or not rho > 0.0:
            return _result(x, residuals, 2)
        x += (rho / curvature) * direction
        residual = residual - (rho / curvature) * image
        previous = rho
        residuals.append(float(np.linalg.norm(residual)))
        if residuals[-1] <= limit:
            # The recurrence can drift from b - A x when tol is near rounding; go on from the true residual then.
            residual = right - matrix @ x
            true_norm = float(np.linalg.norm(residual))
            if true_norm <= limit * (1.0 + 1e-6):
                return _result(x, residuals, 0)
            residuals[-1] = true_norm
    return _result(x, residuals, 1)


def ssor_pcg(
    A: Any, b: ArrayLike, omega: float, *, x0: ArrayLike | None = None, tol: float = 1e-8, max_iter: int = 10_000
) -> OptimizeResult:
    """Solve ``A x = b`` by conjugate gradients with the SSOR preconditioner and count the iterations.

    Stops at ``||b - A x|| <= tol * ||b||``: relative to the right-hand side, not to the first residual, so that a good
    start is rewarded. The count is 0 when the start satisfies the test.

    Parameters
    ----------
    A : array or sparse matrix, shape (n, n)
        Symmetric positive definite.
    b : array, shape (n,)
        Right-hand side. For ``b = 0`` the exact solution zero is returned with ``nit = 0``.
    omega : float
        Relaxation parameter of the preconditioner, in (0, 2).
    x0 : array, shape (n,), optional
        Start, default zero; in a simulation the previous solution (the paper's warm start).
    tol : float
        Default 1e-8 (the paper's value).
    max_iter : int
        Default 10 000 (the paper's value).

    Returns
    -------
    scipy.optimize.OptimizeResult
        As `sor`; status 2 says that A or the preconditioner was found not to be positive definite. The residual norms
        are those of the recurrence.

    Raises
    ------
    ValueError
        Omega outside (0, 2); A not square, not symmetric, not finite or with a non-positive diagonal; wrong shapes.

    Examples
    --------
    >>> from lib.online.sor_bandit import ssor_pcg
    >>> from lib.online.sor_bandit.study import laplacian
    >>> ssor_pcg(laplacian(10), [1.0] * 100, 1.3).success
    True

    Source: Khodak et al. (2024), the solver of the heat-equation experiments.
    """
    matrix = as_square_matrix(A)
    right, x = _check_problem(matrix, b, x0, tol, max_iter)
    preconditioner = SSORPreconditioner(matrix, omega)
    return _pcg(matrix, right, x, preconditioner._matvec, tol, max_iter)


def cg(A: Any, b: ArrayLike, *, x0: ArrayLike | None = None, tol: float = 1e-8, max_iter: int = 10_000) -> OptimizeResult:
    """Conjugate gradients without a preconditioner: the baseline of the heat experiments, same conventions as `ssor_pcg`.

    Examples
    --------
    >>> from lib.online.sor_bandit import cg
    >>> from lib.online.sor_bandit.study import laplacian
    >>> cg(laplacian(10), [1.0] * 100).success
    True
    """
    matrix = as_square_matrix(A)
    check_symmetric(matrix)
    right, x = _check_problem(matrix, b, x0, tol, max_iter)
    return _pcg(matrix, right, x, lambda vector: vector, tol, max_iter)
