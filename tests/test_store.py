"""Recorded runs on disk: digests, damage, writes that fail, fingerprints."""

import copy
import json
import math

import pytest

from lib import papers, store
from lib.codehash import code_hash

SLUG = next(iter(papers.slugs()))


def record(seed=0, preset="full", **more):
    sheet = papers.sheet(SLUG)
    values = {}
    for entry in sheet.claims:
        numbers = {n: ([[1.0, 2.0]] if v.estimate == "ratio" else [1.0]) if v.sample else 0.0 for n, v in entry.values.items()}
        values[entry.id] = {"verdict": "invented", "values": numbers}
    head = {"slug": SLUG, "preset": preset, "seed": seed, "changed": {}, "key": f"{seed:016d}", "code": code_hash(SLUG)}
    body = {
        "claims": values,
        "metrics": {},
        "series": {"curve": [1.0, 2.0, None]},
        "recorded": f"2026-01-0{seed + 1}T00:00:00Z",
    }
    return head | body | {"settings": store.settings(SLUG, preset)} | more


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Results go to a temporary folder, and a failing write is tried again without a pause."""
    monkeypatch.setattr(store, "path_of", lambda slug, preset="full": tmp_path / "results" / f"{slug}.json")
    monkeypatch.setattr(store, "RETRIES", (0.0, 0.0))
    return tmp_path / "results"


def edit(folder, change):
    path = folder / f"{SLUG}.json"
    stored = json.loads(path.read_text())
    change(stored)
    path.write_text(json.dumps(stored))


def first_value(run):
    values = run["claims"][papers.sheet(SLUG).claims[0].id]["values"]
    name = next(iter(values))
    return values, name


@pytest.mark.parametrize(
    "change",
    [
        lambda run: first_value(run)[0].update({first_value(run)[1]: 0.5}),
        lambda run: run["series"].update(curve=[1.0, 2.5, None]),
        lambda run: run.update(seed=3),
        lambda run: run.update(dirty=False),
        lambda run: run.update(code="0" * 64),
    ],
)
def test_a_value_changed_by_hand_is_noticed_and_never_overwritten(folder, change):
    store.keep(record())
    edit(folder, lambda stored: change(stored["runs"][0]))
    text = (folder / f"{SLUG}.json").read_text()
    for call in (lambda: store.load(SLUG), lambda: store.keep(record(1)), lambda: store.rejudge(SLUG, "full")):
        with pytest.raises(store.Damaged, match=rf"results/{SLUG}.json was changed by hand \(full seed \d no longer fit"):
            call()
    assert (folder / f"{SLUG}.json").read_text() == text
    assert "this run is kept in" in (store.keep_safe(record(1)) or "")


def test_verdicts_are_decided_again_and_are_no_part_of_the_digest(folder):
    store.keep(record())
    (run,) = store.load(SLUG)
    words = {i: entry["verdict"] for i, entry in run["claims"].items()}
    assert "invented" not in words.values()
    edit(folder, lambda stored: [e.update(verdict="reproduced") for e in stored["runs"][0]["claims"].values()])
    (run,) = store.load(SLUG)
    assert {i: entry["verdict"] for i, entry in run["claims"].items()} == words
    store.rejudge(SLUG, "full")
    stored = json.loads((folder / f"{SLUG}.json").read_text())["runs"][0]
    assert {i: entry["verdict"] for i, entry in stored["claims"].items()} == words


def test_the_newest_run_of_a_seed_replaces_the_older_and_both_seeds_stay():
    for seed, note in [(0, "old"), (1, "a"), (0, "new")]:
        store.keep(record(seed, note=note))
    store.keep(record(0, changed={"n": 1}))
    assert [(run["seed"], run["note"]) for run in store.load(SLUG)] == [(0, "new"), (1, "a")]
    assert [run["current"] for run in store.load(SLUG)] == [True, True]


def test_runs_are_current_only_with_todays_code_and_settings():
    store.keep(record(0, code="0" * 64))
    store.keep(record(1, settings={"n": 1}))
    store.keep(record(2, code="0" * 64, carried=[{"code": code_hash(SLUG)}]))
    assert [run["current"] for run in store.load(SLUG)] == [False, False, True]


def test_runs_that_do_not_fit_todays_sheet_are_left_out():
    store.keep(record(0))
    run = record(1)
    values, name = first_value(run)
    values["renamed"] = values.pop(name)
    store.keep(run)
    store.keep(record(2, claims={}))
    assert [run["seed"] for run in store.load(SLUG)] == [0]


def test_smoke_runs_stay_out_of_the_tracked_results(monkeypatch):
    monkeypatch.undo()
    assert store.path_of(SLUG, "full") == store.path_of(SLUG, "book") == papers.records(SLUG)
    assert store.path_of(SLUG, "smoke").relative_to(papers.root()).parts[0] == "_build"


def test_a_failing_write_is_tried_again(folder, monkeypatch):
    calls = []

    def replace(*paths):
        calls.append(paths)
        if len(calls) < 3:
            raise OSError(28, "No space left on device")
        original(*paths)

    original = store.os.replace
    monkeypatch.setattr(store.os, "replace", replace)
    assert store.keep_safe(record()) is None
    assert len(calls) == 3
    assert len(store.load(SLUG)) == 1
    assert not list(folder.glob("*.part"))


def test_what_still_cannot_be_written_is_kept_beside_and_taken_in_later(folder, monkeypatch):
    original = store.os.replace

    def replace(source, target):
        if target.name == f"{SLUG}.json":
            raise OSError(28, "No space left on device")
        original(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(store.os, "replace", replace)
        said = store.keep_safe(record())
    beside = folder / f"{SLUG}.unsaved-{0:016d}.json"
    assert said == f"cannot write the results ([Errno 28] No space left on device); this run is kept in {beside}"
    assert store.load(SLUG) == []
    assert store.adopt(SLUG, "full") == 1
    assert len(store.load(SLUG)) == 1
    assert not beside.exists()


def nothing(value):
    """As many samples as an interval needs, all null, in the form of the value."""
    if not isinstance(value, list):
        return None
    return [[None, None] if isinstance(value[0], list) else None] * 8


def test_numbers_that_are_not_finite_are_null_and_never_a_good_verdict(folder):
    run = record()
    for entry in run["claims"].values():
        entry["values"] = {name: nothing(value) for name, value in entry["values"].items()}
    store.keep(run)
    (stored,) = store.load(SLUG)
    good = {"reproduced", "partly", "holds", "found"}
    assert not good & {entry["verdict"] for entry in stored["claims"].values()}
    assert not any(word in (folder / f"{SLUG}.json").read_text() for word in ("NaN", "Infinity"))


def test_on_windows_the_lock_is_msvcrts(tmp_path, monkeypatch):
    calls = []

    class Msvcrt:
        LK_LOCK, LK_UNLCK = "lock", "unlock"

        @staticmethod
        def locking(handle, mode, size):
            calls.append(mode)
            if calls == ["lock"]:
                raise OSError("busy for ten seconds")

    monkeypatch.setattr(store.sys, "platform", "win32")
    monkeypatch.setitem(store.sys.modules, "msvcrt", Msvcrt)
    with store._locked(tmp_path / ".lock"):
        assert calls == ["lock", "lock"]
    assert calls == ["lock", "lock", "unlock"]


# ----------------------------------------------------------------------------------------------------------- carrying


NOTE = {"commit": "1" * 40, "recorded": "2026-02-01T00:00:00Z"}


def prints(value=1.0):
    smoke = record(preset="smoke")
    smoke["metrics"] = {"value": value}
    return store.fingerprint(smoke)


def test_runs_are_carried_where_the_fingerprint_is_equal_within_the_tolerance():
    old = record(0, code="old")
    store.keep(old)
    assert store.keep_fingerprint(SLUG, "old", prints()) is None
    rtol = papers.sheet(SLUG).rtol
    assert store.carry(SLUG, code_hash(SLUG), prints(1 + rtol / 2), NOTE) == (1, [])
    (run,) = store.load(SLUG)
    assert run["current"]
    assert run["carried"] == [{"code": code_hash(SLUG), **NOTE}]
    assert store.carry(SLUG, code_hash(SLUG), prints(), NOTE) == (0, [])


@pytest.mark.parametrize(
    ("print_", "settings", "why"),
    [
        (prints(1.1), None, "metrics value 1 and 1.1"),
        (None, None, "no fingerprint of its code was taken"),
        (prints(), {"n": 1}, "the settings of full have changed"),
    ],
)
def test_runs_stay_stale_where_it_is_not_and_it_is_said_why(print_, settings, why):
    store.keep(record(0, code="old", **({"settings": settings} if settings else {})))
    if print_:
        store.keep_fingerprint(SLUG, "old", prints())
    count, stale = store.carry(SLUG, code_hash(SLUG), print_ or prints(), NOTE)
    assert count == 0
    assert stale == [f"{SLUG}: 1 full runs of 2026-01-01 stay stale: {why}"]
    assert not store.load(SLUG)[0]["current"]


def test_a_fingerprint_changed_by_hand_is_noticed_and_unused_ones_go(folder):
    store.keep(record(0, code="old"))
    store.keep_fingerprint(SLUG, "old", prints())
    store.keep_fingerprint(SLUG, code_hash(SLUG), prints())
    store.keep(record(0))
    assert list(json.loads((folder / f"{SLUG}.json").read_text())["fingerprints"]) == [code_hash(SLUG)]
    edit(folder, lambda stored: stored["fingerprints"][code_hash(SLUG)]["metrics"].update(value=2.0))
    with pytest.raises(store.Damaged, match="changed by hand"):
        store.load(SLUG)


def test_fingerprints_hold_no_costs_and_no_verdicts():
    costs = {entry.id for entry in papers.sheet(SLUG).claims if entry.kind == "cost"}
    found = store.fingerprint(record())
    assert set(found["claims"]) == {entry.id for entry in papers.sheet(SLUG).claims} - costs
    assert "invented" not in json.dumps(found)


@pytest.mark.parametrize(
    ("a", "b", "n"),
    [
        ({"x": [1.0, None]}, {"x": [1.0, None]}, 0),
        ({"x": [1.0]}, {"x": [1.00005]}, 0),
        ({"x": [1.0]}, {"x": [1.001]}, 1),
        ({"x": [1.0]}, {"x": [1.0, 2.0]}, 1),
        ({"x": 1}, {"y": 1}, 2),
        ({"x": 5}, {"x": 6}, 1),
        ({"x": 100000}, {"x": 100001}, 1),
        ({"x": 1.0}, {"x": None}, 1),
        ({"x": "a"}, {"x": "b"}, 1),
        ({"x": True}, {"x": False}, 1),
        ({"x": 1e-16}, {"x": 3e-16}, 0),
        ({"x": 1.0}, {"x": math.nan}, 1),
    ],
)
def test_differences_are_found_beyond_the_tolerance(a, b, n):
    assert len(store.differences(a, b, 1e-4)) == n
    assert len(store.differences(b, a, 1e-4)) == n
    assert store.differences(a, copy.deepcopy(a), 0.0) == []
