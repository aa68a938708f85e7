"""The recorder, tested for real: papermill, two processes, a Dask cluster on loopback, kills."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from lib import execute, papers, record
from tests.conftest import toy_run


def runs_of(project):
    path = project / "results" / "toy.json"
    return json.loads(path.read_text())["runs"] if path.is_file() else []


@pytest.fixture
def recorded(toy_project):
    """A toy project with seeds 0 and 1 recorded at smoke."""
    done = toy_run(toy_project, "lib.record", "toy", "--preset", "smoke", "--seeds", "0-1")
    assert done.returncode == 0, done.stderr
    return toy_project


@pytest.mark.slow
def test_a_record_holds_results_and_provenance(recorded):
    first, second = runs_of(recorded)
    assert [first["seed"], second["seed"]] == [0, 1]
    assert first["claims"]["C1"]["verdict"] == "not testable"
    assert first["claims"]["C1"]["values"]["value"] != second["claims"]["C1"]["values"]["value"]
    assert len(first["series"]["curve"]) == 1
    assert {"key", "preset", "changed", "metrics", "data", "recorded", "commit", "dirty", "versions", "cpu"} <= set(first)
    assert first["seconds"] >= 0
    assert first["peak_mb"] > 10
    assert not list((recorded / "results").glob("*.part"))


@pytest.mark.slow
def test_stored_verdicts_follow_a_changed_rule(recorded):
    path = recorded / "results" / "toy.json"
    stored = path.read_text()
    path.write_text(stored.replace("not testable", "reproduced"))
    done = toy_run(recorded, "lib.record", "toy", "--preset", "smoke", "--seeds", "0-1")
    assert done.returncode == 0, done.stderr
    assert path.read_text() == stored


@pytest.mark.slow
def test_what_is_recorded_is_skipped_until_code_or_parameters_change(recorded):
    def again(*options):
        done = toy_run(recorded, "lib.record", "toy", "--preset", "smoke", "--seeds", "0-1", *options)
        assert done.returncode == 0, done.stderr
        return [run["recorded"] for run in runs_of(recorded)]

    before = [run["recorded"] for run in runs_of(recorded)]
    chapter = recorded / "book/online/toy.ipynb"
    text = chapter.read_text()
    chapter.write_text(text.replace("import time", "# a comment changes nothing\\nimport time"))
    assert again() == before
    time.sleep(1.1)  # records are stamped to the second
    assert len(again("-p", "n_seeds", "3")) == 4
    chapter.write_text(text.replace("0.9 + 0.1", "0.8 + 0.1"))
    after = again()
    assert len(after) == 4
    assert not set(after[2:]) & set(before) or not set(after[:2]) & set(before)


@pytest.mark.slow
def test_a_failing_run_does_not_stop_the_others_and_names_its_cell(toy_project):
    command = ("lib.record", "toy", "--preset", "smoke", "--seeds", "0", "-p", "broken", "true")
    done = toy_run(toy_project, *command)
    assert done.returncode == 1
    assert "FAILED toy smoke seed 0 broken=True" in done.stderr
    assert re.search(r"cell \d+ raised AssertionError: broken on request", done.stderr)
    assert "Traceback" in done.stderr
    assert "0 of 1 runs" in done.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["nobody"], "no paper has the slug 'nobody'; known: "),
        (["toy", "--preset", "huge"], "unknown preset 'huge'; allowed: smoke, book, full"),
        (["toy", "-p", "sed", "3"], "toy has no parameter sed; its parameters: preset, seed"),
        (["toy", "--jobs", "0"], "jobs must be at least 1"),
        (["toy", "--seeds", "a"], "seeds are given as 0-4 or 0,3,7, got 'a'"),
    ],
)
def test_what_cannot_be_asked_for_is_refused_before_anything_runs(toy_project, options, message):
    done = toy_run(toy_project, "lib.record", *options)
    assert done.returncode == 2
    assert message in done.stderr
    assert not runs_of(toy_project)


@pytest.mark.slow
def test_a_killed_recorder_loses_only_what_was_in_flight(toy_project):
    command = [sys.executable, "-m", "lib.record", "toy", "--preset", "smoke", "--seeds", "0-3", "--jobs", "1"]
    environment = {**os.environ, **execute.ENVIRONMENT, "PYTHONPATH": str(toy_project)}
    process = subprocess.Popen(command, cwd=toy_project, env=environment, stderr=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 60
    while not runs_of(toy_project) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    wait_for(lambda: not processes_of(toy_project))  # the chapter in flight ends with its recorder
    before = runs_of(toy_project)
    assert 1 <= len(before) < 4
    done = toy_run(toy_project, "lib.record", "toy", "--preset", "smoke", "--seeds", "0-3")
    assert done.returncode == 0, done.stderr
    after = runs_of(toy_project)
    assert [run["seed"] for run in after] == [0, 1, 2, 3]
    assert after[: len(before)] == before


@pytest.mark.slow
def test_dask_delivers_every_run_exactly_once_though_a_worker_is_killed(toy_project):
    pytest.importorskip("distributed")
    environment = {**os.environ, **execute.ENVIRONMENT, "PYTHONPATH": str(toy_project)}

    def start(*words):
        command = [sys.executable, "-m", *words]
        return subprocess.Popen(command, cwd=toy_project, env=environment, stderr=subprocess.DEVNULL, start_new_session=True)

    where = toy_project / "scheduler.json"
    processes = [
        start(
            "distributed.cli.dask_scheduler",
            "--host",
            "127.0.0.1",
            "--port",
            "0",
            "--no-dashboard",
            "--scheduler-file",
            str(where),
        )
    ]
    try:
        wait_for(where.is_file)
        address = json.loads(where.read_text())["address"]
        worker = (
            "distributed.cli.dask_worker",
            address,
            "--nthreads",
            "1",
            "--no-dashboard",
            "--memory-limit",
            "0",
            "--no-nanny",
        )
        processes += [start(*worker), start(*worker)]
        command = (
            "lib.record",
            "toy",
            "--preset",
            "smoke",
            "--seeds",
            "0-5",
            "-p",
            "pause",
            "1.5",
            "--scheduler",
            address,
        )
        recorder = start(*command)
        processes.append(recorder)
        wait_for(lambda: len(runs_of(toy_project)) >= 1)
        os.killpg(processes[1].pid, signal.SIGKILL)
        assert recorder.wait(timeout=120) == 0
        assert [run["seed"] for run in runs_of(toy_project)] == [0, 1, 2, 3, 4, 5]
    finally:
        for process in processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def processes_of(project):
    """Command lines of the processes that execute chapters of a project."""
    listing = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    return [line for line in listing.splitlines() if "lib.execute" in line and str(project) in line]


def wait_for(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


@pytest.mark.slow
def test_a_run_beyond_its_limit_is_killed(toy_project):
    command = ("lib.record", "toy", "--preset", "smoke", "-p", "pause", "60", "--timeout", "6")
    done = toy_run(toy_project, *command, timeout=50)
    assert done.returncode == 1
    assert "not done after 6 s" in done.stderr


@pytest.mark.parametrize(("text", "seeds"), [("0-2", [0, 1, 2]), ("3", [3]), ("0,3,7", [0, 3, 7]), ("0-1,5", [0, 1, 5])])
def test_seeds_are_read_as_ranges_and_lists(text, seeds):
    assert record._seeds(text) == seeds


def test_code_hash_sees_code_and_not_comments(tmp_path, monkeypatch):
    slug = next(iter(papers.slugs()))
    before = record.code_hash(slug)
    notebook = json.loads(papers.chapter(slug).read_text())
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code" and not cell["metadata"].get("tags")]
    monkeypatch.setattr(papers, "chapter", lambda _: tmp_path / "chapter.ipynb")

    def rehash():
        (tmp_path / "chapter.ipynb").write_text(json.dumps(notebook))
        return record.code_hash(slug)

    assert rehash() == before
    code[0]["source"] = ["# a comment\n", *code[0]["source"]]
    assert rehash() == before
    code[0]["source"] = ["import math\n", *code[0]["source"]]
    changed = rehash()
    assert changed != before
    drawing = {"cell_type": "code", "metadata": {"tags": ["hide-input"]}, "source": ["plt.plot(x)"], "outputs": []}
    notebook["cells"].append(drawing)
    assert rehash() == changed
    drawing["source"] = ["ledger.measure('C1', value=1)"]
    assert rehash() != changed


def test_a_worker_with_other_code_refuses(monkeypatch):
    run = record.Run(next(iter(papers.slugs())), "smoke", 0)
    with pytest.raises(execute.ChapterFailed, match="other code or settings"):
        record.perform(run, "0" * 16)
