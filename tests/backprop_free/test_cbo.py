"""Consensus point, consensus-based optimization, hopping, the gradient side and the theory, against independent oracles."""

from __future__ import annotations

import builtins
import inspect
import pickle

import numpy as np
import pytest
import scipy.optimize
import torch
from scipy.integrate import quad
from scipy.optimize import minimize_scalar
from scipy.special import softmax
from scipy.stats import special_ortho_group

from lib.backprop_free import cbo
from lib.backprop_free.cbo import study
from lib.problems import blackbox

CANYON = blackbox.grand_canyon()
BOWL = blackbox.rippled_bowl()


def sphere(x):
    return (x**2).sum(-1)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


# ------------------------------------------------------------------------------------------------------ consensus point


def test_equal_energies_give_the_mean(rng):
    x = rng.normal(size=(3, 7, 2))
    for alpha in (0.1, 1e15, np.inf):
        np.testing.assert_allclose(cbo.consensus_point(x, np.full((3, 7), 5.0), alpha), x.mean(1), atol=1e-14)


def test_consensus_equals_softmax_weights(rng):
    x, e = rng.normal(size=(4, 9, 3)), rng.normal(size=(4, 9))
    expected = (softmax(-2.5 * e, axis=-1)[..., None] * x).sum(1)
    np.testing.assert_allclose(cbo.consensus_point(x, e, 2.5), expected, atol=1e-14)


@pytest.mark.parametrize("alpha", [1e15, np.inf])
def test_large_alpha_takes_the_best_particle(rng, alpha):
    x, e = rng.normal(size=(4, 9, 3)), rng.normal(size=(4, 9))
    np.testing.assert_array_equal(cbo.consensus_point(x, e, alpha), x[np.arange(4), e.argmin(1)])


def test_energy_shift_changes_nothing_and_nothing_underflows(rng):
    x, e = rng.normal(size=(9, 3)), rng.normal(size=9)
    np.testing.assert_allclose(cbo.consensus_point(x, e + 1e6, 100.0), cbo.consensus_point(x, e, 100.0), rtol=1e-6)
    assert np.isfinite(cbo.consensus_point(x, 1e5 + 100 * e, 100.0)).all()


def test_consensus_lies_in_the_box_of_its_particles_and_moves_with_them(rng):
    x, e = rng.normal(size=(9, 3)), rng.normal(size=9)
    c = cbo.consensus_point(x, e, 3.0)
    assert (x.min(0) <= c).all()
    assert (c <= x.max(0)).all()
    Q = special_ortho_group.rvs(3, random_state=1)
    np.testing.assert_allclose(cbo.consensus_point(x @ Q + [1, 2, 3], e, 3.0), c @ Q + [1, 2, 3], atol=1e-14)


def test_infinite_energy_is_weight_zero(rng):
    x, e = rng.normal(size=(9, 3)), rng.normal(size=9)
    e[4:] = np.inf
    np.testing.assert_allclose(cbo.consensus_point(x, e, 2.0), cbo.consensus_point(x[:4], e[:4], 2.0), atol=1e-15)


def test_consensus_keeps_float32():
    assert cbo.consensus_point(np.ones((2, 2), np.float32), np.zeros(2), 1.0).dtype == np.float32
    assert cbo.consensus_point([[1], [2]], [0, 0], 1.0).dtype == np.float64


@pytest.mark.parametrize(
    ("x", "e", "alpha", "message"),
    [
        (np.ones((3, 2)), np.zeros(3), 0.0, "alpha must be a number above 0, got 0.0"),
        (np.ones((3, 2)), np.zeros(3), np.nan, "alpha must be a number above 0, got nan"),
        (np.ones((3, 2)), np.zeros(2), 1.0, r"got shapes \(3, 2\) and \(2,\)"),
        (np.ones(3), np.zeros(()), 1.0, r"x must have shape \(\.\.\., N, d\)"),
        (np.ones((2, 2)), [np.inf, np.inf], 1.0, "all are infinite"),
        (np.ones((2, 2)), [np.nan, 1.0], 1.0, "energies must be finite, got NaN"),
        (np.ones((2, 2)), [-np.inf, 1.0], 1.0, "-infinity"),
    ],
)
def test_consensus_refuses(x, e, alpha, message):
    with pytest.raises(ValueError, match=message):
        cbo.consensus_point(x, e, alpha)


# ---------------------------------------------------------------------------------------------------- mean field, identity


@pytest.mark.parametrize("alpha", [0.1, 1.0, 10.0])
def test_mean_field_consensus_of_a_quadratic_is_the_resolvent(alpha):
    A = np.array([[2.0, 0.6], [0.6, 1.0]])
    fun, x = blackbox.quadratic(A), np.array([[1.0, -2.0], [0.3, 0.4]])
    for tau in (0.05, 0.5):
        expected = np.linalg.solve(np.eye(2) + tau * A, x.T).T
        np.testing.assert_allclose(cbo.mean_field_consensus(fun, x, alpha, np.sqrt(tau / alpha)), expected, atol=1e-8)


def ripple(y):
    return 0.5 * y**2 + 1.5 * (1 - np.cos(3 * y))


@pytest.mark.parametrize(("alpha", "width"), [(10.0, 0.05), (1.0, 0.7), (100.0, 0.3)])
def test_mean_field_consensus_and_smoothed_energy_equal_adaptive_quadrature(alpha, width):
    x = 1.3

    def density(y):
        return np.exp(-alpha * ripple(y) - (y - x) ** 2 / (2 * width**2))

    span = {"points": [0.0, x], "limit": 500, "epsabs": 0.0, "epsrel": 1e-12}
    mass, first = quad(density, -7, 9, **span)[0], quad(lambda y: y * density(y), -7, 9, **span)[0]
    got = cbo.mean_field_consensus(lambda y: ripple(y[..., 0]), [x], alpha, width)
    assert got[0] == pytest.approx(first / mass, abs=1e-9)
    expected = -np.log(mass / (np.sqrt(2 * np.pi) * width)) / alpha
    assert float(cbo.smoothed_energy(lambda y: ripple(y[..., 0]), [x], alpha, width)) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("alpha", [1.0, 10.0, 1e3, 1e4])
@pytest.mark.parametrize("tau", [0.02, 0.05, 1.0])
def test_hopping_is_gradient_descent_on_the_smoothed_energy_in_one_dimension(alpha, tau):
    x, width = np.array([[1.3], [-0.4]]), np.sqrt(tau / alpha)
    slope = cbo.smoothed_gradient(lambda y: ripple(y[..., 0]), lambda y: y + 4.5 * np.sin(3 * y), x, alpha, width)
    consensus = cbo.mean_field_consensus(lambda y: ripple(y[..., 0]), x, alpha, width)
    np.testing.assert_allclose(consensus, x - tau * slope, atol=1e-8)


@pytest.mark.parametrize(("alpha", "width"), [(5.0, 0.3), (100.0, 0.05), (1.0, 1.0)])
def test_hopping_is_gradient_descent_on_the_smoothed_energy_in_two_dimensions(alpha, width):
    x = np.array([[2.0, -1.5], [0.5, 1.0]])
    consensus = cbo.mean_field_consensus(BOWL, x, alpha, width)
    slope = cbo.smoothed_gradient(BOWL, BOWL.gradient, x, alpha, width)
    np.testing.assert_allclose(consensus, x - alpha * width**2 * slope, atol=1e-8)
    h = 1e-4  # and the slope is that of the smoothed energy itself
    steps = h * np.eye(2)
    up, down = (cbo.smoothed_energy(BOWL, x[:, None] + sign * steps, alpha, width) for sign in (1, -1))
    np.testing.assert_allclose(slope, (up - down) / (2 * h), atol=1e-6)


def test_quadrature_finds_mass_far_from_the_center():
    # alpha = 1e5 with tau = 0.5: the Gibbs measure sits hundreds of widths away from the center
    alpha, tau = 1e5, 0.5
    got = cbo.mean_field_consensus(blackbox.quadratic(np.diag([1.0, 2.0])), [3.0, 3.0], alpha, np.sqrt(tau / alpha))
    np.testing.assert_allclose(got, [2.0, 1.5], atol=1e-8)


def test_monte_carlo_takes_over_beyond_two_dimensions():
    fun, x = blackbox.quadratic(np.eye(3)), np.ones(3)
    got = cbo.mean_field_consensus(fun, x, 1.0, 0.5, n_samples=200_000, seed=1)
    np.testing.assert_allclose(got, x / 1.25, atol=0.01)
    exact = 0.5 * 3 * np.log(1.25) + 0.5 * 3 / 1.25
    assert float(cbo.smoothed_energy(fun, x, 1.0, 0.5, n_samples=200_000)) == pytest.approx(exact, abs=0.01)


def test_smoothed_energy_lies_between_the_least_and_the_mean_energy(rng):
    x = rng.normal(size=(5, 2))
    smoothed = cbo.smoothed_energy(BOWL, x, 2.0, 0.4)
    mean = BOWL(x[:, None] + 0.4 * rng.normal(size=(5, 100_000, 2))).mean(1)
    assert (smoothed > 0).all()
    assert (smoothed < mean).all()


# ------------------------------------------------------------------------------------------------------ one step of CBO


def test_two_steps_by_hand():
    x = np.array([[0.0], [2.0]])
    z = [np.array([[0.5], [-1.0]]), np.array([[1.0], [0.25]])]
    drift, noise, dt, alpha = 1.0, 2.0, 0.25, 0.7
    for k in range(2):
        w = np.exp(-alpha * x[:, 0] ** 2)
        c = (w @ x[:, 0]) / w.sum()
        by_hand = [x[i, 0] - 0.25 * (x[i, 0] - c) + 2.0 * 0.5 * abs(x[i, 0] - c) * z[k][i, 0] for i in range(2)]
        step = cbo.cbo_step(x, cbo.consensus_point(x, sphere(x), alpha), z[k], drift=drift, noise=noise, dt=dt)
        np.testing.assert_allclose(step[:, 0], by_hand, atol=1e-14)
        x = step


def test_isotropic_noise_is_the_distance_times_the_normal(rng):
    x, c, z = rng.normal(size=(5, 3)), rng.normal(size=3), rng.normal(size=(5, 3))
    got = cbo.cbo_step(x, c, z, drift=0.0, noise=1.5, dt=0.04)
    expected = [xi + 1.5 * 0.2 * np.linalg.norm(xi - c) * zi for xi, zi in zip(x, z, strict=True)]
    np.testing.assert_allclose(got, expected, atol=1e-14)
    got = cbo.cbo_step(x, c, z, drift=0.0, noise=1.5, dt=0.04, noise_type="anisotropic")
    np.testing.assert_allclose(got, x + 0.3 * np.abs(x - c) * z, atol=1e-14)


def test_isotropic_and_anisotropic_agree_in_one_dimension():
    runs = [cbo.minimize_cbo(sphere, mean=[2.0], noise_type=kind, seed=3) for kind in ("isotropic", "anisotropic")]
    np.testing.assert_allclose(runs[0].trajectory, runs[1].trajectory, atol=1e-12)


def test_without_noise_the_swarm_contracts_by_one_minus_lambda_dt():
    rates = []

    def watch(state):
        away = state.particles - state.particles.mean(0)
        rates.append(np.linalg.norm(away))

    cbo.minimize_cbo(lambda x: np.zeros(x.shape[:-1]), mean=[1.0, 2.0], noise=0.0, dt=0.1, max_iter=6, seed=0, callback=watch)
    np.testing.assert_allclose(np.divide(rates[1:], rates[:-1]), 0.9, rtol=1e-12)


def test_full_drift_without_noise_collapses_on_the_consensus():
    res = cbo.minimize_cbo(sphere, mean=[1.0, 2.0], drift=10.0, dt=0.1, noise=0.0, max_iter=1, seed=0)
    np.testing.assert_allclose(res.particles, np.broadcast_to(res.x, res.particles.shape), atol=1e-14)


def test_drift_first_scales_the_noise_down(rng):
    x, c, z = rng.normal(size=(5, 3)), rng.normal(size=3), rng.normal(size=(5, 3))
    plain = cbo.cbo_step(x, c, z, drift=0.0, noise=1.0, dt=0.25) - x
    official = cbo.cbo_step(x, c, z, drift=2.0, noise=1.0, dt=0.25, drift_first=True) - (c + 0.5 * (x - c))
    np.testing.assert_allclose(official, 0.5 * plain, atol=1e-14)
    collapsed = cbo.cbo_step(x, c, z, drift=4.0, noise=1.0, dt=0.25, drift_first=True)
    np.testing.assert_allclose(collapsed, np.broadcast_to(c, (5, 3)), atol=1e-14)


@pytest.mark.parametrize("kind", ["isotropic", "anisotropic"])
def test_variance_round_a_fixed_consensus_changes_at_the_mean_field_rate(rng, kind):
    d, drift, noise, dt = 3, 1.0, 0.9, 1e-3
    x = rng.normal(size=(400_000, d))
    moved = cbo.cbo_step(x, np.zeros(d), rng.normal(size=x.shape), drift=drift, noise=noise, dt=dt, noise_type=kind)
    rate = (1 - (moved**2).sum() / (x**2).sum()) / dt
    assert rate == pytest.approx(study.contraction_rate(drift, noise, d, kind), abs=0.25)  # 4 standard errors


# --------------------------------------------------------------------------------------------------------- minimizers


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_cbo_crosses_the_canyon(seed):
    res = cbo.minimize_cbo(CANYON, mean=[8.0, 8.0], n_runs=50, seed=seed)
    assert study.success_rate(res.x) >= 0.9


def test_few_particles_do_not_cross():
    res = cbo.minimize_cbo(CANYON, mean=[8.0, 8.0], n_particles=20, n_runs=50, seed=0)
    assert study.success_rate(res.x) <= 0.5


def test_hopping_crosses_the_canyon_and_narrow_hopping_does_not():
    wide = cbo.minimize_consensus_hopping(CANYON, [8.0, 8.0], n_runs=50, seed=0)
    narrow = cbo.minimize_consensus_hopping(CANYON, [8.0, 8.0], width=0.4, n_runs=50, seed=0)
    assert study.success_rate(wide.x, radius=0.5) >= 0.85
    assert study.success_rate(narrow.x, radius=0.5) <= 0.2


def test_gradient_descent_stops_in_a_local_minimum():
    res = cbo.gradient_descent(CANYON.gradient, [8.0, 8.0])
    np.testing.assert_allclose(res.x, [2.33627, 2.46628], atol=1e-3)
    assert float(CANYON(res.x)) == pytest.approx(3.86229, abs=1e-3)


def test_langevin_mostly_stays_in_basins():
    res = cbo.langevin(CANYON.gradient, [8.0, 8.0], n_runs=50, seed=0)
    assert study.success_rate(res.x, radius=0.5) <= 0.6


@pytest.mark.parametrize("n_runs", [None, 3])
def test_shapes_and_counts(n_runs):
    lead = () if n_runs is None else (n_runs,)
    points = []

    def counted(x):
        points.append(x.shape)
        return sphere(x)

    swarm = cbo.minimize_cbo(counted, mean=[1.0, 1.0, 1.0], n_particles=11, max_iter=7, n_runs=n_runs, seed=0)
    hopping = cbo.minimize_consensus_hopping(counted, np.ones(3), n_particles=11, max_iter=7, n_runs=n_runs, seed=0)
    for res in (swarm, hopping):
        assert res.nfev == 77
        assert res.nit == 7
        assert res.x.shape == (*lead, 3)
        assert np.shape(res.fun) == lead
        assert res.trajectory.shape == (*lead, 7, 3)
        assert res.best_history.shape == (*lead, 7)
        assert res.particles.shape == (*lead, 11, 3)
        np.testing.assert_array_equal(res.trajectory[..., -1, :], res.x)
        np.testing.assert_allclose(res.fun, sphere(res.x))
    assert points.count((*lead, 11, 3)) == 14


def test_first_hopping_iterate_is_the_consensus_of_the_first_sample():
    res = cbo.minimize_consensus_hopping(CANYON, [8.0, 8.0], max_iter=1, seed=5)
    sample = np.array([8.0, 8.0]) + 0.7 * np.random.default_rng(5).standard_normal((2, 200)).T
    np.testing.assert_allclose(res.x, cbo.consensus_point(sample, CANYON(sample), 100.0), atol=1e-12)


def test_one_cbo_step_with_full_drift_and_matched_noise_has_the_spread_of_hopping(rng):
    # lambda dt = 1 and sigma ||X - c|| sqrt(dt) = width: particles on a sphere round c move to N(c, width^2 I)
    c, z = np.array([1.0, 2.0]), rng.normal(size=(500, 2))
    angles = rng.uniform(0, 2 * np.pi, 500)
    x = c + 0.5 * np.stack([np.cos(angles), np.sin(angles)], -1)
    moved = cbo.cbo_step(x, c, z, drift=4.0, noise=1.4, dt=0.25)
    np.testing.assert_allclose(moved, c + 0.5 * 1.4 * 0.5 * z, atol=1e-14)


def test_seeds_decide_everything():
    def run(seed):
        return cbo.minimize_cbo(CANYON, mean=[8.0, 8.0], max_iter=20, n_runs=2, seed=seed).trajectory

    np.testing.assert_array_equal(run(4), run(4))
    assert not np.array_equal(run(4), run(5))
    assert not np.array_equal(run(4)[0], run(4)[1])


def test_starts_from_particles_boxes_and_means(rng):
    x0 = rng.normal(size=(6, 2))
    res = cbo.minimize_cbo(sphere, x0, max_iter=1, n_runs=2, seed=0)
    np.testing.assert_allclose(res.x, np.broadcast_to(cbo.consensus_point(x0, sphere(x0), 100.0), (2, 2)))
    seen = []
    cbo.minimize_cbo(sphere, bounds=[(0, 1), (5, 6)], max_iter=1, seed=0, callback=lambda s: seen.append(s.particles))
    assert (seen[0] >= [0, 5]).all()
    assert (seen[0] <= [1, 6]).all()


def test_initial_particles_are_not_overwritten(rng):
    x0 = rng.normal(size=(6, 2))
    before = x0.copy()
    cbo.minimize_cbo(sphere, x0, max_iter=5, seed=0)
    np.testing.assert_array_equal(x0, before)


def test_callback_may_stop():
    def stop(state):
        if state.nit == 3:
            raise StopIteration

    res = cbo.minimize_cbo(sphere, mean=[1.0], callback=stop, seed=0)
    assert res.nit == 3
    assert res.nfev == 600
    assert "callback" in res.message


def test_schedules_are_asked_for_each_step():
    asked = []
    cbo.minimize_cbo(sphere, mean=[1.0], noise=lambda k: asked.append(k) or 1.0, max_iter=4, seed=0)
    assert asked == [0, 1, 2, 3]
    widths = []
    cbo.minimize_consensus_hopping(sphere, [1.0], width=lambda k: widths.append(k) or 1.0, max_iter=3, seed=0)
    assert widths == [0, 1, 2, 3]  # the last sample is drawn and not used, as in the published code
    shrinking = cbo.minimize_consensus_hopping(sphere, [2.0], width=lambda k: 0.5 * 0.95**k, alpha=np.inf, max_iter=140, seed=0)
    assert abs(shrinking.x[0]) < 2e-3


def test_forbidden_region_is_avoided():
    def half_plane(x):
        return np.where(x[..., 0] > 0.5, sphere(x), np.inf)

    res = cbo.minimize_cbo(half_plane, mean=[2.0, 0.0], seed=0)
    assert 0.5 < res.x[0] < 0.6


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "one of x0, mean and bounds .* got none"),
        ({"mean": [0.0], "x0": [1.0]}, "one of x0 and mean .* got both"),
        ({"mean": [0.0], "bounds": [(0, 1), (0, 1)]}, "one pair for each of 1 coordinates, got 2"),
        ({"mean": [0.0], "n_particles": 1}, "n_particles must be an integer at least 2, got 1"),
        ({"mean": [0.0], "alpha": -1.0}, "alpha must be a number above 0, got -1.0"),
        ({"mean": [0.0], "dt": 0.0}, "dt must be a finite number above 0, got 0.0"),
        ({"mean": [0.0], "noise": -1.0}, "noise must be a finite number at least 0, got -1.0"),
        ({"mean": [0.0], "drift": np.inf}, "drift must be a finite number"),
        ({"mean": [0.0], "max_iter": 0}, "max_iter must be an integer at least 1, got 0"),
        ({"mean": [0.0], "noise_type": "round"}, "noise_type must be one of 'isotropic', 'anisotropic', got 'round'"),
        ({"mean": [np.nan]}, "mean must be finite, got NaN"),
        ({"mean": [0.0], "std": -1.0}, "every entry of std must be at least 0"),
        ({"bounds": [(1, 0)]}, "low < high"),
        ({"x0": np.ones((1, 2))}, r"x0 must have shape .* got \(1, 2\)"),
    ],
)
def test_minimize_cbo_refuses(settings, message):
    with pytest.raises(ValueError, match=message):
        cbo.minimize_cbo(sphere, **settings)


def test_wrong_types_are_named():
    with pytest.raises(TypeError, match=r"n_particles must be an integer at least 2, got 2\.5"):
        cbo.minimize_cbo(sphere, mean=[0.0], n_particles=2.5)
    with pytest.raises(ValueError, match="width must be a finite number above 0, got 0"):
        cbo.minimize_consensus_hopping(sphere, [0.0], width=0)
    with pytest.raises(ValueError, match="x0 must be an array"):
        cbo.minimize_consensus_hopping(sphere, 0.0)


def test_a_scalar_function_is_named_with_the_shape_it_should_return():
    with pytest.raises(ValueError, match=r"for \(200, 1\) it must return \(200,\).*vectorized=False"):
        cbo.minimize_cbo(lambda x: float(np.sum(x**2)), mean=[0.0])


def test_a_nan_energy_is_refused():
    with pytest.raises(ValueError, match="fun must not return NaN: it did in step 0"):
        cbo.minimize_cbo(lambda x: np.full(x.shape[:-1], np.nan), mean=[0.0, 0.0])


def test_a_function_of_one_point_is_as_good_where_it_is_said():
    one = cbo.minimize_cbo(lambda p: float(p @ p), [1.0, 2.0], max_iter=5, vectorized=False, seed=0)
    many = cbo.minimize_cbo(sphere, mean=[1.0, 2.0], max_iter=5, seed=0)
    np.testing.assert_allclose(one.trajectory, many.trajectory)
    assert cbo.minimize_cbo(scipy.optimize.rosen, [0.5, 0.5], max_iter=3, vectorized=False, seed=0).nit == 3


def test_defaults_are_those_of_the_papers_figures():
    given = {name: p.default for name, p in inspect.signature(cbo.minimize_cbo).parameters.items()}
    assert (given["n_particles"], given["alpha"], given["drift"], given["noise"]) == (200, 100.0, 1.0, 1.6)
    assert (given["dt"], given["std"], given["max_iter"], given["noise_type"]) == (0.01, 0.5, 250, "isotropic")
    given = {name: p.default for name, p in inspect.signature(cbo.minimize_consensus_hopping).parameters.items()}
    assert (given["width"], given["alpha"], given["n_particles"], given["max_iter"]) == (0.7, 100.0, 200, 250)
    given = {name: p.default for name, p in inspect.signature(cbo.langevin).parameters.items()}
    assert (given["dt"], given["learning_rate"], given["noise"], given["max_iter"]) == (1e-3, 1.0, 10.0, 10_000)
    assert inspect.signature(cbo.gradient_descent).parameters["step"].default == 1e-3
    assert inspect.signature(cbo.central_differences).parameters["h"].default == 1e-5


def test_a_function_that_writes_into_its_argument_moves_nothing():
    def rude(x):
        x *= 0.5
        return 4 * (x**2).sum(-1)

    a = cbo.minimize_cbo(rude, mean=[1.0, 2.0], max_iter=5, seed=0)
    b = cbo.minimize_cbo(lambda x: (x**2).sum(-1), mean=[1.0, 2.0], max_iter=5, seed=0)
    np.testing.assert_allclose(a.trajectory, b.trajectory)


def test_bounds_keep_particles_inside():
    for bounds in ([(0.5, 2.0), (-3.0, 1.0)], scipy.optimize.Bounds([0.5, -3.0], [2.0, 1.0])):
        res = cbo.minimize_cbo(sphere, bounds=bounds, max_iter=60, seed=0)
        assert (res.particles >= [0.5, -3.0]).all()
        assert (res.particles <= [2.0, 1.0]).all()
        assert res.x[0] == pytest.approx(0.5, abs=1e-2)
    with pytest.raises(ValueError, match="low < high"):
        cbo.minimize_cbo(sphere, bounds=[(1, 0)])


@pytest.mark.parametrize("stop", [lambda state: state.nit == 4, lambda state: next(iter(())) if state.nit == 4 else None])
def test_a_callback_ends_the_run(stop):
    res = cbo.minimize_cbo(sphere, mean=[1.0], max_iter=9, callback=stop, seed=0)
    assert res.nit == 4
    assert res.message == "stopped by the callback"


def test_success_is_said_of_what_is_one_only():
    assert cbo.minimize_cbo(sphere, mean=[1.0, 1.0], seed=0).success
    with np.errstate(over="ignore"):
        blown = cbo.minimize_cbo(sphere, mean=np.ones(50), noise=1e6, max_iter=250, seed=0)
    assert not blown.success
    assert blown.message.startswith("diverged in step")
    assert np.isfinite(blown.best_fun)
    stuck = cbo.minimize_cbo(lambda x: sphere(x), mean=np.full(100, 3.0), alpha=1e-9, noise=0.0, max_iter=3, seed=0)
    assert not stuck.success
    assert "see best_x" in stuck.message
    ring = lambda x: np.where(sphere(x) < 1.0, np.inf, sphere(x))  # noqa: E731
    hole = cbo.minimize_cbo(ring, [[2.0, 0.0], [-2.0, 0.0], [0.0, 2.0], [0.0, -2.0]], noise=0.0, max_iter=3, seed=0)
    assert not hole.success
    assert 3.5 < hole.best_fun <= 4.0
    assert not cbo.gradient_descent(lambda x: x, [1.0], step=1e3, max_iter=500).success


def test_best_is_the_best_particle_that_was_seen():
    seen = []

    def watched(x):
        seen.append(sphere(x).min())
        return sphere(x)

    res = cbo.minimize_cbo(watched, mean=[2.0, 1.0], max_iter=20, seed=0)
    assert res.best_fun == min(seen[:-1])
    assert sphere(res.best_x) == res.best_fun


def test_energies_are_not_cut_to_the_particles_type():
    x = np.array([[0.0], [1.0]], np.float32)
    near = cbo.consensus_point(x, np.array([1e8, 1e8 + 1.0]), 10.0)
    assert float(near[0]) == pytest.approx(np.exp(-10) / (1 + np.exp(-10)), rel=1e-5)
    assert near.dtype == np.float32


# ---------------------------------------------------------------------------------------------------- the gradient side


def test_proximal_point_equals_scalar_minimization():
    tau = 0.05
    best = minimize_scalar(
        lambda y: ripple(y) + (y - 1.3) ** 2 / (2 * tau), bounds=(1.2, 1.6), method="bounded", options={"xatol": 1e-11}
    )
    got = cbo.proximal_point(lambda y: ripple(y[..., 0]), [1.3], tau, grad=lambda y: y + 4.5 * np.sin(3 * y))
    assert got[0] == pytest.approx(best.x, abs=1e-7)
    np.testing.assert_allclose(cbo.proximal_point(lambda y: ripple(y[..., 0]), [1.3], tau), got, atol=1e-6)


def test_minimizing_movement_is_implicit_gradient_descent():
    tau, res = 0.05, cbo.minimizing_movement(BOWL, [2.0, -1.5], 0.05, max_iter=5, grad=BOWL.gradient)
    path = np.vstack([[2.0, -1.5], res.trajectory])
    np.testing.assert_allclose(path[1:], path[:-1] - tau * BOWL.gradient(path[1:]), atol=1e-8)


def test_langevin_equals_its_formula():
    rng = np.random.default_rng(7)
    x = np.array([1.0, -1.0])
    for k in (1, 2, 3):
        x = x - 2.0 * BOWL.gradient(x) * 0.01 + 0.5 / np.log(k + 1) * 0.1 * rng.standard_normal(2)
    got = cbo.langevin(BOWL.gradient, [1.0, -1.0], dt=0.01, learning_rate=2.0, noise=0.5, max_iter=3, seed=7)
    np.testing.assert_allclose(got.x, x, atol=1e-14)
    assert got.trajectory.shape == (3, 2)


def test_central_differences_cost_two_evaluations_per_dimension(rng):
    seen = []

    def counted(x):
        seen.append(x.size // x.shape[-1])
        return CANYON(x)

    x = rng.uniform(-2, 8, (5, 2))
    np.testing.assert_allclose(cbo.central_differences(counted)(x), CANYON.gradient(x), atol=1e-6)
    assert sum(seen) == 5 * 4


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: cbo.proximal_point(sphere, [1.0], 0.0), "step must be a finite number above 0, got 0.0"),
        (lambda: cbo.proximal_point(sphere, [[1.0]], 1.0), r"x must have 1 dimension, got shape \(1, 1\)"),
        (lambda: cbo.langevin(lambda x: x, [1.0], dt=-1.0), "dt must be a finite number above 0, got -1.0"),
        (lambda: cbo.langevin(lambda x: x, [1.0], noise=-1.0), "noise must be a finite number at least 0"),
        (lambda: cbo.langevin(lambda x: x[..., 0], [1.0]), "grad must return the shape of its points"),
        (lambda: cbo.central_differences(sphere, 0.0), "h must be a finite number above 0"),
        (lambda: cbo.mean_field_consensus(sphere, [1.0], np.inf, 1.0), "alpha must be a finite number above 0, got inf"),
        (lambda: cbo.smoothed_energy(sphere, [1.0], 1.0, 0.0), "width must be a finite number above 0, got 0.0"),
        (lambda: study.loglog_slope([1.0, 2.0], [0.0, 1.0]), "every entry of y must be above 0"),
        (lambda: study.contraction_rate(1.0, 1.0, 2, "round"), "noise_type must be"),
    ],
)
def test_the_rest_refuses(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# --------------------------------------------------------------------------------------------- error terms of the theorem


def test_sampling_error_falls_like_one_over_root_n():
    sizes = [100, 400, 1600, 6400]
    errors = study.sampling_error(BOWL, [2.0, -1.5], 5.0, np.sqrt(0.02 / 5), sizes, n_swarms=200)
    assert study.loglog_slope(sizes, errors) == pytest.approx(-0.5, abs=0.05)


def test_temperature_error_falls_like_one_over_alpha_with_the_predicted_constant():
    tau, alphas = 0.05, np.array([100.0, 1e3, 1e4])
    errors = study.temperature_error(BOWL, BOWL.gradient, [2.0, -1.5], tau, alphas)
    assert study.loglog_slope(alphas, errors) == pytest.approx(-1.0, abs=0.01)
    y = cbo.proximal_point(BOWL, [2.0, -1.5], tau, grad=BOWL.gradient)[0]
    # Laplace: mean - mode of exp(-alpha V) is -V''' / (2 alpha V''^2), V = E + (y - x)^2 / (2 tau)
    second, third = 1 + 2.7 * np.cos(3 * y) + 1 / tau, -8.1 * np.sin(3 * y)
    np.testing.assert_allclose(errors[1:] * alphas[1:], abs(third / (2 * second**2)), rtol=2e-3)


def test_implicit_and_explicit_steps_differ_to_second_order():
    steps = [0.02, 0.01, 0.005]
    errors = study.implicit_error(BOWL, BOWL.gradient, [2.0, -1.5], steps)
    assert study.loglog_slope(steps, errors) == pytest.approx(2.0, abs=0.1)


def test_hopping_gap_of_particles_is_its_closed_form(rng):
    width, lam, s = 0.2, 0.7, 0.6
    flat = study.hopping_gap(lambda x: np.zeros(x.shape[:-1]), [1.0, 2.0], 1.0, width, lam, s, n_particles=2000, n_swarms=200)
    r = width * np.linalg.norm(rng.normal(size=(1_000_000, 2)), axis=1)  # distance from the consensus
    expected = np.sqrt((1 - lam) ** 2 * (r**2).mean() + 2 * ((s * r - width) ** 2).mean())
    assert flat[0] == pytest.approx(expected, rel=0.01)


def test_hopping_gap_equals_a_loop_over_swarms():
    alpha, width, lam, s, (n, m) = 5.0, 0.2, 0.6, 0.5, (30, 4)
    rng = np.random.default_rng(9)
    swarms = np.array([2.0, -1.5]) + width * rng.standard_normal((m, n, 2))
    normals, gaps = rng.standard_normal((m, n, 2)), []
    for x, z in zip(swarms, normals, strict=True):
        c = softmax(-alpha * BOWL(x)) @ x
        moved = c + (1 - lam) * (x - c) + s * np.linalg.norm(x - c, axis=1)[:, None] * z
        hopped = c + width * z
        ends = [softmax(-alpha * BOWL(y)) @ y for y in (moved, hopped)]
        gaps.append([((moved - hopped) ** 2).sum(1).mean(), ((ends[0] - ends[1]) ** 2).sum()])
    got = study.hopping_gap(BOWL, [2.0, -1.5], alpha, width, lam, s, n_particles=n, n_swarms=m, seed=9)
    np.testing.assert_allclose(got, np.sqrt(np.mean(gaps, axis=0)), rtol=1e-10)


def test_success_rate_uses_radius_and_norm():
    points = [[0.2, 0.2], [0.0, 0.1], [5.0, 0.0]]
    assert study.success_rate(points) == pytest.approx(1 / 3)
    assert study.success_rate(points, order=np.inf) == pytest.approx(2 / 3)
    assert study.success_rate(points, minimizer=[5.0, 0.0], radius=0.1) == pytest.approx(1 / 3)


# ----------------------------------------------------------------------------------------------------------- the rivals


def test_first_hits_counts_whole_steps():
    res = cbo.minimize_cbo(sphere, mean=[3.0], n_particles=10, max_iter=200, n_runs=4, seed=0)
    hits = study.first_hits(res, 5.0)
    assert np.isfinite(hits).any()
    for run, hit in zip(res.best_history, hits, strict=True):
        steps = next((k for k, e in enumerate(run) if e <= 5.0), None)
        assert hit == (np.inf if steps is None else 10 * (steps + 1))
    assert np.isinf(study.first_hits(res, -1.0)).all()


def test_restarts_find_the_global_minimum_and_count_honestly():
    seen = []

    def counted(x):
        seen.append(float(CANYON(x)))
        return CANYON(x)

    hit = study.race_restarts(counted, [8.0, 8.0], 4.0, target=0.25, seed=0)
    assert hit == len(seen)
    assert seen[-1] <= 0.25 < min(seen[:-1])
    assert np.isinf(study.race_restarts(CANYON, [8.0, 8.0], 0.1, target=0.25, budget=200, seed=0))


def test_cma_reaches_the_minimum_without_touching_global_randomness():
    pytest.importorskip("cma")
    state = np.random.get_state()[1].copy()  # noqa: NPY002 - what the peer must leave alone
    hits = [study.race_cma(sphere, [1.0, 1.0], 0.5, target=1e-3, budget=5000, seed=1) for _ in range(2)]
    assert 10 < hits[0] == hits[1] < 1000
    assert np.isinf(study.race_cma(sphere, [1.0, 1.0], 0.5, target=-1.0, budget=500, seed=1))
    np.testing.assert_array_equal(state, np.random.get_state()[1])  # noqa: NPY002


def test_tuning_takes_the_least_geometric_mean_and_names_edges():
    hits = {(1.0, 5.0): [4, 9], (1.0, 6.0): [1, np.inf], (2.0, 5.0): [5, 5], (2.0, 6.0): [50, 50], (3.0, 5.0): [36, 1]}
    best, edges, scores = study.tune(lambda a, b: hits.get((a, b), [90]), {"a": [1, 2, 3], "b": [5, 6]}, budget=100.0)
    assert best == {"a": 2.0, "b": 5.0}
    assert edges == ["b"]
    np.testing.assert_allclose(scores, [[6, 10], [5, 50], [6, 90]])
    assert study.tune(lambda a: [a], {"a": [7.0]}, budget=10.0)[1] == []
    with pytest.raises(ValueError, match="grid must name at least one setting"):
        study.tune(lambda: [1.0], {}, budget=10.0)


def test_race_of_swarms_counts_what_was_evaluated():
    seen = []

    def counted(x):
        seen.append(sphere(x))
        return sphere(x)

    hits = study.race_swarm(counted, [3.0, 3.0], target=0.5, n_particles=20, dt=0.1, noise=1.0, n_runs=4, budget=2000)
    assert (hits % 20 == 0).all()
    for run, hit in enumerate(hits):
        steps = int(hit) // 20
        assert seen[steps - 1][run].min() <= 0.5
        assert all(e[run].min() > 0.5 for e in seen[: steps - 1])
    assert len(seen) == hits.max() // 20 + 1  # it ends when all have arrived; one evaluation of the last consensus
    never = study.race_swarm(sphere, [3.0], target=-1.0, n_particles=10, dt=0.1, noise=1.0, budget=95)
    assert np.isinf(never).all()
    with pytest.raises(ValueError, match="n_particles must be at most the budget of 5 evaluations, got 10"):
        study.race_swarm(sphere, [3.0], target=1.0, n_particles=10, dt=0.1, noise=1.0, budget=5)


def test_downhill_is_the_share_of_a_path_along_the_negative_gradient(rng):
    small = cbo.gradient_descent(BOWL.gradient, [2.0, -1.5], step=1e-4, max_iter=50).trajectory
    assert study.downhill(small, BOWL.gradient) == pytest.approx(1.0, abs=1e-9)
    assert study.downhill(small[::-1], BOWL.gradient) == pytest.approx(-1.0, abs=1e-6)
    walk = rng.normal(size=(50, 400, 2)).cumsum(1)
    assert abs(study.downhill(walk, lambda x: np.broadcast_to([1.0, 0.0], x.shape)).mean()) < 0.05
    path = rng.normal(size=(5, 2))
    g = BOWL.gradient(path[:-1])
    moves = np.diff(path, axis=0)
    expected = sum(-m @ v / np.linalg.norm(v) for m, v in zip(moves, g, strict=True)) / np.linalg.norm(moves, axis=1).sum()
    assert study.downhill(path, BOWL.gradient) == pytest.approx(expected)
    assert study.downhill(np.ones((3, 2)), BOWL.gradient) == 0.0


@pytest.mark.parametrize("kick", [0.4, 0.7])
def test_the_consensus_of_cbo_goes_down_the_gradient_in_the_theorems_regime(kick):
    alpha, tau = 70.0, 0.02
    how = {"mean": [2.0, -1.5], "std": np.sqrt(tau / alpha), "alpha": alpha, "drift": 1.0, "dt": 1.0, "noise": kick}
    path = cbo.minimize_cbo(BOWL, n_particles=800, max_iter=40, n_runs=10, seed=0, **how).trajectory
    assert study.downhill(path, BOWL.gradient).mean() > 0.8


@pytest.mark.parametrize("kind", ["isotropic", "anisotropic"])
def test_steps_equal_those_of_cbxpy(rng, kind):
    pytest.importorskip("cbx")
    x0, normals = rng.normal(3, 1, (4, 20, 2)), rng.normal(size=(6, 4, 20, 2))
    feed = iter(normals)
    peer = study.cbx_consensus(BOWL, x0, alpha=30.0, max_iter=6, noise_type=kind, sampler=lambda size: next(feed))
    x = x0
    for z in normals:
        c = cbo.consensus_point(x, BOWL(x), 30.0)
        signs = np.sign(x - c[:, None, :]) if kind == "anisotropic" else 1.0  # the peer takes x - c for |x - c|: the same law
        x = cbo.cbo_step(x, c, z * signs, drift=1.0, noise=1.6, dt=0.01, noise_type=kind)
    np.testing.assert_allclose(peer, c, atol=1e-12)


def test_cbxpy_crosses_the_canyon_too(rng):
    pytest.importorskip("cbx")
    points = study.cbx_consensus(CANYON, rng.normal(8, 0.5, (20, 200, 2)), seed=0)
    assert study.success_rate(points) >= 0.8


CALLS = {
    "cma": lambda: study.race_cma(sphere, [1.0], 1.0, target=0.1),
    "cbx": lambda: study.cbx_consensus(sphere, np.ones((1, 3, 2))),
}


@pytest.mark.parametrize("package", ["cma", "cbx"])
def test_a_missing_peer_is_named(monkeypatch, package):
    monkeypatch.setattr("importlib.import_module", lambda name: builtins.__import__("no_such_" + name))
    with pytest.raises(ImportError, match=f"needs the package '{package}': pip install {package}"):
        CALLS[package]()


# -------------------------------------------------------------------------------------------------- models without gradient


def test_softmax_energy_equals_torch_cross_entropy(rng):
    X, y = rng.normal(size=(30, 4)), np.arange(30) % 3
    energy = study.SoftmaxEnergy(X, y)
    params = rng.normal(size=(2, 6, energy.dim))
    W = torch.tensor(params[1, 2].reshape(5, 3))
    logits = torch.tensor(X) @ W[:4] + W[4]
    expected = torch.nn.functional.cross_entropy(logits, torch.tensor(y))
    assert energy(params)[1, 2] == pytest.approx(float(expected), abs=1e-12)
    assert energy(params).shape == (2, 6)
    assert energy.accuracy(params[1, 2], X, y) == pytest.approx(float((logits.argmax(1) == torch.tensor(y)).double().mean()))


def test_minibatches_partition_each_epoch():
    energy = study.SoftmaxEnergy(np.eye(10), np.arange(10) % 2, n_batches=3, seed=0)
    for _ in range(2):
        assert sorted(np.concatenate([energy.batch() for _ in range(3)])) == list(range(10))


def test_sgd_follows_the_torch_gradient(rng):
    X, y = rng.normal(size=(30, 4)), np.arange(30) % 3
    got = study.sgd(study.SoftmaxEnergy(X, y), learning_rate=0.3, max_iter=3)
    W = torch.zeros(5, 3, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SGD([W], lr=0.3)
    for _ in range(3):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(torch.tensor(X) @ W[:4] + W[4], torch.tensor(y)).backward()
        optimizer.step()
    np.testing.assert_allclose(got, W.detach().numpy().ravel(), atol=1e-12)


def test_softmax_energy_refuses():
    with pytest.raises(ValueError, match=r"y must have shape \(2\), got \(3,\)"):
        study.SoftmaxEnergy(np.eye(2), np.zeros(3, dtype=int))
    with pytest.raises(ValueError, match="n_batches must be at most the number of rows, 2, got 3"):
        study.SoftmaxEnergy(np.eye(2), np.zeros(2, dtype=int), n_batches=3)
    with pytest.raises(ValueError, match="learning_rate must be a finite number above 0"):
        study.sgd(study.SoftmaxEnergy(np.eye(2), np.arange(2)), learning_rate=0.0)


def test_torch_optimizer_takes_the_step_of_the_array_version():
    w = torch.nn.Parameter(torch.tensor([1.0, -2.0], dtype=torch.float64))
    optimizer = cbo.CBO([w], n_particles=8, alpha=3.0, noise=0.7, dt=0.2, generator=torch.Generator().manual_seed(2))
    replay = torch.Generator().manual_seed(2)
    # the initial particles: the paper's spread, 0.5, round the weights at the first step
    x = w.detach().numpy() + 0.5 * torch.randn((8, 2), generator=replay, dtype=torch.float64).numpy()
    least = optimizer.step(lambda: (w**2).sum())
    z = torch.randn((8, 2), generator=replay, dtype=torch.float64).numpy()
    c = cbo.consensus_point(x, sphere(x), 3.0)
    np.testing.assert_allclose(w.detach().numpy(), c, atol=1e-14)
    expected = cbo.cbo_step(x, c, z, drift=1.0, noise=0.7, dt=0.2, noise_type="anisotropic")
    np.testing.assert_allclose(optimizer.particles.numpy(), expected, atol=1e-14)
    assert float(least) == pytest.approx(sphere(x).min())
    assert w.grad is None


def test_torch_optimizer_refuses():
    w = torch.nn.Parameter(torch.ones(2))
    with pytest.raises(ValueError, match="n_particles must be an integer at least 2, got 1"):
        cbo.CBO([w], n_particles=1)
    with pytest.raises(ValueError, match="takes one parameter group, got a second"):
        cbo.CBO([{"params": [w]}, {"params": [torch.nn.Parameter(torch.ones(1))]}])
    with pytest.raises(ValueError, match="needs a closure"):
        cbo.CBO([w]).step()
    with pytest.raises(ValueError, match="the closure gave NaN"):
        cbo.CBO([w]).step(lambda: torch.tensor(float("nan")))
    with pytest.raises(ValueError, match="noise_type must be"):
        cbo.CBO([w], noise_type="round")


def loss_of(w):
    return lambda: (w.double() ** 2).sum()


def test_torch_optimizer_leaves_frozen_parameters_alone():
    frozen, w = torch.nn.Parameter(torch.full((3,), 7.0), requires_grad=False), torch.nn.Parameter(torch.ones(2))
    optimizer = cbo.CBO([frozen, w], n_particles=5, generator=torch.Generator().manual_seed(0))
    assert optimizer.particles is None
    optimizer.step(lambda: ((frozen + w[0]) ** 2).sum())
    assert torch.equal(frozen, torch.full((3,), 7.0))
    assert optimizer.particles.shape == (5, 2)
    with pytest.raises(ValueError, match="no parameter that requires a gradient"):
        cbo.CBO([frozen]).step(lambda: 1.0)
    w.requires_grad_(False)
    frozen.requires_grad_(True)
    optimizer.step(lambda: (frozen**2).sum())
    assert optimizer.particles.shape == (5, 3)


def test_torch_optimizer_starts_from_weights_that_are_loaded_after_it_was_made():
    w = torch.nn.Parameter(torch.full((4,), 9.0, dtype=torch.float64))
    optimizer = cbo.CBO([w], std=0.1, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        w.copy_(torch.zeros(4))
    optimizer.step(loss_of(w))
    assert (w**2).sum() < 0.1
    assert optimizer.particles.abs().max() < 1.0


def test_torch_optimizer_refuses_a_group_that_is_added_later():
    optimizer = cbo.CBO([torch.nn.Parameter(torch.ones(2))])
    with pytest.raises(ValueError, match="takes one parameter group, got a second"):
        optimizer.add_param_group({"params": [torch.nn.Parameter(torch.ones(1))]})
    assert len(optimizer.param_groups) == 1


def test_torch_optimizer_takes_a_closure_with_backward():
    def run(backward):
        w = torch.nn.Parameter(torch.ones(2, dtype=torch.float64))
        optimizer = cbo.CBO([w], n_particles=8, generator=torch.Generator().manual_seed(1))

        def closure():
            optimizer.zero_grad()
            loss = (w**2).sum()
            if backward:
                loss.backward()
            return loss

        for _ in range(3):
            least = optimizer.step(closure)
        assert not least.requires_grad
        return w.detach()

    assert torch.equal(run(True), run(False))


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, None])
def test_torch_optimizer_keeps_the_consensus_when_a_step_does_not_end(error):
    w = torch.nn.Parameter(torch.ones(2, dtype=torch.float64))
    optimizer = cbo.CBO([w], n_particles=8, generator=torch.Generator().manual_seed(1))
    optimizer.step(loss_of(w))
    consensus, swarm, calls = w.detach().clone(), optimizer.particles.clone(), []

    def breaks():
        calls.append(1)
        if len(calls) == 4:
            if error is None:
                return torch.tensor(float("nan"))
            raise error
        return (w**2).sum()

    with pytest.raises(error or ValueError):
        optimizer.step(breaks)
    assert torch.equal(w, consensus)
    assert torch.equal(optimizer.particles, swarm)
    optimizer.step(loss_of(w))
    assert torch.isfinite(w).all()


def test_torch_optimizer_refuses_settings_that_were_changed_to_nonsense():
    w = torch.nn.Parameter(torch.ones(2))
    with pytest.raises(ValueError, match="alpha must be a finite number above 0, got inf"):
        cbo.CBO([w], alpha=np.inf)
    optimizer = cbo.CBO([w])
    optimizer.step(loss_of(w))
    before = w.detach().clone()
    optimizer.param_groups[0]["alpha"] = float("inf")
    with pytest.raises(ValueError, match="alpha must be a finite number above 0, got inf"):
        optimizer.step(loss_of(w))
    assert torch.equal(w, before)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_torch_optimizer_resumes_where_it_stopped(dtype):
    def fresh(seed):
        w = torch.nn.Parameter(torch.ones(3, dtype=dtype))
        return w, cbo.CBO([w], n_particles=6, generator=torch.Generator().manual_seed(seed))

    w, optimizer = fresh(0)
    for _ in range(3):
        optimizer.step(loss_of(w))
    saved = pickle.loads(pickle.dumps(optimizer.state_dict()))
    other, resumed = fresh(5)
    with torch.no_grad():
        other.copy_(w)
    resumed.load_state_dict(saved)
    resumed.generator.set_state(optimizer.generator.get_state())
    assert resumed.particles.dtype == optimizer.particles.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    for _ in range(3):
        optimizer.step(loss_of(w))
        resumed.step(loss_of(other))
    assert w.dtype == dtype
    assert torch.equal(w, other)
    assert torch.equal(resumed.particles, optimizer.particles)


def test_torch_optimizer_takes_losses_as_large_as_they_come():
    w = torch.nn.Parameter(torch.ones(2, dtype=torch.float64))
    optimizer = cbo.CBO([w], n_particles=6, std=0.1, generator=torch.Generator().manual_seed(0))
    optimizer.step(lambda: torch.tensor(1.7e308, dtype=torch.float64))  # all the same: their mean
    assert torch.isfinite(w).all()
    assert (w - 1).abs().max() < 0.3


def test_torch_optimizer_gives_an_infinite_loss_no_weight():
    w, calls = torch.nn.Parameter(torch.ones(2, dtype=torch.float64)), []
    optimizer = cbo.CBO([w], n_particles=6, alpha=1e-9, generator=torch.Generator().manual_seed(0))

    def closure():
        calls.append(w.detach().clone())
        return torch.tensor(float("inf") if len(calls) == 2 else 1.0)

    optimizer.step(closure)
    np.testing.assert_allclose(w.detach(), torch.stack(calls[:1] + calls[2:]).mean(0), rtol=1e-12)


def test_defaults_of_the_torch_optimizer():
    group = cbo.CBO([torch.nn.Parameter(torch.ones(1))]).param_groups[0]
    names = ("n_particles", "alpha", "drift", "noise", "dt", "std", "noise_type")
    assert [group[name] for name in names] == [100, 50.0, 1.0, 1.0, 0.1, 0.5, "anisotropic"]


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = cbo.nothing


def test_torch_optimizer_pickles_with_its_generator():
    w = torch.nn.Parameter(torch.ones(2, dtype=torch.float64))
    optimizer = cbo.CBO([w], generator=torch.Generator().manual_seed(3))
    optimizer.step(lambda: (w**2).sum())
    again = pickle.loads(pickle.dumps(optimizer))
    other = again.param_groups[0]["params"][0]
    optimizer.step(lambda: (w**2).sum())
    again.step(lambda: (other**2).sum())
    assert torch.equal(w, other)


@pytest.mark.parametrize("answer", [lambda w: None, lambda w: w, lambda w: torch.zeros(0)])
def test_torch_optimizer_names_a_closure_without_a_number(answer):
    w = torch.nn.Parameter(torch.ones(2))
    opt = cbo.CBO([w], generator=torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match="closure must return the loss"):
        opt.step(lambda: answer(w))
    assert w.tolist() == [1.0, 1.0]
    assert torch.isfinite(opt.step(lambda: (w**2).sum()[None]))  # one number, whatever its shape


def test_anisotropic_noise_serves_more_dimensions_than_isotropic():
    """Rastrigin in ten dimensions: isotropic noise agrees too early, or with more of it the mean square grows."""
    how = {"mean": np.full(10, 3.0), "std": 2.0, "max_iter": 800, "n_runs": 6, "seed": 0}
    energy = {
        (kind, noise): cbo.minimize_cbo(blackbox.rastrigin(10), noise=noise, noise_type=kind, **how).fun.mean()
        for kind, noise in (("anisotropic", 5.1), ("isotropic", 0.4), ("isotropic", 1.2))
    }
    assert 4 * energy.pop(("anisotropic", 5.1)) < min(energy.values())


def test_half_precision_particles_do_not_stall():
    x = np.ones((100_000, 1), np.float16)
    found = cbo.consensus_point(x, np.zeros(len(x)), 10.0)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, 1, atol=1e-4)
