"""Scenes of two colored digits, the prompts that describe them, and the three disjoint slices of MNIST behind everything.

A scene is an RGB image of 16 by 32 pixels: two tiles side by side, with distinct digits in distinct colors. Its prompt reads
``"a red 3 left of a blue 7"``. Rewards and judge see the whole prompt (`code`); the generator sees nearly a bag of words
(`hazy_code`), which is why it mixes up colors and places.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch.nn.functional import adaptive_avg_pool2d

from lib import checks, data

#: Color -> its RGB value at full ink.
COLORS = {"red": (1.0, 0.1, 0.1), "green": (0.1, 1.0, 0.1), "blue": (0.2, 0.3, 1.0)}
#: Who may see which training images of MNIST: the slices are disjoint.
SLICES = {"generator": (0, 20_000), "rewards": (20_000, 40_000), "judge": (40_000, 50_000), "test": (50_000, 60_000)}
#: Ways to make a prompt wrong.
FAULTS = ("digits swapped", "colors swapped", "one digit", "one color")
SIDE, WORDS = 16, 13
_NAMES = tuple(COLORS)
_RGB = np.array(list(COLORS.values()))

Facts = tuple[int, int, int, int]


def describe(facts: Sequence[int]) -> str:
    """The prompt of a scene (left digit, left color, right digit, right color), colors by their place in `COLORS`.

    Examples
    --------
    >>> from lib.objectives.reno import study
    >>> study.describe([3, 0, 7, 2])
    'a red 3 left of a blue 7'
    """
    given = checks.array("facts", facts, shape=(4,)).tolist()
    first, one, second, other = (checks.integer("facts", v, low=0, high=(9, 2)[k % 2]) for k, v in enumerate(given))
    return f"a {_NAMES[one]} {first} left of a {_NAMES[other]} {second}"


@lru_cache(maxsize=100_000)
def understand(prompt: str) -> Facts:
    """Left digit, left color, right digit, right color of a prompt.

    Raises
    ------
    ValueError
        If the prompt is not of this form, or has a word that is not in the vocabulary.

    Examples
    --------
    >>> from lib.objectives.reno import study
    >>> study.understand("a red 3 left of a blue 7")
    (3, 0, 7, 2)
    """
    words = prompt.split() if isinstance(prompt, str) else []
    fits = len(words) == 8 and (words[0], *words[3:6]) == ("a", "left", "of", "a")
    if not fits or not {words[1], words[6]} <= set(_NAMES) or not all(w in tuple("0123456789") for w in (words[2], words[7])):
        raise ValueError(f"a prompt reads 'a {{color}} {{digit}} left of a {{color}} {{digit}}' with {_NAMES}, got {prompt!r}")
    return int(words[2]), _NAMES.index(words[1]), int(words[7]), _NAMES.index(words[6])


def sample_prompts(n: int, seed: Any = 0) -> list[str]:
    """Prompts with distinct digits and distinct colors, drawn uniformly.

    Parameters
    ----------
    n : int
    seed : int or Generator

    Examples
    --------
    >>> from lib.objectives.reno import study
    >>> len(study.sample_prompts(3))
    3
    """
    return [describe(row) for row in draw_facts(checks.integer("n", n, low=1), checks.generator("seed", seed))]


def draw_facts(n: int, rng: np.random.Generator) -> np.ndarray:
    """Facts of random scenes, shape (n, 4)."""
    first, one = rng.integers(10, size=n), rng.integers(3, size=n)
    second, other = (first + rng.integers(1, 10, size=n)) % 10, (one + rng.integers(1, 3, size=n)) % 3
    return np.stack([first, one, second, other], axis=1)


def corrupt(facts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Each row with one of `FAULTS`: the hard negatives that rewards are trained with."""
    wrong, fault = facts.copy(), rng.integers(len(FAULTS), size=len(facts))
    wrong[fault == 0] = wrong[fault == 0][:, [2, 1, 0, 3]]
    wrong[fault == 1] = wrong[fault == 1][:, [0, 3, 2, 1]]
    side = 2 * rng.integers(2, size=len(facts))
    for kind, offset, many in ((2, 0, 10), (3, 1, 3)):
        rows = np.flatnonzero(fault == kind)
        column = side[rows] + offset
        wrong[rows, column] = (wrong[rows, column] + rng.integers(1, many, size=len(rows))) % many
    return wrong


def code_facts(facts: np.ndarray) -> torch.Tensor:
    """Words of the left, then of the right object as ones, shape (n, 26), float64."""
    found = np.zeros((len(facts), 2 * WORDS))
    rows = np.arange(len(facts))
    for half in (0, 1):
        found[rows, WORDS * half + facts[:, 2 * half]] = 1
        found[rows, WORDS * half + 10 + facts[:, 2 * half + 1]] = 1
    return torch.as_tensor(found)


@lru_cache(maxsize=64)
def _code(prompts: tuple[str, ...]) -> torch.Tensor:
    return code_facts(np.array([understand(prompt) for prompt in prompts]).reshape(-1, 4))


def code(prompts: Sequence[str]) -> torch.Tensor:
    """What rewards and judge know of prompts: which words stand left and which right, shape (n, 26)."""
    return _code(tuple(prompts))


def hazy(full: torch.Tensor) -> torch.Tensor:
    """Nearly a bag of words: the sum of both objects' words, and a twentieth of their difference, shape (n, 26)."""
    left, right = full[:, :WORDS], full[:, WORDS:]
    return torch.cat([left + right, 0.05 * (left - right)], dim=1)


@lru_cache(maxsize=6)
def digits(who: str, source: str = "mnist") -> tuple[torch.Tensor, np.ndarray]:
    """What someone of `SLICES` may see, shrunk to 16 by 16 by area: values in [0, 1], shape (n, 16, 16); labels.

    Parameters
    ----------
    who : str
        A slice of `SLICES`.
    source : {"mnist", "fashion_mnist"}
    """
    low, high = SLICES[checks.choice("who", who, SLICES)]
    loaders = {"mnist": data.mnist, "fashion_mnist": data.fashion_mnist}
    images, labels = loaders[checks.choice("source", source, loaders)]("train")
    pixels = torch.as_tensor(images[low:high].astype(np.float32) / 255)
    return adaptive_avg_pool2d(pixels[:, None], SIDE)[:, 0], labels[low:high].astype(np.int64)


class Painter:
    """Paints real scenes of given facts from one slice of MNIST.

    Parameters
    ----------
    who : {"generator", "rewards", "judge", "test"}
    """

    def __init__(self, who: str) -> None:
        self.pixels, labels = digits(who)
        self.places = [np.flatnonzero(labels == digit) for digit in range(10)]

    def draw(self, n: int, rng: np.random.Generator) -> tuple[np.ndarray, torch.Tensor]:
        """Facts of random scenes, shape (n, 4), and their images, shape (n, 3, 16, 32)."""
        facts = draw_facts(n, rng)
        return facts, self.paint(facts, rng)

    def paint(self, facts: np.ndarray, rng: np.random.Generator) -> torch.Tensor:
        """Images of scenes, shape (n, 3, 16, 32), values in [0, 1]."""
        tiles = []
        for half in (0, 1):
            wanted = facts[:, 2 * half]
            rows = np.array([self.places[d][rng.integers(len(self.places[d]))] for d in wanted])
            color = torch.as_tensor(_RGB[facts[:, 2 * half + 1]], dtype=torch.float32)
            tiles.append(self.pixels[rows][:, None] * color[:, :, None, None])
        return torch.cat(tiles, dim=3)


def real_scenes(prompts: Sequence[str], seed: Any = 0, who: str = "test") -> torch.Tensor:
    """Real scenes for prompts, of digits that nothing here was trained on: shape (n, 3, 16, 32), float64.

    Parameters
    ----------
    prompts : sequence of str
    seed : int or Generator
    who : str
        A slice of `SLICES`.

    Examples
    --------
    >>> from lib.objectives.reno import study
    >>> study.real_scenes(["a red 3 left of a blue 7"]).shape
    torch.Size([1, 3, 16, 32])
    """
    facts = np.array([understand(prompt) for prompt in prompts]).reshape(-1, 4)
    return Painter(who).paint(facts, checks.generator("seed", seed)).double()
