"""A chapter's ledger: takes raw samples, decides each entry's verdict by the rule of its sheet, and reports.

The ledger keeps four kinds of entries apart (`lib.papers.KINDS`): what the paper claims, identities that are checked,
findings of ours, and costs. It is handed samples, not means: `lib.estimates` makes intervals of them and `lib.rules` says
whether a rule is true, false or unknown on the whole interval. The recorder keeps the samples, so that verdicts at full
scale come from all recorded runs pooled.

The report is one output with three faces: a table for the reader, plain verdict lines, and JSON for the scoreboard and the
recorder. Costs depend on the machine: they travel in the output's metadata, which validation does not compare.
"""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lib import data, estimates, papers, rules
from lib.estimates import Estimate
from lib.experiment import Config, peak_memory_mb


def estimates_of(entry: papers.Entry, values: Mapping[str, Any]) -> dict[str, Estimate]:
    """What an entry's stored values (numbers, samples, or units by name) say: value name -> estimate with its interval.

    Raises
    ------
    ValueError
        If the values are not those that the sheet declares, or not of their form; the message names the entry.
    """
    if set(values) != set(entry.values):
        declared = ", ".join(entry.values)
        raise ValueError(f"{entry.id}: measured {', '.join(sorted(values)) or 'nothing'}; its sheet declares {declared}")
    found = {}
    for name, value in values.items():
        declared_as = entry.values[name]
        try:
            if declared_as.sample:
                found[name] = estimates.estimate(_samples(value), declared_as.estimate)
            else:
                found[name] = estimates.exact([math.nan if x is None else x for x in np.atleast_1d(value)])
        except (TypeError, ValueError) as error:
            raise ValueError(f"{entry.id}, value {name}: {error}") from None
    return found


def _samples(value: Any) -> list[Any]:
    entries = list(value.values()) if isinstance(value, Mapping) else value
    if not isinstance(entries, list):
        raise TypeError(f"its sheet declares samples, got {value!r}; give a list, or a mapping of units to numbers")
    return [[math.nan if x is None else x for x in e] if isinstance(e, list) else math.nan if e is None else e for e in entries]


def judge(entry: papers.Entry, known: Mapping[str, Estimate]) -> str:
    """The verdict that an entry's rules give to estimates, whatever the preset.

    A value that is not finite never gives a good verdict: a check then fails, a claim or finding is undecided.

    Raises
    ------
    ValueError
        If a rule names what was not measured or divides by zero; the message names the entry.
    """
    words = papers.KINDS[entry.kind]
    if entry.kind == "cost":
        return words[0]
    try:
        holds = rules.truth(entry.rule, known)
        weaker = rules.truth(entry.partly, known) if entry.partly else False
    except ValueError as error:
        raise ValueError(f"{entry.id}: {error}") from None
    if not all(estimate.finite for estimate in known.values()):
        return "fails" if entry.kind == "check" else "undecided"
    if entry.kind == "check":
        return words[0] if holds else words[1]
    if holds:
        return words[0]
    if weaker:
        return "partly"
    refuted = "not reproduced" if entry.kind == "claim" else "not found"
    return refuted if holds is False else "undecided"


def verdict(entry: papers.Entry, values: Mapping[str, Any] | None, preset: str = "full") -> str:
    """The verdict of an entry's stored values at a preset's scale; ``None`` for values that were not taken.

    ``smoke`` is too small for a claim or a finding: their rules are evaluated (so that they are tested), the verdict is
    "not tested". Checks are judged at every scale.
    """
    if values is None:
        return "measured" if entry.kind == "cost" else "not tested"
    word = judge(entry, estimates_of(entry, values))
    return "not tested" if preset == "smoke" and entry.kind in ("claim", "finding") else word


def plain(value: Any) -> Any:
    """Numbers and arrays as JSON, to six significant digits: beyond that they differ between machines."""
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    raise TypeError(f"neither a number, a text nor a list of them: {value!r}")


def escaped(text: object) -> str:
    """A text for a cell of a Markdown table: no markup of its own, and pipes do not end it."""
    return html.escape(str(text), quote=False).replace("|", "\\|").replace("\n", " ")


def row(*cells: object) -> str:
    """One row of a Markdown table, of cells that are Markdown already (`escaped` for others)."""
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def pill(word: str) -> str:
    """A verdict as a colored pill in the book, a plain word elsewhere."""
    return f'<span class="pill pill-{word.replace(" ", "-")}">{word}</span>'


def in_words(entry: papers.Entry, known: Mapping[str, Estimate]) -> str:
    """Measured values as a reader sees them: what each is, its value with interval and number of samples, and its unit."""
    samples = {entry.values[name].sample for name in known} - {""}
    parts = []
    for name, estimate in known.items():
        value = entry.values[name]
        of = f"; one sample: {value.sample}" if value.sample and len(samples) > 1 else ""
        unit = f"\N{NO-BREAK SPACE}{value.unit}" if value.unit else ""
        parts.append(f"{escaped(value.what + of)}: **{estimate}**{escaped(unit)}")
    once = [f"(one sample: {escaped(samples.pop())})"] if len(samples) == 1 else []
    return "<br>".join(parts + once)


class Ledger:
    """What a chapter measures: samples for each entry of its sheet, metrics, and the series behind its key figures.

    Parameters
    ----------
    config : Config
        The chapter's run, from `lib.experiment.start`.

    Examples
    --------
    >>> from lib import claims, experiment
    >>> ledger = claims.Ledger(experiment.start("anyloss", "smoke"))
    >>> ledger.metric("f1_bce", 0.53)
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.sheet = papers.sheet(config.slug)
        self._measured: dict[str, dict[str, Any] | None] = {}
        self._why: dict[str, str] = {}
        self._metrics: dict[str, Any] = {}
        self._series: dict[str, Any] = {}

    def measure(self, entry_id: str, /, **values: Any) -> None:
        """Take what was measured for one entry, one keyword for each value that its sheet declares.

        Parameters
        ----------
        entry_id : str
            The entry.
        **values
            A number for a deterministic value; for a value with samples a list or array of fresh ones (pairs for a ratio),
            or a mapping of units that recur in every run (data sets, functions) to numbers.

        Raises
        ------
        ValueError
            For an unknown entry, an entry measured twice, or values other than those its sheet declares.
        """
        entry = self._open(entry_id)
        numbers = plain(values)  # rounded first: the live verdict is that of the stored values
        judge(entry, estimates_of(entry, numbers))
        self._measured[entry_id] = numbers

    def not_tested(self, entry_id: str, why: str) -> None:
        """Say that this run does not test an entry, and why: what only the recorded scale can tell."""
        self._open(entry_id)
        if not why.strip():
            raise ValueError(f"{entry_id}: say why it is not tested")
        self._measured[entry_id], self._why[entry_id] = None, why

    def _open(self, entry_id: str) -> papers.Entry:
        if entry_id in self._measured:
            raise ValueError(f"{entry_id} was measured before in this run")
        return self.sheet.entry(entry_id)

    def metric(self, name: str, value: Any) -> None:
        """Keep a number (or a short list or mapping of numbers) that the chapter reports beside its entries."""
        self._metrics[name] = plain(value)

    def series(self, name: str, values: Sequence[float] | np.ndarray | Mapping[str, Any]) -> None:
        """Keep the array behind a key figure, so that it is validated and can be drawn from recorded runs."""
        self._series[name] = plain(values)

    def glance(self, *entry_ids: str) -> Any:
        """Up to five entries in plain words with the verdicts of the recorded runs, for display near the top."""
        from IPython.display import Markdown

        from lib import scoreboard

        if not 1 <= len(entry_ids) <= 5:
            raise ValueError(f"a glance shows one to five entries, got {len(entry_ids)}")
        return Markdown(scoreboard.glance(self.sheet.slug, entry_ids))

    def rules(self) -> Any:
        """Every rule as it was written before the run, and what would refute it, for display."""
        from IPython.display import Markdown

        rows = ["| | rule | refuted by |", "|---|---|---|"]
        for entry in self.sheet.claims:
            rule = f"`{entry.rule}`" if entry.rule else "no rule: a cost"
            rule += f"<br>partly ({escaped(entry.partly_means)}): `{entry.partly}`" if entry.partly else ""
            rows.append(row(f"**{entry.id}**", rule, escaped(entry.fails_if or "–")))
        return Markdown("\n".join(rows))

    def report(self) -> None:
        """Show every verdict, of this run and of the recorded ones, and emit the run's results.

        Raises
        ------
        ValueError
            If an entry of the sheet was neither measured nor said to be not tested.
        """
        from IPython.display import display

        if missing := [entry.id for entry in self.sheet.claims if entry.id not in self._measured]:
            raise ValueError(f"{self.sheet.slug}: not measured in this run: {', '.join(missing)}")
        costs = {e.id: self._measured[e.id] for e in self.sheet.claims if e.kind == "cost" and self._measured[e.id] is not None}
        clock = {"seconds": round(self.config.elapsed(), 1), "cpu_seconds": round(self.config.cpu_seconds(), 1)}
        clock["imports_s"] = self.config.imports_s
        peak = peak_memory_mb()  # NaN where the system does not tell
        private = {"timings": costs, **clock, "peak_mb": round(peak) if math.isfinite(peak) else None}
        bundle = {"text/plain": self._lines(), "text/markdown": self._markdown(), "application/json": self._results()}
        display(bundle, raw=True, metadata={"lib": private})

    def _results(self) -> dict[str, Any]:
        config, entries = self.config, {}
        for entry in self.sheet.claims:
            values = None if entry.kind == "cost" else self._measured[entry.id]
            entries[entry.id] = {"verdict": self._verdict(entry), "values": values}
            if entry.id in self._why:
                entries[entry.id]["why"] = self._why[entry.id]
        head = {"slug": config.slug, "preset": config.preset, "seed": config.seed, "changed": plain(config.changed)}
        body = {"claims": entries, "metrics": self._metrics, "series": self._series, "data": data.used()}
        return head | body

    def _verdict(self, entry: papers.Entry) -> str:
        if entry.id in self._why:
            return "not tested"
        return verdict(entry, self._measured[entry.id], self.config.preset)

    def _lines(self) -> str:
        lines = []
        for entry in self.sheet.claims:
            values = self._measured[entry.id]
            if values is None:
                text = self._why[entry.id]
            elif entry.kind == "cost":
                text = "a time or memory: see the recorded runs"
            else:
                text = ", ".join(f"{name} {known}" for name, known in estimates_of(entry, values).items())
            lines.append(f"{entry.id:4s} {self._verdict(entry):15s} {text}")
        return "\n".join(lines)

    def _markdown(self) -> str:
        from lib import scoreboard

        live = {entry.id: (self._verdict(entry), self._text(entry)) for entry in self.sheet.claims}
        return scoreboard.ledger_table(self.sheet.slug, live)

    def _text(self, entry: papers.Entry) -> str:
        values = self._measured[entry.id]
        if values is None:
            return escaped(self._why[entry.id])
        if entry.kind == "cost":
            return "depends on the machine"
        return in_words(entry, estimates_of(entry, values))
