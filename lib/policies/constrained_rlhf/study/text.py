"""Prompts and references from real text: a clause of the King James Bible, and the clause that follows it."""

from __future__ import annotations

import functools
import itertools
import re
from collections import Counter
from typing import Any

import numpy as np

from lib import checks, data

#: Token of padding, of the end of a text, and of words outside the vocabulary.
PAD, END, UNKNOWN = 0, 1, 2
MARKS = (".", ":", ";", "?", "!")
VOCABULARY = 1500
#: Fewest and most words of a reference; most tokens of a prompt.
FEWEST, MOST, PROMPT = 3, 12, 12
#: Most tokens of a response: the words, a mark and the end.
MAX_NEW = MOST + 2
#: Where responses begin and end among the passages, shuffled once.
SPLITS = {"train": (0.0, 0.7), "validation": (0.7, 0.85), "test": (0.85, 1.0)}
INTENTS = ("statement", "question", "command", "promise")

_CLAUSE = re.compile(r"[^.:;?!]+[.:;?!]?")
_TOKEN = re.compile(r"[a-z']+|[.:;?!]")
_COMMAND = re.compile(
    r"\b(thou shalt|ye shall|shalt thou)\b|^(and |but |now |therefore )?(let|hear|go|come|take|be|give|behold) "
)
_PROMISE = re.compile(r"\b(i|we) (will|shall)\b|\b(will|shall) (i|we)\b")


def clauses(text: str) -> list[list[str]]:
    """Clauses of a text: words in lower case and the mark that ends the clause; commas are left out.

    Examples
    --------
    >>> from lib.policies.constrained_rlhf import study
    >>> study.clauses("And God said, Let there be light: and there was light.")[1]
    ['and', 'there', 'was', 'light', '.']
    """
    if not isinstance(text, str):
        raise TypeError(f"text must be a text, got {checks.shown(text)}")
    found = (_TOKEN.findall(part) for part in _CLAUSE.findall(text.lower()))
    return [words for words in found if words]


def intent(words: Any) -> int:
    """What a clause wants, by rule: 0 a statement, 1 a question (ends with ?), 2 a command, 3 a promise.

    A promise has "I" or "we" with "will" or "shall"; a command has "thou shalt" or "ye shall", or opens with an imperative.

    Examples
    --------
    >>> from lib.policies.constrained_rlhf import study
    >>> study.INTENTS[study.intent("i will not leave thee .".split())]
    'promise'
    """
    if isinstance(words, str) or not all(isinstance(word, str) for word in words):
        raise TypeError(f"words must be a sequence of words, got {checks.shown(words)}")
    line = " ".join(words)
    if line.endswith("?"):
        return 1
    return 3 if _PROMISE.search(line) else 2 if _COMMAND.search(line) else 0


class Corpus:
    """Pairs of a prompt and its reference, as tokens; made once by `corpus`.

    Attributes
    ----------
    words : tuple of str
        Token -> word: padding, the end, the unknown word, then the most frequent words and marks.
    pairs : dict
        Split -> list of (prompt, reference), both lists of tokens. A reference has 3 to 12 words, all of them known, a mark
        where the text has one, and the end; a prompt is the clause before it, at most its last 12 tokens.
    intents : dict
        Split -> array of int, the intent of each reference by rule.

    Examples
    --------
    >>> from lib.policies.constrained_rlhf import study
    >>> study.Corpus(("", "", "", "amen"), {"test": [([3], [3, 1])]}).decode([3, 1])
    'amen'
    >>> text = study.corpus()
    >>> len(text.words), sorted(text.pairs)
    (1503, ['test', 'train', 'validation'])
    """

    def __init__(self, words: tuple[str, ...], pairs: dict[str, list[tuple[list[int], list[int]]]]) -> None:
        self.words, self.pairs = words, pairs
        self._index = {word: token for token, word in enumerate(words) if token > UNKNOWN}
        self.intents = {
            split: np.array([intent(self.decode(reference).split()) for _, reference in rows]) for split, rows in pairs.items()
        }

    def encode(self, words: Any) -> list[int]:
        """Tokens of words; those outside the vocabulary become the unknown one."""
        if isinstance(words, str) or not all(isinstance(word, str) for word in words):
            raise TypeError(f"words must be a sequence of words, got {checks.shown(words)}")
        return [self._index.get(word, UNKNOWN) for word in words]

    def decode(self, tokens: Any) -> str:
        """Words of tokens, without padding and the end."""
        given = checks.array("tokens", tokens, ndim=1, low=0, high=len(self.words) - 1).astype(int)
        return " ".join(self.words[token] for token in given if token not in (PAD, END))

    def draw(self, split: str, n: int, rng: Any) -> np.ndarray:
        """Indices of n pairs of a split, without replacement where there are enough."""
        rows = len(self.pairs[checks.choice("split", split, SPLITS)])
        n, rng = checks.integer("n", n, low=1), checks.generator("rng", rng)
        return rng.choice(rows, size=n, replace=n > rows)


@functools.cache
def corpus() -> Corpus:
    """The pairs: 12 522 of them, split by passage into 70 % to train, 15 % to validate and 15 % to test.

    Examples
    --------
    >>> from lib.policies.constrained_rlhf import study
    >>> text = study.corpus()
    >>> sum(map(len, text.pairs.values()))
    12522
    """
    passages, books = data.bible()
    rows = [(number, book, words) for number, book in enumerate(books) for words in clauses(passages[number])]
    count = Counter(word for *_, words in rows for word in words)
    known = tuple(word for word, _ in count.most_common(VOCABULARY))
    index = {word: token + UNKNOWN + 1 for token, word in enumerate(known)}
    place = np.random.default_rng(20231010).permutation(len(passages)) / len(passages)
    pairs: dict[str, list[tuple[list[int], list[int]]]] = {split: [] for split in SPLITS}
    for (_, before, asked), (number, book, answer) in itertools.pairwise(rows):
        if book != before or not FEWEST <= len(answer) - 1 <= MOST or any(word not in index for word in answer):
            continue
        prompt = [index.get(word, UNKNOWN) for word in asked][-PROMPT:]
        [split] = [name for name, (low, high) in SPLITS.items() if low <= place[number] < high]
        pairs[split].append((prompt, [index[word] for word in answer] + [END]))
    return Corpus(("", "<end>", "<unk>", *known), pairs)
