"""Gradient-normalized smoothness: the study's instances, rivals and measures."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.optimize as so
from scipy.stats import ortho_group
from sklearn.datasets import load_digits

import lib.data
from lib.gradient.gradient_normalized_smoothness import Metric, minimize_gns, study
from tests.gradient.test_gradient_normalized_smoothness import chebyshev as dense_chain


@pytest.mark.parametrize("kind", ["exact", "inexact", "zero"])
@pytest.mark.parametrize("p", [2.0, 4.0])
def test_the_chain_is_its_dense_form(kind, p):
    x, f, dense = np.random.default_rng(0).normal(size=9), study.ChebyshevChain(p), dense_chain(p)
    assert np.isclose(f.value(x), dense.value(x), rtol=1e-12)
    np.testing.assert_allclose(f.grad(x), dense.grad(x), rtol=1e-11)
    np.testing.assert_allclose(f.hess(x, kind).todense(), dense.hess(x, kind) @ np.eye(9), rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(study.DenseHessian(f).hess(x, kind) @ np.eye(9), dense.hess(x, kind) @ np.eye(9), atol=1e-9)
    assert f.value(np.ones(9)) == 0


def test_published_counts():
    """Iterations of the authors' code on the notebook's instances."""
    problem = study.linear_residual()
    assert study.gradient_method(problem, ftol=1e-10).nit == 28
    assert study.gradient_method(problem._replace(metric=None), ftol=1e-10).nit == 88
    soft = study.soft_maximum(100)
    assert [study.solve(soft, kind).nit for kind in ("exact", "gauss_newton")] == [14, 21]
    assert study.gradient_method(soft).nit == 47
    assert study.gradient_method(study.soft_maximum(200)).nit == 74
    assert study.fast_gradient_method(study.soft_maximum(200)).nit == 68
    assert [study.solve(study.rosenbrock(5.0), kind).nit for kind in ("exact", "inexact")] == [56, 57]


def test_the_published_search_stalls_where_ours_goes_on():
    problem = study.chebyshev(50)
    stalled, ours = study.published_search(problem), study.solve(problem)
    assert not stalled.success
    assert stalled.fun > 100
    assert ours.success
    convex = study.soft_maximum(30)
    np.testing.assert_allclose(study.published_search(convex).history["fun"], study.solve(convex).history["fun"], rtol=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_the_cubic_step_minimizes_its_model(seed):
    rng = np.random.default_rng(seed)
    w, Q, g, M = rng.normal(size=5), ortho_group.rvs(5, random_state=seed), rng.normal(size=5), 0.7
    y, tried = study.cubic_step(w, Q.T @ g, M)
    assert tried < 20

    def model(h):
        return g @ h + h @ (Q * w) @ Q.T @ h / 2 + M / 6 * np.linalg.norm(h) ** 3

    best = min(so.minimize(model, rng.normal(size=5) * 3, tol=1e-12).fun for _ in range(5))
    assert model(Q @ y) <= best + 1e-7


def test_newton_rivals_find_the_minimum():
    soft = study.soft_maximum(30, seed=np.random.default_rng(0))
    for rival in (study.cubic_newton, study.super_universal_newton):
        res = rival(soft)
        assert res.success
        assert np.linalg.norm(soft.f.grad(res.x)) < 1e-3
        assert (np.diff(res.history["fun"]) <= 1e-12).all()
        assert rival(study.rosenbrock()).success
    assert study.cubic_newton(study.chebyshev(12)).success
    assert study.super_universal_newton(soft, "gauss_newton", alpha=0.5).success


def test_the_function_test_never_allows_less_than_the_gradient_test_on_a_convex_function():
    problem = study.soft_maximum(30)
    for x in (problem.x0, 0.3 * problem.x0, np.linspace(-1, 1, 30)):
        both = [study.largest_gamma(problem, x, "exact", test) for test in ("function", "gradient")]
        assert both[0] >= both[1] > 0


def test_largest_gamma_is_the_last_that_passes():
    problem = study.rosenbrock()
    gamma = study.largest_gamma(problem, problem.x0, "exact", "function")
    for factor, trials in ((1, 1), (2, 2)):
        res = study.solve(problem, gamma0=factor * gamma, max_iter=1)
        assert res.history["trials"][0] == trials


def test_logistic_minimum():
    X = np.random.default_rng(0).normal(size=(60, 2))
    y = (X[:, 0] + np.random.default_rng(1).normal(size=60) > 0).astype(int)
    problem = study.logistic(X, y)
    assert np.isclose(problem.minimum, so.minimize(problem.f.value, problem.x0).fun, atol=1e-8)
    assert study.logistic(X, y, minimum=0.0).minimum == 0
    assert Metric(problem.metric).size == 3


def test_measures_by_hand():
    assert study.first_below([3.0, 2.0, 1.0], 2.0) == 1
    assert study.first_below([3.0, 2.0], 1.0) == np.inf
    assert study.gap_at([3.0, 2.0], 1) == 2.0
    k = np.arange(1.0, 201.0)
    assert np.isclose(study.power(np.r_[1.0, k**-1.5], 100), 1.5)
    run, best = study.tuned(lambda g: study.solve(study.rosenbrock(), gamma0=g), [1e-6, 1.0])
    assert best == 1.0
    assert run.success


def test_a_softmax_by_products_is_the_dense_one():
    X, y = load_digits(return_X_y=True)
    f = study.Softmax(X[:50, 20:26] / 16, y[:50])
    x = np.random.default_rng(0).normal(size=60)
    H = f.hess(x) @ np.eye(60)
    columns = [(f.value_and_grad(x + 1e-5 * e)[1] - f.value_and_grad(x - 1e-5 * e)[1]) / 2e-5 for e in np.eye(60)]
    np.testing.assert_allclose(H, np.array(columns), atol=1e-8)
    np.testing.assert_allclose(f.value_and_grad(x)[1], so.approx_fprime(x, lambda z: f.value_and_grad(z)[0], 1e-7), atol=1e-5)
    dense = minimize_gns(f.value_and_grad, np.zeros(60), jac=True, hess=lambda z: f.hess(z) @ np.eye(60))
    loose = minimize_gns(f.value_and_grad, np.zeros(60), jac=True, hess=f.hess, cg_rtol=1e-2)
    assert dense.success
    assert loose.success
    assert np.isclose(dense.fun, loose.fun, rtol=1e-10)


def test_the_map_of_gamma_is_gamma():
    f = study.soft_maximum(2).f
    found = study.gamma_map(f, "exact", [0.5, 1.0], [1.0, 2.0, 3.0])
    assert found.shape == (3, 2)
    # quasi-self-concordant with constant 2 max||a_i - a_j|| at most: gamma is at least its inverse
    spread = max(np.linalg.norm(a - b) for a in f.A for b in f.A)
    assert (found >= 1 / spread).all()
    assert (study.gamma_map(f, "zero", [0.5, 1.0], [1.0, 2.0, 3.0]) <= found).all()


def test_no_step_within_its_bound_breaks_a_lemma():
    for problem, kinds in ((study.soft_maximum(20), ("exact", "gauss_newton", "zero")), (study.rosenbrock(3.0), ("inexact",))):
        for kind in kinds:
            within, broken = study.lemma_violations(problem, problem.x0, kind, 2.0 ** np.arange(-12, 4))
            assert within > 2
            assert broken == 0


def test_a_step_without_the_bound_can_break_a_lemma():
    """The count is not empty talk: with the exact gradient replaced, steps fall short."""
    problem = study.rosenbrock()

    class Steep(type(problem.f)):
        def value_and_grad(self, x):
            f, g = super().value_and_grad(x)
            return f / 100, g

    steep = Steep(problem.f.u, problem.f.jac, 2.0, problem.f.hess_u)
    within, broken = study.lemma_violations(problem._replace(f=steep), problem.x0, "exact", [1e-3, 1e-2])
    assert within == broken > 0


def test_the_remaining_gap_by_hand():
    problem = study.rosenbrock()
    w, Q = np.linalg.eigh(problem.f.hess(np.ones(2)))
    for lam, share in ((w[0] / 2, 0.0), (w.mean(), w[0] / w.sum()), (2 * w[1], 1.0)):
        found, error, relative = study.remaining_gap(problem, np.ones(2) + Q.sum(axis=1), np.ones(2), lam, "zero")
        assert np.isclose(found, share, atol=1e-12)
        assert np.isclose(error, w[1])
        assert np.isclose(relative, 1.0)


def test_a_remaining_run_is_that_of_the_solver():
    X = np.random.default_rng(0).normal(size=(80, 3))
    y = (X[:, 0] + np.random.default_rng(1).normal(size=80) > 0).astype(int)
    task = study.logistic(X, y)
    rest = study.remaining_run(task, max_iter=7)
    plain = study.solve(task._replace(metric=None), "fisher", ftol=0.0, max_iter=7)
    assert np.isclose(rest.minimum, task.minimum, atol=1e-12)
    np.testing.assert_allclose(rest.gaps, study.gaps(plain, task), rtol=1e-6)
    assert rest.gap == rest.gaps[-1]
    best = study.solve(task._replace(minimum=-1.0), ftol=0.0, max_iter=60)
    H, F = (task.f.hess(best.x, kind) for kind in ("exact", "fisher"))
    assert np.isclose(rest.relative, np.linalg.norm(H - F, 2) / np.linalg.norm(H, 2))
    assert 0 <= rest.before <= 1
    assert 0 <= rest.share <= 1


def test_flipped_labels_flip_rows():
    X, y = np.random.default_rng(0).normal(size=(20, 2)), np.arange(20) % 2
    mask = np.arange(20) < 3
    flipped = study.flip(study.logistic(X, y, False), mask)
    np.testing.assert_array_equal(flipped.f.A, study.logistic(X, y ^ mask, False).f.A)
    with pytest.raises(TypeError, match="task"):
        study.flip(study.rosenbrock(), [True])


def test_the_rule_that_flips_is_one_that_a_linear_model_misses():
    rng = np.random.default_rng(0)
    X = (rng.random((300, 6)) < 0.4).astype(float)
    X[:, 5] = X[:, 0] * X[:, 1]  # the product of these two is linear in the columns
    mask = study.rule_of_two(X, 0, 0.05, 0.25, n_pairs=200)
    products = {(i, j): (X[:, i] * X[:, j] > 0) for i in range(6) for j in range(i)}
    (pair,) = [key for key, value in products.items() if (value == mask).all()]
    assert pair not in {(1, 0), (5, 0), (5, 1)}
    design = np.column_stack([X, np.ones(300)])
    able = {k: v * 1.0 for k, v in products.items() if 0.05 <= v.mean() <= 0.25}
    left = {k: np.var(v - design @ np.linalg.lstsq(design, v, rcond=None)[0]) / v.var() for k, v in able.items()}
    assert np.isclose(left[pair], max(left.values()))
    with pytest.raises(ValueError, match="two columns"):
        study.rule_of_two(np.zeros((10, 3)))
    task, flipped = study.flip_by_rule(study.logistic(X, (X[:, 2] > 0).astype(int), False), 0)
    assert 0.05 <= flipped.mean() <= 0.25
    assert study.remaining_run(task, max_iter=5).minimum > 0.01


def test_small_digits_are_means_of_four_pixels():
    X, y = study.mnist_images(3, 0, (4, 9))
    images, digits = lib.data.mnist()
    rows = np.random.default_rng(0).permutation(np.flatnonzero(np.isin(digits, (4, 9))))[:3]
    np.testing.assert_array_equal(y, digits[rows])
    assert np.isclose(X[1, 14 * 7 + 6], images[rows[1], 14:16, 12:14].mean() / 255)


@pytest.mark.parametrize("method", ["trust-exact", "trust-ncg", "Newton-CG"])
def test_newton_methods_of_scipy_in_the_metric(method):
    soft = study.soft_maximum(20)
    res = study.scipy_newton(soft, method)
    assert res.success
    assert np.isclose(soft.f.value(res.x), res.fun, rtol=1e-12)
    half = np.linalg.inv(np.linalg.cholesky(soft.metric))
    turned = so.minimize(
        lambda z: soft.f.value(half.T @ z),
        np.linalg.solve(half.T, soft.x0),
        jac=lambda z: half @ soft.f.grad(half.T @ z),
        hess=lambda z: half @ soft.f.hess(half.T @ z) @ half.T,
        method=method,
    )
    assert np.isclose(turned.fun, res.fun, atol=1e-6)
    assert study.scipy_newton(soft, method, max_iter=2).nit <= 3
    assert not study.scipy_newton(soft, method, max_iter=2).success
