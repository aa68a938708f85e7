"""Online rules. Each is a score of the candidates; the candidate of the highest score is offered, ties are drawn."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from lib import checks
from lib.online.online_matching.gains import gain_function
from lib.online.online_matching.problem import Array

#: Scores that differ by less, relatively, are tied: rounding decides nothing.
TIED = 1e-9


class View(NamedTuple):
    """What a rule may look at when an online vertex arrives, for many runs at once.

    Attributes
    ----------
    step : int
        Number of the arrival, from 0.
    who : ndarray of int, shape (k,)
        Neighbors of the arrival.
    p, weights : ndarray, shape (k,)
        Success probabilities and rewards of the neighbors.
    loads : ndarray, shape (runs, k)
        What each neighbor was offered so far, as sums of ``-log(1 - p)``.
    alive : ndarray of bool, shape (runs, n)
        Who has not succeeded yet, over all offline vertices.
    marks : ndarray, shape (runs, k), or None
        What the rule has drawn for the neighbors before the first arrival.
    """

    step: int
    who: np.ndarray
    p: Array
    weights: Array
    loads: Array
    alive: np.ndarray
    marks: Array | None


class Policy(ABC):
    """A rule: scores of shape (runs, k), or one that broadcasts to it; minus infinity stands for never."""

    #: Whether the rule draws a number for each offline vertex before the first arrival.
    draws_marks = False

    @abstractmethod
    def scores(self, view: View) -> Array:
        """The score of each neighbor in each run."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class StochasticBalance(Policy):
    """Stochastic Balance: the highest success probability times what the offline vertex still leaves, ``p (1 - g(load))``.

    Where all probabilities are equal this is the least loaded neighbor, whatever the increasing function g.

    Parameters
    ----------
    gain : str or callable
        The function g: a name that `gain_function` knows, or a function of an array of loads with values in 0 to 1. Default
        ``"equal"``, our derivation's; the function behind the paper's 0.611 was not available to us.

    Raises
    ------
    ValueError
        For an unknown name; when used, for a function whose values are not between 0 and 1 or not one per load.

    Examples
    --------
    >>> from lib.online.online_matching import StochasticBalance, simulate
    >>> float(simulate([[0.5, 0.5], [0.5, 0.0]], StochasticBalance(), runs=2000, seed=0).value.round(1))
    0.9
    """

    def __init__(self, gain: str | Callable[[Array], Array] = "equal") -> None:
        self.gain = gain
        self._g = gain_function(gain) if isinstance(gain, str) else checks.function("gain", gain)

    def scores(self, view: View) -> Array:
        """``w p (1 - g(load))``."""
        g = np.asarray(self._g(view.loads.copy()), dtype=float)
        if g.shape != view.loads.shape or not ((g >= 0) & (g <= 1)).all():
            raise ValueError(f"gain must give one number between 0 and 1 for each load, got {checks.shown(g)}")
        return view.weights * view.p * (1 - g)  # (2)

    def __repr__(self) -> str:
        return f"StochasticBalance({self.gain!r})"


class Greedy(Policy):
    """The highest expected reward now, ``w p``, whatever was offered before.

    Examples
    --------
    >>> from lib.online.online_matching import Greedy, simulate
    >>> simulate([[1.0, 1.0], [0.5, 0.0]], Greedy(), runs=10, seed=0).value
    np.float64(1.0)
    """

    def scores(self, view: View) -> Array:
        """``w p``."""
        return np.broadcast_to(view.weights * view.p, view.loads.shape)


class RandomPolicy(Policy):
    """Any neighbor that has not succeeded, all with the same chance.

    Examples
    --------
    >>> from lib.online.online_matching import RandomPolicy, simulate
    >>> simulate([[1.0, 1.0], [1.0, 0.0]], RandomPolicy(), runs=4000, seed=0).value.round(1)
    np.float64(1.5)
    """

    def scores(self, view: View) -> Array:
        """The same for all."""
        return np.zeros(view.loads.shape)


class Ranking(Policy):
    """Ranking (also Perturbed Greedy): each offline vertex draws y once, uniform; then the highest ``w p (1 - e^(y - 1))``.

    Where all probabilities are equal: the neighbor with the least y.

    Examples
    --------
    >>> from lib.online.online_matching import Ranking, simulate
    >>> simulate([[1.0, 1.0], [1.0, 0.0]], Ranking(), runs=4000, seed=0).value.round(1)
    np.float64(1.5)
    """

    draws_marks = True

    def scores(self, view: View) -> Array:
        """``w p (1 - e^(y - 1))``."""
        assert view.marks is not None
        return view.weights * view.p * -np.expm1(view.marks - 1)


def choose(policy: Policy, view: View, rng: np.random.Generator) -> np.ndarray:
    """Positions in ``view.who`` of the offers, shape (runs,); -1 where nothing is offered."""
    free = view.alive[:, view.who]
    scores = np.where(free, policy.scores(view), -np.inf)
    if np.isnan(scores).any():
        raise ValueError(f"the scores of {policy!r} must be numbers, got NaN")
    best = scores.max(axis=1, keepdims=True)
    some = np.isfinite(best)
    tied = scores >= np.where(some, best - TIED * np.abs(best), np.inf)
    keys = rng.random(scores.shape)
    return np.where(some[:, 0], np.where(tied, keys, -1.0).argmax(axis=1), -1)
