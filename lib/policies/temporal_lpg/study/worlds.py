"""The two families of tasks of the chapter, at its scale, and the settings under which rules are meta-trained on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from lib.policies.temporal_lpg.envs import GaussianBandits, GridWorld
from lib.policies.temporal_lpg.meta import Agent


@dataclass(frozen=True)
class World:
    """A family of tasks with its agent and the settings of meta-training.

    Examples
    --------
    >>> from lib.policies.temporal_lpg.study import WORLDS
    >>> WORLDS["bandits"].sample(1, 3, 0).n_actions
    10
    """

    name: str
    agent: Agent
    lifetimes: tuple[int, int]
    pairs: int
    tasks: int
    generations: int
    hidden: int = 16
    lr: float = 0.02

    def sample(self, rows: int, tasks: int, rng: Any, dtype: torch.dtype = torch.float64) -> GaussianBandits | GridWorld:
        """Random tasks, Q x E."""
        if self.name == "bandits":
            return GaussianBandits.sample(rows, tasks, rng, dtype=dtype)
        return GridWorld.sample(rows, tasks, rng, side=4, n_walls=2, dtype=dtype)

    def sample32(self, rows: int, tasks: int, rng: np.random.Generator) -> GaussianBandits | GridWorld:
        """The same in single precision, for meta-training."""
        return self.sample(rows, tasks, rng, torch.float32)


#: Bandits: four pulls are an update. Grid worlds: eight workers, five steps, 64 states.
WORLDS = {
    "bandits": World("bandits", Agent(4, 1, 4.0, 4.0), (5, 100), 32, 2, 200),
    "grids": World("grids", Agent(8, 5, 40.0, 4.0), (5, 40), 16, 1, 80, lr=0.03),
}
