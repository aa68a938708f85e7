"""AdaSketch-Newton: one Newton system by sketches and by peers, whole runs against SciPy, growth of the sketches with size."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.optimize as so

from lib import experiment
from lib.constrained import sketched_sqp as ssqp
from lib.constrained.sketched_sqp import study

#: Peer -> why ours takes longer.
SLOWER = {
    "numpy.linalg.solve": "row sketches in Python against LAPACK: a factorization is cheaper at 400 unknowns",
    "scipy minres": "a well-conditioned system needs a handful of products; sketched rows need many",
}

SLUG = "sketched_sqp"


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    experiment.one_thread()


@pytest.mark.parametrize("peer", [None, "numpy.linalg.solve", "scipy minres"])
def test_one_system(benchmark, peer):
    benchmark.extra_info.update(slug=SLUG, work="a well-conditioned system of 400 to a residual of one tenth", peer=peer)
    system = study.newton_systems(study.well_conditioned_problem(400, 0))[0]
    solver = {None: "rk", "numpy.linalg.solve": "exact", "scipy minres": "minres"}[peer]
    steps, reached = benchmark.pedantic(lambda: study.steps_to(system, solver, 0.1, 0), rounds=3)
    assert reached
    assert steps >= 1


@pytest.mark.parametrize("peer", [None, "one step at a time"])
def test_a_thousand_sketches(benchmark, peer):
    benchmark.extra_info.update(slug=SLUG, work="a thousand Kaczmarz steps, 100 unknowns", peer=peer)
    system = study.newton_systems(study.well_conditioned_problem(100, 0))[0]
    block = 1 if peer else 128
    found = benchmark.pedantic(lambda: ssqp.sketch_and_project(*system, block=block, tol=0, max_steps=1000, seed=0), rounds=3)
    assert found.residual < np.linalg.norm(system.b)


@pytest.mark.parametrize("peer", [None, "scipy SLSQP", "scipy trust-constr"])
def test_to_equal_residual(benchmark, peer):
    benchmark.extra_info.update(slug=SLUG, work="BT5 to its minimum, factorized directions", peer=peer)
    problem = study.small_problem("BT5")
    curved = {"hess": lambda x, v: problem.lag_hess(x, v) - problem.lag_hess(x, 0 * v)} if peer == "scipy trust-constr" else {}
    slopes = {"jac": lambda x: problem.first_order(x)[3], **curved}
    rule = so.NonlinearConstraint(lambda x: problem.values(x)[1], 0, 0, **slopes)

    def run():
        if peer is None:
            return ssqp.AdaSketchNewton("exact").minimize(problem).fun
        name = peer.removeprefix("scipy ")
        more = {"hess": lambda x: problem.lag_hess(x, np.zeros(2))} if name == "trust-constr" else {}
        return so.minimize(lambda x: problem.values(x)[0], problem.x0, jac=lambda x: problem.first_order(x)[2],
                           method=name, constraints=rule, **more).fun  # fmt: skip

    np.testing.assert_allclose(benchmark.pedantic(run, rounds=3), 961.715172, rtol=1e-5)


@pytest.mark.parametrize("size", [100, 200, 400])
def test_growth_with_the_size(benchmark, size):
    benchmark.extra_info.update(slug=SLUG, work="a well-conditioned problem by Kaczmarz, accuracy 0.1", size=size)
    problem = study.well_conditioned_problem(size, 0)
    method = ssqp.AdaSketchNewton("rk", accuracy=0.1)
    assert benchmark.pedantic(lambda: method.minimize(problem, seed=0), rounds=2).success
