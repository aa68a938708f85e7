"""A race by function evaluations to a target energy: CMA-ES, restarted quasi-Newton, swarms; and CBXpy as a peer.

The peers are optional: ``cma`` and ``cbx`` are imported when their function is called.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import OptimizeResult, minimize

from lib import checks
from lib.backprop_free.cbo.consensus import Array, Fun, evaluate


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
    >>> 0 < study.race_cma(lambda x: (x**2).sum(-1), [1.0, 1.0], 0.5, target=1e-3) < 2000
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
    >>> 0 < study.race_restarts(lambda x: (x**2).sum(-1), [1.0, 1.0], 0.5, target=1e-3) < 100
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


def tune(race: Callable[[float, int], npt.ArrayLike], values: list[float], n_tries: int) -> tuple[float, Array]:
    """The value whose races are won most often, then soonest: ``race(value, try)`` gives evaluations (infinity: lost).

    Returns
    -------
    best : float
    hits : array, shape (len(values), n_tries)

    Examples
    --------
    >>> from lib.backprop_free.cbo import study
    >>> study.tune(lambda value, i: value * 10 + i, [2.0, 1.0], 3)[0]
    1.0
    """
    n_tries = checks.integer("n_tries", n_tries, low=1)
    checks.array("values", values, ndim=1)
    hits = np.array([[race(value, i) for i in range(n_tries)] for value in values], dtype=np.float64)
    capped = np.where(np.isfinite(hits), hits, 1e300)
    order = sorted(range(len(values)), key=lambda i: (-np.isfinite(hits[i]).sum(), np.median(capped[i])))
    return values[order[0]], hits


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
