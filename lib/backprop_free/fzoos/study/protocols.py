"""How runs are compared: rounds and queries to a level, best step sizes, what history is worth, drift, and a rival of ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import OptimizeResult

from lib import checks
from lib.backprop_free.fzoos.federated import federated_minimize
from lib.backprop_free.fzoos.gp import Array, GPGradient
from lib.backprop_free.fzoos.run import cosine
from lib.backprop_free.fzoos.study.instances import Clients


class Cost(NamedTuple):
    """What it took: rounds, queries of one client, numbers that it sent and received."""

    rounds: int
    queries: int
    floats: int


def cost_to(history: Mapping[str, Array], level: float, missed: int | None = None) -> Cost:
    """What a run spent until its value was at or below `level`.

    Parameters
    ----------
    history : mapping
        Of a result of `federated_minimize`.
    level : float
        May be negative.
    missed : int, optional
        A run that never gets there counts as if it had at this round, at what its last round cost; default its last round,
        which is too few.

    Examples
    --------
    >>> from lib.backprop_free.fzoos.study import cost_to
    >>> history = {"fun": [3.0, 0.5, 0.2], "queries": [0, 7, 14], "floats_up": [0, 2, 4], "floats_down": [0, 2, 4]}
    >>> tuple(cost_to(history, level=0.6)), tuple(cost_to(history, level=0.1, missed=4))
    ((1, 7, 4), (4, 28, 16))
    """
    values = checks.array("history", history["fun"], ndim=1)
    level = checks.number("level", level)
    last = len(values) - 1
    extra = last if missed is None else checks.integer("missed", missed, low=last)
    asked = np.asarray(history["queries"])
    sent = np.asarray(history["floats_up"]) + np.asarray(history["floats_down"])
    below = np.flatnonzero(values <= level)
    if len(below):
        k = int(below[0])
        return Cost(k, int(asked[k]), int(sent[k]))
    more = extra - last
    return Cost(extra, *(int(row[-1] + more * (row[-1] - row[-2])) for row in (asked, sent)))


def up_to(result: OptimizeResult, rounds: int) -> OptimizeResult:
    """The result that a run would have had if it had ended after `rounds` of its rounds; without its state.

    Parameters
    ----------
    result : OptimizeResult
        Of `federated_minimize`.
    rounds : int
        At least 1; a run with fewer rounds is left as it is.

    Examples
    --------
    >>> from lib.backprop_free.fzoos import federated_minimize
    >>> from lib.backprop_free.fzoos.study import up_to
    >>> result = federated_minimize([lambda x: x[0] ** 2], [0.9], "fedzo", rounds=3, seed=0)
    >>> up_to(result, 2).nit, up_to(result, 2).history["fun"].shape
    (2, (3,))
    """
    last = min(checks.integer("rounds", rounds, low=1), result.nit)
    history = result.history
    kept = {name: rows[: last + (len(rows) > result.nit)] for name, rows in history.items()}  # some start at round 0
    asked = int(kept["queries"][-1])
    return OptimizeResult(x=kept["x"][-1], fun=float(kept["fun"][-1]), nit=last, nfev=asked, history=kept)


def value_at(queries: ArrayLike, values: ArrayLike, budget: float) -> float:
    """The value after the last round that ended within a budget of queries.

    Parameters
    ----------
    queries, values : array_like, shape (R + 1,)
        Of a result's history; queries start with 0.
    budget : float

    Examples
    --------
    >>> from lib.backprop_free.fzoos.study import value_at
    >>> value_at([0, 100, 200], [3.0, 2.0, 1.0], budget=150)
    2.0
    """
    asked = checks.array("queries", queries, ndim=1)
    known = checks.array("values", values, shape=asked.shape)
    within = np.flatnonzero(asked <= checks.number("budget", budget, low=0))
    if not len(within):
        raise ValueError(f"budget must reach the first entry of queries, {asked[0]:g}, got {budget!r}")
    return float(known[within[-1]])


class Best(NamedTuple):
    """A setting, what it cost, and whether it lies at an end of its grid."""

    setting: float
    cost: tuple[float, ...]
    edge: bool


def best_setting(costs: Mapping[float, Sequence[float]]) -> Best:
    """The setting of the smallest cost; costs are compared entry by entry, to nine digits.

    Parameters
    ----------
    costs : mapping of float to sequence of float
        At least one; none may be empty.

    Examples
    --------
    >>> from lib.backprop_free.fzoos.study import best_setting
    >>> best_setting({0.01: (10, 0.29), 0.02: (6, 0.25), 0.04: (6, 0.28)}).setting
    0.02
    """
    if not costs:
        raise ValueError("costs must not be empty")
    known = {checks.number("costs", key): tuple(float(f"{c:.9g}") for c in cost) for key, cost in costs.items()}
    setting = min(sorted(known), key=known.__getitem__)
    return Best(setting, known[setting], setting in (min(known), max(known)))


def history_cosines(state: Any, clients: Clients, sizes: Sequence[int]) -> tuple[Array, Array]:
    """What history is worth at the server's point of a run of FZooS: cosines to the true gradients, and how sure they are.

    Parameters
    ----------
    state : of a result of `federated_minimize`
    clients : Clients
        With exact gradients.
    sizes : sequence of int
        How many of the nearest queries the process is given.

    Returns
    -------
    cosines, unsure : arrays, shape (n_sizes, N)
        Cosine of estimate and true gradient; the share of the gradient's prior variance that is left.

    Examples
    --------
    >>> from lib.backprop_free import fzoos
    >>> from lib.backprop_free.fzoos import study
    >>> clients = study.synthetic_quadratic(5, 2, 1.0, seed=0)
    >>> result = fzoos.federated_minimize(clients.fs, [0.9] * 5, rounds=1, n_features=20, seed=0)
    >>> cosines, unsure = study.history_cosines(result.state, clients, sizes=[5, 60])
    >>> bool((cosines[1] > cosines[0]).all() and (unsure[1] < unsure[0]).all())
    True
    """
    sizes = [checks.integer("sizes", size, low=2) for size in checks.array("sizes", sizes, ndim=1)]
    x, s, table = state.x, state.s, np.empty((2, len(sizes), state.n))
    for i, seen in enumerate(state.clients.seen):
        scale = GPGradient(s.kernel, s.length_scale, s.noise, s.max_points).fit(seen.X, seen.y, x).length_scale_
        for k, size in enumerate(sizes):
            gp = GPGradient(s.kernel, scale, s.noise, size).fit(seen.X, seen.y, x)
            prior = GPGradient(s.kernel, scale, s.noise).fit(x[None] + 1e3, [0.0]).gradient_variance(x)
            table[:, k, i] = cosine(gp.gradient(x), clients.grads[i](x)), gp.gradient_variance(x) / gp.range_**2 / prior
    return table[0], table[1]


def shared_points(clients: Clients, x0: ArrayLike, rounds: int, seed: Any = 0, **options: Any) -> dict[str, Array]:
    """A rival of ours: all clients ask the same points, and average their values before each step.

    Every client then knows the average function at every point asked, fits the same process to it and takes the same step:
    there is nothing to correct. For each query a client sends one number and receives one. The price is an exchange for
    every step, not one for every T of them.

    Parameters
    ----------
    clients : Clients
    x0 : array_like, shape (d,)
    rounds : int
        Of T steps, as elsewhere.
    seed : int or Generator
    **options
        Of `federated_minimize`.

    Returns
    -------
    dict
        "fun", "queries", "floats" (up and down) and "exchanges" from round 0 on.

    Examples
    --------
    >>> from lib.backprop_free.fzoos.study import shared_points, synthetic_quadratic
    >>> found = shared_points(synthetic_quadratic(5, 2, 50.0, seed=0), [0.9] * 5, rounds=2, seed=0, n_features=10)
    >>> bool(found["fun"][2] < found["fun"][0])
    True
    """
    settings = {"n_server": 0, "gamma": 0.0, "n_features": 1, "vectorized": True} | options
    result = federated_minimize([clients.value], x0, rounds=rounds, seed=seed, **settings)
    asked = result.history["queries"]
    steps = 1 + 2 * (result.state.s.local_steps - 1) + 2  # start, each step's point and extra points, the last point
    exchanges = steps * np.arange(rounds + 1)
    return {"fun": result.history["fun"], "queries": asked, "floats": 2 * asked, "exchanges": exchanges}


def local_average(a: ArrayLike, b: ArrayLike, x: float, step: float, T: int, correct: bool = False) -> float:
    """A round of federated averaging on ``f_i(x) = a_i (x - b_i)^2 / 2``, one variable, exact gradients, no Adam.

    Parameters
    ----------
    a, b : array_like, shape (N,)
        Curvatures, above 0, and minima.
    x : float
        The server's point; it may be negative.
    step : float
        Of gradient descent.
    T : int
        Local steps.
    correct : bool
        Whether each client adds the exact ``grad F - grad f_i`` at its own point.

    Examples
    --------
    >>> from lib.backprop_free.fzoos.study import local_average
    >>> round(local_average([1.0, 3.0], [0.0, 4.0], x=3.0, step=0.1, T=1), 9)
    3.0
    """
    a, b = checks.array("a", a, ndim=1, above=0), checks.array("b", b, ndim=1)
    if a.shape != b.shape:
        raise ValueError(f"b must have shape {a.shape}, as a, got {b.shape}")
    z = np.full(len(a), checks.number("x", x))
    step, correct = checks.positive("step", step), checks.boolean("correct", correct)
    for _ in range(checks.integer("T", T, low=1, high=100_000)):
        whole = (a * (z[:, None] - b)).mean(axis=1)
        z = z - step * (whole if correct else a * (z - b))
    return float(z.mean())


def drift_limit(a: ArrayLike, b: ArrayLike, step: float, T: int) -> float:
    """Where rounds of `local_average` end without a correction: the fixed point in closed form.

    Parameters
    ----------
    a, b : array_like, shape (N,)
    step : float
        Small enough, ``step * a < 2``, that gradient descent converges.
    T : int

    Examples
    --------
    >>> from lib.backprop_free.fzoos.study import drift_limit
    >>> round(drift_limit([1.0, 3.0], [0.0, 4.0], step=0.1, T=1), 9)
    3.0
    """
    a, b = checks.array("a", a, ndim=1, above=0), checks.array("b", b, ndim=1)
    if a.shape != b.shape:
        raise ValueError(f"b must have shape {a.shape}, as a, got {b.shape}")
    step, T = checks.positive("step", step), checks.integer("T", T, low=1, high=100_000)
    if step * a.max() >= 2:
        raise ValueError(f"step must be below 2 / max(a), {2 / a.max():g}, got {step:g}")
    gone = 1 - (1 - step * a) ** T  # (10)
    return float(gone @ b / gone.sum())  # (10)
