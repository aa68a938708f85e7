"""Sketch and project: a linear system solved by projections onto random combinations of its equations.

A step with the sketch S (d, s) is ``z <- z - A'S (S'AA'S)^+ S'(Az - b)``. Each step needs the one before; but many steps in a
row follow from one triangular system, so that they are taken at once and are the same, up to rounding.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import solve_triangular

from lib import checks

Array = NDArray[np.float64]
SKETCHES = ("rk", "gv")
EPS = float(np.finfo(float).eps)


class Solution(NamedTuple):
    """What `sketch_and_project` found.

    Attributes
    ----------
    x : ndarray, shape (d,)
    steps : int
        Sketches used.
    residual : float
        ``||A x - b||``.
    status : str
        ``"tolerance"``: met; ``"precision"``: the residual is as small as rounding allows; ``"max_steps"``: neither.
    """

    x: Array
    steps: int
    residual: float
    status: str

    @property
    def converged(self) -> bool:
        """Whether the tolerance is met."""
        return self.status == "tolerance"


def projection_step(A: Array, b: Array, z: Array, S: Array) -> Array:
    """One step with the sketch S, shape (d, s): the projection of z onto ``S'A z = S'b``."""
    P = S.T @ A
    return z - P.T @ (np.linalg.pinv(P @ P.T) @ (S.T @ (A @ z - b)))  # (10)


def step_lengths(P: Array, w: Array) -> Array:
    """Lengths of T steps along unit rows P (T, d), from the scaled residuals w (T,) before the first of them."""
    return solve_triangular(P @ P.T, w, lower=True, unit_diagonal=True, check_finite=False)  # (11)


def sketch_and_project(
    A: ArrayLike, b: ArrayLike, x0: ArrayLike | None = None, *, sketch: str = "rk", sketch_size: int = 1, block: int = 128,
    tol: float = 1e-8, max_steps: int = 100_000, seed: Any = None,
) -> Solution:  # fmt: skip
    """Solve A x = b by sketch and project.

    Parameters
    ----------
    A : array_like, shape (d, d) or (rows, d)
        Matrix of a system that has a solution; rows of zeros are never drawn.
    b : array_like, shape (rows,)
        Right-hand side.
    x0 : array_like, shape (d,), optional
        Start; default zeros.
    sketch : {"rk", "gv"}
        Randomized Kaczmarz: rows drawn uniformly, with replacement (`sketch_size` different ones a step); or Gaussian vectors.
    sketch_size : int
        Columns s of a sketch (the paper: 1).
    block : int
        Steps that are computed at once: for speed only, as the iterates are the same.
    tol : float
        Ends where ``||A x - b|| <= tol``, an absolute bound.
    max_steps : int
        Most sketches.
    seed : None, int or Generator
        Of the sketches.

    Returns
    -------
    Solution
        ``x``, ``steps``, ``residual``, ``status``.

    Examples
    --------
    >>> from lib.constrained.sketched_sqp import sketch_and_project
    >>> found = sketch_and_project([[2.0, 1.0], [1.0, -1.0]], [3.0, 0.0], seed=0)
    >>> found.x.round(6), found.status
    (array([1., 1.]), 'tolerance')
    """
    A = checks.array("A", A, ndim=2).astype(float)
    b = checks.array("b", b, shape=(len(A),)).astype(float)
    z = np.zeros(A.shape[1]) if x0 is None else checks.array("x0", x0, shape=(A.shape[1],)).astype(float)
    checks.choice("sketch", sketch, SKETCHES)
    size = checks.integer("sketch_size", sketch_size, low=1, high=len(A))
    block = checks.integer("block", block, low=1)
    tol, most = checks.number("tol", tol, low=0), checks.integer("max_steps", max_steps, low=0)
    unit = _unit(A)  # a power of two, so that nothing is rounded
    A, b = A / unit, b / unit
    found = solve(A, b, z, _Sketcher(A, sketch, size, checks.generator("seed", seed)), block, tol / unit, most)
    return found._replace(residual=found.residual * unit)


def _unit(A: Array) -> float:
    """By what to divide A, so that squares of its entries neither overflow nor vanish."""
    largest = float(np.abs(A).max())
    return 1.0 if largest == 0 or 1e-100 < largest < 1e100 else 2.0 ** np.floor(np.log2(largest))


def solve(A: Array, b: Array, z: Array, sketcher: _Sketcher, block: int, tol: float, max_steps: int) -> Solution:
    """`sketch_and_project` without its door: A z = b from z, in growing blocks, by the sketches of `sketcher`."""
    steps, length, scale = 0, min(32, block), float(np.linalg.norm(A))
    while True:
        r = A @ z - b  # computed afresh, so that rounding does not add up
        norm = float(np.linalg.norm(r))
        floor = 4 * EPS * (scale * float(np.linalg.norm(z)) + float(np.linalg.norm(b)))
        if norm <= max(tol, floor) or steps >= max_steps or not sketcher.rows:
            return Solution(z, steps, norm, "tolerance" if norm <= tol else "precision" if norm <= floor else "max_steps")
        P, w, images = sketcher(min(length, max_steps - steps), r)
        a = step_lengths(P, w)
        size = sketcher.size
        norms = np.linalg.norm(r - np.cumsum(a[:, None] * images, axis=0)[size - 1 :: size], axis=1)
        met = np.flatnonzero(norms <= max(tol, floor))
        used = int(met[0]) + 1 if len(met) else len(norms)
        z = z - a[: used * size] @ P[: used * size]
        steps, length = steps + used, min(2 * length, block)


class _Sketcher:
    """Draws sketches of A's rows: unit (or, for s > 1, orthonormal) rows P, the residual seen through them, and A P."""

    def __init__(self, A: Array, kind: str, size: int, rng: np.random.Generator) -> None:
        norms = np.linalg.norm(A, axis=1)
        self.A, self.kind, self.rng = A, kind, rng
        self.live = np.flatnonzero(norms > 0)
        self.rows, self.size = len(self.live), min(size, max(len(self.live), 1))
        if kind == "rk" and self.size == 1 and self.rows:
            self.norms = norms[self.live]
            self.units = A[self.live] / self.norms[:, None]
            self.images = self.units @ A.T

    def __call__(self, n: int, r: Array) -> tuple[Array, Array, Array]:
        if self.kind == "rk" and self.size == 1:
            i = self.rng.integers(self.rows, size=n)
            return self.units[i], r[self.live[i]] / self.norms[i], self.images[i]
        if self.kind == "rk":
            order = np.argsort(self.rng.random((n, self.rows)), axis=1)[:, : self.size]
            S_A, seen = self.A[self.live[order]], r[self.live[order]]
        else:
            S = self.rng.standard_normal((n, self.size, len(self.A)))
            S_A, seen = S @ self.A, S @ r
        P, w = _orthonormal(S_A, seen)
        return P, w, P @ self.A.T


def _orthonormal(S_A: Array, seen: Array) -> tuple[Array, Array]:
    """Rows (T, s, d) made orthonormal within each step, and their residuals (T, s); dependent rows become zero."""
    if S_A.shape[1] == 1:
        norms = np.linalg.norm(S_A[:, 0], axis=1)
        norms = np.where(norms > 0, norms, np.inf)
        return S_A[:, 0] / norms[:, None], seen[:, 0] / norms
    values, vectors = np.linalg.eigh(S_A @ S_A.transpose(0, 2, 1))
    kept = values > 1e-14 * values[:, -1:]
    W = vectors * np.where(kept, 1 / np.sqrt(np.where(kept, values, 1)), 0)[:, None, :]
    P = W.transpose(0, 2, 1) @ S_A
    return P.reshape(-1, S_A.shape[2]), (W.transpose(0, 2, 1) @ seen[..., None]).reshape(-1)
