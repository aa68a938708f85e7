"""Samples to estimates with 95 % intervals: thin over scipy.

A claim is judged on an interval, never on a mean alone. Which interval belongs to which estimate:

=========  ==========================================  =======================================
estimate   of samples                                  interval
=========  ==========================================  =======================================
mean       numbers (paired differences, say)           Student's t
geomean    positive numbers                            Student's t of the logarithms
share      zeros and ones                              Wilson's score interval
median     numbers, at least 6                         bootstrap (percentile)
ratio      pairs (numerator, denominator), at least 5  bootstrap of the ratio of the means (BCa)
=========  ==========================================  =======================================

Ratios whose numerators are all zero (what is left, over what there was) have nothing to resample. Their interval reaches from
0 to Wilson's limit of a share that no sample shows, of as many samples as the denominators are worth: by Kish's effective
number, (sum b)^2 / sum b^2, a few large ones count for few, and one that is 0 for none. It takes for granted that no numerator
is above its denominator.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from lib import checks

LEVEL = 0.95
#: Least number of samples whose interval means something; a mean needs a spread, a bootstrap something to draw from.
FEWEST = {"mean": 2, "geomean": 2, "share": 1, "median": 6, "ratio": 5}
_DRAWS = 9999


@dataclass(frozen=True)
class Estimate:
    """A value with the interval that holds the true one with a probability of 95 %, and the number of samples.

    A deterministic number has ``low == value == high``; `n` is then the number of runs that agree on it.
    """

    value: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        """The value with its interval and the number of samples, as a reader sees it."""
        if not self.finite:
            return f"not finite (n = {self.n})"
        if self.exact:
            return show(self.value)
        if math.isinf(self.low) or math.isinf(self.high):
            return f"{show(self.value)} (n = {self.n}, too few for an interval)"
        if max(abs(self.low), abs(self.high)) < 5e-10:  # rounding, whose digits differ from machine to machine
            return f"0 within 1e-9 (n = {self.n})"
        # As many decimals as two digits of the interval's width need: what decides a rule can be seen.
        decimals = min(max(0, 1 - math.floor(math.log10(self.high - self.low))), 9)
        value, low, high = (f"{x:z,.{decimals}f}" for x in (self.value, self.low, self.high))
        return f"{value} ({low} to {high}, n = {self.n})"

    def __format__(self, spec: str) -> str:
        return format(self.value, spec) if spec else str(self)

    @property
    def finite(self) -> bool:
        """Whether the value itself is a number (its interval may be unbounded: too few samples)."""
        return math.isfinite(self.value)

    @property
    def exact(self) -> bool:
        """Whether the interval is a point, up to rounding."""
        return self.high - self.low <= 1e-12 * abs(self.value)


def show(value: float) -> str:
    """A number as the book prints it: three significant digits, four just around 1; whole numbers whole.

    Parameters
    ----------
    value : float
        NaN allowed, infinity allowed: they print as such.

    Examples
    --------
    >>> from lib.estimates import show
    >>> show(0.63412), show(1.0023), show(12), show(1234.6)
    ('0.634', '1.002', '12', '1,235')
    """
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        raise TypeError(f"value must be a number, got {value!r}")
    if isinstance(value, int) or (math.isfinite(value) and value == int(value) and abs(value) < 1e6):
        return f"{int(value):,}"
    if 0.9 < abs(value) < 1.1:
        return f"{value:.4g}"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def exact(values: Sequence[float]) -> Estimate:
    """A deterministic number, seen in one run or several: the interval is the whole range of what was seen.

    Parameters
    ----------
    values : sequence of float, shape (n,)
        NaN allowed, infinity allowed: the estimate is then NaN with an unbounded interval.

    Examples
    --------
    >>> from lib.estimates import exact
    >>> exact([2.0, 4.0])
    Estimate(value=3.0, low=2.0, high=4.0, n=2)
    """
    numbers = checks.array("values", values, ndim=1, nan=True, inf=True).tolist()
    if not all(map(math.isfinite, numbers)):
        return Estimate(math.nan, -math.inf, math.inf, len(numbers))
    low, high = min(numbers), max(numbers)
    return Estimate(min(max(float(np.mean(numbers)), low), high), low, high, len(numbers))  # a mean of equal numbers rounds


def estimate(samples: Any, kind: str = "mean") -> Estimate:
    """The estimate of a kind from samples, with its 95 % interval (see the table in this module's docstring).

    Parameters
    ----------
    samples : array_like, shape (n,), for "ratio" (n, 2)
        Independent samples. NaN allowed, infinity allowed: the estimate is then NaN with an unbounded interval.
    kind : {"mean", "geomean", "share", "median", "ratio"}

    Raises
    ------
    TypeError
        If the samples are no numbers.
    ValueError
        For no samples, a wrong shape, an unknown kind, a share of other numbers than 0 and 1, a geometric mean of numbers
        that are not positive.

    Examples
    --------
    >>> from lib.estimates import estimate
    >>> e = estimate([1.0, 2.0, 3.0, 2.0])
    >>> e.value, round(e.low, 2), round(e.high, 2), e.n
    (2.0, 0.7, 3.3, 4)
    """
    checks.choice("kind", kind, FEWEST)
    data = checks.array("samples", samples, nan=True, inf=True, ndim=2 if kind == "ratio" else 1).astype(float)
    if kind == "ratio" and data.shape[1] != 2:
        raise ValueError(f"samples of a ratio must be pairs, shape (n, 2), got {data.shape}")
    if not np.isfinite(data).all():
        return Estimate(math.nan, -math.inf, math.inf, len(data))
    if kind == "share" and not np.isin(data, (0, 1)).all():
        raise ValueError(f"samples of a share must be 0 or 1, got {checks.shown(sorted(set(data.tolist())))}")
    if kind == "geomean" and data.min() <= 0:
        raise ValueError(f"samples of a geometric mean must be positive, got {data.min():g}")
    value, low, high = _interval(kind, data.shape, data.tobytes())
    if len(data) < FEWEST[kind]:
        low, high = -math.inf, math.inf
    return Estimate(value, low, high, len(data))


@lru_cache(maxsize=4096)  # many sentences of a chapter speak of the same recorded samples
def _interval(kind: str, shape: tuple[int, ...], samples: bytes) -> tuple[float, float, float]:
    return _KINDS[kind](np.frombuffer(samples).reshape(shape))


def _mean(data: np.ndarray) -> tuple[float, float, float]:
    from scipy.stats import t

    mean = float(data.mean())
    if len(data) < 2:
        return mean, mean, mean
    half = float(t.ppf((1 + LEVEL) / 2, len(data) - 1) * data.std(ddof=1) / math.sqrt(len(data)))
    return mean, mean - half, mean + half


def _geomean(data: np.ndarray) -> tuple[float, float, float]:
    value, low, high = (math.exp(min(x, 700.0)) for x in _mean(np.log(data)))
    return value, low, high


def _share(data: np.ndarray) -> tuple[float, float, float]:
    from scipy.stats import binomtest

    interval = binomtest(int(data.sum()), len(data)).proportion_ci(LEVEL, method="wilson")
    return float(data.mean()), float(interval.low), float(interval.high)


def _median(data: np.ndarray) -> tuple[float, float, float]:
    return _bootstrap((data,), np.median, "percentile")


def _ratio(data: np.ndarray) -> tuple[float, float, float]:
    if data[:, 1].mean() == 0:
        raise ValueError("the denominators of a ratio must not have mean 0")
    if not data[:, 0].any() and (data[:, 1] >= 0).all():
        worth = data[:, 1].sum() ** 2 / (data[:, 1] ** 2).sum()
        return 0.0, 0.0, _share(np.zeros(int(worth + 1e-9)))[2]
    return _bootstrap((data[:, 0], data[:, 1]), lambda a, b, axis=-1: np.mean(a, axis) / np.mean(b, axis), "BCa")


def _bootstrap(columns: tuple[np.ndarray, ...], statistic: Any, method: str) -> tuple[float, float, float]:
    from scipy.stats import bootstrap

    value = float(statistic(*columns, axis=-1))
    if len(columns[0]) < 2 or all(np.ptp(column) == 0 for column in columns):
        return value, value, value
    with warnings.catch_warnings(), np.errstate(invalid="ignore", divide="ignore"):
        warnings.simplefilter("ignore")  # scipy's, of samples that are nearly all alike: they have no interval, see below
        # A seed of its own: the same samples always have the same interval.
        found = bootstrap(
            columns,
            statistic,
            n_resamples=_DRAWS,
            confidence_level=LEVEL,
            paired=True,
            vectorized=True,
            method=method,
            random_state=np.random.default_rng(0),
        ).confidence_interval
    low, high = float(found.low), float(found.high)
    if math.isnan(low) or math.isnan(high):  # BCa of samples that are all alike but one
        return value, -math.inf, math.inf
    return value, low, high


_KINDS = {"mean": _mean, "geomean": _geomean, "share": _share, "median": _median, "ratio": _ratio}


def pool(measured: Sequence[Any]) -> Any:
    """What several runs measured of one value, as one set of samples.

    Lists (fresh samples of each run) are joined; runs with the same samples are refused. Mappings (units that recur in
    every run, such as data sets) become one sample a unit: its mean over the runs. Plain numbers stay a list of what was
    seen.

    Examples
    --------
    >>> from lib.estimates import pool
    >>> pool([[1, 2], [3]]), pool([{"iris": 1.0}, {"iris": 3.0}]), pool([5, 5])
    ([1, 2, 3], {'iris': 2.0}, [5, 5])
    """
    kinds = {_kind(value) for value in measured}
    if len(kinds) != 1:
        raise ValueError(f"runs measured a value in different forms: {', '.join(sorted(kinds)) or 'none'}")
    if kinds == {"samples"}:
        _refuse_copies(measured)
        return [entry for value in measured for entry in value]
    if kinds == {"units"}:
        units = dict.fromkeys(name for value in measured for name in value)
        return {name: _average([value[name] for value in measured if name in value]) for name in units}
    return list(measured)


def _refuse_copies(measured: Sequence[Any]) -> None:
    """Samples that are said to be fresh must not be those of another run again: pooling copies would narrow the interval."""
    seen = [tuple(map(str, value)) for value in measured if len(set(map(str, value))) > 2]
    if len(set(seen)) < len(seen):
        raise ValueError("two runs have the same samples: give units that recur by name, and deterministic values as numbers")


def _kind(value: Any) -> str:
    if isinstance(value, Mapping):
        return "units"
    return "samples" if isinstance(value, list | tuple | np.ndarray) else "number"


def _average(entries: list[Any]) -> Any:
    data = np.array([[math.nan if x is None else x for x in np.atleast_1d(entry)] for entry in entries], dtype=float)
    means = data.mean(axis=0).tolist()
    return means if isinstance(entries[0], list | tuple) else means[0]
