"""The run that trains the small text-to-image system: decoder, teacher, student, four rewards, judge.

    python -m lib.objectives.reno.study.make_weights --seed 1

In single precision: another CPU gives other last digits, and so another file. It prints the SHA-256 that
`lib.objectives.reno.study.weights.WEIGHTS_SHA256` has to hold.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import time
from pathlib import Path

import torch

from lib import papers
from lib.objectives.reno.study.training import Steps, train_parts
from lib.objectives.reno.study.weights import NAME, pack


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    module = "lib.objectives.reno.study.make_weights"
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--share", type=float, default=1.0, help="share of the training steps")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("results") / NAME)
    options = parser.parse_args(argv)
    if not 0 < options.share <= 1 or options.seed < 0:
        parser.error(f"share must be in (0, 1] and seed not negative, got {options.share} and {options.seed}")
    torch.set_num_threads(1)
    begin = time.process_time()
    parts, losses = train_parts(Steps().shortened(options.share), options.seed)
    command = f"python -m {module} --share {options.share:g} --seed {options.seed}"
    told = {name: round(loss, 4) for name, loss in losses.items()}
    data = pack(parts, told, papers.origin(command, cpu_seconds=round(time.process_time() - begin)))
    options.out.write_bytes(data)
    print(f"{options.out}: {len(data)} bytes, SHA-256 {hashlib.sha256(data).hexdigest()}; losses {told}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
