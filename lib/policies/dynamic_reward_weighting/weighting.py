"""Weights of the rewards: fixed, guided by the hypervolume, following the gradients."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lib import checks
from lib.policies.dynamic_reward_weighting.pareto import hypervolume_contribution
from lib.policies.dynamic_reward_weighting.rewards import directions

#: Where a scale enters: before the advantages are made, as the paper says, or after.
PLACES = ("reward", "advantage")
#: The paper's preferences for (accuracy, conciseness, clarity).
PREFERENCES = {
    "accuracy": (0.5, 0.25, 0.25),
    "balanced": (0.334, 0.333, 0.333),
    "efficiency": (0.25, 0.375, 0.375),
}


def simplex(name: str, weights: Any, n: int | None = None) -> np.ndarray:
    """Weights that are not negative and sum to 1 (within 1e-6), as an array, shape (K,)."""
    given = checks.array(name, weights, ndim=1, low=0).astype(float)
    if abs(given.sum() - 1) > 1e-6:
        raise ValueError(f"{name} must sum to 1, got {given.sum():.8g}")
    if n is not None and len(given) != n:
        raise ValueError(f"{name} must hold {n} numbers, got {len(given)}")
    return given.copy()


def meta_reward(growth: Any, base: float = 0.5, span: float = 1.5) -> float:
    """The factor of the next step's reward: ``base + span tanh(growth)``.

    Parameters
    ----------
    growth : float
        By how much the last checkpoint enlarged the hypervolume, not negative; infinity allowed.
    base, span : float
        0.5 and 1.5 in the paper: from 0.5 for no growth to 2.

    Examples
    --------
    >>> from lib.policies.dynamic_reward_weighting import meta_reward
    >>> meta_reward(0.0), meta_reward(float("inf"))
    (0.5, 2.0)
    """
    growth = checks.number("growth", growth, low=0, inf=True)
    return float(checks.number("base", base, low=0) + checks.number("span", span, low=0) * np.tanh(growth))  # (5)


@np.errstate(over="ignore", invalid="ignore")
def influence(gradients: Any) -> np.ndarray:
    """Inner product of each reward's gradient with the sum of all of them, its own included.

    Parameters
    ----------
    gradients : array_like, shape (K, P)
        Products are summed in double precision.

    Raises
    ------
    TypeError, ValueError
        For NaN, infinity, or products that are too large for a float.

    Examples
    --------
    >>> from lib.policies.dynamic_reward_weighting import influence
    >>> influence([[1.0, 0.0], [0.5, 0.5]]).tolist()
    [1.5, 1.0]
    """
    given = checks.array("gradients", gradients, ndim=2).astype(float, copy=False)
    return _finite("products of gradients", given @ given.sum(0))  # (7)


@np.errstate(over="ignore")
def mirror_step(weights: Any, influences: Any, rate: float) -> np.ndarray:
    """Exponentiated-gradient step on the simplex: each weight times exp(rate I), then normalized.

    Parameters
    ----------
    weights : array_like, shape (K,)
        Not negative, sum 1.
    influences : array_like, shape (K,)
    rate : float
        The optimizer's learning rate over mu.

    Returns
    -------
    array, shape (K,)
        Not negative, sum 1. A weight that is, or becomes, too small for a float is 0 and stays 0.

    Examples
    --------
    >>> from lib.policies.dynamic_reward_weighting import mirror_step
    >>> mirror_step([0.5, 0.5], [1.0, 1.0], rate=0.1).tolist()
    [0.5, 0.5]
    """
    old = simplex("weights", weights)
    given = checks.array("influences", influences, shape=(len(old),))
    exponents = _finite("rate times influences", checks.number("rate", rate, low=0) * given)  # (8)
    exponents = np.where(old > 0, exponents - exponents[old > 0].max(), 0.0)
    grown = old * np.exp(exponents)
    return grown / grown.sum()


def _finite(name: str, values: np.ndarray) -> np.ndarray:
    if not np.isfinite(values).all():
        raise ValueError(f"{name} must be finite, got numbers beyond the range of floats")
    return values


@dataclass(frozen=True, eq=False)
class StepInfo:
    """What a step tells the weighting; None where it was not asked for.

    gradients : array, shape (K, P)
        Of each reward's surrogate, before the policy's update.
    point : array, shape (K,)
        Validation means, after it.
    lr : float
        The optimizer's learning rate.
    """

    gradients: np.ndarray | None = None
    point: np.ndarray | None = None
    lr: float = 0.0


class RewardWeighting:
    """What a trainer asks: `weights` (K,), `scale`, `where` the scale enters, and what to call `step` with.

    `wants` is "gradients", "point" or None; gradients are clipped to the norm `clip` and come from the blocks `layers` (all
    where None). A subclass changes `weights` or `scale` in `step`.

    Examples
    --------
    >>> from lib.policies.dynamic_reward_weighting import RewardWeighting
    >>> RewardWeighting().scale
    1.0
    """

    wants: str | None = None
    where: str = "reward"
    scale: float = 1.0
    clip: float = np.inf
    layers: list[int] | None = None
    weights: np.ndarray

    def start(self, point: np.ndarray) -> None:
        """The first policy's validation means, for who wants points; called once, before the first step."""

    def step(self, info: StepInfo) -> None:
        """Take in what a step showed."""


class FixedWeights(RewardWeighting):
    """The same weights in every step.

    Parameters
    ----------
    weights : sequence of float, shape (K,)
        Not negative, sum 1 (within 1e-6).

    Examples
    --------
    >>> from lib.policies.dynamic_reward_weighting import FixedWeights
    >>> FixedWeights([0.5, 0.25, 0.25]).weights.tolist()
    [0.5, 0.25, 0.25]
    """

    def __init__(self, weights: Sequence[float]) -> None:
        self.weights = simplex("weights", weights)


class HypervolumeGuided(RewardWeighting):
    """Fixed weights whose sum is scaled by 0.5 to 2, by how much the last checkpoint enlarged the hypervolume.

    The buffer begins with the first policy's point, which is the reference.

    Parameters
    ----------
    weights : sequence of float, shape (K,)
        The preference: not negative, sum 1.
    maximize : sequence of bool, shape (K,)
    base, span : float
        Of the factor ``base + span tanh(growth)``; 0.5 and 1.5 in the paper.
    normalizer : sequence of float, shape (K,), optional
        Units in which the hypervolume is measured, above zero; 1 by default, as in the paper: lengths count in tokens.
    where : {"reward", "advantage"}
        What is scaled: rewards, as in the paper, or advantages. Normalized advantages undo a scale of rewards.

    Attributes
    ----------
    buffer : list of arrays (K,)
        Points that enlarged the hypervolume, the reference first.
    growth : list of float
        What each step added to the hypervolume.

    Examples
    --------
    >>> from lib.policies.dynamic_reward_weighting import HypervolumeGuided, StepInfo
    >>> guided = HypervolumeGuided([0.5, 0.5], maximize=[True, True])
    >>> guided.start([0.0, 0.0])
    >>> guided.step(StepInfo(point=[0.0, 0.0]))
    >>> guided.scale
    0.5
    """

    wants = "point"

    def __init__(
        self, weights: Sequence[float], maximize: Sequence[bool], base: float = 0.5, span: float = 1.5,
        normalizer: Sequence[float] | None = None, where: str = "reward",
    ) -> None:  # fmt: skip
        self.weights = simplex("weights", weights)
        self.maximize = directions(maximize, len(self.weights))
        self.base, self.span = checks.number("base", base, low=0), checks.number("span", span, low=0)
        units = np.ones(len(self.weights)) if normalizer is None else normalizer
        self.normalizer = checks.array("normalizer", units, shape=(len(self.weights),), above=0).astype(float)
        self.where = checks.choice("where", where, PLACES)
        self.scale, self.buffer, self.growth = 1.0, [], []  # type: ignore[var-annotated]

    def _point(self, point: Any) -> np.ndarray:
        return checks.array("point", point, shape=(len(self.weights),)).astype(float) / self.normalizer

    def start(self, point: Any) -> None:
        """The reference: validation means of the first policy."""
        self.buffer, self.scale, self.growth = [self._point(point)], 1.0, []

    def step(self, info: StepInfo) -> None:
        """Scale the next step by what the point of this one adds; keep the point where it adds."""
        if not self.buffer:
            raise ValueError("point of the first policy is missing: call start before step")
        if info.point is None:
            raise ValueError("point is missing: a hypervolume-guided step needs the validation means")
        point = self._point(info.point)
        growth = hypervolume_contribution(self.buffer, point, self.buffer[0], self.maximize)
        self.scale = meta_reward(growth, self.base, self.span)
        self.growth.append(growth)
        if growth > 0:
            self.buffer.append(point)


class GradientInfluence(RewardWeighting):
    """Weights grow with the inner product of a reward's gradient with the sum of all: mirror descent on the simplex.

    Parameters
    ----------
    weights : sequence of float, shape (K,)
        First weights: not negative, sum 1.
    mu : float
        Resistance: log weights move by ``lr I / mu``. The paper: 1e-5 (Qwen3) or 1e-4, at a learning rate of 1e-6.
    clip : float
        Norm to which a gradient is clipped before its inner products; 1 in the paper; infinity allowed.
    layers : sequence of int, optional
        Blocks of the policy whose weights count; all parameters by default. The paper: 10 to 25 of 36.

    Attributes
    ----------
    influences : list of arrays (K,)
        Of each step.

    Examples
    --------
    >>> from lib.policies.dynamic_reward_weighting import GradientInfluence, StepInfo
    >>> method = GradientInfluence([0.5, 0.5], mu=1e-5)
    >>> method.step(StepInfo(gradients=[[1.0, 0.0], [0.0, 0.0]], lr=1e-6))
    >>> method.weights.round(3).tolist()
    [0.525, 0.475]
    """

    wants = "gradients"

    def __init__(
        self, weights: Sequence[float], mu: float = 1e-5, clip: float = 1.0, layers: Sequence[int] | None = None
    ) -> None:
        self.weights, self.mu = simplex("weights", weights), checks.positive("mu", mu)
        self.clip = checks.number("clip", clip, above=0, inf=True)
        if layers is not None and not isinstance(layers, Iterable):
            raise TypeError(f"layers must be a sequence of blocks, got {checks.shown(layers)}")
        self.layers = None if layers is None else [checks.integer("layers", layer, low=0) for layer in layers]
        if self.layers == []:
            raise ValueError("layers must hold at least one block, got none")
        self.influences = []  # type: ignore[var-annotated]

    def step(self, info: StepInfo) -> None:
        """Move the weights by the gradients of this step, before its update."""
        if info.gradients is None:
            raise ValueError("gradients are missing: a step that follows gradients needs them")
        given = checks.array("gradients", info.gradients, ndim=2)
        if len(given) != len(self.weights):
            raise ValueError(f"gradients must have {len(self.weights)} rows, got {len(given)}")
        found = influence(given)
        self.weights = mirror_step(self.weights, found, checks.number("lr", info.lr, low=0) / self.mu)
        self.influences.append(found)
