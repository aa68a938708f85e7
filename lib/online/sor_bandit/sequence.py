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
    >>> from lib.online.sor_bandit import TsallisINF, run_sequence, sor
    >>> from lib.online.sor_bandit.study import ShiftedLaplacians
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
