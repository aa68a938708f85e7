"""The steps of both algorithms as functions of tensors, the estimator with recursive momentum, and schedules."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from lib import checks

__all__ = ["PowerSchedule", "recursive_momentum"]


class PowerSchedule:
    """``c (k + 1) ** -p`` at step k = 0, 1, ..., for weights and step sizes that shrink.

    Parameters
    ----------
    c : float
        Value at the first step, above 0.
    p : float
        Power, at least 0.
    most : float
        Cap, above 0; infinity allowed, the default: no cap.

    Raises
    ------
    TypeError, ValueError
        For numbers out of range.

    Examples
    --------
    >>> from lib.constrained.bilevel_penalty import PowerSchedule
    >>> PowerSchedule(c=1.0, p=0.5)(3)
    0.5
    """

    def __init__(self, c: float, p: float, most: float = np.inf) -> None:
        self.c, self.p = checks.positive("c", c), checks.number("p", p, low=0)
        self.most = checks.number("most", most, above=0, inf=True)

    def __call__(self, k: int) -> float:
        return min(self.most, self.c * (k + 1) ** -self.p)


def recursive_momentum(d: Tensor, new: Tensor, old: Tensor, eta: float) -> Tensor:
    """STORM's estimator: ``new + (1 - eta) (d - old)`` (8).

    Parameters
    ----------
    d : Tensor
        The estimate at the point before.
    new, old : Tensor, of the shape of `d`
        Gradients on the *same* sample, at this point and at the one before.
    eta : float
        In (0, 1]; 1 forgets the past.

    Returns
    -------
    Tensor

    Raises
    ------
    TypeError, ValueError
        For tensors that are not finite or of unlike shapes, or `eta` out of range.

    Examples
    --------
    >>> import torch
    >>> from lib.constrained.bilevel_penalty import recursive_momentum
    >>> recursive_momentum(torch.tensor([2.0]), torch.tensor([5.0]), torch.tensor([4.0]), eta=0.5)
    tensor([4.])
    """
    for name, value in (("d", d), ("new", new), ("old", old)):
        if checks.tensor(name, value).shape != d.shape:
            raise ValueError(f"{name} must have the shape of d, {tuple(d.shape)}, got {tuple(value.shape)}")
    return momentum(d, new, old, checks.number("eta", eta, above=0, high=1))


def momentum(d: Tensor, new: Tensor, old: Tensor, eta: float | Tensor) -> Tensor:
    """The estimator of `recursive_momentum`, without the checks at its door."""
    return new + (1 - eta) * (d - old)  # (8)


def inner_step(
    w: Tensor, center: Tensor, slope_g: Tensor, gamma: Any, rho: Any, sigma: Any = 0.0, slope_f: Any = 0.0
) -> Tensor:
    """A gradient step for the proximal problem around `center`, before the projection."""
    return w - gamma * (sigma * slope_f + slope_g + (w - center) / rho)  # (5)


def average(center: Tensor, w: Tensor, beta: Any) -> Tensor:
    """The center moves towards the proximal point."""
    return (1 - beta) * center + beta * w  # (6)
