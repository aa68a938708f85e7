"""Rivals that need the Gram matrix only, as rules for `Adaptation` and `walk`."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt

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
    gram = checks.array("C", C, ndim=2).astype(np.float64)
    m = len(gram)
    if gram.shape != (m, m) or m > 5:
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
