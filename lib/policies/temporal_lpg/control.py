"""Agents with networks that balance a pole: the stage of LPO and TA-LPO, for whole populations of drifts at once.

All tensors begin with the population P: candidate i of a population has policy, value, carts and drift of its own, and one
batched product moves them all. Candidates with the same *luck* share the first weights, the carts' starts, the actions' random
numbers and the order of the minibatches, so that their scores differ by their drifts alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lib import checks
from lib.policies.temporal_lpg.drift import DriftNet, candidate_drift
from lib.policies.temporal_lpg.es import OpenES

#: D(p, A, n/N) for ratios and advantages (P, B).
Drift = Callable[[Tensor, Tensor, float], Tensor]
#: Steps after which an episode ends, as in gymnasium's CartPole-v1.
LIMIT = 500
_GRAVITY, _CART, _POLE, _HALF, _FORCE, _TAU = 9.8, 1.0, 0.1, 0.5, 10.0, 0.02


class CartPole:
    """A pole on each of many carts (Barto, Sutton and Anderson, 1983), as gymnasium's CartPole-v1: reward 1 a step.

    Parameters
    ----------
    starts : tensor, shape (..., 4)
        First positions, speeds, angles and angular speeds; gymnasium draws them uniformly from -0.05 to 0.05. May be negative.

    Attributes
    ----------
    state : tensor, shape (..., 4)
    age : tensor, shape (...,)
        Steps of the present episodes.

    Examples
    --------
    >>> import torch
    >>> from lib.policies.temporal_lpg import CartPole
    >>> carts = CartPole(torch.zeros(2, 4))
    >>> fell, over = carts.step(torch.tensor([True, False]))
    >>> carts.state[:, 1].tolist() == (-carts.state[:, 1].flip(0)).tolist(), bool(over.any())
    (True, False)
    """

    def __init__(self, starts: Tensor) -> None:
        checks.tensor("starts", starts)
        if starts.ndim < 1 or starts.shape[-1] != 4:
            raise ValueError(f"starts must have shape (..., 4), got {tuple(starts.shape)}")
        self.state, self.age = starts.clone(), torch.zeros(starts.shape[:-1])

    def step(self, right: Tensor) -> tuple[Tensor, Tensor]:
        """Push every cart right (true) or left; returns whether it fell, and whether its episode is over."""
        x, speed, angle, spin = self.state.unbind(-1)
        force = torch.where(right, _FORCE, -_FORCE)
        sin, cos, total = torch.sin(angle), torch.cos(angle), _CART + _POLE
        push = (force + _POLE * _HALF * spin**2 * sin) / total
        turn = (_GRAVITY * sin - cos * push) / (_HALF * (4 / 3 - _POLE * cos**2 / total))
        pull = push - _POLE * _HALF * turn * cos / total
        new = (x + _TAU * speed, speed + _TAU * pull, angle + _TAU * spin, spin + _TAU * turn)
        self.state, self.age = torch.stack(new, -1), self.age + 1
        fell = (new[0].abs() > 2.4) | (new[2].abs() > 12 * 2 * math.pi / 360)
        return fell, fell | (self.age >= LIMIT)

    def restart(self, where: Tensor, starts: Tensor) -> None:
        """Begin new episodes at `starts` where `where` is true."""
        self.state = torch.where(where[..., None], starts, self.state)
        self.age = torch.where(where, torch.zeros_like(self.age), self.age)


@dataclass(frozen=True)
class ControlAgent:
    """Settings of the agents: networks of two tanh layers, Adam, generalized advantages.

    Parameters
    ----------
    carts, steps : int
        Carts E and steps of each in a rollout.
    hidden : int
        Width of both layers of policy and value.
    lr : float
        Step size of Adam.
    epochs, minibatches : int
        Passes over a rollout, and parts of each pass.
    gamma, lam : float
        Discount, and the decay of the advantages (12).
    clip : float
        Longest gradient.

    Examples
    --------
    >>> from lib.policies.temporal_lpg import ControlAgent
    >>> ControlAgent(steps=16).epochs
    4
    """

    carts: int = 16
    steps: int = 32
    hidden: int = 32
    lr: float = 1e-2
    epochs: int = 4
    minibatches: int = 4
    gamma: float = 0.99
    lam: float = 0.95
    clip: float = 0.5

    def __post_init__(self) -> None:
        for name in ("carts", "steps", "hidden", "epochs", "minibatches"):
            checks.integer(name, getattr(self, name), low=1, high=10**5)
        if self.carts * self.steps % self.minibatches:
            raise ValueError(f"minibatches must divide carts x steps, {self.carts * self.steps}, got {self.minibatches}")
        for name in ("lr", "clip"):
            checks.positive(name, getattr(self, name))
        for name in ("gamma", "lam"):
            checks.probability(name, getattr(self, name))


@dataclass(frozen=True)
class ControlResult:
    """What lives led to.

    Attributes
    ----------
    score : array, shape (P,)
        Mean return of the last policy, one fresh episode on every cart: at most 500.
    entropy : array, shape (N, P)
        Mean entropy of the policy in each rollout, in nats.
    away : array, shape (N, P)
        Mean size of log p at the end of each update: how far the policy went.
    """

    score: np.ndarray
    entropy: np.ndarray
    away: np.ndarray


class _Luck:
    """Random numbers for a population: drawn once for every luck, the same for all candidates that share it."""

    def __init__(self, rng: np.random.Generator, lucks: int, population: int) -> None:
        self.rng, self.lucks, self.whose = rng, lucks, torch.arange(population) % lucks

    def uniform(self, *shape: int) -> Tensor:
        return torch.as_tensor(self.rng.random((self.lucks, *shape), dtype=np.float32))[self.whose]

    def normal(self, *shape: int) -> Tensor:
        return torch.as_tensor(self.rng.standard_normal((self.lucks, *shape), dtype=np.float32))[self.whose]

    def starts(self, carts: int) -> Tensor:
        return 0.1 * self.uniform(carts, 4) - 0.05

    def order(self, size: int) -> Tensor:
        return torch.argsort(self.uniform(size), 1)


class _Net:
    """A network of two tanh layers with one output for every candidate."""

    def __init__(self, luck: _Luck, hidden: int, last: float) -> None:
        self.weights: list[Tensor] = []
        for fan_in, out, size in ((4, hidden, 1.0), (hidden, hidden, 1.0), (hidden, 1, last)):
            first = luck.normal(fan_in, out) * (size / math.sqrt(fan_in))
            self.weights += [first.requires_grad_(), torch.zeros(len(first), 1, out, requires_grad=True)]

    def __call__(self, x: Tensor) -> Tensor:
        """Outputs (P, B) at states (P, B, 4)."""
        w = self.weights
        inner = torch.tanh(torch.baddbmm(w[1], x, w[0]))
        inner = torch.tanh(torch.baddbmm(w[3], inner, w[2]))
        return torch.baddbmm(w[5], inner, w[4]).squeeze(-1)


def _chosen(logit: Tensor, right: Tensor) -> Tensor:
    """Log-probability of the pushes that were made."""
    return torch.nn.functional.logsigmoid(torch.where(right, logit, -logit))


def mirror_losses(logp: Tensor, logp_old: Tensor, advantage: Tensor, drift: Drift, frac: float) -> Tensor:
    """The loss (13) of every candidate, shape (P,), from log-probabilities and advantages (P, B)."""
    ratio = torch.exp(logp - logp_old)
    return -(ratio * advantage - drift(ratio, advantage, frac)).mean(1)  # (13)


class _Life:
    """A population between two updates."""

    def __init__(self, agent: ControlAgent, luck: _Luck) -> None:
        self.agent, self.luck = agent, luck
        self.policy, self.value = _Net(luck, agent.hidden, 0.01), _Net(luck, agent.hidden, 1.0)
        self.weights = [*self.policy.weights, *self.value.weights]
        self.adam = torch.optim.Adam(self.weights, lr=agent.lr)
        self.carts = CartPole(luck.starts(agent.carts))

    @torch.no_grad()
    def rollout(self) -> tuple[Tensor, ...]:
        """States, pushes, log-probabilities and advantages (P, B), targets of the value, and the entropy (P,)."""
        a, seen = self.agent, []
        for luck, starts in zip(self.luck.uniform(a.steps, a.carts).unbind(1), self._starts(), strict=True):
            state = self.carts.state
            logit = self.policy(state)
            right = luck < torch.sigmoid(logit)
            fell, over = self.carts.step(right)
            seen.append((state, self.carts.state, right, logit, fell, over))
            self.carts.restart(over, starts)
        state, after, right, logit, fell, over = (torch.stack(part, 1) for part in zip(*seen, strict=True))
        flat = state.flatten(1, 2)
        now, then = (self.value(s.flatten(1, 2)).view(right.shape) for s in (state, after))
        delta = 1 + a.gamma * then * ~fell - now  # an episode that is only cut off goes on in its value
        gain, gains = torch.zeros_like(delta[:, 0]), []
        for t in reversed(range(a.steps)):
            gain = delta[:, t] + a.gamma * a.lam * gain * ~over[:, t]  # (12)
            gains.append(gain)
        advantage = torch.stack(gains[::-1], 1)
        target = (advantage + now).flatten(1)
        advantage = advantage.flatten(1)
        scaled = (advantage - advantage.mean(1, keepdim=True)) / (advantage.std(1, keepdim=True) + 1e-8)
        logit, right = logit.flatten(1), right.flatten(1)
        p = torch.sigmoid(logit)
        entropy = -(p * torch.nn.functional.logsigmoid(logit) + (1 - p) * torch.nn.functional.logsigmoid(-logit)).mean(1)
        return flat, right, _chosen(logit, right), scaled, target, entropy

    def _starts(self) -> Iterator[Tensor]:
        for _ in range(self.agent.steps):
            yield self.luck.starts(self.agent.carts)

    def update(self, drift: Drift, frac: float) -> tuple[Tensor, Tensor]:
        """One rollout and its passes; returns the entropy before, and how far the policy went (P,)."""
        state, right, logp_old, advantage, target, entropy = self.rollout()
        for _ in range(self.agent.epochs):
            for rows in self.luck.order(state.shape[1]).chunk(self.agent.minibatches, 1):
                some = state.gather(1, rows[..., None].expand(-1, -1, 4))
                mine, logp = right.gather(1, rows), self.policy(some)
                loss = mirror_losses(_chosen(logp, mine), logp_old.gather(1, rows), advantage.gather(1, rows), drift, frac)
                loss = loss + 0.5 * (self.value(some) - target.gather(1, rows)).square().mean(1)
                self._descend(loss.sum())
        with torch.no_grad():
            away = (_chosen(self.policy(state), right) - logp_old).abs().mean(1)
        return entropy, away

    def _descend(self, loss: Tensor) -> None:
        gradients = torch.autograd.grad(loss, self.weights)
        norm = torch.stack([g.flatten(1).square().sum(1) for g in gradients]).sum(0).sqrt()
        factor = (self.agent.clip / norm.clamp_min(1e-12)).clamp_max(1.0)
        for weight, gradient in zip(self.weights, gradients, strict=True):
            weight.grad = gradient * factor.view(-1, *[1] * (gradient.ndim - 1))
        self.adam.step()

    @torch.no_grad()
    def last_return(self) -> Tensor:
        """Mean return (P,) of one fresh episode on every cart."""
        carts = CartPole(self.luck.starts(self.agent.carts))
        alive, total = torch.ones_like(carts.age, dtype=torch.bool), torch.zeros_like(carts.age)
        for _ in range(LIMIT):
            total += alive
            _, over = carts.step(self.luck.uniform(self.agent.carts) < torch.sigmoid(self.policy(carts.state)))
            alive &= ~over
            if not alive.any():
                break
        return total.mean(1)


def train_control(
    drift: DriftNet | Drift, lifetime: int, agent: ControlAgent | None = None, *, vectors: Any = None, population: int = 1,
    lucks: int | None = None, seed: Any = None,
) -> ControlResult:  # fmt: skip
    """Let agents learn to balance a pole by mirror learning (13) with a drift, for a whole lifetime.

    Parameters
    ----------
    drift : DriftNet or function
        Or ``drift(p, advantage, frac)`` of tensors (P, B), whose gradient in p is used.
    lifetime : int
        Updates N, at most 100000.
    agent : ControlAgent, optional
        Settings.
    vectors : array, shape (P, size), optional
        Candidates in place of the network's own weights, as `DriftNet.vector` orders them; may be negative.
    population : int
        P, where there are no `vectors`.
    lucks : int, optional
        Candidate i shares the luck of all candidates with the same ``i % lucks``; default: all have their own.
    seed : seed
        Of first weights, carts, actions and minibatches.

    Returns
    -------
    ControlResult

    Examples
    --------
    >>> from lib.policies.temporal_lpg import ControlAgent, DriftNet, train_control
    >>> small = ControlAgent(carts=4, steps=8, minibatches=1, epochs=1)
    >>> result = train_control(DriftNet(hidden=4, seed=0), 2, small, population=3, seed=0)
    >>> result.score.shape, result.entropy.shape
    ((3,), (2, 3))
    """
    if agent is not None and not isinstance(agent, ControlAgent):
        raise TypeError(f"agent must be a ControlAgent, got {checks.shown(agent)}")
    lifetime = checks.integer("lifetime", lifetime, low=1, high=100_000)
    count = checks.integer("population", population, low=1, high=100_000)
    if isinstance(drift, DriftNet):
        rows = drift.vector()[None].expand(count, -1) if vectors is None else checks.array("vectors", vectors, ndim=2)
        count, drift = len(rows), candidate_drift(drift, rows)
    elif vectors is not None:
        raise ValueError("vectors must be None where drift is a function")
    checks.function("drift", drift)
    luck = _Luck(
        checks.generator("seed", seed), count if lucks is None else checks.integer("lucks", lucks, low=1, high=count), count
    )
    life = _Life(ControlAgent() if agent is None else agent, luck)
    seen = [life.update(drift, n / lifetime) for n in range(1, lifetime + 1)]
    entropy, away = (torch.stack(part).numpy().astype(float) for part in zip(*seen, strict=True))
    return ControlResult(life.last_return().numpy().astype(float), entropy, away)


class DriftES:
    """Meta-training of a drift by evolution strategies: lives of one length, scored by the return of the last policy.

    Parameters
    ----------
    drift : DriftNet
        Where to start; it is left as it is.
    agent : ControlAgent, optional
        Settings of the agents.
    lifetime : int
        Updates N of every life: LPO's tradition is one length.
    pairs, sigma, lr, decay, lr_least
        Of `OpenES`; both members of a pair have the same luck.
    seed : seed
        Of directions and lives.

    Examples
    --------
    >>> from lib.policies.temporal_lpg import ControlAgent, DriftES, DriftNet
    >>> small = ControlAgent(carts=4, steps=8, minibatches=1, epochs=1)
    >>> search = DriftES(DriftNet(hidden=4, seed=0), small, lifetime=2, pairs=3, seed=0)
    >>> search.step().shape, search.vector.shape
    ((6,), (68,))
    """

    def __init__(self, drift: DriftNet, agent: ControlAgent | None = None, lifetime: int = 20, pairs: int = 16,
                 sigma: float = 0.1, lr: float = 0.02, decay: float = 0.999, lr_least: float = 1e-5, *,
                 seed: Any = None) -> None:  # fmt: skip
        if not isinstance(drift, DriftNet):
            raise TypeError(f"drift must be a DriftNet, got {checks.shown(drift)}")
        self.drift, self.agent, self.lifetime = drift, agent, checks.integer("lifetime", lifetime, low=1, high=100_000)
        self.rng = checks.generator("seed", seed)
        self.search = OpenES(drift.vector().numpy(), pairs, sigma, lr, decay, lr_least, seed=self.rng)

    @property
    def vector(self) -> np.ndarray:
        """The drift's weights so far."""
        return self.search.mean

    def step(self) -> np.ndarray:
        """One generation; returns the scores (2 pairs,) of its candidates."""
        candidates = self.search.ask()
        score = train_control(
            self.drift, self.lifetime, self.agent, vectors=candidates, lucks=self.search.pairs, seed=self.rng
        ).score
        self.search.tell(score)
        return score
