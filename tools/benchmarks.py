"""Turns pytest-benchmark's report into ``results/benchmarks.json``: ratios against peers, and how cost grows.

    python -m tools.benchmarks REPORT.json

A benchmark says what it is by ``benchmark.extra_info``: ``slug``, ``work``, and either ``peer`` (None for ours: the two of a
``work`` make a ratio) or ``size`` (the points of a growth series). Where ours takes clearly longer, the benchmark's module says
why in ``SLOWER`` (peer -> words). The file carries a digest of what was measured: a number
changed by hand no longer fits it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from lib.codehash import digest
from tools.notebooks import ROOT, write

STORED = ROOT / "results" / "benchmarks.json"
#: Below this ratio ours is slower by more than the noise of a measurement.
SLOWER = 0.8


def condense(report: dict[str, Any]) -> dict[str, Any]:
    """The comparisons and growth series of one report."""
    comparisons: list[dict[str, Any]] = []
    growth: dict[tuple[str, str], list[tuple[float, float]]] = {}
    entries = [(bench["extra_info"], bench["stats"]["min"]) for bench in report["benchmarks"]]
    ours: dict[tuple[str, str], float] = {}
    for info, seconds in entries:
        if info.get("peer", "") is None:
            work = (info["slug"], info["work"])
            if work in ours:
                raise ValueError(f"{work}: ours was measured twice; a variant of ours names itself as the peer")
            ours[work] = seconds
    for info, seconds in entries:
        work = (info["slug"], info["work"])
        if "size" in info:
            growth.setdefault(work, []).append((info["size"], float(f"{seconds:.3g}")))
        elif info["peer"] is not None:
            if work not in ours:
                raise ValueError(f"{work}: a peer was measured, ours was not")
            row = {
                "slug": work[0],
                "work": work[1],
                "ours": ours[work],
                "peer": info["peer"],
                "ratio": seconds / ours[work],
            }
            if row["ratio"] < SLOWER:
                if "why" not in info:
                    raise ValueError(
                        f"{work}: ours takes {1 / row['ratio']:.3g} times as long as {info['peer']}; SLOWER says not why"
                    )
                row["why"] = info["why"]
            comparisons.append({key: float(f"{v:.3g}") if isinstance(v, float) else v for key, v in row.items()})
    series = [{"slug": slug, "work": work, "points": sorted(points)} for (slug, work), points in growth.items()]
    cpu = report["machine_info"]["cpu"].get("brand_raw", "an unnamed CPU")
    return {"cpu": cpu, "comparisons": comparisons, "growth": series}


def digest_of(condensed: dict[str, Any]) -> str:
    """SHA-256 of the canonical JSON of what was measured."""
    measured = {key: value for key, value in condensed.items() if key != "digest"}
    return digest(json.dumps(measured, sort_keys=True, separators=(",", ":")))


def main(argv: list[str]) -> None:
    """Condense ``REPORT.json`` into the stored file."""
    condensed = condense(json.loads(Path(argv[0]).read_text(encoding="utf-8")))
    condensed = json.loads(json.dumps(condensed))  # tuples become lists before the digest is taken
    write(STORED, json.dumps({**condensed, "digest": digest_of(condensed)}, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
