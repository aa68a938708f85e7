"""Directed acyclic graphs, structural equation models on them, and the measures by which estimated graphs are judged.

Conventions: an adjacency or weight matrix has ``W[i, j]`` = edge from i to j, so column j holds the parents of j. Orders list
the nodes parents first. The simulators follow NOTEARS (Zheng et al., 2018, arXiv:1803.01422): Erdős–Rényi or scale-free graphs,
weights uniform on ±[0.5, 2], and ``X = E (I - W)^{-1}`` for the noise E.
"""

from __future__ import annotations

import operator
from typing import Literal

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Seed = int | np.random.Generator | np.random.SeedSequence | None
Noise = Literal["gaussian", "exponential", "gumbel", "uniform"]

__all__ = [
    "count_accuracy",
    "is_dag",
    "population_covariance",
    "shd",
    "simulate_binary_sem",
    "simulate_dag",
    "simulate_nonlinear_sem",
    "simulate_sem",
    "simulate_weights",
    "topological_order",
    "varsortability",
]


def _count(value: int, name: str, least: int) -> int:
    if isinstance(value, bool):
        raise TypeError(f"{name} must be an integer, got a bool")
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, got {value!r}") from None
    if number < least:
        raise ValueError(f"{name} must be at least {least}, got {number}")
    return number


def _square(W: npt.ArrayLike, name: str = "W") -> npt.NDArray:
    W = np.asarray(W)
    if W.ndim != 2 or W.shape[0] != W.shape[1] or not len(W):
        raise ValueError(f"{name} must be square, shape (d, d), got shape {W.shape}")
    if not np.all(np.isfinite(W)):
        raise ValueError(f"{name} must be finite, it holds NaN or infinity")
    return W


# ----------------------------------------------------------------------------------------------------------------- graphs


def topological_order(adjacency: npt.ArrayLike) -> npt.NDArray[np.intp]:
    """An order of the nodes in which every edge points forward (Kahn's algorithm; the smallest free index comes first).

    Parameters
    ----------
    adjacency : array, shape (d, d)
        Edge i -> j where the entry (i, j) is not zero.

    Raises
    ------
    ValueError
        If the matrix is not square, not finite, or the graph has a cycle.

    Examples
    --------
    >>> from lib.problems import dags
    >>> dags.topological_order([[0, 0], [1, 0]]).tolist()
    [1, 0]
    """
    edges = _square(adjacency, "adjacency") != 0
    waiting = edges.sum(axis=0)
    order: list[int] = []
    left = np.ones(len(edges), dtype=bool)
    while len(order) < len(edges):
        free = np.flatnonzero(left & (waiting == 0))
        if not len(free):
            raise ValueError("the graph has a cycle, so it has no topological order")
        order.append(int(free[0]))
        left[free[0]] = False
        waiting = waiting - edges[free[0]]
    return np.array(order, dtype=np.intp)


def is_dag(adjacency: npt.ArrayLike) -> bool:
    """Whether the graph of the nonzero entries, shape (d, d), has no cycle (a nonzero diagonal is one).

    Raises
    ------
    ValueError
        If the matrix is not square or not finite.

    Examples
    --------
    >>> from lib.problems import dags
    >>> dags.is_dag([[0, 1], [0, 0]]), dags.is_dag([[0, 1], [1, 0]])
    (True, False)
    """
    left = _square(adjacency, "adjacency") != 0
    while len(left):
        sources = ~left.any(axis=0)
        if not sources.any():
            return False
        left = left[np.ix_(~sources, ~sources)]
    return True


def simulate_dag(n_nodes: int, n_edges: int, kind: Literal["ER", "SF"] = "ER", seed: Seed = None) -> npt.NDArray[np.int64]:
    """A random DAG: an undirected random graph, oriented by a random permutation of the nodes.

    Parameters
    ----------
    n_nodes : int
        d, at least 1.
    n_edges : int
        ``"ER"``: exactly this many edges, all sets of that size being equally likely. ``"SF"``: the Barabási–Albert graph
        whose new nodes bring ``n_edges // n_nodes`` edges each, so it has slightly fewer edges than asked for; they point
        from old to new before the nodes are relabeled. The papers write ER2, ER4, SF4 for ``n_edges`` of 2, 4, 4 times d.
    kind : {"ER", "SF"}
    seed : int, Generator or SeedSequence, optional

    Returns
    -------
    adjacency : int array, shape (d, d)
        1 at (i, j) for the edge i -> j.

    Raises
    ------
    ValueError
        For counts out of range (more than d (d - 1) / 2 edges; fewer than one edge per new node) or an unknown kind.

    Examples
    --------
    >>> from lib.problems import dags
    >>> int(dags.simulate_dag(10, 20, "ER", seed=0).sum())
    20
    """
    d, m = _count(n_nodes, "n_nodes", 1), _count(n_edges, "n_edges", 0)
    if m > d * (d - 1) // 2:
        raise ValueError(f"n_edges must be at most d (d - 1) / 2 = {d * (d - 1) // 2}, got {m}")
    rng = np.random.default_rng(seed)
    if kind == "ER":
        upper = np.zeros((d, d), dtype=np.int64)
        rows, columns = np.triu_indices(d, 1)
        chosen = rng.choice(len(rows), size=m, replace=False)
        upper[rows[chosen], columns[chosen]] = 1
    elif kind == "SF":
        upper = _barabasi_albert(d, m // d, rng)
    else:
        raise ValueError(f"unknown kind of graph {kind!r}; allowed: 'ER', 'SF'")
    relabel = rng.permutation(d)
    return upper[np.ix_(relabel, relabel)]


def _barabasi_albert(d: int, k: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Edges from old to new nodes; a new node's k parents are drawn in proportion to their degrees, without repetition."""
    if not 1 <= k < d:
        raise ValueError(f"a scale-free graph needs n_edges // n_nodes between 1 and d - 1 = {d - 1}, got {k}")
    edges = np.zeros((d, d), dtype=np.int64)
    degree = np.zeros(d)
    degree[:k] = 1.0  # the first new node joins all k first nodes
    for new in range(k, d):
        parents = rng.choice(new, size=k, replace=False, p=degree[:new] / degree[:new].sum())
        edges[parents, new] = 1
        degree[parents] += 1 if new > k else 0
        degree[new] = k
    return edges


# ------------------------------------------------------------------------------------------------- structural equations


def simulate_weights(adjacency: npt.ArrayLike, low: float = 0.5, high: float = 2.0, seed: Seed = None) -> Array:
    """Edge weights uniform on [-high, -low] and [low, high] (NOTEARS: 0.5 and 2), zero elsewhere; shape (d, d).

    Raises
    ------
    ValueError
        If the graph has a cycle, or not 0 <= low <= high.

    Examples
    --------
    >>> from lib.problems import dags
    >>> bool(abs(dags.simulate_weights([[0, 1], [0, 0]], seed=0)[0, 1]) >= 0.5)
    True
    """
    edges = _square(adjacency, "adjacency") != 0
    topological_order(edges)
    if not 0 <= low <= high:
        raise ValueError(f"weights need 0 <= low <= high, got low = {low}, high = {high}")
    rng = np.random.default_rng(seed)
    size = rng.uniform(low, high, edges.shape)
    return np.where(edges, size * rng.choice([-1.0, 1.0], edges.shape), 0.0)


_NOISES = {
    "gaussian": lambda rng, shape: rng.standard_normal(shape),
    "exponential": lambda rng, shape: rng.exponential(1.0, shape) - 1.0,
    "gumbel": lambda rng, shape: (rng.gumbel(0.0, 1.0, shape) - np.euler_gamma) * (np.sqrt(6) / np.pi),
    "uniform": lambda rng, shape: rng.uniform(-np.sqrt(3), np.sqrt(3), shape),
}


def _scales(scales: npt.ArrayLike, d: int) -> Array:
    values = np.asarray(scales, dtype=np.float64)
    if values.ndim > 1 or (values.ndim == 1 and len(values) != d):
        raise ValueError(f"scales must be one number or shape ({d},), got shape {values.shape}")
    if not np.all(values > 0):
        raise ValueError("scales must be positive")
    return np.broadcast_to(values, (d,))


def simulate_sem(
    W: npt.ArrayLike, n_samples: int, noise: Noise = "gaussian", scales: npt.ArrayLike = 1.0, seed: Seed = None
) -> Array:
    """Samples of the linear model x_j = sum_i W_ij x_i + e_j: rows of ``X = E (I - W)^{-1}``.

    Parameters
    ----------
    W : array, shape (d, d)
        Weights of a DAG.
    n_samples : int
        n, at least 1.
    noise : {"gaussian", "exponential", "gumbel", "uniform"}
        All with mean 0 and variance 1.
    scales : float or array, shape (d,)
        Standard deviation of each node's noise. 1 is the equal-variance model.
    seed : int, Generator or SeedSequence, optional

    Returns
    -------
    X : array, shape (n, d)
        With population mean 0; the sample mean is not removed.

    Raises
    ------
    ValueError
        If W has a cycle or a bad shape, for an unknown noise, or scales that are not positive.

    Examples
    --------
    >>> from lib.problems import dags
    >>> dags.simulate_sem([[0, 2.0], [0, 0]], 5, seed=0).shape
    (5, 2)
    """
    W = np.asarray(_square(W), dtype=np.float64)
    order, n = topological_order(W), _count(n_samples, "n_samples", 1)
    if noise not in _NOISES:
        raise ValueError(f"unknown noise {noise!r}; allowed: {', '.join(map(repr, _NOISES))}")
    X = _NOISES[noise](np.random.default_rng(seed), (n, len(W))) * _scales(scales, len(W))
    for j in order:  # forward substitution through the order: exact, and no inverse
        X[:, j] += X @ W[:, j]
    return X


def population_covariance(W: npt.ArrayLike, scales: npt.ArrayLike = 1.0) -> Array:
    """Covariance (I - W)^{-T} diag(scales^2) (I - W)^{-1} of the linear model, shape (d, d).

    Raises
    ------
    ValueError
        If W has a cycle or a bad shape, or scales are not positive.

    Examples
    --------
    >>> from lib.problems import dags
    >>> dags.population_covariance([[0, 2.0], [0, 0]]).tolist()
    [[1.0, 2.0], [2.0, 5.0]]
    """
    W = np.asarray(_square(W), dtype=np.float64)
    topological_order(W)
    factor = _scales(scales, len(W))[:, None] * np.linalg.inv(np.eye(len(W)) - W)
    return factor.T @ factor


def simulate_binary_sem(W: npt.ArrayLike, n_samples: int, seed: Seed = None) -> Array:
    """Samples of the logistic model P(x_j = 1) = 1 / (1 + exp(-sum_i W_ij x_i)), entries 0 or 1; shape (n, d).

    Raises
    ------
    ValueError
        If W has a cycle or a bad shape.

    Examples
    --------
    >>> from lib.problems import dags
    >>> sorted(set(dags.simulate_binary_sem([[0, 2.0], [0, 0]], 50, seed=0).ravel().tolist()))
    [0.0, 1.0]
    """
    W = np.asarray(_square(W), dtype=np.float64)
    rng, n = np.random.default_rng(seed), _count(n_samples, "n_samples", 1)
    X = np.zeros((n, len(W)))
    for j in topological_order(W):
        X[:, j] = rng.random(n) < 1 / (1 + np.exp(-X @ W[:, j]))
    return X


def simulate_nonlinear_sem(adjacency: npt.ArrayLike, n_samples: int, hidden: int = 100, seed: Seed = None) -> Array:
    """Samples of x_j = sigmoid(x_pa U) v + e_j, a random network per node as in NOTEARS-MLP; shape (n, d).

    Entries of U (parents, hidden) and v are uniform on ±[0.5, 2], the noise is standard normal.

    Raises
    ------
    ValueError
        If the graph has a cycle or a bad shape.

    Examples
    --------
    >>> from lib.problems import dags
    >>> dags.simulate_nonlinear_sem([[0, 1], [0, 0]], 5, seed=0).shape
    (5, 2)
    """
    edges = _square(adjacency, "adjacency") != 0
    rng, n = np.random.default_rng(seed), _count(n_samples, "n_samples", 1)
    X = rng.standard_normal((n, len(edges)))
    for j in topological_order(edges):
        parents = np.flatnonzero(edges[:, j])
        if len(parents):
            U, v = (rng.uniform(0.5, 2.0, s) * rng.choice([-1.0, 1.0], s) for s in ((len(parents), hidden), (hidden,)))
            X[:, j] += (1 / (1 + np.exp(-X[:, parents] @ U))) @ v
    return X


# --------------------------------------------------------------------------------------------------------------- measures


def _graphs(estimate: npt.ArrayLike, truth: npt.ArrayLike) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    A, B = _square(estimate, "estimate") != 0, _square(truth, "truth") != 0
    if A.shape != B.shape:
        raise ValueError(f"estimate and truth must have the same shape, got {A.shape} and {B.shape}")
    return A, B


def shd(estimate: npt.ArrayLike, truth: npt.ArrayLike) -> int:
    """Structural Hamming distance: edges to add, remove or reverse; a reversed edge counts once.

    It is the number of node pairs between which the two graphs differ.

    Parameters
    ----------
    estimate, truth : array, shape (d, d)
        Edge i -> j where the entry (i, j) is not zero.

    Raises
    ------
    ValueError
        For shapes that differ or are not square.

    Examples
    --------
    >>> from lib.problems import dags
    >>> dags.shd([[0, 1], [0, 0]], [[0, 0], [1, 0]])
    1
    """
    A, B = _graphs(estimate, truth)
    differs = A != B
    return int(np.triu(differs | differs.T, 1).sum())


def count_accuracy(estimate: npt.ArrayLike, truth: npt.ArrayLike) -> dict[str, float]:
    """``fdr``, ``tpr``, ``fpr``, ``shd`` and ``nnz`` of an estimated DAG, as the NOTEARS code defines them.

    A reversed edge counts as a false discovery. fpr is relative to the node pairs without an edge in the truth.

    Parameters
    ----------
    estimate, truth : array, shape (d, d)

    Raises
    ------
    ValueError
        For shapes that differ or are not square.

    Examples
    --------
    >>> from lib.problems import dags
    >>> dags.count_accuracy([[0, 1], [0, 0]], [[0, 1], [0, 0]])
    {'fdr': 0.0, 'tpr': 1.0, 'fpr': 0.0, 'shd': 0, 'nnz': 1}
    """
    A, B = _graphs(estimate, truth)
    d, hits, found, edges = len(A), int((A & B).sum()), int(A.sum()), int(B.sum())
    free = d * (d - 1) // 2 - edges
    return {
        "fdr": (found - hits) / max(found, 1),
        "tpr": hits / max(edges, 1),
        "fpr": (found - hits) / max(free, 1),
        "shd": shd(A, B),
        "nnz": found,
    }


def varsortability(X: npt.ArrayLike, truth: npt.ArrayLike) -> float:
    """Share of directed paths along which the marginal variance grows (Reisach et al., 2021, arXiv:2102.13647).

    1 means that sorting the columns by variance gives a topological order; 0.5 is no information. Ties count one half.
    Paths are counted once per length and pair of ends, as in the authors' code.

    Parameters
    ----------
    X : array, shape (n, d)
    truth : array, shape (d, d)
        The DAG; it needs at least one edge.

    Raises
    ------
    ValueError
        If the shapes do not fit, or the graph has a cycle or no edge.

    Examples
    --------
    >>> from lib.problems import dags
    >>> dags.varsortability([[0.0, 0.0], [1.0, 3.0]], [[0, 1], [0, 0]])
    1.0
    """
    edges = _square(truth, "truth") != 0
    topological_order(edges)
    X = np.asarray(X, dtype=np.float64)
    if X.ndim != 2 or X.shape[1] != len(edges):
        raise ValueError(f"X must have shape (n, {len(edges)}), got shape {X.shape}")
    if not edges.any():
        raise ValueError("varsortability needs at least one edge")
    variance = X.var(axis=0)
    ratio = variance[None, :] / variance[:, None]  # of the end to the start
    gain = np.where(np.isclose(ratio, 1.0, rtol=1e-9), 0.5, (ratio > 1).astype(float))
    paths, good, total = edges.copy(), 0.0, 0
    while paths.any():
        good, total = good + gain[paths].sum(), total + int(paths.sum())
        paths = (paths.astype(int) @ edges.astype(int)) > 0
    return float(good / total)
