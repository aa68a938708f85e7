"""Knapsack instances and their exact optimum.

An instance is an array ``items`` (N, 2) of values and weights, with a capacity.

======================= =========================================================================================
`uniform_knapsack`      items with uniform values and weights
`knapsack_optimum`      exact by integer programming (SciPy's HiGHS)
======================= =========================================================================================
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lib import checks

Floats = npt.NDArray[np.float64]

__all__ = ["knapsack_optimum", "uniform_knapsack"]


def uniform_knapsack(n_items: int, seed: int | np.random.Generator, count: int | None = None) -> Floats:
    """Items with value and weight uniform in (0, 1): shape (n_items, 2), or (count, n_items, 2).

    Raises
    ------
    ValueError, TypeError
        For fewer than 1 item, a count below 1, or a bad seed.

    Examples
    --------
    >>> from lib.problems.packing import uniform_knapsack
    >>> uniform_knapsack(5, seed=0).shape
    (5, 2)
    """
    shape: tuple[int, ...] = (checks.integer("n_items", n_items, low=1), 2)
    if count is not None:
        shape = (checks.integer("count", count, low=1), *shape)
    return 1.0 - checks.generator("seed", seed).random(shape)  # in (0, 1]: no item is free


def knapsack_optimum(items: npt.ArrayLike, capacity: float) -> tuple[npt.NDArray[np.bool_], float]:
    """Most valuable set of items that fits, exactly, by integer programming (HiGHS).

    Parameters
    ----------
    items : array, shape (N, 2)
        Value and weight of each, none negative.
    capacity : float
        Not negative.

    Returns
    -------
    chosen : bool, shape (N,)
    value : float

    Raises
    ------
    ValueError, TypeError
        For another shape, numbers that are not finite or negative, or a capacity that is.
    RuntimeError
        If the solver does not prove an optimum.

    Examples
    --------
    >>> from lib.problems.packing import knapsack_optimum
    >>> knapsack_optimum([[3, 2], [2, 1], [2, 1]], 2)[1]
    4.0
    """
    from scipy.optimize import Bounds, LinearConstraint, milp

    table = checks.array("items", items, ndim=2, low=0).astype(np.float64, copy=False)
    if table.shape[1] != 2:
        raise ValueError(f"items must have shape (N, 2), values and weights, got {table.shape}")
    room = checks.number("capacity", capacity, low=0)
    chosen = table[:, 1] == 0  # what weighs nothing comes along; the rest is scaled, so that no unit is better than another
    some = np.flatnonzero((table[:, 1] > 0) & (table[:, 1] <= room))
    if some.size:
        value, weight = table[some].T
        fits = LinearConstraint((weight / room)[None], ub=1.0)
        best = max(value.max(), np.finfo(float).tiny)
        solution = milp(-value / best, integrality=1, bounds=Bounds(0, 1), constraints=fits, options={"mip_rel_gap": 0})
        if not solution.success:
            raise RuntimeError(f"no proven optimum: {solution.message}")
        chosen[some] = solution.x > 0.5
    return chosen, float(table[chosen, 0].sum())
