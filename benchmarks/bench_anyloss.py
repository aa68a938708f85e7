"""AnyLoss: cost of training for a score, against cross-entropy, a peer library and automatic differentiation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, make_scorer
from sklearn.model_selection import TunedThresholdClassifierCV

from lib.objectives.anyloss import AnyLoss, Objective, paper_objectives, slp_gradient, train_perceptrons
from lib.objectives.anyloss.perceptron import add_intercept
from lib.objectives.anyloss.study import METRICS, random_set, tune_threshold

#: Peer -> why ours takes longer.
SLOWER = {
    "cross-entropy": "the score needs amplified probabilities and four sums over the samples, cross-entropy one sum",
}

STEPS = 100
SIZES = (1_000, 10_000, 100_000, 1_000_000)


@pytest.fixture(scope="module")
def random():
    made = random_set()
    return add_intercept(made.X), made.y


def train(random, *objectives):
    return train_perceptrons(*random, objectives, max_iter=STEPS)


@pytest.mark.parametrize(("objective", "peer"), [(Objective("anyloss", 0.01), None), (Objective("bce", 0.1), "cross-entropy")])
def test_train_for_f1(benchmark, random, objective, peer):
    benchmark.extra_info.update(slug="anyloss", work=f"{STEPS} steps of a perceptron on 10,000 samples", peer=peer)
    benchmark(train, random, objective)


@pytest.mark.parametrize("peer", [None, "one after another"])
def test_train_six_scores(benchmark, random, peer):
    benchmark.extra_info.update(slug="anyloss", work=f"{STEPS} steps of six perceptrons, one per score", peer=peer)
    objectives = [paper_objectives()[metric] for metric in METRICS]
    if peer is None:
        benchmark(train, random, *objectives)
    else:
        benchmark(lambda: [train(random, objective) for objective in objectives])


def autograd_gradient(X, y, theta):
    leaf = theta.clone().requires_grad_()
    AnyLoss("f1", from_logits=True)(X @ leaf, y).backward()
    return leaf.grad


@pytest.mark.parametrize("peer", [None, "torch autograd"])
def test_gradient(benchmark, random, peer):
    benchmark.extra_info.update(slug="anyloss", work="one gradient of the F1 loss on 10,000 samples", peer=peer)
    X, y = random
    theta = np.full(X.shape[1], 0.1)
    if peer is None:
        benchmark(slp_gradient, "f1", X, y, theta)
    else:
        benchmark(autograd_gradient, *map(torch.tensor, (X, y, theta)))


@pytest.mark.parametrize("peer", [None, "scikit-learn TunedThresholdClassifierCV"])
def test_tune_threshold(benchmark, random, peer):
    benchmark.extra_info.update(slug="anyloss", work="fit logistic regression, tune its cut for F1 on the same data", peer=peer)
    X, y = random[0][:, 1:], random[1]
    model = LogisticRegression(C=1e3)

    def ours():
        return tune_threshold(model.fit(X, y).decision_function(X), y, "f1")

    def theirs():
        tuned = TunedThresholdClassifierCV(model, scoring=make_scorer(f1_score), cv="prefit", refit=False)
        model.fit(X, y)
        return tuned.fit(X, y).best_threshold_

    benchmark(ours if peer is None else theirs)


@pytest.mark.parametrize("size", SIZES)
def test_cost_grows_with_samples(benchmark, size):
    benchmark.extra_info.update(slug="anyloss", work="ten steps of a perceptron, d = 10, for F1", size=size)
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(size, 10)), rng.random(size) < 0.1
    benchmark.pedantic(train_perceptrons, (X, y, [Objective("anyloss", 0.01)]), {"max_iter": 10}, rounds=3)
