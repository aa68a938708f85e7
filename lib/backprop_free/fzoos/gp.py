"""A Gaussian process as a source of gradients: the derivative of its posterior mean, and how uncertain that derivative is."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import linalg

from lib import checks

Array = NDArray[np.float64]
KERNELS = ("rbf", "matern52")
#: Multiples of the median distance among which maximum likelihood chooses the length scale.
MULTIPLES = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)


def kernel(r2: Array, length_scale: float, name: str = "rbf") -> Array:
    """k at squared distances `r2`, with k = 1 at distance 0."""
    if name == "rbf":
        return np.exp(-0.5 * r2 / length_scale**2)
    z = np.sqrt(5 * r2) / length_scale
    return (1 + z + z**2 / 3) * np.exp(-z)


def slope(r2: Array, length_scale: float, name: str = "rbf") -> Array:
    """w at squared distances `r2`, in ``grad_x k(x, X) = -w (x - X)``; at 0 it is the prior variance of a derivative."""
    if name == "rbf":
        return np.exp(-0.5 * r2 / length_scale**2) / length_scale**2
    z = np.sqrt(5 * r2) / length_scale
    return 5 / (3 * length_scale**2) * (1 + z) * np.exp(-z)


def trace_explained(norms: Array, cross: Array, gram: Array, w: Array, inverse: Array) -> Array:
    """Trace of ``dk(x, X) (K + noise I)^-1 dk(X, x)`` at each x, shape (m,), without forming a matrix of d rows.

    ``dk`` has columns ``-w_i (x - X_i)``, and the inner products of these need inner products of points only: `norms` of x,
    shape (m,), `cross` of x and X, (m, n), `gram` of X, (n, n). O(m n^2).
    """
    plain, moved = w @ inverse, w * cross
    inside = np.einsum("mi,mi->m", w @ (inverse * gram), w)
    linear, outer = np.einsum("mi,mi->m", plain, moved), np.einsum("mi,mi->m", plain, w)
    return inside - 2 * linear + norms * outer  # (2)


class GPGradient:
    """Gradients from a Gaussian process that is fitted to function values.

    The gradient is ``dk(x, X) (K + noise I)^-1 y``, the derivative of the posterior mean. The process has mean zero and
    variance one, and values are scaled to [0, 1] for it. Computed in float64.

    Parameters
    ----------
    kernel : {"rbf", "matern52"}
        The authors' code: Matérn with smoothness 5/2.
    length_scale : float or "ml"
        "ml": of 0.5, 1, 2, ..., 32 times the median distance of the data the one of the largest likelihood.
    noise : float
        Variance of the noise on the scaled values, above 0 (the authors' code: 1e-6). Where the matrix is not positive
        definite to rounding, it is raised tenfold until it is; see ``noise_``.
    max_points : int
        Most data (the authors' code: 150): those nearest to the center that `fit` is told.

    Attributes
    ----------
    length_scale_, noise_ : float
        What is used.
    n_points_ : int
        Data in use.

    Raises
    ------
    ValueError, TypeError
        For settings or data that are not allowed; RuntimeError if it is asked before it is fitted.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.backprop_free.fzoos import GPGradient
    >>> X = np.array([[-0.2], [-0.1], [0.0], [0.1], [0.2]])
    >>> gp = GPGradient(kernel="rbf", length_scale=1.0, noise=1e-9, max_points=150).fit(X, (X[:, 0] - 1) ** 2)
    >>> bool(abs(gp.gradient([0.0])[0] + 2) < 1e-3)
    True
    """

    def __init__(
        self, kernel: str = "matern52", length_scale: float | str = "ml", noise: float = 1e-6, max_points: int = 150
    ) -> None:
        self.kernel = checks.choice("kernel", kernel, KERNELS)
        if isinstance(length_scale, str):
            checks.choice("length_scale", length_scale, ("ml",))
            self.length_scale: float | str = "ml"
        else:
            self.length_scale = checks.positive("length_scale", length_scale)
        self.noise = checks.positive("noise", noise)
        self.max_points = checks.integer("max_points", max_points, low=1)
        self.n_points_ = 0

    def fit(self, X: ArrayLike, y: ArrayLike, center: ArrayLike | None = None) -> GPGradient:
        """Fit to values `y`, shape (n,), at points `X`, shape (n, d).

        Parameters
        ----------
        X, y : array_like
            Points may repeat: the noise separates them.
        center : array_like, shape (d,), optional
            The `max_points` points nearest to it are used; default the last row of X.
        """
        X = np.asarray(checks.array("X", X, ndim=2), dtype=float)
        y = np.asarray(checks.array("y", y, shape=(len(X),)), dtype=float)
        at = X[-1] if center is None else np.asarray(checks.array("center", center, shape=(X.shape[1],)), dtype=float)
        return self._fit(X, y, at)

    def _fit(self, X: Array, y: Array, center: Array) -> GPGradient:
        if len(X) > self.max_points:
            keep = nearest(((X - center) ** 2).sum(-1), self.max_points)
            X, y = X[keep], y[keep]
        self.center_, self.offsets_ = center.copy(), X - center
        self.n_points_ = len(X)
        self.shift_, span = float(y.min()), float(np.ptp(y))
        self.range_ = span if span > 0 else 1.0
        scaled = (y - self.shift_) / self.range_
        self.gram_ = self.offsets_ @ self.offsets_.T
        norms = np.diag(self.gram_)
        r2 = np.maximum(norms[:, None] + norms[None, :] - 2 * self.gram_, 0.0)
        np.fill_diagonal(r2, 0.0)
        if isinstance(self.length_scale, str):
            self.length_scale_, factor, self.noise_ = self._most_likely(r2, scaled)
        else:
            self.length_scale_ = self.length_scale
            factor, self.noise_ = factorize(kernel(r2, self.length_scale_, self.kernel), self.noise)
        self.factor_ = factor
        self.alpha_: Array = linalg.cho_solve((factor, True), scaled, check_finite=False)
        self.inverse_: Array | None = None
        return self

    def _most_likely(self, r2: Array, y: Array) -> tuple[float, Array, float]:
        """The length scale of the largest likelihood, and the factor that belongs to it."""
        apart = r2[np.triu_indices(len(r2), 1)]
        apart = apart[apart > 0]
        unit = float(np.median(np.sqrt(apart))) if len(apart) else 1.0
        found = []
        for multiple in MULTIPLES:
            factor, noise = factorize(kernel(r2, multiple * unit, self.kernel), self.noise)
            found.append((round(log_likelihood(factor, y), 6), -multiple, multiple * unit, factor, noise))
        best = max(found, key=lambda entry: entry[:2])
        return best[2:]

    def _at(self, x: ArrayLike, name: str = "x") -> tuple[Array, Array, Array, bool]:
        """Points seen from the center, their squares, their inner products with the data; whether one point was given."""
        if not self.n_points_:
            raise RuntimeError("this GPGradient is not fitted yet: call fit first")
        d = self.offsets_.shape[1]
        given = np.asarray(checks.array(name, x, ndim=(1, 2)), dtype=float)
        if given.shape[-1] != d:
            raise ValueError(f"{name} must have {d} columns, as the data, got shape {given.shape}")
        z = np.atleast_2d(given) - self.center_
        return z, np.einsum("md,md->m", z, z), z @ self.offsets_.T, given.ndim == 1

    def _squared(self, norms: Array, cross: Array) -> Array:
        """Squared distances of points to the data."""
        return np.maximum(norms[:, None] + np.diag(self.gram_) - 2 * cross, 0.0)

    def predict(self, x: ArrayLike) -> Any:
        """The posterior mean, in the units of y: a float at one point (d,), shape (m,) at points (m, d)."""
        _, norms, cross, single = self._at(x)
        r2 = self._squared(norms, cross)
        mean = self.shift_ + self.range_ * (kernel(r2, self.length_scale_, self.kernel) @ self.alpha_)
        return float(mean[0]) if single else mean

    def gradient(self, x: ArrayLike) -> Array:
        """The gradient of the posterior mean: shape (d,) at one point, (m, d) at points (m, d)."""
        z, norms, cross, single = self._at(x)
        w = slope(self._squared(norms, cross), self.length_scale_, self.kernel)
        g = self.range_ * ((w * self.alpha_) @ self.offsets_ - (w @ self.alpha_)[:, None] * z)  # (1)
        return g[0] if single else g

    def gradient_variance(self, x: ArrayLike) -> Any:
        """The trace of the gradient's posterior covariance: a float at one point, shape (m,) at points (m, d)."""
        z, norms, cross, single = self._at(x)
        if self.inverse_ is None:
            lower, _ = linalg.lapack.dpotri(self.factor_, lower=1)
            self.inverse_ = np.tril(lower) + np.tril(lower, -1).T
        w = slope(self._squared(norms, cross), self.length_scale_, self.kernel)
        prior = z.shape[1] * float(slope(np.zeros(1), self.length_scale_, self.kernel)[0])
        explained = trace_explained(norms, cross, self.gram_, w, self.inverse_)
        variance = self.range_**2 * np.clip(prior - explained, 0.0, prior)  # (2)
        return float(variance[0]) if single else variance

    def gradient_covariance(self, x: ArrayLike) -> Array:
        """The gradient's posterior covariance at one point (d,): shape (d, d)."""
        z, norms, cross, single = self._at(x)
        if not single:
            raise ValueError(f"x must be one point, shape (d,), got {z.shape}")
        w = slope(self._squared(norms, cross), self.length_scale_, self.kernel)
        half = linalg.solve_triangular(self.factor_, w[0][:, None] * (z - self.offsets_), lower=True, check_finite=False)
        prior = float(slope(np.zeros(1), self.length_scale_, self.kernel)[0])
        return self.range_**2 * (prior * np.eye(z.shape[1]) - half.T @ half)


def nearest(squared: Array, k: int) -> NDArray[np.intp]:
    """Indices of the k smallest squared distances, in their own order; ties, up to rounding, go to the earlier."""
    if len(squared) <= k:
        return np.arange(len(squared))
    rounded = np.round(squared, 11)
    last = np.partition(rounded, k - 1)[k - 1]
    keep = rounded < last
    keep[np.flatnonzero(rounded == last)[: k - np.count_nonzero(keep)]] = True
    return np.flatnonzero(keep)


def factorize(K: Array, noise: float) -> tuple[Array, float]:
    """The lower Cholesky factor of ``K + noise I`` and the noise; tenfold noise until the matrix is positive definite."""
    for _ in range(12):
        try:
            return np.asarray(np.linalg.cholesky(K + noise * np.eye(len(K))), dtype=np.float64), noise
        except np.linalg.LinAlgError:
            noise *= 10
    raise ValueError("the kernel matrix is not positive definite: X or y hold numbers that cannot be told apart")


def log_likelihood(factor: Array, y: Array) -> float:
    """Logarithm of the density of `y` under the process, without its constant."""
    half = linalg.solve_triangular(factor, y, lower=True, check_finite=False)
    return float(-0.5 * half @ half - np.log(np.diag(factor)).sum())
