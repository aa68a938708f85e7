"""A small language of problems and programs: words that specify a function of a list of integers, tokens that write it.

A specification is "filter map reducer", or two of them joined by plus, minus or times. The answer is a Python expression over
the list ``x``. A problem's behavior is its outputs on the tests.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

#: Words and the tokens that they stand for; "all" and "same" write nothing.
FILTERS: dict[str, tuple[str, ...]] = {
    "all": (),
    "even": ("if", "v", "%", "2", "==", "0"),
    "odd": ("if", "v", "%", "2", "==", "1"),
    "pos": ("if", "v", ">", "0"),
    "neg": ("if", "v", "<", "0"),
    "big": ("if", "v", ">", "3"),
}
MAPS: dict[str, tuple[str, ...]] = {
    "same": ("v",),
    "square": ("v", "*", "v"),
    "double": ("v", "*", "2"),
    "negate": ("-", "v"),
    "next": ("v", "+", "1"),
    "size": ("abs", "(", "v", ")"),
    "clock": ("v", "%", "3"),
}
REDUCERS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "sum": (("sum", "(", "["), ("]", ")")),
    "largest": (("max", "(", "["), ("]", ", default=0", ")")),
    "smallest": (("min", "(", "["), ("]", ", default=0", ")")),
    "count": (("len", "(", "["), ("]", ")")),
    "kinds": (("len", "(", "{"), ("}", ")")),
}
JOINS: dict[str, str] = {"plus": "+", "minus": "-", "times": "*"}
#: Difficulties: one comprehension without or with both a filter and a map, two comprehensions.
LEVELS = ("easy", "medium", "hard")

#: Ten lists that give the reward; the empty list, negative numbers and duplicates are among them.
TESTS: tuple[tuple[int, ...], ...] = (
    (),
    (4,),
    (-3,),
    (1, 2, 3, 4),
    (-1, -2, -5, -6),
    (7, 7, 2, 2, -4),
    (0, 0, 1),
    (5, -8, 6, 3, -3),
    (9, 8, -7, 1, -2, 4),
    (2, -6, -6, 3, 5, 10, -9),
)


def _hidden() -> tuple[tuple[int, ...], ...]:
    rng = np.random.default_rng(2511)
    return tuple(tuple(int(v) for v in rng.integers(-12, 13, size=size)) for size in (1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8))


#: Lists that no reward sees: evaluations use both.
HIDDEN: tuple[tuple[int, ...], ...] = _hidden()

PAD, END, GO = 0, 1, 2
#: Tokens in order: padding, end, start of the answer, words, pieces of programs.
VOCABULARY: tuple[str, ...] = (
    "<pad>", "<end>", "=>", *FILTERS, *MAPS, *(word for word in REDUCERS if word != "sum"), *JOINS,
    "sum", "max", "min", "len", "abs", "(", ")", "[", "]", "{", "}", ", default=0",
    "for", "in", "if", "x", "v", "0", "1", "2", "3", "%", "==", ">", "<", "+", "-", "*",
)  # fmt: skip
TOKEN: dict[str, int] = {text: number for number, text in enumerate(VOCABULARY)}

_FILTER: dict[str, Callable[[int], bool]] = {
    "all": lambda v: True,
    "even": lambda v: v % 2 == 0,
    "odd": lambda v: v % 2 == 1,
    "pos": lambda v: v > 0,
    "neg": lambda v: v < 0,
    "big": lambda v: v > 3,
}
_MAP: dict[str, Callable[[int], int]] = {
    "same": lambda v: v,
    "square": lambda v: v * v,
    "double": lambda v: v * 2,
    "negate": lambda v: -v,
    "next": lambda v: v + 1,
    "size": abs,
    "clock": lambda v: v % 3,
}
_REDUCE: dict[str, Callable[[list[int]], int]] = {
    "sum": sum,
    "largest": lambda values: max(values, default=0),
    "smallest": lambda values: min(values, default=0),
    "count": len,
    "kinds": lambda values: len(set(values)),
}
_JOIN: dict[str, Callable[[int, int], int]] = {
    "plus": lambda a, b: a + b,
    "minus": lambda a, b: a - b,
    "times": lambda a, b: a * b,
}


@dataclass(frozen=True)
class Problem:
    """A specification: three words, or three words, a join and three words."""

    words: tuple[str, ...]

    def __post_init__(self) -> None:
        if isinstance(self.words, str) or not isinstance(self.words, Sequence):
            raise TypeError(f"words must be a tuple of words, got {self.words!r}")
        object.__setattr__(self, "words", tuple(self.words))
        slots: list[dict[str, Any]] = [FILTERS, MAPS, REDUCERS, JOINS, FILTERS, MAPS, REDUCERS]
        fits = len(self.words) in (3, 7) and all(w in slot for w, slot in zip(self.words, slots, strict=False))
        if not fits:
            raise ValueError(f"words must be filter, map, reducer, or two of them around a join, got {self.words!r}")

    def __str__(self) -> str:
        return " ".join(self.words)

    @property
    def level(self) -> str:
        """ "easy", "medium" or "hard"."""
        if len(self.words) == 7:
            return "hard"
        return "easy" if self.words[0] == "all" or self.words[1] == "same" else "medium"

    @property
    def prompt(self) -> list[int]:
        """Tokens of the specification and of the start of the answer."""
        return [*(TOKEN[word] for word in self.words), GO]

    @property
    def answer(self) -> list[int]:
        """Tokens of the reference solution, the end token included."""
        pieces = [piece for part in (self.words[:3], self.words[4:]) if part for piece in _comprehension(part)]
        if len(self.words) == 7:
            first = len(_comprehension(self.words[:3]))
            pieces.insert(first, JOINS[self.words[3]])
        return [*(TOKEN[piece] for piece in pieces), END]

    @property
    def source(self) -> str:
        """The reference solution as Python."""
        return text_of(self.answer)

    def outputs(self, inputs: Sequence[Sequence[int]]) -> tuple[int, ...]:
        """What a right program returns for each list."""
        return tuple(self._output(x) for x in inputs)

    def _output(self, x: Sequence[int]) -> int:
        first = _single(self.words[:3], x)
        return first if len(self.words) == 3 else _JOIN[self.words[3]](first, _single(self.words[4:], x))


def _comprehension(words: tuple[str, ...]) -> list[str]:
    before, after = REDUCERS[words[2]]
    return [*before, *MAPS[words[1]], "for", "v", "in", "x", *FILTERS[words[0]], *after]


def _single(words: tuple[str, ...], x: Sequence[int]) -> int:
    return _REDUCE[words[2]]([_MAP[words[1]](v) for v in x if _FILTER[words[0]](v)])


def text_of(tokens: Sequence[int]) -> str:
    """Tokens up to the first end token as text, one space between two tokens; ValueError for a token that is none."""
    tokens = list(tokens)
    stop = tokens.index(END) if END in tokens else len(tokens)
    if stop and not 0 <= min(tokens[:stop]) <= max(tokens[:stop]) < len(VOCABULARY):
        raise ValueError(f"tokens must be 0 to {len(VOCABULARY) - 1}, got {min(tokens[:stop])} to {max(tokens[:stop])}")
    return " ".join(VOCABULARY[token] for token in tokens[:stop])


def singles() -> list[Problem]:
    """All problems with one comprehension: six filters, seven maps, five reducers."""
    return [Problem(words) for words in itertools.product(FILTERS, MAPS, REDUCERS)]


def is_degenerate(problem: Problem) -> bool:
    """Whether one output is right for at least 80 % of the lists, so that a constant nearly solves the problem.

    Examples
    --------
    >>> from lib.policies.drive import Problem, is_degenerate
    >>> is_degenerate(Problem(("all", "same", "sum", "minus", "all", "same", "sum")))
    True
    """
    found = problem.outputs(TESTS + HIDDEN)
    return max(map(found.count, set(found))) >= 0.8 * len(found)
