r"""The learned rule: a network that reads a rollout backwards and tells the agent what to do with it.

Equations (2) and (3) of the package's docstring. Every function takes a population: weights with a leading axis of P
candidates, rollouts of shape (P, L, B) with L steps of B parallel streams. P = 1 broadcasts.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lib import checks

#: Added to probabilities before a logarithm (the authors' code).
TINY = 1e-8


def _apply(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """An affine map for each candidate: (P, B, in) with (P, out, in) and (P, out) gives (P, B, out)."""
    return torch.matmul(x, weight.transpose(-1, -2)) + bias.unsqueeze(-2)


def embed(weights: dict[str, Tensor], y: Tensor) -> Tensor:
    """The number phi(y) that the rule sees of a prediction: shape (P, L, B, m) to (P, L, B)."""
    flat = y.flatten(1, 2)
    inner = torch.relu(_apply(flat, weights["embed1"], weights["embed1_bias"]))
    return _apply(inner, weights["embed2"], weights["embed2_bias"]).reshape(y.shape[:3])  # (2)


def gru_step(weights: dict[str, Tensor], projected: Tensor, hidden: Tensor | None) -> Tensor:
    """One step of the gated unit from `hidden` (None: zero); `projected` is the input times its weights.

    The gates stand in torch's order: reset, update, new.
    """
    size = weights["recur"].shape[-1]
    if hidden is None:
        past, hidden = weights["recur_bias"].unsqueeze(-2), projected.new_zeros(())
    else:
        past = _apply(hidden, weights["recur"], weights["recur_bias"])
    gates = torch.sigmoid(projected[..., : 2 * size] + past[..., : 2 * size])  # (3)
    new = torch.tanh(projected[..., 2 * size :] + gates[..., :size] * past[..., 2 * size :])  # (3)
    return new + gates[..., size:] * (hidden - new)  # (3)


def read_rollout(weights: dict[str, Tensor], inputs: Tensor, done: Tensor) -> tuple[Tensor, Tensor]:
    """Penalties and targets of a rollout: inputs (P, L, B, in), done (P, L, B) to (P, L, B) and (P, L, B, m)."""
    P, L, B, _ = inputs.shape
    projected = _apply(inputs.flatten(1, 2), weights["input"], weights["input_bias"]).unflatten(1, (L, B))
    hidden, read = None, []
    for t in reversed(range(L)):
        if hidden is not None:
            hidden = hidden * (1 - done[:, t]).unsqueeze(-1)  # (4)
        hidden = gru_step(weights, projected[:, t], hidden)
        read.append(hidden)
    top = torch.relu(torch.stack(read[::-1], 1)).flatten(1, 2)
    pi_hat = _apply(top, weights["pi"], weights["pi_bias"]).reshape(P, L, B)  # (3)
    y_hat = torch.softmax(_apply(top, weights["y"], weights["y_bias"]), -1).unflatten(1, (L, B))  # (3)
    return pi_hat, y_hat


def rule_inputs(
    weights: dict[str, Tensor], r: Tensor, d: Tensor, pi: Tensor, y: Tensor, y_next: Tensor, n: Tensor, N: Tensor
) -> Tensor:
    """What the rule reads at each step, shape (P, L, B, 5 or 7); `n` and `N` broadcast to (P, L, B)."""
    ahead = embed(weights, y_next) * (1 - d) if bool((d < 1).any()) else torch.zeros_like(r)  # (2)
    parts = [r, d, pi, embed(weights, y), ahead]
    if weights["input"].shape[-1] == 7:
        parts += [(n / N).expand_as(r), torch.log(N).expand_as(r)]  # (5)
    return torch.stack(parts, -1)


class LPG(nn.Module):
    """A learned policy-gradient rule, with or without the two lifetime inputs.

    Parameters
    ----------
    m : int
        Categories of the agent's prediction; the paper's 8.
    hidden : int
        Width of the recurrent unit; the paper's 256.
    time_aware : bool
        Whether the rule sees n/N and log N: TA-LPG (default) or LPG.
    embed : int
        Width of the network that turns a prediction into one number; the paper's 16.
    seed : seed
        Of the first weights: normal with variance 1 / fan-in; biases are zero.
    dtype : torch.dtype
        float32 or float64 (default).

    Examples
    --------
    >>> import torch
    >>> from lib.policies.temporal_lpg import LPG
    >>> rule = LPG(m=4, hidden=8, seed=0)
    >>> r, y = torch.zeros(1, 5, 3, dtype=torch.float64), torch.full((1, 5, 3, 4), 0.25, dtype=torch.float64)
    >>> pi_hat, y_hat = rule(r, r, r + 0.5, y, y, n=1, N=10)
    >>> tuple(pi_hat.shape), tuple(y_hat.shape)
    ((1, 5, 3), (1, 5, 3, 4))
    """

    def __init__(self, m: int = 8, hidden: int = 256, time_aware: bool = True, embed: int = 16, *,
                 seed: Any = None, dtype: torch.dtype = torch.float64) -> None:  # fmt: skip
        super().__init__()
        self.m = checks.integer("m", m, low=2, high=1024)
        self.hidden = checks.integer("hidden", hidden, low=1, high=4096)
        self.width = checks.integer("embed", embed, low=1, high=4096)
        self.time_aware = checks.boolean("time_aware", time_aware)
        if dtype not in (torch.float32, torch.float64):
            raise ValueError(f"dtype must be torch.float32 or torch.float64, got {dtype}")
        rng = checks.generator("seed", seed)
        for name, shape in self._shapes().items():
            first = rng.standard_normal(shape) / np.sqrt(shape[-1]) if len(shape) == 2 else np.zeros(shape)
            self.register_parameter(name, nn.Parameter(torch.as_tensor(first, dtype=dtype)))

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        h, e, inputs = self.hidden, self.width, 7 if self.time_aware else 5
        return {
            "embed1": (e, self.m), "embed1_bias": (e,), "embed2": (1, e), "embed2_bias": (1,),
            "input": (3 * h, inputs), "input_bias": (3 * h,), "recur": (3 * h, h), "recur_bias": (3 * h,),
            "pi": (1, h), "pi_bias": (1,), "y": (self.m, h), "y_bias": (self.m,),
        }  # fmt: skip

    @property
    def size(self) -> int:
        """How many meta-parameters there are."""
        return sum(value.numel() for value in self.parameters())

    def vector(self) -> Tensor:
        """All meta-parameters as one detached vector."""
        return torch.cat([value.detach().flatten() for value in self.parameters()])

    def load_vector(self, vector: Any) -> LPG:
        """Take the meta-parameters from a vector of length `size`; returns the rule."""
        given = torch.as_tensor(checks.array("vector", vector, shape=(self.size,)), dtype=self.vector().dtype)
        for name, value in self.weights(given[None]).items():
            getattr(self, name).data.copy_(value[0])
        return self

    def weights(self, vectors: Tensor | None = None) -> dict[str, Tensor]:
        """Weights with a leading axis of candidates: the rule's own (P = 1, differentiable), or those of vectors (P, size)."""
        if vectors is None:
            return {name: value.unsqueeze(0) for name, value in self.named_parameters()}
        if vectors.ndim != 2 or vectors.shape[1] != self.size:
            raise ValueError(f"vectors must have shape (P, {self.size}), got {tuple(vectors.shape)}")
        shapes = self._shapes()
        pieces = torch.split(vectors, [int(np.prod(shape)) for shape in shapes.values()], 1)
        return {name: piece.unflatten(1, shape) for (name, shape), piece in zip(shapes.items(), pieces, strict=True)}

    def forward(self, r: Tensor, d: Tensor, pi: Tensor, y: Tensor, y_next: Tensor, n: Any = None, N: Any = None,
                vectors: Tensor | None = None) -> tuple[Tensor, Tensor]:  # fmt: skip
        """Penalties `pi_hat` (P, L, B) and targets `y_hat` (P, L, B, m) for a rollout.

        Parameters
        ----------
        r, d, pi : tensor, shape (P, L, B)
            Rewards, ends of episodes (1 or 0), probabilities of the actions taken.
        y, y_next : tensor, shape (P, L, B, m)
            The agent's predictions at each state and at the next.
        n, N : number or tensor that broadcasts to (P, L, B)
            Updates so far and lifetime, ``0 <= n <= N`` and ``N >= 1``; needed by a time-aware rule.
        vectors : tensor, shape (P, size), optional
            Candidates in place of the rule's own meta-parameters.
        """
        weights = self.weights(None if vectors is None else checks.tensor("vectors", vectors))
        if vectors is not None and len(vectors) not in (1, len(checks.tensor("r", r, ndim=3))):
            raise ValueError(f"vectors must be one or {len(r)}, as many as the rollout has candidates, got {len(vectors)}")
        wide = self.input.dtype if vectors is None else vectors.dtype
        for name, value, wanted in (("r", r, 3), ("d", d, 3), ("pi", pi, 3), ("y", y, 4), ("y_next", y_next, 4)):
            checks.tensor(name, value, ndim=wanted)
            if value.shape[:3] != r.shape or (wanted == 4 and value.shape[3] != self.m):
                shape = (*r.shape, self.m) if wanted == 4 else tuple(r.shape)
                raise ValueError(f"{name} must have shape {tuple(shape)}, got {tuple(value.shape)}")
            if value.dtype != wide:
                raise TypeError(f"{name} must be of {wide}, as the weights are, got {value.dtype}")
        if not ((d == 0) | (d == 1)).all():
            raise ValueError("every entry of d must be 0 or 1")
        if (pi < 0).any() or (pi > 1).any():
            raise ValueError(f"every entry of pi must be at least 0 and at most 1, got {pi.min():.6g} to {pi.max():.6g}")
        n, N = self._clock(n, N, r)
        return read_rollout(weights, rule_inputs(weights, r, d, pi, y, y_next, n, N), d)

    def _clock(self, n: Any, N: Any, like: Tensor) -> tuple[Tensor, Tensor]:
        if not self.time_aware:
            return like.new_zeros(()), like.new_ones(())
        times, lifetime = checks.array("n", n, low=0), checks.array("N", N, low=1)
        if (times > lifetime).any():
            raise ValueError(f"n must be at most N, got {times.max():g} of {lifetime.min():g}")
        return torch.as_tensor(times, dtype=like.dtype), torch.as_tensor(lifetime, dtype=like.dtype)
