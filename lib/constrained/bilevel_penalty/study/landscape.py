"""How far the penalized objective and its gradient are from the exact ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lib import checks

from ..hypergradient import exact_hypergrad, penalty_hypergrad
from .instances import Instance


class Gaps(NamedTuple):
    """Errors of the penalized value and gradient at one point, one for each weight."""

    value: np.ndarray
    gradient: np.ndarray


def landscape_gaps(case: Instance, x: Tensor, sigmas: Sequence[float]) -> Gaps:
    """Errors of the penalized value (3) and gradient (4) at x, against the exact ones.

    Parameters
    ----------
    case : Instance
    x : Tensor, shape (n,)
    sigmas : sequence of float
        Weights, above 0.

    Returns
    -------
    Gaps

    Raises
    ------
    TypeError, ValueError
        For weights or points out of range.

    Examples
    --------
    >>> from lib.constrained.bilevel_penalty.study import instance, landscape_gaps
    >>> ring = instance("ring", seed=0)
    >>> gaps = landscape_gaps(ring, ring.x0, [1e-2, 1e-3])
    >>> bool(gaps.value[0] > 9 * gaps.value[1])
    True
    """
    x = checks.tensor("x", x, ndim=1)
    weights = checks.array("sigmas", sigmas, ndim=1, above=0)
    best = case.best(x)
    slope = exact_hypergrad(case.problem, x, best)
    z, value, gradient = case.lower(x, 0.0), [], []
    for sigma in weights.tolist():
        y = case.lower(x, sigma)
        upper, lower = (_rise(slopes, x, y, best) for slopes in (case.problem.upper_slopes, case.problem.lower_slopes))
        value.append(upper + lower / sigma)  # (3), as f(best) - f(y) + (g(best) - g(y)) / sigma
        gradient.append(float((penalty_hypergrad(case.problem, x, y, z, sigma) - slope).norm()))
    return Gaps(np.array(value), np.array(gradient))


def _rise(slopes: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]], x: Tensor, start: Tensor, end: Tensor) -> float:
    """How much a function of y rises from start to end, from its slopes at two points between: exact up to fourth powers.

    Near one another the values agree in most of their digits, and their difference over sigma would be rounding.
    """
    way, middle, off = end - start, (start + end) / 2, (end - start) / (2 * 3**0.5)
    return float(way @ (slopes(x, middle - off)[1] + slopes(x, middle + off)[1]) / 2)


def numeric_hypergradient(case: Instance, x: Tensor, h: float = 1e-4) -> Tensor:
    """Gradient of the exact hyper-objective by central differences of fourth order.

    Parameters
    ----------
    case : Instance
    x : Tensor, shape (n,)
    h : float
        Distance of the points, above 0.

    Raises
    ------
    TypeError, ValueError
        For a point or distance out of range.

    Examples
    --------
    >>> from lib.constrained.bilevel_penalty.study import instance, numeric_hypergradient
    >>> ring = instance("ring", seed=0)
    >>> numeric_hypergradient(ring, ring.x0, h=1e-4).shape
    torch.Size([1])
    """
    x, h = checks.tensor("x", x, ndim=1), checks.positive("h", h)

    def psi(at: Tensor) -> float:
        return float(case.problem.upper(at, case.best(at)))

    eye = h * torch.eye(len(x), dtype=x.dtype)
    rows = [(8 * (psi(x + e) - psi(x - e)) - (psi(x + 2 * e) - psi(x - 2 * e))) / (12 * h) for e in eye]
    return torch.tensor(rows, dtype=x.dtype)


def log_slope(x: np.ndarray, y: np.ndarray) -> float:
    """Slope of log y against log x, by least squares.

    Parameters
    ----------
    x, y : array, shape (n,)
        Above 0, at least two.

    Raises
    ------
    TypeError, ValueError
        For numbers that are not above 0, or arrays of unlike or too small length.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.constrained.bilevel_penalty.study import log_slope
    >>> round(log_slope(np.array([1.0, 10.0]), np.array([3.0, 0.03])), 6)
    -2.0
    """
    x, y = checks.array("x", x, ndim=1, above=0), checks.array("y", y, ndim=1, above=0)
    if len(x) != len(y) or len(x) < 2:
        raise ValueError(f"x and y must have one length of at least 2, got {len(x)} and {len(y)}")
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])
