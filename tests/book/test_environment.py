"""pyproject.toml, requirements.lock, environment.yml and `_config.yml` say the same."""

import ast
import importlib.metadata
import json
import re
import subprocess
import tomllib

import pytest
import yaml
from packaging.requirements import Requirement

from lib import papers
from tests.conftest import ROOT
from tools import extras, lock, notebooks

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
ENVIRONMENT = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))


def pins():
    lines = lock.LOCK.read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def test_lock_satisfies_every_requirement():
    locked = pins()
    for text in lock.requirements():
        requirement = Requirement(text)
        version = locked[lock.canonical(requirement.name)]
        assert requirement.specifier.contains(version, prereleases=True), text


def test_lock_is_what_is_installed():
    assert lock.installed().items() >= pins().items()


def test_lock_pins_torch_without_a_build():
    assert pins()["torch"] == "2.13.0"


def test_jupyter_book_stays_below_2():
    assert "jupyter-book>=1.0.4.post1,<2" in PROJECT["optional-dependencies"]["book"]
    assert pins()["jupyter-book"].startswith("1.")


def test_floors_only_for_what_readers_have():
    for text in PROJECT["dependencies"]:
        assert {specifier.operator for specifier in Requirement(text).specifier} == {">="}, text


def test_environment_takes_python_from_conda_and_versions_from_pyproject():
    python, pip, inner = ENVIRONMENT["dependencies"]
    assert (python, pip) == ("python=3.11", "pip")
    assert PROJECT["requires-python"] == ">=3.11"
    extras = re.search(r"\[(.*)\]", inner["pip"][-1])
    assert extras is not None
    assert set(extras.group(1).split(",")) | set(papers.slugs()) == set(PROJECT["optional-dependencies"])
    assert ENVIRONMENT["channels"] == ["conda-forge"]


def test_repository_is_the_same_everywhere():
    url, _ = notebooks.repository()
    assert PROJECT["urls"]["Repository"] == url
    assert f'repository-code: "{url}"' in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert url in (ROOT / "README.md").read_text(encoding="utf-8")


def test_versions_agree():
    import lib

    assert yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))["version"] == lib.__version__
    assert importlib.metadata.version(lock.DISTRIBUTION) == lib.__version__


def test_readme_is_short_and_names_both_commands():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) < 150
    assert "make book" in text
    assert "make test" in text


@pytest.mark.parametrize("slug", papers.slugs())
def test_each_chapter_has_an_extra_of_what_its_sheet_needs(slug):
    assert PROJECT["optional-dependencies"][slug] == extras.extras()[slug], "run python -m tools.extras"


def test_the_extra_of_all_chapters_holds_what_each_needs():
    every = set(PROJECT["optional-dependencies"]["chapters"])
    for slug in papers.slugs():
        assert set(PROJECT["optional-dependencies"][slug]) <= every, slug


def imported(source):
    """Top-level names that a Python source imports, anywhere in it."""
    nodes = list(ast.walk(ast.parse(source)))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module and not node.level}
    return {name.partition(".")[0] for name in names}


@pytest.mark.parametrize("slug", papers.slugs())
def test_a_sheet_names_what_its_chapter_imports_beyond_the_package(slug):
    cells = json.loads(papers.chapter(slug).read_text(encoding="utf-8"))["cells"]
    code = [
        "".join(c["source"]) for c in cells if c["cell_type"] == "code" and "bootstrap" not in c["metadata"].get("tags", [])
    ]
    used = set().union(*(imported(re.sub(r"(?m)^\s*[%!].*$", "pass", source)) for source in code))
    places = importlib.metadata.packages_distributions()
    used = {lock.canonical(name) for module in used for name in places.get(module, [])}
    floors = {extras.name_of(line) for line in PROJECT["optional-dependencies"]["chapters"]}
    assert used & floors <= {lock.canonical(need) for need in papers.sheet(slug).needs}


def test_only_torch_comes_from_the_index_of_torch():
    command = ["make", "--dry-run", "--always-make", "env", "VENV=/nowhere", "TORCH_INDEX=https://index"]
    lines = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    with_index = [line for line in lines if "index" in line]
    assert len(with_index) == 1
    assert "--no-deps --index-url https://index $(grep '^torch==' requirements.lock)" in with_index[0]
    assert "--extra-index-url" not in (ROOT / "Makefile").read_text(encoding="utf-8")


def test_workflow_actions_are_pinned_by_commit():
    for path in (ROOT / ".github" / "workflows").glob("*.yml"):
        for line in re.findall(r"uses: (.*)", path.read_text(encoding="utf-8")):
            assert re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v[\d.]+", line), line


def test_colab_has_what_the_package_asks_for():
    """Floors below what Colab has had since the summer of 2026, so that nothing that is loaded changes there."""
    colab = {"numpy": "2.1.3", "scipy": "1.16.3", "torch": "2.11.0", "matplotlib": "3.10.0", "scikit-learn": "1.6.1"}
    for text in PROJECT["dependencies"]:
        requirement = Requirement(text)
        if requirement.name in colab:
            assert requirement.specifier.contains(colab[requirement.name]), text


def entries():
    text = (ROOT / "book" / "references.bib").read_text(encoding="utf-8")
    return re.findall(r"(?ms)^@\w+\{(\w+),(.*?)^\}", text)


@pytest.mark.parametrize(("key", "fields"), entries(), ids=[key for key, _ in entries()])
def test_every_reference_leads_somewhere(key, fields):
    found = re.search(r"(?m)^\s*(doi|eprint|url)\s*= \{(.+?)\},?$", fields)
    assert found, key
    pattern = {"doi": r"10\.\d{4,}/\S+", "eprint": r"\d{4}\.\d{4,5}", "url": r"https://\S+"}[found.group(1)]
    assert re.fullmatch(pattern, found.group(2)), key
