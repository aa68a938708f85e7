"""Teaches nbval what "the same output" means here: the same text and the same numbers, up to a chapter's tolerance."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lib import execute
from tools import notebooks, scaffold

# One thread per process, as the Makefile has it: read when numpy and torch load, which nothing above does.
for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")

ROOT = Path(__file__).resolve().parent.parent

NUMBER = re.compile(r"(?<![\w.])[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:[eE][-+]?\d+)?(?![\w])")
#: Where a chapter's sheet names no tolerance (front matter): numbers must print alike.
DEFAULT_RTOL = 1e-9


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


@pytest.hookimpl(optionalhook=True)
def pytest_collectstart(collector):
    """For every notebook that nbval collects: skip stderr and pictures (checked elsewhere), compare numbers tolerantly."""
    if type(collector).__name__ != "IPyNbFile":
        return
    from nbval.plugin import IPyNbCell

    collector.skip_compare = (*collector.skip_compare, "stderr", "application/papermill.record/image/png")
    if not hasattr(IPyNbCell, "_plain_sanitize"):
        IPyNbCell._plain_sanitize = IPyNbCell.sanitize
        IPyNbCell.sanitize = _sanitize


def _sanitize(cell, output):
    text = json.dumps(output, sort_keys=True) if isinstance(output, dict | list) else output
    if not isinstance(text, str):
        return text
    return Tolerant(cell._plain_sanitize(text), rtol_of(Path(cell.parent.path)))


TOY_CELLS = {
    "parameters": 'preset = "book"\nseed = 0\nn_seeds = None\npause = 0.0\nbroken = False',
    "work": (
        "import time\n\nfrom lib import claims, experiment\n\n"
        'config = experiment.start("toy", preset, seed, n_seeds=n_seeds)\nledger = claims.Ledger(config)\n'
        "time.sleep(pause)\n"
        'assert not broken, "broken on request"\n'
        'ledger.measure("C1", value=0.9 + 0.1 * config.rng("noise").random(config.n_seeds))\n'
        'ledger.series("curve", config.rng("curve").random(config.n_seeds))'
    ),
    "report": "ledger.report()",
}


@pytest.fixture
def toy_project(tmp_path):
    """A small project of its own: this one's package with one quick chapter, ``toy``; run it with `toy_run`."""
    shutil.copytree(ROOT / "lib", tmp_path / "lib", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("_toc.yml", "_config.yml"):
        shutil.copy(ROOT / name, tmp_path / name)
    scaffold.scaffold("toy", "online", tmp_path)
    cells = [
        {"cell_type": "code", "metadata": {"tags": [tag]}, "source": text, "outputs": [], "execution_count": None}
        for tag, text in TOY_CELLS.items()
    ]
    chapter = tmp_path / "book/online/toy.ipynb"
    chapter.write_text(notebooks.dumps(notebooks.normalize({"cells": cells}, "toy")))
    return tmp_path


def toy_run(project: Path, *command: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a Python module's command line inside a toy project, whose `lib` shadows the installed one."""
    environment = {**os.environ, **execute.ENVIRONMENT, "PYTHONPATH": str(project)}
    return subprocess.run(
        [sys.executable, "-m", *command],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        **options,
    )
