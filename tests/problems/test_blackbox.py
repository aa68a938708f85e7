"""Black-box functions: known values, minimizers, gradients against differences, shapes."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize, rosen, rosen_der

from lib.problems import blackbox

FUNCTIONS = [
    blackbox.grand_canyon(),
    blackbox.grand_canyon(noisy=False),
    blackbox.rippled_bowl(),
    blackbox.quadratic([[2.0, 0.5], [0.5, 1.0]]),
    blackbox.rastrigin(5),
    blackbox.rastrigin(3, amplitude=2.5),
    blackbox.ackley(4),
    blackbox.rosenbrock(4),
    blackbox.griewank(3),
    blackbox.styblinski_tang(3),
]


@pytest.fixture(params=FUNCTIONS, ids=lambda fun: f"{fun.name}-{fun.dim}")
def fun(request):
    return request.param


def points(fun, *shape, seed=0):
    return np.random.default_rng(seed).uniform(*fun.box, (*shape, fun.dim))


def test_minimum_is_attained_at_the_minimizer_and_nowhere_undercut(fun):
    assert fun.minimizer.shape == (fun.dim,)
    assert float(fun(fun.minimizer)) == pytest.approx(fun.minimum, abs=1e-12)
    near = fun.minimizer + np.random.default_rng(1).normal(0, 0.1, (2000, fun.dim))
    assert min(fun(points(fun, 20_000)).min(), fun(near).min()) >= fun.minimum


def test_gradient_vanishes_at_the_minimizer(fun):
    assert np.abs(fun.gradient(fun.minimizer)).max() < 1e-9


def test_gradient_equals_central_differences(fun):
    x, h = points(fun, 300), 1e-5
    steps = h * np.eye(fun.dim)
    differences = (fun(x[:, None] + steps) - fun(x[:, None] - steps)) / (2 * h)
    scale = 1 + np.abs(fun(x)).max()  # rounding of the values over h
    np.testing.assert_allclose(fun.gradient(x), differences, rtol=2e-5, atol=1e-10 * scale / h + 1e-6)


def test_any_leading_shape_gives_the_same_values(fun):
    x = points(fun, 4, 3)
    flat = fun(x.reshape(-1, fun.dim))
    assert fun(x).shape == (4, 3)
    assert fun(x[0, 0]).shape == ()
    np.testing.assert_allclose(fun(x).ravel(), flat, rtol=1e-13)
    np.testing.assert_allclose(fun(x[0, 0]), flat[0], rtol=1e-13)
    assert fun.gradient(x).shape == x.shape


def test_another_dimension_is_refused(fun):
    with pytest.raises(ValueError, match=rf"{fun.name} takes points of shape \(\.\.\., {fun.dim}\), got shape \(2, 7\)"):
        fun(np.zeros((2, 7)))
    with pytest.raises(ValueError, match="takes points of shape"):
        fun.gradient(1.0)


def test_values_published_for_the_canyon():
    canyon = blackbox.grand_canyon()
    assert float(canyon([0.0, 0.0])) == 0.0
    assert float(canyon([8.0, 8.0])) == pytest.approx(39.012537, abs=1e-6)


def plain_canyon(x, y, ripple):
    a, b = y - ((x - 1) * (x - 4) ** 2 * 2 / 16 + 2), -x - 0.5 * 3.2 * y
    value = 25 * (1 - np.exp(-1.4 * a**2 * np.exp(-0.002 * x**4))) + 0.4 * x * x + 0.2 * y * y
    value += ripple * ((1 - np.cos(0.75 * np.pi * x)) + (1 - np.cos(0.75 * np.pi * y)))
    return value + 4 * np.exp(1 - 2 * a**4) * max((1 - np.exp(-9 * b**2)) * np.sign(b), 0)


@pytest.mark.parametrize(("noisy", "ripple"), [(True, 1.1625), (False, 0.25)])
def test_canyon_equals_the_formula_written_out(noisy, ripple):
    canyon = blackbox.grand_canyon(noisy)
    x = np.vstack([points(canyon, 500), np.random.default_rng(2).normal(0, 1, (500, 2))])
    np.testing.assert_allclose(canyon(x), [plain_canyon(*v, ripple) for v in x], atol=1e-12)


def test_canyon_gradient_is_continuous_on_the_line_where_the_barrier_ends():
    canyon = blackbox.grand_canyon()
    y = np.linspace(-1, 1, 21)
    on_line, step = np.stack([-1.6 * y, y], -1), np.array([1e-9, 0.0])
    jump = canyon.gradient(on_line + step) - canyon.gradient(on_line - step)
    assert np.abs(jump).max() < 1e-5


def test_floor_of_the_canyon_is_where_its_walls_are_lowest():
    x = np.linspace(0, 5, 11)
    assert blackbox.canyon_floor(0.0) == 0.0
    calm, floor = blackbox.grand_canyon(noisy=False), blackbox.canyon_floor(x)
    walls = [calm(np.stack([x, floor + shift], -1)) for shift in (-0.6, 0.0, 0.6)]
    assert (walls[1] < np.minimum(walls[0], walls[2])).all()


def test_gradient_descent_stops_at_the_published_local_minimum():
    canyon = blackbox.grand_canyon()
    found = minimize(canyon, [2.4, 2.4], jac=canyon.gradient)
    np.testing.assert_allclose(found.x, [2.33627, 2.46628], atol=1e-4)
    assert found.fun == pytest.approx(3.86229, abs=1e-5)


def test_rosenbrock_equals_scipy():
    fun = blackbox.rosenbrock(6)
    x = points(fun, 20)
    np.testing.assert_allclose(fun(x), [rosen(v) for v in x], rtol=1e-12)
    np.testing.assert_allclose(fun.gradient(x), [rosen_der(v) for v in x], rtol=1e-9, atol=1e-9)


def test_styblinski_tang_has_its_published_minimum():
    assert blackbox.styblinski_tang(2).minimum / 2 == pytest.approx(-39.16616570377142)
    assert blackbox.styblinski_tang(2).minimizer[0] == pytest.approx(-2.903534, abs=1e-6)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: blackbox.rastrigin(0), ValueError, "dim must be an integer at least 1, got 0"),
        (lambda: blackbox.rosenbrock(1), ValueError, "dim must be an integer at least 2, got 1"),
        (lambda: blackbox.ackley(2.5), TypeError, "dim must be an integer at least 1, got 2.5"),
        (lambda: blackbox.ackley(True), TypeError, "dim must be an integer at least 1, got True"),
        (lambda: blackbox.rastrigin(2, amplitude=-1), ValueError, "amplitude must be a finite number at least 0, got -1"),
        (lambda: blackbox.quadratic([[1.0, 2.0]]), ValueError, r"symmetric, shape \(d, d\), got shape \(1, 2\)"),
        (lambda: blackbox.quadratic([[1.0, 0.0], [0.0, -1.0]]), ValueError, "must be positive definite"),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("far", [1e10, 1e30, 1e200, 1.7e308])
def test_the_canyon_is_finite_at_particles_that_flew_off(far):
    canyon = blackbox.grand_canyon()
    points = far * np.array([[1, 0], [0, 1], [1, 1], [-1, 1], [-1, -1], [1, -1]])
    with np.errstate(all="raise", under="ignore"):
        values = canyon(points)
    assert np.isfinite(values).all()
    assert (values > canyon([8.0, 8.0])).all()
    assert np.isfinite(canyon.gradient(points)).all()
