"""What "the same output" means here: the same words and integers, and other numbers up to a chapter's tolerance.

nbval (through `tests/conftest.py`) and `tools.personalities` compare with this. Pictures are not compared, on their own or
inside HTML: the data behind a key figure are among the results that the chapter emits.
"""

from __future__ import annotations

import json
import math
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

NUMBER = re.compile(r"(?<![\w.])[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:[eE][-+]?\d+)?(?![\w])")
#: Where a chapter's sheet names no tolerance (front matter): numbers must print alike.
DEFAULT_RTOL = 1e-9
#: Parts of an output that are not compared; stderr must be empty, which `tools.notebooks.complaints` sees to.
SKIPPED = (
    "stderr",
    "image/png",
    "image/jpeg",
    "image/gif",
    "image/svg+xml",
    "application/pdf",
    "application/papermill.record/image/png",
)
#: A picture inside a text; in the JSON text of an output its quotes are escaped.
_EMBEDDED = re.compile(r"data:image/[\w.+-]+;base64,[A-Za-z0-9+/=\n]*(?:\\n[A-Za-z0-9+/=]*)*")


class Tolerant(str):
    """A text that equals another one if the words are equal, integers too, and other numbers within a tolerance."""

    rtol: float

    def __new__(cls, text: str, rtol: float) -> Tolerant:
        self = super().__new__(cls, text)
        self.rtol = rtol
        return self

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, str):
            return NotImplemented
        if NUMBER.sub("#", self) != NUMBER.sub("#", other):
            return False
        pairs = zip(NUMBER.findall(self), NUMBER.findall(other), strict=True)
        return all(self._close(a, b) for a, b in pairs)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = str.__hash__

    def _close(self, a: str, b: str) -> bool:
        if a == b:
            return True
        if not re.search(r"[.eE]", a) and not re.search(r"[.eE]", b):
            return False  # two different integers
        x, y = float(a.replace(",", "")), float(b.replace(",", ""))
        # Residuals of exact identities (1e-16 and the like) are rounding noise: equal below 1e-9.
        return math.isclose(x, y, rel_tol=self.rtol, abs_tol=1e-9) or self._one_digit_apart(a, b)

    @staticmethod
    def _one_digit_apart(a: str, b: str) -> bool:
        """Three or more printed digits may differ by one in the last: a value can lie on the rounding boundary."""
        decimals = [text.partition(".")[2] for text in (a, b)]
        if len(decimals[0]) != len(decimals[1]) or re.search("[eE]", a + b):
            return False
        if len(re.sub(r"\D", "", a).lstrip("0")) < 3:
            return False
        return abs(float(a.replace(",", "")) - float(b.replace(",", ""))) <= 1.001 * 10.0 ** -len(decimals[0])


def rtol_of(notebook: Path) -> float:
    """A chapter's numeric tolerance, from its sheet."""
    sheet = notebook.with_suffix(".yml")
    if not sheet.is_file():
        return DEFAULT_RTOL
    import yaml

    return float(yaml.safe_load(sheet.read_text(encoding="utf-8"))["rtol"])


def comparable(output: Any) -> str:
    """One output, or one part of it, as the text that is compared: JSON sorted, pictures inside it cut out."""
    text = output if isinstance(output, str) else json.dumps(output, sort_keys=True)
    return _EMBEDDED.sub("data:image;base64,", text)


def differences(stored: dict[str, Any], executed: dict[str, Any], rtol: float) -> list[str]:
    """Where the outputs of two notebooks of the same cells differ, one line each; empty if nowhere.

    As nbval compares: cell by cell, the outputs of each kind in their order, whatever the order among kinds.
    """
    cells = [_code_cells(notebook) for notebook in (stored, executed)]
    if len(cells[0]) != len(cells[1]):
        return [f"{len(cells[0])} code cells stored, {len(cells[1])} executed"]
    found = []
    for number, (before, after) in enumerate(zip(*cells, strict=True), start=1):
        a, b = _parts(before), _parts(after)
        for kind in sorted({*a, *b}):
            if len(a[kind]) != len(b[kind]):
                found.append(f"code cell {number}, {kind}: {len(a[kind])} outputs stored, {len(b[kind])} executed")
                continue
            for one, other in zip(a[kind], b[kind], strict=True):
                if Tolerant(one, rtol) != other:
                    found.append(f"code cell {number}, {kind}: {_first_difference(one, other, rtol)}")
    return found


def _code_cells(notebook: dict[str, Any]) -> list[dict[str, Any]]:
    tags = "injected-parameters"
    return [c for c in notebook["cells"] if c["cell_type"] == "code" and tags not in c["metadata"].get("tags", [])]


def _parts(cell: dict[str, Any]) -> defaultdict[str, list[str]]:
    """Kind (stream or MIME type) -> the comparable texts of a cell's outputs; adjoining pieces of one stream joined."""
    parts: defaultdict[str, list[str]] = defaultdict(list)
    last = ""
    for output in cell["outputs"]:
        match output["output_type"]:
            case "stream":
                text = comparable("".join(output["text"]))
                if output["name"] == last:
                    text = parts[last].pop() + text
                parts[output["name"]].append(text)
            case "error":
                parts["error"].append(f"{output['ename']}: {output['evalue']}")
            case _:
                for kind, value in output["data"].items():
                    joined = "".join(value) if isinstance(value, list) and kind != "application/json" else value
                    parts[kind].append(comparable(joined))
        last = output.get("name", "")
    for kind in SKIPPED:
        parts.pop(kind, None)
    return parts


def _first_difference(a: str, b: str, rtol: float) -> str:
    """The first lines, or pieces of JSON, that differ."""
    split = re.compile(r"\n|(?<=[,{\[]) ")
    pairs = list(zip(split.split(a), split.split(b), strict=False))
    one, other = next(((x, y) for x, y in pairs if Tolerant(x, rtol) != y), (a[-80:], b[-80:]))
    return f"{one.strip()[:120]!r} stored, {other.strip()[:120]!r} executed"
