"""Instances whose optimum is known: batches of scores, a population to draw from, drifting scores, tokens in the plane."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lib import checks
from lib.online.alf_lb import InvStep, SqrtStep, alf_lb, dual_value, price_hessian, topk_assign

__all__ = ["Population", "drifting", "plane", "population", "sigmoid_scores"]

Array = npt.NDArray[np.float64]


def sigmoid_scores(T: int, E: int, spread: float = 1.0, seed: int | np.random.Generator | None = None, lead: int = 0) -> Array:
    """Affinities as a router gives them: sigmoid of normal logits, each expert with a mean of its own.

    Parameters
    ----------
    T, E : int
        Tokens and experts.
    spread : float
        Standard deviation of the experts' means, at least 0: how unequal demand is.
    seed : int, Generator or None
    lead : int
        Batches side by side, each with means of its own; 0: one batch without a leading axis.

    Returns
    -------
    array, shape (T, E) or (lead, T, E)

    Examples
    --------
    >>> from lib.online.alf_lb.study import sigmoid_scores
    >>> sigmoid_scores(6, 3, seed=0).shape
    (6, 3)
    """
    tokens, experts = checks.integer("T", T, low=1), checks.integer("E", E, low=1)
    width, copies = checks.number("spread", spread, low=0, high=100), checks.integer("lead", lead, low=0)
    rng = checks.generator("seed", seed)
    first = (copies,) if copies else ()
    logits = rng.normal(size=(*first, tokens, experts)) + width * rng.normal(size=(*first, 1, experts))
    return 1.0 / (1.0 + np.exp(-logits))


@dataclass(frozen=True)
class Population:
    """A finite population of tokens with its best prices.

    Attributes
    ----------
    gamma : array, shape (M, E)
    K : int
    prices : array, shape (E,)
        Best fixed prices.
    best : float
        The objective there.
    mu : float
        Strong convexity there.
    """

    gamma: Array
    K: int
    prices: Array
    best: float
    mu: float

    def draw(self, T: int, runs: int) -> Callable[[np.random.Generator], Array]:
        """A function that draws fresh batches of `T` tokens for `runs` runs side by side, with replacement."""
        tokens, copies = checks.integer("T", T, low=1), checks.integer("runs", runs, low=1)
        return _Draw(self.gamma, copies, tokens)


@dataclass(frozen=True)
class _Draw:
    gamma: Array
    runs: int
    tokens: int

    def __call__(self, rng: np.random.Generator) -> Array:
        return self.gamma[rng.integers(len(self.gamma), size=(self.runs, self.tokens))]


def population(gamma: npt.ArrayLike, K: int, width: float = 0.03) -> Population:
    """Find the best prices of a population: balancing steps, then Newton steps with `price_hessian`, then small steps.

    Parameters
    ----------
    gamma : array_like, shape (M, E)
        Affinities of all tokens.
    K : int
        Experts of a token, 1 to E - 1.
    width : float
        Of `price_hessian`, positive.

    Returns
    -------
    Population

    Examples
    --------
    >>> from lib.online.alf_lb.study import population, sigmoid_scores
    >>> whole = population(sigmoid_scores(2000, 4, 0.5, seed=0), K=1)
    >>> whole.mu > 1
    True
    """
    rough = alf_lb(gamma, K, SqrtStep(0.3), 60)
    g = checks.array("gamma", gamma, ndim=2).astype(np.float64)
    L, p = K * g.shape[0] / g.shape[1], rough.p
    for _ in range(4):
        violation = topk_assign(g + p, K).sum(0) / L - 1.0
        p = p - np.linalg.pinv(price_hessian(g, p, K, width)) @ violation
    fine = alf_lb(g, K, InvStep(0.05), 40, p0=p)
    candidates = np.concatenate([rough.prices, fine.prices])
    values = np.concatenate([rough.lagrangian, fine.lagrangian])
    best = candidates[values.argmin()] - candidates[values.argmin()].mean()
    mu = float(np.linalg.eigvalsh(price_hessian(g, best, K, width))[1])
    return Population(g, int(K), best, float(np.asarray(dual_value(g, best, K))) / L, mu)


def drifting(E: int, T: int, runs: int, change: int, spread: float = 0.5, seed: int | np.random.Generator | None = None) -> (
    Callable[[np.random.Generator], Array]
):  # fmt: skip
    """A stream whose experts' means are drawn afresh after `change` rounds.

    Parameters
    ----------
    E, T, runs : int
        Experts, tokens of a round, runs side by side.
    change : int
        Rounds before the change.
    spread : float
        Standard deviation of the means, at least 0.
    seed : int, Generator or None
        Of the means.

    Returns
    -------
    callable
        ``sample(generator)`` for `online_balance`, shape (runs, T, E).

    Examples
    --------
    >>> import numpy as np
    >>> from lib.online.alf_lb.study import drifting
    >>> drifting(4, 16, 2, change=10, seed=0)(np.random.default_rng(0)).shape
    (2, 16, 4)
    """
    sizes = [checks.integer(name, value, low=1) for name, value in (("runs", runs), ("T", T), ("E", E))]
    width = checks.number("spread", spread, low=0, high=100)
    means = width * checks.generator("seed", seed).normal(size=(2, sizes[0], 1, sizes[2]))
    return _Drift(means, sizes[1], checks.integer("change", change, low=1))


class _Drift:
    def __init__(self, means: Array, tokens: int, change: int) -> None:
        self.means, self.tokens, self.change, self.round = means, tokens, change, 0

    def __call__(self, rng: np.random.Generator) -> Array:
        mean = self.means[int(self.round >= self.change)]
        self.round += 1
        logits = mean + rng.normal(size=(mean.shape[0], self.tokens, mean.shape[-1]))
        return 1.0 / (1.0 + np.exp(-logits))


def plane(T: int, seed: int | np.random.Generator | None = None) -> tuple[Array, Array]:
    """Tokens in the plane, crowded on one side, and five experts around the origin.

    Parameters
    ----------
    T : int
        Tokens.
    seed : int, Generator or None

    Returns
    -------
    tokens : array, shape (T, 2)
    experts : array, shape (5, 2)
        A token's affinity is the sigmoid of the inner product.

    Examples
    --------
    >>> from lib.online.alf_lb.study import plane
    >>> [a.shape for a in plane(40, seed=0)]
    [(40, 2), (5, 2)]
    """
    rng = checks.generator("seed", seed)
    tokens = rng.normal(size=(checks.integer("T", T, low=1), 2)) * [0.9, 0.7] + [0.7, 0.4]
    angles = 2.0 * np.pi * np.arange(5) / 5 + 0.3
    return tokens, 1.4 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
