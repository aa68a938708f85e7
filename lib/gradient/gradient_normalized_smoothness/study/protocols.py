"""How the chapter measures: runs to a gap, tuned rivals, rates between two iterations, maps of gamma."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import OptimizeResult

from lib import checks
from lib.gradient.gradient_normalized_smoothness.hessians import Array, Metric, prepare
from lib.gradient.gradient_normalized_smoothness.method import damped_step, minimize_gns
from lib.gradient.gradient_normalized_smoothness.objectives import Objective
from lib.gradient.gradient_normalized_smoothness.smoothness import gamma_of
from lib.gradient.gradient_normalized_smoothness.study.instances import Instance


def solve(problem: Instance, kind: str = "exact", *, ftol: float = 1e-8, max_iter: int = 500, **options: Any) -> OptimizeResult:
    """`minimize_gns` on an instance until its gap is `ftol`, and nothing else ends it but `max_iter` or rounding.

    Parameters
    ----------
    problem : Instance
    kind : str
        Which Hessian.
    ftol : float
    max_iter : int
    **options
        Of `minimize_gns`.

    Examples
    --------
    >>> from lib.gradient.gradient_normalized_smoothness import study
    >>> study.solve(study.linear_residual(), "fisher", ftol=1e-10).nit
    20
    """
    f = problem.f
    return minimize_gns(
        f.value_and_grad, problem.x0, jac=True, hess=partial(f.hess, kind=kind), metric=problem.metric, f_star=problem.minimum,
        ftol=ftol, gtol=0.0, max_iter=max_iter, **options,
    )  # fmt: skip


def gaps(result: OptimizeResult, problem: Instance, floor: float = 1e-16) -> Array:
    """Value minus minimum after every iteration, not below `floor`.

    Parameters
    ----------
    result : OptimizeResult
        With a history.
    problem : Instance
    floor : float

    Examples
    --------
    >>> from lib.gradient.gradient_normalized_smoothness import study
    >>> problem = study.rosenbrock()
    >>> float(study.gaps(study.solve(problem), problem)[0])
    204.5
    """
    found: Array = np.maximum(result.history["fun"] - problem.minimum, checks.positive("floor", floor))
    return found


def first_below(gap: ArrayLike, goal: float) -> float:
    """The first iteration whose gap is at most `goal`; infinity if there is none.

    Parameters
    ----------
    gap : array_like, shape (n,)
        May hold infinity and may be negative.
    goal : float

    Examples
    --------
    >>> from lib.gradient.gradient_normalized_smoothness import study
    >>> study.first_below([1.0, 0.1, 0.01], 0.1)
    1.0
    """
    below = checks.array("gap", gap, ndim=1, inf=True) <= checks.positive("goal", goal)
    return float(np.argmax(below)) if below.any() else float("inf")


def gap_at(gap: ArrayLike, iteration: int) -> float:
    """The gap after an iteration, or the last one of a shorter run.

    Parameters
    ----------
    gap : array_like, shape (n,)
    iteration : int

    Examples
    --------
    >>> from lib.gradient.gradient_normalized_smoothness import study
    >>> study.gap_at([1.0, 0.5], 7)
    0.5
    """
    known = checks.array("gap", gap, ndim=1)
    return float(known[min(checks.integer("iteration", iteration, low=0), len(known) - 1)])


def power(gap: ArrayLike, iteration: int) -> float:
    """The exponent q of a rate ``k^-q`` between `iteration` and twice that: large and growing for a linear rate.

    Parameters
    ----------
    gap : array_like, shape (n,)
        Positive; a run that ended before counts with its last value.
    iteration : int
        At least 1.

    Examples
    --------
    >>> from lib.gradient.gradient_normalized_smoothness import study
    >>> study.power([8.0, 4.0, 1.0], 1)
    2.0
    """
    known = checks.array("gap", gap, ndim=1, above=0)
    k = checks.integer("iteration", iteration, low=1)
    return float(np.log2(gap_at(known, k) / gap_at(known, 2 * k)))


def tuned(run: Callable[[float], OptimizeResult], grid: Sequence[float], cost: str = "nsolve") -> tuple[OptimizeResult, float]:
    """The successful run of least cost over a grid of first constants, and the constant; the first run if none succeeds.

    Parameters
    ----------
    run : callable
        ``run(first) -> OptimizeResult``.
    grid : sequence of float
    cost : str
        The field that is compared.

    Examples
    --------
    >>> from lib.gradient.gradient_normalized_smoothness import study
    >>> problem = study.rosenbrock()
    >>> study.tuned(lambda gamma: study.solve(problem, gamma0=gamma), [0.1, 1.0])[1] in (0.1, 1.0)
    True
    """
    values = checks.array("grid", grid, ndim=1, above=0)
    runs = [(checks.function("run", run)(float(first)), float(first)) for first in values]
    good = [pair for pair in runs if pair[0].success]
    return min(good, key=lambda pair: pair[0][cost]) if good else runs[0]


def gamma_map(f: Objective, kind: str, first: ArrayLike, second: ArrayLike, seed: Any = 0) -> Array:
    """gamma(x) on a grid in the plane, Euclidean metric, as `gamma_of` finds it from few directions.

    Parameters
    ----------
    f : Objective
        Of two variables, which takes many points at once.
    kind : str
        Which Hessian.
    first, second : array_like, shape (n,), (m,)
        Coordinates, which may be negative.
    seed : int or Generator

    Returns
    -------
    array, shape (m, n)

    Examples
    --------
    >>> from lib.gradient.gradient_normalized_smoothness import LogSumExp, study
    >>> f = LogSumExp([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]], [0.0, 0.0, 0.0])
    >>> study.gamma_map(f, "exact", [1.0, 2.0], [1.0]).shape
    (1, 2)
    """
    across, up = (checks.array(name, axis, ndim=1) for name, axis in (("first", first), ("second", second)))
    few: dict[str, Any] = {"n_dirs": 12, "n_radii": 12, "largest": 1e3, "vectorized": True, "seed": seed}
    return np.array([[gamma_of(f.grad, [a, b], f.hess([a, b], kind), **few) for a in across] for b in up])


def lemma_violations(problem: Instance, x: ArrayLike, kind: str, gammas: Sequence[float]) -> tuple[int, int]:
    """Trial steps at a point whose model error is within its bound all along the step, and those of them that break a lemma.

    The bound is ``||error(t h)||_* <= lambda t ||h||`` at twenty points t of the step; the lemmas are the decrease by
    ``lambda/2 ||h||^2``, the progress by ``||g_new||_*^2 / (8 lambda)`` and the gradient test with one half.

    Parameters
    ----------
    problem : Instance
    x : array_like, shape (n,)
    kind : str
        Which Hessian.
    gammas : sequence of float

    Examples
    --------
    >>> from lib.gradient.gradient_normalized_smoothness import study
    >>> problem = study.rosenbrock()
    >>> study.lemma_violations(problem, problem.x0, "exact", [0.001, 1000.0])
    (1, 0)
    """
    x = np.asarray(checks.array("x", x, shape=problem.x0.shape), dtype=float)
    B, (f, g) = Metric(problem.metric), problem.f.value_and_grad(x)
    H = problem.f.hess(x, kind)
    damped, norm, within, broken = prepare(H, B), B.dual_norm(g), 0, 0
    for gamma in checks.array("gammas", gammas, ndim=1, above=0):
        h, lam, _products = damped_step(damped, g, norm, float(gamma))
        if h is None:
            continue
        size, bend = B.norm(h), H @ h
        errors = [B.dual_norm(problem.f.grad(x + t * h) - g - t * bend) / t for t in np.linspace(0.05, 1, 20)]
        if max(errors) <= lam * size:
            f_new, g_new = problem.f.value_and_grad(x + h)
            new, slack = B.dual_norm(g_new), 1 - 1e-9
            wanted = [lam / 2 * size**2, new**2 / (8 * lam)]
            within += 1
            broken += bool(f - f_new < slack * max(wanted) or -g_new @ h < slack * new**2 / (2 * lam))
    return within, broken


def remaining_gap(
    problem: Instance, x: ArrayLike, minimizer: ArrayLike, lam: float, kind: str = "fisher"
) -> tuple[float, float, float]:
    """Where the gap at a point lies, and how wrong a matrix is at the minimizer, both in the identity metric.

    Parameters
    ----------
    problem : Instance
    x, minimizer : array_like, shape (n,)
    lam : float
        Damping.
    kind : str
        Which Hessian is judged.

    Returns
    -------
    share : float
        Of the quadratic gap ``sum_i w_i c_i^2 / 2``, in eigenvectors of the exact Hessian at the minimizer: the part whose
        curvature ``w_i`` is below `lam`.
    error : float
        ``||exact - H||`` at the minimizer.
    relative : float
        The same over ``||exact||``.

    Examples
    --------
    >>> from lib.gradient.gradient_normalized_smoothness import study
    >>> share, error, relative = study.remaining_gap(study.rosenbrock(), [0.9, 0.9], [1.0, 1.0], 1e3, "inexact")
    >>> round(share, 6), error < 1e-9, relative < 1e-9
    (1.0, True, True)
    """
    x, minimizer = (
        np.asarray(checks.array(name, v, shape=problem.x0.shape), float) for name, v in (("x", x), ("minimizer", minimizer))
    )
    lam, identity = checks.positive("lam", lam), np.eye(len(x))
    exact = problem.f.hess(minimizer) @ identity
    error = float(np.abs(np.linalg.eigvalsh(exact - problem.f.hess(minimizer, kind) @ identity)).max())
    curvature, Q = np.linalg.eigh(exact)
    part = np.maximum(curvature, 0.0) * (Q.T @ (x - minimizer)) ** 2
    share = float(part[curvature < lam].sum() / max(part.sum(), 1e-300))
    return share, error, error / max(float(np.abs(curvature).max()), 1e-300)


class Rest(NamedTuple):
    """A run's minimum, its gaps, the last of them, and what `remaining_gap` says of the start and of the end."""

    minimum: float
    gaps: Array
    gap: float
    before: float
    share: float
    error: float
    relative: float


def remaining_run(problem: Instance, kind: str = "fisher", max_iter: int = 100) -> Rest:
    """Run `max_iter` iterations with one Hessian in the identity metric and look at what is left of the gap.

    The minimizer is found first, by the exact Hessian in the problem's own metric; the damping is that of the end.

    Parameters
    ----------
    problem : Instance
    kind : str
        Which Hessian runs and is judged.
    max_iter : int

    Returns
    -------
    Rest
        ``before`` and ``share`` are the shares of the gap below the damping at the start and at the end.

    Examples
    --------
    >>> from lib.gradient.gradient_normalized_smoothness import study
    >>> study.remaining_run(study.rosenbrock(), "inexact", 10).share < 1
    True
    """
    max_iter = checks.integer("max_iter", max_iter, low=1)
    best = solve(problem._replace(minimum=-1e300), ftol=0.0, max_iter=60)
    plain = problem._replace(metric=None, minimum=best.fun)
    end = solve(plain, kind, ftol=0.0, max_iter=max_iter)
    left = gaps(end, plain, floor=1e-12)
    lam = float(np.median(end.history["lam"][-10:])) if end.nit else 1.0
    before = remaining_gap(plain, plain.x0, best.x, lam, kind)[0]
    return Rest(best.fun, left, float(left[-1]), before, *remaining_gap(plain, end.x, best.x, lam, kind))
