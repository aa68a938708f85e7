"""Exact small cases behind the derivation: groups of a Bernoulli policy, entropy of a softmax policy, pass@k by enumeration."""

from __future__ import annotations

import math
from itertools import combinations, product
from typing import Any

import numpy as np
import torch
from scipy import stats

from lib import checks
from lib.policies.drive import group_advantages, grpo_loss


def enumerated_informative(p: float, group: int) -> float:
    """Share of groups with both outcomes, summed over all 2^G groups of outcomes.

    Parameters
    ----------
    p : float
        Pass rate.
    group : int
        G, at most 16.

    Raises
    ------
    TypeError, ValueError
        For arguments out of range.

    Examples
    --------
    >>> from lib.policies.drive import study
    >>> round(study.enumerated_informative(0.5, 2), 3)
    0.5
    """
    p, group = checks.probability("p", p), checks.integer("group", group, low=1, high=16)
    total = 0.0
    for outcomes in product((0, 1), repeat=group):
        if 0 < sum(outcomes) < group:
            total += math.prod(p if outcome else 1 - p for outcome in outcomes)
    return total


def traced_drift(p: float, group: int) -> float:
    """Expected gradient of a logit under GRPO: the loss differentiated for each number of successes, with binomial weights.

    Parameters
    ----------
    p : float
        Pass rate, strictly between 0 and 1: p = 1/(1 + exp(-logit)).
    group : int
        G, at least 2.

    Raises
    ------
    TypeError, ValueError
        For arguments out of range.

    Examples
    --------
    >>> from lib.policies.drive import study
    >>> round(study.traced_drift(0.5, 2), 3)
    0.177
    """
    p, group = checks.number("p", p, above=0, below=1), checks.integer("group", group, low=2, high=4096)
    logit, total = torch.tensor(math.log(p / (1 - p)), dtype=torch.float64, requires_grad=True), 0.0
    for successes in range(1, group):
        rewards = torch.arange(group, dtype=torch.float64) < successes
        logs = torch.where(rewards, 1.0, -1.0).double() * logit
        logs = torch.nn.functional.logsigmoid(logs)[:, None]
        gains = group_advantages(rewards.double()[None], eps=0.0)[0]
        loss = grpo_loss(logs, logs.detach(), gains, torch.ones(group, 1, dtype=torch.bool))
        (slope,) = torch.autograd.grad(loss, logit)
        total -= float(stats.binom.pmf(successes, group, p)) * float(slope)
    return total


def entropy_slope(logits: Any, update: Any) -> float:
    """Slope of a softmax policy's entropy along an update of its logits: minus the covariance of log-probability and update.

    Parameters
    ----------
    logits, update : array_like, shape (n,)

    Raises
    ------
    TypeError, ValueError
        For arguments out of range or of different shape.

    Examples
    --------
    >>> from lib.policies.drive import study
    >>> study.entropy_slope([1.0, 0.0], [1.0, 0.0]) < 0
    True
    """
    logits, update = checks.array("logits", logits, ndim=1), checks.array("update", update, ndim=1)
    if logits.shape != update.shape:
        raise ValueError(f"update must have the shape of logits, {logits.shape}, got {update.shape}")
    log_p = logits - np.logaddexp.reduce(logits)
    p = np.exp(log_p)
    return float(-(p * (log_p - p @ log_p) * (update - p @ update)).sum())


def enumerated_pass_at_k(outcomes: Any, k: int) -> float:
    """The share of subsets of k samples that hold a success.

    Parameters
    ----------
    outcomes : array_like of 0 and 1, shape (n,)
        At most 16.
    k : int
        From 1 to n.

    Raises
    ------
    TypeError, ValueError
        For arguments out of range.

    Examples
    --------
    >>> from lib.policies.drive import study
    >>> round(study.enumerated_pass_at_k([1, 0, 0], 2), 3)
    0.667
    """
    outcomes = checks.array("outcomes", outcomes, ndim=1, low=0, high=1)
    if len(outcomes) > 16:
        raise ValueError(f"outcomes must be at most 16, got {len(outcomes)}")
    k = checks.integer("k", k, low=1, high=len(outcomes))
    return float(np.mean([max(chosen) for chosen in combinations(outcomes, k)]))
