"""Gain sharing: the functions g behind Stochastic Balance, and the ratio that each analysis guarantees.

With f = 1 - g, what an analysis guarantees at the load l is ``F(l) = int_0^l e^-z g(z) dz + f(l) h(l)``, where h says how much
of an offered set keeps its price. The best g makes F the same at every load; that constant is the ratio, and f(0) equals it.
The derivations are ours: they use the idea of displaced offers of Huang and Zhang (2020), not the paper's own proof.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike
from scipy.integrate import cumulative_simpson, solve_ivp
from scipy.special import exp1

from lib import checks
from lib.online.online_matching.problem import Array

BENCHMARKS = ("stochastic", "configuration")
DISPLACED = ("none", "equal", "general")
#: The ratio of Goyal and Udwani, the Euler-Gompertz constant ``int_0^inf e^-x / (1 + x) dx = e E1(1)``.
GOMPERTZ = float(np.e * exp1(1.0))
#: The ratio for equal probabilities against the Stochastic Configuration LP.
EQUAL = 2 * (1 - float(np.log(2)))
#: Loads up to which "general" is solved; beyond, what is left is below the tolerance of its ratio.
REACH = 12.0


def _loads(load: ArrayLike) -> Array:
    x = np.asarray(load, dtype=float)
    if not (x >= 0).all():
        raise ValueError("load must hold numbers of at least 0; infinity is allowed")
    return x


def gain_goyal_udwani(load: ArrayLike) -> Array:
    """g of the analysis without displaced offers: ``1 - e^(1 + l) E1(1 + l)``."""
    x = 1.0 + _loads(load)
    small = np.minimum(x, 500.0)  # beyond, e^x E1(x) = 1/x - 1/x^2 + ..., to rounding
    far = (1 - (1 - 2 / x) / x) / x
    scaled = np.exp(small) * exp1(small)  # (12)
    return 1.0 - np.where(x < 500.0, scaled, far)


def gain_equal(load: ArrayLike) -> Array:
    """g of the analysis for equal probabilities, in closed form."""
    w = np.exp(-_loads(load) / 2)
    # f = 2 + 2 (2 - w)/w log(1 - w/2), by its series where the two terms would cancel
    near = np.maximum(w, 1e-3)
    closed = 2 + 2 * (2 - near) / near * np.log1p(-near / 2)  # (14)
    return 1.0 - np.where(w > 1e-3, closed, w / 2 + w**2 / 12 + w**3 / 48)


@dataclass(frozen=True)
class GainTable:
    """A function g known on a grid of loads, linear in between and constant beyond."""

    loads: tuple[float, ...]
    gains: tuple[float, ...]

    def __call__(self, load: ArrayLike) -> Array:
        """g at each load."""
        return np.interp(_loads(load), self.loads, self.gains)


@dataclass(frozen=True)
class Guarantee:
    """What `competitive_ratio` found.

    Attributes
    ----------
    ratio : float
        The guaranteed competitive ratio.
    loads, gains, kept : ndarray, shape (points,)
        A grid, g on it, and h on it.
    achieved : ndarray, shape (points,)
        F on the grid: equal to the ratio where the analysis is tight.
    """

    ratio: float
    loads: Array
    gains: Array
    kept: Array
    achieved: Array


def gain_function(kind: str = "equal") -> Callable[[ArrayLike], Array]:
    """A function g for `StochasticBalance`.

    Parameters
    ----------
    kind : {"equal", "general", "goyal-udwani", "configuration"}
        ``"equal"`` (closed form) and ``"general"`` (numerical): our derivations against the Stochastic Configuration LP for
        equal and for any probabilities. ``"goyal-udwani"``: without displaced offers. ``"configuration"``: the analysis of
        equal probabilities against the configuration LP.

    Returns
    -------
    callable
        From loads, numbers of at least 0 in any shape, to gains in the same shape; ValueError for other loads.

    Examples
    --------
    >>> from lib.online.online_matching import gain_function
    >>> gain_function("equal")([0.0, 1.0]).round(6)
    array([0.386294, 0.660365])
    """
    checks.choice("kind", kind, ("equal", "general", "goyal-udwani", "configuration"))
    if kind == "equal":
        return gain_equal
    if kind == "goyal-udwani":
        return gain_goyal_udwani
    return _table("stochastic", "general") if kind == "general" else _table("configuration", "equal")


@lru_cache
def _table(benchmark: str, displaced: str) -> GainTable:
    found = competitive_ratio(benchmark, displaced, 401)
    return GainTable(tuple(found.loads.tolist()), tuple(found.gains.tolist()))


def competitive_ratio(benchmark: str = "stochastic", displaced: str = "equal", points: int = 601) -> Guarantee:
    """The competitive ratio of Stochastic Balance that an analysis gives, for infinitesimal probabilities.

    Parameters
    ----------
    benchmark : {"stochastic", "configuration"}
        What one compares with: the Stochastic Configuration LP, or the configuration LP.
    displaced : {"none", "equal", "general"}
        What is known of offers that an early success displaces. ``"none"``: nothing, they are given up. ``"equal"``: all
        probabilities are equal. ``"general"``: any probabilities.
    points : int
        Of the grid, at least 101.

    Returns
    -------
    Guarantee

    Examples
    --------
    >>> from lib.online.online_matching import competitive_ratio
    >>> round(competitive_ratio("stochastic", "none").ratio, 4), round(competitive_ratio("stochastic", "equal").ratio, 4)
    (0.5963, 0.6137)
    """
    checks.choice("benchmark", benchmark, BENCHMARKS)
    checks.choice("displaced", displaced, DISPLACED)
    points = checks.integer("points", points, low=101, high=100_001)
    loads = np.linspace(0.0, REACH, points)
    if benchmark == "stochastic" and displaced == "none":
        ratio, gains = GOMPERTZ, gain_goyal_udwani(loads)
    elif benchmark == "stochastic" and displaced == "equal":
        ratio, gains = EQUAL, gain_equal(loads)
    elif benchmark == "configuration" and displaced == "none":
        ratio, gains = 0.5, np.full(points, 0.5)
    elif benchmark == "configuration" and displaced == "equal":
        ratio, gains = _configuration_equal(loads)
    else:
        ratio, gains = _general(benchmark, loads)
    kept = kept_mass(benchmark, displaced, loads, 1 - gains)
    return Guarantee(ratio, loads, gains, kept, achieved(loads, gains, kept))


def achieved(loads: Array, gains: Array, kept: Array) -> Array:
    """F on a grid: what the offline vertex keeps plus what its set keeps at the price 1 - g."""
    return cumulative_simpson(np.exp(-loads) * gains, x=loads, initial=0) + (1 - gains) * kept  # (11)


def kept_mass(benchmark: str, displaced: str, loads: Array, f: Array) -> Array:
    """h on a grid of loads: the expected mass of the worst set that keeps at least the price f(l)."""
    x = loads
    if displaced == "none":
        return (1 + x) * np.exp(-x) if benchmark == "stochastic" else np.exp(-x)  # (12)
    if displaced == "equal" and benchmark == "stochastic":
        return 2 * np.exp(-x / 2) - np.exp(-x)  # (13)
    if displaced == "equal":
        low, high = 2 - x - np.exp(-x), (math.e - 1) * np.exp(-x)  # (16)
        return np.where(x <= 1, low, high)
    area = cumulative_simpson(f, x=x, initial=0)
    first = np.array([_first_kept(benchmark, x[: k + 1], f[k], area[: k + 1]) for k in range(len(x))])
    inner = cumulative_simpson(area * np.exp(-x), x=x, initial=0)
    at_first = np.interp(first, x, inner)
    if benchmark == "stochastic":
        mass = _moment(first) - _moment(x)
        early = mass - (area * (np.exp(-first) - np.exp(-x)) - (inner - at_first)) / np.maximum(f, 1e-300)
        return (1 + x) * np.exp(-x) + np.where(f > 1e-9, early, 0.0)
    mass = np.exp(-first) - np.exp(-x)
    early = mass - (area * mass - (inner - at_first)) / np.maximum(f, 1e-300)
    return np.exp(-x) + np.where(f > 1e-9, early, 0.0)


def _moment(x: Array) -> Array:
    """The integral of t e^-t from x to infinity."""
    return (1 + x) * np.exp(-x)


def _first_kept(benchmark: str, x: Array, f: float, area: Array) -> float:
    """The threshold above which a success displaces less than the whole set: where ``f mass + area`` reaches ``area[-1]``."""
    mass = x if benchmark == "stochastic" else np.ones(len(x))
    return float(np.interp(area[-1], f * mass + area, x)) if len(x) > 1 else 0.0


def _configuration_equal(loads: Array) -> tuple[float, Array]:
    """g' h = e^-l g + (1 - g) h' from g(1) = 1 - 1/e down to 0; constant beyond 1."""

    def slope(x: float, g: Array) -> Array:
        h, dh = 2 - x - np.exp(-x), np.exp(-x) - 1
        return (np.exp(-x) * g + (1 - g) * dh) / h  # (16)

    end = 1 - np.exp(-1)
    solved = solve_ivp(slope, (1.0, 0.0), [end], rtol=1e-11, atol=1e-12, dense_output=True)
    gains = np.where(loads < 1, solved.sol(np.minimum(loads, 1.0))[0], end)
    return float(1 - solved.y[0, -1]), gains


def _general(benchmark: str, loads: Array) -> tuple[float, Array]:
    """The largest ratio for which f, solved from f(0) = ratio, never rises; bisection in four zooms of 33 ratios."""
    low, high = 0.5, 0.65
    for _ in range(4):
        ratios = np.linspace(low, high, 33)
        good = _shoot(benchmark, ratios, loads)[1]
        last = int(np.flatnonzero(good).max(initial=0))
        low, high = ratios[last], ratios[min(last + 1, 32)]
    f = _shoot(benchmark, np.array([low]), loads)[0][0]
    return float(low), 1 - f


def _shoot(benchmark: str, ratios: Array, x: Array) -> tuple[Array, np.ndarray]:
    """f on the grid from each start, by Heun's steps, and whether it never rose; f ends where it reaches zero."""
    f = np.zeros((len(ratios), len(x)))
    area, first = np.zeros_like(f), np.zeros(len(ratios))
    f[:, 0], good = ratios, np.ones(len(ratios), dtype=bool)
    slope = _slope(benchmark, f[:, 0], first, 0.0)
    for k in range(1, len(x)):
        step = x[k] - x[k - 1]
        guess = np.clip(f[:, k - 1] + step * slope, 0.0, 1.0)
        for _ in range(2):
            area[:, k] = area[:, k - 1] + step * (f[:, k - 1] + guess) / 2
            first = _first_of_many(benchmark, x[: k + 1], guess, area[:, : k + 1], first)
            mean = (slope + _slope(benchmark, guess, first, x[k])) / 2
            guess = np.clip(f[:, k - 1] + step * mean, 0.0, 1.0)
        good &= ~((guess > f[:, k - 1]) & (f[:, k - 1] > 0))
        f[:, k] = np.where(f[:, k - 1] > 0, np.minimum(guess, f[:, k - 1]), 0.0)
        area[:, k] = area[:, k - 1] + step * (f[:, k - 1] + f[:, k]) / 2
        slope = _slope(benchmark, f[:, k], first, x[k])
    return f, good


def _slope(benchmark: str, f: Array, first: Array, x: float) -> Array:
    """f' from F' = 0, given the threshold above which displaced offers leave something of the set."""
    if benchmark == "stochastic":
        return (f * np.exp(-first) - np.exp(-x)) / ((1 + first) * np.exp(-first))  # (15)
    return f - np.exp(first - x)  # (16)


def _first_of_many(benchmark: str, x: Array, f: Array, area: Array, start: Array) -> Array:
    """`_first_kept` for several functions at once: on the grid, linear in between; it never moves back."""
    mass = x if benchmark == "stochastic" else np.ones(len(x))
    reach = f[:, None] * mass + area
    found = np.array([np.interp(total, row, x) for total, row in zip(area[:, -1], reach, strict=True)])
    return np.maximum(found, start) if benchmark == "configuration" else found
