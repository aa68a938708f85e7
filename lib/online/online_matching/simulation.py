"""Rules at work: many runs at once, exactly by recursion, and one arrival at a time for real use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lib import checks
from lib.online.online_matching.policies import TIED, Policy, View, choose
from lib.online.online_matching.problem import Array, StochasticMatching, as_problem, hazard

#: `exact_value` keeps at most so many different states.
MOST_STATES = 200_000


@dataclass(frozen=True)
class SimResult:
    """What `simulate` saw.

    Attributes
    ----------
    rewards : ndarray, shape (runs,)
        Reward of each run: the number of successes where all weights are 1.
    successes : ndarray of bool, shape (runs, n)
    loads : ndarray, shape (runs, n)
        At the end, as sums of ``-log(1 - p)``.
    choices : ndarray of int, shape (runs, m), or None
        To whom each arrival was offered, -1 for nobody; kept on request.
    """

    rewards: Array
    successes: np.ndarray
    loads: Array
    choices: np.ndarray | None = None

    @property
    def value(self) -> np.float64:
        """The mean reward."""
        return np.float64(self.rewards.mean())

    @property
    def error(self) -> np.float64:
        """Its standard error (infinite after one run)."""
        runs = len(self.rewards)
        return np.float64(self.rewards.std(ddof=1) / np.sqrt(runs) if runs > 1 else np.inf)


def simulate(
    P: ArrayLike | StochasticMatching, policy: Policy, runs: int = 1000, seed: Any = None, *,
    thresholds: ArrayLike | None = None, keep_choices: bool = False,
) -> SimResult:  # fmt: skip
    """Play an instance many times at once.

    An offline vertex succeeds when its load first reaches its threshold, exponential with mean 1: the same distribution as a
    coin for each offer, with one draw for each vertex. The rule never sees it. Runs of different rules with the same seed
    share their thresholds.

    Parameters
    ----------
    P : array_like, shape (n, m), or StochasticMatching
    policy : Policy
    runs : int
    seed : None, int or Generator
        Of thresholds, marks and ties.
    thresholds : array_like, shape (runs, n), optional
        To set them by hand, at least 0; infinity allowed: such a vertex never succeeds.
    keep_choices : bool
        Whether to keep who was offered what.

    Returns
    -------
    SimResult

    Examples
    --------
    >>> from lib.online.online_matching import StochasticBalance, simulate
    >>> simulate([[0.5, 0.5], [0.5, 0.0]], StochasticBalance(), 20_000, seed=0).value.round(1)
    np.float64(0.9)
    """
    problem, runs = as_problem(P), checks.integer("runs", runs, low=1)
    checked(policy)
    of_thresholds, of_marks, of_ties = checks.generator("seed", seed).spawn(3)
    n, m = problem.shape
    if thresholds is None:
        theta = problem.sample_thresholds(runs, of_thresholds)
    else:
        theta = checks.array("thresholds", thresholds, shape=(runs, n), inf=True, low=0).astype(float)
    marks = of_marks.random((runs, n)) if policy.draws_marks else None
    loads, alive = np.zeros((runs, n)), np.ones((runs, n), dtype=bool)
    choices = np.full((runs, m), -1) if checks.boolean("keep_choices", keep_choices) else None
    every = np.arange(runs)
    for v in range(m):
        view = look(problem.P[:, v], problem.weights, v, loads, alive, marks)
        if not len(view.who):
            continue
        at = choose(policy, view, of_ties)
        row, u = every[at >= 0], view.who[at[at >= 0]]
        loads[row, u] += problem.hazards[u, v]  # (1)
        alive[row, u] = loads[row, u] < theta[row, u]
        if choices is not None:
            choices[row, v] = u
    return SimResult(~alive @ problem.weights, ~alive, loads, choices)


def look(p: Array, weights: Array, step: int, loads: Array, alive: np.ndarray, marks: Array | None) -> View:
    """The view of an arrival whose probabilities are p, shape (n,)."""
    who = np.flatnonzero(p > 0)
    return View(step, who, p[who], weights[who], loads[:, who], alive, None if marks is None else marks[:, who])


def checked(policy: Any) -> Policy:
    """The rule itself; anything else is a TypeError."""
    if not isinstance(policy, Policy):
        raise TypeError(f"policy must be a Policy such as StochasticBalance(), got {checks.shown(policy)}")
    return policy


def exact_value(P: ArrayLike | StochasticMatching, policy: Policy) -> float:
    """The expected reward of a rule, exactly: every outcome of every offer and of every tie, with its probability.

    Parameters
    ----------
    P : array_like, shape (n, m), or StochasticMatching
        Small: the number of states that differ may double with each arrival.
    policy : Policy
        One that draws nothing before the first arrival (not `Ranking`).

    Returns
    -------
    float

    Raises
    ------
    ValueError
        For a rule that draws marks, or more than 200 000 states.

    Examples
    --------
    >>> from lib.online.online_matching import StochasticBalance, exact_value
    >>> exact_value([[0.5, 0.5], [0.5, 0.0]], StochasticBalance())
    0.875
    """
    problem = as_problem(P)
    if checked(policy).draws_marks:
        raise ValueError(f"policy must not draw marks, got {policy!r}: simulate it instead")
    n, m = problem.shape
    chance, total = np.ones(1), 0.0
    loads, alive = np.zeros((1, n)), np.ones((1, n), dtype=bool)
    for v in range(m):
        view = look(problem.P[:, v], problem.weights, v, loads, alive, None)
        if not len(view.who):
            continue
        share = _shares(policy, view)  # (states, k): with which chance each neighbor is offered
        row, at = np.nonzero(share)
        u, p, weight = view.who[at], view.p[at], chance[row] * share[row, at]
        total += float(weight * p @ problem.weights[u])
        won, lost = alive[row], loads[row]
        won[np.arange(len(u)), u] = False
        lost[np.arange(len(u)), u] += problem.hazards[u, v]
        idle = share.sum(axis=1) == 0
        chance = np.concatenate([weight * p, weight * (1 - p), chance[idle]])
        loads = np.concatenate([lost, lost, loads[idle]])
        alive = np.concatenate([won, alive[row], alive[idle]])
        chance, loads, alive = _merged(chance, loads, alive)
        if len(chance) > MOST_STATES:
            raise ValueError(f"P leads to more than {MOST_STATES} states: simulate it instead")
    return total


def _shares(policy: Policy, view: View) -> Array:
    scores = np.where(view.alive[:, view.who], policy.scores(view), -np.inf)
    best = scores.max(axis=1, keepdims=True)
    tied = np.isfinite(scores) & (scores >= best - TIED * np.abs(np.where(np.isfinite(best), best, 0.0)))
    return tied / np.maximum(tied.sum(axis=1, keepdims=True), 1)


def _merged(chance: Array, loads: Array, alive: np.ndarray) -> tuple[Array, Array, np.ndarray]:
    """States with the same living vertices and the same loads of these, as one; the loads of others do not matter."""
    kept = chance > 0
    chance, alive = chance[kept], alive[kept]
    loads = np.where(alive, loads[kept], 0.0)
    _, first, which = np.unique(np.hstack([alive, loads.round(9)]), axis=0, return_index=True, return_inverse=True)
    return np.bincount(which.ravel(), weights=chance).astype(float), loads[first], alive[first]


class OnlineMatcher:
    """A rule in use: ask for an offer when an online vertex arrives, then report whether it succeeded.

    It can be pickled or copied at any time, and goes on from there in the same way.

    Parameters
    ----------
    n : int
        Offline vertices.
    policy : Policy
    weights : array_like, shape (n,), optional
        Rewards, above zero; default ones.
    seed : None, int or Generator
        Of marks and ties.

    Attributes
    ----------
    loads : ndarray, shape (n,)
    alive : ndarray of bool, shape (n,)
    steps : int
        Arrivals so far.

    Examples
    --------
    >>> from lib.online.online_matching import OnlineMatcher, StochasticBalance
    >>> matcher = OnlineMatcher(2, StochasticBalance(), seed=0)
    >>> matcher.offer([0.1, 0.3]), matcher.report(False), matcher.offer([0.1, 0.0])
    (1, None, 0)
    """

    def __init__(self, n: int, policy: Policy, weights: ArrayLike | None = None, seed: Any = None) -> None:
        n = checks.integer("n", n, low=1)
        self.policy = checked(policy)
        given = np.ones(n) if weights is None else weights
        self.weights = checks.array("weights", given, shape=(n,), above=0).astype(float)
        self.loads, self.alive, self.steps = np.zeros(n), np.ones(n, dtype=bool), 0
        self._rng = checks.generator("seed", seed)
        self._marks = self._rng.random((1, n)) if policy.draws_marks else None
        self._pending: tuple[int, float] | None = None

    def offer(self, p: ArrayLike) -> int | None:
        """To whom the arrival is offered: an index, or None for nobody (then there is nothing to report).

        Parameters
        ----------
        p : array_like, shape (n,)
            Success probabilities, 0 where there is no edge.

        Raises
        ------
        RuntimeError
            If the outcome of the last offer has not been reported.
        """
        if self._pending is not None:
            raise RuntimeError("report the outcome of the last offer first")
        p = checks.array("p", p, shape=(len(self.loads),), low=0, high=1).astype(float)
        view = look(p, self.weights, self.steps, self.loads[None], self.alive[None], self._marks)
        self.steps += 1
        at = int(choose(self.policy, view, self._rng)[0]) if len(view.who) else -1
        if at < 0:
            return None
        u = int(view.who[at])
        self._pending = (u, float(hazard(p[u])))
        return u

    def report(self, success: bool) -> None:
        """Say whether the last offer succeeded; RuntimeError if there was none."""
        if self._pending is None:
            raise RuntimeError("there is no offer to report on")
        success = checks.boolean("success", success)
        u, more = self._pending
        self.loads[u] += more
        self.alive[u] = not success
        self._pending = None
