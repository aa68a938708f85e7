"""Training and sampling: paths are drawn without a graph, then one forward pass over all states that they saw."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from lib import checks
from lib.callbacks import run_asks_to_stop
from lib.objectives.mogfn.environment import Environment, preferences_of
from lib.objectives.mogfn.grid import HyperGrid
from lib.objectives.mogfn.policy import ConditionalPolicy, widths
from lib.objectives.mogfn.scalarization import FLOOR, SCALARIZATIONS, combined, thermometer


@dataclass
class History:
    """What training leaves, one entry a step.

    losses : of the step's batch, before the step
    rewards : mean scalarized reward of the batch
    """

    losses: list[float] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)


class Paths(NamedTuple):
    """Paths of a batch: where they end, log P_B summed, and every state on the way with its action.

    final : states, shape (B, s)
    log_pb : shape (B,)
    seen : observations, shape (n, obs_dim)
    rows : which path a state belongs to, shape (n,)
    actions : shape (n,)
    allowed : bool, shape (n, n_actions)
    """

    final: Tensor
    log_pb: Tensor
    seen: Tensor
    rows: Tensor
    actions: Tensor
    allowed: Tensor


def finite(chances: Tensor) -> Tensor:
    """Probabilities, if they are some; those of a policy that blew up are not."""
    if not torch.isfinite(chances).all():
        raise FloatingPointError("log-probabilities are not finite: lr, at which the policy was trained, is too large")
    return chances


@torch.no_grad()
def roll_out(env: Environment, policy: ConditionalPolicy, cond: Tensor, eps: float, rng: np.random.Generator) -> Paths:
    """One path for each condition; an action is replaced with probability `eps` by a uniform allowed one."""
    states, live, of_cond = env.start(len(cond)), torch.arange(len(cond)), policy.of_condition(cond)
    final, log_pb = states.clone(), torch.zeros(len(cond), dtype=torch.float64)
    parts: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
    while len(live):
        seen, allowed = env.observe(states), env.allowed(states)
        chances = policy.scores(seen, of_cond[live]).masked_fill(~allowed, -torch.inf).softmax(1)
        if eps:
            chances = (1 - eps) * chances + eps * allowed / allowed.sum(1, keepdim=True)
        steps = finite(chances).cumsum(1)
        draws = torch.from_numpy(rng.random(len(cond)))[live, None] * steps[:, -1:]
        actions = torch.searchsorted(steps, draws, right=True)[:, 0].clamp(max=env.n_actions - 1)
        parts.append((seen, live, actions, allowed))
        stops = actions == env.n_actions - 1
        final[live[stops]] = states[stops]
        live, states = live[~stops], env.move(states[~stops], actions[~stops])
        log_pb[live] += env.log_backward(states)
    return Paths(final, log_pb, *(torch.cat(part) for part in zip(*parts, strict=True)))


class ConditionalSampler:
    """What both methods share: a policy conditional on preferences, and its training loop."""

    def __init__(
        self,
        env: Environment,
        beta: float | tuple[float, float] = 16.0,
        dirichlet_alpha: float = 1.0,
        encoding: str = "thermometer",
        hidden: Sequence[int] = (64, 64, 64),
        lr: float = 5e-3,
        eps: float = 0.01,
        *,
        bins: int = 50,
        group: int = 1,
        clip_norm: float = 10.0,
        scalarization: str = "weighted_sum",
        floor: float = FLOOR,
        preferences: Any = None,
        seed: Any = None,
    ) -> None:
        if not isinstance(env, Environment):
            raise TypeError(f"env must be an environment such as HyperGrid or NGramTask, got {checks.shown(env)}")
        self.env, self.beta = env, _power(beta)
        self.dirichlet_alpha = checks.positive("dirichlet_alpha", dirichlet_alpha)
        self.encoding = checks.choice("encoding", encoding, ("thermometer", "raw"))
        self.hidden, self.lr, self.eps = widths("hidden", hidden), checks.positive("lr", lr), checks.probability("eps", eps)
        self.bins, self.group = checks.integer("bins", bins, low=2), checks.integer("group", group, low=1)
        self.clip_norm = checks.number("clip_norm", clip_norm, above=0, inf=True)
        self.scalarization = checks.choice("scalarization", scalarization, SCALARIZATIONS)
        self.floor = checks.positive("floor", floor)
        rows = None if preferences is None else preferences_of(preferences, env.n_objectives, "preferences")
        self.preferences = None if rows is None else np.atleast_2d(rows)
        self._training, self._sampling, start = checks.generator("seed", seed).spawn(3)
        entries = env.n_objectives + isinstance(self.beta, tuple)
        self.cond_dim = entries * (self.bins if self.encoding == "thermometer" else 1)
        self.policy = ConditionalPolicy(env.obs_dim, self.cond_dim, env.n_actions, self.hidden, start)
        self._start = start
        self.history, self.steps = History(), 0

    # ------------------------------------------------------------------------------------------------------- training

    def fit(
        self, steps: int, batch_size: int = 128, callback: Callable[[Any], Any] | None = None, total: int | None = None
    ) -> History:
        """Train for some steps; a later call goes on where this one ended.

        Parameters
        ----------
        steps : int
            10 000 for the paper's n-grams, 5 000 in the official hypergrid example.
        batch_size : int
            Paths of a step, a multiple of `group`; 128 in the official code.
        callback : function, optional
            Gets the sampler after each step; a true answer or StopIteration ends the run.
        total : int, optional
            Steps of the whole training, of which the last quarter runs at a tenth of the learning rates; by default those
            made so far and those of this call. Two calls with one total train as a single call does.

        Returns
        -------
        History
            Of all steps so far.

        Raises
        ------
        TypeError, ValueError
            For arguments out of range.
        FloatingPointError
            When log-probabilities or the loss are not finite: a learning rate or beta is too large.
        """
        steps, batch_size = checks.integer("steps", steps, low=1), checks.integer("batch_size", batch_size, low=1)
        total = self.steps + steps if total is None else checks.integer("total", total, low=1)
        if callback is not None:
            checks.function("callback", callback)
        if batch_size % self.group:
            raise ValueError(f"batch_size must be a multiple of group, {self.group}, got {batch_size}")
        for _ in range(steps):
            self._step(batch_size, 0.1 if self.steps >= 0.75 * total else 1.0)
            if run_asks_to_stop(callback, self):
                break
        return self.history

    def _step(self, batch_size: int, factor: float) -> None:
        omega, beta = self._draw(batch_size)
        cond = self._condition(omega, beta)
        paths = roll_out(self.env, self.policy, cond, self.eps, self._training)
        scores = self.policy(paths.seen, cond, paths.rows).masked_fill(~paths.allowed, -torch.inf)
        logs = scores.log_softmax(1).gather(1, paths.actions[:, None])[:, 0]
        log_pf = torch.zeros(batch_size, dtype=torch.float64).index_add(0, paths.rows, logs)
        if not torch.isfinite(log_pf).all():
            raise FloatingPointError(f"log-probabilities are not finite at step {self.steps}: lr={self.lr:g} is too large")
        log_reward = combined(self.env.rewards_of(paths.final), omega, self.scalarization, self.floor).log()
        loss = self._loss(log_pf, beta * log_reward, paths.log_pb, cond)
        if not torch.isfinite(loss):
            raise FloatingPointError(f"the loss is not finite at step {self.steps}: beta, or a learning rate, is too large")
        self.history.losses.append(loss.item())
        self.history.rewards.append(log_reward.exp().mean().item())
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.policy.parameters(), self.clip_norm)
        for group in self.optimizer.param_groups:
            group["lr"] = group["base"] * factor
        self.optimizer.step()
        self.steps += 1

    optimizer: torch.optim.Optimizer

    def _loss(self, log_pf: Tensor, log_r: Tensor, log_pb: Tensor, cond: Tensor) -> Tensor:
        raise NotImplementedError

    def _draw(self, batch_size: int) -> tuple[Tensor, Tensor]:
        """Preferences (B, d) and powers (B,); neighbors in a group share them."""
        rng, n, d = self._training, batch_size // self.group, self.env.n_objectives
        if self.preferences is None:
            omega = rng.dirichlet(np.full(d, self.dirichlet_alpha), size=n)
        else:
            omega = self.preferences[rng.integers(len(self.preferences), size=n)]
        beta = rng.uniform(*self.beta, size=n) if isinstance(self.beta, tuple) else np.full(n, self.beta)
        return tuple(torch.from_numpy(x).repeat_interleave(self.group, 0) for x in (omega, beta))  # type: ignore[return-value]

    def _condition(self, omega: Tensor, beta: Tensor) -> Tensor:
        if isinstance(self.beta, tuple):
            omega = torch.cat([omega, beta[:, None] / self.beta[1]], 1)
        return thermometer(omega, self.bins).flatten(1) if self.encoding == "thermometer" else omega

    # ------------------------------------------------------------------------------------------------------- sampling

    def sample(self, omega: Any, n: int, beta: float | None = None, seed: Any = None) -> Any:
        """Objects for preferences, drawn from the policy without exploration.

        Parameters
        ----------
        omega : array_like, shape (d,) or (W, d)
        n : int
            Objects for each preference; those of a preference follow one another.
        beta : float, optional
            Power, needed if and only if training drew it.
        seed : None, int or Generator
            By default the sampler's own, apart from that of training.

        Returns
        -------
        array of int, shape (W n, ndim), or list of str
            Cells of a grid, or strings: what the environment's ``evaluate`` takes.
        """
        preferences, n = np.atleast_2d(preferences_of(omega, self.env.n_objectives)), checks.integer("n", n, low=1)
        rng = self._sampling if seed is None else checks.generator("seed", seed)
        cond = self._asked(preferences, beta).repeat_interleave(n, 0)
        return self.env.objects(roll_out(self.env, self.policy, cond, 0.0, rng).final)

    @torch.no_grad()
    def terminal_distribution(self, omega: Any, beta: float | None = None) -> np.ndarray:
        """Where paths on a grid end, exactly: shape (H, ..., H) or (W, H, ..., H). Equation (7).

        Parameters
        ----------
        omega : array_like, shape (d,) or (W, d)
        beta : float, optional
            Power, needed if and only if training drew it.
        """
        env = self.env
        if not isinstance(env, HyperGrid):
            raise TypeError("terminal_distribution needs a HyperGrid: other objects are too many")
        given = preferences_of(omega, env.n_objectives)
        cells = torch.from_numpy(env.cells)
        seen, forbidden = env.observe(cells), ~env.allowed(cells)
        every = torch.zeros(len(cells), dtype=torch.long)
        scores = [self.policy(seen, row[None], every) for row in self._asked(np.atleast_2d(given), beta)]
        chances = finite(torch.stack(scores).masked_fill(forbidden, -torch.inf).softmax(2))
        return env.absorbed(chances).reshape(*given.shape[:-1], *env.shape).numpy()

    def _asked(self, preferences: np.ndarray, beta: float | None) -> Tensor:
        if isinstance(self.beta, tuple):
            if beta is None:
                raise ValueError("beta must be given: this sampler was trained for a range of them")
            beta = checks.number("beta", beta, low=self.beta[0], high=self.beta[1])
        elif beta is not None and checks.positive("beta", beta) != self.beta:
            raise ValueError(f"beta must be {self.beta:g}, for which this sampler was trained, got {beta:g}")
        omega = torch.from_numpy(preferences)
        return self._condition(omega, torch.full((len(omega),), 1.0 if beta is None else beta, dtype=torch.float64))


def _power(beta: Any) -> float | tuple[float, float]:
    if isinstance(beta, tuple | list):
        if len(beta) != 2:
            raise ValueError(f"beta must be a number or a pair (low, high), got {checks.shown(beta)}")
        low, high = (checks.positive("beta", value) for value in beta)
        if not low < high:
            raise ValueError(f"beta must be a pair with low below high, got {checks.shown(beta)}")
        return low, high
    return checks.positive("beta", beta)
