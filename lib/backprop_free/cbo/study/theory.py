"""Each error between the consensus step and the gradient step, measured alone; and how fast a swarm contracts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lib import checks
from lib.backprop_free.cbo.consensus import Array, Fun, consensus_point, evaluate, mean_field_consensus
from lib.backprop_free.cbo.descent import Grad, proximal_point
from lib.backprop_free.cbo.swarm import cbo_step


def loglog_slope(x: npt.ArrayLike, y: npt.ArrayLike) -> float:
    """Slope of the straight line through log y against log x (least squares); ValueError unless all are positive.

    Examples
    --------
    >>> from lib.backprop_free.cbo import study
    >>> round(study.loglog_slope([1, 10, 100], [5, 50, 500]), 12)
    1.0
    """
    a = checks.array("x", x, ndim=1, above=0)
    b = checks.array("y", y, shape=a.shape, above=0)
    if len(a) < 2:
        raise ValueError("x and y must hold at least two points, got one")
    return float(np.polyfit(np.log(a), np.log(b), 1)[0])


def downhill(path: npt.ArrayLike, grad: Grad) -> Array:
    r"""How much of a path's length goes down the gradient: 1 for small gradient steps, 0 on average for a random walk.

    .. math:: -\sum_k \langle x_{k+1} - x_k,\ \nabla E(x_k) / \|\nabla E(x_k)\| \rangle \Big/ \sum_k \|x_{k+1} - x_k\|

    This is the mean cosine between moves and the negative gradient, each move weighted by its length: no threshold is needed
    for the steps at which nothing moves.

    Parameters
    ----------
    path : array, shape (..., K, d)
        K >= 2 points.
    grad : callable
        Gradients ``(..., d)`` of points ``(..., d)``.

    Returns
    -------
    array, shape (...)
        Between -1 and 1; 0 for a path that does not move.

    Examples
    --------
    >>> from lib.backprop_free.cbo import study
    >>> study.downhill([[2.0, 0.0], [1.0, 0.0], [1.0, 1.0]], lambda x: x).tolist()
    0.5
    """
    points = checks.array("path", path).astype(np.float64)
    if points.ndim < 2 or points.shape[-2] < 2:
        raise ValueError(f"path must have shape (..., K, d) with K >= 2 points, got {points.shape}")
    moves, slopes = np.diff(points, axis=-2), np.asarray(grad(points[..., :-1, :].copy()), dtype=np.float64)
    steep = np.linalg.norm(slopes, axis=-1)
    down = -(moves * slopes).sum(-1) / np.where(steep > 0, steep, 1.0)
    length = np.linalg.norm(moves, axis=-1).sum(-1)
    return down.sum(-1) / np.where(length > 0, length, 1.0)


def success_rate(points: npt.ArrayLike, minimizer: npt.ArrayLike = 0.0, radius: float = 0.25, order: float = 2) -> float:
    """Share of the points ``(R, d)`` within `radius` of `minimizer`, in the norm of this order.

    Parameters
    ----------
    points : array, shape (R, d)
    minimizer : array, shape (d,)
    radius : float
    order : float
        Of the norm; infinity is the largest coordinate.

    Examples
    --------
    >>> from lib.backprop_free.cbo import study
    >>> study.success_rate([[0.1, 0.0], [3.0, 0.0]])
    0.5
    """
    away = np.atleast_2d(checks.array("points", points)) - checks.array("minimizer", minimizer)
    radius, order = checks.positive("radius", radius), checks.number("order", order, above=0, inf=True)
    return float((np.linalg.norm(away, ord=order, axis=-1) < radius).mean())


def sampled_consensus(
    fun: Fun, x: npt.ArrayLike, alpha: float, width: float, n_particles: int, *, n_swarms: int = 1, seed: Any = None
) -> Array:
    """Consensus points ``(n_swarms, d)`` of independent swarms of `n_particles` drawn from N(x, width^2 I).

    Examples
    --------
    >>> from lib.backprop_free.cbo import study
    >>> study.sampled_consensus(lambda x: x[..., 0] ** 2, [1.0, 0.0], 5.0, 0.1, 100, n_swarms=3, seed=0).shape
    (3, 2)
    """
    center, alpha = checks.array("x", x, ndim=1), checks.positive("alpha", alpha)
    shape = (checks.integer("n_swarms", n_swarms, low=1), checks.integer("n_particles", n_particles, low=1), len(center))
    particles = center + checks.positive("width", width) * checks.generator("seed", seed).standard_normal(shape)
    return consensus_point(particles, evaluate(fun, particles), alpha)


def sampling_error(
    fun: Fun, x: npt.ArrayLike, alpha: float, width: float, sizes: Sequence[int], *, n_swarms: int = 400, seed: Any = 0
) -> Array:
    """RMS distance of the consensus of N particles from that of infinitely many, for each N in `sizes`; shape (len(sizes),).

    The theorem's term N^(-1/2).

    Examples
    --------
    >>> from lib.backprop_free.cbo import study
    >>> few, many = study.sampling_error(lambda x: x[..., 0] ** 2, [1.0], 5.0, 0.1, [100, 10_000])
    >>> bool(7 < few / many < 14)
    True
    """
    rng = checks.generator("seed", seed)
    sizes = [checks.integer("sizes", n, low=1) for n in checks.array("sizes", sizes, ndim=1)]
    checks.integer("n_swarms", n_swarms, low=1)
    exact = mean_field_consensus(fun, x, alpha, width)
    swarms = [sampled_consensus(fun, x, alpha, width, n, n_swarms=n_swarms, seed=rng) for n in sizes]
    return np.array([np.sqrt(((points - exact) ** 2).sum(-1).mean()) for points in swarms])


def temperature_error(fun: Fun, grad: Grad, x: npt.ArrayLike, step: float, alphas: Sequence[float]) -> Array:
    """Distance of the mean-field consensus from the proximal point at a fixed step, for each alpha; shape (len(alphas),).

    The theorem's term sqrt(tau / alpha). The width is ``sqrt(step / alpha)``.

    Examples
    --------
    >>> from lib.backprop_free.cbo import study
    >>> fun, grad = (lambda x: x[..., 0] ** 4), (lambda x: 4 * x**3)
    >>> warm, cold = study.temperature_error(fun, grad, [1.0], 0.02, [10.0, 1000.0])
    >>> bool(warm > 10 * cold)
    True
    """
    alphas = checks.array("alphas", alphas, ndim=1, above=0).tolist()
    target = proximal_point(fun, x, step, grad=grad)
    points = [mean_field_consensus(fun, x, alpha, np.sqrt(step / alpha)) for alpha in alphas]
    return np.array([np.linalg.norm(point - target) for point in points])


def implicit_error(fun: Fun, grad: Grad, x: npt.ArrayLike, steps: Sequence[float]) -> Array:
    """Distance of the proximal point from the explicit gradient step, for each step size; shape (len(steps),).

    The theorem's term O(tau), per step: it is of second order where the energy is smooth.

    Examples
    --------
    >>> from lib.backprop_free.cbo import study
    >>> big, small = study.implicit_error(lambda x: x[..., 0] ** 2, lambda x: 2 * x, [1.0], [0.02, 0.01])
    >>> bool(3.8 < big / small < 4.0)
    True
    """
    center, steps = checks.array("x", x, ndim=1), checks.array("steps", steps, ndim=1, above=0).tolist()
    slope = np.asarray(grad(center.copy()), dtype=np.float64)
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
    >>> from lib.backprop_free.cbo import study
    >>> near = study.hopping_gap(lambda x: x[..., 0] ** 2, [1.0, 0.0], 5.0, 0.1, 1.0, 0.6, n_particles=100)
    >>> far = study.hopping_gap(lambda x: x[..., 0] ** 2, [1.0, 0.0], 5.0, 0.1, 0.1, 0.6, n_particles=100)
    >>> near[0] < far[0]
    True
    """
    center, rng, width = checks.array("x", x, ndim=1), checks.generator("seed", seed), checks.positive("width", width)
    alpha, drift_dt = checks.positive("alpha", alpha), checks.number("drift_dt", drift_dt, low=0)
    noise_sqrt_dt = checks.number("noise_sqrt_dt", noise_sqrt_dt, low=0)
    shape = (checks.integer("n_swarms", n_swarms, low=1), checks.integer("n_particles", n_particles, low=2), len(center))
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
    >>> from lib.backprop_free.cbo import study
    >>> round(study.contraction_rate(1.0, 1.6, dim=2), 2)  # the paper's figure
    -3.12
    """
    checks.choice("noise_type", noise_type, ("isotropic", "anisotropic"))
    drift, noise, dim = checks.number("drift", drift), checks.number("noise", noise), checks.integer("dim", dim, low=1)
    return 2 * drift - (dim if noise_type == "isotropic" else 1) * noise**2  # (10)
