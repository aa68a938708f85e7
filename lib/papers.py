"""Where a paper's files are, and its sheet: the ``<slug>.yml`` beside each chapter.

A sheet holds what a chapter, the recorder and the generated pages all need to know about a paper: the citation, what each
preset changes (``scale``), and the claims with the rules that decide their verdicts. In a checkout the files are read where
they are edited; outside (Colab, an installed wheel) the same files are read from ``lib/_shipped``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

#: Folder of a part -> its title, in the order of the book.
PARTS = {
    "gradient": "Better gradient steps",
    "backprop_free": "Beyond backpropagation",
    "constrained": "Constraints and hierarchies",
    "objectives": "Designing the objective",
    "online": "Deciding online",
    "policies": "Learned policies",
}

#: What each preset is for; the limits are promises (one core; ``full``: two).
PRESETS = {
    "smoke": "tests: the whole chapter runs in 10 s",
    "book": "what is rendered and validated: 60 s",
    "full": "the paper's own settings, or the closest that half an hour allows; recorded in results/",
}

_PACKAGE = Path(__file__).resolve().parent


def root() -> Path:
    """The folder that holds ``book/`` and ``results/``: the checkout, or what the wheel carries."""
    checkout = _PACKAGE.parent
    if (checkout / "_toc.yml").is_file() and (checkout / "book").is_dir():
        return checkout
    return _PACKAGE / "_shipped"


def is_checkout() -> bool:
    """Whether `lib` is imported from a checkout (chapters and their stored outputs are at hand)."""
    return root() == _PACKAGE.parent


def slugs() -> dict[str, str]:
    """Slug -> part of every paper whose chapter stands in `_toc.yml`, in the order of the book; others are drafts."""
    chapters = (root() / "_toc.yml").read_text(encoding="utf-8").split()
    sheets = {path.stem: part for part in PARTS for path in sorted((root() / "book" / part).glob("*.yml"))}
    return {slug: part for slug, part in sheets.items() if f"book/{part}/{slug}" in chapters}


def part_of(slug: str) -> str:
    """The part (folder) of a paper.

    Raises
    ------
    ValueError
        If no paper has this slug.
    """
    known = slugs()
    if slug not in known:
        raise ValueError(f"no paper has the slug {slug!r}; known: {', '.join(known) or 'none'}")
    return known[slug]


def chapter(slug: str) -> Path:
    """Path of a paper's chapter notebook."""
    return root() / "book" / part_of(slug) / f"{slug}.ipynb"


def heading(slug: str) -> str:
    """The title of a paper's chapter: the heading that its notebook opens with."""
    opening = json.loads(chapter(slug).read_text(encoding="utf-8"))["cells"][0]["source"]
    return "".join(opening).splitlines()[0].removeprefix("# ")


def records(slug: str) -> Path:
    """Path of a paper's recorded runs (it need not exist yet)."""
    return root() / "results" / f"{slug}.json"


@dataclass(frozen=True)
class Knob:
    """One line of a chapter's scale table: a setting, and its value in the paper and in each preset."""

    what: str
    paper: Any
    smoke: Any
    book: Any
    full: Any


@dataclass(frozen=True)
class Claim:
    """One claim of a paper, with the rules that turn measured values into a verdict.

    ``reproduced`` and ``partly`` are expressions over the measured values, such as ``"gain > 0.05 and 0.6 <= f1 <= 0.7"``;
    ``book`` may replace them where the smaller scale changes what can be expected. ``timing`` marks values that depend
    on the machine: they are recorded, never compared.
    """

    id: str
    statement: str
    where: str
    paper: str
    measure: str
    reproduced: str
    partly: str | None = None
    book: dict[str, str] = field(default_factory=dict)
    timing: bool = False
    ours: bool = False


@dataclass(frozen=True)
class Sheet:
    """A paper's sheet: citation, budget, tolerance, scale and claims."""

    slug: str
    part: str
    title: str
    authors: list[str]
    year: int
    venue: str
    arxiv: str
    cite: str
    budget_s: float
    rtol: float
    scale: dict[str, Knob]
    claims: list[Claim]
    code: str = ""

    def claim(self, claim_id: str) -> Claim:
        """The claim with this id; ValueError if there is none."""
        for claim in self.claims:
            if claim.id == claim_id:
                return claim
        raise ValueError(f"{self.slug} has no claim {claim_id!r}; its claims: {', '.join(c.id for c in self.claims)}")

    def values(self, preset: str) -> dict[str, Any]:
        """The scale's settings under a preset."""
        if preset not in PRESETS:
            raise ValueError(f"unknown preset {preset!r}; allowed: {', '.join(PRESETS)}")
        return {name: getattr(knob, preset) for name, knob in self.scale.items()}


def _build(kind: type, entry: dict[str, Any], where: str) -> Any:
    """Make a dataclass from a yml mapping, naming what is missing or unknown."""
    try:
        return kind(**entry)
    except TypeError as error:
        raise ValueError(f"{where}: {str(error).replace('__init__()', kind.__name__)}") from None


@cache
def sheet(slug: str) -> Sheet:
    """Read a paper's sheet.

    Raises
    ------
    ValueError
        If no paper has this slug, or its yml lacks a key or has an unknown one.

    Examples
    --------
    >>> from lib import papers
    >>> papers.sheet("anyloss").claim("C2").id
    'C2'
    """
    path = chapter(slug).with_suffix(".yml")
    raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    where = f"{path.parent.name}/{path.name}"
    raw["scale"] = {name: _build(Knob, entry, f"{where}, scale of {name}") for name, entry in raw["scale"].items()}
    raw["claims"] = [_build(Claim, entry, f"{where}, claim {entry.get('id')}") for entry in raw["claims"]]
    return _build(Sheet, {"slug": slug, "part": path.parent.name, **raw}, where)
