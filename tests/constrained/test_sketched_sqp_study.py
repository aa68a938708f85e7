"""The rivals against the authors' records, and what the linear solvers cost."""

from __future__ import annotations

import numpy as np
import pytest

import lib.data
from lib.constrained.sketched_sqp import AdaSketchNewton, study


@pytest.mark.parametrize("name", study.RECORDED)
def test_the_adaptive_l1_method_has_the_recorded_iterations(name):
    found = study.l1_sqp(study.small_problem(name))
    assert found.success
    assert found.nit == study.RECORDED[name][3]


def test_counts_of_the_authors():
    outcome, result = study.ours(study.small_problem("HS7"), AdaSketchNewton("exact"))
    assert outcome.objcon == outcome.gradjac == study.RECORDED["HS7"][2] == 2 + 4 * result.nit + 2 * outcome.halvings
    adaptive = study.l1_sqp(study.small_problem("HS7"))
    assert adaptive.gradjac == 2 + 2 * adaptive.nit
    assert adaptive.objcon == 2 + 4 * adaptive.nit + 2 * adaptive.halvings


@pytest.mark.parametrize("solve", [study.classic_al, study.slsqp, study.l1_sqp, lambda p: study.l1_sqp(p, adaptive=False)])
@pytest.mark.parametrize("name", ["HS28", "HS7", "BT5", "HS79"])
def test_rivals_arrive(solve, name):
    found = solve(study.small_problem(name))
    assert found.success
    assert found.kkt[-1] <= 1e-4
    assert found.gradjac >= 2


def test_exact_directions_of_the_l1_method_are_newtons():
    """On a quadratic problem with linear constraints one step is enough, whatever the merit function."""
    assert study.l1_sqp(study.small_problem("BT3"), exact=True).nit == 1
    assert study.l1_sqp(study.pde_problem(2), exact=True).nit == 1


def test_rivals_that_fail_say_so():
    lost = study.classic_al(study.small_problem("HS40"))
    assert not lost.success
    short = study.l1_sqp(study.small_problem("BT2"), max_iter=3)
    assert (short.success, short.nit) == (False, 3)


def test_flops_by_hand():
    assert study.flops("rk", 10, 7) == 6 * 10 * 7
    assert study.flops("gv", 10, 7) == (2 * 100 + 80) * 7
    assert study.flops("minres", 10, 7) == (2 * 100 + 140) * 7
    np.testing.assert_allclose(study.flops("exact", 10), 1000 / 3 + 200)


def test_demmel_is_the_rate_of_kaczmarz():
    rng = np.random.default_rng(0)
    A = rng.standard_normal((5, 5))
    units = A / np.linalg.norm(A, axis=1, keepdims=True)
    np.testing.assert_allclose(study.demmel(A), 5 / np.linalg.eigvalsh(units.T @ units)[0])
    np.testing.assert_allclose(study.demmel(np.diag([3.0, 0.1, 7.0])), 3.0)


def test_systems_are_those_of_the_trajectory():
    problem = study.small_problem("HS40")
    systems = study.newton_systems(problem)
    res = AdaSketchNewton("exact").minimize(problem)
    np.testing.assert_allclose([np.linalg.norm(s.b) for s in systems], res.history["kkt"][:-1])
    step = np.linalg.solve(*systems[0])
    once = AdaSketchNewton("exact", max_iter=1).minimize(problem)
    np.testing.assert_allclose(problem.x0 + step[:4], once.x)


@pytest.mark.parametrize("solver", ["rk", "gv", "minres", "exact"])
def test_steps_to_an_accuracy(solver):
    system = study.newton_systems(study.well_conditioned_problem(40))[0]
    loose, sharp = (study.steps_to(system, solver, tau, seed=0) for tau in (0.5, 1e-4))
    assert loose[1]
    assert sharp[1]
    assert loose[0] <= sharp[0]
    assert (loose[0] < sharp[0]) == (solver != "exact")


def test_a_cap_is_told():
    system = study.newton_systems(study.pde_problem(3))[0]
    assert study.steps_to(system, "rk", 1e-6, seed=0, most=100) == (100, False)


def test_draws_of_constraints_do_not_contradict_each_other():
    Z, y = study.logistic_data("breast_cancer", 100)
    for seed in range(5):
        problem = study.logistic_problem(Z, y, seed)
        A, b = problem.first_order(np.zeros(problem.n))[3][:-1], -problem.values(np.zeros(problem.n))[1][:-1]
        assert np.linalg.norm(np.linalg.lstsq(A, b, rcond=None)[0]) <= 0.9


def test_data_are_scaled_and_labeled():
    Z, y = study.logistic_data("mushroom", 300)
    assert len(Z) == 300
    assert (Z.min(axis=0) == -1).all()
    assert (Z.max(axis=0) == 1).all()
    assert set(y) == {-1.0, 1.0}


def test_the_papers_small_sets_come_from_the_wheel():
    for name, shape in (("ionosphere", (351, 33)), ("sonar", (208, 60))):
        Z, y = study.logistic_data(name)
        assert Z.shape == shape
        assert set(y) == {-1.0, 1.0}
        assert (y == 1).mean() > 0.5
        assert f"keel/{name}" in lib.data.used()
