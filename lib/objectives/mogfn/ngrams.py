"""Strings that are rewarded for the motifs they hold, and how many strings hold how many: an exact oracle for 20^36 objects."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lib import checks
from lib.objectives.mogfn.environment import Environment

#: The twenty letters of the paper's task; B, J, O, U, X, Z are none of them.
AMINO_ACIDS = "ACDEFGHIKLMNPQRSTVWY"
#: Entries of the largest table of the oracle.
_MOST_ENTRIES = 20_000_000


class NGramTask(Environment):
    """Strings over an alphabet; objective i is the number of overlapping occurrences of motif i, divided by `max_count`.

    A string grows by a letter at its end and may stop from `min_len` letters on; at `max_len` it must. The policy sees what
    decides: the length, how far each motif has begun at the string's end, and the counts.

    Parameters
    ----------
    motifs : sequence of str
        Not empty. A motif with a letter outside the alphabet never occurs: a warning says so, its objective is 0 throughout
        (the official set of four bigrams has one).
    min_len, max_len : int
        32 and 36 in the paper.
    alphabet : str
        Different letters.
    max_count : float
        18 in the paper; for single letters, the longest length. At least 1e-100.

    Attributes
    ----------
    counts : array of int, shape (M, d)
        Counts that occur; ``values`` are these divided by `max_count`.
    log_counts : array, shape (M,)
        Logarithm of how many strings have them. Equation (8).

    Raises
    ------
    TypeError, ValueError
        For an empty motif, lengths out of order, or more counts or strings than can be counted.

    Examples
    --------
    >>> from lib.objectives.mogfn import NGramTask
    >>> task = NGramTask(["AV", "VC"], min_len=4, max_len=6, max_count=3)
    >>> task.evaluate(["AVAVC"]).round(3).tolist(), round(task.maximum([0.5, 0.5]), 3)
    ([[0.667, 0.333]], 0.667)
    """

    def __init__(
        self,
        motifs: Sequence[str],
        min_len: int = 32,
        max_len: int = 36,
        alphabet: str = AMINO_ACIDS,
        max_count: float = 18,
    ) -> None:
        self.min_len, self.max_len = checks.integer("min_len", min_len, low=1), checks.integer("max_len", max_len, low=1)
        if self.min_len > self.max_len:
            raise ValueError(f"min_len must be at most max_len, got min_len={self.min_len} and max_len={self.max_len}")
        self.max_count = checks.number("max_count", max_count, low=1e-100)
        if not isinstance(alphabet, str) or not alphabet or len(set(alphabet)) != len(alphabet):
            raise ValueError(f"alphabet must be a text of different letters, got {checks.shown(alphabet)}")
        if isinstance(motifs, str) or not isinstance(motifs, Sequence) or not motifs:
            raise TypeError(f"motifs must be a list of texts, got {checks.shown(motifs)}")
        if not all(isinstance(motif, str) and motif for motif in motifs):
            raise ValueError(f"motifs must be texts with letters, got {checks.shown(list(motifs))}")
        for motif in motifs:
            if not set(motif) <= set(alphabet):
                warnings.warn(f"motif {motif} has a letter outside the alphabet: its objective is 0 throughout", stacklevel=2)
        if self.max_len * np.log(len(alphabet)) > 700:
            raise ValueError(
                f"max_len must leave fewer than 1e304 strings to count, got {self.max_len} of {len(alphabet)} letters"
            )
        self.motifs, self.alphabet = tuple(motifs), alphabet
        self.n_objectives, self.n_actions = len(self.motifs), len(alphabet) + 1
        self._build_automaton()
        self.counts, self.log_counts = self._count_strings()
        self.values = self.counts / self.max_count
        self.obs_dim = self.max_len + 1 + len(self._next) + self.n_objectives
        self._most = torch.from_numpy(self.counts.max(0)).clamp(min=1)

    def _build_automaton(self) -> None:
        """The longest end of a string that begins a motif decides what the next letters can complete (Aho and Corasick)."""
        starts = sorted({motif[:k] for motif in self.motifs for k in range(len(motif) + 1)}, key=lambda s: (len(s), s))
        number = {start: k for k, start in enumerate(starts)}

        def longest(text: str) -> int:
            return next(number[text[k:]] for k in range(len(text) + 1) if text[k:] in number)

        self._next = np.array([[longest(start + letter) for letter in self.alphabet] for start in starts])
        self._gain = np.array([[start.endswith(motif) for motif in self.motifs] for start in starts], dtype=int)

    def _count_strings(self) -> tuple[np.ndarray, np.ndarray]:
        nodes, most = len(self._next), self._largest_counts()
        if nodes * np.prod(most + 1.0) > _MOST_ENTRIES:
            raise ValueError(f"motifs must leave at most {_MOST_ENTRIES} counts to enumerate, got {nodes} times {most + 1}")
        shape = tuple(most + 1)
        letters = np.stack([np.bincount(row, minlength=nodes) for row in self._next])
        table, total = np.zeros((nodes, *shape)), np.zeros(shape)
        table[(0,) * (1 + len(shape))] = 1.0
        for length in range(1, self.max_len + 1):
            after = np.zeros_like(table)
            for node, target in zip(*letters.nonzero(), strict=True):
                here = tuple(slice(None, size - gain) for size, gain in zip(shape, self._gain[target], strict=True))
                there = tuple(slice(gain, None) for gain in self._gain[target])
                after[(target, *there)] += letters[node, target] * table[(node, *here)]  # (8)
            table = after
            if length >= self.min_len:  # (8)
                total += table.sum(0)  # (8)
        counts = np.argwhere(total > 0)
        return counts, np.log(total[tuple(counts.T)])

    def _largest_counts(self) -> np.ndarray:
        best = np.full((len(self._next), self.n_objectives), -np.inf)
        best[0] = 0.0
        for _ in range(self.max_len):
            after = np.full_like(best, -np.inf)
            for letter in range(len(self.alphabet)):
                target = self._next[:, letter]
                np.maximum.at(after, target, best + self._gain[target])
            best = after
        return best.max(0).astype(int)

    # --------------------------------------------------------------------------------------------------- as environment
    # A state's columns: length, node of the automaton, counts, letters (-1 where there is none yet).

    def start(self, n: int) -> Tensor:
        states = torch.zeros(n, 2 + self.n_objectives + self.max_len, dtype=torch.long)
        states[:, 2 + self.n_objectives :] = -1
        return states

    def observe(self, states: Tensor) -> Tensor:
        seen = torch.zeros(len(states), self.obs_dim, dtype=torch.float64)
        seen.scatter_(1, states[:, :2] + torch.tensor([0, self.max_len + 1]), 1.0)
        seen[:, -self.n_objectives :] = states[:, 2 : 2 + self.n_objectives] / self._most
        return seen

    def allowed(self, states: Tensor) -> Tensor:
        length = states[:, 0]
        found = (length < self.max_len)[:, None].repeat(1, self.n_actions)
        found[:, -1] = length >= self.min_len
        return found

    def move(self, states: Tensor, actions: Tensor) -> Tensor:
        moved = states.clone()
        node = torch.from_numpy(self._next)[states[:, 1], actions]
        moved.scatter_(1, 2 + self.n_objectives + states[:, :1], actions[:, None])
        moved[:, 0] += 1
        moved[:, 1] = node
        moved[:, 2 : 2 + self.n_objectives] += torch.from_numpy(self._gain)[node]
        return moved

    def log_backward(self, states: Tensor) -> Tensor:
        """0: a string has one parent."""
        return torch.zeros(len(states), dtype=torch.float64)

    def rewards_of(self, states: Tensor) -> Tensor:
        return states[:, 2 : 2 + self.n_objectives].double() / self.max_count

    def objects(self, states: Tensor) -> list[str]:
        """Strings."""
        rows = states[:, 2 + self.n_objectives :].tolist()
        return ["".join(self.alphabet[letter] for letter in row if letter >= 0) for row in rows]

    def evaluate(self, objects: Any) -> np.ndarray:
        """Objectives of strings, shape (n, d); of any length, letters outside the alphabet allowed."""
        if isinstance(objects, str) or not isinstance(objects, Sequence) or not all(isinstance(s, str) for s in objects):
            raise TypeError(f"objects must be a list of texts, got {checks.shown(objects)}")
        found = [[sum(text.startswith(motif, k) for k in range(len(text))) for motif in self.motifs] for text in objects]
        return np.array(found, dtype=float).reshape(len(objects), self.n_objectives) / self.max_count
