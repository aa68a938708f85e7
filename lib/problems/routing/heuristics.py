"""Heuristics: the greedy tour, insertion, and local search."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lib import checks
from lib.problems.routing.instances import Floats, Ints, check_tours, distance_matrix, points_of, tour_length

#: A move has to shorten the tour by more than this part of its length: rounding errors are no gain.
LEAST_GAIN = 1e-10


def nearest_neighbor(coords: npt.ArrayLike, start: int = 0) -> Ints:
    """Tour (N,) of points (N, 2) that always goes on to the nearest city not yet visited.

    Raises
    ------
    ValueError, TypeError
        For points that are not finite, or a start that is none of 0..N-1.

    Examples
    --------
    >>> from lib.problems.routing import nearest_neighbor
    >>> nearest_neighbor([[0, 0], [3, 0], [1, 0]], start=1).tolist()
    [1, 2, 0]
    """
    points = points_of("coords", coords)
    start, distance = checks.integer("start", start, low=0, high=len(points) - 1), distance_matrix(points)
    tour, free = [start], np.ones(len(distance), dtype=bool)
    free[start] = False
    while free.any():
        tour.append(int(np.where(free, distance[tour[-1]], np.inf).argmin()))
        free[tour[-1]] = False
    return np.array(tour)


def random_insertion(coords: npt.ArrayLike, seed: int | np.random.Generator) -> Ints:
    """Tour (N,) of points (N, 2) that takes the cities in random order, each put where it lengthens the tour least.

    Raises
    ------
    ValueError, TypeError
        For points that are not finite, or a bad seed.

    Examples
    --------
    >>> from lib.problems.routing import is_tour, random_insertion, uniform_tsp
    >>> is_tour(random_insertion(uniform_tsp(12, 0), seed=0), 12)
    True
    """
    distance = distance_matrix(points_of("coords", coords))
    order = checks.generator("seed", seed).permutation(len(distance))
    tour = order[:2]
    for city in order[2:]:
        after = np.roll(tour, -1)
        place = (distance[tour, city] + distance[city, after] - distance[tour, after]).argmin()
        tour = np.insert(tour, place + 1, city)
    return tour


def local_search(coords: npt.ArrayLike, tour: npt.ArrayLike, max_moves: int = 100_000) -> Ints:
    """Improve a tour (N,) of points (N, 2) by the best 2-opt or Or-opt move until no move helps (or `max_moves` were made).

    2-opt reverses a stretch; Or-opt moves a stretch of one to three cities elsewhere, either way round. All moves of a
    kind are evaluated at once: O(N^2) per move made. A move helps if it saves more than 1e-10 of the tour's length.

    Raises
    ------
    ValueError, TypeError
        For points that are not finite, a tour that is no permutation, or a negative number of moves.

    Examples
    --------
    >>> from lib.problems.routing import local_search
    >>> local_search([[0, 0], [1, 1], [0, 1], [1, 0]], [0, 1, 2, 3]).tolist()
    [0, 2, 1, 3]
    """
    points = points_of("coords", coords)
    order, distance = _one_tour(tour, len(points)), distance_matrix(points)
    for _ in range(checks.integer("max_moves", max_moves, low=0) if len(points) > 3 else 0):
        gain, better = max((_best_two_opt(distance, order), _best_or_opt(distance, order)), key=lambda move: move[0])
        if gain <= LEAST_GAIN * tour_length(points, order):
            break
        order = better
    return order


def _one_tour(tour: npt.ArrayLike, n_cities: int) -> Ints:
    order = check_tours("tour", tour, n_cities)
    if order.ndim != 1:
        raise ValueError(f"tour must have shape ({n_cities},), got {order.shape}")
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

    Raises as `local_search`, and for negative kicks or a bad seed.

    Examples
    --------
    >>> from lib.problems.routing import is_tour, iterated_local_search, uniform_tsp
    >>> is_tour(iterated_local_search(uniform_tsp(12, 0), range(12), kicks=3, seed=0), 12)
    True
    """
    points, rng = points_of("coords", coords), checks.generator("seed", seed)
    best = local_search(points, tour)
    length = tour_length(points, best)
    for _ in range(checks.integer("kicks", kicks, low=0) if len(points) > 3 else 0):
        a, b, c = np.sort(rng.choice(np.arange(1, len(best)), 3, replace=False))
        kicked = local_search(points, np.concatenate([best[:a], best[b:c], best[a:b], best[c:]]))
        if (new := tour_length(points, kicked)) < length * (1 - LEAST_GAIN):
            best, length = kicked, new
    return best
