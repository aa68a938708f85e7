"""Whole rounds of federated zeroth-order optimization: counts, limits, resuming, bad input, and the paper's quadratics."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from lib.backprop_free import fzoos
from lib.backprop_free.fzoos import study
from lib.backprop_free.fzoos.clients import History
from lib.backprop_free.fzoos.run import cosine

SMALL = study.synthetic_quadratic(20, 3, 2.0, seed=0)
START = np.random.default_rng(1).random(20)
FAST = {
    "q": 4,
    "local_steps": 3,
    "n_features": 200,
    "n_server": 6,
    "n_server_candidates": 20,
    "n_candidates": 10,
    "n_active": 2,
}
METHODS = ("fzoos", "fedzo", "fedprox", "scaffold1", "scaffold2", "true")


def run(method="fzoos", fs=SMALL.fs, x0=START, **options):
    options = {"rounds": 2, "grads": SMALL.grads, "seed": 0, **FAST, **options}
    return fzoos.federated_minimize(fs, x0, method, **options)


@pytest.mark.parametrize("method", METHODS)
def test_each_method_goes_down_and_repeats_itself(method):
    first, second = run(method), run(method)
    assert first.success
    assert first.fun == pytest.approx(SMALL.value(first.x), rel=1e-9)
    assert first.history["fun"][0] == pytest.approx(SMALL.value(START), rel=1e-9)
    np.testing.assert_array_equal(first.x, second.x)


def test_queries_are_those_of_the_formulas():
    T, q = 3, 4
    for method, each in (("fedzo", T * (q + 1) + 1), ("fedprox", T * (q + 1) + 1), ("scaffold2", T * (q + 1) + 1),
                         ("scaffold1", T * (q + 1) + 1 + q + 1)):  # fmt: skip
        result = run(method)
        assert result.nfev == 2 * each
        np.testing.assert_array_equal(result.history["queries"], [0, each, 2 * each])
    result = run()
    each = T + 2 * (T - 1) + 1 + 1 + 6
    assert result.nfev == 2 * each + 10


def test_queries_at_the_papers_settings():
    asked = []

    def counted(x):
        asked.append(1)
        return SMALL.fs[0](x)

    result = fzoos.federated_minimize([counted], START, rounds=1, n_features=50, seed=0)
    assert result.nfev == len(asked) == 107 + 10
    assert fzoos.federated_minimize([SMALL.fs[0]], START, "fedzo", rounds=1, seed=0).nfev == 211
    assert fzoos.federated_minimize([SMALL.fs[0]], START, "scaffold1", rounds=1, seed=0).nfev == 232


def test_numbers_sent_are_counted():
    for method, up in (("fzoos", 20 + 200), ("fedzo", 20), ("fedprox", 20), ("scaffold1", 40), ("scaffold2", 40)):
        history = run(method).history
        np.testing.assert_array_equal(history["floats_up"], [0, up, 2 * up])
        np.testing.assert_array_equal(history["floats_down"], [0, up, 2 * up])
    np.testing.assert_array_equal(run("fedzo", rollback=True).history["floats_up"], [0, 21, 42])


def test_exact_gradients_use_the_whole_gradient_and_descend_at_any_heterogeneity():
    wild = study.synthetic_quadratic(30, 4, 50.0, seed=2)
    result = fzoos.federated_minimize(wild.fs, np.linspace(0, 1, 30), "true", rounds=4, grads=wild.grads, seed=0)
    assert (np.diff(result.history["fun"]) < 0).all()
    np.testing.assert_allclose(result.history["cos_global"], 1.0, rtol=1e-9)


def test_one_client_has_nothing_to_correct():
    with_it, without = (run(fs=SMALL.fs[:1], grads=None, gamma=gamma) for gamma in (1.0, 0.0))
    np.testing.assert_array_equal(with_it.x, without.x)


def test_first_step_is_that_of_the_gradient_process():
    """N = 1, one local step: the gradient of a process fitted by hand to the queries, through Adam's first step."""
    seen = []

    def recorded(x):
        seen.append(x.copy())
        return SMALL.fs[0](x)

    options = {**FAST, "local_steps": 1, "n_server": 0, "n_active": 0}
    result = fzoos.federated_minimize([recorded], START, rounds=1, seed=0, **options)
    data = np.array(seen[:11])
    assert (np.abs(data[:10] - START) <= 0.01 + 1e-15).all()
    np.testing.assert_array_equal(data[10], START)
    g = fzoos.GPGradient().fit(data, SMALL.fs[0](data)).gradient(START)
    np.testing.assert_allclose(START - result.x, 0.01 * g / (abs(g) + 1e-8), rtol=1e-6)
    np.testing.assert_array_equal(seen[11], result.x)


def test_second_round_is_corrected_by_the_difference_of_surrogates():
    result = run(gamma=1.0, rounds=1)
    clients = result.state.clients
    surrogate, own = clients.surrogate, clients.own
    whole = surrogate.aggregate(own)
    c = clients.correction(1, START)
    np.testing.assert_allclose(c, surrogate.gradient(START, whole) - surrogate.gradient(START, own[1]), rtol=1e-9)
    np.testing.assert_allclose(sum(clients.correction(i, START) for i in range(3)), 0, atol=1e-9)


def test_equal_histories_leave_no_correction():
    clients = run(rounds=1).state.clients
    for seen in clients.seen[1:]:
        seen._X, seen._y, seen._norms, seen.n = (getattr(clients.seen[0], k) for k in ("_X", "_y", "_norms", "n"))
    clients.s = clients.s._replace(n_server=0)
    clients.end_round(START, START, np.ones(3), np.array([START] * 3), None)
    np.testing.assert_allclose(clients.correction(1, START), 0, atol=1e-12)


def test_extra_queries_are_the_least_certain_candidates():
    clients = run(rounds=1).state.clients
    gp = clients._fit(0, START)
    points = START + 0.01 * np.random.default_rng(0).uniform(-1, 1, (30, 20))
    variance = gp.gradient_variance(points)
    chosen = gp.gradient_variance(clients._most_uncertain(gp, points, 4))
    np.testing.assert_allclose(np.sort(chosen), np.sort(variance)[-4:], rtol=1e-6)


def test_server_queries_stay_within_half_of_how_far_the_client_went():
    seen = [[], []]
    fs = [lambda x, k=k: (seen[k].append(x.copy()), SMALL.fs[k](x))[1] for k in range(2)]
    result = fzoos.federated_minimize(fs, START, rounds=1, seed=0, **{**FAST, "n_start": 0})
    for points in seen:
        end = points[1 + 3 + 2 * 2 - 1]
        reach = np.abs(result.x - end).mean() / 2
        box = np.abs(np.array(points[-6:]) - result.x).max()
        assert 0.5 * reach < box <= reach * (1 + 1e-12)


def test_history_doubles_and_finds_the_nearest():
    history, X = History(2), np.random.default_rng(0).random((200, 2))
    for part in np.array_split(X, 7):
        history.add(part, part[:, 0])
    np.testing.assert_array_equal(history.X, X)
    near, values = history.nearest(X[5], 10)
    far = np.sort(np.linalg.norm(X - X[5], axis=1))[9]
    assert np.linalg.norm(near - X[5], axis=1).max() == pytest.approx(far)
    np.testing.assert_array_equal(values, near[:, 0])


def test_fedprox_without_a_pull_is_fedzo_and_the_server_can_go_part_of_the_way():
    np.testing.assert_array_equal(run("fedprox", prox=0.0).x, run("fedzo").x)
    whole, half = (run("fedzo", rounds=1, server_lr=lr).x for lr in (1.0, 0.5))
    np.testing.assert_allclose(half - START, (whole - START) / 2, rtol=1e-9)


def test_scaffold_corrections_have_mean_zero():
    for method in ("scaffold1", "scaffold2"):
        c = run(method).state.clients.c
        np.testing.assert_allclose(c.mean(axis=0), 0, atol=1e-12)
        assert np.abs(c).max() > 0


def test_the_measures_are_what_they_say():
    result = run(rounds=2, gamma=1.0)
    assert result.history["cos_local"].shape == (2, 3)
    assert np.isnan(result.history["gamma_best"][0]).all()  # no correction in the first round
    np.testing.assert_allclose(result.history["h"][0], result.history["e"][0])
    assert cosine(np.array([1.0, 0.0]), np.array([1.0, 1.0])) == pytest.approx(2**-0.5)
    assert cosine(np.zeros(2), np.ones(2)) == 0
    assert "cos_local" not in run(grads=None).history


@pytest.mark.parametrize("method", METHODS)
def test_resumes_in_the_middle(method):
    whole, half = run(method, rounds=3), run(method, rounds=2)
    state = pickle.loads(pickle.dumps(half.state))
    for _ in range(2):  # the state is not used up
        rest = fzoos.federated_minimize(SMALL.fs, START, rounds=1, state=state, grads=SMALL.grads)
        np.testing.assert_array_equal(rest.x, whole.x)
        np.testing.assert_array_equal(rest.history["fun"], whole.history["fun"])


def test_user_functions_get_copies():
    def rude(x):
        value = float((x**2).sum())
        x[:] = np.nan
        return value

    start = START.copy()
    assert np.isfinite(fzoos.federated_minimize([rude], start, rounds=1, seed=0, **FAST).x).all()
    np.testing.assert_array_equal(start, START)


def test_vectorized_is_the_same():
    np.testing.assert_allclose(run(vectorized=True).x, run().x, rtol=1e-6)


def test_stops_at_the_target_and_says_what_happened():
    reached = run(rounds=50, target=0.8 * SMALL.value(START))
    assert (reached.success, reached.status) == (True, 0)
    assert reached.nit < 50
    missed = run(rounds=1, target=-1.0)
    assert (missed.success, missed.status) == (False, 1)
    flat = fzoos.federated_minimize([lambda x: 1.0], START, rounds=1, seed=0, **FAST)
    assert (flat.success, flat.status) == (False, 2)

    def stop(intermediate_result):
        assert intermediate_result.nit == 1
        raise StopIteration

    stopped = run(rounds=5, callback=stop)
    assert (stopped.success, stopped.status, stopped.nit) == (False, 99, 1)


def test_rollback_never_goes_up():
    wild = study.synthetic_quadratic(20, 3, 50.0, seed=1)
    values = run(fs=wild.fs, grads=None, rounds=5, rollback=True, lr=0.3).history["fun"]
    assert (np.diff(values) <= 0).all()
    assert (np.diff(values) == 0).any()


def test_steps_stay_within_bounds():
    result = fzoos.federated_minimize([lambda x: -x.sum()], [0.95] * 3, "fedzo", rounds=3, q=3, seed=0)
    np.testing.assert_allclose(result.x, 1.0)


def test_shares_weigh_the_clients():
    only = run(shares=[1.0, 0.0, 0.0], rounds=2, grads=None)
    assert only.fun == pytest.approx(SMALL.fs[0](only.x))


@pytest.mark.parametrize("q", [0.5, 5.0, 50.0])
def test_average_of_the_quadratics_is_known(q):
    clients = study.synthetic_quadratic(300, 5, q, seed=3)
    for name in ("a", "b"):
        np.testing.assert_allclose(np.mean([getattr(f, name) for f in clients.fs], axis=0), 1.0, rtol=1e-12)
    best = np.full(300, 0.475)
    assert clients.value(best) == pytest.approx(clients.minimum, rel=1e-12)
    assert clients.minimum == pytest.approx(-0.0246667, abs=1e-7)
    np.testing.assert_allclose(clients.gradient(best), 0, atol=1e-12)
    x = np.random.default_rng(0).uniform(0.1, 0.9, 300)
    e = 1e-6 * np.eye(300)[7]
    slope = (clients.fs[2](x + e) - clients.fs[2](x - e)) / 2e-6
    assert clients.grads[2](x)[7] == pytest.approx(slope, rel=1e-5)


@pytest.mark.slow
def test_ahead_of_fedzo_after_ten_rounds_on_every_seed():
    for seed in range(5):
        clients = study.synthetic_quadratic(300, 5, 5.0, seed=seed)
        x0 = np.random.default_rng(seed).random(300)
        options = {"rounds": 10, "vectorized": True, "seed": seed}
        ours = fzoos.federated_minimize(clients.fs, x0, kernel="rbf", n_features=1000, feature_scale=3.0, **options)
        assert ours.fun < fzoos.federated_minimize(clients.fs, x0, "fedzo", **options).fun


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"fs": []}, "fs"),
        ({"fs": lambda x: 0.0}, "fs"),
        ({"fs": [1.0]}, r"fs\[0\]"),
        ({"fs": [lambda x: np.nan], "grads": None}, r"fs\[0\]"),
        ({"fs": [lambda x: x], "grads": None}, r"fs\[0\]"),
        ({"x0": [2.0] * 20}, "x0"),
        ({"bounds": (1.0, 0.0)}, "bounds"),
        ({"bounds": 1.0}, "bounds"),
        ({"gamma": 1.5}, "gamma"),
        ({"gamma": "grow"}, "gamma"),
        ({"n_features": 0}, "n_features"),
        ({"n_active": 11}, "n_active"),
        ({"method": "fedavg"}, "method"),
        ({"method": "true", "grads": None}, "grads"),
        ({"grads": SMALL.grads[:1]}, "grads"),
        ({"state": 3}, "state"),
        ({"shares": [0.5, 0.5, 0.5]}, "shares"),
    ],
)
def test_bad_arguments_are_named(options, name):
    with pytest.raises((ValueError, TypeError), match=name):
        run(**options)
