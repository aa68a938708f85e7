"""The run that makes the shipped weights.

    python -m lib.policies.udc.study.make_weights --steps 900 --seed 100 --out results/udc.weights.npz

It is the unified scheme of `lib.policies.udc.study.training`, in single precision: another CPU gives other last digits, and
so another file. It prints the SHA-256 that `lib.policies.udc.study.weights.WEIGHTS_SHA256` has to hold.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import time
from pathlib import Path

import torch

from lib import weights as files
from lib.policies.udc.study.training import train_scheme
from lib.policies.udc.study.weights import pack


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m lib.policies.udc.study.make_weights", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--steps", type=int, default=900)
    parser.add_argument("--seed", type=int, default=100)
    parser.add_argument("--out", type=Path, default=Path("results/udc.weights.npz"))
    options = parser.parse_args(argv)
    if options.steps < 1 or options.seed < 0:
        parser.error(f"steps must be at least 1 and seed not negative, got {options.steps} and {options.seed}")
    torch.set_num_threads(1)
    begin = time.process_time()
    model, curve = train_scheme("unified", options.steps, options.seed, dtype="float32")
    command = f"python -m lib.policies.udc.study.make_weights --steps {options.steps} --seed {options.seed}"
    data = pack(model, curve, files.origin(command, cpu_seconds=round(time.process_time() - begin)))
    options.out.write_bytes(data)
    print(f"{options.out}: {len(data)} bytes, SHA-256 {hashlib.sha256(data).hexdigest()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
