"""The runs that fix, before any comparison, what `lib.policies.constrained_rlhf.study.fixed` holds.

    python -m lib.policies.constrained_rlhf.study.calibrate

On a seed that no experiment uses, looked at on validation prompts only. First PPO with every pair of weights of a grid, and
with either reward alone: they give the scale of the evaluation score (least and largest metrics over all looks), PPO's weights
(best score at the end, a mean of the last two looks), the largest rewards at the ends, the proxy points of either reward
alone, and the joint one, which are the thresholds. Then, with these thresholds, PPO-SAT with every pair of weights of its own
grid, and the methods with multipliers at several rates: the best score at the end is chosen. All names are those of `fixed`.
"""

from __future__ import annotations

import argparse
import sys
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lib.policies.constrained_rlhf.study.evaluation import OVERLAP
from lib.policies.constrained_rlhf.study.fixed import GRID, RATES, SAT_GRID, SIGMOID_RATES
from lib.policies.constrained_rlhf.study.protocols import Plan, Run, Setting, follow
from lib.policies.constrained_rlhf.thresholds import find_proxy_point

#: Experiments have small seeds.
SEED = 1000
PLAN = Plan(iterations=30, episodes=64, n_eval=200, eval_every=5, dtype="float32")
_LINE = "{!s:26s} score by look {}, at the end {:.3f}, rewards at the end {}"
#: Methods with multipliers: the variant, whether multipliers are squashed, the rates.
_RATES = {
    "XI_RATE": ("xi", True, RATES), "MU_RATE": ("mu", True, SIGMOID_RATES), "XI_PLAIN_RATE": ("xi", False, RATES),
    "MU_PLAIN_RATE": ("mu", False, RATES), "ALL_RATE": ("all", True, SIGMOID_RATES),
}  # fmt: skip


def _metrics(runs: Any) -> np.ndarray:
    return np.array([[look.metrics for look in run.validation] for run in runs])


def _scores(runs: Any, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    scaled = (_metrics(runs) - low) / (high - low)
    return np.asarray((scaled[..., :OVERLAP].mean(-1) + scaled[..., OVERLAP:].mean(-1)) / 2)


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    module = "lib.policies.constrained_rlhf.study.calibrate"
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--looks", default="", help="file for the rewards and scores of all looks of PPO's runs")
    options = parser.parse_args(argv)
    if options.looks and not Path(options.looks).absolute().parent.is_dir():
        parser.error(f"--looks: no folder for {options.looks}")
    torch.set_num_threads(1)
    setting, only = Setting(PLAN, SEED), ("validation",)
    pairs = [*product(*GRID), (1.0, 0.0), (0.0, 1.0)]
    runs = {pair: follow(setting, setting.trainer("ppo", pair), only) for pair in pairs}
    looks = _metrics(runs.values())
    low, high = looks.min((0, 1)), looks.max((0, 1))
    print("LOW =", low.round(4).tolist())
    print("HIGH =", high.round(4).tolist())
    scores = dict(zip(runs, _scores(runs.values(), low, high), strict=True))
    rewards = {pair: run.rewards("validation") for pair, run in runs.items()}
    for pair in runs:
        print(_line(("ppo", *pair), scores[pair], rewards[pair][-1]))
    print("ALPHAS =", max((p for p in runs if 0.0 not in p), key=lambda pair: _end(scores[pair])))
    print("SEEN =", np.max([reward[-1] for reward in rewards.values()], 0).round(3).tolist())
    alone = [(rewards[pair][:, k], scores[pair]) for k, pair in enumerate([(1.0, 0.0), (0.0, 1.0)])]
    single = [find_proxy_point(reward, score, degree=3) for reward, score in alone]
    print("SINGLE =", [round(float(p.theta[0]), 3) for p in single], "inside:", [p.inside for p in single])
    pooled, truth = np.concatenate(list(rewards.values())), np.concatenate(list(scores.values()))
    if options.looks:
        np.savez(options.looks, rewards=pooled, scores=truth)
    first, joint = find_proxy_point(pooled, truth, degree=6), find_proxy_point(pooled, truth, degree=3, support=0.2)
    print("FIRST =", first.theta.round(3).tolist(), "inside:", first.inside)
    theta = joint.theta.round(3)
    print("THRESHOLDS =", theta.tolist(), "inside:", joint.inside, flush=True)

    def tried(label: Any, variant: str, alphas: Any = None, **own: Any) -> float:
        run: Run = follow(setting, setting.trainer(variant, alphas, theta, **own), only)
        found = _scores([run], low, high)[0]
        print(_line(label, found, run.rewards("validation")[-1]), flush=True)
        return _end(found)

    weighted = {pair: tried(("ppo_sat", *pair), "ppo_sat", pair) for pair in product(*SAT_GRID)}
    print("SAT_ALPHAS =", max(weighted, key=weighted.__getitem__))
    for name, (variant, squash, rates) in _RATES.items():
        ends = {r: tried((name, r), variant, multiplier_lr=r, multiplier_squash=squash) for r in rates}
        print(f"{name} =", max(ends, key=ends.__getitem__), flush=True)
    return 0


def _end(scores: np.ndarray) -> float:
    return float(scores[-2:].mean())


def _line(label: Any, scores: np.ndarray, rewards: np.ndarray) -> str:
    return _LINE.format(label, scores.round(3).tolist(), _end(scores), rewards.round(3))


if __name__ == "__main__":
    sys.exit(main())
