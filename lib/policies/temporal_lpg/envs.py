r"""Tasks on tensors: Gaussian bandits and grid worlds, for a population of agents in one batch.

Q x E tasks; candidate i of a population of P trains on row i mod Q, with the same random numbers as every other candidate of
that row. So the two members of a pair, or all rules that are compared, meet the same levels and the same luck.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lib import checks

#: Up, down, left, right, stay.
MOVES = np.array([[-1, 0], [1, 0], [0, -1], [0, 1], [0, 0]])


class Tasks:
    """What bandits and grid worlds share: how candidates map to rows of tasks, and random numbers in common."""

    n_states: int
    n_actions: int
    rows: int
    tasks: int
    dtype: torch.dtype
    tables: tuple[str, ...]

    def zeros(self, candidates: int, width: int) -> Tensor:
        """A table of logits, all zero: shape (P, E, S, width)."""
        if candidates % self.rows:
            raise ValueError(f"candidates must be a multiple of {self.rows} rows of tasks, got {candidates}")
        return torch.zeros(candidates, self.tasks, self.n_states, width, dtype=self.dtype)

    def uniform(self, like: Tensor, rng: np.random.Generator, *more: int) -> Tensor:
        """Uniform numbers of the shape of `like` (P, E, W), the same for all candidates of a row."""
        return self._common(rng.random((self.rows, *like.shape[1:], *more)), len(like))

    def replaced(self, mask: Tensor, other: Any) -> Any:
        """The same tasks, but those of `other` where `mask` (E,) is true."""
        new = copy.copy(self)
        for name in self.tables:
            mine, theirs = getattr(self, name), getattr(other, name)
            setattr(new, name, torch.where(mask.view(1, -1, *(1,) * (mine.ndim - 2)), theirs, mine))
        return new

    def _common(self, drawn: np.ndarray, candidates: int) -> Tensor:
        numbers = torch.as_tensor(drawn, dtype=self.dtype)
        return numbers.repeat(candidates // self.rows, *(1,) * (numbers.ndim - 1))


class GaussianBandits(Tasks):
    """Bandits with normal rewards; every pull is an episode.

    Parameters
    ----------
    means : array, shape (Q, E, K)
        Mean reward of each arm; may be negative.
    noise : float
        Standard deviation of a reward.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.policies.temporal_lpg import GaussianBandits
    >>> env = GaussianBandits(np.array([[[0.0, 1.0]]]))
    >>> env.score(env.zeros(1, 2)).item()
    0.5
    """

    n_states, tables = 1, ("means",)

    def __init__(self, means: Any, noise: float = 1.0, *, dtype: torch.dtype = torch.float64) -> None:
        self.means = torch.as_tensor(checks.array("means", means, ndim=3), dtype=dtype)
        self.noise = checks.number("noise", noise, low=0)
        self.rows, self.tasks, self.n_actions = self.means.shape
        self.dtype = dtype

    @classmethod
    def sample(cls, rows: int, tasks: int, seed: Any = None, arms: int = 10, spread: float = 0.5,
               dtype: torch.dtype = torch.float64) -> GaussianBandits:  # fmt: skip
        """Bandits whose arms' means are normal with standard deviation `spread`."""
        sizes = {"rows": rows, "tasks": tasks, "arms": arms}
        rows, tasks, arms = (checks.integer(name, value, low=1, high=10**7) for name, value in sizes.items())
        spread = checks.number("spread", spread, low=0)
        return cls(spread * checks.generator("seed", seed).standard_normal((rows, tasks, arms)), dtype=dtype)

    def start(self, candidates: int, workers: int) -> Tensor:
        """The workers' states (P, E, W): always 0."""
        return torch.zeros(candidates, self.tasks, workers, dtype=torch.int64)

    def observe(self, state: Tensor) -> Tensor:
        """The state that an agent sees."""
        return state

    def step(self, state: Tensor, action: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Rewards, ends and next states after actions (P, E, W)."""
        luck = self._common(rng.standard_normal((self.rows, *state.shape[1:])), len(state))
        means = self.means.repeat(len(state) // self.rows, 1, 1)
        return means.gather(2, action) + self.noise * luck, torch.ones_like(luck), state

    def score(self, theta: Tensor) -> Tensor:
        """Exact expected reward (P, E) of the policies softmax(theta), theta (P, E, 1, K)."""
        means = self.means.repeat(len(theta) // self.rows, 1, 1)
        return (torch.softmax(theta[:, :, 0], -1) * means).sum(-1)

    def optimum(self) -> Tensor:
        """The largest mean reward (Q, E)."""
        return self.means.max(-1).values


class GridWorld(Tasks):
    """Grid worlds with objects to collect, as tables: each step is one look-up.

    A state is a cell and which objects exist. Moving into a wall or over the border is staying. An object on the new cell gives
    its reward and is gone; with its probability it ends the episode. Each absent object comes back with its probability.
    An episode also ends after `limit` steps; then all objects exist again, at the start cell.

    Parameters
    ----------
    side : int
        Cells along a side, 2 to 16.
    objects : array, shape (Q, E, O)
        Cell of each object, at most 5 objects.
    rewards, p_end, p_back : array, shape (Q, E, O)
        Reward (may be negative), probability of ending the episode, and of coming back, per object.
    start : array, shape (Q, E)
        Start cells.
    limit : array, shape (Q, E)
        Most steps of an episode, at most 100000.
    walls : array of bool, shape (Q, E, side * side), optional
        Cells that cannot be entered; default none.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.policies.temporal_lpg import GridWorld
    >>> one = np.ones((1, 1, 1))
    >>> env = GridWorld(2, 3 * one, 1.0 * one, 1.0 * one, 0.0 * one, np.zeros((1, 1)), np.full((1, 1), 2))
    >>> env.optimum().item()
    1.0
    """

    n_actions, tables = len(MOVES), ("limit", "first", "reward", "prob", "next", "cumulative")

    def __init__(self, side: int, objects: Any, rewards: Any, p_end: Any, p_back: Any, start: Any, limit: Any,
                 walls: Any = None, *, dtype: torch.dtype = torch.float64) -> None:  # fmt: skip
        self.side, self.dtype = checks.integer("side", side, low=2, high=16), dtype
        cells = self.side**2
        places = checks.array("objects", objects, ndim=3, low=0, high=cells - 1)
        self.rows, self.tasks, n_objects = places.shape
        if n_objects > 5:
            raise ValueError(f"objects must be at most 5 for each task, got {n_objects}")
        self.objects = _whole("objects", places)
        self.rewards = checks.array("rewards", rewards, shape=places.shape)
        ends = checks.array("p_end", p_end, shape=places.shape, low=0, high=1)
        backs = checks.array("p_back", p_back, shape=places.shape, low=0, high=1)
        first = _whole("start", checks.array("start", start, shape=places.shape[:2], low=0, high=cells - 1))
        self.limit = torch.as_tensor(_whole("limit", checks.array("limit", limit, shape=places.shape[:2], low=1, high=100_000)))
        blocked = np.zeros((*places.shape[:2], cells), bool) if walls is None else np.asarray(walls)
        if blocked.shape != (*places.shape[:2], cells) or blocked.dtype != bool:
            raise ValueError(f"walls must be booleans of shape {(*places.shape[:2], cells)}, got {checks.shown(blocked)}")
        if np.take_along_axis(blocked, first[..., None], -1).any():
            raise ValueError("start must not be a wall")
        self.walls = blocked
        self.n_states = cells * 2**n_objects
        self.first = torch.as_tensor(first + cells * (2**n_objects - 1))
        self._tables(ends, backs)

    @classmethod
    def sample(cls, rows: int, tasks: int, seed: Any = None, side: int = 5, n_objects: int = 2, n_walls: int = 3,
               limits: tuple[int, int] = (20, 40), dtype: torch.dtype = torch.float64) -> GridWorld:  # fmt: skip
        """Random levels: rewards U(-1, 1), the first U(0, 1); log-uniform P(end) in .01..1 and P(back) in .001...1."""
        sizes = {"rows": (rows, 1, 10**7), "tasks": (tasks, 1, 10**7), "side": (side, 2, 16), "n_objects": (n_objects, 1, 5)}
        rows, tasks, side, n_objects = (checks.integer(name, v, low=low, high=most) for name, (v, low, most) in sizes.items())
        n_walls = checks.integer("n_walls", n_walls, low=0, high=side**2 - 1 - n_objects)  # the start and objects are free
        ends = [checks.integer("limits", v, low=1) for v in checks.array("limits", limits, shape=(2,)).tolist()]
        if ends[0] > ends[1]:
            raise ValueError(f"limits must be least and largest, got {ends[0]} and {ends[1]}")
        rng, shape = checks.generator("seed", seed), (rows, tasks, n_objects)
        order = rng.random((rows, tasks, side**2)).argsort(-1)
        walls = np.zeros((rows, tasks, side**2), bool)
        np.put_along_axis(walls, order[..., 1 + n_objects : 1 + n_objects + n_walls], True, -1)
        rewards = rng.uniform(-1, 1, shape)
        rewards[..., 0] = np.abs(rewards[..., 0])
        p_end, p_back = np.exp(rng.uniform(np.log(0.01), 0, shape)), np.exp(rng.uniform(np.log(0.001), np.log(0.1), shape))
        limit = rng.integers(ends[0], ends[1] + 1, (rows, tasks))
        return cls(side, order[..., 1 : 1 + n_objects], rewards, p_end, p_back, order[..., 0], limit, walls, dtype=dtype)

    def _tables(self, ends: np.ndarray, backs: np.ndarray) -> None:
        """Successors (Q, E, S, A, J), their cumulative probabilities, and rewards (Q, E, S, A); J = 2 ** objects."""
        cells, n_objects = self.side**2, self.objects.shape[2]
        sets = (np.arange(2**n_objects)[:, None] >> np.arange(n_objects) & 1).astype(bool)
        to = self._destinations()[:, :, None]  # (Q, E, 1, cells, A)
        here = to[..., None] == self.objects[:, :, None, None, None, :]
        hit = here & sets[:, None, None, :]  # (Q, E, sets, cells, A, O)
        reward = (hit * self.rewards[:, :, None, None, None, :]).sum(-1)
        stays = np.prod(np.where(hit, 1 - ends[:, :, None, None, None, :], 1.0), -1)
        left = sets[:, None, None, :] & ~hit
        goal = sets.reshape(-1, n_objects)  # which objects exist afterwards, J rows
        absent = ~sets[:, None, None, None, :]
        back = backs[:, :, None, None, None, None, :]
        chance = np.where(absent, np.where(goal, back, 1 - back), (left[..., None, :] == goal) * 1.0)
        prob = chance.prod(-1) * stays[..., None]
        after = to[..., None] + cells * np.arange(2**n_objects)
        shape = (self.rows, self.tasks, self.n_states, self.n_actions)
        self.reward = torch.as_tensor(reward.reshape(shape), dtype=self.dtype)
        self.prob = torch.as_tensor(prob.reshape(*shape, -1), dtype=self.dtype)
        self.next = torch.as_tensor(np.broadcast_to(after, prob.shape).reshape(*shape, -1).copy())
        self.cumulative = self.prob.cumsum(-1)

    def _destinations(self) -> np.ndarray:
        cell = np.arange(self.side**2)
        place = np.stack([cell // self.side, cell % self.side], -1)[:, None] + MOVES
        inside = ((place >= 0) & (place < self.side)).all(-1)
        to = np.where(inside, place[..., 0] * self.side + place[..., 1], cell[:, None])
        free = ~np.take_along_axis(self.walls, to.reshape(1, 1, -1), -1).reshape(self.rows, self.tasks, *to.shape)
        return np.where(free, to, cell[:, None])

    def start(self, candidates: int, workers: int) -> tuple[Tensor, Tensor]:
        """The workers' states, and steps so far: each (P, E, W)."""
        first = self.first.repeat(candidates // self.rows, 1).unsqueeze(-1).expand(-1, -1, workers).clone()
        return first, torch.zeros_like(first)

    def observe(self, state: tuple[Tensor, Tensor]) -> Tensor:
        """The state that an agent sees: cell + cells * (bits of the objects that exist)."""
        return state[0]

    def step(self, state: tuple[Tensor, Tensor], action: Tensor,
             rng: np.random.Generator) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:  # fmt: skip
        """Rewards, ends and next states after actions (P, E, W); an ended episode starts anew."""
        s, t = state
        P, E, _ = s.shape
        row = (torch.arange(P) % self.rows)[:, None, None] * E + torch.arange(E)[:, None]
        index = (row * self.n_states + s) * self.n_actions + action
        J = self.prob.shape[-1]
        outcome = (self.uniform(s, rng).unsqueeze(-1) > self.cumulative.view(-1, J)[index]).sum(-1)
        limit = self.limit.repeat(P // self.rows, 1).unsqueeze(-1)
        done = (outcome == J) | (t + 1 >= limit)
        after = self.next.view(-1, J)[index].gather(-1, outcome.clamp_max(J - 1).unsqueeze(-1)).squeeze(-1)
        first = self.first.repeat(P // self.rows, 1).unsqueeze(-1).expand_as(s)
        reward = self.reward.view(-1)[index]
        return reward, done.to(self.dtype), (torch.where(done, first, after), torch.where(done, 0, t + 1))

    def score(self, theta: Tensor) -> Tensor:
        """Exact expected return (P, E) of an episode under softmax(theta), theta (P, E, S, A)."""
        policy = torch.softmax(theta, -1)
        return self._backward(len(theta), lambda q: (policy * q).sum(-1))

    def optimum(self) -> Tensor:
        """The largest expected return of an episode (Q, E), by value iteration over the steps left."""
        return self._backward(self.rows, lambda q: q.max(-1).values)

    def _backward(self, candidates: int, value_of: Any) -> Tensor:
        copies = candidates // self.rows
        index = self.next.flatten(2).repeat(copies, 1, 1)
        prob, reward = self.prob.repeat(copies, 1, 1, 1, 1), self.reward.repeat(copies, 1, 1, 1)
        first, limit = self.first.repeat(copies, 1).unsqueeze(-1), self.limit.repeat(copies, 1)
        value, found = reward.new_zeros(candidates, self.tasks, self.n_states), reward.new_zeros(limit.shape)
        for left in range(1, int(self.limit.max()) + 1):
            ahead = value.gather(2, index).view(prob.shape)
            value = value_of(reward + (prob * ahead).sum(-1))
            found = torch.where(limit == left, value.gather(2, first).squeeze(-1), found)
        return found


def _whole(name: str, values: np.ndarray) -> np.ndarray:
    if (values != np.floor(values)).any():
        raise TypeError(f"{name} must hold whole numbers, got {checks.shown(values)}")
    return values.astype(np.int64)
