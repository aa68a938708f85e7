"""What the theorem speaks of on toy 2: the exact saddle point, the residual, slopes; records of runs; settings of races."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lib.constrained.lv_hba import LVHBA, prox_lagrangian_value, study
from lib.constrained.lv_hba.core import State
from lib.constrained.lv_hba.study.loops import follow, steps_of, times
from lib.constrained.lv_hba.study.rates import Rates
from lib.constrained.lv_hba.study.toys import Affine, times_vector

CALM = LVHBA(0.2, 0.4, 0.4, gamma1=0.8, gamma2=1.7, max_iter=30)


@pytest.fixture(scope="module")
def toy():
    return study.affine_toy(6, 4, 2, seed=0, n_draws=2)


def only(toy, k):
    return Affine(*(getattr(toy, name)[k] for name in ("A", "H", "B", "c", "d", "onto", "answer")))


def test_gap_and_residual_are_those_of_the_accurate_oracle(toy):
    start, p = study.authors_start(toy), [0.1, 0.4]
    found = study.affine_rates(toy, start, CALM, p, n_records=500)
    assert found.k.tolist() == list(range(1, 31))
    one, steps = only(toy, 1), steps_of(CALM, float(toy.scale[1]))
    P = torch.cat([torch.cat([one.H, one.A], -1), torch.cat([one.B, 0 * one.B], -1)])
    inside = torch.eye(12, dtype=P.dtype) - torch.linalg.pinv(P) @ P
    seen = []

    def visit(_, new: State, c):
        value = prox_lagrangian_value(one.problem(), new.x, new.y, new.z, 0.8, 1.7, scale=float(steps.scale), tol=1e-12)
        fx, fy = one.lower_slopes(new.x, new.y)
        Fx, Fy = one.upper_slopes(new.x, new.y)
        off = torch.cat([Fx + c * (fx - value.slope_x), Fy + c * (fy - value.slope_y)])
        residual = float(torch.cat([inside @ off, c * value.slope_z]).norm())
        seen.append((float(one.lower(new.x, new.y)) - value.value, residual))

    follow(one.problem(), start[0][1], start[1][1], steps, lambda k: (k + 1) ** 0.4, 30, visit)
    gaps, residuals = np.array(seen).T
    np.testing.assert_allclose(found.gap[:, 1, 1], gaps, rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(found.residual[:, 1, 1], np.minimum.accumulate(residuals), rtol=1e-5)


def test_every_iteration_counts_for_the_least_residual(toy):
    start = study.authors_start(toy)
    dense, sparse = (study.affine_rates(toy, start, CALM, [0.3], n_records=n) for n in (500, 2))
    np.testing.assert_allclose(sparse.residual[-1], dense.residual[-1])
    assert sparse.k.tolist() == [1, 30]


def test_slopes_are_exponents():
    k = np.arange(1, 201)
    power = k[:, None, None] ** np.array([[-0.3, -1.0]])
    assert Rates(k, power, power).slope("gap") == pytest.approx(np.array([[-0.3, -1.0]]))
    broken = np.where(k < 20, 1.0, 0.5 * (k / 20.0) ** -0.2)[:, None, None]
    assert Rates(k, broken, broken).slope("residual").item() == pytest.approx(-0.2)
    with pytest.raises(ValueError, match="name"):
        Rates(k, power, power).slope("saddle")


def test_records_end_with_the_last_iteration():
    for n, m in ((100, 1), (100, 2), (7, 30), (1, 1)):
        assert times(n, m)[-1] == n
    assert times(100, 1) == [100]
    assert times(3, 50) == [1, 2, 3]


def test_settings_with_steps_are_those_of_a_solver(toy):
    start = study.authors_start(toy)
    table = [(1.0, 0.3, 0.1, 0.2, 0.3), (2.0, 0.3, 0.2, 0.1, 0.1)]
    both = study.race_lvhba(toy, start, LVHBA(max_iter=20), table, 1)
    alone = study.race_lvhba(toy, start, LVHBA(0.2, 0.1, 0.1, max_iter=20), [(2.0, 0.3)], 1)
    np.testing.assert_allclose(both.score[-1, 1], alone.score[-1, 0], rtol=1e-10)
    assert both.gradients.tolist() == [80]
    for bad in ([(1.0, 0.3, 0.1)], [(1.0, 0.3, 0.1, 0.0, 0.1)], [(0.0, 0.3)], [(1.0, 0.5)]):
        with pytest.raises(ValueError, match="settings"):
            study.race_lvhba(toy, start, LVHBA(max_iter=2), bad)


def test_products_of_many_vectors_are_those_of_each(toy):
    v = torch.from_numpy(np.random.default_rng(0).normal(size=(3, 2, 6)))
    together = times_vector(toy.A, v)
    for s in range(3):
        for b in range(2):
            np.testing.assert_allclose(together[s, b], toy.A[b] @ v[s, b])
            np.testing.assert_allclose(times_vector(toy.A, v[s])[b], toy.A[b] @ v[s, b])
            np.testing.assert_allclose(times_vector(toy.A[0], v)[s, b], toy.A[0] @ v[s, b])


def test_authors_start_is_the_nearest_pair_to_ten(toy):
    x, y = study.authors_start(toy)
    assert x.shape == (2, 6)
    assert float(toy.constraints(x, y).abs().max()) < 1e-10
    assert float(times_vector(toy.B, x).abs().max()) < 1e-10
    again = toy.project(x, y)
    np.testing.assert_allclose(again[0], x, atol=1e-10)
    assert study.authors_start(study.merely_convex_toy(3))[0].shape == (1, 3)
    with pytest.raises(TypeError, match="toy"):
        study.authors_start(3)


def test_rates_refuse_what_the_theorem_does(toy):
    with pytest.raises(ValueError, match="exponents"):
        study.affine_rates(toy, study.authors_start(toy), CALM, [0.5])
    with pytest.raises(TypeError, match="toy"):
        study.affine_rates(study.merely_convex_toy(3), study.authors_start(toy), CALM, [0.3])
    with pytest.raises(TypeError, match="solver"):
        study.affine_rates(toy, study.authors_start(toy), 3, [0.3])
