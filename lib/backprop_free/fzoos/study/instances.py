"""The paper's synthetic functions of clients that differ as much as one likes, with exact gradients and optimum."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from lib import checks
from lib.backprop_free.fzoos.gp import Array


class Clients(NamedTuple):
    """Functions of N clients on [0, 1]^d, their exact gradients, and the least value of their average.

    Values are (d,) -> float or (n, d) -> (n,), gradients keep the shape.
    """

    fs: list[Any]
    grads: list[Any]
    minimum: float

    def value(self, x: ArrayLike) -> Any:
        """The average."""
        return np.mean([f(x) for f in self.fs], axis=0)

    def gradient(self, x: ArrayLike) -> Array:
        """The gradient of the average."""
        return np.asarray(np.mean([grad(x) for grad in self.grads], axis=0))


class Quadratic:
    """``(scale / d) (a z^2 + b z + 1)`` summed over coordinates, ``z = 20 clip(x, 0, 1) - 10``."""

    def __init__(self, a: Array, b: Array, scale: float = 0.1) -> None:
        self.a, self.b, self.scale = a, b, scale / len(a)

    def __call__(self, x: ArrayLike) -> Any:
        z = 20 * np.clip(x, 0, 1) - 10
        found = self.scale * ((z * z) @ self.a + z @ self.b + 1)
        return float(found) if np.ndim(found) == 0 else found

    def gradient(self, x: ArrayLike) -> Array:
        at = np.asarray(x, dtype=float)
        z = 20 * np.clip(at, 0, 1) - 10
        return np.where((at >= 0) & (at <= 1), 20 * self.scale * (2 * self.a * z + self.b), 0.0)


def synthetic_quadratic(d: int = 300, n_clients: int = 5, heterogeneity: float = 0.5, seed: Any = 0) -> Clients:
    """The paper's quadratics: coefficients ``1 + heterogeneity (p - 1/N)``, p from Dirichlet(1/N, ..., 1/N) over the clients.

    The average coefficients are 1, whatever the heterogeneity, so that ``F* = 0.1 / d - 0.025``, at ``z = -1/2``.

    Parameters
    ----------
    d, n_clients : int
        The paper: 300 and 5.
    heterogeneity : float
        0 for equal clients (the authors' example: 0.5).
    seed : int or Generator

    Returns
    -------
    Clients

    Examples
    --------
    >>> from lib.backprop_free.fzoos.study import synthetic_quadratic
    >>> clients = synthetic_quadratic(d=300, n_clients=5, heterogeneity=5.0, seed=0)
    >>> bool(abs(clients.value([0.475] * 300) - clients.minimum) < 1e-12)
    True
    """
    d, n = checks.integer("d", d, low=1), checks.integer("n_clients", n_clients, low=1)
    spread = checks.number("heterogeneity", heterogeneity, low=0)
    rng = checks.generator("seed", seed)
    a, b = (1 + spread * (rng.dirichlet(np.full(n, 1 / n), size=d).T - 1 / n) for _ in range(2))
    fs = [Quadratic(*pair) for pair in zip(a, b, strict=True)]
    return Clients(fs, [f.gradient for f in fs], 0.1 / d - 0.025)
