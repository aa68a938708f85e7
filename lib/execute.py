"""Runs one chapter with papermill, in a process of its own, and reads back what it emitted.

Its own process, because then the kernel and its memory die with it, a hung one can be killed, and two chapters never race
for ports. `python -m lib.execute` is that process. Its kernel imports the `lib` of the checkout that asked for the run.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

from lib import papers

#: One thread, fixed hashes, no bars: what every stored output was made with.
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "PYTHONHASHSEED": "0",
    "TQDM_DISABLE": "1",
}


#: Token -> the processes that run under it; tokens that `stop` was called for.
_running: dict[str, set[subprocess.Popen[str]]] = {}
_stopped: set[str] = set()
_lock = threading.Lock()


class ChapterFailed(RuntimeError):
    """A chapter did not run to its end; the message names the cell and holds the traceback."""


class Stopped(ChapterFailed):
    """A chapter was stopped from outside, see `stop`."""


def run_chapter(
    chapter: Path,
    out: Path,
    parameters: dict[str, Any],
    timeout_s: float | None = None,
    environment: dict[str, str] | None = None,
    token: str = "",
) -> dict[str, Any]:
    """Execute a chapter with these parameters and return the executed notebook (also written to `out`).

    Parameters
    ----------
    chapter, out : Path
        Notebook to read and to write. The kernel works in the chapter's folder.
    parameters : dict
        Replaces values of the cell tagged ``parameters``.
    timeout_s : float, optional
        Wall-clock limit; the process, its kernel and all that these started are killed beyond it.
    environment : dict, optional
        Environment variables to set beside `ENVIRONMENT`.
    token : str
        What `stop` is called with to end this run from another thread.

    Raises
    ------
    ValueError
        If the chapter has no such parameter (papermill itself would run on with the default).
    ChapterFailed
        If a cell raises, the kernel dies or the time is over; `Stopped` if it was stopped.
    """
    check_parameters(chapter, parameters)
    command = [sys.executable, "-m", "lib.execute", str(chapter.resolve()), str(out.resolve()), json.dumps(parameters)]
    with _lock:  # so that `stop` finds every process that was started
        if token in _stopped:
            raise Stopped(f"{chapter.name}: stopped")
        process = subprocess.Popen(
            command,
            cwd=chapter.resolve().parent,
            env={**os.environ, **ENVIRONMENT, **_own_package(), **(environment or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        _running.setdefault(token, set()).add(process)
    try:
        log, _ = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        raise ChapterFailed(f"{chapter.name}: not done after {timeout_s:g} s") from None
    finally:
        if process.poll() is None:
            _kill(process)
            process.wait()
        with _lock:
            _running[token].discard(process)
    if process.returncode and token in _stopped:
        raise Stopped(f"{chapter.name}: stopped")
    notebook = json.loads(out.read_text(encoding="utf-8")) if out.is_file() else None
    if process.returncode or notebook is None:
        raise ChapterFailed(f"{chapter.name}: {_failure(notebook) or log[-3000:]}")
    return notebook


def stop(token: str) -> None:
    """End at once every run that was started in this process with a token, and let none start with it any more."""
    with _lock:
        _stopped.add(token)
        for process in _running.get(token, ()):
            _kill(process)


def _kill(process: subprocess.Popen[str]) -> None:
    """Kill a process, its kernel (which has a session of its own) and whatever these started."""
    family = []
    with suppress(Exception):  # psutil comes with ipykernel; without it the kernel ends by itself, a second later
        import psutil

        family = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    for child in family:
        with suppress(Exception):
            child.kill()


def _own_package() -> dict[str, str]:
    """The search path that makes a kernel import this `lib`, whatever else is installed in its environment."""
    if not papers.is_checkout():
        return {}
    return {"PYTHONPATH": os.pathsep.join(filter(None, [str(papers.root()), os.environ.get("PYTHONPATH")]))}


def check_parameters(chapter: Path, parameters: dict[str, Any]) -> None:
    """Refuse parameters that the chapter's ``parameters`` cell does not define."""
    import papermill

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # papermill's own deprecated calls
        known = papermill.inspect_notebook(str(chapter))
    if unknown := sorted(set(parameters) - set(known)):
        raise ValueError(f"{chapter.stem} has no parameter {', '.join(unknown)}; its parameters: {', '.join(known)}")


def _failure(notebook: dict[str, Any] | None) -> str | None:
    """Cell number (as in the chapter itself) and traceback of the first error in an executed notebook."""
    cells = notebook["cells"] if notebook else []
    added = {"injected-parameters", "papermill-error-cell-tag"}
    for index, cell in enumerate(cell for cell in cells if not added & set(cell["metadata"].get("tags", []))):
        for output in cell.get("outputs", []):
            if output["output_type"] == "error":
                traceback = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(output["traceback"]))
                return f"cell {index} raised {output['ename']}: {output['evalue']}\n{traceback}"
    return None


def emitted(notebook: dict[str, Any]) -> dict[str, Any] | None:
    """What `lib.claims.Ledger.report` emitted in an executed notebook, with the private part under ``"private"``."""
    for cell in reversed(notebook["cells"]):
        for output in cell.get("outputs", []):
            results = output.get("data", {}).get("application/json")
            if isinstance(results, dict) and "claims" in results:
                return {**results, "private": output.get("metadata", {}).get("lib", {})}
    return None


def _end_with(parent: int) -> None:
    """End this process once its parent is gone (a killed recorder); the kernel then ends by itself."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def main(argv: list[str]) -> None:
    """Execute ``CHAPTER OUT PARAMETERS_AS_JSON`` in this process."""
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    import papermill
    from traitlets.config import Config

    chapter, out, parameters = argv
    with tempfile.TemporaryDirectory(prefix="kernel-") as folder:
        # Unix sockets in a folder of its own: kernels that start together cannot take each other's port or socket.
        sockets = {"transport": "ipc", "ip": f"{folder}/socket"} if os.name == "posix" else {}
        papermill.execute_notebook(
            chapter,
            out,
            json.loads(parameters),
            kernel_name="python3",
            progress_bar=False,
            config=Config({"KernelManager": sockets}),
            cwd=str(Path(chapter).parent),
        )


if __name__ == "__main__":
    main(sys.argv[1:])
