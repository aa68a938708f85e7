"""A small language model with two mixture-of-experts layers, and one training run of it under a balancing rule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from lib import checks
from lib.online.alf_lb import LoadBalancer, SparseMoE, StepRule, max_violation

__all__ = ["LanguageModel", "Training", "router_scores", "train"]

Array = npt.NDArray[np.float64]


class _Block(nn.Module):
    def __init__(self, d: int, heads: int, layer: SparseMoE) -> None:
        super().__init__()
        self.heads, self.moe = heads, layer
        self.norm1, self.norm2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.qkv, self.out = nn.Linear(d, 3 * d, bias=False), nn.Linear(d, d, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        B, S, d = x.shape
        q, k, v = self.qkv(self.norm1(x)).reshape(B, S, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(B, S, d))
        return x + self.moe(self.norm2(x))


class LanguageModel(nn.Module):
    """A decoder in float64: word and place vectors, two blocks of causal attention and a `SparseMoE`, tied output.

    Parameters
    ----------
    n_words : int
    d, heads : int
        Width, and attention heads that divide it.
    n_experts, k, d_ff : int
        Of the mixture-of-experts layers.
    context : int
        Longest text.
    step : StepRule, optional
        Prices move by this rule; default no prices.
    alpha : float
        Weight of the auxiliary loss, at least 0.
    seed : int
        Of the first weights.

    Examples
    --------
    >>> import torch
    >>> from lib.online.alf_lb.study import LanguageModel
    >>> model = LanguageModel(50, d=16, heads=2, n_experts=4, k=1, d_ff=16, context=8)
    >>> tuple(model(torch.zeros(3, 8, dtype=torch.int64)).shape)
    (3, 8, 50)
    """

    def __init__(self, n_words: int, d: int = 32, heads: int = 2, n_experts: int = 16, k: int = 2, d_ff: int = 32,
                 context: int = 64, step: StepRule | None = None, alpha: float = 0.0, seed: int = 0) -> None:  # fmt: skip
        super().__init__()
        words, width, places = (
            checks.integer(name, value, low=1) for name, value in {"n_words": n_words, "d": d, "context": context}.items()
        )
        if width % checks.integer("heads", heads, low=1):
            raise ValueError(f"heads must divide d = {width}, got {heads}")
        checks.integer("n_experts", n_experts, low=1)
        checks.integer("k", k, low=1, high=n_experts)
        first = torch.Generator().manual_seed(checks.integer("seed", seed, low=0))
        layers = [
            SparseMoE(width, n_experts, k, d_ff, alpha=alpha, balancer=LoadBalancer(n_experts, k, step) if step else None)
            for _ in range(2)
        ]
        self.words, self.places = nn.Embedding(words, width), nn.Embedding(places, width)
        self.blocks = nn.ModuleList(_Block(width, heads, layer) for layer in layers)
        self.norm = nn.LayerNorm(width)
        self.double()
        with torch.no_grad():
            for name, weight in self.named_parameters():
                if weight.ndim > 1:
                    scale = 0.1 if name.startswith(("words", "places")) else weight.shape[-1] ** -0.5
                    weight.copy_(scale * torch.randn(weight.shape, generator=first, dtype=torch.float64))
                elif name.endswith("bias"):  # PyTorch draws those of linear layers from the global generator
                    weight.zero_()

    @property
    def layers(self) -> list[SparseMoE]:
        """The mixture-of-experts layers."""
        return [block.moe for block in self.blocks]  # type: ignore[misc]

    def forward(self, tokens: Tensor) -> Tensor:
        """Scores of the next word, for texts (B, S): shape (B, S, n_words)."""
        x = self.words(tokens) + self.places.weight[: tokens.shape[1]]
        for block in self.blocks:
            x = block(x)
        return self.norm(x) @ self.words.weight.T


@dataclass
class Training:
    """What a training run left.

    Attributes
    ----------
    loads : array of int, shape (n_steps, 2, E)
        Tokens of each expert, layer by layer.
    prices : array, shape (n_steps, 2, E)
        After each step; 0 without prices.
    losses : array, shape (n_steps,)
        Cross-entropy of the training batch, nats a token.
    valid : float
        The same on held-out text, after the last step.
    valid_violation : float
        MaxVio with the loads summed over the held-out text, mean of both layers.
    model : LanguageModel
    """

    loads: npt.NDArray[np.int64]
    prices: Array
    losses: Array
    valid: float
    valid_violation: float
    model: LanguageModel

    @property
    def violation(self) -> Array:
        """MaxVio of every step's batch, mean of both layers, shape (n_steps,)."""
        return np.asarray(max_violation(self.loads)).mean(1)

    def late(self) -> float:
        """Mean MaxVio over the last fifth of the steps."""
        return float(self.violation[-max(len(self.violation) // 5, 1) :].mean())


def train(tokens: npt.ArrayLike, held_out: npt.ArrayLike, n_steps: int, batches: npt.ArrayLike, lr: float = 3e-3,
          context: int = 64, **model: Any) -> Training:  # fmt: skip
    """Train a `LanguageModel` with AdamW and a cosine schedule; prices move once after every step.

    Parameters
    ----------
    tokens : array_like of int, shape (n,)
        Text.
    held_out : array_like of int, shape (m,)
        Text to validate on.
    n_steps : int
    batches : array_like of int, shape (n_steps, B)
        First token of each training text; methods that are compared share them.
    lr : float
        Largest learning rate, positive.
    context : int
        Words of a text.
    **model
        Further arguments of `LanguageModel`: ``n_words``, ``step``, ``alpha``, ``seed``, sizes.

    Returns
    -------
    Training

    Examples
    --------
    >>> import numpy as np
    >>> from lib.online.alf_lb import SqrtStep
    >>> from lib.online.alf_lb.study import train
    >>> tokens = np.arange(400) % 7
    >>> run = train(tokens, tokens[:65], 3, np.zeros((3, 2), int), context=16, n_words=7, d=8, n_experts=4, step=SqrtStep(0.1))
    >>> run.loads.shape, bool(run.losses[-1] < run.losses[0])
    ((3, 2, 4), True)
    """
    text, held = (torch.from_numpy(checks.array(name, v, ndim=1, low=0).astype(np.int64))
                  for name, v in (("tokens", tokens), ("held_out", held_out)))  # fmt: skip
    steps, span = checks.integer("n_steps", n_steps, low=1), checks.integer("context", context, low=1, high=4096)
    starts = torch.from_numpy(checks.array("batches", batches, ndim=2, low=0, high=len(text) - span - 1).astype(np.int64))
    if len(starts) != steps or len(held) <= span:
        raise ValueError(f"batches must have {steps} rows and held_out more than {span} words, got {len(starts)}, {len(held)}")
    rate = checks.number("lr", lr, above=0, high=1)
    net = LanguageModel(context=span, **model)
    if max(int(text.max()), int(held.max())) >= net.words.num_embeddings:
        raise ValueError(f"tokens and held_out must be below n_words = {net.words.num_embeddings}")
    optimizer = torch.optim.AdamW(net.parameters(), lr=rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    E = len(net.layers[0].last_load)
    loads, prices, losses = np.zeros((steps, 2, E), dtype=np.int64), np.zeros((steps, 2, E)), np.zeros(steps)
    offsets = torch.arange(span + 1)
    for t, first in enumerate(starts):
        piece = text[first[:, None] + offsets]
        loss = functional.cross_entropy(net(piece[:, :-1]).flatten(0, 1), piece[:, 1:].flatten())
        optimizer.zero_grad()
        (loss + sum(layer.aux_loss for layer in net.layers)).backward()
        optimizer.step()
        schedule.step()
        losses[t] = loss.item()
        for j, layer in enumerate(net.layers):
            loads[t, j] = layer.last_load.numpy()
            if layer.balancer is not None:
                layer.balancer.update()
                prices[t, j] = layer.balancer.bias.numpy()
    return Training(loads, prices, losses, *_validate(net, held, span), net)


@torch.no_grad()
def router_scores(model: LanguageModel, tokens: npt.ArrayLike) -> list[Array]:
    """Affinities that the routers of a model give to the words of texts.

    Parameters
    ----------
    model : LanguageModel
    tokens : array_like of int, shape (B, S)
        Texts of at most the model's context.

    Returns
    -------
    list of array, shape (B S, E)
        One per layer.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.online.alf_lb.study import LanguageModel, router_scores
    >>> model = LanguageModel(50, d=16, heads=2, n_experts=4, k=1, d_ff=16, context=8)
    >>> [s.shape for s in router_scores(model, np.zeros((3, 8), int))]
    [(24, 4), (24, 4)]
    """
    if not isinstance(model, LanguageModel):
        raise TypeError(f"model must be a LanguageModel, got {checks.shown(model)}")
    words, places = model.words.num_embeddings, model.places.num_embeddings
    given = checks.array("tokens", tokens, ndim=2, low=0, high=words - 1).astype(np.int64)
    if given.shape[1] > places:
        raise ValueError(f"tokens must have at most {places} columns, got shape {given.shape}")
    found: list[Array] = []
    hooks = [layer.register_forward_hook(lambda m, h, y: found.append(m.scores(h[0]).numpy())) for layer in model.layers]
    training = model.training
    model.eval()(torch.from_numpy(given))
    model.train(training)
    for hook in hooks:
        hook.remove()
    return found


@torch.no_grad()
def _validate(net: LanguageModel, held: Tensor, span: int) -> tuple[float, float]:
    net.eval()
    rows = (len(held) - 1) // span
    before, after = (held[s : s + rows * span].reshape(rows, span) for s in (0, 1))
    total, loads = 0.0, np.zeros((2, len(net.layers[0].last_load)))
    for part, wanted in zip(before.split(64), after.split(64), strict=True):
        total += functional.cross_entropy(net(part).flatten(0, 1), wanted.flatten(), reduction="sum").item()
        loads += np.array([layer.last_load.numpy() for layer in net.layers])
    net.train()
    return total / after.numel(), float(np.asarray(max_violation(loads)).mean())
