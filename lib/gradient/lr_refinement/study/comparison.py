"""Schedules compared fairly: each at its own best peak rate, found with the same effort, inside of what was tried."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch

from lib import checks

from ..refinement import refine_schedule
from ..theory import SCHEDULES, Array
from .sweeps import Task, train_stack

#: How a refined schedule comes from recorded norms: name -> (norm, power, how the filter goes on before the start). The
#: paper's rule is l2 for SGD and l1 for Adam; "mirrored" changes the padding alone.
REFINEMENTS = {
    "refined l1": ("l1", 1.0, "edge"),
    "refined l2": ("l2", 2.0, "edge"),
    "mirrored l1": ("l1", 1.0, "reflect"),
    "mirrored l2": ("l2", 2.0, "reflect"),
}
MOST_EXTENSIONS = 8

#: Scores of several peak rates: name -> (S, n_rates).
Evaluate = Callable[[Sequence[float]], Mapping[str, Array]]


class Tuned(NamedTuple):
    """A schedule's best peak rate, every rate that was tried with its mean loss, and whether the best is no edge."""

    rate: float
    tried: dict[float, float]
    interior: bool


def tune(evaluate: Evaluate, center: float, n_rates: int = 5) -> Tuned:
    """The peak rate of least mean loss: a grid around `center`, a factor sqrt(2) apart, which grows while its edge is best.

    Parameters
    ----------
    evaluate : callable
        ``evaluate(rates)`` gives a mapping whose ``"loss"`` has shape (S, len(rates)); what is not finite counts as infinite.
    center : float
        Middle of the grid.
    n_rates : int
        Rates to begin with, at least 3; up to 8 more are tried, one at a time.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.gradient.lr_refinement.study import tune
    >>> round(tune(lambda rates: {"loss": np.log([rates]) ** 2}, center=8.0, n_rates=3).rate, 3)
    1.0
    """
    checks.function("evaluate", evaluate)
    center, n_rates = checks.positive("center", center), checks.integer("n_rates", n_rates, low=3)
    steps = list(range(n_rates))
    rate_of = lambda k: center * 2 ** ((k - (n_rates - 1) / 2) / 2)  # noqa: E731
    losses = dict(zip(steps, _mean_losses(evaluate, [rate_of(k) for k in steps]), strict=True))
    for extended in range(MOST_EXTENSIONS + 1):
        best = min(sorted(losses), key=lambda k: losses[k])
        edges = (min(losses), max(losses))
        if best not in edges or extended == MOST_EXTENSIONS:
            break
        new = edges[0] - 1 if best == edges[0] else edges[1] + 1
        losses[new] = _mean_losses(evaluate, [rate_of(new)])[0]
    return Tuned(rate_of(best), {rate_of(k): losses[k] for k in sorted(losses)}, best not in edges)


def _mean_losses(evaluate: Evaluate, rates: Sequence[float]) -> list[float]:
    return _means(np.asarray(evaluate(rates)["loss"], dtype=np.float64))


def _means(losses: Array) -> list[float]:
    """Means over the seeds of losses (S, n_rates); what is not finite counts as infinite."""
    means = np.nan_to_num(losses, nan=np.inf, posinf=np.inf).mean(axis=0)
    return [float(f"{mean:.9g}") for mean in means]  # a tie on one machine is a tie on every machine


class Race(NamedTuple):
    """Schedules, each at the rate that tuning seeds chose, on seeds of their own.

    ``scores`` maps a score to {schedule: (S,)}, ``tuned`` a schedule to its `Tuned`, ``refined`` to its factors (T, S), and
    ``norms`` "l1" and "l2" to the norms (T, S) of the linear-decay runs that were refined.
    """

    scores: dict[str, dict[str, Array]]
    tuned: dict[str, Tuned]
    refined: dict[str, Array]
    norms: dict[str, Array]

    @property
    def edges(self) -> int:
        """How many best rates lie at the edge of what was tried."""
        return sum(not tuned.interior for tuned in self.tuned.values())


def race(
    tuning: Task,
    judged: Task,
    centers: Mapping[str, float],
    optimizer: str = "sgd",
    n_rates: int = 5,
    tau: float = 0.1,
    **settings: float,
) -> Race:
    """Tune every schedule's peak rate on one task, then run each once on another that differs in its seeds.

    Refined schedules come, seed by seed, from the linear-decay run at its best rate.

    Parameters
    ----------
    tuning, judged : Task
    centers : dict
        Schedule (of `SCHEDULES` or `REFINEMENTS`; "linear" among them) -> where its grid of peak rates begins, see `tune`.
    optimizer, **settings
        As in `train_stack`.
    n_rates : int
        As in `tune`.
    tau : float
        Share of the run that the median filter spans (0.1 in the paper).

    Returns
    -------
    Race

    Raises
    ------
    ValueError
        For an unknown schedule, or no "linear" among them.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.gradient.lr_refinement.study import logistic_task, race
    >>> from lib.problems.logistic import LogisticRegression
    >>> problem = LogisticRegression([[0.0], [1.0], [2.0], [3.0]], [0, 1, 0, 1])
    >>> tasks = [logistic_task(problem, 2, 2, [np.random.default_rng(k)]) for k in range(2)]
    >>> race(*tasks, {"linear": 1.0, "flat": 1.0}, n_rates=3).scores["loss"]["linear"].shape
    (1,)
    """
    _known(centers)
    n_rates, tau = checks.integer("n_rates", n_rates, low=3), checks.number("tau", tau, above=0, high=1)
    linear = {"linear": SCHEDULES["linear"](tuning.n_steps)[:, None]}
    tuned = {"linear": _tuned(tuning, linear["linear"], centers["linear"], optimizer, n_rates, settings)}
    norms = [_recorded(task, linear["linear"], tuned["linear"].rate, optimizer, settings) for task in (tuning, judged)]
    factors = [_factors(centers, tuning.n_steps, recorded, tau) for recorded in norms]
    for name, center in centers.items():
        if name != "linear":
            tuned[name] = _tuned(tuning, factors[0][name], center, optimizer, n_rates, settings)
    n_seeds = judged.start[0].shape[0]
    wide = [tuned[name].rate * np.broadcast_to(factors[1][name], (judged.n_steps, n_seeds)) for name in centers]
    found = _scores(judged, np.stack(wide, axis=2), optimizer, settings)
    scores = {key: {name: values[:, k] for k, name in enumerate(centers)} for key, values in found.items()}
    refined = {name: factors[1][name] for name in centers if name in REFINEMENTS}
    return Race(scores, {name: tuned[name] for name in centers}, refined, norms[1])


def _known(names: Mapping[str, object]) -> None:
    if unknown := set(names) - set(SCHEDULES) - set(REFINEMENTS):
        raise ValueError(f"unknown schedules {sorted(unknown)}; allowed: {', '.join([*SCHEDULES, *REFINEMENTS])}")
    if "linear" not in names:
        raise ValueError("refinement starts from the linear-decay run: 'linear' must be among the schedules")


def _factors(names: Mapping[str, object], n_steps: int, norms: dict[str, Array], tau: float) -> dict[str, Array]:
    """Factors of every schedule, (T, 1) or (T, S)."""
    made = {name: SCHEDULES[name](n_steps)[:, None] for name in names if name in SCHEDULES}
    for name in [name for name in names if name in REFINEMENTS]:
        norm, power, start = REFINEMENTS[name]
        made[name] = np.stack([refine_schedule(column, power, tau, start=start) for column in norms[norm].T], axis=1)
    return made


def _scores(task: Task, eta: Array, optimizer: str, settings: Mapping[str, float], chunk: int = 24) -> dict[str, Array]:
    """Scores, each (S, R), of runs with the rates `eta`, (T, S or 1, R), at most `chunk` runs in a stack."""
    parts = []
    for some in np.split(eta, range(chunk, eta.shape[2], chunk), axis=2):
        start = [p.expand(-1, some.shape[2], *p.shape[2:]) for p in task.start]
        rates = torch.from_numpy(np.ascontiguousarray(some))
        parts.append(task.scores(train_stack(task.gradient, start, rates, optimizer, **settings).params))  # type: ignore[arg-type]
    return {key: np.concatenate([part[key].double().numpy() for part in parts], axis=1) for key in parts[0]}


def _tuned(task: Task, factors: Array, center: float, optimizer: str, n_rates: int, settings: Mapping[str, float]) -> Tuned:
    grid = lambda rates: _scores(task, factors[:, :, None] * np.asarray(rates), optimizer, settings)  # noqa: E731
    return tune(grid, center, n_rates)


def _recorded(task: Task, factors: Array, rate: float, optimizer: str, settings: Mapping[str, float]) -> dict[str, Array]:
    eta = torch.from_numpy(rate * factors[:, :, None])
    run = train_stack(task.gradient, task.start, eta, optimizer, record=("l1", "l2"), **settings)  # type: ignore[arg-type]
    return {name: values[:, :, 0] for name, values in run.norms.items()}


class Comparison(NamedTuple):
    """Schedules compared on one task, each at its own best peak rate.

    ``losses`` maps a schedule to its mean loss, ``rates`` to its peak rate, ``interior`` to whether that is no end of the
    grid, ``refined`` to its factors (T, S); ``norms`` maps "l1" and "l2" to the norms (T, S) of the linear-decay run.
    """

    losses: dict[str, float]
    rates: dict[str, float]
    interior: dict[str, bool]
    refined: dict[str, Array]
    norms: dict[str, Array]


def compare_schedules(
    task: Task,
    names: Sequence[str],
    rates: Sequence[float] | Array,
    optimizer: str = "sgd",
    tau: float = 0.1,
    chunk: int = 160,
) -> Comparison:
    """Sweep every schedule over one grid of peak rates; all runs of small problems share a few stacks.

    Tuning and comparison use the same seeds here: the units of the comparison are problems, and every schedule has as many
    rates to choose from.

    Parameters
    ----------
    task : Task
    names : sequence of str
        Of `SCHEDULES` or `REFINEMENTS`, "linear" among them.
    rates : sequence of float
        Peak learning rates, rising.
    optimizer : {"sgd", "adam"}
    tau : float
    chunk : int
        How many runs per seed a stack holds.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.gradient.lr_refinement.study import compare_schedules, logistic_task
    >>> from lib.problems.logistic import LogisticRegression
    >>> problem = LogisticRegression([[0.0], [1.0], [2.0], [3.0]], [0, 1, 0, 1])
    >>> task = logistic_task(problem, 2, 2, [np.random.default_rng(0)])
    >>> sorted(compare_schedules(task, ["linear", "flat"], [0.1, 1.0]).losses)
    ['flat', 'linear']
    """
    _known(dict.fromkeys(names))
    rates = checks.array("rates", rates, ndim=1, above=0).astype(np.float64)
    chunk, tau = checks.integer("chunk", chunk, low=1), checks.number("tau", tau, above=0, high=1)
    first = {name: SCHEDULES[name](task.n_steps)[:, None] for name in names if name in SCHEDULES}
    best = _sweep(task, first, rates, optimizer, chunk)
    norms = _recorded(task, first["linear"], best["linear"][1], optimizer, {})
    refined = {
        name: made for name, made in _factors(dict.fromkeys(names), task.n_steps, norms, tau).items() if name in REFINEMENTS
    }
    best |= _sweep(task, refined, rates, optimizer, chunk)
    losses, peaks, interior = ({name: best[name][i] for name in names} for i in range(3))
    return Comparison(losses, peaks, interior, refined, norms)  # type: ignore[arg-type]


def _sweep(
    task: Task, factors: dict[str, Array], rates: Array, optimizer: str, chunk: int
) -> dict[str, tuple[float, float, bool]]:
    """Per schedule its least mean loss, the rate that gave it, and whether that rate lies inside the grid."""
    if not factors:
        return {}
    n_seeds = task.start[0].shape[0]
    wide = [np.broadcast_to(values, (task.n_steps, n_seeds)) for values in factors.values()]
    eta = (np.stack(wide, axis=2)[..., None] * rates).reshape(task.n_steps, n_seeds, -1)
    losses = _scores(task, eta, optimizer, {}, chunk)["loss"].reshape(n_seeds, len(factors), len(rates))
    best = {}
    for k, name in enumerate(factors):
        means = _means(losses[:, k])
        at = int(np.argmin(means))
        best[name] = (means[at], float(rates[at]), 0 < at < len(rates) - 1)
    return best
