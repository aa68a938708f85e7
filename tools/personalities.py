"""Reruns chapters as other CPUs would compute them: no verdict may change.

python -m tools.personalities [SLUG...]
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lib import execute, papers

PERSONALITIES = {
    "torch without vector instructions": {"ATEN_CPU_CAPABILITY": "default"},
    "MKL's compatible code path": {"MKL_CBWR": "COMPATIBLE"},
    "OpenBLAS for Haswell": {"OPENBLAS_CORETYPE": "Haswell"},
}


def verdicts(notebook: dict) -> dict[str, str]:
    """Claim id -> verdict word that a notebook emitted."""
    results = execute.emitted(notebook) or {"claims": {}}
    return {claim_id: entry["verdict"] for claim_id, entry in results["claims"].items()}


def compare(slug: str, name: str) -> list[str]:
    """Run one chapter under one personality; one line per verdict that differs from the stored one."""
    path = papers.chapter(slug)
    stored = verdicts(json.loads(path.read_text(encoding="utf-8")))
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.ipynb"
        notebook = execute.run_chapter(path, out, {}, timeout_s=600, environment=PERSONALITIES[name])
    found = verdicts(notebook)
    return [f"{slug} {i}: {stored.get(i)} stored, {word} with {name}" for i, word in found.items() if word != stored.get(i)]


def main(slugs: list[str]) -> int:
    """Run every pair of chapter and personality, two at a time; the exit status says whether a verdict changed."""
    pairs = [(slug, name) for slug in slugs or list(papers.slugs()) for name in PERSONALITIES]
    changed = []
    with ThreadPoolExecutor(min(2, os.cpu_count() or 1)) as pool:
        for (slug, name), differences in zip(pairs, pool.map(lambda pair: compare(*pair), pairs), strict=True):
            print(f"{slug}, {name}: {'; '.join(differences) or 'the same verdicts'}", flush=True)
            changed += differences
    return 1 if changed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
