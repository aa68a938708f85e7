"""What the README prints runs as it stands."""

import re
import subprocess
import sys
import tomllib

import pytest

from lib import papers
from tests.conftest import ROOT
from tools import notebooks

TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"(?ms)^```{language}\n(.*?)^```", TEXT)


@pytest.mark.slow
def test_python_runs(tmp_path):
    (code,) = blocks("python")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def test_commands_name_what_exists():
    commands = [line.partition("#")[0].strip() for block in blocks("bash") for line in block.splitlines() if line.strip()]
    targets = set(re.findall(r"(?m)^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8")))
    assert commands
    for command in commands:
        words = command.split()
        if words[0] == "make":
            assert words[1] in targets, command
        for word in words:
            if word.endswith(".ipynb") and word != "out.ipynb":
                assert (ROOT / word).is_file(), command
        if words[:3] == ["python", "-m", "lib.record"]:
            named = [word for word in words[3:] if word.isidentifier() and words[words.index(word) - 1][:2] != "--"]
            assert set(named) <= {"all", *papers.slugs()}, command
    for name in re.findall(r"`make ([a-z-]+)", TEXT):
        assert name in targets


def test_all_chapters_are_listed():
    assert f"<!-- chapters -->\n{notebooks.listing()}\n<!-- -->" in TEXT, "the table is another today: make stamp"


def test_extras_that_are_named_exist():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert set(re.findall(r"\.\[([\w,]+)\]", TEXT)) <= set(extras)


def test_places_that_are_named_exist():
    for path in re.findall(r"\]\((?!http)([^)#]+)\)", TEXT):
        assert (ROOT / path).exists(), path
