"""What learners are compared with on a table of costs: best fixed arm, instance optimum, golden section."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lib import checks
from lib.online.sor_bandit.solvers import Array


def best_fixed(table: ArrayLike) -> tuple[int, float]:
    """Arm of the smallest mean cost in hindsight, and that mean.

    Examples
    --------
    >>> from lib.online.sor_bandit.study import best_fixed
    >>> best_fixed([[3, 9], [5, 1]])
    (0, 4.0)
    """
    means = checks.array("table", table, ndim=2).mean(axis=0)
    return int(means.argmin()), float(means.min())


def instance_optimal(table: ArrayLike) -> NDArray[Any]:
    """Smallest cost of each instance over the grid, shape (T,): exact, unlike the asymptotic `optimal_omega`.

    Examples
    --------
    >>> from lib.online.sor_bandit.study import instance_optimal
    >>> instance_optimal([[3, 9], [5, 1]])
    array([3, 1])
    """
    checks.array("table", table, ndim=2)
    return np.asarray(table).min(axis=1)


def golden_section(
    cost: Callable[[float], float], omegas: ArrayLike, costs: ArrayLike, n_evaluations: int = 12
) -> tuple[Array, Array]:
    """Refine a coarse grid of costs around its minimum by golden-section search.

    The inner points are kept in order; the published code does not, and can then search next to the minimum.

    Parameters
    ----------
    cost : callable
        Cost at an omega.
    omegas, costs : array, shape (k,)
        Increasing grid and its costs, at least 3 points.
    n_evaluations : int
        Total number of points wanted, those given included; default 12 (the paper's value).

    Returns
    -------
    omegas, costs : arrays, shape (max(k, n_evaluations),)
        The given points followed by those of the search.

    Raises
    ------
    ValueError
        Fewer than 3 points, a grid that does not increase, shapes that differ.

    Examples
    --------
    >>> from lib.online.sor_bandit.study import golden_section
    >>> omegas, costs = golden_section(lambda w: (w - 1.2) ** 2, [1.0, 1.3, 1.9], [0.04, 0.01, 0.49], 20)
    >>> bool(abs(omegas[costs.argmin()] - 1.2) < 1e-3)
    True

    Source: Khodak et al. (2024), the instance-optimal comparator of the heat experiments.
    """
    points = checks.array("omegas", omegas, ndim=1)
    values = checks.array("costs", costs, shape=points.shape)
    n_evaluations = checks.integer("n_evaluations", n_evaluations, low=1)
    if len(points) < 3 or not (np.diff(points) > 0.0).all():
        raise ValueError(f"omegas must be at least 3 increasing numbers, got {points}")
    seen, found = points.tolist(), values.tolist()

    def evaluate(omega: float) -> float:
        if len(seen) >= n_evaluations:
            return np.inf
        seen.append(omega)
        found.append(float(cost(omega)))
        return found[-1]

    minima = np.flatnonzero(values == values.min())
    left, right = max(0, minima[0] - 1), min(len(points) - 1, minima[-1] + 1)
    low, high = points[left], points[right]
    inner = slice(left + 1, right)
    a, fa, b, fb = _inner_pair(evaluate, low, high, points[inner], values[inner])
    while len(seen) < n_evaluations:
        # Counts tie often on a flat minimum; alternating sides keeps the search centered.
        if fa > fb or (fa == fb and len(seen) % 2 == 0):
            low, a, fa = a, b, fb
            b = low + _GOLDEN * (high - low)
            fb = evaluate(b)
        else:
            high, b, fb = b, a, fa
            a = low + (1.0 - _GOLDEN) * (high - low)
            fa = evaluate(a)
        # The first inner points are not in the golden ratio, so a new one can land on the other side of the old one.
        if a > b:
            a, fa, b, fb = b, fb, a, fa
    return np.array(seen), np.array(found)


_GOLDEN = (np.sqrt(5.0) - 1.0) / 2.0


def _inner_pair(
    evaluate: Callable[[float], float], low: float, high: float, inside: Array, values: Array
) -> tuple[float, float, float, float]:
    """Two points inside [low, high] with their costs, known ones where there are any, to start the search from."""
    upper, lower = low + _GOLDEN * (high - low), low + (1.0 - _GOLDEN) * (high - low)
    if len(inside) == 2:
        return float(inside[0]), float(values[0]), float(inside[1]), float(values[1])
    if len(inside) == 1 and high - inside[0] != inside[0] - low:
        if high - inside[0] > inside[0] - low:
            return float(inside[0]), float(values[0]), upper, evaluate(upper)
        return lower, evaluate(lower), float(inside[0]), float(values[0])
    return lower, evaluate(lower), upper, evaluate(upper)


def central_minimizer(omegas: ArrayLike, costs: ArrayLike) -> float:
    """Middle between the smallest and the largest omega of minimal cost: the instance-optimal choice of the heat experiments.

    Examples
    --------
    >>> from lib.online.sor_bandit.study import central_minimizer
    >>> central_minimizer([1.0, 1.25, 1.5, 1.75], [9, 7, 7, 8])
    1.375
    """
    points = checks.array("omegas", omegas, ndim=1)
    values = checks.array("costs", costs, shape=points.shape)
    best = points[values == values.min()]
    return float(0.5 * (best.min() + best.max()))
