"""Steps in target space: constant, decaying with the square root, exponentially decaying, AdaGrad's, by line search."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from lib import checks

from .surrogate import _wide, armijo

#: Names of the schedules: the first three depend on t only.
SCHEDULES = ("constant", "sqrt", "exponential", "adagrad", "armijo")


def target_step(schedule: str, t: int, eta: float = 4.0, total_steps: int | None = None, squares: float | None = None) -> float:
    """The step in target space at outer step `t` (6).

    Parameters
    ----------
    schedule : {"constant", "sqrt", "exponential", "adagrad"}
        eta, eta / sqrt(t + 1), eta (1/T)^(t/T), or eta / sqrt(sum of the squared norms of the gradients so far).
    t : int
        Outer steps made before this one.
    eta : float
        First step; the paper's 1/L is 4 for the logistic loss. Its code starts AdaGrad from 100.
    total_steps : int, optional
        T, needed by "exponential" only.
    squares : float, optional
        Sum over s <= t of ||g_s||^2, needed by "adagrad" only; not negative. The norm is over all examples of a batch: the same
        step in larger batches needs an `eta` that grows with the root of their size.

    Raises
    ------
    TypeError, ValueError
        For arguments out of range or missing.

    Examples
    --------
    >>> from lib.gradient.target_surrogates import target_step
    >>> [target_step("exponential", t, eta=4.0, total_steps=100) for t in (0, 50, 100)]
    [4.0, 0.4, 0.04]
    """
    checks.choice("schedule", schedule, SCHEDULES[:4])
    t, eta = checks.integer("t", t, low=0), checks.positive("eta", eta)
    if schedule == "sqrt":
        return eta / math.sqrt(t + 1)  # (6)
    if schedule == "exponential":
        if total_steps is None:
            raise ValueError("the exponential schedule needs total_steps, the number of outer steps")
        horizon = checks.integer("total_steps", total_steps, low=1)
        return eta * (1 / horizon) ** (t / horizon)  # (6)
    if schedule == "adagrad":
        if squares is None:
            raise ValueError("the schedule adagrad needs squares, the sum of the squared norms of the gradients")
        squares = checks.number("squares", squares, low=0)
        return eta / math.sqrt(squares) if squares > 0 else eta  # (6)
    return eta


def target_armijo(
    loss: Callable[[Any], Any],
    z: Any,
    g: Any,
    eta: float = 1.0,
    c: float = 0.5,
    beta: float = 0.9,
    max_trials: int = 100,
    base: float | None = None,
) -> tuple[float, int]:
    """The target step by line search (7): the largest ``beta^j eta`` with ``l(z - eta g) <= l(z) - c eta mean |g_i|^2``.

    It costs values of the loss, no further gradient.

    Parameters
    ----------
    loss : function
        Mean loss over the examples of targets, of the shape of `z`.
    z, g : array or tensor, shape (b,) or (b, k)
        Targets, and the gradient of each example's loss with respect to its own targets.
    eta : float
        First trial. The paper's code starts from 1 and multiplies the last accepted step by 1.8 to 2.
    c, beta, max_trials
        As in `armijo`; the paper's 0.5, 0.9 and 100.
    base : float, optional
        The loss at `z`, where it is known.

    Returns
    -------
    eta, n_trials : float, int
        The step is 0 where no trial had enough descent.

    Raises
    ------
    TypeError, ValueError
        For arguments out of range, or shapes that differ.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.gradient.target_surrogates import target_armijo
    >>> z = np.array([1.0, -2.0])
    >>> target_armijo(lambda z: (z**2).mean() / 2, z, g=z, eta=2.0, c=0.5, beta=0.5)
    (1.0, 2)
    """
    checks.function("loss", loss)
    for name, value in (("z", z), ("g", g)):
        if not checks.array(name, value).ndim:
            raise ValueError(f"{name} must have examples on its first axis, got a single number")
    z, g = (value if hasattr(value, "dtype") else np.asarray(value) for value in (z, g))
    if tuple(np.shape(z)) != tuple(np.shape(g)):
        raise ValueError(f"g must have the shape of z, {tuple(np.shape(z))}, got {tuple(np.shape(g))}")
    eta = checks.positive("eta", eta)
    before = float(loss(z)) if base is None else checks.number("base", base)
    steep = _wide(g)
    slope = float((steep * steep).sum()) / len(z)  # (7)
    return armijo(lambda step: loss(z - step * g), before, slope, eta, c, beta, max_trials)
