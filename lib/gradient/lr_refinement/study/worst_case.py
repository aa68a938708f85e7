"""Exact worst cases of the subgradient method's last iterate, by performance estimation (a semidefinite program)."""

from __future__ import annotations

from typing import Any

from numpy.typing import ArrayLike
from scipy.optimize import OptimizeResult, minimize_scalar

from lib import checks

from ..theory import as_sequence


def _pepit() -> tuple[Any, Any]:
    try:
        from PEPit import PEP
        from PEPit.functions import ConvexLipschitzFunction
    except ImportError as error:
        raise ImportError("exact worst cases need the package PEPit: pip install pepit") from error
    return PEP, ConvexLipschitzFunction


def worst_case(eta: ArrayLike) -> float:
    """Largest ``f(x_T) - f*`` over all convex 1-Lipschitz f, every dimension, and ||x_1 - x*|| <= 1.

    The subgradient method takes the steps ``eta[0], ..., eta[T-2]``; the last rate would lead past x_T and is not used. For
    other constants multiply by D G, with steps in units of D/G. The program grows like T^2 x T^2: seconds at T = 20.

    Parameters
    ----------
    eta : array_like, shape (T,)
        Non-negative steps, T >= 2.

    Returns
    -------
    float

    Raises
    ------
    ImportError
        If PEPit is missing.
    ValueError
        For steps that are negative or not finite, or fewer than two.

    Examples
    --------
    >>> from lib.gradient.lr_refinement.study import worst_case
    >>> round(worst_case([0.5 * r for r in (0.75, 0.5, 0.25, 0)]), 3)
    0.5
    """
    steps = as_sequence(eta, "eta")[:-1]
    PEP, ConvexLipschitzFunction = _pepit()
    problem = PEP()
    f = problem.declare_function(ConvexLipschitzFunction, M=1.0)
    best = f.stationary_point()
    x = problem.set_initial_point()
    problem.set_initial_condition((x - best) ** 2 <= 1)
    for step in steps:
        gradient, _ = f.oracle(x)
        x = x - float(step) * gradient
    problem.set_performance_metric(f(x) - f(best))
    return float(problem.solve(verbose=0))


def best_worst_case(factors: ArrayLike, bracket: tuple[float, float] = (0.3, 1.3), tolerance: float = 0.02) -> OptimizeResult:
    """A schedule's smallest `worst_case` over its peak step, ``scale / sqrt(T)`` with the scale in `bracket`.

    Parameters
    ----------
    factors : array_like, shape (T,)
        The schedule, relative to its peak.
    bracket, tolerance : of the scale

    Returns
    -------
    scipy.optimize.OptimizeResult
        ``fun`` the worst case times sqrt(T), ``x`` the scale, ``nfev`` the number of programs solved.

    Raises
    ------
    ImportError, ValueError
        As `worst_case`.

    Examples
    --------
    >>> from lib.gradient.lr_refinement import SCHEDULES
    >>> from lib.gradient.lr_refinement.study import best_worst_case
    >>> round(float(best_worst_case(SCHEDULES["linear"](4)).fun), 2)
    1.0
    """
    factors = as_sequence(factors, "factors")
    tolerance = checks.positive("tolerance", tolerance)
    low, high = (checks.positive("bracket", end) for end in bracket)
    if not low < high:
        raise ValueError(f"bracket must be a lower and a higher scale, got {bracket}")
    if not factors[:-1].any():
        raise ValueError("factors must not all be 0 before the last one")
    root = len(factors) ** 0.5
    return minimize_scalar(
        lambda scale: root * worst_case(scale / root * factors),
        bounds=(low, high),
        method="bounded",
        options={"xatol": tolerance},
    )
