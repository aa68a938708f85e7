"""Target surrogates: bound, exact steps, schedules, searches, against least squares, autograd and hand-made cases."""

from __future__ import annotations

import inspect
import math

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from scipy.optimize import minimize

from lib.gradient import target_surrogates as ts
from lib.gradient.target_surrogates import TARGET_LOSSES, TargetSurrogate


def problem(kind, n=30, d=4, k=3, seed=0):
    """X, y, and parameters of a linear model for one of the losses."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d))
    if kind == "softmax":
        return X, rng.integers(k, size=n), rng.normal(size=(d, k))
    y = (rng.random(n) < 0.5).astype(float) if kind == "logistic" else rng.normal(size=n)
    return X, y, rng.normal(size=d)


def mean_loss(kind, X, y, theta):
    return TARGET_LOSSES[kind].value(X @ theta, y).mean()


# The acceptance checks of the method


@pytest.mark.parametrize("kind", list(TARGET_LOSSES))
def test_surrogate_is_an_upper_bound_up_to_one_over_L_and_not_at_three_times_that(kind):
    X, y, theta = problem(kind)
    loss, rng = TARGET_LOSSES[kind], np.random.default_rng(1)
    z = X @ theta
    g, base = loss.gradient(z, y), loss.value(z, y).mean()
    gaps = {1.0: [], 3.0: []}
    for scale in (0.01, 0.1, 1.0, 10.0):
        for _ in range(250):
            f = X @ (theta + scale * rng.normal(size=theta.shape))
            for factor, found in gaps.items():
                value = TargetSurrogate(factor * loss.step).value(f, z, g, base)
                found.append(value - loss.value(f, y).mean())
    assert min(gaps[1.0]) >= -1e-10
    if kind == "squared":
        assert max(map(abs, gaps[1.0])) <= 1e-9  # the bound is the loss itself
    assert min(gaps[3.0]) < -1e-3 or kind == "softmax"


def test_softmax_bound_is_sharp():
    # Two classes, equal shares, moved apart: curvature 1/2, so a step of 2 is the longest.
    z, y = np.zeros((1, 2)), np.array([0])
    g = TARGET_LOSSES["softmax"].gradient(z, y)
    f = np.array([[-0.01, 0.01]])
    for eta, sign in ((2.0, 1), (2.01, -1)):
        base = TARGET_LOSSES["softmax"].value(z, y).mean()
        gap = TargetSurrogate(eta).value(f, z, g, base) - TARGET_LOSSES["softmax"].value(f, y).mean()
        assert gap * sign > 0


@pytest.mark.parametrize("kind", list(TARGET_LOSSES))
def test_gradients_are_those_of_autograd(kind):
    X, y, theta = problem(kind)
    z = torch.tensor(X @ theta, requires_grad=True)
    if kind == "softmax":
        value = torch.nn.functional.cross_entropy(z, torch.tensor(y), reduction="none")
    elif kind == "logistic":
        value = torch.nn.functional.binary_cross_entropy_with_logits(z, torch.tensor(y), reduction="none")
    else:
        value = 0.5 * (z - torch.tensor(y)) ** 2
    (g,) = torch.autograd.grad(value.sum(), z)
    loss = TARGET_LOSSES[kind]
    assert_allclose(loss.value(X @ theta, y), value.detach(), rtol=1e-12)
    assert_allclose(loss.gradient(X @ theta, y), g, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("kind", list(TARGET_LOSSES))
def test_smoothness_is_the_largest_curvature_of_one_example(kind):
    rng = np.random.default_rng(0)
    z = np.concatenate([np.zeros((1, 2)), rng.normal(size=(200, 2))])
    loss, eps = TARGET_LOSSES[kind], 1e-5
    y = np.zeros(len(z)) if kind != "squared" else z[:, 0]
    if kind != "softmax":
        z = z[:, 0]
        curvature = abs(loss.gradient(z + eps, y) - loss.gradient(z - eps, y)) / (2 * eps)
    else:
        pulled = [loss.gradient(z + eps * e, y) - loss.gradient(z - eps * e, y) for e in np.eye(2)]
        curvature = np.linalg.norm(np.stack(pulled, axis=-1) / (2 * eps), ord=2, axis=(1, 2))
    assert_allclose(curvature.max(), loss.smoothness, rtol=1e-6)
    assert_allclose(loss.step, 1 / loss.smoothness)


def test_linear_logistic_with_many_inner_steps_is_the_fixed_hessian_step():
    X, y, theta = problem("logistic")
    g = TARGET_LOSSES["logistic"].gradient(X @ theta, y)
    bohning_lindsay = theta - np.linalg.solve(X.T @ X / 4, X.T @ (1 / (1 + np.exp(-X @ theta)) - y))
    assert_allclose(ts.sso_exact_linear(X, g, theta, eta=4.0), bohning_lindsay, rtol=1e-10)
    assert_allclose(theta - 4 * np.linalg.pinv(X) @ g, bohning_lindsay, rtol=1e-10)
    for search in ("exact", "armijo"):
        assert_allclose(ts.linear_step(X, g, theta, 4.0, m=2000, search=search, tol=1e-12), bohning_lindsay, rtol=1e-5)


def test_squared_loss_is_solved_in_one_exact_step():
    X, y, theta = problem("squared")
    g = TARGET_LOSSES["squared"].gradient(X @ theta, y)
    assert_allclose(ts.sso_exact_linear(X, g, theta, eta=1.0), np.linalg.lstsq(X, y, rcond=None)[0], rtol=1e-10)


@pytest.mark.parametrize("kind", ["logistic", "squared", "softmax"])
@pytest.mark.parametrize("m", [1, 10, 100, math.inf])
@pytest.mark.parametrize("share", [1.0, 0.3])
def test_full_batch_losses_never_increase(kind, m, share):
    X, y, theta = problem(kind)
    loss = TARGET_LOSSES[kind]
    values = []
    for _ in range(20):
        values.append(mean_loss(kind, X, y, theta))
        theta = ts.linear_step(X, loss.gradient(X @ theta, y), theta, share * loss.step, m)
    assert max(np.diff(values)) <= 1e-12
    assert values[-1] < values[0]


def test_exact_step_is_the_projection_in_target_space():
    X, y, theta = problem("logistic")
    g = TARGET_LOSSES["logistic"].gradient(X @ theta, y)
    wanted = X @ theta - 4.0 * g
    rest = wanted - X @ ts.sso_exact_linear(X, g, theta, 4.0)
    assert abs(X.T @ rest).max() <= 1e-8


def test_exact_step_minimizes_the_surrogate_with_one_step_per_example_too():
    X, y, theta = problem("logistic")
    z = X @ theta
    g, eta = TARGET_LOSSES["logistic"].gradient(z, y), np.linspace(0.5, 4.0, len(y))
    best = minimize(lambda t: TargetSurrogate(eta).value(X @ t, z, g), theta, tol=1e-14).x
    assert_allclose(ts.sso_exact_linear(X, g, theta, eta), best, rtol=1e-5, atol=1e-6)
    assert_allclose(ts.linear_step(X, g, theta, eta, m=5000, tol=1e-12), best, rtol=1e-5, atol=1e-6)


def test_batch_smaller_than_the_model_gives_the_shortest_correction():
    X, y, theta = problem("logistic", n=3, d=8)
    g = TARGET_LOSSES["logistic"].gradient(X @ theta, y)
    step = ts.sso_exact_linear(X, g, theta, 4.0) - theta
    assert_allclose(X @ step, -4.0 * g, rtol=1e-9)
    assert_allclose(step, X.T @ np.linalg.solve(X @ X.T, -4.0 * g), rtol=1e-9)


def test_the_small_example_by_hand():
    X, y, theta = np.array([[1.0], [2.0]]), np.array([1.0, 0.0]), np.zeros(1)
    g = TARGET_LOSSES["logistic"].gradient(X @ theta, y)
    assert_allclose(g, [-0.5, 0.5])
    for step in (ts.sso_exact_linear(X, g, theta), ts.linear_step(X, g, theta, m=1)):
        assert_allclose(step, [-0.4])
    assert_allclose(mean_loss("logistic", X, y, theta), 0.693147, rtol=1e-6)
    assert_allclose(mean_loss("logistic", X, y, np.array([-0.4])), 0.642058, rtol=1e-6)


# The inner loop


def inner_by_hand(X, g, theta, eta, m, search, alpha=10.0, c=0.1, beta=0.9, grow=2.0):
    """The same inner loop on the residuals, with trials instead of closed forms."""
    z, surrogate = X @ theta, TargetSurrogate(eta)
    for _ in range(m):
        f = X @ theta
        s = X.T @ surrogate.gradient(f, z, g)
        if search == "exact":
            line = [surrogate.value(X @ (theta - a * s), z, g) for a in (0.0, 1.0, 2.0)]
            second = line[2] - 2 * line[1] + line[0]
            step = (second / 2 - (line[1] - line[0])) / second
        elif search == "fixed":
            step = alpha
        else:
            value = surrogate.value(f, z, g)
            step, _ = ts.armijo(
                lambda a, t=theta, s=s: surrogate.value(X @ (t - a * s), z, g), value, (s**2).sum(), alpha, c, beta
            )
            alpha = grow * step
        theta = theta - step * s
    return theta


@pytest.mark.parametrize("search", ["exact", "armijo", "fixed"])
@pytest.mark.parametrize("kind", ["logistic", "softmax"])
@pytest.mark.parametrize("eta", [4.0, 0.7])
def test_steps_on_the_gram_matrix_are_those_on_the_residuals(search, kind, eta):
    X, y, theta = problem(kind)
    g = TARGET_LOSSES[kind].gradient(X @ theta, y)
    alpha = 0.3 if search == "fixed" else 10.0
    want = inner_by_hand(X, g, theta, eta, 7, search, alpha)
    assert_allclose(ts.linear_step(X, g, theta, eta, 7, search, alpha=alpha), want, rtol=1e-8)
    assert_allclose(ts.linear_step(X, g, theta, eta, 7, search, gram=X.T @ X, alpha=alpha), want, rtol=1e-8)


def test_one_fixed_inner_step_is_gradient_descent_whatever_eta():
    X, y, theta = problem("logistic")
    g = TARGET_LOSSES["logistic"].gradient(X @ theta, y)
    for eta in (0.1, 4.0):
        got = ts.linear_step(X, g, theta, eta, m=1, search="fixed", alpha=0.2)
        assert_allclose(got, theta - 0.2 * X.T @ g / len(X), rtol=1e-12)


def test_inner_loop_ends_at_the_tolerance():
    X, y, theta = problem("squared")
    g = TARGET_LOSSES["squared"].gradient(X @ theta, y)
    norm = np.linalg.norm(X.T @ g / len(X))
    assert_allclose(ts.linear_step(X, g, theta, m=5, tol=1.01 * norm), theta)
    assert abs(ts.linear_step(X, g, theta, m=5, tol=0.99 * norm) - theta).max() > 0
    assert_allclose(ts.linear_step(X, 0 * g, theta, m=5, tol=0), theta)


def test_a_fixed_step_that_diverges_is_said_to():
    X, y, theta = problem("squared")
    g = TARGET_LOSSES["squared"].gradient(X @ theta, y)
    with pytest.raises(ValueError, match="diverge"):
        ts.linear_step(X, g, theta, m=5000, search="fixed", alpha=1e3)


# Searches and schedules


def test_armijo_takes_the_first_trial_with_enough_descent():
    tried = []

    def value(a):
        tried.append(a)
        return (1 - a) ** 2

    step, trials = ts.armijo(value, base=1.0, slope=2.0, step=8.0, c=0.1, beta=0.5)
    assert tried == [8.0, 4.0, 2.0, 1.0]
    assert (step, trials) == (1.0, 4)
    assert ts.armijo(lambda a: 1 - a, base=1.0, slope=1.0, step=3.0)[0] == 3.0
    # On the boundary: equality is enough.
    assert ts.armijo(lambda a: 1 - 0.5 * a, base=1.0, slope=1.0, step=4.0, c=0.5) == (4.0, 1)


@pytest.mark.parametrize("value", [lambda a: math.nan, lambda a: math.inf, lambda a: 1.0])
def test_armijo_without_descent_answers_zero(value):
    assert ts.armijo(value, base=1.0, slope=1.0, max_trials=7) == (0.0, 7)


def test_accepted_target_step_satisfies_its_inequality_and_is_long_enough():
    rng = np.random.default_rng(0)
    z, y = rng.normal(size=40), rng.normal(size=40)
    loss = TARGET_LOSSES["squared"]
    g = loss.gradient(z, y)
    eta, trials = ts.target_armijo(lambda new: loss.value(new, y).mean(), z, g, eta=50.0)
    assert loss.value(z - eta * g, y).mean() <= loss.value(z, y).mean() - 0.5 * eta * (g**2).mean() + 1e-12
    assert eta >= 2 * (1 - 0.5) * 0.9  # over L = 1
    assert trials > 1
    longer = eta / 0.9
    assert loss.value(z - longer * g, y).mean() > loss.value(z, y).mean() - 0.5 * longer * (g**2).mean()
    assert ts.target_armijo(lambda new: loss.value(new, y).mean(), z, g, eta=50.0, base=loss.value(z, y).mean()) == (
        eta,
        trials,
    )


def test_schedules_have_their_forms():
    assert ts.target_step("exponential", 0, 3.0, 50) == 3.0
    assert_allclose(ts.target_step("exponential", 50, 3.0, 50), 3.0 / 50)
    assert_allclose(ts.target_step("exponential", 10, 3.0, 50), 3.0 * 50 ** (-0.2))
    assert [ts.target_step("sqrt", t, 2.0) for t in (0, 3)] == [2.0, 1.0]
    assert ts.target_step("constant", 7, 2.0) == 2.0
    assert ts.target_step("adagrad", 7, 100.0, squares=25.0) == 20.0
    assert ts.target_step("adagrad", 7, 100.0, squares=0.25) == 200.0
    assert ts.target_step("adagrad", 0, 100.0, squares=0.0) == 100.0


def test_defaults_are_those_of_the_paper_and_its_code():
    def defaults(target):
        return {n: p.default for n, p in inspect.signature(target).parameters.items() if p.default is not p.empty}

    assert defaults(ts.armijo) == {"step": 10.0, "c": 0.1, "beta": 0.9, "max_trials": 100}
    assert defaults(ts.target_armijo) == {"eta": 1.0, "c": 0.5, "beta": 0.9, "max_trials": 100, "base": None}
    linear = defaults(ts.linear_step)
    assert (linear["eta"], linear["alpha"], linear["c"], linear["beta"]) == (4.0, 10.0, 0.1, 0.9)
    assert (linear["grow"], linear["tol"]) == (2.0, 1e-6)
    sso = defaults(ts.SSO.__init__)
    assert {k: sso[k] for k in ("alpha", "c", "beta", "grow", "max_trials", "target_c", "target_grow", "tol")} == {
        "alpha": 10.0, "c": 0.1, "beta": 0.9, "grow": 2.0, "max_trials": 100, "target_c": 0.5, "target_grow": 1.8, "tol": 1e-6,
    }  # fmt: skip
    assert [loss.step for loss in TARGET_LOSSES.values()] == [4.0, 1.0, 2.0]


# Types and bad input


@pytest.mark.parametrize("half", [np.float16, torch.float16, torch.bfloat16])
def test_half_precision_is_summed_in_single(half):
    n = 40_000
    f = np.full(n, 3.0, half) if half is np.float16 else torch.full((n,), 3.0, dtype=half)
    value = TargetSurrogate(1.0).value(f, 0 * f, f)
    assert abs(float(value) - 13.5) < 1e-3


def test_single_precision_stays_single():
    X, y, theta = (np.asarray(a, np.float32) for a in problem("logistic"))
    g = TARGET_LOSSES["logistic"].gradient(X @ theta, y)
    assert g.dtype == np.float32
    assert ts.linear_step(X, g, theta, m=3).dtype == np.float32
    assert ts.sso_exact_linear(X, g, theta).dtype == np.float32


def test_large_targets_do_not_overflow():
    z, y = np.array([1e4, -1e4]), np.array([0.0, 1.0])
    assert_allclose(TARGET_LOSSES["logistic"].value(z, y), [1e4, 1e4])
    assert_allclose(TARGET_LOSSES["softmax"].value(np.array([[1e4, 0.0]]), [1]), [1e4])


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: TargetSurrogate(0.0), "eta"),
        (lambda: TargetSurrogate([1.0, -1.0]), "eta"),
        (lambda: TargetSurrogate(1.0).value(np.ones(2), np.ones(3), np.ones(2)), "one shape"),
        (lambda: TargetSurrogate(1.0).value(1.0, np.ones(3), np.ones(2)), "f must"),
        (lambda: ts.linear_step(np.ones((3, 2)), np.ones(3), np.ones(2), m=0), "m must"),
        (lambda: ts.linear_step(np.ones((3, 2)), np.ones(3), np.ones(2), m=1.5), "m must"),
        (lambda: ts.linear_step(np.ones((3, 2)), np.ones(2), np.ones(2)), "g must"),
        (lambda: ts.linear_step(np.ones((3, 2)), np.ones(3), np.ones(3)), "theta"),
        (lambda: ts.linear_step(np.ones((3, 2)), np.ones(3), np.ones(2), [1.0, 2.0, 3.0], gram=np.eye(2)), "gram"),
        (lambda: ts.target_step("exponential", 1), "total_steps"),
        (lambda: ts.target_step("adagrad", 1), "squares"),
        (lambda: ts.target_step("cosine", 1), "schedule"),
        (lambda: ts.target_armijo(lambda z: 0.0, np.ones(3), np.ones(2)), "shape of z"),
        (lambda: TARGET_LOSSES["logistic"].value([0.0], [2.0]), "zeros and ones"),
        (lambda: TARGET_LOSSES["logistic"].gradient([0.0, 1.0], [1.0]), "y must"),
        (lambda: TARGET_LOSSES["softmax"].value([[0.0, 1.0]], [2]), "y must"),
        (lambda: TARGET_LOSSES["softmax"].value([[0.0, 1.0]], [0.5]), "whole"),
    ],
)
def test_bad_input_is_named(call, named):
    with pytest.raises((ValueError, TypeError), match=named):
        call()


def test_a_value_of_minus_infinity_is_no_descent():
    assert ts.armijo(lambda a: -math.inf if a > 1 else (1 - a) ** 2, 1.0, 2.0, 4.0, 0.5, 0.5) == (1.0, 3)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_outputs_that_are_not_finite_give_no_finite_value(bad):
    fine, broken = np.array([0.0, 1.0]), np.array([bad, 1.0])
    with np.errstate(invalid="ignore"):
        assert not np.isfinite(TargetSurrogate(1.0).value(broken, fine, fine))


def test_steps_that_would_enlarge_the_targets_are_refused():
    f, z = np.ones(2), np.zeros(2)
    with pytest.raises(ValueError, match="broadcast"):
        TargetSurrogate(np.ones((3, 2))).value(f, z, z)
    wide = np.ones((2, 3))
    assert TargetSurrogate(np.array([[1.0], [2.0]])).value(wide, 0 * wide, 0 * wide) == pytest.approx(1.125)


@pytest.mark.parametrize("of", [lambda z: np.array(z, np.float16), lambda z: torch.tensor(z, dtype=torch.float16), list])
def test_the_search_in_target_space_takes_half_precision_and_lists(of):
    z = of([300.0, 2.0])  # the square of the first is above what half precision holds

    def loss(new):
        return (np.asarray(new, dtype=float) ** 2).mean() / 2

    assert ts.target_armijo(loss, z, z, eta=2.0, c=0.25, beta=0.5) == (1.0, 2)
    with pytest.raises(ValueError, match="z must have examples"):
        ts.target_armijo(loss, 1.0, 1.0)
