"""Meta-training of one rule in one world, by either method, or of one drift; what `make_weights` repeats for every seed."""

from __future__ import annotations

import numpy as np
import torch

from lib import checks
from lib.experiment import rng as stream
from lib.policies.temporal_lpg.control import DriftES
from lib.policies.temporal_lpg.drift import DriftNet, drift_features, ppo_drift
from lib.policies.temporal_lpg.meta import MetaES, MetaGradient
from lib.policies.temporal_lpg.rules import LPG
from lib.policies.temporal_lpg.study.worlds import WORLDS

#: Meta-gradients: agents that live at a time, windows, step size of Adam.
AGENTS, WINDOWS, LR = 256, 200, 3e-3
#: Drifts: hidden units, lifetime, pairs, generations, step size of the search.
UNITS, LIFETIME, PAIRS, GENERATIONS, DRIFT_LR = 32, 20, 16, 80, 0.02


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


def drift_start(time_aware: bool, seed: int, steps: int = 3000) -> DriftNet:
    """A drift network fitted to the drift of PPO, with weights of zero on n/N: where meta-training starts.

    Examples
    --------
    >>> from lib.policies.temporal_lpg.study import drift_start
    >>> drift_start(True, seed=0, steps=1).first.shape
    torch.Size([32, 16])
    """
    net = DriftNet(checks.boolean("time_aware", time_aware), UNITS, seed=stream(seed, "drift", "first"))
    draw = stream(0, "drift", "grid")
    p, gain = torch.as_tensor(np.exp(draw.uniform(-0.8, 0.8, 2000))), torch.as_tensor(draw.standard_normal(2000))
    target, seen = torch.as_tensor(ppo_drift(p.numpy(), gain.numpy())), drift_features(p, gain)
    first, second = (w.detach().clone().requires_grad_() for w in (net.first[:, :8], net.second))
    adam = torch.optim.Adam([first, second], lr=3e-3)
    for _ in range(checks.integer("steps", steps, low=1, high=10**6)):
        height = (torch.tanh(seen @ first.T) @ second.T).squeeze(-1)
        loss = (torch.nn.functional.leaky_relu(height, 0.05) - target).square().mean()  # leaky: units below zero still learn
        adam.zero_grad()
        loss.backward()
        adam.step()
    with torch.no_grad():
        net.first.zero_()
        net.first[:, :8] = first
        net.second.copy_(second)
    return net


def train_drift(world: str, time_aware: bool, seed: int, generations: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Weights (size,) of one drift trained by evolution strategies on lives of one length, and the mean score of generations.

    Examples
    --------
    >>> from lib.policies.temporal_lpg.study import train_drift
    >>> len(train_drift("control", True, seed=0, generations=1)[1])
    1
    """
    checks.choice("world", world, ("control",))
    seed = checks.integer("seed", seed, low=0)
    count = GENERATIONS if generations is None else checks.integer("generations", generations, low=1, high=10**6)
    first, draw = drift_start(time_aware, seed), stream(seed, "drift", "search")
    search = DriftES(first, lifetime=LIFETIME, pairs=PAIRS, lr=DRIFT_LR, seed=draw)
    curve = np.array([search.step().mean() for _ in range(count)])
    return search.vector.astype(np.float32), curve
