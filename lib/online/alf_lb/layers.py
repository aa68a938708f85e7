"""The procedure in a network: a balancer that holds prices, a sparse mixture-of-experts layer, the auxiliary loss as rival."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from lib import checks
from lib.online.alf_lb.balancing import price_step
from lib.online.alf_lb.steps import SignStep, StepRule, rule_of

__all__ = ["LoadBalancer", "SparseMoE", "auxiliary_loss"]

_HALF = (torch.float16, torch.bfloat16)


def auxiliary_loss(scores: Tensor, chosen: Tensor, alpha: float) -> Tensor:
    """The rival: a loss whose gradient pushes the router from experts with many tokens.

    Parameters
    ----------
    scores : Tensor, shape (N, E)
        Affinities, not negative; the gradient goes through them.
    chosen : Tensor of integers, shape (N, K)
        Experts of each token.
    alpha : float
        Weight, at least 0; it is the loss's value when all experts have equal loads and equal scores.

    Returns
    -------
    Tensor, shape ()

    Examples
    --------
    >>> import torch
    >>> from lib.online.alf_lb import auxiliary_loss
    >>> scores, chosen = torch.full((4, 2), 0.5), torch.tensor([[0], [1], [0], [1]])
    >>> auxiliary_loss(scores, chosen, 0.01).item()
    0.009999999776482582
    """
    s = _wide(checks.tensor("scores", scores, ndim=2))
    weight, n_experts = checks.number("alpha", alpha, low=0, high=1e6), s.shape[1]
    if (s.detach() < 0).any() or (s.detach().sum(1) <= 0).any():
        raise ValueError("scores must not be negative, and not all 0 for a token")
    load = _load(chosen, len(s), n_experts)
    share = s / s.sum(1, keepdim=True)
    fraction = load.to(s.dtype) / load.sum()  # (9)
    return weight * n_experts * (fraction * share.mean(0)).sum()  # (9)


class LoadBalancer(nn.Module):
    """Prices of the experts of one layer: they enter the selection, never the gates, and no gradient moves them.

    Parameters
    ----------
    n_experts : int
        Experts E.
    k : int
        Experts of a token, 1 to E.
    step : StepRule, optional
        How far prices move; default the rule of DeepSeek with its 0.001.

    Attributes
    ----------
    bias : Tensor, shape (E,)
        Prices; a buffer in float64 that casting the model to another precision leaves alone.
    n : Tensor
        Updates so far.
    pending : Tensor of integers, shape (E,)
        Loads recorded since the last update, over all micro-batches.

    Examples
    --------
    >>> import torch
    >>> from lib.online.alf_lb import LoadBalancer, SignStep
    >>> balancer = LoadBalancer(2, 1, SignStep(0.1))
    >>> balancer.select(torch.tensor([[0.9, 0.2], [0.8, 0.4]])).tolist()
    [[0], [0]]
    >>> balancer.update([2, 0])
    >>> balancer.bias.tolist()
    [-0.1, 0.1]
    """

    bias: Tensor
    n: Tensor
    pending: Tensor

    def __init__(self, n_experts: int, k: int, step: StepRule | None = None) -> None:
        super().__init__()
        self.n_experts = checks.integer("n_experts", n_experts, low=1)
        self.k = checks.integer("k", k, low=1, high=self.n_experts)
        self.step = SignStep() if step is None else rule_of("step", step)
        self.register_buffer("bias", torch.zeros(self.n_experts, dtype=torch.float64))
        self.register_buffer("n", torch.zeros((), dtype=torch.int64))
        self.register_buffer("pending", torch.zeros(self.n_experts, dtype=torch.int64))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> LoadBalancer:
        kept = self.bias
        super()._apply(fn, recurse)
        if self.bias.dtype != kept.dtype:  # a step of 0.001 would drown in half precision
            self.bias = kept.to(self.bias.device)
        return self

    def select(self, scores: Tensor) -> Tensor:
        """Experts of each token: the `k` largest of scores plus prices, ties to the lower index.

        Parameters
        ----------
        scores : Tensor, shape (N, E)

        Returns
        -------
        Tensor of integers, shape (N, k)
        """
        s = checks.tensor("scores", scores, ndim=2)
        if s.shape[1] != self.n_experts:
            raise ValueError(f"scores must have {self.n_experts} columns, got shape {tuple(s.shape)}")
        shifted = s.detach().to(self.bias.dtype) + self.bias
        return torch.sort(shifted, dim=1, descending=True, stable=True).indices[:, : self.k]  # (5)

    def record(self, load: Tensor) -> None:
        """Add the loads of a micro-batch to those of the step.

        A batch that is counted twice, as activation checkpointing does, changes no price: only the loads' shares count.

        Parameters
        ----------
        load : Tensor of integers, shape (E,)
            Tokens of each expert, not negative.
        """
        whole = isinstance(load, Tensor) and not load.is_floating_point() and not load.is_complex()
        if not whole or load.shape != self.pending.shape or bool((load < 0).any()):
            raise ValueError(f"load must hold {self.n_experts} counts, integers at least 0, got {checks.shown(load)}")
        self.pending += load

    def update(self, load: Any = None) -> None:
        """Move the prices once, from the loads of the whole step; call it after the optimizer's step.

        Parameters
        ----------
        load : array_like, shape (E,), optional
            Tokens of each expert; default what was recorded since the last update. Without any token nothing moves.
        """
        given = self.pending.cpu().numpy() if load is None else load
        counts = checks.array("load", given, shape=(self.n_experts,), low=0).astype(np.float64)
        self.pending.zero_()
        if counts.sum() > 0:
            self.n += 1
            moved = price_step(self.step, int(self.n), self.bias.cpu().numpy(), counts, counts.sum() / self.n_experts)
            self.bias.copy_(torch.from_numpy(moved))


class SparseMoE(nn.Module):
    """A sparse mixture-of-experts layer: sigmoid scores, top-K of scores plus prices, gates from the scores alone.

    Parameters
    ----------
    d : int
        Width of a token.
    n_experts, k : int
        Experts, and experts of a token.
    d_ff : int
        Hidden width of an expert.
    shared : int
        Experts that every token passes, at least 0.
    balancer : LoadBalancer, optional
        Prices; default none: plain top-K.
    alpha : float
        Weight of the auxiliary loss, at least 0; default none.
    dispatch : {"sorted", "dense"}
        Whether tokens are sorted by expert and each expert sees its own, or every expert computes every token.

    Attributes
    ----------
    last_load : Tensor of integers, shape (E,)
        Loads of the last forward pass.
    aux_loss : Tensor, shape ()
        Auxiliary loss of the last forward pass in training mode, to be added to the loss.

    Examples
    --------
    >>> import torch
    >>> from lib.online.alf_lb import LoadBalancer, SparseMoE
    >>> layer = SparseMoE(8, 4, 2, 16, balancer=LoadBalancer(4, 2))
    >>> y = layer(torch.randn(10, 8))
    >>> layer.balancer.update()
    >>> tuple(y.shape), int(layer.last_load.sum())
    ((10, 8), 20)
    """

    def __init__(self, d: int, n_experts: int, k: int, d_ff: int, shared: int = 1, balancer: LoadBalancer | None = None,
                 alpha: float = 0.0, dispatch: str = "sorted") -> None:  # fmt: skip
        super().__init__()
        sizes = {"d": d, "n_experts": n_experts, "d_ff": d_ff}
        d, E, f = (checks.integer(name, value, low=1) for name, value in sizes.items())
        self.k = checks.integer("k", k, low=1, high=E)
        self.alpha = checks.number("alpha", alpha, low=0, high=1e6)
        self.dispatch = checks.choice("dispatch", dispatch, ("sorted", "dense"))
        if balancer is not None and (not isinstance(balancer, LoadBalancer) or (balancer.n_experts, balancer.k) != (E, self.k)):
            raise ValueError(f"balancer must be a LoadBalancer of {E} experts and k = {self.k}, got {checks.shown(balancer)}")
        self.balancer = balancer
        self.router = nn.Parameter(torch.randn(E, d) / d**0.5)
        self.w1 = nn.Parameter(torch.randn(E, d, f) / d**0.5)
        self.w2 = nn.Parameter(torch.randn(E, f, d) / f**0.5)
        width = f * checks.integer("shared", shared, low=0)
        self.shared = nn.Sequential(nn.Linear(d, width), nn.GELU(), nn.Linear(width, d)) if width else None
        self.register_buffer("last_load", torch.zeros(E, dtype=torch.int64), persistent=False)
        self.aux_loss = torch.zeros(())

    def __getstate__(self) -> dict[str, Any]:
        # What a pass left behind hangs on its graph, which can be neither copied nor stored.
        return {**self.__dict__, "aux_loss": torch.zeros(())}

    def scores(self, h: Tensor) -> Tensor:
        """Affinities of tokens (..., d) for experts: sigmoid of inner products, shape (N, E)."""
        return torch.sigmoid(h.reshape(-1, h.shape[-1]) @ self.router.T)

    def forward(self, h: Tensor) -> Tensor:
        """Tokens (..., d) through their experts; in training mode the loads are recorded for the balancer."""
        d = self.router.shape[1]
        if checks.tensor("h", h, finite=False).ndim == 0 or h.shape[-1] != d:
            raise ValueError(f"h must have shape (..., {d}), got {tuple(h.shape)}")
        x = h.reshape(-1, d)
        s = self.scores(x)
        chosen = self._select(s)
        load = _load(chosen, len(x), s.shape[1])
        self.last_load = load
        if self.training:
            self.aux_loss = auxiliary_loss(s, chosen, self.alpha) if self.alpha else torch.zeros(())
            if self.balancer is not None:
                self.balancer.record(load)
        picked = s.gather(1, chosen)
        gates = picked / picked.sum(1, keepdim=True).clamp_min(torch.finfo(picked.dtype).tiny)  # (7), 0 where all vanish
        y = (self._sorted if self.dispatch == "sorted" else self._dense)(x, chosen, gates, load)
        if self.shared is not None:
            y = y + self.shared(x)  # (7)
        return y.reshape(h.shape).to(h.dtype)  # autocast computes in half precision, what it adds to is wider

    def _select(self, s: Tensor) -> Tensor:
        if self.balancer is not None:
            return self.balancer.select(s)
        return torch.sort(s.detach(), dim=1, descending=True, stable=True).indices[:, : self.k]

    def _sorted(self, x: Tensor, chosen: Tensor, gates: Tensor, load: Tensor) -> Tensor:
        """Each expert computes its own tokens: sorted by expert, one matrix product each, added back in place."""
        order = torch.argsort(chosen.reshape(-1), stable=True)
        token = order // self.k
        parts = torch.split(x[token], load.tolist())
        out = [functional.gelu(part @ self.w1[e]) @ self.w2[e] for e, part in enumerate(parts) if len(part)]
        weighted = torch.cat(out) * gates.reshape(-1)[order, None]  # (7)
        return torch.zeros_like(x).index_add(0, token, weighted.to(x.dtype))  # (7)

    def _dense(self, x: Tensor, chosen: Tensor, gates: Tensor, load: Tensor) -> Tensor:
        """Every expert computes every token; the gates of experts that were not chosen are 0."""
        full = torch.zeros(len(x), len(load), dtype=gates.dtype, device=x.device).scatter(1, chosen, gates)
        hidden = functional.gelu(torch.einsum("nd,edf->enf", x, self.w1))
        return torch.einsum("enf,efd,ne->nd", hidden, self.w2, full)  # (7)


def _load(chosen: Tensor, n_tokens: int, n_experts: int) -> Tensor:
    if chosen.ndim != 2 or len(chosen) != n_tokens or chosen.is_floating_point():
        raise ValueError(f"chosen must hold integers of shape ({n_tokens}, K), got {chosen.dtype} of {tuple(chosen.shape)}")
    flat = chosen.reshape(-1)
    if flat.numel() == 0 or int(flat.min()) < 0 or int(flat.max()) >= n_experts:
        raise ValueError(f"chosen must name experts 0 to {n_experts - 1}")
    return torch.zeros(n_experts, dtype=torch.int64, device=flat.device).index_add(0, flat, torch.ones_like(flat))


def _wide(x: Tensor) -> Tensor:
    return x.float() if x.dtype in _HALF else x
