"""Jester: which joke does a kind of reader like most? Answers are whether a reader of that kind likes it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lib import checks, data
from lib.online.learned_active_learning.problem import BanditProblem, best_arm

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Jokes:
    """Kinds of readers as instances.

    Attributes
    ----------
    problem : BanditProblem
        Find the joke that is liked most; regret in units of theta.
    thetas : array, shape (kinds, n)
        Mean answers of each kind's readers that the kinds were not made from: 2 times the share that likes a joke, minus 1.
    """

    problem: BanditProblem
    thetas: Array


def reader_kinds(n: int = 5, kinds: int = 12, seed: int = 0) -> Jokes:
    """Readers who rated every joke, in kinds by k-means on two thirds of them; the others give the instances.

    The jokes are those whose share of friends differs most between kinds.

    Parameters
    ----------
    n : int
        Number of jokes, 2 to 100.
    kinds : int
        Number of kinds, 2 to 50.
    seed : int
        Of the split and of k-means.

    Raises
    ------
    DataUnavailableError
        If the file of ratings is not in the cache; the message says where to put it.

    Examples
    --------
    >>> from lib.online.learned_active_learning.study.jester import reader_kinds
    >>> reader_kinds(5).thetas.shape  # doctest: +SKIP
    (12, 5)
    """
    n, kinds = checks.integer("n", n, low=2, high=100), checks.integer("kinds", kinds, low=2, high=50)
    seed = checks.integer("seed", seed, low=0)
    ratings = data.jester()
    ratings = ratings[~np.isnan(ratings).any(axis=1)]
    order = np.random.default_rng(seed).permutation(len(ratings))
    fit, test = ratings[order[: 2 * len(order) // 3]], ratings[order[2 * len(order) // 3 :]]
    return kinds_of_readers(fit, test, n, kinds, seed)


def kinds_of_readers(fit: Array, test: Array, n: int, kinds: int, seed: int) -> Jokes:
    """Kinds from one half of the readers, their mean answers from the other."""
    from sklearn.cluster import KMeans

    clusters = KMeans(kinds, n_init=4, random_state=seed).fit(fit)
    liked = np.stack([(fit[clusters.labels_ == c] > 0).mean(0) for c in range(kinds)])
    jokes = np.sort(np.argsort(-np.round(liked.std(0), 9), kind="stable")[:n])
    whose = clusters.predict(test)
    present = [c for c in range(kinds) if (whose == c).sum() >= 3]
    yes = np.stack([((test[whose == c] > 0)[:, jokes].sum(0) + 1) / ((whose == c).sum() + 2) for c in present])
    thetas = 2 * yes - 1
    problem = best_arm(n)
    return Jokes(problem, thetas[~problem.tied(thetas)])
