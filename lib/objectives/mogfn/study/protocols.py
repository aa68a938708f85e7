"""What the experiments do: samplers on a grid, judged exactly; the race on strings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from lib import checks
from lib.objectives.mogfn import MOGFN, HyperGrid, MOReinforce, NGramTask, hypervolume, topk

__all__ = [
    "GRID",
    "GRID_RIVAL",
    "NSGA_RATE",
    "SEPARATE",
    "STRINGS",
    "STRINGS_RAW",
    "STRINGS_RIVAL",
    "VARIANTS",
    "GridFit",
    "StringRun",
    "grid_rival",
    "grid_sampler",
    "judge",
    "near_best",
    "separate_samplers",
    "string_race",
    "variation",
    "watcher",
]

Array = npt.NDArray[np.float64]
#: Settings found by `study.tuning`, on seeds that no experiment uses.
GRID: dict[str, Any] = {"encoding": "raw", "lr": 1e-2, "lr_z": 1e-1}
SEPARATE: dict[str, Any] = {"lr": 2e-2, "lr_z": 2e-1}
GRID_RIVAL: dict[str, Any] = {"encoding": "raw", "lr": 1e-3, "beta": 64.0}
STRINGS: dict[str, Any] = {"encoding": "thermometer", "hidden": (64, 64), "lr": 4e-3, "lr_z": 1e-1}
STRINGS_RAW: dict[str, Any] = {**STRINGS, "encoding": "raw", "lr": 3.2e-2, "lr_z": 3.2e-1}
STRINGS_RIVAL: dict[str, Any] = {"encoding": "raw", "hidden": (64, 64), "lr": 1e-3, "beta": 1.0}
#: Mutated letters of a child of NSGA-II, in the mean.
NSGA_RATE = 0.5
#: What each compared model changes, its tuned rate too where it is another; "one omega": a group as large as the batch.
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "thermometer": {"encoding": "thermometer", "lr": 5e-3, "lr_z": 5e-2},
    "corners": {"dirichlet_alpha": 0.2},
    "middle": {"dirichlet_alpha": 5.0, "lr": 2e-2, "lr_z": 2e-1},
    "one omega": {},
    "beta 4": {"beta": 4.0},
    "beta 64": {"beta": 64.0},
    "three objectives": {},
    "middle only": {"preferences": [0.5, 0.5], "lr": 5e-3, "lr_z": 5e-2},
}


def variation(p: npt.ArrayLike, q: npt.ArrayLike) -> Array:
    """Total variation of distributions in rows: half the sum of absolute differences, shape (W,).

    Examples
    --------
    >>> from lib.objectives.mogfn.study import variation
    >>> variation([[1.0, 0.0]], [[0.5, 0.5]])
    array([0.5])
    """
    first, second = (checks.array(name, value, low=0).astype(float) for name, value in (("p", p), ("q", q)))
    if first.shape != second.shape or first.ndim < 2:
        raise ValueError(f"p and q must have one shape (W, ...), got {first.shape} and {second.shape}")
    return 0.5 * np.abs(first - second).reshape(len(first), -1).sum(1)


@dataclass
class GridFit:
    """A sampler on a grid, judged exactly; arrays have one entry (or one row) per preference.

    Attributes
    ----------
    learned, target : array, shape (W, H, ..., H)
        Where the sampler ends, and where it should.
    variation : array
        Total variation between the two.
    reward, entropy : array
        Mean scalarized reward and entropy of `learned`.
    log_z_error : array
        Absolute error of log Z; NaN without one.
    """

    learned: Array
    target: Array
    variation: Array
    reward: Array
    entropy: Array
    log_z_error: Array


def judge(model: Any, omega: npt.ArrayLike, beta: float | None = None) -> GridFit:
    """Where a sampler on a grid ends, exactly, against the target.

    Parameters
    ----------
    model : MOGFN or MOReinforce
        On a `HyperGrid`, trained for one exponent.
    omega : array_like, shape (W, d)
    beta : float, optional
        Exponent of the target; the model's own by default.

    Examples
    --------
    >>> from lib.objectives.mogfn import HyperGrid
    >>> from lib.objectives.mogfn.study import grid_sampler, judge
    >>> fit = judge(grid_sampler(HyperGrid(["branin", "currin"], 4), 30, 16, seed=0), [[0.5, 0.5]])
    >>> fit.learned.shape, bool(fit.variation[0] < 1)
    ((1, 4, 4), True)
    """
    omega = checks.array("omega", omega, ndim=2).astype(float)
    power = model.beta if beta is None else checks.positive("beta", beta)
    learned, target = model.terminal_distribution(omega), model.env.target(omega, power)
    flat = learned.reshape(len(omega), -1)
    rewards = omega @ model.env.values.T
    error = np.full(len(omega), np.nan)
    if isinstance(model, MOGFN):
        error = np.abs(model.log_z(omega) - model.env.log_partition(omega, power))
    entropy = -(flat * np.log(np.maximum(flat, 1e-300))).sum(1)
    return GridFit(learned, target, variation(learned, target), (flat * rewards).sum(1), entropy, error)


def watcher(omega: npt.ArrayLike, marks: Sequence[int]) -> tuple[Callable[[Any], None], list[Array]]:
    """A callback for `MOGFN.fit` on a grid, and the list to which it adds the total variation after the updates in `marks`.

    Parameters
    ----------
    omega : array_like, shape (W, d)
    marks : sequence of int

    Examples
    --------
    >>> from lib.objectives.mogfn import HyperGrid
    >>> from lib.objectives.mogfn.study import grid_sampler, watcher
    >>> watch, seen = watcher([[0.5, 0.5]], [1, 3])
    >>> len(grid_sampler(HyperGrid(["branin", "currin"], 4), 3, 16, seed=0, callback=watch).history.losses), len(seen)
    (3, 2)
    """
    omega = checks.array("omega", omega, ndim=2).astype(float)
    wanted, seen = set(checks.array("marks", marks, ndim=1, low=1).tolist()), []

    def watch(model: Any) -> None:
        if model.steps in wanted:
            seen.append(judge(model, omega).variation)

    return watch, seen


def grid_sampler(
    env: HyperGrid, steps: int, batch: int, beta: float = 16.0, variant: str = "plain", seed: Any = None,
    callback: Callable[[Any], Any] | None = None, **changes: Any,
) -> MOGFN:  # fmt: skip
    """Train a conditional sampler on a grid with the tuned settings, changed as a variant says.

    Parameters
    ----------
    env : HyperGrid
    steps, batch : int
        Updates, and objects of each.
    beta : float
        Exponent, where the variant has none of its own.
    variant : str
        A key of `VARIANTS`.
    seed : int, Generator or None
    callback : function, optional
        Gets the sampler after each update.
    **changes
        Further settings of `MOGFN`.

    Examples
    --------
    >>> from lib.objectives.mogfn import HyperGrid
    >>> from lib.objectives.mogfn.study import grid_sampler
    >>> grid_sampler(HyperGrid(["branin", "currin"], 4), 3, 16, variant="corners", seed=0).dirichlet_alpha
    0.2
    """
    checks.choice("variant", variant, VARIANTS)
    settings = {"beta": beta, **GRID, **VARIANTS[variant], **changes}
    if variant == "one omega":
        settings["group"] = batch
    model = MOGFN(env, seed=seed, **settings)
    model.fit(steps, batch, callback)
    return model


def grid_rival(env: HyperGrid, steps: int, batch: int, seed: Any = None, **changes: Any) -> MOReinforce:
    """MO-Reinforce on a grid with its tuned settings; arguments as for `grid_sampler`.

    Examples
    --------
    >>> from lib.objectives.mogfn import HyperGrid
    >>> from lib.objectives.mogfn.study import grid_rival
    >>> grid_rival(HyperGrid(["branin", "currin"], 4), 3, 16, seed=0).steps
    3
    """
    model = MOReinforce(env, seed=seed, **{**GRID_RIVAL, **changes})
    model.fit(steps, batch)
    return model


def separate_samplers(
    env: HyperGrid, omega: npt.ArrayLike, steps: int, batch: int, beta: float = 16.0, seed: Any = None, **changes: Any
) -> Array:
    """Total variation at each preference of a sampler of its own, all of which share the updates of one.

    Parameters
    ----------
    env : HyperGrid
    omega : array_like, shape (W, d)
    steps : int
        Updates of all samplers together, at least W.
    batch : int
    beta : float
    seed : int, Generator or None
    **changes
        Of the tuned settings `SEPARATE`.

    Returns
    -------
    array, shape (W,)

    Examples
    --------
    >>> from lib.objectives.mogfn import HyperGrid
    >>> from lib.objectives.mogfn.study import separate_samplers
    >>> separate_samplers(HyperGrid(["branin", "currin"], 4), [[0.5, 0.5], [1.0, 0.0]], 6, 16, seed=0).shape
    (2,)
    """
    omega = checks.array("omega", omega, ndim=2).astype(float)
    steps = checks.integer("steps", steps, low=len(omega))
    found = []
    for row, rng in zip(omega, checks.generator("seed", seed).spawn(len(omega)), strict=True):
        model = grid_sampler(env, steps // len(omega), batch, beta, seed=rng, preferences=row, **{**SEPARATE, **changes})
        found.append(judge(model, row[None]).variation[0])
    return np.array(found)


@dataclass
class StringRun:
    """A method on strings; arrays have one row per moment of the training, one column per preference.

    Attributes
    ----------
    steps : list of int
        Updates made at each moment.
    best, diversity : array, shape (moments, W)
        Mean reward of the 10 best of the draws, and their mean edit distance.
    mean : array, shape (moments, W)
        Mean reward of all draws.
    strings : list of str
        Draws of the last moment, those of a preference together.
    volume : float
        Their hypervolume.
    model : object
    """

    steps: list[int] = field(default_factory=list)
    best: Array = field(default_factory=lambda: np.zeros((0, 0)))
    diversity: Array = field(default_factory=lambda: np.zeros((0, 0)))
    mean: Array = field(default_factory=lambda: np.zeros((0, 0)))
    strings: list[str] = field(default_factory=list)
    volume: float = 0.0
    model: Any = None


def near_best(task: NGramTask, strings: Sequence[str], omega: npt.ArrayLike, k: int = 10) -> tuple[Array, Array, Array]:
    """Of the strings of each preference: mean reward and mean edit distance of the k best, mean reward of all.

    Parameters
    ----------
    task : NGramTask
    strings : list of str
        W equal parts, one per preference; or any number that all preferences share, see `omega`.
    omega : array_like, shape (W, d)
    k : int

    Returns
    -------
    best, diversity, mean : array, shape (W,)

    Examples
    --------
    >>> from lib.objectives.mogfn import NGramTask
    >>> from lib.objectives.mogfn.study import near_best
    >>> near_best(NGramTask(["A", "V"], 2, 2, max_count=2), ["AA", "AV", "VV", "AV"], [[1.0, 0.0], [0.0, 1.0]], k=2)[0].tolist()
    [0.75, 0.75]
    """
    omega = checks.array("omega", omega, ndim=2).astype(float)
    if not strings or len(strings) % len(omega):
        raise ValueError(f"strings must be {len(omega)} equal parts, got {len(strings)}")
    k, size, found = checks.integer("k", k, low=2), len(strings) // len(omega), []
    for w, row in enumerate(omega):
        part = list(strings[w * size : (w + 1) * size])
        rewards = task.evaluate(part) @ row
        found.append((*topk(rewards, part, min(k, size)), rewards.mean()))
    best, diversity, mean = np.array(found).T
    return best, diversity, mean


def string_race(
    task: NGramTask,
    omega: npt.ArrayLike,
    steps: int,
    batch: int,
    n_draws: int,
    beta: float = 48.0,
    moments: int = 6,
    seed: Any = None,
) -> dict[str, StringRun]:
    """Train the conditional sampler and MO-Reinforce on strings, each with its tuned settings, and look at their draws.

    Parameters
    ----------
    task : NGramTask
    omega : array_like, shape (W, d)
        Preferences at which strings are drawn.
    steps, batch : int
    n_draws : int
        At each preference, at least 2.
    beta : float
        The sampler's exponent; MO-Reinforce has its own, tuned one.
    moments : int
        How often draws are looked at, evenly over the training.
    seed : int, Generator or None

    Returns
    -------
    dict
        "sampler" and "MO-Reinforce" to `StringRun`.

    Examples
    --------
    >>> from lib.objectives.mogfn import NGramTask
    >>> from lib.objectives.mogfn.study import string_race
    >>> runs = string_race(NGramTask(["AV", "VC"], 3, 4, max_count=2), [[0.5, 0.5]], 4, 8, 8, moments=2, seed=0)
    >>> runs["sampler"].steps, runs["MO-Reinforce"].best.shape
    ([2, 4], (2, 1))
    """
    omega = checks.array("omega", omega, ndim=2).astype(float)
    steps, moments = checks.integer("steps", steps, low=1), checks.integer("moments", moments, low=1)
    n_draws = checks.integer("n_draws", n_draws, low=2)
    first, second = checks.generator("seed", seed).spawn(2)
    models = {
        "sampler": MOGFN(task, beta=beta, seed=first, **STRINGS),
        "MO-Reinforce": MOReinforce(task, seed=second, **STRINGS_RIVAL),
    }
    marks = sorted({max(1, round(steps * (k + 1) / moments)) for k in range(moments)})
    runs = {}
    for name, model in models.items():
        run, seen = StringRun(steps=marks, model=model), []
        for mark in marks:
            model.fit(mark - model.steps, batch, total=steps)
            run.strings = model.sample(omega, n_draws)
            seen.append(near_best(task, run.strings, omega))
        run.best, run.diversity, run.mean = np.moveaxis(np.array(seen), 1, 0)
        run.volume = hypervolume(task.evaluate(run.strings))
        runs[name] = run
    return runs
