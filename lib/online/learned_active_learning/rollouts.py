"""Sampled episodes, all in one batch, and the estimates of both players' gradients that they give."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from lib import checks
from lib.online.learned_active_learning.problem import BanditProblem

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Episodes:
    """B episodes of T queries.

    Attributes
    ----------
    counts, sums : array, shape (T + 1, B, n)
        How often each query was asked, and the sum of its answers, before each query and at the end.
    actions, answers : array, shape (T, B)
        Which query was asked, and the answer, -1 or 1 (any number where answers are Gaussian).
    decisions : array, shape (B, K)
        Probabilities of the recommendation.
    noise : {"bernoulli", "gaussian"}
        Of the answers.
    """

    counts: Array
    sums: Array
    actions: NDArray[np.int64]
    answers: Array
    decisions: Array
    noise: str = "bernoulli"

    def losses(self, costs: ArrayLike) -> Array:
        """Expected loss of each episode's recommendation, given the instances' costs (B, K), shape (B,)."""
        return (self.decisions * np.asarray(costs)).sum(1)


def rollout(
    policy: Any, problem: BanditProblem, thetas: ArrayLike, budget: int, seed: Any = None, answers: ArrayLike | None = None
) -> Episodes:
    """Play one episode on each instance; the only loop is over the queries.

    Parameters
    ----------
    policy : object
        With ``probabilities(counts, sums)``: of the next query (B, n) and the recommendation (B, K).
    problem : BanditProblem
        Gives queries and hypotheses.
    thetas : array_like, shape (B, n)
        One instance for each episode, entries between -1 and 1, or of any size where answers are Gaussian. May be negative.
    budget : int
        Number of queries.
    seed : int or Generator, optional
        Of queries and answers.
    answers : array_like, shape (B, n), optional
        Answers that each query always gives, in place of drawing them. May be negative.

    Examples
    --------
    >>> from lib.online.learned_active_learning import Lattice, TablePolicy, rollout, thresholds
    >>> policy = TablePolicy(Lattice(thresholds(2), 3))
    >>> played = rollout(policy, thresholds(2), [[0.9, 0.9]], 3, seed=0)
    >>> played.counts[-1].sum(), played.actions.shape
    (np.float64(3.0), (3, 1))
    """
    rows = problem.instances("thetas", thetas)
    budget = checks.integer("budget", budget, low=1, high=100_000)
    rng = checks.generator("seed", seed)
    fixed = None if answers is None else checks.array("answers", answers, shape=rows.shape)
    if fixed is not None:
        problem.check_answers("answers", fixed)
    (B, n), each = rows.shape, np.arange(len(rows))
    counts, sums = np.zeros((budget + 1, B, n)), np.zeros((budget + 1, B, n))
    actions, told = np.zeros((budget, B), dtype=np.int64), np.zeros((budget, B))
    for t in range(budget):
        queries, _ = policy.probabilities(counts[t], sums[t])
        steps = np.cumsum(queries, axis=1)
        actions[t] = np.minimum((rng.random((B, 1)) * steps[:, -1:] >= steps).sum(1), n - 1)
        told[t] = problem.draw(rows[each, actions[t]], rng)  # (1)
        if fixed is not None:
            told[t] = fixed[each, actions[t]]
        counts[t + 1], sums[t + 1] = counts[t], sums[t]
        counts[t + 1, each, actions[t]] += 1
        sums[t + 1, each, actions[t]] += told[t]
    return Episodes(counts, sums, actions, told, policy.probabilities(counts[-1], sums[-1])[1], problem.noise)


def policy_surrogate(policy: Any, played: Episodes, costs: ArrayLike, baseline: ArrayLike = 0.0) -> tuple[torch.Tensor, Array]:
    """A number whose gradient estimates that of the expected loss, and the episodes' losses.

    Parameters
    ----------
    policy : QueryPolicy
        The network that played.
    played : Episodes
        Its episodes.
    costs : array_like, shape (B, K)
        What each recommendation costs on each episode's instance.
    baseline : float or array_like, shape (B,)
        What is subtracted from the losses: anything that does not depend on the episode itself. May be negative.

    Examples
    --------
    >>> from lib.online.learned_active_learning import QueryPolicy, policy_surrogate, rollout, thresholds
    >>> problem = thresholds(2)
    >>> policy = QueryPolicy(problem, 3, hidden=4, seed=0)
    >>> thetas = [[0.9, 0.9], [-0.5, 0.5]]
    >>> played = rollout(policy, problem, thetas, 3, seed=0)
    >>> value, losses = policy_surrogate(policy, played, problem.losses(thetas))
    >>> value.requires_grad, losses.shape
    (True, (2,))
    """
    T, B = played.actions.shape
    prices = torch.as_tensor(checks.array("costs", costs, shape=(B, None)))
    base = checks.array("baseline", baseline, ndim=(0, 1))
    states = (torch.as_tensor(x.reshape((T + 1) * B, -1)) for x in (played.counts, played.sums))
    queries, decisions = policy(*states)
    logs = torch.log_softmax(queries[: T * B], dim=1)
    taken = logs.gather(1, torch.as_tensor(played.actions.reshape(-1, 1))).view(T, B).sum(0)
    losses = (torch.softmax(decisions[T * B :], dim=1) * prices).sum(1)
    centered = losses.detach() - torch.as_tensor(base)
    return (centered * taken + losses).mean(), losses.detach().numpy()  # (7)


def instance_scores(played: Episodes, thetas: ArrayLike) -> Array:
    """Derivative of the logarithm of each episode's answers' probability by its instance, shape (B, n).

    Parameters
    ----------
    played : Episodes
        Episodes.
    thetas : array_like, shape (B, n)
        Their instances. May be negative.

    Examples
    --------
    >>> from lib.online.learned_active_learning import Lattice, TablePolicy, instance_scores, rollout, thresholds
    >>> policy = TablePolicy(Lattice(thresholds(1), 2))
    >>> instance_scores(rollout(policy, thresholds(1), [[0.5]], 2, seed=1), [[0.5]]).round(3).tolist()
    [[-4.0]]
    """
    rows = checks.array("thetas", thetas, shape=played.counts.shape[1:])
    if played.noise == "gaussian":
        return played.sums[-1] - played.counts[-1] * rows  # (8), Gaussian answers
    checks.array("thetas", rows, low=-1, high=1)
    yes, no = (played.counts[-1] + played.sums[-1]) / 2, (played.counts[-1] - played.sums[-1]) / 2
    return yes / np.maximum(1 + rows, 1e-12) - no / np.maximum(1 - rows, 1e-12)  # (8)
