"""From rewards to the policy gradient: advantages, the clipped objective, the divergence from a reference."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lib import checks

#: Advantages from rewards of groups of responses to one prompt.
ESTIMATORS = ("grpo", "dr_grpo", "rloo", "reinforce_pp")


def advantages(rewards: Any, group: int, kind: str = "grpo", eps: float = 1e-6, lengths: Any = None) -> Tensor:
    """Advantage of each response, from the rewards of the responses to the same prompt.

    ============== =============================================================================================
    "grpo"         (r - mean) / (deviation + eps) in its group, the deviation with Bessel's correction
    "dr_grpo"      r - mean: without the deviation
    "rloo"         r minus the mean of the group's others: (r - mean) G / (G - 1)
    "reinforce_pp" r whitened over all tokens of all responses, the deviation without Bessel's correction; groups play no part
    ============== =============================================================================================

    Parameters
    ----------
    rewards : array_like, shape (n,) or (n, K)
        Rewards; groups are consecutive. Columns are treated apart.
    group : int
        G, a divisor of n; at least 2 but for "reinforce_pp".
    kind : {"grpo", "dr_grpo", "rloo", "reinforce_pp"}
    eps : float
        Added to deviations. A group of equal rewards has advantages zero.
    lengths : array_like, shape (n,), optional
        Tokens of each response, by which "reinforce_pp" weighs it; all alike by default.

    Raises
    ------
    TypeError, ValueError
        For arguments out of range.

    Examples
    --------
    >>> from lib.networks import advantages
    >>> advantages([1.0, 0.0, 1.0, 1.0], group=2, kind="rloo").tolist()
    [1.0, -1.0, 0.0, 0.0]
    """
    given = torch.as_tensor(checks.array("rewards", rewards, ndim=(1, 2)))
    checks.choice("kind", kind, ESTIMATORS)
    eps, group = checks.number("eps", eps, low=0), checks.integer("group", group, low=1)
    if len(given) % group:
        raise ValueError(f"group must divide the {len(given)} rewards, got {group}")
    if kind == "reinforce_pp":
        return _whitened(given, lengths, eps)
    if group < 2:
        raise ValueError(f"group must be at least 2 for {kind}: a single response has no baseline, got {group}")
    grouped = given.unflatten(0, (-1, group))
    # Equal rewards have advantage zero exactly: their mean may round.
    centered = torch.where((grouped == grouped[:, :1]).all(1, keepdim=True), 0.0, grouped - grouped.mean(1, keepdim=True))
    if kind == "rloo":
        centered = centered * (group / (group - 1))
    elif kind == "grpo":
        spread = centered.square().sum(1, keepdim=True).div(group - 1).sqrt() + eps
        centered = torch.where(spread > 0, centered / torch.where(spread > 0, spread, 1.0), 0.0)
    return centered.flatten(0, 1)


def _whitened(rewards: Tensor, lengths: Any, eps: float) -> Tensor:
    weight = torch.ones(len(rewards)) if lengths is None else torch.as_tensor(checks.array("lengths", lengths, ndim=1, above=0))
    if len(weight) != len(rewards):
        raise ValueError(f"lengths must hold one number for each of {len(rewards)} rewards, got {len(weight)}")
    weight = weight.to(rewards)
    share = (weight / weight.sum()).reshape(-1, *[1] * (rewards.ndim - 1))
    centered = torch.where((rewards == rewards[0]).all(0), 0.0, rewards - (share * rewards).sum(0))
    spread = (share * centered.square()).sum(0).sqrt() + eps
    return torch.where(spread > 0, centered / torch.where(spread > 0, spread, 1.0), 0.0)


def gae(rewards: Tensor, values: Tensor, mask: Tensor, gamma: float = 1.0, lam: float = 0.95) -> Tensor:
    """Generalized advantage estimates of finite episodes: sums of (gamma lam)^l delta_{t+l}.

    delta_t = r_t + gamma V_{t+1} - V_t, with V = 0 after an episode's last step (Schulman et al., 2016).

    Parameters
    ----------
    rewards, values : tensors, shape (B, T) or (B, T, N)
        Several rewards, each with its own value estimate, are treated apart.
    mask : tensor of bool, shape (B, T)
        Which steps count; an episode's steps come first, padding after them.
    gamma, lam : float
        Discount and decay, from 0 to 1.

    Returns
    -------
    tensor
        Shape of `rewards`; 0 for padding.

    Examples
    --------
    >>> import torch
    >>> from lib.networks import gae
    >>> gae(torch.tensor([[0.0, 1.0, 9.0]]), torch.zeros(1, 3), torch.tensor([[True, True, False]]), gamma=0.5, lam=1.0)
    tensor([[0.5000, 1.0000, 0.0000]])
    """
    rewards = checks.tensor("rewards", rewards)
    values = checks.tensor("values", values)
    gamma, lam = checks.probability("gamma", gamma), checks.probability("lam", lam)
    if rewards.ndim not in (2, 3) or values.shape != rewards.shape:
        raise ValueError(
            f"rewards and values must have one shape, (B, T) or (B, T, N), got {tuple(rewards.shape)}, {tuple(values.shape)}"
        )
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool or mask.shape != rewards.shape[:2]:
        raise ValueError(f"mask must hold booleans, shape {tuple(rewards.shape[:2])}, got {checks.shown(mask)}")
    if (mask[:, 1:] & ~mask[:, :-1]).any():
        raise ValueError("mask must have an episode's steps first and padding after them, got a step after padding")
    counts = mask.reshape(*mask.shape, *[1] * (rewards.ndim - 2))
    rewards, values = torch.where(counts, rewards, 0.0), torch.where(counts, values, 0.0)
    found, total, ahead = torch.empty_like(rewards), torch.zeros_like(rewards[:, 0]), torch.zeros_like(values[:, 0])
    for t in range(rewards.shape[1] - 1, -1, -1):
        total = rewards[:, t] + gamma * ahead - values[:, t] + gamma * lam * total
        found[:, t], ahead = total, values[:, t]
    return torch.where(counts, found, 0.0)


def clipped_surrogate(
    log_probs: Tensor, old: Tensor, advantage: Tensor, mask: Tensor, low: float = 0.2, high: float | None = None
) -> Tensor:
    """The loss of proximal policy optimization: minus the mean over tokens of min(ratio A, clip(ratio, 1 - low, 1 + high) A).

    Parameters
    ----------
    log_probs, old : tensors, shape (B, T)
        Log-probabilities now, with their graph, and when the responses were drawn.
    advantage : tensor, shape (B,) or (B, T)
    mask : tensor of bool, shape (B, T)
        Tokens that count; the mean is over them.
    low, high : float
        How far a ratio counts; infinity allowed, which switches clipping off. `high` is `low` by default.

    Examples
    --------
    >>> import torch
    >>> from lib.networks import clipped_surrogate
    >>> logs = torch.zeros(2, 1)
    >>> clipped_surrogate(logs, logs, torch.tensor([1.0, 3.0]), torch.ones(2, 1, dtype=torch.bool))
    tensor(-2.)
    """
    log_probs, old = checks.tensor("log_probs", log_probs, ndim=2), checks.tensor("old", old, ndim=2)
    advantage = checks.tensor("advantage", advantage)
    low = checks.number("low", low, low=0, inf=True)
    high = low if high is None else checks.number("high", high, low=0, inf=True)
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool or not log_probs.shape == old.shape == mask.shape:
        raise ValueError(
            f"mask must hold booleans, shape {tuple(log_probs.shape)} as log_probs and old, got {checks.shown(mask)}"
        )
    if advantage.shape not in (mask.shape, mask.shape[:1]):
        raise ValueError(f"advantage must have shape {tuple(mask.shape)} or ({len(mask)},), got {tuple(advantage.shape)}")
    gain = advantage[:, None] if advantage.ndim == 1 else advantage
    ratio = torch.where(mask, log_probs - old.detach(), 0.0).exp()
    worth = torch.minimum(ratio * gain, ratio.clamp(1 - low, 1 + high) * gain)
    return -torch.where(mask, worth, 0.0).sum() / mask.sum().clamp(min=1)


def kl_k3(log_probs: Tensor, reference: Tensor) -> Tensor:
    """exp(d) - d - 1 with d = log reference - log policy: an unbiased, never negative estimate of KL(policy, reference).

    Parameters
    ----------
    log_probs, reference : tensors of one shape
        Of tokens drawn from the policy.

    Examples
    --------
    >>> import torch
    >>> from lib.networks import kl_k3
    >>> kl_k3(torch.zeros(1), torch.zeros(1))
    tensor([0.])
    """
    log_probs, reference = checks.tensor("log_probs", log_probs), checks.tensor("reference", reference)
    if log_probs.shape != reference.shape:
        raise ValueError(f"reference must have the shape of log_probs, {tuple(log_probs.shape)}, got {tuple(reference.shape)}")
    gap = reference - log_probs
    return torch.expm1(gap) - gap
