r"""The tabular agent that a rule trains: closed-form gradients, clipped gradient steps, rollouts and whole lives.

Shapes: P candidates (rules), E tasks each, S states, A actions, W parallel workers, L steps of a rollout.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from lib import checks
from lib.policies.temporal_lpg.rules import TINY, read_rollout, rule_inputs


class Rollout(NamedTuple):
    """What an agent saw in L steps of W workers; every field has the shape (P, L, E, W)."""

    s: Tensor
    a: Tensor
    r: Tensor
    d: Tensor
    s_next: Tensor
    pi: Tensor


def at_state(table: Tensor, s: Tensor) -> Tensor:
    """Rows of a table (P, E, S, X) at states (P, L, E, W): shape (P, L, E, W, X)."""
    if table.shape[2] == 1:
        return table[:, None, :, :1].expand(*s.shape, table.shape[-1])
    P, L, E, W = s.shape
    index = s.transpose(1, 2).reshape(P, E, L * W, 1).expand(-1, -1, -1, table.shape[-1])
    return table.gather(2, index).unflatten(2, (L, W)).transpose(1, 2)


def add_at_state(values: Tensor, s: Tensor, n_states: int) -> Tensor:
    """The adjoint of `at_state`: sums (P, L, E, W, X) into a table (P, E, S, X)."""
    P, L, E, W, X = values.shape
    if n_states == 1:
        return values.sum((1, 3)).unsqueeze(2)
    flat = values.transpose(1, 2).reshape(P, E, L * W, X)
    index = s.transpose(1, 2).reshape(P, E, L * W, 1).expand(-1, -1, -1, X)
    return values.new_zeros(P, E, n_states, X).scatter_add(2, index, flat)


def lpg_loss(logits: Tensor, y_logits: Tensor, actions: Tensor, pi_hat: Tensor, y_hat: Tensor, alpha_y: float = 0.5) -> Tensor:
    """The agent's loss (1), for any agent that has logits; no gradient reaches `pi_hat` and `y_hat`.

    Parameters
    ----------
    logits, y_logits : tensor, shapes (..., A) and (..., m)
        Of the policy and of the prediction; may be negative.
    actions : integer tensor, shape (...)
    pi_hat, y_hat : tensor, shapes (...) and (..., m)
        Penalties (may be negative: these reinforce) and target probabilities.
    alpha_y : float
        Weight of the prediction's part; the authors' 0.5.

    Examples
    --------
    >>> import torch
    >>> from lib.policies.temporal_lpg import lpg_loss
    >>> logits, y = torch.zeros(3, 2, dtype=torch.float64), torch.zeros(3, 4, dtype=torch.float64)
    >>> round(lpg_loss(logits, y, torch.tensor([0, 1, 1]), -torch.ones(3, dtype=torch.float64), torch.softmax(y, -1)).item(), 4)
    0.6931
    """
    for name, value in (("logits", logits), ("y_logits", y_logits), ("pi_hat", pi_hat), ("y_hat", y_hat)):
        checks.tensor(name, value)
    alpha_y = checks.number("alpha_y", alpha_y, low=0)
    if not isinstance(actions, Tensor) or actions.is_floating_point() or actions.is_complex():
        raise TypeError(f"actions must be a tensor of integers, got {checks.shown(actions)}")
    shape = logits.shape[:-1]
    given = {"actions": actions.shape, "pi_hat": pi_hat.shape, "y_logits": y_logits.shape[:-1], "y_hat": y_hat.shape[:-1]}
    for name, found in given.items():
        if found != shape or (name == "y_hat" and y_hat.shape != y_logits.shape):
            raise ValueError(f"{name} must fit logits of shape {tuple(logits.shape)} and y_logits, got {tuple(found)}")
    if actions.min() < 0 or actions.max() >= logits.shape[-1]:
        raise ValueError(f"actions must be 0 to {logits.shape[-1] - 1}, got {actions.min().item()} to {actions.max().item()}")
    if (y_hat < 0).any():
        raise ValueError(f"every entry of y_hat must be at least 0, got {y_hat.min().item():.6g}")
    p, y = torch.softmax(logits, -1), torch.softmax(y_logits, -1)
    chosen = p.gather(-1, actions.unsqueeze(-1)).squeeze(-1)
    divergence = (y * (torch.log(y + TINY) - torch.log(y_hat.detach() + TINY))).sum(-1)
    return (torch.log(chosen + TINY) * pi_hat.detach()).mean() + alpha_y * divergence.mean()  # (1)


def agent_gradients(theta: Tensor, psi: Tensor, rollout: Rollout, pi_hat: Tensor, y_hat: Tensor,
                    alpha_y: float = 0.5) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Gradients of the loss (1) in the logits `theta` (P, E, S, A) and `psi` (P, E, S, m), in closed form."""
    p, y = (at_state(torch.softmax(table, -1), rollout.s) for table in (theta, psi))
    return gradients_at(p, y, rollout, pi_hat, y_hat, alpha_y, theta.shape[2])


def gradients_at(p: Tensor, y: Tensor, rollout: Rollout, pi_hat: Tensor, y_hat: Tensor, alpha_y: float,
                 n_states: int) -> tuple[Tensor, Tensor]:  # fmt: skip
    """`agent_gradients` from the policy `p` and the prediction `y` at the rollout's states, (P, L, E, W, A) and (..., m)."""
    steps = rollout.s.shape[1] * rollout.s.shape[3]
    chosen = torch.nn.functional.one_hot(rollout.a, p.shape[-1]).to(p)
    weight = pi_hat * rollout.pi / (rollout.pi + TINY)
    actor = add_at_state(weight.unsqueeze(-1) * (chosen - p), rollout.s, n_states) / steps  # (6)
    score = torch.log(y + TINY) - torch.log(y_hat + TINY) + y / (y + TINY)
    slope = y * (score - (y * score).sum(-1, keepdim=True))  # (7)
    return actor, add_at_state(slope, rollout.s, n_states) * (alpha_y / steps)


def clipped(gradient: Tensor, most: float) -> Tensor:
    """A gradient table (P, E, S, X), shortened to length `most` where it is longer, for each agent."""
    norm = gradient.flatten(2).norm(dim=2).clamp_min(most)
    return gradient * (most / norm)[..., None, None]  # (8)


def sample(cumulative: Tensor, uniform: Tensor) -> Tensor:
    """Indices drawn from cumulative probabilities (..., A) with uniform numbers (...)."""
    return (uniform.unsqueeze(-1) > cumulative[..., :-1]).sum(-1)


def collect(env: Any, policy: Tensor, state: Tensor, steps: int, rng: np.random.Generator) -> tuple[Rollout, Tensor]:
    """A rollout of `steps` under a policy (P, E, S, A), from and to the workers' states (P, 3, E, W or as the env has it)."""
    cumulative, seen = policy.detach().cumsum(-1), []
    for _ in range(steps):
        s = env.observe(state)
        a = sample(at_state(cumulative, s[:, None])[:, 0], env.uniform(s, rng))
        r, d, state = env.step(state, a, rng)
        seen.append((s, a, r, d, env.observe(state)))
    s, a, r, d, s_next = (torch.stack(parts, 1) for parts in zip(*seen, strict=True))
    pi = at_state(policy, s).gather(-1, a.unsqueeze(-1)).squeeze(-1)
    return Rollout(s, a, r, d, s_next, pi), state


def learned_signal(weights: dict[str, Tensor], y: Tensor, rollout: Rollout, n: Tensor,
                   N: Tensor) -> tuple[Tensor, Tensor]:  # fmt: skip
    """What a learned rule says of a rollout, in the rollout's shape.

    `y` (P, E, S, m) is the agent's prediction; `n` and `N` have shape (P, E) or broadcast to it.
    """
    P, _, E, W = rollout.s.shape

    def flat(value: Tensor) -> Tensor:
        return value.flatten(2, 3)

    def clock(value: Tensor) -> Tensor:
        return value.expand(P, E)[:, None, :, None].expand(P, 1, E, W).flatten(2)

    predictions = flat(at_state(y, rollout.s)), flat(at_state(y, rollout.s_next))
    inputs = rule_inputs(weights, flat(rollout.r), flat(rollout.d), flat(rollout.pi), *predictions, clock(n), clock(N))
    pi_hat, y_hat = read_rollout(weights, inputs, flat(rollout.d))
    return pi_hat.unflatten(2, (E, W)), y_hat.unflatten(2, (E, W))


Signal = Callable[[Tensor, Rollout, Tensor, Tensor], tuple[Tensor, Tensor]]


@dataclass
class AgentResult:
    """Lives of P x E agents.

    Attributes
    ----------
    theta, psi : tensor, shapes (P, E, S, A) and (P, E, S, m)
        Logits at the end.
    score : array, shape (P, E)
        Exact expected return of the last policy.
    entropy, update_norm : array, shape (N, P)
        Mean entropy of the policy at visited states before each update (nats), and mean length of the actor's step.
    """

    theta: Tensor
    psi: Tensor
    score: np.ndarray
    entropy: np.ndarray
    update_norm: np.ndarray


def live(signal: Signal, env: Any, lifetime: int, candidates: int, *, m: int, agent: Any, rng: np.random.Generator,
         rate: Callable[[int, int], Any] | None = None, clock: Callable[[int, int], tuple[float, float]] | None = None,
         watch: bool = True) -> AgentResult:  # fmt: skip
    """Train agents from zero for a whole lifetime; ``rate(n, N)`` replaces the actor's step size, for each candidate (P,)."""
    theta, psi = env.zeros(candidates, env.n_actions), env.zeros(candidates, m)
    state, entropies, norms = env.start(candidates, agent.workers), [], []
    for n in range(1, lifetime + 1):
        policy, y = torch.softmax(theta, -1), torch.softmax(psi, -1)
        rollout, state = collect(env, policy, state, agent.steps, rng)
        told = (float(n), float(lifetime)) if clock is None else clock(n, lifetime)
        pi_hat, y_hat = signal(y, rollout, *(theta.new_tensor(value) for value in told))
        seen = at_state(policy, rollout.s), at_state(y, rollout.s)
        actor, critic = gradients_at(*seen, rollout, pi_hat, y_hat, agent.alpha_y, env.n_states)
        size = agent.lr_actor if rate is None else theta.new_tensor(rate(n, lifetime))[:, None, None, None]
        move = size * clipped(actor, agent.clip)
        theta, psi = theta - move, psi - agent.lr_critic * clipped(critic, agent.clip)  # (8)
        if watch:
            entropies.append(-(seen[0] * torch.log(seen[0] + TINY)).sum(-1).mean((1, 2, 3)))
            norms.append(move.flatten(2).norm(dim=2).mean(1))
    history = (torch.stack(parts).numpy() if parts else np.empty((0, candidates)) for parts in (entropies, norms))
    return AgentResult(theta, psi, env.score(theta).numpy(), *history)
