"""Rivals that need no training: random queries, rules on a posterior or on ranks, and the plan that knows the probabilities.

Policies see counts and sums of answers alone, so rules that remember more are carried over to what can be read from these.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lib import checks
from lib.online.learned_active_learning.policy import most_fitting
from lib.online.learned_active_learning.problem import BanditProblem

Array = NDArray[np.float64]


def _softmax(logits: Array) -> Array:
    soft = np.exp(logits - logits.max(1, keepdims=True))
    return soft / soft.sum(1, keepdims=True)


def shared_top(scores: Array) -> Array:
    """Probabilities that share each row's largest entries, ties up to rounding, equally."""
    top = scores >= scores.max(1, keepdims=True) - 1e-9 * (1 + np.abs(scores).max(1, keepdims=True))
    return top / top.sum(1, keepdims=True)


class Uniform:
    """Ask at random; recommend the most fitting hypothesis.

    Parameters
    ----------
    problem : BanditProblem
        Gives queries and hypotheses.

    Examples
    --------
    >>> from lib.online.learned_active_learning import thresholds
    >>> from lib.online.learned_active_learning.study import Uniform
    >>> Uniform(thresholds(2)).probabilities([[0, 0]], [[0, 0]])[0].tolist()
    [[0.5, 0.5]]
    """

    def __init__(self, problem: BanditProblem) -> None:
        self.problem = problem

    def probabilities(self, counts: ArrayLike, sums: ArrayLike) -> tuple[Array, Array]:
        """Of the next query (B, n) and the recommendation (B, K)."""
        sums = np.asarray(sums, dtype=float)
        n = self.problem.n_queries
        return np.full((len(sums), n), 1 / n), most_fitting(self.problem, sums)


class SoftBinarySearch:
    """Soft generalized binary search (SGBS): ask what splits the posterior most evenly, for an assumed share of wrong answers.

    Parameters
    ----------
    problem : BanditProblem
        Its hypotheses' signs are what each expects as answers.
    noise : float
        Assumed share of wrong answers, above 0 and below 1/2.

    Examples
    --------
    >>> from lib.online.learned_active_learning import thresholds
    >>> from lib.online.learned_active_learning.study import SoftBinarySearch
    >>> SoftBinarySearch(thresholds(3), 0.2).probabilities([[0, 0, 0]], [[0, 0, 0]])[0].tolist()
    [[0.0, 1.0, 0.0]]
    """

    def __init__(self, problem: BanditProblem, noise: float) -> None:
        self.problem, self.noise = problem, checks.number("noise", noise, above=0, below=0.5)
        self._signs = np.sign(problem.Z)

    def probabilities(self, counts: ArrayLike, sums: ArrayLike) -> tuple[Array, Array]:
        """Of the next query (B, n) and the recommendation (B, K)."""
        sums = np.asarray(sums, dtype=float)
        posterior = _softmax(0.5 * np.log((1 - self.noise) / self.noise) * (sums @ self._signs.T))  # (18)
        return shared_top(-np.abs(posterior @ self._signs)), most_fitting(self.problem, sums)  # (18)


class TopTwo:
    """Top-two Thompson sampling (Russo, 2016): ask what tells two draws from the posterior apart.

    A leader is drawn from the posterior of soft binary search, then challengers until one differs. Queries are asked in
    proportion to how much the two differ there. For the best arm this asks leader or challenger, each half of the time.

    Parameters
    ----------
    problem : BanditProblem
        Gives queries and hypotheses.
    noise : float
        Assumed share of wrong answers, above 0 and below 1/2.

    Examples
    --------
    >>> from lib.online.learned_active_learning import best_arm
    >>> from lib.online.learned_active_learning.study import TopTwo
    >>> TopTwo(best_arm(2), 0.2).probabilities([[0, 0]], [[0, 0]])[0].tolist()
    [[0.5, 0.5]]
    """

    def __init__(self, problem: BanditProblem, noise: float) -> None:
        self.problem, self.noise = problem, checks.number("noise", noise, above=0, below=0.5)
        apart = np.abs(problem.Z[:, None] - problem.Z)
        self._shares = apart / np.maximum(apart.sum(2, keepdims=True), 1e-300)  # (K, K, n), 0 for a pair of equals
        self._signs = np.sign(problem.Z)

    def probabilities(self, counts: ArrayLike, sums: ArrayLike) -> tuple[Array, Array]:
        """Of the next query (B, n) and the recommendation (B, K)."""
        sums = np.asarray(sums, dtype=float)
        logits = 0.5 * np.log((1 - self.noise) / self.noise) * (sums @ self._signs.T)
        leader, K = _softmax(logits), self.problem.n_hypotheses
        others = np.where(np.eye(K, dtype=bool), -np.inf, logits[:, None])  # (B, K, K): without each leader
        challenger = _softmax(others.reshape(-1, K)).reshape(-1, K, K)
        queries = np.einsum("bk,bkj,kjn->bn", leader, challenger, self._shares, optimize=True)
        return queries / queries.sum(1, keepdims=True), most_fitting(self.problem, sums)


class Halving:
    """Successive halving (Karnin, Koren and Somekh, 2013): the budget is shared by rounds with ever fewer candidates.

    There are ``ceil(log2 K)`` rounds of equal length. In round r the candidates are the ``K / 2^r`` hypotheses that fit best,
    and of the queries on which they differ the one that was asked least is asked. The original keeps who left; here the ranks
    are taken anew at each turn.

    Parameters
    ----------
    problem : BanditProblem
        Gives queries and hypotheses.
    budget : int
        Number of queries that are asked.

    Examples
    --------
    >>> from lib.online.learned_active_learning import thresholds
    >>> from lib.online.learned_active_learning.study import Halving
    >>> Halving(thresholds(3), 4).probabilities([[1, 1, 0]], [[-1, -1, 0]])[0].tolist()
    [[0.0, 0.0, 1.0]]
    """

    def __init__(self, problem: BanditProblem, budget: int) -> None:
        self.problem, self.budget = problem, checks.integer("budget", budget, low=1, high=100_000)
        self._rounds = int(np.ceil(np.log2(problem.n_hypotheses)))

    def probabilities(self, counts: ArrayLike, sums: ArrayLike) -> tuple[Array, Array]:
        """Of the next query (B, n) and the recommendation (B, K)."""
        counts, sums = np.asarray(counts, dtype=float), np.asarray(sums, dtype=float)
        Z, K = self.problem.Z, self.problem.n_hypotheses
        turn = np.minimum(counts.sum(1), self.budget - 1)
        kept = np.ceil(K / 2 ** (turn * self._rounds // self.budget)).astype(int)
        scores = np.round(sums @ Z.T, 9)
        least = np.take_along_axis(-np.sort(-scores, axis=1), kept[:, None] - 1, axis=1)
        candidates = scores >= least  # ties stay
        high = np.where(candidates[:, :, None], Z, -np.inf).max(1)
        low = np.where(candidates[:, :, None], Z, np.inf).min(1)
        return shared_top(np.where(high > low, -counts, -counts.max() - 1)), most_fitting(self.problem, sums)


class KnownAnswers:
    """The plan that knows each hypothesis's probability of each answer: ask what tells most, recommend what is likeliest.

    Parameters
    ----------
    probabilities_of_yes : array_like, shape (K, n)
        Probability that the answer is 1, for each hypothesis and query, above 0 and below 1.
    rule : {"information", "split"}
        Ask for the largest expected information, or for the mean answer closest to even.

    Examples
    --------
    >>> from lib.online.learned_active_learning.study import KnownAnswers
    >>> KnownAnswers([[0.5, 0.9], [0.5, 0.1]]).probabilities([[0, 0]], [[0, 0]])[0].tolist()
    [[0.0, 1.0]]
    """

    def __init__(self, probabilities_of_yes: ArrayLike, rule: str = "information") -> None:
        self.yes: Array = checks.array("probabilities_of_yes", probabilities_of_yes, ndim=2, low=0, high=1).astype(float)
        if self.yes.min() <= 0 or self.yes.max() >= 1:
            raise ValueError("probabilities_of_yes must be above 0 and below 1")
        self.rule = checks.choice("rule", rule, ("information", "split"))

    def posterior(self, counts: ArrayLike, sums: ArrayLike) -> Array:
        """Probabilities of the hypotheses (B, K) after the answers, from a uniform prior."""
        counts, sums = np.asarray(counts, dtype=float), np.asarray(sums, dtype=float)
        logs = (counts + sums) / 2 @ np.log(self.yes).T + (counts - sums) / 2 @ np.log1p(-self.yes).T
        return _softmax(logs)

    def probabilities(self, counts: ArrayLike, sums: ArrayLike) -> tuple[Array, Array]:
        """Of the next query (B, n) and the recommendation (B, K)."""
        posterior = self.posterior(counts, sums)
        mean = posterior @ self.yes
        scores = -np.abs(mean - 0.5)
        if self.rule == "information":
            scores = _entropy(mean) - posterior @ _entropy(self.yes)
        return shared_top(scores), shared_top(np.log(np.maximum(posterior, 1e-300)))


def _entropy(p: Array) -> Any:
    return -p * np.log(p) - (1 - p) * np.log1p(-p)
