"""Hypervolume, its growth, and the points that no other point dominates."""

from __future__ import annotations

from typing import Any

import numpy as np

from lib import checks
from lib.policies.dynamic_reward_weighting.rewards import directions


def hypervolume(points: Any, ref: Any, maximize: Any) -> float:
    """Volume of what points dominate beyond a reference point: the union of the boxes between the reference and each point.

    Computed by the package `moocore`; `hypervolume_by_slices` is the same in a few readable lines.

    Parameters
    ----------
    points : array_like, shape (N, K)
        May be empty, shape (0, K): volume 0.
    ref : array_like, shape (K,)
        A point that is not better than the reference in every objective has no box.
    maximize : sequence of bool, shape (K,)

    Raises
    ------
    TypeError, ValueError
        For shapes that do not fit, NaN or infinity, or a volume that is too large for a float.
    ModuleNotFoundError
        Without `moocore`.

    Examples
    --------
    >>> from lib.policies.dynamic_reward_weighting import hypervolume
    >>> hypervolume([[2.0, 1.0], [1.0, 2.0]], ref=[0.0, 0.0], maximize=[True, True])
    3.0
    """
    costs, corner = _costs(points, ref, maximize)
    try:
        import moocore
    except ModuleNotFoundError:
        raise ModuleNotFoundError("hypervolume needs the package moocore: pip install moocore") from None
    return _finite(float(moocore.hypervolume(costs, ref=corner))) if len(costs) else 0.0


def hypervolume_by_slices(points: Any, ref: Any, maximize: Any) -> float:
    """The same volume, sliced along the first objective: between two neighboring values, what the better points dominate.

    Parameters
    ----------
    points : array_like, shape (N, K)
        May be empty, shape (0, K).
    ref : array_like, shape (K,)
    maximize : sequence of bool, shape (K,)

    Examples
    --------
    >>> from lib.policies.dynamic_reward_weighting import hypervolume_by_slices
    >>> hypervolume_by_slices([[1.0, 1.0, 1.0], [2.0, 2.0, 0.5]], ref=[0.0, 0.0, 0.0], maximize=[True, True, True])
    2.5
    """
    costs, corner = _costs(points, ref, maximize)
    with np.errstate(over="ignore"):
        return _finite(_sliced(corner - costs[(costs < corner).all(1)]))


def _finite(volume: float) -> float:
    if not np.isfinite(volume):
        raise ValueError("points must span a volume that is finite, got infinity: measure the objectives in other units")
    return volume


def _sliced(gains: np.ndarray) -> float:
    """Volume of the union of the boxes from 0 to each row."""
    if not len(gains):
        return 0.0
    if gains.shape[1] == 1:
        return float(gains.max())
    ordered = gains[np.argsort(-gains[:, 0], kind="stable")]
    widths = ordered[:, 0] - np.append(ordered[1:, 0], 0.0)
    return float(sum(width * _sliced(ordered[: n + 1, 1:]) for n, width in enumerate(widths) if width))  # (3)


def hypervolume_contribution(buffer: Any, point: Any, ref: Any, maximize: Any) -> float:
    """By how much a point enlarges the volume that the points of a buffer dominate; never negative.

    Parameters
    ----------
    buffer : array_like, shape (N, K)
        May be empty, shape (0, K).
    point : array_like, shape (K,)
    ref : array_like, shape (K,)
    maximize : sequence of bool, shape (K,)

    Examples
    --------
    >>> from lib.policies.dynamic_reward_weighting import hypervolume_contribution
    >>> hypervolume_contribution([[2.0, 1.0]], [1.0, 2.0], ref=[0.0, 0.0], maximize=[True, True])
    1.0
    """
    maximize = directions(maximize)
    before = checks.array("buffer", buffer, empty=True, shape=(None, len(maximize)))
    point = checks.array("point", point, shape=(len(maximize),))
    ref = checks.array("ref", ref, shape=(len(maximize),))
    signs = np.where(maximize, 1.0, -1.0)
    if ((before - point) * signs >= 0).all(1).any() or not ((point - ref) * signs > 0).all():
        return 0.0  # dominated, a duplicate, or without a box: exactly nothing, whatever sums round to
    return max(hypervolume(np.vstack([before, point]), ref, maximize) - hypervolume(before, ref, maximize), 0.0)  # (4)


def pareto_front(points: Any, maximize: Any) -> np.ndarray:
    """Indices of the points that no other point dominates, in their order; of equal points the first.

    Parameters
    ----------
    points : array_like, shape (N, K)
    maximize : sequence of bool, shape (K,)

    Examples
    --------
    >>> from lib.policies.dynamic_reward_weighting import pareto_front
    >>> pareto_front([[1.0, 1.0], [2.0, 0.0], [0.5, 1.0]], maximize=[True, True]).tolist()
    [0, 1]
    """
    maximize = directions(maximize)
    gains = np.where(maximize, 1.0, -1.0) * checks.array("points", points, shape=(None, len(maximize)))
    no_worse = (gains[:, None] >= gains).all(2)  # row at least as good as column
    same = no_worse & no_worse.T
    earlier = np.tri(len(gains), k=-1, dtype=bool)
    beaten = (no_worse & ~same).any(0) | (same & earlier).any(1)
    return np.flatnonzero(~beaten)


def _costs(points: Any, ref: Any, maximize: Any) -> tuple[np.ndarray, np.ndarray]:
    """Points and reference with all objectives to be small."""
    maximize = directions(maximize)
    signs = np.where(maximize, -1.0, 1.0)
    costs = signs * checks.array("points", points, empty=True, shape=(None, len(maximize))).astype(float)
    return np.ascontiguousarray(costs), signs * checks.array("ref", ref, shape=(len(maximize),)).astype(float)
