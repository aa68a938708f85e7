"""Routing as an assignment program: top-K selection with prices, the Lagrangian, its dual, loads, and the exact solution."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.optimize import OptimizeResult, linprog

from lib import checks

__all__ = ["dual_value", "lagrangian", "max_violation", "price_hessian", "solve_assignment_lp", "topk_assign"]

Array = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


def topk_assign(scores: npt.ArrayLike, K: int) -> Bools:
    """The `K` experts of highest score for every token; ties go to the lower index.

    Parameters
    ----------
    scores : array_like, shape (..., T, E)
        Scores of tokens (rows) for experts (columns): affinity, or affinity plus price.
    K : int
        Experts of a token, 1 to E.

    Returns
    -------
    array of bool, shape (..., T, E)
        True where a token goes to an expert.

    Raises
    ------
    TypeError, ValueError
        For scores that are not finite numbers, or `K` out of range.

    Examples
    --------
    >>> from lib.online.alf_lb import topk_assign
    >>> topk_assign([[0.9, 0.2, 0.5], [0.1, 0.4, 0.4]], 1).astype(int)
    array([[1, 0, 0],
           [0, 1, 0]])
    """
    given = scores_of("scores", scores)
    return select(given, experts_of("K", K, given.shape[-1]))


def lagrangian(gamma: npt.ArrayLike, x: npt.ArrayLike, p: npt.ArrayLike, K: int) -> float | Array:
    """The Lagrangian of the assignment program, load constraints priced by `p`, every token with `K` experts.

    Parameters
    ----------
    gamma : array_like, shape (..., T, E)
        Affinities.
    x : array_like, shape (..., T, E)
        Assignment, 0 to 1.
    p : array_like, shape (..., E)
        Prices, that is biases; may be negative.
    K : int
        Experts of a token.

    Returns
    -------
    float, or array of the leading shape

    Examples
    --------
    >>> from lib.online.alf_lb import lagrangian
    >>> lagrangian([[0.75, 0.25], [0.5, 0.25]], [[1, 0], [1, 0]], [-0.5, 0.0], K=1)
    0.75
    """
    g = scores_of("gamma", gamma)
    chosen = checks.array("x", x, shape=g.shape, low=0, high=1).astype(np.float64)
    prices = prices_of("p", p, g)
    value = lagrangian_of(g, chosen, prices, balanced_load(g, experts_of("K", K, g.shape[-1])))
    return float(value) if value.ndim == 0 else value


def dual_value(gamma: npt.ArrayLike, p: npt.ArrayLike, K: int) -> float | Array:
    """The dual function: the Lagrangian's maximum over assignments, an upper bound of every balanced assignment's affinity.

    Parameters
    ----------
    gamma : array_like, shape (..., T, E)
        Affinities.
    p : array_like, shape (..., E)
        Prices; may be negative. A constant added to all changes nothing.
    K : int
        Experts of a token.

    Returns
    -------
    float, or array of the leading shape

    Examples
    --------
    >>> from lib.online.alf_lb import dual_value
    >>> dual_value([[0.75, 0.25], [0.5, 0.25]], [-0.5, 0.0], K=1)
    1.0
    """
    g = scores_of("gamma", gamma)
    prices, k = prices_of("p", p, g), experts_of("K", K, g.shape[-1])
    value = dual_of(g, prices, k)
    return float(value) if value.ndim == 0 else value


def max_violation(load: npt.ArrayLike) -> float | Array:
    """MaxVio: by what share the fullest expert exceeds the balanced load.

    Parameters
    ----------
    load : array_like, shape (..., E)
        Tokens of each expert, not negative, not all 0, at most 1e150.

    Returns
    -------
    float, or array of the leading shape

    Examples
    --------
    >>> from lib.online.alf_lb import max_violation
    >>> max_violation([30, 10, 10, 10])
    1.0
    """
    given = checks.array("load", load, low=0, high=1e150).astype(np.float64)
    if given.ndim == 0 or given.shape[-1] == 0 or (given.sum(-1) <= 0).any():
        raise ValueError(f"load must hold at least one token, got {checks.shown(np.asarray(load))}")
    value = given.max(-1) / given.mean(-1) - 1.0  # (8)
    return float(value) if value.ndim == 0 else value


def price_hessian(gamma: npt.ArrayLike, p: npt.ArrayLike, K: int, width: float = 0.02) -> Array:
    """The curvature of the balancing objective, counted from tokens that nearly tie at their K-th place.

    Parameters
    ----------
    gamma : array_like, shape (T, E)
        Affinities of a sample of tokens.
    p : array_like, shape (E,)
        Prices; may be negative.
    K : int
        Experts of a token, 1 to E - 1.
    width : float
        Margin below which a token counts as tied, positive. The estimate's bias grows with it, its noise falls.

    Returns
    -------
    array, shape (E, E)
        Laplacian of the graph of experts: the objective is ``dual_value / L``, whose gradient is ``load / L - 1``. Its
        second-smallest eigenvalue estimates the strong convexity; its inverse is the constant of `InvStep`.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.online.alf_lb import price_hessian
    >>> gamma = np.random.default_rng(0).random((2000, 4))
    >>> H = price_hessian(gamma, np.zeros(4), K=1)
    >>> bool(np.allclose(H.sum(1), 0)), bool(np.linalg.eigvalsh(H)[1] > 1)
    (True, True)
    """
    g = scores_of("gamma", gamma)
    if g.ndim != 2:
        raise ValueError(f"gamma must have 2 dimensions, got shape {g.shape}")
    prices, h = prices_of("p", p, g), checks.positive("width", width)
    k = experts_of("K", K, g.shape[-1] - 1)
    order = np.argsort(-(g + prices), axis=-1, kind="stable")
    last, first = order[:, k - 1], order[:, k]
    rows, shifted = np.arange(len(g)), g + prices
    tied = shifted[rows, last] - shifted[rows, first] < h
    weight = np.zeros((g.shape[1], g.shape[1]))
    np.add.at(weight, (last[tied], first[tied]), 1.0 / (h * balanced_load(g, k)))  # (15)
    weight = 0.5 * (weight + weight.T)  # (15)
    return np.diag(weight.sum(1)) - weight  # (15)


def solve_assignment_lp(gamma: npt.ArrayLike, K: int) -> OptimizeResult:
    """The exact optimum of the balanced assignment program, with its prices, by linear programming (HiGHS).

    Parameters
    ----------
    gamma : array_like, shape (T, E)
        Affinities.
    K : int
        Experts of a token; ``K T / E`` must be whole.

    Returns
    -------
    OptimizeResult
        ``x`` (T, E): assignment of 0 and 1; ``fun``: its affinity, the maximum; ``prices`` (E,): an optimal dual, mean 0;
        ``success``, ``status``, ``message``, ``nit``.

    Raises
    ------
    ValueError
        If the balanced load is not whole, or an argument is not allowed.

    Examples
    --------
    >>> from lib.online.alf_lb import solve_assignment_lp
    >>> best = solve_assignment_lp([[0.9, 0.2], [0.8, 0.4]], K=1)
    >>> round(best.fun, 3), best.x.astype(int).tolist()
    (1.3, [[1, 0], [0, 1]])
    """
    g = scores_of("gamma", gamma)
    if g.ndim != 2:
        raise ValueError(f"gamma must have 2 dimensions, got shape {g.shape}")
    T, E = g.shape
    k = experts_of("K", K, E)
    if (k * T) % E:
        raise ValueError(f"K T / E must be whole, got K = {k} with gamma of shape {g.shape}")
    scale = math.ldexp(1.0, math.frexp(float(np.abs(g).max()))[1])  # the solver's tolerances are absolute; nothing is rounded
    tokens = sparse.kron(sparse.eye(T), np.ones((1, E)))
    loads = sparse.kron(np.ones((1, T)), sparse.eye(E))
    total = np.r_[np.full(T, k), np.full(E, k * T // E)].astype(np.float64)
    found: Any = linprog(-(g / scale).ravel(), A_eq=sparse.vstack([tokens, loads], format="csr"), b_eq=total, bounds=(0, 1),
                         method="highs-ds")  # fmt: skip
    if found.x is None:
        return OptimizeResult(x=np.full((T, E), k / E), fun=-np.inf, prices=np.zeros(E), success=False,
                              status=int(found.status), message=str(found.message), nit=int(found.nit))  # fmt: skip
    prices = scale * found.eqlin.marginals[T:]
    return OptimizeResult(
        x=np.round(found.x.reshape(T, E), 9), fun=-scale * float(found.fun), prices=prices - prices.mean(),
        success=bool(found.success), status=int(found.status), message=str(found.message), nit=int(found.nit),
    )  # fmt: skip


# The pure core: arrays that have passed the door.


def select(shifted: Array, K: int) -> Bools:
    """`topk_assign` without its door: the `K` largest of each row, ties to the first."""
    order = np.argsort(-shifted, axis=-1, kind="stable")[..., :K]
    chosen = np.zeros(shifted.shape, dtype=bool)
    np.put_along_axis(chosen, order, True, axis=-1)  # (5)
    return chosen


def lagrangian_of(gamma: Array, x: Any, p: Array, L: float) -> Array:
    """`lagrangian` without its door, for any assignment `x`."""
    return np.asarray(((gamma + p[..., None, :]) * x).sum((-2, -1)) - L * p.sum(-1))  # (2)


def dual_of(gamma: Array, p: Array, K: int) -> Array:
    """`dual_value` without its door: no assignment is built."""
    shifted = gamma + p[..., None, :]
    place = gamma.shape[-1] - K
    top = np.partition(shifted, place, axis=-1)[..., place:]
    return np.asarray(top.sum((-2, -1)) - balanced_load(gamma, K) * p.sum(-1))  # (3)


def balanced_load(gamma: Array, K: int) -> float:
    """Tokens of an expert when all have as many."""
    return K * gamma.shape[-2] / gamma.shape[-1]


def scores_of(name: str, value: Any) -> Array:
    """Affinities at a door: real, finite, with axes of tokens and experts, small enough to be summed."""
    given = checks.array(name, value).astype(np.float64)
    if given.ndim < 2:
        raise ValueError(f"{name} must have at least 2 dimensions, tokens and experts, got shape {given.shape}")
    if np.abs(given).max() > 1e150:
        raise ValueError(f"{name} must be small enough to be summed, got entries up to {np.abs(given).max():.3g}")
    return given


def prices_of(name: str, value: Any, gamma: Array) -> Array:
    """Prices at a door, a copy with one for each batch and expert of `gamma`."""
    given = checks.array(name, value).astype(np.float64)
    wanted = (*gamma.shape[:-2], gamma.shape[-1])
    if given.ndim == 0 or given.shape[-1] != wanted[-1]:
        raise ValueError(f"{name} must have shape {wanted}, got {given.shape}")
    try:
        return np.broadcast_to(given, wanted).copy()
    except ValueError:
        raise ValueError(f"{name} must have shape {wanted}, got {given.shape}") from None


def experts_of(name: str, value: Any, most: int) -> int:
    """Number of experts of a token at a door, from 1 to `most`."""
    return checks.integer(name, value, low=1, high=most)
