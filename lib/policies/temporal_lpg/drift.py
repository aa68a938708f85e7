r"""Mirror learning with a learned drift: LPO, its time-aware form, and two drifts by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lib import checks


def drift_features(p: Tensor, advantage: Tensor) -> Tensor:
    """Eight features of the ratio and the advantage that vanish at ratio 1: shape (...) to (..., 8)."""
    one, log = 1 - p, torch.log(p)
    plain = [one, one**2, one * advantage, one**2 * advantage]
    return torch.stack([*plain, log, log**2, log * advantage, log**2 * advantage], -1)  # (14)


class DriftNet(nn.Module):
    """The learned drift D(p, A): nonnegative, and flat at p = 1 whatever the weights are.

    Parameters
    ----------
    time_aware : bool
        Whether the network also sees its features times n/N: TA-LPO (default) or LPO.
    hidden : int
        Width of the only hidden layer; 128.
    seed : seed
        Of the first weights: normal with variance 1 / fan-in. There are no biases.
    dtype : torch.dtype
        float32 or float64 (default).

    Examples
    --------
    >>> import torch
    >>> from lib.policies.temporal_lpg import DriftNet
    >>> drift = DriftNet(hidden=8, seed=0)
    >>> drift(torch.ones(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64), frac=0.5).item()
    0.0
    """

    SHIFT = 1e-6

    def __init__(self, time_aware: bool = True, hidden: int = 128, *, seed: Any = None,
                 dtype: torch.dtype = torch.float64) -> None:  # fmt: skip
        super().__init__()
        self.time_aware = checks.boolean("time_aware", time_aware)
        hidden = checks.integer("hidden", hidden, low=1, high=10_000)
        if dtype not in (torch.float32, torch.float64):
            raise ValueError(f"dtype must be torch.float32 or torch.float64, got {dtype}")
        rng, inputs = checks.generator("seed", seed), 16 if self.time_aware else 8
        first, second = rng.standard_normal((hidden, inputs)), rng.standard_normal((1, hidden))
        self.first = nn.Parameter(torch.as_tensor(first / np.sqrt(inputs), dtype=dtype))
        self.second = nn.Parameter(torch.as_tensor(second / np.sqrt(hidden), dtype=dtype))

    def vector(self) -> Tensor:
        """A copy of all weights in one row, shape (size,): first layer, then second."""
        return torch.cat([w.detach().flatten() for w in (self.first, self.second)])

    def forward(self, p: Tensor, advantage: Tensor, frac: Any = None) -> Tensor:
        """Drift of ratios `p` (positive) and advantages, same shape; `frac` is n/N, 0 to 1, for a time-aware drift."""
        checks.tensor("p", p)
        checks.tensor("advantage", advantage)
        if p.shape != advantage.shape:
            raise ValueError(f"advantage must have shape {tuple(p.shape)}, got {tuple(advantage.shape)}")
        if (p <= 0).any():
            raise ValueError(f"every entry of p must be above 0, got {p.min().item():.6g}")
        seen = drift_features(p, advantage).to(self.first.dtype)
        if not torch.isfinite(seen).all():
            raise ValueError("p and advantage must not be so large that a feature overflows")
        if self.time_aware:
            seen = torch.cat([seen, checks.probability("frac", frac) * seen], -1)  # (15)
        inner = torch.tanh(seen @ self.first.T)
        return torch.relu((inner @ self.second.T).squeeze(-1) - self.SHIFT)  # (14)


def candidate_drift(drift: DriftNet, vectors: Any) -> Callable[[Tensor, Tensor, float], Tensor]:
    """The drifts of many candidates as one function of p and A (P, B), and n/N; `vectors` (P, size) are their weights."""
    rows, size = torch.as_tensor(vectors, dtype=torch.float32), len(drift.vector())
    if rows.ndim != 2 or rows.shape[1] != size:
        raise ValueError(f"vectors must have {size} columns, got shape {tuple(rows.shape)}")
    first = rows[:, : drift.first.numel()].view(-1, *drift.first.shape).transpose(1, 2)
    second = rows[:, drift.first.numel() :, None]

    def values(p: Tensor, advantage: Tensor, frac: float) -> Tensor:
        seen = drift_features(p, advantage)
        if drift.time_aware:
            seen = torch.cat([seen, frac * seen], -1)  # (15)
        return torch.relu((torch.tanh(seen @ first) @ second).squeeze(-1) - drift.SHIFT)  # (14)

    return values


def _pair(p: Any, advantage: Any) -> tuple[np.ndarray, np.ndarray]:
    """Ratios and advantages at a door: shapes that broadcast, products that are finite."""
    ratio, gain = checks.array("p", p, above=0), checks.array("advantage", advantage)
    try:
        np.broadcast_shapes(ratio.shape, gain.shape)
    except ValueError:
        raise ValueError(f"advantage must have the shape of p, {ratio.shape}, got {gain.shape}") from None
    with np.errstate(over="ignore"):
        if not np.isfinite(np.maximum(ratio, 1.0) * gain).all():
            raise ValueError("p and advantage must have finite products")
    return ratio, gain


def ppo_drift(p: Any, advantage: Any, epsilon: float = 0.2) -> np.ndarray:
    """The drift that makes mirror learning PPO: ReLU((p - clip(p, 1 - epsilon, 1 + epsilon)) A).

    Parameters
    ----------
    p : array
        Ratios, positive.
    advantage : array
        May be negative.
    epsilon : float
        Half-width of the clipping, below 1.

    Examples
    --------
    >>> from lib.policies.temporal_lpg import ppo_drift
    >>> ppo_drift([1.1, 1.5], [1.0, 1.0]).round(6).tolist()
    [0.0, 0.3]
    """
    ratio, gain = _pair(p, advantage)
    epsilon = checks.number("epsilon", epsilon, low=0, below=1)
    return np.maximum((ratio - np.clip(ratio, 1 - epsilon, 1 + epsilon)) * gain, 0.0)  # (18)


def dpo_drift(p: Any, advantage: Any, alpha: float = 2.0, beta: float = 0.6) -> np.ndarray:
    """The drift of Discovered Policy Optimization, a closed form fitted to a learned one.

    Parameters
    ----------
    p : array
        Ratios, positive.
    advantage : array
        May be negative.
    alpha, beta : float
        Scales of the two branches, 2 and 0.6.

    Examples
    --------
    >>> from lib.policies.temporal_lpg import dpo_drift
    >>> dpo_drift([1.0, 3.0], [1.0, 1.0]).round(4).tolist()
    [0.0, 0.4768]
    """
    ratio, gain = _pair(p, advantage)
    alpha, beta = checks.positive("alpha", alpha), checks.positive("beta", beta)
    up, down = (ratio - 1) * gain, np.log(ratio) * gain
    branches = up - alpha * np.tanh(up / alpha), down - beta * np.tanh(down / beta)
    return np.maximum(np.where(gain >= 0, *branches), 0.0)  # (19)


def mirror_loss(logp: Tensor, logp_old: Tensor, advantage: Tensor, drift: DriftNet, frac: Any = None) -> Tensor:
    """Mean of -(p A - D(p, A)) with p = exp(logp - logp_old): what the policy minimizes.

    Parameters
    ----------
    logp, logp_old, advantage : tensor
        Same shape; log-probabilities under the present and the old policy (may be negative), and advantages (may be negative).
    drift : DriftNet
    frac : float, optional
        n/N, for a time-aware drift.

    Examples
    --------
    >>> import torch
    >>> from lib.policies.temporal_lpg import DriftNet, mirror_loss
    >>> logp, gain = torch.zeros(2, dtype=torch.float64), torch.ones(2, dtype=torch.float64)
    >>> mirror_loss(logp, logp, gain, DriftNet(hidden=4, seed=0), frac=0.0).item()
    -1.0
    """
    for name, value in (("logp", logp), ("logp_old", logp_old), ("advantage", advantage)):
        checks.tensor(name, value)
        if value.shape != logp.shape:
            raise ValueError(f"{name} must have shape {tuple(logp.shape)}, got {tuple(value.shape)}")
    ratio = torch.exp(logp - logp_old)
    if not torch.isfinite(ratio).all() or (ratio <= 0).any():
        raise ValueError("logp and logp_old must not be so far apart that their ratio overflows or vanishes")
    return -(ratio * advantage - drift(ratio, advantage, frac)).mean()  # (13)
