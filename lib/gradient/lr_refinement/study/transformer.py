"""A small character transformer on a text that every Python carries: the setting in which warm-up appears by itself."""

from __future__ import annotations

import unicodedata
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, scaled_dot_product_attention

from lib import checks

from ..recorder import GradNormRecorder
from ..schedulers import ArrayLR
from ..theory import Array, as_sequence


def shipped_text(rng: np.random.Generator) -> tuple[Tensor, str]:
    """Names of the characters of Unicode 3.2, one a line, in random order: as numbers (340 thousand) and their alphabet.

    The table is frozen (`unicodedata.ucd_3_2_0`), so the text is the same in every Python. Ideographs and Hangul syllables,
    whose names are numbers or spelled by rule, are left out.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.gradient.lr_refinement.study import shipped_text
    >>> text, alphabet = shipped_text(np.random.default_rng(0))
    >>> len(text), len(alphabet)
    (352132, 39)
    """
    rng = checks.generator("rng", rng)
    names = [unicodedata.ucd_3_2_0.name(chr(code), "") for code in range(0x110000)]
    names = [name for name in names if name and not name.startswith(("CJK ", "HANGUL SYLLABLE"))]
    text = "".join(names[i] + "\n" for i in rng.permutation(len(names)))
    alphabet = "".join(sorted(set(text)))
    table = np.zeros(256, dtype=np.int64)
    table[[ord(c) for c in alphabet]] = np.arange(len(alphabet))
    return torch.from_numpy(table[np.frombuffer(text.encode("ascii"), dtype=np.uint8)]), alphabet


class Block(nn.Module):
    """Pre-norm transformer block: causal attention, then a GELU network of width 4 d, each added to its input."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        """(B, length, width) to the same shape."""
        parts = self.qkv(self.norm1(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        attended = scaled_dot_product_attention(parts[0], parts[1], parts[2], is_causal=True)
        x = x + self.out(attended.transpose(1, 2).flatten(2))
        return x + self.mlp(self.norm2(x))


class CharTransformer(nn.Module):
    """Decoder-only transformer over characters.

    Parameters
    ----------
    n_tokens, context, width, n_layers, heads : int
        Size of the alphabet, longest input, and the usual sizes; GPT's initialization (normal, deviation 0.02).

    Examples
    --------
    >>> import torch
    >>> from lib.gradient.lr_refinement.study import CharTransformer
    >>> CharTransformer(39)(torch.zeros(2, 48, dtype=torch.long)).shape
    torch.Size([2, 48, 39])
    """

    def __init__(self, n_tokens: int, context: int = 48, width: int = 48, n_layers: int = 2, heads: int = 4) -> None:
        super().__init__()
        n_tokens, context = checks.integer("n_tokens", n_tokens, low=2), checks.integer("context", context, low=1)
        width, heads = checks.integer("width", width, low=1), checks.integer("heads", heads, low=1)
        n_layers = checks.integer("n_layers", n_layers, low=1)
        if width % heads:
            raise ValueError(f"width must be a multiple of heads, got {width} and {heads}")
        self.tokens, self.places = nn.Embedding(n_tokens, width), nn.Embedding(context, width)
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(n_layers)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, n_tokens)
        self.initialize()

    def initialize(self) -> None:
        """Draw the weights anew from torch's global generator, in their own dtype."""
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)

    def forward(self, ids: Tensor) -> Tensor:
        """Logits of the next character, (B, length, n_tokens), for characters (B, length)."""
        x = self.tokens(ids) + self.places.weight[: ids.shape[1]]
        return self.head(self.norm(self.blocks(x)))


class TransformerRun(NamedTuple):
    """Mean training loss over the last tenth of the run, loss on held-out text, and l1 gradient norms (T,)."""

    train_loss: float
    held_out_loss: float
    norms: Array


def train_transformer(
    text: Tensor, n_tokens: int, factors: ArrayLike, lr: float, seed: int, batch_size: int = 12, context: int = 48
) -> TransformerRun:
    """Train a `CharTransformer` by AdamW (betas 0.9, 0.95; weight decay 0.1), recording the l1 norm of every gradient.

    Parameters
    ----------
    text : Tensor, shape (n,)
        Characters as numbers below `n_tokens`; a quarter of the last tenth is held out for the final loss.
    factors : array_like, shape (T,)
        Schedule relative to the peak learning rate `lr`.
    seed : int
        Of the initialization and of the minibatches (the same for every schedule).
    batch_size, context : int

    Examples
    --------
    >>> import numpy as np
    >>> from lib.gradient.lr_refinement.study import shipped_text, train_transformer
    >>> text, alphabet = shipped_text(np.random.default_rng(0))
    >>> train_transformer(text, len(alphabet), [1.0, 0.5], lr=0.01, seed=0).norms.shape
    (2,)
    """
    factors, lr = as_sequence(factors, "factors", least=1), checks.positive("lr", lr)
    seed, batch_size = checks.integer("seed", seed, low=0), checks.integer("batch_size", batch_size, low=1)
    context, n_tokens = checks.integer("context", context, low=1), checks.integer("n_tokens", n_tokens, low=2)
    cut = len(text) * 9 // 10
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        model = CharTransformer(n_tokens, context).double()  # float64: the same run on every machine
        torch.manual_seed(seed)
        model.initialize()
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, betas=(0.9, 0.95), weight_decay=0.1)
    scheduler, losses = ArrayLR(optimizer, factors), []
    with GradNormRecorder(model.parameters(), "l1").attach(optimizer) as recorder:
        for _ in range(len(factors)):
            optimizer.zero_grad()
            loss = _loss(model, text[:cut], torch.randint(cut - context, (batch_size,), generator=generator), context)
            loss.backward()
            optimizer.step()
            scheduler.step()
            losses.append(loss.item())
    with torch.no_grad():
        places = torch.arange(0, len(text) - cut - context - 1, 4 * context)  # a quarter of it
        held_out = float(_loss(model, text[cut:], places, context))
    return TransformerRun(float(np.mean(losses[-max(1, len(losses) // 10) :])), held_out, recorder.norms)


def _loss(model: nn.Module, text: Tensor, places: Tensor, context: int) -> Tensor:
    rows = places[:, None] + torch.arange(context + 1)
    ids = text[rows]
    return cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())
