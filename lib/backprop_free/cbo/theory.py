"""Each error between the consensus step and the gradient step, measured alone; and how fast a swarm contracts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lib.backprop_free.cbo.consensus import Array, Fun, consensus_point, evaluate, mean_field_consensus, positive_int
from lib.backprop_free.cbo.descent import Grad, proximal_point
from lib.backprop_free.cbo.swarm import cbo_step


def loglog_slope(x: npt.ArrayLike, y: npt.ArrayLike) -> float:
    """Slope of the straight line through log y against log x (least squares); ValueError unless all are positive.

    Examples
    --------
    >>> from lib.backprop_free import cbo
    >>> round(cbo.loglog_slope([1, 10, 100], [5, 50, 500]), 12)
    1.0
    """
    a, b = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if a.shape != b.shape or a.ndim != 1 or len(a) < 2 or not (a > 0).all() or not (b > 0).all():
        raise ValueError(f"x and y must be positive, of one shape (n,), n >= 2, got shapes {a.shape} and {b.shape}")
    return float(np.polyfit(np.log(a), np.log(b), 1)[0])


def success_rate(points: npt.ArrayLike, minimizer: npt.ArrayLike = 0.0, radius: float = 0.25, order: float = 2) -> float:
    """Share of the points ``(R, d)`` within `radius` of `minimizer`, in the norm of this order.

    Examples
    --------
    >>> from lib.backprop_free import cbo
    >>> cbo.success_rate([[0.1, 0.0], [3.0, 0.0]])
    0.5
    """
    away = np.atleast_2d(np.asarray(points, dtype=np.float64)) - np.asarray(minimizer, dtype=np.float64)
    return float((np.linalg.norm(away, ord=order, axis=-1) < radius).mean())


def sampled_consensus(
    fun: Fun, x: npt.ArrayLike, alpha: float, width: float, n_particles: int, *, n_swarms: int = 1, seed: Any = None
) -> Array:
    """Consensus points ``(n_swarms, d)`` of independent swarms of `n_particles` drawn from N(x, width^2 I).

    Examples
    --------
    >>> from lib.backprop_free import cbo
    >>> cbo.sampled_consensus(lambda x: x[..., 0] ** 2, [1.0, 0.0], 5.0, 0.1, 100, n_swarms=3, seed=0).shape
    (3, 2)
    """
    center = np.asarray(x, dtype=np.float64)
    shape = (positive_int("n_swarms", n_swarms), positive_int("n_particles", n_particles), len(center))
    particles = center + width * np.random.default_rng(seed).standard_normal(shape)
    return consensus_point(particles, evaluate(fun, particles), alpha)


def sampling_error(
    fun: Fun, x: npt.ArrayLike, alpha: float, width: float, sizes: Sequence[int], *, n_swarms: int = 400, seed: Any = 0
) -> Array:
    """RMS distance of the consensus of N particles from that of infinitely many, for each N in `sizes`; shape (len(sizes),).

    The theorem's term N^(-1/2).

    Examples
    --------
    >>> from lib.backprop_free import cbo
    >>> few, many = cbo.sampling_error(lambda x: x[..., 0] ** 2, [1.0], 5.0, 0.1, [100, 10_000])
    >>> bool(7 < few / many < 14)
    True
    """
    exact, rng = mean_field_consensus(fun, x, alpha, width), np.random.default_rng(seed)
    swarms = [sampled_consensus(fun, x, alpha, width, n, n_swarms=n_swarms, seed=rng) for n in sizes]
    return np.array([np.sqrt(((points - exact) ** 2).sum(-1).mean()) for points in swarms])


def temperature_error(fun: Fun, grad: Grad, x: npt.ArrayLike, step: float, alphas: Sequence[float]) -> Array:
    """Distance of the mean-field consensus from the proximal point at a fixed step, for each alpha; shape (len(alphas),).

    The theorem's term sqrt(tau / alpha). The width is ``sqrt(step / alpha)``.

    Examples
    --------
    >>> from lib.backprop_free import cbo
    >>> fun, grad = (lambda x: x[..., 0] ** 4), (lambda x: 4 * x**3)
    >>> warm, cold = cbo.temperature_error(fun, grad, [1.0], 0.02, [10.0, 1000.0])
    >>> bool(warm > 10 * cold)
    True
    """
    target = proximal_point(fun, x, step, grad=grad)
    points = [mean_field_consensus(fun, x, alpha, np.sqrt(step / alpha)) for alpha in alphas]
    return np.array([np.linalg.norm(point - target) for point in points])


def implicit_error(fun: Fun, grad: Grad, x: npt.ArrayLike, steps: Sequence[float]) -> Array:
    """Distance of the proximal point from the explicit gradient step, for each step size; shape (len(steps),).

    The theorem's term O(tau), per step: it is of second order where the energy is smooth.

    Examples
    --------
    >>> from lib.backprop_free import cbo
    >>> big, small = cbo.implicit_error(lambda x: x[..., 0] ** 2, lambda x: 2 * x, [1.0], [0.02, 0.01])
    >>> bool(3.8 < big / small < 4.0)
    True
    """
    center = np.asarray(x, dtype=np.float64)
    slope = np.asarray(grad(center), dtype=np.float64)
    return np.array([np.linalg.norm(proximal_point(fun, center, t, grad=grad) - (center - t * slope)) for t in steps])


def hopping_gap(
    fun: Fun,
    x: npt.ArrayLike,
    alpha: float,
    width: float,
    drift_dt: float,
    noise_sqrt_dt: float,
    *,
    n_particles: int = 2000,
    n_swarms: int = 100,
    drift_first: bool = False,
    seed: Any = 0,
) -> tuple[float, float]:
    """RMS distance of one CBO step from one consensus-hopping step with the same particles, consensus and normals.

    Particles are drawn from N(x, width^2 I); from their consensus c, hopping draws N(c, width^2 I), CBO moves the particles.
    The theorem bounds the distance by terms in ``|lambda - 1/Delta t|`` and ``sigma sqrt(Delta t)``.

    Parameters
    ----------
    drift_dt, noise_sqrt_dt : float
        lambda Delta t and sigma sqrt(Delta t).
    drift_first : bool
        As in `cbo_step`.
    fun, x, alpha, width, n_particles, n_swarms, seed
        As in `sampled_consensus`.

    Returns
    -------
    particles, consensus : float
        RMS distance of the moved particles, and of the next consensus points.

    Examples
    --------
    >>> from lib.backprop_free import cbo
    >>> near = cbo.hopping_gap(lambda x: x[..., 0] ** 2, [1.0, 0.0], 5.0, 0.1, 1.0, 0.6, n_particles=100)
    >>> far = cbo.hopping_gap(lambda x: x[..., 0] ** 2, [1.0, 0.0], 5.0, 0.1, 0.1, 0.6, n_particles=100)
    >>> near[0] < far[0]
    True
    """
    center, rng = np.asarray(x, dtype=np.float64), np.random.default_rng(seed)
    shape = (positive_int("n_swarms", n_swarms), positive_int("n_particles", n_particles, least=2), len(center))
    particles = center + width * rng.standard_normal(shape)
    normals = rng.standard_normal(shape)
    c = consensus_point(particles, evaluate(fun, particles), alpha)
    moved = cbo_step(particles, c, normals, drift=drift_dt, noise=noise_sqrt_dt, dt=1.0, drift_first=drift_first)
    hopped = c[:, None, :] + width * normals
    ends = [consensus_point(y, evaluate(fun, y), alpha) for y in (moved, hopped)]
    gaps = [((a - b) ** 2).sum(-1).mean() for a, b in ((moved, hopped), ends)]
    return float(np.sqrt(gaps[0])), float(np.sqrt(gaps[1]))


def contraction_rate(drift: float, noise: float, dim: int, noise_type: str = "isotropic") -> float:
    """Rate at which the mean squared distance from a fixed consensus decays in the mean field; negative where it grows.

    ``2 lambda - d sigma^2`` (isotropic) or ``2 lambda - sigma^2`` (anisotropic).

    Examples
    --------
    >>> from lib.backprop_free import cbo
    >>> round(cbo.contraction_rate(1.0, 1.6, dim=2), 2)  # the paper's figure
    -3.12
    """
    if noise_type not in ("isotropic", "anisotropic"):
        raise ValueError(f"noise_type must be 'isotropic' or 'anisotropic', got {noise_type!r}")
    return 2 * drift - (positive_int("dim", dim) if noise_type == "isotropic" else 1) * noise**2
