"""The run that makes the base policy, by next-token training on clauses that are cut short, and the intent model.

    python -m lib.policies.constrained_rlhf.study.make_weights --steps 1200 --seed 1

In single precision: another CPU gives other last digits, and so another file. It prints the SHA-256 that
`lib.policies.constrained_rlhf.study.weights.WEIGHTS_SHA256` has to hold.
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
from lib.networks import Rollouts, Transformer, fit_supervised, response_log_probs
from lib.policies.constrained_rlhf.study.intents import accuracy, fit_intents
from lib.policies.constrained_rlhf.study.text import END, PAD, Corpus, corpus
from lib.policies.constrained_rlhf.study.weights import NAME, new_policy, pack

BATCH, RATE, RIDGE = 64, 3e-3, 1e-4
#: Demonstrations: this share is cut after a number of words between these, so that the base policy ends too early.
CUT, SHORTEST, LONGEST = 0.8, 3, 6


def demonstrations(text: Corpus, seed: int) -> tuple[list[list[int]], list[list[int]]]:
    """Prompts of the training split, and their references, most of them cut short."""
    rng = np.random.default_rng(seed)
    prompts, answers = [], []
    for prompt, reference in text.pairs["train"]:
        short = int(rng.integers(SHORTEST, LONGEST + 1))
        cut = rng.random() < CUT and len(reference) > short + 1
        prompts.append(prompt)
        answers.append([*reference[:short], END] if cut else reference)
    return prompts, answers


def fit_base(text: Corpus, steps: int, seed: int) -> tuple[Transformer, np.ndarray]:
    """A policy after supervised training on demonstrations, and its losses."""
    policy = new_policy(seed=seed)
    prompts, answers = demonstrations(text, seed + 2)
    return policy, fit_supervised(policy, prompts, answers, steps=steps, batch=BATCH, lr=RATE, pad=PAD, seed=seed + 1)


@torch.no_grad()
def held_out(policy: Transformer, text: Corpus, n: int = 1000) -> float:
    """Mean loss of a reference's tokens on the first n pairs of the validation split, nats a token."""
    total, count = 0.0, 0
    for prompt, reference in text.pairs["validation"][:n]:
        tokens = torch.tensor([[*prompt, *reference]])
        given = Rollouts(tokens, torch.ones_like(tokens, dtype=torch.bool), len(prompt), torch.empty(0))
        logs, _ = response_log_probs(policy, given)
        total, count = total - float(logs.sum()), count + len(reference)
    return total / count


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    module = "lib.policies.constrained_rlhf.study.make_weights"
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("results") / NAME)
    options = parser.parse_args(argv)
    if options.steps < 1 or options.seed < 0:
        parser.error(f"steps must be at least 1 and seed not negative, got {options.steps} and {options.seed}")
    torch.set_num_threads(1)
    begin, text = time.process_time(), corpus()
    policy, losses = fit_base(text, options.steps, options.seed)
    intents = fit_intents(text, RIDGE)
    facts = {"loss": round(held_out(policy, text), 3), "accuracy": round(accuracy(intents, text), 3)}
    command = f"python -m {module} --steps {options.steps} --seed {options.seed}"
    origin = files.origin(command, cpu_seconds=round(time.process_time() - begin), **facts)
    packed = pack(policy, intents, losses, origin)
    options.out.write_bytes(packed)
    print(f"{options.out}: {len(packed)} bytes, SHA-256 {hashlib.sha256(packed).hexdigest()}, {facts}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
