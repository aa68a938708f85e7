"""How runs are made and compared: the paper's four methods, tuning, attack studies, the census of steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import OptimizeResult

from lib import checks
from lib.backprop_free import directional_attacks as da
from lib.backprop_free.directional_attacks.study.instances import Task, jump
from lib.backprop_free.directional_attacks.study.rivals import PASS_COST, RIVALS, Run, rival

Array = NDArray[np.float64]
#: The radii of the paper's attack study, and what of its radius PGD reaches with the library's steps.
RADII = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.05, 0.1, 0.5, 1.0)
PGD_REACH = 40 / 255
COVERS = 1.5
METHODS = ("hybrid", "hybrid-pgd", "cdsm", "attacks", "lines")


def solve(
    name: str, task: Task, max_eval: int, *, seed: Any = None, covering: str = "official", **changes: Any
) -> OptimizeResult:
    """A run of one of the paper's methods with its settings for this problem.

    Parameters
    ----------
    name : {"hybrid", "hybrid-pgd", "cdsm", "attacks", "lines"}
        The method; the hybrid with FGSM or PGD.
    task : Task
        Problem, start and radii.
    max_eval : int
        Most evaluations.
    seed : None, int or Generator
        Of what is random.
    covering : str
        As in the paper's runs by default.
    **changes
        Other settings of the method.

    Returns
    -------
    OptimizeResult

    Examples
    --------
    >>> from lib.backprop_free.directional_attacks import study
    >>> round(study.solve("attacks", study.plant(), 120).fun, 4)
    1.5023
    """
    checks.choice("name", name, METHODS)
    if not isinstance(task, Task):
        raise TypeError(f"task must be a Task, got {checks.shown(task)}")
    shared: dict[str, Any] = {"r0": task.r0, "max_eval": checks.integer("max_eval", max_eval, low=1)}
    if name == "attacks":
        return da.maximize_attacks(task.problem, task.x0, **shared | {"r_atk": task.r_atk} | changes)
    shared |= {"r_dsm": task.r_dsm, "seed": seed}
    if name == "lines":
        return da.maximize_random_line_search(task.problem, task.x0, **shared | changes)
    shared["covering"] = covering
    if name == "cdsm":
        return da.maximize_cdsm(task.problem, task.x0, **shared | changes)
    shared |= {"r_atk": task.r_atk, "attack": "pgd" if name == "hybrid-pgd" else "fgsm"}
    return da.maximize_hybrid(task.problem, task.x0, **shared | changes)


def as_run(result: OptimizeResult) -> Run:
    """The traces of a result, on both scales: evaluations, and forward passes with those of attacks.

    Examples
    --------
    >>> from lib.backprop_free.directional_attacks import study
    >>> run = study.as_run(study.solve("attacks", study.plant(), 10))
    >>> len(run.best), float(run.cost[-1])
    (10, 37.0)
    """
    if not isinstance(result, OptimizeResult):
        raise TypeError(f"result must be an OptimizeResult, got {checks.shown(result)}")
    seen = result.history
    cost = np.arange(1.0, len(seen["best"]) + 1) + PASS_COST * seen["passes"]
    return Run(seen["best"], cost, result.x, result.violation)


def race(name: str, task: Task, knob: float | None, max_eval: int, *, seed: Any = None) -> Run:
    """A run of a method or rival with one setting: the first radius, step, box or learning rate.

    Parameters
    ----------
    name : str
        One of the methods of `solve` or of the rivals of `rival`.
    task : Task
        Problem, start and radii.
    knob : float or None
        The setting; None: the task's first radius. The limits of the radii are widened to hold it.
    max_eval : int
        Most evaluations.
    seed : None, int or Generator
        Of what is random.

    Returns
    -------
    Run

    Examples
    --------
    >>> from lib.backprop_free.directional_attacks import study
    >>> len(study.race("cdsm", study.jump(), 1.5, 50, seed=0).best)
    50
    """
    checks.choice("name", name, (*METHODS, *RIVALS))
    if not isinstance(task, Task):
        raise TypeError(f"task must be a Task, got {checks.shown(task)}")
    knob = task.r0 if knob is None else checks.positive("knob", knob)
    if name in RIVALS:
        return rival(name, task, knob, max_eval, seed=seed)
    wide = task._replace(
        r0=knob, r_dsm=(task.r_dsm[0], max(task.r_dsm[1], knob)), r_atk=(task.r_atk[0], max(task.r_atk[1], knob))
    )
    return as_run(solve(name, wide, max_eval, seed=seed))


def tuned(name: str, tasks: Sequence[Task], grid: ArrayLike, max_eval: int, *, seed: int = 0) -> tuple[float, bool]:
    """The setting with the best mean rank over these tasks, and whether it lies at an edge of its grid.

    Parameters
    ----------
    name : str
        As in `race`.
    tasks : sequence of Task
        Not those on which the methods are compared.
    grid : array_like, shape (k,)
        Settings in ascending order, positive.
    max_eval : int
        Most evaluations of a run.
    seed : int
        Of what is random.

    Examples
    --------
    >>> from lib.backprop_free.directional_attacks import study
    >>> study.tuned("adam", [study.counterfactual(5)], [1e-3, 0.1, 100.0], 40)
    (0.1, False)
    """
    settings = checks.array("grid", grid, ndim=1, above=0)
    seed = checks.integer("seed", seed, low=0)
    max_eval = checks.integer("max_eval", max_eval, low=1)
    ends = np.array([[race(name, task, float(knob), max_eval, seed=seed + i).best[-1] for knob in settings]
                     for i, task in enumerate(tasks)])  # fmt: skip
    ranks = (np.round(ends, 9)[:, :, None] < np.round(ends, 9)[:, None, :]).sum(axis=2).mean(axis=0)
    best = int(np.round(ranks, 9).argmin())
    return float(settings[best]), best in (0, len(settings) - 1)


def better(ours: float, theirs: float, share: float = 1e-9) -> int:
    """1 where our value is larger by more than rounding, else 0.

    Parameters
    ----------
    ours, theirs : float
        Objectives; may be negative.
    share : float
        What counts as rounding, relative.

    Examples
    --------
    >>> from lib.backprop_free.directional_attacks import study
    >>> study.better(-1.0, -2.0), study.better(-1.0, -1.0)
    (1, 0)
    """
    ours, theirs = checks.number("ours", ours), checks.number("theirs", theirs)
    return int(ours - theirs > checks.number("share", share, low=0) * max(abs(ours), abs(theirs)))


def run_points(result: OptimizeResult, n: int) -> Array:
    """At most n best points of a run, spread evenly over its iterations, repeated ones once.

    Parameters
    ----------
    result : OptimizeResult
        Of one of the methods.
    n : int
        Most points.

    Examples
    --------
    >>> from lib.backprop_free.directional_attacks import study
    >>> study.run_points(study.solve("attacks", study.plant(), 30), 5).shape
    (5, 2)
    """
    if not isinstance(result, OptimizeResult):
        raise TypeError(f"result must be an OptimizeResult, got {checks.shown(result)}")
    n, path = checks.integer("n", n, low=1), result.history["x"]
    fresh = np.append(True, (path[1:] != path[:-1]).any(axis=1))
    path = path[fresh]
    return path[np.unique(np.linspace(0, len(path) - 1, n).round().astype(int))]


def reaches_jump(method: str, max_eval: int, *, seed: Any = None, **changes: Any) -> int | None:
    """After how many evaluations a method finds the square in which the objective jumps; None: not within the budget.

    Polls, search steps and attacks are too short to reach it from the hill; only the covering step, of radius 1.5, can.

    Parameters
    ----------
    method : {"cdsm", "hybrid"}
        They go on beyond the least radius, where there is a covering step.
    max_eval : int
        Most evaluations.
    seed : None, int or Generator
        Of what is random.
    **changes
        Settings, such as ``covering=None`` and ``search=False``.

    Examples
    --------
    >>> from lib.backprop_free.directional_attacks import study
    >>> study.reaches_jump("cdsm", 500, seed=0, covering=None, search=False) is None
    True
    """
    checks.choice("method", method, ("cdsm", "hybrid"))
    settings: dict[str, Any] = {"covering": "random", "covering_radius": COVERS, "r_dsm": (1e-6, 0.5)} | changes
    if method == "hybrid":
        settings["r_atk"] = (1e-6, 0.5)
    if settings["covering"] is not None:
        settings["stop_at_minimum"] = False

    def found(intermediate_result: OptimizeResult) -> bool:
        return bool(intermediate_result.fun > 0.1)

    result = solve(method, jump()._replace(r0=0.2), max_eval, seed=seed, callback=found, **settings)
    hits = np.flatnonzero(result.history["best"] > 0.1)
    return int(hits[0]) + 1 if len(hits) else None


def traces(runs: Mapping[str, Sequence[Run]], most: int) -> dict[str, Array]:
    """The best values after 1, 2, ..., `most` evaluations, one row a run; runs that ended keep their last value.

    Parameters
    ----------
    runs : mapping of str to sequence of Run
        By method.
    most : int
        Evaluations.

    Examples
    --------
    >>> from lib.backprop_free.directional_attacks import study
    >>> runs = {"attacks": [study.race("attacks", study.plant(), None, 10)]}
    >>> study.traces(runs, 20)["attacks"].shape
    (1, 20)
    """
    most = checks.integer("most", most, low=1)
    at = np.arange(most)
    return {name: np.array([run.best[np.minimum(at, len(run.best) - 1)] for run in group]) for name, group in runs.items()}


def zero_attack(phi: Callable[..., Any], x: Any, u: Any, radius: float) -> Any:
    """An attack that never moves: what is left of the hybrid is the direct search.

    Parameters
    ----------
    phi, u : callable and tensor
        Not used.
    x : tensor, shape (n,)
        Gives the length of the move.
    radius : float
        Not used, but positive.

    Examples
    --------
    >>> import torch
    >>> from lib.backprop_free.directional_attacks import study
    >>> study.zero_attack(None, torch.zeros(2), None, 1.0)
    tensor([0., 0.])
    """
    checks.positive("radius", radius)
    return 0 * checks.tensor("x", x)
