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

from lib import checks

Array = NDArray[np.float64]
# A dense two-dimensional array, or a csr_array.
Matrix = Any

# Measured crossover: a banded solve beats SuperLU, whose factorization costs about 14 solves, up to about this bandwidth.
MAX_BANDWIDTH = 80

MESSAGES = {
    0: "converged",
    1: "iteration limit reached",
    2: "stopped: the iteration broke down",
    3: "the solution over- or underflows",
}
# Numbers beyond 2**-300 .. 2**300 are scaled by powers of two (exactly), so that no norm over- or underflows.
_ORDINARY = 300


def check_omega(omega: float, name: str = "omega") -> float:
    """Return `omega` as a float, or raise when it is outside the open interval (0, 2)."""
    return checks.number(name, omega, above=0, below=2)


def check_omegas(values: ArrayLike, name: str = "omegas") -> Array:
    """The relaxation parameters as a float64 array, shape (d,); ValueError for one outside (0, 2)."""
    grid = np.atleast_1d(checks.array(name, values, ndim=(0, 1), above=0).astype(np.float64))
    if not (grid < 2.0).all():
        raise ValueError(f"every entry of {name} must be below 2, got {grid.max():.6g}")
    return grid


def as_square_matrix(A: Any) -> Matrix:
    """Return `A` as a float64 array or csr_array after checking that it is real, square, finite and has no zero diagonal."""
    if isinstance(A, LinearOperator):
        raise TypeError("A must be a dense or sparse matrix: a LinearOperator has no triangular part to solve with")
    if sp.issparse(A):
        checks.array("A", A.data if hasattr(A, "data") and isinstance(A.data, np.ndarray) else A.tocoo().data, empty=True)
        matrix: Matrix = sp.csr_array(A, dtype=np.float64)
    else:
        matrix = checks.array("A", A, ndim=2).astype(np.float64, copy=False)
    if matrix.shape[0] != matrix.shape[1] or matrix.shape[0] == 0:
        raise ValueError(f"A must be a non-empty square matrix, got shape {matrix.shape}")
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


class _Problem:
    """A system ``A x = b`` as it is solved: checked, and scaled by powers of two where its numbers are extreme."""

    def __init__(self, matrix: Matrix, b: ArrayLike, x0: ArrayLike | None, tol: float, max_iter: int) -> None:
        n = matrix.shape[0]
        self.tol = checks.number("tol", tol, above=0, below=1)
        self.max_iter = checks.integer("max_iter", max_iter, low=1)
        right = checks.array("b", b, shape=(n,)).astype(np.float64)
        start = np.zeros(n) if x0 is None else checks.array("x0", x0, shape=(n,)).astype(np.float64)
        if not right.any():
            start = np.zeros(n)  # a right-hand side of zero has the solution zero, whatever the start
        of_matrix = _exponent(matrix.data if sp.issparse(matrix) else matrix)
        of_right = _exponent(right) if not start.any() else max(_exponent(right), _exponent(start) + of_matrix)
        if max(abs(of_matrix), abs(of_right)) <= _ORDINARY:
            of_matrix = of_right = 0
        self.exponent, self.residual_exponent = of_right - of_matrix, of_right
        self.matrix = matrix if of_matrix == 0 else _scaled(matrix, -of_matrix)
        self.b, self.x = np.ldexp(right, -of_right), np.ldexp(start, -self.exponent)
        size = abs(self.matrix)
        # sqrt(||A||_1 ||A||_inf) bounds the norm of A: a residual below eps (||A|| ||x|| + ||b||) is rounding.
        self._norm = float(np.sqrt(size.sum(axis=0).max() * size.sum(axis=1).max()))
        self._norm_b = float(np.linalg.norm(self.b))

    def rounding(self) -> float:
        """The residual norm below which `x` solves the system as well as doubles can."""
        return _EPS * (self._norm * float(np.linalg.norm(self.x)) + self._norm_b)

    def result(self, residuals: list[float], status: int) -> OptimizeResult:
        with np.errstate(over="ignore", under="ignore"):
            x = np.ldexp(self.x, self.exponent)
            norms = np.ldexp(np.array(residuals), self.residual_exponent)
        largest = float(np.abs(x).max())
        # Below 5e-324 / tol the spacing of doubles is coarser than the tolerance.
        if status == 0 and self.x.any() and (not np.isfinite(largest) or largest * self.tol < _SMALLEST):
            status = 3
        return OptimizeResult(
            x=x,
            nit=len(residuals) - 1,
            success=status == 0,
            status=status,
            message=MESSAGES[status],
            residuals=norms,
        )


_EPS, _SMALLEST = float(np.finfo(float).eps), float(np.finfo(float).smallest_subnormal)


def _exponent(values: Array) -> int:
    """The binary exponent of the largest entry; 0 for zeros."""
    return int(np.frexp(np.abs(values).max(initial=0.0))[1])


def _scaled(matrix: Matrix, exponent: int) -> Matrix:
    if not sp.issparse(matrix):
        return np.ldexp(matrix, exponent)
    scaled = matrix.copy()
    scaled.data = np.ldexp(scaled.data, exponent)
    return scaled


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
        ``x``, ``nit``, ``success``, ``status`` (0 converged, 1 limit, 2 diverged, 3 x over- or underflows), ``message`` and
        ``residuals``, the Euclidean norms ``||r_0||, ..., ||r_nit||``. A residual of the size of rounding errors also
        counts as converged: a start that solves the system returns with ``nit = 0``.

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
    omega, matrix = check_omega(omega), as_square_matrix(A)
    problem = _Problem(matrix, b, x0, tol, max_iter)
    matrix, right, x = problem.matrix, problem.b, problem.x
    triangle = _triangular_solver(matrix, 1.0 / omega, 1.0)  # M = D / omega + L, (1)
    residual = right - matrix @ x
    residuals = [float(np.linalg.norm(residual))]
    if residuals[0] <= problem.rounding():
        return problem.result(residuals, 0)
    # A diverging iteration (possible when A is not positive definite) overflows; that is reported, not warned about.
    with np.errstate(over="ignore", invalid="ignore"):
        for _ in range(problem.max_iter):
            x += triangle.solve(residual)  # (1)
            residual = right - matrix @ x  # (1)
            residuals.append(float(np.linalg.norm(residual)))
            if residuals[-1] < problem.tol * residuals[0]:  # the cost, below (2)
                return problem.result(residuals, 0)
            if not np.isfinite(residuals[-1]):
                return problem.result(residuals, 2)
            if residuals[-1] >= residuals[-2] and residuals[-1] <= problem.rounding():
                return problem.result(residuals, 0)
    return problem.result(residuals, 1)


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
        self.omega, matrix = check_omega(omega), as_square_matrix(A)
        check_symmetric(matrix)
        self._matrix = matrix
        self._triangle = _triangular_solver(matrix, 1.0, self.omega)
        self._scaled_diagonal = self.omega * (2.0 - self.omega) * matrix.diagonal()  # P below (16)
        super().__init__(np.dtype(np.float64), matrix.shape)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._matrix, self.omega)

    def _matvec(self, vector: Array) -> Array:
        # P^{-1} r = omega (2 - omega) (D + omega L)^{-T} D (D + omega L)^{-1} r
        vector = np.asarray(vector, dtype=np.float64).ravel()
        return self._triangle.solve_transposed(self._scaled_diagonal * self._triangle.solve(vector))

    def _rmatvec(self, vector: Array) -> Array:
        return self._matvec(vector)


def _pcg(problem: _Problem, precondition: Callable[[Array], Array]) -> OptimizeResult:
    """Preconditioned conjugate gradients, stopped at ``||b - A x|| <= tol ||b||`` (the true residual is checked)."""
    matrix, right, x = problem.matrix, problem.b, problem.x
    limit = problem.tol * float(np.linalg.norm(right))
    residual = right - matrix @ x
    residuals = [float(np.linalg.norm(residual))]
    if residuals[0] <= max(limit, problem.rounding()):
        return problem.result(residuals, 0)
    direction, previous = np.zeros_like(x), np.inf
    for _ in range(problem.max_iter):
        z = precondition(residual)
        rho = float(residual @ z)
        direction = z + (rho / previous) * direction
        image = matrix @ direction
        curvature = float(direction @ image)
        if not curvature > 0.0 or not rho > 0.0:
            return problem.result(residuals, 2)
        x += (rho / curvature) * direction
        residual = residual - (rho / curvature) * image
        previous = rho
        residuals.append(float(np.linalg.norm(residual)))
        if residuals[-1] <= limit:
            # The recurrence can drift from b - A x when tol is near rounding; go on from the true residual then.
            residual = right - matrix @ x
            true_norm = float(np.linalg.norm(residual))
            if true_norm <= max(limit * (1.0 + 1e-6), problem.rounding()):
                return problem.result(residuals, 0)
            residuals[-1] = true_norm
    return problem.result(residuals, 1)


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
        As `sor`; status 2 says that A or the preconditioner was found not to be positive definite,
        3 that x over- or underflows. The residual norms
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
    problem = _Problem(as_square_matrix(A), b, x0, tol, max_iter)
    return _pcg(problem, SSORPreconditioner(problem.matrix, omega)._matvec)


def cg(A: Any, b: ArrayLike, *, x0: ArrayLike | None = None, tol: float = 1e-8, max_iter: int = 10_000) -> OptimizeResult:
    """Conjugate gradients without a preconditioner: the baseline of the heat experiments, same conventions as `ssor_pcg`.

    Examples
    --------
    >>> from lib.online.sor_bandit import cg
    >>> from lib.online.sor_bandit.study import laplacian
    >>> cg(laplacian(10), [1.0] * 100).success
    True
    """
    problem = _Problem(as_square_matrix(A), b, x0, tol, max_iter)
    check_symmetric(problem.matrix)
    return _pcg(problem, lambda vector: vector)
