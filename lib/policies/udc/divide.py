"""The divider: an anisotropic graph network over nearest neighbors, and the policy that draws whole tours from it.

Equation numbers are those of the module docstring of `lib.policies.udc`.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from lib import checks

#: Weight that every unvisited city keeps, as in the authors' code: relative to p / (min p + FLOOR).
FLOOR = 1e-5


def as_tensor(name: str, value: Any) -> Tensor:
    """Numbers as a tensor: a tensor as it is (half precision as float32), anything else by `checks.array`."""
    if isinstance(value, Tensor):
        if value.dtype.is_complex or value.numel() == 0:
            raise ValueError(f"{name} must hold real numbers and not be empty, got {value.dtype}, shape {tuple(value.shape)}")
        return value.float() if value.dtype in (torch.float16, torch.bfloat16) else value
    return torch.as_tensor(checks.array(name, value))


def as_batch(coords: Any, low: int = 4) -> tuple[Tensor, bool]:
    """Points as (B, N, 2), and whether a batch axis was added.

    Raises
    ------
    ValueError, TypeError
        For another shape, fewer than `low` points, numbers that are not finite or above 1e150, or points that all coincide.
    """
    points = as_tensor("coords", coords)
    if points.ndim not in (2, 3) or points.shape[-1] != 2 or points.shape[-2] < low:
        raise ValueError(f"coords must have shape (N, 2) or (B, N, 2) with N >= {low}, got {tuple(points.shape)}")
    points = points if points.is_floating_point() else points.double()
    if not bool(torch.isfinite(points).all()) or float(points.abs().amax()) > 1e150:
        raise ValueError(f"coords must be finite and at most 1e150 in size, got NaN or up to {float(points.abs().amax()):.3g}")
    if bool(((points.amax(-2) - points.amin(-2)).amax(-1) <= 0).any()):
        raise ValueError("coords: all points of an instance coincide (zero range)")
    return (points[None], True) if points.ndim == 2 else (points, False)


def to_unit_square(points: Tensor) -> Tensor:
    """Instances (B, N, 2) moved to the origin and divided by their larger range: no unit or origin is better than another."""
    moved = points.double() - points.double().amin(1, keepdim=True)
    return moved / moved.amax((1, 2), keepdim=True)


def knn_graph(coords: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k nearest points of each point, itself among them: indices and distances, both (B, N, min(k, N)).

    Parameters
    ----------
    coords : Tensor, shape (B, N, 2)
    k : int
        At least 1.

    Examples
    --------
    >>> import torch
    >>> from lib.policies.udc import knn_graph
    >>> knn_graph(torch.tensor([[[0.0, 0], [1, 0], [3, 0]]]), 2)[0].tolist()
    [[[0, 1], [1, 0], [2, 1]]]
    """
    coords, k = checks.tensor("coords", coords, ndim=3), checks.integer("k", k, low=1)
    distance = torch.cdist(coords, coords, compute_mode="donot_use_mm_for_euclid_dist")
    near = distance.topk(min(k, coords.shape[-2]), largest=False)
    return near.indices, near.values


def take(values: Tensor, index: Tensor) -> Tensor:
    """Rows of `values` (B, N, d) at `index` (B, ...): shape (B, ..., d)."""
    flat = index.reshape(len(index), -1, 1).expand(-1, -1, values.shape[-1])
    return values.gather(1, flat).reshape(*index.shape, values.shape[-1])


def mlp(d: int) -> nn.Sequential:
    """Two linear layers d -> d with SiLU between them."""
    return nn.Sequential(nn.Linear(d, d), nn.SiLU(), nn.Linear(d, d))


class AGNN(nn.Module):
    """Anisotropic graph network over the k nearest neighbors: equations (1) and (2).

    Parameters
    ----------
    d : int, default 64
        Width (paper: 64).
    depth : int, default 12
        Layers (paper: 12).
    k : int, default 100
        Neighbors of each node, itself included (paper: 100).
    n_features : int, default 2
        Numbers per node.

    Examples
    --------
    >>> import torch
    >>> from lib.policies.udc import AGNN
    >>> nodes, edges, near = AGNN(d=8, depth=2, k=5)(torch.rand(1, 20, 2))
    >>> nodes.shape, edges.shape
    (torch.Size([1, 20, 8]), torch.Size([1, 20, 5, 8]))
    """

    def __init__(self, d: int = 64, depth: int = 12, k: int = 100, n_features: int = 2) -> None:
        super().__init__()
        d, depth, self.k = (checks.integer(key, v, low=1) for key, v in {"d": d, "depth": depth, "k": k}.items())
        n_features = checks.integer("n_features", n_features, low=1)
        self.node_in, self.edge_in = nn.Linear(n_features, d), nn.Linear(2, d)
        self.from_nodes = nn.ModuleList(nn.Linear(d, 4 * d) for _ in range(depth))  # U1, U2, U3, U4 side by side
        self.from_edges = nn.ModuleList(nn.Linear(d, d) for _ in range(depth))  # W
        self.node_norm = nn.ModuleList(nn.BatchNorm1d(d) for _ in range(depth))
        self.edge_norm = nn.ModuleList(nn.BatchNorm1d(d) for _ in range(depth))

    def forward(self, coords: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Node embeddings (B, N, d), edge embeddings (B, N, K, d) and neighbors (B, N, K) of points (B, N, 2)."""
        near, distance = knn_graph(coords, self.k)
        x = nn.functional.silu(self.node_in(coords))
        w = nn.functional.silu(self.edge_in(-distance[..., None].expand(*distance.shape, 2)))  # the code feeds it twice
        layers = zip(self.from_nodes, self.from_edges, self.node_norm, self.edge_norm, strict=True)
        for u, edge, node_norm, edge_norm in layers:
            u1, u2, u3, u4 = u(x).chunk(4, dim=-1)
            message = (torch.sigmoid(w) * take(u2, near)).mean(2)
            new_x = x + nn.functional.silu(_over_features(node_norm, u1 + message))  # (1)
            w = w + nn.functional.silu(_over_features(edge_norm, edge(w) + u3[:, :, None] + take(u4, near)))  # (2)
            x = new_x
        return x, w, near


def _over_features(norm: nn.Module, values: Tensor) -> Tensor:
    return norm(values.reshape(-1, values.shape[-1])).reshape(values.shape)


class HeatmapPolicy(nn.Module):
    """Draws whole tours: at each step the next city follows a heatmap over the neighbors of the last one, (3) to (5).

    Parameters
    ----------
    d, depth, k : int
        Of the `AGNN` (paper: 64, 12, 100).
    distance_prior : bool, default False
        Add ``-c log2(N) distance`` to the scores, c learned, 5 at first. Ours, not in the paper: the policy then
        starts near the nearest-neighbor rule.

    Instances are moved to the origin and divided by their larger range first, so that no unit or origin of the coordinates
    is better than another (the authors' instances are uniform in the unit square).

    Examples
    --------
    >>> import torch
    >>> from lib.policies.udc import HeatmapPolicy
    >>> tours, logp = HeatmapPolicy(d=8, depth=2, k=5).sample(torch.rand(20, 2), alpha=3)
    >>> tours.shape, logp.shape
    (torch.Size([3, 20]), torch.Size([3]))
    """

    def __init__(self, d: int = 64, depth: int = 12, k: int = 100, distance_prior: bool = False) -> None:
        super().__init__()
        self.gnn = AGNN(d, depth, k)
        distance_prior = checks.boolean("distance_prior", distance_prior)
        d = self.gnn.node_in.out_features
        self.edge, self.first, self.last, self.visited = mlp(d), mlp(d), mlp(d), mlp(d)
        self.prior = nn.Parameter(torch.tensor(5.0)) if distance_prior else None

    def sample(
        self,
        coords: Any,
        alpha: int,
        revisit: int = 1,
        greedy: bool = False,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Draw `alpha` tours of one instance, or of each in a batch.

        Parameters
        ----------
        coords : Tensor or array, shape (N, 2) or (B, N, 2)
        alpha : int
            Tours per instance (paper: 40 to 80 in training, 50 in testing).
        revisit : int, default 1
            T, how often the heatmap is read out anew, given the part of the tour that exists (paper: N // n).
        greedy : bool, default False
            The most probable next city instead of a draw; the starts are different cities then.
        generator : torch.Generator, optional

        Returns
        -------
        tours : int64, shape (alpha, N) or (B, alpha, N)
        logp : float, shape (alpha,) or (B, alpha), or None
            Log-probability of each tour given its start, differentiable; with a start drawn uniformly add ``-log N``.
            None when greedy: nothing was drawn (`log_prob` gives it for any tours).

        Raises
        ------
        ValueError, TypeError
            For bad coordinates (see `as_batch`), or alpha or revisit below 1.
        """
        points, single = self._points(coords)
        alpha, revisit = checks.integer("alpha", alpha, low=1), checks.integer("revisit", revisit, low=1)
        greedy = checks.boolean("greedy", greedy)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not greedy):
            reader = self._embed(points)
        with torch.no_grad():
            tours = self._roll_out(points, reader, alpha, revisit, greedy, generator)
        if greedy:
            return (tours[0] if single else tours), None
        logp = self._log_prob(reader, tours, revisit)
        return (tours[0], logp[0]) if single else (tours, logp)

    def log_prob(self, coords: Any, tours: Any, revisit: int = 1) -> Tensor:
        """Log-probability (alpha,) or (B, alpha) of given tours, given their starts: all steps in one pass."""
        points, single = self._points(coords)
        order, revisit = as_tensor("tours", tours).long(), checks.integer("revisit", revisit, low=1)
        order = order[None] if single else order
        b, n, _ = points.shape
        if order.ndim != 3 or len(order) != b or not torch.equal(order.sort(-1).values, torch.arange(n).expand(order.shape)):
            raise ValueError(f"tours must hold permutations of 0..{n - 1}, shape (alpha, {n}) for each instance")
        logp = self._log_prob(self._embed(points), order, revisit)
        return logp[0] if single else logp

    def _points(self, coords: Any) -> tuple[Tensor, bool]:
        points, single = as_batch(coords)
        return to_unit_square(points).to(self.gnn.node_in.weight), single

    def _embed(self, points: Tensor) -> dict[str, Tensor]:
        nodes, edges, near = self.gnn(points)
        keys = self.edge(edges)
        bias = torch.zeros((), dtype=points.dtype)
        if self.prior is not None:
            reach = (points[:, :, None] - take(points, near)).norm(dim=-1)
            bias = -self.prior * math.log2(points.shape[1]) * reach[:, None]
        each = {"first": self.first(nodes), "last": self.last(nodes), "visited": self.visited(nodes)}
        return {"keys": keys, "near": near, "bias": bias, **each}

    def _heatmap(self, reader: dict[str, Tensor], tours: Tensor, t: int) -> Tensor:
        """(3): probabilities (B, alpha, N, K) after the first t cities."""
        keys, done = reader["keys"], tours[:, :, :t]
        query = take(reader["first"], done[:, :, 0])
        query = query + take(reader["last"], done[:, :, -1])
        query = query + take(reader["visited"], done).mean(2)
        b, n, k, d = keys.shape
        score = query @ keys.reshape(b, n * k, d).mT
        score = score.reshape(b, -1, n, k)
        return torch.softmax(score + reader["bias"], dim=-1)

    def _roll_out(
        self,
        points: Tensor,
        reader: dict[str, Tensor],
        alpha: int,
        revisit: int,
        greedy: bool,
        generator: torch.Generator | None,
    ) -> Tensor:
        b, n, _ = points.shape
        reader = {name: value.detach() for name, value in reader.items()}
        tours = torch.zeros((b, alpha, n), dtype=torch.long)
        tours[:, :, 0] = _starts(b, alpha, n, greedy, generator)
        free = torch.ones((b, alpha, n), dtype=torch.bool).scatter_(2, tours[:, :, :1], False)
        every = math.ceil((n - 1) / revisit)
        rows = torch.arange(b)[:, None], torch.arange(alpha)[None, :]
        near = reader["near"]
        for t in range(1, n):
            if (t - 1) % every == 0:
                heat = self._heatmap(reader, tours, t)
                floor = FLOOR * (heat.amin((2, 3)) + FLOOR)
            last = tours[:, :, t - 1]
            around = near[rows[0], last]
            weight = heat[rows[0], rows[1], last] * free.gather(2, around)
            pick = _greedy(weight) if greedy else _draw(weight, floor * (n - t), generator)
            chosen = around.gather(2, pick.clamp(max=around.shape[2] - 1)[..., None])[..., 0]
            if bool((jump := pick == around.shape[2]).any()):
                chosen = torch.where(jump, _elsewhere(points, last, free, greedy, generator), chosen)
            tours[:, :, t] = chosen
            free.scatter_(2, chosen[..., None], False)
        return tours

    def _log_prob(self, reader: dict[str, Tensor], tours: Tensor, revisit: int) -> Tensor:
        """Equations (4) and (5) for given tours: the steps between two read-outs in parallel."""
        n, near = tours.shape[2], reader["near"]
        every = math.ceil((n - 1) / revisit)
        position = torch.empty_like(tours).scatter_(2, tours, torch.arange(n).expand_as(tours))
        rows = torch.arange(len(tours))[:, None, None], torch.arange(tours.shape[1])[None, :, None]
        total = torch.zeros(tours.shape[:2], dtype=reader["keys"].dtype)
        for t in range(1, n, every):
            steps = torch.arange(t, min(t + every, n))
            heat = self._heatmap(reader, tours, t)
            floor = (FLOOR * (heat.amin((2, 3), keepdim=True)[..., 0] + FLOOR)).detach()
            last, following = tours[:, :, steps - 1], tours[:, :, steps]
            around = near[rows[0], last]
            weight = heat[rows[0], rows[1], last]
            unvisited = position.gather(2, around.flatten(2)).reshape(around.shape) >= steps[:, None]
            chosen = (weight * (around == following[..., None])).sum(-1) + floor
            total = total + (chosen.log() - ((weight * unvisited).sum(-1) + floor * (n - steps)).log()).sum(-1)
        return total


def _starts(b: int, alpha: int, n: int, greedy: bool, generator: torch.Generator | None) -> Tensor:
    """First cities (B, alpha): drawn independently, or different ones when decoding is greedy."""
    if not greedy:
        return torch.randint(n, (b, alpha), generator=generator)
    rank = torch.rand((b, n), generator=generator).argsort(1)
    return rank.repeat(1, math.ceil(alpha / n))[:, :alpha]


def _greedy(weight: Tensor) -> Tensor:
    """Position of the most probable free neighbor; K where no neighbor is free."""
    best = weight.max(-1)
    return torch.where(best.values > 0, best.indices, weight.shape[-1])


def _draw(weight: Tensor, elsewhere: Tensor, generator: torch.Generator | None) -> Tensor:
    """A draw among the K neighbors and, as number K, the floor that all free cities share."""
    all_weights = torch.cat([weight, elsewhere[..., None]], dim=-1)
    return torch.multinomial(all_weights.flatten(0, 1), 1, generator=generator).reshape(weight.shape[:2])


def _elsewhere(points: Tensor, last: Tensor, free: Tensor, greedy: bool, generator: torch.Generator | None) -> Tensor:
    """A city that the floor gives: all free ones weigh the same, so draw uniformly; greedy takes the nearest of them."""
    if greedy:
        reach = (points[:, None] - take(points, last)[:, :, None]).norm(dim=-1)
        return reach.masked_fill(~free, math.inf).argmin(-1)
    return torch.multinomial(free.flatten(0, 1).float(), 1, generator=generator).reshape(last.shape)
