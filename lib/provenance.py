"""Where a recorded number comes from: commit, changes beside it, versions, processor, time."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from lib import papers

_VERSIONS = ("numpy", "scipy", "scikit-learn", "torch", "matplotlib")


def provenance() -> dict[str, Any]:
    """What a record says about its making, here and now."""
    versions = {name: _version(name) for name in _VERSIONS}
    return {
        "recorded": now(),
        "commit": git("rev-parse", "HEAD"),
        "dirty": dirty(),
        "python": platform.python_version(),
        "versions": {name: version for name, version in versions.items() if version},
        "cpu": cpu(),
    }


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def git(*words: str) -> str | None:
    """What a git command says in this checkout; ``None`` if it fails."""
    try:
        done = subprocess.run(["git", *words], cwd=papers.root(), capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def dirty() -> bool | None:
    """Whether what makes numbers differs from the commit; ``None`` outside a repository."""
    changes = git("status", "--porcelain", "--", "lib", "book", "tools")
    return None if changes is None else bool(changes)


def cpu() -> str:
    """This machine's processor, by its model's name."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor())


@contextmanager
def checkout(commit: str) -> Iterator[Path | None]:
    """A temporary checkout of one of this repository's commits; ``None`` where it cannot be had."""
    with TemporaryDirectory(prefix="checkout-") as folder:
        then = Path(folder) / "then"
        if git("worktree", "add", "--detach", str(then), commit) is None:
            yield None
            return
        try:
            yield then
        finally:
            git("worktree", "remove", "--force", str(then))


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
