"""The runs that fix, before any comparison, what `lib.policies.constrained_rlhf.study.fixed` holds.

    python -m lib.policies.constrained_rlhf.study.calibrate --seeds 2

PPO with every pair of weights of a grid, and with either reward alone, on seeds that no experiment uses, looked at on validation
prompts only. It prints the scale of the evaluation score (least and largest metrics over all looks), the weights whose runs end
with the best score, the proxy points of either reward alone, and the joint one: the thresholds.
"""

from __future__ import annotations

import argparse
import sys

import numpy as np
import torch

from lib.policies.constrained_rlhf.study.evaluation import OVERLAP
from lib.policies.constrained_rlhf.study.fixed import GRID
from lib.policies.constrained_rlhf.study.protocols import Plan, Run, Setting, follow
from lib.policies.constrained_rlhf.thresholds import find_proxy_point

#: Of the first seed; experiments have small ones.
FIRST = 1000
PLAN = Plan(iterations=30, episodes=64, n_eval=200, eval_every=5, dtype="float32")


def runs(seeds: int) -> dict[tuple[float, float], list[Run]]:
    """Weights of intent and METEOR -> runs, one for each seed."""
    pairs = [(a, b) for a in GRID[0] for b in GRID[1]] + [(1.0, 0.0), (0.0, 1.0)]
    found: dict[tuple[float, float], list[Run]] = {pair: [] for pair in pairs}
    for seed in range(FIRST, FIRST + seeds):
        setting = Setting(PLAN, seed)
        for pair in pairs:
            found[pair].append(follow(setting, setting.trainer("ppo", pair)))
    return found


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    module = "lib.policies.constrained_rlhf.study.calibrate"
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=2)
    options = parser.parse_args(argv)
    if options.seeds < 1:
        parser.error(f"seeds must be at least 1, got {options.seeds}")
    torch.set_num_threads(1)
    found = runs(options.seeds)
    looks = np.array([[look.metrics for look in run.validation] for group in found.values() for run in group])
    low, high = looks.min((0, 1)), looks.max((0, 1))
    print("LOW =", low.round(4).tolist())
    print("HIGH =", high.round(4).tolist())
    scores, rewards = {}, {}
    for pair, group in found.items():
        scaled = (np.array([[look.metrics for look in run.validation] for run in group]) - low) / (high - low)
        scores[pair] = (scaled[..., :OVERLAP].mean(-1) + scaled[..., OVERLAP:].mean(-1)) / 2
        rewards[pair] = np.array([run.rewards("validation") for run in group])
        print(pair, "score by look", scores[pair].mean(0).round(3).tolist(), "rewards at the end", rewards[pair][:, -1].mean(0).round(3))
    tuned = [pair for pair in found if 0.0 not in pair]
    print("ALPHAS =", max(tuned, key=lambda pair: scores[pair][:, -2:].mean()))
    for column, pair in enumerate([(1.0, 0.0), (0.0, 1.0)]):
        point = find_proxy_point(rewards[pair][..., column].ravel(), scores[pair].ravel(), degree=4)
        print("single proxy point:", pair, point.theta.round(4).tolist(), "inside:", point.inside)
    pooled = np.concatenate([r.reshape(-1, 2) for r in rewards.values()])
    joint = find_proxy_point(pooled, np.concatenate([s.ravel() for s in scores.values()]), degree=6)
    print("THRESHOLDS =", joint.theta.round(4).tolist(), "inside:", joint.inside)
    return 0


if __name__ == "__main__":
    sys.exit(main())
