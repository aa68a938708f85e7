"""Real click logs: the Open Bandit Dataset's small sample (Saito, Aihara, Matsutani, Narita; NeurIPS Datasets 2021).

Fashion items that a shop showed at random, with the clicks. From the log come items, user segments, click rates and each user's
affinity to items; an instance takes impressions in their order of time.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np

from lib import checks
from lib.data import open_bandit
from lib.online.online_matching import StochasticMatching
from lib.online.online_matching.problem import Array

CAMPAIGNS = ("men", "women", "all")
#: Impressions of average click rate that are added to each item and each segment.
SMOOTHING = 300
#: No offer is more likely than this to be clicked.
CAP = 0.9


class ClickLog(NamedTuple):
    """A campaign's log, in order of time.

    Attributes
    ----------
    items : ndarray of int, shape (rows,)
    clicks : ndarray of int, shape (rows,)
    segments : ndarray of int, shape (rows,)
        Which of the groups of users with the same three features.
    affinities : ndarray, shape (rows, n)
        Of the user to each item.
    """

    items: np.ndarray
    clicks: np.ndarray
    segments: np.ndarray
    affinities: Array

    def rates(self) -> tuple[Array, Array, float]:
        """Smoothed click rates of items and of segments, and the mean rate."""
        mean = float(self.clicks.mean())
        by = []
        for groups in (self.items, self.segments):
            count, clicked = np.bincount(groups), np.bincount(groups, weights=self.clicks)
            by.append((clicked + SMOOTHING * mean) / (count + SMOOTHING))
        return by[0], by[1], mean


def click_log(campaign: str = "men") -> ClickLog:
    """The log of a campaign whose items were shown at random: 10 000 impressions.

    Parameters
    ----------
    campaign : {"men", "women", "all"}
        34, 46 or 80 items.

    Raises
    ------
    lib.data.DataUnavailableError
        No verified copy of the wheel could be had.

    Examples
    --------
    >>> from lib.online.online_matching.study import click_log
    >>> click_log("men").affinities.shape
    (10000, 34)
    """
    checks.choice("campaign", campaign, CAMPAIGNS)
    return ClickLog(*(array.copy() for array in _log(campaign)))


@functools.cache
def _log(campaign: Any) -> ClickLog:
    return ClickLog(*open_bandit(campaign))


def click_instance(
    log: ClickLog, arrivals: int = 500, near: int = 5, supply: float = 1.0, seed: Any = None
) -> StochasticMatching:
    """Impressions drawn from a log, in their order; each may show one of the items its user has most affinity to.

    The chance of a click is the item's rate times the segment's over the mean, all multiplied by one factor so that the
    expected number of clicks of random offers is `supply` times the number of items: without it almost nothing is clicked.

    Parameters
    ----------
    log : ClickLog
    arrivals : int
        At most the log's rows.
    near : int
        Items that an impression may show, at most all; ties of affinity (most are 0) are drawn.
    supply : float
        Above 0.
    seed : None, int or Generator

    Examples
    --------
    >>> from lib.online.online_matching.study import click_instance, click_log
    >>> click_instance(click_log("men"), 100, seed=0).shape
    (34, 100)
    """
    n, rows = log.affinities.shape[1], len(log.items)
    arrivals = checks.integer("arrivals", arrivals, low=1, high=rows)
    near, supply = checks.integer("near", near, low=1, high=n), checks.positive("supply", supply)
    rng = checks.generator("seed", seed)
    drawn = np.sort(rng.choice(rows, arrivals, replace=False))
    of_item, of_segment, mean = log.rates()
    P = of_item[:, None] * of_segment[log.segments[drawn]] / mean
    order = np.lexsort((rng.random((arrivals, n)), -log.affinities[drawn]), axis=1)
    seen = np.zeros((arrivals, n), dtype=bool)
    np.put_along_axis(seen, order[:, :near], True, axis=1)
    P = P * seen.T
    return StochasticMatching(np.minimum(P * supply * n * near / P.sum(), CAP))
