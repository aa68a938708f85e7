"""Reruns chapters as other CPUs would compute them: every output must be the stored one, as nbval compares.

python -m tools.personalities [SLUG...]
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lib import execute, papers
from tools import compare, notebooks

#: Against hangs only: ten times what a chapter promises.
LIMIT_S = 900
#: Shown of each chapter and personality.
_MOST_LINES = 5


def personalities() -> dict[str, dict[str, str]]:
    """Name -> environment variables that make numerical libraries compute as on another CPU."""
    plain = {
        "torch without vector instructions": {"ATEN_CPU_CAPABILITY": "default"},
        "MKL's compatible code path": {"MKL_CBWR": "COMPATIBLE"},
        "OpenBLAS for Haswell": {"OPENBLAS_CORETYPE": "Haswell"},
    }
    without_avx512 = {
        "ATEN_CPU_CAPABILITY": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "OPENBLAS_CORETYPE": "Haswell",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    }
    if names := numpy_beyond_avx2():
        without_avx512["NPY_DISABLE_CPU_FEATURES"] = " ".join(names)
    return plain | {"a CPU without AVX-512": without_avx512}


def numpy_beyond_avx2() -> list[str]:
    """The groups of CPU features beyond AVX2 that NumPy uses on this machine and can be told not to use."""
    umath = importlib.import_module("numpy._core._multiarray_umath")
    used = [name for name in umath.__cpu_dispatch__ if umath.__cpu_features__.get(name)]
    beyond = [name for name in used if name.startswith("AVX512") or name in ("X86_V4", "AVX10")]
    return [name for name in beyond if _numpy_accepts(name)]


def _numpy_accepts(name: str) -> bool:
    environment = {**os.environ, "NPY_DISABLE_CPU_FEATURES": name}
    command = [sys.executable, "-W", "error", "-c", "import numpy"]
    return subprocess.run(command, env=environment, capture_output=True, check=False).returncode == 0


def differences(slug: str, environment: dict[str, str]) -> list[str]:
    """Run one chapter under a personality; one line per output that is not the stored one."""
    path = papers.chapter(slug)
    stored = json.loads(path.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as folder:
        try:
            notebook = execute.run_chapter(path, Path(folder) / "out.ipynb", {}, LIMIT_S, environment)
        except execute.ChapterFailed as error:
            return [str(error)]
    return compare.differences(stored, notebooks.normalize(notebook, slug), compare.rtol_of(path))


def reports(slugs: list[str], only: str = "") -> Iterator[tuple[str, list[str]]]:
    """Chapter and personality in words, with the differences, in order; two at a time."""
    chosen = {name: environment for name, environment in personalities().items() if only in name}
    pairs = [(slug, name) for slug in slugs for name in chosen]
    with ThreadPoolExecutor(min(2, os.cpu_count() or 1)) as pool:  # threads that wait for processes
        found = pool.map(lambda pair: differences(pair[0], chosen[pair[1]]), pairs)
        for (slug, name), lines in zip(pairs, found, strict=True):
            yield f"{slug}, {name}", lines


def main(argv: list[str] | None = None) -> int:
    """The command line; the exit status says whether an output changed."""
    parser = argparse.ArgumentParser(prog="python -m tools.personalities", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("slugs", nargs="*", metavar="SLUG")
    parser.add_argument("--only", default="", metavar="WORDS", help="personalities whose name has these words")
    options = parser.parse_args(argv)
    failed = False
    for name, lines in reports(options.slugs or list(papers.slugs()), options.only):
        failed |= bool(lines)
        print(f"{name}: {f'{len(lines)} outputs differ' if lines else 'the same outputs'}", flush=True)
        for line in lines[:_MOST_LINES]:
            print(f"  {line}", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
