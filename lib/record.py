"""The recorder: runs chapters over presets and seeds, and keeps each run's results with their provenance.

    python -m lib.record SLUG... --preset full --seeds 0-4 [-p NAME VALUE] [--jobs 2] [--scheduler tcp://HOST:PORT]

Runs go to two local processes, or to the workers of an existing Dask cluster. A run that stands in ``results/<slug>.json``
for the same code and parameters is skipped; each run is stored the moment it ends (written beside, then renamed), so that a
killed recorder loses only what was in flight, and starting it again goes on.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from lib import execute, papers

#: Rooms that cannot change a number: editing them leaves recorded runs valid. (`claims` decides verdicts, which are decided
#: again from the stored values whenever they are shown; a record holds the hashes of the data it saw.)
_NUMBERLESS = {"lib", *(f"lib.{room}" for room in ["claims", "data", "execute", "figures", "papers", "record", "scoreboard"])}
_VERSIONS = ("numpy", "scipy", "scikit-learn", "torch", "matplotlib")


@dataclass(frozen=True)
class Run:
    """One run to be recorded: a chapter, a preset, a seed and changed parameters."""

    slug: str
    preset: str
    seed: int
    changed: dict[str, Any] = field(default_factory=dict)

    @property
    def parameters(self) -> dict[str, Any]:
        """What papermill gets."""
        return {"preset": self.preset, "seed": self.seed, **self.changed}

    def key(self) -> str:
        """Names this run of this code: a hash of the code that can change its numbers, and of its parameters."""
        settings = papers.sheet(self.slug).values(self.preset)
        return _digest(code_hash(self.slug), json.dumps([settings, self.parameters], sort_keys=True))[:16]

    def __str__(self) -> str:
        extra = "".join(f" {name}={value}" for name, value in self.changed.items())
        return f"{self.slug} {self.preset} seed {self.seed}{extra}"


def _digest(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()


def code_hash(slug: str) -> str:
    """Hash of everything in this project that can change a chapter's numbers.

    The chapter's code cells, its module, and the shared rooms that these import (directly or not), as syntax trees without
    docstrings: comments and text do not count. Nor do cells that only draw, format or solve an exercise (hidden cells
    without a word to the ledger), and the values of the ``parameters`` cell (see `Run.key`).
    """
    cells = json.loads(papers.chapter(slug).read_text(encoding="utf-8"))["cells"]
    code = [
        "".join(line for line in "".join(cell["source"]).splitlines(keepends=True) if line[:1] not in "%!")
        for cell in cells
        if cell["cell_type"] == "code" and _can_change_a_number(cell)
    ]
    trees = [ast.parse(text) for text in code]
    parts = [_stripped(tree) for tree in trees]
    seen: dict[str, str] = {}
    for tree in trees:
        _follow(tree, seen)
    return _digest(*parts, *(seen[name] for name in sorted(seen)))


def _can_change_a_number(cell: dict[str, Any]) -> bool:
    tags = set(cell["metadata"].get("tags", []))
    hidden = tags & {"hide-input", "remove-input", "hide-cell"}
    return not tags & {"parameters", "bootstrap"} and (not hidden or "ledger." in "".join(cell["source"]))


def _stripped(tree: ast.Module) -> str:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    return ast.dump(tree)


def _follow(tree: ast.Module, seen: dict[str, str], package: str = "") -> None:
    """Add to `seen` the code of every module of `lib` that a syntax tree imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package.split(".")[: -(node.level - 1) or None]) if node.level else ""
            module = ".".join(filter(None, [base, node.module]))
            names = [module, *(f"{module}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            if name.split(".")[0] != "lib" or name in seen or name in _NUMBERLESS:
                continue
            path = _source(name)
            if path is None:
                continue
            text = path.read_text(encoding="utf-8")
            seen[name] = ""
            _follow(ast.parse(text), seen, name if path.name == "__init__.py" else name.rpartition(".")[0])
            seen[name] = _stripped(ast.parse(text))


def _source(name: str) -> Path | None:
    base = Path(__file__).resolve().parent.parent.joinpath(*name.split("."))
    return next((p for p in (base.with_suffix(".py"), base / "__init__.py") if p.is_file()), None)


# ----------------------------------------------------------------------------------------------------- one run, anywhere


def perform(run: Run, key: str, timeout_s: float | None = None) -> dict[str, Any]:
    """Execute one run and return its record. Runs on a worker: it checks that the code there is the code that was asked for.

    Raises
    ------
    ChapterFailed
        If the chapter fails, or this machine's code differs from the recorder's.
    """
    if run.key() != key:
        raise execute.ChapterFailed(f"{run}: this worker has other code or settings than the recorder; update its checkout")
    with tempfile.TemporaryDirectory(prefix="record-") as folder:
        notebook = execute.run_chapter(papers.chapter(run.slug), Path(folder) / "out.ipynb", run.parameters, timeout_s)
    results = execute.emitted(notebook)
    if results is None:
        raise execute.ChapterFailed(f"{run}: the chapter emitted no results (does it end in ledger.report()?)")
    private = results.pop("private")
    for claim_id, values in private["timings"].items():
        results["claims"][claim_id]["values"] = values
    return {"key": key, **results, **_provenance(), "seconds": private["seconds"], "peak_mb": private["peak_mb"]}


def _provenance() -> dict[str, Any]:
    def git(*words: str) -> str | None:
        done = subprocess.run(["git", *words], cwd=papers.root(), capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else None

    changes = git("status", "--porcelain", "--", "lib", "book")
    versions = {name: _version(name) for name in _VERSIONS}
    return {
        "recorded": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "commit": git("rev-parse", "HEAD"),
        "dirty": bool(changes),
        "python": platform.python_version(),
        "versions": {name: version for name, version in versions.items() if version},
        "cpu": _cpu(),
    }


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor())


# ---------------------------------------------------------------------------------------------------------- what is kept


def load(slug: str, preset: str = "full") -> list[dict[str, Any]]:
    """The recorded runs of a chapter at a preset with unchanged parameters, by seed; the newest where a seed has several.

    Verdicts are decided again from the stored values by today's rules. ``"current"`` says whether the run is one of
    today's code.
    """
    newest = {}
    for record in sorted(_stored(slug), key=lambda record: record["recorded"]):
        if record["preset"] == preset and not record["changed"]:
            newest[record["seed"]] = record
    for record in newest.values():
        record["current"] = record["key"] == Run(slug, preset, record["seed"]).key() if papers.is_checkout() else None
    return [_judged(newest[seed]) for seed in sorted(newest)]


def _judged(record: dict[str, Any]) -> dict[str, Any]:
    """The record with the verdicts that today's rules give to its values."""
    from lib.claims import verdict

    for claim in papers.sheet(record["slug"]).claims:
        if entry := record["claims"].get(claim.id):
            values = {name: float("nan") if value is None else value for name, value in entry["values"].items()}
            entry["verdict"] = verdict(claim, values, record["preset"])
    return record


def _stored(slug: str) -> list[dict[str, Any]]:
    path = papers.records(slug)
    return json.loads(path.read_text(encoding="utf-8"))["runs"] if path.is_file() else []


def keep(record: dict[str, Any]) -> None:
    """Add a record to ``results/<slug>.json``, in place of an older one of the same run; atomic."""
    slug = record["slug"]
    with _locked(papers.records(slug)):
        _write(slug, [old for old in _stored(slug) if _same_run(old) != _same_run(record)] + [record])


def rejudge(slug: str) -> None:
    """Decide the verdicts of all stored runs again, after a claim's rule has changed."""
    with _locked(papers.records(slug)):
        if runs := _stored(slug):
            _write(slug, runs)


def _write(slug: str, runs: list[dict[str, Any]]) -> None:
    runs = sorted(map(_judged, runs), key=lambda run: (run["preset"], json.dumps(run["changed"], sort_keys=True), run["seed"]))
    path = papers.records(slug)
    beside = path.with_suffix(".json.part")
    beside.write_text(_compact({"slug": slug, "runs": runs}) + "\n", encoding="utf-8")
    os.replace(beside, path)


def _same_run(record: dict[str, Any]) -> str:
    return json.dumps([record["preset"], record["seed"], record["changed"]], sort_keys=True)


def _compact(value: Any, indent: str = "") -> str:
    """JSON that reads well in a diff: one line per entry, lists of numbers on one line."""
    if isinstance(value, dict) and len(json.dumps(value)) > 100:
        inner = indent + " "
        rows = [f"{inner}{json.dumps(key)}: {_compact(entry, inner)}" for key, entry in value.items()]
        return "{\n" + ",\n".join(rows) + f"\n{indent}}}"
    if isinstance(value, list) and value and isinstance(value[0], dict):
        inner = indent + " "
        return "[\n" + ",\n".join(inner + _compact(entry, inner) for entry in value) + f"\n{indent}]"
    return json.dumps(value, ensure_ascii=False)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One writer at a time, also between recorders; the lock is the system's and ends with the process."""
    import fcntl

    path.parent.mkdir(exist_ok=True)
    with open(path.parent / ".lock", "w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


# ------------------------------------------------------------------------------------------------------- many runs


def record(runs: list[Run], jobs: int = 2, scheduler: str | None = None, timeout_s: float | None = None) -> list[str]:
    """Perform and keep every run that is not recorded yet; returns one message per run that failed.

    Raises
    ------
    ValueError
        For an unknown slug, preset or parameter, before anything runs.
    """
    from tqdm import tqdm

    if jobs < 1:
        raise ValueError(f"jobs must be at least 1, got {jobs}")
    for run in runs:
        papers.sheet(run.slug).values(run.preset)
        execute.check_parameters(papers.chapter(run.slug), run.parameters)
    keys = {run.key(): run for run in runs}
    slugs = {run.slug for run in runs}
    for slug in slugs:
        rejudge(slug)
    done = {old["key"] for slug in slugs for old in _stored(slug)}
    missing = {key: run for key, run in keys.items() if key not in done}
    failures = []
    with tqdm(total=len(keys), initial=len(keys) - len(missing), desc="recorded", unit="run") as bar:
        for run, outcome in _outcomes(missing, jobs, scheduler, timeout_s):
            if isinstance(outcome, Exception):
                failures.append(f"{run}: {outcome}")
                tqdm.write(f"FAILED {failures[-1]}", file=sys.stderr)
                continue
            keep(outcome)
            bar.update()
            bar.set_postfix_str(f"{run}: {outcome['seconds']:.0f} s")
    return failures


def _outcomes(
    missing: dict[str, Run], jobs: int, scheduler: str | None, timeout_s: float | None
) -> Iterator[tuple[Run, dict[str, Any] | Exception]]:
    """Every run with its record or the exception it ended in, as they end."""
    if scheduler is None:
        with ThreadPoolExecutor(jobs) as pool:  # threads that wait for processes
            waiting: dict[Future[dict[str, Any]], Run] = {
                pool.submit(perform, run, key, timeout_s): run for key, run in missing.items()
            }
            try:
                for future in as_completed(waiting):
                    yield waiting[future], future.exception() or future.result()  # type: ignore[misc]
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return
    from distributed import Client
    from distributed import as_completed as as_arrived

    with Client(scheduler) as client:
        # retries: a worker that dies takes nothing with it but its own run, which starts again elsewhere.
        sent = {
            client.submit(perform, run, key, timeout_s, key=f"{run.slug}-{key}", pure=False, retries=2): run
            for key, run in missing.items()
        }
        for future in as_arrived(sent):
            yield sent[future], future.exception() or future.result()


def _seeds(text: str) -> list[int]:
    """``"0-4"`` or ``"0,3,7"`` as a list of seeds."""
    try:
        seeds: list[int] = []
        for part in text.split(","):
            first, dash, last = part.partition("-")
            seeds += range(int(first), int(last) + 1) if dash else [int(first)]
    except ValueError:
        seeds = []
    if not seeds:
        raise argparse.ArgumentTypeError(f"seeds are given as 0-4 or 0,3,7, got {text!r}")
    return seeds


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit status (1 if a run failed, 2 for what cannot be asked for)."""
    parser = argparse.ArgumentParser(prog="python -m lib.record", description="Run chapters and keep their results.")
    parser.add_argument("slugs", nargs="+", metavar="SLUG", help="chapters, or 'all'")
    parser.add_argument("--preset", default="full", help=f"one of {', '.join(papers.PRESETS)} (default full)")
    parser.add_argument("--seeds", type=_seeds, default=[0], help="0-4 or 0,3,7 (default 0)")
    parser.add_argument("-p", dest="changed", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"))
    parser.add_argument("--jobs", type=int, default=2, help="local processes (default 2)")
    parser.add_argument("--scheduler", help="address of a Dask scheduler, e.g. tcp://HOST:8786")
    parser.add_argument("--timeout", type=float, metavar="SECONDS", help="limit of one run")
    options = parser.parse_args(argv)
    slugs = list(papers.slugs()) if options.slugs == ["all"] else options.slugs
    changed = {name: yaml.safe_load(value) for name, value in options.changed}
    runs = [Run(slug, options.preset, seed, changed) for slug in slugs for seed in options.seeds]
    try:
        failures = record(runs, options.jobs, options.scheduler, options.timeout)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{len(runs) - len(failures)} of {len(runs)} runs stand in results/")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
