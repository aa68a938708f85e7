"""Traveling-salesman instances, with exact solvers, local search and LKH to measure others against.

A TSP instance is an array of points ``coords`` (N, 2), a tour a permutation of 0..N-1 (closed: the last city is joined to
the first), a *path* a list of points whose first and last one are fixed. All lengths are float64 Euclidean distances, never
rounded; every comparison of lengths is relative, so that no unit of length is better than another.

======================= =========================================================================================
`uniform_tsp`           instances with points uniform in the unit square
`cities`                the largest cities of a country, from GeoNames, as a clustered instance
`held_karp_tour`        optimal tour by dynamic programming, N <= 12 (Held and Karp, 1962)
`held_karp_paths`       optimal paths with fixed ends, a batch of them in one table, n <= 13
`lkh_tour`, `lkh_path`  Lin-Kernighan-Helsgaun through the optional package ``elkai``
`nearest_neighbor`      the greedy tour
`random_insertion`      insert cities in random order where they cost least
`local_search`          best-improvement 2-opt and Or-opt until neither helps
`iterated_local_search` the same after random double-bridge kicks
======================= =========================================================================================
"""

from __future__ import annotations

from lib.problems.routing.exact import held_karp_paths, held_karp_tour, lkh_path, lkh_tour
from lib.problems.routing.heuristics import iterated_local_search, local_search, nearest_neighbor, random_insertion
from lib.problems.routing.instances import (
    check_tours,
    distance_matrix,
    is_tour,
    path_length,
    tour_length,
    uniform_tsp,
)
from lib.problems.routing.instances import (
    cities as cities,
)

#: Not `cities`, which has to fetch its data first.
__all__ = [
    "check_tours",
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
