"""Makes the notebook of the scoreboard: one heading per chapter, so that each has an anchor; `make refresh` executes it."""

from __future__ import annotations

from typing import Any

from lib import papers

_OPENING = """\
# The scoreboard

Every entry of every chapter's ledger. Its rule stood in the chapter's sheet before the recorded runs; where one is another than
then, the chapter tells it. The ledger keeps four kinds apart: what the paper **claims**, identities and theorems that are
**checked**, **findings** of ours, and **costs**. Only claims are counted at the top, and only
they stand open below.

Verdicts come from the samples of all recorded full runs together, with 95 % intervals, where there are recorded runs; else
from the run that the chapter's page shows.

| verdict | meaning |
|---|---|
| reproduced, holds, found | the rule is true on the whole interval |
| partly | its weaker form is, which the chapter says in words |
| not reproduced, fails, not found | the rule is false; the chapter says what was tried |
| undecided | the interval lies on both sides: too few samples, or a tie |
| not tested | out of reach at this scale |"""

_IMPORTS = """\
import matplotlib.pyplot as plt
from IPython.display import Markdown

from lib import figures, papers, scoreboard

figures.style()
tallies = scoreboard.counts()
reproduced, claims = scoreboard.headline()
Markdown(f"**{reproduced} of the papers' {claims} own claims are reproduced.**")"""

_FIGURE = """\
fig, axes = plt.subplots(1, 3, figsize=(7.5, 1.3 + 0.32 * len(tallies)), sharey=True)
for ax, (kind, label) in zip(axes, {"claim": "claims", "check": "checks", "finding": "findings"}.items(), strict=True):
    counted = {papers.heading(slug).split(":")[0]: tally[kind] for slug, tally in tallies.items()}
    scoreboard.draw_counts(ax, counted, papers.KINDS[kind])
    ax.set_xlabel(label)
axes[0].tick_params(axis="y", labelsize=8)
handles = {label: handle for ax in axes for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)}
fig.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=4)
figures.show("Verdicts per chapter: the papers' claims on the left, our checks and findings beside them.")"""

_ALT = (
    "Three panels of stacked horizontal bars, one bar per chapter; the length of each colored piece is the number of claims, "
    "checks or findings with that verdict."
)


def _code(source: str, *tags: str, **mystnb: Any) -> dict[str, Any]:
    metadata: dict[str, Any] = {"tags": ["remove-input", *tags]} | ({"mystnb": mystnb} if mystnb else {})
    return {"cell_type": "code", "metadata": metadata, "source": source, "outputs": [], "execution_count": None}


def _markdown(source: str) -> dict[str, Any]:
    return {"cell_type": "markdown", "metadata": {}, "source": source}


def cells() -> list[dict[str, Any]]:
    """The cells of the scoreboard, for the chapters that stand today."""
    made = [_markdown(_OPENING), _code(_IMPORTS), _code(_FIGURE, "key-figure", image={"alt": _ALT})]
    seen = None
    for slug, part in papers.slugs().items():
        if part != seen:
            made.append(_markdown(f"## {papers.PARTS[part]}"))
            seen = part
        made.append(_markdown(f"### [{papers.heading(slug)}]({part}/{slug}.ipynb)\n\n{papers.sheet(slug).title}"))
        made.append(_code(f'Markdown(scoreboard.ledger_table("{slug}"))'))
    return made
