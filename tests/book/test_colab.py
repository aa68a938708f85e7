"""Colab without Colab: a clean environment, the package installed from git, chapters run outside the checkout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib

import pytest

from lib import papers
from tests.conftest import ROOT
from tools import lock

pytestmark = [pytest.mark.book, pytest.mark.slow, pytest.mark.network]

#: Runs a notebook's code cells in order, as a bare kernel would, with some parameters replaced.
RUNNER = """
import json, sys
import matplotlib
matplotlib.use("agg")
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
for cell in json.load(open(sys.argv[1]))["cells"]:
    if cell["cell_type"] == "code":
        shell.run_cell("".join(cell["source"])).raise_error()
        if "parameters" in cell["metadata"].get("tags", []):
            shell.user_ns["preset"] = "smoke"
import lib
print("ran with", lib.__file__)
"""


def run(*command, **options):
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, check=False, env=environment, **options)
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    """A new environment that has torch and NumPy, as Colab does, and then the package from this repository's last commit."""
    folder = tmp_path_factory.mktemp("colab")
    run(sys.executable, "-m", "venv", folder / "venv")
    python = folder / "venv" / "bin" / "python"
    pins = {name: version for name, version in lock.installed().items() if name in ("torch", "numpy")}
    run(python, "-m", "pip", "install", "-q", *(f"{name}=={version}" for name, version in pins.items()))
    before = versions(python)
    run(python, "-m", "pip", "install", "-q", f"git+file://{ROOT}", cwd=folder)
    return folder, python, before


def versions(python):
    listing = json.loads(run(python, "-m", "pip", "list", "--format=json"))
    return {entry["name"]: entry["version"] for entry in listing if entry["name"] in ("torch", "numpy")}


def chapter_runs(folder, python, slug):
    outside = folder / f"{slug}.ipynb"
    outside.write_bytes(papers.chapter(slug).read_bytes())
    (folder / "runner.py").write_text(RUNNER)
    out = run(python, folder / "runner.py", outside, cwd=folder)
    assert f"ran with {folder}" in out


def test_install_leaves_torch_and_numpy_alone(clean):
    _, python, before = clean
    assert versions(python) == before


def test_a_chapter_runs_with_only_the_runtime_dependencies(clean):
    folder, python, _ = clean
    chapter_runs(folder, python, "sor_bandit")


def test_every_chapter_runs_with_what_its_bootstrap_installs(clean):
    folder, python, before = clean
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    run(python, "-m", "pip", "install", "-q", *project["optional-dependencies"]["chapters"])
    assert versions(python) == before
    for slug in papers.slugs():
        if slug != "sor_bandit":
            chapter_runs(folder, python, slug)
