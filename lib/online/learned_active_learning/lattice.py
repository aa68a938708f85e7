"""All histories at once: the counts that queries and answers can lead to, and exact losses on them.

A history matters only through how often each query was asked and how often its answer was 1. For small tasks these counts can
be listed, with the counts that precede and follow each. The probability to arrive at a count is the product of one factor that
depends on the policy alone and one that depends on the instance alone, (13).
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from lib import checks
from lib.online.learned_active_learning.problem import BanditProblem

Array = NDArray[np.float64]
#: Most counts that are listed.
MOST_STATES = 200_000


class Lattice:
    """The counts of all histories of up to `budget` answers.

    Parameters
    ----------
    problem : BanditProblem
        Gives queries, hypotheses and loss.
    budget : int
        Number of queries that are asked.

    Attributes
    ----------
    problem, budget
        As given.
    counts, sums : array, shape (S, n)
        How often each query was asked, and the sum of its answers; sorted by the number of answers.
    starts : list of int
        ``starts[t]:starts[t + 1]`` are the counts after t answers.

    Raises
    ------
    ValueError
        If there are more than 200000 counts.

    Notes
    -----
    ``reach``, ``ends``, ``likelihood`` and ``outcomes`` work on tensors and keep gradients.

    Examples
    --------
    >>> from lib.online.learned_active_learning import Lattice, TablePolicy, thresholds
    >>> lattice = Lattice(thresholds(1), 3)
    >>> always = TablePolicy(lattice)  # asks at random, recommends what fits best
    >>> lattice.losses(always, [[0.5], [-0.5]]).round(5).tolist()
    [0.15625, 0.15625]
    """

    def __init__(self, problem: BanditProblem, budget: int) -> None:
        self.problem, self.budget = problem, checks.integer("budget", budget, low=1, high=1000)
        if problem.noise != "bernoulli":
            raise ValueError(f"problem must have answers of -1 or 1 for a list of all counts, got noise={problem.noise!r}")
        wide, T = 2 * problem.n_queries, self.budget
        if math.comb(wide + T, T) > MOST_STATES:
            raise ValueError(
                f"budget={T} gives {math.comb(wide + T, T)} counts of {wide} kinds of answers, at most {MOST_STATES}"
            )
        layers = [_counts(wide, t) for t in range(T + 1)]
        self.starts: list[int] = np.cumsum([0, *map(len, layers)]).tolist()
        split = np.concatenate(layers)
        self.split = split  # answers 1 of each query, then answers -1
        self.counts: Array = (split[:, : wide // 2] + split[:, wide // 2 :]).astype(float)
        self.sums: Array = (split[:, : wide // 2] - split[:, wide // 2 :]).astype(float)
        self.parents, self.children = self._neighbors(layers)

    def _neighbors(self, layers: list[NDArray[np.int64]]) -> tuple[list[Any], list[Any]]:
        """Indices within the layer before (its length: none) and after, for each kind of answer."""
        wide = layers[0].shape[1]
        places = {row.tobytes(): i for layer in layers for i, row in enumerate(layer)}
        parents, children = [], []
        one = np.eye(wide, dtype=np.int64)
        for t, layer in enumerate(layers[:-1]):
            after = np.array([[places[row.tobytes()] for row in layer + one[j]] for j in range(wide)]).T
            before = np.full((len(layers[t + 1]), wide), len(layer))
            for j in range(wide):
                before[after[:, j], j] = np.arange(len(layer))
            children.append(after)
            parents.append(before)
        return parents, children

    def layer(self, t: int) -> slice:
        """The counts after t answers."""
        return slice(self.starts[t], self.starts[t + 1])

    def likelihood(self, thetas: Any) -> Any:
        """Probability of one ordered history with each final count, shape (S_T, M): the instance's factor in (13)."""
        yes = torch.as_tensor(thetas, dtype=torch.float64).clamp(-1 + 1e-15, 1 - 1e-15)
        last = torch.as_tensor(self.split[self.layer(self.budget)], dtype=torch.float64)
        logs = torch.log(torch.cat([(1 + yes) / 2, (1 - yes) / 2], dim=1))
        return torch.exp(last @ logs.T)

    def reach(self, queries: Any) -> Any:
        """The policy's factor in (13) of every count, shape (S,).

        `queries` holds the probability of each query, shape (S, n), at the counts before the last layer; a tensor with
        gradient keeps it.
        """
        weight = torch.ones(1, dtype=torch.float64)
        weights = [weight]
        for t, after in enumerate(self.children):
            flow = weight[:, None] * queries[self.layer(t)]
            places = torch.as_tensor(after.ravel())
            start = torch.zeros(len(self.parents[t]), dtype=torch.float64)
            weight = start.index_add(0, places, torch.cat([flow, flow], dim=1).ravel())  # (14)
            weights.append(weight)
        return torch.cat(weights)

    def outcomes(self, queries: Any, decisions: Any, likelihood: Any) -> Any:
        """Probability of each recommendation on each instance, shape (M, K)."""
        return likelihood.T @ self.ends(queries, decisions)  # (15)

    def ends(self, queries: Any, decisions: Any) -> Any:
        """The policy's factor of every final count and recommendation, shape (S_T, K)."""
        return self.reach(queries)[self.layer(self.budget), None] * decisions

    def losses(self, policy: Any, thetas: ArrayLike) -> Array:
        """Exact expected losses of a policy, shape (M,).

        Parameters
        ----------
        policy : object
            With ``probabilities(counts, sums)``, see `TablePolicy`.
        thetas : array_like, shape (M, n)
            Instances, entries between -1 and 1. May be negative.
        """
        rows = self.problem.instances("thetas", thetas)
        queries, decisions = policy.probabilities(self.counts, self.sums)
        likelihood = self.likelihood(rows)
        told = self.outcomes(torch.as_tensor(queries), torch.as_tensor(decisions)[self.layer(self.budget)], likelihood)
        return (told.numpy() * self.problem.losses(rows)).sum(1)  # (15)


def _counts(wide: int, total: int) -> NDArray[np.int64]:
    """All rows of `wide` non-negative integers with the sum `total`, in lexicographic order."""
    bars = np.array(list(itertools.combinations(range(total + wide - 1), wide - 1)), dtype=np.int64).reshape(-1, wide - 1)
    edges = np.hstack([np.full((len(bars), 1), -1), bars, np.full((len(bars), 1), total + wide - 1)])
    return np.diff(edges, axis=1) - 1
