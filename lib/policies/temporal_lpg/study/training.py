"""Meta-training of one rule in one world, by either method; what `make_weights` repeats for every seed."""

from __future__ import annotations

import numpy as np
import torch

from lib import checks
from lib.experiment import rng as stream
from lib.policies.temporal_lpg.meta import MetaES, MetaGradient
from lib.policies.temporal_lpg.rules import LPG
from lib.policies.temporal_lpg.study.worlds import WORLDS

#: Meta-gradients: agents that live at a time, windows, step size of Adam.
AGENTS, WINDOWS, LR = 256, 200, 3e-3


def train_es(world: str, time_aware: bool, seed: int, generations: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Meta-parameters (size,) of one rule trained by evolution strategies, and the mean score of each generation.

    Examples
    --------
    >>> from lib.policies.temporal_lpg.study import train_es
    >>> len(train_es("bandits", True, seed=0, generations=1)[1])
    1
    """
    place, seed = WORLDS[checks.choice("world", world, WORLDS)], checks.integer("seed", seed, low=0)
    steps = place.generations if generations is None else checks.integer("generations", generations, low=1, high=10**6)
    rule = LPG(8, place.hidden, time_aware, seed=stream(seed, world, "first"), dtype=torch.float32)
    search = MetaES(rule, place.sample32, place.agent, pairs=place.pairs, tasks=place.tasks, lifetimes=place.lifetimes,
                    lr=place.lr, seed=stream(seed, world, "search"))  # fmt: skip
    curve = np.array([search.step().mean() for _ in range(steps)])
    return rule.vector().numpy().astype(np.float32), curve


def train_metagradient(world: str, time_aware: bool, seed: int, windows: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The same for a rule trained by gradients through windows of five updates; the mean score at the end of each window.

    Examples
    --------
    >>> from lib.policies.temporal_lpg.study import train_metagradient
    >>> len(train_metagradient("bandits", True, seed=0, windows=1)[1])
    1
    """
    place, seed = WORLDS[checks.choice("world", world, WORLDS)], checks.integer("seed", seed, low=0)
    steps = WINDOWS if windows is None else checks.integer("windows", windows, low=1, high=10**6)
    rule = LPG(8, place.hidden, time_aware, seed=stream(seed, world, "first"), dtype=torch.float32)
    search = MetaGradient(rule, place.sample32, place.agent, agents=AGENTS, lifetimes=place.lifetimes, lr=LR,
                          seed=stream(seed, world, "windows"))  # fmt: skip
    curve = np.array([search.step().mean() for _ in range(steps)])
    return rule.vector().numpy().astype(np.float32), curve
