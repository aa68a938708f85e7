"""The least-squares score of an order, its regression weights, and the change of the score by a swap, from S = X'X / n alone.

One Cholesky factor of the permuted S answers everything: its squared diagonal holds the residual variances of all d
regressions, its inverse their coefficients, and a rank-one update of its trailing block what any swap would change.
"""

from __future__ import annotations

import operator
import warnings
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy.linalg.lapack import dpotrf, dtrtri

Array = npt.NDArray[np.float64]
Order = npt.NDArray[np.intp]

#: Entries of each temporary array in `OrderFit.swap_changes`: small enough to stay in cache (four times faster at d = 100).
_CHUNK = 1 << 14


def check_data(X: npt.ArrayLike, assume_centered: bool = False) -> Array:
    """A data matrix as float64, centered; the errors of every function here that takes one.

    Parameters
    ----------
    X : array, shape (n, d)
        n >= 2 rows, d >= 2 columns, finite, no constant column.
    assume_centered : bool
        Leave X as it is, and warn where a mean is not small against the column's spread.

    Raises
    ------
    ValueError
        For another shape, NaN or infinity, or a constant column (named by its index).
    """
    X = np.asarray(X, dtype=np.float64)
    if X.ndim != 2 or X.shape[0] < 2 or X.shape[1] < 2:
        raise ValueError(f"X must have shape (n, d) with n >= 2 and d >= 2, got shape {X.shape}")
    if not np.all(np.isfinite(X)):
        raise ValueError("X must be finite, it holds NaN or infinity")
    constant = np.flatnonzero(np.ptp(X, axis=0) == 0)
    if len(constant):
        raise ValueError(f"columns of X must vary, these are constant: {', '.join(map(str, constant))}")
    mean = X.mean(axis=0)
    if not assume_centered:
        return X - mean
    if np.any(abs(mean) > 0.5 * X.std(axis=0)):
        warnings.warn("X is not centered: the regressions have no intercept", UserWarning, stacklevel=3)
    return X


def second_moments(X: npt.ArrayLike, assume_centered: bool = False) -> Array:
    """S = X'X / n of the centered data: all that the least-squares score needs, shape (d, d).

    Parameters and errors are those of `check_data`.

    Examples
    --------
    >>> from lib.constrained import topo_swaps
    >>> topo_swaps.second_moments([[1.0, 0.0], [-1.0, 2.0]]).tolist()
    [[1.0, -1.0], [-1.0, 1.0]]
    """
    X = check_data(X, assume_centered)
    return X.T @ X / len(X)


def check_moments(S: npt.ArrayLike, eps: float = 0.0) -> Array:
    """S as float64, symmetric, finite, at least 2 x 2, with ``eps`` times its mean diagonal added to the diagonal."""
    S = np.asarray(S, dtype=np.float64)
    if S.ndim != 2 or S.shape[0] != S.shape[1] or len(S) < 2:
        raise ValueError(f"S must be square, shape (d, d) with d >= 2, got shape {S.shape}")
    if not np.all(np.isfinite(S)):
        raise ValueError("S must be finite, it holds NaN or infinity")
    if not np.allclose(S, S.T, rtol=1e-8, atol=1e-12 * abs(S).max()):
        raise ValueError("S must be symmetric")
    if not eps >= 0:
        raise ValueError(f"eps must not be negative, got {eps}")
    return S + eps * np.trace(S) / len(S) * np.eye(len(S)) if eps else S


def check_order(order: npt.ArrayLike, d: int) -> Order:
    """The order as an integer array; ValueError where it is no permutation of 0 .. d - 1."""
    found = np.asarray(order)
    if found.shape != (d,) or not np.array_equal(np.sort(found), np.arange(d)):
        raise ValueError(f"order must be a permutation of 0 .. {d - 1}, got {np.array2string(found, threshold=20)}")
    return found.astype(np.intp)


@dataclass(frozen=True)
class OrderFit:
    """All d regressions of an order: node order[k] on order[0], ..., order[k - 1].

    Attributes
    ----------
    order : int array, shape (d,)
    L : array, shape (d, d)
        Lower Cholesky factor of S in this order.
    """

    order: Order
    L: Array

    @classmethod
    def of(cls, S: Array, order: Order) -> OrderFit:
        """Factor S (checked before) in an order (checked before); ValueError where S is not positive definite."""
        L, failed = dpotrf(S[np.ix_(order, order)], lower=1, clean=1)
        # A pivot that has lost all digits against its variance is as good as zero.
        if failed or np.any(np.diag(L) ** 2 <= 1e-13 * np.diag(S)[order]):
            raise ValueError(
                "S is not positive definite (more columns than rows, or one column is a combination of others): "
                "give eps > 0 to add a ridge"
            )
        return cls(order, L)

    @cached_property
    def pivots(self) -> Array:
        """Residual variance of each regression, by position in the order, shape (d,)."""
        return np.diag(self.L) ** 2

    @cached_property
    def score(self) -> float:
        """Half the sum of the residual variances."""
        return 0.5 * float(self.pivots.sum())

    @cached_property
    def _unmixed(self) -> Array:
        """T = D L^{-1}, unit lower triangular: T x are the residuals."""
        inverse, _ = dtrtri(self.L, lower=1)
        return np.tril(inverse) * np.diag(self.L)[:, None]

    @cached_property
    def weights(self) -> Array:
        """W with the coefficient of i in the regression of j at (i, j), shape (d, d): in this order, I - T'."""
        W = np.empty_like(self.L)
        W[np.ix_(self.order, self.order)] = np.triu(-self._unmixed.T, 1)
        return W

    @cached_property
    def _updates(self) -> tuple[Array, Array, Array, Array]:
        """Tables (a, k) of the rank-one update that takes the node at position a out of the predecessors of those at k > a."""
        diagonal = np.diag(self.L)
        P = np.triu(-(self._unmixed / diagonal[:, None] * diagonal).T, 1)
        t = 1 + np.cumsum(P * P, axis=1)
        before = np.hstack([np.ones((len(P), 1)), t[:, :-1]])
        return P, t, np.sqrt(t / before), P / np.sqrt(t * before)

    def swap_changes(self, a: npt.ArrayLike, b: npt.ArrayLike) -> Array:
        """Change of the score by exchanging the nodes at positions a < b, for many pairs at once: O(d) per pair.

        Parameters
        ----------
        a, b : int arrays, shape (m,)

        Returns
        -------
        array, shape (m,)
            Negative where the swap improves the score.

        Raises
        ------
        ValueError
            If not 0 <= a < b < d.

        Examples
        --------
        >>> import numpy as np
        >>> from lib.constrained.topo_swaps import OrderFit
        >>> fit = OrderFit.of(np.array([[1.0, 2.0], [2.0, 5.0]]), np.array([1, 0]))
        >>> round(fit.score, 6), fit.swap_changes([0], [1]).round(6).tolist()
        (2.6, [-1.6])
        """
        a, b = np.atleast_1d(np.asarray(a, dtype=np.intp)), np.atleast_1d(np.asarray(b, dtype=np.intp))
        if a.shape != b.shape or np.any(a < 0) or np.any(a >= b) or np.any(b >= len(self.order)):
            raise ValueError(f"positions of a swap need 0 <= a < b < {len(self.order)}")
        size = max(1, _CHUNK // len(self.order))
        parts = [self._swap_changes(a[i : i + size], b[i : i + size]) for i in range(0, len(a), size)]
        return np.concatenate(parts) if parts else np.empty(0)

    def _swap_changes(self, a: Array, b: Array) -> Array:
        P, t, grow, mix = self._updates
        k = np.arange(len(self.order))
        after, inner = k > a[:, None], (k > a[:, None]) & (k < b[:, None])
        # Row b of the factor M of the nodes after a, given those before a,
        # without a (M = L~ chol(I + p p')).
        Lb = self.L[b]
        M = Lb * grow[a] + _sums_after(Lb * P[a]) * mix[a]
        # Variance of b given those before a and a+1 .. k-1.
        squares = np.where(after, M * M, 0.0)
        tail = np.cumsum(squares[:, ::-1], axis=1)[:, ::-1]
        following = np.hstack([tail[:, 1:], np.zeros((len(a), 1))])
        # Between a and b, x_b joins the predecessors and x_a leaves them.
        joins = np.divide(following, tail, out=np.zeros_like(tail), where=inner)
        between = joins * self.pivots * grow[a] ** 2
        rows = np.arange(len(a))
        new = between.sum(axis=1) + tail[rows, a + 1] + self.pivots[a] / t[a, b]
        total = np.concatenate([[0.0], np.cumsum(self.pivots)])
        return 0.5 * (new - (total[b + 1] - total[a]))


def _sums_after(rows: Array) -> Array:
    """Entry k: the sum of a row's entries after k."""
    return np.cumsum(rows[:, ::-1], axis=1)[:, ::-1] - rows


def swapped(order: Order, a: int, b: int) -> Order:
    """The order with the nodes at positions a and b exchanged."""
    new = order.copy()
    new[[a, b]] = order[[b, a]]
    return new


def order_score(S: npt.ArrayLike, order: npt.ArrayLike, eps: float = 0.0) -> float:
    """Score of an order: half the sum of the residual variances of each node regressed on those before it.

    It equals min ||X - X W||^2 / (2n) over the weights that respect the order: half the sum of the squared diagonal of the
    Cholesky factor of S in that order, d^3 / 3 operations whatever n.

    Parameters
    ----------
    S : array, shape (d, d)
        Second moments X'X / n, positive definite.
    order : int array, shape (d,)
        Nodes, parents first.
    eps : float
        Ridge, relative to the mean variance.

    Raises
    ------
    ValueError
        If S is no positive definite matrix or the order no permutation.

    Examples
    --------
    >>> from lib.constrained import topo_swaps
    >>> topo_swaps.order_score([[1.0, 2.0], [2.0, 5.0]], [0, 1])
    1.0
    """
    S = check_moments(S, eps)
    return OrderFit.of(S, check_order(order, len(S))).score


def order_weights(S: npt.ArrayLike, order: npt.ArrayLike, eps: float = 0.0) -> Array:
    """Regression weights of an order, W[i, j] = coefficient of i in the regression of j; parameters as `order_score`.

    Examples
    --------
    >>> from lib.constrained import topo_swaps
    >>> topo_swaps.order_weights([[1.0, 2.0], [2.0, 5.0]], [0, 1]).tolist()
    [[0.0, 2.0], [0.0, 0.0]]
    """
    S = check_moments(S, eps)
    return OrderFit.of(S, check_order(order, len(S))).weights


def graph_weights(S: npt.ArrayLike, edges: npt.ArrayLike, eps: float = 0.0) -> Array:
    """Regression weights of a given graph: each node on its parents, zero elsewhere; shape (d, d).

    Parameters
    ----------
    S : array, shape (d, d)
        Second moments X'X / n, positive definite.
    edges : array, shape (d, d)
        Nonzero at (i, j) for the edge i -> j: an adjacency matrix, or weights of which only the places matter. The graph may
        have cycles, but no node its own parent.
    eps : float
        Ridge, relative to the mean variance.

    Raises
    ------
    ValueError
        If S is no matrix of second moments, the parents of a node are collinear, or `edges` does not fit.

    Examples
    --------
    >>> from lib.constrained import topo_swaps
    >>> topo_swaps.graph_weights([[1.0, 2.0], [2.0, 5.0]], [[0, 1], [0, 0]]).tolist()
    [[0.0, 2.0], [0.0, 0.0]]
    """
    S, edges = check_moments(S, eps), np.asarray(edges, dtype=np.float64)
    if edges.shape != S.shape:
        raise ValueError(f"edges must have the shape of S, {S.shape}, got {edges.shape}")
    if np.isnan(edges).any():
        raise ValueError("edges must not hold NaN")
    graph = edges != 0
    if graph.diagonal().any():
        raise ValueError(f"no node may be its own parent, these are: {', '.join(map(str, np.flatnonzero(graph.diagonal())))}")
    return np.stack([parent_weights(S, graph[:, j], j) for j in range(len(S))], axis=1)


def parent_weights(S: Array, parents: npt.NDArray[np.bool_], j: int) -> Array:
    """Coefficients of the regression of node j on its parents (mask, shape (d,)), zero at all others, shape (d,)."""
    column, p = np.zeros(len(S)), np.flatnonzero(parents)
    try:
        column[p] = np.linalg.solve(S[np.ix_(p, p)], S[p, j])
    except np.linalg.LinAlgError:
        raise ValueError(f"the parents of node {j} are collinear: give eps > 0 to add a ridge") from None
    return column


def score_and_gradient(S: npt.ArrayLike, W: npt.ArrayLike) -> tuple[float, Array]:
    """Q(W) = tr((I - W)' S (I - W)) / 2 = ||X - X W||^2 / (2n), and its gradient -S (I - W).

    Raises
    ------
    ValueError
        If the shapes do not fit.

    Examples
    --------
    >>> from lib.constrained import topo_swaps
    >>> topo_swaps.score_and_gradient([[1.0, 2.0], [2.0, 5.0]], [[0, 0], [0, 0]])[0]
    3.0
    """
    S, W = check_moments(S), np.asarray(W, dtype=np.float64)
    if W.shape != S.shape:
        raise ValueError(f"W must have the shape of S, {S.shape}, got {W.shape}")
    residual = np.eye(len(S)) - W
    product = S @ residual
    return 0.5 * float(np.sum(residual * product)), -product


def positive_integer(value: int, name: str, least: int = 1) -> int:
    """The value as an int; TypeError where it is none, ValueError below `least`."""
    if isinstance(value, bool):
        raise TypeError(f"{name} must be an integer, got a bool")
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, got {value!r}") from None
    if number < least:
        raise ValueError(f"{name} must be at least {least}, got {number}")
    return number
