"""GPT-2 and its like as policies: a causal language model of `transformers` with value heads. It is imported when it is used.

The model answers to what `lib.networks` asks a `Transformer`, so that sampling and training are the same code.
"""

from __future__ import annotations

import importlib
import inspect
from typing import Any

import torch
from torch import Tensor, nn

from lib import checks
from lib.networks import Cache

#: The paper's base model; it is fine-tuned on the dialogs before it is trained on rewards.
PAPER_MODEL = "gpt2"


class LanguageModel(nn.Module):
    """A causal language model as a policy of `ConstrainedPPO`.

    Tensors come and go on the CPU; the model computes on its device. Prompts are lists of its tokenizer's tokens. GPT-2 has no
    token for padding: give one that never occurs, such as 188, a control byte, as `pad`.

    Parameters
    ----------
    model : str or model
        Name for `transformers.AutoModelForCausalLM.from_pretrained`, or such a model, whose last layer takes the states of its
        ``base_model``.
    device : str
        Where the model computes.

    Raises
    ------
    ImportError
        For a name, without the package transformers.

    Examples
    --------
    >>> from lib.policies.constrained_rlhf.language_models import LanguageModel
    >>> policy = LanguageModel("gpt2", device="cuda")  # doctest: +SKIP
    """

    model: Any
    device: torch.device

    def __init__(self, model: Any = PAPER_MODEL, device: str = "cpu") -> None:
        super().__init__()
        if isinstance(model, str):
            model = _transformers().AutoModelForCausalLM.from_pretrained(model)
        if not isinstance(model, nn.Module) or not isinstance(getattr(model, "base_model", None), nn.Module):
            raise TypeError(f"model must be a name or a causal language model, got {checks.shown(model)}")
        self.model = model.to(device).eval()  # without dropout: ratios compare the same function
        self.device = torch.device(device)
        # Since version 5 of transformers what is kept of earlier positions is called a cache, before it was past_key_values.
        self._past = "cache" if "cache" in inspect.signature(self.body.forward).parameters else "past_key_values"
        self.value_heads: nn.Linear | None = None

    @property
    def vocab_size(self) -> int:
        return int(self.model.config.vocab_size)

    @property
    def width(self) -> int:
        return int(self.model.config.hidden_size)

    @property
    def body(self) -> Any:
        """The model without its last layer: states are all that is asked of it, scores of few positions come after."""
        return self.model.base_model

    @property
    def tokens(self) -> Any:
        """The input embedding, whose type is that of the policy's probabilities."""
        return self.model.get_input_embeddings()

    def states(self, tokens: Tensor, attended: Tensor | None = None, cache: Cache | None = None) -> Tensor:
        """Last states of the positions, shape (B, T, width); as `lib.networks.Transformer.states`."""
        whole = torch.ones_like(tokens, dtype=torch.bool) if attended is None else attended
        before = 0
        if cache is not None and cache.attended is not None:
            before, whole = cache.length, torch.cat([cache.attended, whole], 1)
        places = (whole.cumsum(1) - 1).clamp(min=0)[:, before:]
        given: dict[str, Any] = {"use_cache": cache is not None}
        if cache is not None and before:
            given[self._past] = cache.keys[0]
        found = self.body(
            input_ids=tokens.to(self.device), attention_mask=whole.long().to(self.device), position_ids=places.to(self.device),
            **given,
        )  # fmt: skip
        if cache is not None:
            cache.attended, cache.keys = whole, [getattr(found, self._past)]
        return found.last_hidden_state.cpu()

    def logits(self, states: Tensor) -> Tensor:
        """Scores of the next token, shape (..., vocab_size), from states."""
        return self.model.get_output_embeddings()(states.to(self.device)).cpu()

    def values(self, states: Tensor) -> Tensor:
        """Value heads, shape (..., n), from states."""
        if self.value_heads is None:
            raise ValueError("the model has no value heads")
        return self.value_heads(states.to(self.device)).cpu()


def _transformers() -> Any:
    try:
        return importlib.import_module("transformers")
    except ModuleNotFoundError:
        raise ImportError("a language model needs the package transformers: pip install transformers") from None
