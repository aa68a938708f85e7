"""The recorder, tested for real with papermill and processes (stops, kills and clusters: `test_record_stops.py`).

Every wait is for hangs only: ten times what it should take, or more.
"""

import json
import os
import re
import subprocess
import sys

import pytest

from lib import execute, papers, record, store
from tests.conftest import toy_run

HANGS = 600


def runs_of(project, place="_build/records"):
    path = project / place / "toy.json"
    return json.loads(path.read_text())["runs"] if path.is_file() else []


def smoke(project, *options, **more):
    return toy_run(project, "lib.record", "toy", "--preset", "smoke", *options, timeout=HANGS, **more)


def edit(project, old, new):
    chapter = project / "book/online/toy.ipynb"
    text = chapter.read_text()
    assert old in text
    chapter.write_text(text.replace(old, new))


@pytest.fixture
def recorded(toy_project):
    """A toy project with seeds 0 and 1 recorded at smoke."""
    done = smoke(toy_project, "--seeds", "0-1")
    assert done.returncode == 0, done.stderr
    return toy_project


@pytest.mark.slow
def test_a_record_holds_results_and_provenance_and_stays_until_code_or_parameters_change(recorded):
    first, second = runs_of(recorded)
    assert [first["seed"], second["seed"]] == [0, 1]
    assert first["claims"]["C1"]["verdict"] == "not tested"
    assert first["claims"]["C1"]["values"]["value"] != second["claims"]["C1"]["values"]["value"]
    assert len(first["series"]["curve"]) == first["settings"]["n_seeds"]
    assert {"key", "code", "digest", "preset", "changed", "metrics", "data", "commit", "dirty", "versions", "cpu"} <= set(first)
    assert first["seconds"] >= 0
    assert first["cpu_seconds"] > 0
    assert first["peak_mb"] > 10
    assert not list(recorded.rglob("*.part"))
    assert not (recorded / "results").exists()  # smoke runs stay out of the tracked results

    path = recorded / "_build/records/toy.json"
    stored = path.read_text()
    path.write_text(stored.replace('"not tested"', '"reproduced"'))
    edit(recorded, "import time", "# a comment changes nothing\\nimport time")
    done = smoke(recorded, "--seeds", "0-1")
    assert done.returncode == 0, done.stderr
    assert path.read_text() == stored  # nothing ran again, and verdicts are those of today's rules

    done = smoke(recorded, "--seeds", "1", "-p", "n_seeds", "3")
    assert done.returncode == 0, done.stderr
    assert [(run["seed"], run["changed"]) for run in runs_of(recorded)] == [(0, {}), (1, {}), (1, {"n_seeds": 3})]
    assert len(runs_of(recorded)[2]["series"]["curve"]) == 3
    edit(recorded, "0.9 + 0.1", "0.8 + 0.1")
    done = smoke(recorded, "--seeds", "0")
    assert done.returncode == 0, done.stderr
    after = runs_of(recorded)
    assert len(after) == 3
    assert after[0]["code"] != first["code"]
    assert after[1] == second


@pytest.mark.slow
def test_a_failing_run_does_not_stop_the_others_and_names_its_cell(toy_project):
    edit(toy_project, "assert not broken,", "assert seed,")
    done = smoke(toy_project, "--seeds", "0-1")
    assert done.returncode == 1
    assert "FAILED toy smoke seed 0: toy.ipynb: " in done.stderr
    assert re.search(r"cell \d+ raised AssertionError: broken on request", done.stderr)
    assert "Traceback" in done.stderr
    assert done.stdout == "1 of 2 runs stand in _build/records/\n"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["nobody"], "no paper has the slug 'nobody'; known: "),
        (["toy", "--preset", "huge"], "unknown preset 'huge'; allowed: smoke, book, full"),
        (["toy", "-p", "sed", "3"], "toy has no parameter sed; its parameters: preset, seed"),
        (["toy", "-p", "seed", "3"], "seed: say --preset and --seeds"),
        (["toy", "-p", "pause", "nan"], "pause must be finite"),
        (["toy", "--jobs", "0"], "jobs must be at least 1"),
        (["toy", "--seeds", "a"], "seeds are given as 0-4 or 0,3,7, got 'a'"),
        (["toy", "--scheduler", "tcp://127.0.0.1:9"], "no Dask scheduler answers at tcp://127.0.0.1:9"),
        (["toy", "--scheduler", "nonsense://x"], "no Dask scheduler answers at nonsense://x"),
    ],
)
def test_what_cannot_be_asked_for_is_refused_in_one_line_before_anything_runs(toy_project, options, message):
    if "--scheduler" in options:
        pytest.importorskip("distributed")
    done = toy_run(toy_project, "lib.record", *options, timeout=HANGS)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert options[-1] == "a" or done.stderr.count("\n") == 1
    assert not runs_of(toy_project, "results")


@pytest.mark.parametrize(
    "damage", ["", "[]", "{}", '{"runs": [3]}', '{"runs": [{}]}', '{"slug": "toy", "runs": [{"seed": 0}]}', "binary"]
)
def test_a_damaged_results_file_is_named_and_left_alone(toy_project, damage):
    path = toy_project / "results/toy.json"
    path.parent.mkdir()
    path.write_bytes(b"\xff\xfe\x00" if damage == "binary" else damage.encode())
    before = path.read_bytes()
    done = toy_run(toy_project, "lib.record", "toy", timeout=HANGS)
    assert done.returncode == 2
    assert done.stderr.startswith("error: results/toy.json is damaged")
    assert done.stderr.count("\n") == 1
    assert path.read_bytes() == before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("old", "new", "options", "name"),
    [
        ('start(\\"toy\\"', 'start(\\"anyloss\\"', [], "slug 'anyloss'"),
        ('\\"toy\\", preset', '\\"toy\\", \\"book\\"', [], "preset 'book'"),
        ("preset, seed, n_seeds", "preset, 0, n_seeds", ["--seeds", "3"], "seed 0"),
        ("n_seeds=n_seeds", "n_seeds=3", [], "changed {'n_seeds': 3}"),
        ("n_seeds=n_seeds", "n_seeds=None", ["-p", "n_seeds", "3"], "changed {}"),
    ],
)
def test_results_of_another_run_than_was_asked_for_are_refused(toy_project, old, new, options, name):
    edit(toy_project, old, new)
    if "anyloss" in new:  # a copied chapter that kept the old slug
        for suffix in ("yml", "ipynb"):
            source = toy_project / f"book/online/toy.{suffix}"
            (toy_project / "book/objectives").mkdir(exist_ok=True)
            (toy_project / f"book/objectives/anyloss.{suffix}").write_text(source.read_text())
    done = smoke(toy_project, *options)
    assert done.returncode == 1
    assert f"the chapter answered for {name}" in done.stderr
    assert not runs_of(toy_project)
    assert not list((toy_project / "_build").rglob("anyloss.json"))


@pytest.mark.slow
def test_the_kernel_imports_the_recorders_own_checkout(toy_project):
    edit(toy_project, "import time", f"import lib\\nassert lib.__file__.startswith({str(toy_project)!r}), lib.__file__")
    edit(toy_project, "time.sleep(pause)", "pass")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-m", "lib.record", "toy", "--preset", "smoke"]
    done = subprocess.run(command, cwd=toy_project, env=environment, capture_output=True, text=True, timeout=HANGS, check=False)
    assert done.returncode == 0, done.stderr


# ------------------------------------------------------------------------------------------------- full runs, fingerprints


def git(project, *words):
    names = ["-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", *names, *words], cwd=project, check=True, capture_output=True)


@pytest.fixture
def committed(toy_project):
    """A toy project in a repository of its own, everything committed."""
    (toy_project / ".gitignore").write_text("_build/\n__pycache__/\nresults/\n")
    git(toy_project, "init", "-q")
    git(toy_project, "add", "-A")
    git(toy_project, "commit", "-q", "-m", "a toy")
    return toy_project


def current(project):
    code = "from lib import record; print([run['current'] for run in record.load('toy')])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=project, env=os.environ | {"PYTHONPATH": str(project)}, capture_output=True
    )
    return done.stdout.decode().strip() or done.stderr.decode()


@pytest.mark.slow
def test_runs_are_carried_over_a_refactoring_and_only_over_one(committed):
    def again(*options):
        return toy_run(committed, "lib.record", "toy", *options, timeout=HANGS)

    done = again("--seeds", "0-1")
    assert done.returncode == 0, done.stderr
    stored = json.loads((committed / "results/toy.json").read_text())
    assert {run["dirty"] for run in stored["runs"]} == {False}
    assert re.fullmatch(r"[0-9a-f]{40}", stored["runs"][0]["commit"])
    assert list(stored["fingerprints"]) == [stored["runs"][0]["code"]]
    assert current(committed) == "[True, True]"

    edit(committed, "0.9 + 0.1", "1.0 - 0.1 + 0.1")  # the same numbers up to rounding
    assert current(committed) == "[False, False]"
    done = again("--carry")
    assert done.returncode == 2  # from a clean tree only
    assert "not committed" in done.stderr
    git(committed, "commit", "-qam", "a refactoring")
    done = again("--carry")
    assert done.returncode == 0, done.stderr
    assert "2 recorded runs carried" in done.stdout
    assert current(committed) == "[True, True]"
    (note,) = json.loads((committed / "results/toy.json").read_text())["runs"][0]["carried"]
    assert set(note) == {"code", "commit", "recorded"}
    done = again("--seeds", "0-1")  # carried runs are not run again
    assert "2 of 2 runs stand in results/" in done.stdout
    assert len(json.loads((committed / "results/toy.json").read_text())["runs"][0]["carried"]) == 1

    edit(committed, "1.0 - 0.1 + 0.1", "0.8 + 0.1")
    git(committed, "commit", "-qam", "other numbers")
    done = again("--carry")
    assert done.returncode == 1
    assert "2 full runs" in done.stderr
    assert "stay stale: claims C1 values value 0" in done.stderr
    assert current(committed) == "[False, False]"


@pytest.mark.slow
def test_runs_of_another_processor_are_carried_by_their_own_code_run_again_here(committed):
    def again(*options):
        return toy_run(committed, "lib.record", "toy", *options, timeout=HANGS)

    done = again("--seeds", "0")
    assert done.returncode == 0, done.stderr
    path = committed / "results/toy.json"
    stored = json.loads(path.read_text())
    (code,) = stored["fingerprints"]
    for entry, change in (
        (stored["runs"][0], {"cpu": "another"}),
        (stored["fingerprints"][code], {"metrics": {"elsewhere": 1.0}}),
    ):
        entry.update(change)
        entry["digest"] = store.digest_of(entry)
    path.write_text(json.dumps(stored))

    edit(committed, "0.9 + 0.1", "1.0 - 0.1 + 0.1")
    git(committed, "commit", "-qam", "a refactoring")
    done = again("--carry")
    assert done.returncode == 0, done.stderr
    assert "1 recorded runs carried" in done.stdout
    assert current(committed) == "[True]"
    (note,) = json.loads(path.read_text())["runs"][0]["carried"]
    assert set(note) == {"code", "commit", "recorded", "cpu"}
    worktrees = subprocess.run(["git", "worktree", "list"], cwd=committed, capture_output=True, text=True, check=True)
    assert len(worktrees.stdout.splitlines()) == 1

    edit(committed, "1.0 - 0.1 + 0.1", "0.8 + 0.1")
    git(committed, "commit", "-qam", "other numbers")
    done = again("--carry")
    assert done.returncode == 1
    assert "stay stale: claims C1 values value 0" in done.stderr  # what differs here, not what differs between processors
    assert "elsewhere" not in done.stderr


@pytest.mark.slow
def test_full_runs_of_a_dirty_tree_are_refused_unless_allowed(committed):
    edit(committed, "0.9 + 0.1", "0.8 + 0.1")
    done = toy_run(committed, "lib.record", "toy", "--seeds", "0", timeout=HANGS)
    assert done.returncode == 2
    assert "lib, book or tools hold changes that are not committed" in done.stderr
    assert not runs_of(committed, "results")
    done = toy_run(committed, "lib.record", "toy", "--seeds", "0", "--allow-dirty", timeout=HANGS)
    assert done.returncode == 0, done.stderr
    assert [run["dirty"] for run in runs_of(committed, "results")] == [True]


@pytest.mark.slow
def test_what_cannot_be_written_is_kept_beside_or_among_temporary_files(toy_project, tmp_path_factory, monkeypatch):
    temporary = tmp_path_factory.mktemp("temporary")
    monkeypatch.setenv("TMPDIR", str(temporary))
    (toy_project / "_build").mkdir()
    (toy_project / "_build/records").write_text("a file where a folder should be")
    done = smoke(toy_project)
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if "FAILED" in line]
    (path,) = temporary.glob("toy.unsaved-*.json")
    assert f"this run is kept in {path}" in line
    assert json.loads(path.read_text())["seed"] == 0
    (toy_project / "_build/records").unlink()
    (toy_project / "_build/records").mkdir()
    path.rename(toy_project / "_build/records" / path.name)  # beside, as after a full disk: the next recorder takes it in
    done = smoke(toy_project)
    assert done.returncode == 0, done.stderr
    assert [run["seed"] for run in runs_of(toy_project)] == [0]
    assert [p.name for p in (toy_project / "_build/records").glob("*.json")] == ["toy.json"]


# ------------------------------------------------------------------------------------------------------- small parts


def test_limits_are_ten_times_the_promise_for_every_preset():
    assert record.LIMITS_S == {"smoke": 300, "book": 900, "full": 12_000}
    assert set(record.LIMITS_S) == set(papers.PRESETS)


@pytest.mark.parametrize(("text", "seeds"), [("0-2", [0, 1, 2]), ("3", [3]), ("0,3,7", [0, 3, 7]), ("0-1,5", [0, 1, 5])])
def test_seeds_are_read_as_ranges_and_lists(text, seeds):
    assert record._seeds(text) == seeds


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2e-1", 0.2),
        ("None", None),
        ("True", True),
        ("true", "true"),
        ("010", 10),
        ("12:30", "12:30"),
        ("1.5", 1.5),
        ("a", "a"),
    ],
)
def test_parameters_are_read_as_papermill_reads_them(text, value):
    assert record._value(text) == value
    assert type(record._value(text)) is type(value)


def test_a_setting_that_is_none_is_not_changed():
    slug = next(iter(papers.slugs()))
    name = next(iter(papers.sheet(slug).scale))
    assert record.Run(slug, "smoke", 0, {name: None}).key() == record.Run(slug, "smoke", 0).key()
    assert record.Run(slug, "smoke", 0, {name: 1}).key() != record.Run(slug, "smoke", 0).key()
    assert record.Run(slug, "smoke", 0).key() != record.Run(slug, "smoke", 1).key()


def test_a_worker_with_other_code_refuses():
    run = record.Run(next(iter(papers.slugs())), "smoke", 0)
    with pytest.raises(execute.ChapterFailed, match="other code or settings"):
        record.perform(run, "0" * 16)


@pytest.mark.parametrize("limit", ["nan", "-1", "0", "inf"])
def test_a_limit_that_is_none_is_refused_by_name(limit, capsys):
    assert record.main(["toy", f"--timeout={limit}"]) == 2
    assert capsys.readouterr().err.startswith("error: --timeout must be a finite number above 0, got")
