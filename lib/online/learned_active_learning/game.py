"""The exact game on finitely many instances: a certified interval for its value, and a policy that attains its upper end."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lib import checks
from lib.online.learned_active_learning.lattice import Lattice
from lib.online.learned_active_learning.policy import TablePolicy, normalized

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Game:
    """What is known of a game's value: ``lower <= value <= upper``, certified by play of either side.

    Attributes
    ----------
    lower : float
        What no policy can beat: the Bayes loss against the best mixture of instances that was met.
    upper : float
        What `policy` attains on its worst instance.
    policy : TablePolicy
        The average of all best responses.
    weights : array, shape (M,)
        The mixture of instances behind `lower`.
    """

    lower: float
    upper: float
    policy: TablePolicy
    weights: Array


def solve_game(
    lattice: Lattice, thetas: ArrayLike, offsets: ArrayLike | float = 0.0, rounds: int = 300, tol: float = 0.0
) -> Game:
    """Least possible worst value of loss minus offset, over all policies and the given instances.

    Multiplicative weights on the instances; the policy answers each mixture by backward induction over the counts.

    Parameters
    ----------
    lattice : Lattice
        Problem and budget.
    thetas : array_like, shape (M, n)
        Instances. May be negative.
    offsets : float or array_like, shape (M,)
        What is subtracted from each instance's loss: 0 for one level, the levels' values for the robust objective. May be
        negative.
    rounds : int
        Most rounds.
    tol : float
        Width of the interval at which to stop.

    Returns
    -------
    Game

    Examples
    --------
    >>> from lib.online.learned_active_learning import Lattice, solve_game, thresholds
    >>> game = solve_game(Lattice(thresholds(1), 3), [[0.5], [-0.5]], rounds=50)
    >>> round(game.lower, 5), round(game.upper, 5)  # three answers, the majority is wrong
    (0.15625, 0.15625)
    """
    problem = lattice.problem
    rows = problem.instances("thetas", thetas)
    shift = checks.array("offsets", offsets, ndim=(0, 1)).astype(float)
    shift = checks.array("offsets", np.full(len(rows), shift) if shift.ndim == 0 else shift, shape=(len(rows),))
    rounds = checks.integer("rounds", rounds, low=1)
    tol = checks.number("tol", tol, low=0)
    costs, likelihood = problem.losses(rows), lattice.likelihood(rows).numpy()
    unit = costs.max()  # a regret may be in any unit
    logs, total, lower, best = np.zeros(len(rows)), np.zeros(len(rows)), -np.inf, np.zeros(len(rows))
    flows = [np.zeros((lattice.starts[t + 1] - lattice.starts[t], problem.n_queries)) for t in range(lattice.budget)]
    ends = np.zeros((len(likelihood), problem.n_hypotheses))
    for k in range(rounds):
        weights = np.exp(logs - logs.max())
        weights /= weights.sum()
        value, asked, told = _respond(lattice, (likelihood * weights) @ costs)
        if value - weights @ shift > lower:
            lower, best = value - weights @ shift, weights  # (17)
        final = _flow(lattice, asked, flows)
        reached = final[:, None] * told
        ends += reached
        loss = ((likelihood.T @ reached) * costs).sum(1) - shift
        total += loss
        logs += 3 / np.sqrt(k + 1) * loss / unit
        if (upper := total.max() / (k + 1)) <= lower + tol:  # (17)
            break
    return Game(float(min(lower, upper)), float(upper), _averaged(lattice, flows, ends), best)


def _respond(lattice: Lattice, posterior: Array) -> tuple[float, list[NDArray[np.int64]], Array]:
    """Bayes policy by backward induction: its loss, its query at every count, its recommendation at the final ones."""
    value = _steady(posterior).min(1)
    told = np.eye(posterior.shape[1])[_steady(posterior).argmin(1)]
    asked: list[NDArray[np.int64]] = []
    for after in reversed(lattice.children):
        n = after.shape[1] // 2
        each = _steady(value[after[:, :n]] + value[after[:, n:]])  # (16)
        asked.insert(0, each.argmin(1))
        value = each.min(1)  # (16)
    return float(value[0]), asked, told


def _steady(values: Array) -> Array:
    """Rounded relative to each row, so that equal entries stay equal on every machine."""
    size = 2.0 ** np.ceil(np.log2(np.maximum(np.abs(values).max(1, keepdims=True), 1e-300)))
    return np.round(values / size, 10) * size


def _flow(lattice: Lattice, asked: list[NDArray[np.int64]], flows: list[Array]) -> Array:
    """Add this policy's realization weights to `flows`; those of the final counts."""
    weight = np.ones(1)
    for t, (query, before) in enumerate(zip(asked, lattice.parents, strict=True)):
        n = before.shape[1] // 2
        flow = np.zeros((len(query), n))
        flow[np.arange(len(query)), query] = weight
        flows[t] += flow
        padded = np.vstack([np.hstack([flow, flow]), np.zeros((1, 2 * n))])
        weight = padded[before, np.arange(2 * n)].sum(1)
    return weight


def _averaged(lattice: Lattice, flows: list[Array], ends: Array) -> TablePolicy:
    """The policy whose realization weights are the averages: it attains the average losses (the loss is linear in them)."""
    queries = np.concatenate([*flows, np.zeros((len(ends), lattice.problem.n_queries))])
    return TablePolicy(lattice, normalized(queries), normalized(ends))
