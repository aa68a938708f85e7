"""Run a policy over a sequence of linear systems, or replay it on a table of costs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from time import perf_counter
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lib import checks
from lib.online.sor_bandit.solvers import Array, check_omegas


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
        Stop after so many systems; a later call goes on with the next one if `problems` is an iterator.
    timings : bool
        Also return the seconds per round of ``solver_seconds`` and ``learner_seconds``.

    Returns
    -------
    dict
        ``costs`` (T,), the iteration counts, and ``actions`` (T,), the indices of the arms.

    Raises
    ------
    ValueError
        A grid that is empty or leaves (0, 2), or does not have one entry for each arm of the policy.
    RuntimeError
        The solver reported failure.

    Examples
    --------
    >>> from lib.online.sor_bandit import TsallisINF, run_sequence, sor
    >>> from lib.online.sor_bandit.study import ShiftedLaplacians
    >>> out = run_sequence(ShiftedLaplacians(5, "low", seed=0), TsallisINF(2, seed=0), [1.5, 1.6], sor)
    >>> out["costs"].shape
    (5,)
    """
    omegas = check_omegas(grid, "grid")
    _check_arms(policy, len(omegas), "grid")
    checks.function("solver", solver)
    if n_rounds is not None:
        n_rounds = checks.integer("n_rounds", n_rounds, low=0)
    advance = getattr(problems, "advance", None)
    costs: list[int] = []
    actions: list[int] = []
    seconds: list[tuple[float, float]] = []
    source = iter(problems)
    # The count is tested first, so that no system is drawn that will not be solved.
    while (n_rounds is None or len(costs) < n_rounds) and (problem := next(source, None)) is not None:
        A, b, context = problem
        started = perf_counter()
        arm = checks.integer("the arm that the policy selects", policy.select(context), low=0, high=len(omegas) - 1)
        chosen = perf_counter()
        start = {} if advance is None else {"x0": problems.u.copy()}  # type: ignore[attr-defined]
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
    """Run a policy on costs that are known: the same as `run_sequence`, without solving anything again.

    Sound because the count of a solve does not depend on earlier choices. All policies that replay a table share its
    instances (common random numbers).

    Parameters
    ----------
    table : array, shape (T, d)
        Costs of every arm; the policy is shown only the entry of the arm it chose. A table of integers holds iteration counts,
        where 0 is charged as 1 (as `run_sequence` does); other costs are passed on as they are and must be positive.
    policy : object with select(context) and update(loss)
    contexts : array, shape (T,), optional

    Returns
    -------
    dict
        ``costs`` and ``actions``, both of shape (T,).

    Raises
    ------
    TypeError, ValueError
        Shapes that do not match, costs that are not finite, negative or (in seconds, say) zero, costs below the policy's
        offset.

    Examples
    --------
    >>> from lib.online.sor_bandit import TsallisINF, replay
    >>> replay([[3, 9]] * 50, TsallisINF(2, seed=0))["actions"].shape
    (50,)
    """
    costs = checks.array("table", table, ndim=2, low=0)
    given = np.asarray(table)
    counts = given.dtype.kind in "iub"
    if not counts and not (costs > 0.0).all():
        raise ValueError("table must hold positive costs, got 0 (iteration counts may be 0 in a table of integers)")
    _check_arms(policy, costs.shape[1], "table")
    known: Sequence[float | None] = [None] * len(costs)
    if contexts is not None:
        known = checks.array("contexts", contexts, shape=(len(costs),)).tolist()
    actions = np.empty(len(costs), dtype=np.int64)
    for t, context in enumerate(known):
        actions[t] = policy.select(context)
        cost = float(costs[t, actions[t]])
        policy.update(max(1.0, cost) if counts else cost)
    played = given if counts else costs
    return {"costs": played[np.arange(len(costs)), actions], "actions": actions}


def _check_arms(policy: SupportsBandit, d: int, name: str) -> None:
    if not (hasattr(policy, "select") and hasattr(policy, "update")):
        raise TypeError(f"policy must have select and update, got {checks.shown(policy)}")
    n_arms = getattr(policy, "n_arms", d)
    if n_arms != d:
        raise ValueError(f"{name} must have one entry for each arm, got {d} for a policy with {n_arms} arms")
