"""How hard an instance is, and the classes of instances that are at most that hard."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lib import checks
from lib.online.learned_active_learning.problem import BanditProblem

Array = NDArray[np.float64]
_CHUNK = 4_000_000


def complexity(thetas: ArrayLike, problem: BanditProblem, tol: float = 1e-3, max_iter: int = 5000) -> tuple[Array, Array]:
    """The complexity of instances: how many answers an ideal plan needs to tell the best hypothesis from every other.

    Computed from its dual by multiplicative steps; the value is that of the plan found, so it is never too small, and by at
    most `tol` too large. Instances with two best hypotheses have an infinite one.

    Parameters
    ----------
    thetas : array_like, shape (M, n) or (n,)
        Instances, of any size. May be negative.
    problem : BanditProblem
        Gives the hypotheses.
    tol : float
        Largest relative error, at least 1e-6.
    max_iter : int
        Most steps.

    Returns
    -------
    rho : array, shape (M,)
        Complexities.
    plan : array, shape (M, n)
        How the ideal plan shares its queries out; rows sum to 1 (uniform where rho is infinite).

    Raises
    ------
    ValueError
        If the tolerance is not met within `max_iter` steps.

    Examples
    --------
    >>> from lib.online.learned_active_learning import best_arm, complexity
    >>> rho, plan = complexity([[0.6, 0.2]], best_arm(2))
    >>> rho.round(6).tolist(), plan.round(6).tolist()
    ([25.0], [[0.5, 0.5]])
    """
    rows = np.atleast_2d(np.asarray(checks.array("thetas", thetas, ndim=(1, 2)), dtype=float))
    checks.array("thetas", rows, shape=(None, problem.n_queries))
    tol = checks.number("tol", tol, low=1e-6, high=1)
    max_iter = checks.integer("max_iter", max_iter, low=1)
    per = max(1, _CHUNK // problem.Z.size)
    parts = [_complexity(rows[i : i + per], problem, tol, max_iter) for i in range(0, len(rows), per)]
    return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])


def _complexity(rows: Array, problem: BanditProblem, tol: float, max_iter: int) -> tuple[Array, Array, Array]:
    """Complexity, plan, and weights of the rivals."""
    M, n = rows.shape
    rho, plan, rivals = np.full(M, np.inf), np.full((M, n), 1 / n), np.zeros((M, problem.n_hypotheses))
    scale = np.abs(rows).max(1)
    open_ = np.flatnonzero(~problem.tied(rows) & (scale > 0))
    costs = _costs(rows[open_] / scale[open_, None], problem)
    v = (costs.sum(2) > 0) / (problem.n_hypotheses - 1.0)  # weights of the rivals; the best hypothesis has none
    for _ in range(max_iter):
        if not len(open_):
            return rho, plan, rivals
        mixed = np.sqrt(np.einsum("mk,mki->mi", v, costs))
        lower = mixed.sum(1) ** 2  # (11)
        share = mixed / mixed.sum(1, keepdims=True)  # (11)
        each = np.einsum("mki,mi->mk", costs, 1 / np.maximum(share, 1e-300))
        upper = each.max(1)  # (3)
        done = upper <= (1 + tol) * lower
        with np.errstate(over="ignore", divide="ignore"):
            rho[open_[done]] = upper[done] / scale[open_[done]] / scale[open_[done]]
        plan[open_[done]], rivals[open_[done]] = share[done], v[done]
        v = v * each / lower[:, None]  # (12)
        open_, costs, v = open_[~done], costs[~done], v[~done]
    if len(open_):
        raise ValueError(f"{len(open_)} complexities do not have the tolerance tol={tol:g} after max_iter={max_iter} steps")
    return rho, plan, rivals


def outward(rows: Array, problem: BanditProblem) -> tuple[Array, Array]:
    """Complexities and their unit gradients: which way an instance leaves its class, (19)."""
    rho, plan, rivals = _complexity(rows, problem, 2e-3, 20_000)
    values = rows @ problem.Z.T
    best = values.argmax(1)
    apart = problem.Z[best][:, None, :] - problem.Z
    gaps = values.max(1, keepdims=True) - values
    gaps[np.arange(len(rows)), best] = 1.0
    each = np.einsum("mki,mi->mk", np.square(apart), 1 / np.maximum(plan, 1e-300)) / gaps**3
    slope = -np.einsum("mk,mki->mi", rivals * each, apart)  # (19)
    return rho, slope / np.maximum(np.linalg.norm(slope, axis=1, keepdims=True), 1e-300)


def _costs(rows: Array, problem: BanditProblem) -> Array:
    """Squared differences from the best hypothesis over the squared gap, shape (M, K, n): what (3) divides by the plan."""
    values = rows @ problem.Z.T
    best = values.argmax(1)
    apart = problem.Z[best][:, None, :] - problem.Z
    gaps = values[np.arange(len(rows)), best][:, None] - values
    gaps[np.arange(len(rows)), best] = 1.0
    return np.square(apart / gaps[:, :, None])


def project(thetas: ArrayLike, r: float, problem: BanditProblem, rounds: int = 3) -> Array:
    """Make instances that are too hard just easy enough: scale them to complexity `r`, keep entries within 0.98, repeat.

    Parameters
    ----------
    thetas : array_like, shape (M, n) or (n,)
        Instances, entries between -1 and 1. May be negative.
    r : float
        Largest complexity.
    problem : BanditProblem
        Gives the hypotheses.
    rounds : int
        Most repetitions (3: scaling up can meet the bound on the entries).

    Returns
    -------
    array, shape (M, n)

    Raises
    ------
    ValueError
        If an instance cannot be brought into the class in this way.

    Examples
    --------
    >>> from lib.online.learned_active_learning import best_arm, project
    >>> project([[0.1, 0.0]], 25.0, best_arm(2)).round(3).tolist()
    [[0.4, 0.0]]
    """
    rows = problem.instances("thetas", thetas)
    r = checks.positive("r", r)
    rounds = checks.integer("rounds", rounds, low=1)
    moved, inside = scaled(rows, r, problem, rounds)
    if not inside.all():
        raise ValueError(f"{int((~inside).sum())} of {len(rows)} thetas cannot be scaled to a complexity of r={r:g}")
    return moved


def scaled(rows: Array, r: float, problem: BanditProblem, rounds: int = 3) -> tuple[Array, NDArray[np.bool_]]:
    """The projection's arrays: moved instances, and whether each is in the class now."""
    rho = _known(rows, problem)
    for _ in range(rounds):
        if (rho <= r).all():
            break
        factor = np.sqrt(np.where(np.isfinite(rho), np.maximum(1.0, rho / r), 1.0))  # (10)
        rows = np.clip(rows * factor[:, None], -problem.largest, problem.largest)
        rho = _known(rows, problem)
    return rows, rho <= 1.005 * r


def _known(rows: Array, problem: BanditProblem) -> Array:
    return complexity(rows, problem, tol=2e-3, max_iter=20_000)[0]


def draw_class(problem: BanditProblem, r: float, count: int, seed: Any = None) -> Array:
    """Random instances on the boundary of the class of complexity `r`.

    Half of them have signs of the answers drawn by coin, half those of a random hypothesis; sizes are uniform, then all are
    scaled to the boundary. What would need entries beyond 0.98 is drawn again.

    Parameters
    ----------
    problem : BanditProblem
        Gives queries and hypotheses.
    r : float
        Complexity.
    count : int
        How many, at most 100000.
    seed : int or Generator, optional
        Of the draw.

    Returns
    -------
    array, shape (count, n)

    Raises
    ------
    ValueError
        If hardly any instance is that easy.

    Examples
    --------
    >>> from lib.online.learned_active_learning import best_arm, complexity, draw_class
    >>> thetas = draw_class(best_arm(3), 30.0, 5, seed=0)
    >>> complexity(thetas, best_arm(3))[0].round(-1).tolist()
    [30.0, 30.0, 30.0, 30.0, 30.0]
    """
    r = checks.positive("r", r)
    count = checks.integer("count", count, low=1, high=100_000)
    rng = checks.generator("seed", seed)
    found: list[Array] = []
    for _ in range(60):
        size = rng.uniform(0, 1, (2 * count, problem.n_queries))
        coins = np.where(rng.random(size.shape) < 0.5, -1.0, 1.0)
        own = np.sign(problem.Z[rng.integers(problem.n_hypotheses, size=2 * count)])
        signs = np.where(rng.random((2 * count, 1)) < 0.5, np.where(own == 0, coins, own), coins)
        rows = size * signs
        rows = rows[~problem.tied(rows)]
        rows = rows * np.sqrt(_known(rows, problem) / r)[:, None]
        found.append(rows[np.abs(rows).max(1) <= problem.largest])
        if sum(map(len, found)) >= count:
            return np.concatenate(found)[:count]
    raise ValueError(f"hardly any instance has a complexity of r={r:g} or less; {sum(map(len, found))} of {count} were found")
