"""Instances of the experiments: families that are hard for online rules, and random graphs."""

from __future__ import annotations

from typing import Any

import numpy as np

from lib import checks
from lib.online.online_matching import StochasticMatching

#: By how much the trap of `two_groups` raises the chances that lure Greedy.
LURE = 1e-3


def triangle(n: int, p: float = 0.1) -> StochasticMatching:
    """The upper triangle: arrivals of type t = 0, ..., n-1 see the offline vertices from t on, 1/p arrivals of each type.

    Parameters
    ----------
    n : int
    p : float
        Above 0, at most 1; ``1 / p`` is rounded.

    Examples
    --------
    >>> from lib.online.online_matching.study import triangle
    >>> triangle(3, 0.5).P[1].tolist()
    [0.5, 0.5, 0.5, 0.5, 0.0, 0.0]
    """
    n, p = checks.integer("n", n, low=1), checks.number("p", p, above=0, high=1)
    return StochasticMatching(np.repeat(p * np.tril(np.ones((n, n))), round(1 / p), axis=1))


def two_groups(k: int, p: float = 0.1) -> StochasticMatching:
    """The trap of Greedy: k / p arrivals see two groups of k, the first a hair more likely; as many see the first group only.

    Parameters
    ----------
    k : int
    p : float
        Above 0, at most 0.9.

    Examples
    --------
    >>> from lib.online.online_matching.study import two_groups
    >>> two_groups(1, 0.5).P.round(2).tolist()
    [[0.5, 0.5, 0.5, 0.5], [0.5, 0.5, 0.0, 0.0]]
    """
    k, p = checks.integer("k", k, low=1), checks.number("p", p, above=0, high=0.9)
    both = np.repeat([[p * (1 + LURE)], [p]], k, axis=0)
    first = np.repeat([[p], [0.0]], k, axis=0)
    return StochasticMatching(np.repeat(np.hstack([both, first]), round(k / p), axis=1))


def private_and_shared(k: int, p: float = 0.1) -> StochasticMatching:
    """The trap of random offers: arrivals of type i < k see vertex i and k shared ones, the later k types one shared one each.

    There are 1/p arrivals of each type.

    Parameters
    ----------
    k : int
    p : float
        Above 0, at most 1.

    Examples
    --------
    >>> from lib.online.online_matching.study import private_and_shared
    >>> private_and_shared(2, 1.0).P.astype(int).tolist()
    [[1, 0, 0, 0], [0, 1, 0, 0], [1, 1, 1, 0], [1, 1, 0, 1]]
    """
    k, p = checks.integer("k", k, low=1), checks.number("p", p, above=0, high=1)
    own, none, all_ = np.eye(k), np.zeros((k, k)), np.ones((k, k))
    return StochasticMatching(np.repeat(p * np.block([[own, none], [all_, own]]), round(1 / p), axis=1))


def random_graph(
    n: int, m: int, density: float = 0.7, p: float = 0.5, equal: bool = False, seed: Any = None
) -> StochasticMatching:  # fmt: skip
    """A random graph: each edge is there with probability `density`, with a chance uniform below p, or p itself.

    Parameters
    ----------
    n, m : int
        Offline and online vertices.
    density : float
    p : float
        Largest success probability.
    equal : bool
        Whether all are p.
    seed : None, int or Generator

    Examples
    --------
    >>> from lib.online.online_matching.study import random_graph
    >>> random_graph(3, 5, equal=True, seed=0).P.max()
    np.float64(0.5)
    """
    n, m = checks.integer("n", n, low=1), checks.integer("m", m, low=1)
    density, p = checks.probability("density", density), checks.probability("p", p)
    rng, equal = checks.generator("seed", seed), checks.boolean("equal", equal)
    edges, chances = rng.random((n, m)) < density, rng.random((n, m))
    return StochasticMatching(edges * (p if equal else p * chances))
