"""The conquerors: solvers of paths with fixed ends, learned and exact, and the stage that applies one to a tour.

Equation numbers are those of the module docstring of `lib.policies.udc`.
"""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor, nn

from lib.policies.udc.divide import take
from lib.problems import routing

#: Logits are CLIP tanh(.), as in the authors' code.
CLIP = 50.0


class Solver(Protocol):
    """What a conquering stage needs: `SubpathSolver`, `HeldKarpSolver`, `LKHSolver`, `knapsack.SubsetSolver`."""

    def solve(
        self, pieces: Tensor, beta: int = 2, greedy: bool = False, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Answers (B, beta, n), their log-probabilities (B, beta) and their costs (B, beta)."""


def path_lengths(paths: Tensor, order: Tensor) -> Tensor:
    """Lengths (B, beta) of the paths (B, n, 2) walked in the orders (B, beta, n)."""
    return take(paths, order).diff(dim=2).norm(dim=-1).sum(-1)


def normalize(paths: Tensor) -> Tensor:
    """Equation (7): shift each path (..., n, 2) to the origin, make x the longer axis, divide by its range.

    Examples
    --------
    >>> import torch
    >>> from lib.policies.udc import normalize
    >>> normalize(torch.tensor([[2.0, 1.0], [2.0, 3.0], [3.0, 2.0]])).tolist()
    [[0.0, 0.0], [1.0, 0.0], [0.5, 0.5]]
    """
    moved = paths - paths.amin(-2, keepdim=True)
    extent = moved.amax(-2)
    moved = torch.where((extent[..., 1] > extent[..., 0])[..., None, None], moved.flip(-1), moved)
    return moved / (extent.amax(-1)[..., None, None] + 1e-10)


def check_paths(paths: Tensor) -> Tensor:
    """Paths (B, n, 2), n >= 4, without NaN; else ValueError."""
    if paths.ndim != 3 or paths.shape[2] != 2 or paths.shape[1] < 4:
        raise ValueError(f"paths must have shape (B, n, 2) with n >= 4, got {tuple(paths.shape)}")
    if not bool(torch.isfinite(paths).all()):
        raise ValueError("paths hold NaN or infinite values")
    return paths


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
        if min(d, depth) < 1:
            raise ValueError(f"d and depth must be at least 1, got {d} and {depth}")
        self.embed, self.ends = nn.Linear(2, d), nn.Linear(d, d)
        self.layers = nn.ModuleList(_Layer(d) for _ in range(depth))
        self.target, self.current = nn.Linear(d, d, bias=False), nn.Linear(d, d, bias=False)
        self.kv = nn.Linear(d, 2 * d)
        self.scale_attention, self.scale_logits = nn.Parameter(torch.ones(())), nn.Parameter(torch.ones(()))

    def solve(
        self, pieces: Tensor, beta: int = 2, greedy: bool = False, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
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
        logp : float, shape (B, beta), differentiable
        length : float, shape (B, beta)
            In the given coordinates.

        Raises
        ------
        ValueError
            For another shape, NaN, an odd beta above 1, or beta above 2 when greedy.
        """
        paths = check_paths(torch.as_tensor(pieces)).to(self.embed.weight)
        if beta < 1 or (beta > 1 and beta % 2) or (greedy and beta > 2):
            raise ValueError(f"beta must be 1 or even, and at most 2 when greedy, got {beta} (greedy={greedy})")
        distance = torch.cdist(paths, paths)
        state = self._encode(paths, distance)
        flip = torch.arange(beta) >= (beta + 1) // 2  # these start at the far end
        with torch.no_grad():
            walk = self._roll_out(state, distance, flip, greedy, generator)
        logp = self._log_prob(state, distance, walk)
        order = torch.where(flip[:, None], walk.flip(-1), walk)
        return order, logp, path_lengths(paths, order)

    def log_prob(self, paths: Tensor, walks: Tensor) -> Tensor:
        """Log-probability (B, beta) of walks (B, beta, n), each given its first and last point: all steps in one pass."""
        paths = check_paths(torch.as_tensor(paths)).to(self.embed.weight)
        distance = torch.cdist(paths, paths)
        return self._log_prob(self._encode(paths, distance), distance, walks)

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
        self, pieces: Tensor, beta: int = 1, greedy: bool = True, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """One optimal order per path, (B, 1, n), with log-probability 0, and its length; ValueError for n > 13."""
        order, length = routing.held_karp_paths(torch.as_tensor(pieces).numpy())
        return torch.as_tensor(order)[:, None], torch.zeros(len(order), 1), torch.as_tensor(length)[:, None]


class LKHSolver:
    """Practically exact drop-in for `SubpathSolver` by LKH; needs the optional package ``elkai`` (ImportError without it).

    Examples
    --------
    >>> from lib.policies.udc import LKHSolver
    >>> order, logp, length = LKHSolver().solve(torch.rand(1, 20, 2))  # doctest: +SKIP
    """

    def solve(
        self, pieces: Tensor, beta: int = 1, greedy: bool = True, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """One order per path, (B, 1, n), with log-probability 0, and its length."""
        paths = check_paths(torch.as_tensor(pieces)).double()
        orders = [torch.as_tensor(routing.lkh_path(path.numpy())) for path in paths]
        order = torch.stack(orders)[:, None]
        return order, torch.zeros(len(order), 1), path_lengths(paths, order)
