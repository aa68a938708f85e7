"""The support vector machine with a weight for each sample: projection, training, slopes, implicit gradient, rivals."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.svm import LinearSVC

from lib.constrained.lv_hba import LVHBA, constraint_scale, project_svm, study, train_svm, weighted_svm
from lib.constrained.lv_hba import svm as lv_svm
from lib.constrained.lv_hba.study import races
from lib.constrained.lv_hba.svm import WeightedSVM, validation_loss
from lib.problems.bilevel import BilevelProblem


def data(n=30, d=3, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d)) / np.sqrt(d)
    return X, np.where(X[:, 0] + 0.3 * rng.normal(size=n) > 0, 1.0, -1.0)


@pytest.fixture(scope="module")
def svm():
    return weighted_svm(*data(), *data(12, seed=1))


def test_projection_is_that_of_a_qp_solver(svm):
    cvxpy = pytest.importorskip("cvxpy")
    X, y = data()
    rng = np.random.default_rng(2)
    for size in (0.1, 3.0):
        v, slack = size * rng.normal(size=4), size * rng.normal(size=30)
        near, xi = project_svm(X, y, v, slack)
        a, b = cvxpy.Variable(4), cvxpy.Variable(30)
        cost = cvxpy.sum_squares(a - v) + cvxpy.sum_squares(b - slack)
        cvxpy.Problem(cvxpy.Minimize(cost), [b >= 1 - svm.Q.numpy() @ a]).solve(solver="CLARABEL")
        np.testing.assert_allclose(near, a.value, atol=1e-5)
        np.testing.assert_allclose(xi, b.value, atol=1e-5)


def test_projection_is_feasible_idempotent_and_leaves_feasible_points_alone():
    X, y = data()
    rng = np.random.default_rng(2)
    v, slack = project_svm(X, y, rng.normal(size=4), rng.normal(size=30))
    assert (1 - slack.numpy() - y * (X @ v[:-1].numpy() + v[-1].item())).max() <= 1e-12
    again = project_svm(X, y, v, slack)
    np.testing.assert_allclose(again[0], v, atol=1e-12)
    np.testing.assert_allclose(again[1], slack, atol=1e-12)


def test_projection_satisfies_its_optimality_condition(svm):
    """v - v0 = Q' (multipliers) and slack - slack0 = multipliers >= 0, zero where the constraint is loose."""
    X, y = data()
    rng = np.random.default_rng(3)
    v0, slack0 = rng.normal(size=4), rng.normal(size=30)
    v, slack = project_svm(X, y, v0, slack0)
    lam = slack.numpy() - slack0
    assert lam.min() >= 0
    np.testing.assert_allclose(v.numpy() - v0, svm.Q.numpy().T @ lam, atol=1e-10)
    assert np.abs(lam * (slack.numpy() - 1 + svm.Q.numpy() @ v.numpy())).max() < 1e-10


def test_several_tasks_at_once_are_each_alone():
    parts = [data(seed=s) for s in range(3)]
    X, y = (np.stack(part) for part in zip(*parts, strict=True))
    rng = np.random.default_rng(0)
    v, slack, c = rng.normal(size=(3, 4)), rng.normal(size=(3, 30)), rng.normal(size=(3, 30))
    together, machine = project_svm(X, y, v, slack), train_svm(X, y, c)
    for k in range(3):
        alone = project_svm(X[k], y[k], v[k], slack[k])
        np.testing.assert_allclose(together[0][k], alone[0], atol=1e-10)
        np.testing.assert_allclose(machine[k], train_svm(X[k], y[k], c[k]), atol=1e-9)


def test_training_is_that_of_liblinear():
    X, y = data(60)
    weights = np.random.default_rng(0).random(60)
    ours = train_svm(X, y, np.log(weights))
    peer = LinearSVC(loss="squared_hinge", C=0.5, tol=1e-10, intercept_scaling=1e3, max_iter=500_000)
    peer.fit(X, y, sample_weight=weights)
    np.testing.assert_allclose(ours[:-1], peer.coef_[0], rtol=1e-3, atol=1e-4)


def test_closed_slopes_are_those_of_autograd(svm):
    auto = BilevelProblem(svm.upper, svm.lower, svm.constraints, project_joint=svm.project)
    ours, rng = svm.problem(), np.random.default_rng(0)
    x, y, u = (torch.from_numpy(rng.normal(size=n)) for n in (30, 34, 30))
    for name, given in {"upper_slopes": (x, y), "lower_slopes": (x, y), "constraint_pull": (x, y, u)}.items():
        for a, b in zip(getattr(ours, name)(*given), getattr(auto, name)(*given), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-12)


def test_lower_level_is_the_papers(svm):
    rng = np.random.default_rng(0)
    c, w, b, slack = rng.normal(size=30), rng.normal(size=3), 0.4, rng.normal(size=30)
    y = torch.from_numpy(np.concatenate([w, [b], slack]))
    X, labels = data()
    assert float(svm.lower(torch.from_numpy(c), y)) == pytest.approx(w @ w / 2 + (np.exp(c) * slack**2).sum() / 2)
    np.testing.assert_allclose(svm.constraints(None, y), 1 - slack - labels * (X @ w + b))
    X_val, y_val = data(12, seed=1)
    m = y_val * (X_val @ w + b) / np.linalg.norm(w)
    u = 2 / (1 + np.exp(5 * m)) - 1
    assert float(svm.upper(None, y)) == pytest.approx(np.where(u > 0, u, 0.01 * u).sum())


def test_upper_level_without_a_plane_is_refused(svm):
    with pytest.raises(FloatingPointError, match="zero"):
        validation_loss(svm.Q_val, torch.zeros(4).double())


def test_scale_is_the_norm_of_all_slopes(svm):
    one = torch.zeros(30).double(), torch.ones(34).double()
    wanted = np.linalg.norm(np.hstack([svm.Q, np.eye(30)]), 2)
    assert constraint_scale(svm.problem(), *one) == pytest.approx(wanted)


def test_solved_machine_has_no_gap(svm):
    c = torch.zeros(30).double()
    v = svm.solved(c)
    result = LVHBA(max_iter=1, alpha=1e-9, alpha_x=1e-9).solve(svm.problem(), c, v, z0=None)
    multiplier = c.exp() * svm.split(v)[1]  # of the solution
    scaled = multiplier * constraint_scale(svm.problem(), c, v)
    exact = LVHBA(max_iter=1, alpha=1e-9, alpha_x=1e-9, beta=1e-9, eta=1e-9).solve(svm.problem(), c, v, z0=scaled)
    assert exact.gap == pytest.approx(0, abs=1e-6)
    assert result.gap > 1e-3


def test_implicit_gradient_is_a_central_difference(svm):
    X, y = data()
    c = torch.from_numpy(np.random.default_rng(0).normal(size=30))

    def of(at):
        return float(validation_loss(svm.Q_val, train_svm(X, y, at))[0])

    h = 1e-5
    wanted = [(of(c + h * e) - of(c - h * e)) / (2 * h) for e in torch.eye(30).double()]
    np.testing.assert_allclose(study.implicit_gradient(svm, c, train_svm(X, y, c)), wanted, atol=1e-6)


def test_bad_data_are_refused():
    X, y = data()
    with pytest.raises(ValueError, match="-1 and 1"):
        weighted_svm(X, (y + 1) / 2, X, y)
    with pytest.raises(ValueError, match="y_val must have shape"):
        weighted_svm(X, y, X, y[:3])
    with pytest.raises(ValueError, match="X_val must fit"):
        weighted_svm(X, y, X[:, :2], y)
    with pytest.raises(ValueError, match="low"):
        weighted_svm(X, y, X, y, low=1.0, high=0.0)


@pytest.fixture(scope="module")
def task():
    return study.machines("breast cancer", 0.4, [0, 1])


def test_the_loop_over_tasks_is_the_solver_on_each(task):
    c, solver = task.start - 1, LVHBA(0.1, 0.3, 0.3, alpha_x=5.0, max_iter=15)
    together = study.run_lvhba(task, c, solver, n_records=2)
    one = WeightedSVM(task.svm.Q[1], task.svm.Q_val[1], -6.0, 2.0)
    alone = solver.solve(one.problem(), c[1], one.solved(c[1]))
    np.testing.assert_allclose(together.c[1], alone.x, atol=1e-8)
    np.testing.assert_allclose(together.v[1], one.split(alone.y)[0], atol=1e-8)
    assert study.run_lvhba(task, c, solver, n_records=1, frozen=True).c.equal(c)


def test_rivals_lower_the_validation_loss(task):
    c = task.start - 1
    implicit, grid = study.run_implicit(task, c, max_iter=20), study.run_grid(task, n_values=5)
    assert (implicit.trace["solved_val"][-1] < implicit.trace["solved_val"][0]).all()
    single = [study.run_grid(task, n_values=1).trace["val"][0], grid.trace["val"][0]]
    assert (single[1] <= single[0]).all()
    np.testing.assert_allclose(implicit.trace["val"], implicit.trace["solved_val"], atol=1e-9)


def test_tuning_tries_each_setting(task):
    c, solver = task.start - 1, LVHBA(0.1, 0.3, 0.3, max_iter=6)
    table = study.tune_lvhba(task, c, solver, [(1.0, 5.0), (5.0, 5.0)])
    again = study.run_lvhba(task, c, LVHBA(0.1, 0.3, 0.3, c0=5.0, alpha_x=5.0, max_iter=6))
    assert table[1] == pytest.approx(again.trace["solved_test"][-1].mean(), rel=1e-8)
    rates = study.tune_implicit(task, c, [0.1, 0.3], max_iter=4)
    assert rates[1] == pytest.approx(study.run_implicit(task, c, 4, lr=0.3).trace["solved_test"][-1].mean(), rel=1e-8)


def test_of_settings_that_are_as_good_the_innermost_is_taken():
    table = np.full((4, 5), 0.5)
    table[0, 0], table[2, 3], table[1, 2] = 0.1, 0.1015, 0.1019
    assert study.innermost(table) == (1, 2)  # both inner ones are one step from an edge: the first
    assert study.innermost(table, slack=0.001) == (0, 0)
    assert study.innermost(-table) == (1, 1)
    with pytest.raises(ValueError, match="losses"):
        study.innermost([0.1, np.nan])


def test_flips_are_those_of_the_shared_task(task):
    assert task.flipped.shape == (2, 300)
    assert 0.3 < task.flipped.mean() < 0.5
    assert not np.array_equal(task.flipped[0], task.flipped[1])
    assert float(task.svm.Q[..., :-1].norm(dim=-1).square().mean()) == pytest.approx(1)


def test_toy_answers_are_exact():
    toy = study.merely_convex_toy(4)
    x = torch.full((4,), -0.3, dtype=torch.float64)
    y = torch.cat([x + 1, x * 0 - 0.4])
    assert float(toy.gap(x, y)) == pytest.approx(0, abs=1e-14)
    assert float(toy.upper(x, y)) == pytest.approx(4 / 20)
    assert float(toy.score(x)) == pytest.approx(0, abs=1e-14)
    affine = study.affine_toy(6, 4, 2, seed=0, n_draws=2)
    react = study.sensitivity(*affine.parts()[:4])
    np.testing.assert_allclose(react, affine.answer, atol=1e-9)
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 6)))
    assert float(affine.constraints(x, races.times_vector(affine.answer, x)).abs().max()) < 1e-10


def test_closed_slopes_of_the_toys_are_those_of_autograd():
    rng = np.random.default_rng(0)
    affine = study.affine_toy(5, 3, 2, seed=0)
    one = study.toys.Affine(*(getattr(affine, n)[0] for n in ("A", "H", "B", "c", "d", "onto", "answer")))
    for toy, m in ((study.merely_convex_toy(5), 10), (one, 5)):
        x, y = torch.from_numpy(rng.normal(size=5)), torch.from_numpy(rng.normal(size=m))
        auto = BilevelProblem(toy.upper, toy.lower, toy.constraints, equality=True, project_joint=toy.project)
        u = torch.ones_like(toy.constraints(x, y))
        for name, given in {"upper_slopes": (x, y), "lower_slopes": (x, y), "constraint_pull": (x, y, u)}.items():
            for a, b in zip(getattr(toy.problem(), name)(*given), getattr(auto, name)(*given), strict=True):
                np.testing.assert_allclose(a, b, atol=1e-12)


def test_aipod_is_exact_from_the_authors_start_and_stuck_elsewhere():
    toy = study.merely_convex_toy(10)
    even = study.race_aipod(toy, study.authors_start(toy), [0.1], 1500, n_records=2)
    assert float(even.score[-1].max()) < 1e-6
    start = study.toy_starts(toy, 3, seed=0)
    stuck = study.race_aipod(toy, start, [0.1], 3500, n_records=2)
    first = start[1][:, 10:]
    drift = first - first.mean(dim=1, keepdim=True)
    np.testing.assert_allclose(stuck.upper[-1][0], 0.5 + (drift.square().sum(-1) / 4), rtol=1e-4)
    ours = study.race_lvhba(toy, start, LVHBA(0.5, 0.5, 0.4, max_iter=1500), [(4.0, 0.45)], n_records=2)
    assert float(ours.score[-1].max()) < 0.03 < 0.1 < float(stuck.score[-1].min())


def test_stability_map_marks_long_steps():
    found = study.stability_map(study.merely_convex_toy(3), [0.05, 0.4], [1.0, 8.0], LVHBA(0.1, 0.1, max_iter=300))
    assert found[0].max() < found[1].min() / 10


def test_bfgs_does_not_end_above_a_start():
    toy = study.affine_toy(6, 3, 2, seed=0, n_draws=2)
    assert (study.best_reduced(toy, 3, seed=0) <= 1e-9).all()  # x = 0 gives 0


def test_small_problems_are_what_they_say():
    rng = np.random.default_rng(0)
    for kind in ("inequality", "box"):
        one = study.quadratic(kind, seed=1)
        x, y = one.inside(torch.from_numpy(3 * rng.normal(size=3)), torch.from_numpy(3 * rng.normal(size=4)))
        assert float(one.constraints(x, y).max()) <= 1e-12
        auto = BilevelProblem(one.upper, one.lower, one.constraints, project_joint=lambda x, y: (x, y))
        for a, b in zip(one.problem().lower_slopes(x, y), auto.lower_slopes(x, y), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-12)
    with pytest.raises(ValueError, match="kind"):
        study.quadratic("circle", seed=0)


def test_many_weights_of_the_same_rows_are_each_as_alone(svm):
    """One Q with weights along a leading axis: pairs of columns give the same matrix, machine, projection and slope."""
    rng = np.random.default_rng(4)
    c = torch.from_numpy(rng.uniform(-2, 1, size=(3, 30)))
    weights = c.exp()
    together = lv_svm.curvature(svm.Q, weights, svm.pairs)
    for one, w in zip(together, weights, strict=True):
        np.testing.assert_allclose(one, svm.Q.mT @ torch.diag(w) @ svm.Q, atol=1e-12)
    y = svm.solved(c)
    moved = y + 0.3 * torch.from_numpy(rng.normal(size=tuple(y.shape)))
    near = svm.project(c, moved)[1]
    for k in range(3):
        np.testing.assert_allclose(y[k], svm.solved(c[k]), atol=1e-9)
        np.testing.assert_allclose(near[k], svm.project(c[k], moved[k])[1], atol=1e-9)
        alone = study.implicit_gradient(svm, c[k], svm.trained(c[k]))
        np.testing.assert_allclose(study.implicit_gradient(svm, c, svm.trained(c))[k], alone, atol=1e-8)


def test_tuning_runs_each_setting_on_each_task_as_if_alone():
    task, settings = study.machines("breast cancer", share=0.4, seeds=[0, 1]), [(1.0, 1.0), (0.1, 20.0)]
    c = task.start - torch.linspace(1, 2, 300, dtype=torch.float64)
    tuned = study.tune_lvhba(task, c, LVHBA(0.1, 0.3, 0.3, max_iter=8), settings)
    for loss, (c0, alpha_x) in zip(tuned, settings, strict=True):
        run = study.run_lvhba(task, c, LVHBA(0.1, 0.3, 0.3, c0=c0, alpha_x=alpha_x, max_iter=8), n_records=1)
        assert loss == pytest.approx(run.trace["solved_test"][-1].mean(), abs=1e-9)
    for loss, lr in zip(study.tune_implicit(task, c, [0.05, 0.5], max_iter=4), (0.05, 0.5), strict=True):
        run = study.run_implicit(task, c, max_iter=4, lr=lr, n_records=1)
        assert loss == pytest.approx(run.trace["solved_test"][-1].mean(), abs=1e-9)
