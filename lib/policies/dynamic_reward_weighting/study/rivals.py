"""What the paper's method is measured against beyond fixed weights: the direction that helps every reward."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np

from lib import checks
from lib.policies.dynamic_reward_weighting.weighting import RewardWeighting, StepInfo, simplex


def min_norm_weights(gram: Any) -> np.ndarray:
    """Weights on the simplex whose combination of gradients is shortest (Désidéri, 2012), exactly, by trying all supports.

    Parameters
    ----------
    gram : array_like, shape (K, K)
        Inner products of the gradients; at most 10 of them.

    Examples
    --------
    >>> from lib.policies.dynamic_reward_weighting import study
    >>> study.min_norm_weights([[1.0, 0.0], [0.0, 3.0]]).tolist()
    [0.75, 0.25]
    """
    G = checks.array("gram", gram, ndim=2).astype(float)
    K = len(G)
    if G.shape != (K, K) or K > 10 or not np.allclose(G, G.T, rtol=1e-6, atol=1e-12 * max(abs(G).max(), 1e-300)):
        raise ValueError(f"gram must be symmetric, at most 10 by 10, got shape {G.shape}")
    best, least = np.full(K, 1 / K), np.inf
    for size in range(1, K + 1):
        for support in map(list, combinations(range(K), size)):
            part = np.linalg.lstsq(G[np.ix_(support, support)], np.ones(size), rcond=None)[0]
            if part.sum() <= 0 or (part < 0).any():
                continue
            trial = np.zeros(K)
            trial[support] = part / part.sum()
            value = trial @ G @ trial
            if value < least * (1 - 1e-12):
                best, least = trial, value
    return best


class MinNorm(RewardWeighting):
    """Multiple-gradient descent: in each step the weights whose combined gradient is shortest.

    A step along that combination makes no reward worse to first order. A trainer weighs rewards with these weights, so that
    holds where advantages are linear in the rewards (RLOO), and only roughly with GRPO.

    Parameters
    ----------
    weights : sequence of float, shape (K,)
        Before the first step.
    clip : float
        Norm to which a gradient is clipped first; infinity allowed.

    Examples
    --------
    >>> from lib.policies.dynamic_reward_weighting import StepInfo, study
    >>> rival = study.MinNorm([0.5, 0.5])
    >>> rival.step(StepInfo(gradients=[[1.0, 0.0], [0.0, 2.0]]))
    >>> rival.weights.tolist()
    [0.8, 0.2]
    """

    wants = "gradients"

    def __init__(self, weights: Sequence[float], clip: float = 1.0) -> None:
        self.weights = simplex("weights", weights)
        self.clip = checks.number("clip", clip, above=0, inf=True)

    def step(self, info: StepInfo) -> None:
        """Weights of this step."""
        if info.gradients is None:
            raise ValueError("gradients are missing: the shortest combination needs them")
        given = checks.array("gradients", info.gradients, ndim=2)
        self.weights = min_norm_weights(given @ given.T)
