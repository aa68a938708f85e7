"""Random convex, Lipschitz problems on which the theorem can be checked: maxima of affine functions, many at once."""

from __future__ import annotations

import numpy as np
from scipy.optimize import linprog

from lib import checks

from ..theory import Array


class MaxAffine:
    """Problems ``f_p(x) = max_i (a_pi . x + b_pi)``, p = 1..P, bounded below (the slopes of each sum to 0).

    Parameters
    ----------
    n_problems, dim, pieces : int
        At least 1, 1 and 2.
    rng : numpy.random.Generator or int

    Attributes
    ----------
    slopes : ndarray, shape (P, pieces, dim)
    offsets : ndarray, shape (P, pieces)

    Raises
    ------
    ValueError
        For numbers that are too small.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.gradient.lr_refinement.study import MaxAffine
    >>> problems = MaxAffine(3, dim=2, pieces=4, rng=np.random.default_rng(0))
    >>> problems.value(np.zeros((3, 2))).shape
    (3,)
    """

    def __init__(self, n_problems: int, dim: int, pieces: int, rng: np.random.Generator) -> None:
        n_problems, dim = checks.integer("n_problems", n_problems, low=1), checks.integer("dim", dim, low=1)
        pieces, rng = checks.integer("pieces", pieces, low=2), checks.generator("rng", rng)
        slopes = rng.normal(size=(n_problems, pieces, dim))
        self.slopes = slopes - slopes.mean(axis=1, keepdims=True)
        self.offsets = rng.normal(size=(n_problems, pieces))

    def _pieces(self, x: Array) -> Array:
        return np.einsum("pid,...pd->...pi", self.slopes, x) + self.offsets

    def value(self, x: Array) -> Array:
        """f_p(x_p), shape (..., P), for x of shape (..., P, dim)."""
        return self._pieces(x).max(axis=-1)

    def subgradient(self, x: Array) -> Array:
        """A subgradient of each problem at its x, shape (P, dim), for x of shape (P, dim)."""
        return np.take_along_axis(self.slopes, self._pieces(x).argmax(axis=-1)[:, None, None], axis=1)[:, 0]

    def minimizers(self) -> tuple[Array, Array]:
        """A minimizer of each problem (P, dim) and its value (P,), by linear programs."""
        _, pieces, dim = self.slopes.shape
        cost = np.append(np.zeros(dim), 1.0)
        points = []
        for slopes, offsets in zip(self.slopes, self.offsets, strict=True):
            A = np.column_stack([slopes, -np.ones(pieces)])
            points.append(linprog(cost, A_ub=A, b_ub=-offsets, bounds=(None, None), method="highs").x)
        solutions = np.array(points)
        return solutions[:, :dim], solutions[:, dim]
