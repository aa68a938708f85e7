"""Run a policy over a sequence of linear systems, replay it on a table of costs, and the comparators of both."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from time import perf_counter
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lib.online.sor_bandit.solvers import Array


class SupportsBandit(Protocol):
    """What a policy must offer: the arm to play in a context, and a place to tell its loss."""

    def select(self, context: float | None = None) -> int: ...

    def update(self, loss: float) -> None: ...


def run_sequence(
    problems: Iterable[tuple[Any, Array, float | None]],
    policy: SupportsBandit,
    grid: ArrayLike,
    solver: Callable[..., Any],
    *,
    n_rounds: int | None = None,
    timings: bool = False,
) -> dict[str, NDArray[Any]]:
    """Let a policy choose the relaxation parameter of every system of a sequence.

    Parameters
    ----------
    problems : iterable of (A, b, context)
        For example `ShiftedLaplacians` or `HeatEquation2D`. If it has the method ``advance(x)``, it is told every
        solution and its attribute ``u`` is the warm start ``x0`` of the solver.
    policy : object with select(context) and update(loss)
        Sees the cost of the arm it chose, and nothing else. A solve that needs no iteration is charged 1.
    grid : array, shape (d,)
        The relaxation parameter of each arm.
    solver : callable
        ``solver(A, b, omega)`` or ``solver(A, b, omega, x0=x0)`` returning an object with ``nit`` and ``x``, such as `sor` and
        `ssor_pcg`.
    n_rounds : int, optional
        Stop after so many systems.
    timings : bool
        Also return the seconds per round of ``solver_seconds`` and ``learner_seconds``.

    Returns
    -------
    dict
        ``costs`` (T,), the iteration counts, and ``actions`` (T,), the indices of the arms.

    Raises
    ------
    ValueError
        A grid that is empty or leaves (0, 2).
    RuntimeError
        The solver reported failure.

    Examples
    --------
    >>> from lib.online.sor_bandit import ShiftedLaplacians, TsallisINF, run_sequence, sor
    >>> out = run_sequence(ShiftedLaplacians(5, "low", seed=0), TsallisINF(2, seed=0), [1.5, 1.6], sor)
    >>> out["costs"].shape
    (5,)
    """
    omegas = np.atleast_1d(np.asarray(grid, dtype=np.float64))
    if not omegas.size or not ((omegas > 0.0) & (omegas < 2.0)).all():
        raise ValueError(f"grid must be a non-empty vector inside (0, 2), got {omegas}")
    advance = getattr(problems, "advance", None)
    costs: list[int] = []
    actions: list[int] = []
    seconds: list[tuple[float, float]] = []
    source = iter(problems)
    # The count is tested first, so that no system is drawn that will not be solved.
    while (n_rounds is None or len(costs) < n_rounds) and (problem := next(source, None)) is not None:
        A, b, context = problem
        started = perf_counter()
        arm = int(policy.select(context))
        chosen = perf_counter()
        start = {} if advance is None else {"x0": problems.u}  # type: ignore[attr-defined]
        result = solver(A, b, float(omegas[arm]), **start)
        solved = perf_counter()
        if not getattr(result, "success", True):
            raise RuntimeError(f"round {len(costs)}: the solver failed at omega = {omegas[arm]}: {result.message}")
        policy.update(max(1, int(result.nit)))
        seconds.append((solved - chosen, perf_counter() - solved + chosen - started))
        if advance is not None:
            advance(result.x)
        costs.append(int(result.nit))
        actions.append(arm)
    out: dict[str, NDArray[Any]] = {
        "costs": np.array(costs, dtype=np.int64),
        "actions": np.array(actions, dtype=np.int64),
    }
    if timings:
        out["solver_seconds"], out["learner_seconds"] = np.array(seconds).reshape(-1, 2).T
    return out


def replay(table: ArrayLike, policy: SupportsBandit, contexts: ArrayLike | None = None) -> dict[str, NDArray[Any]]:
    """Run a policy on precomputed costs: the same as `run_sequence`, without solving anything again.

    Sound because the count of a solve does not depend on earlier choices. All policies that replay a table share its
    instances (common random numbers).

    Parameters
    ----------
    table : array, shape (T, d)
        Costs of every arm; the policy is shown only the entry of the arm it chose.
    policy : object with select(context) and update(loss)
    contexts : array, shape (T,), optional

    Returns
    -------
    dict
        ``costs`` and ``actions``, both of shape (T,).

    Raises
    ------
    ValueError
        Shapes that do not match.

    Examples
    --------
    >>> from lib.online.sor_bandit import TsallisINF, replay
    >>> replay([[3, 9]] * 50, TsallisINF(2, seed=0))["actions"].shape
    (50,)
    """
    costs = np.asarray(table)
    if costs.ndim != 2:
        raise ValueError(f"table must have shape (T, d), got {costs.shape}")
    known: Sequence[float | None] = [None] * len(costs) if contexts is None else np.asarray(contexts).tolist()
    if len(known) != len(costs):
        raise ValueError(f"{len(known)} contexts for {len(costs)} rounds")
    actions = np.empty(len(costs), dtype=np.int64)
    for t, context in enumerate(known):
        actions[t] = policy.select(context)
        policy.update(max(1.0, float(costs[t, actions[t]])))
    return {"costs": costs[np.arange(len(costs)), actions], "actions": actions}


def best_fixed(table: ArrayLike) -> tuple[int, float]:
    """Arm of the smallest mean cost in hindsight, and that mean.

    Examples
    --------
    >>> from lib.online.sor_bandit import best_fixed
    >>> best_fixed([[3, 9], [5, 1]])
    (0, 4.0)
    """
    means = np.asarray(table, dtype=np.float64).mean(axis=0)
    return int(means.argmin()), float(means.min())


def instance_optimal(table: ArrayLike) -> NDArray[Any]:
    """Smallest cost of each instance over the grid, shape (T,): exact, unlike the asymptotic `optimal_omega`.

    Examples
    --------
    >>> from lib.online.sor_bandit import instance_optimal
    >>> instance_optimal([[3, 9], [5, 1]])
    array([3, 1])
    """
    return np.asarray(table).min(axis=1)


def golden_section(
    cost: Callable[[float], float], omegas: ArrayLike, costs: ArrayLike, n_evaluations: int = 12
) -> tuple[Array, Array]:
    """Refine a coarse grid of costs around its minimum by golden-section search.

    The inner points are kept in order; the published code does not, and can then search next to the minimum.

    Parameters
    ----------
    cost : callable
        Cost at an omega.
    omegas, costs : array, shape (k,)
        Increasing grid and its costs, at least 3 points.
    n_evaluations : int
        Total number of points wanted, those given included; default 12 (the paper's value).

    Returns
    -------
    omegas, costs : arrays, shape (max(k, n_evaluations),)
        The given points followed by those of the search.

    Raises
    ------
    ValueError
        Fewer than 3 points, a grid that does not increase, shapes that differ.

    Examples
    --------
    >>> from lib.online.sor_bandit import golden_section
    >>> omegas, costs = golden_section(lambda w: (w - 1.2) ** 2, [1.0, 1.3, 1.9], [0.04, 0.01, 0.49], 20)
    >>> bool(abs(omegas[costs.argmin()] - 1.2) < 1e-3)
    True

    Source: Khodak et al. (2024), the instance-optimal comparator of the heat experiments.
    """
    points, values = np.asarray(omegas, dtype=np.float64), np.asarray(costs, dtype=np.float64)
    if points.ndim != 1 or len(points) < 3 or points.shape != values.shape or not (np.diff(points) > 0.0).all():
        raise ValueError("need at least 3 increasing omegas and as many costs")
    seen, found = points.tolist(), values.tolist()

    def evaluate(omega: float) -> float:
        if len(seen) >= n_evaluations:
            return np.inf
        seen.append(omega)
        found.append(float(cost(omega)))
        return found[-1]

    minima = np.flatnonzero(values == values.min())
    left, right = max(0, minima[0] - 1), min(len(points) - 1, minima[-1] + 1)
    low, high = points[left], points[right]
    inner = slice(left + 1, right)
    a, fa, b, fb = _inner_pair(evaluate, low, high, points[inner], values[inner])
    while len(seen) < n_evaluations:
        # Counts tie often on a flat minimum; alternating sides keeps the search centered.
        if fa > fb or (fa == fb and len(seen) % 2 == 0):
            low, a, fa = a, b, fb
            b = low + _GOLDEN * (high - low)
            fb = evaluate(b)
        else:
            high, b, fb = b, a, fa
            a = low + (1.0 - _GOLDEN) * (high - low)
            fa = evaluate(a)
        # The first inner points are not in the golden ratio, so a new one can land on the other side of the old one.
        if a > b:
            a, fa, b, fb = b, fb, a, fa
    return np.array(seen), np.array(found)


_GOLDEN = (np.sqrt(5.0) - 1.0) / 2.0


def _inner_pair(
    evaluate: Callable[[float], float], low: float, high: float, inside: Array, values: Array
) -> tuple[float, float, float, float]:
    """Two points inside [low, high] with their costs, known ones where there are any, to start the search from."""
    upper, lower = low + _GOLDEN * (high - low), low + (1.0 - _GOLDEN) * (high - low)
    if len(inside) == 2:
        return float(inside[0]), float(values[0]), float(inside[1]), float(values[1])
    if len(inside) == 1 and high - inside[0] != inside[0] - low:
        if high - inside[0] > inside[0] - low:
            return float(inside[0]), float(values[0]), upper, evaluate(upper)
        return lower, evaluate(lower), float(inside[0]), float(values[0])
    return lower, evaluate(lower), upper, evaluate(upper)


def central_minimizer(omegas: ArrayLike, costs: ArrayLike) -> float:
    """Middle between the smallest and the largest omega of minimal cost: the instance-optimal choice of the heat experiments.

    Examples
    --------
    >>> from lib.online.sor_bandit import central_minimizer
    >>> central_minimizer([1.0, 1.25, 1.5, 1.75], [9, 7, 7, 8])
    1.375
    """
    points, values = np.asarray(omegas, dtype=np.float64), np.asarray(costs)
    best = points[values == values.min()]
    return float(0.5 * (best.min() + best.max()))
