"""The two classical bounds that the paper compares with: the energy norm for SOR and a condition number for SSOR-CG."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg import eigh

from lib import checks
from lib.online.sor_bandit.solvers import Array, check_omegas, check_symmetric
from lib.online.sor_bandit.theory import as_dense


def _smallest_eigenvalue(symmetric: Array) -> float:
    value = float(eigh(symmetric, eigvals_only=True, subset_by_index=[0, 0])[0])
    if value <= 0.0:
        raise ValueError(f"A must be positive definite, its smallest eigenvalue is {value:.3g}")
    return value


def energy_norm_bound(A: Any, omegas: ArrayLike, *, as_published: bool = False) -> Array:
    """Bound of the energy norm of the SOR iteration matrix for each omega.

    ``sqrt(1 - 2 W g / (W^2 + g / omega + max(0, d - 1/4)))`` with ``W = (2 - omega) / (2 omega)``, g the smallest eigenvalue
    of ``D^{-1} A`` (``1 - beta`` for a consistently ordered matrix) and ``d = rho(D^{-1} L D^{-1} L^T)``. It follows from
    ``(D/2 + L) D^{-1} (D/2 + L)^T = A/2 + L D^{-1} L^T - D/4``, which is at most ``A/2 + (d - 1/4) D``, and from ``g D <= A``;
    the last step needs ``d >= 1/4``.

    Parameters
    ----------
    A : array or sparse matrix, shape (n, n)
        Symmetric positive definite.
    omegas : array, shape (d,)
        In (0, 2).
    as_published : bool
        Add ``d - 1/4`` also where it is negative, as the published code does. A Laplacian has ``d < 1/4``, and the result then
        falls below the norm that it should bound.

    Returns
    -------
    array, shape (d,)

    Raises
    ------
    ValueError
        Omega outside (0, 2), A not symmetric positive definite.

    Examples
    --------
    >>> from lib.online.sor_bandit.study import energy_norm_bound, laplacian
    >>> bool(energy_norm_bound(laplacian(10), [1.5])[0] < 1)
    True

    Source: Hackbusch (2016), used in the first figure of Khodak et al. (2024).
    """
    dense, grid = as_dense(A), check_omegas(omegas)
    check_symmetric(dense)
    inverse_root = 1.0 / np.sqrt(np.diag(dense))
    scaled = dense * np.outer(inverse_root, inverse_root)  # D^{-1/2} A D^{-1/2}
    excess = float(np.linalg.norm(np.tril(scaled, -1), 2)) ** 2 - 0.25  # rho(D^{-1} L D^{-1} L^T) - 1/4
    weight, gap = (2.0 - grid) / (2.0 * grid), _smallest_eigenvalue(scaled)
    if not as_published:
        excess = max(0.0, excess)
    return np.sqrt(1.0 - 2.0 * weight * gap / (weight**2 + gap / grid + excess))


def energy_cost_bound(A: Any, omegas: ArrayLike, tol: float = 1e-8, *, as_published: bool = False) -> Array:
    """Cost bound that follows from `energy_norm_bound`: ``log(tol / (2 sqrt(cond A))) / log(bound)``, shape (d,).

    Examples
    --------
    >>> from lib.online.sor_bandit.study import energy_cost_bound, laplacian
    >>> energy_cost_bound(laplacian(10), [1.5]).shape
    (1,)
    """
    # The 1-norm, as in the published code (which estimates it); for a symmetric A it is at least the 2-norm's.
    tol, condition = checks.number("tol", tol, above=0, below=1), np.linalg.cond(as_dense(A), 1)
    bound = energy_norm_bound(A, omegas, as_published=as_published)
    return np.log(tol / (2.0 * np.sqrt(condition))) / np.log(bound)


def ssor_cg_bound(A: Any, omegas: ArrayLike, tol: float = 1e-8) -> Array:
    """Bound on the iterations of SSOR-preconditioned CG from a condition number analysis (Axelsson 1994).

    Parameters
    ----------
    A : array or sparse matrix, shape (n, n)
        Symmetric positive definite.
    omegas : array, shape (d,)
        In (0, 2).
    tol : float
        Default 1e-8 (the paper's value).

    Returns
    -------
    array, shape (d,)
        ``1 + log(sqrt(kappa)/tol + sqrt(kappa/tol^2 - 1)) / -log(1 - 2 / (1 + sqrt(mu)))`` with
        ``mu = (1 + (2-omega)^2 alpha / (4 omega) + delta omega) / (2 - omega)``, ``alpha = lambda_max(D A^{-1})``,
        ``delta = lambda_max((L D^{-1} L^T - D/4) A^{-1})`` and kappa the condition number of A.

    Raises
    ------
    ValueError
        A not symmetric positive definite, omega outside (0, 2).

    Examples
    --------
    >>> from lib.online.sor_bandit.study import laplacian, ssor_cg_bound
    >>> bool(ssor_cg_bound(laplacian(10), [1.3])[0] > 10)
    True
    """
    grid, dense, tol = check_omegas(omegas), as_dense(A), checks.number("tol", tol, above=1e-150, below=1)
    check_symmetric(dense)
    kappa = np.linalg.norm(dense, 2) / _smallest_eigenvalue(dense)
    diagonal, lower = np.diag(np.diag(dense)), np.tril(dense, -1)
    last = [len(dense) - 1] * 2
    alpha = eigh(diagonal, dense, eigvals_only=True, subset_by_index=last)[0]
    product = (lower / np.diag(dense)) @ lower.T - 0.25 * diagonal
    delta = eigh(product, dense, eigvals_only=True, subset_by_index=last)[0]
    mu = (1.0 + 0.25 * (2.0 - grid) ** 2 / grid * alpha + delta * grid) / (2.0 - grid)
    reduction = np.log(np.sqrt(kappa) / tol + np.sqrt(kappa / tol**2 - 1.0))
    return 1.0 - reduction / np.log(1.0 - 2.0 / (1.0 + np.sqrt(mu)))


def ssor_cg_tau(costs: ArrayLike, bounds: ArrayLike) -> float:
    """Smallest tau with ``costs <= 1 + tau (bounds - 1)``; at most 1 if the bound of `ssor_cg_bound` is valid.

    Examples
    --------
    >>> from lib.online.sor_bandit.study import ssor_cg_tau
    >>> ssor_cg_tau([11, 6], [21.0, 11.0])
    0.5
    """
    k = checks.array("costs", costs, low=0)
    bound = checks.array("bounds", bounds, shape=k.shape, above=1)
    return float(((k - 1.0) / (bound - 1.0)).max())
