"""What is known of every entry of every chapter: from its recorded runs, pooled, or else from the stored chapter."""

from __future__ import annotations

import json
import string
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from lib import estimates, execute, figures, papers, record
from lib.claims import escaped, estimates_of, in_words, pill, row, verdict
from lib.estimates import Estimate

#: Kind -> how a table names its entries.
HEADINGS = {
    "claim": "What the paper claims",
    "check": "Identities and theorems, checked",
    "finding": "What we found beyond the paper",
    "cost": "Costs, as ratios measured in one run",
}


@dataclass(frozen=True)
class Score:
    """What the stored chapter, or the recorded runs together, say of one entry."""

    verdict: str
    values: dict[str, Estimate]
    runs: int
    current: bool
    why: str = ""


def book_scores(slug: str) -> dict[str, Score]:
    """Entry id -> score of the stored chapter (empty before its first `make refresh`)."""
    results = execute.emitted(json.loads(papers.chapter(slug).read_text(encoding="utf-8")))
    scores = {}
    for entry in papers.sheet(slug).claims:
        stored = (results or {"claims": {}})["claims"].get(entry.id)
        if stored is None:
            continue
        values = {} if stored["values"] is None else estimates_of(entry, stored["values"])
        scores[entry.id] = Score(stored["verdict"], values, 1, True, stored.get("why", ""))
    return scores


def full_scores(slug: str) -> dict[str, Score]:
    """Entry id -> score of the recorded full runs: the rule applied to the samples of all runs together.

    Runs that measured other values than today's sheet declares are left out; an entry that no run measured is, too.
    """
    runs = record.load(slug)
    scores = {}
    for entry in papers.sheet(slug).claims:
        measured = [run["claims"][entry.id]["values"] for run in runs if entry.id in run["claims"]]
        measured = [values for values in measured if values is not None and set(values) == set(entry.values)]
        if measured:
            pooled = {name: estimates.pool([values[name] for values in measured]) for name in entry.values}
            current = all(run["current"] is not False for run in runs)
            word = verdict(entry, pooled, "full")
            scores[entry.id] = Score(word, estimates_of(entry, pooled), len(measured), current)
    return scores


def scores(slug: str) -> dict[str, Score]:
    """Entry id -> score of the recorded runs where there is one, else of the stored chapter."""
    return book_scores(slug) | full_scores(slug)


def counts() -> dict[str, dict[str, Counter[str]]]:
    """Slug -> kind of entry -> how often each verdict was given (recorded runs where they exist, else the stored chapter)."""
    tallies: dict[str, dict[str, Counter[str]]] = {}
    for slug in papers.slugs():
        known = scores(slug)
        tallies[slug] = {kind: Counter() for kind in papers.KINDS}
        for entry in papers.sheet(slug).claims:
            tallies[slug][entry.kind][known[entry.id].verdict if entry.id in known else "not tested"] += 1
    return tallies


def headline() -> tuple[int, int]:
    """How many of the papers' own claims are reproduced, and how many there are, over all chapters."""
    claims = [tally["claim"] for tally in counts().values()]
    return sum(tally["reproduced"] for tally in claims), sum(tally.total() for tally in claims)


# -------------------------------------------------------------------------------------------------------- for chapters


def glance(slug: str, entry_ids: Sequence[str]) -> str:
    """A few entries with the verdicts of the recorded runs, as a Markdown table."""
    recorded = full_scores(slug)
    rows = ["| what is stated | recorded runs say | how much |", "|---|---|---|"]
    for entry_id in entry_ids:
        entry = papers.sheet(slug).entry(entry_id)
        score = recorded.get(entry_id)
        told = in_words(entry, dict(list(score.values.items())[:2])) if score else "no recorded run yet"
        rows.append(row(escaped(entry.statement), pill(score.verdict) if score else "–", told))
    return "\n".join(rows) + _footnote(recorded)


def _footnote(recorded: Mapping[str, Score]) -> str:
    if not recorded:
        return ""
    runs = max(score.runs for score in recorded.values())
    text = (
        f"\n\nFrom {f'{runs} recorded runs together' if runs > 1 else 'one recorded run'}; each value with its 95 % interval."
    )
    if not all(score.current for score in recorded.values()):
        text += " They were made with an earlier version of this chapter's code."
    return text


def ledger_table(slug: str, live: Mapping[str, tuple[str, str]] | None = None) -> str:
    """All entries of a chapter by kind, as Markdown tables.

    Parameters
    ----------
    slug : str
    live : mapping, optional
        Entry id -> (verdict, measured in words) of a run that is going on, for a column beside the recorded runs. Without it
        the table is for the scoreboard: the recorded runs alone (of what they left out, the stored chapter, which is said), and
        all but the claims is folded, so that the page can be read on a phone.
    """
    recorded = full_scores(slug)
    known = recorded if live is not None else scores(slug)
    parts = []
    for kind, heading in HEADINGS.items():
        entries = [entry for entry in papers.sheet(slug).claims if entry.kind == kind]
        if not entries:
            continue
        by_paper = kind in ("claim", "check")
        columns = ["recorded runs"] + (["this page's run"] if live is not None else [])
        head = ["", "stated", *(["the paper says"] if by_paper else []), *columns]
        rows = [row(*head), row(*["---"] * len(head))]
        for entry in entries:
            says = [_says(entry)] if by_paper else []
            score = known.get(entry.id)
            aside = "" if score is None or not score.values or entry.id in recorded else "<br>(the chapter page's run)"
            cells = [f"{_word(kind, score.verdict)}{_told(entry, score)}{aside}" if score else "–"]
            if live is not None:
                word, text = live.get(entry.id, ("–", ""))
                cells.append(f"{_word(kind, word)}{text}")
            rows.append(row(f"**{entry.id}**", escaped(entry.statement), *says, *cells))
        if live is None and kind != "claim":
            summary = f"<summary>{heading}: {len(entries)}</summary>"
            parts += ["", f'<details class="entries">{summary}', "", *rows, "", "</details>"]
        else:
            parts += ["", f"**{heading}**", "", *rows]
    return "\n".join(parts[1:]) + _footnote(recorded)


def _says(entry: papers.Entry) -> str:
    """The paper's words and where they stand; of what it derives and does not measure, where alone."""
    place = escaped(_place(entry))
    return place if entry.paper == "-" else f"{escaped(entry.paper)} ({place})"


def _word(kind: str, word: str) -> str:
    return "" if kind == "cost" or word == "–" else f"{pill(word)}<br>"


def _told(entry: papers.Entry, score: Score) -> str:
    if entry.kind == "cost" and not score.values:
        return "depends on the machine"
    return in_words(entry, score.values) if score.values else escaped(score.why)


def _place(entry: papers.Entry) -> str:
    known = {"paper": "", "abstract": "abstract", "code": "from the authors' code", "memory": "from memory"}.get(
        entry.source, ""
    )
    return ", ".join(filter(None, [entry.where, "" if known in entry.where else known])) or "ours"


class _Sentence(string.Formatter):
    """``{C1.gain:.2f}``: an estimate of the recorded runs; ``{C1.verdict}``: the word."""

    def __init__(self, known: Mapping[str, Score]) -> None:
        self.known = known

    def get_field(self, field_name: str, args: Any, kwargs: Any) -> tuple[Any, str]:
        entry_id, _, rest = field_name.partition(".")
        name, _, attribute = rest.partition(".")
        score = self.known[entry_id]
        if name == "verdict":  # "partly" alone is no end of a sentence
            return "partly reproduced" if score.verdict == "partly" else score.verdict, entry_id
        if name == "runs":
            return score.runs, entry_id
        if name not in score.values:
            raise ValueError(f"{entry_id} has no value {name!r}; its values: {', '.join(score.values)}")
        found = score.values[name]
        return (getattr(found, attribute) if attribute else found), entry_id


def say(slug: str, text: str) -> Any:
    """A sentence with numbers of the recorded runs, for display: ``{C1.gain}``, ``{C1.gain:.2f}``, ``{C1.gain.low:.1f}``.

    Raises
    ------
    ValueError
        If the sentence names an entry or a value that the sheet does not have.
    """
    from IPython.display import Markdown

    recorded = full_scores(slug)
    wanted = [name.partition(".")[0] for _, name, _, _ in string.Formatter().parse(text) if name]
    for entry_id in wanted:
        papers.sheet(slug).entry(entry_id)
    if not set(wanted) <= set(recorded):
        return Markdown("*No full run is recorded yet: what it will say stands here.*")
    return Markdown(_Sentence(recorded).vformat(text, (), {}))


# ------------------------------------------------------------------------------------------------------------- figures


def draw_counts(ax: Axes, tallies: Mapping[str, Counter[str]], words: Sequence[str]) -> None:
    """Horizontal bars: per chapter (its heading), how many entries of a kind got each verdict."""
    names = list(tallies)
    left = np.zeros(len(names))
    for word in words:
        widths = np.array([tallies[name][word] for name in names], dtype=float)
        if widths.any():
            color = figures.VERDICT_COLORS[word]
            bars = ax.barh(names, widths, left=left, color=color, label=word, height=0.62)
            labels = [f"{w:.0f}" if w else "" for w in widths]
            ax.bar_label(bars, labels=labels, label_type="center", color=figures.ink_on(color))
        left += widths
    ax.set_ylim(len(names) - 0.5, -0.5)  # the first chapter on top
    ax.grid(visible=False)
    ax.xaxis.set_major_locator(MaxNLocator(4, integer=True))
