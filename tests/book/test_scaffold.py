"""`make new`: a new paper's files are there, and are complete but for what is marked."""

import json
import subprocess
import sys

import pytest
import yaml

from lib import execute, papers
from tests.conftest import ROOT
from tools import notebooks, scaffold


@pytest.fixture
def project(toy_project):
    scaffold.scaffold("next_paper", "gradient", toy_project)
    return toy_project


def test_every_room_has_the_slug(project):
    for path in (
        "lib/gradient/next_paper/__init__.py",
        "lib/gradient/next_paper/study/__init__.py",
        "lib/gradient/__init__.py",
        "book/gradient/next_paper.yml",
    ):
        assert (project / path).is_file()
    assert (project / "book/gradient/next_paper.ipynb").is_file()
    assert (project / "tests/gradient/test_next_paper.py").is_file()


def test_contents_stay_in_the_order_of_the_parts(project):
    toc = yaml.safe_load((project / "_toc.yml").read_text())
    captions = [part["caption"] for part in toc["parts"]]
    known = [caption for caption in captions if caption in papers.PARTS.values()]
    assert known == [title for title in papers.PARTS.values() if title in known]
    assert captions[0] == "Start here"
    assert captions[-1] == "Reference"
    files = {entry["file"] for part in toc["parts"] for entry in part["chapters"]}
    assert {"book/gradient/next_paper", "book/online/toy"} <= files


def test_skeleton_is_normal_and_has_every_heading(project):
    text = (project / "book/gradient/next_paper.ipynb").read_text()
    notebook = json.loads(text)
    assert notebooks.dumps(notebooks.normalize(notebook, "next_paper")) == text
    assert all(f"## {heading}" in text for heading in scaffold.HEADINGS)
    assert "TODO" in text


@pytest.mark.slow
def test_skeleton_runs_and_reports(project):
    path = project / "book/gradient/next_paper.ipynb"
    environment = {"PYTHONPATH": str(project)}
    notebook = execute.run_chapter(path, project / "out.ipynb", {"preset": "smoke"}, environment=environment)
    assert execute.emitted(notebook)["claims"]["C1"]["verdict"] == "not tested"


@pytest.mark.slow
def test_skeleton_passes_the_linter(project):
    places = ["book", "lib/gradient/next_paper", "tests"]
    command = [sys.executable, "-m", "ruff", "check", "--config", str(ROOT / "pyproject.toml"), *places]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("slug", "part", "message"),
    [
        ("Next-Paper", "gradient", "lower-case letters, digits and underscores, got 'Next-Paper'"),
        ("next_paper", "gradients", "unknown part 'gradients'; allowed: gradient, backprop_free"),
        ("toy", "online", r"toy exists: lib/online/toy/__init__\.py"),
        ("lambda", "gradient", "a slug is a module's name, got Python's keyword 'lambda'"),
        ("match", "gradient", "a slug is a module's name, got Python's keyword 'match'"),
    ],
)
def test_what_cannot_be_made_is_refused(toy_project, slug, part, message):
    with pytest.raises(ValueError, match=message):
        scaffold.scaffold(slug, part, toy_project)
