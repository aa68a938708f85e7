"""Streams of losses whose noise and drift are known exactly, on the unit ball.

The expected loss of round t is ``F_t(x) = (kappa/2) ||x||^2 + <b_t, x>``. The loss that is drawn adds a linear term
``<xi_t, x>`` and, where there is wobble, ``(s/2) sum_j e_tj x_j^2`` with random signs e: with s > kappa no loss is convex,
only their mean is.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lib import checks
from lib.online.sea_omd import Ball

Array = NDArray[np.float64]

#: The streams that `stream` makes.
KINDS = ("iid", "oscillating", "slowing", "alternating", "corrupted", "drifting", "jumping", "wobbling")


class Stream:
    """Losses of one kind, for several seeds side by side.

    Parameters
    ----------
    means : array_like, shape (T, d) or (T, S, d)
        b_t, the linear parts of the expected losses.
    noise : array_like, shape (T, S, d)
        xi_t, the linear parts of the noise; mean zero given the past.
    noise_power : array_like, shape (T,) or (T, S)
        ``sigma_t^2``, exact; at least 0.
    curvature : float
        kappa, at least 0.
    wobble : array_like, shape (T, S, d), optional
        s e_t, random curvatures with mean zero.

    Attributes
    ----------
    domain : Ball
        The unit ball.
    n_rounds, n_seeds, dim : int
    noise_power, drift : array, shape (T,)
        ``sigma_t^2`` and ``Sigma_t^2`` of (1), means over the seeds where they differ.
    G, L : float
        Bound of the gradients, and smoothness of the expected losses.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.online.sea_omd.study import Stream
    >>> losses = Stream(np.ones((3, 2)), np.zeros((3, 4, 2)), np.zeros(3))
    >>> losses.drift
    array([2., 0., 0.])
    """

    def __init__(self, means: ArrayLike, noise: ArrayLike, noise_power: ArrayLike, curvature: float = 0.0,
                 wobble: ArrayLike | None = None) -> None:  # fmt: skip
        self.noise = checks.array("noise", noise, ndim=3).astype(np.float64)
        self.n_rounds, self.n_seeds, self.dim = self.noise.shape
        b = checks.array("means", means, ndim=(2, 3)).astype(np.float64)
        b = b[:, None, :] if b.ndim == 2 else b
        if b.shape not in ((self.n_rounds, 1, self.dim), self.noise.shape):
            raise ValueError(f"means must fit the noise of shape {self.noise.shape}, got shape {b.shape}")
        self.means, self.curvature = b, checks.number("curvature", curvature, low=0)
        power = checks.array("noise_power", noise_power, ndim=(1, 2), low=0).astype(np.float64)
        if len(power) != self.n_rounds:
            raise ValueError(f"noise_power must have {self.n_rounds} rounds, got {len(power)}")
        self.wobble = None if wobble is None else checks.array("wobble", wobble, shape=self.noise.shape).astype(np.float64)
        self.domain = Ball(self.dim)
        self.noise_power = power if power.ndim == 1 else power.mean(axis=1)
        first = (np.linalg.norm(b[:1], axis=-1) + self.curvature) ** 2  # the gradient before the first round is zero, (1)
        self.drift: Array = np.concatenate([first, np.sum(np.diff(b, axis=0) ** 2, axis=-1)]).mean(axis=1)  # (1)
        longest = np.linalg.norm(b + self.noise, axis=-1).max()
        wobble_size = 0.0 if self.wobble is None else float(np.abs(self.wobble).max())
        self.G, self.L = float(longest + self.curvature + wobble_size), self.curvature

    def gradient(self, t: int, x: Array) -> Array:
        """Gradients of the drawn losses of round t at x, shape (..., S, d)."""
        g = self.curvature * x + (self.means[t] + self.noise[t])
        return g if self.wobble is None else g + self.wobble[t] * x

    def losses(self, x: Array) -> Array:
        """Expected losses F_t(x_t) of decisions of shape (T, ..., S, d), shape (T, ..., S)."""
        means = self.means[: len(x)].reshape(len(x), *(1,) * (x.ndim - 3), *self.means.shape[1:])
        return 0.5 * self.curvature * np.sum(x**2, axis=-1) + np.sum(means * x, axis=-1)

    def best_losses(self) -> Array:
        """The total expected loss of the best fixed decision of the first T' rounds, T' = 1, 2, ...; shape (T, 1 or S)."""
        length = np.linalg.norm(np.cumsum(self.means, axis=0), axis=-1)
        weight = self.curvature * np.arange(1, self.n_rounds + 1)[:, None]
        inside = length <= weight  # the minimizer -B / (kappa T') lies in the unit ball
        return np.where(inside, -0.5 * length**2 / np.maximum(weight, 1e-300), 0.5 * weight - length)

    def regret(self, x: Array) -> Array:
        """Regret of decisions of shape (T, ..., S, d) after every round, against the best fixed decision; (T, ..., S)."""
        best = self.best_losses()
        return np.cumsum(self.losses(x), axis=0) - best.reshape(len(best), *(1,) * (x.ndim - 3), best.shape[1])

    @property
    def targets(self) -> Array:
        """The best decisions of the rounds, ``-b_t / kappa``, shape (T, 1 or S, d); for curved streams only."""
        if not self.curvature:
            raise ValueError("curvature must be positive: linear losses have no target inside the ball")
        return self.domain.project(-self.means / self.curvature)

    @property
    def path(self) -> Array:
        """Lengths P of the paths of the targets, shape (1 or S,)."""
        return np.linalg.norm(np.diff(self.targets, axis=0), axis=-1).sum(axis=0)

    def dynamic_regret(self, x: Array) -> Array:
        """Regret of decisions of shape (T, ..., S, d) at the end, against the `targets`; shape (..., S)."""
        best = self.losses(np.broadcast_to(self.targets, self.noise.shape)).sum(axis=0)
        return self.losses(x).sum(axis=0) - best


class RandomOrder(Stream):
    """A finite pool of linear losses, each used once, in random order: nature's mean is that of what is left.

    Parameters
    ----------
    pool : array_like, shape (T, d)
        The linear losses; may be negative.
    n_seeds : int
        Number of orders.
    seed : int, Generator or SeedSequence
        Of the orders.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.online.sea_omd.study import RandomOrder
    >>> RandomOrder(np.eye(3), 2, seed=0).noise_power.round(3)
    array([0.667, 0.5  , 0.   ])
    """

    def __init__(self, pool: ArrayLike, n_seeds: int, seed: Any = 0) -> None:
        z = checks.array("pool", pool, ndim=2).astype(np.float64)
        rng, n = checks.generator("seed", seed), checks.integer("n_seeds", n_seeds, low=1)
        orders = np.array([rng.permutation(len(z)) for _ in range(n)]).T
        drawn = z[orders]  # (T, S, d)
        left = np.arange(len(z), 0, -1)[:, None]
        means = _backward(drawn) / left[..., None]
        power = _backward(np.sum(drawn**2, axis=-1)) / left - np.sum(means**2, axis=-1)
        super().__init__(means, drawn - means, np.maximum(power, 0.0))

    def losses(self, x: Array) -> Array:
        """The drawn losses: their sum does not depend on the order."""
        drawn = (self.means + self.noise)[: len(x)]
        return np.sum(drawn.reshape(len(x), *(1,) * (x.ndim - 3), *drawn.shape[1:]) * x, axis=-1)

    def best_losses(self) -> Array:
        return -np.linalg.norm(np.cumsum(self.means + self.noise, axis=0), axis=-1)


def stream(kind: str, n_rounds: int, n_seeds: int, *, dim: int = 5, sigma: float = 0.0, period: float = 20.0,
           fraction: float = 0.0, jumps: int = 1, curvature: float = 0.0, seed: Any = 0) -> Stream:  # fmt: skip
    """A stream of one of several kinds.

    Parameters
    ----------
    kind : {"iid", "oscillating", "slowing", "alternating", "corrupted", "drifting", "jumping", "wobbling"}
        The means b_t. iid: ``0.1 e_1``. oscillating: ``cos(2 pi t / period) e_2``. slowing: ``cos((4 pi / 3) sqrt(t)) e_2``,
        whose period grows like ``1.5 sqrt(t)``. alternating: ``+-e_1``. corrupted: ``0.3 e_1``, but ``-e_1`` in a fraction of
        rounds, evenly spread. drifting: curvature 1 and a target on a circle of radius 0.5, one turn in `period` rounds.
        jumping: curvature 1 and a target at distance 0.9 from the origin that jumps, other targets for every seed. wobbling:
        curvature 0.3, means ``0.1 e_1``, random curvatures of size 0.6.
    n_rounds, n_seeds, dim : int
        Shape; dim at least 2.
    sigma : float
        Length of the noise vectors, uniform on a sphere; at least 0.
    period : float
        Positive, in rounds.
    fraction : float
        Of corrupted rounds, 0 to 1.
    jumps : int
        Number of constant pieces.
    curvature : float
        kappa of the kinds that name none above, at least 0.
    seed : int, Generator or SeedSequence
        Of noise and targets.

    Examples
    --------
    >>> from lib.online.sea_omd.study import stream
    >>> float(stream("alternating", 10, 2).drift.sum())
    37.0
    """
    checks.choice("kind", kind, KINDS)
    T, S = checks.integer("n_rounds", n_rounds, low=1), checks.integer("n_seeds", n_seeds, low=1)
    dim, sigma = checks.integer("dim", dim, low=2), checks.number("sigma", sigma, low=0)
    period, fraction = checks.positive("period", period), checks.probability("fraction", fraction)
    jumps, rng = checks.integer("jumps", jumps, low=1), checks.generator("seed", seed)
    noise = sphere(rng, (T, S, dim)) * sigma
    t = np.arange(T)
    b, power, wobble = np.zeros((T, dim)), np.full(T, sigma**2), None
    curvature = checks.number("curvature", curvature, low=0)
    if kind in ("iid", "wobbling"):
        b[:, 0] = 0.1
    elif kind == "oscillating":
        b[:, 1] = np.cos(2 * np.pi * t / period)
    elif kind == "slowing":
        b[:, 1] = np.cos(4 * np.pi / 3 * np.sqrt(t))
    elif kind == "alternating":
        b[:, 0] = (-1.0) ** t
    elif kind == "corrupted":
        flipped = np.floor((t + 1) * fraction) > np.floor(t * fraction)
        b[:, 0] = np.where(flipped, -1.0, 0.3)
    elif kind == "drifting":
        curvature = 1.0
        b[:, :2] = -0.5 * np.stack([np.cos(2 * np.pi * t / period), np.sin(2 * np.pi * t / period)], axis=1)
    else:
        curvature, b = 1.0, -0.9 * sphere(rng, (jumps, S, dim))[t * jumps // T]
    if kind == "wobbling":
        curvature, wobble = 0.3, 0.6 * rng.choice([-1.0, 1.0], (T, S, dim))
        power = power + 0.6**2
    return Stream(b, noise, power, curvature, wobble)


def _backward(values: Array) -> Array:
    """Sums from each round to the last."""
    return np.cumsum(values[::-1], axis=0)[::-1]


def sphere(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Vectors uniform on the unit sphere, along the last axis."""
    z = rng.standard_normal(shape)
    return z / np.linalg.norm(z, axis=-1, keepdims=True)
