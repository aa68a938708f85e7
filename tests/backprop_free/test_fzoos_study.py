"""The tasks and the protocols of the chapter on FZooS."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import f1_score, jaccard_score, precision_score, recall_score

from lib.backprop_free import fzoos
from lib.backprop_free.fzoos import study

PEERS = {"precision": precision_score, "recall": recall_score, "f1": f1_score, "jaccard": jaccard_score}


@pytest.mark.parametrize("metric", PEERS)
def test_metrics_are_scikit_learns_over_the_classes_that_occur(metric):
    rng = np.random.default_rng(0)
    truth, predicted = rng.integers(0, 3, 50), rng.integers(0, 4, (5, 50))
    predicted[0] = 1  # classes that are never predicted
    peer = PEERS[metric]
    expected = [1 - peer(truth, row, labels=[0, 1, 2], average="macro", zero_division=0) for row in predicted]
    np.testing.assert_allclose(study.metric.macro_loss(truth, predicted, 4, metric), expected, rtol=1e-12)


def test_metric_clients_start_from_the_trained_network_and_see_their_own_classes():
    from sklearn.neural_network import MLPClassifier

    import lib.data

    fs = study.metric_clients("iris", 3, 0.7, 40, 0.2, hidden=(4,), iterations=5, seed=0)
    X, y = lib.data.keel_multiclass("iris")
    X = (X - X.mean(0)) / X.std(0)
    rng = np.random.default_rng(0)
    net = MLPClassifier((4,), solver="lbfgs", max_iter=5, random_state=int(rng.integers(2**31)))
    with pytest.warns(match="converge"):
        net.fit(X, y)
    for f in fs:
        assert len(np.unique(f.y)) == 2
        labels = np.unique(f.y)
        loss = 1 - precision_score(f.y, net.predict(f.X), labels=labels, average="macro", zero_division=0)
        assert f(np.full(len(f.start), 0.5)) == pytest.approx(loss)
    points = rng.random((3, len(fs[0].start)))
    np.testing.assert_allclose(fs[0](points), [fs[0](x) for x in points])


@pytest.mark.slow
def test_attack_is_the_mean_margin_of_the_perturbed_image():
    networks = study.client_networks(2, 0.7, 300, 1, seed=0)
    found, tried = study.attacks(networks, 1, 0.3, 50, seed=0)
    task = found[0]
    assert tried >= 1
    x = np.random.default_rng(0).random(784)
    logits = study.attack.predict(networks[1], task.perturbed(x, 0.3).reshape(1, -1))[0]
    others = np.delete(logits, task.label)
    assert task.fs[1](x) == pytest.approx(logits[task.label] - others.max())
    np.testing.assert_allclose(task.fs[0](np.array([x, x / 2])), [task.fs[0](x), task.fs[0](x / 2)])
    np.testing.assert_allclose(task.perturbed(np.full(784, 0.5), 0.3).ravel(), task.image)


def test_drift_ends_where_the_closed_form_says_and_a_correction_removes_it():
    a, b, step, T = [1.0, 4.0, 2.0], [0.0, 3.0, -1.0], 0.1, 8
    best = np.dot(a, b) / np.sum(a)
    ends = {}
    for correct in (False, True):
        x = 5.0
        for _ in range(200):
            x = study.local_average(a, b, x, step, T, correct)
        ends[correct] = x
    assert ends[False] == pytest.approx(study.drift_limit(a, b, step, T), rel=1e-9)
    assert ends[True] == pytest.approx(best, rel=1e-9)
    assert abs(ends[False] - best) > 0.1
    assert study.drift_limit(a, b, step, 1) == pytest.approx(best)
    assert study.drift_limit(a, b, step, 10_000) == pytest.approx(np.mean(b), rel=1e-6)


def test_sharing_points_sees_the_average_only():
    wild = study.synthetic_quadratic(20, 3, 50.0, seed=1)
    start = np.random.default_rng(0).random(20)
    found = study.shared_points(wild, start, 3, seed=0)
    plain = fzoos.federated_minimize([wild.value], start, rounds=3, seed=0, n_server=0, n_features=1, vectorized=True)
    np.testing.assert_allclose(found["fun"], plain.history["fun"], rtol=1e-9)
    np.testing.assert_array_equal(found["floats"], 2 * found["queries"])
    assert found["queries"][-1] == 3 * (10 + 45 + 2) + 10


def test_best_setting_breaks_ties_by_the_next_cost():
    assert study.best_setting({1.0: (3, 0.2), 2.0: (3, 0.1), 3.0: (4, 0.0)}) == (2.0, (3.0, 0.1), False)
    assert study.best_setting({1.0: (1,), 2.0: (2,)}).edge


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: study.best_setting({}), "costs"),
        (lambda: study.value_at([10], [1.0], 5), "budget"),
        (lambda: study.drift_limit([30.0], [1.0], 0.1, 2), "step"),
        (lambda: study.local_average([1.0, 2.0], [1.0], 0.0, 0.1, 2), "b"),
        (lambda: study.metric_clients("iris", metric="accuracy"), "metric"),
    ],
)
def test_bad_arguments_are_named(call, name):
    with pytest.raises((ValueError, TypeError), match=name):
        call()


def test_cost_to_a_level_and_of_a_run_that_misses_it():
    result = fzoos.federated_minimize([lambda x: (x**2).sum()], [0.9] * 4, "fedzo", rounds=4, q=4, seed=0)
    history = result.history
    k = int(np.flatnonzero(history["fun"] <= history["fun"][2])[0])
    assert study.cost_to(history, history["fun"][2]) == (k, k * 51, k * 8)
    assert study.cost_to(history, -1.0) == (4, 4 * 51, 4 * 8)
    assert study.cost_to(history, -1.0, missed=9) == (9, 9 * 51, 9 * 8)
    with pytest.raises(ValueError, match="missed"):
        study.cost_to(history, -1.0, missed=2)


def test_a_run_cut_short_is_the_shorter_run():
    clients = study.synthetic_quadratic(6, 2, 1.0, seed=0)
    options = {"local_steps": 2, "n_features": 20, "n_server": 3, "n_active": 1, "grads": clients.grads, "vectorized": True}
    long, short = (fzoos.federated_minimize(clients.fs, np.full(6, 0.8), rounds=n, seed=0, **options) for n in (4, 2))
    cut = study.up_to(long, 2)
    assert (cut.nit, cut.nfev, cut.fun) == (short.nit, short.nfev, short.fun)
    assert cut.history.keys() == short.history.keys()
    for name, rows in short.history.items():
        np.testing.assert_array_equal(cut.history[name], rows)
    assert study.up_to(short, 9).nit == 2
