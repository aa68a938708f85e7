"""How good and how diverse a set is: hypervolume, R2, distance to the front, entropy over the front, the best few.

All objectives shall be large; signs are turned where a library wants costs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from lib import checks


def hypervolume(R: Any, ref: Any = 0.0) -> float:
    """Volume that a set dominates beyond a reference point, by the package `moocore`.

    Parameters
    ----------
    R : array_like, shape (n, d)
    ref : float or array_like, shape (d,)
        0 in the paper's code, after scaling to 0..1.

    Raises
    ------
    TypeError, ValueError
        For shapes that do not fit, NaN or infinity, or a volume that is too large for a float.
    ModuleNotFoundError
        Without `moocore`.

    Examples
    --------
    >>> from lib.objectives.mogfn import hypervolume
    >>> hypervolume([[1.0, 0.5], [0.5, 1.0]])
    0.75
    """
    R, ref = _rows("R", R), checks.array("ref", ref, ndim=(0, 1)).astype(float)
    if ref.ndim and len(ref) != R.shape[1]:
        raise ValueError(f"ref must have {R.shape[1]} entries, one for each column of R, got {len(ref)}")
    return _finite("R", float(_moocore().hypervolume(-R, ref=-np.broadcast_to(ref, R.shape[1:]))))


def igd_plus(R: Any, front: Any) -> float:
    """Mean distance from each point of a front to the set, counting only what the set falls short; by `moocore`.

    Parameters
    ----------
    R : array_like, shape (n, d)
    front : array_like, shape (m, d)

    Examples
    --------
    >>> from lib.objectives.mogfn import igd_plus
    >>> igd_plus([[1.0, 0.0]], front=[[1.0, 0.0], [0.0, 1.0]])
    0.5
    """
    R = _rows("R", R)
    return _finite("R", float(_moocore().igd_plus(R, ref=_rows("front", front, R.shape[1]), maximise=True)))


def pareto_front(R: Any) -> np.ndarray:
    """Indices of the points that no other dominates, in their order; of equal points the first. By `moocore`.

    Parameters
    ----------
    R : array_like, shape (n, d)

    Examples
    --------
    >>> from lib.objectives.mogfn import pareto_front
    >>> pareto_front([[1.0, 0.0], [0.5, 0.0], [0.0, 1.0]]).tolist()
    [0, 2]
    """
    return np.flatnonzero(_moocore().is_nondominated(_rows("R", R), maximise=True, keep_weakly=False))


def r2(R: Any, prefs: Any, utopia: Any = 1.0, norm: str = "frobenius") -> float:
    """How far the best point for each preference stays from the utopia point, weighted; small is good. Equation (9).

    The sum over preferences v of min over points a of max over objectives of v_i abs(u_i - a_i), divided by a norm of V.

    Parameters
    ----------
    R : array_like, shape (n, d)
    prefs : array_like, shape (V, d)
        Not negative; `simplex_grid` makes them.
    utopia : float or array_like, shape (d,)
    norm : {"frobenius", "mean"}
        What the sum is divided by: the Frobenius norm of the preferences, as the official code does, or their number.

    Examples
    --------
    >>> from lib.objectives.mogfn import r2
    >>> r2([[1.0, 0.5]], prefs=[[1.0, 0.0], [0.0, 1.0]], norm="mean")
    0.25
    """
    R = _rows("R", R)
    prefs = _rows("prefs", prefs, R.shape[1])
    if (prefs < 0).any() or not 1e-100 < prefs.max() < 1e100:
        raise ValueError(f"prefs must be not negative and not all 0 or huge, got {prefs.min():.6g} to {prefs.max():.6g}")
    utopia = checks.array("utopia", utopia, ndim=(0, 1)).astype(float)
    if utopia.ndim and len(utopia) != R.shape[1]:
        raise ValueError(f"utopia must have {R.shape[1]} entries, one for each column of R, got {len(utopia)}")
    checks.choice("norm", norm, ("frobenius", "mean"))
    short = np.abs(utopia - R)
    total = sum((v * short).max(1).min() for v in prefs)  # (9)
    return float(total / (np.linalg.norm(prefs) if norm == "frobenius" else len(prefs)))  # (9)


def pc_entropy(R: Any, front: Any) -> float:
    """Entropy of how samples spread over a front: each counts for its nearest point. Equation (11); 0 to log m.

    Parameters
    ----------
    R : array_like, shape (n, d)
    front : array_like, shape (m, d)

    Examples
    --------
    >>> from lib.objectives.mogfn import pc_entropy
    >>> round(pc_entropy([[1.0, 0.1], [0.1, 0.9]], front=[[1.0, 0.0], [0.0, 1.0]]), 4)
    0.6931
    """
    R = _rows("R", R)
    front = _rows("front", front, R.shape[1])
    nearest = ((R[:, None] - front) ** 2).sum(-1).argmin(1)
    share = np.bincount(nearest) / len(R)
    share = share[share > 0]
    return max(0.0, float(-(share * np.log(share)).sum()))  # (11)


def topk(
    rewards: Any, objects: Sequence[Any], k: int = 10, distance: Callable[[Any, Any], float] | None = None
) -> tuple[float, float]:
    """Mean reward of the k best samples, and their mean pairwise distance.

    Parameters
    ----------
    rewards : array_like, shape (n,)
        Scalarized.
    objects : sequence, length n
    k : int
        10 in the paper; from 2 to n.
    distance : function, optional
        Of two objects; `edit_distance` by default.

    Examples
    --------
    >>> from lib.objectives.mogfn import topk
    >>> topk([1.0, 0.5, 0.0], ["AV", "AA", "CC"], k=2)
    (0.75, 1.0)
    """
    rewards = checks.array("rewards", rewards, ndim=1)
    if len(objects) != len(rewards):
        raise ValueError(f"objects must be as many as rewards, {len(rewards)}, got {len(objects)}")
    k = checks.integer("k", k, low=2, high=len(rewards))
    measure = edit_distance if distance is None else checks.function("distance", distance)
    best = np.argsort(-rewards, kind="stable")[:k]
    apart = [float(measure(objects[i], objects[j])) for i, j in combinations(best, 2)]
    return float(rewards[best].mean()), _finite("distance", float(np.mean(apart)))


def edit_distance(a: str, b: str) -> int:
    """Fewest insertions, deletions and replacements between two texts, a column of the table in one whole number (Hyyro, 2003).

    Parameters
    ----------
    a, b : str
        May be empty.

    Examples
    --------
    >>> from lib.objectives.mogfn import edit_distance
    >>> edit_distance("AVAVC", "VAVCC")
    2
    """
    for name, text in (("a", a), ("b", b)):
        if not isinstance(text, str):
            raise TypeError(f"{name} must be a text, got {checks.shown(text)}")
    if not a or not b:
        return len(a) + len(b)
    places: dict[str, int] = {}
    for k, letter in enumerate(a):
        places[letter] = places.get(letter, 0) | (1 << k)
    everything, last = (1 << len(a)) - 1, 1 << (len(a) - 1)
    up, down, score = everything, 0, len(a)
    for letter in b:
        match = places.get(letter, 0)
        diagonal = (((match & up) + up) ^ up) | match | down
        right_up, right_down = down | (everything & ~(diagonal | up)), up & diagonal
        score += bool(right_up & last) - bool(right_down & last)
        right_up, right_down = ((right_up << 1) | 1) & everything, (right_down << 1) & everything
        up, down = right_down | (everything & ~(diagonal | right_up)), right_up & diagonal
    return score


def simplex_grid(d: int, points: int = 10) -> np.ndarray:
    """All preferences whose entries are multiples of 1 / (points - 1), shape (V, d).

    Parameters
    ----------
    d : int
        At least 2.
    points : int
        Along an axis, at least 2; 10 in training and 50 in the final evaluation of the official code.

    Examples
    --------
    >>> from lib.objectives.mogfn import simplex_grid
    >>> simplex_grid(2, points=3).tolist()
    [[0.0, 1.0], [0.5, 0.5], [1.0, 0.0]]
    """
    d, n = checks.integer("d", d, low=2), checks.integer("points", points, low=2) - 1
    size = float(np.prod([(n + k) / k for k in range(1, d)]))
    if size > 1e6 or size * d > 1e7:
        raise ValueError(f"points must leave at most a million preferences, got {points} for d={d}")
    bars = np.array(list(combinations(range(n + d - 1), d - 1)))
    edges = np.column_stack([np.full(len(bars), -1), bars, np.full(len(bars), n + d - 1)])
    return (np.diff(edges, axis=1) - 1) / n


def _finite(name: str, value: float) -> float:
    if not np.isfinite(value):
        raise ValueError(f"{name} must lead to a finite number, got {value}: take other units")
    return value


def _rows(name: str, value: Any, d: int | None = None) -> np.ndarray:
    return np.ascontiguousarray(checks.array(name, value, shape=(None, d)).astype(float))


def _moocore() -> Any:
    try:
        import moocore
    except ModuleNotFoundError:
        raise ModuleNotFoundError("this metric needs the package moocore: pip install moocore") from None
    return moocore
