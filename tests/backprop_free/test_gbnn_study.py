"""GBNN's study: splits, rivals, pruning, protocols."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import check_grad
from sklearn.neural_network import MLPClassifier

from lib import experiment
from lib.backprop_free.gbnn import pieces
from lib.backprop_free.gbnn.pieces import _initial_weights
from lib.backprop_free.gbnn.study import WideNetwork, protocols, pruning, rivals, sets

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def stream(*axes):
    return experiment.rng(0, *axes)


@pytest.mark.parametrize("name", ["pima", "vehicle", "wine", "diabetes", "friedman"])
def test_splits_are_disjoint_in_proportion_and_standardized(name):
    part = sets.split(name, stream(name), 100, 40)
    X, _ = sets.load(name, stream(name))
    assert (len(part.X), len(part.X_test)) == (100, min(40, len(X) - 100))
    moving = part.X.std(axis=0) > 0
    np.testing.assert_allclose(part.X.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(part.X[:, moving].std(axis=0), 1, rtol=1e-9)
    assert {tuple(row) for row in part.X.round(9)}.isdisjoint({tuple(row) for row in part.X_test.round(9)})
    if name in sets.CLASSIFICATION:
        shares = [np.bincount(y, minlength=5) / len(y) for y in (part.y, sets.load(name, stream(name))[1])]
        assert np.abs(shares[0] - shares[1]).max() < 0.03
    else:
        assert (abs(part.y.mean()) < 1e-9, part.y.std() == pytest.approx(1)) == (True, True)


def test_a_split_leaves_a_third_to_test_on():
    part = sets.split("wine", stream(), 10_000)
    assert (len(part.X), len(part.X_test)) == (118, 60)
    with pytest.raises(ValueError, match="name must be one of"):
        sets.split("titanic", stream(), 10)


# --------------------------------------------------------------------------------------------------------- wide network


@pytest.mark.parametrize("activation", ["logistic", "relu"])
@pytest.mark.parametrize("loss", ["squared", "binary", "softmax"])
def test_gradient_of_the_wide_network_up_to_its_grid(loss, activation):
    rng = np.random.default_rng(0)
    X = rivals._on_grid(rng.normal(size=(30, 3)), 10)
    y = {"squared": rng.normal(size=30), "binary": rng.choice([-1.0, 1.0], 30), "softmax": np.eye(3)[rng.integers(3, size=30)]}[
        loss
    ]
    sizes = (3, 4, 1 if y.ndim == 1 else 3)
    theta = _initial_weights(sizes, activation, rng)
    arguments = (X, y, sizes, 0.5, loss, activation)
    plain = pieces._objective(theta, np.ascontiguousarray(X.T), y, sizes, 0.5, activation, loss)
    np.testing.assert_allclose(rivals._wide_objective(theta, *arguments)[1], plain[1], atol=1e-3)
    if activation == "relu":  # its grid is too coarse for finite differences
        return
    # steps of 2^-10: smaller ones are lost on the grid of the weights
    error = check_grad(
        lambda t: rivals._wide_objective(t, *arguments)[0],
        lambda t: rivals._wide_objective(t, *arguments)[1],
        theta,
        epsilon=2.0**-10,
    )
    assert error < 2e-3


@pytest.mark.parametrize("activation", ["logistic", "relu"])
def test_products_of_the_wide_network_do_not_depend_on_their_order(activation):
    rng = np.random.default_rng(0)
    X, y = rivals._on_grid(rng.normal(size=(200, 20)), 10), rng.choice([-1.0, 1.0], 200)
    theta, order = _initial_weights((20, 30, 1), activation, rng), rng.permutation(200)
    first = rivals._wide_objective(theta, X, y, (20, 30, 1), 0.1, "binary", activation)
    again = rivals._wide_objective(theta, X[order], y[order], (20, 30, 1), 0.1, "binary", activation)
    np.testing.assert_array_equal(first[1], again[1])


@pytest.mark.parametrize("activation", ["logistic", "relu"])
def test_wide_network_is_as_good_as_scikit_learns(activation):
    part = sets.split("vehicle", stream("wide"), 300, 500)
    ours = WideNetwork(50, alpha=1.0, random_state=0, activation=activation).fit(part.X, part.y)
    theirs = MLPClassifier(50, activation=activation, solver="lbfgs", alpha=1.0, random_state=0).fit(part.X, part.y)
    agree = [np.mean(model.predict(part.X_test) == part.y_test) for model in (ours, theirs)]
    assert agree[0] > agree[1] - 0.04
    assert np.mean(ours.predict(part.X) == part.y) > theirs.score(part.X, part.y) - 0.03


def test_wide_network_fits_numbers():
    part = sets.split("friedman", stream("wide"), 300, 200)
    model = WideNetwork(30, alpha=0.3, random_state=0, regression=True).fit(part.X, 100 + 50 * part.y)
    assert np.sqrt(np.mean((model.predict(part.X_test) - 100 - 50 * part.y_test) ** 2)) < 25


@pytest.mark.parametrize(
    ("X", "y", "told"), [([[0.0], [2000.0]], [0, 1], "X must be below 1024"), ([[0.0], [1.0]], [1, 1], "2 classes")]
)
def test_wide_network_refuses(X, y, told):
    with pytest.raises(ValueError, match=told):
        WideNetwork(2).fit(X, y)


def test_wide_network_refuses_other_units():
    with pytest.raises(ValueError, match="activation must be one of"):
        WideNetwork(2, activation="tanh").fit([[0.0], [1.0]], [0, 1])


# -------------------------------------------------------------------------------------------------------------- pruning


@pytest.fixture(scope="module")
def part_to_prune():
    return sets.split("pima", stream("prune"), 200, 200)


@pytest.fixture(scope="module", params=["relu", "logistic"])
def network(request, part_to_prune):
    model = rivals.make("Adam", (0.1, request.param), 0, 12, effort=60)
    return rivals.fitted(model, part_to_prune.X, part_to_prune.y), part_to_prune


def test_a_network_with_all_its_units_is_itself(network):
    model, part = network
    for rule in pruning.RULES:
        order = pruning.kept_units(model, part.X, rule)
        assert sorted(order) == list(range(12))
        assert pruning.pruned_accuracies(model, part, order, [12])[0] == pytest.approx(model.score(part.X_test, part.y_test))


def test_without_units_the_mean_output_is_left(network):
    model, part = network
    accuracy = pruning.pruned_accuracies(model, part, np.arange(12), [0])[0]
    assert accuracy in (np.mean(part.y_test), 1 - np.mean(part.y_test))


def test_ranked_units_are_those_of_most_variance(network):
    model, part = network
    scores = part.X @ model.coefs_[0] + model.intercepts_[0]
    H = np.maximum(scores, 0) if model.activation == "relu" else 1 / (1 + np.exp(-scores))
    share = [np.var(H[:, k] * model.coefs_[1][k, 0]) for k in range(12)]
    np.testing.assert_array_equal(pruning.kept_units(model, part.X, "ranked"), np.argsort(share)[::-1])
    with pytest.raises(ValueError, match="rule must be one of"):
        pruning.kept_units(model, part.X, "last")


def test_refitting_the_output_layer_helps_the_training_loss(network):
    model, part = network
    order = pruning.kept_units(model, part.X, "ranked")
    again = pruning.refit_accuracies(model, part._replace(X_test=part.X, y_test=part.y), order, [2, 6])
    pruned = pruning.pruned_accuracies(model, part._replace(X_test=part.X, y_test=part.y), order, [2, 6])
    assert (again >= pruned - 0.02).all()
    assert (again >= max(np.mean(part.y), 1 - np.mean(part.y)) - 0.02).all()


# ------------------------------------------------------------------------------------------------------------ protocols


def test_splits_are_drawn_anew_for_each_experiment_set_and_index():
    part, seed = protocols.drawn(stream, "race", "wine", 0, 60)
    for other in (("race", "wine", 1), ("widths", "wine", 0)):
        again, own = protocols.drawn(stream, *other, 60)
        assert own != seed
        assert not np.array_equal(again.y, part.y)
    old = stream("race", "wine", 0)
    assert not np.array_equal(sets.split("wine", old, 60).y, part.y)


@pytest.mark.parametrize("method", list(rivals.GRIDS))
@pytest.mark.parametrize("regression", [False, True])
def test_every_method_has_twelve_settings_and_is_made_with_them(method, regression):
    names, grid = rivals.GRIDS[method]
    assert len(set(grid)) == len(grid) == 12
    kinds = {value[1:]: [v[0] for v in grid if v[1:] == value[1:]] for value in grid}
    assert all(len(values) >= 4 and values == sorted(values) for values in kinds.values())
    for setting in (grid[2], grid[-1]):
        more = {"max_iter": 9} if method == "GBNN" else {}
        model = rivals.make(method, setting, 7, 12, regression, effort=20, **more)
        assert tuple(model.get_params()[name] for name in names) == setting
        assert model.get_params()["random_state"] == 7


def test_every_network_may_choose_its_activation():
    for method in ("GBNN", "Adam", "L-BFGS", "SGD"):
        assert {value[-1] for value in rivals.GRIDS[method][1]} == {"logistic", "relu"}
    for method, settings in rivals.SWITCHED.items():
        names = rivals.GRIDS[method][0]
        assert {value[names.index("activation")] for value in settings} == {"logistic", "relu"}
        assert len(set(settings)) == 8


def test_a_number_is_the_learning_rate_of_gbnn_and_more_is_its_own():
    model = rivals.make("GBNN", 0.3, 0, 12, subsample=1.0, units_per_step=2)
    assert (model.learning_rate, model.subsample, model.units_per_step, model.n_units) == (0.3, 1.0, 2, 12)
    assert rivals.make("GBNN", (0.3, 1.0), 0, 12).get_params()["units_per_step"] == 3
    assert (rivals.told((0.2, 1.0, "logistic")), rivals.told(0.03)) == ("0.2/1/log", "0.03")


@pytest.mark.parametrize("folds", [1, 2])
def test_tuning_takes_the_setting_that_is_best_on_held_out_halves(monkeypatch, folds):
    part, grid = sets.split("pima", stream("tune"), 120, 100), ((0.0,), (3.0,), (1e6,))
    monkeypatch.setitem(rivals.GRIDS, "L-BFGS", (("alpha",), grid))
    error, edge, value = protocols.tuned("L-BFGS", part, 0, 10, False, folds=folds, effort=30)
    halves = [(slice(0, 60), slice(60, 120)), (slice(60, 120), slice(0, 60))][:folds]
    errors = [
        sum(np.mean(WideNetwork(10, a, 30, 0).fit(part.X[t], part.y[t]).predict(part.X[v]) != part.y[v]) for t, v in halves)
        for (a,) in grid
    ]
    assert value == grid[int(np.argmin(np.round(errors, 9)))]
    assert edge == (value == (1e6,))
    final = WideNetwork(10, value[0], 30, 0).fit(part.X, part.y)
    assert error == np.mean(final.predict(part.X_test) != part.y_test)


def test_regressions_are_tuned_on_their_rmse():
    part = sets.split("diabetes", stream("tune"), 60, 60)
    rows, held = np.arange(30), np.arange(30, 60)
    model = rivals.make("L-BFGS", 3.0, 0, 6, True, effort=20)
    predicted = model.fit(part.X[rows], part.y[rows]).predict(part.X[held])
    expected = np.sqrt(np.mean((predicted - part.y[held]) ** 2))
    assert protocols._held_out(rivals.make("L-BFGS", 3.0, 0, 6, True, effort=20), part, rows, held) == pytest.approx(expected)


def test_a_run_that_diverges_loses_the_tuning(monkeypatch):
    part = sets.split("diabetes", stream("tune"), 80, 60)
    monkeypatch.setitem(rivals.GRIDS, "SGD", (("learning_rate_init",), ((1e9,), (0.01,), (1e9,))))
    with np.errstate(all="ignore"):
        error, edge, value = protocols.tuned("SGD", part, 0, 6, True, effort=20)
    assert (value, edge) == ((0.01,), True)
    assert error < 1.5


@pytest.mark.parametrize(
    ("chosen", "grid", "edge"),
    [
        ((0.1,), ((0.1,), (1.0,), (10.0,)), True),
        ((1.0,), ((0.1,), (1.0,), (10.0,)), False),
        ((10.0,), ((0.0,), (1.0,), (10.0,)), True),
        ((0.0,), ((0.0,), (1.0,), (10.0,)), False),
        ((0.3, "relu"), ((0.0, "relu"), (0.3, "relu"), (3.0, "logistic")), True),
        ((0.3, "relu"), ((0.0, "relu"), (0.3, "relu"), (3.0, "relu")), False),
        ((0.05, 1.0), ((0.05, 0.5), (0.05, 1.0), (1.0, 1.0)), True),
        ((1.0, 0.5), ((0.05, 0.5), (0.05, 1.0), (1.0, 0.5)), False),
    ],
)
def test_ends_of_a_grid_are_edges_unless_they_bound_the_setting(chosen, grid, edge):
    assert protocols.at_an_edge(chosen, grid) == edge


def test_mean_ranks_share_ties_and_critical_differences_are_those_of_the_tables():
    ranks = protocols.mean_ranks({"Adam": {"a": 0.1, "b": 0.0}, "trees": {"a": -0.1, "b": 0.2}})
    assert ranks == {"GBNN": 1.75, "Adam": 2.25, "trees": 2.0}
    assert protocols.nemenyi(5, 30) == pytest.approx(2.728 * np.sqrt(5 * 6 / (6 * 30)), rel=1e-3)


def test_race_gives_every_method_and_the_methods_share_their_data():
    run = protocols.race(stream, "wine", 0, n_train=40, n_units=6, effort=15, max_iter=10)
    assert list(run) == list(rivals.GRIDS)
    assert all(0 <= error <= 1 for error, _, _ in run.values())
    assert run == protocols.race(stream, "wine", 0, n_train=40, n_units=6, effort=15, max_iter=10)


def test_switch_off_ends_with_whole_networks():
    run, best = protocols.switch_off(stream, "wine", 0, 60, counts=[1, 4, 8], retrain=[1, 8], max_iter=15, effort=60)
    assert {name: len(values) for name, values in run.items()} == {
        "GBNN": 3, "Adam, first": 3, "Adam, ranked": 3, "Adam, refit": 2, "Adam, retrained": 2,
    }  # fmt: skip
    assert run["Adam, first"][-1] == run["Adam, ranked"][-1] == run["Adam, retrained"][-1]
    part, seed = protocols.drawn(stream, "switch off", "wine", 0, 60, 2000)
    more = {"effort": 60, "units_per_step": 1, "max_iter": 15}
    assert best["GBNN"] == protocols.best_setting("GBNN", rivals.SWITCHED["GBNN"], part, seed, 8, False, 1, **more)
    assert best["Adam"] in rivals.SWITCHED["Adam"]
    assert run["GBNN"][-1] == rivals.make("GBNN", best["GBNN"], seed, 8, **more).fit(part.X, part.y).score(
        part.X_test, part.y_test
    )


def test_widths_are_stages_of_one_model_for_gbnn():
    run = protocols.widths(stream, "wine", 0, 40, counts=[3, 9], max_iter=15, effort=15)
    assert {name: len(values) for name, values in run.items()} == {
        "GBNN, 0.5": 2, "GBNN, 0.1": 2, "GBNN, 0.1, J = 1": 2, "Adam": 2, "Adam, logistic": 2, "L-BFGS": 2, "L-BFGS, relu": 2,
    }  # fmt: skip
    part, seed = protocols.drawn(stream, "widths", "wine", 0, 40)
    model = rivals.make("GBNN", 0.1, seed, 9, max_iter=15).fit(part.X, part.y)
    assert run["GBNN, 0.1"].tolist() == [
        model.truncate(3).score(part.X_test, part.y_test),
        model.score(part.X_test, part.y_test),
    ]


def test_best_width_is_chosen_on_the_other_split():
    first, second = np.array([0.7, 0.9, 0.6]), np.array([0.8, 0.5, 0.7])
    np.testing.assert_allclose(protocols.lost_at_the_widest(first, second), [0.5 - 0.7, 0.7 - 0.6])


def test_heads_stand_on_the_same_features():
    run = protocols.heads(stream, 0, 150, 6, max_iter=15, effort=20)
    assert set(run) == {"its own softmax", "GBNN", "Adam"}
    assert all(0.1 < accuracy <= 1 for accuracy in run.values())


def test_hidden_is_the_last_layer_of_scikit_learns_network():
    part = sets.split("wine", stream(), 60)
    model = rivals.fitted(MLPClassifier((5, 4), max_iter=5, random_state=0), part.X, part.y)
    F = protocols.hidden(model, part.X_test) @ model.coefs_[-1] + model.intercepts_[-1]
    np.testing.assert_array_equal(model.classes_[F.argmax(axis=1)], model.predict(part.X_test))


def test_shrinkage_is_a_table_and_the_last_digit_is_the_last():
    row = protocols.shrinkage(stream, "wine", 0, 40, 6, max_iter=10)
    part, seed = protocols.drawn(stream, "shrinkage", "wine", 0, 40)
    for k, (rate, share, max_iter) in enumerate([(1, 1, 10), (1, 0.5, 10), (0.1, 1, 10), (0.1, 0.5, 10), (0.1, 0.5, 20)]):
        model = rivals.make("GBNN", rate, seed, 6, subsample=share, max_iter=max_iter).fit(part.X, part.y)
        assert row[k] == model.score(part.X_test, part.y_test)
    assert len(row) == 5
    run = protocols.last_digit(stream, "pima", 0, 60, 6, max_iter=60)
    assert {len(scores) for scores in run.values()} == {708}
    assert not np.array_equal(run["seed"], run["as it is"])


def test_newton_rules_compare_at_the_same_scores():
    part = sets.split("wine", stream("rules"), 60)
    table, longer = protocols.newton_rules(part, 0, 9, 15)
    assert set(table) == {"diagonal", "exact", "line search", "none"}
    first = {name: losses[1] for name, (losses, _) in table.items()}
    assert all(losses[0] == pytest.approx(np.log(3)) for losses, _ in table.values())
    assert first["exact"] < first["none"]
    model = rivals.make("GBNN", 0.2, 0, 9, newton="exact", max_iter=15).fit(part.X, part.y)
    np.testing.assert_array_equal(table["exact"][0], model.train_losses_)
    assert table["exact"][1] == model.score(part.X_test, part.y_test)
    assert len(longer) == 3
    assert min(longer) > 1
    assert protocols.newton_rules(part, 0, 9, 15, ("exact",))[1] == longer


def test_full_steps_are_taken_on_all_rows():
    run = protocols.full_steps(stream, "wine", 0, 60, 9, 20)
    part, seed = protocols.drawn(stream, "full steps", "wine", 0, 60)
    for rule, (losses, accuracy) in run.items():
        model = rivals.make("GBNN", 1.0, seed, 9, subsample=1.0, newton=rule, max_iter=20).fit(part.X, part.y)
        np.testing.assert_array_equal(losses, model.train_losses_)
        assert accuracy == model.score(part.X_test, part.y_test)
    assert run["diagonal"][0][1] != run["exact"][0][1]


def test_costs_are_ratios():
    rates = protocols.costs(sets.split("wine", stream("cost"), 60), 9, 10, 10, 10)
    assert set(rates) == {"adam", "trees", "steps", "prediction"}
    assert all(rate > 0 for rate in rates.values())
