"""Surrogates, updates and settings of FZooS: the identities, exact small cases, independent oracles, bad input."""

from __future__ import annotations

import copy
import inspect
import pickle

import numpy as np
import pytest
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, Matern

from lib.backprop_free import fzoos
from lib.backprop_free.fzoos import gp as processes
from lib.backprop_free.fzoos import steps
from lib.backprop_free.fzoos.features import RandomFourierSurrogate, ridge_weights

RNG = np.random.default_rng(0)
X = RNG.uniform(-1, 1, (20, 3))
Y = np.sin(X @ [1.0, 2.0, -1.0]) + 5
POINT = np.array([0.1, -0.2, 0.3])
PEERS = {"rbf": lambda ell: RBF(ell, "fixed"), "matern52": lambda ell: Matern(ell, "fixed", nu=2.5)}


@pytest.fixture(params=processes.KERNELS)
def gp(request):
    return fzoos.GPGradient(request.param, 0.7, 1e-4).fit(X, Y)


def differences(f, x, eps=1e-5):
    return np.array([(f(x + eps * e) - f(x - eps * e)) / (2 * eps) for e in np.eye(len(x))])


def test_mean_is_scikit_learns(gp):
    low, span = Y.min(), np.ptp(Y)
    peer = GaussianProcessRegressor(PEERS[gp.kernel](0.7), alpha=1e-4, optimizer=None).fit(X, (Y - low) / span)
    np.testing.assert_allclose(gp.predict(X[:4] + 0.1), low + span * peer.predict(X[:4] + 0.1), rtol=1e-8)


def test_gradient_is_that_of_the_mean(gp):
    np.testing.assert_allclose(gp.gradient(POINT), differences(gp.predict, POINT), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(gp.gradient(X[:3]), [gp.gradient(x) for x in X[:3]], rtol=1e-9)


def test_gradient_equals_a_complex_step_through_the_mean():
    found = fzoos.GPGradient("rbf", 0.7, 1e-4).fit(X, Y)
    K = RBF(0.7)(X) + 1e-4 * np.eye(20)
    alpha = np.linalg.solve(K, (Y - Y.min()) / np.ptp(Y))
    z = POINT + 1e-30j * np.eye(3)
    mean = np.ptp(Y) * np.exp(-0.5 * ((z[:, None] - X) ** 2).sum(-1) / 0.49) @ alpha
    np.testing.assert_allclose(found.gradient(POINT), mean.imag / 1e-30, rtol=1e-8)


def test_covariance_is_the_second_derivative_of_the_posterior_kernel(gp):
    """By mixed central differences of the posterior covariance between two points."""
    k = PEERS[gp.kernel](0.7)
    inverse = np.linalg.inv(k(X) + 1e-4 * np.eye(len(X)))
    eps, unit = 1e-3, np.eye(3)
    around = np.vstack([POINT + eps * unit, POINT - eps * unit])
    posterior = k(around) - k(around, X) @ inverse @ k(X, around)
    mixed = (posterior[:3, :3] - posterior[:3, 3:] - posterior[3:, :3] + posterior[3:, 3:]) / (4 * eps**2)
    np.testing.assert_allclose(gp.gradient_covariance(POINT), np.ptp(Y) ** 2 * mixed, rtol=2e-2, atol=1e-2)


def test_variance_is_the_trace_of_the_covariance(gp):
    for x in (POINT, X[3], POINT + 5):
        np.testing.assert_allclose(gp.gradient_variance(x), np.trace(gp.gradient_covariance(x)), rtol=1e-6)
    np.testing.assert_allclose(gp.gradient_variance(X[:3]), [gp.gradient_variance(x) for x in X[:3]], rtol=1e-6)
    assert np.linalg.eigvalsh(gp.gradient_covariance(POINT)).min() > -1e-8


def test_small_variances_are_right_too():
    x = np.linspace(-1, 1, 9)[:, None]
    found = fzoos.GPGradient("rbf", 1.0, 1e-6).fit(x, np.sin(x[:, 0]))
    assert 0 < found.gradient_variance([0.1]) < 0.01
    np.testing.assert_allclose(found.gradient_variance([0.1]), found.gradient_covariance([0.1])[0, 0], rtol=1e-4)


def test_variance_shrinks_where_points_are_added():
    few = fzoos.GPGradient("rbf", 0.7).fit(X[:5], Y[:5])
    more = fzoos.GPGradient("rbf", 0.7).fit(X, Y)
    scale = (few.range_ / more.range_) ** 2
    assert more.gradient_variance(POINT) * scale < few.gradient_variance(POINT)


def test_interpolates_as_the_noise_vanishes():
    np.testing.assert_allclose(fzoos.GPGradient("rbf", 0.5, 1e-12).fit(X, Y).predict(X), Y, rtol=1e-5)


def test_one_dimensional_quadratic():
    x = np.linspace(-0.2, 0.2, 5)[:, None]
    found = fzoos.GPGradient("rbf", 1.0, 1e-12).fit(x, (x[:, 0] - 1) ** 2)
    assert abs(found.gradient([0.0])[0] + 2) < 1e-3


def test_length_scale_is_that_of_the_largest_likelihood():
    found = fzoos.GPGradient("rbf", "ml", 1e-4).fit(X, Y)
    apart = np.linalg.norm(X[:, None] - X[None], axis=-1)[np.triu_indices(20, 1)]
    scaled = (Y - Y.min()) / np.ptp(Y)

    def likelihood(ell):
        peer = GaussianProcessRegressor(RBF(ell, "fixed"), alpha=1e-4, optimizer=None).fit(X, scaled)
        return peer.log_marginal_likelihood_value_

    candidates = np.array(processes.MULTIPLES) * np.median(apart)
    assert found.length_scale_ == pytest.approx(max(candidates, key=likelihood), rel=1e-9)


def test_the_nearest_points_are_used():
    far = np.vstack([X, X + 100])
    both = fzoos.GPGradient("rbf", 0.7, max_points=20).fit(far, np.concatenate([Y, Y * 0]), center=POINT)
    assert both.n_points_ == 20
    np.testing.assert_allclose(both.gradient(POINT), fzoos.GPGradient("rbf", 0.7).fit(X, Y).gradient(POINT), rtol=1e-9)


def test_repeated_points_and_equal_values_are_no_trouble():
    twice = fzoos.GPGradient("rbf").fit(np.vstack([X, X, X]), np.concatenate([Y, Y, Y]))
    assert np.isfinite(twice.gradient(POINT)).all()
    np.testing.assert_array_equal(fzoos.GPGradient().fit(X, np.ones(20)).gradient(POINT), 0)
    np.testing.assert_array_equal(fzoos.GPGradient().fit(X[:1], [3.0]).gradient(X[0]), 0)


def test_a_shift_and_a_scale_of_the_values_go_through():
    plain, moved = (fzoos.GPGradient("rbf", 0.7).fit(X, y) for y in (Y, 1e6 * Y - 40))
    np.testing.assert_allclose(moved.gradient(POINT), 1e6 * plain.gradient(POINT), rtol=1e-6)


def test_half_precision_and_copies():
    half = fzoos.GPGradient("rbf", 0.7, 1e-3).fit(X.astype(np.float16), Y.astype(np.float16))
    assert half.gradient(POINT).dtype == np.float64
    same = pickle.loads(pickle.dumps(half))
    np.testing.assert_array_equal(same.gradient(POINT), copy.deepcopy(half).gradient(POINT))


def test_features_are_the_kernel_up_to_the_root_of_their_number():
    exact = RBF(1.0)(X)
    sizes, errors = [100, 1000, 10_000], []
    for m in sizes:
        draws = [RandomFourierSurrogate(3, m, 1.0, seed=k).features(X) for k in range(8)]
        errors.append(np.mean([np.sqrt(np.mean((phi @ phi.T - exact) ** 2)) for phi in draws]))
    assert -0.65 < np.polyfit(np.log(sizes), np.log(errors), 1)[0] < -0.35
    assert errors[-1] < 0.02


def test_length_scale_of_the_features():
    phi = RandomFourierSurrogate(3, 20_000, 2.0, seed=1).features(X)
    np.testing.assert_allclose(phi @ phi.T, RBF(2.0)(X), atol=0.04)


def test_surrogate_gradient_is_that_of_its_value():
    features = RandomFourierSurrogate(3, 300, 0.8, seed=0)
    v = features.fit(X, Y)
    np.testing.assert_allclose(features.gradient(POINT, v), differences(lambda x: features.value(x, v), POINT), rtol=1e-6)


@pytest.mark.parametrize("m", [5, 20, 300])
def test_weights_are_a_ridge_regression(m):
    phi, y = RandomFourierSurrogate(3, m, seed=0).features(X), Y - Y.min()
    wide = np.vstack([phi, 0.1 * np.eye(m)])
    expected = np.linalg.lstsq(wide, np.concatenate([y, np.zeros(m)]), rcond=None)[0]
    np.testing.assert_allclose(ridge_weights(phi, y, 0.01), expected, rtol=1e-6, atol=1e-9)


def test_weights_interpolate_and_do_not_see_a_constant():
    features = RandomFourierSurrogate(3, 2000, 1.0, seed=0)
    v, moved = features.fit(X, Y), features.fit(X, Y + 7)
    np.testing.assert_allclose(features.value(X, v), Y - Y.min(), atol=1e-3)
    np.testing.assert_allclose(v.values, moved.values, rtol=1e-6, atol=1e-8)


def test_average_of_weights_is_the_average_of_surrogates():
    features = RandomFourierSurrogate(3, 400, seed=3)
    own = [features.fit(X, Y * k + X[:, 0]) for k in (1, 2, -3)]
    shares = np.array([0.5, 0.3, 0.2])
    for weights in (shares, None):
        together = features.gradient(POINT, features.aggregate(own, weights))
        each = np.array([features.gradient(POINT, v) for v in own])
        expected = each.mean(0) if weights is None else weights @ each
        np.testing.assert_allclose(together, expected, rtol=1e-12, atol=1e-12)


def test_weights_of_another_draw_are_refused():
    one, other = (RandomFourierSurrogate(3, 50, seed=k) for k in (0, 1))
    with pytest.raises(ValueError, match="seed"):
        one.aggregate([one.fit(X, Y), other.fit(X, Y)])
    with pytest.raises(ValueError, match="seed"):
        one.gradient(POINT, other.fit(X, Y))
    assert one.gradient(POINT, RandomFourierSurrogate(3, 50, seed=0).fit(X, Y)).shape == (3,)


def test_all_directions_give_the_gradient_over_d():
    a = np.array([1.0, -2.0, 0.5, 3.0])
    found = fzoos.rgf_gradient(lambda x: a @ x + (x**2).sum(), [0.0] * 4, q=4, mu=1e-6, seed=0)
    np.testing.assert_allclose(found, a / 4, atol=1e-5)
    assert fzoos.rgf_gradient(lambda x: a @ x, [0.0] * 4, q=2, mu=0.1, seed=0) @ a == pytest.approx(
        2 * np.sum(fzoos.rgf_gradient(lambda x: a @ x, [0.0] * 4, q=2, mu=0.1, seed=0) ** 2)
    )


@pytest.mark.parametrize(("d", "q"), [(6, 1), (6, 4), (6, 6), (3, 7)])
def test_directions_are_orthonormal(d, q):
    rows = steps.orthonormal_directions(d, q, np.random.default_rng(0))
    assert rows.shape == (q, d)
    for start in range(0, q, d):
        block = rows[start : start + d]
        np.testing.assert_allclose(block @ block.T, np.eye(len(block)), atol=1e-12)


def test_correction_and_its_length():
    g, c = np.array([1.0, 2.0]), np.array([10.0, 0.0])
    np.testing.assert_array_equal(steps.corrected(g, 0.5, c), [6.0, 2.0])
    assert steps.corrected(g, 0.5, None) is g
    assert [steps.gamma_decay(t) for t in (1, 2, 10)] == [1.0, 0.5, 0.1]


def test_best_length_minimizes_the_error():
    h, e = RNG.normal(size=(2, 5))
    grid = np.linspace(0, 1, 100_001)
    errors = np.linalg.norm((1 - grid)[:, None] * h + grid[:, None] * e, axis=1)
    assert fzoos.gamma_best(h, e) == pytest.approx(grid[errors.argmin()], abs=1e-4)
    assert fzoos.gamma_best([3.0, 0.0], [0.0, 4.0]) == pytest.approx(9 / 25)
    assert fzoos.gamma_best([0.0, 0.0], [0.0, 4.0]) == 0
    assert fzoos.gamma_best([1e200, 0.0], [0.0, 0.0]) == 1
    assert fzoos.gamma_best([0.0], [0.0]) == 1
    assert fzoos.gamma_best([1.0, 2.0], [1.0, 2.0]) == 1
    assert fzoos.gamma_best([1.0, 0.0], [0.5, 0.0]) == 1
    assert fzoos.gamma_best([1.0, 0.0], [0.9, 0.5]) == pytest.approx(0.1 / 0.26)


def test_adam_by_its_closed_form():
    """Moments as weighted sums over all gradients so far (Kingma and Ba, equations 1 to 4), not as a recursion."""
    grads = RNG.normal(size=(5, 3))
    ours = steps.Adam(3, 0.01)
    for t in range(1, 6):
        weights = [(1 - b) * b ** np.arange(t - 1, -1, -1) / (1 - b**t) for b in (0.9, 0.999)]
        m, v = weights[0] @ grads[:t], weights[1] @ grads[:t] ** 2
        np.testing.assert_allclose(ours.step(grads[t - 1]), 0.01 * m / (np.sqrt(v) + 1e-8), rtol=1e-9)


def test_defaults_are_those_of_the_authors_code():
    chosen = {name: p.default for name, p in inspect.signature(fzoos.federated_minimize).parameters.items()}
    expected = {
        "rounds": 50, "local_steps": 10, "lr": 0.01, "n_features": 10_000, "feature_scale": 1.0, "kernel": "matern52",
        "noise": 1e-6, "max_points": 150, "max_sent": 500, "n_start": 10, "n_active": 5, "n_candidates": 100, "n_server": 50,
        "n_server_candidates": 200, "radius": 0.01, "q": 20, "mu": 0.01, "prox": 1.0, "server_lr": 1.0, "gamma": "decay",
        "bounds": (0.0, 1.0),
    }  # fmt: skip
    assert {name: chosen[name] for name in expected} == expected
    assert inspect.signature(fzoos.GPGradient).parameters["kernel"].default == "matern52"
    assert processes.MULTIPLES == (0.5, 1, 2, 4, 8, 16, 32)


def test_asked_before_fitted():
    with pytest.raises(RuntimeError, match="fit"):
        fzoos.GPGradient().gradient([0.0])


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: fzoos.GPGradient(kernel="linear"), "kernel"),
        (lambda: fzoos.GPGradient(length_scale="mle"), "length_scale"),
        (lambda: fzoos.GPGradient(noise=0), "noise"),
        (lambda: fzoos.GPGradient().fit(X, Y[:3]), "y"),
        (lambda: fzoos.GPGradient().fit(X, Y).gradient([1.0]), "x"),
        (lambda: fzoos.RandomFourierSurrogate(3, 0), "n_features"),
        (lambda: fzoos.RandomFourierSurrogate(3, 5).fit(X, Y[:2]), "y"),
        (lambda: fzoos.RandomFourierSurrogate(3, 5).aggregate([]), "weights"),
        (lambda: fzoos.RandomFourierSurrogate(3, 5).aggregate([np.ones(5)], [0.5]), "shares"),
        (lambda: fzoos.gamma_best([1.0], [1.0, 2.0]), "e"),
        (lambda: fzoos.rgf_gradient(lambda x: np.nan, [1.0], q=1), "f"),
    ],
)
def test_bad_arguments_are_named(call, name):
    with pytest.raises((ValueError, TypeError), match=name):
        call()
