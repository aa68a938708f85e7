"""Regression weights of a given graph, not of an order."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_solve
from scipy.linalg.lapack import dpotrf

from lib import checks
from lib.constrained.topo_swaps.scores import Array, check_moments


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
    >>> import numpy as np
    >>> from lib.constrained.topo_swaps import study
    >>> study.graph_weights(np.array([[1.0, 2.0], [2.0, 5.0]]), np.array([[0, 1], [0, 0]])).tolist()
    [[0.0, 2.0], [0.0, 0.0]]
    """
    S, edges = check_moments(S, eps), checks.array("edges", edges)
    if edges.shape != S.shape:
        raise ValueError(f"edges must have the shape of S, {S.shape}, got {edges.shape}")
    graph = edges != 0
    if graph.diagonal().any():
        own = ", ".join(map(str, np.flatnonzero(graph.diagonal())))
        raise ValueError(f"edges must not make a node its own parent, these are: {own}")
    return np.stack([parent_weights(S, graph[:, j], j) for j in range(len(S))], axis=1)


def parent_weights(S: Array, parents: npt.NDArray[np.bool_], j: int) -> Array:
    """Coefficients of the regression of node j on its parents (mask, shape (d,)), zero at all others, shape (d,)."""
    column, p = np.zeros(len(S)), np.flatnonzero(parents)
    if len(p):
        block = S[np.ix_(p, p)]
        L, failed = dpotrf(block, lower=1, clean=1)
        if failed or np.any(np.diag(L) ** 2 <= 1e-13 * np.diag(block)):
            raise ValueError(f"S makes the parents of node {j} collinear: give eps > 0 to add a ridge")
        column[p] = cho_solve((L, True), S[p, j])
    return column
