"""One run of a chapter: what its process is given, and how it ends."""

import json
import sys
import threading
import time

import pytest

from lib import execute, papers
from tests.conftest import ROOT


@pytest.fixture
def notebook(tmp_path):
    """Writes a notebook of these cells and returns its path."""

    def write(*sources):
        cells = [
            {
                "cell_type": "code",
                "metadata": {"tags": ["parameters"]} if i == 0 else {},
                "source": s,
                "outputs": [],
                "execution_count": None,
            }
            for i, s in enumerate(("x = 1", *sources))
        ]
        path = tmp_path / "chapter.ipynb"
        metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
        path.write_text(json.dumps({"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 4}))
        return path

    return write


@pytest.mark.slow
def test_the_kernel_gets_parameters_one_thread_and_this_checkout(notebook, tmp_path):
    path = notebook("import os, lib\nprint(x, lib.__file__, os.environ['OMP_NUM_THREADS'], os.environ['EXTRA'])")
    done = execute.run_chapter(path, tmp_path / "out.ipynb", {"x": 7}, 600, {"EXTRA": "yes"})
    text = "".join(line for cell in done["cells"] for output in cell.get("outputs", []) for line in output["text"])
    assert text.split() == ["7", str(ROOT / "lib/__init__.py"), "1", "yes"]


def test_outside_a_checkout_the_search_path_is_left_alone(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "elsewhere")
    assert execute._own_package()["PYTHONPATH"].split(":" if sys.platform != "win32" else ";") == [str(ROOT), "elsewhere"]
    monkeypatch.setattr(papers, "is_checkout", lambda: False)
    assert execute._own_package() == {}


@pytest.mark.slow
def test_a_failing_cell_is_named_with_its_traceback(notebook, tmp_path):
    with pytest.raises(execute.ChapterFailed, match=r"chapter.ipynb: cell 1 raised ValueError: no\n(.|\n)*Traceback"):
        execute.run_chapter(notebook("raise ValueError('no')"), tmp_path / "out.ipynb", {}, 600)


@pytest.mark.slow
def test_stopped_runs_end_at_once_and_no_more_start(notebook, tmp_path):
    path = notebook(f"open({str(tmp_path / 'started')!r}, 'w').close()\nimport time\ntime.sleep(1000)")
    raised = []

    def run():
        try:
            execute.run_chapter(path, tmp_path / "out.ipynb", {}, 900, token="a test")
        except execute.Stopped as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    deadline = time.monotonic() + 600
    while not (tmp_path / "started").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    execute.stop("another token")
    assert thread.is_alive()
    execute.stop("a test")
    thread.join(100)
    assert len(raised) == 1
    with pytest.raises(execute.Stopped):
        execute.run_chapter(path, tmp_path / "out.ipynb", {}, 900, token="a test")
