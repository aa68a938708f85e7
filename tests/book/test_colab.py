"""Colab without Colab: a clean environment, the package installed from git, chapters run outside the checkout."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
import types

import pytest

from lib import papers
from tests.conftest import ROOT
from tools import lock, notebooks

network = [pytest.mark.book, pytest.mark.slow, pytest.mark.network]

#: Runs a notebook's code cells in order, as a bare kernel would, with some parameters replaced.
RUNNER = """
import json, os, sys
os.environ["MPLBACKEND"] = "agg"
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


def mark(function):
    for one in network:
        function = one(function)
    return function


@mark
def test_install_leaves_torch_and_numpy_alone(clean):
    _, python, before = clean
    assert versions(python) == before


@mark
def test_a_chapter_runs_with_only_the_runtime_dependencies(clean):
    folder, python, _ = clean
    slug = next(slug for slug in papers.slugs() if not papers.sheet(slug).needs)
    chapter_runs(folder, python, slug)


@mark
@pytest.mark.parametrize("slug", papers.slugs())
def test_every_chapter_runs_with_what_its_bootstrap_installs(clean, slug):
    folder, python, before = clean
    if papers.sheet(slug).needs:
        run(
            python,
            "-m",
            "pip",
            "install",
            "-q",
            f"{lock.DISTRIBUTION}[{slug.replace('_', '-')}] @ git+file://localhost{ROOT}",
            cwd=folder,
        )
        assert versions(python) == before
    chapter_runs(folder, python, slug)


# ---- the bootstrap itself, without a network


class Shell:
    """Runs a bootstrap cell with pip replaced by a function, as if the package were not installed."""

    def __init__(self, monkeypatch, url, after=None):
        self.commands, self.after = [], after or {}
        self.source = notebooks.BOOTSTRAP.format(url=url, ref="main", slug="cbo")
        real, real_modules = importlib.metadata.version, importlib.metadata.packages_distributions

        def version(name):
            if name == lock.DISTRIBUTION:
                raise importlib.metadata.PackageNotFoundError(name)
            if name == "loaded-package":
                return self.after.get(name, "1.0") if self.commands else "1.0"
            return real(name)

        monkeypatch.setattr(importlib.metadata, "version", version)
        monkeypatch.setattr(
            importlib.metadata, "packages_distributions", lambda: {**real_modules(), "loaded_package": ["loaded-package"]}
        )
        monkeypatch.setitem(sys.modules, "loaded_package", types.ModuleType("loaded_package"))

    def run(self):
        from IPython.core.inputtransformer2 import TransformerManager

        code = TransformerManager().transform_cell(self.source)
        shell = types.SimpleNamespace(run_line_magic=lambda name, line: self.commands.append(f"%{name} {line}"))
        exec(code, {"get_ipython": lambda: shell})
        return self.commands


def test_bootstrap_installs_the_chapters_extra_only(monkeypatch, capsys):
    (command,) = Shell(monkeypatch, "https://github.com/someone/book").run()
    assert command == '%pip install -q "optimization-executed[cbo] @ git+https://github.com/someone/book@main"'
    assert "estart" not in capsys.readouterr().out


def test_bootstrap_asks_for_a_restart_when_a_loaded_package_changed(monkeypatch, capsys):
    Shell(monkeypatch, "https://github.com/someone/book", after={"loaded-package": "2.0"}).run()
    out = capsys.readouterr().out
    assert "estart the runtime" in out
    assert "loaded-package" in out


def test_bootstrap_refuses_the_placeholder_address(monkeypatch):
    shell = Shell(monkeypatch, "https://github.com/OWNER/REPO")
    with pytest.raises(RuntimeError, match="names no repository"):
        shell.run()
    assert shell.commands == []


def test_bootstrap_does_nothing_where_the_package_is_installed():
    source = notebooks.BOOTSTRAP.format(url="https://github.com/OWNER/REPO", ref="main", slug="cbo")
    assert "except" in source
    from IPython.core.inputtransformer2 import TransformerManager

    exec(TransformerManager().transform_cell(source), {})
