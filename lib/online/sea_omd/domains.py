"""Decision sets with their projections, Euclidean and in the norm of a positive definite matrix.

Every function works on the last axis, whatever stands before it: seeds, settings, experts.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lib import checks

Array = NDArray[np.float64]

#: Relative accuracy of the projections that iterate, and how often they may.
TOLERANCE, SWEEPS = 1e-14, 10_000
#: Sizes that settings may have: products and squares of theirs stay far from the ends of the floating-point numbers.
SMALLEST, GREATEST = 1e-40, 1e40


def sized(name: str, value: Any) -> float:
    """A positive setting of ordinary size, 1e-40 to 1e40."""
    return checks.number(name, value, low=SMALLEST, high=GREATEST)


class Domain(ABC):
    """A bounded closed convex set in ``R^dim``.

    Attributes
    ----------
    dim : int
        Dimension d.
    diameter : float
        Largest distance of two of its points, D.
    start : array, shape (d,)
        The point where learners begin.
    """

    dim: int
    diameter: float
    start: Array

    def project(self, y: ArrayLike) -> Array:
        """The nearest point of the set.

        Parameters
        ----------
        y : array_like, shape (..., d)

        Returns
        -------
        array, shape (..., d)
        """
        return self._project(self._points("y", y))

    def project_norm(self, y: ArrayLike, H: ArrayLike) -> Array:
        """The nearest point in the norm of H: the minimizer of ``(x - y)^T H (x - y)`` over the set.

        Parameters
        ----------
        y : array_like, shape (..., d)
        H : array_like, shape (..., d, d)
            Symmetric positive definite.

        Returns
        -------
        array, shape (..., d)

        Raises
        ------
        ValueError
            For shapes that do not fit, or an H that is not symmetric positive definite.
        """
        y, H = self._points("y", y), checks.array("H", H).astype(np.float64)
        if H.ndim < 2 or H.shape[-2:] != (self.dim, self.dim):
            raise ValueError(f"H must have shape (..., {self.dim}, {self.dim}), got {H.shape}")
        if not np.allclose(H, np.swapaxes(H, -1, -2), rtol=1e-10) or np.linalg.eigvalsh(H).min() <= 0.0:
            raise ValueError("H must be symmetric positive definite")
        return self._project_norm(y, H)

    def _points(self, name: str, y: ArrayLike) -> Array:
        given = checks.array(name, y).astype(np.float64)
        if given.ndim < 1 or given.shape[-1] != self.dim:
            raise ValueError(f"{name} must have shape (..., {self.dim}), got {given.shape}")
        return given

    @abstractmethod
    def _project(self, y: Array) -> Array:
        """`project` without checks."""

    def _project_norm(self, y: Array, H: Array) -> Array:
        raise TypeError(f"domain must have a projection in other norms; a {type(self).__name__} has none")


class Ball(Domain):
    """The Euclidean ball.

    Parameters
    ----------
    dim : int
        Dimension d.
    radius : float
        Positive, 1e-40 to 1e40.
    center : array_like, shape (d,), optional
        Default the origin; entries up to 1e40, may be negative.

    Examples
    --------
    >>> from lib.online.sea_omd import Ball
    >>> Ball(2, radius=1.0).project([3.0, 4.0])
    array([0.6, 0.8])
    """

    def __init__(self, dim: int, radius: float = 1.0, center: ArrayLike | None = None) -> None:
        self.dim = checks.integer("dim", dim, low=1)
        self.radius = sized("radius", radius)
        given = np.zeros(self.dim) if center is None else center
        middle = checks.array("center", given, shape=(self.dim,), low=-GREATEST, high=GREATEST)
        self.start = middle.astype(np.float64)
        self.diameter = 2.0 * self.radius

    def _project(self, y: Array) -> Array:
        z = y - self.start
        return self.start + z * (self.radius / np.maximum(_norm(z), self.radius))

    def _project_norm(self, y: Array, H: Array) -> Array:
        z = y - self.start
        outside = _norm(z)[..., 0] > self.radius
        if not outside.any():
            return y.copy()
        z, H = np.broadcast_arrays(z[..., None], H)[0][..., 0], np.broadcast_to(H, (*z.shape, self.dim))
        outside = np.broadcast_to(outside, z.shape[:-1])
        values, vectors = np.linalg.eigh(H[outside])
        values = values / np.exp2(np.floor(np.log2(values[:, -1:])))  # a factor on H changes nothing
        values = np.maximum(values, 1e-30)  # rounding may leave the least ones at zero or below
        # The minimizer is (H + m I)^-1 H z with the multiplier m at which it has norm r. 1 / norm is concave and increasing in
        # m, so that Newton's method from m = 0 climbs to the root without passing it.
        w = values * np.einsum("kij,ki->kj", vectors, z[outside])
        m = np.zeros((len(w), 1))
        for _ in range(100):
            norm = _norm(w / (values + m))
            excess = norm / self.radius - 1.0
            if (excess <= TOLERANCE).all():
                break
            m = m + excess / np.sum((w / (values + m) / norm) ** 2 / (values + m), axis=-1, keepdims=True)
        else:
            raise ValueError("the projection onto the ball has not converged: H is too badly conditioned")
        x = z.copy()
        x[outside] = np.einsum("kij,kj->ki", vectors, w / (values + m))
        return self._project(self.start + x)  # the last rounding error stays inside


class Box(Domain):
    """A box, ``low <= x <= high``.

    Parameters
    ----------
    low, high : array_like, shape (d,)
        Low below high, by 1e-40 at least; entries up to 1e40, may be negative.

    Examples
    --------
    >>> from lib.online.sea_omd import Box
    >>> Box([0.0, 0.0], [1.0, 2.0]).project([3.0, -4.0])
    array([1., 0.])
    """

    def __init__(self, low: ArrayLike, high: ArrayLike) -> None:
        most: dict[str, Any] = {"low": -GREATEST, "high": GREATEST}
        self.low = checks.array("low", low, ndim=1, **most).astype(np.float64)
        self.high = checks.array("high", high, shape=self.low.shape, **most).astype(np.float64)
        if not (self.high - self.low >= SMALLEST).all():
            raise ValueError(f"low must be below high in every coordinate, by {SMALLEST:g} at least")
        self.dim, self.start = len(self.low), (self.low + self.high) / 2.0
        self.diameter = float(np.linalg.norm(self.high - self.low))

    def _project(self, y: Array) -> Array:
        return np.clip(y, self.low, self.high)

    def _project_norm(self, y: Array, H: Array) -> Array:
        # Coordinate descent: each sweep minimizes exactly over one coordinate after the other.
        y = np.broadcast_to(y, np.broadcast_shapes(y.shape, H.shape[:-1]))
        x, scale = self._project(y), TOLERANCE * (1.0 + np.abs(y).max())
        for _ in range(SWEEPS):
            before = x.copy()
            for i in range(self.dim):
                pull = np.einsum("...j,...j->...", H[..., i, :], x - y) / H[..., i, i]
                x[..., i] = np.clip(x[..., i] - pull, self.low[i], self.high[i])
            if np.abs(x - before).max() <= scale:
                return x
        raise ValueError(f"the projection onto the box has not converged in {SWEEPS} sweeps: H is too badly conditioned")


class Simplex(Domain):
    """Probability vectors; no projection in other norms.

    Parameters
    ----------
    dim : int
        Number of entries, at least 2.

    Examples
    --------
    >>> from lib.online.sea_omd import Simplex
    >>> Simplex(3).project([1.0, 1.0, 0.0])
    array([0.5, 0.5, 0. ])
    """

    def __init__(self, dim: int) -> None:
        self.dim = checks.integer("dim", dim, low=2)
        self.start, self.diameter = np.full(self.dim, 1.0 / self.dim), float(np.sqrt(2.0))

    def _project(self, y: Array) -> Array:
        with np.errstate(over="ignore"):  # what lies 1 below the largest entry becomes 0 in any case
            y = np.maximum(y - y.max(axis=-1, keepdims=True), -1.0)
        sorted_ = -np.sort(-y, axis=-1)
        excess = np.cumsum(sorted_, axis=-1) - 1.0
        ranks = np.arange(1, self.dim + 1)
        kept = np.sum(sorted_ * ranks > excess, axis=-1, keepdims=True)
        threshold = np.take_along_axis(excess, kept - 1, axis=-1) / kept
        return np.maximum(y - threshold, 0.0)


def _norm(z: Array) -> Array:
    """Euclidean norms along the last axis, kept as an axis; no overflow."""
    largest = np.abs(z).max() if z.size else 0.0
    if largest < 1e150:
        return np.sqrt(np.sum(z * z, axis=-1, keepdims=True))
    return largest * np.sqrt(np.sum((z / largest) ** 2, axis=-1, keepdims=True))
