"""Teaches nbval what "the same output" means here: the same text and the same numbers, up to a chapter's tolerance."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from lib import execute, papers
from tools import compare, notebooks, scaffold

# One thread per process, as the Makefile has it: read when numpy and torch load, which nothing above does.
for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")

ROOT = Path(__file__).resolve().parent.parent
#: scikit-learn 1.6 takes two classes by the first label, and shuffles one of the two sets that it compares.
OLD_CHECKS = (
    {"check_sample_weight_equivalence_on_dense_data": "the check fits the two sets to opposite labels"}
    if version("scikit-learn").startswith("1.6.")
    else {}
)


@pytest.hookimpl(optionalhook=True)
def pytest_collectstart(collector):
    """For every notebook that nbval collects: skip stderr and pictures (checked elsewhere), compare numbers tolerantly."""
    if type(collector).__name__ != "IPyNbFile":
        return
    from nbval.plugin import IPyNbCell

    collector.skip_compare = (*collector.skip_compare, *compare.SKIPPED)
    if not hasattr(IPyNbCell, "_plain_sanitize"):
        IPyNbCell._plain_sanitize = IPyNbCell.sanitize
        IPyNbCell.sanitize = _sanitize


def pytest_terminal_summary(terminalreporter):
    """Say what the tests of each chapter took."""
    names = sorted(papers.slugs(), key=len, reverse=True)
    slug_in = re.compile(rf"(?<![a-z])({'|'.join(names)})(?![a-z])")
    spent: Counter[str] = Counter()
    for report in (report for reports in terminalreporter.stats.values() for report in reports):
        found = slug_in.search(getattr(report, "nodeid", ""))
        spent[found[1] if found else "all else"] += getattr(report, "duration", 0.0)
    told = ", ".join(f"{name} {seconds:.0f}" for name, seconds in spent.most_common() if seconds >= 1)
    if told:
        terminalreporter.write_line(f"Seconds by chapter: {told}")


def _sanitize(cell, output):
    if not isinstance(output, str | dict | list):
        return output
    text = cell._plain_sanitize(compare.comparable(output))
    return compare.Tolerant(text, compare.rtol_of(Path(cell.parent.path)))


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
