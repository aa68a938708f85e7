"""Rivals that need the Gram matrix only, as rules for `Adaptation` and `walk`: PCGrad and UPGrad."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import nnls

from lib import checks

Floats = npt.NDArray[np.float64]


def pcgrad(C: npt.ArrayLike, a: Any = None, height: Any = None) -> Floats:
    """Weights (m,) of PCGrad (Yu et al. 2020): each gradient loses its components against the others, then all are added.

    The order in which the others are met is random there; here it is the mean over all orders.

    Parameters
    ----------
    C : array_like, shape (m, m)
        Products of the gradients, m at most 5.
    a, height
        Not used.

    Raises
    ------
    TypeError, ValueError
        For anything but a square matrix of real, finite numbers.

    Examples
    --------
    >>> from lib.objectives.pareto_da.study import pcgrad
    >>> pcgrad([[1.0, -0.5], [-0.5, 1.0]]).tolist()
    [1.5, 1.5]
    """
    gram = _square(C)
    m = len(gram)
    if m > 5:
        raise ValueError(f"C must have shape (m, m) with m at most 5, got {gram.shape}")
    total = np.zeros(m)
    for i in range(m):
        orders = list(itertools.permutations([j for j in range(m) if j != i]))
        for order in orders:
            w = np.eye(m)[i]
            for j in order:
                along = float(gram[j] @ w)
                if along < 0:
                    w[j] -= along / gram[j, j]
            total += w / len(orders)
    return total


def upgrad(C: npt.ArrayLike, a: Any = None, height: Any = None) -> Floats:
    """Weights (m,) of UPGrad (Quinton and Rey 2024): each gradient is moved to the nearest direction that hurts no objective,
    then all are added (there averaged; here added, so that without conflict they are those of the plain sum).

    Parameters
    ----------
    C : array_like, shape (m, m)
        Products of the gradients.
    a, height
        Not used.

    Raises
    ------
    TypeError, ValueError
        For anything but a square matrix of real, finite numbers.

    Examples
    --------
    >>> from lib.objectives.pareto_da.study import upgrad
    >>> upgrad([[1.0, -0.5], [-0.5, 1.0]]).round(6).tolist()
    [1.5, 1.5]
    """
    gram = _square(C)
    size = float(np.abs(gram).max()) or 1.0
    values, vectors = np.linalg.eigh((gram + gram.T) / (2 * size))
    root = np.sqrt(np.maximum(values, 0.0))[:, None] * vectors.T
    # The nearest direction to gradient i is G (e_i + v), with v >= 0 that makes it shortest: the projection's dual.
    return np.ones(len(gram)) + np.sum([nnls(root, -column)[0] for column in root.T], axis=0)


def _square(C: npt.ArrayLike) -> Floats:
    gram = checks.array("C", C, ndim=2).astype(np.float64)
    if gram.shape[0] != gram.shape[1] or not len(gram):
        raise ValueError(f"C must have shape (m, m), got {gram.shape}")
    return gram
