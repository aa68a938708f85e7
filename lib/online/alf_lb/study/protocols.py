"""What the experiments measure: fixed batches against the exact program, regret on fresh tokens, trained language models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lib import checks
from lib.online.alf_lb import (
    AssignmentTrace,
    ConstStep,
    InvStep,
    SignStep,
    SqrtStep,
    StepRule,
    alf_lb,
    cumulative_regret,
    dual_value,
    max_violation,
    online_balance,
    price_hessian,
    regret_bound,
    solve_assignment_lp,
    topk_assign,
)
from lib.online.alf_lb.study.instances import Population
from lib.online.alf_lb.study.language import Training, train
from lib.online.alf_lb.study.rivals import sinkhorn_prices
from lib.online.alf_lb.study.text import Text

__all__ = ["BatchRun", "RegretRun", "added", "arms", "fixed_batch", "growth_of_objective", "race", "regret_run", "routings"]

Array = npt.NDArray[np.float64]
#: Prices at a distance from the optimum: at which the objective's growth is judged.
DISTANCES = (0.05, 0.1, 0.2)
#: Iterations at the end over which a fixed batch is judged.
TAIL = 50


@dataclass
class BatchRun:
    """One rule on several fixed batches; arrays have one entry per batch.

    Attributes
    ----------
    deviation : array
        Largest ``|load - L|`` in the last 50 iterations.
    gap : array
        Mean of the dual over these iterations minus the exact optimum, over the latter.
    rising_far, rising_near : array
        Share of iterations on which the Lagrangian rises, among those with ``max |load - L| > E - 1`` and among the others.
    identity : float
        Largest relative error of the formula for the Lagrangian's change.
    excess : float
        Largest relative excess over the bound from loads.
    margin : float
        Smallest difference of price moves between an expert joined and one left.
    unpaid : float
        Largest excess of a benefit over the price moves that bound it.
    trace : AssignmentTrace
    """

    deviation: Array
    gap: Array
    rising_far: Array
    rising_near: Array
    identity: float
    excess: float
    margin: float
    unpaid: float
    trace: AssignmentTrace


def fixed_batch(gamma: npt.ArrayLike, K: int, rule: StepRule, n_iter: int, optimum: npt.ArrayLike) -> BatchRun:
    """Balance fixed batches and measure what the theory speaks of.

    Parameters
    ----------
    gamma : array_like, shape (S, T, E)
        Affinities of `S` batches.
    K : int
        Experts of a token.
    rule : StepRule
    n_iter : int
        Iterations, at least 2.
    optimum : array_like, shape (S,)
        Exact optimum of each batch, positive.

    Returns
    -------
    BatchRun

    Examples
    --------
    >>> from lib.online.alf_lb import SqrtStep, solve_assignment_lp
    >>> from lib.online.alf_lb.study import fixed_batch, sigmoid_scores
    >>> gamma = sigmoid_scores(32, 4, seed=0, lead=1)
    >>> run = fixed_batch(gamma, 1, SqrtStep(0.1), 300, optimum=[solve_assignment_lp(gamma[0], 1).fun])
    >>> bool(run.deviation[0] <= 3), run.identity < 1e-9
    (True, True)
    """
    g = checks.array("gamma", gamma, ndim=3).astype(np.float64)
    best = checks.array("optimum", optimum, shape=(len(g),), above=0).astype(np.float64)
    run = alf_lb(g, K, rule, checks.integer("n_iter", n_iter, low=2))
    L, E = K * g.shape[1] / g.shape[2], g.shape[2]
    off, moves = run.loads - L, np.diff(run.prices, axis=0)
    change, scale = np.diff(run.lagrangian, axis=0), 1.0 + np.abs(run.lagrangian[1:])
    bound = (moves * off[1:]).sum(-1)
    size = np.abs(off).max(-1)
    far, rises = size[:-1] > E - 1, change > 1e-9 * scale
    share = lambda mask: (rises & mask).sum(0) / np.maximum(mask.sum(0), 1)  # noqa: E731
    return BatchRun(
        deviation=size[-TAIL:].max(0),
        gap=run.lagrangian[-TAIL:].mean(0) / best - 1.0,
        rising_far=share(far),
        rising_near=share(~far),
        identity=float((np.abs(change - run.benefit + run.descent) / scale).max()),
        excess=float(((change - bound) / scale).max()),
        margin=float(run.margin.min()),
        unpaid=float((run.benefit - (moves * np.diff(run.loads, axis=0)).sum(-1)).max()),
        trace=run,
    )


def growth_of_objective(whole: Population, n_directions: int = 20, seed: int | np.random.Generator | None = None) -> float:
    """How fast the objective grows from its optimum: its least excess over ``whole.mu / 2`` times the squared distance.

    Strong convexity bounds this from below. Distances are 0.05, 0.1 and 0.2; directions, with sum 0, are random ones and
    the two along the eigenvector of the least curvature, where growth should be slowest.

    Parameters
    ----------
    whole : Population
    n_directions : int
    seed : int, Generator or None

    Returns
    -------
    float

    Examples
    --------
    >>> from lib.online.alf_lb.study import growth_of_objective, population, sigmoid_scores
    >>> growth_of_objective(population(sigmoid_scores(2000, 4, 0.5, seed=0), K=1), 5, seed=0) > 0.2
    True
    """
    if not isinstance(whole, Population):
        raise TypeError(f"whole must be a Population, got {checks.shown(whole)}")
    E = whole.gamma.shape[1]
    L = whole.K * len(whole.gamma) / E
    d = checks.generator("seed", seed).normal(size=(checks.integer("n_directions", n_directions, low=1), E))
    d -= d.mean(1, keepdims=True)
    d /= np.linalg.norm(d, axis=1, keepdims=True)
    slowest = np.linalg.eigh(price_hessian(whole.gamma, whole.prices, whole.K, 0.03))[1][:, 1]
    value = lambda p: np.asarray(dual_value(whole.gamma, p, whole.K)) / L - whole.best  # noqa: E731
    along = (*d, slowest, -slowest)
    return float(min(value(whole.prices + r * e) / (0.5 * whole.mu * r**2) for r in DISTANCES for e in along))


@dataclass
class RegretRun:
    """Regret of one rule, several runs side by side.

    Attributes
    ----------
    rounds : array of int, shape (m,)
    regret, bound : array, shape (m, runs)
        The bound is that for steps ``1 / (mu n)``.
    prices : array, shape (N + 1, runs, E)
    """

    rounds: npt.NDArray[np.int64]
    regret: Array
    bound: Array
    prices: Array


def regret_run(whole: Population, rule: StepRule, n_rounds: int, T: int, runs: int, seed: Any = None) -> RegretRun:
    """Balance fresh tokens from a population; regret at rounds that include N/16, N/4 and N.

    Parameters
    ----------
    whole : Population
    rule : StepRule
    n_rounds : int
        Rounds N, at least 16.
    T : int
        Tokens of a round.
    runs : int
        Runs side by side, with tokens of their own.
    seed : int, Generator or None

    Returns
    -------
    RegretRun

    Examples
    --------
    >>> from lib.online.alf_lb import InvStep
    >>> from lib.online.alf_lb.study import population, regret_run, sigmoid_scores
    >>> whole = population(sigmoid_scores(1000, 4, 0.5, seed=0), K=1)
    >>> out = regret_run(whole, InvStep(1 / whole.mu), 64, T=32, runs=2, seed=1)
    >>> out.regret.shape[1], bool((out.regret[-1] > 0).all())
    (2, True)
    """
    if not isinstance(whole, Population):
        raise TypeError(f"whole must be a Population, got {checks.shown(whole)}")
    N = checks.integer("n_rounds", n_rounds, low=16)
    run = online_balance(whole.draw(T, runs), whole.K, rule, N, seed=seed)
    at = np.unique(np.r_[np.geomspace(1, N, 28).astype(np.int64), N // 16, N // 4, N])
    regret = cumulative_regret(run.prices[:-1], whole.gamma, whole.K, whole.best, at)
    return RegretRun(at, regret, regret_bound(run.loads, run.target, whole.mu)[at - 1], run.prices)


def added(run: RegretRun) -> Array:
    """Regret that the last three quarters of the rounds add, and those from N/16 to N/4: pairs (runs, 2).

    Their ratio is 1 for a logarithm, 2 for a root, 4 for a straight line.

    Parameters
    ----------
    run : RegretRun

    Returns
    -------
    array, shape (runs, 2)

    Examples
    --------
    >>> import numpy as np
    >>> from lib.online.alf_lb.study import RegretRun, added
    >>> at = np.array([1, 4, 16, 64])
    >>> added(RegretRun(at, np.log(at)[:, None], np.log(at)[:, None], np.zeros((65, 1, 2)))).round(3)
    array([[1.386, 1.386]])
    """
    if not isinstance(run, RegretRun):
        raise TypeError(f"run must be a RegretRun, got {checks.shown(run)}")
    N = int(run.rounds[-1])
    first, middle, last = (run.regret[np.searchsorted(run.rounds, n)] for n in (N // 16, N // 4, N))
    return np.stack([last - middle, middle - first], axis=1)


def arms() -> dict[str, dict[str, Any]]:
    """The ways to balance the language model, with the settings that the tuning runs chose: arguments of `train`."""
    return {
        "none": {},
        "auxiliary": {"alpha": 0.3},
        "sign": {"step": SignStep(0.003)},
        "root": {"step": SqrtStep(0.1)},
        "inverse": {"step": InvStep(1.0)},
        "small sign": {"step": SignStep()},
        "constant": {"step": ConstStep(0.03)},
    }


def race(text: Text, names: Mapping[str, Any] | list[str], n_steps: int, seed: int, **model: Any) -> dict[str, Training]:
    """Train the language model under several ways to balance: same first weights, same batches, same held-out text.

    Parameters
    ----------
    text : Text
        Its last twentieth is held out.
    names : list of str
        Of `arms`.
    n_steps : int
    seed : int
        Of weights and batches.
    **model
        Further arguments of `train`.

    Returns
    -------
    dict
        Name -> Training.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.online.alf_lb.study import Text, race
    >>> text = Text(np.arange(4000) % 7, list("abcdefg"), np.zeros(1, int))
    >>> sorted(race(text, ["none", "sign"], 2, seed=0, d=8, n_experts=4, context=16))
    ['none', 'sign']
    """
    if not isinstance(text, Text):
        raise TypeError(f"text must be a Text, got {checks.shown(text)}")
    steps, key = checks.integer("n_steps", n_steps, low=1), checks.integer("seed", seed, low=0)
    known = arms()
    chosen = {checks.choice("names", name, known): known[name] for name in names}
    n, span = len(text.tokens) * 19 // 20, model.get("context", 64)
    batches = np.random.default_rng(key).integers(0, n - span, size=(steps, 8))
    size = len(text.words)
    learned, held_out = text.tokens[:n], text.tokens[n : n + 8001]
    return {
        name: train(learned, held_out, steps, batches, n_words=size, seed=key, **how, **model) for name, how in chosen.items()
    }


#: Of Sinkhorn's algorithm with the bound: low enough that the entropy costs little, high enough that the sweeps converge.
TEMPERATURE = 0.002


def routings(gamma: npt.ArrayLike, K: int, trained: npt.ArrayLike, n_iter: int = 400) -> dict[str, dict[str, float]]:
    """Ways to route one batch of real scores, against the exact program.

    Parameters
    ----------
    gamma : array_like, shape (T, E)
        Affinities.
    K : int
        Experts of a token; ``K T / E`` must be whole.
    trained : array_like, shape (E,)
        Prices that training arrived at; may be negative.
    n_iter : int
        Iterations of balancing on this batch, and most sweeps of Sinkhorn's algorithm with the bound, at least 1.

    Returns
    -------
    dict
        Name -> ``affinity`` kept, over that of the exact assignment; ``violation`` (MaxVio); ``gap``, the dual's relative
        distance from the optimum.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.online.alf_lb.study import routings, sigmoid_scores
    >>> table = routings(sigmoid_scores(40, 4, seed=0), 1, np.zeros(4), n_iter=200)
    >>> list(table), table["exact"]["violation"]
    (['top-K', 'trained prices', 'balanced here', 'plain Sinkhorn', 'Sinkhorn', 'exact'], 0.0)
    """
    g = checks.array("gamma", gamma, ndim=2).astype(np.float64)
    start = checks.array("trained", trained, shape=(g.shape[1],)).astype(np.float64)
    best = solve_assignment_lp(g, K)
    here = alf_lb(g, K, InvStep(0.5), n_iter, p0=start)
    prices = {
        "top-K": np.zeros(g.shape[1]),
        "trained prices": start,
        "balanced here": here.prices[here.lagrangian.argmin()],
        "plain Sinkhorn": sinkhorn_prices(g, K),
        "Sinkhorn": sinkhorn_prices(g, K, TEMPERATURE, n_iter, once=True),
    }
    table = {name: _routed(g, K, topk_assign(g + p, K), p, best.fun) for name, p in prices.items()}
    return table | {"exact": _routed(g, K, best.x, best.prices, best.fun)}


def _routed(gamma: Array, K: int, x: Any, p: Array, best: float) -> dict[str, float]:
    violation = float(np.asarray(max_violation(x.sum(0))))
    gap = float(np.asarray(dual_value(gamma, p, K))) / best - 1.0
    return {"affinity": float((gamma * x).sum() / best), "violation": violation, "gap": gap}
