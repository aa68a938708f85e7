"""Races of learned drifts with PPO and DPO on the cart and pole: same first weights and luck, one batch for each lifetime."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from lib import checks
from lib.policies.temporal_lpg.control import ControlAgent, Drift, train_control
from lib.policies.temporal_lpg.drift import DriftNet, candidate_drift
from lib.policies.temporal_lpg.study.training import UNITS

#: Half-widths of PPO's clipping that are tried at every lifetime.
EPSILONS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.6)


def ppo(epsilons: Any) -> Drift:
    """PPO's drift (18) as a function of tensors (P, B), each candidate with its own clipping.

    Examples
    --------
    >>> import torch
    >>> from lib.policies.temporal_lpg.study import ppo
    >>> [round(v, 4) for v in ppo([0.2, 0.5])(torch.full((2, 1), 1.6), torch.ones(2, 1), 0.0).flatten().tolist()]
    [0.4, 0.1]
    """
    width = torch.as_tensor(checks.array("epsilons", epsilons, ndim=1, low=0, high=1), dtype=torch.float32)[:, None]

    def drift(p: Tensor, advantage: Tensor, frac: float) -> Tensor:
        return torch.relu((p - torch.clamp(p, 1 - width, 1 + width)) * advantage)  # (18)

    return drift


def dpo(p: Tensor, advantage: Tensor) -> Tensor:
    """DPO's drift (19) of tensors.

    Examples
    --------
    >>> import torch
    >>> from lib.policies.temporal_lpg.study import dpo
    >>> round(dpo(torch.tensor([3.0]), torch.tensor([1.0])).item(), 4)
    0.4768
    """
    checks.tensor("advantage", advantage)
    if (checks.tensor("p", p) <= 0).any():
        raise ValueError(f"every entry of p must be above 0, got {p.min().item():.6g}")
    return _dpo(p, advantage)


def _dpo(p: Tensor, advantage: Tensor) -> Tensor:
    up, down = (p - 1) * advantage, torch.log(p) * advantage
    branches = up - 2 * torch.tanh(up / 2), down - 0.6 * torch.tanh(down / 0.6)
    return torch.relu(torch.where(advantage >= 0, *branches))  # (19)


def timed(vectors: Any) -> np.ndarray:
    """Drifts as time-aware ones: those without the clock get time weights of zero, and so stay what they are.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.policies.temporal_lpg.study import timed
    >>> timed(np.ones((2, 288))).shape, timed(np.ones((2, 544))).shape
    ((2, 544), (2, 544))
    """
    given = checks.array("vectors", vectors, ndim=2)
    if given.shape[1] == 17 * UNITS:
        return given.copy()
    if given.shape[1] != 9 * UNITS:
        raise ValueError(f"vectors must have {9 * UNITS} or {17 * UNITS} columns, got {given.shape[1]}")
    first = given[:, : 8 * UNITS].reshape(-1, UNITS, 8)
    return np.concatenate([np.pad(first, ((0, 0), (0, 0), (0, 8))).reshape(len(given), -1), given[:, 8 * UNITS :]], 1)


def control_race(groups: dict[str, np.ndarray], horizons: Any, replicas: int, rng: Any,
                 agent: ControlAgent | None = None) -> dict[str, np.ndarray]:  # fmt: skip
    """All drifts at all lifetimes: learned groups (k, size) by name, DPO, and PPO with its clipping chosen at each lifetime.

    Every drift trains the same `replicas` agents, and clipping is chosen on as many others.

    Returns
    -------
    dict
        Each group's name: last returns (H, k), means over replicas; ``"PPO"``, ``"DPO"``: (H,); ``"grid"``: those of every
        clipping (H, 6); ``"chosen"``: positions in `EPSILONS` (H,).

    Examples
    --------
    >>> from lib.policies.temporal_lpg import ControlAgent
    >>> from lib.policies.temporal_lpg.study import control_race
    >>> small = ControlAgent(carts=4, steps=8, minibatches=1, epochs=1)
    >>> sorted(control_race({}, [1], 1, 0, small))
    ['DPO', 'PPO', 'chosen', 'grid']
    """
    replicas = checks.integer("replicas", replicas, low=1, high=10_000)
    lives = [checks.integer("horizons", n, low=1, high=100_000) for n in checks.array("horizons", horizons, ndim=1)]
    seeds = checks.generator("rng", rng).integers(2**31, size=(len(lives), 2))
    rules = np.concatenate([timed(rows) for rows in groups.values()]) if groups else np.zeros((0, 17 * UNITS))
    learned = candidate_drift(DriftNet(hidden=UNITS, seed=0), np.repeat(rules, replicas, 0))
    clipped, k, m = ppo(np.repeat(EPSILONS, replicas)), len(rules) * replicas, len(EPSILONS) * replicas

    def all_drifts(p: Tensor, gain: Tensor, frac: float) -> Tensor:
        parts = learned(p[:k], gain[:k], frac), clipped(p[k : k + m], gain[k : k + m], frac), _dpo(p[k + m :], gain[k + m :])
        return torch.cat(parts)

    tuning: list[np.ndarray] = []
    tested: list[np.ndarray] = []
    for lifetime, (tune, test) in zip(lives, seeds, strict=True):
        for told, drift, count, seed in ((tuning, clipped, m, tune), (tested, all_drifts, k + m + replicas, test)):
            told.append(train_control(drift, lifetime, agent, population=count, lucks=replicas, seed=int(seed)).score)
    means = np.array(tested).reshape(len(lives), -1, replicas).mean(-1)
    chosen = np.array(tuning).reshape(len(lives), -1, replicas).mean(-1).argmax(-1)
    *ours, grid, last = np.split(means, np.cumsum([*(len(rows) for rows in groups.values()), len(EPSILONS)]), axis=1)
    best = np.take_along_axis(grid, chosen[:, None], 1)[:, 0]
    return dict(zip(groups, ours, strict=True)) | {"PPO": best, "DPO": last[:, 0], "grid": grid, "chosen": chosen}
