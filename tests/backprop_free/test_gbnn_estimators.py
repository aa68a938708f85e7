"""GBNN as estimators: the loop against its parts, stages, truncation, resuming, scikit-learn's checks, the authors' package."""

from __future__ import annotations

import copy
import inspect
import pickle
import warnings

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import make_classification
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from lib.backprop_free.gbnn import GBNNClassifier, GBNNRegressor, fit_piece, initial_score, newton_step, pseudo_residuals
from lib.backprop_free.gbnn.pieces import _fit_piece
from lib.backprop_free.gbnn.study.sets import split
from lib.experiment import rng

FAST = {"n_units": 6, "max_iter": 40, "random_state": 0}
ESTIMATORS = [GBNNClassifier(**FAST), GBNNClassifier(units_per_step=2, newton="exact", **FAST), GBNNRegressor(**FAST)]


@parametrize_with_checks(ESTIMATORS)
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)


def problem(kind, n=120):
    """Features of unit size and a target of the kind "regression", "binary" or "multi-class"."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, 3))
    score = np.sin(2 * X[:, 0]) + X[:, 1] + 0.3 * rng.normal(size=n)
    if kind == "regression":
        return X, 5 + 2 * score
    return (X, (score > 0).astype(int)) if kind == "binary" else (X, np.digitize(score, [-0.7, 0.7]))


def made(kind, **parameters):
    return (GBNNRegressor if kind == "regression" else GBNNClassifier)(**(FAST | parameters))


KINDS = ["regression", "binary", "multi-class"]
MODELS = {kind: made(kind, n_units=8, units_per_step=2, learning_rate=0.5).fit(*problem(kind)) for kind in KINDS}


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.mark.parametrize("estimator", [GBNNClassifier, GBNNRegressor])
def test_defaults_are_the_authors(estimator):
    default = {name: p.default for name, p in inspect.signature(estimator).parameters.items()}
    expected = {"n_units": 200, "units_per_step": 1, "learning_rate": 1.0, "subsample": 0.5, "max_iter": 200, "tol": 0.0}
    assert expected.items() <= default.items()
    assert (default["alpha"], default["activation"]) == (1e-4, "logistic")
    assert default.get("newton", "diagonal") == "diagonal"
    piece = {name: p.default for name, p in inspect.signature(fit_piece).parameters.items()}
    assert (piece["n_units"], piece["alpha"], piece["max_iter"], piece["tol"]) == (1, 1e-4, 200, 0.0)


# ------------------------------------------------------------------------------------------------------------- the loop


def coded(model, y):
    if isinstance(model, GBNNRegressor):
        return y
    return 2.0 * y - 1 if len(model.classes_) == 2 else np.eye(len(model.classes_))[y]


def test_loop_is_residuals_pieces_newton_steps(kind):
    """Written anew from the exported parts; the streams are the estimator's."""
    X, y = problem(kind)
    model, loss = MODELS[kind], {"regression": "squared", "binary": "binary", "multi-class": "softmax"}[kind]
    target = coded(model, y)
    spread = y.std() if kind == "regression" else 1.0
    F = np.zeros(target.shape) + initial_score(target, loss)
    for t, (F_staged, (piece, rate)) in enumerate(zip(model._stages(X), model.steps_, strict=True)):
        stream = np.random.default_rng(np.random.SeedSequence([*model.entropy_, t]))
        rows = stream.choice(len(X), len(X) // 2, replace=False)
        again = fit_piece(X[rows], (pseudo_residuals(target, F, loss) / spread)[rows], 2, max_iter=40, seed=stream)
        np.testing.assert_array_equal(again.W, piece.W)
        h = again(X).reshape(F.shape)
        assert rate == pytest.approx(0.5 * newton_step(target, F, h, loss) * spread, rel=1e-12)
        F = F + rate * h
        np.testing.assert_allclose(F_staged.reshape(F.shape), F, atol=1e-12)
    assert len(model.steps_) == model.n_steps_ == 4


def test_one_unshrunk_step_on_all_rows_is_the_mean_and_a_plain_fit():
    X, y = problem("regression")
    model = GBNNRegressor(1, units_per_step=1, subsample=1.0, standardize_y=False, random_state=0).fit(X, y)
    rng = np.random.default_rng(np.random.SeedSequence([*model.entropy_, 0]))
    expected = y.mean() + fit_piece(X, y - y.mean(), 1, seed=rng)(X)[:, 0]
    np.testing.assert_allclose(model.predict(X), expected, rtol=1e-12)


@pytest.mark.parametrize("rate", [1.0, 0.3])
def test_training_loss_does_not_rise_for_squared_loss_on_all_rows(rate):
    model = made("regression", n_units=10, subsample=1.0, learning_rate=rate, alpha=0.0).fit(*problem("regression"))
    assert (np.diff(model.train_losses_) <= 1e-9).all()
    assert model.train_losses_[0] == pytest.approx(problem("regression")[1].var() / 2)


def test_a_linear_target_is_fit_by_linear_units():
    X, _ = problem("regression")
    y = X @ [1.0, -2.0, 0.5] + 3
    assert GBNNRegressor(5, activation="identity", random_state=0).fit(X, y).score(X, y) > 0.999


def test_pieces_see_a_subsample_and_newton_steps_all_rows(kind):
    X, y = problem(kind)
    seen = []

    def rule(y, F, h):
        seen.append((len(y), y.shape == F.shape == h.shape))
        y[:], F[:], h[:] = 0, 0, 0  # copies: this must not reach the loop
        return 1.0

    if kind == "regression":
        return
    loud, quiet = made(kind, newton=rule).fit(X, y), made(kind, newton="none").fit(X, y)
    assert seen == [(120, True)] * 6
    np.testing.assert_array_equal(loud.predict_proba(X), quiet.predict_proba(X))


def test_the_three_newton_rules_differ_for_more_classes():
    X, y = problem("multi-class")
    rates = [made("multi-class", newton=rule).fit(X, y).steps_[0].rate for rule in ("diagonal", "exact", "none")]
    assert len({round(rate, 6) for rate in rates}) == 3
    assert rates[2] == 1


def test_a_loss_that_rises_above_the_start_is_told():
    X, y = problem("binary")
    with pytest.warns(ConvergenceWarning, match=r"ended above that of a constant; lower learning_rate$"):
        made("binary", newton=lambda y, F, h: -1.0).fit(X, y)


def test_full_diagonal_steps_diverge_with_a_warning_and_exact_ones_do_not():
    part = split("vehicle", rng(0, "diverge"), 300)
    settings = {"n_units": 60, "units_per_step": 3, "subsample": 1.0, "max_iter": 50, "random_state": 0}
    with pytest.warns(ConvergenceWarning, match="newton='exact'"):
        assert GBNNClassifier(**settings).fit(part.X, part.y).train_losses_[-1] > 10
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert GBNNClassifier(newton="exact", **settings).fit(part.X, part.y).train_losses_[-1] < 0.5


def test_a_saturated_fit_ends_early():
    X = np.array([[-1.0], [-0.9], [0.9], [1.0]])
    model = GBNNClassifier(200, subsample=1.0, max_iter=400, random_state=0).fit(X, [0, 0, 1, 1])
    assert 1 <= model.n_steps_ < 200
    assert np.isfinite(model.predict_proba(X)).all()
    assert len(model.train_losses_) == model.n_steps_ + 1
    assert len(model.n_iter_) == model.n_steps_


def test_a_constant_target_is_predicted():
    X, _ = problem("regression")
    model = made("regression").fit(X, np.full(120, 7.0))
    np.testing.assert_array_equal(model.predict(X), 7.0)
    assert model.n_steps_ == 0


@pytest.mark.parametrize("scale", [2.0**-20, 2.0**20])
def test_predictions_follow_the_unit_of_y(scale):
    X, y = problem("regression")
    model, other = made("regression").fit(X, y), made("regression").fit(X, scale * y)
    np.testing.assert_allclose(other.predict(X), scale * model.predict(X), rtol=1e-12)


def test_without_standardizing_a_small_y_is_penalized_away():
    X, y = problem("regression")
    assert made("regression", standardize_y=False).fit(X, 1e-6 * y).score(X, 1e-6 * y) < 0.5


# ----------------------------------------------------------------------------------------- stages, truncation, resuming


def scores_of(model, X):
    return model.predict(X) if isinstance(model, GBNNRegressor) else model.decision_function(X)


@pytest.mark.parametrize("k", [1, 2, 4])
def test_assembled_truncated_and_staged_agree(kind, k):
    X, _ = problem(kind)
    model, factor = MODELS[kind], 2 if kind == "binary" else 1
    staged = [F for _, F in zip(range(k), model._stages(X), strict=False)][-1]
    network = model.to_mlp(2 * k)
    np.testing.assert_allclose(network(X), factor * staged, atol=1e-10)
    np.testing.assert_allclose(scores_of(model.truncate(2 * k), X).reshape(staged.shape), staged, atol=1e-10)
    outputs = model.to_torch(2 * k)(torch.from_numpy(X).float()).detach().numpy()
    np.testing.assert_allclose(outputs, factor * staged, rtol=1e-5, atol=1e-5)
    assert network.W1.shape == (3, 2 * k)


def test_network_of_two_classes_gives_the_probability_and_not_only_the_label():
    X, _ = problem("binary")
    model = MODELS["binary"]
    log_odds = model.to_torch(dtype=torch.float64)(torch.from_numpy(X))[:, 0]
    np.testing.assert_allclose(torch.sigmoid(log_odds).detach().numpy(), model.predict_proba(X)[:, 1], atol=1e-12)


def test_stages_end_where_predictions_are(kind):
    X, y = problem(kind)
    model = MODELS[kind]
    np.testing.assert_array_equal(list(model.staged_predict(X))[-1].round(9), model.predict(X).round(9))
    scores = model.staged_score(X, y)
    assert scores.shape == (4,)
    assert scores[-1] == pytest.approx(model.score(X, y))
    if kind != "regression":
        np.testing.assert_allclose(list(model.staged_predict_proba(X))[-1], model.predict_proba(X), atol=1e-12)
        np.testing.assert_allclose(list(model.staged_decision_function(X))[-1], model.decision_function(X), atol=1e-12)


def test_truncation_is_a_fitted_copy_and_says_how_long_it_is(kind):
    X, _ = problem(kind)
    model = copy.deepcopy(MODELS[kind])
    before = scores_of(model, X)
    shorter = model.truncate(5)
    assert (shorter.n_units, shorter.n_steps_, len(shorter.train_losses_), len(shorter.n_iter_)) == (4, 2, 3, 2)
    np.testing.assert_array_equal(scores_of(model, X), before)
    assert model.n_steps_ == 4
    with pytest.raises(ValueError, match="n_units must be an integer at least 2 and at most 8"):
        model.truncate(1)
    with pytest.raises(ValueError, match="n_units"):
        model.to_mlp(9)


def test_resumed_in_the_middle_it_goes_on_as_if_never_stopped(kind):
    X, y = problem(kind)
    whole = made(kind, n_units=6).fit(X, y)
    half = pickle.loads(pickle.dumps(made(kind, n_units=3, warm_start=True).fit(X, y)))
    again = half.set_params(n_units=6).fit(X, y)
    np.testing.assert_allclose(scores_of(again, X), scores_of(whole, X), rtol=1e-9)
    np.testing.assert_allclose(again.train_losses_, whole.train_losses_, rtol=1e-9)
    with pytest.raises(ValueError, match="n_units must not shrink"):
        again.set_params(n_units=2).fit(X, y)
    with pytest.raises(ValueError, match="units_per_step must not change"):
        again.set_params(n_units=8, units_per_step=2).fit(X, y)


def test_resuming_with_other_classes_is_refused():
    X, y = problem("binary")
    model = made("binary", warm_start=True).fit(X, y)
    with pytest.raises(ValueError, match="same classes"):
        model.fit(X, y + 1)


def test_same_seed_same_network_other_seed_another(kind):
    X, y = problem(kind)
    first, second, other = (made(kind, random_state=seed).fit(X, y) for seed in (0, 0, 1))
    for a, b in zip(first.coefs_ + first.intercepts_, second.coefs_ + second.intercepts_, strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(first.coefs_[0], other.coefs_[0])


def test_rounding_errors_are_amplified_so_sums_have_one_order(monkeypatch):
    """What `lbfgs` is for: the last digit of the data decides, so the order of sums must not depend on the CPU."""
    X, y = problem("binary")
    first, again = made("binary", max_iter=200).fit(X, y), made("binary", max_iter=200).fit(X * (1 + 1e-15), y)
    assert np.abs(first.decision_function(X) - again.decision_function(X)).max() > 1e-6


def test_steps_start_from_different_weights():
    model = MODELS["binary"]
    assert len({round(float(piece.W[0, 0]), 9) for piece, _ in model.steps_}) == 4


def test_survives_pickling_and_cloning(kind):
    X, _ = problem(kind)
    model = MODELS[kind]
    np.testing.assert_array_equal(scores_of(pickle.loads(pickle.dumps(model)), X), scores_of(model, X))
    assert not hasattr(clone(model), "steps_")


# ------------------------------------------------------------------------------------------- as a scikit-learn estimator


def test_probabilities_are_finite_and_sum_to_one():
    for kind in ("binary", "multi-class"):
        X, _ = problem(kind)
        proba = MODELS[kind].predict_proba(1e6 * X)
        assert np.isfinite(proba).all()
        np.testing.assert_allclose(proba.sum(axis=1), 1)
        np.testing.assert_array_equal(MODELS[kind].classes_[proba.argmax(axis=1)], MODELS[kind].predict(1e6 * X))


def test_works_in_a_pipeline_and_a_grid_search():
    X, y = make_classification(200, 5, class_sep=1.5, random_state=0)
    pipeline = make_pipeline(StandardScaler(), GBNNClassifier(**FAST))
    search = GridSearchCV(pipeline, {"gbnnclassifier__learning_rate": [0.1, 1.0]}, cv=2).fit(
        100 * X, np.array(["no", "yes"])[y]
    )
    assert search.best_score_ > 0.8
    assert set(search.predict(X)) <= {"no", "yes"}


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ({"n_units": 1, "units_per_step": 2}, "n_units must be at least units_per_step"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"learning_rate": 1.1}, "learning_rate"),
        ({"subsample": 0.01}, "subsample must leave 2 rows"),
        ({"newton": "half"}, "newton must be one of"),
        ({"activation": "swish"}, "activation must be one of"),
        ({"alpha": -1.0}, "alpha"),
    ],
)
def test_bad_parameters_are_refused(parameters, told):
    with pytest.raises(ValueError, match=told):
        made("binary", **parameters).fit(*problem("binary"))


def test_units_that_do_not_fill_a_step_are_left_out_with_a_warning():
    with pytest.warns(UserWarning, match="no multiple of 4"):
        assert made("binary", units_per_step=4).fit(*problem("binary")).to_mlp().W1.shape == (3, 4)


def test_one_class_is_refused():
    with pytest.raises(ValueError, match="at least 2 classes"):
        made("binary").fit(problem("binary")[0], np.ones(120, int))


def test_an_overflowing_target_is_refused():
    X, y = problem("regression")
    with pytest.raises(ValueError, match="overflows"):
        made("regression").fit(X, 1e300 * y)


# ------------------------------------------------------------------------------------------------- the authors' package


def peer_package():
    pytest.importorskip("gbnn", reason="the authors' package is only a peer of this test")
    import gbnn.GBNN as peer

    return peer


@pytest.mark.parametrize("loss", ["squared", "binary", "softmax"])
def test_formulas_are_those_of_the_authors_package(loss):
    peer = peer_package()
    rng = np.random.default_rng(0)
    y, F, h = rng.normal(size=(3, 20))
    theirs = peer.squared_loss()
    if loss == "binary":
        y, theirs = np.sign(y), peer.log_exponential_loss()
    if loss == "softmax":
        y, theirs = np.eye(3)[rng.integers(3, size=20)], peer.multi_class_loss()
        F, h = rng.normal(size=(2, 20, 3))
    r = pseudo_residuals(y, F, loss)
    np.testing.assert_allclose(initial_score(y, loss), np.squeeze(theirs.model0(y)), rtol=1e-12)
    np.testing.assert_allclose(r, theirs.derive(y, F), rtol=1e-10, atol=1e-14)
    assert newton_step(y, F, h, loss) == pytest.approx(theirs.newton_step(y, r, h), rel=1e-10)


def test_whole_runs_are_those_of_the_authors_package_given_the_same_pieces(kind, monkeypatch):
    peer = peer_package()
    X, y = problem(kind)
    unscaled = {"standardize_y": False} if kind == "regression" else {}
    model = made(kind, n_units=4, max_iter=4, subsample=1.0, **unscaled).fit(X, y)  # short fits: long ones amplify rounding
    count = iter(range(100))

    class OurPiece:
        """What the authors' code needs of scikit-learn's regressor, with our fit and our streams."""

        def __init__(self, hidden_layer_sizes, **_):
            self.n_units = hidden_layer_sizes[0]

        def fit(self, X, r):
            if self.n_units == 1:
                own = np.random.default_rng(np.random.SeedSequence([*model.entropy_, next(count)]))
                self.piece = _fit_piece(X, r, 1, 1e-4, 4, 0.0, "logistic", own)
            return self

        def predict(self, X):
            outputs = self.piece(X)
            return outputs[:, 0] if outputs.shape[1] == 1 else outputs

    monkeypatch.setattr(peer, "MLPRegressor", OurPiece)
    monkeypatch.setattr(peer, "is_classifier", lambda m: isinstance(m, peer.ClassifierMixin))
    theirs = (peer.GNEGNERegressor if kind == "regression" else peer.GNEGNEClassifier)(total_nn=4, subsample=1.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(peer, "MLPClassifier", lambda **_: OurPiece((4,)))
        theirs.fit(X, y)
    np.testing.assert_allclose(theirs._decision_function(X), scores_of(model, X), rtol=1e-8, atol=1e-10)
