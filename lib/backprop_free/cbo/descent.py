"""The gradient side of the bridge: proximal steps (the minimizing-movement scheme), gradient descent, annealed Langevin."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import OptimizeResult, minimize

from lib import checks
from lib.backprop_free.cbo.consensus import Array, Fun, evaluate, finite_points

Grad = Callable[[Array], npt.ArrayLike]


def proximal_point(
    fun: Fun, x: npt.ArrayLike, step: float, *, grad: Grad | None = None, n_starts: int = 8, seed: Any = 0
) -> Array:
    r"""Proximal step from `x`: equation (7) of the chapter.

    .. math:: \operatorname{prox}_\tau(x) = \arg\min_y E(y) + \|y - x\|^2 / (2 \tau)

    The minimum is the best of `n_starts` local searches (BFGS), from `x` and from normals round it with standard deviation
    ``2 sqrt(step)``: a global one in a few dimensions, for a step that leaves few local minima.

    Parameters
    ----------
    fun : callable
        Energies ``(...)`` of points ``(..., d)``.
    x : array, shape (d,)
    step : float
        tau, positive.
    grad : callable, optional
        Gradients ``(..., d)``; without it they are differences, and the result is good to about 1e-7.
    n_starts : int
    seed : int, SeedSequence or Generator
        Of the starts.

    Returns
    -------
    array, shape (d,)

    Raises
    ------
    ValueError
        For a step that is not positive and finite, or an `x` of another shape.

    Examples
    --------
    >>> from lib.backprop_free import cbo
    >>> y = cbo.proximal_point(lambda x: 0.5 * (x**2).sum(-1), [1.0], step=1.0, grad=lambda x: x)
    >>> round(float(y[0]), 9)
    0.5
    """
    center = checks.array("x", x, ndim=1).astype(np.float64)
    step = checks.positive("step", step)

    def penalized(y: Array) -> float:
        return float(evaluate(fun, y)) + float((y - center) @ (y - center)) / (2 * step)

    def slope(y: Array) -> Array:
        assert grad is not None
        return np.asarray(grad(y.copy()), dtype=np.float64) + (y - center) / step

    rng = checks.generator("seed", seed)
    starts = center + 2 * np.sqrt(step) * rng.standard_normal((checks.integer("n_starts", n_starts, low=1), len(center)))
    starts[0] = center
    found = [
        minimize(penalized, y, jac=None if grad is None else slope, method="BFGS", options={"gtol": 1e-11}) for y in starts
    ]
    return min(found, key=lambda result: result.fun).x


def minimizing_movement(
    fun: Fun,
    x0: npt.ArrayLike,
    step: float,
    *,
    max_iter: int = 100,
    grad: Grad | None = None,
    n_starts: int = 8,
    seed: Any = 0,
) -> OptimizeResult:
    """Minimizing-movement scheme: repeated `proximal_point`, which is implicit gradient descent with step tau.

    Parameters
    ----------
    x0 : array, shape (d,)
    max_iter : int
    fun, step, grad, n_starts, seed
        As in `proximal_point`.

    Returns
    -------
    OptimizeResult
        ``x`` shape (d,), ``fun``, ``trajectory`` (max_iter, d), ``nit``.

    Examples
    --------
    >>> from lib.backprop_free import cbo
    >>> res = cbo.minimizing_movement(lambda x: 0.5 * (x**2).sum(-1), [1.0], step=1.0, max_iter=3, grad=lambda x: x)
    >>> res.trajectory.round(6).ravel().tolist()
    [0.5, 0.25, 0.125]
    """
    x, trajectory = checks.array("x0", x0, ndim=1).astype(np.float64), []
    max_iter = checks.integer("max_iter", max_iter, low=1)
    checks.generator("seed", seed)
    for _ in range(max_iter):
        x = proximal_point(fun, x, step, grad=grad, n_starts=n_starts, seed=seed)
        trajectory.append(x)
    value = float(evaluate(fun, x))
    good = bool(np.isfinite(x).all() and np.isfinite(value))
    message = "all steps taken" if good else "no finite minimum was found"
    return OptimizeResult(x=x, fun=value, trajectory=np.array(trajectory), nit=max_iter, success=good, message=message)


def langevin(
    grad: Grad,
    x0: npt.ArrayLike,
    *,
    dt: float = 1e-3,
    learning_rate: float = 1.0,
    noise: float = 10.0,
    max_iter: int = 10_000,
    n_runs: int | None = None,
    seed: Any = None,
) -> OptimizeResult:
    """Annealed Langevin dynamics: a gradient step plus noise that decays like 1/log: equation (9) of the chapter.

    ``x <- x - learning_rate * grad(x) * dt + noise / log(k + 1) * sqrt(dt) * N(0, I)`` for k = 1, 2, ... The defaults are
    those of the paper's Figure 2; ``noise=0`` is gradient descent.

    Parameters
    ----------
    grad : callable
        Gradients ``(..., d)`` of points ``(..., d)``.
    x0 : array, shape (d,) or (n_runs, d)
    dt, learning_rate, noise : float
    max_iter : int
    n_runs : int, optional
        Independent runs, as a leading axis of everything.
    seed : int, SeedSequence or Generator, optional

    Returns
    -------
    OptimizeResult
        ``x`` shape ([n_runs,] d); ``trajectory`` ([n_runs,] max_iter, d), after each step; ``nit``; ``njev`` per run.

    Raises
    ------
    ValueError
        For settings out of range, a start that is not finite, or a `grad` that returns another shape.

    Examples
    --------
    >>> from lib.backprop_free import cbo
    >>> cbo.langevin(lambda x: x, [1.0], dt=0.5, noise=0.0, max_iter=2).x.tolist()
    [0.25]
    """
    dt, learning_rate = checks.positive("dt", dt), checks.positive("learning_rate", learning_rate)
    noise = checks.number("noise", noise, low=0)
    x, steps, rng = finite_points("x0", x0), checks.integer("max_iter", max_iter, low=1), checks.generator("seed", seed)
    if x.ndim not in (1, 2):
        raise ValueError(f"x0 must have shape (d,) or (n_runs, d), got {x.shape}")
    if n_runs is not None:
        x = np.broadcast_to(x, (checks.integer("n_runs", n_runs, low=1), x.shape[-1]))
    trajectory = np.empty((*x.shape[:-1], steps, x.shape[-1]))
    for k in range(1, steps + 1):
        slope = np.asarray(grad(x.copy()), dtype=np.float64)
        if slope.shape != x.shape:
            raise ValueError(f"grad must return the shape of its points, {x.shape}, it returned {slope.shape}")
        with np.errstate(over="ignore", invalid="ignore"):  # a divergence is reported, not warned about
            x = x - learning_rate * dt * slope  # (9)
        if noise:
            x = x + noise / np.log(k + 1) * np.sqrt(dt) * rng.standard_normal(x.shape)  # (9)
        trajectory[..., k - 1, :] = x
    good = bool(np.isfinite(x).all())
    message = "all steps taken" if good else "diverged: a smaller step may help"
    return OptimizeResult(x=x, trajectory=trajectory, nit=steps, njev=steps, success=good, message=message)


def gradient_descent(grad: Grad, x0: npt.ArrayLike, *, step: float = 1e-3, max_iter: int = 10_000) -> OptimizeResult:
    """Gradient descent: `langevin` without noise, in the terms of its step size (the paper's figure: 1e-3, 10^4 steps).

    Examples
    --------
    >>> from lib.backprop_free import cbo
    >>> cbo.gradient_descent(lambda x: x, [1.0], step=0.5, max_iter=3).x.tolist()
    [0.125]
    """
    return langevin(grad, x0, dt=checks.positive("step", step), noise=0.0, max_iter=max_iter)


def central_differences(fun: Fun, h: float = 1e-5) -> Grad:
    """Gradient of a vectorized `fun` by central differences, 2 d evaluations a point; the published code's way, h = 1e-5.

    Examples
    --------
    >>> from lib.backprop_free import cbo
    >>> round(float(cbo.central_differences(lambda x: (x**2).sum(-1))([1.5, 0.0])[0]), 6)
    3.0
    """
    h = checks.positive("h", h)

    def grad(x: npt.ArrayLike) -> Array:
        points = np.asarray(x, dtype=np.float64)
        shifts = h * np.eye(points.shape[-1])
        ahead, behind = (evaluate(fun, points[..., None, :] + sign * shifts) for sign in (1, -1))
        return (ahead - behind) / (2 * h)

    return grad
