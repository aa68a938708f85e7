"""What the theory promises: regret bounds with every constant, as functions of noise and drift.

The constants are those of the derivations in the chapter. For strongly convex losses the sum is kept as it stands before it is
rounded up to the paper's logarithm, which makes it smaller.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lib import checks
from lib.online.sea_omd.domains import GREATEST, sized

Array = NDArray[np.float64]


def realized_bound(D: float, G: float, L: float, variation: Any, delta: float | None = None) -> Any:
    """The regret bound of every single run, ``(5/2) D sqrt(delta + 4 G^2 + V_T)``.

    Parameters
    ----------
    D, G : float
        Diameter and bound of the gradients, positive.
    L : float
        Smoothness, at least 0.
    variation : float or array_like
        V_T of the run, at least 0.
    delta : float, optional
        At least 0; default and paper ``10 D^2 L^2``.

    Examples
    --------
    >>> from lib.online.sea_omd import realized_bound
    >>> float(realized_bound(2.0, 1.0, 0.0, 0.0))
    10.0
    """
    D, G, L = sized("D", D), sized("G", G), checks.number("L", L, low=0, high=GREATEST)
    V = checks.array("variation", variation, low=0)
    delta = 10.0 * D**2 * L**2 if delta is None else checks.number("delta", delta, low=0)
    return 2.5 * D * np.sqrt(delta + 4.0 * G**2 + V)  # (6)


def regret_bound(D: float, G: float, L: float, noise: ArrayLike, drift: ArrayLike) -> Any:
    """The expected regret for convex expected losses.

    Parameters
    ----------
    D, G : float
        Diameter and bound of the gradients, positive.
    L : float
        Smoothness of the expected losses, at least 0.
    noise, drift : float or array_like
        Cumulative noise ``sigma^2_{1:T}`` and drift ``Sigma^2_{1:T}``, at least 0.

    Returns
    -------
    float or array
        ``5 sqrt(10) D^2 L + (5 sqrt(5) / 2) D G + 5 sqrt(2) D sqrt(noise) + 5 D sqrt(drift)``.

    Examples
    --------
    >>> from lib.online.sea_omd import regret_bound
    >>> float(regret_bound(2.0, 1.0, 0.0, 0.0, 0.0)).__round__(3)
    11.18
    """
    D, G, L = sized("D", D), sized("G", G), checks.number("L", L, low=0, high=GREATEST)
    noise, drift = checks.array("noise", noise, low=0), checks.array("drift", drift, low=0)
    fixed = 5.0 * np.sqrt(10.0) * D**2 * L + 2.5 * np.sqrt(5.0) * D * G  # (9)
    return fixed + 5.0 * np.sqrt(2.0) * D * np.sqrt(noise) + 5.0 * D * np.sqrt(drift)  # (9)


def strongly_convex_bound(D: float, G: float, L: float, lam: float, noise: ArrayLike, drift: ArrayLike) -> Array:
    """The expected regret for strongly convex expected losses, after each round.

    Parameters
    ----------
    D, G : float
        Diameter and bound of the gradients, positive.
    L : float
        Smoothness, at least 0.
    lam : float
        Strong convexity, positive.
    noise, drift : array_like, shape (T,)
        ``sigma_t^2`` and ``Sigma_t^2`` of each round, at least 0.

    Returns
    -------
    array, shape (T,)

    Examples
    --------
    >>> from lib.online.sea_omd import strongly_convex_bound
    >>> strongly_convex_bound(2.0, 1.0, 0.0, 1.0, [0.0, 0.0], [0.0, 0.0])
    array([5., 5.])
    """
    D, G, L = sized("D", D), sized("G", G), checks.number("L", L, low=0, high=GREATEST)
    lam = sized("lam", lam)
    noise = checks.array("noise", noise, ndim=1, low=0)
    drift = checks.array("drift", drift, shape=noise.shape, low=0)
    t = np.arange(1, len(noise) + 1)
    w = 2.0 / (lam * t) + 2.0 / (lam * t**2)  # (11)
    before = np.concatenate([[0.0], noise[:-1]])
    surprise = 4.0 * noise + 4.0 * before + 4.0 * drift  # (8)
    moves = np.maximum(4.0 * L**2 * w - lam * (t - 1) / 8.0, 0.0) * D**2  # (11)
    surprise[0], moves[0] = G**2, 0.0
    return lam * D**2 / 4.0 + np.cumsum(w * surprise + moves)  # (11)


def exp_concave_bound(D: float, G: float, L: float, beta: float, dim: int, noise: ArrayLike, drift: ArrayLike) -> Any:
    """The expected regret for exp-concave losses.

    Parameters
    ----------
    D, G : float
        Diameter and bound of the gradients, positive.
    L : float
        Smoothness, at least 0.
    beta : float
        That of `OptimisticONS`, positive.
    dim : int
        Dimension d.
    noise, drift : float or array_like
        Cumulative noise and drift, at least 0.

    Returns
    -------
    float or array

    Examples
    --------
    >>> from lib.online.sea_omd import exp_concave_bound
    >>> float(exp_concave_bound(2.0, 1.0, 0.0, 0.125, 1, 0.0, 0.0)).__round__(2)
    4.11
    """
    D, G, L = sized("D", D), sized("G", G), checks.number("L", L, low=0, high=GREATEST)
    beta, dim = sized("beta", beta), checks.integer("dim", dim, low=1)
    noise, drift = checks.array("noise", noise, low=0), checks.array("drift", drift, low=0)
    first = 0.5 * (1.0 + 0.5 * beta * G**2) * D**2  # (13)
    surprise = np.log1p(beta / (8.0 * dim) * (G**2 + 8.0 * noise + 4.0 * drift))  # (13)
    return first + 16.0 * dim / beta * (surprise + np.log(max(1.0, 32.0 * L**2)))  # (13)


def dynamic_rate(path: ArrayLike, noise: ArrayLike, drift: ArrayLike) -> Any:
    """The order of the dynamic regret, without its constant: ``P + sqrt(1 + P) (sqrt(noise) + sqrt(drift))``.

    Parameters
    ----------
    path : float or array_like
        Length P of the comparators' path, at least 0.
    noise, drift : float or array_like
        Cumulative noise and drift, at least 0.

    Examples
    --------
    >>> from lib.online.sea_omd import dynamic_rate
    >>> float(dynamic_rate(3.0, 4.0, 1.0))
    9.0
    """
    path, noise = checks.array("path", path, low=0), checks.array("noise", noise, low=0)
    drift = checks.array("drift", drift, low=0)
    return path + np.sqrt(1.0 + path) * (np.sqrt(noise) + np.sqrt(drift))  # (16)
