"""Meta-training: evolution strategies that score whole lifetimes, and gradients through a window of a few updates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lib import checks
from lib.policies.temporal_lpg.agents import (
    AgentResult,
    add_at_state,
    agent_gradients,
    at_state,
    clipped,
    collect,
    learned_signal,
    live,
)
from lib.policies.temporal_lpg.envs import Tasks
from lib.policies.temporal_lpg.es import OpenES
from lib.policies.temporal_lpg.rules import LPG, TINY


@dataclass(frozen=True)
class Agent:
    """Settings of the tabular agents; the defaults are the authors' for grid worlds.

    Parameters
    ----------
    workers, steps : int
        Parallel workers W and steps L of a rollout.
    lr_actor, lr_critic : float
        Step sizes of policy and prediction.
    alpha_y : float
        Weight of the prediction's loss.
    clip : float
        Longest gradient of each of the two tables.

    Examples
    --------
    >>> from lib.policies.temporal_lpg import Agent
    >>> Agent(workers=4, steps=1, lr_actor=4.0).clip
    0.5
    """

    workers: int = 64
    steps: int = 20
    lr_actor: float = 40.0
    lr_critic: float = 4.0
    alpha_y: float = 0.5
    clip: float = 0.5

    def __post_init__(self) -> None:
        for name in ("workers", "steps"):
            checks.integer(name, getattr(self, name), low=1, high=10**6)
        for name in ("lr_actor", "lr_critic", "alpha_y", "clip"):
            checks.number(name, getattr(self, name), low=0)
        checks.positive("clip", self.clip)


def _agent(value: Any) -> Agent:
    """An agent's settings at a door; None: the authors'."""
    if value is not None and not isinstance(value, Agent):
        raise TypeError(f"agent must be an Agent, got {checks.shown(value)}")
    return Agent() if value is None else value


def _told(pair: Any) -> tuple[float, float]:
    """What a clock tells, two numbers n >= 0 and N >= 1."""
    n, N = checks.array("clock", pair, shape=(2,), low=0).tolist()
    return n, checks.number("clock", N, low=1)


Sampler = Callable[[int, int, np.random.Generator], Any]


def _tasks(env: Any) -> Any:
    """What a sampler gave, if it is tasks."""
    if not isinstance(env, Tasks):
        raise TypeError(f"sampler must give GaussianBandits or a GridWorld, got {checks.shown(env)}")
    return env


def train_agent(rule: LPG, env: Any, lifetime: int, agent: Agent | None = None, *, vectors: Any = None, seed: Any = None,
                clock: Callable[[int, int], tuple[float, float]] | None = None) -> AgentResult:  # fmt: skip
    """Let a rule train agents for a whole lifetime on every task of `env`.

    Parameters
    ----------
    rule : LPG
    env : GaussianBandits or GridWorld
        Q x E tasks.
    lifetime : int
        Updates N, at most 100000.
    agent : Agent, optional
        Default: the authors' settings.
    vectors : array, shape (P, size), optional
        Candidates in place of the rule's own meta-parameters, P a multiple of Q; may be negative.
    seed : seed
        Of actions, rewards and transitions.
    clock : function, optional
        What a time-aware rule is told in place of (n, N): ``clock(n, N)`` gives two numbers.

    Returns
    -------
    AgentResult
        With ``theta``, ``psi``, ``score`` (P, E), ``entropy`` and ``update_norm`` (N, P).

    Examples
    --------
    >>> from lib.policies.temporal_lpg import LPG, Agent, GaussianBandits, train_agent
    >>> env = GaussianBandits.sample(1, 20, seed=0)
    >>> result = train_agent(LPG(hidden=8, seed=0), env, 10, Agent(workers=4, steps=1, lr_actor=4.0), seed=0)
    >>> result.score.shape, result.entropy.shape
    ((1, 20), (10, 1))
    """
    if not isinstance(rule, LPG):
        raise TypeError(f"rule must be an LPG, got {checks.shown(rule)}")
    if not isinstance(env, Tasks):
        raise TypeError(f"env must be GaussianBandits or a GridWorld, got {checks.shown(env)}")
    lifetime = checks.integer("lifetime", lifetime, low=1, high=100_000)
    agent = _agent(agent)
    given = None
    if vectors is not None:
        given = torch.as_tensor(checks.array("vectors", vectors, shape=(None, rule.size)), dtype=env.dtype)
    with torch.no_grad():
        weights = {name: value.to(env.dtype) for name, value in rule.weights(given).items()}
        candidates = env.rows if given is None else len(given)
        return live(
            lambda y, rollout, n, N: learned_signal(weights, y, rollout, n, N),
            env, lifetime, candidates, m=rule.m, agent=agent, rng=checks.generator("seed", seed),
            clock=None if clock is None else lambda n, N: _told(clock(n, N)),
        )  # fmt: skip


class MetaES:
    """Meta-training by OpenES: each pair of candidates trains agents on the same tasks for the same whole lifetime.

    Parameters
    ----------
    rule : LPG
        Gets the mean of the search after every generation.
    sampler : function
        ``sampler(rows, tasks, rng)`` draws tasks, as `GaussianBandits.sample` and `GridWorld.sample` do.
    agent : Agent, optional
    pairs : int
        Directions in a generation; the authors' 512.
    tasks : int
        Tasks of each pair; the authors' 1.
    lifetimes : tuple
        Least and largest number of updates; one is drawn log-uniformly for a generation. The authors' (10, 250).
    sigma, lr : float
        As in `OpenES`.
    seed : seed
        Of directions, tasks, lifetimes and luck.

    Examples
    --------
    >>> from lib.policies.temporal_lpg import LPG, Agent, GaussianBandits, MetaES
    >>> small = Agent(workers=4, steps=1, lr_actor=4.0)
    >>> search = MetaES(LPG(hidden=4, seed=0), GaussianBandits.sample, small, pairs=4, lifetimes=(2, 5), seed=0)
    >>> search.step().shape
    (8,)
    """

    def __init__(self, rule: LPG, sampler: Sampler, agent: Agent | None = None, *, pairs: int = 512, tasks: int = 1,
                 lifetimes: tuple[int, int] = (10, 250), sigma: float = 0.1, lr: float = 0.01,
                 seed: Any = None) -> None:  # fmt: skip
        self.rule, self.sampler = rule, checks.function("sampler", sampler)
        self.agent = _agent(agent)
        self.tasks, self.lifetimes = checks.integer("tasks", tasks, low=1, high=10**6), _range(lifetimes)
        self.rng = checks.generator("seed", seed)
        self.es = OpenES(rule.vector().numpy(), pairs, sigma, lr, seed=self.rng)

    def step(self) -> np.ndarray:
        """One generation; returns the scores (2 pairs,) of its candidates."""
        lifetime = _draw(self.lifetimes, 1, self.rng)[0]
        env = _tasks(self.sampler(self.es.pairs, self.tasks, self.rng))
        with torch.no_grad():
            weights = self.rule.weights(torch.as_tensor(self.es.ask(), dtype=env.dtype))
            lives = live(
                lambda y, rollout, n, N: learned_signal(weights, y, rollout, n, N),
                env, int(lifetime), 2 * self.es.pairs, m=self.rule.m, agent=self.agent, rng=self.rng, watch=False,
            )  # fmt: skip
        scores = lives.score.mean(1)
        self.es.tell(scores)
        self.rule.load_vector(self.es.mean)
        return scores


def _range(lifetimes: Any) -> tuple[int, int]:
    ends = checks.array("lifetimes", lifetimes, shape=(2,)).tolist()
    low, high = (checks.integer("lifetimes", value, low=1, high=100_000) for value in ends)
    if low > high:
        raise ValueError(f"lifetimes must be least and largest, got {low} and {high}")
    return low, high


def _draw(lifetimes: tuple[int, int], size: int, rng: np.random.Generator) -> np.ndarray:
    low, high = lifetimes
    return np.rint(np.exp(rng.uniform(np.log(low), np.log(high), size))).astype(int)


def advantages(rollout: Any, value: Tensor, discount: float = 0.99, decay: float = 0.95) -> Tensor:
    """Generalized advantage estimates (P, L, E, W) of a rollout under state values (P, E, S)."""
    now, later = (at_state(value.unsqueeze(-1), s).squeeze(-1) for s in (rollout.s, rollout.s_next))
    going = discount * (1 - rollout.d)
    delta, total, found = rollout.r + going * later - now, torch.zeros_like(now[:, 0]), []
    for t in reversed(range(delta.shape[1])):
        total = delta[:, t] + decay * going[:, t] * total  # (12)
        found.append(total)
    return torch.stack(found[::-1], 1)


class MetaGradient:
    """Meta-training by gradients through windows of a few updates, which an agent's later life does not reach.

    Agents live on from window to window. When a lifetime ends, the agent starts anew on a new task. Every window ends with a
    fresh rollout, whose policy-gradient loss is differentiated with respect to the rule.

    Parameters
    ----------
    rule : LPG
        Trained in place.
    sampler : function
        As in `MetaES`.
    agent : Agent, optional
    agents : int
        Agents that live at a time.
    unroll : int
        Updates in a window; the authors' 5.
    lifetimes : tuple
        As in `MetaES`; rounded up to whole windows.
    lr : float
        Of Adam; the authors' 1e-4.
    seed : seed
        Of tasks, lifetimes and luck.

    Examples
    --------
    >>> from lib.policies.temporal_lpg import LPG, Agent, GaussianBandits, MetaGradient
    >>> small = Agent(workers=4, steps=1, lr_actor=4.0)
    >>> search = MetaGradient(LPG(hidden=4, seed=0), GaussianBandits.sample, small, agents=8, seed=0)
    >>> search.step().shape
    (8,)
    """

    #: Weights of the regularizers: policy entropy, target entropy, squares of penalties and of targets; gradient's most norm.
    ENTROPY, TARGET_ENTROPY, PENALTY, TARGET, CLIP = 0.05, 1e-3, 5e-3, 1e-3, 0.5

    def __init__(self, rule: LPG, sampler: Sampler, agent: Agent | None = None, *, agents: int = 512, unroll: int = 5,
                 lifetimes: tuple[int, int] = (10, 250), lr: float = 1e-4, seed: Any = None) -> None:  # fmt: skip
        self.rule, self.sampler = rule, checks.function("sampler", sampler)
        self.agent = _agent(agent)
        self.agents = checks.integer("agents", agents, low=1, high=10**6)
        self.unroll, self.lifetimes = checks.integer("unroll", unroll, low=1, high=10_000), _range(lifetimes)
        self.rng = checks.generator("seed", seed)
        self.optimizer = torch.optim.Adam(rule.parameters(), lr=checks.positive("lr", lr))
        self.env = _tasks(sampler(1, self.agents, self.rng))
        self.theta, self.psi = self.env.zeros(1, self.env.n_actions), self.env.zeros(1, rule.m)
        self.value = self.env.zeros(1, 1)
        self.state = self.env.start(1, self.agent.workers)
        self.lifetime = self._lifetimes()
        self.n = torch.floor(torch.as_tensor(self.rng.random((1, self.agents))) * self.lifetime / self.unroll) * self.unroll

    def _lifetimes(self) -> Tensor:
        drawn = _draw(self.lifetimes, self.agents, self.rng)
        return torch.as_tensor(np.ceil(drawn / self.unroll) * self.unroll)[None]

    def step(self) -> np.ndarray:
        """One window and one step of Adam; returns the exact scores (agents,) at its end."""
        theta, psi = self.theta, self.psi
        weights = {name: value.to(theta.dtype) for name, value in self.rule.weights().items()}
        size, penalties, targets = self.agent, [], []
        for k in range(self.unroll):
            y = torch.softmax(psi, -1)
            rollout, self.state = collect(self.env, torch.softmax(theta, -1), self.state, size.steps, self.rng)
            clock = (self.n + k + 1).to(theta.dtype), self.lifetime.to(theta.dtype)
            pi_hat, y_hat = learned_signal(weights, y, rollout, *clock)
            actor, critic = agent_gradients(theta, psi, rollout, pi_hat, y_hat, size.alpha_y)
            theta = theta - size.lr_actor * clipped(actor, size.clip)
            psi = psi - size.lr_critic * clipped(critic, size.clip)
            penalties.append(pi_hat)
            targets.append(y_hat)
        loss = self._outer(theta) + self._regularizer(torch.stack(penalties), torch.stack(targets))
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.rule.parameters(), self.CLIP)
        self.optimizer.step()
        self.theta, self.psi, self.n = theta.detach(), psi.detach(), self.n + self.unroll
        scores: np.ndarray = self.env.score(self.theta)[0].numpy()
        self._renew(self.n[0] >= self.lifetime[0])
        return scores

    def _outer(self, theta: Tensor) -> Tensor:
        """Policy-gradient loss (11) of the updated agents on a fresh rollout; the state values learn on the side."""
        policy = torch.softmax(theta, -1)
        rollout, self.state = collect(self.env, policy, self.state, self.agent.steps, self.rng)
        gain = advantages(rollout, self.value.squeeze(-1))
        self.value = self.value + 0.2 * _mean_at(gain, rollout.s, self.env.n_states)[..., None]
        gain = (gain - gain.mean()) / (gain.std(unbiased=gain.numel() > 1) + TINY)  # a single step tells nothing
        p = at_state(policy, rollout.s)
        entropy = -(p * torch.log(p + TINY)).sum(-1).mean()
        return -(torch.log(rollout.pi + TINY) * gain).mean() - self.ENTROPY * entropy  # (11)

    def _regularizer(self, pi_hat: Tensor, y_hat: Tensor) -> Tensor:
        spread = -(y_hat * torch.log(y_hat + TINY)).sum(-1).mean()
        size = self.PENALTY * pi_hat.square().mean() + self.TARGET * y_hat.square().sum(-1).mean()
        return size - self.TARGET_ENTROPY * spread

    def _renew(self, over: Tensor) -> None:
        """New tasks, tables and lifetimes for the agents whose life is over."""
        self.env = self.env.replaced(over, self.sampler(1, self.agents, self.rng))
        fresh, mask = self.env.start(1, self.agent.workers), over[None, :, None]
        if isinstance(self.state, tuple):
            self.state = tuple(torch.where(mask, new, old) for new, old in zip(fresh, self.state, strict=True))
        for name in ("theta", "psi", "value"):
            setattr(self, name, torch.where(mask[..., None], 0.0, getattr(self, name)))
        self.lifetime = torch.where(over, self._lifetimes(), self.lifetime)
        self.n = torch.where(over, 0.0, self.n)


def _mean_at(values: Tensor, s: Tensor, n_states: int) -> Tensor:
    """Mean of values (P, L, E, W) over the visits of each state; 0 where there is none: shape (P, E, S)."""
    both = torch.stack([values, torch.ones_like(values)], -1)
    sums = add_at_state(both, s, n_states)
    return sums[..., 0] / sums[..., 1].clamp_min(1)
