"""What the experiments measure: ratios in batches of runs, the ladder of bounds, three forms of one program, coins."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from lib import checks
from lib.online.online_matching import (
    OnlineMatcher,
    Policy,
    StochasticBalance,
    StochasticMatching,
    configuration_lp,
    exact_value,
    matching_lp,
    offline_optimum,
    simulate,
    stochastic_configuration_lp,
)
from lib.online.online_matching.lps import all_columns, survivals
from lib.online.online_matching.problem import Array, hazard


def batch_means(
    P: ArrayLike | StochasticMatching, policy: Policy, runs: int = 1000, batches: int = 20, seed: Any = None
) -> Array:  # fmt: skip
    """Mean rewards of batches of runs: samples that are nearly normal.

    Parameters
    ----------
    P : array_like, shape (n, m), or StochasticMatching
    policy : Policy
    runs, batches : int
        Runs in all, and into how many batches they go; not more than the runs.
    seed : None, int or Generator

    Returns
    -------
    ndarray, shape (batches,)

    Examples
    --------
    >>> from lib.online.online_matching import Greedy
    >>> from lib.online.online_matching.study import batch_means
    >>> batch_means([[1.0, 1.0]], Greedy(), runs=10, batches=2, seed=0)
    array([1., 1.])
    """
    runs = checks.integer("runs", runs, low=1)
    batches = checks.integer("batches", batches, low=1, high=runs)
    rewards = simulate(P, policy, runs, seed).rewards
    return np.array([part.mean() for part in np.array_split(rewards, batches)])


class Ladder(NamedTuple):
    """Expected rewards and bounds of one instance: ``balance <= optimum <= stochastic <= matching`` by theorems."""

    balance: float
    optimum: float
    stochastic: float
    configuration: float
    matching: float

    def violations(self, tolerance: float = 1e-7) -> int:
        """Steps of the ladder that do not hold; ``configuration <= matching`` counts, too."""
        pairs = [(self.balance, self.optimum), (self.optimum, self.stochastic), (self.stochastic, self.matching)]
        return sum(low > high + tolerance for low, high in [*pairs, (self.configuration, self.matching)])


def ladder(P: ArrayLike | StochasticMatching) -> Ladder:
    """All bounds of a small instance, and what Stochastic Balance gets, exactly.

    Parameters
    ----------
    P : array_like, shape (n, m), or StochasticMatching

    Examples
    --------
    >>> from lib.online.online_matching.study import ladder
    >>> [round(value, 3) for value in ladder([[0.5, 0.5], [0.5, 0.0]])]
    [0.875, 1.0, 1.0, 1.0, 1.0]
    """
    bounds = (stochastic_configuration_lp(P).fun, configuration_lp(P).fun, matching_lp(P).fun)
    return Ladder(exact_value(P, StochasticBalance()), offline_optimum(P).value, *map(float, bounds))


def form_gaps(P: ArrayLike | StochasticMatching) -> tuple[float, int]:
    """How far the three forms of the Stochastic Configuration LP are apart, and how many columns the prices leave cheap.

    Parameters
    ----------
    P : array_like, shape (n, m), or StochasticMatching

    Returns
    -------
    gap : float
        Largest relative difference of the three values.
    cheap : int
        Columns that are worth more than their price by over 1e-6, at the compact form's prices.

    Examples
    --------
    >>> from lib.online.online_matching.study import form_gaps
    >>> form_gaps([[0.5, 0.5], [0.5, 0.0]])[1]
    0
    """
    problem = P if isinstance(P, StochasticMatching) else StochasticMatching(P)
    found = [stochastic_configuration_lp(problem, method) for method in ("compact", "columns", "generation")]
    values = np.array([result.fun for result in found])
    alpha, beta, cheap = found[0].alpha, found[0].beta, 0
    for u, offers in all_columns(problem):
        p = problem.P[u, list(offers)]
        worth = problem.weights[u] * (1 - np.prod(1 - p))
        cheap += bool(worth > alpha[u] + beta[list(offers)] @ survivals(p) + 1e-6)
    return float(np.ptp(values) / max(values.max(), 1e-12)), cheap


def coin_mean(P: ArrayLike | StochasticMatching, policy: Policy, runs: int = 1000, seed: Any = None) -> tuple[float, float]:
    """Mean reward and its standard error with a fresh coin for each offer, one run after the other: an oracle for `simulate`.

    Parameters
    ----------
    P : array_like, shape (n, m), or StochasticMatching
    policy : Policy
    runs : int
    seed : None, int or Generator

    Examples
    --------
    >>> from lib.online.online_matching import Greedy
    >>> from lib.online.online_matching.study import coin_mean
    >>> coin_mean([[1.0, 1.0], [0.5, 0.0]], Greedy(), runs=5, seed=0)
    (1.0, 0.0)
    """
    problem = P if isinstance(P, StochasticMatching) else StochasticMatching(P)
    runs, rng, rewards = checks.integer("runs", runs, low=1), checks.generator("seed", seed), []
    for _ in range(runs):
        matcher = OnlineMatcher(problem.shape[0], policy, problem.weights, rng)
        for p in problem.P.T:
            u = matcher.offer(p)
            if u is not None:
                matcher.report(bool(rng.random() < p[u]))
        rewards.append(problem.weights @ ~matcher.alive)
    return float(np.mean(rewards)), float(np.std(rewards) / np.sqrt(runs))


def least_mass(levels: ArrayLike, mass: ArrayLike, draws: int = 4000) -> Array:
    """Mass that a displaced set of total mass s keeps in the mean over the threshold: h for finite s, equal chances.

    Parameters
    ----------
    levels, mass : array_like, shapes (a,) and (b,)
        Final loads l, and masses s of the set; at least 0.
    draws : int
        Points of the midpoint rule over the exponential threshold's quantiles.

    Returns
    -------
    ndarray, shape (a, b)

    Examples
    --------
    >>> from lib.online.online_matching.study import least_mass
    >>> least_mass([0.0], [50.0]).round(2)
    array([[1.]])
    """
    x = checks.array("levels", levels, ndim=1, low=0).astype(float)
    s = checks.array("mass", mass, ndim=1, low=0).astype(float)
    draws = checks.integer("draws", draws, low=1)
    theta = hazard((np.arange(draws) + 0.5) / draws)
    lost = np.maximum(x[:, None] - theta, 0.0)  # offers that the vertex misses, if it succeeds at theta
    kept = np.minimum(theta, s[:, None, None]) - lost
    return np.maximum(kept, 0.0).mean(axis=2).T
