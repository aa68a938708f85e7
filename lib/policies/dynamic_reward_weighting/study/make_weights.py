"""The run that makes the two base policies: next-token training on demonstrations of both recipes.

    python -m lib.policies.dynamic_reward_weighting.study.make_weights --steps 1000 --seed 1

In single precision: another CPU gives other last digits, and so another file. It prints the SHA-256 that
`lib.policies.dynamic_reward_weighting.study.weights.WEIGHTS_SHA256` has to hold.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import time
from pathlib import Path

import numpy as np
import torch

from lib import weights as files
from lib.networks import Transformer, fit_supervised
from lib.policies.dynamic_reward_weighting.study.language import PAD, RECIPES, demonstrations, new_policy
from lib.policies.dynamic_reward_weighting.study.weights import NAME, WIDTH, pack

DEMONSTRATIONS, BATCH, RATE = 20_000, 64, 3e-3


def fit_base(base: str, steps: int, seed: int) -> tuple[Transformer, np.ndarray]:
    """A policy after supervised training on demonstrations of one recipe, and its losses."""
    prompts, answers = demonstrations(base, DEMONSTRATIONS, seed)
    policy = new_policy(WIDTH, seed=seed + 1).float()
    return policy, fit_supervised(policy, prompts, answers, steps=steps, batch=BATCH, lr=RATE, pad=PAD, seed=seed + 2)


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    module = "lib.policies.dynamic_reward_weighting.study.make_weights"
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("results") / NAME)
    options = parser.parse_args(argv)
    if options.steps < 1 or options.seed < 0:
        parser.error(f"steps must be at least 1 and seed not negative, got {options.steps} and {options.seed}")
    torch.set_num_threads(1)
    begin, policies, losses = time.process_time(), {}, {}
    for base in RECIPES:
        policies[base], losses[base] = fit_base(base, options.steps, options.seed)
    command = f"python -m {module} --steps {options.steps} --seed {options.seed}"
    data = pack(policies, losses, files.origin(command, cpu_seconds=round(time.process_time() - begin)))
    options.out.write_bytes(data)
    print(f"{options.out}: {len(data)} bytes, SHA-256 {hashlib.sha256(data).hexdigest()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
