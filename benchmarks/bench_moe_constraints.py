"""PI-HC-MoE: batched solves against SciPy one by one, costs against the number of experts, and a classical method."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.optimize as so
import torch

from lib import experiment
from lib.constrained import moe_constraints as moe
from lib.constrained.moe_constraints import pde, study

#: Peer -> why ours takes longer.
SLOWER = {
    "implicit Euler": "the solver also fits the experts' coefficients; the stepper knows the equation's parameters",
}

SLUG = "moe_constraints"
STARTS = np.linspace(0.02, 0.19, 8)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    experiment.one_thread()


def basis(task: moe.DiffusionSorption, n: int) -> torch.Tensor:
    fields = task.reference(np.linspace(0.03, 0.18, n))
    return torch.from_numpy(fields).movedim(0, -1).expand(8, *task.shape, n)


@pytest.mark.parametrize("peer", [None, "scipy least_squares"])
def test_thirty_two_solves(benchmark, peer):
    benchmark.extra_info.update(slug=SLUG, work="8 fields of 4 experts, 32 x 32 points, 4 functions", peer=peer)
    task = moe.DiffusionSorption(32, 32)
    layer, functions = moe.ConstraintMoE(task, (1, 4), tol=1e-8, max_iter=200), basis(task, 4)
    rows = layer.rows(functions, task.check_condition(STARTS))

    def one_by_one() -> list[float]:
        costs = []
        for p in range(32):
            own = pde.Rows(rows.points[:, [p]], None, rows.fixed[[p]], rows.target[[p]])
            costs.append(
                so.least_squares(
                    lambda w, own=own: task.residual(torch.from_numpy(w)[None], own)[0].numpy(),
                    np.ones(4),
                    jac=lambda w, own=own: task.jacobian(torch.from_numpy(w)[None], own)[0].numpy(),
                    method="lm",
                ).cost
            )
        return costs

    run = one_by_one if peer else (lambda: layer(functions, STARTS).cost.flatten().tolist())
    assert max(benchmark.pedantic(run, rounds=2)) < 1.0


@pytest.mark.parametrize("size", [1, 4, 16])
def test_solve_against_the_number_of_experts(benchmark, size):
    benchmark.extra_info.update(slug=SLUG, work="8 fields, 32 x 64 points, 8 functions, experts", size=size)
    task = moe.DiffusionSorption(32, 64)
    layer, functions = moe.ConstraintMoE(task, (1, size)), basis(task, 8)
    assert benchmark.pedantic(lambda: layer(functions, STARTS), rounds=2).u.isfinite().all()


@pytest.mark.parametrize("size", [1, 2, 4, 8])
def test_training_step_against_the_number_of_experts(benchmark, size):
    benchmark.extra_info.update(slug=SLUG, work="five training steps, 32 x 32 points, experts", size=size)
    model = study.build("experts", moe.DiffusionSorption(32, 32), 4, (1, size))
    benchmark.pedantic(lambda: model.fit(STARTS, 5), rounds=2)


@pytest.mark.parametrize("peer", [None, "implicit Euler"])
def test_fields_of_eight_initial_values(benchmark, peer):
    benchmark.extra_info.update(slug=SLUG, work="fields of 8 initial values, 32 x 32 points, untrained", peer=peer)
    task = moe.DiffusionSorption(32, 32)
    model = study.build("experts", task, 4)
    run = (lambda: study.implicit_euler(task, STARTS)) if peer else (lambda: model.predict(STARTS))
    assert np.isfinite(benchmark.pedantic(run, rounds=2)).all()
