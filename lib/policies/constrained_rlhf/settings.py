"""What a training needs beside its loop: settings, history, a batch of episodes, normalized advantages, value heads."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from lib import checks
from lib.networks import Rollouts, Transformer
from lib.policies.constrained_rlhf.language_models import LanguageModel

#: Added to a deviation before it divides, as in the official code.
_EPS = 1e-8
Policy = TypeVar("Policy", bound=Transformer | LanguageModel)


@dataclass(frozen=True)
class PPOConfig:
    """Settings of the training; the defaults are the paper's but where it is said.

    Parameters
    ----------
    episodes, minibatch, epochs : int
        Episodes of an iteration, of an update, passes over them. The paper collects 2560 tokens, which is 128 episodes of 20,
        and updates on 64 tokens, most of other episodes; here on 64 whole episodes.
    lr, clip_norm : float
        Learning rate of Adam, norm to which the gradient is clipped.
    clip : float
        How far a probability ratio counts.
    gamma, lam : float
        Discount and decay of the advantages.
    value_coef, kl_value_coef : float
        Weights of the squared errors of the rewards' value heads, and of the divergence's.
    beta, kl_target : float
        Coefficient of the divergence, and a divergence per token that it is adapted to, or None.
    normalize : {"auto", "column", "sum"}
        "column": each reward's advantages are brought to mean 0 and deviation 1, then mixed; "sum": mixed, then brought there;
        "auto": "sum" for "ppo" and "ppo_sat", "column" for the others.
    kl_std_floor : float or None
        Least deviation that the divergence's column is divided by, in units of the reward. Ours: it does not blow up noise
        while the policy is the base policy, and beta counts where the floor does. None for the official code's division by the
        deviation itself, in which beta cancels.
    max_new, min_new, top_k, temperature
        Of the samples, see `lib.networks.generate`.
    multiplier_lr, multiplier_momentum, multiplier_squash, multiplier_max_grad
        See `LagrangeMultipliers`.
    """

    episodes: int = 128
    minibatch: int = 64
    epochs: int = 5
    lr: float = 1e-6
    clip_norm: float = 0.5
    clip: float = 0.2
    gamma: float = 0.99
    lam: float = 0.95
    value_coef: float = 0.5
    kl_value_coef: float = 0.2
    beta: float = 0.2
    kl_target: float | None = None
    normalize: str = "auto"
    kl_std_floor: float | None = 0.05
    max_new: int = 20
    min_new: int = 2
    top_k: int | None = 20
    temperature: float = 1.0
    multiplier_lr: float = 0.1
    multiplier_momentum: float = 0.1
    multiplier_squash: bool = True
    multiplier_max_grad: float = 0.5

    def __post_init__(self) -> None:
        for name in ("episodes", "minibatch", "epochs", "max_new"):
            checks.integer(name, getattr(self, name), low=1)
        checks.integer("min_new", self.min_new, low=0, high=self.max_new)
        for name in ("lr", "value_coef", "kl_value_coef", "beta", "multiplier_lr"):
            checks.number(name, getattr(self, name), low=0)
        for name in ("clip_norm", "clip", "multiplier_max_grad"):
            checks.number(name, getattr(self, name), above=0, inf=True)
        checks.probability("gamma", self.gamma), checks.probability("lam", self.lam)
        checks.positive("temperature", self.temperature)
        checks.choice("normalize", self.normalize, ("auto", "column", "sum"))
        checks.number("multiplier_momentum", self.multiplier_momentum, low=0, below=1)
        checks.boolean("multiplier_squash", self.multiplier_squash)
        if self.kl_target is not None:
            checks.positive("kl_target", self.kl_target)
        if self.kl_std_floor is not None:
            checks.number("kl_std_floor", self.kl_std_floor, low=0)
        if self.top_k is not None:
            checks.integer("top_k", self.top_k, low=1)
        if self.episodes % self.minibatch:
            raise ValueError(f"minibatch must divide the {self.episodes} episodes of an iteration, got {self.minibatch}")


@dataclass
class History:
    """What a run leaves, one row an iteration; `array` stacks a column.

    values : means of the rewards over the episodes, (N,)
    weights : multipliers after the iteration; fixed weights for "ppo" and "ppo_sat", (N,)
    coefficients : what weighs the advantages of the divergence and of the rewards, (1 + N,)
    thresholds : in use, (N,); NaN without any
    kl : estimated divergence from the base policy of an episode, summed over its tokens
    beta : coefficient of the divergence in use
    length : mean number of tokens of a response
    clipped : share of the tokens whose ratio was clipped, over the updates
    episodes : drawn in the whole run
    """

    values: list[np.ndarray] = field(default_factory=list)
    weights: list[np.ndarray] = field(default_factory=list)
    coefficients: list[np.ndarray] = field(default_factory=list)
    thresholds: list[np.ndarray] = field(default_factory=list)
    kl: list[float] = field(default_factory=list)
    beta: list[float] = field(default_factory=list)
    length: list[float] = field(default_factory=list)
    clipped: list[float] = field(default_factory=list)
    episodes: int = 0

    def array(self, name: str) -> np.ndarray:
        """A column of all iterations, shape (T,) or (T, ...)."""
        return np.array(getattr(self, checks.choice("name", name, [n for n in vars(self) if n != "episodes"])))


@dataclass(frozen=True)
class Batch:
    """Episodes of an iteration; column 0 is the divergence's, then one for each reward.

    rollouts : prompts and responses
    scores : rewards as their models gave them, (B, N)
    rewards, advantages, targets : of the tokens, (B, T, 1 + N); targets are those of the value heads
    log_ratio : log pi - log pi_0 of the tokens, (B, T)
    """

    rollouts: Rollouts
    scores: np.ndarray
    rewards: Tensor
    advantages: Tensor
    targets: Tensor
    log_ratio: Tensor


def normalized(advantages: Tensor, mask: Tensor, floor: float | None = None) -> Tensor:
    """Advantages (B, T, K) with mean 0 and deviation 1 over the tokens that count, each column for itself; 0 for padding.

    Parameters
    ----------
    advantages : tensor, shape (B, T, K)
    mask : tensor of bool, shape (B, T)
    floor : float, optional
        Least deviation that the first column is divided by.

    Examples
    --------
    >>> import torch
    >>> from lib.policies.constrained_rlhf import normalized
    >>> normalized(torch.tensor([[[1.0], [3.0]]]), torch.ones(1, 2, dtype=torch.bool), floor=2.0).flatten().tolist()
    [-0.5, 0.5]
    """
    advantages = checks.tensor("advantages", advantages, ndim=3)
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool or mask.shape != advantages.shape[:2]:
        raise ValueError(f"mask must hold booleans, shape {tuple(advantages.shape[:2])}, got {checks.shown(mask)}")
    n = mask.sum().clamp(min=1)
    counted = torch.where(mask[..., None], advantages, 0.0)
    centered = torch.where(mask[..., None], advantages - counted.sum((0, 1)) / n, 0.0)
    spread = (centered.square().sum((0, 1)) / (n - 1).clamp(min=1)).sqrt()
    if floor is not None:
        floor = checks.number("floor", floor, low=0)
        spread = torch.cat([spread[:1].clamp(min=floor), spread[1:]])
    return centered / (spread + _EPS)


def with_value_heads(policy: Policy, n: int) -> Policy:
    """A copy of a policy with n value heads; heads of another number are replaced by new ones, which are zero.

    Parameters
    ----------
    policy : Transformer or LanguageModel
    n : int

    Examples
    --------
    >>> from lib.networks import Transformer
    >>> from lib.policies.constrained_rlhf import with_value_heads
    >>> with_value_heads(Transformer(vocab_size=10, context=8, width=16), n=3).value_heads.out_features
    3
    """
    if not isinstance(policy, Transformer | LanguageModel):
        raise TypeError(f"policy must be a Transformer or a LanguageModel, got {checks.shown(policy)}")
    n, copied = checks.integer("n", n, low=1), copy.deepcopy(policy)
    if copied.value_heads is None or copied.value_heads.out_features != n:
        like = copied.tokens.weight
        heads = torch.nn.utils.skip_init(nn.Linear, _width(copied), n, device=like.device, dtype=like.dtype)
        with torch.no_grad():
            heads.weight.zero_(), heads.bias.zero_()
        copied.value_heads = heads
    return copied


def _width(policy: Transformer | LanguageModel) -> int:
    return policy.width if isinstance(policy, LanguageModel) else policy.tokens.embedding_dim
