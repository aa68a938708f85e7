"""Runs one chapter with papermill, in a process of its own, and reads back what it emitted.

Its own process, because then the kernel and its memory die with it, a hung one can be killed, and two chapters never race
for ports. `python -m lib.execute` is that process.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from pathlib import Path
from typing import Any

#: One thread, fixed hashes, no bars: what every stored output was made with.
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "PYTHONHASHSEED": "0",
    "TQDM_DISABLE": "1",
}


class ChapterFailed(RuntimeError):
    """A chapter did not run to its end; the message names the cell and holds the traceback."""


def run_chapter(
    chapter: Path,
    out: Path,
    parameters: dict[str, Any],
    timeout_s: float | None = None,
    environment: dict[str, str] | None = None,
) -> dict[str, Any]:
    """Execute a chapter with these parameters and return the executed notebook (also written to `out`).

    Parameters
    ----------
    chapter, out : Path
        Notebook to read and to write. The kernel works in the chapter's folder.
    parameters : dict
        Replaces values of the cell tagged ``parameters``.
    timeout_s : float, optional
        Wall-clock limit; the whole process group is killed beyond it.
    environment : dict, optional
        Environment variables to set beside `ENVIRONMENT`.

    Raises
    ------
    ValueError
        If the chapter has no such parameter (papermill itself would run on with the default).
    ChapterFailed
        If a cell raises, the kernel dies or the time is over.
    """
    check_parameters(chapter, parameters)
    command = [sys.executable, "-m", "lib.execute", str(chapter.resolve()), str(out.resolve()), json.dumps(parameters)]
    process = subprocess.Popen(
        command,
        cwd=chapter.resolve().parent,
        env={**os.environ, **ENVIRONMENT, **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        log, _ = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        raise ChapterFailed(f"{chapter.name}: not done after {timeout_s:g} s") from None
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    notebook = json.loads(out.read_text(encoding="utf-8")) if out.is_file() else None
    if process.returncode or notebook is None:
        raise ChapterFailed(f"{chapter.name}: {_failure(notebook) or log[-3000:]}")
    return notebook


def check_parameters(chapter: Path, parameters: dict[str, Any]) -> None:
    """Refuse parameters that the chapter's ``parameters`` cell does not define."""
    import papermill

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # papermill's own deprecated calls
        known = papermill.inspect_notebook(str(chapter))
    if unknown := sorted(set(parameters) - set(known)):
        raise ValueError(f"{chapter.stem} has no parameter {', '.join(unknown)}; its parameters: {', '.join(known)}")


def _failure(notebook: dict[str, Any] | None) -> str | None:
    """Cell number and traceback of the first error in an executed notebook."""
    for index, cell in enumerate(notebook["cells"] if notebook else []):
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
