"""Traveling-salesman instances, with exact solvers, local search and LKH to measure others against.

A TSP instance is an array of points ``coords`` (N, 2), a tour a permutation of 0..N-1 (closed: the last city is joined to
the first), a *path* a list of points whose first and last one are fixed. All lengths are float64 Euclidean distances, never
rounded.

======================= =========================================================================================
`uniform_tsp`           instances with points uniform in the unit square
`cities`                the largest cities of a country, from GeoNames, as a clustered instance
`held_karp_tour`        optimal tour by dynamic programming, N <= 13 (Held and Karp, 1962)
`held_karp_paths`       optimal paths with fixed ends, a batch of them in one table, n <= 13
`lkh_tour`, `lkh_path`  Lin-Kernighan-Helsgaun through the optional package ``elkai``
`nearest_neighbor`      the greedy tour
`random_insertion`      insert cities in random order where they cost least
`local_search`          best-improvement 2-opt and Or-opt until neither helps
`iterated_local_search` the same after random double-bridge kicks
======================= =========================================================================================
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

__all__ = [
    "cities",
    "distance_matrix",
    "held_karp_paths",
    "held_karp_tour",
    "is_tour",
    "iterated_local_search",
    "lkh_path",
    "lkh_tour",
    "local_search",
    "nearest_neighbor",
    "path_length",
    "random_insertion",
    "tour_length",
    "uniform_tsp",
]

#: LKH works on 32-bit integers, which it multiplies by 100 and shifts: the largest link is given this length, with room.
LKH_LONGEST = 1_000_000
_MOST_EXACT = 13


# ------------------------------------------------------------------------------------------------------------- instances


def uniform_tsp(n_cities: int, seed: int | np.random.Generator, count: int | None = None) -> Floats:
    """Points drawn uniformly in the unit square: shape (n_cities, 2), or (count, n_cities, 2).

    Raises
    ------
    ValueError
        For fewer than 3 cities or a count below 1.

    Examples
    --------
    >>> from lib.problems.routing import uniform_tsp
    >>> uniform_tsp(5, seed=0).shape, uniform_tsp(5, seed=0, count=2).shape
    ((5, 2), (2, 5, 2))
    """
    if n_cities < 3:
        raise ValueError(f"a tour needs at least 3 cities, got n_cities = {n_cities}")
    if count is not None and count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    shape = (n_cities, 2) if count is None else (count, n_cities, 2)
    return np.random.default_rng(seed).random(shape)


def cities(country: str = "DE", n_cities: int = 100) -> Floats:
    """The largest cities of a country as points in the unit square, by an equirectangular projection about their middle.

    Coordinates are those of `lib.data.world_cities`. The aspect ratio is kept: the larger range is 1.

    Parameters
    ----------
    country : ISO 3166 code of two letters.
    n_cities : how many of the most populous.

    Returns
    -------
    float64, shape (n_cities, 2)

    Raises
    ------
    ValueError
        For a country with fewer cities than asked for (over 15 000 inhabitants each), or fewer than 3 cities.
    lib.data.DataUnavailableError
        No verified copy of the wheel could be had.

    Examples
    --------
    >>> from lib.problems.routing import cities
    >>> cities("DE", 100).shape  # doctest: +SKIP
    (100, 2)
    """
    from lib import data

    degrees = data.world_cities().get(country, np.empty((0, 2)))
    if not 3 <= n_cities <= len(degrees):
        raise ValueError(f"{country!r} has {len(degrees)} cities over 15 000 inhabitants, asked for {n_cities} (at least 3)")
    return _project(degrees[:n_cities])


def _project(degrees: Floats) -> Floats:
    """Longitude, latitude -> the unit square, aspect kept."""
    middle = np.deg2rad(degrees[:, 1].min() + degrees[:, 1].max()) / 2
    plane = degrees * [np.cos(middle), 1.0]
    plane -= plane.min(axis=0)
    return plane / plane.max()


# --------------------------------------------------------------------------------------------------------------- lengths


def distance_matrix(coords: npt.ArrayLike) -> Floats:
    """Euclidean distances (..., N, N) of points (..., N, 2)."""
    points = np.asarray(coords, dtype=np.float64)
    return np.linalg.norm(points[..., :, None, :] - points[..., None, :, :], axis=-1)


def path_length(paths: npt.ArrayLike) -> Floats:
    """Length (...) of open paths through points (..., n, 2) in this order."""
    return np.linalg.norm(np.diff(np.asarray(paths, dtype=np.float64), axis=-2), axis=-1).sum(axis=-1)


def tour_length(coords: npt.ArrayLike, tours: npt.ArrayLike) -> Any:
    """Length of closed tours.

    Parameters
    ----------
    coords : array, shape (N, 2)
    tours : int array, shape (..., N)

    Returns
    -------
    float64, shape (...)

    Raises
    ------
    ValueError
        If a tour is no permutation of 0..N-1.

    Examples
    --------
    >>> from lib.problems.routing import tour_length
    >>> float(tour_length([[0, 0], [0, 1], [1, 1], [1, 0]], [0, 1, 2, 3]))
    4.0
    """
    points, order = np.asarray(coords, dtype=np.float64), np.asarray(tours)
    if not is_tour(order, len(points)):
        raise ValueError(f"a tour is a permutation of 0..{len(points) - 1}, got {order!r}")
    path = points[order]
    return path_length(np.concatenate([path, path[..., :1, :]], axis=-2))


def is_tour(tours: npt.ArrayLike, n_cities: int) -> bool:
    """Whether every row of `tours` (..., N) is a permutation of 0..n_cities-1."""
    order = np.asarray(tours)
    return order.shape[-1] == n_cities and bool((np.sort(order, axis=-1) == np.arange(n_cities)).all())


# ---------------------------------------------------------------------------------------------------------- exact solvers


def held_karp_paths(paths: npt.ArrayLike) -> tuple[Ints, Floats]:
    """Shortest orders of points between fixed ends, for a batch of paths, by dynamic programming over subsets.

    Time O(2^m m^2) and memory O(2^m m) per path, m = n - 2; all paths share the loop over subsets.

    Parameters
    ----------
    paths : array, shape (B, n, 2), 3 <= n <= 13
        The first and the last point of each stay where they are.

    Returns
    -------
    order : int64, shape (B, n)
        Local indices, ``order[:, 0] == 0`` and ``order[:, -1] == n - 1``.
    length : float64, shape (B,)

    Raises
    ------
    ValueError
        For another shape or a larger n.

    Examples
    --------
    >>> from lib.problems.routing import held_karp_paths
    >>> held_karp_paths([[[0, 0], [2, 0], [1, 0], [3, 0]]])[0].tolist()
    [[0, 2, 1, 3]]
    """
    points = np.asarray(paths, dtype=np.float64)
    if points.ndim != 3 or points.shape[2] != 2 or not 3 <= points.shape[1] <= _MOST_EXACT:
        raise ValueError(f"paths must have shape (B, n, 2) with 3 <= n <= {_MOST_EXACT}, got {points.shape}")
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
    """An optimal closed tour of at most 12 cities and its length (raises as `held_karp_paths`).

    Examples
    --------
    >>> from lib.problems.routing import held_karp_tour
    >>> held_karp_tour([[0, 0], [1, 1], [0, 1], [1, 0]])[1]
    4.0
    """
    points = np.asarray(coords, dtype=np.float64)
    if points.ndim != 2:
        raise ValueError(f"coords must have shape (N, 2), got {points.shape}")
    order, length = held_karp_paths(np.concatenate([points, points[:1]])[None])
    return order[0, :-1], float(length[0])


def _lkh(matrix: Ints, runs: int) -> Ints:
    try:
        import elkai
    except ImportError:
        raise ImportError("LKH needs the package elkai (for academic and non-commercial use): pip install elkai") from None
    return np.array(elkai.DistanceMatrix(matrix.tolist()).solve_tsp(runs)[:-1])


def lkh_tour(coords: npt.ArrayLike, runs: int = 1) -> tuple[Ints, float]:
    """Tour by LKH 3 (near-optimal, in practice optimal up to some hundred cities) and its true length.

    Raises
    ------
    ImportError
        If ``elkai`` is not installed.

    Examples
    --------
    >>> from lib.problems.routing import lkh_tour
    >>> lkh_tour([[0, 0], [1, 1], [0, 1], [1, 0]])[1]  # doctest: +SKIP
    4.0
    """
    distance = distance_matrix(coords)
    tour = _lkh(np.rint(LKH_LONGEST / max(distance.max(), 1e-300) * distance).astype(np.int64), runs)
    return tour, float(tour_length(coords, tour))


def lkh_path(path: npt.ArrayLike, runs: int = 1) -> Ints:
    """Order (n,) of one path's points (n, 2) between its fixed ends, by LKH; raises as `lkh_tour`.

    The link from the last point back to the first is free while every other link costs more by the length of the given
    path. All tours have the same number of links, so one without the free link costs more than the given path with it: the
    shortest tour takes the free link and is the shortest path.
    """
    distance = distance_matrix(path)
    apart = distance + float(path_length(path))
    matrix = np.rint(LKH_LONGEST / max(apart.max(), 1e-300) * apart).astype(np.int64)
    matrix[0, -1] = matrix[-1, 0] = 0
    np.fill_diagonal(matrix, 0)
    tour = _lkh(matrix, runs)
    tour = np.roll(tour, -int(np.flatnonzero(tour == 0)[0]))
    return tour if tour[-1] == len(matrix) - 1 else np.roll(tour[::-1], 1)


# ------------------------------------------------------------------------------------------------------------ heuristics


def nearest_neighbor(coords: npt.ArrayLike, start: int = 0) -> Ints:
    """Tour (N,) that always goes on to the nearest city not yet visited."""
    distance = distance_matrix(coords)
    tour, free = [start], np.ones(len(distance), dtype=bool)
    free[start] = False
    while free.any():
        tour.append(int(np.where(free, distance[tour[-1]], np.inf).argmin()))
        free[tour[-1]] = False
    return np.array(tour)


def random_insertion(coords: npt.ArrayLike, seed: int | np.random.Generator) -> Ints:
    """Tour (N,) that takes the cities in random order, each put where it lengthens the tour least."""
    distance = distance_matrix(coords)
    order = np.random.default_rng(seed).permutation(len(distance))
    tour = order[:2]
    for city in order[2:]:
        after = np.roll(tour, -1)
        place = (distance[tour, city] + distance[city, after] - distance[tour, after]).argmin()
        tour = np.insert(tour, place + 1, city)
    return tour


def local_search(coords: npt.ArrayLike, tour: npt.ArrayLike, max_moves: int = 100_000) -> Ints:
    """Improve a tour by the best 2-opt or Or-opt move until no move helps (or `max_moves` were made).

    2-opt reverses a stretch; Or-opt moves a stretch of one to three cities elsewhere, either way round. All moves of a
    kind are evaluated at once: O(N^2) per move made.

    Examples
    --------
    >>> from lib.problems.routing import local_search
    >>> local_search([[0, 0], [1, 1], [0, 1], [1, 0]], [0, 1, 2, 3]).tolist()
    [0, 2, 1, 3]
    """
    distance, order = distance_matrix(coords), np.array(tour, dtype=np.int64)
    for _ in range(max_moves):
        gain, better = max((_best_two_opt(distance, order), _best_or_opt(distance, order)), key=lambda move: move[0])
        if gain <= 1e-9:
            break
        order = better
    return order


def _best_two_opt(distance: Floats, tour: Ints) -> tuple[float, Ints]:
    """Gain of the best reversal, and the tour after it."""
    here = distance[np.ix_(tour, tour)]
    ahead = np.roll(here, (-1, -1), axis=(0, 1))
    step = np.diagonal(np.roll(here, -1, axis=1))
    gain = np.triu(step[:, None] + step[None, :] - here - ahead, 1)
    i, j = np.unravel_index(gain.argmax(), gain.shape)
    return float(gain[i, j]), np.concatenate([tour[: i + 1], tour[i + 1 : j + 1][::-1], tour[j + 1 :]])


def _best_or_opt(distance: Floats, tour: Ints) -> tuple[float, Ints]:
    """Gain of the best move of a stretch of one to three cities, and the tour after it."""
    n_cities, best = len(tour), (0.0, tour)
    here = distance[np.ix_(tour, tour)]
    step = np.diagonal(np.roll(here, -1, axis=1))  # step[j]: from position j to j + 1
    ahead = np.roll(here, -1, axis=0)  # ahead[j, s]: from position j + 1 to s
    for length in range(1, min(4, n_cities - 2)):
        tail = (np.arange(n_cities) + length - 1) % n_cities
        before, after = np.arange(-1, n_cities - 1) % n_cities, (tail + 1) % n_cities
        freed = step[before] + step[tail] - here[before, after]
        inside = (np.arange(n_cities)[:, None] - before[None, :]) % n_cities <= length
        for flip in (False, True):
            first, final = (tail, np.arange(n_cities)) if flip else (np.arange(n_cities), tail)
            gain = np.where(inside, -np.inf, freed + step[:, None] - here[:, first] - ahead[:, final])
            j, s = np.unravel_index(gain.argmax(), gain.shape)
            if gain[j, s] > best[0]:
                best = float(gain[j, s]), _move_stretch(tour, int(s), length, int(j), flip)
    return best


def _move_stretch(tour: Ints, s: int, length: int, j: int, flip: bool) -> Ints:
    turned = np.roll(tour, -s)  # the stretch comes first
    stretch, rest = turned[:length], turned[length:]
    place = (j - s) % len(tour) - length + 1
    return np.concatenate([rest[:place], stretch[::-1] if flip else stretch, rest[place:]])


def iterated_local_search(coords: npt.ArrayLike, tour: npt.ArrayLike, kicks: int, seed: int | np.random.Generator) -> Ints:
    """`local_search`, then `kicks` times: a random double bridge, local search again, kept where the tour got shorter.

    Examples
    --------
    >>> from lib.problems.routing import is_tour, iterated_local_search, uniform_tsp
    >>> is_tour(iterated_local_search(uniform_tsp(12, 0), range(12), kicks=3, seed=0), 12)
    True
    """
    rng = np.random.default_rng(seed)
    best = local_search(coords, tour)
    for _ in range(kicks):
        a, b, c = np.sort(rng.choice(np.arange(1, len(best)), 3, replace=False))
        kicked = local_search(coords, np.concatenate([best[:a], best[b:c], best[a:b], best[c:]]))
        if tour_length(coords, kicked) < tour_length(coords, best):
            best = kicked
    return best
