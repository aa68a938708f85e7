"""The updates as functions of arrays: finite differences along random directions, the corrected direction, Adam, gamma."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lib import checks
from lib.backprop_free.fzoos.gp import Array


def orthonormal_directions(d: int, q: int, rng: np.random.Generator) -> Array:
    """q random orthonormal rows of length d; for q > d as many full sets as are needed."""
    blocks, left = [], q
    while left > 0:
        take = min(left, d)
        basis, upper = np.linalg.qr(rng.normal(size=(d, take)))
        blocks.append((basis * np.where(np.diag(upper) < 0, -1.0, 1.0)).T)  # one sign, whatever the library
        left -= take
    return np.vstack(blocks)


def rgf(differences: Array, directions: Array, mu: float) -> Array:
    """The mean over directions u of ``(f(x + mu u) - f(x)) / mu`` times u; about 1/d of the gradient for unit vectors u."""
    return differences @ directions / (mu * len(directions))  # (9)


def rgf_gradient(f: Callable[[Array], Any], x: ArrayLike, *, q: int = 20, mu: float = 0.01, seed: Any = None) -> Array:
    """The gradient estimate of the baselines: forward differences along q random orthonormal directions, q + 1 queries.

    ``(1/q) sum_u (f(x + mu u) - f(x)) / mu * u``: the projection of the gradient on q directions, divided by q. Its mean is
    ``grad f(x) / d``, which an optimizer that does not care for scale, such as Adam, can use.

    Parameters
    ----------
    f : callable
        ``f(x) -> float``, x of shape (d,).
    x : array_like, shape (d,)
    q : int
        Directions (the authors' code: 20).
    mu : float
        Step of the differences, above 0 (the authors' code: 0.01).
    seed : int or Generator
        Of the directions.

    Returns
    -------
    array, shape (d,)

    Raises
    ------
    ValueError, TypeError
        For arguments that are not allowed, or a value of `f` that is not finite.

    Examples
    --------
    >>> from lib.backprop_free.fzoos import rgf_gradient
    >>> bool(abs(rgf_gradient(lambda x: 3 * x[0], [0.5], q=1, mu=0.01, seed=0)[0] - 3) < 1e-9)
    True
    """
    checks.function("f", f)
    at = np.asarray(checks.array("x", x, ndim=1), dtype=float)
    q, mu = checks.integer("q", q, low=1, high=1_000_000), checks.positive("mu", mu)
    directions = orthonormal_directions(len(at), q, checks.generator("seed", seed))
    values = np.array([checks.number("f(x)", f(point)) for point in np.vstack([at, at + mu * directions])])
    return rgf(values[1:] - values[0], directions, mu)


def corrected(g: Array, gamma: float, c: Array | None) -> Array:
    """The direction of a local step: the local gradient plus gamma times what the global one seems to be more."""
    return g if c is None else g + gamma * c  # (7)


def gamma_decay(t: int) -> float:
    """The authors' length of the correction at local iteration t = 1, 2, ...: 1/t."""
    return 1 / t  # (8)


def gamma_best(h: ArrayLike, e: ArrayLike) -> float:
    """The correction length that minimizes ``||(1 - gamma) h + gamma e||^2``, clipped to [0, 1].

    h is how far the local gradient is from the global one, e what is wrong with the surrogates' correction of it.
    Where h and e are orthogonal it is ``||h||^2 / (||h||^2 + ||e||^2)``.

    Parameters
    ----------
    h, e : array_like, shape (d,)

    Returns
    -------
    float
        1 where h = e: then gamma does not matter.

    Raises
    ------
    ValueError, TypeError
        For arrays that are not allowed or differ in length.

    Examples
    --------
    >>> from lib.backprop_free.fzoos import gamma_best
    >>> round(gamma_best([3.0, 0.0], [0.0, 1.0]), 9)
    0.9
    """
    own = np.asarray(checks.array("h", h, ndim=1), dtype=float)
    wrong = np.asarray(checks.array("e", e, shape=own.shape), dtype=float)
    scale = max(np.abs(own).max(), np.abs(wrong).max())
    if scale == 0:
        return 1.0
    own, c = own / scale, (own - wrong) / scale
    size = float(c @ c)
    return min(max(float(own @ c) / size, 0.0), 1.0) if size > 0 else 1.0  # (11)


class Adam:
    """Adam's moments; the authors' code starts them afresh in every round."""

    def __init__(self, d: int, lr: float, beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8) -> None:
        self.lr, self.beta1, self.beta2, self.eps = lr, beta1, beta2, eps
        self.m, self.v, self.t = np.zeros(d), np.zeros(d), 0

    def step(self, g: Array) -> Array:
        """What to subtract from the point."""
        self.t += 1
        self.m += (1 - self.beta1) * (g - self.m)
        self.v += (1 - self.beta2) * (g * g - self.v)
        m, v = self.m / (1 - self.beta1**self.t), self.v / (1 - self.beta2**self.t)
        return self.lr * m / (np.sqrt(v) + self.eps)
