"""Acyclicity functions with closed-form gradients, what they say about absent edges, and the KKT check."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.linalg import expm

from lib import checks
from lib.constrained.topo_swaps.scores import Array, Order, check_order
from lib.problems.dags import is_dag, topological_order
from lib.problems.dags.graphs import square

Kind = Literal["logdet", "exp", "poly"]


def acyclicity(
    W: npt.ArrayLike, kind: Kind = "logdet", of: Literal["abs", "square"] = "abs", s: float = 1.0
) -> tuple[float, Array]:
    """h(A) and its gradient with respect to A, for A = ``|W|`` or ``W∘W``: zero if and only if the graph has no cycle.

    Parameters
    ----------
    W : array, shape (d, d)
    kind : {"logdet", "exp", "poly"}
        ``-log det(s I - A) + d log s`` (DAGMA; the authors' TOPO), ``tr e^A - d`` (NOTEARS), ``tr (I + A/d)^d - d``.
    of : {"abs", "square"}
        What A is. The authors' TOPO takes ``|W|``; with ``W∘W`` the gradient with respect to W vanishes on every DAG.
    s : float
        Of ``"logdet"`` only: its domain is that of spectral radius below s.

    Returns
    -------
    h : float
        Infinite outside the domain of ``"logdet"``, and where it overflows.
    gradient : array, shape (d, d)
        ``(s I - A)^{-T}``, ``(e^A)'``, ``((I + A/d)^{d-1})'``: on a DAG its entry (i, j) is positive if and only if a
        directed path leads from j to i. For ``"logdet"``, s = 1, it is the sum over those paths of the products of A.
        Infinite where h is, and in the entries whose path sums overflow.

    Raises
    ------
    ValueError
        For an unknown kind, a matrix that is not square and finite, or s <= 0.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.constrained import topo_swaps
    >>> h, gradient = topo_swaps.acyclicity(np.array([[0, -2.0], [0, 0]]))
    >>> h, gradient.tolist()
    (0.0, [[1.0, 0.0], [2.0, 1.0]])
    """
    W, s = square(W), checks.positive("s", s)
    checks.choice("kind", kind, ("logdet", "exp", "poly"))
    checks.choice("of", of, ("abs", "square"))
    with np.errstate(over="ignore"):
        A = np.minimum(abs(W) if of == "abs" else W * W, np.finfo(np.float64).max)
        if is_dag(A):  # exact: no walk returns, so h is 0, and the gradient is a finite sum
            return 0.0, _of_dag(A, kind, s)
        with np.errstate(invalid="ignore"):
            h, gradient = _CYCLIC[kind](A, s)
    finite = np.isfinite(h) and bool(np.all(np.isfinite(gradient)))
    return (h, gradient) if finite else (np.inf, np.full(A.shape, np.inf))


def _exp(A: Array, s: float) -> tuple[float, Array]:
    E = expm(A) if A.max() < 1e100 else np.full(A.shape, np.inf)
    return float(np.trace(E)) - len(A), E.T


def _poly(A: Array, s: float) -> tuple[float, Array]:
    base = np.eye(len(A)) + A / len(A)
    power = np.linalg.matrix_power(base, len(A) - 1)
    return float(np.sum(power * base.T)) - len(A), power.T


def _logdet(A: Array, s: float) -> tuple[float, Array]:
    if not max(abs(np.linalg.eigvals(A))) < s:
        return np.inf, np.full(A.shape, np.inf)
    shifted = s * np.eye(len(A)) - A
    h = float(len(A) * np.log(s) - np.linalg.slogdet(shifted)[1])
    return h, np.asarray(np.linalg.inv(shifted).T, dtype=np.float64)  # (2)


_CYCLIC = {"exp": _exp, "poly": _poly, "logdet": _logdet}


def _of_dag(A: Array, kind: Kind, s: float) -> Array:
    """The gradient on a DAG, a sum of products of entries: exact zeros stay zero, overflow becomes infinite, never NaN."""
    if kind == "logdet":
        return _walks(A, topological_order(A), s)
    d, total, power = len(A), np.eye(len(A)), np.eye(len(A))
    for m in range(1, d):  # A^m / m!, or binom(d - 1, m) (A / d)^m
        factor = 1 / m if kind == "exp" else (d - m) / (m * d)
        infinite = np.isinf(power)
        reached = (infinite.astype(float) @ (A > 0)) > 0
        power = np.where(reached, np.inf, np.where(infinite, 0.0, power) @ A * factor)
        total += power
    return total.T


def _walks(A: Array, order: Order, s: float = 1.0) -> Array:
    """(s I - A)^{-T} of a DAG by back substitution through its order; see `_of_dag`."""
    result = np.eye(len(A)) / s  # column j: row j of (s I - A)^{-1}
    for j in order[::-1]:
        children = np.flatnonzero(A[j])  # only these, since 0 times infinity is NaN
        result[:, j] += (result[:, children] * A[j, children]).sum(axis=1) / s  # (2)
    return result


def candidate_pairs(
    G_h: npt.ArrayLike,
    order: npt.ArrayLike,
    size: int,
    grad: npt.ArrayLike | None = None,
    xi: float = 0.0,
) -> npt.NDArray[np.intp]:
    """The pairs (i, j), edge i -> j forbidden by the order, with the smallest [∇h]_ij: nearly no path leads from j to i.

    Parameters
    ----------
    G_h : array, shape (d, d)
        Gradient of h at ``|W|``, infinity allowed.
    order : int array, shape (d,)
    size : int
        Number of pairs wanted (the paper's s_small, s_large). Ties with the last one are included, so there may be more;
        a size above d (d - 1) / 2 gives all.
    grad : array, shape (d, d), optional
        Gradient of the score; keeps only pairs with ``abs(grad[i, j]) > xi``. The authors' code does not use it.
    xi : float

    Returns
    -------
    pairs : int array, shape (m, 2)
        By increasing [∇h]_ij. In each, j stands before i in the order; swapping them allows i -> j.

    Raises
    ------
    ValueError
        If shapes do not fit, the order is no permutation, or size < 1.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.constrained import topo_swaps
    >>> G = np.array([[1, 0, 0], [9, 1, 0], [3, 2, 1]])
    >>> topo_swaps.candidate_pairs(G, np.array([0, 1, 2]), size=2).tolist()
    [[2, 1], [2, 0]]
    """
    G = checks.array("G_h", G_h, ndim=2, inf=True)
    if G.shape[0] != G.shape[1]:
        raise ValueError(f"G_h must be square, shape (d, d), got shape {G.shape}")
    order, size = check_order(order, len(G)), checks.integer("size", size, low=1)
    later, earlier = np.tril_indices(len(G), -1)
    i, j = order[later], order[earlier]
    xi = checks.number("xi", xi, low=0)
    if grad is not None:
        keep = abs(checks.array("grad", grad, shape=G.shape)[i, j]) > xi
        i, j = i[keep], j[keep]
    value = G[i, j]
    if size < len(value):
        keep = value <= np.partition(value, size - 1)[size - 1]
        i, j, value = i[keep], j[keep], value[keep]
    by_value = np.argsort(value, kind="stable")
    return np.stack([i[by_value], j[by_value]], axis=1)


def kkt_violation(W: npt.ArrayLike, gradQ: npt.ArrayLike, tol: float | None = None) -> float:
    """Largest abs(∇Q_ij) over the pairs i != j with no path from j to i: zero at a KKT point.

    Those entries of W, edges or not, may move a little without closing a cycle, so the gradient of the score must vanish
    there; all others are held at zero by the acyclicity constraint (Wei, Gao and Yu, 2020).

    Parameters
    ----------
    W : array, shape (d, d)
        Weights of a DAG.
    gradQ : array, shape (d, d)
        Gradient of the score at W.
    tol : float, optional
        A path counts if the products of absolute weights along all paths sum to more than this; default 1e-8 max abs(W).

    Raises
    ------
    ValueError
        If W has a cycle (threshold it first, see `dag_from_weights`) or the shapes do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.constrained import topo_swaps
    >>> S = [[1.0, 2.0], [2.0, 5.0]]
    >>> W = topo_swaps.order_weights(S, [0, 1])
    >>> topo_swaps.kkt_violation(W, topo_swaps.score_and_gradient(S, W)[1], tol=1e-8)
    0.0
    """
    W, gradient = square(W), square(gradQ, "gradQ")
    if W.shape != gradient.shape:
        raise ValueError(f"gradQ must have the shape of W, {W.shape}, got {gradient.shape}")
    if not is_dag(W):
        raise ValueError("W has a cycle: the KKT check is for a DAG, threshold it first (dag_from_weights)")
    tol = 1e-8 * abs(W).max() if tol is None else checks.number("tol", tol, low=0)
    free = (acyclicity(W)[1] <= tol) & ~np.eye(len(W), dtype=bool)  # (7)
    return float(abs(gradient[free]).max(initial=0.0))  # (7)


def dag_from_weights(W: npt.ArrayLike, threshold: float = 0.0) -> tuple[Array, Order, float]:
    """Weights without their smallest entries: the least threshold (not below the given one) that leaves no cycle.

    Parameters
    ----------
    W : array, shape (d, d)
        Weights, perhaps with cycles; left as they are.
    threshold : float
        Entries below it in absolute value are zero in any case.

    Returns
    -------
    W : array, shape (d, d)
        Entries of absolute value at most the threshold found are zero.
    order : int array, shape (d,)
        A topological order of what is left.
    threshold : float
        The one found.

    Raises
    ------
    ValueError
        If W is not square and finite, or the threshold negative.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.constrained import topo_swaps
    >>> topo_swaps.dag_from_weights(np.array([[0, 2.0], [0.1, 0]]))[2]
    0.1
    """
    W, threshold = square(W), checks.number("threshold", threshold, low=0)
    np.fill_diagonal(W, 0.0)
    W[abs(W) < threshold] = 0.0  # the customary rule keeps abs(W) >= threshold
    levels = np.unique(np.concatenate([[0.0], abs(W[W != 0])]))
    low, high = 0, len(levels) - 1  # fewer edges never close a cycle, so bisection finds the least level
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if is_dag(abs(W) > levels[middle]) else (middle + 1, high)
    W[abs(W) <= levels[low]] = 0.0
    return W, topological_order(W), max(float(threshold), float(levels[low]))
