"""Optimal tours and paths: dynamic programming over subsets, and LKH."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lib import checks
from lib.problems.routing.instances import Floats, Ints, distance_matrix, path_length, points_of, tour_length

#: LKH works on 32-bit integers, which it multiplies by 100 and shifts: the largest link is given this length, with room.
LKH_LONGEST = 1_000_000
#: Cities of a path that the table still holds.
MOST_EXACT = 13


def held_karp_paths(paths: npt.ArrayLike) -> tuple[Ints, Floats]:
    """Shortest orders of points between fixed ends, for a batch of paths, by dynamic programming over subsets.

    Time O(2^m m^2) and memory O(2^m m) per path, m = n - 2; all paths share the loop over subsets.

    Parameters
    ----------
    paths : array, shape (B, n, 2), 2 <= n <= 13
        The first and the last point of each stay where they are.

    Returns
    -------
    order : int64, shape (B, n)
        Local indices, ``order[:, 0] == 0`` and ``order[:, -1] == n - 1``.
    length : float64, shape (B,)

    Raises
    ------
    ValueError, TypeError
        For another shape, a larger n, or points that are not finite.

    Examples
    --------
    >>> from lib.problems.routing import held_karp_paths
    >>> held_karp_paths([[[0, 0], [2, 0], [1, 0], [3, 0]]])[0].tolist()
    [[0, 2, 1, 3]]
    """
    points = points_of("paths", paths, ndim=3)
    if not 2 <= points.shape[1] <= MOST_EXACT:
        raise ValueError(f"paths must have shape (B, n, 2) with 2 <= n <= {MOST_EXACT}, got {points.shape}")
    if points.shape[1] < 4:  # no choice
        return np.tile(np.arange(points.shape[1]), (len(points), 1)), path_length(points)
    distance = distance_matrix(points)
    inner, n_inner = distance[:, 1:-1, 1:-1], points.shape[1] - 2
    cost = np.full((1 << n_inner, len(points), n_inner), np.inf)  # best path from the start through a set, ending at j
    last = np.zeros(cost.shape, dtype=np.int64)
    for j in range(n_inner):
        cost[1 << j, :, j] = distance[:, 0, j + 1]
    for subset in range(1, 1 << n_inner):
        if subset & (subset - 1) == 0:
            continue
        for j in (j for j in range(n_inner) if subset >> j & 1):
            reach = cost[subset ^ (1 << j)] + inner[:, :, j]
            last[subset, :, j] = reach.argmin(axis=1)
            cost[subset, :, j] = reach.min(axis=1)
    return _read_back(cost, last, distance[:, 1:-1, -1])


def _read_back(cost: Floats, last: Ints, home: Floats) -> tuple[Ints, Floats]:
    """The orders that a filled table stands for."""
    n_sets, n_paths, n_inner = cost.shape
    total = cost[-1] + home
    order = np.zeros((n_paths, n_inner + 2), dtype=np.int64)
    order[:, -1] = n_inner + 1
    rows, subset, node = np.arange(n_paths), np.full(n_paths, n_sets - 1), total.argmin(axis=1)
    for position in range(n_inner, 0, -1):
        order[:, position] = node + 1
        subset, node = subset ^ (1 << node), last[subset, rows, node]
    return order, total.min(axis=1)


def held_karp_tour(coords: npt.ArrayLike) -> tuple[Ints, float]:
    """An optimal closed tour of 1 to 12 cities (N, 2) and its length.

    Raises
    ------
    ValueError, TypeError
        For another shape, more cities, or points that are not finite.

    Examples
    --------
    >>> from lib.problems.routing import held_karp_tour
    >>> held_karp_tour([[0, 0], [1, 1], [0, 1], [1, 0]])[1]
    4.0
    """
    points = points_of("coords", coords)
    if len(points) > MOST_EXACT - 1:
        raise ValueError(f"coords must hold at most {MOST_EXACT - 1} cities, got {len(points)}")
    order, length = held_karp_paths(np.concatenate([points, points[:1]])[None])
    return order[0, :-1], float(length[0])


def _lkh(matrix: Ints, runs: int) -> Ints:
    try:
        import elkai
    except ImportError:
        raise ImportError("LKH needs the package elkai (for academic and non-commercial use): pip install elkai") from None
    return np.array(elkai.DistanceMatrix(matrix.tolist()).solve_tsp(runs)[:-1])


def lkh_tour(coords: npt.ArrayLike, runs: int = 1) -> tuple[Ints, float]:
    """Tour by LKH 3 (near-optimal, in practice optimal up to some hundred cities) of points (N, 2), and its true length.

    Raises
    ------
    ImportError
        If ``elkai`` is not installed.
    ValueError, TypeError
        For points that are not finite, another shape, or fewer than 1 run.

    Examples
    --------
    >>> from lib.problems.routing import lkh_tour
    >>> lkh_tour([[0, 0], [1, 1], [0, 1], [1, 0]])[1]
    4.0
    """
    points, runs = points_of("coords", coords), checks.integer("runs", runs, low=1)
    distance = distance_matrix(points)
    if len(points) < 4 or distance.max() == 0:  # every tour is as long
        tour = np.arange(len(points))
    else:
        tour = _lkh(np.rint(LKH_LONGEST * (distance / distance.max())).astype(np.int64), runs)
    return tour, float(tour_length(points, tour))


def lkh_path(path: npt.ArrayLike, runs: int = 1) -> Ints:
    """Order (n,) of one path's points (n, 2) between its fixed ends, by LKH; raises as `lkh_tour`.

    The link from the last point back to the first is free while every other link costs more by the length of the given
    path. All tours have the same number of links, so one without the free link costs more than the given path with it: the
    shortest tour takes the free link and is the shortest path.

    Examples
    --------
    >>> from lib.problems.routing import lkh_path
    >>> lkh_path([[0, 0], [2, 0], [1, 0], [3, 0]]).tolist()
    [0, 2, 1, 3]
    """
    points, runs = points_of("path", path), checks.integer("runs", runs, low=1)
    length = float(path_length(points))
    if len(points) < 4 or length == 0:  # no choice
        return np.arange(len(points))
    apart = distance_matrix(points) + length
    matrix = np.rint(LKH_LONGEST * (apart / apart.max())).astype(np.int64)
    matrix[0, -1] = matrix[-1, 0] = 0
    np.fill_diagonal(matrix, 0)
    tour = _lkh(matrix, runs)
    tour = np.roll(tour, -int(np.flatnonzero(tour == 0)[0]))
    return tour if tour[-1] == len(matrix) - 1 else np.roll(tour[::-1], 1)
