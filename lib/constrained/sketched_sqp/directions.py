"""Four ways to solve the Newton system: two sketches, MINRES, and a factorization."""

from __future__ import annotations

import contextlib
import warnings

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, LinAlgWarning, lu_factor, lu_solve
from scipy.sparse.linalg import minres

from lib.constrained.sketched_sqp.sketching import EPS, SKETCHES, Solution, _Sketcher, solve

Array = NDArray[np.float64]
DIRECTIONS = (*SKETCHES, "exact", "minres")


class Newton:
    """The solver of one Newton system ``A z = b``; called again, it goes on from where it was."""

    def __init__(self, A: Array, kind: str, size: int, block: int, most: int) -> None:
        self.A, self.kind, self.size, self.block, self.most = A, kind, size, block, most
        self.sketcher: _Sketcher | None = None

    def __call__(self, b: Array, z: Array, tol: float, rng: np.random.Generator) -> Solution | None:
        """A solution within `tol`, as far as the solver gets; None where the matrix is singular."""
        if self.kind == "exact":
            return factorized(self.A, b, tol)
        if self.kind == "minres":
            return minimal_residual(self.A, b, z, tol, self.most)
        # A generator of its own for each call: how many numbers a block draws in advance changes nothing later.
        child = np.random.default_rng(rng.integers(2**63, size=4))
        if self.sketcher is None:
            self.sketcher = _Sketcher(self.A, self.kind, min(self.size, len(self.A)), child)
        self.sketcher.rng = child
        return solve(self.A, b, z, self.sketcher, self.block, tol, self.most)


def factorized(A: Array, b: Array, tol: float) -> Solution | None:
    """By an LU factorization, with one step of refinement; None where A is singular."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", LinAlgWarning)
        try:
            factors = lu_factor(A, check_finite=False)
        except (LinAlgError, LinAlgWarning):
            return None
    z = lu_solve(factors, b)
    z = z + lu_solve(factors, b - A @ z)
    norm = float(np.linalg.norm(A @ z - b))
    if not np.isfinite(norm):
        return None
    return Solution(z, 1, norm, "tolerance" if norm <= tol else "precision")


class _Met(Exception):
    """MINRES has met the tolerance."""


def minimal_residual(A: Array, b: Array, z: Array, tol: float, most: int, restarts: int = 5) -> Solution:
    """By SciPy's MINRES, stopped by the true residual, and started again where it believes too early that it is done."""
    scale, steps, status = float(np.linalg.norm(A)), 0, "max_steps"
    best, norm = z, float(np.linalg.norm(A @ z - b))
    for _ in range(restarts):
        floor = 4 * EPS * (scale * float(np.linalg.norm(best)) + float(np.linalg.norm(b)))
        if norm <= max(tol, floor) or steps >= most:
            break
        before, goal, seen = norm, max(tol, floor), [0]

        def look(shift: Array, base: Array = best, goal: float = goal, seen: list[int] = seen) -> None:
            nonlocal best, norm
            seen[0] += 1
            now = float(np.linalg.norm(A @ (base + shift) - b))
            if now < norm:
                best, norm = base + shift, now
            if norm <= goal:
                raise _Met

        with contextlib.suppress(_Met):
            minres(A, b - A @ best, rtol=1e-15, maxiter=most - steps, callback=look)
        steps += seen[0]
        if norm > before / 2:
            break
    floor = 4 * EPS * (scale * float(np.linalg.norm(best)) + float(np.linalg.norm(b)))
    if norm <= tol:
        status = "tolerance"
    elif norm <= floor or steps < most:
        status = "precision"
    return Solution(best, steps, norm, status)
