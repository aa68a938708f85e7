"""Coupled runs: what changes for others when one offline vertex succeeds early and everything else stays as it was."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.integrate import cumulative_trapezoid

from lib import checks
from lib.online.online_matching import Policy, StochasticBalance, StochasticMatching, gain_function, simulate
from lib.online.online_matching.problem import Array
from lib.online.online_matching.study.rivals import LeastLoaded


class Displacement(NamedTuple):
    """What the early success of one offline vertex displaces, over many coupled runs of an equal-chance instance.

    Attributes
    ----------
    missed : ndarray of int
        Offers that the vertex does not get because it succeeds early.
    fallen : ndarray of int
        Its neighbors whose price falls below the vertex' own last price.
    sinking : int
        Times at which the load of another vertex is lower than without the success.
    """

    missed: np.ndarray
    fallen: np.ndarray
    sinking: int


def displacement(P: ArrayLike | StochasticMatching, u: int = 0, pairs: int = 50, seed: Any = None) -> Displacement:
    """Compare runs in which vertex u never succeeds with runs in which it does, all other thresholds alike.

    Parameters
    ----------
    P : array_like, shape (n, m), or StochasticMatching
        All chances equal.
    u : int
    pairs : int
    seed : None, int or Generator

    Examples
    --------
    >>> from lib.online.online_matching.study import displacement, random_graph
    >>> found = displacement(random_graph(4, 40, p=0.1, equal=True, seed=0), pairs=20, seed=0)
    >>> bool((found.fallen <= found.missed).all()), found.sinking
    (True, 0)
    """
    problem = P if isinstance(P, StochasticMatching) else StochasticMatching(P)
    chances = np.unique(problem.P[problem.P > 0])
    if len(chances) > 1:
        raise ValueError(f"P must hold one probability only, got {len(chances)} different ones")
    n, m = problem.shape
    u, pairs, choices = _coupled(problem, LeastLoaded(in_order=True), u, pairs, seed)
    offered = choices[:, :, None] == np.arange(n)  # (2 pairs, m, n)
    counts = offered.cumsum(axis=1)
    level = np.where(choices >= 0, _before(counts - offered, choices), m + 1)  # load of each arrival's vertex before it
    early, late = counts[:pairs], counts[pairs:]
    last = late[:, -1, u]
    near = problem.P[u] > 0
    fallen = (level[:pairs][:, near] > last[:, None]).sum(axis=1)
    others = np.arange(n) != u
    sinking = int((early[:, :, others] < late[:, :, others]).sum())
    return Displacement(last - early[:, -1, u], fallen, sinking)


class PriceLoss(NamedTuple):
    """What an early success costs the neighbors of an offline vertex, over many coupled runs.

    Attributes
    ----------
    loss : ndarray
        By how much their prices fall below the vertex' own last price, in all.
    area : ndarray
        What the vertex itself would still have left to them: the integral of 1 - g from its load to its last load.
    sinking : float
        The most by which the load of another vertex is lower than without the success, in offers of the largest chance.
    """

    loss: Array
    area: Array
    sinking: float


def price_loss(
    P: ArrayLike | StochasticMatching, u: int = 0, gain: str = "general", pairs: int = 50, seed: Any = None
) -> PriceLoss:  # fmt: skip
    """As `displacement`, for any chances, in terms of the prices ``hazard (1 - g(load))`` of the arrivals.

    Parameters
    ----------
    P : array_like, shape (n, m), or StochasticMatching
        Small chances: the argument is about their limit.
    u : int
    gain : str
        As in `gain_function`.
    pairs : int
    seed : None, int or Generator

    Examples
    --------
    >>> from lib.online.online_matching.study import price_loss, random_graph
    >>> found = price_loss(random_graph(4, 80, p=0.1, seed=0), gain="equal", pairs=20, seed=0)
    >>> bool((found.loss <= found.area + 0.1).all())
    True
    """
    problem = P if isinstance(P, StochasticMatching) else StochasticMatching(P)
    g = gain_function(gain)
    n = problem.shape[0]
    u, pairs, choices = _coupled(problem, StochasticBalance(gain), u, pairs, seed)
    added = problem.hazards.T * (choices[:, :, None] == np.arange(n))
    loads = added.cumsum(axis=1)
    early, late = loads[:pairs], loads[pairs:]
    prices = added[:pairs].sum(axis=2) * (1 - g(_before(early - added[:pairs], choices[:pairs])))
    last = late[:, -1, u]
    floor = problem.hazards[u] * (1 - g(last))[:, None]
    grid = np.linspace(0, max(float(last.max()), 1.0), 20_001)
    left = cumulative_trapezoid(1 - g(grid), grid, initial=0)
    area = np.interp(last, grid, left) - np.interp(early[:, -1, u], grid, left)
    sunk = (late - early)[:, :, np.arange(n) != u]
    return PriceLoss(np.maximum(floor - prices, 0).sum(axis=1), area, float(sunk.max(initial=0.0) / problem.hazards.max()))


def _coupled(problem: StochasticMatching, policy: Policy, u: int, pairs: int, seed: Any) -> tuple[int, int, np.ndarray]:
    """Choices of runs in which u may succeed, followed by those of the same runs in which it never does."""
    u, pairs = checks.integer("u", u, low=0, high=problem.shape[0] - 1), checks.integer("pairs", pairs, low=1)
    theta = problem.sample_thresholds(pairs, checks.generator("seed", seed))
    never = theta.copy()
    never[:, u] = np.inf
    played = simulate(problem, policy, 2 * pairs, 0, thresholds=np.vstack([theta, never]), keep_choices=True)
    assert played.choices is not None
    return u, pairs, played.choices


def _before(loads: Array, choices: np.ndarray) -> Array:
    """Of each arrival: the load of the vertex that it is offered to, before it."""
    return np.take_along_axis(loads, np.maximum(choices, 0)[:, :, None], 2)[:, :, 0]
