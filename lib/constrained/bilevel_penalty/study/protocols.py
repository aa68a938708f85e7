"""The races: rates on the toy problems with the promised schedules, hyper-cleaning on one budget, MNIST's images."""

from __future__ import annotations

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

#: Powers of 1 / (k + 1): of sigma, of the step of x, of eta, and of the batch (negative: it grows).
SCHEDULES = {
    "exact": {"sigma": 1 / 3, "alpha": 1 / 3},
    "momentum": {"sigma": 1 / 5, "alpha": 3 / 5, "eta": 4 / 5},
    "plain": {"sigma": 1 / 5, "alpha": 3 / 5},
    "double": {"sigma": 1 / 3, "alpha": 1 / 3, "batch": -4 / 3},
}


class Rate(NamedTuple):
    """A tuned race: calls, errors (checkpoints, problems), the step of x chosen, the power of the calls for each problem."""

    calls: np.ndarray
    norms: np.ndarray
    alpha: float
    powers: np.ndarray

    def at(self, calls: float) -> np.ndarray:
        """Errors after so many calls, between checkpoints on a line of logarithms."""
        logs = np.log(self.norms)
        return np.exp([np.interp(np.log(calls), np.log(self.calls), column) for column in logs.T])


#: Checkpoints over which a power is fitted.
LATE = 5
#: Ranks of the lower level's matrix: one minimizer, or a plane of them.
RANKS = {"one": 6, "plane": 4}


def rate_race(kind: str, seed: int, n_runs: int, alphas: Sequence[float], n_steps: int, noise: float = 0.3) -> dict[str, Rate]:
    """Run one algorithm on `WideToy` problems with the schedules that the theorems promise rates for, its step of x tuned.

    All steps of x are tried side by side; for problems with one minimizer and for those with a plane of them, the one with the
    least final error (geometric mean over the problems) is kept. The power is fitted over the last five of twelve checkpoints,
    which lie at equal distances in log k.

    Parameters
    ----------
    kind : {"exact", "momentum", "plain", "double"}
        Without noise, or with samples of their own at y and at z.
    seed : int
        Of problems and samples: the problems are those of every kind.
    n_runs : int
        Problems of each of the two kinds, at least 1.
    alphas : sequence of float
        Steps of x at k = 0, above 0.
    n_steps : int
        Steps of x, at least 12.
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
    >>> rate_race("exact", seed=0, n_runs=2, alphas=[0.1, 0.2], n_steps=24, noise=0.3)["one"].norms.shape[1]
    2
    """
    powers = SCHEDULES[checks.choice("kind", kind, tuple(SCHEDULES))]
    seed, n_runs = checks.integer("seed", seed, low=0), checks.integer("n_runs", n_runs, low=1, high=1000)
    firsts = checks.array("alphas", alphas, ndim=1, above=0)
    n_steps = checks.integer("n_steps", n_steps, low=12, high=1_000_000)
    toy = WideToy(seed, n_runs, len(firsts), checks.number("noise", noise, low=0), tuple(RANKS.values()))
    first = torch.from_numpy(np.repeat(firsts, toy.runs // len(firsts))[:, None])
    common: dict[str, Any] = {
        "sigma": PowerSchedule(1.0, powers["sigma"]),
        "alpha": lambda k: first * (k + 1) ** -powers["alpha"],
        "seed": seed,
        "shared": False,
    }
    if kind == "exact":
        loop: Any = SingleLoopPenalty(toy.problem, toy.x0, toy.y0, gamma=1.0, **common)
    elif kind == "double":
        loop = DoubleLoopPenalty(
            toy.sample, toy.x0, toy.y0, gamma=0.5, batch=lambda k: int(np.ceil((k + 1) ** -powers["batch"])), **common
        )
    else:
        eta = PowerSchedule(1.0, powers.get("eta", 0.0))
        loop = SingleLoopPenalty(toy.sample, toy.x0, toy.y0, gamma=0.5, eta=eta, **common)
    found = trace(loop, toy.slope, n_steps, 12)
    norms = found.norms.reshape(len(found.calls), len(firsts), len(RANKS), n_runs)
    return {name: _best(found.calls, norms[:, :, i], firsts) for i, name in enumerate(RANKS)}


def _best(calls: np.ndarray, norms: np.ndarray, firsts: np.ndarray) -> Rate:
    """The race of the best step of x, from errors (checkpoints, steps, problems)."""
    best = int(np.argmin(np.log(norms[-1]).mean(1).round(9)))
    powers = np.array([log_slope(calls[-LATE:].astype(float), column[-LATE:]) for column in norms[:, best].T])
    return Rate(calls, norms[:, best], float(firsts[best]), powers)


#: What else is tuned: the weight sigma, or the inner steps.
_METHODS: dict[str, tuple[Callable[..., CleaningRun], str, tuple[float, ...]]] = {
    "penalty": (clean_penalty, "sigma", (1.0, 10.0, 100.0)),
    "implicit": (clean_implicit, "inner", (3, 10, 30)),
    "unrolled": (clean_unrolled, "inner", (1, 3, 10)),
}


def tune_cleaning(
    cleaning: SoftmaxCleaning, method: str, calls: int, x_steps: Sequence[float]
) -> tuple[Callable[..., CleaningRun], dict[str, float]]:
    """A method and its best settings on one split, by the validation loss of the lower level solved anew.

    Parameters
    ----------
    cleaning : SoftmaxCleaning
    method : {"penalty", "implicit", "unrolled"}
    calls : int
        Budget, at least 63.
    x_steps : sequence of float
        Steps of x that are tried, above 0, each with three values of sigma (penalty) or of the inner steps.

    Returns
    -------
    function, settings

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
    >>> tune_cleaning(SoftmaxCleaning(task), "penalty", calls=63, x_steps=[10.0])[1]["alpha"]
    10.0
    """
    run, other, values = _METHODS[checks.choice("method", method, tuple(_METHODS))]
    calls = checks.integer("calls", calls, low=63, high=10_000_000)
    steps = checks.array("x_steps", x_steps, ndim=1, above=0)
    tried = [{"alpha": alpha, other: value} for alpha in steps.tolist() for value in values]
    losses = []
    for settings in tried:
        try:
            losses.append(round(run(cleaning, calls, **settings).loss, 9))
        except FloatingPointError:  # diverged
            losses.append(np.inf)
    return run, tried[int(np.argmin(losses))]


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
