"""Learning-rate refinement: sweeps in one stack against runs one after another, and against schedule-free training."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lib.gradient.lr_refinement import SCHEDULES, ArrayLR, bound_steps, refine_schedule
from lib.gradient.lr_refinement.study import grid_rates, logistic_task, network_task, train_schedule_free, train_stack
from lib.problems.logistic import LogisticRegression

EPOCHS, RATES = 10, 2.0 ** np.arange(-3, 5, 0.5)
STEPS = 50


@pytest.fixture(scope="module")
def logistic():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(800, 18))
    problem = LogisticRegression(X, (X[:, 0] + rng.normal(size=800) > 0).astype(int))
    return problem, logistic_task(problem, EPOCHS, 16, [rng])


def stacked(task):
    factors = np.stack([SCHEDULES[name](task.n_steps) for name in ("linear", "cosine")], axis=1)[:, None]
    eta = grid_rates(factors, RATES)
    return train_stack(task.gradient, [p.expand(-1, eta.shape[2], -1) for p in task.start], eta, "adam").params


def one_by_one(task):
    for name in ("linear", "cosine"):
        for rate in RATES:
            params = [p.clone().requires_grad_() for p in task.start]
            optimizer = torch.optim.Adam(params, lr=rate)
            scheduler = ArrayLR(optimizer, SCHEDULES[name](task.n_steps))
            for t in range(task.n_steps):
                params[0].grad = task.gradient(t, [params[0].detach()])[0]
                optimizer.step()
                scheduler.step()


@pytest.mark.parametrize(
    ("sweep", "peer"), [(stacked, None), (one_by_one, "torch.optim.Adam, run by run")], ids=["ours", "torch"]
)
def test_sweep(benchmark, logistic, sweep, peer):
    benchmark.extra_info.update(slug="lr_refinement", work="Adam on logistic regression, 2 schedules x 16 rates", peer=peer)
    benchmark.pedantic(sweep, args=(logistic[1],), rounds=2, warmup_rounds=1)


@pytest.fixture(scope="module")
def network():
    rng = np.random.default_rng(0)
    images, classes = torch.from_numpy(rng.random((2000, 400))), torch.from_numpy(rng.integers(0, 10, 2000))
    return network_task((images, classes), (images, classes), STEPS, [rng], n_scored=100)


def linear_decay(task):
    eta = torch.from_numpy(0.01 * SCHEDULES["linear"](STEPS))[:, None, None]
    return train_stack(task.gradient, task.start, eta, "adam")


@pytest.mark.parametrize(
    ("train", "peer"),
    [(linear_decay, None), (lambda task: train_schedule_free(task, [0.01], "adamw"), "schedulefree")],
    ids=["ours", "schedulefree"],
)
def test_train_network(benchmark, network, train, peer):
    benchmark.extra_info.update(slug="lr_refinement", work=f"{STEPS} steps of a 400-64-64-10 network", peer=peer)
    benchmark.pedantic(train, args=(network,), rounds=5, warmup_rounds=1)


@pytest.mark.parametrize("size", [1_000, 10_000, 100_000])
def test_refine(benchmark, size):
    norms = np.random.default_rng(0).exponential(size=size) + 0.1
    benchmark.extra_info.update(slug="lr_refinement", work="refine a schedule, tau = 0.01", size=size)
    benchmark.pedantic(refine_schedule, args=(norms,), kwargs={"tau": 0.01}, rounds=3)


@pytest.mark.parametrize("size", [1_000, 10_000, 100_000, 1_000_000])
def test_bound(benchmark, size):
    steps = SCHEDULES["linear"](size)
    benchmark.extra_info.update(slug="lr_refinement", work="last-iterate bound of a schedule", size=size)
    benchmark(bound_steps, steps)
