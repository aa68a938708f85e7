"""The races: rates on the toy problems with the promised schedules, hyper-cleaning on one budget, MNIST's images."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

import lib.data
from lib import checks
from lib.problems.cleaning import CleaningTask, cleaning_task

from ..loops import DoubleLoopPenalty, SingleLoopPenalty
from ..steps import PowerSchedule
from .cleaning import CleaningRun, SoftmaxCleaning, clean_implicit, clean_penalty, clean_unrolled
from .landscape import log_slope
from .toy import WideToy, trace

#: Powers of 1 / (k + 1): of sigma, of the step of x, of the inner step, of eta, and of the batch (negative: it grows).
SCHEDULES = {
    "exact": {"sigma": 1 / 3, "alpha": 1 / 3},
    "double": {"sigma": 1 / 3, "alpha": 1 / 3, "batch": -4 / 3},
    "momentum": {"sigma": 1 / 5, "alpha": 3 / 5, "eta": 4 / 5},
    "plain": {"sigma": 1 / 5, "alpha": 3 / 5},
    "shrinking": {"sigma": 1 / 7, "alpha": 5 / 7, "gamma": 4 / 7},
}
#: Checkpoints in a tenfold range of calls; a power is fitted over one range: five checkpoints, both ends among them.
PER_DECADE = 4
#: Ranks of the lower level's matrix: one minimizer, or a plane of them.
RANKS = {"one": 6, "plane": 4}


class Rate(NamedTuple):
    """A tuned race: calls, errors (checkpoints, problems), first weight and step of x, whether one is an end of its grid.

    `powers` are those of the calls in each problem's error, over the last tenfold range of the calls that all races have;
    `late` the same over the last such range that this race has.
    """

    calls: np.ndarray
    norms: np.ndarray
    sigma: float
    alpha: float
    edge: bool
    powers: np.ndarray
    late: np.ndarray

    def at(self, calls: float) -> np.ndarray:
        """Errors after so many calls, between checkpoints on a line of logarithms."""
        logs = np.log(self.norms)
        return np.exp([np.interp(np.log(calls), np.log(self.calls), column) for column in logs.T])


def rate_race(kind: str, seed: int, n_runs: int, n_tuning: int, sigmas: Sequence[float], alphas: Sequence[float], n_calls: int,
              beyond: float = 1.0, noise: float = 0.3) -> dict[str, Rate]:  # fmt: skip
    """Run one algorithm on `WideToy` problems with the schedules that the theorems promise rates for.

    All first weights and first steps of x are tried on tuning problems. The pair with the least error after `n_calls` calls
    (geometric mean) runs on other problems; for problems with one minimizer and for those with a plane of them apart.

    Parameters
    ----------
    kind : {"exact", "double", "momentum", "plain", "shrinking"}
        Without noise, or with samples of their own at y and at z.
    seed : int
        Of problems and samples: the problems are those of every kind.
    n_runs, n_tuning : int
        Problems of each of the two kinds, at least 1, and others for tuning.
    sigmas, alphas : sequence of float
        Weights and steps of x at k = 0, above 0; the steps in units of one over the curvature of each problem's objective.
    n_calls : int
        At least 40.
    beyond : float
        The tuned loop goes on until it has made so many times `n_calls` calls; at least 1.
    noise : float
        Of the samples, at least 0.

    Returns
    -------
    dict of str to Rate
        ``"one"`` minimizer and a ``"plane"`` of them.

    Raises
    ------
    TypeError, ValueError
        For arguments out of range.

    Examples
    --------
    >>> from lib.constrained.bilevel_penalty.study import rate_race
    >>> settings = {"n_tuning": 1, "sigmas": [0.3], "alphas": [0.1, 0.2], "n_calls": 72, "beyond": 1.0, "noise": 0.3}
    >>> rate_race("exact", seed=0, n_runs=2, **settings)["one"].norms.shape[1]
    2
    """
    kind, seed = checks.choice("kind", kind, tuple(SCHEDULES)), checks.integer("seed", seed, low=0)
    n_runs, n_tuning = (checks.integer(k, v, low=1, high=1000) for k, v in (("n_runs", n_runs), ("n_tuning", n_tuning)))
    weights, steps = (checks.array(k, v, ndim=1, above=0) for k, v in (("sigmas", sigmas), ("alphas", alphas)))
    n_calls = checks.integer("n_calls", n_calls, low=40, high=10_000_000)
    beyond, noise = checks.number("beyond", beyond, low=1, high=1000), checks.number("noise", noise, low=0)
    pairs = np.array([(s, a) for s in weights for a in steps])
    everywhere = np.repeat(pairs[:, None], len(RANKS), 1)
    _, tried = _errors(kind, (seed, 0), n_tuning, everywhere, noise, n_calls * np.array([10 ** (-1 / PER_DECADE), 1.0]))
    best = np.log(tried[-1]).mean(-1).round(9).argmin(0)  # of tried pairs, for each rank
    last = PER_DECADE * np.log10(beyond)
    ends = n_calls * 10 ** (np.append(np.arange(-2 * PER_DECADE, last), last) / PER_DECADE)
    calls, norms = _errors(kind, (seed, 1), n_runs, pairs[best][None], noise, ends)
    judged = int(np.searchsorted(calls, n_calls))  # the first checkpoint with so many calls
    found = {}
    for i, name in enumerate(RANKS):
        sigma, alpha = pairs[best[i]].tolist()
        edge = any(len(grid) > 1 and value in (grid.min(), grid.max()) for grid, value in ((weights, sigma), (steps, alpha)))
        powers, late = (_fitted(calls, norms[:, 0, i], stop) for stop in (judged, len(calls) - 1))
        found[name] = Rate(calls, norms[:, 0, i], sigma, alpha, edge, powers, late)
    return found


def _errors(kind: str, seed: tuple[int, int], n: int, pairs: np.ndarray, noise: float, ends: np.ndarray) -> tuple[Any, Any]:
    """Calls and errors (checkpoints, pairs, ranks, problems), of weights and steps of x for each rank (pairs, ranks, 2)."""
    powers = SCHEDULES[kind]
    toy = WideToy(np.random.default_rng([*seed, 0]), n, len(pairs), noise, tuple(RANKS.values()))
    sigma, alpha = torch.from_numpy(np.repeat(pairs.reshape(-1, 2), n, 0)).T[..., None]
    alpha = alpha / toy.curvature()[:, None]
    settings: dict[str, Any] = {
        "sigma": lambda k: sigma * (k + 1) ** -powers["sigma"],
        "alpha": lambda k: alpha * (k + 1) ** -powers["alpha"],
        "gamma": PowerSchedule(1.0, powers.get("gamma", 0.0), most=1.0 if kind == "exact" else 0.5),
        "seed": np.random.default_rng([*seed, 1]),
        "shared": False,
    }
    start = toy.problem if kind == "exact" else toy.sample, toy.x0, toy.y0
    if kind == "double":
        loop: Any = DoubleLoopPenalty(*start, batch=lambda k: int(np.ceil((k + 1) ** -powers["batch"])), **settings)
    else:
        loop = SingleLoopPenalty(*start, eta=PowerSchedule(1.0, powers.get("eta", 0.0)), **settings)
    found = trace(loop, toy.slope, ends.tolist())
    return found.calls, found.norms.reshape(len(found.calls), len(pairs), len(RANKS), n)


def _fitted(calls: np.ndarray, norms: np.ndarray, stop: int) -> np.ndarray:
    """Powers of the calls in the errors (checkpoints, problems), over the checkpoints of one tenfold range up to `stop`."""
    window = slice(max(0, stop - PER_DECADE), stop + 1)
    return np.array([log_slope(calls[window].astype(float), column[window]) for column in norms.T])


#: What else is tuned: the weight sigma, or the inner steps.
#: And the factor of the steps of x: tuning splits have their optima at shorter ones with implicit differentiation.
_METHODS: dict[str, tuple[Callable[..., CleaningRun], str, tuple[float, ...], float]] = {
    "penalty": (clean_penalty, "sigma", (0.1, 0.5, 2.0, 10.0, 50.0), 1.0),
    "implicit": (clean_implicit, "inner", (1, 3, 10, 30, 100), 0.1),
    "unrolled": (clean_unrolled, "inner", (1, 2, 3, 6, 10), 1.0),
}


#: Settings that the first of several tuning splits passes on to the others.
KEPT = 6


class Tuned(NamedTuple):
    """A method, its best settings, and which of them are an end of their grid."""

    run: Callable[..., CleaningRun]
    settings: dict[str, float]
    ends: list[str]


def least_loss(
    run: Callable[..., CleaningRun],
    cleaning: SoftmaxCleaning | Sequence[SoftmaxCleaning],
    calls: int,
    **grids: Sequence[float],
) -> Tuned:
    """Try all combinations of some settings; the best has the least validation loss, lower level solved anew.

    Parameters
    ----------
    run : callable
        ``(cleaning, calls, **settings)`` to a `CleaningRun`. One that diverges, by a FloatingPointError, loses.
    cleaning : SoftmaxCleaning or sequence of them
        Of several splits the first tries all settings and passes its six best on to the others, and the mean loss counts: a
        step near the limit of stability is fine on one split and not on the next.
    calls : int
        Budget, at least 1.
    **grids : sequence of float
        Values of each setting, by name, above 0.

    Returns
    -------
    Tuned

    Raises
    ------
    TypeError, ValueError
        For something that is no function or task, numbers out of range, no grid, or if all diverged.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.constrained.bilevel_penalty.study import SoftmaxCleaning, clean_penalty, least_loss
    >>> from lib.problems.cleaning import cleaning_task
    >>> task = cleaning_task(np.eye(10)[np.arange(20) % 2], np.arange(20) % 2, n_train=10, n_val=5, share=0.4, seed=0)
    >>> least_loss(clean_penalty, SoftmaxCleaning(task), calls=63, alpha=[1e-9, 10.0], sigma=[0.1])[1:]
    ({'alpha': 10.0, 'sigma': 0.1}, ['alpha'])
    """
    checks.function("run", run)
    splits = [cleaning] if isinstance(cleaning, SoftmaxCleaning) else cleaning
    if not isinstance(splits, list | tuple) or not splits or not all(isinstance(c, SoftmaxCleaning) for c in splits):
        raise TypeError(f"cleaning must be a SoftmaxCleaning or a list of them, got {checks.shown(cleaning)}")
    calls = checks.integer("calls", calls, low=1, high=10_000_000)
    if not grids:
        raise ValueError("grids must name at least one setting")
    values = {name: checks.array(name, grid, ndim=1, above=0).tolist() for name, grid in grids.items()}
    tried = [dict(zip(values, chosen, strict=True)) for chosen in itertools.product(*values.values())]

    def loss(settings: dict[str, float], on: Sequence[SoftmaxCleaning]) -> float:
        try:
            return round(float(np.mean([run(c, calls, **settings).loss for c in on])), 9)
        except FloatingPointError:
            return np.inf

    first = np.array([loss(settings, splits[:1]) for settings in tried])
    kept, sums = np.arange(len(tried)), first
    if len(splits) > 1:
        kept = np.argsort(first, kind="stable")[:KEPT]
        kept = kept[np.isfinite(first[kept])]
        others = np.array([loss(tried[i], splits[1:]) for i in kept])
        sums = first[kept] + (len(splits) - 1) * others
    if not np.isfinite(sums).any():
        raise ValueError("grids hold no settings with which the method stays finite")
    found = tried[kept[int(sums.argmin())]]
    return Tuned(run, found, [n for n, v in values.items() if len(v) > 1 and found[n] in (min(v), max(v))])


def tune_cleaning(
    cleaning: SoftmaxCleaning | Sequence[SoftmaxCleaning], method: str, calls: int, x_steps: Sequence[float]
) -> Tuned:
    """One of the study's methods with its best settings on one split or on several: see `least_loss`.

    Parameters
    ----------
    cleaning : SoftmaxCleaning or sequence of them
    method : {"penalty", "implicit", "unrolled"}
    calls : int
        Budget, at least 203.
    x_steps : sequence of float
        Steps of x that are tried, above 0, each with five values of sigma (penalty) or of the inner steps; a tenth of them
        for implicit differentiation, whose optima lie lower.

    Returns
    -------
    Tuned

    Raises
    ------
    TypeError, ValueError
        For arguments out of range.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.constrained.bilevel_penalty.study import SoftmaxCleaning, tune_cleaning
    >>> from lib.problems.cleaning import cleaning_task
    >>> task = cleaning_task(np.eye(10)[np.arange(20) % 2], np.arange(20) % 2, n_train=10, n_val=5, share=0.4, seed=0)
    >>> tune_cleaning(SoftmaxCleaning(task), "penalty", calls=203, x_steps=[10.0]).settings["alpha"]
    10.0
    """
    run, other, values, factor = _METHODS[checks.choice("method", method, tuple(_METHODS))]
    calls = checks.integer("calls", calls, low=203, high=10_000_000)
    steps = (factor * checks.array("x_steps", x_steps, ndim=1, above=0)).tolist()
    return least_loss(run, cleaning, calls, **{"alpha": steps, other: values})


def mnist_task(n_train: int, seed: int) -> CleaningTask:
    """MNIST images, averaged to 14 by 14 pixels, half of the training labels wrong; 500 to validate and 2000 to test.

    Parameters
    ----------
    n_train : int
        1 to 57,500.
    seed : int

    Raises
    ------
    TypeError, ValueError
        For numbers out of range.

    Examples
    --------
    >>> from lib.constrained.bilevel_penalty.study import mnist_task
    >>> mnist_task(n_train=100, seed=0).X.shape
    (100, 196)
    """
    n_train, seed = checks.integer("n_train", n_train, low=1, high=57_500), checks.integer("seed", seed, low=0)
    images, labels = lib.data.mnist()
    chosen = np.random.default_rng([seed, 1]).permutation(len(images))[: n_train + 2500]
    small = images[chosen].reshape(-1, 14, 2, 14, 2).mean((2, 4)).reshape(-1, 196) / 255
    return cleaning_task(small, labels[chosen].astype(np.int64), n_train, 500, 0.5, seed)
