"""Reward-based noise optimization: an update against torch's optimizer for one prompt at a time, and how a batch grows."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lib.objectives import reno

torch.set_num_threads(1)
SLUG = "reno"
PROMPTS = 32


def system():
    """A small generator and reward with weights: noise and the code of a prompt in, an image and a score out."""
    torch.manual_seed(0)
    painter = nn.Sequential(nn.Linear(64, 256), nn.SiLU(), nn.Linear(256, 768), nn.Sigmoid()).requires_grad_(False)
    judge = nn.Sequential(nn.Linear(800, 128), nn.SiLU(), nn.Linear(128, 1)).requires_grad_(False)
    generator = reno.FunctionGenerator(lambda noise, codes: painter(torch.cat([noise, codes], 1)), (32,))
    rewards = reno.RewardEnsemble({"judge": (lambda images, codes: judge(torch.cat([images, codes], 1)).squeeze(1), 1.0)})
    return generator, rewards, torch.randn(PROMPTS, 32), torch.randn(PROMPTS, 32)


def one_by_one(generator, rewards, codes, noise):
    """The loop of the official code, one prompt after the other."""
    for code, start in zip(codes, noise, strict=True):
        leaf = nn.Parameter(start.clone().unsqueeze(0))
        optimizer = torch.optim.SGD([leaf], lr=0.22, momentum=0.9, nesterov=True)
        for _ in range(10):
            optimizer.zero_grad()
            norm = leaf.norm()
            loss = -rewards(generator(leaf, code.unsqueeze(0)), code.unsqueeze(0))[1].sum()
            (loss + 0.01 * (0.5 * norm**2 - 31 * norm.log())).backward()
            nn.utils.clip_grad_norm_([leaf], 0.1)
            optimizer.step()


def test_batch(benchmark):
    benchmark.extra_info.update(slug=SLUG, work=f"{PROMPTS} prompts, 10 iterations", peer=None)
    generator, rewards, codes, noise = system()
    benchmark.pedantic(reno.NoiseOptimizer(generator, rewards, n_iter=10).run, args=(codes, noise), rounds=5, warmup_rounds=1)


def test_one_by_one(benchmark):
    benchmark.extra_info.update(
        slug=SLUG, work=f"{PROMPTS} prompts, 10 iterations", peer="torch.optim.SGD, one prompt at a time"
    )
    benchmark.pedantic(one_by_one, args=system(), rounds=3, warmup_rounds=1)


@pytest.mark.parametrize("size", [4, 16, 64, 256])
def test_growth(benchmark, size):
    benchmark.extra_info.update(slug=SLUG, work="prompts of a batch, 10 iterations", size=size)
    generator, rewards, codes, noise = system()
    run = reno.NoiseOptimizer(generator, rewards, n_iter=10)
    repeats = -(-size // PROMPTS)
    several = codes.repeat(repeats, 1)[:size], noise.repeat(repeats, 1)[:size]
    benchmark.pedantic(run.run, args=several, rounds=5, warmup_rounds=1)
