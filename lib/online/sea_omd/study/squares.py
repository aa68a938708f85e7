"""Online least squares on rows of a finite pool: exp-concave losses, noise known exactly."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq

from lib import checks
from lib.online.sea_omd import Ball

Array = NDArray[np.float64]


def largest_on_ball(Q: ArrayLike, q: ArrayLike, radius: float) -> float:
    """The maximum of the convex function ``x^T Q x - 2 q^T x`` over a ball around the origin.

    It lies on the sphere, at ``(m I - Q) x = -q`` with the multiplier m above the largest eigenvalue at which x has the length
    of the radius.

    Parameters
    ----------
    Q : array_like, shape (d, d)
        Symmetric positive semidefinite.
    q : array_like, shape (d,)
        May be negative.
    radius : float
        Positive.

    Examples
    --------
    >>> from lib.online.sea_omd.study import largest_on_ball
    >>> largest_on_ball([[1.0]], [2.0], 3.0).__round__(6)
    21.0
    """
    q = checks.array("q", q, ndim=1).astype(np.float64)
    Q, radius = checks.array("Q", Q, shape=(len(q), len(q))).astype(np.float64), checks.positive("radius", radius)
    values, vectors = np.linalg.eigh(Q)
    along = vectors.T @ q
    top = values >= values[-1] * (1.0 - 1e-12)
    gaps = np.where(top, np.inf, values[-1] - values)
    if np.linalg.norm(along[top]) <= 1e-12 * np.linalg.norm(q) and np.linalg.norm(along / gaps) <= radius:
        x = -along / gaps  # q says nothing about the steepest direction: what is left of the radius goes there
        return float(values @ x**2 - 2.0 * along @ x + values[-1] * (radius**2 - x @ x))

    def excess(m: float) -> float:
        return float(np.linalg.norm(along / (m - values)) - radius)

    low = values[-1] + np.linalg.norm(along[top]) / (2.0 * radius)
    high = values[-1] + 2.0 * np.linalg.norm(q) / radius
    x = -along / (brentq(excess, low, high, xtol=1e-14 * high, rtol=1e-14) - values)
    return float(values @ x**2 - 2.0 * along @ x)


class SquaresStream:
    """Losses ``(<a, x> - b)^2 / 2`` of rows drawn from a pool with replacement.

    Parameters
    ----------
    rows : array_like, shape (n, d)
        a; may be negative.
    targets : array_like, shape (n,)
        b; may be negative.
    n_rounds, n_seeds : int
    radius : float
        Of the ball; 0.5.
    seed : int, Generator or SeedSequence

    Attributes
    ----------
    domain : Ball
    noise_power, drift : array, shape (T,)
        ``sigma_t^2``, exact, and ``Sigma_t^2`` of (1); of its first round ``G^2``, which is at least as large.
    G, L, alpha : float
        Bound of the gradients, smoothness of the expected loss, exp-concavity of the losses.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.online.sea_omd.study import SquaresStream
    >>> losses = SquaresStream([[1.0], [0.5]], [0.1, 0.2], 4, 2)
    >>> losses.G.__round__(3), losses.alpha.__round__(3)
    (0.6, 2.778)
    """

    def __init__(self, rows: ArrayLike, targets: ArrayLike, n_rounds: int, n_seeds: int, *, radius: float = 0.5,
                 seed: Any = 0) -> None:  # fmt: skip
        self.rows = checks.array("rows", rows, ndim=2).astype(np.float64)
        self.targets = checks.array("targets", targets, shape=(len(self.rows),)).astype(np.float64)
        self.n_rounds, self.n_seeds = checks.integer("n_rounds", n_rounds, low=1), checks.integer("n_seeds", n_seeds, low=1)
        radius, rng = checks.positive("radius", radius), checks.generator("seed", seed)
        self.index = rng.integers(len(self.rows), size=(self.n_rounds, self.n_seeds))
        n, dim = self.rows.shape
        self.domain = Ball(dim, radius)
        lengths = np.linalg.norm(self.rows, axis=1)
        residual = lengths * radius + np.abs(self.targets)
        self.G, self.alpha = float((lengths * residual).max()), float(1.0 / (residual**2).max())
        self.A, self.v = self.rows.T @ self.rows / n, self.rows.T @ self.targets / n
        self.L = float(np.linalg.eigvalsh(self.A)[-1])
        weighted = self.rows * (lengths**2)[:, None]
        Q, q = weighted.T @ self.rows / n - self.A @ self.A, weighted.T @ self.targets / n - self.A @ self.v
        rest = np.mean((lengths * self.targets) ** 2) - self.v @ self.v
        self.noise_power: Array = np.full(self.n_rounds, largest_on_ball(Q, q, radius) + rest)  # (1)
        self.drift: Array = np.where(np.arange(self.n_rounds) == 0, self.G**2, 0.0)  # (1)

    def gradient(self, t: int, x: Array) -> Array:
        """Gradients of the drawn losses of round t at x, shape (..., S, d)."""
        a, b = self.rows[self.index[t]], self.targets[self.index[t]]
        return (np.sum(a * x, axis=-1) - b)[..., None] * a

    def regret(self, x: Array) -> Array:
        """Regret in expected losses after every round, against the best fixed decision: (T, ..., S, d) to (T, ..., S)."""
        losses = 0.5 * np.einsum("...i,ij,...j->...", x, self.A, x) - x @ self.v
        u = self.domain.project_norm(np.linalg.solve(self.A, self.v), self.A)
        return np.cumsum(losses - (0.5 * u @ self.A @ u - self.v @ u), axis=0)

    def drawn_regret(self, x: Array, u: Array) -> Array:
        """Regret in drawn losses at the end, against u; x (T, S, d), result (S,)."""
        a, b = self.rows[self.index], self.targets[self.index]
        own, fixed = np.sum(a * x, axis=-1) - b, a @ u - b
        return 0.5 * np.sum(own**2 - fixed**2, axis=0)
