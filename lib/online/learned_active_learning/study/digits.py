"""A small game of twenty questions about handwritten digits: is this pixel on?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

import lib.data
from lib import checks
from lib.online.learned_active_learning.problem import BanditProblem

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Digits:
    """Digits as hypotheses, some pixels as questions, and real answers.

    Attributes
    ----------
    problem : BanditProblem
        Z holds each digit's most frequent answers.
    thetas : array, shape (K, n)
        Mean answers of each digit's images, smoothed.
    pixels : array, shape (n,)
        Which of the 64 pixels are asked about.
    images, labels : array, shapes (N, n) and (N,)
        The answers, -1 or 1, of single images that the means were not made from, and their digits.
    """

    problem: BanditProblem
    thetas: Array
    pixels: NDArray[np.int64]
    images: Array
    labels: NDArray[np.int64]


def digit_questions(n: int = 5, digits: int = 6) -> Digits:
    """The game on scikit-learn's digits: the even images give the means, the odd ones play.

    Pixels are chosen one after another, each so that the least distance between two digits' mean answers becomes largest.

    Parameters
    ----------
    n : int
        Number of questions, up to 64.
    digits : int
        The digits from 0 on that are played with, 2 to 10.

    Raises
    ------
    ValueError
        If the most frequent answers of two digits are the same, so that they cannot be told apart by them.

    Examples
    --------
    >>> from lib.online.learned_active_learning.study import digit_questions
    >>> game = digit_questions(5, 6)
    >>> game.problem.Z.shape, game.images.shape
    ((6, 5), (541, 5))
    """
    n, digits = checks.integer("n", n, low=1, high=64), checks.integer("digits", digits, low=2, high=10)
    X, y = lib.data.digits()
    X, y = X[y < digits], y[y < digits]
    answers = np.where(X >= 8, 1.0, -1.0)
    fit, play = slice(0, None, 2), slice(1, None, 2)
    on = np.stack([(answers[fit][y[fit] == c] > 0).sum(0) for c in range(digits)])
    size = np.bincount(y[fit], minlength=digits)[:, None]
    means = 2 * (on + 1) / (size + 2) - 1
    pixels = np.sort(_apart(means, n))
    thetas = means[:, pixels]
    if len(np.unique(thetas >= 0, axis=0)) < digits:
        raise ValueError(f"n={n} questions do not tell the most frequent answers of {digits} digits apart")
    return Digits(BanditProblem(np.where(thetas >= 0, 1.0, -1.0)), thetas, pixels, answers[play][:, pixels], y[play])


def _apart(means: Array, n: int) -> NDArray[np.int64]:
    """Greedy choice of pixels that keep every pair of digits apart."""
    pairs = np.triu_indices(len(means), 1)
    each = np.abs(means[pairs[0]] - means[pairs[1]])  # (pairs, pixels)
    told = np.zeros(len(each))
    chosen: list[int] = []
    for _ in range(n):
        sums = told[:, None] + each
        score = sums.min(0) + 1e-3 * np.sqrt(sums).mean(0)
        score[chosen] = -np.inf
        chosen.append(int(np.round(score, 9).argmax()))
        told = sums[:, chosen[-1]]
    return np.array(chosen)
