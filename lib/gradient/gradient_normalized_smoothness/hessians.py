"""Matrices in the forms in which an approximate Hessian comes, the metric, and the damped solve with each of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import linalg
from scipy.sparse.linalg import LinearOperator

from lib import checks

Array = NDArray[np.float64]
#: ``solve(lam, r)``: h with ``(H + lam B) h = r`` and the number of products with H; None where the matrix is not positive.
Solve = Callable[[float, Array], tuple[Array | None, int]]


class Metric:
    """The norm of the space: ``||h|| = <B h, h>^(1/2)`` for steps, ``||g||_* = <g, B^-1 g>^(1/2)`` for gradients.

    Parameters
    ----------
    B : array_like, optional
        Symmetric positive definite, shape (n, n), or its diagonal, shape (n,). Default: the identity, of any size.

    Raises
    ------
    ValueError
        If B is not square, not symmetric or not positive definite; TypeError if it holds no real numbers.

    Examples
    --------
    >>> from lib.gradient.gradient_normalized_smoothness import Metric
    >>> metric = Metric([4.0, 1.0])
    >>> metric.norm([1.0, 0.0]), metric.dual_norm([1.0, 0.0])
    (2.0, 0.5)
    """

    def __init__(self, B: ArrayLike | None = None) -> None:
        self.B: Array | None = None
        if B is None:
            return
        self.B = np.array(checks.array("B", B, ndim=(1, 2)), dtype=float)
        if self.B.ndim == 1:
            if not (self.B > 0).all():
                raise ValueError(f"every entry of the diagonal B must be above 0, got {self.B.min():.6g}")
            return
        check_symmetric("B", self.B)
        try:
            self._factor = linalg.cho_factor(self.B, lower=True)
        except linalg.LinAlgError:
            raise ValueError("B must be positive definite: its Cholesky factorization fails") from None

    @property
    def size(self) -> int | None:
        """n, or None for the identity of any size."""
        return None if self.B is None else len(self.B)

    def apply(self, h: ArrayLike) -> Array:
        """B h, shape (n,) or, column by column, (n, k)."""
        h = np.asarray(h, dtype=float)
        if self.B is None:
            return h.copy()
        return (self.B * h.T).T if self.B.ndim == 1 else self.B @ h

    def solve(self, r: ArrayLike) -> Array:
        """B^-1 r, shape (n,) or, column by column, (n, k)."""
        r = np.asarray(r, dtype=float)
        if self.B is None:
            return r.copy()
        return (r.T / self.B).T if self.B.ndim == 1 else linalg.cho_solve(self._factor, r, check_finite=False)

    def norm(self, h: ArrayLike) -> float:
        """||h||, without under- or overflow of the square."""
        return _root(np.asarray(h, dtype=float), self.apply)

    def dual_norm(self, g: ArrayLike) -> float:
        """||g||_*, without under- or overflow of the square."""
        return _root(np.asarray(g, dtype=float), self.solve)

    def damp(self, H: Array, lam: float) -> Array:
        """The dense matrix H + lam B."""
        if self.B is not None and self.B.ndim == 2:
            return H + lam * self.B
        damped = H.copy()
        damped.flat[:: len(H) + 1] += lam * (1.0 if self.B is None else self.B)
        return damped


class LowRank:
    """A positive semidefinite matrix ``U diag(c) U^T`` of low rank: solved by Woodbury's formula, never formed.

    Parameters
    ----------
    U : array_like, shape (n, k) or (n,)
        k may be 0: the zero matrix, with which the method is a gradient method.
    c : array_like, shape (k,), optional
        Weights, none negative; default ones.

    Raises
    ------
    ValueError
        For shapes that do not match, a negative weight, or NaN and infinity.

    Examples
    --------
    >>> from lib.gradient.gradient_normalized_smoothness import LowRank
    >>> LowRank([1.0, 2.0], [3.0]).todense()
    array([[ 3.,  6.],
           [ 6., 12.]])
    """

    def __init__(self, U: ArrayLike, c: ArrayLike | None = None) -> None:
        given = np.asarray(checks.array("U", U, ndim=(1, 2), empty=np.ndim(U) == 2), dtype=float)
        given = given[:, None] if given.ndim == 1 else given
        if len(given) == 0:
            raise ValueError(f"U must have rows, got shape {given.shape}")
        n, k = given.shape
        weights = np.ones(k) if c is None else checks.array("c", c, shape=(k,), low=0, empty=k == 0)
        self.V: Array = given * np.sqrt(weights)
        self.shape = (n, n)

    @classmethod
    def zero(cls, n: int) -> LowRank:
        """The zero matrix of n rows."""
        return cls(np.zeros((checks.integer("n", n, low=1), 0)))

    def __matmul__(self, h: ArrayLike) -> Array:
        return self.V @ (self.V.T @ np.asarray(h, dtype=float))

    def todense(self) -> Array:
        """The matrix, shape (n, n)."""
        return self.V @ self.V.T


class Banded:
    """A symmetric banded matrix plus a positive semidefinite one of low rank, solved in O(n).

    Parameters
    ----------
    bands : array_like, shape (1 + k, n)
        Row j holds the j-th subdiagonal, from its first entry on (the lower form of `scipy.linalg.solveh_banded`).
    U, c : array_like, optional
        The low-rank part, as in `LowRank`.

    Raises
    ------
    ValueError
        For shapes that do not match, a negative weight, or NaN and infinity.

    Notes
    -----
    The damped banded part itself must be positive definite for a step to be tried; that is more than its sum with the
    low-rank part needs, and always true of Gauss-Newton matrices.

    Examples
    --------
    >>> from lib.gradient.gradient_normalized_smoothness import Banded
    >>> Banded([[2.0, 2.0, 2.0], [-1.0, -1.0, 0.0]]).todense()
    array([[ 2., -1.,  0.],
           [-1.,  2., -1.],
           [ 0., -1.,  2.]])
    """

    def __init__(self, bands: ArrayLike, U: ArrayLike | None = None, c: ArrayLike | None = None) -> None:
        self.bands: Array = np.array(checks.array("bands", bands, ndim=2), dtype=float)
        n = self.bands.shape[1]
        if len(self.bands) > n:
            raise ValueError(f"bands must have no more rows than columns, got shape {self.bands.shape}")
        if U is None and c is not None:
            raise ValueError("c weights the columns of U, but U is None")
        self.low_rank = LowRank.zero(n) if U is None else LowRank(U, c)
        if self.low_rank.shape[0] != n:
            raise ValueError(f"U must have {n} rows as bands has columns, got {self.low_rank.shape[0]}")
        self.shape = (n, n)

    def __matmul__(self, h: ArrayLike) -> Array:
        h = np.asarray(h, dtype=float)
        product = (self.bands[0] * h.T).T + self.low_rank @ h
        for j in range(1, len(self.bands)):
            band = self.bands[j, :-j]
            product[j:] += (band * h[:-j].T).T
            product[:-j] += (band * h[j:].T).T
        return product

    def todense(self) -> Array:
        """The matrix, shape (n, n)."""
        return self @ np.eye(self.shape[0])


#: What an approximate Hessian may be.
Hessian = Array | LowRank | Banded | LinearOperator


def prepare(H: Any, metric: Metric, *, cg_rtol: float = 1e-8, cg_max_iter: int | None = None) -> Solve:
    """The damped solve with one Hessian and many values of lambda: what can be shared between them is computed here.

    Raises
    ------
    ValueError
        If the Hessian is not finite, or `Banded` under a dense metric.
    """
    if isinstance(H, LowRank):
        return _woodbury(H, metric)
    if isinstance(H, Banded):
        return _banded(H, metric)
    if isinstance(H, LinearOperator):
        return _conjugate_gradients(H, metric, cg_rtol, cg_max_iter)
    if not np.isfinite(H).all():
        raise ValueError("hess must return finite numbers, got NaN or infinity")

    return lambda lam, r: (_positive_solve(metric.damp(H, lam), r), 0)


def _positive_solve(matrix: Array, r: Array) -> Array | None:
    try:
        factor = linalg.cho_factor(matrix, lower=True, overwrite_a=True, check_finite=False)
    except linalg.LinAlgError:
        return None
    solution: Array = linalg.cho_solve(factor, r, check_finite=False)
    return solution


def _woodbury(H: LowRank, metric: Metric) -> Solve:
    W = metric.solve(H.V)  # B^-1 V, one solve with the factor of B
    G = H.V.T @ W

    def solve(lam: float, r: Array) -> tuple[Array | None, int]:
        y = metric.solve(r)
        if G.size:
            small = _positive_solve(G + lam * np.eye(len(G)), H.V.T @ y)
            if small is None:
                return None, 0
            y = y - W @ small  # (13)
        with np.errstate(all="ignore"):
            return y / lam, 0

    return solve


def _banded(H: Banded, metric: Metric) -> Solve:
    if metric.B is not None and metric.B.ndim == 2:
        raise ValueError("a Banded Hessian needs the identity or a diagonal as metric")
    V, diagonal = H.low_rank.V, 1.0 if metric.B is None else metric.B

    def solve(lam: float, r: Array) -> tuple[Array | None, int]:
        bands = H.bands.copy()
        bands[0] += lam * diagonal
        try:
            factor = linalg.cholesky_banded(bands, lower=True, check_finite=False)
        except linalg.LinAlgError:
            return None, 0
        y = linalg.cho_solve_banded((factor, True), np.column_stack([r, V]), check_finite=False)
        y, W = y[:, 0], y[:, 1:]
        if W.size:
            small = _positive_solve(np.eye(V.shape[1]) + V.T @ W, V.T @ y)
            y = None if small is None else y - W @ small  # (13)
        return y, 0

    return solve


def _conjugate_gradients(H: LinearOperator, metric: Metric, rtol: float, max_iter: int | None) -> Solve:
    def solve(lam: float, r: Array) -> tuple[Array | None, int]:
        h, products = np.zeros_like(r), 0
        z = metric.solve(r)
        p, rz = z, float(r @ z)
        goal = rtol * rtol * rz
        while rz > goal and products < (10 * len(r) if max_iter is None else max_iter):
            Hp = np.asarray(H.matvec(p.copy()))
            if Hp.dtype.kind not in "biuf":
                raise ValueError(f"products with the Hessian must be real numbers, got {checks.shown(Hp)}")
            q = np.asarray(Hp, dtype=float).reshape(p.shape) + lam * metric.apply(p)
            products += 1
            curvature = float(p @ q)
            if not curvature > 0:  # an indefinite matrix, or NaN
                return None, products
            h = h + (rz / curvature) * p
            r = r - (rz / curvature) * q
            z = metric.solve(r)
            rz, last = float(r @ z), rz
            p = z + (rz / last) * p
        return h, products

    return solve


def _root(v: Array, product: Callable[[Array], Array]) -> float:
    largest = float(np.abs(v).max(initial=0.0))
    if largest == 0 or not np.isfinite(largest):
        return largest
    scaled = v / largest
    return largest * float(np.sqrt(scaled @ product(scaled)))


def check_symmetric(name: str, matrix: Array, rtol: float = 1e-8) -> None:
    """Refuse a matrix that is not square or not symmetric up to `rtol` times its largest entry; the message calls it `name`."""
    if matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"{name} must be square, got shape {matrix.shape}")
    gap = np.abs(matrix - matrix.T).max()
    if gap > rtol * np.abs(matrix).max():
        raise ValueError(f"{name} must be symmetric, got a difference of {gap:.3g} to its transpose")
