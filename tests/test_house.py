"""The house: arrows between modules point one way, and plots stay in chapters."""

import ast
import importlib.util
from pathlib import Path

import pytest

from lib import papers
from tests.conftest import ROOT

PAPERS = {f"lib.{part}.{slug}" for slug, part in papers.slugs().items()}


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {name_of(path): path for path in sorted((ROOT / "lib").rglob("*.py"))}


def imported(name, path):
    """Absolute names of the modules that a module imports, anywhere in it."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = importlib.util.resolve_name("." * node.level + (node.module or ""), package) if node.level else node.module
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def paper_of(name):
    """The paper's package that a module is of, or None for a shared room."""
    package = ".".join(name.split(".")[:3])
    return package if package in PAPERS else None


def is_study(name):
    paper = paper_of(name)
    return paper is not None and name.startswith(f"{paper}.study")


def faults(name, others):
    found = []
    for other in others:
        if paper_of(other) not in (None, paper_of(name)):
            found.append(
                f"{name} imports {other}, of a paper" if paper_of(name) is None else f"{name} imports another paper's {other}"
            )
        elif is_study(other) and not is_study(name):
            found.append(f"{name}, of the method, imports the study's {other}")
        if paper_of(name) and other.split(".")[0] in ("matplotlib", "seaborn", "plotly"):
            found.append(f"{name} plots")
    return found


@pytest.mark.parametrize("name", MODULES)
def test_arrows_point_from_study_to_method_to_shared_rooms(name):
    assert faults(name, imported(name, MODULES[name])) == []


def test_an_arrow_that_points_back_is_noticed():
    one, other = sorted(PAPERS)[:2]
    assert faults(f"{one}.method", [f"{one}.study.protocols", "lib.checks", "numpy"]) == [
        f"{one}.method, of the method, imports the study's {one}.study.protocols"
    ]
    assert faults(f"{one}.study.protocols", [f"{one}.method", other]) == [
        f"{one}.study.protocols imports another paper's {other}"
    ]
    assert faults("lib.problems.dags", [one]) == [f"lib.problems.dags imports {one}, of a paper"]
    assert faults(f"{one}.study", ["matplotlib.pyplot"]) == [f"{one}.study plots"]


def test_every_paper_keeps_method_and_study_apart():
    for paper in PAPERS:
        assert f"{paper}.study" in MODULES, paper
