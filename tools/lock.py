"""Writes what must be installed: the lock from this environment, or a floating set for the newest and oldest tests.

    python -m tools.lock                         write requirements.lock
    python -m tools.lock --resolve newest|oldest print a set of pins resolved from pyproject.toml

torch keeps the lock's version in every set: its builds are gigabytes, and CPU and CUDA builds share the version.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements.lock"
DISTRIBUTION = "optimization-executed"
HEADER = """\
# Exact versions of everything that the book and its tests use; written by `make lock`, installed by `make env`.
# torch carries no local version: CPU and CUDA builds share it, the index (TORCH_INDEX of the Makefile) decides.
"""
#: Come with Python's own tooling, not from here.
_TOOLING = {"pip", "setuptools", "wheel", "uv", DISTRIBUTION}


def canonical(name: str) -> str:
    """A distribution's normalized name."""
    return re.sub(r"[-_.]+", "-", name).lower()


def installed() -> dict[str, str]:
    """Name -> version of what this environment holds, without local version labels."""
    found = {canonical(d.metadata["Name"]): d.version.split("+")[0] for d in importlib.metadata.distributions()}
    return {name: found[name] for name in sorted(found) if name not in _TOOLING}


def requirements() -> list[str]:
    """Everything that pyproject.toml asks for, extras included."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return [*project["dependencies"], *(r for extra in project["optional-dependencies"].values() for r in extra)]


def torch_pin() -> str:
    """The lock's line for torch."""
    return next(line for line in LOCK.read_text(encoding="utf-8").splitlines() if line.startswith("torch=="))


def resolve(which: str) -> str:
    """Pins for the newest or the oldest allowed direct dependencies, torch and what it needs left to the lock."""
    direct = [r for r in requirements() if not re.match(r"torch\b", r)]
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "requirements.in"
        source.write_text("\n".join(direct) + "\n", encoding="utf-8")
        no_torch = Path(folder) / "overrides.txt"  # others need it, too; a marker that never holds takes it out
        no_torch.write_text("torch; sys_platform == 'none'\n", encoding="utf-8")
        strategy = {"newest": "highest", "oldest": "lowest-direct"}[which]
        command = [sys.executable, "-m", "uv", "pip", "compile", str(source), "--resolution", strategy, "--no-header"]
        done = subprocess.run(
            [*command, "--no-annotate", "--quiet", "--override", str(no_torch), "--python", sys.executable],
            capture_output=True,
            text=True,
        )
    if done.returncode:
        sys.exit(done.stderr)
    return f"{torch_pin()}\n{done.stdout}"


def main(argv: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tools.lock", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--resolve", choices=["newest", "oldest"])
    options = parser.parse_args(argv)
    if options.resolve:
        print(resolve(options.resolve))
        return
    LOCK.write_text(HEADER + "".join(f"{name}=={version}\n" for name, version in installed().items()), encoding="utf-8")


if __name__ == "__main__":
    main()
