"""What every function that returns an `OptimizeResult` must hold. To enroll a new one, add a line to SOLVERS."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from scipy.optimize import OptimizeResult

from lib.backprop_free import cbo, directional_attacks, fzoos
from lib.constrained import moe_constraints, sketched_sqp, topo_swaps
from lib.gradient import gradient_normalized_smoothness, lr_refinement
from lib.objectives import pareto_da
from lib.online import alf_lb, online_matching, sor_bandit
from lib.policies import constrained_rlhf


def bowl(x):
    return 0.5 * (np.asarray(x) ** 2).sum(-1)


def slope(x):
    return np.asarray(x)


START = np.array([2.0, -1.0])
MATRIX = np.diag([4.0, 3.0, 2.0]) + np.eye(3, k=1) + np.eye(3, k=-1)
HILL = directional_attacks.SurrogateProblem(torch.tanh, lambda y: -((y - 0.5) ** 2).sum())
GRAPH = np.array([[0.5, 0.5, 0.5], [0.5, 0.5, 0.0]])
MOMENTS = np.array([[1.0, 0.5, 0.2], [0.5, 2.0, 0.4], [0.2, 0.4, 3.0]])

#: Name -> the call, and the arrays that it is given.
SOLVERS = {
    "minimize_cbo": (lambda x: cbo.minimize_cbo(bowl, mean=x, max_iter=20, seed=0), START),
    "minimize_consensus_hopping": (lambda x: cbo.minimize_consensus_hopping(bowl, x, max_iter=20, seed=0), START),
    "gradient_descent": (lambda x: cbo.gradient_descent(slope, x, step=0.1, max_iter=20), START),
    "langevin": (lambda x: cbo.langevin(slope, x, max_iter=20, seed=0), START),
    "minimizing_movement": (lambda x: cbo.minimizing_movement(bowl, x, 0.5, max_iter=3, seed=0), START),
    "topological_swaps": (lambda S: topo_swaps.topological_swaps(S, [2, 1, 0]), MOMENTS),
    "optimal_steps": (lambda G: lr_refinement.optimal_steps(G, D=1.0), np.array([2.0, 1.0, 1.5, 3.0])),
    "minimize_gns": (
        lambda x: gradient_normalized_smoothness.minimize_gns(bowl, x, jac=slope, hess=lambda x: np.eye(len(x))),
        START,
    ),
    "sor": (lambda b: sor_bandit.sor(MATRIX, b, 1.2), np.ones(3)),
    "cg": (lambda b: sor_bandit.cg(MATRIX, b), np.ones(3)),
    "federated_minimize": (
        lambda x: fzoos.federated_minimize([bowl], x, bounds=(-3.0, 3.0), rounds=2, n_features=50, n_server=5, seed=0),
        START,
    ),
    "maximize_hybrid": (lambda x: directional_attacks.maximize_hybrid(HILL, x, seed=0), START),
    "maximize_cdsm": (lambda x: directional_attacks.maximize_cdsm(HILL, x, seed=0), START),
    "maximize_attacks": (lambda x: directional_attacks.maximize_attacks(HILL, x), START),
    "maximize_random_line_search": (lambda x: directional_attacks.maximize_random_line_search(HILL, x, seed=0), START),
    "AdaSketchNewton": (
        lambda x: sketched_sqp.AdaSketchNewton("rk").minimize(
            sketched_sqp.EqualityProblem(lambda z: z @ z, lambda z: [z[0] + z[1] - 1], x), seed=0
        ),
        START,
    ),
    "levenberg_marquardt": (
        lambda x: moe_constraints.levenberg_marquardt(lambda w: w @ torch.from_numpy(MATRIX) - 1, x),
        np.ones(3),
    ),
    "matching_lp": (online_matching.matching_lp, GRAPH),
    "configuration_lp": (online_matching.configuration_lp, GRAPH),
    "stochastic_configuration_lp": (online_matching.stochastic_configuration_lp, GRAPH),
    "pareto_weights": (lambda C: pareto_da.pareto_weights(C, [1.0, -0.5, 0.2]), MOMENTS),
    "solve_assignment_lp": (
        lambda G: alf_lb.solve_assignment_lp(G, 1),
        np.array([[0.9, 0.2], [0.8, 0.4], [0.1, 0.3], [0.6, 0.5]]),
    ),
    "ssor_pcg": (lambda b: sor_bandit.ssor_pcg(MATRIX, b, 1.2), np.ones(3)),
    "nelder_mead_thresholds": (
        lambda S: constrained_rlhf.nelder_mead_thresholds(lambda t: -float(((t - 0.3) ** 2).sum()), S),
        np.array([[0.0, 0.0], [0.4, 0.0], [0.0, 0.4]]),
    ),
}


@pytest.fixture(params=SOLVERS, ids=str)
def case(request):
    solve, given = SOLVERS[request.param]
    return solve, given.copy()


def test_result_has_the_usual_fields(case):
    solve, given = case
    result = solve(given)
    assert isinstance(result, OptimizeResult)
    assert np.isfinite(result.x).all()
    assert int(result.nit) == result.nit >= 1
    assert isinstance(result.success, bool)
    assert result.success


def test_repeats_itself_and_leaves_its_input_and_the_global_generator_alone(case):
    solve, given = case
    before, state = given.copy(), copy.deepcopy(np.random.get_state())  # noqa: NPY002 - it is what must stay
    first, second = solve(given), solve(given)
    np.testing.assert_array_equal(first.x, second.x)
    np.testing.assert_array_equal(given, before)
    np.testing.assert_array_equal(np.random.get_state()[1], state[1])  # noqa: NPY002


def test_lists_are_as_good_as_arrays(case):
    solve, given = case
    np.testing.assert_array_equal(solve(given.tolist()).x, solve(given).x)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_refused(case, bad):
    solve, given = case
    given.flat[1] = bad
    with pytest.raises(ValueError, match=r"NaN|finite|inf"):
        solve(given)
