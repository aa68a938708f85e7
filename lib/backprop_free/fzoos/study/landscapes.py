"""Functions with many local minima, shared among clients: Ackley's and Levy's, which the authors' code has, too."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lib import checks
from lib.backprop_free.fzoos.gp import Array
from lib.backprop_free.fzoos.study.instances import Clients

LANDSCAPES = ("ackley", "levy")


def ackley(z: Array) -> tuple[Array, Array]:
    """Ackley's function of points in rows, (n, d), and its gradients; 0 at z = 0, where the gradient is taken to be 0."""
    d = z.shape[1]
    size = np.sqrt((z * z).mean(axis=1))
    hill, wave = np.exp(-0.2 * size), np.exp(np.cos(2 * np.pi * z).mean(axis=1))
    value = -20 * hill - wave + 20 + np.e
    radial = np.divide(z, (d * size)[:, None], out=np.zeros_like(z), where=size[:, None] > 0)
    return value, 4 * hill[:, None] * radial + 2 * np.pi / d * wave[:, None] * np.sin(2 * np.pi * z)


def levy(z: Array) -> tuple[Array, Array]:
    """Levy's function of points in rows, (n, d), over d, and its gradients; 0 where all entries are 1."""
    d = z.shape[1]
    w = 1 + (z - 1) / 4
    first, last, body = w[:, 0], w[:, -1], w[:, :-1]
    bump = 1 + 10 * np.sin(np.pi * body + 1) ** 2
    end = 1 + np.sin(2 * np.pi * last) ** 2
    value = np.sin(np.pi * first) ** 2 + ((body - 1) ** 2 * bump).sum(axis=1) + (last - 1) ** 2 * end
    slope = np.zeros_like(z)
    slope[:, :-1] = 2 * (body - 1) * bump + 10 * np.pi * (body - 1) ** 2 * np.sin(2 * np.pi * body + 2)
    slope[:, -1] = 2 * (last - 1) * end + 2 * np.pi * (last - 1) ** 2 * np.sin(4 * np.pi * last)
    slope[:, 0] += np.pi * np.sin(2 * np.pi * first)
    return value / d, slope / (4 * d)


class Tilted:
    """One of the two at ``z = 20 clip(x, 0, 1) - 10``, plus a linear term ``tilt @ z / d``; (d,) -> float or (n, d) -> (n,)."""

    def __init__(self, name: str, tilt: Array) -> None:
        self.rule, self.tilt = {"ackley": ackley, "levy": levy}[name], tilt

    def __call__(self, x: ArrayLike) -> Any:
        z = 20 * np.clip(np.asarray(x, dtype=float), 0, 1) - 10
        found = self.rule(np.atleast_2d(z))[0] + np.atleast_2d(z) @ self.tilt / len(self.tilt)
        return float(found[0]) if z.ndim == 1 else found

    def gradient(self, x: ArrayLike) -> Array:
        at = np.asarray(x, dtype=float)
        z = np.atleast_2d(20 * np.clip(at, 0, 1) - 10)
        slope = 20 * (self.rule(z)[1] + self.tilt / len(self.tilt)).reshape(at.shape)
        return np.where((at >= 0) & (at <= 1), slope, 0.0)


def landscape(name: str, d: int = 300, n_clients: int = 5, heterogeneity: float = 0.5, seed: Any = 0) -> Clients:
    """Clients whose average is Ackley's or Levy's function, with least value 0.

    Each client's function is tilted by ``heterogeneity`` times standard normal coefficients, less their mean over clients, so
    that the tilts cancel. (How the authors' code lets clients differ here, we have not seen.)

    Parameters
    ----------
    name : {"ackley", "levy"}
    d, n_clients : int
        At least 2 variables; at least one client.
    heterogeneity : float
        0 for equal clients.
    seed : int or Generator

    Returns
    -------
    Clients

    Raises
    ------
    TypeError, ValueError
        For arguments out of range.

    Examples
    --------
    >>> from lib.backprop_free.fzoos.study.landscapes import landscape
    >>> clients = landscape("ackley", d=20, n_clients=3, heterogeneity=2.0, seed=0)
    >>> bool(abs(clients.value([0.5] * 20)) < 1e-12)
    True
    """
    name = checks.choice("name", name, LANDSCAPES)
    d, n = checks.integer("d", d, low=2), checks.integer("n_clients", n_clients, low=1)
    spread, rng = checks.number("heterogeneity", heterogeneity, low=0), checks.generator("seed", seed)
    tilts = spread * rng.standard_normal((n, d))
    fs = [Tilted(name, tilt) for tilt in tilts - tilts.mean(axis=0)]
    return Clients(fs, [f.gradient for f in fs], 0.0)
