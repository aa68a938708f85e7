"""The least-squares score of an order, its regression weights, and the change of the score by a swap, from S = X'X / n alone.

One Cholesky factor of the permuted S answers everything: its squared diagonal holds the residual variances of all d
regressions, its inverse their coefficients, and a rank-one update of its trailing block what any swap would change.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy.linalg.lapack import dpotrf, dtrtri

from lib import checks

Array = npt.NDArray[np.float64]
Order = npt.NDArray[np.intp]

#: Entries of each temporary array in `OrderFit.swap_changes`: small enough to stay in cache (four times faster at d = 100).
_CHUNK = 1 << 14


def check_data(X: npt.ArrayLike, assume_centered: bool = False) -> Array:
    """A data matrix as float64, centered (a copy); the errors of every function here that takes one.

    Parameters
    ----------
    X : array, shape (n, d)
        n >= 2 rows, d >= 2 columns, finite, no column that is constant up to rounding.
    assume_centered : bool
        Leave X as it is, and warn where a mean is not small against the column's spread.

    Raises
    ------
    ValueError
        For another shape, NaN or infinity, or a constant column (named by its index).
    """
    rounding = np.finfo(getattr(X, "dtype", np.float64)).eps if _is_float(X) else np.finfo(np.float64).eps
    data = checks.array("X", X, ndim=2)
    if data.shape[0] < 2 or data.shape[1] < 2:
        raise ValueError(f"X must have shape (n, d) with n >= 2 and d >= 2, got shape {data.shape}")
    data = data.astype(np.float64)  # always a copy
    # What differs by rounding alone (0.3 and 0.1 + 0.2) does not vary.
    constant = np.flatnonzero(np.ptp(data, axis=0) <= 8 * float(rounding) * abs(data).max(axis=0))
    if len(constant):
        raise ValueError(f"columns of X must vary, these are constant: {', '.join(map(str, constant))}")
    mean = data.mean(axis=0)
    if not checks.boolean("assume_centered", assume_centered):
        return data - mean
    if np.any(abs(mean) > 0.5 * data.std(axis=0)):
        warnings.warn("X is not centered: the regressions have no intercept", UserWarning, stacklevel=3)
    return data


def _is_float(X: object) -> bool:
    return isinstance(X, np.ndarray) and X.dtype.kind == "f"


def second_moments(X: npt.ArrayLike, assume_centered: bool = False) -> Array:
    """S = X'X / n of the centered data: all that the least-squares score needs, shape (d, d).

    Parameters
    ----------
    X : array, shape (n, d)
        n >= 2 rows, d >= 2 columns, finite, no column that is constant up to rounding.
    assume_centered : bool
        Leave X as it is, and warn where a mean is not small against the column's spread.

    Raises
    ------
    ValueError
        For another shape, NaN or infinity, or a constant column (named by its index).

    Examples
    --------
    >>> import numpy as np
    >>> from lib.constrained import topo_swaps
    >>> topo_swaps.second_moments(np.array([[1.0, 0.0], [-1.0, 2.0]])).tolist()
    [[1.0, -1.0], [-1.0, 1.0]]
    """
    X = check_data(X, assume_centered)
    return X.T @ X / len(X)


def check_moments(S: npt.ArrayLike, eps: float = 0.0) -> Array:
    """S as float64, symmetric, finite, at least 2 x 2, with ``eps`` times its mean diagonal added to the diagonal."""
    S, eps = checks.array("S", S, ndim=2).astype(np.float64), checks.number("eps", eps, low=0)
    if S.shape[0] != S.shape[1] or len(S) < 2:
        raise ValueError(f"S must be square, shape (d, d) with d >= 2, got shape {S.shape}")
    scale = np.sqrt(abs(np.diag(S)))  # symmetric relative to the two variances, whatever their units
    if np.any(abs(S - S.T) > 1e-6 * np.outer(scale, scale)):
        raise ValueError("S must be symmetric")
    return S + eps * np.trace(S) / len(S) * np.eye(len(S)) if eps else S


def check_order(order: npt.ArrayLike, d: int | None = None, name: str = "order") -> Order:
    """The order as an integer array (a copy); TypeError or ValueError where it is no permutation of 0 .. d - 1."""
    found = checks.array(name, order, ndim=1)
    d = len(found) if d is None else d
    if found.shape != (d,) or not np.array_equal(np.sort(found), np.arange(d)):
        raise ValueError(f"{name} must be a permutation of 0 .. {d - 1}, got {np.array2string(found, threshold=20)}")
    return found.astype(np.intp)


@dataclass(frozen=True)
class OrderFit:
    """All d regressions of an order: node order[k] on order[0], ..., order[k - 1].

    Attributes
    ----------
    order : int array, shape (d,)
    L : array, shape (d, d)
        Lower Cholesky factor of S in this order.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.constrained.topo_swaps import OrderFit
    >>> fit = OrderFit.of(np.array([[1.0, 2.0], [2.0, 5.0]]), np.array([0, 1]))
    >>> fit.score, fit.weights.tolist()
    (1.0, [[0.0, 2.0], [0.0, 0.0]])
    """

    order: Order
    L: Array

    @classmethod
    def of(cls, S: npt.ArrayLike, order: npt.ArrayLike, eps: float = 0.0) -> OrderFit:
        """Factor S in an order; arguments and errors as in `order_score`."""
        S = check_moments(S, eps)
        return cls.checked(S, check_order(order, len(S)))

    @classmethod
    def checked(cls, S: Array, order: Order) -> OrderFit:
        """`of` for arguments that were checked before: what the search calls in every round."""
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
        return np.diag(self.L) ** 2  # (3)

    @cached_property
    def score(self) -> float:
        """Half the sum of the residual variances."""
        return 0.5 * float(self.pivots.sum())  # (3)

    @cached_property
    def _unmixed(self) -> Array:
        """T = D L^{-1}, unit lower triangular: T x are the residuals."""
        inverse, _ = dtrtri(self.L, lower=1)
        return np.tril(inverse) * np.diag(self.L)[:, None]

    @cached_property
    def weights(self) -> Array:
        """W with the coefficient of i in the regression of j at (i, j), shape (d, d): in this order, I - T'."""
        W = np.empty_like(self.L)
        W[np.ix_(self.order, self.order)] = np.triu(-self._unmixed.T, 1)  # (3)
        return W

    @cached_property
    def _updates(self) -> tuple[Array, Array, Array, Array]:
        """Tables (a, k) of the rank-one update that takes the node at position a out of the predecessors of those at k > a."""
        diagonal = np.diag(self.L)
        P = np.triu(-(self._unmixed / diagonal[:, None] * diagonal).T, 1)
        t = 1 + np.cumsum(P * P, axis=1)  # (4)
        before = np.hstack([np.ones((len(P), 1)), t[:, :-1]])
        return P, t, np.sqrt(t / before), P / np.sqrt(t * before)  # (4)

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
        a, b = positions("a", a), positions("b", b)
        if a.shape != b.shape or np.any(a < 0) or np.any(a >= b) or np.any(b >= len(self.order)):
            raise ValueError(f"positions of a swap need 0 <= a < b < {len(self.order)}")
        size = max(1, _CHUNK // len(self.order))
        parts = [self._swap_changes(a[i : i + size], b[i : i + size]) for i in range(0, len(a), size)]
        return np.concatenate(parts) if parts else np.empty(0)

    def _swap_changes(self, a: Order, b: Order) -> Array:
        P, t, grow, mix = self._updates
        k = np.arange(len(self.order))
        after, inner = k > a[:, None], (k > a[:, None]) & (k < b[:, None])
        # Row b of the factor M of the nodes after a, given those before a: M = L~ chol(I + p p').
        Lb = self.L[b]
        M = Lb * grow[a] + _sums_after(Lb * P[a]) * mix[a]  # (4)
        # Variance of b given those before a and a+1 .. k-1.
        squares = np.where(after, M * M, 0.0)
        tail = np.cumsum(squares[:, ::-1], axis=1)[:, ::-1]
        following = np.hstack([tail[:, 1:], np.zeros((len(a), 1))])
        # Between a and b, x_b joins the predecessors and x_a leaves them.
        joins = np.divide(following, tail, out=np.zeros_like(tail), where=inner)
        between = joins * self.pivots * grow[a] ** 2  # (5), k between a and b
        rows = np.arange(len(a))
        new = between.sum(axis=1) + tail[rows, a + 1] + self.pivots[a] / t[a, b]  # (5)
        total = np.concatenate([[0.0], np.cumsum(self.pivots)])
        return 0.5 * (new - (total[b + 1] - total[a]))


def _sums_after(rows: Array) -> Array:
    """Entry k: the sum of a row's entries after k."""
    return np.cumsum(rows[:, ::-1], axis=1)[:, ::-1] - rows


def positions(name: str, value: npt.ArrayLike) -> Order:
    """Positions in an order as an integer array, at least one-dimensional; may be empty."""
    found = np.atleast_1d(checks.array(name, value, empty=True))
    if found.ndim != 1 or np.any(found != np.floor(found)):
        raise ValueError(f"{name} must hold whole numbers in one dimension, got {checks.shown(found)}")
    return found.astype(np.intp)


def swapped(order: npt.ArrayLike, a: int, b: int) -> Order:
    """The order with the nodes at positions a and b exchanged.

    Parameters
    ----------
    order : int array, shape (d,)
        A permutation of 0 .. d - 1; left as it is.
    a, b : int
        Positions, 0 .. d - 1.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.constrained import topo_swaps
    >>> topo_swaps.swapped(np.array([2, 0, 1]), 0, 2).tolist()
    [1, 0, 2]
    """
    order = check_order(order)
    a, b = (checks.integer(name, k, low=0, high=len(order) - 1) for name, k in (("a", a), ("b", b)))
    order[[a, b]] = order[[b, a]]
    return order


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
    >>> import numpy as np
    >>> from lib.constrained import topo_swaps
    >>> topo_swaps.order_score(np.array([[1.0, 2.0], [2.0, 5.0]]), np.array([0, 1]))
    1.0
    """
    S = check_moments(S, eps)
    return OrderFit.checked(S, check_order(order, len(S))).score


def order_weights(S: npt.ArrayLike, order: npt.ArrayLike, eps: float = 0.0) -> Array:
    """Regression weights of an order, W[i, j] = coefficient of i in the regression of j; parameters as `order_score`.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.constrained import topo_swaps
    >>> topo_swaps.order_weights(np.array([[1.0, 2.0], [2.0, 5.0]]), np.array([0, 1])).tolist()
    [[0.0, 2.0], [0.0, 0.0]]
    """
    S = check_moments(S, eps)
    return OrderFit.checked(S, check_order(order, len(S))).weights


def score_and_gradient(S: npt.ArrayLike, W: npt.ArrayLike) -> tuple[float, Array]:
    """Q(W) = tr((I - W)' S (I - W)) / 2 = ||X - X W||^2 / (2n), and its gradient -S (I - W).

    Raises
    ------
    ValueError
        If the shapes do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.constrained import topo_swaps
    >>> topo_swaps.score_and_gradient(np.array([[1.0, 2.0], [2.0, 5.0]]), np.zeros((2, 2)))[0]
    3.0
    """
    S, W = check_moments(S), checks.array("W", W).astype(np.float64)
    if W.shape != S.shape:
        raise ValueError(f"W must have the shape of S, {S.shape}, got {W.shape}")
    residual = np.eye(len(S)) - W
    product = S @ residual
    return 0.5 * float(np.sum(residual * product)), -product
