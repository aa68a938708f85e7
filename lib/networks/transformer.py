"""A decoder-only transformer for short texts: a real one, with few parameters."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from lib import checks


@dataclass
class Cache:
    """Keys and values of the tokens that a model has seen, so that the next token costs one position instead of all.

    `length` counts positions, padding included; `attended` says which of them count, shape (B, length); `keys` and `values`
    hold one tensor (B, heads, length, width / heads) for each layer.
    """

    keys: list[Tensor] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)
    attended: Tensor | None = None

    @property
    def length(self) -> int:
        return 0 if self.attended is None else self.attended.shape[1]

    def extend(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Append keys and values of new positions to a layer's; returns all of them."""
        if layer == len(self.keys):
            self.keys.append(k)
            self.values.append(v)
        else:
            self.keys[layer] = torch.cat([self.keys[layer], k], 2)
            self.values[layer] = torch.cat([self.values[layer], v], 2)
        return self.keys[layer], self.values[layer]


class _Block(nn.Module):
    def __init__(self, width: int, n_heads: int, expansion: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.norm_attention, self.norm_mlp = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, expansion * width), nn.GELU(), nn.Linear(expansion * width, width))

    def forward(self, x: Tensor, allowed: Tensor, cache: Cache | None, layer: int) -> Tensor:
        q, k, v = self.qkv(self.norm_attention(x)).unflatten(2, (3, self.n_heads, -1)).permute(2, 0, 3, 1, 4)
        if cache is not None:
            k, v = cache.extend(layer, k, v)
        heads = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=allowed)
        x = x + self.out(heads.transpose(1, 2).flatten(2))
        return x + self.mlp(self.norm_mlp(x))


class Transformer(nn.Module):
    """Next-token model: pre-norm blocks, learned positions, the embedding is also the output layer.

    Texts of different length are padded on the left, so that all end together; `attended` says which positions are no
    padding. Positions are counted from a text's first token: padding changes nothing.

    Parameters
    ----------
    vocab_size : int
        Tokens are 0, ..., ``vocab_size - 1``.
    context : int
        Longest text, in tokens.
    width, n_layers, n_heads, expansion : int
        Units of a token's state (a multiple of `n_heads`), blocks, heads of a block, hidden units of a block's network
        as a multiple of `width`.
    n_values : int
        Value heads: linear functions of the last state; 0 for none. They start at zero.
    seed : int or Generator
        Of the weights.

    Raises
    ------
    TypeError, ValueError
        For settings out of range; by `states`, for tokens that are no integers in range or too many.

    Examples
    --------
    >>> import torch
    >>> from lib.networks import Transformer
    >>> model = Transformer(vocab_size=10, context=8, width=16, n_heads=2, seed=0)
    >>> model(torch.tensor([[1, 2, 3]])).shape
    torch.Size([1, 3, 10])
    """

    def __init__(
        self, vocab_size: int, context: int, *, width: int = 64, n_layers: int = 2, n_heads: int = 4, expansion: int = 4,
        n_values: int = 0, seed: int = 0,
    ) -> None:  # fmt: skip
        super().__init__()
        self.vocab_size, self.context = (
            checks.integer("vocab_size", vocab_size, low=2),
            checks.integer("context", context, low=1),
        )
        width, n_heads = checks.integer("width", width, low=1), checks.integer("n_heads", n_heads, low=1)
        if width % n_heads:
            raise ValueError(f"width must be a multiple of n_heads = {n_heads}, got {width}")
        n_layers, expansion = checks.integer("n_layers", n_layers, low=1), checks.integer("expansion", expansion, low=1)
        self.tokens, self.positions = nn.Embedding(self.vocab_size, width), nn.Embedding(self.context, width)
        self.blocks = nn.ModuleList(_Block(width, n_heads, expansion) for _ in range(n_layers))
        self.norm = nn.LayerNorm(width)
        self.value_heads = nn.Linear(width, checks.integer("n_values", n_values, low=0)) if n_values else None
        self._draw(torch.Generator().manual_seed(int(checks.generator("seed", seed).integers(2**31))))

    @torch.no_grad()
    def _draw(self, generator: torch.Generator) -> None:
        """GPT-2's start: normal weights of deviation 0.02, smaller where blocks write; biases and value heads zero."""
        for name, weight in self.named_parameters():
            if name.startswith("value_heads") or name.endswith("bias"):
                weight.zero_()
            elif "norm" not in name:
                deep = name.endswith(("out.weight", "mlp.2.weight"))
                drawn = torch.randn(weight.shape, generator=generator)
                weight.copy_(0.02 / (2 * len(self.blocks)) ** 0.5 * drawn if deep else 0.02 * drawn)

    def states(self, tokens: Tensor, attended: Tensor | None = None, cache: Cache | None = None) -> Tensor:
        """Last states of the positions, shape (B, T, width).

        Parameters
        ----------
        tokens : tensor of integers, shape (B, T)
        attended : tensor of bool, shape (B, T), optional
            False for padding; all count by default.
        cache : Cache, optional
            Of the positions before these; it is extended.
        """
        if not isinstance(tokens, Tensor) or tokens.is_floating_point() or tokens.dtype == torch.bool or tokens.ndim != 2:
            raise TypeError(f"tokens must be a tensor of integers, shape (B, T), got {checks.shown(tokens)}")
        if not tokens.numel() or not 0 <= int(tokens.min()) <= int(tokens.max()) < self.vocab_size:
            raise ValueError(f"tokens must be from 0 to {self.vocab_size - 1} and not empty, got shape {tuple(tokens.shape)}")
        new = torch.ones_like(tokens, dtype=torch.bool) if attended is None else attended
        if new.shape != tokens.shape or new.dtype != torch.bool:
            raise ValueError(f"attended must hold booleans, shape {tuple(tokens.shape)}, got {checks.shown(attended)}")
        before, whole = 0, new
        if cache is not None and cache.attended is not None:
            before, whole = cache.length, torch.cat([cache.attended, new], 1)
        places = (whole.cumsum(1) - 1).clamp(min=0)[:, before:]
        if int(places.max()) >= self.context:
            raise ValueError(f"tokens must be at most context = {self.context} in a text, got {int(places.max()) + 1}")
        if cache is not None:
            cache.attended = whole
        past = torch.arange(before, whole.shape[1])[:, None] >= torch.arange(whole.shape[1])
        own = torch.arange(before, whole.shape[1])[:, None] == torch.arange(whole.shape[1])
        # Padding sees itself: with nothing to see, attention would be 0/0.
        allowed = ((whole[:, None] & past.to(whole.device)) | own.to(whole.device))[:, None]
        x = self.tokens(tokens) + self.positions(places)
        for layer, block in enumerate(self.blocks):
            x = block(x, allowed, cache, layer)
        return self.norm(x)

    def logits(self, states: Tensor) -> Tensor:
        """Scores of the next token, shape (..., vocab_size), from states: ask for those positions only that are needed."""
        return states @ self.tokens.weight.T

    def values(self, states: Tensor) -> Tensor:
        """Value heads, shape (..., n_values), from states."""
        if self.value_heads is None:
            raise ValueError("the model has no value heads: n_values is 0")
        return self.value_heads(states)

    def forward(self, tokens: Tensor, attended: Tensor | None = None) -> Tensor:
        """Scores of the next token after every position, shape (B, T, vocab_size)."""
        return self.logits(self.states(tokens, attended))
