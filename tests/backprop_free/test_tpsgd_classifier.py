"""tpSGD as a scikit-learn classifier."""

import pickle

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from lib.backprop_free.tpsgd import TPSequential, TPSGDClassifier


@parametrize_with_checks([TPSGDClassifier((16,), max_iter=60, random_state=0), TPSGDClassifier((), random_state=0)])
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    return train_test_split(X / 8 - 1, y, test_size=600, random_state=0)


def test_it_is_the_networks_own_training(digits):
    X, _, y, _ = digits
    model = TPSGDClassifier((12, 7), loss="l1", law="sign", learning_rate=0.02, hidden_scale=0.5, momentum=0.5,
                            batch_size=50, max_iter=2, random_state=3).fit(X, y)  # fmt: skip
    rng = np.random.default_rng(3)
    twin = TPSequential.dense([64, 12, 7, 10], "tanh", "l1", "sign", seed=rng).double()
    optimizers = twin.optimizers(torch.optim.SGD, 0.02, 0.5, momentum=0.5)
    for _ in range(2):
        for rows in rng.permutation(len(X))[: len(X) // 50 * 50].reshape(-1, 50):
            twin.train_step(torch.tensor(X[rows]), torch.tensor(y[rows]), optimizers)
    for name, value in twin.state_dict().items():
        assert torch.equal(value, model.model_.state_dict()[name])
    assert len(model.loss_curve_) == model.n_iter_ == 2


def test_on_digits_it_is_close_to_backpropagation_and_above_frozen_layers(digits):
    X, X_test, y, y_test = digits
    for seed in range(2):
        ours, frozen = (
            TPSGDClassifier((64,), learning_rate=0.02, hidden_scale=scale, max_iter=15, random_state=seed).fit(X, y)
            for scale in (0.5, 0.0)
        )
        whole = MLPClassifier((64,), activation="tanh", max_iter=60, random_state=seed).fit(X, y)
        assert ours.score(X_test, y_test) > whole.score(X_test, y_test) - 0.05
        assert ours.score(X_test, y_test) > frozen.score(X_test, y_test)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_probabilities_scores_and_labels_agree_for_labels_of_any_kind(digits, n_classes):
    X, X_test, y, _ = digits
    X, words = X[y < n_classes], np.array(["a", "b", "c"])[y[y < n_classes]]
    model = TPSGDClassifier((8,), max_iter=5, random_state=0).fit(X, words)
    p, F = model.predict_proba(X_test), model.decision_function(X_test)
    assert np.allclose(p.sum(axis=1), 1)
    assert (model.predict(X_test) == model.classes_[p.argmax(axis=1)]).all()
    if n_classes == 2:
        assert np.allclose(F, np.log(p[:, 1] / p[:, 0]))
    again = pickle.loads(pickle.dumps(model))
    assert np.array_equal(again.predict_proba(X_test), p)


def test_works_in_a_pipeline_and_a_grid_search(digits):
    X, _, y, _ = digits
    search = GridSearchCV(
        make_pipeline(StandardScaler(), TPSGDClassifier((16,), batch_size=16, max_iter=15, random_state=0)),
        {"tpsgdclassifier__hidden_scale": [0.1, 1.0]},
        cv=2,
    )
    assert search.fit(X[:300], y[:300]).best_score_ > 0.5


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"hidden_layer_sizes": 5}, "hidden_layer_sizes"),
        ({"hidden_layer_sizes": (0,)}, "hidden_layer_sizes"),
        ({"hidden_layer_sizes": "64"}, "hidden_layer_sizes"),
        ({"activation": "cosh"}, "activation"),
        ({"loss": "l3"}, "loss"),
        ({"law": "beta"}, "law"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"hidden_scale": -1.0}, "hidden_scale"),
        ({"momentum": 1.0}, "momentum"),
        ({"batch_size": 0}, "batch_size"),
        ({"max_iter": 2.5}, "max_iter"),
        ({"random_state": "x"}, "random_state"),
    ],
)
def test_bad_settings_are_named(settings, named):
    with pytest.raises((TypeError, ValueError), match=named):
        TPSGDClassifier(**settings).fit([[0.0], [1.0]], [0, 1])


def test_one_class_and_divergence_are_told():
    with pytest.raises(ValueError, match="at least 2 classes"):
        TPSGDClassifier().fit([[0.0], [1.0]], [1, 1])
    with pytest.raises(FloatingPointError, match="layer 1 of 2"):
        TPSGDClassifier((4,), "identity", learning_rate=1e3).fit([[100.0], [-90.0]], [0, 1])
