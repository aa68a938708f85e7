"""A Sphinx extension: what the book's pages need beyond MyST-NB and the theme, in every edition (HTML, PDF, EPUB).

A figure and the caption that `lib.figures` prints under it become one ``<figure>``; each table cell learns the heading of
its column, so that a phone can show rows as cards.
"""

from __future__ import annotations

import re
from typing import Any

from bs4 import BeautifulSoup
from bs4.element import Tag

CAPTION = re.compile(r"Figure \d+\.$")


def join_captions(soup: BeautifulSoup) -> None:
    """Wrap each picture (or slider) and the caption text after it into one figure."""
    for strong in soup.select("div.cell_output p > strong:first-child"):
        paragraph = strong.parent
        if not CAPTION.match(strong.get_text().strip()) or paragraph is None:
            continue
        above = paragraph.find_previous_sibling(lambda tag: isinstance(tag, Tag))
        if not isinstance(above, Tag) or not (above.name == "img" or above.find("img")):
            continue
        figure = soup.new_tag("figure", attrs={"class": "shown"})
        above.wrap(figure)
        caption = soup.new_tag("figcaption")
        figure.append(paragraph.extract())
        paragraph.wrap(caption)


def label_cells(soup: BeautifulSoup) -> None:
    """Write each column's heading into the cells under it, as ``data-label``."""
    for table in soup.find_all("table"):
        headings = [cell.get_text(" ", strip=True) for cell in table.select("thead tr:last-child th")]
        if not headings:
            continue
        table["class"] = f"{' '.join(table.get_attribute_list('class', ''))} labeled".strip()  # type: ignore[arg-type]
        for line in table.select("tbody tr"):
            for heading, cell in zip(headings, line.find_all(["td", "th"], recursive=False), strict=False):
                if heading:
                    cell["data-label"] = heading


def improve(body: str) -> str:
    """A page's body with joined captions and labeled cells."""
    soup = BeautifulSoup(body, "html.parser")
    join_captions(soup)
    label_cells(soup)
    return str(soup)


def needed(scripts: list[Any]) -> list[Any]:
    """A page's scripts, each once, without Thebe's, which nothing here uses.

    The theme and Sphinx both ask for MathJax, and two copies of it or of Thebe's constants end in errors.
    """
    kept: dict[str, Any] = {}
    for script in scripts:
        name = str(getattr(script, "filename", script) or "").partition("?")[0]
        body = str(getattr(script, "attributes", {}).get("body") or "")
        if "thebe" not in (name + body).lower():
            kept.setdefault(name + body, script)
    return list(kept.values())


def _on_page(app: Any, pagename: str, templatename: str, context: dict[str, Any], doctree: Any) -> None:
    if "script_files" in context:
        context["script_files"] = needed(context["script_files"])
    if context.get("body") and ("<table" in context["body"] or "cell_output" in context["body"]):
        context["body"] = improve(context["body"])


def setup(app: Any) -> dict[str, Any]:
    """Sphinx calls this."""
    app.connect("html-page-context", _on_page, priority=900)  # after the theme
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
