"""Every claim of every chapter with its verdicts: at book scale as the chapter emitted them, at full scale as recorded."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from lib import execute, figures, papers, record
from lib.claims import VERDICTS, row, show, verdict


@dataclass(frozen=True)
class Score:
    """What one run, or several recorded ones, say of one claim."""

    verdict: str
    values: dict[str, tuple[float, float, float]]  # name -> mean, least, greatest over the runs
    runs: int
    agree: int
    current: bool

    def __str__(self) -> str:
        if not self.values:
            return f"**{self.verdict}**"
        shown = [f"{name} {_spread(*numbers)}" for name, numbers in self.values.items()]
        return f"**{self.verdict}** {', '.join(shown)}"


def _spread(mean: float, low: float, high: float) -> str:
    return show(mean) if low == high else f"{show(mean)} ({show(low)} to {show(high)})"


def book_scores(slug: str) -> dict[str, Score]:
    """Claim id -> score of the stored chapter (empty before its first `make refresh`)."""
    results = execute.emitted(json.loads(papers.chapter(slug).read_text(encoding="utf-8")))
    scores = {}
    for claim_id, entry in (results or {"claims": {}})["claims"].items():
        values = {name: (_number(v),) * 3 for name, v in (entry["values"] or {}).items()}
        scores[claim_id] = Score(entry["verdict"], values, 1, 1, True)
    return scores


def full_scores(slug: str) -> dict[str, Score]:
    """Claim id -> score of the recorded full runs: the rule applied to the mean over the seeds, and how many seeds agree."""
    runs = record.load(slug)
    if not runs:
        return {}
    scores = {}
    for claim in papers.sheet(slug).claims:
        entries = [run["claims"][claim.id] for run in runs if claim.id in run["claims"]]
        if not entries:
            continue
        columns = {name: np.array([_number(e["values"][name]) for e in entries]) for name in entries[0]["values"]}
        values = {name: (float(c.mean()), float(c.min()), float(c.max())) for name, c in columns.items()}
        word = verdict(claim, {name: mean for name, (mean, _, _) in values.items()}, "full")
        agree = sum(entry["verdict"] == word for entry in entries)
        scores[claim.id] = Score(word, values, len(entries), agree, all(run["current"] is not False for run in runs))
    return scores


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def table(slug: str) -> str:
    """One chapter's scores as a Markdown table."""
    book, full = book_scores(slug), full_scores(slug)
    rows = ["| | claim | paper | at book scale | recorded at full scale |", "|---|---|---|---|---|"]
    for claim in papers.sheet(slug).claims:
        name = f"{claim.id}" + (" (ours)" if claim.ours else "")
        recorded = full.get(claim.id)
        cell = "–"
        if recorded:
            cell = f"{recorded}; {recorded.agree} of {recorded.runs} seeds agree" + ("" if recorded.current else "; older code")
        rows.append(row(name, claim.statement, claim.paper, book.get(claim.id, "–"), cell))
    return "\n".join(rows)


def recorded_table(slug: str) -> Any:
    """For a chapter's section "Full-scale runs": each claim's values over the recorded seeds, for display."""
    from IPython.display import Markdown

    scores = full_scores(slug)
    if not scores:
        return Markdown(f"No full run is recorded yet: `make record CHAPTER={slug}`.")
    rows = ["| | verdict | mean (least to greatest) over the seeds | seeds that agree | paper |", "|---|---|---|---|---|"]
    for claim in papers.sheet(slug).claims:
        if score := scores.get(claim.id):
            values = ", ".join(f"{name} {_spread(*numbers)}" for name, numbers in score.values.items())
            rows.append(row(claim.id, f"**{score.verdict}**", values, f"{score.agree} of {score.runs}", claim.paper))
    if not all(score.current for score in scores.values()):
        rows += ["", "Recorded with an earlier version of this chapter's code."]
    return Markdown("\n".join(rows))


def counts() -> dict[str, tuple[Counter[str], Counter[str]]]:
    """Slug -> how often each verdict was given, at book scale and in the recorded full runs."""
    return {
        slug: (
            Counter(score.verdict for score in book_scores(slug).values()),
            Counter(score.verdict for score in full_scores(slug).values()),
        )
        for slug in papers.slugs()
    }


def draw_counts(ax: Axes, per_slug: dict[str, Counter[str]]) -> None:
    """Horizontal bars: per chapter, how many claims got each verdict."""
    names = list(per_slug)
    left = np.zeros(len(names))
    for word in VERDICTS:
        widths = np.array([per_slug[name][word] for name in names], dtype=float)
        if widths.any():
            bars = ax.barh(names, widths, left=left, color=figures.VERDICT_COLORS[word], label=word, height=0.6)
            ax.bar_label(bars, labels=[f"{w:.0f}" if w else "" for w in widths], label_type="center", color="white")
        left += widths
    ax.set_ylim(len(names) - 0.5, -0.5)  # the first chapter on top, also where axes are shared
    ax.grid(visible=False)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_xlabel("claims")
