"""The best adaptive planner that knows the graph, the order and the chances, but not the coins: by dynamic programming."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from lib.online.online_matching.policies import TIED, Policy, View
from lib.online.online_matching.problem import Array, StochasticMatching, as_problem

#: `offline_optimum` keeps two tables of 2^n columns.
MOST_OFFLINE = 16


@dataclass(frozen=True)
class Optimum:
    """What `offline_optimum` found.

    Attributes
    ----------
    value : float
        Expected reward of the best planner.
    values : ndarray, shape (m + 1, 2**n)
        Expected reward from each arrival on, by the set of offline vertices that have not succeeded (bit u for vertex u).
    choices : ndarray of int, shape (m, 2**n)
        To whom the best planner offers, -1 for nobody.
    """

    value: float
    values: Array
    choices: np.ndarray

    def policy(self) -> Policy:
        """The planner as a rule, to be simulated; it fits the instance that it was made for."""
        return _Planner(self.choices)


class _Planner(Policy):
    def __init__(self, choices: np.ndarray) -> None:
        self.choices = choices

    def scores(self, view: View) -> Array:
        n = view.alive.shape[1]
        if view.step >= len(self.choices) or 2**n != self.choices.shape[1]:
            raise ValueError("policy was planned for an instance of another shape")
        planned = self.choices[view.step, view.alive @ (1 << np.arange(n))]
        return np.where(planned[:, None] == view.who, 0.0, -np.inf)


def offline_optimum(P: ArrayLike | StochasticMatching) -> Optimum:
    """The stochastic benchmark: the best planner that must face the coins, too.

    Parameters
    ----------
    P : array_like, shape (n, m), or StochasticMatching
        At most 16 offline vertices: time and memory grow as ``m 2**n``.

    Returns
    -------
    Optimum

    Raises
    ------
    ValueError
        For more than 16 offline vertices.

    Examples
    --------
    >>> from lib.online.online_matching import offline_optimum
    >>> offline_optimum([[0.5, 0.5], [0.5, 0.0]]).value
    1.0
    """
    problem = as_problem(P)
    n, m = problem.shape
    if n > MOST_OFFLINE:
        raise ValueError(f"P must have at most {MOST_OFFLINE} rows for the exact optimum, got {n}")
    sets = np.arange(2**n)
    values, choices = np.zeros((m + 1, 2**n)), np.full((m, 2**n), -1, dtype=np.int8)
    for v in range(m - 1, -1, -1):
        later, best = values[v + 1], values[v + 1].copy()
        for u in np.flatnonzero(problem.P[:, v]):
            p, has = problem.P[u, v], sets & (1 << u) > 0
            without = later[sets & ~(1 << u)]
            offer = p * (problem.weights[u] + without) + (1 - p) * later  # (6)
            better = has & (offer > best * (1 + TIED))
            best[better], choices[v, better] = offer[better], u
        values[v] = best
    return Optimum(float(values[0, -1]), values, choices)
