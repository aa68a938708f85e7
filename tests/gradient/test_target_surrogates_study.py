"""The study of target surrogates: rivals against torch's, the pendulum against gymnasium's formula, protocols."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from lib.gradient import target_surrogates as ts
from lib.gradient.target_surrogates import study


@pytest.fixture(scope="module")
def task():
    return study.linear_task("spambase", rows=300)


def steps_of_torch(task, make, n=15):
    w = torch.nn.Parameter(torch.zeros(task.X.shape[1], dtype=torch.float64))
    X, y = torch.from_numpy(task.X), torch.from_numpy(task.y)
    optimizer = make([w])
    for _ in range(n):
        optimizer.zero_grad()
        torch.nn.functional.binary_cross_entropy_with_logits(X @ w, y).backward()
        optimizer.step()
    return w.detach().numpy()


@pytest.mark.parametrize(
    ("rule", "make"),
    [
        (study.gradient_rule(step=0.3), lambda p: torch.optim.SGD(p, lr=0.3)),
        (study.adam_rule(step=0.1), lambda p: torch.optim.Adam(p, lr=0.1)),
        (study.adagrad_rule(step=0.2), lambda p: torch.optim.Adagrad(p, lr=0.2)),
    ],
)
def test_rivals_are_those_of_torch(task, rule, make):
    theta = task.start
    for t in range(15):
        theta = rule(task.X, task.y, theta, t)
    assert_allclose(theta, steps_of_torch(task, make), rtol=1e-7, atol=1e-9)


def test_sls_accepts_the_longest_step_that_descends_enough(task):
    share, rule, trial = 0.5, study.sls_rule(share=0.5), 10.0
    theta = task.start
    for t in range(4):
        slope = task.gradient(theta)
        want = trial
        while task.value(theta - want * slope) > task.value(theta) - 0.1 * want * (slope**2).sum():
            want *= 0.9
        before = theta
        theta, trial = rule(task.X, task.y, theta, t), want * 2**share
        assert_allclose(theta, before - want * slope, rtol=1e-9)
    assert task.value(theta) < task.value(task.start)


def test_sso_rule_is_the_method(task):
    for schedule, total in (("constant", None), ("exponential", 20), ("adagrad", None), ("armijo", None)):
        rule = study.sso_rule(eta=2.0, m=3, schedule=schedule, total_steps=total)
        theta, by_hand, squares, last = task.start, task.start, 0.0, None
        for t in range(4):
            z = task.X @ by_hand
            g = task.loss.gradient(z, task.y)
            squares += (g**2).sum()
            if schedule == "armijo":
                first = 2.0 if last is None else 1.8 * last
                eta, _ = ts.target_armijo(lambda new: task.loss.value(new, task.y).mean(), z, g, first)
                last = eta
            else:
                eta = ts.target_step(schedule, t, 2.0, total, squares)
            by_hand = ts.linear_step(task.X, g, by_hand, eta, 3, tol=1e-9)
            theta = rule(task.X, task.y, theta, t)
            assert_allclose(theta, by_hand, rtol=1e-9)


def test_inner_loop_on_residuals_is_that_on_the_gram_matrix(task):
    g = task.loss.gradient(task.X @ task.start, task.y)
    got = study.residual_steps(task.X, g, task.start, 4.0, 20)
    assert_allclose(got, ts.linear_step(task.X, g, task.start, 4.0, 20, tol=0), rtol=1e-7, atol=1e-10)


def test_task_is_what_it_says(task):
    theta = np.random.default_rng(0).normal(size=task.start.shape)
    moved = [(task.value(theta + 1e-6 * e) - task.value(theta - 1e-6 * e)) / 2e-6 for e in np.eye(len(theta))]
    assert_allclose(task.gradient(theta), moved, atol=1e-6)
    assert_allclose(task.X[:, -1], 1.0)
    softmax = study.linear_task("segment", rows=60)
    assert softmax.kind == "softmax"
    assert softmax.start.shape == (softmax.X.shape[1], 7)
    hessian = (task.X.T @ task.X) / (4 * len(task.X))
    assert_allclose(task.smoothness, np.linalg.norm(hessian, 2))


def test_minimum_of_overlapping_classes_is_below_all_curves():
    task = study.linear_task("spambase")
    assert_allclose(task.minimum(), 0.197448, rtol=1e-5)


def test_minimum_is_that_of_scikit_learn():
    linear_model = pytest.importorskip("sklearn.linear_model")
    task = study.linear_task("spambase", rows=1500)
    # Nearly no penalty, and the constant column is among the columns.
    peer = linear_model.LogisticRegression(C=1e8, fit_intercept=False, tol=1e-10, max_iter=5000)
    peer.fit(task.X, task.y)
    assert_allclose(task.minimum(), task.value(peer.coef_[0]), rtol=1e-3)
    assert task.minimum() <= task.value(peer.coef_[0]) + 1e-9


def test_batches_are_drawn_without_replacement_and_paired():
    order = study.batch_order(10, 3, 7, seed=1)
    assert all(len(np.unique(rows)) == 3 for rows in order)
    for epoch in (order[:3], order[3:6]):
        assert len(np.unique(np.concatenate(epoch))) == 9
    again = study.batch_order(10, 3, 7, seed=1)
    assert all(np.array_equal(a, b) for a, b in zip(order, again, strict=True))


def test_race_is_paired_and_starts_alike(task):
    curves = study.race(task, 50, 20, ["SGD", "SSO, m = 1"], [0, 1])
    assert_allclose(curves["SGD"][:, 0], math.log(2))
    assert_allclose(curves["SGD"], study.race(task, 50, 20, ["SGD"], [0, 1])["SGD"])
    assert study.race(task, None, 20, ["SGD"], [0, 1])["SGD"].shape == (1, 3)


def test_tuning_takes_the_best_of_the_grid(task):
    chosen, needed = study.tuned_race(task, 50, 25, 0, [1], m=2, level=0.35)
    order = study.batch_order(len(task.X), 50, 25, 0)
    counts = [study.gradients_to(task, order, study.adam_rule(step=v), 0.35) for v in study.GRIDS["Adam"]]
    assert chosen["Adam"] == study.GRIDS["Adam"][counts.index(min(counts))]
    assert all(values.shape == (1,) for values in needed.values())
    assert {len(grid) for grid in study.GRIDS.values()} == {6}


def test_gradients_to_a_level_are_counted(task):
    order = study.batch_order(len(task.X), None, 12, 0)
    curve = study.follow(task, order, study.gradient_rule(step=0.5))
    assert study.gradients_to(task, order, study.gradient_rule(step=0.5), curve[7], every=1) == 7
    assert study.gradients_to(task, order, study.gradient_rule(step=0.5), curve[7], every=2) == 8
    assert study.gradients_to(task, order, study.gradient_rule(step=0.5), 1e-9) == 12


def test_a_lost_run_is_infinite():
    task = study.linear_task("spambase", kind="squared", rows=100)
    curve = study.follow(task, study.batch_order(100, None, 200, 0), study.gradient_rule("squared", 10.0))
    assert curve.shape == (201,)
    assert np.isinf(curve[-1])
    assert study.log_ratio([np.inf], [1.0]) == 9.0


def test_lbfgs_counts_gradients(task):
    curve = study.lbfgs_curve(task, 30)
    assert curve.shape == (31,)
    assert_allclose(curve[0], math.log(2))
    assert max(np.diff(curve)) <= 0


def test_pendulum_is_that_of_gymnasium():
    # Gymnasium: thdot += (3 g / (2 l) sin th + 3 / (m l^2) u) dt, th += thdot dt, with cuts.
    theta, speed, u = 2.0, -1.5, 1.3
    states, rewards = study.pendulum_step([[theta, speed]], [u])
    new = speed + (3 * 10 / 2 * math.sin(theta) + 3 * u) * 0.05
    assert_allclose(states, [[theta + new * 0.05, new]], rtol=1e-12)
    assert_allclose(rewards, -(theta**2 + 0.1 * speed**2 + 0.001 * u**2))
    states, _ = study.pendulum_step([[math.pi / 2, 7.9]], [50.0])
    assert states[0, 1] == 8.0


def test_a_trajectory_is_that_of_gymnasium_itself():
    gymnasium = pytest.importorskip("gymnasium")
    simulator = gymnasium.make("Pendulum-v1").unwrapped
    simulator.reset(seed=0)
    simulator.state = np.array([2.5, -0.7])
    states = simulator.state[None]
    for t in range(50):
        torque = 3 * math.sin(0.3 * t)
        _, reward, *_ = simulator.step([torque])
        states, rewards = study.pendulum_step(states, [torque])
        assert_allclose(states[0], simulator.state, rtol=1e-9)
        assert_allclose(rewards[0], reward, rtol=1e-9)


def test_expert_swings_up_and_balances():
    _, returns = study.roll_out(study.pendulum_expert, study.start_states(100, 3))
    assert returns.mean() > -180
    _, idle = study.roll_out(lambda states: np.zeros(len(states)), study.start_states(100, 3))
    assert idle.mean() < -800


@pytest.mark.parametrize("method", ["sso", "ogd", "adam", "dagger"])
def test_imitation_asks_once_a_round_and_repeats_itself(method):
    runs = [study.imitate(method, 0.01, m=3, rounds=3, hidden=4, episodes=1, seed=2) for _ in range(2)]
    assert np.array_equal(runs[0].losses, runs[1].losses)
    assert runs[0].final_return == runs[1].final_return
    assert runs[0].expert_gradients == 3
    other = study.imitate(method, 0.01, m=3, rounds=3, hidden=4, episodes=1, seed=3)
    assert not np.array_equal(runs[0].losses, other.losses)


def test_imitation_that_diverges_is_infinite():
    run = study.imitate("ogd", 1e3, rounds=30, hidden=4, episodes=1)
    assert np.isinf(run.losses[-1])
    assert run.final_return == -np.inf


def test_reduced_rows_have_the_loss_of_all_rows():
    rng = np.random.default_rng(4)
    X, U = rng.standard_normal((50, 6)), rng.random((10, 6))
    Y = X @ (np.linspace(1, 1e-10, 10)[:, None] * U).T
    task, W = (
        study.ill_conditioned(4, rows=50),
        torch.randn(6, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(0)),
    )
    full = 0.5 * ((X @ W.numpy() - Y) ** 2).sum(axis=1).mean()
    assert_allclose(float(task.loss(task.X @ W)), full, rtol=1e-10)


@pytest.mark.parametrize("width", [None, 10, 4, 1])
def test_least_loss_of_a_factorization_is_below_every_run_and_reached(width):
    task = study.ill_conditioned(3)
    least = study.least_loss(task, width)
    losses = study.factorize(task, "sso", 1.0, m=200, width=width, steps=10, seed=1)
    assert losses.min() >= least - 1e-15
    assert losses[-1] - least <= 1e-3 * (losses[0] - least)


def test_factorization_falls_faster_with_more_inner_steps():
    task = study.ill_conditioned(0)
    ends = [study.factorize(task, "sso", 1.0, m, steps=10)[-1] for m in (1, 10, 50)]
    assert ends[0] > ends[1] > ends[2]
    assert study.factorize(task, "gd", 0.3, steps=10)[-1] < study.factorize(task, "gd", 0.3, steps=10)[0]
    assert study.factorize(task, "adam", 0.1, steps=2).shape == (3,)


@pytest.mark.parametrize("method", ["sso", "sgd", "adam", "sls"])
def test_digits_are_learned(method):
    digits = study.mnist_digits(400, 200)
    step = {"sso": 2.0, "sgd": 0.3, "adam": 0.01, "sls": 10.0}[method]
    loss, accuracy = study.train_digits(digits, method, step, m=5, steps=15, batch=100, hidden=16)
    assert loss < 2.2
    assert accuracy > 0.2


def test_gradients_saved_and_steps_to_count(task):
    assert study.gradients_saved(task, steps=10) > 0
    level = study.race(task, None, 10, ["SSO-SLS, m = 10"], [0], every=1)["SSO-SLS, m = 10"][0, 7]
    assert study.steps_to(task, level, m=10) == (7, True)
    assert study.steps_to(task, 1e-9, m=1, most=3) == (3, False)


def test_the_bent_model_moves_to_the_nearest_outputs_it_can_make():
    z, wanted, path = study.bent_path(-1.0, m=200)
    all_outputs = study.bent_outputs(np.linspace(-2, 2, 20_001))
    nearest = np.linalg.norm(all_outputs - wanted, axis=1).min()
    assert_allclose(np.linalg.norm(study.bent_outputs(path[-1]) - wanted), nearest, rtol=1e-6)
    g = ts.TARGET_LOSSES["logistic"].gradient(z, study.BENT_LABELS)
    assert_allclose(wanted, z - 4.0 * g)
