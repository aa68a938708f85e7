"""Directed acyclic graphs: orders, cycles, random graphs. ``W[i, j]`` is the edge from i to j; orders list parents first."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from lib import checks

Array = npt.NDArray[np.float64]
Seed = int | np.random.Generator | np.random.SeedSequence | None


def square(W: npt.ArrayLike, name: str = "W") -> Array:
    """The argument as a finite square float64 matrix; TypeError or ValueError that names it."""
    found = checks.array(name, W, ndim=2)
    if found.shape[0] != found.shape[1]:
        raise ValueError(f"{name} must be square, shape (d, d), got shape {found.shape}")
    return found.astype(np.float64)


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
    >>> import numpy as np
    >>> from lib.problems import dags
    >>> dags.topological_order(np.array([[0, 0], [1, 0]])).tolist()
    [1, 0]
    """
    edges = square(adjacency, "adjacency") != 0
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
    >>> import numpy as np
    >>> from lib.problems import dags
    >>> dags.is_dag(np.array([[0, 1], [0, 0]])), dags.is_dag(np.array([[0, 1], [1, 0]]))
    (True, False)
    """
    left = square(adjacency, "adjacency") != 0
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
    >>> import numpy as np
    >>> from lib.problems import dags
    >>> int(dags.simulate_dag(10, 20, "ER", seed=0).sum())
    20
    """
    d, m = checks.integer("n_nodes", n_nodes, low=1), checks.integer("n_edges", n_edges, low=0)
    if m > d * (d - 1) // 2:
        raise ValueError(f"n_edges must be at most d (d - 1) / 2 = {d * (d - 1) // 2}, got {m}")
    checks.choice("kind", kind, ("ER", "SF"))
    rng = checks.generator("seed", seed)
    if kind == "ER":
        upper = np.zeros((d, d), dtype=np.int64)
        rows, columns = np.triu_indices(d, 1)
        chosen = rng.choice(len(rows), size=m, replace=False)
        upper[rows[chosen], columns[chosen]] = 1
    else:
        upper = _barabasi_albert(d, m // d, rng)
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
