"""Groups of samples: what a group tells, its advantages, the loss, and pass@k."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lib import checks
from lib.networks import advantages, clipped_surrogate

#: How the loss averages: over all tokens, or over each response and then over responses.
AGGREGATIONS = ("token_mean", "sequence_mean")


def informative_probability(p: Any, G: Any) -> Any:
    """Probability that a group holds both a success and a failure, so that it has a gradient: 1 - (1 - p)^G - p^G.

    Parameters
    ----------
    p : float or array_like
        Pass rates, from 0 to 1.
    G : int
        Samples of a group, at least 1.

    Returns
    -------
    float or array

    Raises
    ------
    TypeError, ValueError
        For arguments out of range.

    Examples
    --------
    >>> from lib.policies.drive import informative_probability
    >>> round(informative_probability(0.01, 8), 6), round(informative_probability(0.01, 64), 6)
    (0.077255, 0.474404)
    """
    rates, group = checks.array("p", p, low=0, high=1), checks.integer("G", G, low=1)
    with np.errstate(divide="ignore"):
        found = -np.expm1(group * np.log1p(-rates)) - rates**group  # D1, equation (2)
    found = np.clip(found, 0.0, 1.0)
    return float(found) if found.ndim == 0 else found


def success_advantage(c: Any, G: Any) -> float:
    """Advantage of a success in a group of G with c successes: sqrt((G - c) / c) sqrt((G - 1) / G); 0 where all are alike.

    A rare success in a large group is pushed harder: 2.5 for one of 8, 7.9 for one of 64.

    Parameters
    ----------
    c, G : int
        0 <= c <= G.

    Raises
    ------
    TypeError, ValueError
        For arguments out of range.

    Examples
    --------
    >>> from lib.policies.drive import success_advantage
    >>> round(success_advantage(1, 8), 3), round(success_advantage(1, 64), 3)
    (2.475, 7.875)
    """
    G = checks.integer("G", G, low=1)
    c = checks.integer("c", c, low=0, high=G)
    if c in (0, G):
        return 0.0
    return math.sqrt((G - c) / c) * math.sqrt((G - 1) / G)  # D2, equation (3)


def expected_drift(p: Any, G: Any, normalize: bool = True) -> Any:
    """Mean gradient that a group gives to a problem's logit, exactly: a sum over the binomial distribution of its successes.

    The policy is one coin with pass rate p = sigmoid(logit); the loss's gradient is the mean over the group of the advantage
    times the derivative of the log-probability. Without the division by the group's deviation it is p (1 - p) (G - 1) / G.

    Parameters
    ----------
    p : float or array_like
        Pass rates, from 0 to 1.
    G : int
        Samples of a group, at least 2.
    normalize : bool
        Whether advantages are divided by the group's deviation, as in GRPO.

    Returns
    -------
    float or array

    Raises
    ------
    TypeError, ValueError
        For arguments out of range.

    Examples
    --------
    >>> from lib.policies.drive import expected_drift
    >>> round(expected_drift(0.5, 8, normalize=False), 5)
    0.21875
    """
    rates, G = checks.array("p", p, low=0, high=1).astype(float), checks.integer("G", G, low=2, high=100_000)
    from scipy.stats import binom

    c = np.arange(1, G)
    worth = c * (G - c) / G**2  # c successes, each with advantage 1 - c/G, over G: equation (4)
    if checks.boolean("normalize", normalize):
        worth = np.sqrt(c * (G - c) * (G - 1) / G) / G  # the same with the advantage of equation (3)
    found = binom.pmf(c, G, rates[..., None]) @ worth
    return float(found) if found.ndim == 0 else found


def pass_at_k(n: Any, c: Any, k: Any) -> Any:
    """Unbiased estimate of the probability that one of k samples is right, from c right ones of n: 1 - C(n-c, k) / C(n, k).

    Parameters
    ----------
    n : int
        Samples.
    c : int or array_like of int
        Right ones, from 0 to n.
    k : int
        From 1 to n.

    Returns
    -------
    float or array

    Raises
    ------
    TypeError, ValueError
        For arguments out of range, k > n among them.

    Examples
    --------
    >>> from lib.policies.drive import pass_at_k
    >>> round(pass_at_k(10, 3, 5), 6)
    0.916667
    """
    n = checks.integer("n", n, low=1)
    k = checks.integer("k", k, low=1, high=n)
    counts = checks.array("c", c, low=0, high=n)
    if not np.array_equal(counts, np.round(counts)):
        raise ValueError(f"c must hold whole numbers, got {checks.shown(c)}")
    table = {int(value): 1 - math.comb(n - int(value), k) / math.comb(n, k) for value in np.unique(counts)}  # D5, equation (6)
    found = np.vectorize(lambda value: table[int(value)], otypes=[float])(counts)
    return float(found) if found.ndim == 0 else found


def group_advantages(R: Any, eps: float = 1e-6) -> Tensor:
    """Advantages (R - mean) / (deviation + eps) of groups of samples; zeros, exactly, for a group of equal rewards.

    Parameters
    ----------
    R : array_like, shape (B, G)
        Rewards, a row for each prompt; G is at least 2.
    eps : float
        1e-6 in the usual implementations.

    Returns
    -------
    tensor, shape (B, G)

    Raises
    ------
    TypeError, ValueError
        For arguments out of range.

    Examples
    --------
    >>> from lib.policies.drive import group_advantages
    >>> group_advantages([[1.0, 0.0], [1.0, 1.0]]).round(decimals=3).tolist()
    [[0.707, -0.707], [0.0, 0.0]]
    """
    rewards = checks.array("R", R, ndim=2)
    if rewards.shape[1] < 2:
        raise ValueError(f"R must have at least 2 samples in a group, got shape {rewards.shape}")
    return advantages(rewards.ravel(), rewards.shape[1], "grpo", eps).reshape(rewards.shape)  # equation (1)


def grpo_loss(logp: Tensor, logp_old: Tensor, adv: Tensor, mask: Tensor, clip: float = 0.2, agg: str = "token_mean") -> Tensor:
    """Clipped policy-gradient loss without a value network.

    Parameters
    ----------
    logp, logp_old : tensors, shape (n, T)
        Log-probabilities of sampled tokens, now and when they were drawn.
    adv : tensor, shape (n,)
        Advantages.
    mask : tensor of bool, shape (n, T)
        Tokens that count: the end token does, padding does not.
    clip : float
        How far a ratio counts; 0.2, or infinity for no clipping.
    agg : {"token_mean", "sequence_mean"}
        Mean over all tokens, where long answers weigh more, or over each answer's tokens and then over answers.

    Raises
    ------
    TypeError, ValueError
        For arguments out of range.

    Examples
    --------
    >>> import torch
    >>> from lib.policies.drive import grpo_loss
    >>> logs = torch.zeros(2, 1)
    >>> grpo_loss(logs, logs, torch.tensor([1.0, 3.0]), torch.ones(2, 1, dtype=torch.bool))
    tensor(-2.)
    """
    checks.choice("agg", agg, AGGREGATIONS)
    checks.number("clip", clip, low=0, inf=True)
    logp, logp_old = checks.tensor("logp", logp, ndim=2), checks.tensor("logp_old", logp_old, ndim=2)
    adv = checks.tensor("adv", adv, ndim=1)
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool or not mask.shape == logp.shape == logp_old.shape:
        raise ValueError(f"mask must hold booleans in the shape of logp and logp_old, {tuple(logp.shape)}")
    if len(adv) != len(logp):
        raise ValueError(f"adv must hold one number for each of {len(logp)} responses, got {len(adv)}")
    if agg == "sequence_mean":
        lengths = mask.sum(1).clamp(min=1).to(adv)
        adv = adv * mask.sum() / (len(adv) * lengths)  # weights that turn the mean over tokens into one over answers
    return clipped_surrogate(logp, logp_old, adv, mask, clip)  # equation (1)
