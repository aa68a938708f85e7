"""A real text as numbered words: the King James Bible, from a package that carries it as a table."""

from __future__ import annotations

import functools
import re
from collections import Counter
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lib import checks, data

__all__ = ["Text", "bible"]

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Text:
    """Numbered words, in order, with where every book begins.

    Attributes
    ----------
    tokens : array of int, shape (n,)
    words : list of str
        Word of every number; 0 stands for all rare words.
    starts : array of int, shape (66,)
        First token of each book; the New Testament begins with the fortieth.
    """

    tokens: Ints
    words: list[str]
    starts: Ints


def bible(n_words: int = 512) -> Text:
    """The King James Bible, its `n_words` - 1 most frequent words and signs numbered, all others as number 0.

    Parameters
    ----------
    n_words : int
        Size of the vocabulary, 2 to 8192.

    Returns
    -------
    Text

    Raises
    ------
    lib.data.DataUnavailableError
        No verified copy of the package could be had.

    Examples
    --------
    >>> from lib.online.alf_lb.study import bible
    >>> text = bible(512)
    >>> " ".join(text.words[k] for k in text.tokens[:10])
    'in the <rare> god <rare> the <rare> and the earth'
    """
    size = checks.integer("n_words", n_words, low=2, high=8192)
    found, starts = _split()
    ranked = sorted(Counter(found).items(), key=lambda item: (-item[1], item[0]))
    words = ["<rare>", *(word for word, _ in ranked[: size - 1])]
    number = {word: k for k, word in enumerate(words)}
    return Text(np.array([number.get(word, 0) for word in found], dtype=np.int64), words, starts.copy())


@functools.cache
def _split() -> tuple[tuple[str, ...], Ints]:
    """All words and signs in lower case, and where the books begin."""
    passages, books = data.bible()
    found = [re.findall(r"[a-z]+|[.,:;?!]", passage.lower()) for passage in passages]
    lengths = np.bincount(books, [len(words) for words in found]).astype(np.int64)
    return tuple(word for words in found for word in words), np.r_[0, np.cumsum(lengths[:-1])]
