"""Consensus-based optimization and consensus hopping: many runs at once, over arrays (runs, particles, dimension)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import Bounds, OptimizeResult

from lib import checks
from lib.backprop_free.cbo.consensus import Array, Fun, check_alpha, evaluate, finite_points, weighted_mean

#: A setting that may change with the step k = 0, 1, ...
Schedule = float | Callable[[int], float]
Callback = Callable[[OptimizeResult], Any]
NOISE_TYPES = ("isotropic", "anisotropic")


def cbo_step(
    x: Array,
    consensus: Array,
    normals: Array,
    *,
    drift: float,
    noise: float,
    dt: float,
    noise_type: str = "isotropic",
    drift_first: bool = False,
) -> Array:
    """One Euler-Maruyama step of all particles, given the consensus point and the normals: equation (2) of the chapter.

    Parameters
    ----------
    x, normals : array, shape (..., N, d)
        Particles, and standard normals of the same shape.
    consensus : array, shape (..., d)
    drift, noise, dt : float
        lambda, sigma and Delta t.
    noise_type : {"isotropic", "anisotropic"}
        Noise in proportion to the distance from the consensus, or to each coordinate of it.
    drift_first : bool
        Scale the noise by the distance after the drift, as the published code does: it is then (1 - lambda Delta t) smaller,
        and nothing is left of it at lambda Delta t = 1.

    Returns
    -------
    array, shape (..., N, d)

    Examples
    --------
    >>> import numpy as np
    >>> from lib.backprop_free import cbo
    >>> cbo.cbo_step(np.array([[2.0]]), np.array([0.0]), np.zeros((1, 1)), drift=1.0, noise=1.0, dt=0.25).tolist()
    [[1.5]]
    """
    checks.choice("noise_type", noise_type, NOISE_TYPES)
    points, center = finite_points("x", x), finite_points("consensus", consensus)
    drift, noise = checks.number("drift", drift, low=0), checks.number("noise", noise, low=0)
    kicks = checks.array("normals", normals, shape=points.shape)
    if points.ndim < 2 or center.shape != (*points.shape[:-2], points.shape[-1]):
        raise ValueError(f"x must have shape (..., N, d) and consensus (..., d), got {points.shape} and {center.shape}")
    return _step(points, center, kicks, drift, noise, checks.positive("dt", dt), noise_type, drift_first)


def _step(
    x: Array, consensus: Array, normals: Array, drift: float, noise: float, dt: float, noise_type: str, drift_first: bool
) -> Array:
    """`cbo_step` of inputs that are known to be good."""
    away = x - consensus[..., None, :]
    moved = (1 - drift * dt) * away  # (2)
    reach = moved if drift_first else away
    # ||X - c||, one number per particle, or |X - c|, coordinate by coordinate
    scale = np.sqrt(np.einsum("...d,...d->...", reach, reach))[..., None] if noise_type == "isotropic" else np.abs(reach)
    moved += noise * np.sqrt(dt) * scale * normals  # (2)
    moved += consensus[..., None, :]
    return moved


def minimize_cbo(
    fun: Fun,
    x0: npt.ArrayLike | None = None,
    *,
    bounds: Bounds | Sequence[tuple[float, float]] | None = None,
    mean: npt.ArrayLike | None = None,
    std: npt.ArrayLike = 0.5,
    n_particles: int = 200,
    alpha: float = 100.0,
    drift: float = 1.0,
    noise: Schedule = 1.6,
    dt: float = 0.01,
    noise_type: str = "isotropic",
    max_iter: int = 250,
    n_runs: int | None = None,
    drift_first: bool = False,
    callback: Callback | None = None,
    vectorized: bool = True,
    seed: Any = None,
) -> OptimizeResult:
    """Minimize by consensus-based optimization (CBO); the defaults are those of the paper's Figure 1(b).

    Parameters
    ----------
    fun : callable
        Energies ``(...)`` of points ``(..., d)``; plus infinity forbids a point.
    x0 : array, shape (N, d) or (n_runs, N, d), or one point (d,), optional
        Initial particles. One point is a `mean`.
    bounds : sequence of d pairs, or scipy.optimize.Bounds, optional
        Particles are kept inside by projection; without `x0` and `mean` they start there, uniformly.
    mean : array, shape (d,), optional
        Particles start as normals round it, with the spread `std`.
    std : float or array, shape (d,)
        Not negative; the paper: 0.5.
    n_particles : int
        N, at least 2 (200); of `x0`, where that holds particles.
    alpha : float
        Inverse temperature (100); infinity follows the best particle.
    drift, noise, dt : float
        lambda (1), sigma (1.6) and Delta t (0.01). `noise` may be a function of the step.
    noise_type : {"isotropic", "anisotropic"}
    max_iter : int
        K, steps (250).
    n_runs : int, optional
        Independent runs, as one more leading axis of everything; without it there is one run and no such axis.
    drift_first : bool
        As in `cbo_step`.
    callback : callable, optional
        Called after each consensus with an `OptimizeResult` of ``x, best_fun, nit, particles``; a true answer or StopIteration
        ends the run.
    vectorized : bool
        False for a `fun` of one point, shape (d,), that returns a number (such as `scipy.optimize.rosen`).
    seed : int, SeedSequence or Generator, optional

    Returns
    -------
    OptimizeResult
        ``x`` last consensus, shape ([n_runs,] d); ``fun`` its energy (one evaluation that `nfev` does not count);
        ``best_x`` and ``best_fun`` the best particle that was seen, and its energy; ``trajectory`` consensus points, shape
        ([n_runs,] K, d); ``best_history`` least energy of the swarm in each step, shape ([n_runs,] K); ``particles`` after the
        last step; ``nit``; ``nfev`` = K N per run; ``success`` and ``message``. Success means that every run ends with a finite
        energy below the best one of its first swarm, or no worse where that is all there was to gain.

    Raises
    ------
    ValueError
        For settings out of range, no way to start, or a `fun` that is not vectorized or gives NaN.

    Examples
    --------
    >>> from lib.backprop_free import cbo
    >>> res = cbo.minimize_cbo(lambda x: (x**2).sum(-1), mean=[1.0, 1.0], seed=0)
    >>> bool(abs(res.x).max() < 0.05), res.nfev
    (True, 50000)
    """
    rng, box = checks.generator("seed", seed), _box(bounds)
    drift, dt = checks.number("drift", drift, low=0), checks.positive("dt", dt)
    if not callable(noise):
        noise = checks.number("noise", noise, low=0)
    checks.choice("noise_type", noise_type, NOISE_TYPES)
    x = _initial_particles(rng, x0, box, mean, std, n_particles, n_runs)

    def move(k: int, x: Array, c: Array) -> Array:
        sigma = checks.number("noise", noise(k), low=0) if callable(noise) else noise
        moved = _step(x, c, _normals(rng, x.shape), drift, sigma, dt, noise_type, drift_first)
        return moved if box is None else np.clip(moved, box[0], box[1])

    return _iterate(_of_points(fun, vectorized), x, move, alpha, max_iter, callback)


def minimize_consensus_hopping(
    fun: Fun,
    x0: npt.ArrayLike,
    *,
    width: Schedule = 0.7,
    alpha: float = 100.0,
    n_particles: int = 200,
    max_iter: int = 250,
    n_runs: int | None = None,
    callback: Callback | None = None,
    vectorized: bool = True,
    seed: Any = None,
) -> OptimizeResult:
    """Minimize by consensus hopping (CH): sample round the consensus, take the consensus of the sample, repeat.

    Its mean field is gradient descent on `smoothed_energy` with step ``tau = alpha * width**2``. The defaults are those of
    the paper's Figure 2(a).

    Parameters
    ----------
    fun : callable
        Energies ``(...)`` of points ``(..., d)``.
    x0 : array, shape (d,) or (n_runs, d)
        Where the first sample is centered; the first iterate is the consensus of that sample.
    width : float
        Standard deviation of the samples (0.7), or a function of the step; the published code also has a variant that
        shrinks it by 0.98 every 100 steps: ``width=lambda k: 0.7 * 0.98 ** ((k + 99) // 100)`` is that with its first sample
        as drawn.
    alpha : float
        Inverse temperature (100); infinity follows the best particle.
    n_particles, max_iter, n_runs, callback, vectorized, seed
        As in `minimize_cbo`.

    Returns
    -------
    OptimizeResult
        As `minimize_cbo` returns it.

    Raises
    ------
    ValueError
        For settings out of range or a `fun` that is not vectorized or gives NaN.

    Examples
    --------
    >>> from lib.backprop_free import cbo
    >>> res = cbo.minimize_consensus_hopping(lambda x: (x**2).sum(-1), [3.0, 0.0], width=0.1, max_iter=100, seed=0)
    >>> bool(abs(res.x).max() < 0.2), res.trajectory.shape
    (True, (100, 2))
    """
    rng = checks.generator("seed", seed)
    if not callable(width):
        width = checks.positive("width", width)
    N = checks.integer("n_particles", n_particles, low=2)
    center = finite_points("x0", x0)
    if n_runs is not None:
        center = np.broadcast_to(center, (checks.integer("n_runs", n_runs, low=1), center.shape[-1]))
    if center.ndim not in (1, 2):
        raise ValueError(f"x0 must have shape (d,) or (n_runs, d), got {center.shape}")

    def sample(k: int, center: Array) -> Array:
        x = _normals(rng, (*center.shape[:-1], N, center.shape[-1]))
        x *= checks.positive("width", width(k)) if callable(width) else width  # (3)
        x += center[..., None, :]
        return x

    moves = lambda k, x, c: sample(k + 1, c)  # noqa: E731
    return _iterate(_of_points(fun, vectorized), sample(0, center), moves, alpha, max_iter, callback)


def _of_points(fun: Fun, vectorized: bool) -> Fun:
    """`fun` as a function of arrays of points."""
    checks.function("fun", fun)
    if checks.boolean("vectorized", vectorized):
        return fun
    return lambda x: np.array([float(np.asarray(fun(point))) for point in x.reshape(-1, x.shape[-1])]).reshape(x.shape[:-1])


def _iterate(
    fun: Fun, x: Array, move: Callable[[int, Array, Array], Array], alpha: float, max_iter: int, callback: Callback | None
) -> OptimizeResult:
    """Consensus first, then move: what both methods share."""
    steps, alpha = checks.integer("max_iter", max_iter, low=1), check_alpha(alpha)
    trajectory, best, message = [], [], "all steps taken"
    best_x, best_fun = x[..., 0, :], np.full(x.shape[:-2], np.inf)
    for k in range(steps):
        energies = evaluate(fun, x)
        if np.isnan(energies).any():
            raise ValueError(f"fun must not return NaN: it did in step {k}")
        c = weighted_mean(x, energies, alpha)
        trajectory.append(c)
        best.append(energies.min(-1))
        winners = np.take_along_axis(x, energies.argmin(-1)[..., None, None], axis=-2)[..., 0, :]
        better = best[-1] < best_fun
        best_x, best_fun = np.where(better[..., None], winners, best_x), np.where(better, best[-1], best_fun)
        if callback is not None and _stops(callback, OptimizeResult(x=c, best_fun=best[-1], nit=k + 1, particles=x)):
            message = "stopped by the callback"
            break
        with np.errstate(over="ignore", invalid="ignore"):  # a divergence is reported, not warned about
            x = move(k, x, c)
        if not np.isfinite(x).all():
            message = f"diverged in step {k}: the noise is too strong for dt and this dimension"
            break
    value = evaluate(fun, c)
    good = np.isfinite(value) & (value <= best[0]) if len(best) > 1 else np.isfinite(value)
    if message.startswith("diverged"):
        good = np.zeros_like(good)
    elif not good.all():
        message = "the consensus is worse than the best particle of the first swarm, or not allowed: see best_x"
    return OptimizeResult(
        x=c,
        fun=value if value.ndim else float(value),
        best_x=best_x,
        best_fun=best_fun if best_fun.ndim else float(best_fun),
        trajectory=np.stack(trajectory, axis=-2),
        best_history=np.stack(best, axis=-1),
        particles=x,
        nit=len(trajectory),
        nfev=len(trajectory) * x.shape[-2],
        success=bool(good.all()),
        message=message,
    )


def _stops(callback: Callback, state: OptimizeResult) -> bool:
    try:
        return bool(callback(state))
    except StopIteration:
        return True


def _particles_last(x: Array) -> Array:
    """A copy of `x` that lies in memory as (..., d, N): NumPy's inner loops then run over particles, not over coordinates."""
    return np.swapaxes(np.array(np.swapaxes(x, -1, -2), order="C"), -1, -2)


def _normals(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Standard normals (..., N, d), in memory as `_particles_last` lays them out."""
    return np.swapaxes(rng.standard_normal((*shape[:-2], shape[-1], shape[-2])), -1, -2)


def _box(bounds: Any) -> tuple[Array, Array] | None:
    """Lower and upper ends, (d,) each, of pairs or of scipy's `Bounds`."""
    if bounds is None:
        return None
    pairs = np.stack([bounds.lb, bounds.ub], axis=-1) if isinstance(bounds, Bounds) else bounds
    box = checks.array("bounds", pairs, shape=(None, 2)).astype(np.float64)
    if not (box[:, 0] < box[:, 1]).all():
        raise ValueError(f"bounds must be d pairs (low, high) with low < high, got {bounds!r}")
    return box[:, 0], box[:, 1]


def _initial_particles(
    rng: np.random.Generator, x0: Any, box: Any, mean: Any, std: Any, n_particles: int, n_runs: int | None
) -> Array:
    """Particles (N, d), or (R, N, d) where there are runs."""
    runs = () if n_runs is None else (checks.integer("n_runs", n_runs, low=1),)
    if x0 is not None and mean is not None:
        raise ValueError("give one of x0 and mean to start the particles, got both")
    if x0 is not None:
        x = finite_points("x0", x0)
        if x.ndim > 1:
            if x.ndim > 3 or x.shape[-2] < 2:
                raise ValueError(f"x0 must have shape (d,), (N, d) or (n_runs, N, d) with N >= 2 particles, got {x.shape}")
            return _inside(_particles_last(np.broadcast_to(x, (*runs, *x.shape[-2:])) if runs else x), box)
        mean = x
    N = checks.integer("n_particles", n_particles, low=2)
    if mean is not None:
        center, spread = finite_points("mean", mean), checks.array("std", std, low=0).astype(np.float64)
        if center.ndim != 1 or spread.shape not in ((), center.shape):
            raise ValueError(f"mean must have shape (d,) and std be a number or (d,), got {center.shape} and {spread.shape}")
        return _inside(center + spread * _normals(rng, (*runs, N, len(center))), box)
    if box is None:
        raise ValueError("give one of x0, mean and bounds to start the particles, got none")
    return _particles_last(rng.uniform(box[0], box[1], (*runs, N, len(box[0]))))


def _inside(x: Array, box: tuple[Array, Array] | None) -> Array:
    if box is not None and len(box[0]) != x.shape[-1]:
        raise ValueError(f"bounds must be one pair for each of {x.shape[-1]} coordinates, got {len(box[0])}")
    return x if box is None else np.clip(x, *box)
