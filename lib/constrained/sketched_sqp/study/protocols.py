"""Costs of the linear solvers, in floating-point operations, on the Newton systems that occur."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import OptimizeResult

from lib import checks
from lib.constrained.sketched_sqp import lagrangian as al
from lib.constrained.sketched_sqp.directions import DIRECTIONS, Newton
from lib.constrained.sketched_sqp.method import AdaSketchNewton
from lib.constrained.sketched_sqp.problem import EqualityProblem

Array = NDArray[np.float64]


class System(NamedTuple):
    """A Newton system A z = b."""

    A: Array
    b: Array


def flops(solver: str, d: int, steps: float = 1) -> float:
    """Floating-point operations of `steps` steps with a dense symmetric matrix of size d.

    Kaczmarz: two products of length d a step, and the whole residual once in d steps, 6 d in all. A Gaussian vector: the
    product with the matrix, too, 2 d^2 + 8 d. MINRES: 2 d^2 + 14 d. A factorization, once: d^3/3 + 2 d^2 (Bunch and Kaufman's
    LDL', half of LU).

    Parameters
    ----------
    solver : {"rk", "gv", "exact", "minres"}
        Who solves.
    d : int
        Size.
    steps : float
        Steps; not used for "exact".

    Examples
    --------
    >>> from lib.constrained.sketched_sqp.study import flops
    >>> flops("rk", 100, 10)
    6000.0
    """
    checks.choice("solver", solver, DIRECTIONS)
    d, steps = checks.integer("d", d, low=1), checks.number("steps", steps, low=0)
    each = {"rk": 6 * d, "gv": 2 * d**2 + 8 * d, "minres": 2 * d**2 + 14 * d}
    return d**3 / 3 + 2.0 * d**2 if solver == "exact" else float(each[solver] * steps)


def demmel(A: ArrayLike) -> float:
    """Squared scaled condition number ``||U||_F^2 ||U^-1||^2`` of A with its rows scaled to length 1, U.

    So many Kaczmarz steps, with rows drawn uniformly, bring the expected squared error down by e, or by more.

    Parameters
    ----------
    A : array_like, shape (d, d)
        Regular matrix.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.constrained.sketched_sqp.study import demmel
    >>> float(demmel(np.diag([1.0, 1.0, 1.0])))
    3.0
    """
    A = checks.array("A", A, ndim=2).astype(float)
    units = A / np.linalg.norm(A, axis=1, keepdims=True)
    return float(len(A) / np.linalg.svd(units, compute_uv=False)[-1] ** 2)


def newton_systems(problem: EqualityProblem, eps_H: float = 1e-6, max_iter: int = 40, xi_G: float = 1e-2) -> list[System]:
    """The Newton systems along the exact trajectory.

    Parameters
    ----------
    problem : EqualityProblem
        What to solve.
    eps_H, xi_G : float
        See `AdaSketchNewton`.
    max_iter : int
        Most iterations.

    Examples
    --------
    >>> from lib.constrained.sketched_sqp.study import newton_systems, small_problem
    >>> len(newton_systems(small_problem("HS40")))
    3
    """
    if not isinstance(problem, EqualityProblem):
        raise TypeError(f"problem must be an EqualityProblem, got {checks.shown(problem)}")
    points = [(problem.x0, problem.lam0)]

    def keep(intermediate_result: OptimizeResult) -> None:
        points.append((intermediate_result.x, intermediate_result.v))

    AdaSketchNewton("exact", eps_H=eps_H, max_iter=max_iter, xi_G=xi_G).minimize(problem, callback=keep)
    found = []
    for x, lam in points[:-1]:
        at = al.Point(x, lam, *problem.first_order(x))
        B = al.modified_hessian(problem.lag_hess(x, lam), at.G, 0.1, eps_H)
        found.append(System(al.kkt_matrix(B, at.G), -at.kkt))
    return found


def steps_to(system: System, solver: str, tau: float = 0.1, seed: Any = None, most: int = 100_000) -> tuple[int, bool]:
    """Steps to a residual of tau times the right-hand side, and whether it was reached.

    Parameters
    ----------
    system : System
        Matrix and right-hand side.
    solver : {"rk", "gv", "exact", "minres"}
        Who solves.
    tau : float
        Relative residual.
    seed : int or Generator, optional
        Of the sketches.
    most : int
        Most steps.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.constrained.sketched_sqp.study import System, steps_to
    >>> steps_to(System(np.diag([1.0, -2.0]), np.ones(2)), "minres", 0.1)
    (2, True)
    """
    checks.choice("solver", solver, DIRECTIONS)
    tau, most = checks.number("tau", tau, above=0, below=1), checks.integer("most", most, low=1)
    b = system.b
    solve = Newton(system.A, solver, 1, 128, most)
    solved = solve(b, np.zeros(len(b)), tau * float(np.linalg.norm(b)), checks.generator("seed", seed))
    return (0, False) if solved is None else (solved.steps, solved.converged)
