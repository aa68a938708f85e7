"""Consensus-based optimization and consensus hopping: many runs at once, over arrays (runs, particles, dimension)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import OptimizeResult

from lib.backprop_free.cbo.consensus import Array, Fun, check_alpha, consensus_point, evaluate, finite_points, positive_int

#: A setting that may change with the step k = 0, 1, ...
Schedule = float | Callable[[int], float]
Callback = Callable[[OptimizeResult], Any]


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
    if noise_type not in ("isotropic", "anisotropic"):
        raise ValueError(f"noise_type must be 'isotropic' or 'anisotropic', got {noise_type!r}")
    away = x - consensus[..., None, :]
    moved = (1 - drift * dt) * away
    reach = moved if drift_first else away
    # ||X - c||, one number per particle, or |X - c|, coordinate by coordinate
    scale = np.sqrt(np.einsum("...d,...d->...", reach, reach))[..., None] if noise_type == "isotropic" else np.abs(reach)
    moved += noise * np.sqrt(dt) * scale * normals
    moved += consensus[..., None, :]
    return moved


def minimize_cbo(
    fun: Fun,
    x0: npt.ArrayLike | None = None,
    *,
    bounds: Sequence[tuple[float, float]] | None = None,
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
    seed: Any = None,
) -> OptimizeResult:
    """Minimize by consensus-based optimization (CBO); the defaults are those of the paper's Figure 1(b).

    Parameters
    ----------
    fun : callable
        Energies ``(...)`` of points ``(..., d)``; plus infinity forbids a point.
    x0 : array, shape (N, d) or (n_runs, N, d), optional
        Initial particles. Instead, give `mean` and `std` (normal particles) or `bounds` (uniform particles; they only start
        there, nothing keeps them inside).
    bounds : sequence of d pairs, optional
    mean : array, shape (d,), optional
    std : float or array, shape (d,)
        The paper: 0.5.
    n_particles : int
        N, at least 2 (200); of `x0`, where that is given.
    alpha : float
        Inverse temperature (100); ``inf`` follows the best particle.
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
        Called after each consensus with an `OptimizeResult` of ``x, best_fun, nit, particles``; StopIteration ends the run.
    seed : int, SeedSequence or Generator, optional

    Returns
    -------
    OptimizeResult
        ``x`` last consensus, shape ([n_runs,] d); ``fun`` its energy (one evaluation that `nfev` does not count);
        ``trajectory`` consensus points, shape ([n_runs,] K, d); ``best_history`` least energy of the swarm in each step,
        shape ([n_runs,] K); ``particles`` after the last step; ``nit``; ``nfev`` = K N per run.

    Raises
    ------
    ValueError
        For settings out of range, no or several ways to start, or a `fun` that is not vectorized or gives NaN.

    Examples
    --------
    >>> from lib.backprop_free import cbo
    >>> res = cbo.minimize_cbo(lambda x: (x**2).sum(-1), mean=[1.0, 1.0], seed=0)
    >>> bool(abs(res.x).max() < 0.05), res.nfev
    (True, 50000)
    """
    rng = np.random.default_rng(seed)
    given = [name for name, value in (("x0", x0), ("bounds", bounds), ("mean", mean)) if value is not None]
    if len(given) != 1:
        raise ValueError(f"give exactly one of x0, bounds and mean to start the particles, got {', '.join(given) or 'none'}")
    for name, value in (("drift", drift), ("noise", 0.0 if callable(noise) else noise)):
        if not 0 <= value < np.inf:
            raise ValueError(f"{name} must be finite and not negative, got {value}")
    if not 0 < dt < np.inf:
        raise ValueError(f"dt must be positive and finite, got {dt}")
    x = _initial_particles(rng, x0, bounds, mean, std, n_particles, n_runs)

    def move(k: int, x: Array, c: Array) -> Array:
        sigma = noise(k) if callable(noise) else noise
        return cbo_step(
            x, c, _normals(rng, x.shape), drift=drift, noise=sigma, dt=dt, noise_type=noise_type, drift_first=drift_first
        )

    return _iterate(fun, x, move, alpha, max_iter, callback)


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
    alpha, n_particles, max_iter, n_runs, callback, seed
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
    rng = np.random.default_rng(seed)
    if not callable(width) and not 0 < width < np.inf:
        raise ValueError(f"width must be positive and finite, got {width}")
    N = positive_int("n_particles", n_particles, least=2)
    center = finite_points("x0", x0)
    if n_runs is not None:
        center = np.broadcast_to(center, (positive_int("n_runs", n_runs), center.shape[-1]))
    if center.ndim not in (1, 2):
        raise ValueError(f"x0 must have shape (d,) or (n_runs, d), got {center.shape}")

    def sample(k: int, center: Array) -> Array:
        x = _normals(rng, (*center.shape[:-1], N, center.shape[-1]))
        x *= width(k) if callable(width) else width
        x += center[..., None, :]
        return x

    return _iterate(fun, sample(0, center), lambda k, x, c: sample(k + 1, c), alpha, max_iter, callback)


def _iterate(
    fun: Fun, x: Array, move: Callable[[int, Array, Array], Array], alpha: float, max_iter: int, callback: Callback | None
) -> OptimizeResult:
    """Consensus first, then move: what both methods share."""
    steps, alpha = positive_int("max_iter", max_iter), check_alpha(alpha)
    trajectory, best, message = [], [], "all steps taken"
    for k in range(steps):
        energies = evaluate(fun, x)
        c = consensus_point(x, energies, alpha)
        trajectory.append(c)
        best.append(energies.min(-1))
        if callback is not None:
            try:
                callback(OptimizeResult(x=c, best_fun=best[-1], nit=k + 1, particles=x))
            except StopIteration:
                message = "stopped by the callback"
                break
        x = move(k, x, c)
    value = evaluate(fun, c)
    return OptimizeResult(
        x=c,
        fun=value if value.ndim else float(value),
        trajectory=np.stack(trajectory, axis=-2),
        best_history=np.stack(best, axis=-1),
        particles=x,
        nit=len(trajectory),
        nfev=len(trajectory) * x.shape[-2],
        success=True,
        message=message,
    )


def _particles_last(x: Array) -> Array:
    """A copy of `x` that lies in memory as (..., d, N): NumPy's inner loops then run over particles, not over coordinates."""
    return np.swapaxes(np.array(np.swapaxes(x, -1, -2), order="C"), -1, -2)


def _normals(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Standard normals (..., N, d), in memory as `_particles_last` lays them out."""
    return np.swapaxes(rng.standard_normal((*shape[:-2], shape[-1], shape[-2])), -1, -2)


def _initial_particles(
    rng: np.random.Generator, x0: Any, bounds: Any, mean: Any, std: Any, n_particles: int, n_runs: int | None
) -> Array:
    """Particles (N, d), or (R, N, d) where there are runs."""
    runs = () if n_runs is None else (positive_int("n_runs", n_runs),)
    if x0 is not None:
        x = finite_points("x0", x0)
        if x.ndim not in (2, 3) or x.shape[-2] < 2:
            raise ValueError(f"x0 must have shape (N, d) or (n_runs, N, d) with N >= 2 particles, got {x.shape}")
        return _particles_last(np.broadcast_to(x, (*runs, *x.shape[-2:])) if runs else x)
    N = positive_int("n_particles", n_particles, least=2)
    if mean is not None:
        center, spread = finite_points("mean", mean), np.asarray(std, dtype=np.float64)
        if center.ndim != 1 or spread.shape not in ((), center.shape) or not (spread >= 0).all():
            raise ValueError(f"mean must have shape (d,) and std be a number or (d,), not negative; got {mean!r} and {std!r}")
        return center + spread * _normals(rng, (*runs, N, len(center)))
    box = finite_points("bounds", bounds)
    if box.ndim != 2 or box.shape[1] != 2 or not (box[:, 0] < box[:, 1]).all():
        raise ValueError(f"bounds must be d pairs (low, high) with low < high, got {bounds!r}")
    return _particles_last(rng.uniform(box[:, 0], box[:, 1], (*runs, N, len(box))))
