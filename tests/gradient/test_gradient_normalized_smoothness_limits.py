"""Gradient-normalized smoothness: what callers of scipy pass, other units, overflow, labels of a data frame."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.optimize as so

from lib.gradient import gradient_normalized_smoothness as gns
from tests.gradient.test_gradient_normalized_smoothness import run

minimize = gns.minimize_gns
ROSEN = {"jac": so.rosen_der, "hess": so.rosen_hess}


def test_no_constraints_are_none_and_one_argument_needs_no_tuple():
    plain = minimize(so.rosen, [-2.0, 2.0], **ROSEN)
    for none in ([], (), None):
        assert minimize(so.rosen, [-2.0, 2.0], constraints=none, **ROSEN).nit == plain.nit
    twice = {name: lambda x, s, f=f: s * f(x) for name, f in ROSEN.items()}
    assert minimize(lambda x, s: s * so.rosen(x), [-2.0, 2.0], 2.0, **twice).nit == plain.nit


def test_a_gamma_far_from_the_unit_of_x_is_said_to_be():
    s = 1e-30
    scaled = {"jac": lambda x: so.rosen_der(x / s) / s, "hess": lambda x: so.rosen_hess(x / s) / s / s}
    res = minimize(lambda x: so.rosen(x / s), [-2 * s, 2 * s], **scaled)
    assert not res.success
    assert "gamma0" in res.message
    res = minimize(lambda x: so.rosen(x / s), [-2 * s, 2 * s], gamma0=s, **scaled)
    assert res.success
    np.testing.assert_allclose(res.x / s, 1, rtol=1e-5)


def test_complex_products_are_refused():
    with pytest.raises(ValueError, match="real numbers"):
        minimize(so.rosen, [-2.0, 2.0], jac=so.rosen_der, hessp=lambda x, p: (1 + 0j) * so.rosen_hess_prod(x, p))


def test_a_power_that_overflows_is_infinite_and_a_step_there_is_refused():
    f = gns.ResidualPower(lambda x: x - 1.0, lambda x: np.eye(len(x)), p=4.0)
    assert f.value([1e100]) == np.inf
    steep = gns.ResidualPower(lambda x: np.exp(x) - 1.0, lambda x: np.diag(np.exp(x)), p=4.0)
    res = run(steep, [-10.0], "inexact", gamma0=1e4)
    assert res.success
    assert res.history["trials"][0] > 1


def test_labels_of_a_data_frame_and_missing_ones():
    X, y = np.arange(4.0)[:, None], np.array(["a", "b", "a", "b"])
    np.testing.assert_array_equal(gns.Logistic.of(X, y.astype(object)).A, gns.Logistic.of(X, y).A)
    with pytest.raises(ValueError, match="y must hold"):
        gns.Logistic.of(X, [0.0, 0.0, 0.0, np.nan])


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_a_hessian_in_single_or_half_precision_may_be_symmetric_to_its_own_digits(dtype):
    rng = np.random.default_rng(0)
    A = rng.normal(size=(40, 5))
    H = (A.T @ A / 40).astype(dtype)
    H[0, 1] += 20 * np.finfo(dtype).eps * H.max()
    exact = A.T @ A / 40
    arguments = {"fun": lambda x: x @ exact @ x / 2, "x0": np.ones(5), "jac": lambda x: exact @ x}
    assert minimize(hess=lambda x: H, **arguments).success
    with pytest.raises(ValueError, match="symmetric"):
        minimize(hess=lambda x: H.astype(float), **arguments)
    H[0, 1] += H.max()
    with pytest.raises(ValueError, match="symmetric"):
        minimize(hess=lambda x: H, **arguments)


def test_bounds_of_gamma_hold_for_logistic_regression_with_the_exact_hessian_and_the_fisher_matrix():
    rng = np.random.default_rng(1)
    A = rng.normal(size=(80, 5))
    f = gns.Logistic(A * np.sign(A.sum(axis=1) + rng.normal(size=80))[:, None])
    longest, x = np.sqrt((A**2).sum(axis=1).max()), np.zeros(5)  # M = R in (9); the error of the Fisher matrix is at most R^2 f
    for _ in range(4):
        g, options = f.grad(x), {"n_dirs": 100, "vectorized": True}
        assert gns.gamma_of(f.grad, x, f.hess(x), **options) >= 1 / longest
        apart = np.linalg.norm(g) / (longest**2 * f.value(x))
        assert gns.gamma_of(f.grad, x, f.hess(x, "fisher"), **options) >= gns.combine(1 / longest, apart)
        x = x - np.linalg.solve(f.hess(x) + 0.1 * np.eye(5), g) / 2
