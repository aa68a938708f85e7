"""The front page's generated half (headline, cards, what is to come) and the gallery."""

from __future__ import annotations

import html
import itertools
import json
import re
from collections import Counter
from pathlib import Path

import yaml

from lib import papers, scoreboard
from lib.claims import pill
from tools.notebooks import README_CHAPTER, ROOT, colab_link, key_figure

PLANNED = ROOT / "book" / "planned.yml"


class Picture:
    """A chapter's key figure as a generated file, with its caption and alt text."""

    def __init__(self, path: Path, caption: str, alt: str) -> None:
        self.path, self.caption, self.alt = path, caption, " ".join(alt.split())


def pictures(folder: Path) -> dict[str, Picture]:
    """Write every chapter's key figure into a folder; slug -> picture."""
    folder.mkdir(exist_ok=True)
    found = {}
    for slug in papers.slugs():
        if figure := key_figure(papers.chapter(slug)):
            target = folder / f"{slug}.png"
            if not target.is_file() or target.read_bytes() != figure[0]:
                target.write_bytes(figure[0])
            found[slug] = Picture(target, figure[1], figure[2])
    return found


def planned() -> dict[str, dict[str, str]]:
    """Part -> slug -> title of the papers whose chapters do not stand yet."""
    raw = yaml.safe_load(PLANNED.read_text(encoding="utf-8"))
    standing = papers.slugs()
    return {part: {slug: title for slug, title in titles.items() if slug not in standing} for part, titles in raw.items()}


def finding(slug: str) -> str:
    """The first sentence of the answer that the chapter's title section prints; empty before there is one."""
    for cell in json.loads(papers.chapter(slug).read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "markdown" and re.search(r"(?m)^## ", "".join(cell["source"])):
            return ""
        for output in cell.get("outputs", []):
            text = "".join(output.get("data", {}).get("text/markdown", "")).strip()
            if text and not text.startswith(("**Figure", "|", "*No full run")):
                return first_sentence(text)
    return ""


def first_sentence(markdown: str) -> str:
    """The first sentence of a Markdown text, without its links and a leading "**The answer.**"."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", " ".join(markdown.split()))
    text = re.sub(r"^\*\*[^*]*\*\*:?\s+(?=\S)", "", text) if re.match(r"^\*\*[^*]{1,30}[.:]\*\*", text) else text
    found = re.match(r"(.+?[.!?])(?=\s+[A-Z*`$(]|$)", text)
    return found.group(1) if found else text


def pills(tally: Counter[str], words: tuple[str, ...]) -> str:
    """Each verdict that was given, as a pill with its count before it."""
    return " ".join(f"{tally[word]} {pill(word)}" for word in words if tally[word])


HEADLINE = """\
<div class="headline">
<p><strong>{reproduced}</strong> of <strong>{claims}</strong> claims that the papers make are reproduced.</p>
<p>{claim}</p>
<p class="aside">Counted apart, because they are not the papers' claims: {checks} checks of identities and theorems ({check})
and {findings} findings of our own ({found}). <a href="scoreboard.html">Each of them, with its numbers.</a></p>
</div>
"""


def headline(tallies: dict[str, dict[str, Counter[str]]]) -> str:
    """The papers' own claims in one number; checks and findings apart."""
    total = {kind: sum((tally[kind] for tally in tallies.values()), Counter()) for kind in papers.KINDS}
    return HEADLINE.format(
        reproduced=total["claim"]["reproduced"],
        claims=total["claim"].total(),
        claim=pills(total["claim"], papers.KINDS["claim"]),
        checks=total["check"].total(),
        check=pills(total["check"], papers.KINDS["check"]) or "none yet",
        findings=total["finding"].total(),
        found=pills(total["finding"], papers.KINDS["finding"]) or "none yet",
    )


def _plain(text: object) -> str:
    """Text of a sheet or a heading inside Markdown: no markup of its own."""
    return re.sub(r"([\\`*_{}\[\]<>$|#])", r"\\\1", " ".join(html.unescape(str(text)).split()))


def _card(slug: str, tally: dict[str, Counter[str]], picture: Picture | None) -> list[str]:
    sheet = papers.sheet(slug)
    lines = [f":::{{grid-item-card}} {papers.heading(slug)}", f":link: {sheet.part}/{slug}", ":link-type: doc"]
    if picture:
        lines += [f":img-top: _generated/{picture.path.name}", f":img-alt: {picture.alt}"]
    authors = sheet.authors[0].split()[-1] + (" et al." if len(sheet.authors) > 2 else "")
    if len(sheet.authors) == 2:
        authors = " and ".join(name.split()[-1] for name in sheet.authors)
    lines += [":class-card: chapter", "", finding(slug)]
    lines += ["+++", f"{_plain(sheet.title)} ({_plain(authors)}, {sheet.year}).", "", '<p class="verdicts">']
    return [*lines, pills(tally["claim"], papers.KINDS["claim"]), "</p>", ":::", ""]


_GRID = """\
::::{{grid}} 1 {} 2 2
:gutter: 3
:class-container: {}"""


def _of(part: str) -> list[str]:
    return [slug for slug, where in papers.slugs().items() if where == part]


def front(shown: dict[str, Picture]) -> str:
    """Buttons, the headline, a card for each chapter, the papers to come."""
    tallies = scoreboard.counts()
    first = next(iter(papers.slugs().items()))
    parts = [
        *(":::::{grid} 1 3 3 3", ":gutter: 2", ":class-container: buttons", ""),
        *("::::{grid-item}", f":::{{button-ref}} {first[1]}/{first[0]}"),
        *(":ref-type: doc", ":color: primary", ":expand:", "", "Read the first chapter", ":::", "::::"),
        *("::::{grid-item}", f":::{{button-link}} {colab_link(papers.chapter(README_CHAPTER))}"),
        *(":color: primary", ":outline:", ":expand:", "", "Run one in Colab", ":::", "::::"),
        *("::::{grid-item}", ":::{button-ref} scoreboard"),
        *(":ref-type: doc", ":color: primary", ":outline:", ":expand:", "", "See the scoreboard", ":::", "::::"),
        *(":::::", "", headline(tallies), "## The chapters", ""),
    ]
    for part in dict.fromkeys(papers.slugs().values()):
        parts += [f"### {papers.PARTS[part]}", "", *_GRID.format(2, "cards").splitlines(), ""]
        parts += itertools.chain(*(_card(slug, tallies[slug], shown.get(slug)) for slug in _of(part)))
        parts += ["::::", ""]
    to_come = {part: titles for part, titles in planned().items() if titles}
    parts += ["## Papers to come", ""] if to_come else []
    for part, titles in to_come.items():
        parts += [f"**{papers.PARTS[part]}**", "", *(f"- {_plain(title)}" for title in titles.values()), ""]
    return "\n".join(parts)


def gallery(shown: dict[str, Picture]) -> str:
    """One key figure per chapter, each a card that leads to its chapter."""
    parts = ["# Gallery", "", "One key figure per chapter, drawn by the chapter that it leads to.", ""]
    for part in dict.fromkeys(papers.slugs().values()):
        parts += [f"## {papers.PARTS[part]}", "", *_GRID.format(1, "cards gallery").splitlines(), ""]
        for slug in filter(shown.__contains__, _of(part)):
            picture = shown[slug]
            parts += [f":::{{grid-item-card}} {papers.heading(slug)}", f":link: {part}/{slug}", ":link-type: doc"]
            parts += [f":img-top: _generated/{picture.path.name}", f":img-alt: {picture.alt}", ""]
            parts += [picture.caption, ":::", ""]
        parts += ["::::", ""]
    return "\n".join(parts)
