"""The procedure: one price step and one top-K pass per iteration, on a fixed batch or on fresh tokens; its regret."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lib import checks
from lib.online.alf_lb.routing import (
    balanced_load,
    dual_of,
    experts_of,
    lagrangian_of,
    prices_of,
    scores_of,
    select,
)
from lib.online.alf_lb.steps import StepRule, rule_of

__all__ = ["AssignmentTrace", "OnlineTrace", "alf_lb", "cumulative_regret", "online_balance", "regret_bound"]

Array = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass
class AssignmentTrace:
    """What `alf_lb` did: the first axis of histories is the iteration; further axes are those of the batch.

    Attributes
    ----------
    p : array, shape (..., E)
        Prices at the end.
    x : array of bool, shape (..., T, E)
        Assignment at the end.
    prices, loads : array, shape (n_iter + 1, ..., E)
        Before the first iteration and after each.
    lagrangian : array, shape (n_iter + 1, ...)
    benefit : array, shape (n_iter, ...)
        Total switching benefit of each iteration.
    descent : array, shape (n_iter, ...)
        What the price step takes from the Lagrangian, ``sum eps (load - L)^2``.
    switches : array of int, shape (n_iter, ...)
        Tokens that changed an expert.
    margin : array, shape (n_iter, ...)
        Smallest difference between the price moves of an expert that a token joined and one that it left; infinity where no
        token moved.
    n : int
        Iterations so far, those before a resumed run included.
    """

    p: Array
    x: Bools
    prices: Array
    loads: Array
    lagrangian: Array
    benefit: Array
    descent: Array
    switches: npt.NDArray[np.int64]
    margin: Array
    n: int


def alf_lb(
    gamma: npt.ArrayLike, K: int, step: StepRule, n_iter: int, p0: npt.ArrayLike | None = None, n0: int = 0
) -> AssignmentTrace:
    """Auxiliary-loss-free load balancing of a fixed batch of tokens, or of several side by side.

    Parameters
    ----------
    gamma : array_like, shape (..., T, E)
        Affinities.
    K : int
        Experts of a token.
    step : StepRule
        How far prices move: `SignStep`, `ConstStep`, `SqrtStep` or `InvStep`.
    n_iter : int
        Iterations, at least 1.
    p0 : array_like, shape (..., E), optional
        First prices; default and paper 0; may be negative.
    n0 : int
        Iterations that a resumed run has behind it.

    Returns
    -------
    AssignmentTrace

    Warns
    -----
    UserWarning
        If every token goes to every expert: nothing can be balanced.

    Examples
    --------
    >>> from lib.online.alf_lb import SignStep, alf_lb
    >>> run = alf_lb([[0.9, 0.2], [0.8, 0.4]], K=1, step=SignStep(0.1), n_iter=5)
    >>> run.loads[:, 0].astype(int).tolist()
    [2, 2, 2, 1, 1, 1]
    """
    g = scores_of("gamma", gamma)
    k, rule = experts_of("K", K, g.shape[-1]), rule_of("step", step)
    count, done = checks.integer("n_iter", n_iter, low=1), checks.integer("n0", n0, low=0)
    if k == g.shape[-1]:
        warnings.warn("K equals the number of experts: nothing to balance", UserWarning, stacklevel=2)
    p = prices_of("p0", np.zeros(g.shape[-1]) if p0 is None else p0, g)
    return _iterate(g, k, rule, count, p, done)


def _iterate(g: Array, K: int, rule: StepRule, count: int, p: Array, done: int) -> AssignmentTrace:
    L = balanced_load(g, K)
    lead = g.shape[:-2]
    prices, loads = (np.empty((count + 1, *lead, g.shape[-1])) for _ in range(2))
    value = np.empty((count + 1, *lead))
    benefit, descent, margin = (np.empty((count, *lead)) for _ in range(3))
    switches = np.empty((count, *lead), dtype=np.int64)
    x = select(g + p[..., None, :], K)
    prices[0], loads[0], value[0] = p, x.sum(-2), lagrangian_of(g, x, p, L)
    for t in range(count):
        moved = price_step(rule, done + t + 1, p, loads[t], L)
        now = select(g + moved[..., None, :], K)
        gained, lost = now & ~x, x & ~now
        benefit[t] = ((g + moved[..., None, :]) * (gained.astype(float) - lost)).sum((-2, -1))  # (10)
        descent[t] = ((loads[t] - L) * (p - moved)).sum(-1)  # (10)
        switches[t], margin[t] = gained.any(-1).sum(-1), _margin(gained, lost, moved - p)
        p, x = moved, now
        prices[t + 1], loads[t + 1], value[t + 1] = p, x.sum(-2), lagrangian_of(g, x, p, L)
    return AssignmentTrace(p.copy(), x, prices, loads, value, benefit, descent, switches, margin, done + count)


def price_step(rule: StepRule, n: int, p: Array, load: Array, target: float) -> Array:
    """One dual step: prices of experts with too few tokens rise."""
    return p + rule._eps(n, load, target) * (target - load)  # (4)


def _margin(gained: Bools, lost: Bools, delta: Array) -> Array:
    """Over tokens that moved: the smallest price move of an expert joined minus the largest of an expert left."""
    moves = delta[..., None, :]
    joined = np.where(gained, moves, np.inf).min(-1)
    left = np.where(lost, moves, -np.inf).max(-1)
    return np.asarray((joined - left).min(-1))  # (11)


@dataclass
class OnlineTrace:
    """What `online_balance` did: the first axis is the round; further axes are runs side by side.

    Attributes
    ----------
    prices : array, shape (n_rounds + 1, ..., E)
        The prices that each round was routed with; the last are those after the last round.
    loads : array, shape (n_rounds, ..., E)
    target : float
        Balanced load.
    n : int
        Rounds so far, those before a resumed run included.
    """

    prices: Array
    loads: Array
    target: float
    n: int


def online_balance(sample: Callable[[np.random.Generator], npt.ArrayLike], K: int, step: StepRule, n_rounds: int, *,
                   p0: npt.ArrayLike | None = None, n0: int = 0,
                   seed: int | np.random.Generator | None = None) -> OnlineTrace:  # fmt: skip
    """The same procedure where every iteration sees fresh tokens: stochastic gradient descent on the dual.

    Parameters
    ----------
    sample : callable
        ``sample(generator)`` gives the affinities of a round, shape (..., T, E), the same shape in every round.
    K : int
        Experts of a token.
    step : StepRule
    n_rounds : int
        Rounds, at least 1.
    p0 : array_like, shape (..., E), optional
        First prices; default 0; may be negative.
    n0 : int
        Rounds that a resumed run has behind it.
    seed : int, Generator or None
        Of the tokens.

    Returns
    -------
    OnlineTrace

    Examples
    --------
    >>> from lib.online.alf_lb import InvStep, online_balance
    >>> tokens = lambda rng: rng.random((64, 4)) * [1.0, 0.8, 0.6, 0.4]
    >>> run = online_balance(tokens, 1, InvStep(0.4), 200, seed=0)
    >>> bool(run.prices[-1, 3] > run.prices[-1, 0])
    True
    """
    checks.function("sample", sample)
    rule, count = rule_of("step", step), checks.integer("n_rounds", n_rounds, low=1)
    wanted, done = checks.integer("K", K, low=1), checks.integer("n0", n0, low=0)
    rng = checks.generator("seed", seed)
    g = scores_of("sample", sample(rng))
    k, L = experts_of("K", wanted, g.shape[-1]), balanced_load(g, wanted)
    p = prices_of("p0", np.zeros(g.shape[-1]) if p0 is None else p0, g)
    prices, loads = np.empty((count + 1, *p.shape)), np.empty((count, *p.shape))
    prices[0] = p
    for t in range(count):
        if t:
            fresh = scores_of("sample", sample(rng))
            if fresh.shape != g.shape:
                raise ValueError(f"sample must give shape {g.shape} in every round, got {fresh.shape}")
            g = fresh
        loads[t] = select(g + prices[t][..., None, :], k).sum(-2)
        prices[t + 1] = price_step(rule, done + t + 1, prices[t], loads[t], L)
    return OnlineTrace(prices, loads, L, done + count)


def cumulative_regret(prices: npt.ArrayLike, population: npt.ArrayLike, K: int, best: float, rounds: npt.ArrayLike) -> Array:
    """Regret of online prices: what they cost on the population beyond the best fixed price, summed over rounds.

    The objective is that of the theory, ``dual_value / L``. It is evaluated at some rounds only; between them it is taken as
    linear.

    Parameters
    ----------
    prices : array_like, shape (N, ..., E)
        Prices of rounds 1 to N; may be negative.
    population : array_like, shape (M, E)
        Affinities of all tokens that rounds are drawn from.
    K : int
        Experts of a token.
    best : float
        Least value of the objective on the population.
    rounds : array_like of int, shape (m,)
        Rounds at which the objective is evaluated: increasing, from 1, at most N.

    Returns
    -------
    array, shape (m, ...)
        Regret up to each of these rounds.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.online.alf_lb import cumulative_regret
    >>> tokens = np.array([[0.9, 0.2], [0.8, 0.4]])
    >>> cumulative_regret(np.zeros((3, 2)), tokens, 1, best=1.3, rounds=np.array([1, 3])).round(3)
    array([0.4, 1.2])
    """
    path = checks.array("prices", prices).astype(np.float64)
    pool = scores_of("population", population)
    if pool.ndim != 2 or path.ndim < 2 or path.shape[-1] != pool.shape[-1]:
        raise ValueError(f"prices and population must end in the experts, got shapes {path.shape} and {pool.shape}")
    k, least = experts_of("K", K, pool.shape[-1]), checks.number("best", best)
    at = checks.array("rounds", rounds, ndim=1, low=1, high=len(path)).astype(np.int64)
    if at[0] != 1 or (np.diff(at) <= 0).any():
        raise ValueError(f"rounds must start at 1 and increase, got {at[:4]}")
    flat = path[at - 1].reshape(-1, path.shape[-1])
    excess = np.array([dual_of(pool, p, k) for p in flat]) / balanced_load(pool, k) - least  # (14)
    excess = excess.reshape(len(at), *path.shape[1:-1])
    gaps = np.diff(at).reshape(-1, *[1] * (excess.ndim - 1))
    inside = 0.5 * (excess[1:] + excess[:-1]) * (gaps - 1) + excess[1:]
    return np.concatenate([excess[:1], excess[0] + np.cumsum(inside, axis=0)])


def regret_bound(loads: npt.ArrayLike, target: float, mu: float) -> Array:
    """The bound of stochastic gradient descent with steps ``1 / (mu n)``, for the gradients that were met.

    Parameters
    ----------
    loads : array_like, shape (N, ..., E)
        Loads of every round.
    target : float
        Balanced load, positive.
    mu : float
        Strong convexity, positive.

    Returns
    -------
    array, shape (N, ...)
        ``sum_n |load / target - 1|^2 / (2 mu n)`` after every round.

    Examples
    --------
    >>> from lib.online.alf_lb import regret_bound
    >>> regret_bound([[12.0, 8.0], [11.0, 9.0]], target=10.0, mu=0.5).round(3)
    array([0.08, 0.09])
    """
    given = checks.array("loads", loads, low=0).astype(np.float64)
    if given.ndim < 2:
        raise ValueError(f"loads must have at least 2 dimensions, got shape {given.shape}")
    balanced, curvature = checks.positive("target", target), checks.positive("mu", mu)
    n = np.arange(1, len(given) + 1).reshape(-1, *[1] * (given.ndim - 2))
    with np.errstate(over="ignore"):
        squared = ((given / balanced - 1.0) ** 2).sum(-1)  # (16)
        bound = np.asarray(np.cumsum(squared / (2.0 * curvature * n), axis=0))  # (16)
    if not np.isfinite(bound).all():
        raise ValueError(f"target and mu must not be so small that the bound overflows, got {target} and {mu}")
    return bound
