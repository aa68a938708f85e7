"""Five test functions on the square from -1 to 1, scaled to about 0 to 1 as in the hypergrid code; all shall be large."""

from __future__ import annotations

from typing import Any

import numpy as np

from lib import checks


def branin(points: Any) -> np.ndarray:
    """Branin's function, turned over: 1 in its three basins, 0 in the worst corner.

    Parameters
    ----------
    points : array_like, shape (n, 2)

    Returns
    -------
    array, shape (n,)

    Examples
    --------
    >>> from lib.objectives.mogfn import branin
    >>> branin([[0.0, 0.0]]).round(3)
    array([0.922])
    """
    a, b = _unit(points)
    x, y = 15 * a - 5, 15 * b
    first = y - 5.1 * x**2 / (4 * np.pi**2) + 5 * x / np.pi - 6
    second = 10 * (1 - 1 / (8 * np.pi)) * np.cos(x)
    return 1 - (first**2 + second + 10) / 308.13


def currin(points: Any) -> np.ndarray:
    """The exponential function of Currin et al.: a ridge along the lower edge.

    Parameters
    ----------
    points : array_like, shape (n, 2)

    Returns
    -------
    array, shape (n,)

    Examples
    --------
    >>> from lib.objectives.mogfn import currin
    >>> currin([[0.0, 0.0]]).round(3)
    array([0.538])
    """
    a, b = _unit(points)
    ratio = (2300 * a**3 + 1900 * a**2 + 2092 * a + 60) / (100 * a**3 + 500 * a**2 + 4 * a + 20)
    return (1 - np.exp(-1 / (2 * b + 1e-10))) * ratio / 13.77


def shubert(points: Any) -> np.ndarray:
    """Shubert's function: many separate peaks.

    Parameters
    ----------
    points : array_like, shape (n, 2)

    Returns
    -------
    array, shape (n,)

    Examples
    --------
    >>> from lib.objectives.mogfn import shubert
    >>> shubert([[0.0, 0.0]]).round(3)
    array([0.521])
    """
    u = -1.5 * checks.array("points", points, shape=(None, 2)).astype(float)
    i = np.arange(1, 6)
    sums = (i * np.cos((i + 1) * u[..., None] + i)).sum(-1)
    return (sums.prod(-1) + 186.8) / 397


def beale(points: Any) -> np.ndarray:
    """Beale's function: large in two corners.

    Parameters
    ----------
    points : array_like, shape (n, 2)

    Returns
    -------
    array, shape (n,)

    Examples
    --------
    >>> from lib.objectives.mogfn import beale
    >>> beale([[0.0, 0.0]]).round(3)
    array([0.366])
    """
    x, y = checks.array("points", points, shape=(None, 2)).astype(float).T
    return ((1.5 - x + x * y) ** 2 + (2.25 - x + x * y**2) ** 2 + (2.625 - x + x * y**3) ** 2) / 38.8


def sphere(points: Any) -> np.ndarray:
    """Half the squared distance from the center: 1 in the four corners.

    Parameters
    ----------
    points : array_like, shape (n, 2)

    Returns
    -------
    array, shape (n,)

    Examples
    --------
    >>> from lib.objectives.mogfn import sphere
    >>> sphere([[1.0, -1.0]])
    array([1.])
    """
    return (checks.array("points", points, shape=(None, 2)).astype(float) ** 2).sum(1) / 2


def _unit(points: Any) -> np.ndarray:
    return checks.array("points", points, shape=(None, 2)).astype(float).T / 2 + 0.5


#: Name -> function of points, shape (n, 2).
OBJECTIVES = {"branin": branin, "currin": currin, "shubert": shubert, "beale": beale, "sphere": sphere}
