"""The paper's rivals, from the authors' code, and one of today: the same problems, the same stop, evaluations counted alike."""

from __future__ import annotations

import contextlib
from typing import Any, NamedTuple

import numpy as np
import scipy.optimize as so
from numpy.typing import NDArray

from lib import checks
from lib.constrained.sketched_sqp import lagrangian as al
from lib.constrained.sketched_sqp.method import AdaSketchNewton
from lib.constrained.sketched_sqp.problem import EqualityProblem

Array = NDArray[np.float64]
SIGMA = 0.09  # the authors' code: share of the model reduction, tau (1 - epsilon) with tau = epsilon = 0.1
ARMIJO = 1e-8
MOST_SOLVES = 2500  # cycles of GMRES for one system (the authors: 100 000)


class Outcome(NamedTuple):
    """How a run ended: whether at a KKT residual of 1e-4, iterations, and evaluations as the authors count them.

    `once` is what AdaSketch-Newton spends of either kind where none is repeated; the rivals' counts of gradients, and SLSQP's
    of both, hold no repetitions.
    """

    success: bool
    nit: int
    objcon: int
    gradjac: int
    kkt: Array
    halvings: int = 0
    once: int = 0


def ours(problem: EqualityProblem, settings: AdaSketchNewton, seed: Any = None) -> tuple[Outcome, so.OptimizeResult]:
    """A run of AdaSketch-Newton, counted as the authors count.

    They evaluate the merit function at x_k again, though all its parts are known: four evaluations an iteration and two for
    each halving, of objective and constraints, and as many of gradients. The run itself repeats nothing: `once`.

    Parameters
    ----------
    problem : EqualityProblem
        What to solve.
    settings : AdaSketchNewton
        How.
    seed : int or Generator, optional
        Of the sketches.

    Examples
    --------
    >>> from lib.constrained.sketched_sqp import AdaSketchNewton
    >>> from lib.constrained.sketched_sqp.study import ours, small_problem
    >>> outcome, result = ours(small_problem("HS7"), AdaSketchNewton("exact"))
    >>> outcome.nit, outcome.objcon
    (10, 66)
    """
    res = settings.minimize(problem, seed=seed)
    halvings = round(-float(np.log2(res.history["alpha"]).sum())) if res.nit else 0
    n = 2 + 4 * res.nit + 2 * halvings
    return Outcome(res.success, res.nit, n, n, res.history["kkt"], halvings, 2 * res.nfev), res


def l1_sqp(
    problem: EqualityProblem, adaptive: bool = True, exact: bool = False, max_iter: int = 2000, tol: float = 1e-4
) -> Outcome:
    """Inexact sequential quadratic programming with the merit function ``f + mu ||c||_1``, as the authors' code has it.

    Parameters
    ----------
    problem : EqualityProblem
        What to solve.
    adaptive : bool
        The adaptive variant: the residual is at most kappa (0.1) of the right-hand side; where the model reduction is too
        small, mu grows by 1.5 and kappa shrinks by 1.5^2. Else that of Byrd, Curtis and Nocedal with its two tests.
    exact : bool
        Solve the Newton system by a factorization; else by GMRES in cycles of two steps, as the authors do.
    max_iter : int
        Most iterations (the authors: 10 000).
    tol : float
        KKT residual (the authors: 1e-4).

    Examples
    --------
    >>> from lib.constrained.sketched_sqp.study import l1_sqp, small_problem
    >>> l1_sqp(small_problem("HS7")).nit
    7
    """
    if not isinstance(problem, EqualityProblem):
        raise TypeError(f"problem must be an EqualityProblem, got {checks.shown(problem)}")
    adaptive, exact = checks.boolean("adaptive", adaptive), checks.boolean("exact", exact)
    max_iter, tol = checks.integer("max_iter", max_iter, low=1), checks.number("tol", tol, low=0)
    at = al.Point(problem.x0, problem.lam0, *problem.first_order(problem.x0))
    mu, kappa, kkt, halvings = 1.0, 0.1, [float(np.linalg.norm(at.kkt))], 0
    beta = max(_one(at.slope) / (_one(at.c) + 1), 1.0)
    while kkt[-1] > tol and len(kkt) <= max_iter:
        if np.linalg.eigvalsh(at.G @ at.G.T)[0] < 1e-6:
            break
        B = al.modified_hessian(problem.lag_hess(at.x, at.lam), at.G, 0.1, 1e-6)
        system = al.kkt_matrix(B, at.G), -at.kkt
        if adaptive:
            move, mu, kappa = _adaptive_direction(at, B, system, mu, kappa, exact)
        else:
            move, mu = _tested_direction(at, B, system, mu, beta, exact)
        new, used = _l1_search(problem, at, move, mu)
        if new is None:
            break
        at, halvings = new, halvings + used
        kkt.append(float(np.linalg.norm(at.kkt)))
    nit = len(kkt) - 1
    return Outcome(kkt[-1] <= tol, nit, 2 + 4 * nit + 2 * halvings, 2 + 2 * nit, np.array(kkt), halvings)


def _one(v: Array) -> float:
    return float(np.abs(v).sum())


def _cycle(A: Array, z: Array, r: Array) -> Array:
    """GMRES: two steps from z, whose residual b - A z is r; z itself where they get nowhere."""
    K = np.linalg.qr(np.column_stack([r, A @ r]))[0]
    move = K @ np.linalg.lstsq(A @ K, r, rcond=None)[0]
    return z + move if np.linalg.norm(r - A @ move) < (1 - 1e-9) * np.linalg.norm(r) else z


def _reduction(at: al.Point, B: Array, dx: Array, mu: float) -> tuple[float, float]:
    """The model reduction and what is asked of it."""
    after = _one(at.G @ dx + at.c)
    reduction = -at.g @ dx - max(float(dx @ B @ dx) / 2, 0.0) + mu * (_one(at.c) - after)
    return float(reduction), SIGMA * mu * max(_one(at.c), after - _one(at.c))


def _adaptive_direction(at: al.Point, B: Array, system: tuple[Array, Array], mu: float, kappa: float,
                        exact: bool) -> tuple[Array, float, float]:  # fmt: skip
    (A, b), n = system, len(at.x)
    z: Array = np.array(np.linalg.solve(A, b) if exact else np.zeros(len(b)), dtype=float)
    while True:
        for _ in range(0 if exact else MOST_SOLVES):
            r = b - A @ z
            if _one(r) <= kappa * _one(b):
                break
            z, before = _cycle(A, z, r), z
            if z is before:
                break
        reduction, wanted = _reduction(at, B, z[:n], mu)
        if reduction >= wanted or mu > 1e8:
            return z, mu, kappa
        mu, kappa = 1.5 * mu, kappa / 1.5**2


def _tested_direction(
    at: al.Point, B: Array, system: tuple[Array, Array], mu: float, beta: float, exact: bool
) -> tuple[Array, float]:
    (A, b), n = system, len(at.x)
    z: Array = np.array(np.linalg.solve(A, b) if exact else np.zeros(len(b)), dtype=float)
    for _ in range(100):
        z, before = z if exact else _cycle(A, z, b - A @ z), z
        r = A @ z - b
        reduction, wanted = _reduction(at, B, z[:n], mu)
        first = _one(r) <= _one(b) and _one(r[n:]) <= max(0.1 * _one(b[:n]), beta * _one(b[n:])) and reduction >= wanted
        if first or (_one(r[:n]) <= 0.1 * _one(at.c) and _one(r[n:]) <= beta * _one(at.c)) or z is before:
            break
    reduction, wanted = _reduction(at, B, z[:n], mu)
    gain = _one(at.c) - _one(at.G @ z[:n] + at.c)
    if reduction < wanted and gain > 0:
        mu = max(float(at.g @ z[:n] + max(float(z[:n] @ B @ z[:n]) / 2, 0.0)) / 0.9 / gain, mu) + 1e-4
    return z, mu


def _l1_search(problem: EqualityProblem, at: al.Point, move: Array, mu: float) -> tuple[al.Point | None, int]:
    n = problem.n
    slope = float(at.g @ move[:n]) - mu * (_one(at.c) - _one(at.G @ move[:n] + at.c))
    here = at.f + mu * _one(at.c)
    for halvings in range(60):
        alpha = 0.5**halvings
        x, lam = at.x + alpha * move[:n], at.lam + alpha * move[n:]
        with np.errstate(all="ignore"):
            f, c = problem.values(x)
        if f + mu * _one(c) <= here + alpha * ARMIJO * slope + 1e-14 * max(1.0, abs(here)):
            return al.Point(x, lam, *problem.first_order(x)), halvings
    return None, 60


def classic_al(problem: EqualityProblem, max_iter: int = 100, tol: float = 1e-4) -> Outcome:
    """The classical augmented Lagrangian of the authors' code: Newton's method inside, multipliers outside.

    Parameters
    ----------
    problem : EqualityProblem
        What to solve.
    max_iter : int
        Most updates of the multipliers.
    tol : float
        KKT residual.

    Examples
    --------
    >>> from lib.constrained.sketched_sqp.study import classic_al, small_problem
    >>> classic_al(small_problem("HS28")).success
    True
    """
    if not isinstance(problem, EqualityProblem):
        raise TypeError(f"problem must be an EqualityProblem, got {checks.shown(problem)}")
    max_iter, tol = checks.integer("max_iter", max_iter, low=1), checks.number("tol", tol, low=0)
    at = al.Point(problem.x0, problem.lam0, *problem.first_order(problem.x0))
    mu, wanted, kkt, newton, halvings = 1.0, 0.1, [float(np.linalg.norm(at.kkt))], 0, 0
    while kkt[-1] > tol and len(kkt) <= max_iter:
        for _ in range(100):
            slope = at.slope + mu * at.G.T @ at.c
            if np.linalg.norm(slope) <= wanted:
                break
            H = problem.lag_hess(at.x, at.lam + mu * at.c) + mu * at.G.T @ at.G
            if not np.linalg.norm(H) < 1e12:  # it falls without end
                break
            move = np.linalg.solve(H + (1 - np.linalg.eigvalsh(H)[0]) * np.eye(problem.n), -slope)
            new, used = _al_search(problem, at, move, mu, float(slope @ move))
            if new is None:
                break
            at, newton, halvings = new, newton + 1, halvings + used
        else:
            break  # the authors' code gives up after a hundred steps, too
        at = at._replace(lam=at.lam + mu * at.c)
        mu, wanted = 1.5 * mu, 0.1 * wanted
        kkt.append(float(np.linalg.norm(at.kkt)))
    k = len(kkt) - 1
    return Outcome(kkt[-1] <= tol, k, 2 + 4 * newton + 2 * halvings + 2 * k, 2 + 2 * newton + 2 * k, np.array(kkt), halvings)


def _al_search(problem: EqualityProblem, at: al.Point, move: Array, mu: float, slope: float) -> tuple[al.Point | None, int]:
    def value(f: float, c: Array) -> float:
        return float(f + at.lam @ c + mu / 2 * c @ c)

    here = value(at.f, at.c)
    for halvings in range(60):
        alpha = 0.5**halvings
        x = at.x + alpha * move
        with np.errstate(all="ignore"):
            new = value(*problem.values(x))
        if new <= here + alpha * 0.1 * slope + 1e-14 * max(1.0, abs(here)):
            return al.Point(x, at.lam, *problem.first_order(x)), halvings
    return None, 60


class _Reached(Exception):
    """The KKT residual is small."""


def slsqp(problem: EqualityProblem, tol: float = 1e-4) -> Outcome:
    """SciPy's SLSQP, which uses no second derivatives, stopped at the first iterate whose KKT residual is small.

    The multipliers are those of least squares: no others would make the residual smaller.

    Parameters
    ----------
    problem : EqualityProblem
        What to solve.
    tol : float
        KKT residual.

    Examples
    --------
    >>> from lib.constrained.sketched_sqp.study import slsqp, small_problem
    >>> slsqp(small_problem("HS7")).success
    True
    """
    if not isinstance(problem, EqualityProblem):
        raise TypeError(f"problem must be an EqualityProblem, got {checks.shown(problem)}")
    tol, kkt, count = checks.number("tol", tol, low=0), [], {"f": 0, "c": 0, "g": 0, "G": 0}

    def counted(name: str, part: int) -> Any:
        def call(x: Array) -> Any:
            count[name] += 1
            return problem.first_order(x)[part]

        return call

    def look(x: Array) -> None:
        _, c, g, G = problem.first_order(x)
        lam = np.linalg.lstsq(G.T, -g, rcond=None)[0]
        kkt.append(float(np.linalg.norm(np.concatenate([g + G.T @ lam, c]))))
        if kkt[-1] <= tol:
            raise _Reached

    rule = {"type": "eq", "fun": counted("c", 1), "jac": counted("G", 3)}
    with contextlib.suppress(_Reached):
        so.minimize(counted("f", 0), problem.x0, jac=counted("g", 2), method="SLSQP", constraints=[rule], callback=look,
                    options={"maxiter": 1000, "ftol": 1e-16})  # fmt: skip
    done = bool(kkt) and kkt[-1] <= tol
    return Outcome(done, len(kkt), count["f"] + count["c"], count["g"] + count["G"], np.array(kkt))
