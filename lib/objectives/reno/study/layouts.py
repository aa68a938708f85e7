"""Layouts: scenes of two by two places, prompts that place two things or count one, and what is known of a prompt.

A scene is an RGB image of 32 by 32 pixels, four tiles in the order of `PLACES`. A prompt such as ``"a red bag top left and a
blue boot bottom right"`` names two places; in real scenes the others hold neither bags nor boots. A prompt such as ``"three red
bags"`` says how many there are, anywhere; the others are no bags. Things are those of Fashion-MNIST or, as digits, of MNIST.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import torch

from lib import checks
from lib.objectives.reno.study.scenes import COLORS, digits

#: Tiles in the order in which codes and judges hold them.
PLACES = ("top left", "top right", "bottom left", "bottom right")
COUNTS = ("one", "two", "three", "four")
#: What prompts ask for: two things at two places, or a number of one thing.
FAMILIES = ("placing", "counting")
_COLORS = tuple(COLORS)
_RGB = np.array(list(COLORS.values()))
#: Columns of facts: family; then place, thing, color of both, or the number less one, thing, color and zeros.
_COLUMNS = 7


@dataclass(frozen=True)
class Domain:
    """Things that scenes are made of: the data set's name, the things' names, and their labels there."""

    name: str
    nouns: tuple[str, ...]
    labels: tuple[int, ...]

    @property
    def words(self) -> int:
        """Things and colors."""
        return len(self.nouns) + len(_COLORS)

    @property
    def code_size(self) -> int:
        """Numbers of a prompt's whole code."""
        return 4 * self.words + 4 + self.words

    @property
    def hazy_size(self) -> int:
        """Numbers of what the generator knows of a prompt."""
        return self.words + 5 + 4 * self.words + 4

    @cached_property
    def known(self) -> dict[str, int]:
        """Singulars and plurals -> thing."""
        plurals = {noun + ("es" if noun.endswith("s") else "s"): k for k, noun in enumerate(self.nouns)}
        return plurals | {noun: k for k, noun in enumerate(self.nouns)}

    def describe(self, facts: Sequence[int]) -> str:
        """The prompt of a row of facts."""
        family, one, thing, color, other, second, shade = (int(v) for v in facts)
        if family:
            noun = self.nouns[thing]
            ending = "" if one == 0 else "es" if noun.endswith("s") else "s"
            return f"{COUNTS[one]} {_COLORS[color]} {noun}{ending}"
        first = f"a {_COLORS[color]} {self.nouns[thing]} {PLACES[one]}"
        return f"{first} and a {_COLORS[shade]} {self.nouns[second]} {PLACES[other]}"

    def understand(self, prompt: str) -> tuple[int, ...]:
        """Facts of a prompt; ValueError if it is not of a form that `describe` writes."""
        words = prompt.split() if isinstance(prompt, str) else []
        try:
            facts: tuple[int, ...] = ()
            if len(words) == 3:
                facts = (1, COUNTS.index(words[0]), self.known[words[2]], _COLORS.index(words[1]), 0, 0, 0)
            else:
                sides = [words[:5], words[6:]]
                found = [(PLACES.index(" ".join(s[3:])), self.known[s[2]], _COLORS.index(s[1])) for s in sides]
                facts = (0, *found[0], *found[1])
        except (KeyError, ValueError, IndexError):
            facts = (0,) * _COLUMNS
        if not words or self.describe(facts) != prompt or (facts[0] == 0 and facts[1] == facts[4]):
            forms = "'a COLOR THING PLACE and a COLOR THING PLACE', places distinct, or 'NUMBER COLOR THINGS'"
            raise ValueError(f"a prompt reads {forms}, with {_COLORS}, {self.nouns}, {PLACES}, {COUNTS}; got {prompt!r}")
        return facts

    def draw(self, n: int, rng: np.random.Generator, family: str | None = None) -> np.ndarray:
        """Facts of n random prompts, shape (n, 7): things, colors and places are distinct, numbers are two to four."""
        kinds = len(self.nouns)
        first, shift = rng.integers(4, size=n), rng.integers(1, 4, size=n)
        thing, more = rng.integers(kinds, size=n), rng.integers(1, kinds, size=n)
        color, hue = rng.integers(3, size=n), rng.integers(1, 3, size=n)
        placed = [0 * first, first, thing, color, (first + shift) % 4, (thing + more) % kinds, (color + hue) % 3]
        counted = [0 * first + 1, shift, thing, color, 0 * first, 0 * first, 0 * first]
        chosen = rng.integers(2, size=n) if family is None else np.full(n, FAMILIES.index(family))
        return np.where(chosen[:, None] == 1, np.stack(counted, 1), np.stack(placed, 1))

    def corrupt(self, facts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Each row with one fault: things or colors swapped, one of them another, one moved; or a wrong number, thing, hue."""
        wrong, kinds = facts.copy(), len(self.nouns)
        for row in wrong:
            if row[0] == 0:
                fault, side = rng.integers(5), 3 * rng.integers(2)
                if fault < 2:
                    row[[2 + fault, 5 + fault]] = row[[5 + fault, 2 + fault]]
                elif fault == 4:
                    row[1 + side] = rng.choice([p for p in range(4) if p not in (row[1], row[4])])
                else:
                    size = (kinds, 3)[fault - 2]
                    row[fault + side] = (row[fault + side] + rng.integers(1, size)) % size
            else:
                column = 1 + rng.integers(3)
                size = (4, kinds, 3)[column - 1]
                row[column] = (row[column] + rng.integers(1, size)) % size
        return wrong

    def code_facts(self, facts: np.ndarray) -> torch.Tensor:
        """The whole code, shape (n, `code_size`), float64: words at each place; the number; words that are counted."""
        found = np.zeros((len(facts), self.code_size))
        rows, w, kinds = np.arange(len(facts)), self.words, len(self.nouns)
        placed = facts[:, 0] == 0
        for place, thing, color in ((1, 2, 3), (4, 5, 6)):
            for at, offset in ((thing, 0), (color, kinds)):
                found[rows[placed], (facts[:, place] * w + offset + facts[:, at])[placed]] = 1
        for column, offset in ((1, 4 * w), (2, 4 * w + 4), (3, 4 * w + 4 + kinds)):
            found[rows[~placed], (offset + facts[:, column])[~placed]] = 1
        return torch.as_tensor(found)

    def hazy(self, full: torch.Tensor) -> torch.Tensor:
        """Nearly a bag of words, shape (n, `hazy_size`): things and colors named, places named, whether it counts; and a
        twentieth of the words at their places, a tenth of the number."""
        w = self.words
        at, number, counted = full[:, : 4 * w], full[:, 4 * w : 4 * w + 4], full[:, 4 * w + 4 :]
        where = at.reshape(-1, 4, w)
        named = where[:, :, : len(self.nouns)].sum(2)
        return torch.cat([where.sum(1) + counted, named, number.sum(1, keepdim=True), 0.05 * at, 0.1 * number], dim=1)

    def code(self, prompts: Sequence[str]) -> torch.Tensor:
        """What rewards and judge know of prompts, shape (n, `code_size`)."""
        return _code(self, tuple(prompts))


DOMAINS = {
    "fashion_mnist": Domain(
        "fashion_mnist",
        ("T-shirt", "trouser", "pullover", "dress", "sandal", "sneaker", "bag", "boot"),
        (0, 1, 2, 3, 5, 7, 8, 9),  # without coats and shirts, which 16 by 16 pixels do not tell from pullovers
    ),
    "mnist": Domain("mnist", tuple("0123456789"), tuple(range(10))),
}


@lru_cache(maxsize=64)
def _code(domain: Domain, prompts: tuple[str, ...]) -> torch.Tensor:
    return domain.code_facts(np.array([domain.understand(prompt) for prompt in prompts]).reshape(-1, _COLUMNS))


def sample_layouts(n: int, family: str, seed: Any = 0, domain: Domain = DOMAINS["fashion_mnist"]) -> list[str]:
    """Random prompts of one of `FAMILIES`.

    Parameters
    ----------
    n : int
    family : {"placing", "counting"}
    seed : int or Generator
    domain : Domain
        Default things to wear.

    Examples
    --------
    >>> from lib.objectives.reno import study
    >>> len(study.sample_layouts(2, "counting"))
    2
    """
    family, rng = checks.choice("family", family, FAMILIES), checks.generator("seed", seed)
    return [domain.describe(row) for row in domain.draw(checks.integer("n", n, low=1), rng, family)]


def fill(facts: np.ndarray, domain: Domain, rng: np.random.Generator) -> np.ndarray:
    """What stands at each place of a scene for each row of facts: things and colors, shape (n, 4, 2); free ones are drawn."""
    kinds, scenes = len(domain.nouns), np.zeros((len(facts), 4, 2), dtype=np.int64)
    for row, scene in zip(facts, scenes, strict=True):
        named = {row[2], row[5]} if row[0] == 0 else {row[2]}
        scene[:, 0] = rng.choice([k for k in range(kinds) if k not in named], size=4)
        scene[:, 1] = rng.integers(3, size=4)
        if row[0] == 0:
            scene[row[1]], scene[row[4]] = row[2:4], row[5:7]
        else:
            scene[rng.permutation(4)[: row[1] + 1]] = row[2:4]
    return scenes


class LayoutPainter:
    """Paints real scenes of given facts from one slice of a data set.

    Parameters
    ----------
    who : {"generator", "rewards", "judge", "test"}
    domain : Domain
    """

    def __init__(self, who: str, domain: Domain) -> None:
        self.domain = domain
        self.pixels, labels = digits(who, domain.name)
        self.places = [np.flatnonzero(labels == label) for label in domain.labels]

    def tiles(self, things: np.ndarray, colors: np.ndarray, rng: np.random.Generator) -> torch.Tensor:
        """Tiles of things in colors, both of shape (m,): (m, 3, 16, 16), values in [0, 1]."""
        rows = np.array([self.places[k][rng.integers(len(self.places[k]))] for k in things])
        return self.pixels[rows][:, None] * torch.as_tensor(_RGB[colors], dtype=torch.float32)[:, :, None, None]

    def paint(self, facts: np.ndarray, rng: np.random.Generator) -> torch.Tensor:
        """Images of scenes, shape (n, 3, 32, 32)."""
        scenes = fill(facts, self.domain, rng).reshape(-1, 2)
        return from_places(self.tiles(scenes[:, 0], scenes[:, 1], rng))


def to_places(images: torch.Tensor) -> torch.Tensor:
    """The four tiles of each scene, in the order of `PLACES`: (n, 3, 32, 32) to (4n, 3, 16, 16)."""
    n = len(images)
    return images.reshape(n, 3, 2, 16, 2, 16).permute(0, 2, 4, 1, 3, 5).reshape(4 * n, 3, 16, 16)


def from_places(tiles: torch.Tensor) -> torch.Tensor:
    """Scenes of their tiles: the inverse of `to_places`."""
    n = len(tiles) // 4
    return tiles.reshape(n, 2, 2, 3, 16, 16).permute(0, 3, 1, 4, 2, 5).reshape(n, 3, 32, 32)
