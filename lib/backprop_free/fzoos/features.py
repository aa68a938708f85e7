"""Random Fourier features: a Gaussian process as a vector of weights, which clients can send and a server can average."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import linalg

from lib import checks
from lib.backprop_free.fzoos.gp import Array


@dataclass(frozen=True)
class Weights:
    """A surrogate function as its weights, shape (M,), and the fingerprint of the random features that they belong to."""

    values: Array
    draw: int


class RandomFourierSurrogate:
    """Functions ``phi(x)^T v`` of random features ``phi(x) = sqrt(2/M) cos(W^T x + b)``.

    W is drawn from N(0, 1/ell^2), b uniformly from [0, 2 pi]. ``phi(x)^T phi(x')`` approximates the Gaussian kernel of length
    scale ell, with an error of order ``M^(-1/2)``.

    Parameters
    ----------
    dim : int
        d.
    n_features : int
        M (the authors' code: 10000).
    length_scale : float
        ell (the authors' code: 1, whatever the length scale of the clients' own processes).
    ridge : float
        Added to the diagonal of the Gram matrix, above 0 (the authors' code: 0, the solution of smallest norm).
    seed : int or Generator
        Of W and b. **All clients need the same draw**: weights of another draw are refused.

    Attributes
    ----------
    W : array, shape (d, M)
    b : array, shape (M,)
    draw : int
        A fingerprint of both.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.backprop_free.fzoos import RandomFourierSurrogate
    >>> features = RandomFourierSurrogate(dim=1, n_features=2000, length_scale=1.0, ridge=1e-6, seed=0)
    >>> X = np.linspace(-1, 1, 9)[:, None]
    >>> v = features.fit(X, X[:, 0] ** 2)
    >>> bool(abs(features.gradient([0.5], v)[0] - 1) < 0.05)
    True
    """

    def __init__(
        self, dim: int, n_features: int = 10_000, length_scale: float = 1.0, ridge: float = 1e-6, seed: Any = 0
    ) -> None:
        self.dim = checks.integer("dim", dim, low=1)
        self.n_features = checks.integer("n_features", n_features, low=1, high=10_000_000)
        self.length_scale = checks.positive("length_scale", length_scale)
        self.ridge = checks.positive("ridge", ridge)
        rng = checks.generator("seed", seed)
        self.W: Array = rng.normal(size=(self.dim, self.n_features)) / self.length_scale
        self.b: Array = rng.uniform(0, 2 * math.pi, self.n_features)
        self.draw = zlib.crc32(self.b.tobytes(), zlib.crc32(self.W.tobytes()))

    def _points(self, name: str, x: ArrayLike) -> Array:
        given = np.asarray(checks.array(name, x, ndim=(1, 2)), dtype=float)
        if given.shape[-1] != self.dim:
            raise ValueError(f"{name} must have {self.dim} columns, got shape {given.shape}")
        return given

    def features(self, x: ArrayLike) -> Array:
        """phi: shape (M,) at one point, (m, M) at points (m, d)."""
        phi = self._points("x", x) @ self.W
        phi += self.b  # in place, here and below: for many points, time goes into new arrays
        np.cos(phi, out=phi)
        phi *= math.sqrt(2 / self.n_features)  # (3)
        return phi

    def fit(self, X: ArrayLike, y: ArrayLike) -> Weights:
        """The weights of the surrogate of values `y`, (n,), at points `X`, (n, d): a ridge regression of ``y - min y``.

        The constant ``min y`` is left out: it has no gradient. Scaling the values to [0, 1] first and the weights back
        afterward, as the authors' code does, gives the same weights, as they are linear in the values.
        """
        X = self._points("X", X)
        y = np.asarray(checks.array("y", y, ndim=1), dtype=float)
        X = np.atleast_2d(X)
        if len(y) != len(X):
            raise ValueError(f"y must have one value for each of {len(X)} points, got {len(y)}")
        return Weights(ridge_weights(self.features(X), y - y.min(), self.ridge), self.draw)

    def _values(self, weights: Weights | ArrayLike) -> Array:
        if isinstance(weights, Weights):
            if weights.draw != self.draw:
                raise ValueError("weights belong to other random features: every client needs the same seed")
            return weights.values
        return np.asarray(checks.array("weights", weights, shape=(self.n_features,)), dtype=float)

    def value(self, x: ArrayLike, weights: Weights | ArrayLike) -> Any:
        """``phi(x)^T v``: a float at one point, shape (m,) at points (m, d)."""
        found = self.features(x) @ self._values(weights)
        return float(found) if found.ndim == 0 else found

    def gradient(self, x: ArrayLike, weights: Weights | ArrayLike) -> Array:
        """``grad phi(x)^T v``: shape (d,) at one point, (m, d) at points (m, d)."""
        x, v = self._points("x", x), self._values(weights)
        return -math.sqrt(2 / self.n_features) * ((np.sin(x @ self.W + self.b) * v) @ self.W.T)  # (5)

    def aggregate(self, weights: Sequence[Weights | ArrayLike], shares: ArrayLike | None = None) -> Weights:
        """The weights of the average surrogate: the average of the clients' weights.

        Parameters
        ----------
        weights : sequence
            One for each client, of this object's draw.
        shares : array_like, shape (N,), optional
            Of each client, none negative, with sum 1; default 1/N.
        """
        stacked = [self._values(v) for v in weights]
        if not stacked:
            raise ValueError("weights must not be empty")
        return Weights(np.asarray(check_shares("shares", shares, len(stacked)) @ np.array(stacked)), self.draw)  # (6)


def ridge_weights(features: Array, y: Array, ridge: float) -> Array:
    """``Phi^T (Phi Phi^T + ridge I)^-1 y`` for features Phi, shape (n, M), or the same with an M x M matrix if M < n."""
    n, m = features.shape
    if m < n:  # the push-through identity: the smaller of the two matrices
        gram = features.T @ features + ridge * np.eye(m)  # (4)
        return linalg.cho_solve(linalg.cho_factor(gram, check_finite=False), features.T @ y, check_finite=False)  # (4)
    gram = features @ features.T + ridge * np.eye(n)  # (4)
    return features.T @ linalg.cho_solve(linalg.cho_factor(gram, check_finite=False), y, check_finite=False)  # (4)


def check_shares(name: str, shares: ArrayLike | None, n: int) -> Array:
    """Shares of n clients that sum to 1; default equal ones."""
    if shares is None:
        return np.full(n, 1 / n)
    given = np.asarray(checks.array(name, shares, shape=(n,), low=0), dtype=float)
    if abs(given.sum() - 1) > 1e-6:
        raise ValueError(f"{name} must have sum 1, got {given.sum():.6g}")
    return given / given.sum()
