"""AnyLoss: what the chapter compares (rivals, pooled folds, fresh networks)."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from sklearn.metrics import f1_score

from lib import data
from lib.objectives.anyloss import AnyLoss
from lib.objectives.anyloss.perceptron import Objective
from lib.objectives.anyloss.study.comparison import (
    KEEL_SETS,
    by_set,
    fresh_network_scores,
    logistic_regression,
    pooled,
    rivals,
)
from lib.objectives.anyloss.study.evaluation import FoldScores
from lib.objectives.anyloss.study.network import predict_probs, train_network
from lib.objectives.anyloss.study.protocol import cross_validate, resample


def blobs(n=160, seed=0, share=0.25):
    rng = np.random.default_rng(seed)
    y = (rng.random(n) < share).astype(int)
    return rng.normal(size=(n, 2)) + 1.5 * y[:, None], y


def fold_scores(*values):
    return FoldScores(("a", "b"), ("f1",), np.array(values, dtype=float).reshape(2, -1, 1))


def test_the_data_sets_are_twenty_known_ones():
    assert len(set(KEEL_SETS)) == len(KEEL_SETS) == 20
    assert set(KEEL_SETS) <= set(data.keel_names())


def test_logistic_regression_is_converged():
    X, y = blobs()

    def loss(theta):  # scikit-learn's: sum of the log losses times C, plus half the squared slopes
        z = X @ theta[:2] + theta[2]
        return 1e3 * np.sum(np.logaddexp(0, -(2 * y - 1) * z)) + theta[:2] @ theta[:2] / 2

    peer = minimize(loss, np.zeros(3), tol=1e-12).x
    model = logistic_regression().fit(X, y)
    np.testing.assert_allclose([*model.coef_[0], model.intercept_[0]], peer, rtol=1e-4)


def test_rivals_are_those_named_and_run():
    X, y = blobs()
    methods = rivals(["f2"], Objective("bce", 0.5))
    assert list(methods) == [
        *("weighted BCE", "SMOTE", "undersampling", "logistic"),
        *("SOL f2", "BCE cut f2", "logistic cut f2"),
    ]
    assert methods["SMOTE"].learner.learning_rate == methods["weighted BCE"].learner.learning_rate == 0.5
    assert methods["SOL f2"].learner.metric == methods["BCE cut f2"].tune == methods["logistic cut f2"].tune == "f2"
    scores = cross_validate(X, y, methods, n_splits=2, max_iter=20)
    assert np.isfinite(scores.values).all()
    assert scores.mean("logistic cut f2", "f2") > scores.mean("logistic", "f2")


def test_by_set_averages_folds():
    scores = {"one": fold_scores(0.2, 0.4, 1, 1), "two": fold_scores(0.5, 0.7, 0, 1)}
    np.testing.assert_allclose(by_set(scores, "a", "f1"), [0.3, 0.6])
    np.testing.assert_allclose(by_set(scores, "b", "f1"), [1.0, 0.5])


def test_pooled_keeps_every_fold():
    together = pooled(iter([fold_scores(1, 2, 3, 4), fold_scores(5, 6, 7, 8)]))
    assert together["a", "f1"].tolist() == [1, 2, 5, 6]
    assert together["b", "f1"].tolist() == [3, 4, 7, 8]
    with pytest.raises(ValueError, match="no runs to pool"):
        pooled([])
    with pytest.raises(ValueError, match="same methods and metrics"):
        pooled([fold_scores(1, 2), FoldScores(("a", "c"), ("f1",), np.ones((2, 1, 1)))])


def test_fresh_networks_train_on_one_half_and_are_tested_on_the_other():
    X, y = blobs()
    setting = {"epochs": 3, "batch_fraction": 0.5, "learning_rate": 0.05, "dtype": torch.float64}
    scores = fresh_network_scores(X, y, AnyLoss("f1"), "f1", [3, 4], **setting)
    network = train_network(X[::2], y[::2], AnyLoss("f1"), seed=4, **setting)
    assert scores[1] == pytest.approx(f1_score(y[1::2], predict_probs(network, X[1::2]) > 0.5))
    np.testing.assert_array_equal(scores, fresh_network_scores(X, y, AnyLoss("f1"), "f1", [3, 4], **setting))


@pytest.mark.parametrize("how", ["smote", "under"])
def test_resampling_leaves_alone_what_is_a_fraction_of_a_sample_off(how):
    X, y = np.random.default_rng(0).normal(size=(201, 2)), np.arange(201) < 33  # 33 of 168: 0.6 samples below 0.2
    X_new, y_new = resample(X, y, how, 0.2)
    assert X_new is X
    np.testing.assert_array_equal(y_new, y)
    assert len(resample(X[1:], y[1:], how, 0.2)[1]) != 200
