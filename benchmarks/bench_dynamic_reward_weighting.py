"""Dynamic reward weighting: a step of each weighting, the hypervolume against its readable form, and how they grow."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lib.policies import dynamic_reward_weighting as drw
from lib.policies.dynamic_reward_weighting import study

#: Peer -> why ours takes longer.
SLOWER = {
    "fixed, equal": "one gradient of the weighted reward a step; the method takes a gradient of each reward",
    "hypervolume on rewards": "one gradient of the weighted rewards a step; this one takes a gradient of each",
}

torch.set_num_threads(1)
SLUG = "dynamic_reward_weighting"
POINTS = np.random.default_rng(0).random((40, 3))
REF, UP = np.zeros(3), [True] * 3


@pytest.mark.parametrize("method", ["balanced", "gradient", "guided", "min norm"])
def test_step(benchmark, method):
    peer = None if method == "gradient" else study.METHODS[method]
    benchmark.extra_info.update(slug=SLUG, work="one step, 8 prompts with 8 responses", peer=peer, method=method)
    plan = study.Plan()
    trainer = drw.Trainer(
        study.load_base("V")[0], study.ArithmeticTask(), study.weighting_of(method), plan.config("rloo"), seed=0
    )
    benchmark.pedantic(trainer.step, rounds=5)


def test_volume(benchmark):
    benchmark.extra_info.update(slug=SLUG, work="hypervolume of 40 points", peer=None)
    benchmark(drw.hypervolume, POINTS, REF, UP)


def test_volume_library(benchmark):
    benchmark.extra_info.update(slug=SLUG, work="hypervolume of 40 points", peer="the readable form, by slices")
    benchmark(drw.hypervolume_by_slices, POINTS, REF, UP)


@pytest.mark.parametrize("size", [8, 16, 32, 64])
def test_growth(benchmark, size):
    benchmark.extra_info.update(slug=SLUG, work="hypervolume by slices", size=size)
    benchmark(drw.hypervolume_by_slices, np.random.default_rng(1).random((size, 3)), REF, UP)
