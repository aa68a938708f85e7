"""Federated zeroth-order optimization: rounds of local steps on private functions, by FZooS and by what it is compared with."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import OptimizeResult

from lib import checks
from lib.backprop_free.fzoos.clients import CLIENTS, Settings
from lib.backprop_free.fzoos.features import check_shares
from lib.backprop_free.fzoos.gp import KERNELS, Array, GPGradient
from lib.backprop_free.fzoos.run import Run
from lib.callbacks import asks_to_stop

METHODS = tuple(CLIENTS)
MESSAGES = {
    "target": (0, "the target is reached"),
    "rounds": (0, "the rounds are done, and the value is lower than at the start"),
    "target missed": (1, "the rounds are done, the target is not reached"),
    "no progress": (2, "the rounds are done, but the value is no lower than at the start"),
    "callback": (99, "the callback has asked to stop"),
}


def federated_minimize(
    fs: Sequence[Callable[[Array], Any]], x0: ArrayLike, method: str = "fzoos", *, rounds: int = 50, local_steps: int = 10,
    lr: float = 0.01, bounds: tuple[float, float] = (0.0, 1.0), shares: ArrayLike | None = None, gamma: Any = "decay",
    n_features: int = 10_000, feature_scale: float = 1.0, ridge: float = 1e-6, kernel: str = "matern52",
    length_scale: float | str = "ml", noise: float = 1e-6, max_points: int = 150, max_sent: int = 500, n_start: int = 10,
    n_active: int = 5, n_candidates: int = 100, n_server: int = 50, n_server_candidates: int = 200, radius: float = 0.01,
    q: int = 20, mu: float = 0.01, prox: float = 1.0, server_lr: float = 1.0, rollback: bool = False,
    grads: Sequence[Callable[[Array], Any]] | None = None, target: float | None = None, vectorized: bool = False,
    callback: Callable[..., Any] | None = None, state: Any = None, seed: Any = 0,
) -> OptimizeResult:  # fmt: skip
    """Minimize an average of clients' private functions, of which only values can be asked.

    A round: every client takes `local_steps` steps of Adam (fresh in each round) from the server's point, on an estimated
    gradient; the server averages where they end. Defaults are those of the authors' code.

    Parameters
    ----------
    fs : sequence of callables
        One for each client, ``f(x) -> float``, x of shape (d,).
    x0 : array_like, shape (d,)
        Start, within `bounds`.
    method : {"fzoos", "fedzo", "fedprox", "scaffold1", "scaffold2", "true"}
        "fzoos": gradients of Gaussian processes, corrected by random-feature surrogates. The others estimate gradients by
        finite differences (`rgf_gradient`): "fedzo" without correction, "fedprox" with a pull to the server's point,
        "scaffold1" with control variates asked at the server's point, "scaffold2" with those of the previous round. "true"
        steps along the exact global gradient, for comparison; it needs `grads`.
    rounds, local_steps : int
        R and T.
    lr : float
        Adam's step size. Adam's own 1e-8 hides slopes of that size: functions should have larger ones.
    bounds : tuple of float
        Lower and upper bound of every coordinate; steps and queries are clipped to them.
    shares : array_like, shape (N,), optional
        w_i, with sum 1; default 1/N.
    gamma : "decay", float or callable
        Length of the correction of "fzoos": 1/t at local iteration t, a number between 0 and 1, or ``gamma(t)``.
    n_features, feature_scale, ridge : int, float, float
        Of the shared surrogate; see `RandomFourierSurrogate`.
    kernel, length_scale, noise, max_points : str, float or "ml", float, int
        Of the clients' processes; see `GPGradient`. "ml" chooses a length scale once a round.
    max_sent : int
        Most points to which the weights that are sent are fitted, the nearest ones.
    n_start, n_active, n_server : int
        Extra queries near x0, after every local step but a round's last, and about the server's new point. May be 0.
    n_candidates, n_server_candidates : int
        Random points among which the extra queries are those with the least certain gradient.
    radius : float
        Half-width of the box of extra queries; about the server's point it is half of how far a client went.
    q, mu, prox : int, float, float
        Directions and step of the finite differences; coefficient of "fedprox".
    server_lr : float
        Share of the way to the average that the server goes; 1 is the average.
    rollback : bool
        Whether the server stays where it was if the average value has not fallen (as the authors' code does).
    grads : sequence of callables, optional
        Exact gradients; with them the directions are compared with the truth, at no query (see Returns).
    target : float, optional
        Stop once the average value is at or below it; it may be negative.
    vectorized : bool
        Whether each f takes points (n, d) and returns values (n,).
    callback : callable, optional
        ``callback(intermediate_result)`` with x, fun, nit after every round, or ``callback(x)``; StopIteration or True ends
        the run.
    state : optional
        ``state`` of an earlier result: go on from there for `rounds` more rounds, with the options of that run; of the
        arguments only fs, rounds, grads, target and callback count.
    seed : int or Generator

    Returns
    -------
    OptimizeResult
        x, fun (their average value, as asked), success, status, message; nit, the rounds; nfev, queries of one client;
        state; and history, a dict of arrays: those of `run.Run.history`.

    Raises
    ------
    ValueError, TypeError
        For arguments that are not allowed, or a value of a client's function that is not a finite number.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.backprop_free.fzoos import federated_minimize
    >>> clients = [lambda x: ((x - 0.2) ** 2).sum(), lambda x: ((x - 0.6) ** 2).sum()]
    >>> result = federated_minimize(clients, [0.9, 0.9], rounds=3, lr=0.05, n_features=200, n_server=5, seed=0)
    >>> result.fun < 0.3, result.nfev
    (True, 196)
    """
    return _drive(*_prepared(dict(locals())))


def _prepared(given: dict[str, Any]) -> tuple[Run, Any, Any, int, float | None, Any]:
    """The arguments of `_drive`, checked: a new run, or a copy of the one to go on with."""
    state, callback, target = given["state"], given["callback"], given["target"]
    if callback is not None:
        checks.function("callback", callback)
    target = None if target is None else checks.number("target", target)
    rounds = checks.integer("rounds", given["rounds"], low=1 if state is None else 0)
    if state is not None:
        if not isinstance(state, Run):
            raise TypeError(f"state must be the state of an earlier result, got {checks.shown(state)}")
        run = copy.deepcopy(state)
    else:
        start = np.array(checks.array("x0", given["x0"], ndim=1), dtype=float)
        n = len(_functions("fs", given["fs"]))
        run = Run(_settings(given, start, n), start, n, checks.generator("seed", given["seed"]))
    wanted = run.n if given["grads"] is not None or run.s.method == "true" else None
    known = _functions("grads", given["grads"] if given["grads"] is not None else [], wanted)
    return run, _functions("fs", given["fs"], run.n), known, rounds, target, callback


_COUNT, _AT_LEAST_0 = partial(checks.integer, low=1, high=10_000_000), partial(checks.integer, low=0, high=10_000_000)
_CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "method": partial(checks.choice, allowed=METHODS),
    "kernel": partial(checks.choice, allowed=KERNELS),
    "prox": partial(checks.number, low=0),
    **dict.fromkeys(("lr", "feature_scale", "ridge", "noise", "radius", "mu", "server_lr"), checks.positive),
    **dict.fromkeys(
        ("local_steps", "n_features", "max_points", "max_sent", "n_candidates", "n_server_candidates", "q"), _COUNT
    ),
    **dict.fromkeys(("n_start", "n_active", "n_server"), _AT_LEAST_0),
    **dict.fromkeys(("rollback", "vectorized"), checks.boolean),
}


def _settings(given: dict[str, Any], x0: Array, n: int) -> Settings:
    """The options of a run of n clients, checked."""
    low, high = _bounds(given["bounds"], x0)
    checked = {name: check(name, given[name]) for name, check in _CHECKS.items()}
    for few, many in (("n_active", "n_candidates"), ("n_server", "n_server_candidates")):
        if checked[few] > checked[many]:
            raise ValueError(f"{few} must be at most {many}, {checked[many]}, got {checked[few]}")
    scale = GPGradient(length_scale=given["length_scale"]).length_scale
    shares, gamma = check_shares("shares", given["shares"], n), _gamma(given["gamma"])
    return Settings(low=low, high=high, shares=shares, gamma=gamma, length_scale=scale, **checked)


def _bounds(bounds: Any, x0: Array) -> tuple[float, float]:
    if not isinstance(bounds, tuple | list | np.ndarray) or len(bounds) != 2:
        raise ValueError(f"bounds must be a lower and an upper bound, got {checks.shown(bounds)}")
    low, high = (checks.number("bounds", bound) for bound in bounds)
    if not low < high:
        raise ValueError(f"bounds must be a lower and a higher number, got {low:g} and {high:g}")
    if x0.min() < low or x0.max() > high:
        raise ValueError(f"x0 must be within bounds, {low:g} to {high:g}, got {x0.min():.6g} to {x0.max():.6g}")
    return low, high


def _gamma(gamma: Any) -> Any:
    if callable(gamma) or (isinstance(gamma, str) and gamma == "decay"):
        return gamma
    if isinstance(gamma, str):
        raise ValueError(f"gamma must be 'decay', a number or a function, got {gamma!r}")
    return checks.probability("gamma", gamma)


def _functions(name: str, given: Any, n: int | None = None) -> list[Callable[..., Any]]:
    """A list of functions, n of them where it is given, else at least one for `fs`."""
    if callable(given) or not isinstance(given, Sequence):
        raise TypeError(f"{name} must be a sequence of functions, one for each client, got {checks.shown(given)}")
    if len(given) != n and (n is not None or (name == "fs" and not given)):
        raise ValueError(f"{name} must be {n or 'one or more'} functions, one for each client, got {len(given)}")
    return [checks.function(f"{name}[{i}]", f) for i, f in enumerate(given)]


def _drive(run: Run, fs: Any, grads: Any, rounds: int, target: float | None, callback: Any) -> OptimizeResult:
    """Rounds until one of the reasons to stop."""
    why = "rounds"
    for _ in range(rounds):
        run.round(fs, grads)
        state = OptimizeResult(x=run.x.copy(), fun=run.values[-1], nit=run.r)
        if callback is not None and asks_to_stop(callback, state):
            why = "callback"
            break
        if target is not None and run.values[-1] <= target:
            why = "target"
            break
    if why == "rounds" and target is not None:
        why = "target missed"
    elif why == "rounds" and not (run.values and run.values[-1] < run.values[0]):
        why = "no progress"
    status, message = MESSAGES[why]
    return OptimizeResult(
        x=run.x.copy(), fun=run.values[-1] if run.values else float("inf"), success=status == 0, status=status,
        message=message, nit=run.r, nfev=run.asked, history=run.history(), state=run,
    )  # fmt: skip
