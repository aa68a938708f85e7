"""The runs that fix, before any comparison, what `lib.policies.constrained_rlhf.study.fixed` holds.

    python -m lib.policies.constrained_rlhf.study.calibrate

On a seed that no experiment uses, looked at on validation prompts only. First PPO with every pair of weights of a grid, and
with either reward alone: they give the scale of the evaluation score (least and largest metrics over all looks), PPO's weights
(best score at the end), the proxy points of either reward alone, and the joint one, which are the thresholds. Then xi-PPO and
mu-PPO with these thresholds and several rates of the multipliers.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

import numpy as np
import torch

from lib.policies.constrained_rlhf.study.evaluation import OVERLAP
from lib.policies.constrained_rlhf.study.fixed import GRID, RATES
from lib.policies.constrained_rlhf.study.protocols import Plan, Run, Setting, follow
from lib.policies.constrained_rlhf.thresholds import find_proxy_point

#: Experiments have small seeds.
SEED = 1000
PLAN = Plan(iterations=30, episodes=64, n_eval=200, eval_every=5, dtype="float32")
_LINE = "{!s:14s} score by look {}, rewards at the end {}"


def _metrics(runs: Any) -> np.ndarray:
    return np.array([[look.metrics for look in run.validation] for run in runs])


def _scores(runs: Any, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    scaled = (_metrics(runs) - low) / (high - low)
    return np.asarray((scaled[..., :OVERLAP].mean(-1) + scaled[..., OVERLAP:].mean(-1)) / 2)


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    module = "lib.policies.constrained_rlhf.study.calibrate"
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--looks", default="", help="file for the rewards and scores of all looks")
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    setting, only = Setting(PLAN, SEED), ("validation",)
    pairs = [(a, b) for a in GRID[0] for b in GRID[1]] + [(1.0, 0.0), (0.0, 1.0)]
    runs = {pair: follow(setting, setting.trainer("ppo", pair), only) for pair in pairs}
    looks = _metrics(runs.values())
    low, high = looks.min((0, 1)), looks.max((0, 1))
    print("LOW =", low.round(4).tolist())
    print("HIGH =", high.round(4).tolist())
    scores = dict(zip(runs, _scores(runs.values(), low, high), strict=True))
    rewards = {pair: run.rewards("validation") for pair, run in runs.items()}
    for pair in runs:
        print(_LINE.format(pair, scores[pair].round(3).tolist(), rewards[pair][-1].round(3)))
    print("ALPHAS =", max((p for p in runs if 0.0 not in p), key=lambda pair: scores[pair][-2:].mean()))
    for column, pair in enumerate([(1.0, 0.0), (0.0, 1.0)]):
        point = find_proxy_point(rewards[pair][:, column], scores[pair], degree=3)
        print("single proxy point:", pair, point.theta.round(3).tolist(), "inside:", point.inside)
    pooled, truth = np.concatenate(list(rewards.values())), np.concatenate(list(scores.values()))
    if options.looks:
        np.savez(options.looks, rewards=pooled, scores=truth)
    joint = find_proxy_point(pooled, truth, degree=3, support=0.2)
    print("THRESHOLDS =", joint.theta.round(3).tolist(), "inside:", joint.inside, flush=True)
    for variant in ("xi", "mu"):
        for rate in RATES:
            trainer = setting.trainer(variant, theta=joint.theta, multiplier_lr=rate)
            run: Run = follow(setting, trainer, only)
            found = _scores([run], low, high)[0].round(3).tolist()
            print(_LINE.format((variant, rate), found, run.rewards("validation")[-1].round(3)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
