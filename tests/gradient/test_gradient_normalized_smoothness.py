"""Gradient-normalized smoothness: the method, its solves, its objectives and gamma itself."""

from __future__ import annotations

import inspect
from functools import partial

import numpy as np
import pytest
import scipy.optimize as so
from scipy.sparse.linalg import aslinearoperator

from lib.gradient import gradient_normalized_smoothness as gns
from lib.gradient.gradient_normalized_smoothness import hessians, method

minimize = gns.minimize_gns
RNG = np.random.default_rng(0)


def spd(n, seed=0):
    M = np.random.default_rng(seed).normal(size=(n, n))
    return M @ M.T + 0.1 * np.eye(n)


def quartic(x):
    return float(x[0] ** 4 / 4), x**3


def run(f, x0, kind="exact", **options):
    return minimize(f.value_and_grad, x0, jac=True, hess=partial(f.hess, kind=kind), **options)


def official_residual(n=200, m=100):
    """The paper's linear residual: seed and order of the draws are those of its notebook."""
    draws = np.random.RandomState(3124)
    A = draws.uniform(-1, 1, (m, n))
    b = draws.uniform(-1, 1, m)
    return A, gns.ResidualPower(lambda x: A @ x - b, lambda x: A, 4.0)


def chebyshev(p=4.0):
    """Dense, for small d: the chain as the paper writes it."""

    def u(x):
        return np.r_[(1 - x[0]) / 2, x[1:] - (2 * x[:-1] ** 2 - 1)]

    def jac(x):
        return np.diag(np.r_[-0.5, np.ones(len(x) - 1)]) + np.diag(-4 * x[:-1], -1)

    return gns.ResidualPower(u, jac, p, lambda x, w: np.diag(np.r_[-4 * w[1:], 0.0]))


def rosenbrock(p=2.0):
    def hess_u(x, w):
        return np.array([[-20.0 * w[0], 0], [0, 0]])

    return gns.ResidualPower(
        lambda x: np.array([10 * (x[1] - x[0] ** 2), 1 - x[0]]), lambda x: np.array([[-20 * x[0], 10], [-1, 0]]), p, hess_u
    )


# --- the step and the search


def test_paper_constants_are_the_defaults():
    defaults = {k: p.default for k, p in inspect.signature(minimize).parameters.items()}
    assert (defaults["gamma0"], defaults["ftol"], defaults["max_trials"], defaults["max_iter"]) == (1.0, 1e-8, 40, 1000)
    assert (defaults["test"], defaults["gtol"], defaults["atol"], defaults["cg_rtol"]) == ("function", 1e-8, 0.0, 1e-8)
    assert method.passes_function_test(0.125, 1, 1, 1)
    assert not method.passes_function_test(0.1249, 1, 1, 1)
    assert method.passes_gradient_test(0.5, 1, 1, 1)
    assert not method.passes_gradient_test(0.499, 1, 1, 1)
    assert not method.passes_gradient_test(0.249, 1, 1, 1, share=4)
    assert method.passes_gradient_test(0.25, 1, 1, 1, share=4)


def test_by_hand_on_a_quartic():
    res = minimize(quartic, [1.0], jac=True, hess=lambda x: [[3 * x[0] ** 2]], max_iter=4)
    np.testing.assert_allclose(res.history["gamma"], [1, 2, 4, 4])
    np.testing.assert_array_equal(res.history["trials"], [1, 1, 1, 2])
    np.testing.assert_allclose(res.history["lam"][:3], [1, 0.2109375, 0.0367530], rtol=1e-5)
    np.testing.assert_allclose(res.history["fun"][:4] * 4, np.array([1, 0.75, 0.527777778, 0.359263365]) ** 4, rtol=1e-7)


def test_a_quadratic_is_accepted_at_once_and_gamma_doubles():
    H = spd(6)
    res = minimize(lambda x: (x @ H @ x / 2, H @ x), np.ones(6), jac=True, hess=lambda x: H)
    assert res.success
    assert (res.history["trials"] == 1).all()
    np.testing.assert_allclose(res.history["gamma"], 2.0 ** np.arange(res.nit))
    ratios = res.history["grad_norm"][1:] / res.history["grad_norm"][:-1]
    assert (np.diff(ratios) < 0).all()  # super-linear


def test_zero_hessian_is_gradient_descent_with_step_gamma_over_norm():
    res = minimize(so.rosen, [-1.0, 1.5], jac=so.rosen_der, hess=lambda x: gns.LowRank.zero(2), max_iter=5, gamma0=0.01)
    x = np.array([-1.0, 1.5])
    for gamma in res.history["gamma"]:
        g = so.rosen_der(x)
        x = x - gamma / np.linalg.norm(g) * g
    np.testing.assert_allclose(res.x, x, rtol=1e-12)
    np.testing.assert_allclose(res.history["step_norm"], res.history["gamma"], rtol=1e-12)


def test_every_accepted_step_passes_the_test_and_is_no_longer_than_gamma():
    A, f = official_residual(30, 15)
    for kind in f.kinds:
        h = run(f, np.ones(30), kind, metric=A.T @ A + 1e-3 * np.eye(30), max_iter=25).history
        needed = h["grad_norm"][1:] ** 2 / (8 * h["lam"])
        assert (-np.diff(h["fun"]) >= needed * (1 - 1e-9)).all()
        assert (h["step_norm"] <= h["gamma"] * (1 + 1e-9)).all()
        np.testing.assert_allclose(h["lam"], h["grad_norm"][:-1] / h["gamma"], rtol=1e-12)


def test_iteration_counts_of_the_papers_notebook():
    A, f = official_residual()
    options = {"metric": A.T @ A + 1e-8 * np.eye(200), "f_star": 0, "ftol": 1e-10, "gtol": 0}
    assert np.isclose(f.value(np.ones(200)), 7.93e6, rtol=1e-3)
    assert run(f, np.ones(200), **options).nit == 30
    assert run(f, np.ones(200), "fisher", **options).nit == 20
    assert minimize(so.rosen, [-2.0, 2.0], jac=so.rosen_der, hess=so.rosen_hess, f_star=0, gtol=0).nit == 51
    x0 = np.random.RandomState(3124).uniform(0, 1, 50)
    assert run(chebyshev(), x0, "inexact", f_star=0, gtol=0).nit == 20


def test_a_failed_factorization_counts_as_a_rejected_step():
    x0 = np.random.RandomState(3124).uniform(0, 1, 50)
    res = run(chebyshev(), x0, f_star=0, gtol=0)
    assert res.success
    assert res.nit == 20
    assert res.nchol_fail > 0


@pytest.mark.parametrize("kind", ["exact", "gauss_newton", "zero"])
def test_a_change_of_coordinates_with_its_metric_changes_no_value(kind):
    T, A, b = RNG.normal(size=(5, 5)), RNG.normal(size=(12, 5)), RNG.normal(size=12)
    B, x0 = spd(5), RNG.normal(size=5)
    plain = run(gns.LogSumExp(A, b), x0, kind, metric=B, max_iter=8, gtol=0)
    moved = run(gns.LogSumExp(A @ T, b), np.linalg.solve(T, x0), kind, metric=T.T @ B @ T, max_iter=8, gtol=0)
    np.testing.assert_allclose(plain.history["fun"], moved.history["fun"], rtol=1e-8)
    np.testing.assert_allclose(plain.x, T @ moved.x, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("c", [1e-150, 1e-9, 1e9, 1e150])
def test_a_multiple_of_the_function_has_the_same_iterates(c):
    plain = minimize(so.rosen, [-2.0, 2.0], jac=so.rosen_der, hess=so.rosen_hess)
    scaled = minimize(
        lambda x: c * so.rosen(x), [-2.0, 2.0], jac=lambda x: c * so.rosen_der(x), hess=lambda x: c * so.rosen_hess(x)
    )
    assert scaled.success
    assert abs(scaled.nit - plain.nit) <= 1
    np.testing.assert_allclose(scaled.x, plain.x, rtol=1e-6)


def test_the_gradient_test_holds_with_one_half_where_gamma_is_small_enough():
    # quasi-self-concordant with constant 1: every gamma up to 1 / max||a_i|| is small enough
    A, b = RNG.normal(size=(20, 4)), RNG.normal(size=20)
    f, x = gns.LogSumExp(A, b), np.ones(4)
    gamma = 0.5 / np.linalg.norm(A, axis=1).max()
    for _ in range(10):
        f0, g = f.value_and_grad(x)
        norm = np.linalg.norm(g)
        h, lam, _ = method.damped_step(hessians.prepare(f.hess(x), gns.Metric()), g, norm, gamma)
        f1, new = f.value_and_grad(x + h)
        e = new + lam * h  # (5)
        assert np.linalg.norm(e) <= lam * np.linalg.norm(h)
        assert f0 - f1 >= lam / 2 * (h @ h)  # (6)
        assert f0 - f1 >= new @ new / (8 * lam)  # (7)
        assert f0 - f1 >= -new @ h >= new @ new / (2 * lam)  # (8)
        x = x + h


def test_the_search_with_the_gradient_test_also_converges():
    f = gns.LogSumExp(RNG.normal(size=(30, 5)), RNG.normal(size=30))
    one, two = (run(f, np.ones(5), test=test) for test in ("function", "gradient"))
    assert one.success
    assert two.success
    np.testing.assert_allclose(one.x, two.x, atol=1e-6)


def test_gradient_test_is_what_it_says():
    res = minimize(quartic, [1.0], jac=True, hess=lambda x: [[3 * x[0] ** 2]], test="gradient", max_iter=6)
    x = np.r_[(4 * res.history["fun"]) ** 0.25]
    new, step, lam = x[1:] ** 3, x[:-1] - x[1:], res.history["lam"]
    assert (new * step >= new**2 / (4 * lam) * (1 - 1e-9)).all()
    rejected = res.history["trials"] > 1  # with twice the gamma the test fails
    assert rejected.any()
    for k in np.flatnonzero(rejected):
        gamma = 2 * res.history["gamma"][k]
        lam2 = x[k] ** 3 / gamma
        trial = x[k] - x[k] ** 3 / (3 * x[k] ** 2 + lam2)
        assert trial**3 * (x[k] - trial) < trial**6 / (4 * lam2)


# --- the four kinds of Hessian


def dense_step(H, B, g, gamma):
    lam = np.sqrt(g @ np.linalg.solve(B, g)) / gamma
    return np.linalg.solve(H + lam * B, -g)


@pytest.mark.parametrize("metric", ["identity", "diagonal", "dense"])
@pytest.mark.parametrize("kind", ["array", "low_rank", "rank_one", "zero", "banded", "operator"])
@pytest.mark.parametrize("gamma", [1e-3, 1.0, 1e5])
def test_the_step_is_that_of_a_dense_solve(kind, metric, gamma):
    n, rng = 7, np.random.default_rng(3)
    U, c, g = rng.normal(size=(n, 3)), rng.uniform(1, 2, 3), rng.normal(size=n)
    bands = np.stack([np.full(n, 5.0), rng.normal(size=n), 0.3 * rng.normal(size=n)])
    H = {
        "array": spd(n), "low_rank": gns.LowRank(U, c), "rank_one": gns.LowRank(U[:, 0], [2.0]), "zero": gns.LowRank.zero(n),
        "banded": gns.Banded(bands, U, c), "operator": aslinearoperator(spd(n)),
    }[kind]  # fmt: skip
    diagonal = rng.uniform(1, 2, n)
    B = {"identity": gns.Metric(), "diagonal": gns.Metric(diagonal), "dense": gns.Metric(spd(n, 5))}[metric]
    dense = spd(n) if kind in ("array", "operator") else H.todense()
    if kind == "banded" and metric == "dense":
        with pytest.raises(ValueError, match="metric"):
            hessians.prepare(H, B)
        return
    solve = hessians.prepare(H, B, cg_rtol=1e-12)
    h, lam, products = method.damped_step(solve, g, B.dual_norm(g), gamma)
    np.testing.assert_allclose(h, dense_step(dense, B.apply(np.eye(n)), g, gamma), rtol=2e-9, atol=1e-12)
    assert lam == B.dual_norm(g) / gamma
    assert B.norm(h) <= gamma * (1 + 1e-12)  # (4)
    assert (products > 0) == (kind == "operator")


def test_unfinished_conjugate_gradients_keep_the_step_within_gamma_and_in_the_local_set():
    n, H, B = 40, spd(40), gns.Metric(spd(40, 2))
    g = np.random.default_rng(1).normal(size=n)
    for steps in (1, 3, 10):
        solve = hessians.prepare(aslinearoperator(H), B, cg_max_iter=steps)
        h, lam, products = method.damped_step(solve, g, B.dual_norm(g), 2.0)
        assert products == steps
        assert B.norm(h) <= 2.0
        np.testing.assert_allclose(h @ H @ h + lam * B.norm(h) ** 2, -g @ h, rtol=1e-7)
        assert g @ h + h @ H @ h <= 0


def test_conjugate_gradients_notice_an_indefinite_matrix():
    H = aslinearoperator(np.diag([1.0, -3.0]))
    assert hessians.prepare(H, gns.Metric())(1.0, np.ones(2))[0] is None
    assert hessians.prepare(np.diag([1.0, -3.0]), gns.Metric())(1.0, np.ones(2))[0] is None
    assert hessians.prepare(gns.Banded([[1.0, -3.0]]), gns.Metric())(1.0, np.ones(2))[0] is None


def test_all_kinds_of_hessian_give_the_same_run():
    f = chebyshev()
    x0 = np.random.default_rng(0).uniform(0, 1, 12)
    dense = run(f, x0, "inexact")
    products = minimize(f.value_and_grad, x0, jac=True, hessp=lambda x, p: f.hess(x, "inexact") @ p, cg_rtol=1e-13)

    def banded(x):
        H = f.hess(x, "inexact")
        u, J = f.u(x), f.jac(x)
        size = np.linalg.norm(u)
        JJ = size**2 * J.T @ J
        np.testing.assert_allclose(H, JJ + 2 * np.outer(J.T @ u, J.T @ u), rtol=1e-9, atol=1e-12)
        return gns.Banded([np.diag(JJ), np.r_[np.diag(JJ, -1), 0]], J.T @ u, [2.0])

    structured = minimize(f.value_and_grad, x0, jac=True, hess=banded)
    assert dense.success
    assert products.nprod > 0
    for other in (products, structured):
        assert other.nit == dense.nit
        np.testing.assert_allclose(other.history["fun"], dense.history["fun"], rtol=1e-5, atol=1e-30)


def test_operators_and_sparse_matrices_are_taken():
    sparse = pytest.importorskip("scipy.sparse")
    f = gns.LogSumExp(RNG.normal(size=(15, 4)), RNG.normal(size=15))
    plain = run(f, np.ones(4))
    for wrap in (sparse.csr_array, aslinearoperator):
        other = minimize(f.value_and_grad, np.ones(4), jac=True, hess=lambda x, wrap=wrap: wrap(f.hess(x)), cg_rtol=1e-12)
        np.testing.assert_allclose(other.x, plain.x, atol=1e-8)


def test_metric_norms_are_dual_and_do_not_overflow():
    for B in (None, RNG.uniform(1, 2, 5), spd(5)):
        metric, g = gns.Metric(B), RNG.normal(size=5)
        steepest = metric.solve(g)
        assert np.isclose(g @ steepest, metric.dual_norm(g) * metric.norm(steepest), rtol=1e-12)
        np.testing.assert_allclose(metric.apply(steepest), g, rtol=1e-9)
        for scale in (1e-200, 1e200):
            assert np.isclose(metric.dual_norm(scale * g) / scale, metric.dual_norm(g), rtol=1e-12)
            assert np.isclose(metric.norm(scale * g) / scale, metric.norm(g), rtol=1e-12)


def test_matrices_multiply_as_their_dense_forms():
    for H in (gns.LowRank(RNG.normal(size=(6, 2)), [1.0, 2.0]), gns.Banded(RNG.normal(size=(3, 6)), RNG.normal(size=(6, 2)))):
        for h in (RNG.normal(size=6), RNG.normal(size=(6, 3))):
            np.testing.assert_allclose(H @ h, H.todense() @ h, rtol=1e-12)
    U, c = RNG.normal(size=(6, 2)), np.array([1.0, 2.0])
    np.testing.assert_allclose(gns.LowRank(U, c).todense(), U @ np.diag(c) @ U.T)
    np.testing.assert_allclose(gns.Banded([[1, 2, 3.0], [4, 5, 9.0]]).todense(), [[1, 4, 0], [4, 2, 5], [0, 5, 3]])
