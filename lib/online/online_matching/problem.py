"""The instance: offline vertices, online vertices in their order of arrival, and the probability of each edge."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lib import checks

Array = NDArray[np.float64]


def hazard(p: ArrayLike) -> Array:
    """By how much an offer of chance p raises a load: ``-log(1 - p)``, so that loads add where chances multiply."""
    with np.errstate(divide="ignore"):
        return -np.log1p(-np.asarray(p, dtype=float))  # (1)


class StochasticMatching:
    """Online matching with stochastic rewards: who may be offered to whom, and how likely an offer succeeds.

    Parameters
    ----------
    P : array_like, shape (n, m)
        ``P[u, v]``: probability that the offer of online vertex v to offline vertex u succeeds, 0 where there is no edge.
        Columns are in order of arrival.
    weights : array_like, shape (n,), optional
        Reward of each offline vertex's only success, above zero; default ones (the paper).

    Attributes
    ----------
    P, weights : ndarray
        Read-only copies.
    hazards : ndarray, shape (n, m)
        ``-log(1 - P)``; infinite where an offer is certain to succeed.

    Raises
    ------
    ValueError
        For a probability outside 0 to 1 (the message names the edge), no entries, or a weight that is not above zero.
    TypeError
        For something else than real numbers.

    Examples
    --------
    >>> from lib.online.online_matching import StochasticMatching
    >>> StochasticMatching([[0.5, 0.5], [0.5, 0.0]]).shape
    (2, 2)
    """

    def __init__(self, P: ArrayLike, weights: ArrayLike | None = None) -> None:
        self.P = checks.array("P", P, ndim=2).astype(float)
        outside = np.argwhere((self.P < 0) | (self.P > 1))
        if len(outside):
            u, v = map(int, outside[0])
            raise ValueError(f"every entry of P must be a probability between 0 and 1, got {self.P[u, v]:.6g} at P[{u}, {v}]")
        given = np.ones(len(self.P)) if weights is None else weights
        self.weights = checks.array("weights", given, shape=(len(self.P),), above=0).astype(float)
        self.hazards = hazard(self.P)
        for array in (self.P, self.weights, self.hazards):
            array.setflags(write=False)

    @property
    def shape(self) -> tuple[int, int]:
        """Offline and online vertices (n, m)."""
        n, m = self.P.shape
        return n, m

    def __repr__(self) -> str:
        n, m = self.shape
        return f"{type(self).__name__}(n={n}, m={m}, edges={int((self.P > 0).sum())})"

    def split(self, parts: int) -> StochasticMatching:
        """The same instance in finer grains: each arrival becomes `parts` arrivals of the same joint chance.

        One part has the hazard ``-log(1 - p) / parts``: with many parts every probability is small, as the paper assumes.

        Parameters
        ----------
        parts : int
            At least 1.
        """
        parts = checks.integer("parts", parts, low=1)
        if not np.isfinite(self.hazards).all():
            raise ValueError("P has an offer that is certain to succeed: it cannot be split")
        return StochasticMatching(np.repeat(-np.expm1(-self.hazards / parts), parts, axis=1), self.weights)

    def permuted(self, order: ArrayLike) -> StochasticMatching:
        """The same instance with another order of arrival.

        Parameters
        ----------
        order : array_like of int, shape (m,)
            A permutation of 0 to m-1.
        """
        given = checks.array("order", order, shape=(self.shape[1],))
        if not np.array_equal(np.sort(given), np.arange(self.shape[1])):
            raise ValueError(f"order must be a permutation of 0 to {self.shape[1] - 1}")
        return StochasticMatching(self.P[:, given.astype(int)], self.weights)

    def sample_thresholds(self, runs: int, seed: Any = None) -> Array:
        """Draw for each run and offline vertex the load at which it succeeds: exponential with mean 1.

        Parameters
        ----------
        runs : int
        seed : None, int or Generator

        Returns
        -------
        ndarray, shape (runs, n)
        """
        runs = checks.integer("runs", runs, low=1)
        return checks.generator("seed", seed).exponential(size=(runs, self.shape[0]))  # (1)


def as_problem(P: ArrayLike | StochasticMatching) -> StochasticMatching:
    """An instance as it is, or made from its probabilities."""
    return P if isinstance(P, StochasticMatching) else StochasticMatching(P)
