"""Makes the pages that follow from the chapters' own data: gallery, data table, costs, API; and copies MathJax in.

    python -m tools.pages

Nothing here is edited by hand, nothing is committed; `make book` calls it before Sphinx reads the pages.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import shutil
import struct
from pathlib import Path
from typing import Any

import lib
from lib import data, papers
from tools.notebooks import ROOT, SCOREBOARD, chapters, key_figure

BOOK = ROOT / "book"
GENERATED = BOOK / "_generated"
BENCHMARKS = ROOT / "results" / "benchmarks.json"


def copy_mathjax() -> None:
    """MathJax out of the PyPI package that carries it: the one script and the fonts that pages load."""
    import mathjax

    source = Path(mathjax.__path__[0]) / "static" / "mathjax" / "es5"
    target = ROOT / "_static" / "mathjax" / "es5"
    if (target / "tex-chtml.js").is_file():
        return
    fonts = Path("output/chtml/fonts/woff-v2")
    shutil.copytree(source / fonts, target / fonts, dirs_exist_ok=True)
    shutil.copy(source / "tex-chtml.js", target / "tex-chtml.js")


def picture(path: Path, name: str) -> tuple[Path, dict[str, Any]] | None:
    """Write a notebook's key figure into the generated folder; its path and metadata."""
    figure = key_figure(path)
    if figure is None:
        return None
    GENERATED.mkdir(exist_ok=True)
    target = GENERATED / f"{name}.png"
    target.write_bytes(figure[0])
    return target, figure[1]


def gallery() -> str:
    """One key figure per chapter, linked to it, with its caption."""
    parts = ["# Gallery", "", "One key figure per chapter. Each is drawn by the chapter that it links to."]
    seen = None
    for path in chapters():
        sheet = papers.sheet(path.stem)
        found = picture(path, path.stem)
        if found is None:
            continue
        if sheet.part != seen:
            parts += ["", f"## {papers.PARTS[sheet.part]}"]
            seen = sheet.part
        target, about = found
        parts += [
            "",
            f"### [{papers.heading(path.stem)}]({path.relative_to(BOOK).as_posix()})",
            "",
            f":::{{figure}} {target.relative_to(BOOK).as_posix()}",
            f":alt: {about['image']['alt']}",
            f":width: {min(_width(target), 720)}px",
            "",
            about["figure"]["caption"],
            ":::",
        ]
    return "\n".join(parts) + "\n"


def _width(png: Path) -> int:
    return struct.unpack(">I", png.read_bytes()[16:20])[0]


DATA = """\
# Data

Every data set sits behind one function of `lib.data`. It is looked for in the cache (`LIB_DATA_DIR`, by default your system's
cache folder), then at its sources in order, and verified by its SHA-256 before it is read. A default run of any chapter needs
nothing beyond the Python package index.

{sets}

## Hashes

{hashes}
"""


def data_page() -> str:
    """Every data set with its source, license and hashes."""
    sets = ["| data set | what it is | source | license |", "|---|---|---|---|"]
    hashes = ["| file | SHA-256 |", "|---|---|"]
    for entry in data.catalog():
        sets.append(f"| `lib.data.{entry.name}` | {entry.what} | {entry.source} | {entry.license} |")
        hashes += [f"| {entry.name}: {name} | `{value}` |" for name, value in entry.sha256.items()]
    return DATA.format(sets="\n".join(sets), hashes="\n".join(hashes))


def costs_page() -> str:
    """The chapters' budgets and the stored benchmarks, as ratios."""
    parts = [
        "# What it costs",
        "",
        "Each row is the same work, done by `lib` and by a peer library or the plain way, in one process on one core. Only",
        "the ratio is worth reading: seconds depend on the machine. `make bench` measures all of it again.",
    ]
    stored = json.loads(BENCHMARKS.read_text(encoding="utf-8")) if BENCHMARKS.is_file() else {"comparisons": [], "growth": []}
    if stored["comparisons"]:
        parts += ["", f"Measured on {stored['cpu']}.", "", "## Against a peer", ""]
        parts += ["| chapter | the work | `lib` | against | its time over ours |", "|---|---|---|---|---|"]
        for row in stored["comparisons"]:
            parts.append(f"| {row['slug']} | {row['work']} | {_time(row['ours'])} | {row['peer']} | {_round(row['ratio'])} × |")
    if stored["growth"]:
        parts += [
            "",
            "## How cost grows",
            "",
            "| chapter | the work | size | time | against the row above |",
            "|---|---|---|---|---|",
        ]
        for series in stored["growth"]:
            for before, (size, seconds) in zip([None, *series["points"]], series["points"], strict=False):
                ratio = f"{_round(seconds / before[1])} × for {_round(size / before[0])} × the size" if before else "–"
                parts.append(f"| {series['slug']} | {series['work']} | {size:,} | {_time(seconds)} | {ratio} |")
    parts += [
        "",
        "## A chapter's budget",
        "",
        "| chapter | promised at `book`, one core | recorded `full` runs |",
        "|---|---|---|",
    ]
    for slug in papers.slugs():
        runs = json.loads(papers.records(slug).read_text(encoding="utf-8"))["runs"] if papers.records(slug).is_file() else []
        full = [run for run in runs if run["preset"] == "full"]
        spent = f"{len(full)} runs, {sum(r['seconds'] for r in full) / len(full) / 60:.0f} min each, " if full else "none yet"
        spent += f"{max(r['peak_mb'] for r in full):.0f} MB at most" if full else ""
        parts.append(f"| {slug} | {papers.sheet(slug).budget_s:g} s | {spent} |")
    return "\n".join(parts) + "\n"


def _round(value: float) -> str:
    """Two significant digits, never as a power of ten."""
    return f"{float(f'{value:.2g}'):,.10g}"


def _time(seconds: float) -> str:
    for factor, unit in ((1, "s"), (1e3, "ms"), (1e6, "µs")):
        if seconds * factor >= 1:
            return f"{seconds * factor:.3g}\N{NO-BREAK SPACE}{unit}"
    return f"{seconds * 1e9:.3g}\N{NO-BREAK SPACE}ns"


def api_page() -> str:
    """`lib`, from its docstrings: shared rooms first, then one section per paper."""
    parts = ["# The package `lib`", "", "Everything that the chapters import, from its docstrings."]
    rooms = [m for m in sorted(m.name for m in pkgutil.iter_modules(lib.__path__)) if m not in papers.PARTS and m[0] != "_"]
    parts += ["", "## Shared rooms"]
    for room in rooms:
        parts += _module(f"lib.{room}", 3)
    for part, title in papers.PARTS.items():
        slugs = [slug for slug, where in papers.slugs().items() if where == part]
        if slugs:
            parts += ["", f"## {title}"]
        for slug in slugs:
            parts += _module(f"lib.{part}.{slug}", 3)
    return "\n".join(parts) + "\n"


def _module(name: str, level: int) -> list[str]:
    module = importlib.import_module(name)
    # What a package re-exports stands under its modules; scikit-learn adds set_score_request and the like.
    members = (
        []
        if name.count(".") > 1 and hasattr(module, "__path__")
        else ["   :members:", "   :exclude-members: set_score_request"]
    )
    lines = ["", f"{'#' * level} `{name}`", "", "```{eval-rst}", f".. automodule:: {name}", *members, "```"]
    if hasattr(module, "__path__"):
        for inner in sorted(m.name for m in pkgutil.iter_modules(module.__path__)):
            lines += _module(f"{name}.{inner}", level + 1)
    return lines


def main() -> None:
    """Write every generated page."""
    copy_mathjax()
    picture(SCOREBOARD, "scoreboard")
    for name, text in {"gallery": gallery(), "data": data_page(), "costs": costs_page(), "api": api_page()}.items():
        target = BOOK / f"{name}.md"
        if not target.is_file() or target.read_text(encoding="utf-8") != text:  # an untouched page is not built again
            target.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
