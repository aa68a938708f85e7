"""Measures by which an estimated graph, or a data set of a known one, is judged."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lib import checks
from lib.problems.dags.graphs import square, topological_order


def _graphs(estimate: npt.ArrayLike, truth: npt.ArrayLike) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    A, B = square(estimate, "estimate") != 0, square(truth, "truth") != 0
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
        If estimate or truth is not square and finite, or their shapes differ.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.problems import dags
    >>> dags.shd(np.array([[0, 1], [0, 0]]), np.array([[0, 0], [1, 0]]))
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
        If estimate or truth is not square and finite, or their shapes differ.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.problems import dags
    >>> dags.count_accuracy(np.array([[0, 1], [0, 0]]), np.array([[0, 1], [0, 0]]))
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
    >>> import numpy as np
    >>> from lib.problems import dags
    >>> dags.varsortability(np.array([[0.0, 0.0], [1.0, 3.0]]), np.array([[0, 1], [0, 0]]))
    1.0
    """
    edges = square(truth, "truth") != 0
    topological_order(edges)
    X = checks.array("X", X, shape=(None, len(edges))).astype(np.float64)
    if not edges.any():
        raise ValueError("truth must have at least one edge: varsortability is a share of paths")
    variance = X.var(axis=0)
    if not np.all(variance > 0):
        raise ValueError("every column of X must vary")
    ratio = variance[None, :] / variance[:, None]  # of the end to the start
    gain = np.where(np.isclose(ratio, 1.0, rtol=1e-9), 0.5, (ratio > 1).astype(float))
    paths, good, total = edges.copy(), 0.0, 0
    while paths.any():
        good, total = good + gain[paths].sum(), total + int(paths.sum())
        paths = (paths.astype(int) @ edges.astype(int)) > 0
    return float(good / total)
