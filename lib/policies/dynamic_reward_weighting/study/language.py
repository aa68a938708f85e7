"""A small language in which sums are worked out, with an exact verifier: three objectives that pull in different directions.

A prompt is "3+4+5="; a good answer "first 7 ; then 12 ; [ 12 ]" and the end: the sum of the first two digits,
that of all, the box. Fillers ("well", "hmm") say nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from lib import checks
from lib.networks import Rollouts, Transformer

#: Token -> word.
WORDS = (
    "", "<end>", "+", "=", *"0123456789", "[", "]", ";", "first", "second", "next", "then",
    "well", "so", "hmm", "let", "us", "see", "now", "ok", "right", "okay", "and",
)  # fmt: skip
PAD, END, PLUS, EQUALS, ZERO, OPEN, CLOSE, SEMICOLON, FIRST = 0, 1, 2, 3, 4, 14, 15, 16, 17
ORDINALS, FILLERS = range(FIRST, FIRST + 4), range(FIRST + 4, len(WORDS))
SPLITS = {"train": (0, 600), "validation": (600, 800), "test": (800, 1000)}
#: Longest prompt: three digits, two signs, "=".
PROMPT = 6
#: Longest answer, in tokens.
MOST = 18


@dataclass(frozen=True)
class Recipe:
    """How demonstrations are written: most fillers in front, and shares of answers with steps, ordinals, boxes and slips."""

    fillers: int
    steps: float
    ordinals: float
    boxes: float
    slips: float


#: V: long-winded, most answers are cut off. C: clear answers are rare, and short ones are at odds with them.
RECIPES = {"V": Recipe(15, 0.9, 0.95, 0.95, 0.12), "C": Recipe(4, 0.6, 0.2, 0.9, 0.12)}


def _order() -> np.ndarray:
    return np.random.default_rng(20250914).permutation(1000)


class ArithmeticTask:
    """Sums of three digits: accuracy, length and clarity of answers, measured exactly.

    Accuracy: the last box holds the sum. Length: tokens, the end included. Clarity: the last box is not empty, and there are
    two ordinal words. The thousand prompts are split once, 600 to train, 200 to validate, 200 to test.

    Parameters
    ----------
    max_new : int
        Longest answer, in tokens.

    Examples
    --------
    >>> from lib.policies.dynamic_reward_weighting import study
    >>> task = study.ArithmeticTask()
    >>> study.decode(task.prompts(1, 0, "test")[0]), task.names
    ('4 + 7 + 9 =', ('accuracy', 'length', 'clarity'))
    """

    names: tuple[str, ...] = ("accuracy", "length", "clarity")
    maximize: tuple[bool, ...] = (True, False, True)
    end, pad = END, PAD

    def __init__(self, max_new: int = MOST) -> None:
        self.max_new = checks.integer("max_new", max_new, low=1)
        self._order = _order()

    def prompts(self, n: int, rng: Any, split: str = "train") -> list[list[int]]:
        """n prompts of a split, drawn with replacement."""
        low, high = SPLITS[checks.choice("split", split, SPLITS)]
        rows = self._order[checks.generator("rng", rng).integers(low, high, size=checks.integer("n", n, low=1))]
        return [prompt(row) for row in rows]

    def measure(self, rollouts: Rollouts) -> np.ndarray:
        """Accuracy, length and clarity of each answer, shape (n, 3)."""
        sums = _sums(rollouts.tokens[:, : rollouts.prompt_length].numpy())
        return verify(rollouts.responses.numpy(), rollouts.mask.numpy(), sums)


def prompt(number: int) -> list[int]:
    """Tokens of the prompt whose three digits are those of a number below 1000."""
    a, b, c = number // 100, number // 10 % 10, number % 10
    return [ZERO + int(a), PLUS, ZERO + int(b), PLUS, ZERO + int(c), EQUALS]


def _sums(prompts: np.ndarray) -> np.ndarray:
    digit = (prompts >= ZERO) & (prompts < OPEN)
    return np.where(digit, prompts - ZERO, 0).sum(1)


def verify(tokens: Any, mask: Any, sums: Any) -> np.ndarray:
    """Accuracy, length and clarity of answers: one pass over their places, all answers at once.

    Parameters
    ----------
    tokens : array of int, shape (n, T)
    mask : array of bool, shape (n, T)
        Which tokens belong to the answer.
    sums : array of int, shape (n,)
        Right results.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.policies.dynamic_reward_weighting import study
    >>> answer = study.encode("first 7 ; then 1 2 ; [ 1 2 ] <end>")
    >>> study.verify([answer], np.ones((1, len(answer)), dtype=bool), [12]).tolist()
    [[1.0, 12.0, 1.0]]
    """
    sums = checks.array("sums", sums, ndim=1)
    given = checks.array("tokens", tokens, shape=(len(sums), None), low=0, high=len(WORDS) - 1).astype(int)
    mask = np.asarray(mask)
    if mask.dtype != bool or mask.shape != given.shape:
        raise ValueError(f"mask must hold booleans, shape {given.shape}, got {checks.shown(mask)}")
    read = np.where(mask, given, PAD)
    value, boxed = _last_box(read)
    ordinals = ((read >= FIRST) & (read < FIRST + len(ORDINALS))).sum(1)
    return np.stack([value == sums, mask.sum(1), boxed & (ordinals >= 2)], 1).astype(float)


def _last_box(read: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Number in the last closed box of each row (-1 for none), and whether that box holds anything."""
    n = len(read)
    inside, plain, content, number = np.zeros(n, bool), np.zeros(n, bool), np.zeros(n, int), np.zeros(n, int)
    value, filled = np.full(n, -1), np.zeros(n, bool)
    for token in read.T:
        opens, closes = token == OPEN, (token == CLOSE) & inside
        value = np.where(closes, np.where(plain & (content > 0), number, -1), value)
        filled = np.where(closes, content > 0, filled)
        digit = (token >= ZERO) & (token < OPEN)
        writes = inside & ~opens & ~closes & (token != PAD)
        number = np.where(opens, 0, np.where(writes & digit, np.minimum(10 * number + token - ZERO, 10**6), number))
        content = np.where(opens, 0, content + writes)
        plain = np.where(opens, True, plain & (digit | ~writes))
        inside = np.where(opens, True, inside & ~closes)
    return value, filled


def decode(tokens: Any) -> str:
    """Words of a text, digits of one number together; its end and padding are left out.

    Examples
    --------
    >>> from lib.policies.dynamic_reward_weighting import study
    >>> study.decode([17, 7, 2, 8, 3, 5, 6, 1])
    'first 3 + 4 = 12'
    """
    given = checks.array("tokens", tokens, ndim=1, low=0, high=len(WORDS) - 1).astype(int)
    words = ["" if t in (PAD, END) else WORDS[t] for t in given]
    return _joined(" ".join(word for word in words if word))


def _joined(text: str) -> str:
    parts = text.split(" ")
    made = parts[:1]
    for part in parts[1:]:
        if part.isdigit() and made[-1].isdigit():
            made[-1] += part
        else:
            made.append(part)
    return " ".join(made)


def encode(text: str) -> list[int]:
    """Tokens of a text of the language, words apart by blanks.

    Examples
    --------
    >>> from lib.policies.dynamic_reward_weighting import study
    >>> study.encode("3 + 4 = 7")
    [7, 2, 8, 3, 11]
    """
    if not isinstance(text, str):
        raise TypeError(f"text must be a text, got {checks.shown(text)}")
    tokens = [list(word) if word.isdigit() else [word] for word in text.split()]
    if unknown := sorted({w for word in tokens for w in word if w not in WORDS[1:]}):
        raise ValueError(f"text holds words that are not in the language: {', '.join(unknown)}")
    return [WORDS.index(w) for word in tokens for w in word]


def demonstrations(base: str, n: int, seed: Any, max_new: int = MOST) -> tuple[list[list[int]], list[list[int]]]:
    """Prompts of the training split, and answers as a base policy learns them, cut at `max_new` tokens.

    Parameters
    ----------
    base : {"V", "C"}
        V: up to 15 fillers, 90 % with steps, of these 95 % with ordinals, 95 % with a box; C: up to 4, 60 %, 20 %,
        90 %. In both 12 % of the answers slip in a sum.
    n : int
    seed : int or Generator
    max_new : int

    Examples
    --------
    >>> from lib.policies.dynamic_reward_weighting import study
    >>> prompts, answers = study.demonstrations("C", 4, seed=1)
    >>> study.decode(answers[1])
    'so let 7 ; 16 ; [ 16 ]'
    """
    recipe, rng = RECIPES[checks.choice("base", base, RECIPES)], checks.generator("seed", seed)
    prompts = ArithmeticTask().prompts(n, rng)
    return prompts, [_answer(p, recipe, rng)[: checks.integer("max_new", max_new, low=1)] for p in prompts]


def _answer(given: list[int], recipe: Recipe, rng: np.random.Generator) -> list[int]:
    a, b, c = (given[place] - ZERO for place in (0, 2, 4))
    slip = int(rng.choice([-1, 1])) * (rng.random() < recipe.slips)
    early = rng.random() < 0.5
    half = max(a + b + slip * early, 0)
    whole = max(half + c + slip * (not early), 0)
    lead, join = ("first", "then") if rng.random() < recipe.ordinals else ("", "")
    steps = rng.random() < recipe.steps
    work = f"{lead} {half} ; {join} {whole} ;" if steps else ""
    box = f"[ {whole} ]" if rng.random() < recipe.boxes else f"{whole}"
    filler = rng.choice(FILLERS, size=rng.integers(recipe.fillers + 1)).tolist()
    return [*filler, *encode(f"{work} {box}"), END]


def new_policy(width: int = 64, n_layers: int = 2, n_heads: int = 4, max_new: int = MOST, seed: Any = 0) -> Transformer:
    """A policy for this language with random weights, in float64: the same samples on every processor.

    Examples
    --------
    >>> from lib.policies.dynamic_reward_weighting import study
    >>> sum(p.numel() for p in study.new_policy(width=16).parameters())
    7488
    """
    context = PROMPT + checks.integer("max_new", max_new, low=1)
    return Transformer(len(WORDS), context, width=width, n_layers=n_layers, n_heads=n_heads, seed=seed).double()
