"""Weights of conflicting gradients: the linear program of ParetoDA, and the shortest combination (MGDA).

Everything here sees the gradients only through their inner products: the Gram matrix C of the m objectives' gradients and the
products a of these with a guide. Symbols and equation numbers are in `lib.objectives.pareto_da`.
"""

from __future__ import annotations

import itertools
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import OptimizeResult, linprog, nnls

from lib import checks

Floats = npt.NDArray[np.float64]

#: Relative to the largest entry of the Gram matrix: what counts as zero in a constraint.
TOL = 1e-9
#: Most objectives for which all vertices are tried; more go to HiGHS.
MOST_VERTICES = 3
#: Most objectives for which the caller may ask that: 8 of them have up to 19448 vertices.
LIMIT_VERTICES = 8
MODES = ("guided", "descent", "dominance")
SOLVERS = ("auto", "vertices", "highs")


def min_norm_weights(gram: npt.ArrayLike) -> Floats:
    """Weights of the shortest convex combination of gradients, as MGDA takes it; exact, for any number of objectives.

    Parameters
    ----------
    gram : array_like, shape (m, m)
        Inner products of the gradients, symmetric and positive semidefinite.

    Returns
    -------
    array, shape (m,)
        Nonnegative, sum 1; uniform where all gradients are zero.

    Raises
    ------
    TypeError, ValueError
        If ``gram`` is not a Gram matrix of real, finite numbers.

    Examples
    --------
    >>> from lib.objectives.pareto_da import min_norm_weights
    >>> min_norm_weights([[1.0, 0.0], [0.0, 3.0]]).round(2).tolist()
    [0.75, 0.25]
    """
    C = _gram(gram)
    m, size = len(C), float(np.abs(C).max())
    if size == 0.0:
        return np.full(m, 1 / m)
    values, vectors = np.linalg.eigh(C / size)
    root = np.sqrt(np.maximum(values, 0.0))[:, None] * vectors.T
    # min |root u|^2 + (sum(u) - 1)^2 over u >= 0 has the direction of the shortest combination (Lawson and Hanson).
    u, _ = nnls(np.vstack([root, np.ones(m)]), np.eye(m + 1)[m])  # (13)
    return u / u.sum()


def pareto_weights(
    gram: npt.ArrayLike,
    guide: npt.ArrayLike | None = None,
    val_loss: float = 1.0,
    *,
    mode: str = "guided",
    eps: float = 1e-3,
    guard: bool = True,
    solver: str = "auto",
) -> OptimizeResult:
    """Convex weights of m gradients by ParetoDA's linear program.

    Parameters
    ----------
    gram : array_like, shape (m, m)
        C, inner products of the objectives' gradients; m at least 2.
    guide : array_like, shape (m,), optional
        a, inner products of each gradient with that of the held-out loss; may be negative. Not needed for ``"descent"``.
    val_loss : float
        The held-out loss, measured so that its least value is 0; only ``"guided"`` asks whether it exceeds ``eps``.
    mode : {"guided", "descent", "dominance"}
        ``"guided"``: along the guide while the held-out loss is above ``eps``, else as ``"descent"``. ``"descent"``: the
        largest total decrease that hurts no objective. ``"dominance"``: what the authors' code always solves.
    eps : float
        Above this the held-out loss guides, at least 0; 1e-3 in the authors' code.
    guard : bool
        Take the weights of ``"descent"`` where the guided program ends at a direction that does not lower the held-out loss.
        Without it, such a direction may hurt an objective for nothing.
    solver : {"auto", "vertices", "highs"}
        ``"auto"`` tries all vertices for m up to 3 and calls HiGHS beyond; ``"vertices"`` goes up to m = 8.

    Returns
    -------
    OptimizeResult
        ``x`` (m,) weights; ``fun`` the program's value in the units of the arguments; ``success``; ``status`` 0, or 2 where
        the program has no feasible point (only ``"dominance"`` can have none: ``x`` is then uniform); ``message``; ``mode``
        the branch that gave the weights: ``"guided"``, ``"descent"``, ``"guard"``, ``"dominance"``, ``"zero"`` (all gradients
        are zero) or ``"uniform"`` (infeasible); ``slack`` (m,) how far each constraint is from being violated; ``nit``
        programs solved.

    Raises
    ------
    TypeError, ValueError
        For a matrix that is no Gram matrix, a guide of another length, or another argument out of range.

    Examples
    --------
    >>> from lib.objectives.pareto_da import pareto_weights
    >>> found = pareto_weights([[1.0, -0.5], [-0.5, 1.0]], guide=[0.8, -0.2], val_loss=1.0)
    >>> found.x.round(3).tolist(), found.mode
    ([0.8, 0.2], 'guided')
    """
    C = _gram(gram)
    m = len(C)
    checks.choice("mode", mode, MODES)
    if checks.choice("solver", solver, SOLVERS) == "vertices" and m > LIMIT_VERTICES:
        raise ValueError(f"solver 'vertices' is for up to {LIMIT_VERTICES} objectives, got {m}: take 'highs'")
    if guide is None and mode != "descent":
        raise ValueError(f"guide must be given in mode {mode!r}, got None")
    a = np.zeros(m) if guide is None else checks.array("guide", guide, shape=(m,)).astype(np.float64)
    height = checks.number("val_loss", val_loss)
    least, guarded = checks.number("eps", eps, low=0), checks.boolean("guard", guard)
    size = float(np.abs(C).max())
    if size == 0.0:
        return _result(np.full(m, 1 / m), 0.0, "zero", C, np.full(m, -np.inf), 0)
    if mode == "dominance":
        A, r = np.vstack([C, a]), np.append(np.zeros(m), min(float(a.max()), 0.0))
        return _solved(C, C.sum(0), A, r, "dominance", solver)
    if mode == "descent" or height <= least:
        return _solved(C, *descent_program(C), "descent", solver)
    found = _solved(C, *guided_program(C, a), "guided", solver)
    if guarded and found.fun <= TOL * float(np.abs(a).max()):
        return _solved(C, *descent_program(C), "guard", solver, before=found.nit)
    return found


def guided_program(C: Floats, a: Floats) -> tuple[Floats, Floats, Floats]:
    """Objective c, rows A and bounds r of the guided program: maximize c'w subject to A w >= r, w in the simplex."""
    r = np.zeros(len(a))
    if (a > 0).any():  # some objective agrees with the guide
        r = np.where(a > 0, -np.inf, a)  # (9)
        r[int(a.argmax())] = 0.0  # (9)
    return a, C, r  # (8)


def descent_program(C: Floats) -> tuple[Floats, Floats, Floats]:
    """The same for pure descent: the mean decrease of all objectives, none of which may grow."""
    return C @ np.full(len(C), 1 / len(C)), C, np.zeros(len(C))  # (10)


def _solved(C: Floats, c: Floats, A: Floats, r: Floats, name: str, solver: str, before: int = 0) -> OptimizeResult:
    """Solve one program, scaled so that tolerances are relative."""
    kept = np.isfinite(r)
    rows, bounds = A[kept], r[kept]
    height = np.maximum(np.abs(rows).max(1, initial=0.0), np.abs(bounds))
    height[height == 0.0] = 1.0
    scaled = c / (np.abs(c).max() or 1.0), rows / height[:, None], bounds / height
    enumerate_all = solver == "vertices" or (solver == "auto" and len(C) <= MOST_VERTICES)
    w = best_vertex(*scaled) if enumerate_all else highs(*scaled)
    if w is None:
        m = len(C)
        return _result(np.full(m, 1 / m), float(c.mean()), "uniform", C, r[:m], before + 1)
    return _result(w, float(c @ w), name, C, r[: len(C)], before + 1)


def _result(w: Floats, fun: float, name: str, C: Floats, r: Floats, programs: int) -> OptimizeResult:
    told = {"zero": "all gradients are zero; any weights do", "uniform": "no feasible weights; uniform ones are returned"}
    failed = name == "uniform"
    slack = np.where(np.isfinite(r), C @ w - np.where(np.isfinite(r), r, 0.0), np.inf)
    return OptimizeResult(x=w, fun=fun, success=not failed, status=2 if failed else 0, mode=name, slack=slack, nit=programs,
                          message=told.get(name, "optimal"))  # fmt: skip


@lru_cache(maxsize=32)
def _choices(n: int, k: int) -> npt.NDArray[np.int64]:
    return np.array(list(itertools.combinations(range(n), k)), dtype=np.int64).reshape(-1, k)


def best_vertex(c: Floats, A: Floats, r: Floats, tol: float = TOL) -> Floats | None:
    """Maximize c'w over w >= 0, sum(w) = 1, A w >= r by trying every vertex at once; None where there is none.

    A vertex is where m - 1 of the m + len(r) inequalities are equalities: for m = 3 and three rows, 15 systems.
    """
    m = len(c)
    rows, bounds = np.vstack([np.eye(m), A]), np.append(np.zeros(m), r)
    tight = _choices(len(rows), m - 1)
    systems = np.concatenate([np.ones((len(tight), 1, m)), rows[tight]], axis=1)
    right = np.concatenate([np.ones((len(tight), 1)), bounds[tight]], axis=1)
    regular = np.abs(np.linalg.det(systems)) > 1e-12
    if not regular.any():
        return None
    points = np.linalg.solve(systems[regular], right[regular][..., None])[..., 0]
    allowed = (points @ rows.T >= bounds - tol).all(1)
    if not allowed.any():
        return None
    value = np.where(allowed, points @ c, -np.inf)
    best = points[int(np.flatnonzero(value >= value.max() - tol)[0])]  # of equal ones the first, whatever the rounding
    best = np.maximum(best, 0.0)
    return best / best.sum()


def highs(c: Floats, A: Floats, r: Floats) -> Floats | None:
    """The same program by HiGHS, for any number of objectives."""
    told: Any = linprog(-c, A_ub=-A if len(r) else None, b_ub=-r if len(r) else None, A_eq=np.ones((1, len(c))), b_eq=[1.0],
                        bounds=(0, None), method="highs")  # fmt: skip
    if told.status != 0:
        return None
    w = np.maximum(told.x, 0.0)
    return w / w.sum()


def _gram(gram: npt.ArrayLike) -> Floats:
    C = checks.array("gram", gram, ndim=2).astype(np.float64)
    if C.shape[0] != C.shape[1] or len(C) < 2:
        raise ValueError(f"gram must have shape (m, m) with m at least 2, got {C.shape}")
    size = float(np.abs(C).max())
    if size > 1e150:
        raise ValueError(f"gram must hold numbers up to 1e150, got {size:.3g}")
    if not np.allclose(C, C.T, rtol=0, atol=1e-6 * size):
        raise ValueError("gram must be symmetric, got a matrix that is not")
    if (np.linalg.eigvalsh(C) < -1e-6 * size).any():
        raise ValueError("gram must be positive semidefinite, got a negative eigenvalue")
    return (C + C.T) / 2
