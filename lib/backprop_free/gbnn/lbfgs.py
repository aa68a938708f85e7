"""L-BFGS whose every sum is taken in one fixed order: the same iterates, to the last bit, on every CPU.

The fit of a piece amplifies rounding errors: data that differ in the sixteenth digit give another network. A linear-algebra
library adds in an order that depends on the CPU. Here sums are NumPy's own and products are entry by entry. Memory, first step,
curvature constants and stopping rules are those of L-BFGS-B, which the authors' code calls.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Objective = Callable[[Floats], tuple[float, Floats]]

_MEMORY = 10  # pairs that are kept
_ARMIJO, _WOLFE = 1e-3, 0.9  # sufficient decrease, curvature
_FTOL = 1e7 * np.finfo(float).eps  # smallest decrease, relative to max(|f|, 1)
_MOST_TRIES = 20  # evaluations in one line search


def minimize_lbfgs(fun: Objective, x: Floats, max_iter: int, gtol: float) -> tuple[Floats, int]:
    """Where the search from `x` ends, and its iterations; `fun` gives a value and its gradient."""
    with np.errstate(over="ignore", invalid="ignore"):
        f, g = fun(x)
        if not math.isfinite(f + dot(g, g)):
            raise ValueError("X is so large that the loss or its gradient overflows; give the features in another unit")
    pairs: deque[tuple[Floats, Floats, float]] = deque(maxlen=_MEMORY)
    for k in range(max_iter):
        if np.abs(g).max() <= gtol:
            return x, k
        direction = _direction(g, pairs)
        slope = dot(g, direction)
        if not slope < 0:  # no descent: forget the past
            pairs.clear()
            direction, slope = -g, -dot(g, g)
        first = 1.0 if pairs else min(1.0, 1 / math.sqrt(-slope))
        found = _line_search(fun, x, f, direction, slope, first)
        if found is None:
            if not pairs:
                return x, k
            pairs.clear()
            continue
        f_before, (step, f, g_new) = f, found
        s, y = step * direction, g_new - g
        x, g = x + s, g_new
        if (sy := dot(s, y)) > np.finfo(float).eps * dot(y, y):
            pairs.append((s, y, sy))
        if f_before - f <= _FTOL * max(abs(f_before), abs(f), 1.0):
            return x, k + 1
    return x, max_iter


def dot(a: Floats, b: Floats) -> float:
    """Inner product, added in NumPy's order."""
    return float(np.add.reduce(a * b))


def _direction(g: Floats, pairs: deque[tuple[Floats, Floats, float]]) -> Floats:
    """Minus the inverse Hessian's estimate times the gradient: the two loops."""
    q, weights = -g, []
    for s, y, sy in reversed(pairs):
        weights.append(dot(s, q) / sy)
        q = q - weights[-1] * y
    if pairs:
        _, y, sy = pairs[-1]
        q = q * (sy / dot(y, y))
    for s, y, sy in pairs:
        q = q + (weights.pop() - dot(y, q) / sy) * s
    return q


def _line_search(
    fun: Objective, x: Floats, f0: float, direction: Floats, slope: float, step: float
) -> tuple[float, float, Floats] | None:
    """A step with the strong Wolfe conditions, else the lowest one seen; None where no step lowers the value."""
    low, high, best = (0.0, f0, slope), None, None
    for _ in range(_MOST_TRIES):
        f, g = fun(x + step * direction)
        bend = dot(g, direction)
        if math.isfinite(f) and f < f0 and (best is None or f < best[1]):
            best = step, f, g
        if not f <= f0 + _ARMIJO * step * slope or f >= low[1]:
            high = step, f, bend
        elif abs(bend) <= -_WOLFE * slope:
            return step, f, g
        else:
            if bend * ((math.inf if high is None else high[0]) - low[0]) >= 0:
                high = low
            low = step, f, bend
        step = 4 * step if high is None else _between(low, high)
    return best


def _between(a: tuple[float, float, float], b: tuple[float, float, float]) -> float:
    """The cubic's minimum between two points with values and slopes, kept off both ends; the middle where there is none."""
    (x0, f0, d0), (x1, f1, d1) = a, b
    width = x1 - x0
    bend = d0 + d1 - 3 * (f0 - f1) / (x0 - x1)
    under = bend * bend - d0 * d1
    if not (math.isfinite(under) and under >= 0):
        return x0 + width / 2
    root = math.copysign(math.sqrt(under), width)
    bottom = d1 - d0 + 2 * root
    share = 1 - (d1 + root - bend) / bottom if bottom else 0.5
    return x0 + width * min(max(share, 0.1), 0.9) if math.isfinite(share) else x0 + width / 2
