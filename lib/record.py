"""The recorder: runs chapters over presets and seeds, and keeps each run's results with their provenance.

    python -m lib.record SLUG... --preset full --seeds 0-4 [-p NAME VALUE] [--jobs 2] [--scheduler tcp://HOST:PORT]
    python -m lib.record SLUG... --carry

Runs go to two local processes, or to the workers of an existing Dask cluster. A run that stands in ``results/<slug>.json``
for the same code and parameters is skipped; each run is stored the moment it ends (written beside, then renamed), so that a
stopped recorder loses only what was in flight, and starting it again goes on. With the first run of some code its fingerprint
is taken, what the chapter emits at ``smoke``; ``--carry`` takes today's and keeps the runs whose fingerprint it equals current.
Where the fingerprint is another processor's, the code of the runs' commit is run again, and compared, on this one.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lib import checks, execute, papers, store
from lib.codehash import code_hash, digest
from lib.provenance import checkout, cpu, dirty, provenance
from lib.store import load as load  # what chapters read
from lib.workers import Workers

#: Wall-clock limits of a run, against hangs only: ten times what a preset promises, imports included.
LIMITS_S = {"smoke": 300.0, "book": 900.0, "full": 12_000.0}


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

    @property
    def kept(self) -> dict[str, Any]:
        """The changed parameters that are part of what the run is: ``None`` keeps a setting as it is."""
        scale = papers.sheet(self.slug).scale
        return {name: value for name, value in self.changed.items() if value is not None or name not in scale}

    def key(self, code: str | None = None) -> str:
        """Names this run of this code (today's): a hash of what can change its numbers, its settings and parameters."""
        parts = [store.settings(self.slug, self.preset), self.preset, self.seed, self.kept]
        return digest(code or code_hash(self.slug), json.dumps(parts, sort_keys=True))[:16]

    def check(self) -> None:
        """Refuse an unknown slug, preset or parameter, and values that no record can hold, with a ValueError."""
        papers.sheet(self.slug).values(self.preset)
        if own := sorted({"preset", "seed"} & set(self.changed)):
            raise ValueError(f"{' and '.join(own)}: say --preset and --seeds")
        if odd := sorted(n for n, v in self.changed.items() if isinstance(v, float) and not math.isfinite(v)):
            raise ValueError(f"{', '.join(odd)} must be finite")
        execute.check_parameters(papers.chapter(self.slug), self.parameters)

    def __str__(self) -> str:
        extra = "".join(f" {name}={value}" for name, value in self.changed.items())
        return f"{self.slug} {self.preset} seed {self.seed}{extra}"


# ----------------------------------------------------------------------------------------------------- one run, anywhere


def perform(run: Run, key: str, limit_s: float | None = None, allow_dirty: bool = False, token: str = "") -> dict[str, Any]:
    """Execute one run and return its record. Runs on a worker: it checks that the code there is the code that was asked for.

    Raises
    ------
    ChapterFailed
        If the chapter fails, this machine's code differs from the recorder's or changed meanwhile, its tree holds changes
        that are not committed, or the chapter answered for another run than was asked for.
    """
    papers.sheet.cache_clear()  # a worker lives longer than a sheet
    if run.key() != key:
        raise execute.ChapterFailed(f"{run}: this worker has other code or settings than the recorder; update its checkout")
    made = provenance()
    if made["dirty"] and run.preset != "smoke" and not allow_dirty:
        raise execute.ChapterFailed(f"{run}: {_DIRTY}")
    code = code_hash(run.slug)
    with tempfile.TemporaryDirectory(prefix="record-") as folder:
        limit_s = limit_s or LIMITS_S[run.preset]
        out = Path(folder) / "out.ipynb"
        notebook = execute.run_chapter(papers.chapter(run.slug), out, run.parameters, limit_s, token=token)
    results = execute.emitted(notebook)
    if results is None:
        raise execute.ChapterFailed(f"{run}: the chapter emitted no results (does it end in ledger.report()?)")
    _check_answer(run, results)
    if run.key() != key:
        raise execute.ChapterFailed(f"{run}: the code changed while it ran; nothing is kept")
    private = results.pop("private")
    for claim_id, values in private["timings"].items():
        results["claims"][claim_id]["values"] = values
    spent = {name: private.get(name) for name in ("seconds", "cpu_seconds", "peak_mb")}
    head = {"key": key, "code": code, **results, "changed": run.kept, "settings": store.settings(run.slug, run.preset)}
    return head | made | spent


def _check_answer(run: Run, results: dict[str, Any]) -> None:
    """Refuse results of another chapter, preset, seed or settings than were asked for (a copied cell, say)."""
    from lib.claims import plain

    settings = papers.sheet(run.slug).scale
    changed = plain({name: value for name, value in run.kept.items() if name in settings})
    asked = {"slug": run.slug, "preset": run.preset, "seed": run.seed, "changed": changed}
    for name, value in asked.items():
        if results.get(name) != value:
            raise execute.ChapterFailed(
                f"{run}: the chapter answered for {name} {results.get(name)!r}, asked was {value!r}; nothing is kept "
                "(do its parameters reach experiment.start?)"
            )


_DIRTY = "lib, book or tools hold changes that are not committed; commit them, or say --allow-dirty"


# ------------------------------------------------------------------------------------------------------------ many runs


@dataclass(frozen=True)
class Terms:
    """How runs are made: a wall-clock limit of one run (default `LIMITS_S`), and whether changes may be uncommitted."""

    limit_s: float | None = None
    allow_dirty: bool = False


def record(runs: list[Run], workers: Workers | None = None, terms: Terms = Terms()) -> list[str]:
    """Perform and keep every run that is not recorded yet; returns one message per run that failed or could not be kept.

    Raises
    ------
    ValueError
        Before anything runs: for an unknown slug, preset or parameter, a damaged results file, changes that are not committed
        (for runs that go into ``results/``), no scheduler or no worker. While it runs: if the scheduler goes away.
    """
    from tqdm import tqdm

    for run in runs:
        run.check()
    missing = _missing(runs)
    if _tracked(missing) and not terms.allow_dirty and dirty():
        raise ValueError(_DIRTY)
    prints = [Run(slug, "smoke", 0) for slug in _without_fingerprint(runs, missing)]
    failures: list[str] = []
    with tqdm(total=len(runs), initial=len(runs) - len(missing), desc="recorded", unit="run") as bar:
        for number, outcome in _performed([*prints, *missing], workers or Workers(), terms):
            run = [*prints, *missing][number]
            name = f"fingerprint of {run.slug}" if number < len(prints) else str(run)
            if isinstance(outcome, Exception):
                fault: str | None = str(outcome).removeprefix(f"{run}: ")
            elif number < len(prints):
                fault = store.keep_fingerprint(run.slug, outcome["code"], store.fingerprint(outcome))
            elif (fault := store.keep_safe(outcome)) is None:
                bar.update()
                bar.set_postfix_str(f"{run}: {outcome['seconds']:.0f} s")
            if fault:
                failures.append(f"{name}: {fault}")
                tqdm.write(f"FAILED {failures[-1]}", file=sys.stderr)
    return failures


def carry(slugs: list[str], workers: Workers | None = None, terms: Terms = Terms()) -> list[str]:
    """Keep recorded runs current where today's code still gives their fingerprint; returns one line for each set that is stale.

    Raises
    ------
    ValueError
        For an unknown slug, a damaged results file, or changes that are not committed.
    """
    if not terms.allow_dirty and dirty():
        raise ValueError(_DIRTY)
    asked = []
    for slug in dict.fromkeys(slugs):
        code = code_hash(slug)
        runs, _ = store.read(store.path_of(slug))
        if all(store.is_current(run, code) for run in runs):
            print(f"{slug}: {len(runs)} recorded runs, all current")
        else:
            asked.append(Run(slug, "smoke", 0))
    stale, pool = [], workers or Workers()
    for number, outcome in _performed(asked, pool, terms):
        slug = asked[number].slug
        if isinstance(outcome, Exception):
            stale.append(f"{slug}: the smoke run fails: {outcome}")
            continue
        note = {"commit": outcome["commit"], "recorded": outcome["recorded"]}
        count, left = store.carry(slug, outcome["code"], store.fingerprint(outcome), note)
        if left and not pool.stopped and (again := _taken_again(slug, outcome["code"], pool, terms)):
            more, left = store.carry(slug, outcome["code"], store.fingerprint(outcome), note | {"cpu": outcome["cpu"]}, again)
            count += more
        stale += left
        print(f"{slug}: {count} recorded runs carried to today's code")
    return stale


def _taken_again(slug: str, code: str, workers: Workers, terms: Terms) -> dict[str, dict[str, Any]]:
    """Code -> fingerprint on this processor, of stale runs that were recorded on another; what cannot be run is left out."""
    runs, _ = store.read(store.path_of(slug))
    stale = [run for run in runs if not store.is_current(run, code) and run.get("cpu") != cpu()]
    found: dict[str, dict[str, Any]] = {}
    for old, commit in sorted({(run["code"], run["commit"]) for run in stale if run.get("commit")}):
        if old in found:
            continue
        with checkout(commit) as then:
            if then is None:
                continue
            command = [sys.executable, "-m", "lib.record", slug, "--preset", "smoke", "--jobs", "1"]
            environment = {**os.environ, **execute.ENVIRONMENT, "PYTHONPATH": str(then)}
            limit_s = 2 * (terms.limit_s or LIMITS_S["smoke"])
            with suppress(subprocess.TimeoutExpired):
                subprocess.run(command, cwd=then, env=environment, capture_output=True, timeout=limit_s, check=False)
            made, _ = store.read(then / "_build" / "records" / f"{slug}.json")
        found |= {run["code"]: store.fingerprint(run) for run in made if run["code"] == old}
    return found


def _performed(runs: list[Run], workers: Workers, terms: Terms) -> Iterator[tuple[int, dict[str, Any] | Exception]]:
    codes = {slug: code_hash(slug) for slug in {run.slug for run in runs}}
    return workers.outcomes(perform, [(run, run.key(codes[run.slug]), terms.limit_s, terms.allow_dirty) for run in runs])


def _missing(runs: list[Run]) -> list[Run]:
    """The runs of which none of today's code and settings is stored, each once; verdicts of stored runs are decided again."""
    missing: dict[str, Run] = {}
    for slug, preset in dict.fromkeys((run.slug, run.preset) for run in runs):
        with suppress(OSError):  # what cannot be written is said when a run is to be kept
            store.rejudge(slug, preset)
            store.adopt(slug, preset)
        code = code_hash(slug)
        stored = {store.identity(run) for run in store.read(store.path_of(slug, preset))[0] if store.is_current(run, code)}
        for run in runs:
            if (run.slug, run.preset) == (slug, preset):
                name = store.identity({"preset": preset, "seed": run.seed, "changed": run.kept})
                if name not in stored:
                    missing[f"{slug} {name}"] = run
    return list(missing.values())


def _tracked(runs: list[Run]) -> set[str]:
    """The slugs of runs that go into ``results/``."""
    return {run.slug for run in runs if run.preset != "smoke"}


def _without_fingerprint(runs: list[Run], missing: list[Run]) -> list[str]:
    """Slugs whose recorded runs, stored or to come, are of today's code, of which no fingerprint was taken yet."""
    found = []
    for slug in sorted(_tracked(runs)):
        code = code_hash(slug)
        stored, prints = store.read(store.path_of(slug))
        if code not in prints and (slug in _tracked(missing) or any(run.get("code") == code for run in stored)):
            found.append(slug)
    return found


# ------------------------------------------------------------------------------------------------------- the command


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


def _value(text: str) -> Any:
    """A parameter's value as papermill reads it on its own command line."""
    from papermill.cli import _resolve_type

    return _resolve_type(text)


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit status: 1 if a run failed, 2 for what cannot be asked for, 128 + a signal's number."""
    parser = argparse.ArgumentParser(prog="python -m lib.record", description="Run chapters and keep their results.")
    parser.add_argument("slugs", nargs="+", metavar="SLUG", help="chapters, or 'all'")
    parser.add_argument("--preset", default="full", help=f"one of {', '.join(papers.PRESETS)} (default full)")
    parser.add_argument("--seeds", type=_seeds, help="0-4 or 0,3,7 (default 0; of full: as many as the sheet wants)")
    parser.add_argument("-p", dest="changed", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"))
    parser.add_argument("--jobs", type=int, default=2, help="local processes (default 2)")
    parser.add_argument("--scheduler", help="address of a Dask scheduler, e.g. tcp://HOST:8786")
    parser.add_argument("--timeout", type=float, metavar="SECONDS", help="limit of one run (default: against hangs only)")
    parser.add_argument("--allow-dirty", action="store_true", help="record although changes are not committed")
    parser.add_argument("--carry", action="store_true", help="keep runs current whose fingerprint today's code gives")
    options = parser.parse_args(argv)
    try:
        workers = Workers(options.jobs, options.scheduler)
    except ValueError as error:
        return _refused(error)
    before = {number: signal.signal(number, workers.stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        return _command(options, workers)
    except (ValueError, OSError) as error:
        return _refused(error)
    except KeyboardInterrupt:
        return 130
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _refused(error: Exception) -> int:
    print(f"error: {error}", file=sys.stderr)
    return 2


def _command(options: argparse.Namespace, workers: Workers) -> int:
    if options.timeout is not None:
        checks.number("--timeout", options.timeout, above=0)
    terms = Terms(options.timeout, options.allow_dirty)
    slugs = list(papers.slugs()) if options.slugs == ["all"] else options.slugs
    if options.carry:
        stale = carry(slugs, workers, terms)
        print("".join(f"{line}\n" for line in stale), file=sys.stderr, end="")
        return 128 + workers.stopped if workers.stopped else 1 if stale else 0
    changed = {name: _value(value) for name, value in options.changed}
    runs = []
    for slug in slugs:
        usual = range(papers.sheet(slug).seeds) if options.preset == "full" else [0]
        runs += [Run(slug, options.preset, seed, changed) for seed in options.seeds or usual]
    failures = record(runs, workers, terms)
    place = "_build/records/" if options.preset == "smoke" else "results/"
    standing = f"{len(runs) - len(_missing(runs))} of {len(runs)} runs stand in {place}"
    if workers.stopped:
        print(f"stopped: {standing}; the same command goes on", file=sys.stderr)
        return 128 + workers.stopped
    print(standing)
    return 1 if failures else 0


if __name__ == "__main__":
    from lib import record as importable  # workers on other machines find functions by their module's name

    sys.exit(importable.main())
