"""AnyLoss: perceptrons, estimator, network, evaluation and cross-validation (formulas are in test_anyloss.py)."""

import copy
import inspect
import itertools
import pickle
import warnings

import numpy as np
import pytest
import torch
from scipy.special import expit
from sklearn import metrics
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.utils.estimator_checks import check_estimator
from torch import nn

from lib.objectives.anyloss import AnyLoss, AnyLossClassifier, SOLLoss, functional, slp_gradient
from lib.objectives.anyloss.batches import StratifiedBatchSampler
from lib.objectives.anyloss.perceptron import Objective, add_intercept, paper_objectives, train_perceptrons
from lib.objectives.anyloss.study.datasets import random_set
from lib.objectives.anyloss.study.network import (
    build_network,
    miscounted_metric,
    predict_probs,
    train_network,
)
from tests.conftest import OLD_CHECKS


def blobs(n=120, seed=0, share=0.25):
    rng = np.random.default_rng(seed)
    y = (rng.random(n) < share).astype(int)
    return rng.normal(size=(n, 2)) + 1.2 * y[:, None], y


# --- perceptrons ----------------------------------------------------------------------------------------------------


def reference_gradient(o, X, y, theta):
    """dloss/dtheta of one objective by formulas of its own or by autograd."""
    n, z = len(y), X @ theta
    if o.kind == "anyloss":
        return slp_gradient(o.metric, X, y, theta, o.L, beta=o.beta)
    if o.kind in ("mse", "delta"):
        return X.T @ (z - (2 * y - 1)) / (n if o.kind == "mse" else 1)
    t = torch.tensor(theta, requires_grad=True)
    logits, target = torch.tensor(X) @ t, torch.tensor(y, dtype=torch.float64)
    if o.kind == "sol":
        SOLLoss(o.metric, mu=o.mu, delta=o.delta, beta=o.beta, from_logits=True)(logits, target).backward()
    else:
        weight = np.where(y == 1, n / (2 * y.sum()), n / (2 * (n - y.sum()))) if o.kind == "weighted_bce" else np.ones(n)
        nn.functional.binary_cross_entropy_with_logits(logits, target, torch.tensor(weight)).backward()
    return t.grad.numpy()


def test_stacked_training_equals_one_by_one_with_reference_gradients():
    X, y = blobs()
    X = add_intercept(X)
    objectives = [
        *paper_objectives().values(),
        Objective("sol", 0.01, metric="gmean"),
        Objective("weighted_bce", 0.1),
        Objective("anyloss", 0.02, metric="fbeta", beta=1.5, L=10.0),
        Objective("sol", 0.02, metric="f2", mu=0.4, delta=0.3),
        Objective("anyloss", 0.01, metric=functional.mcc, L=20.0),
    ]
    ours = train_perceptrons(X, y, objectives, max_iter=30)
    for objective, theta in zip(objectives, ours, strict=True):
        expected = np.zeros(3)
        for _ in range(30):
            expected = expected - objective.learning_rate * reference_gradient(objective, X, y, expected)
        np.testing.assert_allclose(theta, expected, rtol=1e-9, atol=1e-12, err_msg=str(objective))


def test_training_starts_anywhere_and_reports_each_step():
    X, y = blobs()
    X, objectives, seen = add_intercept(X), [Objective("bce", 0.1), Objective("anyloss", 0.01)], []
    first = train_perceptrons(X, y, objectives, max_iter=5)
    rest = train_perceptrons(X, y, objectives, max_iter=5, theta0=first, callback=lambda k, T: seen.append((k, T)))
    np.testing.assert_allclose(rest, train_perceptrons(X, y, objectives, max_iter=10), rtol=1e-12)
    assert [k for k, _ in seen] == [0, 1, 2, 3, 4, 5]
    assert np.array_equal(seen[0][1], first)
    assert np.array_equal(seen[-1][1], rest)


def test_order_of_objectives_and_of_samples_does_not_matter():
    X, y = blobs()
    X, objectives = add_intercept(X), list(paper_objectives().values())
    straight = train_perceptrons(X, y, objectives, max_iter=20)
    np.testing.assert_allclose(train_perceptrons(X, y, objectives[::-1], max_iter=20)[::-1], straight, rtol=1e-10)
    np.testing.assert_allclose(train_perceptrons(X[::-1], y[::-1], objectives, max_iter=20), straight, rtol=1e-10)
    np.testing.assert_allclose(train_perceptrons(X, 2 * y - 1, objectives, max_iter=20), straight, rtol=0)


def test_a_converged_cross_entropy_perceptron_is_logistic_regression():
    X, y = blobs()
    theta = train_perceptrons(add_intercept(X), y, [Objective("bce", 1.0)], max_iter=3000)[0]
    peer = LogisticRegression(C=1e8, tol=1e-10).fit(X, y)
    np.testing.assert_allclose(theta, [peer.intercept_[0], *peer.coef_[0]], rtol=1e-4)


def test_training_refuses_bad_input():
    X, y = blobs()
    f1 = [Objective()]
    for args, message in [
        ((X[:, 0], y, f1), "need X of shape"),
        ((X, y[:-1], f1), "need X of shape"),
        ((np.where(X > 1, np.inf, X), y, f1), "X must be finite"),
        ((X, 0 * y, f1), "needs both classes"),
        ((X, y + 1, f1), "labels 0/1"),
        ((X, y, []), "objectives is empty"),
    ]:
        with pytest.raises(ValueError, match=message):
            train_perceptrons(*args)
    with pytest.raises(ValueError, match="max_iter"):
        train_perceptrons(X, y, f1, max_iter=0)
    with pytest.raises(ValueError, match="theta0 must have shape"):
        train_perceptrons(X, y, f1, theta0=np.zeros(3))
    with pytest.raises(ValueError, match=r"overflowed.*kind='delta'"):
        train_perceptrons(X, y, [*f1, Objective("delta", 10.0)])
    for kwargs, message in [
        ({"kind": "hinge"}, "kind must be one of"),
        ({"learning_rate": 0.0}, "learning_rate must be"),
        ({"metric": "f3"}, "metric must be one of"),
        ({"L": -1.0}, "L must be"),
        ({"delta": 0.0}, "delta must be"),
    ]:
        with pytest.raises(ValueError, match=message):
            Objective(**kwargs)


# --- estimator ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("estimator", [AnyLossClassifier(), AnyLossClassifier("gmean", loss="bce", learning_rate=0.1)])
def test_estimator_follows_scikit_learn(estimator):
    reason = "the best F1 hardly moves with the sizes of the classes, the G-mean not at all"
    excused = {"check_class_weight_classifiers": reason} | OLD_CHECKS
    check_estimator(estimator, on_skip=None, expected_failed_checks=excused, on_fail="raise")


def test_estimator_is_the_trainer_with_labels():
    X, y = blobs()
    names = np.array(["benign", "malignant"])[y]
    model = AnyLossClassifier("f2", learning_rate=0.005, max_iter=50).fit(X, names)
    theta = train_perceptrons(add_intercept(X), y, [Objective("anyloss", 0.005, metric="f2")], max_iter=50)[0]
    np.testing.assert_array_equal([*model.intercept_, *model.coef_[0]], theta)
    np.testing.assert_allclose(model.predict_proba(X)[:, 1], expit(add_intercept(X) @ theta), atol=1e-15)
    assert list(model.classes_) == ["benign", "malignant"]
    assert set(model.predict(X)) == {"benign", "malignant"}
    assert model.n_iter_ == 50


def test_estimator_cuts_at_its_threshold():
    X, y = blobs()
    model = AnyLossClassifier(loss="bce", threshold=0.2, learning_rate=0.1).fit(X, y)
    np.testing.assert_array_equal(model.predict(X) == 1, model.predict_proba(X)[:, 1] > 0.2)
    np.testing.assert_array_equal(model.predict(X) == 1, model.decision_function(X) > 0)
    with pytest.raises(ValueError, match="threshold must be"):
        AnyLossClassifier(threshold=1.0).fit(X, y)
    with pytest.raises(ValueError, match="only one class"):
        AnyLossClassifier().fit(X, 0 * y)
    with pytest.raises(ValueError, match="Only binary classification"):
        AnyLossClassifier().fit(X, np.arange(len(y)) % 3)


def test_estimator_beats_cross_entropy_on_its_own_score():
    X, y = blobs(2000, share=0.1)
    f1 = metrics.f1_score(y, AnyLossClassifier("f1").fit(X, y).predict(X))
    bce = metrics.f1_score(y, AnyLossClassifier(loss="bce", learning_rate=0.1).fit(X, y).predict(X))
    assert f1 > bce + 0.1


# --- network --------------------------------------------------------------------------------------------------------


def test_wrong_n_adds_true_negatives_and_hides_false_positives():
    """n of the training set over sums of a batch: the authors' formulas, and what they reward."""
    rng = np.random.default_rng(0)
    p, y = torch.tensor(rng.random(100)), torch.tensor(rng.random(100) < 0.1)
    a, n = functional.amplify(p), 2000
    sy, sh, shy = y.sum(), a.sum(), (a * y).sum()
    balanced = (n * (shy + sy) - sy * (sh + sy)) / (2 * sy * (n - sy))
    gmean = torch.sqrt(shy * (n - sh - sy + shy) / (sy * (n - sy)))
    accuracy = (n - sy - sh + 2 * shy) / n
    for name, theirs in [("balanced_accuracy", balanced), ("gmean", gmean), ("accuracy", accuracy)]:
        ours = AnyLoss(miscounted_metric(name, n))(p, y)
        assert float(ours) == pytest.approx(1 - float(theirs), abs=1e-12)
    # Accuracy is only rescaled, F-beta is untouched, and calling everything positive now looks nearly perfect.
    assert float(1 - accuracy) == pytest.approx(float(AnyLoss("accuracy")(p, y)) * 100 / n, abs=1e-12)
    assert float(AnyLoss(miscounted_metric("f2", n))(p, y)) == float(AnyLoss("f2")(p, y))
    ones = torch.ones(100, dtype=torch.float64)
    assert float(AnyLoss(miscounted_metric("balanced_accuracy", n))(ones, y)) < 0.03
    assert float(AnyLoss("balanced_accuracy")(ones, y)) == pytest.approx(0.5)


@pytest.mark.slow
def test_network_trained_with_the_wrong_n_calls_nearly_everything_positive():
    X, y, _ = random_set()
    X, y = X[:3000], y[:3000]
    said = {}
    for name, score in [("right", "balanced_accuracy"), ("wrong", miscounted_metric("balanced_accuracy", 3000))]:
        net = train_network(X, y, AnyLoss(score), learning_rate=0.01, epochs=15, stratified=True, zero_output=True)
        said[name] = predict_probs(net, X) > 0.5
    assert metrics.balanced_accuracy_score(y, said["right"]) > 0.8
    assert metrics.balanced_accuracy_score(y, said["wrong"]) < 0.65
    assert said["wrong"].mean() > 0.8 > 0.4 > said["right"].mean()


def test_network_is_the_papers():
    net = build_network(4, seed=3)
    assert [type(m).__name__ for m in net] == ["Linear", "BatchNorm1d", "Sigmoid", "Linear", "Sigmoid", "Flatten"]
    assert (net[1].eps, net[1].momentum) == (1e-3, 0.01)
    assert sum(p.numel() for p in net.parameters()) == 4 * 2 + 2 + 4 + 2 + 1
    weights = build_network(50, hidden=4000)[0].weight.detach()
    assert float(weights.std()) == pytest.approx((2 / 50) ** 0.5, rel=0.01)  # He-normal
    assert float(weights.abs().max()) <= 2 * (2 / 50) ** 0.5 / 0.8796 + 1e-6
    assert build_network(4, dtype=torch.float64)(torch.zeros(3, 4, dtype=torch.float64)).dtype == torch.float64


@pytest.mark.slow
def test_a_network_whose_output_layer_starts_at_zero_starts_at_one_half_and_learns():
    X, y, _ = random_set()
    X, y = X[:3000], y[:3000]
    assert (build_network(2, zero_output=True)(torch.tensor(X, dtype=torch.float32)) == 0.5).all()
    for seed in (3, 8):  # with the paper's output layer balanced accuracy ends in one class for all
        net = train_network(
            X, y, AnyLoss("balanced_accuracy"), learning_rate=0.01, epochs=10, stratified=True, zero_output=True, seed=seed
        )
        assert metrics.balanced_accuracy_score(y, predict_probs(net, X) > 0.5) > 0.8


def test_network_depends_on_its_seed_alone():
    X, y = blobs()
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first, again, other = (
        predict_probs(train_network(X, y, nn.BCELoss(), epochs=2, batch_fraction=0.3, seed=s), X) for s in (0, 0, 1)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(("n", "positives", "batch_size"), [(103, 13, 10), (90, 9, 10), (50, 25, 50), (64, 20, 7)])
def test_stratified_batches_partition_the_data_and_hold_both_classes(n, positives, batch_size):
    y = np.zeros(n, dtype=int)
    y[:positives] = 1
    sampler = StratifiedBatchSampler(y, batch_size, seed=0)
    first, second = list(sampler), list(sampler)
    assert len(first) == len(sampler) == -(-n // batch_size)
    assert sorted(itertools.chain(*first)) == sorted(itertools.chain(*second)) == list(range(n))
    assert first != second
    assert first == list(StratifiedBatchSampler(y, batch_size, seed=0))
    counts = np.array([[len(b), y[b].sum()] for b in first])
    assert np.ptp(counts[:, 0]) <= 1
    assert counts[:, 0].max() <= batch_size
    assert np.ptp(counts[:, 1]) <= 1
    assert counts[:, 1].min() >= 1


def test_network_refuses_bad_input():
    X, y = blobs()
    with pytest.raises(ValueError, match="cannot be in all of 12 batches"):
        StratifiedBatchSampler(np.arange(120) < 5, 10)
    with pytest.raises(ValueError, match="batch_size must be"):
        StratifiedBatchSampler(y, 0)
    with pytest.raises(ValueError, match="at least 1"):
        build_network(0)
    with pytest.raises(ValueError, match=r"need X \(n, d\)"):
        train_network(X, y[:-1], nn.BCELoss())
    with pytest.raises(ValueError, match="X must be finite"):
        train_network(np.where(X > 1, np.nan, X), y, nn.BCELoss())
    with pytest.raises(ValueError, match="batch_fraction"):
        train_network(X, y, nn.BCELoss(), batch_fraction=0.0)
    with pytest.raises(ValueError, match="needs both classes"):  # plain shuffling, batches of two
        train_network(X, y, AnyLoss(), batch_fraction=0.02)


# --- weights, stopping, warnings, resuming --------------------------------------------------------------------------


def test_the_papers_constants_are_the_defaults():
    rates = {name: o.learning_rate for name, o in paper_objectives().items()}
    assert rates == {
        "MSE": 0.01,
        "Delta": 1e-5,
        "BCE": 0.1,
        "accuracy": 0.005,
        "f1": 0.01,
        "f0.5": 0.005,
        "f2": 0.005,
        "gmean": 0.005,
        "balanced_accuracy": 0.005,
    }
    assert all(o.L == 73.0 for o in paper_objectives().values())
    model = AnyLossClassifier()
    assert (model.metric, model.L, model.learning_rate, model.max_iter, model.threshold) == ("f1", 73.0, 0.01, 1000, 0.5)
    network = inspect.signature(train_network).parameters
    assert {k: network[k].default for k in ("learning_rate", "epochs", "batch_fraction", "hidden", "zero_output")} == {
        "learning_rate": 0.001,
        "epochs": 100,
        "batch_fraction": 0.05,
        "hidden": 2,
        "zero_output": False,
    }


def test_a_weight_of_two_is_the_sample_twice():
    X, y = blobs()
    X, weight = add_intercept(X), np.arange(len(y)) % 3
    rows = np.repeat(np.arange(len(y)), weight)
    objectives = [
        *paper_objectives().values(), Objective("sol", metric="gmean"), Objective("weighted_bce", 0.1), Objective(metric="mcc")
    ]  # fmt: skip
    weighted = train_perceptrons(X, y, objectives, max_iter=50, sample_weight=weight)
    np.testing.assert_allclose(weighted, train_perceptrons(X[rows], y[rows], objectives, max_iter=50), rtol=1e-9, atol=1e-12)
    with pytest.raises(ValueError, match="sample_weight"):
        train_perceptrons(X, y, objectives, sample_weight=-weight)


def test_class_weights_are_sample_weights():
    X, y = blobs()
    by_class = AnyLossClassifier("accuracy", class_weight={0: 1.0, 1: 3.0}, max_iter=50).fit(X, y)
    by_sample = AnyLossClassifier("accuracy", max_iter=50).fit(X, y, 1.0 + 2.0 * y)
    np.testing.assert_array_equal(by_class.coef_, by_sample.coef_)
    plain, balanced = (AnyLossClassifier("gmean", class_weight=w, max_iter=50).fit(X, y) for w in (None, "balanced"))
    np.testing.assert_allclose(plain.coef_, balanced.coef_, rtol=1e-9)


def test_estimator_stops_at_its_tolerance_and_says_where():
    X, y = blobs()
    model = AnyLossClassifier(loss="bce", learning_rate=1.0, tol=1e-3, max_iter=3000).fit(X, y)
    assert model.n_iter_ < 3000
    p = model.predict_proba(X)[:, 1]
    assert np.abs(add_intercept(X).T @ (p - y) / len(y)).max() <= 1e-3
    with pytest.warns(ConvergenceWarning, match="tol"):
        AnyLossClassifier(loss="bce", tol=1e-9, max_iter=5).fit(X, y)


def test_estimator_says_when_unscaled_features_end_in_one_class():
    X, y = blobs()
    with pytest.warns(ConvergenceWarning, match="StandardScaler"):
        AnyLossClassifier().fit(X * 1e6 + 5e6, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        AnyLossClassifier().fit(X, y)


def test_training_goes_on_exactly_where_it_stopped():
    X, y = blobs()
    X, objectives = add_intercept(X), list(paper_objectives().values())
    first = train_perceptrons(X, y, objectives, callback=lambda step, Theta: step == 7)
    rest = train_perceptrons(X, y, objectives, max_iter=13, theta0=first)
    np.testing.assert_array_equal(rest, train_perceptrons(X, y, objectives, max_iter=20))


def test_a_pickled_sampler_goes_on_with_the_same_batches():
    sampler = StratifiedBatchSampler(np.arange(30) % 3 == 0, 7, seed=1)
    list(sampler)
    for again in (pickle.loads(pickle.dumps(sampler)), copy.deepcopy(sampler)):
        state = sampler._generator.get_state()
        assert list(again) == list(sampler)
        sampler._generator.set_state(state)


def test_types_are_refused_by_name():
    X, y = blobs()
    for settings in ({"max_iter": 10.5}, {"learning_rate": "0.1"}, {"L": None}, {"tol": "small"}, {"threshold": "half"}):
        with pytest.raises(TypeError, match=next(iter(settings))):
            AnyLossClassifier(**settings).fit(X, y)
