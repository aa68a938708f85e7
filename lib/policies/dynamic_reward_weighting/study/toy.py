"""Two objectives with a front that bends inward: what weights can reach, and what they cannot."""

from __future__ import annotations

from typing import Any

import numpy as np

from lib import checks
from lib.policies.dynamic_reward_weighting.weighting import influence, mirror_step, simplex

RULES = ("fixed", "gradient", "chebyshev", "hypervolume")


def bent_front(x: Any) -> np.ndarray:
    """Objectives (x, (1 - sqrt x)^2), both to be large, shape (n, 2): no weighted sum is largest between the ends.

    Parameters
    ----------
    x : array_like, shape (n,)
        From 0 to 1.

    Examples
    --------
    >>> from lib.policies.dynamic_reward_weighting import study
    >>> study.bent_front([0.0, 0.25, 1.0]).tolist()
    [[0.0, 1.0], [0.25, 0.25], [1.0, 0.0]]
    """
    x = checks.array("x", x, ndim=1, low=0, high=1)
    return np.stack([x, (1 - np.sqrt(x)) ** 2], 1)


def ascend(
    rule: str, start: float, weights: Any = (0.5, 0.5), rate: float = 0.5, steps: int = 400, mu: float = 1.0
) -> np.ndarray:
    """Gradient ascent along the bent front in theta, x = 1 / (1 + exp(-theta)): the objectives after each step.

    Parameters
    ----------
    rule : {"fixed", "gradient", "chebyshev", "hypervolume"}
        What is climbed: the weighted sum; the same with weights that follow the gradients; the smaller of the weighted
        objectives; the area of the box below the point.
    start : float
        First x, between 0 and 1.
    weights : sequence of float, shape (2,)
    rate, mu : float
        Step length; resistance of the weights.
    steps : int

    Returns
    -------
    array, shape (steps + 1, 2)

    Examples
    --------
    >>> from lib.policies.dynamic_reward_weighting import study
    >>> study.ascend("hypervolume", 0.6, steps=2000, rate=2.0)[-1].round(3).tolist()
    [0.25, 0.25]
    """
    checks.choice("rule", rule, RULES)
    start, w = checks.number("start", start, above=0, below=1), simplex("weights", weights, 2)
    rate, mu = checks.positive("rate", rate), checks.positive("mu", mu)
    theta, path = np.log(start / (1 - start)), [bent_front([start])[0]]
    for _ in range(checks.integer("steps", steps, low=1)):
        x = 1 / (1 + np.exp(-theta))
        slopes = x * (1 - x) * np.array([1.0, -(1 - np.sqrt(x)) / np.sqrt(x)])
        if rule == "gradient":
            w = mirror_step(w, influence(slopes[:, None]), rate / mu)
        theta = np.clip(theta + rate * _direction(rule, w, path[-1]) @ slopes, -30, 30)
        path.append(bent_front([1 / (1 + np.exp(-theta))])[0])
    return np.array(path)


def _direction(rule: str, w: np.ndarray, point: np.ndarray) -> np.ndarray:
    """Derivative of what is climbed with respect to the two objectives."""
    if rule == "chebyshev":
        return w * (np.arange(2) == (w * point).argmin())
    return point[::-1] if rule == "hypervolume" else w
