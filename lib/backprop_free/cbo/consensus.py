"""The consensus point, of particles and in the mean field, and the smoothed energy whose gradient it follows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import maximum_filter, minimum_filter

from lib import checks

Array = npt.NDArray[np.float64]
Fun = Callable[[Array], npt.ArrayLike]

#: Parts of an integral below exp(-40) = 4e-18 of its peak are left out.
_NEGLIGIBLE = 40.0
#: Nodes per dimension of a quadrature grid, and of the coarse grid that finds where to put it.
_NODES = {1: 4001, 2: 401}
_COARSE = 101


def evaluate(fun: Fun, x: Array) -> Array:
    """Energies of points ``(..., d)``, shape ``(...)``: `fun` gets a copy, so that it cannot move the points.

    Raises
    ------
    ValueError
        If `fun` returns another shape (plus infinity marks points that are not allowed; NaN is refused where it is used).
    """
    energies = np.asarray(fun(x.copy()), dtype=np.float64)
    if energies.shape != x.shape[:-1]:
        raise ValueError(
            f"fun must take points of shape (..., d) and return shape (...): for {x.shape} it must return "
            f"{x.shape[:-1]}, it returned {energies.shape}; for a function of one point give vectorized=False"
        )
    return energies


def consensus_point(x: npt.ArrayLike, energies: npt.ArrayLike, alpha: float) -> Array:
    r"""Weighted mean of each swarm, weights exp(-alpha E): equation (1) of the chapter.

    .. math:: x_\alpha = \sum_i x^i e^{-\alpha E(x^i)} / \sum_i e^{-\alpha E(x^i)}

    The least energy of each swarm is subtracted first, so that no sum of weights underflows.

    Parameters
    ----------
    x : array, shape (..., N, d)
        Particles; leading axes are independent swarms.
    energies : array, shape (..., N)
        Energies of the particles; plus infinity is allowed, its weight is zero.
    alpha : float
        Inverse temperature, positive; the paper's figures use 100. With infinity, which is allowed, the best particle counts
        (or the mean of several).

    Returns
    -------
    array, shape (..., d)
        float32 where `x` is float32 or half precision, else float64.

    Raises
    ------
    ValueError
        For alpha that is not positive, fewer than one particle, shapes that do not belong together, or energies that are
        NaN, minus infinity, or plus infinity for a whole swarm.

    Examples
    --------
    >>> from lib.backprop_free import cbo
    >>> cbo.consensus_point([[0.0], [1.0]], [0.0, 0.0], alpha=100).tolist()
    [0.5]
    """
    points = checks.array("x", x)
    values = checks.array("energies", energies, inf=True).astype(np.float64)  # never cut to the type of the particles
    if points.ndim < 2 or values.shape != points.shape[:-1]:
        raise ValueError(f"x must have shape (..., N, d) and energies (..., N), got shapes {points.shape} and {values.shape}")
    return weighted_mean(points, values, check_alpha(alpha))


def weighted_mean(points: Array, energies: Array, alpha: float) -> Array:
    """`consensus_point` of inputs that are known to be good."""
    weights = _weights(energies, alpha)
    weights /= weights.sum(-1, keepdims=True)
    return np.einsum("...n,...nd->...d", weights.astype(points.dtype, copy=False), points)  # (1)


def check_alpha(alpha: float) -> float:
    """`alpha` as a float; ValueError unless it is positive (infinity is allowed)."""
    return checks.number("alpha", alpha, above=0, inf=True)


def _weights(energies: Array, alpha: float) -> Array:
    """exp(-alpha (E - min E)) over the last axis; never all zero."""
    least = energies.min(-1, keepdims=True)
    if not np.isfinite(least).all():
        raise ValueError("energies must have a finite least value in each swarm: all are infinite, or one is NaN or -infinity")
    if np.isinf(alpha):
        return (energies == least).astype(energies.dtype)
    with np.errstate(over="ignore"):  # a product beyond the largest number is weight zero all the same
        return np.exp(-alpha * (energies - least))


# ------------------------------------------------------------------------------------------------------ the mean field


def mean_field_consensus(
    fun: Fun,
    x: npt.ArrayLike,
    alpha: float,
    width: float,
    *,
    n_nodes: int | None = None,
    n_samples: int = 100_000,
    seed: Any = 0,
) -> Array:
    """Consensus of the Gaussian N(x, width^2 I): the step of consensus hopping with infinitely many particles.

    In one and two dimensions the integrals are sums over an even grid round the mass of the Gibbs measure, which converge
    faster than any power of the spacing for smooth functions; beyond, they are Monte Carlo estimates with the same normals
    for every point.

    Parameters
    ----------
    fun : callable
        Energies ``(...)`` of points ``(..., d)``.
    x : array, shape (..., d)
        Centers.
    alpha : float
        Inverse temperature, positive and finite.
    width : float
        Standard deviation of the sampling Gaussian (the paper's sigma tilde), positive.
    n_nodes : int, optional
        Grid points per dimension; default 4001 (d = 1), 401 (d = 2).
    n_samples : int
        Normals of the Monte Carlo estimate (d > 2).
    seed : int, SeedSequence or Generator
        Of those normals.

    Returns
    -------
    array, shape (..., d)

    Raises
    ------
    ValueError
        For alpha or width that is not positive and finite, or a `fun` that is not vectorized.

    Examples
    --------
    >>> from lib.backprop_free import cbo
    >>> step = cbo.mean_field_consensus(lambda x: 0.5 * (x**2).sum(-1), [1.0], alpha=10.0, width=0.1)  # tau = 0.1
    >>> round(float(step[0]), 12) == round(1 / 1.1, 12)
    True
    """
    return _gibbs_mean(fun, lambda y: y, x, alpha, width, n_nodes, n_samples, seed)


def smoothed_energy(
    fun: Fun,
    x: npt.ArrayLike,
    alpha: float,
    width: float,
    *,
    n_nodes: int | None = None,
    n_samples: int = 100_000,
    seed: Any = 0,
) -> Array:
    r"""Soft minimum of the energy round a point: equation (5) of the chapter.

    .. math:: F(x) = -\tfrac{1}{\alpha} \log \mathbb{E}_{Z \sim N(0, I)}\, e^{-\alpha E(x + s Z)}

    Mean-field consensus hopping is gradient descent on F with step ``alpha * width**2``, exactly.

    Parameters
    ----------
    fun, x, alpha, width, n_nodes, n_samples, seed
        As in `mean_field_consensus`.

    Returns
    -------
    array, shape (...)
        One value per point of `x`.

    Examples
    --------
    >>> from lib.backprop_free import cbo
    >>> bool(cbo.smoothed_energy(lambda x: x[..., 0] ** 2, [0.0], alpha=2.0, width=0.3) > 0)
    True
    """
    values = [_log_sum_exp(logs) for _, logs in _gibbs_samples(fun, x, alpha, width, n_nodes, n_samples, seed)]
    return -np.array(values).reshape(np.shape(x)[:-1]) / float(alpha)


def smoothed_gradient(
    fun: Fun,
    grad: Callable[[Array], npt.ArrayLike],
    x: npt.ArrayLike,
    alpha: float,
    width: float,
    *,
    n_nodes: int | None = None,
    n_samples: int = 100_000,
    seed: Any = 0,
) -> Array:
    """Gradient of `smoothed_energy`: the mean of the energy's own gradient under the Gibbs measure round `x`, shape of `x`.

    It is computed from `grad`, not from the consensus point, so that it checks the identity between the two.

    Parameters
    ----------
    grad : callable
        Gradients ``(..., d)`` of points ``(..., d)``.
    fun, x, alpha, width, n_nodes, n_samples, seed
        As in `mean_field_consensus`.

    Examples
    --------
    >>> from lib.backprop_free import cbo
    >>> g = cbo.smoothed_gradient(lambda x: x[..., 0] ** 2, lambda x: 2 * x, [1.0], alpha=5.0, width=0.1)
    >>> bool(abs(g[0] - 2 / 1.1) < 1e-9)
    True
    """
    return _gibbs_mean(fun, grad, x, alpha, width, n_nodes, n_samples, seed)


def _gibbs_mean(
    fun: Fun, of: Callable[[Array], npt.ArrayLike], x: npt.ArrayLike, alpha: float, width: float, *how: Any
) -> Array:
    """Mean of ``of(y)``, shape (..., d), under the density proportional to exp(-alpha E(y)) N(y; x, width^2 I)."""
    means = []
    for points, logs in _gibbs_samples(fun, x, alpha, width, *how):
        weights = np.exp(logs - logs.max())
        means.append(weights @ np.asarray(of(points), dtype=np.float64) / weights.sum())
    return np.array(means).reshape(np.shape(x))


def _gibbs_samples(
    fun: Fun, x: npt.ArrayLike, alpha: float, width: float, n_nodes: int | None, n_samples: int, seed: Any
) -> Iterator[tuple[Array, Array]]:
    """For each center: points (m, d), and the logarithms (m,) of exp(-alpha E) times their masses under the Gaussian."""
    centers = finite_points("x", x)
    alpha, width = checks.positive("alpha", alpha), checks.positive("width", width)
    samples = checks.integer("n_samples", n_samples, low=1)
    rng = checks.generator("seed", seed)
    d = centers.shape[-1]
    if d in _NODES:
        n = checks.integer("n_nodes", _NODES[d] if n_nodes is None else n_nodes, low=3)
        yield from (_grid_samples(fun, center, alpha, width, n) for center in centers.reshape(-1, d))
        return
    normals = rng.standard_normal((samples, d))
    for center in centers.reshape(-1, d):
        points = center + width * normals
        yield points, -alpha * evaluate(fun, points) - np.log(len(normals))


def _grid_samples(fun: Fun, center: Array, alpha: float, width: float, n: int) -> tuple[Array, Array]:
    """An even grid over the box that holds the Gibbs measure; its coarse version finds that box."""

    def on_grid(low: Array, high: Array, n: int) -> tuple[Array, Array, float]:
        axes = [np.linspace(a, b, n) for a, b in zip(low, high, strict=True)]
        points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
        return points, -alpha * evaluate(fun, points) - ((points - center) ** 2).sum(-1) / (2 * width**2), math.prod(high - low)

    here, reach = float(evaluate(fun, center)), width * np.sqrt(2 * _NEGLIGIBLE)
    for _ in range(20):  # a point of energy e counts only within width * sqrt(2 (negligible + alpha (here - e)))
        points, logs, _ = on_grid(center - reach, center + reach, _COARSE)
        least = (-logs - ((points - center) ** 2).sum(-1) / (2 * width**2)).min() / alpha
        wider = width * np.sqrt(2 * (_NEGLIGIBLE + alpha * max(here - least, 0.0)))
        if wider <= 1.001 * reach:
            break
        reach = wider
    low, high = center - reach, center + reach
    for _ in range(20):  # zoom in on the nodes that may hold mass, judged by the spread of their neighborhood
        points, logs, _ = on_grid(low, high, _COARSE)
        top, bottom = maximum_filter(logs, 3), minimum_filter(logs, 3)
        kept, cell = points[2 * top - bottom >= logs.max() - _NEGLIGIBLE], (high - low) / (_COARSE - 1)
        tight = kept.min(0) - cell, kept.max(0) + cell
        if math.prod(tight[1] - tight[0]) > 0.8 * math.prod(high - low):
            break
        low, high = tight
    points, logs, volume = on_grid(low, high, n)
    log_mass = np.log(volume / (n - 1) ** len(center)) - len(center) * np.log(np.sqrt(2 * np.pi) * width)
    return points.reshape(-1, len(center)), logs.ravel() + log_mass


def _log_sum_exp(logs: Array) -> float:
    top = logs.max()
    return float(top + np.log(np.exp(logs - top).sum()))


def finite_points(name: str, value: npt.ArrayLike) -> Array:
    """The value as an array of finite points in double precision, the dimension as its last axis."""
    points = checks.array(name, value).astype(np.float64)
    if points.ndim < 1:
        raise ValueError(f"{name} must be an array with the dimension as its last axis, got {checks.shown(value)}")
    return points
