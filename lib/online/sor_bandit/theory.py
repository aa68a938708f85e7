"""What the spectrum says about the cost of SOR.

Everything here needs eigenvalues, which cost more than the solve: it explains the curves that the bandits learn without it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import solve_triangular
from scipy.sparse.linalg import ArpackNoConvergence, eigsh

from lib import checks
from lib.online.sor_bandit.solvers import Array, as_square_matrix, check_omega, check_omegas, check_symmetric, sor

# The surrogate is Lipschitz to the right of its minimum if tau or beta**2 is at least this large, (7).
TAU_THRESHOLD = float(np.exp(-2.0))
BETA_SQUARED_THRESHOLD = float(4.0 * np.exp(-2.0) * (1.0 - np.exp(-2.0)))

# Above this size a symmetric spectrum's ends come from Lanczos instead of a dense eigensolver.
_DENSE_LIMIT = 600


def as_dense(A: Any) -> Array:
    """A square matrix, dense or sparse, as a float64 array, shape (n, n); ValueError if it is not square."""
    matrix = as_square_matrix(A)
    return matrix.toarray() if sp.issparse(matrix) else matrix


def jacobi_radius(A: Any) -> float:
    """Spectral radius ``beta`` of the Jacobi iteration matrix ``I - D^{-1} A``.

    Parameters
    ----------
    A : array or sparse matrix, shape (n, n)
        With a nonzero diagonal; a symmetric A with a positive diagonal is reduced to a symmetric eigenproblem.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        A not square, not finite, or with a zero diagonal.

    Examples
    --------
    >>> from lib.online.sor_bandit import jacobi_radius
    >>> from lib.online.sor_bandit.study import laplacian
    >>> round(jacobi_radius(laplacian(10)), 6)
    0.959493
    """
    matrix = as_square_matrix(A)
    diagonal = matrix.diagonal()
    try:
        check_symmetric(matrix)
    except ValueError:
        return float(np.abs(np.linalg.eigvals(np.eye(len(diagonal)) - as_dense(matrix) / diagonal[:, None])).max())
    # D^{-1/2} (D - A) D^{-1/2} is similar to I - D^{-1} A.
    root = np.sqrt(diagonal)
    if sp.issparse(matrix) and len(root) > _DENSE_LIMIT:
        scale = sp.diags_array(1.0 / root)
        jacobi = sp.eye_array(len(root)) - scale @ matrix @ scale
        try:
            start = np.ones(len(root)) / np.sqrt(len(root))
            return float(np.abs(eigsh(jacobi, k=1, v0=start, return_eigenvectors=False)[0]))
        except ArpackNoConvergence:
            pass
    jacobi = np.eye(len(root)) - as_dense(matrix) / np.outer(root, root)
    return float(np.abs(np.linalg.eigvalsh(jacobi)).max())


def optimal_omega(beta: ArrayLike) -> Any:
    """Young's asymptotically optimal relaxation parameter ``1 + (beta / (1 + sqrt(1 - beta**2)))**2``.

    Parameters
    ----------
    beta : array or float
        Jacobi radius in [0, 1).

    Returns
    -------
    float or array of the shape of `beta`

    Raises
    ------
    ValueError
        beta outside [0, 1): SOR of a positive definite consistently ordered matrix always has beta < 1.

    Examples
    --------
    >>> from lib.online.sor_bandit import optimal_omega
    >>> round(optimal_omega(0.959493), 4)
    1.5604
    """
    radius = _check_beta(beta)
    omega = 1.0 + (radius / (1.0 + np.sqrt(1.0 - radius**2))) ** 2  # (3)
    return float(omega) if omega.ndim == 0 else omega


def _check_beta(beta: ArrayLike) -> Array:
    radius = checks.array("beta", beta, low=0).astype(np.float64)
    if not (radius < 1.0).all():
        raise ValueError(f"beta must lie in [0, 1), got {radius.max():.6g}")
    return radius


def sor_spectral_radius(omega: ArrayLike, beta: ArrayLike) -> Any:
    """Spectral radius of the SOR iteration for a consistently ordered matrix (Young's formula).

    ``omega - 1`` for ``omega >= optimal_omega(beta)``, else ``((omega beta + sqrt(omega^2 beta^2 - 4 (omega - 1))) / 2)^2``.

    Parameters
    ----------
    omega, beta : array or float
        Broadcast against each other; omega in (0, 2), beta in [0, 1).

    Returns
    -------
    float or array

    Raises
    ------
    ValueError
        A parameter outside its interval.

    Examples
    --------
    >>> from lib.online.sor_bandit import sor_spectral_radius
    >>> round(sor_spectral_radius(1.0, 0.9), 4)  # Gauss-Seidel: beta squared
    0.81
    """
    radius, w = _check_beta(beta), checks.array("omega", omega, above=0).astype(np.float64)
    if not (w < 2.0).all():
        raise ValueError(f"omega must lie in the open interval (0, 2), got {w.max():.6g}")
    discriminant = np.maximum((w * radius) ** 2 - 4.0 * (w - 1.0), 0.0)  # (3)
    below = (0.5 * (w * radius + np.sqrt(discriminant))) ** 2  # (3)
    result = np.where(w >= optimal_omega(radius), w - 1.0, below)
    return float(result) if result.ndim == 0 else result


def defect_matrix(A: Any, omega: float) -> Array:
    """Dense defect reduction matrix ``C_omega = I - A M^{-1}``, ``M = D / omega + L``; residuals obey ``r_k = C r_{k-1}``.

    Examples
    --------
    >>> from lib.online.sor_bandit import defect_matrix
    >>> from lib.online.sor_bandit.study import laplacian
    >>> defect_matrix(laplacian(10), 1.4).shape
    (100, 100)
    """
    matrix, omega = as_dense(A), check_omega(omega)
    splitting = np.tril(matrix, -1) + np.diag(np.diag(matrix) / omega)  # M of (1)
    return np.eye(len(matrix)) - solve_triangular(splitting, matrix.T, trans="T", lower=True).T


class Asymptoticity(NamedTuple):
    """What `asymptoticity` measures: costs, spectral radii and norms of the powers, one per omega, and tau over all of them."""

    costs: NDArray[np.int64]
    radius: Array
    norms: Array
    tau: float


def asymptoticity(A: Any, omegas: ArrayLike, tol: float = 1e-8, b: ArrayLike | None = None) -> Asymptoticity:
    """How far the defect matrices are from their spectral radius when SOR stops.

    Parameters
    ----------
    A : array or sparse matrix, shape (n, n)
    omegas : array, shape (d,)
        In (0, 2).
    tol : float
        Default 1e-8 (the paper's value).
    b : array, shape (n,), optional
        Right-hand side that decides where SOR stops; default all ones.

    Returns
    -------
    Asymptoticity
        Arrays of shape (d,): ``costs`` k, ``radius`` rho(C), ``norms`` ``||C^(k-1)||_2^(1/(k-1))`` (nan where k = 1); and
        ``tau`` = max over omega of ``(norms - radius) / (1 - radius)``.

    Raises
    ------
    ValueError
        As `sor`.
    RuntimeError
        SOR does not converge: A is not positive definite.

    Examples
    --------
    >>> from lib.online.sor_bandit import asymptoticity
    >>> from lib.online.sor_bandit.study import laplacian
    >>> bool(0 < asymptoticity(laplacian(10), [1.2, 1.6]).tau < 1)
    True

    Source: Khodak et al. (2024), near-asymptotic analysis.
    """
    grid, dense = check_omegas(omegas), as_dense(A)
    right = np.ones(len(dense)) if b is None else b
    costs, radius, norms = np.empty(len(grid), dtype=np.int64), np.empty(len(grid)), np.full(len(grid), np.nan)
    for i, omega in enumerate(grid):
        solved = sor(A, right, omega, tol=tol)
        if not solved.success:
            raise RuntimeError(f"SOR at omega = {omega:.6g}: {solved.message}")
        costs[i] = solved.nit
        defect = defect_matrix(dense, omega)
        radius[i] = np.abs(np.linalg.eigvals(defect)).max()
        if costs[i] > 1:
            power = np.linalg.matrix_power(defect, int(costs[i]) - 1)
            norms[i] = np.linalg.norm(power, 2) ** (1.0 / (costs[i] - 1))
    excess = (norms - radius) / (1.0 - radius)  # tau, above (6)
    tau = float(max(0.0, np.nanmax(excess))) if np.isfinite(excess).any() else 0.0
    return Asymptoticity(costs, radius, norms, tau)


def near_asymptotic_bound(
    A: Any, omegas: ArrayLike, tol: float = 1e-8, b: ArrayLike | None = None, *, tau: float | None = None
) -> Array:
    """The surrogate cost ``U(omega) = 1 + log(tol) / log(rho + tau (1 - rho))``, an upper bound of the SOR count.

    Parameters
    ----------
    A, omegas, tol, b
        As `asymptoticity`, which supplies tau.
    tau : float, optional
        Use this asymptoticity instead of that of `b`.

    Returns
    -------
    array, shape (d,)
        Infinity where ``rho + tau (1 - rho) >= 1``.

    Raises
    ------
    ValueError
        As `sor`.

    Examples
    --------
    >>> from lib.online.sor_bandit import near_asymptotic_bound, sor
    >>> from lib.online.sor_bandit.study import laplacian
    >>> bool(near_asymptotic_bound(laplacian(10), [1.5], 1e-8, [1.0] * 100)[0] >= sor(laplacian(10), [1.0] * 100, 1.5).nit)
    True

    Source: Khodak et al. (2024), near-asymptotic surrogate.
    """
    checks.number("tol", tol, above=0, below=1)
    if tau is None:
        measured = asymptoticity(A, omegas, tol, b)
        radius, tau = measured.radius, float(measured.tau)
    else:
        dense = as_dense(A)
        radius = np.array([np.abs(np.linalg.eigvals(defect_matrix(dense, w))).max() for w in check_omegas(omegas)])
    return surrogate_cost(radius, tau, tol)


def surrogate_cost(radius: ArrayLike, tau: float, tol: float = 1e-8) -> Array:
    """``1 + log(tol) / log(radius + tau (1 - radius))``, the surrogate (6) for spectral radii; ``tau = 0`` is asymptotic.

    Parameters
    ----------
    radius : array, shape (d,)
        Spectral radii, not negative. At 1 and above the cost is infinite.
    tau : float
        In [0, 1].
    tol : float
        Default 1e-8 (the paper's value).

    Examples
    --------
    >>> from lib.online.sor_bandit import surrogate_cost
    >>> surrogate_cost([0.1], 0.0, 1e-8).round(6)
    array([9.])
    """
    rho = checks.array("radius", radius, low=0).astype(np.float64)
    tol, tau = checks.number("tol", tol, above=0, below=1), checks.probability("tau", tau)
    rate = rho + tau * (1.0 - rho)  # (6)
    with np.errstate(divide="ignore"):
        bound = 1.0 + np.log(tol) / np.log(rate)  # (6)
    return np.where(rate < 1.0, bound, np.inf)


def omega_grid(A: Any, start: float, stop: float, step: float) -> NDArray[np.float64]:
    """Equispaced relaxation parameters ``start, start + step, ..., stop`` with `optimal_omega` of A inserted.

    Examples
    --------
    >>> from lib.online.sor_bandit import omega_grid
    >>> from lib.online.sor_bandit.study import laplacian
    >>> len(omega_grid(laplacian(10), 1.0, 1.99, 0.01))
    101
    """
    start, stop = check_omega(start, "start"), check_omega(stop, "stop")
    step = checks.number("step", step, low=1e-6)
    if not start < stop:
        raise ValueError(f"start must be below stop, got {start} and {stop}")
    even = start + step * np.arange(int((stop - start) / step + 1e-9) + 1)
    return np.sort(np.append(even, optimal_omega(jacobi_radius(A))))
