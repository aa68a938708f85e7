"""pyproject.toml, requirements.lock, environment.yml and `_config.yml` say the same."""

import importlib.metadata
import re
import tomllib

import yaml
from packaging.requirements import Requirement

from tests.conftest import ROOT
from tools import lock, notebooks

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
    assert set(extras.group(1).split(",")) == set(PROJECT["optional-dependencies"])
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
