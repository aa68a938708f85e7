"""The runs that train the small text-to-image systems: decoder, teacher, student, rewards, judge.

    python -m lib.objectives.reno.study.make_weights --seed 1
    python -m lib.objectives.reno.study.make_weights --seed 1 --layouts fashion_mnist

In single precision: another CPU gives other last digits, and so another file. It prints the SHA-256 that
`lib.objectives.reno.study.weights` has to hold (`WEIGHTS_SHA256`, `LAYOUTS_SHA256`). Layouts can also be of MNIST's digits.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import time
from pathlib import Path

import torch

from lib import weights as files
from lib.objectives.reno.study.layout_training import LayoutSteps, train_layouts
from lib.objectives.reno.study.layouts import DOMAINS
from lib.objectives.reno.study.training import Steps, train_parts
from lib.objectives.reno.study.weights import LAYOUTS_NAME, NAME, pack


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    module = "lib.objectives.reno.study.make_weights"
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--share", type=float, default=1.0, help="share of the training steps")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--layouts", choices=sorted(DOMAINS), help="the system of two by two places, of these things")
    parser.add_argument("--out", type=Path, help=f"default results/{NAME}, of layouts results/{LAYOUTS_NAME}")
    options = parser.parse_args(argv)
    if not 0 < options.share <= 1 or options.seed < 0:
        parser.error(f"share must be in (0, 1] and seed not negative, got {options.share} and {options.seed}")
    torch.set_num_threads(1)
    begin = time.process_time()
    command = f"python -m {module} --share {options.share:g} --seed {options.seed}"
    if options.layouts:
        command += f" --layouts {options.layouts}"
        steps = LayoutSteps().shortened(options.share)
        parts, losses = train_layouts(DOMAINS[options.layouts], steps, options.seed)
    else:
        parts, losses = train_parts(Steps().shortened(options.share), options.seed)
    told = {name: round(loss, 4) for name, loss in losses.items()}
    facts = files.origin(command, cpu_seconds=round(time.process_time() - begin))
    data = pack(parts, told, facts, options.layouts or "")
    out = options.out or Path("results") / (LAYOUTS_NAME if options.layouts else NAME)
    out.write_bytes(data)
    print(f"{out}: {len(data)} bytes, SHA-256 {hashlib.sha256(data).hexdigest()}; losses {told}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
