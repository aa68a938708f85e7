"""The knapsack problem as a plug-in: the same divide, conquer and repeated stages, with sets instead of tours.

An instance is (B, N, 2): value and weight of each item, weights divided by the capacity, which so is 1. A solution is the
chosen items, bool (B, alpha, N), its cost minus their value. A piece is a random group of n items; it may use what its own
chosen items weigh and an equal share of the room that is left. Sets have no seams: a shift means nothing here, every
stage draws new groups.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lib import checks
from lib.policies.udc.divide import AGNN, as_tensor, mlp
from lib.policies.udc.framework import UDC
from lib.policies.udc.problem import LEAST_GAIN, Pieces, Problem
from lib.policies.udc.solvers import check_paths
from lib.policies.udc.study.training import initialized

CLIP = 10.0
#: A set fits when its weight is at most 1 plus this.
SLACK = 1e-9


def knapsack_instance(items: Any, capacity: float) -> np.ndarray:
    """Items (..., N, 2) of value and weight as the instance of this module: weights divided by the capacity.

    Raises
    ------
    ValueError, TypeError
        For values or weights that are not positive, or a capacity that is not.

    Examples
    --------
    >>> from lib.policies.udc.study import knapsack_instance
    >>> knapsack_instance([[3.0, 2.0], [2.0, 1.0]], capacity=2.0).tolist()
    [[3.0, 1.0], [2.0, 0.5]]
    """
    table = checks.array("items", items, ndim=(2, 3), above=0)
    if table.shape[-1] != 2:
        raise ValueError(f"items must have shape (..., N, 2), values and weights, got {table.shape}")
    return table / [1.0, checks.positive("capacity", capacity)]


def _instance(items: Any) -> tuple[Tensor, bool]:
    """Items as (B, N, 2), and whether a batch axis was added; equal items are allowed."""
    table = as_tensor("coords (the items)", items)
    table = table if table.is_floating_point() else table.double()
    if table.ndim not in (2, 3) or table.shape[-1] != 2 or table.shape[-2] < 4:
        raise ValueError(f"coords (the items) must have shape (N, 2) or (B, N, 2) with N >= 4, got {tuple(table.shape)}")
    if not bool(torch.isfinite(table).all()) or not bool((table > 0).all()):
        raise ValueError("coords (the items): values and weights must be finite and positive")
    return (table[None], True) if table.ndim == 2 else (table, False)


def _solutions(name: str, chosen: Any, instance: Tensor) -> Tensor:
    """Sets of items (B, alpha, N), bool, that fit."""
    sets = torch.as_tensor(chosen)
    b, n, _ = instance.shape
    if (
        sets.ndim != 3
        or len(sets) != b
        or sets.shape[1] < 1
        or sets.shape[2] != n
        or not bool(((sets == 0) | (sets == 1)).all())
    ):
        raise ValueError(f"{name} must be sets of items, True or False, shape (alpha, {n}) for each instance")
    sets = sets.bool()
    heaviest = float((instance[:, None, :, 1].double() * sets).sum(-1).amax())
    if heaviest > 1.0 + SLACK:
        raise ValueError(f"{name} must fit: the heaviest set weighs {heaviest:.6g} times the capacity")
    return sets


def _value(instance: Tensor, chosen: Tensor) -> Tensor:
    return -(instance[:, None, :, 0].double() * chosen).sum(-1)


def _group(instance: Tensor, chosen: Tensor, n: int, shift: int, generator: torch.Generator | None = None) -> Pieces:
    b, alpha, n_items = chosen.shape
    count = n_items // n
    nodes = torch.rand((b, alpha, n_items), generator=generator).argsort(-1)[:, :, : count * n]
    items = instance.double()[torch.arange(b)[:, None, None], nodes].reshape(b, alpha, count, n, 2)
    inside = chosen.gather(2, nodes).reshape(b, alpha, count, n)
    room = 1.0 - (instance[:, None, :, 1].double() * chosen).sum(-1)
    capacity = (items[..., 1] * inside).sum(-1) + room[..., None] / count
    items = torch.stack([items[..., 0], items[..., 1] / capacity.clamp_min(1e-12)[..., None]], dim=-1)
    return Pieces(items.flatten(0, 2), nodes.reshape(b, alpha, count, n), chosen)


def _put_back(pieces: Pieces, answers: Tensor) -> Tensor:
    p, n, _ = pieces.data.shape
    if answers.ndim != 3 or answers.shape[::2] != (p, n) or answers.dtype != torch.bool:
        raise ValueError(
            f"the solver's answers must be bool, shape ({p}, beta, {n}), got {answers.dtype} {tuple(answers.shape)}"
        )
    values, weights = pieces.data[:, None, :, 0], pieces.data[:, None, :, 1]
    nodes = pieces.nodes.flatten(2)
    old = pieces.rest.gather(2, nodes).reshape(len(pieces.data), -1)
    total = (values * answers).sum(-1).masked_fill((weights * answers).sum(-1) > 1.0 - 1e-12, -math.inf)
    best = total.max(1)
    better = best.values > (values[:, 0] * old).sum(-1) * (1 + LEAST_GAIN)
    new = torch.where(better[:, None], answers[torch.arange(len(answers)), best.indices], old)
    return pieces.rest.scatter(2, nodes, new.reshape(nodes.shape))


def _scale_values(pieces: Tensor) -> Tensor:
    """Largest value 1; weights, already relative to the capacity, at most 2 (above 1 nothing fits anyway)."""
    top = pieces[..., :1].amax(-2, keepdim=True)
    return torch.cat([pieces[..., :1] / top, pieces[..., 1:].clamp_max(2.0)], dim=-1)


#: The 0-1 knapsack problem.
KNAPSACK = Problem(_value, _group, _put_back, _scale_values, _instance, _solutions)


class ItemPolicy(nn.Module):
    """Divider: an `AGNN` over items scores each; items are drawn in turn by a softmax over those that still fit.

    Examples
    --------
    >>> import torch
    >>> from lib.policies.udc.study import ItemPolicy
    >>> chosen, logp = ItemPolicy(d=8, depth=2, k=5).sample(torch.rand(20, 2), alpha=3)
    >>> chosen.shape, logp.shape
    (torch.Size([3, 20]), torch.Size([3]))
    """

    def __init__(self, d: int = 64, depth: int = 12, k: int = 100) -> None:
        super().__init__()
        self.gnn = AGNN(d, depth, k)
        d = self.gnn.node_in.out_features
        self.score = nn.Sequential(mlp(d), nn.SiLU(), nn.Linear(d, 1))

    def sample(
        self,
        coords: Any,
        alpha: int,
        revisit: int = 1,
        greedy: bool = False,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Chosen items, bool (alpha, N) or (B, alpha, N), and their log-probabilities (None when greedy).

        `revisit` plays no part. Values are divided by the largest first.
        """
        batch, single = _instance(coords)
        alpha, greedy = checks.integer("alpha", alpha, low=1), checks.boolean("greedy", greedy)
        nodes, _, _ = self.gnn(_scale_values(batch).to(self.gnn.node_in.weight))
        score = self.score(nodes)[..., 0]
        weight = batch[..., 1].double()[:, None].expand(-1, alpha, -1)
        with torch.no_grad():
            pick, free = _fill(weight, score.detach()[:, None].expand(-1, alpha, -1), greedy, generator)
        chosen = _chosen(pick, free)
        if greedy:
            return (chosen[0] if single else chosen), None
        steps = score[:, None, None].expand_as(free).masked_fill(~free, -math.inf)
        logp = _log_prob(steps, pick, free)
        return (chosen[0], logp[0]) if single else (chosen, logp)


def _fill(weight: Tensor, score: Tensor, greedy: bool, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    """Draw items until none fits: picks (..., S) and the masks (..., S, N) that they were drawn under."""
    room, free = torch.ones(weight.shape[:-1], dtype=weight.dtype), weight <= 1.0
    picks, masks = [], []
    while bool(free.any()):
        logits = score.masked_fill(~free, -math.inf)
        logits = torch.where(free.any(-1, keepdim=True), logits, 0.0)  # finished rows draw something, and it is ignored
        if greedy:
            pick = logits.argmax(-1)
        else:
            pick = torch.multinomial(logits.softmax(-1).flatten(0, -2), 1, generator=generator).reshape(room.shape)
        picks.append(pick)
        masks.append(free)
        room = room - weight.gather(-1, pick[..., None])[..., 0] * free.any(-1)
        free = (free & (weight <= room[..., None])).scatter(-1, pick[..., None], False)
    if not picks:
        return torch.zeros((*room.shape, 0), dtype=torch.long), torch.zeros(
            (*room.shape, 0, weight.shape[-1]), dtype=torch.bool
        )
    return torch.stack(picks, -1), torch.stack(masks, -2)


def _log_prob(logits: Tensor, pick: Tensor, free: Tensor) -> Tensor:
    """Sum over the steps that had a choice."""
    alive = free.any(-1)
    safe = torch.where(alive[..., None], logits, 0.0)
    return (safe.log_softmax(-1).gather(-1, pick[..., None])[..., 0] * alive).sum(-1)


def _chosen(pick: Tensor, free: Tensor) -> Tensor:
    taken = torch.nn.functional.one_hot(pick, free.shape[-1]).bool() & free
    return taken.any(-2)


class SubsetSolver(nn.Module):
    """Conqueror: fills one small knapsack, the next item chosen given the room left.

    Parameters
    ----------
    d : int, default 128
    depth : int, default 3
        Layers that let items see the mean of the others.

    Examples
    --------
    >>> import torch
    >>> from lib.policies.udc.study import SubsetSolver
    >>> chosen, logp, cost = SubsetSolver(d=8, depth=1).solve(torch.rand(3, 10, 2), beta=4)
    >>> chosen.shape, cost.shape
    (torch.Size([3, 4, 10]), torch.Size([3, 4]))
    """

    def __init__(self, d: int = 128, depth: int = 3) -> None:
        super().__init__()
        d, depth = checks.integer("d", d, low=1), checks.integer("depth", depth, low=1)
        self.embed = nn.Linear(2, d)
        self.layers = nn.ModuleList(mlp(d) for _ in range(depth))
        self.room, self.query = nn.Linear(2, d), mlp(d)

    def solve(
        self, pieces: Any, beta: int = 2, greedy: bool = False, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Chosen items (P, beta, n), log-probabilities and costs (minus value) of pieces (P, n, 2) of capacity 1.

        Greedy decoding starts answer number j with the j-th best first item.
        """
        items = check_paths(pieces, low=1).to(self.embed.weight)
        beta, greedy = checks.integer("beta", beta, low=1), checks.boolean("greedy", greedy)
        h = torch.nn.functional.silu(self.embed(items))
        for layer in self.layers:
            h = h + layer(h + h.mean(1, keepdim=True))
        with torch.no_grad():
            pick, free = self._roll_out(h.detach(), items, beta, greedy, generator)
        taken = torch.nn.functional.one_hot(pick, items.shape[1]).bool() & free
        used = (taken * items[:, None, None, :, 1]).sum(-1).cumsum(-1)
        room = 1.0 - torch.cat([torch.zeros_like(used[..., :1]), used[..., :-1]], dim=-1)
        count = len(items), beta * room.shape[2]
        logits = self._logits(h, room.reshape(count)).reshape(free.shape).masked_fill(~free, -math.inf)
        chosen = taken.any(-2)
        return chosen, _log_prob(logits, pick, free), -(chosen * items[:, None, :, 0]).sum(-1)

    def _logits(self, h: Tensor, room: Tensor) -> Tensor:
        query = self.query(self.room(torch.stack([room, room.square()], dim=-1)) + h.mean(1, keepdim=True))
        return CLIP * torch.tanh(query @ h.mT / math.sqrt(h.shape[-1]))

    def _roll_out(
        self, h: Tensor, items: Tensor, beta: int, greedy: bool, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        p, n, _ = items.shape
        weight = items[:, None, :, 1].expand(p, beta, n)
        room, free = torch.ones((p, beta), dtype=items.dtype), weight <= 1.0
        picks, masks = [], []
        for step in range(n):
            alive = free.any(-1)
            logits = torch.where(alive[..., None], self._logits(h, room).masked_fill(~free, -math.inf), 0.0)
            if greedy and step == 0:
                pick = logits[:, 0].topk(min(beta, n)).indices
                pick = torch.where(free.gather(2, pick[..., None])[..., 0], pick, logits.argmax(-1))
            elif greedy:
                pick = logits.argmax(-1)
            else:
                pick = torch.multinomial(logits.softmax(-1).flatten(0, 1), 1, generator=generator).reshape(p, beta)
            picks.append(pick)
            masks.append(free)
            room = room - weight.gather(2, pick[..., None])[..., 0] * alive
            free = (free & (weight <= room[..., None])).scatter(2, pick[..., None], False)
            if not bool(free.any()):
                break
        return torch.stack(picks, -1), torch.stack(masks, -2)


def new_knapsack_model(seed: int = 0, d: int = 32, depth: int = 3, k: int = 10, n: int = 20, dtype: str = "float32") -> UDC:
    """An untrained model for the knapsack problem, initialized by `seed`.

    Examples
    --------
    >>> from lib.policies.udc.study import new_knapsack_model
    >>> new_knapsack_model(n=10).n
    10
    """
    with initialized(checks.integer("seed", seed, low=0), dtype):
        return UDC(ItemPolicy(d, depth, k), SubsetSolver(d, 2), n, KNAPSACK)
