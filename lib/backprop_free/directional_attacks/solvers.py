"""The four methods as functions: `maximize_hybrid` and what the paper compares it with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import OptimizeResult

from lib import checks
from lib.backprop_free.directional_attacks.attack import LOSSES, METHODS
from lib.backprop_free.directional_attacks.directions import COVERINGS, POLLS
from lib.backprop_free.directional_attacks.machines import SUFFICIENT_GAIN, Attacks, Cdsm, Hybrid, Machine, RandomLines
from lib.backprop_free.directional_attacks.problem import SurrogateProblem
from lib.callbacks import asks_to_stop

Radii = tuple[float, float]
Callback = Callable[..., Any]
MESSAGES = {
    "radii": (0, "the radii have reached their lower limits"),
    "max_eval": (1, "max_eval evaluations are made"),
    "callback": (99, "the callback has asked to stop"),
}
MACHINES: dict[str, type[Machine]] = {"hybrid": Hybrid, "cdsm": Cdsm, "attacks": Attacks, "lines": RandomLines}


def maximize_hybrid(
    problem: SurrogateProblem, x0: ArrayLike | None = None, *, r0: float = 1.0, r_dsm: Radii = (1e-5, 10.0),
    r_atk: Radii = (1e-6, 10.0), max_eval: int = 20_000, attack: str | Callable[..., Any] = "fgsm", loss: str = "linear",
    sufficient_gain: float = SUFFICIENT_GAIN, poll: str = "n+1", covering: str | None = "random",
    covering_radius: float | None = None, search: bool = True, stop_at_minimum: bool = True, seed: Any = None,
    callback: Callback | None = None, state: dict[str, Any] | None = None,
) -> OptimizeResult:  # fmt: skip
    """Attacks where they gain much, direct search where they do not: the paper's method.

    Parameters
    ----------
    problem : SurrogateProblem
        What to maximize; user functions get copies.
    x0 : array_like, shape (n,)
        Start, at which the objective must be finite. Entries may be negative.
    r0 : float
        First radius of attack and poll (the paper: 1; 1e-3 for the network of biodiesel).
    r_dsm, r_atk : (float, float)
        Limits of the radii of poll and attack (the paper, for images: (1e-5, 10) and (1e-6, 10)).
    max_eval : int
        Most evaluations of the objective in this call, the start's included; passes of attacks do not count.
    attack : {"fgsm", "pgd"} or callable
        The attack (the paper's runs: FGSM), or ``attack(phi, x, u, radius)``, which gives a move within the radius; tensors.
    loss : {"linear", "soft_label"}
        See `directional_attack`.
    sufficient_gain : float
        Relative gain of an attack that skips the direct search (the paper: 1e-3); infinity allowed: never.
    poll : {"n+1", "2n"}
        See `poll_directions`.
    covering : {"random", "farthest", "official"} or None
        See `covering_move`; None: no covering step.
    covering_radius : float, optional
        Default `r0`.
    search : bool
        Whether there is a search step.
    stop_at_minimum : bool
        Whether the run ends where the radii have reached their lower limits. If not, attacks and covering steps go on until
        `max_eval`.
    seed : None, int or Generator
        Of the direct search.
    callback : callable, optional
        ``callback(intermediate_result)`` or ``callback(x)`` after each iteration; a true answer or StopIteration ends the run.
    state : dict, optional
        ``result.state`` of an earlier run of this method: goes on from there, with its settings, as if it had not stopped.

    Returns
    -------
    OptimizeResult
        ``x``, ``fun`` (the largest value found, penalty included), ``success`` (whether the radii have reached their lower
        limits), ``status``, ``message``, ``nit``, ``nfev`` (evaluations), ``njev`` (passes forward and backward),
        ``violation``, ``state``, and ``history``: for each evaluation ``value``, ``best``, ``step`` and ``passes`` (of
        attacks until then); for each iteration ``tag``, ``nfev``, ``njev``, ``r_atk``, ``r_dsm``; and ``x``, shape
        (nit + 1, n), the best points, the start first.

    Raises
    ------
    ValueError, TypeError
        For what does not fit, or an objective that is not finite at the start.

    Examples
    --------
    >>> from lib.backprop_free.directional_attacks import SurrogateProblem, maximize_hybrid
    >>> import torch
    >>> hill = SurrogateProblem(torch.tanh, lambda y: -((y - 0.5) ** 2).sum())
    >>> res = maximize_hybrid(hill, [2.0, -1.0], seed=0)
    >>> res.success, res.x.round(3)
    (True, array([0.549, 0.549]))
    """
    settings = _attack_settings(attack, loss) | _search_settings(r0, r_dsm, poll, covering, covering_radius, search)
    settings["r_atk"] = _limits("r_atk", r_atk)
    settings["sufficient_gain"] = checks.number("sufficient_gain", sufficient_gain, low=0, inf=True)
    settings["stop_at_minimum"] = checks.boolean("stop_at_minimum", stop_at_minimum)
    return _run("hybrid", problem, x0, settings, max_eval, seed, callback, state)


def maximize_cdsm(
    problem: SurrogateProblem, x0: ArrayLike | None = None, *, r0: float = 1.0, r_dsm: Radii = (1e-5, 10.0),
    max_eval: int = 20_000, poll: str = "2n", covering: str | None = "random", covering_radius: float | None = None,
    search: bool = True, stop_at_minimum: bool = True, seed: Any = None, callback: Callback | None = None,
    state: dict[str, Any] | None = None,
) -> OptimizeResult:  # fmt: skip
    """The covering direct search method alone: it knows nothing of the network.

    Parameters
    ----------
    problem, x0, r0, r_dsm, max_eval, poll, covering, covering_radius, search, seed, callback, state
        As in `maximize_hybrid`; the entries of `x0` may be negative.
    stop_at_minimum : bool
        Whether the run ends where the radius has reached its lower limit. If not, covering steps go on until `max_eval`, and
        one that succeeds doubles the radius.

    Returns
    -------
    OptimizeResult
        As `maximize_hybrid`.

    Examples
    --------
    >>> from lib.backprop_free.directional_attacks import SurrogateProblem, maximize_cdsm
    >>> hill = SurrogateProblem(lambda x: x, lambda y: -((y - 0.5) ** 2).sum())
    >>> res = maximize_cdsm(hill, [2.0, -1.0], seed=0)
    >>> res.success, res.x.round(3)
    (True, array([0.5, 0.5]))
    """
    settings = _search_settings(r0, r_dsm, poll, covering, covering_radius, search)
    settings["stop_at_minimum"] = checks.boolean("stop_at_minimum", stop_at_minimum)
    if covering is None and not stop_at_minimum:
        raise ValueError("stop_at_minimum must be True where covering is None: nothing would be left to try")
    return _run("cdsm", problem, x0, settings, max_eval, seed, callback, state)


def maximize_attacks(
    problem: SurrogateProblem, x0: ArrayLike | None = None, *, r0: float = 1.0, r_atk: Radii = (1e-6, 10.0),
    max_eval: int = 20_000, attack: str | Callable[..., Any] = "fgsm", loss: str = "linear", callback: Callback | None = None,
    state: dict[str, Any] | None = None,
) -> OptimizeResult:  # fmt: skip
    """Attacks alone, with two radii in each iteration: nothing is random.

    Parameters
    ----------
    problem, x0, r0, r_atk, max_eval, attack, loss, callback, state
        As in `maximize_hybrid`; the entries of `x0` may be negative.

    Returns
    -------
    OptimizeResult
        As `maximize_hybrid`.

    Examples
    --------
    >>> from lib.backprop_free.directional_attacks import SurrogateProblem, maximize_attacks
    >>> hill = SurrogateProblem(lambda x: x, lambda y: -((y - 0.5) ** 2).sum())
    >>> res = maximize_attacks(hill, [2.0, -1.0])
    >>> res.success, res.x.round(3)
    (True, array([0.5, 0.5]))
    """
    settings = _attack_settings(attack, loss) | {"r0": checks.positive("r0", r0), "r_atk": _limits("r_atk", r_atk)}
    return _run("attacks", problem, x0, settings, max_eval, None, callback, state)


def maximize_random_line_search(
    problem: SurrogateProblem, x0: ArrayLike | None = None, *, r0: float = 1.0, r_dsm: Radii = (1e-5, 10.0),
    max_eval: int = 20_000, seed: Any = None, callback: Callback | None = None, state: dict[str, Any] | None = None,
) -> OptimizeResult:  # fmt: skip
    """Steps along random lines, of three lengths: the paper's plainest rival.

    Parameters
    ----------
    problem, x0, r0, r_dsm, max_eval, seed, callback, state
        As in `maximize_hybrid`; the entries of `x0` may be negative.

    Returns
    -------
    OptimizeResult
        As `maximize_hybrid`.

    Examples
    --------
    >>> from lib.backprop_free.directional_attacks import SurrogateProblem, maximize_random_line_search
    >>> hill = SurrogateProblem(lambda x: x, lambda y: -((y - 0.5) ** 2).sum())
    >>> res = maximize_random_line_search(hill, [2.0, -1.0], seed=0)
    >>> res.success, res.x.round(3)
    (True, array([0.5, 0.5]))
    """
    settings = {"r0": checks.positive("r0", r0), "r_dsm": _limits("r_dsm", r_dsm)}
    return _run("lines", problem, x0, settings, max_eval, seed, callback, state)


def _limits(name: str, radii: Any) -> Radii:
    low, high = checks.array(name, radii, shape=(2,), above=0)
    if low > high:
        raise ValueError(f"{name} must be (low, high) with low <= high, got ({low:g}, {high:g})")
    return float(low), float(high)


def _attack_settings(attack: Any, loss: str) -> dict[str, Any]:
    if not callable(attack):
        checks.choice("attack", attack, METHODS)
    return {"attack": attack, "loss": checks.choice("loss", loss, LOSSES)}


def _search_settings(r0: float, r_dsm: Any, poll: str, covering: Any, covering_radius: Any, search: bool) -> dict[str, Any]:
    r0 = checks.positive("r0", r0)
    wide = r0 if covering_radius is None else checks.positive("covering_radius", covering_radius)
    if covering is not None:
        checks.choice("covering", covering, COVERINGS)
    found = {"r0": r0, "r_dsm": _limits("r_dsm", r_dsm), "poll": checks.choice("poll", poll, POLLS), "covering": covering}
    return found | {"covering_radius": wide, "search": checks.boolean("search", search)}


def _run(name: str, problem: Any, x0: Any, settings: dict[str, Any], max_eval: int, seed: Any, callback: Callback | None,
         state: Any) -> OptimizeResult:  # fmt: skip
    """Open the door, then ask and tell until the radii, the budget or the callback end it."""
    if not isinstance(problem, SurrogateProblem):
        raise TypeError(f"problem must be a SurrogateProblem, got {checks.shown(problem)}")
    max_eval = checks.integer("max_eval", max_eval, low=1)
    if callback is not None:
        checks.function("callback", callback)
    evals, grads = problem.n_eval, problem.n_grad
    if state is None:
        machine = _opened(name, problem, x0, settings, seed)
    elif not isinstance(state, dict) or state.get("name") != name:
        raise TypeError(f"state must be the state of an earlier result of this method ({name}), got {checks.shown(state)}")
    else:
        machine = MACHINES[name].resumed(problem, state["machine"])
    run = _Record(machine, started=state is None)
    reason = ""
    while not reason:
        if machine.over and machine.finished():
            reason = "radii"
        elif problem.n_eval - evals >= max_eval:
            reason = "max_eval"
        else:
            point = machine.ask()
            outputs = problem.outputs(point)
            value = problem.score(outputs)
            step = machine.phases[machine.phase]
            machine.tell(outputs, value)
            run.trial(value, step, problem.n_grad - grads)
            if machine.over and run.iteration(problem.n_eval - evals, problem.n_grad - grads, callback):
                reason = "callback"
    return run.result(name, reason, problem.n_eval - evals, problem.n_grad - grads)


def _opened(name: str, problem: SurrogateProblem, x0: Any, settings: dict[str, Any], seed: Any) -> Machine:
    if x0 is None:
        raise TypeError("x0 must hold real numbers, got None")
    start = np.array(checks.array("x0", x0, ndim=1), dtype=float)
    if problem.n is not None and len(start) != problem.n:
        raise ValueError(f"x0 must have shape ({problem.n},), got {start.shape}")
    machine = MACHINES[name](problem, start, checks.generator("seed", seed), settings)
    if not np.isfinite(machine.value):
        raise ValueError(f"the objective must be finite at x0, got {machine.value}")
    return machine


class _Record:
    """What a run has seen."""

    def __init__(self, machine: Machine, started: bool) -> None:
        self.machine, self.first = machine, machine.nit
        self.trials = [(machine.value, machine.value, "start", 0)] if started else []
        self.rows: list[tuple[str, int, int, float, float]] = []
        self.points = [machine.x.copy()]

    def trial(self, value: float, step: str, passes: int) -> None:
        self.trials.append((value, self.machine.value, step, passes))

    def iteration(self, nfev: int, njev: int, callback: Callback | None) -> bool:
        """Note an iteration; whether the callback wants the run to end."""
        m = self.machine
        self.rows.append((m.tag, nfev, njev, m.r_atk, m.r_dsm))
        self.points.append(m.x.copy())
        if callback is None:
            return False
        told = OptimizeResult(x=m.x.copy(), fun=m.value, nit=m.nit - self.first, nfev=nfev, njev=njev, tag=m.tag)
        return asks_to_stop(callback, told)

    def result(self, name: str, reason: str, nfev: int, njev: int) -> OptimizeResult:
        m, (status, message) = self.machine, MESSAGES[reason]
        tags, evals, grads, r_atk, r_dsm = zip(*self.rows, strict=True) if self.rows else ((),) * 5
        values, best, steps, passes = zip(*self.trials, strict=True) if self.trials else ((),) * 4
        history = {"value": np.array(values, dtype=float), "best": np.array(best, dtype=float)}
        history |= {"step": np.array(steps, dtype="U8"), "passes": np.array(passes, dtype=int)}
        history |= {"tag": np.array(tags, dtype="U16"), "nfev": np.array(evals, dtype=int), "njev": np.array(grads, dtype=int)}
        history |= {"r_atk": np.array(r_atk, dtype=float), "r_dsm": np.array(r_dsm, dtype=float), "x": np.array(self.points)}
        return OptimizeResult(
            x=m.x.copy(), fun=m.value, success=status == 0, status=status, message=message, nit=len(self.rows), nfev=nfev,
            njev=njev, violation=m.problem.violation(m.outputs), state={"name": name, "machine": m.state()}, history=history,
        )  # fmt: skip


__all__ = ["maximize_attacks", "maximize_cdsm", "maximize_hybrid", "maximize_random_line_search"]
