"""TA-LPG: a population of rules in one batch against one after another, and how a life's cost grows with its length."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lib.policies import temporal_lpg as ta
from lib.policies.temporal_lpg import study

torch.set_num_threads(1)
RULE, AGENT = study.rule_of("bandits", True), study.WORLDS["bandits"].agent
VECTORS = RULE.vector().numpy() + 0.1 * np.random.default_rng(0).standard_normal((32, RULE.size))
BANDITS = ta.GaussianBandits.sample(1, 4, seed=0)


def test_population_in_one_batch(benchmark):
    benchmark.extra_info.update(slug="temporal_lpg", work="32 rules, lives of 20 updates", peer=None)
    benchmark(ta.train_agent, RULE, BANDITS, 20, AGENT, vectors=VECTORS, seed=0)


def test_population_one_by_one(benchmark):
    benchmark.extra_info.update(slug="temporal_lpg", work="32 rules, lives of 20 updates", peer="one after another")
    benchmark.pedantic(lambda: [ta.train_agent(RULE, BANDITS, 20, AGENT, vectors=v[None], seed=0) for v in VECTORS], rounds=3)


@pytest.mark.parametrize("size", [25, 50, 100, 200])
def test_growth(benchmark, size):
    benchmark.extra_info.update(slug="temporal_lpg", work="a life of N updates, 32 rules", size=size)
    benchmark.pedantic(lambda: ta.train_agent(RULE, BANDITS, size, AGENT, vectors=VECTORS, seed=0), rounds=3)
