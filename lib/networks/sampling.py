"""Responses: drawn from a policy, judged by another one, learned from examples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lib import checks

from .transformer import Cache, Transformer


@dataclass(frozen=True)
class Rollouts:
    """Prompts, padded on the left, and the responses to them, padded on the right.

    tokens : shape (B, P + T)
        Prompts in the first P columns.
    attended : bool, shape (B, P + T)
        False for padding.
    prompt_length : int
        P.
    log_probs : shape (B, T)
        Of the response's tokens under the policy that drew them, at its temperature, before top-k and `min_new`; 0 for padding.
    pad : int, optional
        Token that was never drawn, so that it has no probability; None where every token can be drawn.
    """

    tokens: Tensor
    attended: Tensor
    prompt_length: int
    log_probs: Tensor
    pad: int | None = None

    @property
    def responses(self) -> Tensor:
        """Shape (B, T)."""
        return self.tokens[:, self.prompt_length :]

    @property
    def mask(self) -> Tensor:
        """Which tokens of the responses count, the end token included; bool, shape (B, T)."""
        return self.attended[:, self.prompt_length :]

    @property
    def lengths(self) -> Tensor:
        """Tokens of each response, shape (B,)."""
        return self.mask.sum(1)


def padded(texts: Sequence[Sequence[int]], pad: int, left: bool = True) -> tuple[Tensor, Tensor]:
    """Texts as one tensor and the mask of what is no padding, both (B, longest)."""
    width = max(map(len, texts), default=0)
    if not width:
        raise ValueError("texts must hold at least one token")
    tokens = torch.full((len(texts), width), pad)
    attended = torch.zeros(len(texts), width, dtype=torch.bool)
    for row, text in enumerate(texts):
        place = slice(width - len(text), width) if left else slice(0, len(text))
        tokens[row, place] = torch.tensor(list(text), dtype=torch.long)
        attended[row, place] = True
    return tokens, attended


@torch.no_grad()
def generate(
    model: Transformer, prompts: Sequence[Sequence[int]], max_new: int, *, end: int, pad: int, temperature: float = 1.0,
    top_k: int | None = None, min_new: int = 0, seed: Any = None,
) -> Rollouts:  # fmt: skip
    """Draw one response to each prompt; keys and values are cached, so a token costs one position.

    Parameters
    ----------
    model : Transformer
    prompts : sequence of sequences of int
        Not empty, of any lengths; a prompt that is repeated gets responses of its own.
    max_new, min_new : int
        Most tokens of a response, and before how many it must not end; the end token counts.
    end, pad : int
        Token that ends a response, and another one for padding, which is never drawn.
    temperature : float
        Divides the scores; 0 takes the best token.
    top_k : int, optional
        Draw among that many best tokens only.
    seed : None, int or Generator
        One uniform number is drawn for each prompt and token, also of responses that have ended: a response depends on its
        row, not on how long others are.

    Raises
    ------
    TypeError, ValueError
        For settings out of range, prompts that are empty or too long.

    Examples
    --------
    >>> from lib.networks import Transformer, generate
    >>> model = Transformer(vocab_size=10, context=8, width=16, n_heads=2, seed=0)
    >>> drawn = generate(model, [[1, 2], [3]], max_new=4, end=9, pad=0, seed=0)
    >>> drawn.tokens.shape, drawn.prompt_length
    (torch.Size([2, 6]), 2)
    """
    max_new, min_new = checks.integer("max_new", max_new, low=1), checks.integer("min_new", min_new, low=0)
    end = checks.integer("end", end, low=0, high=model.vocab_size - 1)
    pad = checks.integer("pad", pad, low=0, high=model.vocab_size - 1)
    temperature, rng = checks.number("temperature", temperature, low=0), checks.generator("seed", seed)
    if pad == end:
        raise ValueError(f"pad must differ from end, or no response ends; got {pad} for both")
    top_k = model.vocab_size if top_k is None else checks.integer("top_k", top_k, low=1)
    if not len(prompts) or not all(len(prompt) for prompt in prompts):
        raise ValueError(f"prompts must hold at least one token each, got {checks.shown(prompts)}")
    tokens, attended = padded(prompts, pad)
    cache, live = Cache(), torch.ones(len(tokens), dtype=torch.bool)
    draws = torch.from_numpy(rng.random((max_new, len(tokens))))
    parts, masks, log_probs = [tokens], [attended], []
    state = model.states(tokens, attended, cache)[:, -1]
    for t in range(max_new):
        scores = model.logits(state).double()
        scores[:, pad] = -torch.inf
        scores = scores - scores.amax(1, keepdim=True)  # so that a tiny temperature leaves the best token finite
        logs = allowed = (scores / (temperature or 1.0)).log_softmax(1)
        if t < min_new - 1:
            allowed = logs.index_fill(1, torch.tensor([end]), -torch.inf)
        token = _choose(allowed, draws[t], top_k if temperature else 1)
        parts.append(torch.where(live, token, pad)[:, None])
        masks.append(live[:, None].clone())
        log_probs.append(torch.where(live, logs.gather(1, token[:, None])[:, 0], 0.0))
        live = live & (token != end)
        if t + 1 < max_new:
            if not live.any():
                break
            state = model.states(parts[-1], masks[-1], cache)[:, -1]
    dtype = model.tokens.weight.dtype
    return Rollouts(torch.cat(parts, 1), torch.cat(masks, 1), tokens.shape[1], torch.stack(log_probs, 1).to(dtype), pad)


def _choose(logs: Tensor, draws: Tensor, top_k: int) -> Tensor:
    """A token by inversion of the distribution function: the same on every processor but for ties within rounding."""
    if top_k == 1:
        return logs.argmax(1)
    if top_k < logs.shape[1]:
        logs = logs.masked_fill(logs < logs.topk(top_k).values[:, -1:], -torch.inf)
    steps = logs.exp().cumsum(1)
    return torch.searchsorted(steps, (draws * steps[:, -1])[:, None], right=True)[:, 0].clamp(max=logs.shape[1] - 1)


def response_log_probs(
    model: Transformer, rollouts: Rollouts, temperature: float = 1.0, rows: Any = slice(None)
) -> tuple[Tensor, Tensor]:
    """Log-probabilities of sampled responses under a policy, and the states that they come from, with their graph.

    Parameters
    ----------
    model : Transformer
    rollouts : Rollouts
        Its `pad` has no probability here either, so that both distributions are one.
    temperature : float
        That of the draws, above zero.
    rows : slice or index
        Which rollouts; all by default.

    Returns
    -------
    log_probs, states : tensors, shapes (b, T) and (b, T, width)
        0 for padding; a state is that of the position before its token, where value heads look.

    Examples
    --------
    >>> import torch
    >>> from lib.networks import Transformer, generate, response_log_probs
    >>> model = Transformer(vocab_size=10, context=8, width=16, n_heads=2, seed=0)
    >>> drawn = generate(model, [[1, 2], [3]], max_new=4, end=9, pad=0, seed=0)
    >>> again, _ = response_log_probs(model, drawn)
    >>> bool(torch.allclose(again, drawn.log_probs, atol=1e-5))
    True
    """
    temperature, first = checks.positive("temperature", temperature), rollouts.prompt_length - 1
    tokens, attended = rollouts.tokens[rows], rollouts.attended[rows]
    states = model.states(tokens[:, :-1], attended[:, :-1])[:, first:]
    scores, pad = model.logits(states), rollouts.pad
    mask, chosen = attended[:, first + 1 :], tokens[:, first + 1 :, None]
    if pad is not None:
        scores = scores.index_fill(2, torch.tensor([pad]), -torch.inf)
        # Padding has no probability: its place is filled before it is masked, so that no NaN flows back.
        chosen = chosen.masked_fill(~mask[..., None], 0 if pad else 1)
    logs = (scores / temperature).log_softmax(2).gather(2, chosen)[..., 0]
    return torch.where(mask, logs, 0.0), states


def fit_supervised(
    model: Transformer, prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]], *, steps: int, batch: int = 64,
    lr: float = 1e-3, pad: int = 0, seed: Any = None,
) -> np.ndarray:  # fmt: skip
    """Train a model to continue prompts with given responses: Adam on the mean cross-entropy of the responses' tokens.

    Parameters
    ----------
    model : Transformer
        Changed in place.
    prompts, responses : sequences of sequences of int
        As many of one as of the other, none empty.
    steps, batch : int
        Steps, and pairs drawn with replacement for each.
    lr : float
        Largest learning rate; it rises over the first twentieth of the steps and falls along a cosine to a tenth.
    pad : int
        Token of padding.
    seed : None, int or Generator

    Returns
    -------
    losses : array, shape (steps,)

    Examples
    --------
    >>> from lib.networks import Transformer, fit_supervised
    >>> model = Transformer(vocab_size=5, context=4, width=16, n_heads=2, seed=0)
    >>> losses = fit_supervised(model, [[1], [2]], [[2, 4], [3, 4]], steps=40, batch=4, lr=1e-2, seed=0)
    >>> bool(losses[-1] < losses[0] / 4)
    True
    """
    steps, batch = checks.integer("steps", steps, low=1), checks.integer("batch", batch, low=1)
    lr, pad, rng = checks.positive("lr", lr), checks.integer("pad", pad, low=0), checks.generator("seed", seed)
    if len(prompts) != len(responses) or not all(map(len, [prompts, *prompts, *responses])):
        raise ValueError(f"prompts and responses must be pairs of texts with tokens, got {len(prompts)} and {len(responses)}")
    optimizer, losses = torch.optim.Adam(model.parameters(), lr=lr), np.empty(steps)
    for t in range(steps):
        warm = min(1.0, (t + 1) / max(1, steps // 20))
        optimizer.param_groups[0]["lr"] = lr * warm * (0.55 + 0.45 * np.cos(np.pi * t / steps))
        rows = rng.integers(len(prompts), size=batch)
        before, seen = padded([prompts[i] for i in rows], pad)
        after, counted = padded([responses[i] for i in rows], pad, left=False)
        given = Rollouts(torch.cat([before, after], 1), torch.cat([seen, counted], 1), before.shape[1], torch.empty(0))
        logs, _ = response_log_probs(model, given)
        loss = -logs.sum() / counted.sum()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses[t] = float(loss.detach())
    return losses
