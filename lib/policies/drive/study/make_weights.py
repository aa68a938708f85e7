"""The run that makes the base policy and the policy after stage 1: noisy demonstrations, then GRPO on the broad set.

    python -m lib.policies.drive.study.make_weights --seed 1

In single precision: another CPU gives other last digits, and so another file. It prints the SHA-256 that
`lib.policies.drive.study.weights.WEIGHTS_SHA256` has to hold.
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import sys
import time
from pathlib import Path

import numpy as np
import torch

from lib import weights as files
from lib.networks import Transformer, fit_supervised
from lib.policies.drive import GRPOConfig, ProgramTask, Uniform, train_grpo
from lib.policies.drive.study.problems import demonstration, problems
from lib.policies.drive.study.weights import NAME, new_policy, pack

#: Demonstrations, pairs of a supervised step, its learning rate.
DEMONSTRATIONS, BATCH, RATE = 6000, 48, 1e-3
#: Problems of stage 1, its window in tokens, its learning rate.
BROAD, WINDOW, RL_RATE = 240, 40, 1e-4


def fit_base(steps: int, seed: int) -> Transformer:
    """A policy after supervised training on noisy solutions of the demonstrated problems."""
    rng, shown = np.random.default_rng(seed), problems().demonstrated
    chosen = [shown[i] for i in rng.integers(len(shown), size=DEMONSTRATIONS)]
    policy = new_policy(seed + 1)
    answers = [demonstration(problem, rng) for problem in chosen]
    prompts = [problem.prompt for problem in chosen]
    fit_supervised(policy, prompts, answers, steps=steps, batch=BATCH, lr=RATE, pad=ProgramTask.pad, seed=seed + 2)
    return policy


def first_stage(base: Transformer, steps: int, seed: int) -> Transformer:
    """A copy of the base policy after stage 1: uniform prompts, 8 rollouts of each, a short window."""
    policy, broad = copy.deepcopy(base), problems().broad(BROAD)
    config = GRPOConfig(prompts=16, rollouts=8, max_new=WINDOW, lr=RL_RATE)
    train_grpo(policy, ProgramTask(broad), Uniform(broad), config, steps=steps, seed=seed + 3)
    return policy


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    module = "lib.policies.drive.study.make_weights"
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--supervised", type=int, default=700)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("results") / NAME)
    options = parser.parse_args(argv)
    if min(options.supervised, options.steps) < 1 or options.seed < 0:
        parser.error("supervised and steps must be at least 1 and seed not negative")
    torch.set_num_threads(1)
    begin = time.process_time()
    base = fit_base(options.supervised, options.seed)
    policies = {"base": base, "stage 1": first_stage(base, options.steps, options.seed)}
    command = f"python -m {module} --supervised {options.supervised} --steps {options.steps} --seed {options.seed}"
    data = pack(policies, files.origin(command, cpu_seconds=round(time.process_time() - begin)))
    options.out.write_bytes(data)
    print(f"{options.out}: {len(data)} bytes, SHA-256 {hashlib.sha256(data).hexdigest()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
