"""ChebCB of `lib.online.sor_bandit` against bounded least squares and a retelling from the raw data."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import lsq_linear

from lib.online.sor_bandit import (
    ChebCB,
    box_least_squares,
    replay,
)

RANGE = (-0.15, 0.65)


@pytest.mark.parametrize("seed", range(8))
def test_box_least_squares_equals_scipy(seed: int) -> None:
    rng = np.random.default_rng(seed)
    design, target = rng.standard_normal((12, 6)), rng.standard_normal(12)
    bound = rng.uniform(0.02, 0.4, 6)
    expected = lsq_linear(design, target, (-bound, bound), method="bvls", tol=1e-14).x
    for start in (None, rng.uniform(-1, 1, 6), bound, np.zeros(6)):
        np.testing.assert_allclose(box_least_squares(design, target, bound, start), expected, atol=1e-9)


def test_box_least_squares_on_a_deficient_design_is_optimal_and_inside() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        design, target, bound = rng.standard_normal((3, 6)), 2 * rng.standard_normal(3), rng.uniform(0.0, 0.3, 6)
        theta = box_least_squares(design, target, bound)
        expected = lsq_linear(design, target, (-bound - 1e-15, bound + 1e-15), method="bvls", tol=1e-14)
        assert (np.abs(theta) <= bound).all()
        assert 0.5 * ((design @ theta - target) ** 2).sum() == pytest.approx(expected.cost, abs=1e-9)


def test_box_least_squares_refuses_bad_input() -> None:
    with pytest.raises(ValueError, match="target must have shape"):
        box_least_squares(np.eye(2), [1.0], [1.0, 1.0])
    with pytest.raises(ValueError, match="bound must be at least 0"):
        box_least_squares(np.eye(2), [1.0, 1.0], [1.0, -1.0])


def cheb_box(m: int) -> tuple[np.ndarray, float]:
    """The box of coefficients for a zero-padded array of costs, and N."""
    norm = 2 + 4 * (1 + np.log(m))
    return np.array([1 / norm] + [2 / (norm * j) for j in range(1, m)]), norm


@pytest.mark.parametrize("case", ["inside", "box"])
def test_chebcb_with_one_arm_equals_bounded_least_squares(case: str) -> None:
    rng = np.random.default_rng(1)
    # Noise over a quarter of the interval makes the unconstrained fit swing far outside the box.
    contexts = rng.uniform(-0.15, 0.65 if case == "inside" else 0.05, 40)
    x = (contexts + 0.15) / 0.4 - 1
    costs = np.round(40 + 20 * x + rng.uniform(0, 3 if case == "inside" else 30, 40))
    policy = ChebCB(1, 6, RANGE, seed=0)
    for context, cost in zip(contexts, costs, strict=True):
        assert policy.select(context) == 0
        policy.update(cost)
    bound, norm = cheb_box(6)
    scale = costs.max() * norm
    design = np.polynomial.chebyshev.chebvander(x, 5)
    free = np.linalg.lstsq(design, (costs - 1) / scale, rcond=None)[0]
    assert (np.abs(free) > bound).any() == (case == "box")
    expected = lsq_linear(design, (costs - 1) / scale, (-bound, bound), method="bvls", tol=1e-14).x
    np.testing.assert_allclose(policy.theta_[0], expected, atol=1e-10)
    np.testing.assert_allclose(policy.predict_cost(contexts)[0], 1 + scale * design @ expected, rtol=1e-8)


def test_chebcb_retold_step_by_step_from_the_raw_data() -> None:
    """Every quantity of every round recomputed from the stored rounds, without incremental updates."""
    d, m, low, high = 3, 4, *RANGE
    policy, rng = ChebCB(d, m, RANGE, seed=3), np.random.default_rng(0)
    bound, norm = cheb_box(m)
    rows, actions, costs, predicted = [], [], [], []
    theta, eta, scale, changed, boxed = np.zeros((d, m)), 0.0, 0.0, 0, 0
    for t in range(1, 80):
        context = float(rng.uniform(-0.15, 0.05))
        row = np.polynomial.chebyshev.chebvander(2 * (context - low) / (high - low) - 1, m - 1)[0]
        values = theta @ row
        p = np.array([1 / (d + eta * (v - values.min())) for v in values])
        p[values.argmin()] += 1 - p.sum()
        arm = policy.select(context)
        np.testing.assert_allclose(policy.probabilities_, p, rtol=1e-6, atol=1e-12)
        record = {30: 40, 55: 80}.get(t, 0)  # a new scale refits every arm
        cost = float(rng.integers(20, 80) + 10 * (arm - 2.5 * context) ** 2 // 1 + record)
        policy.update(cost)
        rows.append(row), actions.append(arm), costs.append(cost), predicted.append(values[arm])
        new_scale = max(costs) * norm
        refit = [arm] if new_scale == scale else range(d)
        changed, scale, residual = changed + (new_scale != scale), new_scale, 0.0
        for i in refit:
            mine = [j for j, a in enumerate(actions) if a == i]
            if not mine:
                continue
            design, target = np.array(rows)[mine], (np.array(costs)[mine] - 1) / scale
            theta[i] = np.linalg.pinv(design) @ target
            if (np.abs(theta[i]) > bound).any():
                # Where the fit is not unique (few rounds) take the policy's choice, after checking that it is optimal.
                best = lsq_linear(design, target, (-bound, bound), method="bvls", tol=1e-14)
                assert 0.5 * ((design @ policy.theta_[i] - target) ** 2).sum() == pytest.approx(best.cost, abs=1e-10)
                theta[i], residual, boxed = policy.theta_[i], 2 * best.cost, boxed + 1
        np.testing.assert_allclose(policy.theta_, theta, atol=1e-9)
        alpha = (np.pi + 2 / np.pi * np.log(2 * m + 1)) / (2 * scale * (m + 1)) * max(costs)
        error = ((np.array(predicted) - np.array(costs) / scale) ** 2).sum()
        eta = 2 * t * np.sqrt(d * t / (error - residual + 2 * alpha**2 * t))
        assert policy.eta_ == pytest.approx(eta, rel=1e-7)
    assert changed >= 3
    assert boxed >= 10


def test_chebcb_starts_uniform_and_clips_contexts_with_a_warning() -> None:
    policy = ChebCB(5, 6, RANGE, seed=0)
    policy.select(0.0)
    np.testing.assert_allclose(policy.probabilities_, 0.2)
    policy.update(30)
    with pytest.warns(UserWarning, match=r"context 0.9 outside \[-0.15, 0.65\] was clipped") as caught:
        policy.select(0.9)
    assert caught[0].filename == __file__
    np.testing.assert_allclose(policy.features(0.9), 1.0)


def test_chebcb_true_range_option_refits_when_the_minimum_drops() -> None:
    policy = ChebCB(1, 3, (0.0, 1.0), seed=0, zero_padded=False)
    for cost in (50, 40):
        policy.select(0.5)
        policy.update(cost)
    assert policy.scale_ == pytest.approx(50 * (2 + 4 * (10 / 50) * (1 + np.log(3))))


def test_chebcb_learns_which_arm_is_best_where() -> None:
    rng = np.random.default_rng(0)
    contexts = rng.uniform(*RANGE, 600)
    table = 20 + 100 * np.abs(contexts[:, None] - np.array([-0.1, 0.25, 0.6])) + rng.uniform(0, 2, (600, 3))
    out = replay(table, ChebCB(3, 6, RANGE, seed=0), contexts)
    assert (out["actions"][300:] == table[300:].argmin(axis=1)).mean() > 0.8


@pytest.mark.parametrize(
    "arguments", [(0, 6, RANGE), (3, 0, RANGE), (3, 6, (1.0, 1.0)), (3, 6, (0.0, np.inf)), (2.5, 6, RANGE)]
)
def test_chebcb_refuses_bad_arguments(arguments: tuple[int, int, tuple[float, float]]) -> None:
    with pytest.raises((TypeError, ValueError), match=r"must be"):
        ChebCB(*arguments)
