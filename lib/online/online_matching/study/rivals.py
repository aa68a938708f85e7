"""Rivals of the experiments: a rule that ignores chances, and one that has seen another day's arrivals."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from lib import checks
from lib.online.online_matching import Policy, StochasticMatching, stochastic_configuration_lp
from lib.online.online_matching.lps import opportunity
from lib.online.online_matching.policies import View
from lib.online.online_matching.problem import Array


class LeastLoaded(Policy):
    """The least loaded neighbor, whatever its chance: Stochastic Balance where all chances are equal.

    Parameters
    ----------
    in_order : bool
        Whether ties go to the smaller index instead of being drawn.

    Examples
    --------
    >>> from lib.online.online_matching import simulate
    >>> from lib.online.online_matching.study import LeastLoaded
    >>> simulate([[1.0, 1.0], [1.0, 0.0]], LeastLoaded(in_order=True), runs=10, seed=0).value
    np.float64(1.0)
    """

    def __init__(self, in_order: bool = False) -> None:
        self.in_order = checks.boolean("in_order", in_order)

    def scores(self, view: View) -> Array:
        """Minus the load."""
        loads = view.loads.round(9)
        return -loads - 1e-6 * view.who if self.in_order else -loads


class BidPrice(Policy):
    """Offers at fixed prices: the highest ``p (w - W)``, where W is what the offline vertex will still be worth unsold.

    Parameters
    ----------
    worth : array_like, shape (n, m + 1)
        W before each arrival, of a forecast with as many arrivals; may be negative. See `forecast`.

    Examples
    --------
    >>> from lib.online.online_matching import simulate
    >>> from lib.online.online_matching.study import BidPrice
    >>> simulate([[1.0, 1.0], [1.0, 0.0]], BidPrice([[1.0, 0.9, 0.0], [0.0, 0.0, 0.0]]), runs=10, seed=0).value
    np.float64(2.0)
    """

    def __init__(self, worth: ArrayLike) -> None:
        self.worth = checks.array("worth", worth, ndim=2).astype(float)

    def scores(self, view: View) -> Array:
        """``p (w - W)``, the same in each run."""
        later = self.worth[view.who, min(view.step + 1, self.worth.shape[1] - 1)]
        return np.broadcast_to(view.p * (view.weights - later), view.loads.shape)


def forecast(P: ArrayLike | StochasticMatching) -> BidPrice:
    """Prices from the Stochastic Configuration LP of another instance of the same kind: another day.

    Parameters
    ----------
    P : array_like, shape (n, m), or StochasticMatching

    Examples
    --------
    >>> from lib.online.online_matching.study import forecast
    >>> forecast([[0.5, 0.5], [0.5, 0.0]]).worth.shape
    (2, 3)
    """
    problem = P if isinstance(P, StochasticMatching) else StochasticMatching(P)
    return BidPrice(opportunity(problem, stochastic_configuration_lp(problem).beta))
