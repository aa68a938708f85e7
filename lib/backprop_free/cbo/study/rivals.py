"""A race by function evaluations to a target energy: CMA-ES, restarted quasi-Newton, swarms; and CBXpy as a peer.

The peers are optional: ``cma`` and ``cbx`` are imported when their function is called.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import OptimizeResult, minimize

from lib import checks
from lib.backprop_free.cbo.consensus import Array, Fun, evaluate
from lib.backprop_free.cbo.swarm import minimize_cbo


def _peer(package: str, module: str | None = None) -> Any:
    try:
        return importlib.import_module(module or package)
    except ImportError as error:
        raise ImportError(f"this comparison needs the package {package!r}: pip install {package}") from error


class _Counter:
    """Counts evaluations of `fun` and notes at which one the target was reached; raises `_Done` then, or at the budget."""

    def __init__(self, fun: Fun, target: float, budget: int) -> None:
        self.fun, self.target = fun, checks.number("target", target)
        self.budget = checks.integer("budget", budget, low=1)
        self.spent, self.hit = 0, math.inf

    def __call__(self, points: npt.ArrayLike) -> Array:
        x = np.asarray(points, dtype=np.float64)
        energies = evaluate(self.fun, x)
        reached = np.flatnonzero(energies.ravel() <= self.target)
        if len(reached) and self.spent + reached[0] < self.budget:
            self.hit = self.spent + int(reached[0]) + 1
        self.spent += energies.size
        if self.hit < math.inf or self.spent >= self.budget:
            raise _Done
        return energies


class _Done(Exception):
    """The race is over for this run."""


def first_hits(result: OptimizeResult, target: float) -> Array:
    """Evaluations until each run's swarm held a particle at or below `target`, whole steps; infinity where it never did.

    Parameters
    ----------
    result : OptimizeResult
        Of `minimize_cbo` or `minimize_consensus_hopping` with ``n_runs``.
    target : float

    Returns
    -------
    array, shape (n_runs,)

    Examples
    --------
    >>> from lib.backprop_free.cbo import minimize_cbo, study
    >>> res = minimize_cbo(lambda x: (x**2).sum(-1), mean=[1.0], n_particles=10, n_runs=2, seed=0)
    >>> study.first_hits(res, 100.0).tolist()
    [10.0, 10.0]
    """
    reached = np.atleast_2d(result.best_history) <= checks.number("target", target)
    per_step = result.nfev // result.nit
    return np.where(reached.any(-1), (reached.argmax(-1) + 1.0) * per_step, np.inf)


def race_cma(
    fun: Fun,
    x0: npt.ArrayLike,
    std: float,
    *,
    target: float,
    budget: int = 50_000,
    n_particles: int | None = None,
    seed: Any = 0,
) -> float:
    """Evaluations that CMA-ES needs to reach `target`, infinity beyond `budget`; restarts from `x0` with twice the population.

    Parameters
    ----------
    fun : callable
        Energies ``(...)`` of points ``(..., d)``.
    x0 : array, shape (d,)
    std : float
        Initial step size.
    n_particles : int, optional
        First population; default that of the package (6 in two dimensions).
    seed : int, SeedSequence or Generator
        Of the normals.

    Raises
    ------
    ImportError
        Without the package ``cma``.

    Examples
    --------
    >>> from lib.backprop_free.cbo import study
    >>> 0 < study.race_cma(lambda x: (x**2).sum(-1), [1.0, 1.0], 0.5, target=1e-3, budget=5000) < 2000
    True
    """
    start, std, rng = checks.array("x0", x0, ndim=1), checks.positive("std", std), checks.generator("seed", seed)
    counted = _Counter(fun, target, budget)
    size = None if n_particles is None else checks.integer("n_particles", n_particles, low=2)
    cma = _peer("cma")
    # Stop a descent when its values agree to 1e-4 (the package: 1e-11): sooner restarts, fewer evaluations.
    stops = {"tolfun": 1e-4, "tolfunhist": 1e-4, "tolx": 1e-4}
    options: dict[str, Any] = {**stops, "verbose": -9, "seed": np.nan, "randn": lambda *shape: rng.standard_normal(shape)}
    try:
        while True:
            strategy = cma.CMAEvolutionStrategy(start, std, options | ({"popsize": size} if size else {}))
            while not strategy.stop():
                points = strategy.ask()
                strategy.tell(points, counted(np.array(points)).tolist())
            size = 2 * strategy.popsize
    except _Done:
        return counted.hit


def race_restarts(fun: Fun, x0: npt.ArrayLike, std: float, *, target: float, budget: int = 50_000, seed: Any = 0) -> float:
    """Evaluations that gradient descent with restarts needs: BFGS with differences, from normals round `x0`.

    Parameters
    ----------
    std : float
        Standard deviation of the starts.
    fun, x0, target, budget, seed
        As in `race_cma`.

    Examples
    --------
    >>> from lib.backprop_free.cbo import study
    >>> 0 < study.race_restarts(lambda x: (x**2).sum(-1), [1.0, 1.0], 0.5, target=1e-3, budget=500) < 100
    True
    """
    counted, rng = _Counter(fun, target, budget), checks.generator("seed", seed)
    center, std = checks.array("x0", x0, ndim=1), checks.positive("std", std)
    try:
        while True:
            start = center + std * rng.standard_normal(center.shape)
            minimize(lambda x: float(counted(x)), start, method="BFGS", options={"gtol": 1e-2})
    except _Done:
        return counted.hit


def race_swarm(
    fun: Fun,
    mean: npt.ArrayLike,
    *,
    target: float,
    n_particles: int,
    dt: float,
    noise: float,
    std: float = 0.5,
    budget: int = 50_000,
    n_runs: int = 1,
    seed: Any = 0,
) -> Array:
    """Evaluations that each of `n_runs` swarms of CBO needs to reach `target`, whole steps; infinity beyond `budget`.

    Parameters
    ----------
    fun, target, budget, seed
        As in `race_cma`.
    mean, n_particles, dt, noise, std, n_runs
        As in `lib.backprop_free.cbo.minimize_cbo`.

    Returns
    -------
    array, shape (n_runs,)

    Examples
    --------
    >>> from lib.backprop_free.cbo import study
    >>> how = {"n_particles": 10, "dt": 0.1, "noise": 1.0, "n_runs": 3, "budget": 500}
    >>> study.race_swarm(lambda x: (x**2).sum(-1), [1.0, 1.0], target=1.0, **how).shape
    (3,)
    """
    target, budget = checks.number("target", target), checks.integer("budget", budget, low=1)
    n_particles, n_runs = checks.integer("n_particles", n_particles, low=2), checks.integer("n_runs", n_runs, low=1)
    if n_particles > budget:
        raise ValueError(f"n_particles must be at most the budget of {budget} evaluations, got {n_particles}")
    there = np.zeros(n_runs, dtype=bool)

    def all_there(state: OptimizeResult) -> bool:
        np.logical_or(there, state.best_fun <= target, out=there)
        return bool(there.all())

    result = minimize_cbo(
        fun, mean=mean, std=std, n_particles=n_particles, dt=dt, noise=noise, max_iter=budget // n_particles,
        n_runs=n_runs, seed=seed, callback=all_there,
    )  # fmt: skip
    return first_hits(result, target)


def tune(
    race: Callable[..., npt.ArrayLike], grid: Mapping[str, Sequence[float]], budget: float
) -> tuple[dict[str, float], list[str], Array]:
    """The best point of a grid of settings, and which of its settings lie at an end of their axis.

    Best is the least geometric mean of the evaluations, a race that was lost counted as `budget`: one number in which a slow
    tail and a lost race cost something, and a single lucky run does not win.

    Parameters
    ----------
    race : callable
        ``race(**point)`` returns the evaluations of several runs, infinity allowed for a race that was lost.
    grid : mapping
        Name of a setting -> its values, in order. An axis of one value is fixed, and has no end.
    budget : float

    Returns
    -------
    best : dict
        Name -> value.
    at_edge : list of str
        Settings whose best value is the first or last of its axis.
    scores : array
        Geometric means, one axis per setting.

    Examples
    --------
    >>> from lib.backprop_free.cbo import study
    >>> best, at_edge, _ = study.tune(lambda step: [1 + (step - 2.0) ** 2], {"step": [1.0, 2.0, 3.0]}, budget=100.0)
    >>> best, at_edge
    ({'step': 2.0}, [])
    """
    checks.function("race", race)
    budget = checks.positive("budget", budget)
    axes = {name: checks.array("grid", values, ndim=1).tolist() for name, values in grid.items()}
    if not axes:
        raise ValueError("grid must name at least one setting, got none")
    shape = tuple(len(values) for values in axes.values())
    scores = np.empty(shape)
    for place in np.ndindex(*shape):
        point = {name: values[i] for (name, values), i in zip(axes.items(), place, strict=True)}
        hits = checks.array("race", race(**point), ndim=1, inf=True, above=0)
        scores[place] = np.exp(np.log(np.minimum(hits, budget)).mean())
    best = np.unravel_index(np.round(scores / budget, 9).argmin(), shape)
    chosen = {name: values[i] for (name, values), i in zip(axes.items(), best, strict=True)}
    at_edge = [name for name, i, n in zip(axes, best, shape, strict=True) if n > 1 and i in (0, n - 1)]
    return chosen, at_edge, scores


def cbx_consensus(
    fun: Fun, x0: Array, *, alpha: float = 100.0, drift: float = 1.0, noise: float = 1.6, dt: float = 0.01, max_iter: int = 250,
    noise_type: str = "isotropic", sampler: Callable[..., Array] | None = None, seed: int | None = None,
) -> Array:  # fmt: skip
    """Last consensus points, shape (n_runs, d), of CBXpy's CBO from particles `x0`, shape (n_runs, N, d): an independent peer.

    Parameters
    ----------
    sampler : callable, optional
        ``sampler(size=shape)`` gives the normals, for step-by-step comparisons.
    fun, alpha, drift, noise, dt, max_iter, noise_type, seed
        As in `minimize_cbo`.

    Raises
    ------
    ImportError
        Without the package ``cbx``.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.backprop_free.cbo import study
    >>> study.cbx_consensus(lambda x: (x**2).sum(-1), np.ones((2, 5, 3))).shape
    (2, 3)
    """
    steps, start = checks.integer("max_iter", max_iter, low=1), checks.array("x0", x0, ndim=3)
    alpha, dt = checks.positive("alpha", alpha), checks.positive("dt", dt)
    drift, noise = checks.number("drift", drift, low=0), checks.number("noise", noise, low=0)
    dynamics = _peer("cbx", "cbx.dynamics")
    swarm = dynamics.CBO(
        fun, f_dim="3D", check_f_dims=False, x=start.copy(), alpha=alpha, lamda=drift, sigma=noise,
        dt=dt, noise=noise_type, max_it=steps, verbosity=0, sampler=sampler, seed=seed,
    )  # fmt: skip
    for _ in range(steps):
        swarm.step()
    return swarm.consensus[:, 0, :]
