"""The heat equation and the sequence runners of `lib.online.sor_bandit`."""

from __future__ import annotations

from itertools import islice
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
import scipy.sparse.linalg as sla
from scipy.optimize import OptimizeResult

from lib.online.sor_bandit import (
    ChebCB,
    FixedArm,
    Policy,
    TsallisINF,
    cg,
    replay,
    run_sequence,
    sor,
    ssor_pcg,
)
from lib.online.sor_bandit.study import (
    HeatEquation2D,
    ShiftedLaplacians,
    best_fixed,
    bump,
    central_minimizer,
    cost_ratios,
    golden_section,
    heat_cost_table,
    instance_optimal,
    laplacian,
    paper_coefficient,
    paper_forcing,
    sor_cost_table,
    time_together,
)

GRID = np.linspace(1.0, 1.95, 20)


# The heat equation


def test_systems_are_crank_nicolson_with_half_step_coefficients() -> None:
    heat, dt = HeatEquation2D(6, 0.01), 0.01
    negative_laplacian = 36 * laplacian(5).toarray()
    u = heat.u
    for step in range(70):
        A, b, context = next(heat)
        half = (step + 0.5) * dt
        C = 0.5 * dt * paper_coefficient(half) * negative_laplacian
        np.testing.assert_allclose(A.toarray(), np.eye(25) + C, atol=1e-12)
        np.testing.assert_allclose(b, u - C @ u + dt * paper_forcing(half, heat.points), atol=1e-12)
        assert context == pytest.approx(paper_coefficient(step * dt), abs=1e-12)
        u = np.linalg.solve(A.toarray(), b)
        heat.advance(u)
    assert heat.t == pytest.approx(0.7)


def test_points_and_initial_state_follow_the_row_order_of_the_laplacian() -> None:
    heat = HeatEquation2D(4, initial=lambda points: points[:, 0] + 10 * points[:, 1])
    np.testing.assert_allclose(heat.points[:4], [[0.25, 0.25], [0.25, 0.5], [0.25, 0.75], [0.5, 0.25]])
    np.testing.assert_allclose(heat.u[:2], [2.75, 5.25])


def test_a_sine_mode_decays_at_the_discrete_rate() -> None:
    nx, dt, a = 8, 0.01, 0.3

    def mode(points: np.ndarray) -> np.ndarray:
        return np.sin(np.pi * points[:, 0]) * np.sin(2 * np.pi * points[:, 1])

    heat = HeatEquation2D(nx, dt, lambda t: a, lambda t, points: np.zeros(len(points)), mode)
    start = heat.u
    for _ in islice(heat, 11):
        pass
    rate = 4 * nx**2 * (np.sin(np.pi / (2 * nx)) ** 2 + np.sin(np.pi / nx) ** 2)
    factor = (1 - a * dt * rate / 2) / (1 + a * dt * rate / 2)
    assert heat.step == 10  # the eleventh system is still open
    np.testing.assert_allclose(heat.u, factor**10 * start, atol=1e-13)


@pytest.mark.parametrize("policy", [FixedArm(20, 3), TsallisINF(20, seed=0), ChebCB(20, 6, (0.0, 10.0), seed=0)])
def test_any_policy_follows_the_direct_sparse_solution(policy: Policy) -> None:
    heat, direct = HeatEquation2D(12, 5e-3, stop_time=1.0), HeatEquation2D(12, 5e-3, stop_time=1.0)
    run_sequence(heat, policy, GRID, ssor_pcg)
    for A, b, _ in direct:
        direct.advance(sla.spsolve(A.tocsc(), b))
    assert heat.step == direct.step == 200
    np.testing.assert_allclose(heat.u, direct.u, atol=1e-6)


@pytest.mark.slow
def test_the_paper_simulation_ends_at_the_known_sum() -> None:
    heat = HeatEquation2D()
    run_sequence(heat, FixedArm(1, 0), [1.4], ssor_pcg)
    exact = HeatEquation2D()
    for _ in exact:
        pass
    assert len(exact) == exact.step == 5000
    # Computed once by an independent program that used sparse LU.
    assert exact.u.sum() == pytest.approx(15.515735, abs=1e-6)
    np.testing.assert_allclose(heat.u, exact.u, atol=1e-6)


def test_iteration_without_advance_uses_the_exact_solution_and_ends() -> None:
    heat = HeatEquation2D(6, 0.02, stop_time=0.2)
    u = heat.u
    for A, b, _ in heat:
        np.testing.assert_allclose(heat.u, u, atol=1e-12)
        u = np.linalg.solve(A.toarray(), b)
    np.testing.assert_allclose(heat.u, u, atol=1e-12)
    assert heat.step == len(heat) == 10
    assert next(heat, None) is None
    heat.reset()
    assert (heat.step, heat.t) == (0, 0.0)
    assert next(heat)[2] == 0.0


def test_coefficient_and_bump_have_their_extremes() -> None:
    values = [paper_coefficient(t) for t in np.linspace(0, 1, 401)]
    assert min(values) >= 0.0
    assert max(values) == pytest.approx(10.0)
    assert paper_coefficient(0.25) == pytest.approx(0.1)
    assert paper_coefficient(0.75) == pytest.approx(10.0)
    points = np.array([[0.5, 0.5], [0.6, 0.5], [0.75, 0.5], [0.9, 0.9]])
    np.testing.assert_allclose(bump(points, [0.5, 0.5], 0.25), [1, np.exp(1 - 1 / (1 - 0.16)), 0, 0], atol=1e-15)
    assert paper_forcing(0.0, np.array([[0.75, 0.5]]))[0] == pytest.approx(32.0)


def test_heat_table_equals_live_runs() -> None:
    table = heat_cost_table(HeatEquation2D(15, 5e-3), GRID, 150)
    assert table["costs"].shape == (150, 20)
    for policy in (FixedArm(20, 7), TsallisINF(20, seed=1), ChebCB(20, 6, (0.0, 10.0), seed=1)):
        live = run_sequence(HeatEquation2D(15, 5e-3), policy, GRID, ssor_pcg, n_rounds=150)
        np.testing.assert_array_equal(live["costs"], table["costs"][np.arange(150), live["actions"]])
    plain = heat_cost_table(HeatEquation2D(15, 5e-3), None, 30)["costs"][:, 0]
    live = run_sequence(HeatEquation2D(15, 5e-3), FixedArm(1, 0), [1.0], lambda A, b, w, x0: cg(A, b, x0=x0), n_rounds=30)
    np.testing.assert_array_equal(live["costs"], plain)


def test_steps_that_repeat_are_not_solved_again() -> None:
    # With a step of 0.005 the coefficient and the forcing of the paper repeat after 200 steps.
    whole = heat_cost_table(HeatEquation2D(9, 5e-3), GRID[::4], 700)
    copied = heat_cost_table(HeatEquation2D(9, 5e-3), GRID[::4], 700, period=200)
    np.testing.assert_array_equal(copied["costs"], whole["costs"])
    np.testing.assert_array_equal(copied["contexts"], whole["contexts"])
    assert whole["solved"].all()
    # The first period starts from another state than the second; the third is the second.
    assert copied["solved"][:300].all()
    assert not copied["solved"][400:].any()


@pytest.mark.parametrize("period", [150, 1])
def test_steps_that_do_not_repeat_are_solved(period: int) -> None:
    assert heat_cost_table(HeatEquation2D(5, 5e-3), None, 450, period=period)["solved"].all()
    growing = HeatEquation2D(5, 5e-3, forcing=lambda t, points: (1 + t) * np.ones(len(points)))
    assert heat_cost_table(growing, None, 450, period=200)["solved"].all()
    with pytest.raises(ValueError, match="period must be an integer at least 1"):
        heat_cost_table(HeatEquation2D(5), None, 3, period=0)


def test_ways_are_timed_on_the_same_sequence() -> None:
    ways = {"good": (FixedArm(2, 1), ssor_pcg), "plain": (FixedArm(2, 0), lambda A, b, w, x0: cg(A, b, x0=x0))}
    told = time_together(lambda: HeatEquation2D(9, 5e-3), ways, [1.0, 1.4], 130, block=40)
    for name, solver, grid in (("good", ssor_pcg, [1.4]), ("plain", ways["plain"][1], [1.0])):
        alone = run_sequence(HeatEquation2D(9, 5e-3), FixedArm(1, 0), grid, solver, n_rounds=130)
        assert told[name].iterations == alone["costs"].sum()
        assert told[name].seconds == told[name].solving + told[name].learning > told[name].solving > 0.0
    told |= {"chebcb": told["good"], "tsallis": told["good"], "constant": told["good"], "cg": told["plain"]}
    ratios = cost_ratios(told)
    assert ratios["iterations"] == 1.0
    assert ratios["constant"] == ratios["tsallis"] == pytest.approx(1.0 + ratios["learner"])
    assert ratios["cg"] == told["good"].seconds / told["plain"].solving
    with pytest.raises(ValueError, match="block must be an integer at least 1"):
        time_together(lambda: HeatEquation2D(9), ways, [1.0, 1.4], 5, block=0)


def test_heat_equation_refuses_bad_input() -> None:
    with pytest.raises(ValueError, match="nx must be an integer at least 2"):
        HeatEquation2D(1)
    with pytest.raises(ValueError, match="dt must be a finite number"):
        HeatEquation2D(5, 0.0)
    with pytest.raises(ValueError, match="coefficient must be finite and nonnegative"):
        next(HeatEquation2D(5, coefficient=lambda t: -1.0))
    heat = HeatEquation2D(5)
    with pytest.raises(ValueError, match=r"u must have shape \(16\)"):
        heat.advance(np.ones(15))


# Sequences


def test_shifted_laplacians_are_what_they_say_and_share_targets() -> None:
    low, high = (ShiftedLaplacians(60, variance, m=4, seed=3) for variance in ("low", "high"))
    np.testing.assert_array_equal(low.targets, high.targets)
    np.testing.assert_array_equal(low.contexts, ShiftedLaplacians(60, "low", m=5, seed=3).contexts)
    assert not np.array_equal(low.contexts, high.contexts)
    for (A, b, context), c, target in zip(low, low.contexts, low.targets, strict=True):
        np.testing.assert_array_equal(A.toarray(), laplacian(4, c).toarray())
        np.testing.assert_array_equal(b, target)
        assert context == c
    np.testing.assert_array_equal(ShiftedLaplacians(60, "low", m=4, seed=3).contexts, low.contexts)
    assert not np.array_equal(ShiftedLaplacians(60, "low", m=4, seed=4).contexts, low.contexts)


def test_replay_of_the_table_equals_the_live_sequence() -> None:
    problems = ShiftedLaplacians(60, "high", m=5, seed=0)
    table = sor_cost_table(4 + problems.contexts, 1.0, problems.targets, GRID)
    for make in (lambda: TsallisINF(20, seed=2), lambda: ChebCB(20, 6, (-0.15, 0.65), seed=2)):
        live = run_sequence(problems, make(), GRID, sor)
        replayed = replay(table, make(), problems.contexts)
        for key in ("costs", "actions"):
            np.testing.assert_array_equal(live[key], replayed[key])


class Recorder(Policy):
    """Plays the arms in turn and remembers what it is told."""

    def __init__(self, n_arms: int) -> None:
        super().__init__(n_arms)
        self.told: list[float] = []
        self.contexts: list[float | None] = []

    def _distribution(self, context: float | None) -> np.ndarray:
        self.contexts.append(context)
        return np.eye(self.n_arms)[len(self.told) % self.n_arms]

    def _learn(self, arm: int, cost: float) -> None:
        self.told.append(cost)


def test_policy_is_told_its_own_cost_and_solver_gets_its_omega() -> None:
    calls: list[float] = []

    def solver(A: Any, b: Any, omega: float) -> OptimizeResult:
        calls.append(omega)
        return OptimizeResult(x=b, nit=round(10 * omega) if omega > 1.1 else 0)

    policy = Recorder(3)
    problems = [(np.eye(2), np.ones(2), c) for c in (0.1, 0.2, None, 0.4)]
    out = run_sequence(problems, policy, [1.0, 1.2, 1.4], solver)
    assert calls == [1.0, 1.2, 1.4, 1.0]
    assert out["costs"].tolist() == [0, 12, 14, 0]
    assert out["actions"].tolist() == [0, 1, 2, 0]
    assert policy.told == [1, 12, 14, 1]  # a solve without iterations is charged 1
    assert policy.contexts == [0.1, 0.2, None, 0.4]


def test_replay_shows_a_policy_the_column_it_played() -> None:
    policy = Recorder(2)
    out = replay([[3, 30], [4, 40], [5, 50]], policy, [0.0, 0.5, 1.0])
    assert policy.told == [3, 40, 5]
    assert out["costs"].tolist() == [3, 40, 5]
    assert policy.contexts == [0.0, 0.5, 1.0]


def test_warm_starts_and_solutions_travel_between_simulation_and_solver() -> None:
    starts: list[np.ndarray] = []

    def solver(A: Any, b: np.ndarray, omega: float, x0: np.ndarray) -> OptimizeResult:
        starts.append(x0)
        return ssor_pcg(A, b, omega, x0=x0)

    heat = HeatEquation2D(6, 0.01)
    first = heat.u
    A, b, _ = next(HeatEquation2D(6, 0.01))
    out = run_sequence(heat, FixedArm(2, 1), [1.0, 1.3], solver, n_rounds=2, timings=True)
    np.testing.assert_array_equal(starts[0], first)
    np.testing.assert_array_equal(starts[1], ssor_pcg(A, b, 1.3, x0=first).x)
    assert heat.step == 2
    assert out["solver_seconds"].shape == out["learner_seconds"].shape == (2,)
    assert (out["solver_seconds"] > 0).all()
    # A second call goes on where the first ended.
    assert run_sequence(heat, FixedArm(1, 0), [1.3], ssor_pcg, n_rounds=3)["costs"].shape == (3,)
    assert heat.step == 5


def test_sequences_refuse_bad_input() -> None:
    with pytest.raises(ValueError, match="every entry of grid must be below 2"):
        run_sequence([], FixedArm(1, 0), [2.0], sor)
    with pytest.raises(RuntimeError, match=r"round 0: the solver failed at omega = 1\.0: iteration limit"):
        run_sequence([(laplacian(5), np.ones(25), None)], FixedArm(1, 0), [1.0], lambda A, b, w: sor(A, b, w, max_iter=2))
    with pytest.raises(ValueError, match="table must have 2 dimensions"):
        replay([1, 2], FixedArm(1, 0))
    with pytest.raises(ValueError, match="contexts must have shape"):
        replay([[1, 2]], FixedArm(2, 0), [0.0, 1.0])
    empty = run_sequence([], FixedArm(1, 0), [1.0], sor, timings=True)
    assert [len(column) for column in empty.values()] == [0, 0, 0, 0]


def test_comparators() -> None:
    table = [[3, 9, 4], [5, 1, 5], [8, 8, 4], [9, 7, 9]]
    assert best_fixed(table) == (2, 5.5)
    assert instance_optimal(table).tolist() == [3, 1, 4, 7]
    assert central_minimizer([1.0, 1.25, 1.5, 1.75], [9, 7, 7, 8]) == 1.375


@pytest.mark.parametrize("minimum", [1.02, 1.2, 1.37, 1.55, 1.8, 1.94])
def test_golden_section_finds_the_minimum_of_a_unimodal_function(minimum: float) -> None:
    start = [1.0, 1.3, 1.5, 1.75, 1.95]
    asked: list[float] = []

    def cost(omega: float) -> float:
        asked.append(omega)
        return abs(omega - minimum) ** 1.5

    omegas, costs = golden_section(cost, start, [abs(w - minimum) ** 1.5 for w in start], 40)
    assert (len(omegas), len(asked)) == (40, 35)
    np.testing.assert_array_equal(omegas[:5], start)
    np.testing.assert_allclose(costs, np.abs(omegas - minimum) ** 1.5)
    assert omegas[costs.argmin()] == pytest.approx(minimum, abs=1e-4)
    assert len(golden_section(cost, start, np.abs(np.array(start) - minimum))[0]) == 12


def test_golden_section_on_counts_improves_the_coarse_grid() -> None:
    A = sp.csr_array(sp.eye_array(196) + 2.0 * laplacian(14))
    b = np.sin(np.arange(196.0))
    start = [1.0, 1.3, 1.5, 1.75, 1.95]

    def cost(omega: float) -> int:
        return ssor_pcg(A, b, omega).nit

    coarse = [cost(w) for w in start]
    _, costs = golden_section(cost, start, coarse)
    assert costs.min() == min(cost(w) for w in np.linspace(1.0, 1.95, 96)) <= min(coarse)
    with pytest.raises(ValueError, match="omegas must be at least 3 increasing numbers"):
        golden_section(cost, [1.0, 1.5], [3, 4])


def test_tables_with_costs_that_are_none_are_refused() -> None:
    for table, message in (
        ([[np.nan, 1.0]], "table must be finite"),
        ([[0.0, 1.5]], "table must hold positive costs"),
        ([[-1, 2]], "table must be at least 0"),
    ):
        with pytest.raises(ValueError, match=message):
            replay(table, FixedArm(2, 0))
    assert replay([[0, 3]], FixedArm(2, 0))["costs"].tolist() == [0]
    assert replay([[0.02, 3.0]], FixedArm(2, 0))["costs"].tolist() == [0.02]


def test_a_grid_has_one_entry_for_each_arm() -> None:
    with pytest.raises(ValueError, match="grid must have one entry for each arm, got 3 for a policy with 2 arms"):
        run_sequence([], FixedArm(2, 0), [1.0, 1.1, 1.2], sor)
    with pytest.raises(ValueError, match="table must have one entry for each arm"):
        replay([[1, 2, 3]], FixedArm(2, 0))


def test_solvers_that_write_into_their_arguments_change_no_instance() -> None:
    problems = ShiftedLaplacians(3, "low", seed=0)
    kept = problems.targets.copy()

    def rude(A, b, omega):
        result = sor(A, b, omega)
        b[:], A.data[:] = 7.0, 0.0
        return result

    first = run_sequence(problems, FixedArm(1, 0), [1.5], rude)["costs"]
    np.testing.assert_array_equal(problems.targets, kept)
    np.testing.assert_array_equal(run_sequence(problems, FixedArm(1, 0), [1.5], sor)["costs"], first)


def test_a_sequence_goes_on_where_it_stopped() -> None:
    def policy():
        return TsallisINF(2, seed=0)

    whole = run_sequence(ShiftedLaplacians(8, "low", seed=0), policy(), [1.5, 1.6], sor)["actions"]
    source, learner = iter(ShiftedLaplacians(8, "low", seed=0)), policy()
    parts = [run_sequence(source, learner, [1.5, 1.6], sor, n_rounds=n)["actions"] for n in (3, 5)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
