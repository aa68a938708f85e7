"""Sketches to start from, gaps, and the other numbers that the chapter prints."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from lib import checks
from lib.policies.udc.framework import UDC
from lib.policies.udc.problem import conquer
from lib.policies.udc.study.training import RULES
from lib.problems import routing

Floats = npt.NDArray[np.float64]


def sketch(rule: str, coords: npt.ArrayLike, seed: int | np.random.Generator) -> npt.NDArray[np.int64]:
    """One initial tour per instance by a rule without learning: (B, 1, N) for instances (B, N, 2).

    Raises
    ------
    ValueError, TypeError
        For a rule other than "random", "nearest neighbor", "random insertion", or bad instances or seed.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.policies.udc.study import sketch
    >>> sketch("random insertion", np.random.default_rng(0).random((3, 12, 2)), seed=0).shape
    (3, 1, 12)
    """
    checks.choice("rule", rule, RULES)
    rng, points = checks.generator("seed", seed), checks.array("coords", coords, shape=(None, None, 2))
    makers: dict[str, Any] = {
        "random": lambda x: rng.permutation(len(x)),
        "nearest neighbor": lambda x: routing.nearest_neighbor(x, int(rng.integers(len(x)))),
        "random insertion": lambda x: routing.random_insertion(x, rng),
    }
    return np.stack([makers[rule](x) for x in points])[:, None]


def best_known(coords: npt.ArrayLike, runs: int = 1) -> Floats:
    """Lengths (B,) of LKH's tours of instances (B, N, 2): the reference of every gap.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.policies.udc.study import best_known
    >>> best_known(np.random.default_rng(0).random((3, 12, 2))).shape
    (3,)
    """
    points = checks.array("coords", coords, shape=(None, None, 2))
    return np.array([routing.lkh_tour(x, runs)[1] for x in points])


def gaps(history: npt.ArrayLike, reference: npt.ArrayLike) -> Floats:
    """Mean gap in % after each stage: `history` (stages + 1, B, alpha) against `reference` (B,), averaged over both axes.

    The mean over the alpha solutions, not their best. Costs may be negative (values to be maximized); the reference is not 0.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.policies.udc.study import gaps
    >>> gaps(np.full((1, 1, 1), 11.0), np.array([10.0])).round(6).tolist()
    [10.0]
    """
    costs, best = checks.array("history", history, ndim=3), checks.array("reference", reference, ndim=1)
    if costs.shape[1] != len(best):
        raise ValueError(f"history and reference must be of the same instances, got {costs.shape[1]} and {len(best)}")
    if (best == 0).any():
        raise ValueError("reference must not be 0")
    return 100 * ((costs.mean(-1) - best) / np.abs(best)).mean(1)


def fixed_cuts(model: UDC, coords: npt.ArrayLike, sketches: npt.ArrayLike, stages: int) -> Floats:
    """Costs (stages + 1, B, alpha) of conquering again and again at the same cuts: what repeats without reunion.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.policies.udc.study import fixed_cuts, new_model, sketch
    >>> x = np.random.default_rng(0).random((2, 20, 2))
    >>> fixed_cuts(new_model(), x, sketch("nearest neighbor", x, seed=0), stages=2).shape
    (3, 2, 1)
    """
    points = checks.array("coords", coords, shape=(None, None, 2))
    tours = routing.check_tours("sketches", sketches, points.shape[1])
    lengths = [_lengths(points, tours)]
    for _ in range(checks.integer("stages", stages, low=0)):
        tours = conquer(points, tours, model.solver, model.n, 0, problem=model.problem)
        lengths.append(_lengths(points, tours))
    return np.array(lengths)


def _lengths(points: Floats, tours: npt.NDArray[np.int64]) -> Floats:
    return np.array([routing.tour_length(x, t) for x, t in zip(points, tours, strict=True)])


def smooth(curve: npt.ArrayLike, window: int) -> Floats:
    """Moving average of the columns of a curve (steps, m), the first `window` - 1 over what there is.

    Values may be negative; NaN allowed (a column of them stays one).

    Examples
    --------
    >>> from lib.policies.udc.study import smooth
    >>> smooth([[0.0], [2.0], [4.0]], 2)[:, 0].tolist()
    [0.0, 1.0, 3.0]
    """
    rows, window = checks.array("curve", curve, ndim=2, nan=True), checks.integer("window", window, low=1)
    total = np.cumsum(rows.astype(np.float64), axis=0)
    shifted = np.concatenate([np.zeros_like(total[:window]), total[:-window]])
    return (total - shifted) / np.minimum(np.arange(1, len(total) + 1), window)[:, None]


def rank_correlation(history: npt.ArrayLike, stages: tuple[int, ...]) -> Floats:
    """Spearman's correlation, over the sketches of an instance, of the costs after `stages` with the final ones.

    `history` (r + 1, B, alpha), alpha at least 2; returns the mean over instances, (len(stages),).

    Examples
    --------
    >>> import numpy as np
    >>> from lib.policies.udc.study import rank_correlation
    >>> rank_correlation(np.random.default_rng(0).random((4, 3, 9)), stages=(3,)).round(6).tolist()
    [1.0]
    """
    from scipy.stats import spearmanr

    costs = checks.array("history", history, ndim=3)
    last = len(costs) - 1
    if costs.shape[2] < 2:
        raise ValueError(f"history must hold at least 2 solutions of each instance, got shape {costs.shape}")
    chosen = [checks.integer("stages", s, low=0, high=last) for s in stages]
    costs = np.round(costs, 9)  # ties are ties on every CPU
    rows = [[spearmanr(costs[s, b], costs[last, b]).statistic for s in chosen] for b in range(costs.shape[1])]
    return np.nanmean(np.array(rows), axis=0)


def nearest_share(paths: npt.ArrayLike, order: npt.ArrayLike) -> float:
    """Share of the steps along `paths` (P, n, 2) in `order` (P, n) that go to the nearest free point.

    Free are the points not yet visited but the last one, whose place is fixed; steps without a choice are not counted.

    Examples
    --------
    >>> from lib.policies.udc.study import nearest_share
    >>> nearest_share([[[0, 0], [1, 0], [2, 0], [3, 0]]], [[0, 2, 1, 3]])
    0.0
    """
    points = checks.array("paths", paths, shape=(None, None, 2))
    walk = routing.check_tours("order", order, points.shape[1])
    if len(walk) != len(points) or points.shape[1] < 4:
        raise ValueError(f"order must have shape ({len(points)}, n), n >= 4, got {walk.shape}")
    distance = routing.distance_matrix(np.take_along_axis(points, walk[..., None], axis=1))[:, :-3, :-1]
    ahead = np.arange(distance.shape[2]) > np.arange(distance.shape[1])[:, None]
    taken = np.diagonal(distance, 1, axis1=1, axis2=2)
    return float((taken <= np.where(ahead, distance, np.inf).min(axis=2)).mean())


def fill_in_order(items: npt.ArrayLike, capacity: float, order: npt.ArrayLike) -> float:
    """Value of the items (N, 2) taken in this order, each that still fits.

    Examples
    --------
    >>> from lib.policies.udc.study import fill_in_order
    >>> fill_in_order([[3.0, 2.0], [2.0, 1.0]], capacity=2.0, order=[1, 0])
    2.0
    """
    table, room = checks.array("items", items, shape=(None, 2), low=0), checks.number("capacity", capacity, low=0)
    value = 0.0
    for item in routing.check_tours("order", order, len(table)).ravel():
        if table[item, 1] <= room:
            room, value = room - table[item, 1], value + table[item, 0]
    return float(value)
