"""Instances, tours and their lengths."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from lib import checks

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def uniform_tsp(n_cities: int, seed: int | np.random.Generator, count: int | None = None) -> Floats:
    """Points drawn uniformly in the unit square: shape (n_cities, 2), or (count, n_cities, 2).

    Raises
    ------
    ValueError, TypeError
        For fewer than 1 city, a count below 1, or a bad seed.

    Examples
    --------
    >>> from lib.problems.routing import uniform_tsp
    >>> uniform_tsp(5, seed=0).shape, uniform_tsp(5, seed=0, count=2).shape
    ((5, 2), (2, 5, 2))
    """
    shape = (checks.integer("n_cities", n_cities, low=1), 2)
    if count is not None:
        return checks.generator("seed", seed).random((checks.integer("count", count, low=1), *shape))
    return checks.generator("seed", seed).random(shape)


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

    n_cities = checks.integer("n_cities", n_cities, low=3)
    degrees = data.world_cities().get(country, np.empty((0, 2)))
    if n_cities > len(degrees):
        raise ValueError(f"{country!r} has {len(degrees)} cities over 15 000 inhabitants, asked for n_cities = {n_cities}")
    return _project(degrees[:n_cities])


def _project(degrees: Floats) -> Floats:
    """Longitude, latitude -> the unit square, aspect kept."""
    middle = np.deg2rad(degrees[:, 1].min() + degrees[:, 1].max()) / 2
    plane = degrees * [np.cos(middle), 1.0]
    plane -= plane.min(axis=0)
    return plane / plane.max()


def points_of(name: str, value: npt.ArrayLike, ndim: int | tuple[int, ...] = 2) -> Floats:
    """Checked points (..., 2) as float64; their distances are finite."""
    points = checks.array(name, value, ndim=ndim).astype(np.float64, copy=False)
    if points.shape[-1] != 2:
        raise ValueError(f"{name} must have shape (..., 2), got {points.shape}")
    if np.abs(points).max() > 1e300:
        raise ValueError(f"{name} must be below 1e300 in size (sums of distances overflow), got {np.abs(points).max():.3g}")
    return points


def distance_matrix(coords: npt.ArrayLike) -> Floats:
    """Euclidean distances (..., N, N) of points (..., N, 2).

    Raises
    ------
    ValueError, TypeError
        For points that are not finite, or another shape.

    Examples
    --------
    >>> from lib.problems.routing import distance_matrix
    >>> distance_matrix([[0, 0], [3, 4]]).tolist()
    [[0.0, 5.0], [5.0, 0.0]]
    """
    points = points_of("coords", coords, ndim=(2, 3, 4))
    apart = points[..., :, None, :] - points[..., None, :, :]
    return np.hypot(apart[..., 0], apart[..., 1])


def path_length(paths: npt.ArrayLike) -> Floats:
    """Length (...) of open paths through points (..., n, 2) in this order; one point has length 0.

    Examples
    --------
    >>> from lib.problems.routing import path_length
    >>> float(path_length([[0, 0], [3, 4], [3, 5]]))
    6.0
    """
    steps = np.diff(points_of("paths", paths, ndim=(2, 3, 4, 5)), axis=-2)
    return np.hypot(steps[..., 0], steps[..., 1]).sum(axis=-1)


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
    ValueError, TypeError
        For points that are not finite, or if a tour is no permutation of 0..N-1.

    Examples
    --------
    >>> from lib.problems.routing import tour_length
    >>> float(tour_length([[0, 0], [0, 1], [1, 1], [1, 0]], [0, 1, 2, 3]))
    4.0
    """
    points = points_of("coords", coords)
    path = points[check_tours("tours", tours, len(points))]
    return path_length(np.concatenate([path, path[..., :1, :]], axis=-2))


def is_tour(tours: npt.ArrayLike, n_cities: int) -> bool:
    """Whether every row of `tours` (..., N) is a permutation of 0..n_cities-1.

    Raises
    ------
    ValueError, TypeError
        For what is no array of finite numbers, or fewer than 1 city.

    Examples
    --------
    >>> from lib.problems.routing import is_tour
    >>> is_tour([2, 0, 1], 3), is_tour([0, 0, 1], 3)
    (True, False)
    """
    n_cities, order = checks.integer("n_cities", n_cities, low=1), checks.array("tours", tours)
    return order.ndim > 0 and order.shape[-1] == n_cities and bool((np.sort(order, axis=-1) == np.arange(n_cities)).all())


def check_tours(name: str, tours: npt.ArrayLike, n_cities: int) -> Ints:
    """Tours (..., N) as int64.

    Raises
    ------
    ValueError, TypeError
        If a row is no permutation of 0..n_cities-1.

    Examples
    --------
    >>> from lib.problems.routing import check_tours
    >>> check_tours("tours", [1, 0, 2], n_cities=3)
    array([1, 0, 2])
    """
    order = checks.array(name, tours)
    if not is_tour(order, n_cities):
        raise ValueError(f"{name} must hold permutations of 0..{n_cities - 1}, got {checks.shown(order)}: {order.ravel()[:8]}")
    return order.astype(np.int64)
