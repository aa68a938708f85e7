"""Gradient-normalized smoothness: objectives and gamma against independent oracles; the interface and bad input."""

from __future__ import annotations

import copy
import pickle
from functools import partial

import numpy as np
import pytest
import scipy.optimize as so
from scipy.sparse.linalg import LinearOperator
from sklearn.linear_model import LogisticRegression

from lib.gradient import gradient_normalized_smoothness as gns
from tests.gradient.test_gradient_normalized_smoothness import chebyshev, quartic, rosenbrock, run, spd

minimize = gns.minimize_gns
RNG = np.random.default_rng(1)
LABELS = np.where(RNG.random(40) < 0.5, 1.0, -1.0)[:, None]
ROSEN = {"jac": so.rosen_der, "hess": so.rosen_hess}


def linear(p):
    A, b = np.random.default_rng(2).normal(size=(6, 4)), np.arange(6.0)
    return gns.ResidualPower(lambda x: A @ x - b, lambda x: A, p)


OBJECTIVES = {
    "softmax": (gns.LogSumExp(RNG.normal(size=(20, 4)), RNG.normal(size=20), 0.3), np.ones(4)),
    "centered": (gns.LogSumExp.centered(RNG.normal(size=(20, 4)), RNG.normal(size=20)), np.ones(4)),
    "logistic": (gns.Logistic(RNG.normal(size=(40, 4)) * LABELS), np.ones(4)),
    **{f"linear {p}": (linear(p), np.ones(4)) for p in (2.0, 3.0, 4.0, 5.0)},
    **{f"chebyshev {p}": (chebyshev(p), np.array([0.3, 0.7, 0.2, 0.9])) for p in (2.0, 3.0, 4.0, 5.0)},
    **{f"rosenbrock {p}": (rosenbrock(p), np.array([-2.0, 2.0])) for p in (2.0, 3.0, 5.0)},
}


def difference(function, x, eps=1e-6):
    columns = [(function(x + eps * e) - function(x - eps * e)) / (2 * eps) for e in np.eye(len(x))]
    return np.array(columns).T


# --- objectives


@pytest.mark.parametrize("name", OBJECTIVES)
def test_gradients_and_exact_hessians_are_derivatives(name):
    f, x = OBJECTIVES[name]
    assert f.value(x) == f.value_and_grad(x)[0]
    np.testing.assert_allclose(f.grad(x), difference(f.value, x), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(f.hess(x), difference(f.grad, x), rtol=1e-6, atol=1e-5)
    assert (f.hess(x, "zero") @ x == 0).all()


@pytest.mark.parametrize("name", ["softmax", "logistic"])
def test_many_points_at_once(name):
    f, _ = OBJECTIVES[name]
    points = RNG.normal(size=(3, 4))
    values, slopes = f.value_and_grad(points)
    np.testing.assert_allclose(values, [f.value(x) for x in points], rtol=1e-12)
    np.testing.assert_allclose(slopes, [f.grad(x) for x in points], rtol=1e-12)


def test_the_soft_maximum_is_its_formula():
    f, x = OBJECTIVES["softmax"]
    assert np.isclose(f.value(x), 0.3 * np.log(np.exp((f.A @ x - f.b) / 0.3).sum()), rtol=1e-12)
    g = f.grad(x)
    np.testing.assert_allclose(f.hess(x, "gauss_newton") - f.hess(x), np.outer(g, g) / 0.3, atol=1e-12)
    assert np.isclose(gns.LogSumExp([[1e4], [-1e4]], [0, 0], 1e-3).value([1.0]), 1e4)


def test_a_centered_soft_maximum_has_its_minimum_at_zero():
    f, x = OBJECTIVES["centered"]
    np.testing.assert_allclose(f.grad(np.zeros(4)), 0, atol=1e-14)
    assert f.value(x) > f.value(np.zeros(4))


def test_approximate_hessians_of_residual_powers():
    f, x = OBJECTIVES["chebyshev 4.0"]
    u, J = f.u(x), f.jac(x)
    size, g = np.linalg.norm(u), f.grad(x)
    fisher = 2 / size**4 * np.outer(g, g)
    np.testing.assert_allclose(f.hess(x, "fisher").todense(), fisher, rtol=1e-12)
    np.testing.assert_allclose(f.hess(x, "inexact"), size**2 * J.T @ J + fisher, rtol=1e-12)
    curvature = np.diag(np.r_[-4 * u[1:], 0])
    np.testing.assert_allclose(f.hess(x) - f.hess(x, "inexact"), size**2 * curvature, atol=1e-11)
    least_squares, x2 = OBJECTIVES["linear 2.0"]
    assert (least_squares.hess(x2, "fisher").todense() == 0).all()


@pytest.mark.parametrize("p", [2.0, 3.0, 4.0])
def test_a_root_is_a_stationary_point_without_division_by_zero(p):
    f = gns.ResidualPower(lambda x: x - 1, lambda x: np.eye(2), p)
    assert f.value([1, 1]) == 0
    for kind in ("exact", "inexact", "fisher"):
        H = f.hess(np.ones(2), kind) @ np.eye(2)
        np.testing.assert_array_equal(H, np.eye(2) if p == 2 and kind != "fisher" else np.zeros((2, 2)))
    assert run(f, [1.0, 1.0]).success


def test_the_fisher_matrix_is_the_mean_of_outer_products_of_sample_gradients():
    f, x = OBJECTIVES["logistic"]
    rows = np.array([gns.Logistic(row[None]).grad(x) for row in f.A])
    np.testing.assert_allclose(f.hess(x, "fisher"), rows.T @ rows / len(rows), rtol=1e-12)
    np.testing.assert_allclose(f.grad(x), rows.mean(axis=0), rtol=1e-12)
    # condition (12) of the error: no eigenvalue of the difference exceeds R^2 f
    gap = np.abs(np.linalg.eigvalsh(f.hess(x) - f.hess(x, "fisher"))).max()
    assert gap <= (np.linalg.norm(f.A, axis=1) ** 2).max() * f.value(x)


def test_logistic_agrees_with_scikit_learn():
    X = RNG.normal(size=(200, 3)) * [1, 5, 0.2] + 1
    y = (RNG.random(200) < 1 / (1 + np.exp(-X[:, 0]))).astype(int)
    f = gns.Logistic.of(X, y)
    res = run(f, np.zeros(4), metric=f.metric())
    scaled = (X - X.mean(0)) / X.std(0)
    oracle = LogisticRegression(C=np.inf, tol=1e-12, max_iter=10_000).fit(scaled, y)
    np.testing.assert_allclose(res.x, np.r_[oracle.coef_[0], oracle.intercept_], rtol=1e-4)
    np.testing.assert_allclose(f.metric(0.5), f.A.T @ f.A / 200 + 0.5 * np.eye(4))
    raw = gns.Logistic.of(X, np.where(y == 1, "yes", "no"), standardize=False)
    np.testing.assert_allclose(raw.A, np.column_stack([X, np.ones(200)]) * np.where(y == 1, 1, -1)[:, None])
    assert np.isfinite(gns.Logistic([[1.0]]).value([-1e6]))


# --- gamma


@pytest.mark.parametrize("x", [1e-3, 0.5, 7.0])
def test_gamma_of_a_cubic_is_exact(x):
    slope, H = lambda z: 3 * z * np.abs(z) / 2, np.array([[3 * x]])
    assert np.isclose(gns.gamma_of(slope, [x], H, local=False), x, rtol=1e-4)
    assert np.isclose(gns.gamma_of(slope, [x], H), 2 * x, rtol=1e-4)
    assert np.isclose(gns.gamma_of(slope, [x], H, vectorized=True), 2 * x, rtol=1e-4)
    # the class bound sqrt(2 |g| / L2) with L2 = 3
    assert np.isclose(np.sqrt(2 * slope(x) / 3), x)
    assert np.isclose(gns.gamma_of(slope, [x], H, g=[4 * slope(x)], local=False), 2 * x, rtol=1e-4)


def test_gamma_without_a_hessian_is_gradient_over_lipschitz_constant():
    H = np.diag([1.0, 4.0])
    g = H @ [1.0, 1.0]
    whole = gns.gamma_of(lambda z: z @ H, [1.0, 1.0], gns.LowRank.zero(2), local=False, n_dirs=500, vectorized=True)
    assert (1 - 1e-12) * np.linalg.norm(g) / 4 <= whole <= 1.01 * np.linalg.norm(g) / 4
    scaled = gns.gamma_of(lambda z: H @ z, [1.0, 1.0], gns.LowRank.zero(2), metric=H, local=False)
    assert np.isclose(scaled, np.sqrt(g @ np.linalg.solve(H, g)), rtol=1e-6)  # L = 1 in this metric


def test_gamma_of_a_quadratic_has_no_end():
    H = spd(3)
    assert gns.gamma_of(lambda z: H @ z, np.ones(3), H, largest=100.0, local=False) == 100.0


def test_gamma_of_a_wrong_model_with_unbounded_error_is_small():
    assert gns.gamma_of(lambda z: np.where(z >= 1, np.inf, 1.0), [0.99999999], np.zeros((1, 1)), local=False) < 1e-7


@pytest.mark.parametrize("kind", ["exact", "gauss_newton"])
def test_gamma_respects_the_class_bound_and_the_harmonic_rule(kind):
    A, b = RNG.normal(size=(20, 3)), RNG.normal(size=20)
    f = gns.LogSumExp(A, b)
    B = A.T @ A
    for x in RNG.normal(size=(5, 3)):
        g = f.grad(x)
        norm = gns.Metric(B).dual_norm(g)
        exact = gns.gamma_of(f.grad, x, f.hess(x), metric=B, n_dirs=100, vectorized=True)
        bound = gns.combine(exact, norm / norm**2)  # error of Gauss-Newton: ||g||^2 / mu, so gamma_12 = 1 / ||g||
        measured = gns.gamma_of(f.grad, x, f.hess(x, kind), metric=B, n_dirs=100, vectorized=True)
        assert measured >= 0.9 * bound if kind == "gauss_newton" else measured >= 1.0 / 2


def test_harmonic_rule_by_hand():
    assert gns.combine(3.0, 6.0) == pytest.approx(2.0)
    assert gns.combine(5.0) == 5.0
    assert gns.combine(5.0, np.inf) == 5.0
    assert gns.combine(np.inf) == np.inf
    for bad in ((), (0.0,), (-1.0, 2.0), (np.nan,)):
        with pytest.raises(ValueError, match="gammas"):
            gns.combine(*bad)


def test_gamma_is_refused_where_it_is_undefined():
    with pytest.raises(ValueError, match="g must not be zero"):
        gns.gamma_of(lambda z: z, [0.0], np.eye(1))
    with pytest.raises(ValueError, match="H"):
        gns.gamma_of(lambda z: z, [1.0], np.eye(2))


# --- the interface


def test_scipy_takes_it_as_a_method():
    seen = []
    direct = minimize(so.rosen, [-2.0, 2.0], **ROSEN)
    through = so.minimize(so.rosen, [-2.0, 2.0], method=minimize, callback=lambda x: seen.append(x), **ROSEN)
    np.testing.assert_array_equal(direct.x, through.x)
    assert len(seen) == direct.nit
    np.testing.assert_array_equal(seen[-1], direct.x)
    loose = so.minimize(so.rosen, [-2.0, 2.0], method=minimize, tol=1e-2, **ROSEN)
    assert loose.nit < direct.nit
    pair = so.minimize(quartic, [1.0], method=minimize, jac=True, hess=lambda x: [[3 * x[0] ** 2]], options={"gamma0": 2.0})
    assert pair.success
    assert pair.history["gamma"][0] == 2.0
    product = so.minimize(so.rosen, [-2.0, 2.0], method=minimize, jac=so.rosen_der, hessp=so.rosen_hess_prod)
    np.testing.assert_allclose(product.x, 1, atol=1e-5)
    told = []
    so.minimize(
        so.rosen,
        [-2.0, 2.0],
        method=minimize,
        callback=lambda intermediate_result: told.append(intermediate_result.fun),
        **ROSEN,
    )
    np.testing.assert_allclose(told, direct.history["fun"][1:])


def test_args_reach_every_function():
    def fun(x, a):
        return float(a * x @ x / 2), a * x

    full = minimize(fun, [1.0, 2.0], (3.0,), jac=True, hess=lambda x, a: a * np.eye(2), metric=[1, 2])
    product = minimize(fun, [1.0, 2.0], (3.0,), jac=True, hessp=lambda x, p, a: a * p)
    assert full.success
    assert product.success


def test_goes_on_as_if_it_had_not_stopped():
    whole = minimize(so.rosen, [-2.0, 2.0], max_iter=30, **ROSEN)
    half = minimize(so.rosen, [-2.0, 2.0], max_iter=11, **ROSEN)
    assert half.status == 1
    assert not half.success
    half = pickle.loads(pickle.dumps(half))
    rest = minimize(so.rosen, half.x, gamma0=half.gamma, max_iter=19, **ROSEN)
    np.testing.assert_array_equal(rest.x, whole.x)
    assert rest.gamma == whole.gamma
    np.testing.assert_array_equal(np.r_[half.history["fun"], rest.history["fun"][1:]], whole.history["fun"])


@pytest.mark.parametrize("how", ["stop", "true"])
def test_a_callback_ends_the_run(how):
    def callback(intermediate_result):
        if intermediate_result.nit == 3:
            if how == "stop":
                raise StopIteration
            return True
        return None

    res = minimize(so.rosen, [-2.0, 2.0], callback=callback, **ROSEN)
    assert (res.nit, res.status, res.success) == (3, 99, False)


def test_a_callback_that_stops_at_the_goal_does_not_hide_success():
    res = minimize(so.rosen, [-2.0, 2.0], callback=lambda x: bool(np.allclose(x, 1, atol=1e-12)), **ROSEN)
    assert res.success


def test_objects_survive_pickling_and_copies():
    for thing in (gns.Metric(spd(3)), gns.LowRank([1.0, 2.0, 3.0]), gns.Banded([[1.0, 2.0, 3.0]])):
        for again in (pickle.loads(pickle.dumps(thing)), copy.deepcopy(thing)):
            apply = type(thing).solve if isinstance(thing, gns.Metric) else type(thing).__matmul__
            np.testing.assert_array_equal(apply(again, np.arange(3.0)), apply(thing, np.arange(3.0)))
    f = pickle.loads(pickle.dumps(OBJECTIVES["softmax"][0]))
    assert f.value(np.ones(4)) == OBJECTIVES["softmax"][0].value(np.ones(4))


def test_functions_that_write_into_their_arguments_change_nothing():
    def spoil(x):
        value = so.rosen_der(x)
        x[:] = 7
        return value

    x0, seen = np.array([-2.0, 2.0]), []
    res = minimize(so.rosen, x0, jac=spoil, hess=so.rosen_hess, callback=lambda x: x.fill(0) or seen.append(x))
    np.testing.assert_allclose(res.x, 1, atol=1e-6)
    np.testing.assert_array_equal(x0, [-2, 2])


def test_a_budget_that_is_used_up_is_no_success():
    res = minimize(so.rosen, [-2.0, 2.0], max_iter=0, **ROSEN)
    assert (res.success, res.nit, res.nfev, res.status) == (False, 0, 1, 1)
    assert "max_iter" in res.message


def test_a_wrong_gradient_is_no_success():
    res = minimize(so.rosen, [-2.0, 2.0], jac=lambda x: -so.rosen_der(x), hess=so.rosen_hess)
    assert not res.success
    assert res.status == 2


def test_no_minimum_is_no_success():
    def fun(x):
        return float(-x.sum()), -np.ones(2)

    assert not minimize(fun, [0.0, 0.0], jac=True, hess=lambda x: np.zeros((2, 2)), max_iter=2000).success


def test_a_wall_of_nan_is_walked_around():
    res = minimize(
        lambda x: float(x[0] - np.log(x[0])), [3.0], jac=lambda x: 1 - 1 / x, hess=lambda x: [[1 / x[0] ** 2]], gamma0=100.0
    )
    assert res.success
    np.testing.assert_allclose(res.x, 1, atol=1e-7)


def test_a_hessian_that_breaks_down_has_its_word():
    res = minimize(quartic, [1.0], jac=True, hess=lambda x: [[3.0 if x[0] == 1 else np.nan]])
    assert (res.success, res.status, res.nit) == (False, 3, 1)


def test_rounding_of_a_large_value_is_no_obstacle():
    f = lambda x: (1e6 + float(x @ x / 2), x)  # noqa: E731
    res = minimize(f, [3.0, 4.0], jac=True, hess=lambda x: 0.5 * np.eye(2), gtol=1e-12)
    assert res.success
    assert np.abs(res.x).max() < 1e-11


def test_counts_are_those_of_the_calls():
    calls = {"fun": 0, "jac": 0, "hess": 0}

    def counted(name, function):
        def call(x):
            calls[name] += 1
            return function(x)

        return call

    res = minimize(counted("fun", so.rosen), [-2.0, 2.0], jac=counted("jac", so.rosen_der), hess=counted("hess", so.rosen_hess))
    assert (res.nfev, res.njev, res.nhev) == (calls["fun"], calls["jac"], calls["hess"])
    assert res.nsolve == res.history["trials"].sum()
    assert res.njev <= res.nfev
    assert {len(res.history[k]) for k in ("fun", "grad_norm")} == {res.nit + 1}
    assert {len(res.history[k]) for k in ("gamma", "lam", "step_norm", "trials")} == {res.nit}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"metric": [[1.0, 2.0], [0.0, 1.0]]}, "symmetric"),
        ({"metric": [[1.0, 2.0], [2.0, 1.0]]}, "positive definite"),
        ({"metric": [1.0, -1.0]}, "above 0"),
        ({"metric": np.eye(3)}, "size 2"),
        ({"metric": np.ones((2, 3))}, "square"),
        ({"gamma0": 0.0}, "gamma0"),
        ({"test": "wolfe"}, "test"),
        ({"jac": None}, "jac"),
        ({"hess": None}, "either hess or hessp"),
        ({"hessp": so.rosen_hess_prod}, "either hess or hessp"),
        ({"hess": lambda x: np.eye(3)}, "hess"),
        ({"hess": lambda x: np.array([[1.0, 1.0], [0.0, 1.0]])}, "symmetric"),
        ({"hess": lambda x: np.full((2, 2), np.nan)}, "hess"),
        ({"hess": lambda x: gns.LowRank(np.ones(3))}, "hess"),
        ({"hess": lambda x: LinearOperator((3, 3), matvec=lambda p: p)}, "hess"),
        ({"jac": lambda x: np.ones(3)}, "jac"),
        ({"jac": lambda x: np.array([np.nan, 1.0])}, "jac"),
        ({"jac": lambda x: np.array([1j, 1.0])}, "jac"),
        ({"fun": lambda x: np.nan}, "fun"),
        ({"fun": lambda x: x}, "fun"),
        ({"fun": lambda x: 1j}, "fun"),
        ({"bounds": [(0, 1)]}, "bounds"),
        ({"constraints": [{}]}, "constraints"),
        ({"cg_rtol": 0.0}, "cg_rtol"),
        ({"cg_max_iter": 0}, "cg_max_iter"),
        ({"max_trials": 0}, "max_trials"),
        ({"tol": -1.0}, "tol"),
        ({"f_star": np.nan}, "f_star"),
    ],
)
def test_bad_arguments_are_refused(change, words):
    arguments = {"fun": so.rosen, "x0": [-2.0, 2.0], **ROSEN} | change
    with pytest.raises((ValueError, TypeError), match=words):
        minimize(**arguments)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (partial(gns.LowRank, [1.0, 2.0], [-1.0]), "c"),
        (partial(gns.LowRank, [1.0, 2.0], [1.0, 2.0]), "c"),
        (partial(gns.Banded, np.ones((4, 3))), "bands"),
        (partial(gns.Banded, np.ones((1, 3)), np.ones(2)), "U"),
        (partial(gns.Banded, np.ones((1, 3)), None, [1.0]), "U is None"),
        (partial(gns.LogSumExp, np.ones((3, 2)), np.ones(2)), "b"),
        (partial(gns.LogSumExp, np.ones((3, 2)), np.ones(3), 0.0), "mu"),
        (partial(gns.ResidualPower, np.sin, np.cos, 1.5), "p"),
        (partial(gns.ResidualPower, 3.0, np.cos), "u"),
        (partial(gns.Logistic.of, np.ones((3, 2)), [1, 2, 3]), "y"),
        (partial(gns.Logistic.of, np.ones((3, 2)), [1, 1, 1]), "y"),
        (partial(OBJECTIVES["logistic"][0].hess, np.ones(4), "gauss_newton"), "kind"),
    ],
)
def test_bad_parts_are_refused(make, words):
    with pytest.raises((ValueError, TypeError), match=words):
        make()
