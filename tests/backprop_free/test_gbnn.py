"""GBNN's pure parts: losses, Newton steps, pieces, the assembled network."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from scipy.optimize import approx_fprime, check_grad, minimize, minimize_scalar, rosen, rosen_der
from scipy.special import softmax
from sklearn.neural_network import MLPClassifier, MLPRegressor

from lib.backprop_free import gbnn
from lib.backprop_free.gbnn import lbfgs, losses, pieces
from lib.backprop_free.gbnn.losses import LOSSES

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def problem(loss, seed=0, n=30, K=4):
    """Targets, scores and a piece's outputs of the shape that a loss needs."""
    rng = np.random.default_rng(seed)
    if loss == "squared":
        return rng.normal(size=n), rng.normal(size=n), rng.normal(size=n)
    if loss == "binary":
        return rng.choice([-1.0, 1.0], n, p=[0.3, 0.7]), rng.normal(size=n), rng.normal(size=n)
    return np.eye(K)[rng.integers(K, size=n)], rng.normal(size=(n, K)), rng.normal(size=(n, K))


def torch_loss(y, F, loss):
    """The sum of the losses, written anew in torch."""
    y = torch.from_numpy(y)
    if loss == "squared":
        return ((y - F) ** 2).sum() / 2
    if loss == "binary":
        return torch.nn.functional.softplus(-2 * y * F).sum()
    return torch.nn.functional.cross_entropy(F, y, reduction="sum")


# --------------------------------------------------------------------------------------------------------------- losses


@pytest.mark.parametrize("loss", LOSSES)
def test_residuals_are_minus_the_gradient(loss):
    y, F, _ = problem(loss)
    scores = torch.from_numpy(F).requires_grad_()
    (gradient,) = torch.autograd.grad(torch_loss(y, scores, loss), scores)
    np.testing.assert_allclose(gbnn.pseudo_residuals(y, F, loss), -gradient.numpy(), atol=1e-12)


@pytest.mark.parametrize("loss", LOSSES)
def test_mean_loss_is_that_of_torch(loss):
    y, F, _ = problem(loss)
    assert gbnn.mean_loss(y, F, loss) == pytest.approx(float(torch_loss(y, torch.from_numpy(F), loss)) / len(y), rel=1e-12)


@pytest.mark.parametrize("loss", ["squared", "binary"])
def test_initial_score_is_the_best_constant(loss):
    y, _, _ = problem(loss, n=100)
    best = minimize_scalar(lambda c: gbnn.mean_loss(y, np.full_like(y, c), loss), tol=1e-12)
    assert gbnn.initial_score(y, loss) == pytest.approx(best.x, abs=1e-7)
    assert gbnn.mean_loss(y, np.full_like(y, gbnn.initial_score(y, loss)), loss) <= best.fun + 1e-15


def test_softmax_starts_from_zeros_which_are_not_the_best_constant():
    y = np.eye(3)[[0, 0, 0, 0, 1, 2]]
    np.testing.assert_array_equal(gbnn.initial_score(y, "softmax"), np.zeros(3))
    priors = np.tile(np.log(y.mean(axis=0)), (6, 1))
    assert gbnn.mean_loss(y, priors, "softmax") < gbnn.mean_loss(y, np.zeros((6, 3)), "softmax") - 0.1


def test_binary_scores_are_half_the_log_odds():
    y = np.array([1.0, 1.0, 1.0, -1.0])
    assert 1 / (1 + np.exp(-2 * gbnn.initial_score(y, "binary"))) == pytest.approx(0.75)


@pytest.mark.parametrize("loss", LOSSES)
def test_large_scores_do_not_overflow(loss):
    y, F, h = problem(loss)
    with np.errstate(all="raise", under="ignore"):
        F = 1000 * F
        assert np.isfinite(gbnn.pseudo_residuals(y, F, loss)).all()
        assert np.isfinite(gbnn.mean_loss(y, F, loss))
        assert np.isfinite(gbnn.newton_step(y, F, h, loss))


# --------------------------------------------------------------------------------------------------------- Newton steps


def line(y, F, h, loss):
    return lambda rho: len(y) * gbnn.mean_loss(y, F + rho * h, loss)


def finite_newton(f, step=1e-3):
    """-f'(0) / f''(0) by five-point central differences."""
    a, b, c, d, e = (f(k * step) for k in (-2, -1, 0, 1, 2))
    slope = (a - 8 * b + 8 * d - e) / (12 * step)
    bend = (-a + 16 * b - 30 * c + 16 * d - e) / (12 * step**2)
    return -slope / bend


@pytest.mark.parametrize("seed", range(3))
def test_binary_newton_step_is_that_of_the_loss(seed):
    y, F, h = problem("binary", seed)
    expected = finite_newton(line(y, F, h, "binary"))
    for curvature in ("diagonal", "exact"):
        assert gbnn.newton_step(y, F, h, "binary", curvature) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_exact_softmax_newton_step_is_that_of_the_loss_and_the_diagonal_one_is_not(seed):
    y, F, h = problem("softmax", seed)
    expected = finite_newton(line(y, F, h, "softmax"))
    assert gbnn.newton_step(y, F, h, "softmax", "exact") == pytest.approx(expected, rel=1e-6)
    assert abs(gbnn.newton_step(y, F, h, "softmax") / expected - 1) > 0.01


def test_diagonal_softmax_newton_step_has_the_diagonal_of_the_hessian():
    y, F, h = problem("softmax", n=5, K=3)

    def gradient(row, k):
        return lambda Fi: -gbnn.pseudo_residuals(y[row : row + 1], Fi.reshape(1, 3), "softmax")[0, k]

    diagonal = [[approx_fprime(F[i], gradient(i, k), 1e-7)[k] for k in range(3)] for i in range(5)]
    slope = np.sum(h * gbnn.pseudo_residuals(y, F, "softmax"))
    assert gbnn.newton_step(y, F, h, "softmax") == pytest.approx(slope / np.sum(h**2 * diagonal), rel=1e-5)


@pytest.mark.parametrize("loss", LOSSES)
def test_newton_step_scales_against_the_piece(loss):
    y, F, h = problem(loss)
    for scale in (1e-200, 1e-3, 1e3, 1e200):
        expected = 1.0 if loss == "squared" else gbnn.newton_step(y, F, h, loss) / scale
        assert gbnn.newton_step(y, F, scale * h, loss) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("loss", LOSSES)
def test_newton_step_of_a_least_squares_fit_and_without_curvature_is_one(loss):
    y, F, h = problem(loss)
    assert gbnn.newton_step(y, F, h, loss, "none") == 1
    if loss == "squared":
        assert gbnn.newton_step(y, F, h, loss) == 1


@pytest.mark.parametrize("loss", ["binary", "softmax"])
def test_newton_step_is_zero_where_nothing_is_left_to_fit(loss):
    y, _, h = problem(loss)
    sure = 400.0 * y
    assert gbnn.newton_step(y, sure, h, loss) == 0
    assert gbnn.newton_step(y, 0 * sure, 0 * h, loss) == 0


def test_one_newton_step_is_finite_where_the_exact_line_search_diverges():
    y, F = np.array([1.0, -1.0]), np.zeros(2)
    best = minimize_scalar(line(y, F, y, "binary"), bounds=(0, 1000), method="bounded")
    assert best.x > 15
    assert gbnn.newton_step(y, F, y, "binary") == 1.0


@pytest.mark.parametrize(
    ("y", "loss", "told"),
    [
        ([0.0, 1.0], "binary", "-1 and 1"),
        ([1.0, 1.0], "binary", "at least 2 classes"),
        ([[1.0, 1.0]], "softmax", "one-hot"),
        ([[1.0], [1.0]], "softmax", "one-hot"),
        ([1.0, np.nan], "squared", "NaN"),
        ([1.0, 2.0], "hinge", "loss must be one of"),
    ],
)
def test_bad_targets_are_refused(y, loss, told):
    with pytest.raises(ValueError, match=told):
        gbnn.initial_score(y, loss)


def test_scores_of_another_shape_are_refused():
    with pytest.raises(ValueError, match="F must have shape"):
        gbnn.pseudo_residuals([1.0, 2.0], [1.0, 2.0, 3.0])


# --------------------------------------------------------------------------------------------------------------- pieces


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    return rng.normal(size=(60, 3)), rng.normal(size=(60, 2))


@pytest.mark.parametrize("activation", list(pieces.ACTIVATIONS))
@pytest.mark.parametrize("alpha", [0.0, 0.5])
def test_gradient_of_the_objective(data, activation, alpha):
    X, r = data
    sizes = (3, 4, 2)
    theta = pieces._initial_weights(sizes, activation, np.random.default_rng(1))
    assert theta.size == 3 * 4 + 4 * 2 + 4 + 2
    arguments = (X.T.copy(), r, sizes, alpha, activation, "squared")
    error = check_grad(lambda t: pieces._objective(t, *arguments)[0], lambda t: pieces._objective(t, *arguments)[1], theta)
    assert error < 1e-6


def test_objective_by_hand(data):
    X, r = data
    sizes, alpha = (3, 2, 2), 0.7
    theta = pieces._initial_weights(sizes, "tanh", np.random.default_rng(1))
    W, c, A, b = pieces._unpack(theta, sizes)
    h = np.tanh(X @ W + c) @ A + b
    expected = ((h - r) ** 2).sum() / (2 * 60) + alpha / (2 * 60) * ((W**2).sum() + (A**2).sum())
    assert pieces._objective(theta, X.T.copy(), r, sizes, alpha, "tanh", "squared")[0] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("activation", "factor"), [("logistic", 2), ("tanh", 6)])
def test_initial_weights_have_glorots_bounds(activation, factor):
    theta = pieces._initial_weights((50, 30, 1), activation, np.random.default_rng(0))
    W, c, A, b = pieces._unpack(theta, (50, 30, 1))
    for array, fans in ((W, 80), (c, 80), (A, 31)):
        assert 0.85 * np.sqrt(factor / fans) < np.abs(array).max() <= np.sqrt(factor / fans)
    assert abs(b[0]) <= np.sqrt(factor / 31)


@pytest.mark.parametrize("loss", ["binary", "softmax"])
def test_gradient_of_a_whole_network_with_another_loss(data, loss):
    X, sizes = data[0], (3, 4, 1 if loss == "binary" else 4)
    y = problem(loss, n=60)[0]
    theta = pieces._initial_weights(sizes, "logistic", np.random.default_rng(1))
    arguments = (X.T.copy(), y, sizes, 0.5, "logistic", loss)
    error = check_grad(lambda t: pieces._objective(t, *arguments)[0], lambda t: pieces._objective(t, *arguments)[1], theta)
    assert error < 1e-6


@pytest.mark.parametrize("activation", list(pieces.ACTIVATIONS))
def test_objective_is_that_of_scikit_learn(data, activation):
    X, r = data[0], data[1][:, 0]
    piece = gbnn.fit_piece(X, r, 2, alpha=0.1, max_iter=30, activation=activation, seed=5)
    peer = MLPRegressor(hidden_layer_sizes=(2,), activation=activation, solver="lbfgs", alpha=0.1, max_iter=1, warm_start=True)
    peer.fit(X, r)
    peer.coefs_, peer.intercepts_ = [piece.W.copy(), piece.A.copy()], [piece.c.copy(), piece.b.copy()]
    np.testing.assert_allclose(piece(X, activation)[:, 0], peer.predict(X), atol=1e-12)
    theta = np.concatenate([piece.W.ravel(), piece.A.ravel(), piece.c, piece.b])
    value = pieces._objective(theta, X.T.copy(), r, (3, 2, 1), 0.1, activation, "squared")[0]
    assert peer.fit(X, r).loss_ <= value * (1 + 1e-12)  # one more step of theirs from our end
    assert peer.loss_ > 0.9 * value


def test_piece_is_as_good_as_that_of_scipys_solver(data):
    X, r, sizes, won = data[0], data[1][:, 0], (3, 2, 1), 0.0
    arguments = (X.T.copy(), r, sizes, 1e-4, "logistic", "squared")
    for seed in range(10):
        start = pieces._initial_weights(sizes, "logistic", np.random.default_rng(seed))
        options = {"maxiter": 100, "gtol": 0.0}
        theirs = minimize(pieces._objective, start, arguments, method="L-BFGS-B", jac=True, options=options).fun
        piece = gbnn.fit_piece(X, r, 2, max_iter=100, seed=seed)
        ours = pieces._objective(np.concatenate([piece.W.ravel(), piece.A.ravel(), piece.c, piece.b]), *arguments)[0]
        won += (theirs - ours) / 10
    assert won > -0.02 * r.var()


def test_piece_of_identity_units_is_the_linear_regression(data):
    X, r = data
    piece = gbnn.fit_piece(X, r, 2, alpha=0.0, activation="identity", max_iter=1000, seed=0)
    design = np.c_[X, np.ones(60)]
    expected = design @ np.linalg.lstsq(design, r, rcond=None)[0]
    np.testing.assert_allclose(piece(X, "identity"), expected, atol=1e-4)


def test_tol_and_max_iter_end_a_fit(data):
    X, r = data
    assert gbnn.fit_piece(X, r, max_iter=3, seed=0).n_iter == 3
    assert gbnn.fit_piece(X, r, tol=1e-2, seed=0).n_iter < gbnn.fit_piece(X, r, seed=0).n_iter


def test_half_precision_is_computed_in_float64(data):
    X, r = data
    piece = gbnn.fit_piece(X.astype(np.float16), r.astype(np.float16), seed=0)
    assert {array.dtype for array in piece[:4]} == {np.dtype(np.float64)}


def test_rows_must_match(data):
    with pytest.raises(ValueError, match="one row per sample"):
        gbnn.fit_piece(data[0], data[1][:-1])


# ------------------------------------------------------------------------------------------------------- the minimizer


def test_minimizer_finds_the_minimum_of_rosenbrock_as_fast_as_scipy():
    x, n_iter = lbfgs.minimize_lbfgs(lambda x: (rosen(x), rosen_der(x)), np.full(6, -1.2), 500, 1e-9)
    np.testing.assert_allclose(x, 1, atol=1e-6)
    peer = minimize(rosen, np.full(6, -1.2), jac=rosen_der, method="L-BFGS-B", options={"gtol": 1e-9, "ftol": lbfgs._FTOL})
    assert n_iter <= 1.5 * peer.nit


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e6])
def test_minimizer_solves_a_quadratic(scale):
    A = np.diag(np.arange(1.0, 21)) + 0.1
    x, n_iter = lbfgs.minimize_lbfgs(lambda x: (scale * (x @ A @ x / 2 - x.sum()), scale * (A @ x - 1)), np.zeros(20), 300, 0.0)
    np.testing.assert_allclose(x, np.linalg.solve(A, np.ones(20)), atol=1e-3)
    assert n_iter < 100


def test_minimizer_never_ends_above_its_start_and_stops_where_it_is_told():
    calls = []

    def walled(x):  # infinite beyond 1, so that long steps fail
        calls.append(x)
        return (float(-np.log(1 - x).sum() - 3 * x.sum()), 1 / (1 - x) - 3) if (x < 1).all() else (np.inf, np.zeros_like(x))

    x, _ = lbfgs.minimize_lbfgs(walled, np.array([-5.0, 0.99]), 100, 1e-8)
    np.testing.assert_allclose(x, 2 / 3, atol=1e-5)
    assert lbfgs.minimize_lbfgs(walled, x, 100, 1.0)[1] == 0
    assert lbfgs.minimize_lbfgs(walled, np.array([-5.0, 0.99]), 3, 0.0)[1] == 3


def test_minimizer_ends_where_no_step_lowers_the_value():
    x, n_iter = lbfgs.minimize_lbfgs(lambda x: (1.0, np.ones_like(x)), np.zeros(2), 50, 0.0)
    np.testing.assert_array_equal(x, 0)
    assert n_iter == 0


def test_minimizers_constants_are_those_of_lbfgsb():
    assert (lbfgs._MEMORY, lbfgs._ARMIJO, lbfgs._WOLFE) == (10, 1e-3, 0.9)
    assert pytest.approx(2.220446049250313e-09) == lbfgs._FTOL


def test_exponentials_of_one_rounding_are_those_of_numpy():
    a = -np.geomspace(1e-8, 700, 200)
    np.testing.assert_allclose(losses._exp(a), np.exp(a), rtol=1e-14)
    np.testing.assert_allclose(losses._softplus(np.r_[a, -a]), np.logaddexp(0, np.r_[a, -a]), rtol=1e-14)
    F = np.random.default_rng(0).normal(size=(5, 3)) * 300
    np.testing.assert_allclose(losses._softmax(F), softmax(F, axis=1), atol=1e-14)


# -------------------------------------------------------------------------------------------------------------- network


def some_steps(K, n=3):
    rng = np.random.default_rng(0)
    made = [
        gbnn.Piece(rng.normal(size=(3, 2)), rng.normal(size=2), rng.normal(size=(2, K)), rng.normal(size=K), 1)
        for _ in range(n)
    ]
    return [gbnn.Step(piece, float(rng.normal())) for piece in made]


@pytest.mark.parametrize(("loss", "K", "factor"), [("squared", 1, 1), ("binary", 1, 2), ("softmax", 4, 1)])
def test_assembled_network_is_the_sum_of_its_steps(data, loss, K, factor):
    X, steps = data[0], some_steps(K)
    constant = np.arange(K) + 0.5
    network = gbnn.assemble(constant, steps, loss)
    expected = factor * (constant + sum(rate * piece(X) for piece, rate in steps))
    np.testing.assert_allclose(network(X), expected, atol=1e-12)
    assert [a.shape for a in network] == [(3, 6), (6,), (6, K), (K,)]


@pytest.mark.parametrize("activation", list(pieces.ACTIVATIONS))
def test_torch_module_gives_the_same(data, activation):
    X, network = data[0], gbnn.assemble(np.zeros(4), some_steps(4), "softmax")
    for dtype, tolerance in ((torch.float64, 1e-12), (None, 1e-5)):
        module = gbnn.to_torch(network, activation, dtype)
        outputs = module(torch.from_numpy(X).to(dtype or torch.float32)).detach().numpy()
        np.testing.assert_allclose(outputs, network(X, activation), atol=tolerance)
        assert all(p.requires_grad for p in module.parameters())


def test_assembled_weights_fit_into_scikit_learns_network(data):
    X, network = data[0], gbnn.assemble(np.zeros(4), some_steps(4), "softmax")
    peer = MLPClassifier(hidden_layer_sizes=(6,), activation="logistic", max_iter=1).fit(X, np.arange(60) % 4)
    peer.coefs_, peer.intercepts_ = [network.W1, network.W2], [network.b1, network.b2]
    expected = np.exp(network(X))
    np.testing.assert_allclose(peer.predict_proba(X), expected / expected.sum(axis=1, keepdims=True), atol=1e-12)


def test_network_and_steps_survive_pickling(data):
    network, steps = gbnn.assemble(np.zeros(4), some_steps(4), "softmax"), some_steps(1)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(network))(data[0]), network(data[0]))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(steps))[0].piece.W, steps[0].piece.W)


@pytest.mark.parametrize(
    ("steps", "error", "told"),
    [([], ValueError, "at least one"), ([1.0], TypeError, "pairs"), ([(some_steps(1)[0].piece, np.nan)], ValueError, "rate")],
)
def test_bad_steps_are_refused(steps, error, told):
    with pytest.raises(error, match=told):
        gbnn.assemble(0.0, steps)


def test_only_a_network_becomes_a_torch_module():
    with pytest.raises(TypeError, match="network must be a Network"):
        gbnn.to_torch((np.zeros((2, 2)),))
