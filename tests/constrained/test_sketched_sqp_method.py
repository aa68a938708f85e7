"""AdaSketch-Newton as a whole: the authors' records, limits, SciPy's door, resuming, bad input."""

from __future__ import annotations

import copy
import inspect
import pickle

import numpy as np
import pytest
import scipy.optimize as so

from lib.constrained import sketched_sqp as ssqp
from lib.constrained.sketched_sqp import AdaSketchNewton, study

QUICK = {"inner_max": 20_000}


def same_history(a, b):
    return all(np.array_equal(a[name], b[name]) for name in a)


# --- the authors' records ---------------------------------------------------------------------------------------------


def test_the_papers_constants_are_the_defaults():
    defaults = {name: p.default for name, p in inspect.signature(AdaSketchNewton).parameters.items()}
    wanted = {"sketch_size": 1, "eta1": 1.0, "eta2": 0.1, "delta": 0.1, "xi_B": 0.1, "beta": 0.1, "nu": 1.5, "tol": 1e-4,
              "max_iter": 10_000, "inner_max": 100_000, "eps_H": 1e-6, "xi_G": 1e-2, "theta": None, "rtol": 0.0}  # fmt: skip
    assert {name: defaults[name] for name in wanted} == wanted
    from lib.constrained.sketched_sqp import method

    assert (method.MAX_ETA1, method.MIN_ETA2, method.MIN_DELTA) == (1e8, 1e-8, 1e-6)


@pytest.mark.parametrize("name", study.RECORDED)
def test_start_and_iterations_are_the_recorded_ones(name):
    start, iterations, *_ = study.RECORDED[name]
    res = AdaSketchNewton("exact").minimize(study.small_problem(name))
    np.testing.assert_allclose(res.history["kkt"][0], start, rtol=5e-6)  # six digits are recorded
    assert res.success
    assert abs(res.nit - iterations) <= study.SLACK.get(name, 1)


@pytest.mark.parametrize("name", sorted(set(study.NAMES) - set(study.RECORDED)))
def test_every_other_small_problem_is_solved_too(name):
    res = AdaSketchNewton("exact", xi_G=1e-6, max_iter=60).minimize(study.small_problem(name))
    assert res.success
    assert abs(res.constr).max() <= 1e-4


def test_the_authors_limit_of_the_jacobian_ends_two_of_the_small_problems():
    ended = {name for name in study.NAMES if AdaSketchNewton("exact").minimize(study.small_problem(name)).status == 4}
    assert ended == {"GOTTFR", "PRICE4NE"}
    assert len(study.NAMES) == 41


@pytest.mark.parametrize(("name", "best"), [("BT6", 0.277045), ("BT11", 0.824892), ("BT12", 6.18812), ("ORTHREGB", 0.0)])
def test_optimal_values_of_the_collection(name, best):
    res = AdaSketchNewton("exact", tol=1e-8, xi_G=1e-6).minimize(study.small_problem(name))
    np.testing.assert_allclose(res.fun, best, rtol=2e-6, atol=1e-12)


def test_bt6_is_hs77_with_the_square_of_another_variable():
    one, other = (study.small_problem(name) for name in ("BT6", "HS77"))
    x = np.array([1.0, 3.0, 2.0, 3.0, 0.5])  # x2 = x4
    assert one.values(x)[0] == other.values(x)[0]
    np.testing.assert_array_equal(one.values(x)[1], other.values(x)[1])
    x[1] = 2.0
    assert one.values(x)[1][1] != other.values(x)[1][1]


@pytest.mark.parametrize("name", ["HS6", "HS7", "HS28", "HS40", "BT3", "BT5"])
@pytest.mark.parametrize("sketch", ["rk", "gv"])
def test_sketched_runs_have_the_recorded_counts(name, sketch):
    res = AdaSketchNewton(sketch).minimize(study.small_problem(name), seed=0)
    halvings = round(-np.log2(res.history["alpha"]).sum())
    assert (res.nit, 2 + 4 * res.nit + 2 * halvings) == study.RECORDED[name][1:3]
    assert res.nfev == res.njev == 1 + res.nit + halvings
    assert (res.history["inner"] > 0).all()


@pytest.mark.parametrize("name", ["HS28", "HS48", "BT3"])
@pytest.mark.parametrize("sketch", ["rk", "gv"])
def test_quadratic_problems_take_one_iteration_and_one_round(name, sketch):
    res = AdaSketchNewton(sketch).minimize(study.small_problem(name), seed=1)
    assert res.nit == 1
    assert res.history["rounds"].tolist() == [1]


def test_the_control_problem():
    problem = study.pde_problem(3)
    exact = AdaSketchNewton("exact").minimize(problem)
    np.testing.assert_allclose(exact.history["kkt"][0], study.PDE_RECORDED, rtol=1e-9)
    assert exact.nit == 1
    assert exact.kkt < 1e-12
    rough = AdaSketchNewton("rk", accuracy=0.1).minimize(problem, seed=0)
    assert 5 <= rough.nit <= 7
    ratios = rough.history["kkt"][1:] / rough.history["kkt"][:-1]
    assert (ratios <= 0.1 * (1 + 1e-6)).all()
    np.testing.assert_allclose(ratios, rough.history["rel_residual"], rtol=1e-6)  # exact for quadratic problems
    half = AdaSketchNewton("rk", accuracy=0.5).minimize(problem, seed=0)
    assert (half.history["kkt"][1:] / half.history["kkt"][:-1] <= 0.5 * (1 + 1e-6)).all()


OPTIMA = {"HS7": -np.sqrt(3), "HS40": -0.25, "HS52": 1859 / 349, "HS77": 0.24150513, "BT5": 961.715172, "BT3": 4.0930233,
          "BT2": 0.0325682, "HS56": -3.456, "HS78": -2.91970041, "HS79": 0.0787768209, "HS100LNP": 680.630057,
          "HS42": 28 - 10 * np.sqrt(2), "GENHS28": 0.92717369}  # fmt: skip


@pytest.mark.parametrize("name", OPTIMA)
def test_values_are_the_published_optima(name):
    res = AdaSketchNewton("minres", tol=1e-8).minimize(study.small_problem(name))
    assert res.success
    np.testing.assert_allclose(res.fun, OPTIMA[name], rtol=1e-6)


@pytest.mark.parametrize("name", ["HS7", "HS40", "BT5", "HS77"])
def test_scipy_agrees(name):
    problem = study.small_problem(name)
    rule = so.NonlinearConstraint(lambda x: problem.values(x)[1], 0, 0, jac=lambda x: problem.first_order(x)[3])
    wanted = so.minimize(lambda x: problem.values(x)[0], problem.x0, jac=lambda x: problem.first_order(x)[2],
                         method="SLSQP", constraints=rule, tol=1e-12, options={"maxiter": 500})  # fmt: skip
    res = AdaSketchNewton("exact", tol=1e-9).minimize(problem)
    np.testing.assert_allclose(res.fun, wanted.fun, rtol=1e-6)


# --- limits and the adaptive loop -------------------------------------------------------------------------------------


def test_an_ascent_direction_makes_the_loop_change_the_penalties():
    from lib.constrained.sketched_sqp import method

    problem = study.small_problem("HS28")
    run = method._Run(AdaSketchNewton("exact"), problem, method.State(problem.x0, problem.lam0, 2.0, 0.1, 0.1, 0, np.nan, None))
    step = run.prepare()
    solve, calls = step.newton, []

    def backwards(b, z, tol, rng):
        solved = solve(b, z, tol, rng)
        calls.append(tol)
        return solved._replace(x=-solved.x) if len(calls) == 1 else solved

    _, decrease, record = run.direction(step._replace(newton=backwards))
    assert record["rounds"] == 2
    np.testing.assert_allclose([run.eta1, run.eta2], [2 * 1.5**2, 0.1 / 1.5])
    assert decrease <= -run.eta2 / 2 * run.kkt**2


def test_delta_follows_the_papers_recursion():
    from lib.constrained.sketched_sqp import lagrangian as al
    from lib.constrained.sketched_sqp import method

    problem = study.small_problem("HS28")
    run = method._Run(AdaSketchNewton("exact"), problem, method.State(problem.x0, problem.lam0, 1.0, 0.1, 0.1, 0, np.nan, None))
    step = run.prepare()._replace(psi=2.0, upsilon=1.0)
    run.sharpen(step, 1.0)
    np.testing.assert_allclose(run.delta, al.trial_delta(1.0, 0.1, 0.1, 2.0, 1.0))
    before = run.delta
    run.sharpen(step, 1.5**-4)
    np.testing.assert_allclose(run.delta, before / 1.5**4)
    np.testing.assert_allclose(run.wanted(step, 0), run.delta * run.kkt / (2.0 * step.scale))
    run.sharpen(step._replace(psi=1e9), 1.0)
    assert run.delta == 1e-6


def test_a_zero_theta_is_the_exact_trajectory():
    problem = study.small_problem("HS40")
    exact = AdaSketchNewton("exact").minimize(problem)
    sharp = AdaSketchNewton("rk", theta=lambda k: 0.0).minimize(problem, seed=0)
    np.testing.assert_allclose(sharp.history["kkt"][:-1], exact.history["kkt"][:-1], rtol=1e-9)
    assert (sharp.history["capped"] == 0).all()  # ends where rounding does


def test_vanishing_accuracy_is_superlinear():
    res = AdaSketchNewton("rk", accuracy=lambda k: 0.5 / (k + 1) ** 2, tol=1e-6).minimize(study.pde_problem(2), seed=0)
    ratios = res.history["kkt"][1:] / res.history["kkt"][:-1]
    assert (ratios <= 0.5 / np.arange(1, res.nit + 1) ** 2 * (1 + 1e-6)).all()


def test_theta_sharpens_the_papers_accuracy():
    problem = study.small_problem("BT3")
    one, tenth = (AdaSketchNewton("rk", theta=lambda k, t=t: t).minimize(problem, seed=0) for t in (1.0, 0.1))
    assert tenth.history["rel_residual"][0] < one.history["rel_residual"][0]


@pytest.mark.parametrize("size", [1, 2])
def test_blocks_and_sketch_sizes(size):
    problem = study.small_problem("BT5")
    runs = [AdaSketchNewton("rk", sketch_size=size, block=b).minimize(problem, seed=4) for b in (16, 128)]
    assert runs[0].ninner == pytest.approx(runs[1].ninner, rel=0.01)
    np.testing.assert_allclose(runs[0].x, runs[1].x, rtol=1e-6)


def test_merit_hessian_of_the_objective_is_right_for_linear_constraints_only():
    for name, equal in (("BT3", True), ("HS56", False)):
        pair = [
            AdaSketchNewton("exact", merit_hessian=kind).minimize(study.small_problem(name))
            for kind in ("lagrangian", "objective")
        ]
        assert pair[1].success
        assert np.array_equal(pair[0].history["eta1"], pair[1].history["eta1"]) == equal


# --- seeds, resuming, copies ------------------------------------------------------------------------------------------


def test_same_seed_same_run_other_seed_other_sketches():
    method, problem = AdaSketchNewton("rk"), study.small_problem("HS40")
    a, b, c = (method.minimize(problem, seed=s) for s in (0, 0, 1))
    assert same_history(a.history, b.history)
    np.testing.assert_array_equal(a.x, b.x)
    assert a.ninner != c.ninner


@pytest.mark.parametrize("sketch", ["rk", "exact"])
def test_a_run_resumes_in_the_middle(sketch):
    problem = study.small_problem("HS77")
    whole = AdaSketchNewton(sketch).minimize(problem, seed=3)
    first = AdaSketchNewton(sketch, max_iter=3).minimize(problem, seed=3)
    assert first.status == 1
    state = pickle.loads(pickle.dumps(first.state))
    for _ in range(2):  # a state can be used twice
        rest = AdaSketchNewton(sketch).minimize(problem, state=state)
        np.testing.assert_array_equal(np.append(first.history["kkt"], rest.history["kkt"][1:]), whole.history["kkt"])
        np.testing.assert_array_equal(rest.x, whole.x)


def test_objects_can_be_pickled_and_copied():
    method, problem = AdaSketchNewton("gv", beta=0.2), study.small_problem("BT9")
    for again in (pickle.loads(pickle.dumps((method, problem))), copy.deepcopy((method, problem))):
        assert vars(again[0]) == vars(method)
        np.testing.assert_array_equal(again[1].first_order(problem.x0)[3], problem.first_order(problem.x0)[3])
    assert repr(method) == "AdaSketchNewton(sketch='gv', beta=0.2)"


def torch_objective(x):
    return x[0] + x[1]


def torch_circle(x):
    return [x[0] ** 2 + x[1] ** 2 - 2]


def test_a_problem_of_torch_functions_can_be_pickled():
    problem = ssqp.EqualityProblem(torch_objective, torch_circle, [-2.0, 0.5])
    again = pickle.loads(pickle.dumps(problem))
    ends = [AdaSketchNewton("exact").minimize(p).x for p in (problem, again)]
    np.testing.assert_array_equal(*ends)


def test_a_user_function_that_writes_changes_nothing():
    def f(x):
        value = float(x @ x)
        x[:] = 99
        return value

    task = study.small_problem("BOOTH")
    problem = ssqp.EqualityProblem(f, lambda x: [x[0] + x[1] - 2], [3.0, 0.0], grad=lambda x: 2 * x,
                                   jac=lambda x: [[1.0, 1.0]], lag_hess=lambda x, lam: 2 * np.eye(2))  # fmt: skip
    np.testing.assert_allclose(AdaSketchNewton("exact").minimize(problem).x, [1, 1])
    assert task.x0.tolist() == [0, 0]


# --- SciPy's door -----------------------------------------------------------------------------------------------------


def sphere():
    return so.NonlinearConstraint(lambda x: x @ x, 3, 3, jac=lambda x: [2 * x], hess=lambda x, v: 2 * v[0] * np.eye(3))


def linear():
    return {"fun": lambda x, a: a @ x, "x0": [0.8, 1.2, 0.9], "jac": lambda x, a: a, "hess": lambda x, a: np.zeros((3, 3)),
            "args": (np.array([1.0, 1.0, 1.0]),), "tol": 1e-8}  # fmt: skip


def test_as_a_method_of_scipy():
    res = so.minimize(**linear() | {"x0": [-0.8, -1.2, -0.9]}, method=AdaSketchNewton("exact"), constraints=sphere(),
                      options={"lam0": [0.4]})  # fmt: skip
    assert res.success
    np.testing.assert_allclose(res.x, -np.ones(3), atol=1e-6)
    np.testing.assert_allclose(res.v, [0.5], atol=1e-6)


def test_scipys_forms_of_constraints_agree():
    flat = {
        "type": "eq",
        "fun": lambda x: x[0] - x[1] - 0.5,
        "jac": lambda x: [1.0, -1.0, 0.0],
        "hess": lambda x, v: np.zeros((3, 3)),
    }
    both = [[sphere(), flat], [sphere(), so.LinearConstraint([[1.0, -1.0, 0.0]], 0.5, 0.5)]]
    problem = linear() | {"x0": [-0.8, -1.4, -0.9]}
    found = [
        so.minimize(**problem, method=AdaSketchNewton("rk"), constraints=c, options={"seed": 0, "lam0": [0.4, 0.0]})
        for c in both
    ]
    assert found[0].success
    np.testing.assert_allclose(found[0].x, found[1].x, atol=1e-7)
    np.testing.assert_allclose(found[0].x[0] - found[0].x[1], 0.5)


def test_gradient_with_the_value_and_a_callback_that_stops():
    told = []

    def stop(intermediate_result):
        told.append(intermediate_result)
        if len(told) == 2:
            raise StopIteration

    res = so.minimize(lambda x: (so.rosen(x), so.rosen_der(x)), [0.5, 0.5, 0.3], jac=True, hess=so.rosen_hess,
                      method=AdaSketchNewton("exact"), constraints=sphere(), callback=stop)  # fmt: skip
    assert (res.status, res.nit, len(told)) == (99, 2, 2)
    assert not res.success
    assert told[-1].kkt == res.history["kkt"][-1]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"constraints": ()}, "constraints"),
        (
            {"constraints": so.NonlinearConstraint(lambda x: x @ x, 0, 3, jac=lambda x: [2 * x], hess=lambda x, v: np.eye(3))},
            "equalit",
        ),
        ({"constraints": so.NonlinearConstraint(lambda x: x @ x, 3, 3)}, "jac and hess"),
        ({"constraints": {"type": "ineq", "fun": lambda x: x[0]}}, "constraints"),
        ({"constraints": {"type": "eq", "fun": lambda x: x[0]}}, "'jac' and 'hess'"),
        ({"hess": None}, "hess"),
        ({"jac": None}, "jac"),
        ({"bounds": [(0, 1)] * 3}, "bounds"),
        ({"options": {"stepsize": 1.0}}, "stepsize"),
        ({"options": {"beta": 0.7}}, "beta"),
        ({"options": {"lam0": [1.0, 2.0]}}, "lam0"),
    ],
)
def test_what_scipys_door_refuses(change, named):
    with pytest.raises((TypeError, ValueError), match=named):
        so.minimize(**{**linear(), "method": AdaSketchNewton("exact"), "constraints": sphere(), **change})


# --- statuses and bad input -------------------------------------------------------------------------------------------


def test_a_singular_jacobian_is_a_status():
    flat = ssqp.EqualityProblem(lambda x: x[0], lambda x: [x[0] ** 2 + x[1] ** 2], [0.01, 0.01])
    res = AdaSketchNewton("rk").minimize(flat, seed=0)
    assert (res.status, res.success, res.nit) == (4, False, 0)
    assert "Jacobian" in res.message


def test_a_singular_kkt_matrix_is_a_status():
    line = study.quadratic_problem(np.zeros((2, 2)), [1.0, 1.0], [[1.0, 0.0]], [0.0], [1.0, 1.0])
    unmodified = AdaSketchNewton("exact", eps_H=0.0).minimize(line)
    assert unmodified.status in (2, 5)
    assert not unmodified.success


def test_a_hopeless_accuracy_tells_and_never_claims_success():
    res = AdaSketchNewton("rk", inner_max=1, max_iter=5).minimize(study.small_problem("BT2"), seed=0)
    assert not res.success
    assert res.status in (1, 2, 3)
    assert res.history["capped"].sum() == res.history["inner"].sum() or res.nit == 0


def test_tol_below_rounding_ends_without_success():
    res = AdaSketchNewton("exact", tol=0.0, max_iter=100).minimize(study.small_problem("BT5"))
    assert not res.success
    assert res.status in (1, 2)
    assert res.kkt < 1e-10


def test_rtol_is_relative_to_the_first_residual_also_after_resuming():
    problem = study.small_problem("HS50")
    res = AdaSketchNewton("exact", tol=0.0, rtol=1e-3).minimize(problem)
    kkt = res.history["kkt"]
    assert res.success
    assert kkt[-1] <= 1e-3 * kkt[0] < kkt[-2]
    part = AdaSketchNewton("exact", tol=0.0, rtol=1e-3, max_iter=2).minimize(problem)
    assert AdaSketchNewton("exact", tol=0.0, rtol=1e-3).minimize(problem, state=part.state).nit == res.nit - 2


def test_a_problem_that_turns_nan_is_a_status_or_a_shorter_step():
    wall = ssqp.EqualityProblem(lambda x: x[0], lambda x: [x[0].log() + x[1] ** 2 - 1], [0.5, 1.0])
    res = AdaSketchNewton("exact").minimize(wall)
    assert np.isfinite(res.x).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_at_the_start_must_be_finite(bad):
    for which in ("f", "c", "grad", "jac"):
        parts = {"f": lambda x: 1.0, "c": lambda x: [x[0]], "grad": lambda x: np.zeros(2), "jac": lambda x: [[1.0, 0.0]]}
        shape = {"f": (), "c": (1,), "grad": (2,), "jac": (1, 2)}[which]
        parts[which] = lambda x, shape=shape: np.full(shape, bad)
        with pytest.raises(ValueError, match=f"{which} must be finite"):
            ssqp.EqualityProblem(x0=[1.0, 1.0], lag_hess=lambda x, lam: np.eye(2), **parts)


def test_a_transposed_jacobian_is_refused_and_a_row_may_be_a_vector():
    rows = np.array([[1.0, 2.0, 0.0], [0.0, 1.0, 3.0]])
    five = {
        "f": lambda x: x @ x,
        "c": lambda x: rows @ x - 1,
        "grad": lambda x: 2 * x,
        "lag_hess": lambda x, lam: 2 * np.eye(3),
    }
    with pytest.raises(ValueError, match=r"jac must return an array of shape \(2, 3\), got \(3, 2\)"):
        ssqp.EqualityProblem(**five, jac=lambda x: rows.T, x0=np.ones(3))
    one = five | {"c": lambda x: rows[0] @ x - 1}
    for jac in (rows[0], rows[:1]):
        problem = ssqp.EqualityProblem(**one, jac=lambda x, jac=jac: jac, x0=np.ones(3))
        np.testing.assert_array_equal(problem.first_order(problem.x0)[3], rows[:1])


def test_shapes_and_types_that_do_not_fit_are_refused():
    five = {"f": lambda x: x[0], "c": lambda x: [x[0], x[1], x[0]]}
    with pytest.raises(ValueError, match="1 to 2 numbers"):
        ssqp.EqualityProblem(**five, x0=[1.0, 1.0])
    with pytest.raises(TypeError, match="float64"):
        ssqp.EqualityProblem(lambda x: x[0], lambda x: [x[0]], np.ones(2, dtype=np.float32))
    with pytest.raises(ValueError, match="grad only"):
        ssqp.EqualityProblem(lambda x: x[0], lambda x: [x[0]], [1.0, 1.0], grad=lambda x: x)
    with pytest.raises(ValueError, match=r"lam0 must have shape \(1,\)"):
        ssqp.EqualityProblem(lambda x: x[0], lambda x: [x[0]], [1.0, 1.0], lam0=[0.0, 0.0])
    problem = study.small_problem("BT3")
    with pytest.raises(ValueError, match="x0"):
        AdaSketchNewton().minimize(problem, [1.0])
    with pytest.raises(TypeError, match="problem"):
        AdaSketchNewton().minimize(so.rosen)
    with pytest.raises(TypeError, match="state"):
        AdaSketchNewton().minimize(problem, state={"x": 1})
    with pytest.raises(ValueError, match=r"accuracy\(k\)"):
        AdaSketchNewton(accuracy=lambda k: -1.0).minimize(problem)
    with pytest.raises(ValueError, match=r"theta\(k\)"):
        AdaSketchNewton(theta=lambda k: 2.0).minimize(problem)
    for wrong in (
        {"sketch": "sor"},
        {"accuracy": "loose"},
        {"beta": 0.5},
        {"nu": 1.0},
        {"tol": "1e-4"},
        {"merit_hessian": "none"},
    ):
        with pytest.raises((TypeError, ValueError), match=next(iter(wrong))):
            AdaSketchNewton(**wrong)


# --- the larger problems ----------------------------------------------------------------------------------------------


def test_derivatives_of_the_larger_problems():
    problem = study.logistic_problem(*study.logistic_data("breast_cancer", 60), seed=1)
    rng = np.random.default_rng(0)
    x, lam, v, h = rng.standard_normal(problem.n) / 5, rng.standard_normal(problem.m), rng.standard_normal(problem.n), 1e-5
    (f1, c1, g1, G1), (f0, c0, g0, G0) = (problem.first_order(x + s * h * v) for s in (1, -1))
    _, _, g, G = problem.first_order(x)
    np.testing.assert_allclose(g @ v, (f1 - f0) / (2 * h), rtol=1e-6)
    np.testing.assert_allclose(G @ v, (c1 - c0) / (2 * h), rtol=1e-6)
    np.testing.assert_allclose(problem.lag_hess(x, lam) @ v, (g1 - g0 + lam @ (G1 - G0)) / (2 * h), rtol=1e-5, atol=1e-8)


def test_the_control_problem_is_poissons_equation():
    problem, N = study.pde_problem(4), 4
    W = np.random.default_rng(0).standard_normal((N, N))
    padded, h = np.pad(W, 1), 2 / 5
    laplace = (padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:] - 4 * W) / h**2
    c = problem.values(np.concatenate([W.ravel(order="F"), -laplace.ravel(order="F")]))[1]
    np.testing.assert_allclose(c, 0, atol=1e-12)


def test_the_well_conditioned_problem_is_well_conditioned():
    problem = study.well_conditioned_problem(50, seed=0)
    from lib.constrained.sketched_sqp.lagrangian import kkt_matrix

    _, _, _, G = problem.first_order(problem.x0)
    assert np.linalg.cond(kkt_matrix(problem.lag_hess(problem.x0, problem.lam0), G)) < 4
    res = AdaSketchNewton("rk", accuracy=0.1).minimize(problem, seed=0)
    assert res.success
