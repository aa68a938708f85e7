"""The conquerors: solvers of paths with fixed ends, learned and exact, and the stage that applies one to a tour.

Equation numbers are those of the module docstring of `lib.policies.udc`.
"""

from __future__ import annotations

import math
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from lib import checks
from lib.policies.udc.divide import as_tensor, take
from lib.problems import routing

#: Logits are CLIP tanh(.), as in the authors' code.
CLIP = 50.0


class Solver(Protocol):
    """What a conquering stage needs, for example `SubpathSolver`, `HeldKarpSolver` or `LKHSolver`."""

    def solve(
        self, pieces: Tensor, beta: int = 2, greedy: bool = False, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor | None, Tensor]:
        """Answers (B, beta, n), their log-probabilities (B, beta; None when greedy) and their costs (B, beta)."""


def path_lengths(paths: Tensor, order: Tensor) -> Tensor:
    """Lengths (B, beta) of the paths (B, n, 2) walked in the orders (B, beta, n)."""
    return take(paths, order).diff(dim=2).norm(dim=-1).sum(-1)


def normalize(paths: Any) -> Tensor:
    """Equation (7): shift each path (..., n, 2) to the origin, make x the longer axis, divide by its range.

    A path whose points coincide stays at the origin. Raises ValueError or TypeError for what is no finite path.

    Examples
    --------
    >>> import torch
    >>> from lib.policies.udc import normalize
    >>> normalize(torch.tensor([[2.0, 1.0], [2.0, 3.0], [3.0, 2.0]])).tolist()
    [[0.0, 0.0], [1.0, 0.0], [0.5, 0.5]]
    """
    points = as_tensor("paths", paths)
    points = points if points.is_floating_point() else points.double()
    if points.ndim < 2 or points.shape[-1] != 2 or not bool(torch.isfinite(points).all()):
        raise ValueError(f"paths must be finite and have shape (..., n, 2), got {tuple(points.shape)}")
    moved = points - points.amin(-2, keepdim=True)
    extent = moved.amax(-2)
    moved = torch.where((extent[..., 1] > extent[..., 0])[..., None, None], moved.flip(-1), moved)
    reach = extent.amax(-1)[..., None, None]
    return moved / torch.where(reach > 0, reach, 1.0)  # the authors add 1e-10 instead, which is not free of units


def check_paths(paths: Any, low: int = 4) -> Tensor:
    """Paths (B, n, 2), n >= low, finite; else ValueError or TypeError."""
    points = as_tensor("pieces", paths)
    points = points if points.is_floating_point() else points.double()
    if points.ndim != 3 or points.shape[2] != 2 or points.shape[1] < low:
        raise ValueError(f"pieces must have shape (B, n, 2) with n >= {low}, got {tuple(points.shape)}")
    if not bool(torch.isfinite(points).all()):
        raise ValueError("pieces must be finite, got NaN or infinity")
    return points


def check_orders(name: str, orders: Any, count: int, n: int) -> Tensor:
    """Orders (count, beta, n): permutations that keep the first and the last place; else ValueError or TypeError."""
    order = orders if isinstance(orders, Tensor) and not orders.is_floating_point() else as_tensor(name, orders)
    good = order.ndim == 3 and order.shape[::2] == (count, n) and order.shape[1] > 0
    if not good or not bool((order.sort(-1).values == torch.arange(n)).all()):
        raise ValueError(f"{name} must hold permutations of 0..{n - 1}, shape ({count}, beta, {n}), got {tuple(order.shape)}")
    if not bool(((order[..., 0] == 0) & (order[..., -1] == n - 1)).all()):
        raise ValueError(f"{name} must keep the ends of every piece: 0 first, {n - 1} last")
    return order.long()


class _Layer(nn.Module):
    """Attention-free layer with distance bias, equation (8), and a feed-forward block."""

    def __init__(self, d: int) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(d, 3 * d), nn.Linear(d, d)
        self.scale = nn.Parameter(torch.ones(()))
        self.norm1, self.norm2 = nn.InstanceNorm1d(d, affine=True), nn.InstanceNorm1d(d, affine=True)
        self.feed = nn.Sequential(nn.Linear(d, 4 * d), nn.ReLU(), nn.Linear(4 * d, d))

    def forward(self, h: Tensor, distance: Tensor) -> Tensor:
        q, k, v = self.qkv(h).chunk(3, dim=-1)
        bias = (-self.scale * math.log2(h.shape[1]) * distance).exp()
        h = h + self.out(torch.sigmoid(q) * attention_free(bias, k, v))
        h = self.norm1(h.mT).mT
        return self.norm2((h + self.feed(h)).mT).mT


def attention_free(bias: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """The ratio of equation (8): bias (..., m, n) weighs exp(k) v and exp(k), both (..., n, d)."""
    key = (k - k.amax(-2, keepdim=True)).exp()
    return (bias @ (key * v)) / (bias @ key).clamp_min(1e-30)


class SubpathSolver(nn.Module):
    """Constructive policy for paths with fixed ends, equations (8) to (10): ICAM's conqueror.

    Parameters
    ----------
    d : int, default 128
        Width (paper: 128).
    depth : int, default 6
        Encoder layers (paper: 6).

    Examples
    --------
    >>> import torch
    >>> from lib.policies.udc import SubpathSolver
    >>> order, logp, length = SubpathSolver(d=8, depth=1).solve(torch.rand(3, 10, 2), beta=4)
    >>> order.shape, logp.shape, length.shape
    (torch.Size([3, 4, 10]), torch.Size([3, 4]), torch.Size([3, 4]))
    """

    def __init__(self, d: int = 128, depth: int = 6) -> None:
        super().__init__()
        d, depth = checks.integer("d", d, low=1), checks.integer("depth", depth, low=1)
        self.embed, self.ends = nn.Linear(2, d), nn.Linear(d, d)
        self.layers = nn.ModuleList(_Layer(d) for _ in range(depth))
        self.target, self.current = nn.Linear(d, d, bias=False), nn.Linear(d, d, bias=False)
        self.kv = nn.Linear(d, 2 * d)
        self.scale_attention, self.scale_logits = nn.Parameter(torch.ones(())), nn.Parameter(torch.ones(()))

    def solve(
        self, pieces: Any, beta: int = 2, greedy: bool = False, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor | None, Tensor]:
        """Draw `beta` orders of each path; the second half of them is built from the far end.

        Parameters
        ----------
        pieces : Tensor, shape (B, n, 2)
            Paths, normalized by the caller; the first and last point stay where they are.
        beta : int, default 2
            Orders per path, 1 (from the first point) or even (paper: 50 in training, 2 in testing).
        greedy : bool, default False
            The most probable next point instead of a draw; beta is 1 or 2 then.
        generator : torch.Generator, optional

        Returns
        -------
        order : int64, shape (B, beta, n)
            Local indices, from 0 to n - 1 in every row whichever end it was built from.
        logp : float, shape (B, beta), differentiable; None when greedy
        length : float, shape (B, beta)
            In the given coordinates.

        Raises
        ------
        ValueError
            For another shape, NaN, an odd beta above 1, or beta above 2 when greedy.
        """
        paths = check_paths(pieces).to(self.embed.weight)
        beta, greedy = checks.integer("beta", beta, low=1), checks.boolean("greedy", greedy)
        if (beta > 1 and beta % 2) or (greedy and beta > 2):
            raise ValueError(f"beta must be 1 or even, and at most 2 when greedy, got {beta} (greedy={greedy})")
        distance = torch.cdist(paths, paths)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not greedy):
            state = self._encode(paths, distance)
        flip = torch.arange(beta) >= (beta + 1) // 2  # these start at the far end
        with torch.no_grad():
            walk = self._roll_out(state, distance, flip, greedy, generator)
        logp = None if greedy else self._log_prob(state, distance, walk)
        order = torch.where(flip[:, None], walk.flip(-1), walk)
        return order, logp, path_lengths(paths, order)

    def log_prob(self, pieces: Any, walks: Any) -> Tensor:
        """Log-probability (B, beta) of walks (B, beta, n), each given its first and last point: all steps in one pass."""
        paths = check_paths(pieces).to(self.embed.weight)
        order = as_tensor("walks", walks).long()
        if not torch.equal(order.sort(-1).values, torch.arange(paths.shape[1]).expand(order.shape)):
            raise ValueError(f"walks must hold permutations of 0..{paths.shape[1] - 1}, got shape {tuple(order.shape)}")
        distance = torch.cdist(paths, paths)
        return self._log_prob(self._encode(paths, distance), distance, order)

    def _encode(self, paths: Tensor, distance: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        h = self.embed(paths)
        h = torch.cat([self.ends(h[:, :1]), h[:, 1:-1], self.ends(h[:, -1:])], dim=1)
        for layer in self.layers:
            h = layer(h, distance)
        k, v = self.kv(h).chunk(2, dim=-1)
        key = (k - k.amax(1, keepdim=True)).exp()
        return h, key * v, key

    def _logits(
        self,
        query: Tensor,  # (..., m, d)
        bias: Tensor,  # distances, (..., m, n)
        free: Tensor,  # mask, (..., m, n)
        state: tuple[Tensor, Tensor, Tensor],
    ) -> Tensor:
        """Equations (9) and (10): logits (..., m, n)."""
        h, weighted, key = state
        scale = math.log2(h.shape[-2])
        weight = (-self.scale_attention * scale * bias).exp() * free
        ratio = (weight @ weighted) / (weight @ key).clamp_min(1e-30)
        out = torch.sigmoid(query) * ratio  # (9)
        score = out @ h.mT / math.sqrt(h.shape[-1])
        score = score - self.scale_logits * scale * bias  # (10)
        return (CLIP * torch.tanh(score)).masked_fill(~free, -math.inf)

    def _roll_out(
        self,
        state: tuple[Tensor, Tensor, Tensor],
        distance: Tensor,
        flip: Tensor,
        greedy: bool,
        generator: torch.Generator | None,
    ) -> Tensor:
        h = state[0].detach()
        state = (h, state[1].detach(), state[2].detach())
        (b, n, _), beta = h.shape, len(flip)
        walk = torch.zeros((b, beta, n), dtype=torch.long)
        walk[:, flip, 0], walk[:, ~flip, n - 1] = n - 1, n - 1
        free = torch.ones((b, beta, n), dtype=torch.bool)
        free[:, :, 0] = free[:, :, -1] = False
        target, current = take(self.target(h), walk[:, :, -1]), self.current(h)
        for t in range(1, n - 2):
            at = walk[:, :, t - 1]
            logits = self._logits(target + take(current, at), take(distance, at), free, state)
            if greedy:
                chosen = logits.argmax(-1)
            else:
                chosen = torch.multinomial(logits.softmax(-1).flatten(0, 1), 1, generator=generator).reshape(b, beta)
            walk[:, :, t] = chosen
            free.scatter_(2, chosen[..., None], False)
        walk[:, :, n - 2] = free.int().argmax(-1)  # the last one is forced
        return walk

    def _log_prob(self, state: tuple[Tensor, Tensor, Tensor], distance: Tensor, walk: Tensor) -> Tensor:
        h, n = state[0], state[0].shape[1]
        done = walk[:, :, : n - 3]  # where each step that has a choice starts from
        query = take(self.target(h), walk[:, :, -1:]) + take(self.current(h), done)
        position = torch.empty_like(walk).scatter_(2, walk, torch.arange(n).expand_as(walk))
        free = (position[:, :, None] > torch.arange(n - 3)[:, None]) & (position < n - 1)[:, :, None]
        logits = self._logits(query.flatten(1, 2), take(distance, done).flatten(1, 2), free.flatten(1, 2), state)
        steps = logits.log_softmax(-1).gather(2, walk[:, :, 1 : n - 2].reshape(len(walk), -1, 1))
        return steps.reshape(*walk.shape[:2], -1).sum(-1)


class HeldKarpSolver:
    """Exact drop-in for `SubpathSolver` by dynamic programming, n <= 13.

    Examples
    --------
    >>> import torch
    >>> from lib.policies.udc import HeldKarpSolver
    >>> HeldKarpSolver().solve(torch.tensor([[[0.0, 0], [2, 0], [1, 0], [3, 0]]]))[0].tolist()
    [[[0, 2, 1, 3]]]
    """

    def solve(
        self, pieces: Any, beta: int = 1, greedy: bool = True, generator: torch.Generator | None = None
    ) -> tuple[Tensor, None, Tensor]:
        """One optimal order per path, (B, 1, n), and its length; beta and greedy change nothing. ValueError for n > 13."""
        order, length = routing.held_karp_paths(check_paths(pieces, low=2).detach().numpy())
        return torch.as_tensor(order)[:, None], None, torch.as_tensor(length)[:, None]


class LKHSolver:
    """Practically exact drop-in for `SubpathSolver` by LKH; needs the optional package ``elkai`` (ImportError without it).

    Examples
    --------
    >>> import torch
    >>> from lib.policies.udc import LKHSolver
    >>> order, logp, length = LKHSolver().solve(torch.rand(1, 20, 2))
    """

    def solve(
        self, pieces: Any, beta: int = 1, greedy: bool = True, generator: torch.Generator | None = None
    ) -> tuple[Tensor, None, Tensor]:
        """One order per path, (B, 1, n), and its length; beta and greedy change nothing."""
        paths = check_paths(pieces, low=2).double()
        orders = [torch.as_tensor(routing.lkh_path(path.detach().numpy())) for path in paths]
        order = torch.stack(orders)[:, None]
        return order, None, path_lengths(paths, order)
