"""The runs that make the shipped rules.

    python -m lib.policies.temporal_lpg.study.make_weights --parts DIR --out results/temporal_lpg.weights.npz

Every meta-training leaves a file in the folder of parts, and one that is there already is not repeated: a stopped run goes on.
What the file of weights holds already is kept, with where it came from; ``--anew`` trains everything.
Single precision: another CPU gives other last digits, then other ranks, and so another file. It prints the SHA-256 that
`lib.policies.temporal_lpg.study.weights.WEIGHTS_SHA256` has to hold.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lib import weights as files
from lib.policies.temporal_lpg.study.training import train_drift, train_es, train_metagradient
from lib.policies.temporal_lpg.study.weights import pack, unpack

#: Group of rules: how it is trained, in which world, with lifetime inputs or not, and the seeds of meta-training.
PLAN = {
    "bandits, LPG": (train_es, "bandits", False, range(100, 108)),
    "bandits, TA-LPG": (train_es, "bandits", True, range(100, 108)),
    "grids, LPG": (train_es, "grids", False, range(100, 108)),
    "grids, TA-LPG": (train_es, "grids", True, range(100, 108)),
    "bandits, LPG, windows": (train_metagradient, "bandits", False, range(100, 108)),
    "bandits, TA-LPG, windows": (train_metagradient, "bandits", True, range(100, 108)),
    "control, LPO": (train_drift, "control", False, range(100, 104)),
    "control, TA-LPO": (train_drift, "control", True, range(100, 104)),
}


def kept(path: Path) -> tuple[dict[tuple[str, int], dict[str, np.ndarray]], dict[str, Any]]:
    """The meta-trainings that a file of weights holds, each under its group and seed, and where they came from."""
    rules, curves, origin = unpack(path.read_bytes())
    found = {}
    for name, seeds in origin["seeds"].items():
        share = origin["cpu_seconds"][name] / len(seeds)
        for i, seed in enumerate(seeds):
            found[name, seed] = {"rule": rules[name][i], "curve": curves[name][i], "seconds": np.array(share)}
    return found, origin


def part(folder: Path, name: str, seed: int) -> dict[str, np.ndarray]:
    """One meta-training, from its file or run now."""
    train, world, aware, _ = PLAN[name]
    path = folder / f"{name.replace(', ', '_')}_{seed}.npz"
    if not path.is_file():
        begin = time.process_time()
        rule, curve = train(world, aware, seed)
        np.savez(path, rule=rule, curve=curve, seconds=time.process_time() - begin)
        print(f"{name}, seed {seed}: {time.process_time() - begin:.0f} CPU s", flush=True)
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m lib.policies.temporal_lpg.study.make_weights", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--parts", type=Path, default=Path("temporal_lpg.parts"))
    parser.add_argument("--out", type=Path, default=Path("results/temporal_lpg.weights.npz"))
    parser.add_argument("--anew", action="store_true")
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    options.parts.mkdir(parents=True, exist_ok=True)
    rules, curves, seconds = {}, {}, {}
    old, before = ({}, {}) if options.anew or not options.out.is_file() else kept(options.out)
    for name, (*_, seeds) in PLAN.items():
        parts = [old[name, seed] if (name, seed) in old else part(options.parts, name, seed) for seed in seeds]
        rules[name], curves[name] = (np.stack([p[key] for p in parts]) for key in ("rule", "curve"))
        seconds[name] = float(sum(p["seconds"] for p in parts))
    facts: dict[str, Any] = {
        "seeds": {name: list(plan[3]) for name, plan in PLAN.items()},
        "cpu_seconds": {name: round(value) for name, value in seconds.items()},
    }
    if before:
        facts["kept"] = before
    command = "python -m lib.policies.temporal_lpg.study.make_weights"
    data = pack(rules, curves, files.origin(command, **facts))
    options.out.write_bytes(data)
    print(f"{options.out}: {len(data)} bytes, SHA-256 {hashlib.sha256(data).hexdigest()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
