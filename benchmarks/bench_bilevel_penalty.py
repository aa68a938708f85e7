"""One step of x on hyper-cleaning by the penalty method, and by implicit and unrolled differentiation; how the cost grows."""

from __future__ import annotations

import numpy as np
import pytest

from lib.constrained.bilevel_penalty import study
from lib.problems.cleaning import cleaning_task

WORK = "hyper-cleaning, 60 calls, 1,000 training and 300 validation samples of 64 features, 10 classes"


def cleaning(n: int = 1000) -> study.SoftmaxCleaning:
    rng = np.random.default_rng(0)
    X, y = rng.random((n + 500, 64)), np.arange(n + 500) % 10
    return study.SoftmaxCleaning(cleaning_task(X, y, n_train=n, n_val=300, share=0.5, seed=0))


def test_penalty(benchmark):
    benchmark.extra_info.update(slug="bilevel_penalty", work=WORK, peer=None)
    task = cleaning()
    benchmark.pedantic(lambda: study.clean_penalty(task, 60), rounds=5, warmup_rounds=1)


def test_implicit(benchmark):
    benchmark.extra_info.update(slug="bilevel_penalty", work=WORK, peer="implicit differentiation")
    task = cleaning()
    benchmark.pedantic(lambda: study.clean_implicit(task, 60), rounds=5, warmup_rounds=1)


def test_unrolled(benchmark):
    benchmark.extra_info.update(slug="bilevel_penalty", work=WORK, peer="unrolled differentiation")
    task = cleaning()
    benchmark.pedantic(lambda: study.clean_unrolled(task, 60), rounds=5, warmup_rounds=1)


@pytest.mark.parametrize("n", [500, 1000, 2000, 4000])
def test_growth_with_samples(benchmark, n):
    benchmark.extra_info.update(slug="bilevel_penalty", work="hyper-cleaning, 60 calls, n training samples", size=n)
    task = cleaning(n)
    benchmark.pedantic(lambda: study.clean_penalty(task, 60), rounds=3, warmup_rounds=1)
