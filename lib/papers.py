"""Where a paper's files are, and its sheet: the ``<slug>.yml`` beside each chapter.

A sheet holds what a chapter, the recorder and the generated pages all need to know about a paper: the citation, what each
preset changes (``scale``), and the entries of the ledger with the rules that decide their verdicts. In a checkout the files
are read where they are edited; outside (Colab, an installed wheel) the same files are read from ``lib/_shipped``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from lib import estimates, rules

#: Folder of a part -> its title, in the order of the book.
PARTS = {
    "gradient": "Better gradient steps",
    "backprop_free": "Beyond backpropagation",
    "constrained": "Constraints and hierarchies",
    "objectives": "Designing the objective",
    "online": "Deciding online",
    "policies": "Learned policies",
}

#: What each preset is for; the limits are promises, in CPU seconds of one core.
PRESETS = {
    "smoke": "tests: the whole chapter runs, in 10 CPU seconds beside its imports",
    "book": "what is rendered and validated: 60 s, at most 90",
    "full": "the paper's own settings, or the closest that an hour for all seeds allows; recorded in results/",
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
    sheets = {
        f"book/{part}/{path.stem}": (path.stem, part) for part in PARTS for path in (root() / "book" / part).glob("*.yml")
    }
    return dict(sheets[chapter] for chapter in chapters if chapter in sheets)


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


#: The four kinds of entries -> the words of their verdicts, best first. A cost has a value and no verdict.
KINDS = {
    "claim": ("reproduced", "partly", "not reproduced", "undecided", "not tested"),
    "check": ("holds", "fails", "not tested"),
    "finding": ("found", "not found", "undecided", "not tested"),
    "cost": ("measured", "not tested"),
}
#: How we know what the paper says.
SOURCES = ("paper", "abstract", "code", "memory")
MOST_CLAIMS, MOST_WORDS = 8, 25
#: Above this, a chapter's comparison of numbers would notice too little.
MOST_RTOL = 1e-2


@dataclass(frozen=True)
class Knob:
    """One line of a chapter's scale table: a setting, and its value in the paper and in each preset."""

    what: str
    paper: Any
    smoke: Any
    book: Any
    full: Any


@dataclass(frozen=True)
class Value:
    """One measured value of an entry in words: what it is, its unit, and what one sample is.

    ``sample`` is empty for a deterministic number; ``estimate`` says what is made of the samples (`lib.estimates`).
    """

    what: str
    unit: str = ""
    sample: str = ""
    estimate: str = "mean"


@dataclass(frozen=True)
class Entry:
    """One entry of a ledger: what is stated, what is measured, the rule that decides, and what would refute it.

    The rule stands under the best word of its kind: ``reproduced`` (with an optional weaker form ``partly``, which
    ``partly_means`` says in words), ``holds`` or ``found``; rules are those of `lib.rules`.
    """

    id: str
    kind: str
    statement: str
    values: dict[str, Value]
    where: str = ""
    source: str = ""
    paper: str = "-"
    reproduced: str = ""
    partly: str = ""
    partly_means: str = ""
    holds: str = ""
    found: str = ""
    fails_if: str = ""

    @property
    def rule(self) -> str:
        """The rule behind the best word of this kind; empty for a cost."""
        return {"claim": self.reproduced, "check": self.holds, "finding": self.found}.get(self.kind, "")

    def faults(self) -> list[str]:
        """What is wrong with this entry as it is written, in words."""
        if self.kind not in KINDS:
            return [f"unknown kind {self.kind!r}; allowed: {', '.join(KINDS)}"]
        found = []
        allowed = {"claim": {"reproduced", "partly", "partly_means"}, "check": {"holds"}, "finding": {"found"}, "cost": set()}
        for name in ("reproduced", "partly", "partly_means", "holds", "found"):
            if getattr(self, name) and name not in allowed[self.kind]:
                found.append(f"a {self.kind} has no {name!r}")
        if self.kind != "cost" and not self.rule:
            found.append("no rule")
        if self.kind != "cost" and not self.fails_if:
            found.append("no 'fails_if': the result that would refute it")
        if bool(self.partly) != bool(self.partly_means):
            found.append("'partly' and 'partly_means' go together")
        if self.kind == "claim" and self.source not in SOURCES:
            found.append(f"source is {self.source!r}; allowed: {', '.join(SOURCES)}")
        if len(self.statement.split()) > MOST_WORDS:
            found.append(f"the statement has over {MOST_WORDS} words")
        if not self.values:
            found.append("no values")
        for name, value in self.values.items():
            if not name.isidentifier() or name in ("abs", "min", "max", "and", "or"):
                found.append(f"{name!r} is no name for a value")
            if value.estimate not in estimates.FEWEST:
                found.append(f"unknown estimate {value.estimate!r} of {name}; allowed: {', '.join(estimates.FEWEST)}")
            if self.kind == "check" and value.sample:
                found.append(f"a check is deterministic, {name} has samples")
        return found + [fault for rule in (self.rule, self.partly) if rule for fault in self._rule_faults(rule)]

    def _rule_faults(self, rule: str) -> list[str]:
        try:
            unknown = sorted(rules.names(rule) - set(self.values))
        except ValueError as error:
            return [str(error)]
        return [f"{rule!r} names {', '.join(unknown)}; its values: {', '.join(self.values)}"] if unknown else []


@dataclass(frozen=True)
class Sheet:
    """A paper's sheet: citation, budget, tolerance, scale, what its chapter needs beside the package, and the entries."""

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
    claims: list[Entry]
    code: str = ""
    needs: list[str] = field(default_factory=list)
    seeds: int = 5

    def entry(self, entry_id: str) -> Entry:
        """The entry with this id; ValueError if there is none."""
        for entry in self.claims:
            if entry.id == entry_id:
                return entry
        raise ValueError(f"{self.slug} has no entry {entry_id!r}; its entries: {', '.join(e.id for e in self.claims)}")

    def values(self, preset: str) -> dict[str, Any]:
        """The scale's settings under a preset."""
        if preset not in PRESETS:
            raise ValueError(f"unknown preset {preset!r}; allowed: {', '.join(PRESETS)}")
        return {name: getattr(knob, preset) for name, knob in self.scale.items()}

    def faults(self) -> list[str]:
        """What is wrong with this sheet as it is written, in words."""
        found = [f"{entry.id}: {fault}" for entry in self.claims for fault in entry.faults()]
        ids = [entry.id for entry in self.claims]
        found += [f"{name}: given twice" for name in sorted({i for i in ids if ids.count(i) > 1})]
        if (claims := sum(entry.kind == "claim" for entry in self.claims)) > MOST_CLAIMS:
            found.append(f"{claims} claims, at most {MOST_CLAIMS}")
        if self.claims and self.claims[0].kind != "claim":
            found.append("the first entry is no claim: the paper's headline comes first")
        if not 0 <= self.rtol <= MOST_RTOL:
            found.append(f"rtol must be at most {MOST_RTOL:g}, got {self.rtol:g}")
        return found


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
        If no paper has this slug, its yml lacks a key or has an unknown one, or an entry is not as `Entry` wants it; the
        message names the entry.

    Examples
    --------
    >>> from lib import papers
    >>> papers.sheet("anyloss").entry("C1").kind
    'claim'
    """
    path = chapter(slug).with_suffix(".yml")
    raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    where = f"{path.parent.name}/{path.name}"
    raw["scale"] = {name: _build(Knob, entry, f"{where}, scale of {name}") for name, entry in raw["scale"].items()}
    raw["claims"] = [_entry(entry, f"{where}, entry {entry.get('id')}") for entry in raw["claims"]]
    built = _build(Sheet, {"slug": slug, "part": path.parent.name, **raw}, where)
    if faults := built.faults():
        raise ValueError(f"{where}: {'; '.join(faults)}")
    return built


def _entry(raw: dict[str, Any], where: str) -> Entry:
    values = {name: _build(Value, value, f"{where}, value {name}") for name, value in (raw.get("values") or {}).items()}
    return _build(Entry, {**raw, "values": values}, where)
