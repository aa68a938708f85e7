"""The page of costs: stored benchmarks as ratios, how cost grows, and what the recorded runs measured and took."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Any

from lib import papers, record, scoreboard
from lib.claims import escaped, in_words, row
from tools.notebooks import ROOT

BENCHMARKS = ROOT / "results" / "benchmarks.json"
OPENING = """\
# What it costs

Only ratios are worth reading here: seconds depend on the machine. `make bench` measures the benchmarks again."""
AGAINST = """\
## Against a peer

Each row is the same work, done by `lib` and by a peer library or the plain way, in one process on one core of {cpu}."""
GROWTH = """\
## How cost grows

:::{{figure}} _generated/growth.png
:alt: {alt}
:width: 700px

Time against size, both relative to the smallest case, a panel for each chapter; the gray line is proportional growth. A
panel's lines stand in the order of the table below: blue and solid, orange and dashed, green and dotted.
:::"""
COLUMNS, LONGEST, LINES = 4, 25, (("blue", "-"), ("orange", "--"), ("green", ":"))


def link(slug: str) -> str:
    """A chapter's title, linked."""
    return f"[{escaped(papers.heading(slug))}]({papers.part_of(slug)}/{slug}.ipynb)"


def short(slug: str) -> str:
    """A chapter's title up to its colon: what fits where a chapter has many rows."""
    return papers.heading(slug).split(":")[0] if slug in papers.slugs() else slug


def link_short(slug: str) -> str:
    """The same, linked."""
    return f"[{escaped(short(slug))}]({papers.part_of(slug)}/{slug}.ipynb)"


def page(folder: Path) -> str:
    """The whole page; the figure goes into a folder of generated files."""
    stored = json.loads(BENCHMARKS.read_text(encoding="utf-8")) if BENCHMARKS.is_file() else {"comparisons": [], "growth": []}
    known = papers.slugs()
    parts = [OPENING]
    comparisons = [entry for entry in stored["comparisons"] if entry["slug"] in known]
    if comparisons:
        parts += ["", AGAINST.format(cpu=escaped(stored["cpu"])), ""]
        parts += [row("chapter", "the work", "`lib`", "time of a peer over ours"), row(*["---"] * 4)]
        works: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for entry in comparisons:
            works.setdefault((entry["slug"], entry["work"]), []).append(entry)
        for (slug, work), peers in works.items():
            told = "<br>".join(map(_against, peers))
            parts.append(row(link_short(slug), escaped(work), _time(peers[0]["ours"]), told))
    growth = [entry for entry in stored["growth"] if entry["slug"] in known]
    if growth:
        names = "; ".join(entry["work"] for entry in growth)
        parts += ["", GROWTH.format(alt=f"Lines in a log-log plot of time against size, one for each of: {names}.")]
        draw_growth(growth, folder / "growth.png")
        parts += ["", row("chapter", "the work", "smallest", "largest", "its time over the smallest's"), row(*["---"] * 5)]
        for entry in growth:
            (small, least), (large, most) = entry["points"][0], entry["points"][-1]
            said = [f"{size:,}: {_time(seconds)}" for size, seconds in ((small, least), (large, most))]
            times = f"{_round(most / least)} × for {_round(large / small)} × the size"
            parts.append(row(link_short(entry["slug"]), escaped(entry["work"]), *said, times))
    parts += _measured()
    parts += ["", "## A chapter's budget", "", row("chapter", "promised at `book`, one core", "recorded `full` runs")]
    parts += [row(*["---"] * 3), *(row(link(slug), f"{papers.sheet(slug).budget_s:g} s", _spent(slug)) for slug in known)]
    return "\n".join(parts) + "\n"


def _against(entry: dict[str, Any]) -> str:
    why = f" ({escaped(entry['why'])})" if "why" in entry else ""
    return f"{_round(entry['ratio'])}\N{NO-BREAK SPACE}× {escaped(entry['peer'])}{why}"


def _measured() -> list[str]:
    """The entries of kind cost, from the recorded runs."""
    rows = []
    for slug in papers.slugs():
        scores = scoreboard.full_scores(slug)
        for entry in papers.sheet(slug).claims:
            if entry.kind == "cost" and entry.id in scores:
                told = in_words(entry, scores[entry.id].values)
                rows.append(row(link(slug), escaped(entry.statement), told))
    head = ["", "## Measured in the recorded runs", "", row("chapter", "what", "how much"), row(*["---"] * 3)]
    return [*head, *rows] if rows else []


def _spent(slug: str) -> str:
    runs: list[dict[str, Any]] = record.load(slug)
    if not runs:
        return "none yet"
    seconds = [run.get("cpu_seconds") or run.get("seconds") or 0.0 for run in runs]
    text = f"{len(runs)} runs, {_round(sum(seconds) / len(seconds) / 60)} min each"
    memory = [run["peak_mb"] for run in runs if run.get("peak_mb")]
    return f"{text}, {max(memory):,.0f} MB at most" if memory else text


def draw_growth(growth: list[dict[str, Any]], target: Path) -> None:
    """Log-log panels on common axes, one for each chapter, against the line of proportional growth."""
    import matplotlib as mpl

    mpl.use("agg")
    import matplotlib.pyplot as plt

    from lib import figures

    figures.style()
    slugs = list(dict.fromkeys(entry["slug"] for entry in growth))
    rows = -(-len(slugs) // COLUMNS)
    fig, axes = plt.subplots(rows, COLUMNS, figsize=(7.4, 0.4 + 1.5 * rows), sharex=True, sharey=True, squeeze=False)
    most = max(entry["points"][-1][0] / entry["points"][0][0] for entry in growth)
    for ax, slug in zip(axes.flat, slugs, strict=False):
        ax.plot([1, most], [1, most], color=figures.PALETTE["gray"], linewidth=4, alpha=0.25)
        for entry, (color, style) in zip([e for e in growth if e["slug"] == slug], LINES, strict=False):
            sizes, times = zip(*entry["points"], strict=True)
            relative = [s / sizes[0] for s in sizes], [t / times[0] for t in times]
            ax.plot(*relative, color=figures.PALETTE[color], linestyle=style, marker="o", markersize=3)
        ax.set_title(textwrap.fill(short(slug), LONGEST), fontsize=8)
        ax.set(xscale="log", yscale="log")
    for ax in axes.flat[len(slugs) :]:
        ax.remove()
    fig.supxlabel("size, times the smallest")
    fig.supylabel("time, times that of the smallest")
    fig.savefig(target, dpi=200, metadata={"Software": None})
    plt.close(fig)


def _round(value: float) -> str:
    """Two significant digits, never as a power of ten."""
    return f"{float(f'{value:.2g}'):,.10g}"


def _time(seconds: float) -> str:
    for factor, unit in ((1, "s"), (1e3, "ms"), (1e6, "µs")):
        if seconds * factor >= 1:
            return f"{seconds * factor:.3g}\N{NO-BREAK SPACE}{unit}"
    return f"{seconds * 1e9:.3g}\N{NO-BREAK SPACE}ns"
