"""Scores of responses: overlap with references (METEOR, BLEU, chrF, ROUGE) and diversity (distinct and rare n-grams).

Texts are sequences of words or of tokens; chrF takes strings.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from lib import checks

Text = Sequence[Hashable]


def meteor(response: Text, reference: Text, alpha: float = 0.9, beta: float = 3.0, gamma: float = 0.5) -> float:
    """METEOR with exact matches only: a mean of precision and recall, less a penalty for matches that are torn apart.

    With m matches in c chunks, P = m / len(response) and R = m / len(reference), it is P R / (alpha P + (1 - alpha) R) times
    1 - gamma (c / m)^beta. Words are aligned by taking the longest common run first, then the longest of what is left.

    Parameters
    ----------
    response, reference : sequences
        Words or tokens; one that is empty scores 0.
    alpha, beta, gamma : float
        Weight of recall, power and size of the penalty: 0.9, 3 and 0.5.

    Examples
    --------
    >>> from lib.policies.constrained_rlhf import meteor
    >>> meteor("and he said".split(), "and he said".split(), alpha=0.9) == 1 - 0.5 / 27
    True
    """
    alpha, gamma = checks.probability("alpha", alpha), checks.probability("gamma", gamma)
    beta = checks.number("beta", beta, low=0)
    _text("response", response)
    _text("reference", reference)
    runs = _tiles(list(response), list(reference))
    matches = sum(length for _, _, length in runs)
    if not matches:
        return 0.0
    chunks = 1 + sum(a[0] + a[2] != b[0] or a[1] + a[2] != b[1] for a, b in pairwise(runs))
    precision, recall = matches / len(response), matches / len(reference)  # (11)
    mean = precision * recall / (alpha * precision + (1 - alpha) * recall)  # (11)
    return mean * (1 - gamma * (chunks / matches) ** beta)  # (11)


def _tiles(a: list[Hashable], b: list[Hashable]) -> list[tuple[int, int, int]]:
    """Common runs (start in a, start in b, length), no word twice, the longest and first taken first; sorted by start in a."""
    free_a, free_b = [True] * len(a), [True] * len(b)
    found: list[tuple[int, int, int]] = []
    places: dict[Hashable, list[int]] = {}
    for j, word in enumerate(b):
        places.setdefault(word, []).append(j)
    while True:
        best = (0, 0, 0)
        for i, word in enumerate(a):
            for j in places.get(word, ()):
                length = 0
                while (
                    i + length < len(a) and j + length < len(b) and a[i + length] == b[j + length]
                    and free_a[i + length] and free_b[j + length]
                ):  # fmt: skip
                    length += 1
                if length > best[2]:
                    best = (i, j, length)
        if not best[2]:
            return sorted(found)
        found.append(best)
        for k in range(best[2]):
            free_a[best[0] + k] = free_b[best[1] + k] = False


def bleu(responses: Sequence[Text], references: Sequence[Text], order: int = 2) -> float:
    """BLEU of a corpus, from 0 to 1: geometric mean of the precisions of 1- to `order`-grams, times the brevity penalty.

    Parameters
    ----------
    responses, references : sequences of texts
        As many of one as of the other.
    order : int
        2 for BLEU-2.

    Examples
    --------
    >>> from lib.policies.constrained_rlhf import bleu
    >>> round(bleu(["the cat sat here".split()], ["the cat sat there".split()], order=2), 6)
    0.707107
    """
    order = checks.integer("order", order, low=1)
    _pairs(responses, references)
    logs = []
    for n in range(1, order + 1):
        counts = [(_grams(a, n), _grams(b, n)) for a, b in zip(responses, references, strict=True)]
        matched, total = sum((a & b).total() for a, b in counts), sum(a.total() for a, _ in counts)
        if not matched:
            return 0.0
        logs.append(np.log(matched / total))
    ours, theirs = sum(map(len, responses)), sum(map(len, references))
    return float(np.exp(np.mean(logs) + min(0.0, 1 - theirs / ours)))


def chrf(responses: Sequence[str], references: Sequence[str], order: int = 6, beta: float = 2.0) -> float:
    """chrF of a corpus, from 0 to 1: F-score of character 1- to `order`-grams without blanks, recall `beta` times as heavy.

    Parameters
    ----------
    responses, references : sequences of str
    order : int
    beta : float

    Examples
    --------
    >>> from lib.policies.constrained_rlhf import chrf
    >>> chrf(["in the beginning"], ["in the beginning"], order=6)
    1.0
    """
    order, beta = checks.integer("order", order, low=1), checks.positive("beta", beta)
    _pairs(responses, references)
    if not all(isinstance(text, str) for text in (*responses, *references)):
        raise TypeError("responses and references must be strings for chrf")
    found = []
    for n in range(1, order + 1):
        ours = [_grams("".join(text.split()), n) for text in responses]
        theirs = [_grams("".join(text.split()), n) for text in references]
        matched = sum((a & b).total() for a, b in zip(ours, theirs, strict=True))
        total, wanted = sum(a.total() for a in ours), sum(b.total() for b in theirs)
        if total and wanted:
            precision, recall = matched / total, matched / wanted
            weight = beta**2 * precision + recall
            found.append((1 + beta**2) * precision * recall / weight if weight else 0.0)
    return float(np.mean(found)) if found else 0.0


def rouge(responses: Sequence[Text], references: Sequence[Text], n: int = 2) -> float:
    """ROUGE-n, from 0 to 1: mean over pairs of the F-score of n-grams; 2 for ROUGE-2.

    Parameters
    ----------
    responses, references : sequences of texts
    n : int

    Examples
    --------
    >>> from lib.policies.constrained_rlhf import rouge
    >>> rouge(["he went out".split()], ["he went in".split()], n=2)
    0.5
    """
    n = checks.integer("n", n, low=1)
    _pairs(responses, references)
    found = []
    for a, b in zip(responses, references, strict=True):
        ours, theirs = _grams(a, n), _grams(b, n)
        total = ours.total() + theirs.total()
        found.append(2 * (ours & theirs).total() / total if total else 0.0)
    return float(np.mean(found))


def distinct_ngrams(responses: Sequence[Text], n: int = 3) -> tuple[int, int]:
    """How many different n-grams all responses together have, and how many of them are seen once.

    Parameters
    ----------
    responses : sequence of texts
    n : int
        3 in the paper.

    Examples
    --------
    >>> from lib.policies.constrained_rlhf import distinct_ngrams
    >>> distinct_ngrams(["a b c d".split(), "a b c".split()], n=3)
    (2, 1)
    """
    n = checks.integer("n", n, low=1)
    if isinstance(responses, str | bytes):
        raise TypeError("responses must be a sequence of texts, got one text")
    counts: Counter[Any] = Counter()
    for text in responses:
        counts.update(_grams(text, n))
    return len(counts), sum(count == 1 for count in counts.values())


def _grams(text: Text, n: int) -> Counter[Any]:
    return Counter(tuple(text[i : i + n]) for i in range(len(text) - n + 1))


def _text(name: str, value: Any) -> None:
    if isinstance(value, str | bytes) or not isinstance(value, Sequence | np.ndarray):
        raise TypeError(f"{name} must be a sequence of words or tokens, got {checks.shown(value)}")


def _pairs(responses: Any, references: Any) -> None:
    for name, texts in (("responses", responses), ("references", references)):
        if isinstance(texts, str | bytes) or not hasattr(texts, "__len__"):
            raise TypeError(f"{name} must be a sequence of texts, got {checks.shown(texts)}")
    if not len(responses) or len(responses) != len(references):
        raise ValueError(f"responses and references must be as many, at least one, got {len(responses)} and {len(references)}")
