"""The recorder when it is stopped or killed, and on a Dask cluster on loopback.

Every wait is for hangs only: ten times what it should take, or more.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from lib import execute
from tests.test_record import HANGS, edit, runs_of, smoke


def start(project, *words, **options):
    environment = {**os.environ, **execute.ENVIRONMENT, "PYTHONPATH": str(project)}
    quiet = {"stderr": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, **options}
    return subprocess.Popen([sys.executable, "-m", *words], cwd=project, env=environment, start_new_session=True, **quiet)


def processes_of(project):
    """Command lines of the processes that execute chapters of a project, or their kernels."""
    found = []
    for folder in [name for name in os.listdir("/proc") if name.isdigit()]:
        try:
            with open(f"/proc/{folder}/cmdline", "rb") as handle:
                line = handle.read().replace(b"\0", b" ").decode(errors="replace")
            inside = os.readlink(f"/proc/{folder}/cwd").startswith(str(project))
        except OSError:
            continue
        if ("lib.execute" in line or "ipykernel" in line) and inside:
            found.append(line)
    return found


def wait_for(condition, seconds=HANGS):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.skipif(not os.path.isdir("/proc"), reason="looks for processes in /proc")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_recorder_ends_at_once_and_keeps_what_is_finished(toy_project, number, status):
    edit(toy_project, "time.sleep(pause)", "time.sleep(0 if seed == 0 else 1000)")
    command = ("lib.record", "toy", "--preset", "smoke", "--seeds", "0-4")
    process = start(toy_project, *command, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: runs_of(toy_project) and len(processes_of(toy_project)) == 4)  # two runs with their kernels
    os.kill(process.pid, number)
    _, log = process.communicate(timeout=60)  # the runs in flight would take 1000 s each
    assert process.returncode == status
    lines = [line for line in re.split(r"[\r\n]", log) if line and not line.startswith("recorded")]
    assert lines == ["stopped: 1 of 5 runs stand in _build/records/; the same command goes on"]
    assert processes_of(toy_project) == []
    assert [run["seed"] for run in runs_of(toy_project)] == [0]


@pytest.mark.slow
@pytest.mark.skipif(not os.path.isdir("/proc"), reason="looks for processes in /proc")
def test_a_killed_recorder_loses_only_what_was_in_flight(toy_project):
    process = start(toy_project, "lib.record", "toy", "--preset", "smoke", "--seeds", "0-2", "--jobs", "1")
    wait_for(lambda: runs_of(toy_project))
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    wait_for(lambda: not processes_of(toy_project))  # the chapter in flight ends with its recorder
    before = runs_of(toy_project)
    assert 1 <= len(before) < 3
    done = smoke(toy_project, "--seeds", "0-2")
    assert done.returncode == 0, done.stderr
    after = runs_of(toy_project)
    assert [run["seed"] for run in after] == [0, 1, 2]
    assert after[: len(before)] == before


@pytest.fixture
def scheduler(toy_project):
    """The address of a Dask scheduler of the toy project's own, a function that starts a worker, and all processes."""
    pytest.importorskip("distributed")
    where = toy_project / "scheduler.json"
    options = ("--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(where))
    processes = [start(toy_project, "distributed.cli.dask_scheduler", *options)]
    wait_for(lambda: where.is_file() and where.read_text().strip())
    address = json.loads(where.read_text())["address"]

    def worker():
        options = ("--nthreads", "1", "--no-dashboard", "--memory-limit", "0", "--no-nanny")
        processes.append(start(toy_project, "distributed.cli.dask_worker", address, *options))
        return processes[-1]

    yield address, worker
    for process in processes:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.mark.slow
def test_dask_delivers_every_run_exactly_once_though_a_worker_is_killed(toy_project, scheduler):
    address, worker = scheduler
    done = smoke(toy_project, "--scheduler", address)
    assert done.returncode == 2
    assert done.stderr == f"error: the Dask scheduler {address} has no worker\n"
    first, _ = worker(), worker()
    recorder = start(
        toy_project, "lib.record", "toy", "--preset", "smoke", "--seeds", "0-3", "-p", "pause", "1.5", "--scheduler", address
    )
    try:
        wait_for(lambda: runs_of(toy_project))
        os.killpg(first.pid, signal.SIGKILL)
        assert recorder.wait(timeout=HANGS) == 0
    finally:
        recorder.kill()
    assert [run["seed"] for run in runs_of(toy_project)] == [0, 1, 2, 3]


@pytest.mark.slow
@pytest.mark.skipif(not os.path.isdir("/proc"), reason="looks for processes in /proc")
def test_a_stopped_recorder_also_ends_what_its_cluster_is_doing(toy_project, scheduler):
    address, worker = scheduler
    worker()
    command = ("lib.record", "toy", "--preset", "smoke", "-p", "pause", "1000", "--scheduler", address)
    recorder = start(toy_project, *command)
    try:
        wait_for(lambda: len(processes_of(toy_project)) == 2)  # a run with its kernel
        os.kill(recorder.pid, signal.SIGINT)
        assert recorder.wait(timeout=100) == 130
        wait_for(lambda: not processes_of(toy_project), seconds=100)
    finally:
        recorder.kill()


@pytest.mark.slow
def test_a_run_beyond_its_limit_is_killed(toy_project):
    done = smoke(toy_project, "-p", "pause", "1000", "--timeout", "6")
    assert done.returncode == 1
    assert "not done after 6 s" in done.stderr
