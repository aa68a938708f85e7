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

Floats = npt.NDArray[np.float64]

__all__ = ["knapsack_optimum", "uniform_knapsack"]


def uniform_knapsack(n_items: int, seed: int | np.random.Generator, count: int | None = None) -> Floats:
    """Items with value and weight uniform in (0, 1): shape (n_items, 2), or (count, n_items, 2).

    Raises
    ------
    ValueError
        For fewer than 1 item or a count below 1.

    Examples
    --------
    >>> from lib.problems.packing import uniform_knapsack
    >>> uniform_knapsack(5, seed=0).shape
    (5, 2)
    """
    if n_items < 1 or (count is not None and count < 1):
        raise ValueError(f"n_items and count must be at least 1, got {n_items} and {count}")
    shape = (n_items, 2) if count is None else (count, n_items, 2)
    return 1.0 - np.random.default_rng(seed).random(shape)  # in (0, 1]: no item is free


def knapsack_optimum(items: npt.ArrayLike, capacity: float) -> tuple[npt.NDArray[np.bool_], float]:
    """Most valuable set of items that fits, exactly, by integer programming (HiGHS).

    Parameters
    ----------
    items : array, shape (N, 2)
        Value and weight of each.
    capacity : float
        Positive.

    Returns
    -------
    chosen : bool, shape (N,)
    value : float

    Raises
    ------
    ValueError
        For another shape or a capacity that is not positive.

    Examples
    --------
    >>> from lib.problems.packing import knapsack_optimum
    >>> knapsack_optimum([[3, 2], [2, 1], [2, 1]], 2)[1]
    4.0
    """
    from scipy.optimize import Bounds, LinearConstraint, milp

    table = np.asarray(items, dtype=np.float64)
    if table.ndim != 2 or table.shape[1] != 2:
        raise ValueError(f"items must have shape (N, 2), values and weights, got {table.shape}")
    if not capacity > 0:
        raise ValueError(f"capacity must be positive, got {capacity}")
    fits = LinearConstraint(table[None, :, 1], ub=capacity)
    solution = milp(-table[:, 0], integrality=1, bounds=Bounds(0, 1), constraints=fits, options={"mip_rel_gap": 0})
    chosen = solution.x > 0.5
    return chosen, float(table[chosen, 0].sum())
