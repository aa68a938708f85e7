"""Inner steps of SSO on the Gram matrix against those on the model's outputs, and how their cost grows."""

from __future__ import annotations

import numpy as np
import pytest

from lib.gradient import target_surrogates as ts
from lib.gradient.target_surrogates import study

WORK = "one outer step of SSO, 100 inner steps, 5,000 rows of 100 columns"


def problem(n: int = 5000, d: int = 100) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(n, d)), rng.integers(2, size=n).astype(float)
    return X, ts.TARGET_LOSSES["logistic"].gradient(np.zeros(n), y), np.zeros(d)


def test_gram(benchmark):
    benchmark.extra_info.update(slug="target_surrogates", work=WORK, peer=None)
    X, g, theta = problem()
    benchmark.pedantic(lambda: ts.linear_step(X, g, theta, m=100, tol=0), rounds=5, warmup_rounds=1)


def test_outputs(benchmark):
    benchmark.extra_info.update(slug="target_surrogates", work=WORK, peer="steps on the outputs")
    X, g, theta = problem()
    benchmark.pedantic(lambda: study.residual_steps(X, g, theta, m=100), rounds=5, warmup_rounds=1)


@pytest.mark.parametrize("d", [25, 50, 100, 200, 400])
def test_growth_with_columns(benchmark, d):
    work = "one outer step of SSO on the Gram matrix, 100 inner steps, 2,000 rows of n columns"
    benchmark.extra_info.update(slug="target_surrogates", work=work, size=d)
    X, g, theta = problem(2000, d)
    benchmark.pedantic(lambda: ts.linear_step(X, g, theta, m=100, tol=0), rounds=5, warmup_rounds=1)
