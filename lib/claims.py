"""A chapter's ledger: takes measured values, decides each claim's verdict by the rule of its sheet, and reports.

The report is one output with three faces: a table for the reader, plain verdict lines, and JSON for the scoreboard, the
gallery and the recorder. Values that depend on the machine (times) travel in the output's metadata, which validation
does not compare and `make refresh` drops.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lib import data, papers
from lib.experiment import Config, peak_memory_mb

#: The four verdicts, best first.
VERDICTS = ("reproduced", "partly", "not reproduced", "not testable")

_COMPARE: dict[type, Any] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
}
_ARITHMETIC: dict[type, Any] = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}
_CALLS: dict[str, Any] = {"abs": abs, "min": min, "max": max}


def holds(rule: str, values: Mapping[str, float]) -> bool:
    """Whether a rule holds: comparisons of the measured values, joined by and/or, with + - * /, abs, min, max.

    Parameters
    ----------
    rule : str
        For example ``"0.9 <= ratio < 1.1 and wins >= 17"``.
    values : mapping
        Name -> measured number. A NaN makes every comparison false.

    Raises
    ------
    ValueError
        If the rule is no such expression or names something that was not measured.

    Examples
    --------
    >>> from lib.claims import holds
    >>> holds("0.9 <= ratio < 1.1", {"ratio": 1.0})
    True
    """
    try:
        tree = ast.parse(rule, mode="eval").body
    except SyntaxError:
        raise ValueError(f"not an expression: {rule!r}") from None
    if not isinstance(tree, ast.Compare | ast.BoolOp):
        raise ValueError(f"a rule compares values, this one does not: {rule!r}")
    return bool(_evaluate(tree, values, rule))


def _evaluate(node: ast.expr, values: Mapping[str, float], rule: str) -> Any:
    match node:
        case ast.BoolOp(op=op, values=parts):
            results = [_evaluate(part, values, rule) for part in parts]
            return all(results) if isinstance(op, ast.And) else any(results)
        case ast.Compare(left=left, ops=ops, comparators=rest) if all(type(op) in _COMPARE for op in ops):
            numbers = [_evaluate(part, values, rule) for part in (left, *rest)]
            return all(_COMPARE[type(op)](a, b) for op, a, b in zip(ops, numbers, numbers[1:], strict=False))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
            return _ARITHMETIC[type(op)](_evaluate(left, values, rule), _evaluate(right, values, rule))
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_evaluate(operand, values, rule)
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in _CALLS:
            return _CALLS[name](*(_evaluate(arg, values, rule) for arg in args))
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            return number
        case ast.Name(id=name):
            if name not in values:
                raise ValueError(f"{rule!r} names {name!r}, which was not measured; measured: {', '.join(values)}")
            return values[name]
    raise ValueError(f"not allowed in a rule: {ast.unparse(node)!r} in {rule!r}")


def verdict(claim: papers.Claim, values: Mapping[str, float], preset: str = "full") -> str:
    """The verdict that a claim's rules give to measured values at a preset's scale.

    ``smoke`` is too small for any claim: the rules are evaluated (so that they are tested), the verdict is "not testable".
    """
    rules = {"reproduced": claim.reproduced, "partly": claim.partly} | (claim.book if preset != "full" else {})
    kept = [word for word in ("reproduced", "partly") if (rule := rules[word]) and holds(rule, values)]
    if preset == "smoke":
        return VERDICTS[3]
    return kept[0] if kept else VERDICTS[2]


def show(value: float) -> str:
    """A number as the ledger prints it: three significant digits; whole numbers whole."""
    if isinstance(value, int) or (math.isfinite(value) and value == int(value) and abs(value) < 1e6):
        return f"{int(value)}"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


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


def row(*cells: object) -> str:
    """One row of a Markdown table; pipes in a cell do not end it."""
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"


class Ledger:
    """What a chapter measures: one entry per claim, metrics, and the series behind its key figures.

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
        self._measured: dict[str, dict[str, float]] = {}
        self._metrics: dict[str, Any] = {}
        self._series: dict[str, Any] = {}

    def table(self) -> Any:
        """The claims for display: what the paper says, where, its value, and the rule at this scale."""
        from IPython.display import Markdown

        rows = ["| | claim | where | paper | reproduced here if |", "|---|---|---|---|---|"]
        for claim in self.sheet.claims:
            rule = (claim.book if self.config.preset != "full" else {}).get("reproduced", claim.reproduced)
            name = f"**{claim.id}**" + (" (ours)" if claim.ours else "")
            rows.append(row(name, claim.statement, claim.where, claim.paper, f"{claim.measure}: `{rule}`"))
        return Markdown("\n".join(rows))

    def measure(self, claim_id: str, **values: float) -> None:
        """Take the measured values of one claim (names as in its rule).

        Raises
        ------
        ValueError
            For an unknown claim, a claim measured twice, no values, or a rule that names another value.
        """
        claim = self.sheet.claim(claim_id)
        if claim_id in self._measured:
            raise ValueError(f"claim {claim_id} was measured before in this run")
        if not values:
            raise ValueError(f"claim {claim_id}: no measured value given")
        numbers = {name: value if isinstance(value, int) else float(value) for name, value in values.items()}
        verdict(claim, numbers, self.config.preset)  # raises where the rule names something else
        self._measured[claim_id] = numbers

    def metric(self, name: str, value: Any) -> None:
        """Keep a number (or a short list or mapping of numbers) that the chapter reports beside its claims."""
        self._metrics[name] = plain(value)

    def series(self, name: str, values: Sequence[float] | np.ndarray | Mapping[str, Any]) -> None:
        """Keep the array behind a key figure, so that it is validated and can be drawn from recorded runs."""
        self._series[name] = plain(values)

    def report(self) -> None:
        """Show every verdict and emit the run's results.

        Raises
        ------
        ValueError
            If a claim of the sheet was not measured.
        """
        from IPython.display import display

        if missing := [claim.id for claim in self.sheet.claims if claim.id not in self._measured]:
            raise ValueError(f"{self.sheet.slug}: claims not measured in this run: {', '.join(missing)}")
        timings = {claim.id: plain(self._measured[claim.id]) for claim in self.sheet.claims if claim.timing}
        private = {"timings": timings, "seconds": round(self.config.elapsed(), 1), "peak_mb": round(peak_memory_mb())}
        bundle = {"text/plain": self._lines(), "text/markdown": self._markdown(), "application/json": self._results()}
        display(bundle, raw=True, metadata={"lib": private})

    def _results(self) -> dict[str, Any]:
        config, entries = self.config, {}
        for claim in self.sheet.claims:
            values = None if claim.timing else plain(self._measured[claim.id])
            entries[claim.id] = {"verdict": self._verdict(claim), "values": values}
        head = {"slug": config.slug, "preset": config.preset, "seed": config.seed, "changed": plain(config.changed)}
        body = {"claims": entries, "metrics": self._metrics, "series": self._series, "data": data.used()}
        return head | body

    def _verdict(self, claim: papers.Claim) -> str:
        return verdict(claim, self._measured[claim.id], self.config.preset)

    def _rows(self) -> list[tuple[str, str, str, papers.Claim]]:
        rows = []
        for claim in self.sheet.claims:
            values = self._measured[claim.id]
            text = ", ".join(f"{name} {show(value)}" for name, value in values.items())
            text = "a time: its value is in the recorded runs" if claim.timing else text
            rows.append((claim.id, self._verdict(claim), text, claim))
        return rows

    def _lines(self) -> str:
        return "\n".join(f"{id_:4s} {word:15s} {text}" for id_, word, text, _ in self._rows())

    def _markdown(self) -> str:
        rows = ["| | verdict | measured | paper |", "|---|---|---|---|"]
        rows += [row(id_, f"**{word}**", text, claim.paper) for id_, word, text, claim in self._rows()]
        return "\n".join(rows)
