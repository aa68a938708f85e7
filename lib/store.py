"""Recorded runs on disk: ``results/<slug>.json``, written by the recorder only, and read by chapters and pages.

The file holds a chapter's runs and its fingerprints. A run carries the hash of the code that made it (`lib.codehash`) and a
digest of everything in it that is not decided again; a fingerprint is what the same code emitted at ``smoke``. After a
refactoring, code that still gives the fingerprint carries the runs on (`carry`).
"""

from __future__ import annotations

import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lib import papers
from lib.codehash import code_hash, digest

Record = dict[str, Any]

#: How often a failing write is tried, and the seconds between.
RETRIES = (0.5, 2.0)
#: Below this, two numbers are the same: residuals of exact identities are rounding noise.
_ZERO = 1e-9


class Damaged(ValueError):
    """A results file is no such file, or was changed by hand; it is left as it is."""


def path_of(slug: str, preset: str = "full") -> Path:
    """Where runs of a preset are kept: ``smoke`` runs, which test the code, stay out of the tracked results."""
    return papers.root() / "_build" / "records" / f"{slug}.json" if preset == "smoke" else papers.records(slug)


# ------------------------------------------------------------------------------------------------------------ reading


def read(path: Path) -> tuple[list[Record], dict[str, Record]]:
    """The runs and the fingerprints of a results file; none of either where there is no file.

    Raises
    ------
    Damaged
        If the file is no results file, or an entry does not fit its digest; the message names the file.
    """
    if not path.is_file():
        return [], {}
    where = f"{path.parent.name}/{path.name}"
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        runs, fingerprints = list(stored["runs"]), dict(stored.get("fingerprints", {}))
        entries = [*runs, *fingerprints.values()]
        changed = [entry for entry in entries if entry.get("digest", "") not in ("", digest_of(entry))]
        incomplete = [run for run in runs if not {"preset", "seed", "changed", "claims", "recorded", "slug"} <= set(run)]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise Damaged(f"{where} is damaged ({type(error).__name__}: {error}); restore it or move it away") from None
    if incomplete:
        raise Damaged(f"{where} is damaged (a run lacks its keys); restore it or move it away")
    if changed:
        names = [f"{run.get('preset', 'a fingerprint')} seed {run.get('seed', 0)}" for run in changed]
        raise Damaged(f"{where} was changed by hand ({', '.join(names)} no longer fit their digest); restore it")
    return runs, fingerprints


def digest_of(record: Record) -> str:
    """SHA-256 of a record's canonical JSON, without what may change later: verdicts, what it was carried to, the digest."""
    kept = {key: value for key, value in record.items() if key not in ("digest", "carried", "current")}
    if "claims" in kept:
        kept["claims"] = {
            i: {key: value for key, value in entry.items() if key != "verdict"} if isinstance(entry, dict) else entry
            for i, entry in kept["claims"].items()
        }
    return digest(json.dumps(kept, sort_keys=True, separators=(",", ":")))


def load(slug: str, preset: str = "full") -> list[Record]:
    """The recorded runs of a chapter at a preset with unchanged parameters, by seed; the newest where a seed has several.

    Verdicts are decided again from the stored samples by today's rules; runs whose values are not those that today's sheet
    declares are left out. ``"current"`` says whether the run is one of today's code (or carried to it) and settings.

    Raises
    ------
    Damaged
        If the file is damaged or a run in it was changed by hand.
    """
    newest: dict[int, Record] = {}
    runs, _ = read(path_of(slug, preset))
    for record in sorted(runs, key=lambda record: record["recorded"]):
        if record["preset"] == preset and not record["changed"] and judged(record):
            newest[record["seed"]] = record
    today = code_hash(slug) if newest and papers.is_checkout() else None
    for record in newest.values():
        record["current"] = None if today is None else is_current(record, today)
    return [newest[seed] for seed in sorted(newest)]


def is_current(record: Record, code: str) -> bool:
    """Whether a run is one of this code, or was carried to it, at today's settings of its preset."""
    codes = {record.get("code"), *(note["code"] for note in record.get("carried", []))}
    return code in codes and record.get("settings") == settings(record["slug"], record["preset"])


def settings(slug: str, preset: str) -> dict[str, Any]:
    """A preset's settings as JSON keeps them."""
    return json.loads(json.dumps(papers.sheet(slug).values(preset)))


def judged(record: Record) -> bool:
    """Decide a run's verdicts by today's rules, in place; False (and nothing changed) if its values do not fit the sheet."""
    from lib.claims import verdict

    sheet, words = papers.sheet(record["slug"]), {}
    if set(record["claims"]) != {entry.id for entry in sheet.claims}:
        return False
    for entry in sheet.claims:
        stored = record["claims"][entry.id]
        try:
            untested = "why" in stored or (stored["values"] is None and entry.kind != "cost")
            words[entry.id] = "not tested" if untested else verdict(entry, stored["values"], record["preset"])
        except (ValueError, TypeError, KeyError):
            return False
    for name, word in words.items():
        record["claims"][name]["verdict"] = word
    return True


# ------------------------------------------------------------------------------------------------------------ writing


def keep(record: Record) -> None:
    """Add a run to its file, in place of an older one of the same preset, seed and changed parameters; atomic."""
    record = {**record, "digest": digest_of(record)}

    def add(runs: list[Record], fingerprints: dict[str, Record]) -> None:
        runs[:] = [old for old in runs if identity(old) != identity(record)] + [record]
        for code in set(fingerprints) - {run.get("code") for run in runs}:
            del fingerprints[code]

    _update(record["slug"], record["preset"], add)


def keep_fingerprint(slug: str, code: str, found: Record) -> str | None:
    """Add what some code emitted at ``smoke`` to the chapter's results; one line if that cannot be written."""

    def add(runs: list[Record], fingerprints: dict[str, Record]) -> None:
        fingerprints[code] = {**found, "digest": digest_of(found)}

    error = _tried(lambda: _update(slug, "full", add))
    return f"cannot write it ({error})" if error else None


def rejudge(slug: str, preset: str) -> None:
    """Decide the verdicts of all stored runs again, after a rule has changed."""
    if path_of(slug, preset).is_file():
        _update(slug, preset, lambda runs, fingerprints: None)


def keep_safe(record: Record) -> str | None:
    """`keep`; where that cannot be written, keep the run beside or among temporary files, and say so in one line.

    Returns
    -------
    str or None
        ``None`` if the run is kept where it belongs.
    """
    error = _tried(lambda: keep(record))
    if error is None:
        return None
    name = f"{record['slug']}.unsaved-{record['key']}.json"
    for folder in (path_of(record["slug"], record["preset"]).parent, Path(tempfile.gettempdir())):
        try:
            _replace(folder / name, json.dumps(record))
        except OSError:
            continue
        return f"cannot write the results ({error}); this run is kept in {folder / name}"
    return f"cannot write anything ({error}); this run is lost"


def adopt(slug: str, preset: str) -> int:
    """Move runs that were kept beside (see `keep_safe`) to where they belong; returns how many."""
    beside = sorted(path_of(slug, preset).parent.glob(f"{slug}.unsaved-*.json"))
    for path in beside:
        keep(json.loads(path.read_text(encoding="utf-8")))
        path.unlink()
    return len(beside)


def _tried(write: Callable[[], None]) -> Exception | None:
    """Write; the error of the last try, if none went well."""
    for pause in (*RETRIES, None):
        try:
            write()
        except Damaged as error:
            return error
        except OSError as error:
            if pause is None:
                return error
            time.sleep(pause)
        else:
            break
    return None


def _update(slug: str, preset: str, change: Callable[[list[Record], dict[str, Record]], None]) -> None:
    path = path_of(slug, preset)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path.parent / ".lock"):
        runs, fingerprints = read(path)
        change(runs, fingerprints)
        for run in runs:
            judged(run)
        runs.sort(key=lambda run: (run["preset"], sorted(map(str, run["changed"].items())), run["seed"]))
        text = _compact({"slug": slug, "fingerprints": dict(sorted(fingerprints.items())), "runs": runs}) + "\n"
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            _replace(path, text)


def _replace(path: Path, text: str) -> None:
    """Write beside, then rename: whoever reads sees the old file or the new one."""
    beside = path.with_name(path.name + ".part")
    try:
        with open(beside, "w", encoding="utf-8") as handle:
            handle.write(text)
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(beside, path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise


def identity(record: Record) -> str:
    """What makes a run this run: preset, seed and changed parameters."""
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
    with open(path, "w") as handle:
        if sys.platform == "win32":
            import msvcrt

            while True:
                try:
                    msvcrt.locking(handle.fileno(), msvcrt.LK_LOCK, 1)
                    break
                except OSError:  # gives up by itself after ten seconds
                    continue
            try:
                yield
            finally:
                handle.seek(0)
                msvcrt.locking(handle.fileno(), msvcrt.LK_UNLCK, 1)
        else:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX)
            yield


# ----------------------------------------------------------------------------------------- fingerprints and carrying


def fingerprint(record: Record) -> Record:
    """What identifies the numbers of some code: all that a ``smoke`` run emitted but costs and verdicts."""
    costs = {entry.id for entry in papers.sheet(record["slug"]).claims if entry.kind == "cost"}
    claims = {i: {"values": entry["values"]} for i, entry in record["claims"].items() if i not in costs}
    return {"settings": record["settings"], "claims": claims, "metrics": record["metrics"], "series": record["series"]}


def carry(slug: str, code: str, found: Record, note: Record, again: dict[str, Record] | None = None) -> tuple[int, list[str]]:
    """Carry every recorded run whose fingerprint this code still gives; costs nothing where all are current.

    Parameters
    ----------
    slug, code : str
        The chapter, and the hash of the code that gave the fingerprint `found` just now.
    found, note : dict
        The fingerprint, and what is noted with a run that is carried (commit, time).
    again : dict, optional
        Old code -> its fingerprint, taken again on this processor; in place of the stored one.

    Returns
    -------
    tuple of int and list of str
        How many runs were carried; one line for each set of runs that stays stale.
    """
    carried, stale = 0, []

    def add(runs: list[Record], fingerprints: dict[str, Record]) -> None:
        nonlocal carried
        rtol, prints = papers.sheet(slug).rtol, fingerprints | (again or {})
        sets: dict[tuple[str, str], list[Record]] = {}
        for run in runs:
            if not is_current(run, code):
                sets.setdefault((run.get("code", ""), run["preset"]), []).append(run)
        for (old, preset), group in sets.items():
            if old not in prints:
                faults = ["no fingerprint of its code was taken"]
            elif any(run["settings"] != settings(slug, preset) for run in group):
                faults = [f"the settings of {preset} have changed"]
            else:
                faults = differences({**prints[old], "digest": ""}, {**found, "digest": ""}, rtol)
            if faults:
                when = f"{len(group)} {preset} runs of {group[0]['recorded'][:10]}"
                stale.append(f"{slug}: {when} stay stale: {'; '.join(faults[:3])}")
                continue
            for run in group:
                run.setdefault("carried", []).append({"code": code, **note})
            carried += len(group)

    _update(slug, "full", add)
    return carried, stale


def differences(a: Any, b: Any, rtol: float, where: str = "") -> list[str]:
    """Where two JSON values differ by more than a relative tolerance (numbers) or at all (the rest), in words."""
    if isinstance(a, dict) and isinstance(b, dict):
        missing = [f"{where}{key} only on one side" for key in sorted(set(a) ^ set(b))]
        return missing + [d for key in a if key in b for d in differences(a[key], b[key], rtol, f"{where}{key} ")]
    if isinstance(a, list) and isinstance(b, list):
        if len(a) != len(b):
            return [f"{where}has {len(a)} and {len(b)} entries"]
        return [d for i, (x, y) in enumerate(zip(a, b, strict=True)) for d in differences(x, y, rtol, f"{where}{i} ")]
    numbers = all(isinstance(x, int | float) and not isinstance(x, bool) for x in (a, b))
    if numbers and not (isinstance(a, int) and isinstance(b, int)):
        return [] if math.isclose(a, b, rel_tol=rtol, abs_tol=_ZERO) else [f"{where}{a:g} and {b:g}"]
    return [] if a == b else [f"{where}{a} and {b}"]
