"""Schedules, bounds and refinement: exact small cases first, each against an oracle of its own."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import check_grad, linprog, minimize_scalar

from lib.gradient.lr_refinement import (
    SCHEDULES,
    bound_steps,
    bound_weights,
    last_iterate,
    later,
    optimal_steps,
    optimal_weights,
    refine_schedule,
    smooth_norms,
    value_coefficients,
    weights_to_schedule,
)
from lib.gradient.lr_refinement.bounds import _bound_and_gradient
from lib.gradient.lr_refinement.study import (
    REFINEMENTS,
    SYNTHETIC_NORMS,
    MaxAffine,
    best_worst_case,
    synthetic_norms,
    worst_case,
)
from lib.gradient.lr_refinement.study.synthetic import SYNTHETIC_KNOTS


@pytest.fixture
def rng():
    return np.random.default_rng(5)


# Schedules from weights


def test_equal_weights_give_linear_decay():
    np.testing.assert_allclose(weights_to_schedule(np.ones(4)), [0.75, 0.5, 0.25, 0], atol=1e-15)
    np.testing.assert_allclose(refine_schedule(np.ones(4)), [1, 2 / 3, 1 / 3, 0], atol=1e-15)


def test_schedule_is_its_definition(rng):
    w = rng.exponential(size=30)
    expected = [w[t] * sum(w[t + 1 :]) / sum(w) for t in range(30)]
    np.testing.assert_allclose(weights_to_schedule(w), expected, rtol=1e-13)


def test_unnormalized_rates_divide_by_the_total_not_by_the_last_weight():
    np.testing.assert_allclose(weights_to_schedule([1, 0.25]), [0.2, 0], rtol=1e-15)
    np.testing.assert_allclose(refine_schedule([1, 2], power=2, normalize=False), [0.2, 0], rtol=1e-15)
    np.testing.assert_allclose(refine_schedule([1, 2], power=2), [1, 0])


def test_weights_may_be_tensors_lists_and_very_small():
    expected = weights_to_schedule([1, 2, 3])
    np.testing.assert_allclose(weights_to_schedule(torch.tensor([1, 2, 3])), expected)
    np.testing.assert_allclose(weights_to_schedule(np.array([1, 2, 3]) * 1e-200) * 1e200, expected, rtol=1e-14)


@pytest.mark.parametrize(
    ("w", "message"),
    [
        ([1], "at least 2"),
        ([[1, 2]], "1 dimension"),
        ([1, -2, 1], "-2.0 at index 1"),
        ([1, np.nan], "nan at index 1"),
        ([np.inf, 1], "inf at index 0"),
        ([1, 0], "last weight"),
    ],
)
def test_bad_weights_are_named(w, message):
    with pytest.raises(ValueError, match=message):
        weights_to_schedule(w)


# The theorem


@pytest.mark.parametrize("n_steps", [2, 7, 50])
def test_coefficients_telescope(rng, n_steps):
    w = rng.exponential(size=n_steps)
    expected = np.append(-w[:-1], w[:-1].sum())
    np.testing.assert_allclose(value_coefficients(w), expected, rtol=1e-11, atol=1e-12)


def test_distance_of_the_two_sequences_is_the_abel_sum(rng):
    """Steps 1 and 2 of the proof, for arbitrary moves of the learner."""
    n_steps, dim = 20, 3
    w, moves = rng.exponential(size=n_steps), rng.normal(size=(n_steps, dim))
    run = last_iterate(np.zeros_like, np.zeros(dim), w, learner=lambda z, g, t: z + moves[t])
    c = np.cumsum(w)[:-1] / later(w)[:-1]
    for t in range(n_steps):
        first = sum((c[s] * (run.x[s + 1] - run.x[s]) for s in range(t)), np.zeros(dim))
        second = sum(((c[s] - (c[s - 1] if s else 0)) * (run.x[t] - run.x[s]) for s in range(t)), np.zeros(dim))
        np.testing.assert_allclose(run.z[t] - run.x[t], first, atol=1e-12 * np.abs(moves).sum())
        np.testing.assert_allclose(first, second, atol=1e-10)


def test_default_learner_makes_plain_sgd(rng):
    problems = MaxAffine(4, 3, 5, rng)
    w = rng.exponential(size=12)
    run = last_iterate(problems.subgradient, rng.normal(size=(4, 3)), w)
    x, eta = run.x[0], weights_to_schedule(w)
    for t in range(12):
        np.testing.assert_allclose(run.x[t], x, atol=1e-12)
        x = x - eta[t] * problems.subgradient(x)


def test_bound_is_never_violated(rng):
    problems = MaxAffine(60, 4, 8, rng)
    u, best = problems.minimizers()
    for w in (rng.exponential(size=20), rng.pareto(1.0, size=20) + 1e-3, np.ones(20), np.linspace(1, 0.01, 20)):
        x1 = u + rng.normal(size=u.shape)
        run = last_iterate(problems.subgradient, x1, w)
        gap = problems.value(run.x[-1]) - best
        regret = np.einsum("t,tpd,tpd->p", w, run.g, run.z - u) / w.sum()
        assert (gap >= -1e-9).all()
        assert (gap <= regret + 1e-9).all()
        for p in range(60):
            norms, D = np.linalg.norm(run.g[:, p], axis=1), np.linalg.norm(x1[p] - u[p])
            assert regret[p] <= bound_weights(w, norms, D) * (1 + 1e-12)


def test_minimizers_of_max_affine_agree_with_a_dual_program(rng):
    problems = MaxAffine(5, 2, 6, rng)
    x, values = problems.minimizers()
    np.testing.assert_allclose(problems.value(x), values, atol=1e-9)
    for p in range(5):  # max b'lambda over convex combinations of slopes that vanish
        A = np.vstack([problems.slopes[p].T, np.ones(6)])
        dual = linprog(-problems.offsets[p], A_eq=A, b_eq=[0, 0, 1], bounds=(0, None), method="highs")
        assert -dual.fun == pytest.approx(values[p], abs=1e-9)


def test_bad_problem_sizes_are_refused(rng):
    with pytest.raises(ValueError, match="pieces must be an integer at least 2, got 1"):
        MaxAffine(1, 1, 1, rng)


def test_functions_of_the_user_get_copies_and_must_answer_rightly():
    def greedy(x):
        x[:] = 7  # writes into its argument
        return np.ones_like(x)

    run = last_iterate(greedy, [0.0], [1, 1])
    np.testing.assert_allclose(run.x[:, 0], [0, -0.5])
    buffer = np.zeros(1)

    def reusing(x):
        buffer[:] = x
        return buffer

    assert last_iterate(reusing, [1.0], [0.5, 0.5]).g.ravel().tolist() == [1.0, 0.75]
    with pytest.raises(ValueError, match="x1 must be finite"):
        last_iterate(np.sign, [np.nan], [1, 1])
    with pytest.raises(ValueError, match=r"oracle must answer with shape \(1,\), got \(2,\) at step 0"):
        last_iterate(lambda x: np.ones(2), [1.0], [1, 1])
    with pytest.raises(ValueError, match="oracle's answer at step 1 is not finite"):
        last_iterate(lambda x: np.where(x == 1, 1, np.nan), [1.0], [1, 1])


# Bounds


def test_optimal_weights_attain_their_value_and_nothing_beats_them(rng):
    G, D = rng.uniform(0.1, 10, size=40), 3.0
    w = optimal_weights(G, D)
    value = bound_weights(w, G, D)
    assert value == pytest.approx(D / math.sqrt((G**-2.0).sum()), rel=1e-12)
    for _ in range(200):
        assert bound_weights(w * np.exp(rng.normal(scale=0.3, size=40)), G, D) > value


def test_worst_case_weights_give_one_over_root_T():
    np.testing.assert_allclose(optimal_weights(np.full(16, 2.0), 3.0), 3 / (2 * 4), rtol=1e-14)
    assert bound_weights(np.full(16, 3 / 8), 2.0, 3.0) == pytest.approx(3 * 2 / 4)


def test_bounds_stay_in_range_or_say_so():
    assert np.isfinite(optimal_weights([1e-100, 1e200])).all()
    assert bound_weights([1e-200, 1e-200], 1.0, D=1e-200) == pytest.approx(7.5e-201)
    assert bound_weights([1e-150] * 4, 1e150) == pytest.approx(5.0e149 / 4 + 5e149)
    assert bound_steps([1e-170, 1e-170], 1e170, D=1.0) == pytest.approx(bound_steps([1, 1], 1.0) * 1e170)
    assert optimal_steps([1e150, 2e150]).fun == pytest.approx(optimal_steps([1, 2]).fun * 1e150)
    for call in (lambda: bound_weights([1e-320, 0], 1.0), lambda: bound_steps([1e200], 1e200), lambda: later([1e308, 1e308])):
        with pytest.raises(ValueError, match="float64"):
            call()


def paper_bound(steps, G, D):
    """The classical bound, term by term."""
    T = len(steps)
    L = [sum(steps[k:]) for k in range(T)]
    S = [sum((steps[t] * G[t]) ** 2 for t in range(k, T)) for k in range(T)]
    tail = sum(steps[k] / L[k + 1] * S[k] / L[k] for k in range(T - 1))
    return D**2 / (2 * L[0]) + S[0] / (2 * L[0]) + tail / 2


def test_bound_of_steps_is_the_classical_one(rng):
    for T in (1, 2, 9):
        steps, G = rng.exponential(size=T), rng.exponential(size=T)
        assert bound_steps(steps, G, 1.7) == pytest.approx(paper_bound(steps, G, 1.7), rel=1e-12)


def test_bound_of_steps_holds_on_random_problems(rng):
    problems = MaxAffine(40, 3, 6, rng)
    u, best = problems.minimizers()
    steps = rng.uniform(0.05, 0.6, size=15)
    x1 = x = u + rng.normal(size=u.shape)
    grads = []
    for step in steps:
        last = x
        grads.append(problems.subgradient(x))
        x = x - step * grads[-1]
    norms, D = np.linalg.norm(grads, axis=2), np.linalg.norm(x1 - u, axis=1)
    for p in range(40):
        assert problems.value(last)[p] - best[p] <= bound_steps(steps, norms[:, p], D[p]) + 1e-9


@pytest.mark.parametrize(("name", "expected"), [("linear", 2.006), ("flat", 2.913), ("cosine", 2.063), ("inverse_sqrt", 2.570)])
def test_best_scaled_bounds_of_schedules(name, expected):
    factors = SCHEDULES[name](1000)
    best = minimize_scalar(
        lambda log: bound_steps(np.exp(log) * factors), bounds=(-8, 3), method="bounded", options={"xatol": 1e-8}
    )
    assert best.fun * math.sqrt(1000) == pytest.approx(expected, abs=8e-4)


def test_order_flips_for_short_runs():
    def value(name):
        scales = np.geomspace(0.01, 10, 600)
        return min(bound_steps(scale * SCHEDULES[name](10)) for scale in scales) * math.sqrt(10)

    assert value("flat") == pytest.approx(1.957, abs=2e-3)
    assert value("linear") > value("flat") + 0.1
    steps = np.geomspace(0.01, 10, 600)
    unit = 1 - np.arange(10) / 10  # the same decay with a last step that is not 0
    assert min(bound_steps(s * unit) for s in steps) * math.sqrt(10) == pytest.approx(2.117, abs=2e-3)


def test_zero_steps_at_the_end_bound_where_the_run_stops():
    expected = bound_steps([0.5, 0.2, 0.2], [1, 2, 3])
    assert bound_steps([0.5, 0.2, 0.0], [1, 2, 3]) == expected
    assert bound_steps([0.5, 0.2, 0.0, 0.0], [1, 2, 3, 9]) == expected


def test_gradient_of_the_bound_is_right(rng):
    steps, G = rng.uniform(0.1, 1, size=12), rng.uniform(0.5, 2, size=12)
    error = check_grad(lambda e: _bound_and_gradient(e, G, 1.3)[0], lambda e: _bound_and_gradient(e, G, 1.3)[1], steps)
    assert error < 1e-6


def test_optimal_steps_beat_every_schedule_and_scale_rightly(rng):
    G = np.ones(60)
    result = optimal_steps(G)
    assert result.fun == pytest.approx(bound_steps(result.x), rel=1e-12)
    scales = np.geomspace(0.01, 3, 60)
    for name in SCHEDULES:
        assert result.fun < min(bound_steps(s * SCHEDULES[name](60)) for s in scales)
    scaled = optimal_steps(5 * G, 3.0)
    assert scaled.fun == pytest.approx(15 * result.fun, rel=1e-9)
    np.testing.assert_allclose(scaled.x, result.x * 3 / 5, rtol=1e-6)
    assert np.abs(result.jac[1:-1]).max() < 1e-4


def test_bounds_name_bad_input():
    with pytest.raises(ValueError, match="3 steps, 2 norms"):
        bound_steps([1, 1, 1], [1, 1])
    with pytest.raises(ValueError, match="are all 0"):
        bound_steps([0, 0])
    with pytest.raises(ValueError, match="are all 0"):
        bound_weights([0, 0], 1.0)
    with pytest.raises(ValueError, match="D must be a finite number above 0"):
        optimal_weights([1, 1], 0)
    with pytest.raises(ValueError, match="G has the norm 0 at index 1"):
        optimal_steps([1, 0, 2])


# Refinement


@pytest.mark.parametrize(("power", "expected"), [(2, [0.45, 1, 0.2, 0]), (1, [5 / 6, 1, 1 / 3, 0])], ids=["sgd", "adam"])
def test_worked_example(power, expected):
    np.testing.assert_allclose(refine_schedule([2, 1, 1, 2], power), expected, atol=1e-15)


@pytest.mark.parametrize("tau", [0.01, 0.1, 0.5, 1.0, None])
def test_constant_norms_give_linear_decay_whatever_the_smoothing(tau):
    np.testing.assert_allclose(refine_schedule(np.full(200, 7.0), tau=tau), 1 - np.arange(200) / 199, atol=1e-12)


def test_scale_of_the_norms_does_not_matter(rng):
    G = rng.exponential(size=100) + 0.1
    for scale in (1e-150, 1e-3, 1e150):
        np.testing.assert_allclose(refine_schedule(scale * G), refine_schedule(G), rtol=1e-10)


def test_smoothing_is_a_median_with_the_end_mirrored_and_the_start_repeated(rng):
    G = rng.exponential(size=50)
    width, half = 11, 5
    assert width == 2 * int(0.22 * 50 / 2) + 1
    line = np.concatenate([np.full(half, G[0]), G, G[-2 : -2 - half : -1]])
    expected = [np.median(line[t : t + width]) for t in range(50)]
    np.testing.assert_array_equal(smooth_norms(G, tau=0.22), expected)


def test_padding_at_the_start_is_stated(rng):
    G = rng.exponential(size=50)
    line = np.concatenate([G[5:0:-1], G, G[-2:-7:-1]])
    expected = [np.median(line[t : t + 11]) for t in range(50)]
    np.testing.assert_array_equal(smooth_norms(G, tau=0.22, start="reflect"), expected)
    G = np.append(9.0, np.ones(99))  # one large first norm
    assert refine_schedule(G, 2).argmax() > 0
    np.testing.assert_allclose(refine_schedule(G, 2, start="reflect"), 1 - np.arange(100) / 99, atol=1e-12)


def test_defaults_are_those_of_the_paper():
    import inspect

    refine = inspect.signature(refine_schedule).parameters
    assert (refine["power"].default, refine["tau"].default, refine["start"].default) == (2, 0.1, "edge")
    assert inspect.signature(smooth_norms).parameters["tau"].default == 0.1
    assert REFINEMENTS["refined l2"] == ("l2", 2.0, "edge")  # SGD
    assert REFINEMENTS["refined l1"] == ("l1", 1.0, "edge")  # Adam
    assert SYNTHETIC_KNOTS == (0, 0.003, 0.02, 0.03, 0.1, 1)
    assert SYNTHETIC_NORMS["then falling"] == (15, 6, 4, 2, 1, 0.7)


def test_synthetic_curves_peak_where_the_paper_has_them():
    line = 1 - np.arange(2000) / 1999
    schedules = {
        name: refine_schedule(synthetic_norms(name), tau=None)
        for name in ("constant", "large at first", "then rising", "then falling")
    }
    np.testing.assert_allclose(schedules["constant"], line, atol=1e-12)
    peaks = [int(schedules[name].argmax()) for name in list(schedules)[1:]]
    np.testing.assert_allclose(peaks, [270, 242, 301], atol=2)
    late = slice(1000, 1999)
    assert (schedules["then rising"][late] < line[late]).all()
    assert (schedules["then falling"][late] > line[late]).all()


def test_zero_norms_are_refused_unless_a_floor_is_given():
    with pytest.raises(ValueError, match=r"G has the norm 0 at index 2.*floor="):
        refine_schedule([1, 1, 0, 1])
    expected = refine_schedule([1, 1, 0.5, 1])
    np.testing.assert_allclose(refine_schedule([1, 1, 0, 1], floor=0.5), expected)


def test_norms_too_far_apart_are_refused():
    with pytest.raises(ValueError, match=r"too far apart.*floor="):
        refine_schedule(np.geomspace(1, 1e-300, 50), power=3, tau=None)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"G": [1, -1]}, "not negative"),
        ({"G": [1, np.nan]}, "nan at index 1"),
        ({"G": [1, np.inf]}, "inf at index 1"),
        ({"G": [1]}, "at least 2"),
        ({"G": [1, 1], "tau": 0}, "tau must be a finite number above 0 and at most 1"),
        ({"G": [1, 1], "tau": 1.5}, "got 1.5"),
        ({"G": [1, 1], "tau": float("nan")}, "tau"),
        ({"G": [1, 1], "power": 0}, "power must be a finite number above 0"),
        ({"G": [1, 1], "start": "wrap"}, "start must be one of 'edge', 'reflect', got 'wrap'"),
        ({"G": [1, 1], "floor": -1}, "floor must be a finite number above 0"),
    ],
)
def test_bad_input_of_refinement_is_named(kwargs, message):
    with pytest.raises(ValueError, match=message):
        refine_schedule(**kwargs)


def test_synthetic_norms_name_bad_input():
    with pytest.raises(ValueError, match="name must be one of 'constant'"):
        synthetic_norms("x")
    with pytest.raises(ValueError, match="at least 2"):
        synthetic_norms("constant", 1)


# Ready-made schedules


@pytest.mark.parametrize("name", SCHEDULES)
def test_ready_made_schedules_start_near_one_and_do_not_rise(name):
    factors = SCHEDULES[name](50)
    assert factors.shape == (50,)
    assert factors.dtype == np.float64
    assert 0.95 <= factors[0] <= 1
    assert (np.diff(factors) <= 0).all()
    assert factors[-1] >= 0


def test_linear_is_that_of_equal_weights_and_step_drops_three_times():
    np.testing.assert_allclose(SCHEDULES["linear"](30), weights_to_schedule(np.ones(30)), atol=1e-14)
    np.testing.assert_allclose(np.unique(SCHEDULES["step"](100)), [1e-3, 1e-2, 0.1, 1])
    assert (SCHEDULES["wsd"](100) < 0.999).sum() == 19


def test_bad_numbers_of_steps_are_refused():
    with pytest.raises(ValueError, match="at least 2"):
        SCHEDULES["linear"](1)
    with pytest.raises(TypeError, match="integer"):
        SCHEDULES["cosine"](2.5)


# Exact worst cases


@pytest.mark.slow
def test_linear_decay_is_exactly_optimal_in_the_worst_case():
    pytest.importorskip("PEPit")
    for T in (5, 10):
        eta = SCHEDULES["linear"](T) / math.sqrt(T)
        assert worst_case(eta) == pytest.approx(1 / math.sqrt(T), abs=1e-4)
    eta = SCHEDULES["linear"](5) / math.sqrt(5)
    assert min(worst_case(eta / 2), worst_case(2 * eta)) > 1.05 / math.sqrt(5)
    assert best_worst_case(SCHEDULES["flat"](5)).fun > 1.02


@pytest.mark.parametrize("step", [0.25, 0.4, 3.0])
def test_one_step_worst_case_is_the_bound_of_equal_weights(step):
    """T = 2 and w_1 = w_2 = 2 eta: B1 = 1/(8 eta) + eta, which no function exceeds and one attains."""
    pytest.importorskip("PEPit")
    assert worst_case([step, 0.0]) == pytest.approx(1 / (8 * step) + step, abs=1e-4)
    assert bound_weights([2 * step, 2 * step], 1.0) == pytest.approx(1 / (8 * step) + step)


def test_missing_peer_packages_are_named(monkeypatch):
    import sys

    from lib.gradient.lr_refinement.study import train_schedule_free

    monkeypatch.setitem(sys.modules, "PEPit", None)
    monkeypatch.setitem(sys.modules, "schedulefree", None)
    with pytest.raises(ImportError, match="pip install pepit"):
        worst_case([1, 0])
    with pytest.raises(ImportError, match="pip install schedulefree"):
        train_schedule_free(None, [1.0])
