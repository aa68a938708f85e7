"""The checks of mogfn, the exact ones first: encodings, environments, targets and losses by brute force."""

from __future__ import annotations

import copy
import itertools
import math
import pickle

import numpy as np
import pytest
import torch

from lib.objectives import mogfn
from lib.objectives.mogfn.environment import Environment

OMEGAS = mogfn.simplex_grid(2, 11)


def ones(points):
    return np.ones(len(points))


def paths_of(grid: mogfn.HyperGrid):
    """Every path on a grid: (cells on the way, actions with the stop)."""
    found, waiting = [], [([(0,) * grid.ndim], [])]
    while waiting:
        cells, actions = waiting.pop()
        found.append((cells, [*actions, grid.ndim]))
        for axis in range(grid.ndim):
            if cells[-1][axis] < grid.horizon - 1:
                after = tuple(c + (k == axis) for k, c in enumerate(cells[-1]))
                waiting.append(([*cells, after], [*actions, axis]))
    return found


def number(grid, cell):
    return int(np.ravel_multi_index(cell, grid.shape))


def optimal_policy(grid: mogfn.HyperGrid, log_r: np.ndarray) -> np.ndarray:
    """Probabilities of the actions that send mass in proportion to exp(log_r), by flows from the last cell back."""
    flow, chances = np.zeros(len(grid.cells)), np.zeros((len(grid.cells), grid.n_actions))
    for cell in sorted(map(tuple, grid.cells), key=sum, reverse=True):
        here = number(grid, cell)
        chances[here, -1] = math.exp(log_r[here])
        for axis in range(grid.ndim):
            if cell[axis] < grid.horizon - 1:
                after = tuple(c + (k == axis) for k, c in enumerate(cell))
                chances[here, axis] = flow[number(grid, after)] / sum(c > 0 for c in after)
        flow[here] = chances[here].sum()
        chances[here] /= flow[here]
    assert flow[0] == pytest.approx(np.exp(log_r).sum())
    return chances


class TablePolicy(torch.nn.Module):
    """Scores that are known for each cell of a grid, whatever the condition."""

    def __init__(self, grid, chances):
        super().__init__()
        self.grid = grid
        self.table = torch.nn.Parameter(torch.from_numpy(np.log(np.maximum(chances, 1e-300))))

    def forward(self, obs, cond, rows=None):
        return self.scores(obs, cond)

    def of_condition(self, cond):
        return cond

    def scores(self, obs, of_cond):
        cells = obs.reshape(len(obs), self.grid.ndim, self.grid.horizon).argmax(2)
        return self.table[self.grid.index(cells)]


@pytest.fixture
def grid():
    return mogfn.HyperGrid(["branin", "currin"], horizon=4)


def test_module_says_what_it_implements():
    assert "TODO" not in mogfn.__doc__


# ----------------------------------------------------------------------------------------------- encodings, scalarizations


@pytest.mark.parametrize(("low", "high", "bins"), [(0.0, 1.0, 50), (-1.0, 3.0, 9), (0.0, 32.0, 2)])
def test_thermometer_is_monotone_and_sums_to_the_height_in_bins(low, high, bins):
    values = np.linspace(low, high, 37)
    code = mogfn.thermometer(values, bins, low, high)
    assert code.shape == (37, bins)
    assert (code[0] == 0).all()
    assert (code[:, -1] == 0).all()
    assert (code.diff(dim=0) >= -1e-12).all()
    np.testing.assert_allclose(code.sum(1), (values - low) / ((high - low) / (bins - 1)), atol=1e-10)


def test_thermometer_by_hand_and_beyond_its_range():
    np.testing.assert_allclose(mogfn.thermometer([0.625], 5), [[1, 1, 0.5, 0, 0]])
    np.testing.assert_allclose(mogfn.thermometer([-7.0, 9.0], 5), [[0] * 5, [1] * 5])


def test_scalarizations_by_hand():
    R, omega = [[0.25, 1.0], [0.0, 0.5]], [0.25, 0.75]
    np.testing.assert_allclose(mogfn.scalarize(R, omega), [0.8125, 0.375])
    np.testing.assert_allclose(mogfn.scalarize(R, omega, "log_sum"), [0.25**0.25, 0.001**0.25 * 0.5**0.75])
    np.testing.assert_allclose(mogfn.scalarize(R, omega, "tchebycheff"), [1 - 0.1875, 1 - 0.375])
    np.testing.assert_allclose(mogfn.scalarize(R, omega, "tchebycheff_official"), [0.1875, 0.375])
    assert mogfn.scalarize([0.0, 0.0], omega, floor=1e-8).item() == 1e-8
    np.testing.assert_allclose(mogfn.scalarize([[2.0, 0.0]], [1.0, 0.0], "tchebycheff_official"), [1.0])


def test_tchebycheff_prefers_better_candidates_and_the_official_form_worse_ones():
    R = [[0.2, 0.2], [0.9, 0.8]]
    right, official = (mogfn.scalarize(R, [0.5, 0.5], kind) for kind in ("tchebycheff", "tchebycheff_official"))
    assert right[1] > right[0]
    assert official[1] < official[0]


def test_only_tchebycheff_reaches_the_middle_of_a_concave_front():
    angles = np.linspace(0, np.pi / 2, 21)
    R = 1 - np.column_stack([np.sin(angles), np.cos(angles)])  # an arc that bends away from the utopia point
    best = {kind: {int(mogfn.scalarize(R, w, kind).argmax()) for w in OMEGAS} for kind in ("weighted_sum", "tchebycheff")}
    assert best["weighted_sum"] == {0, 20}
    assert len(best["tchebycheff"]) >= 9


@pytest.mark.parametrize("kind", mogfn.SCALARIZATIONS)
def test_preferences_broadcast_against_rewards(kind):
    R, omega = np.random.default_rng(0).random((5, 3)), np.random.default_rng(1).dirichlet(np.ones(3), 4)
    table = mogfn.scalarize(R, omega[:, None], kind)
    assert table.shape == (4, 5)
    for w, k in ((0, 0), (3, 4), (1, 2)):
        assert table[w, k] == mogfn.scalarize(R[k], omega[w], kind)
    if kind == "weighted_sum":
        np.testing.assert_allclose(table, omega @ R.T)


# ------------------------------------------------------------------------------------------------------------- the grid


def test_objectives_at_known_points():
    """Branin's three minima, Currin's maximum, Shubert's minimum, Beale's zero, from the literature."""
    for x, y in ((-math.pi, 12.275), (math.pi, 2.275), (9.42478, 2.475)):
        point = [[(x + 5) / 7.5 - 1, y / 7.5 - 1]]
        assert mogfn.branin(point)[0] == pytest.approx(1 - 0.397887 / 308.13, abs=1e-7)
    assert mogfn.currin([[2 * 0.2166667 - 1, -1.0]])[0] == pytest.approx(13.7987 / 13.77, abs=1e-4)
    a, b = 0.3, 0.6  # Currin et al. by hand, away from the edge
    value = (1 - math.exp(-1 / 1.2)) * (2300 * 0.027 + 1900 * 0.09 + 2092 * 0.3 + 60) / (2.7 + 45 + 1.2 + 20) / 13.77
    assert mogfn.currin([[2 * a - 1, 2 * b - 1]])[0] == pytest.approx(value)
    assert mogfn.shubert([[1.42513 / 1.5, 0.80032 / 1.5]])[0] == pytest.approx((186.8 - 186.7309) / 397, abs=1e-6)
    assert mogfn.beale([[3.0, 0.5]])[0] == pytest.approx(0)
    assert mogfn.beale([[-1.0, -1.0]])[0] == pytest.approx((3.5**2 + 2.25**2 + 4.625**2) / 38.8)
    assert mogfn.sphere([[0.6, -0.8]])[0] == pytest.approx(0.5)


@pytest.mark.parametrize("name", mogfn.OBJECTIVES)
def test_objectives_are_scaled_to_about_one(name):
    values = mogfn.HyperGrid([name]).rewards
    assert values.shape == (32, 32, 1)
    assert values.min() >= 0
    assert 0.9 < values.max() < 1.01


def test_rewards_of_the_grid_are_the_objectives_of_its_points():
    grid = mogfn.HyperGrid(["branin", "shubert"], horizon=5, low=-0.5, high=1.0)
    assert grid.names == ("branin", "shubert")
    np.testing.assert_allclose(grid.rewards[1, 4], [mogfn.branin([[-0.125, 1.0]])[0], mogfn.shubert([[-0.125, 1.0]])[0]])
    np.testing.assert_allclose(grid.evaluate([[1, 4], [0, 2]]), grid.rewards[[1, 0], [4, 2]])


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_backward_probabilities_of_all_paths_into_a_cell_sum_to_one(ndim):
    grid = mogfn.HyperGrid([ones], horizon=3, ndim=ndim)
    total = np.zeros(len(grid.cells))
    for cells, _ in paths_of(grid):
        steps = grid.log_backward(torch.tensor(cells[1:])) if len(cells) > 1 else torch.zeros(1)
        total[number(grid, cells[-1])] += steps.sum().exp()
    np.testing.assert_allclose(total, 1, atol=1e-12)


@pytest.mark.parametrize(("ndim", "horizon"), [(1, 5), (2, 3), (3, 3)])
def test_where_paths_end_is_the_sum_over_all_paths(ndim, horizon):
    grid = mogfn.HyperGrid([ones], horizon=horizon, ndim=ndim)
    allowed = grid.allowed(torch.from_numpy(grid.cells))
    assert (allowed.numpy() == np.column_stack([grid.cells < horizon - 1, np.ones(len(grid.cells), bool)])).all()
    scores = torch.from_numpy(np.random.default_rng(0).normal(size=(2, *allowed.shape)))
    chances = scores.masked_fill(~allowed, -torch.inf).softmax(2)
    total = np.zeros((2, len(grid.cells)))
    for cells, actions in paths_of(grid):
        rows = [number(grid, cell) for cell in cells]
        total[:, rows[-1]] += chances[:, rows, actions].prod(1).numpy()
    np.testing.assert_allclose(grid.absorbed(chances), total, atol=1e-14)
    np.testing.assert_allclose(total.sum(1), 1)


def test_the_optimal_policy_ends_in_proportion_to_the_reward_and_has_no_loss(grid):
    omega, beta = [0.3, 0.7], 8.0
    log_r = beta * np.log(np.maximum(grid.values @ omega, mogfn.FLOOR))
    chances = torch.from_numpy(optimal_policy(grid, log_r))
    np.testing.assert_allclose(grid.absorbed(chances[None])[0].reshape(4, 4), grid.target(omega, beta), atol=1e-10)
    sums, loss = [], mogfn.TrajectoryBalanceLoss()
    for cells, actions in paths_of(grid):
        rows = [number(grid, cell) for cell in cells]
        pb = grid.log_backward(torch.tensor(cells[1:])).sum() if len(cells) > 1 else torch.tensor(0.0).double()
        sums.append((chances[rows, actions].log().sum(), torch.tensor(log_r[rows[-1]]), pb))
    log_pf, log_rs, log_pb = (torch.stack(column) for column in zip(*sums, strict=True))
    log_z = torch.tensor(grid.log_partition(omega, beta), dtype=torch.float64)
    assert loss(log_pf, log_rs, log_pb=log_pb, log_z=log_z) < 1e-20
    assert loss(log_pf, log_rs, log_pb=log_pb) < 1e-20
    assert loss(log_pf, log_rs, log_z=log_z) > 0.1  # a backward policy that is left out is noticed
    # Minimizing over log Z alone, at the optimal policy, finds the partition function.
    start = torch.tensor(0.0, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(loss(log_pf, log_rs, log_pb=log_pb, log_z=start), start)
    assert -slope.item() / 2 == pytest.approx(np.log(np.exp(log_r).sum()), abs=1e-10)


@pytest.mark.parametrize("eps", [0.0, 0.5])
@pytest.mark.parametrize("ndim", [1, 2])
def test_a_training_step_at_the_optimum_has_no_loss_also_where_actions_are_explored(eps, ndim):
    first = mogfn.HyperGrid(["branin", "currin"], horizon=4)
    grid = first if ndim == 2 else mogfn.HyperGrid([lambda x: x[:, 0] ** 2, lambda x: 1 + x[:, 0] / 2], horizon=6, ndim=1)
    omega, beta = [0.25, 0.75], 6.0
    sampler = mogfn.MOGFN(grid, beta=beta, eps=eps, preferences=omega, seed=0)
    log_r = beta * np.log(np.maximum(grid.values @ omega, mogfn.FLOOR))
    sampler.policy = TablePolicy(grid, optimal_policy(grid, log_r))
    assert sampler.fit(1, batch_size=64).losses[0] < 1e-20
    assert sampler.z_offset.item() == pytest.approx(grid.log_partition(omega, beta), abs=1e-10)


def test_exploration_draws_other_paths(grid):
    """At eps = 1 every allowed action is as likely: the share that stops at once is a third."""
    chances = np.tile([0.0, 0.0, 1.0], (16, 1))
    sampler = mogfn.MOGFN(grid, eps=1.0, preferences=[0.5, 0.5], seed=0)
    sampler.policy = TablePolicy(grid, chances)
    from lib.objectives.mogfn.sampler import roll_out

    for eps, share in ((0.0, 1.0), (0.3, 0.8), (1.0, 1 / 3)):
        paths = roll_out(grid, sampler.policy, torch.zeros(6000, 1), eps, np.random.default_rng(0))
        assert (paths.final.sum(1) == 0).double().mean().item() == pytest.approx(share, abs=0.03)
        assert paths.allowed[torch.arange(len(paths.rows)), paths.actions].all()


# ------------------------------------------------------------------------------------------------------ the exact target


def test_target_by_hand(grid):
    omega, beta = np.array([0.4, 0.6]), 5.0
    power = (grid.rewards @ omega) ** beta
    np.testing.assert_allclose(grid.target(omega, beta), power / power.sum(), rtol=1e-12)
    assert grid.log_partition(omega, beta) == pytest.approx(np.log(power.sum()))
    assert grid.expected_reward(omega, beta) == pytest.approx((power * (grid.rewards @ omega)).sum() / power.sum())
    share = power / power.sum()
    assert grid.entropy(omega, beta) == pytest.approx(-(share * np.log(share)).sum())
    assert grid.maximum(omega) == pytest.approx((grid.rewards @ omega).max())
    many = grid.log_partition(OMEGAS, beta)
    assert many.shape == (11,)
    assert many[4] == pytest.approx(grid.log_partition(OMEGAS[4], beta))
    assert grid.target(OMEGAS, beta).shape == (11, 4, 4)


def test_derivatives_of_the_partition_function_are_the_moments_of_the_log_reward(grid):
    omega, beta, h = [0.5, 0.5], 3.0, 1e-3
    low, mid, high = (grid.log_partition(omega, b) for b in (beta - h, beta, beta + h))
    logs, share = np.log(grid.rewards @ omega), grid.target(omega, beta)
    mean = (share * logs).sum()
    assert (high - low) / (2 * h) == pytest.approx(mean, abs=1e-6)
    assert (high - 2 * mid + low) / h**2 == pytest.approx((share * logs**2).sum() - mean**2, abs=1e-4)


def test_small_powers_make_the_target_uniform(grid):
    np.testing.assert_allclose(grid.target([0.5, 0.5], 1e-9), 1 / 16, rtol=1e-6)
    assert mogfn.HyperGrid([ones], horizon=3).log_partition([1.0], 50.0) == pytest.approx(np.log(9))


def test_large_powers_are_computed_in_logarithms(grid):
    target = grid.target([0.5, 0.5], 1e5)
    assert np.isfinite(target).all()
    assert target.max() == pytest.approx(1)


# -------------------------------------------------------------------------------------------------------- the n-gram task


@pytest.mark.parametrize(
    ("motifs", "lengths"),
    [(["A", "B"], (2, 5)), (["AB", "BC", "CA"], (3, 5)), (["AA", "AAB", "BA"], (1, 5)), (["ABA"], (5, 5))],
)
@pytest.mark.parametrize("kind", mogfn.SCALARIZATIONS)
def test_oracle_is_the_sum_over_all_strings(motifs, lengths, kind):
    task = mogfn.NGramTask(motifs, *lengths, alphabet="ABC", max_count=4)
    strings = ["".join(s) for n in range(lengths[0], lengths[1] + 1) for s in itertools.product("ABC", repeat=n)]
    rewards = task.evaluate(strings)
    omega = np.random.default_rng(0).dirichlet(np.ones(len(motifs)))
    scalar = mogfn.scalarize(rewards, omega, kind).numpy()
    power = scalar**3
    assert task.log_partition(omega, 3.0, kind) == pytest.approx(np.log(power.sum()), abs=1e-10)
    assert task.expected_reward(omega, 3.0, kind) == pytest.approx((power * scalar).sum() / power.sum(), abs=1e-10)
    assert task.maximum(omega, kind) == pytest.approx(scalar.max(), abs=1e-12)
    share = power / power.sum()
    assert task.entropy(omega, 3.0, kind) == pytest.approx(-(share * np.log(share)).sum(), abs=1e-10)
    seen, times = np.unique(np.rint(rewards * 4).astype(int), axis=0, return_counts=True)
    assert (seen == task.counts).all()
    np.testing.assert_allclose(np.exp(task.log_counts), times)


def test_counts_overlap_and_are_those_of_the_states():
    task = mogfn.NGramTask(["AA", "AAC"], 3, 7, alphabet="ACD", max_count=2)
    np.testing.assert_allclose(task.evaluate(["AAAC", "", "CAACAAC"]), [[1, 0.5], [0, 0], [1, 1]])
    rng, states = np.random.default_rng(0), task.start(50)
    for _ in range(7):
        states = task.move(states, torch.from_numpy(rng.integers(3, size=50)))
    np.testing.assert_allclose(task.rewards_of(states), task.evaluate(task.objects(states)))
    assert (task.allowed(states) == torch.tensor([False] * 3 + [True])).all()


def test_strings_may_stop_from_their_least_length_on():
    task = mogfn.NGramTask(["A"], 2, 3, alphabet="AC")
    states, seen = task.start(1), []
    for _ in range(4):
        seen.append(task.allowed(states)[0].tolist())
        states = task.move(states, torch.tensor([1])) if seen[-1][0] else states
    assert seen == [[True, True, False], [True, True, False], [True, True, True], [False, False, True]]
    assert (task.log_backward(states) == 0).all()


def test_observation_tells_length_beginning_and_counts():
    task = mogfn.NGramTask(["AC"], 2, 4, alphabet="ACD")
    states = task.start(1)
    for letter in "DACA":
        states = task.move(states, torch.tensor(["ACD".index(letter)]))
    # lengths 0..4, nodes "", "A", "AC", then the count divided by the largest one.
    np.testing.assert_allclose(task.observe(states)[0], [0, 0, 0, 0, 1, 0, 1, 0, 0.5])


def test_the_papers_task_has_the_known_oracle():
    """2451 triples of counts among 20^36 strings; the mean rewards that the design of this chapter was made with."""
    task = mogfn.NGramTask(["AV", "VC", "CA"])
    omegas = np.vstack([np.eye(3), np.random.RandomState(123).dirichlet(np.ones(3), 8)])
    assert len(task.counts) == 2451
    assert task.expected_reward(omegas, 16.0).mean() == pytest.approx(0.164, abs=1e-3)
    assert np.logaddexp.reduce(task.log_counts) == pytest.approx(np.log(sum(20.0**n for n in range(32, 37))))
    assert task.maximum([1.0, 0.0, 0.0]) == 1.0


def test_a_motif_with_a_foreign_letter_is_said_to_be_worth_nothing():
    with pytest.warns(UserWarning, match="AB"):
        task = mogfn.NGramTask(["AV", "AB"], 4, 6)
    assert (task.values[:, 1] == 0).all()
    assert task.values[:, 0].max() == pytest.approx(3 / 18)


# ---------------------------------------------------------------------------------------------------------------- losses


def test_losses_by_hand():
    loss = mogfn.TrajectoryBalanceLoss()
    log_pf, log_r, log_pb = (torch.tensor(x) for x in ([-1.0, -2.0], [0.5, 1.0], [-0.5, 0.0]))
    assert loss(log_pf, log_r, log_pb=log_pb, log_z=torch.tensor(2.0)).item() == pytest.approx((1.0 + 1.0) / 2)
    assert loss(log_pf, log_r, log_pb=log_pb, log_z=torch.tensor([2.0, 3.0])).item() == pytest.approx(0.5)
    assert loss(log_pf, log_r, log_pb=log_pb).item() == pytest.approx(1.0)
    both = loss(torch.stack([log_pf, log_pf + 5]), torch.stack([log_r] * 2), log_pb=torch.stack([log_pb] * 2))
    assert both.item() == pytest.approx(1.0)  # rows have a constant of their own


def test_gradient_of_vargrad_is_that_of_trajectory_balance_at_its_best_z():
    rng = np.random.default_rng(0)
    log_pf, log_r = (torch.from_numpy(rng.normal(size=20)) for _ in range(2))
    log_pf.requires_grad_()
    loss = mogfn.TrajectoryBalanceLoss()
    best = (log_r - log_pf).mean().detach()
    (a,) = torch.autograd.grad(loss(log_pf, log_r), log_pf)
    (b,) = torch.autograd.grad(loss(log_pf, log_r, log_z=best), log_pf)
    torch.testing.assert_close(a, b)


def test_half_precision_is_summed_in_single():
    loss, rows = mogfn.TrajectoryBalanceLoss(), torch.full((4,), -300.0, dtype=torch.float16)
    assert loss(rows, -rows, log_z=torch.tensor(0.0)).item() == pytest.approx(360_000)


@pytest.mark.parametrize(
    "arguments",
    [
        {"log_r": torch.zeros(3)},
        {"log_pb": torch.zeros(4, 1)},
        {"log_z": torch.zeros(3)},
        {"log_pf": torch.tensor(0.0), "log_r": torch.tensor(0.0)},
        {"log_pf": torch.zeros(1), "log_r": torch.zeros(1), "log_z": None},
    ],
)
def test_shapes_that_would_broadcast_are_refused(arguments):
    given = {"log_pf": torch.zeros(4), "log_r": torch.zeros(4), "log_pb": None, "log_z": torch.tensor(0.0)} | arguments
    with pytest.raises(ValueError, match=r"shape|2 paths"):
        mogfn.TrajectoryBalanceLoss()(given.pop("log_pf"), given.pop("log_r"), **given)


# ------------------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mogfn.scalarize([[0.5, 0.5]], [0.5, 0.6]), "omega must hold preferences on the simplex"),
        (lambda: mogfn.scalarize([[0.5, 0.5]], [1.5, -0.5]), r"simplex .*-0\.5"),
        (lambda: mogfn.scalarize([[-0.1, 0.5]], [0.5, 0.5]), "R must be at least 0"),
        (lambda: mogfn.scalarize([[0.5, 0.5]], [1.0]), "R must have 1 columns"),
        (lambda: mogfn.scalarize(np.ones((3, 2)), np.full((2, 2), 0.5)), "omega must broadcast"),
        (lambda: mogfn.scalarize([[0.5, 0.5]], [0.5, 0.5], "product"), "kind must be one of"),
        (lambda: mogfn.thermometer(0.5, low=1.0), "low must be below high"),
        (lambda: mogfn.HyperGrid([]), "objectives must be a list"),
        (lambda: mogfn.HyperGrid("branin"), "objectives must be a list"),
        (lambda: mogfn.HyperGrid(["rastrigin"]), "objectives must be one of"),
        (lambda: mogfn.HyperGrid([lambda x: -x[:, 0]]), "must not be negative"),
        (lambda: mogfn.HyperGrid([lambda x: x]), "objectives: <lambda>"),
        (lambda: mogfn.HyperGrid([ones], horizon=1), "horizon"),
        (lambda: mogfn.HyperGrid([ones], horizon=100, ndim=4), "at most 200000 cells"),
        (lambda: mogfn.HyperGrid([ones], low=1.0, high=1.0), "low must be below high"),
        (lambda: mogfn.HyperGrid([ones]).target([1.0], 0.0), "beta"),
        (lambda: mogfn.HyperGrid([ones]).target([0.5, 0.5], 1.0), "omega must have 1 entries"),
        (lambda: mogfn.HyperGrid([ones]).target(np.ones((2, 2, 1)), 1.0), "omega must have shape"),
        (lambda: mogfn.HyperGrid([ones]).evaluate([[0, 32]]), "objects must be at most 31"),
        (lambda: mogfn.NGramTask([]), "motifs must be a list"),
        (lambda: mogfn.NGramTask(["A", ""]), "motifs must be texts with letters"),
        (lambda: mogfn.NGramTask("AV"), "motifs must be a list"),
        (lambda: mogfn.NGramTask(["A"], 5, 4), "min_len must be at most max_len"),
        (lambda: mogfn.NGramTask(["A"], alphabet="AA"), "different letters"),
        (lambda: mogfn.NGramTask(list("ACDEFG")), "counts to enumerate"),
        (lambda: mogfn.NGramTask(["A"]).evaluate("AA"), "objects must be a list of texts"),
        (lambda: mogfn.MOGFN("grid"), "env must be an environment"),
        (lambda: mogfn.MOGFN(mogfn.HyperGrid([ones]), beta=(2.0, 1.0)), "low below high"),
        (lambda: mogfn.MOGFN(mogfn.HyperGrid([ones]), beta=(1.0, 2.0, 3.0)), "a pair"),
        (lambda: mogfn.MOGFN(mogfn.HyperGrid([ones]), loss="vargrad"), "group must be at least 2"),
        (lambda: mogfn.MOGFN(mogfn.HyperGrid([ones]), hidden=()), "hidden must hold"),
        (lambda: mogfn.MOGFN(mogfn.HyperGrid([ones]), hidden=64), "hidden must be a sequence"),
        (lambda: mogfn.MOGFN(mogfn.HyperGrid([ones]), group=3).fit(1, 128), "batch_size must be a multiple of group"),
        (lambda: mogfn.r2([[1.0, 0.0]], [[0.0, 0.0]]), "prefs must be not negative"),
        (lambda: mogfn.r2([[1.0, 0.0]], [[1.0, 0.0]], utopia=[1.0]), "utopia must have 2"),
        (lambda: mogfn.hypervolume([[1.0, 0.0]], ref=[0.0]), "ref must have 2"),
        (lambda: mogfn.topk([1.0, 2.0], ["A"]), "objects must be as many"),
        (lambda: mogfn.simplex_grid(10, 50), "points must leave"),
        (lambda: mogfn.edit_distance("A", 3), "b must be a text"),
    ],
)
def test_bad_input_is_refused_with_what_was_given(call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call()


def test_environments_pickle_and_copy():
    for env in (mogfn.HyperGrid(["branin", lambda x: x[:, 1] ** 2], horizon=3), mogfn.NGramTask(["AV"], 2, 4)):
        assert isinstance(env, Environment)
        for again in (pickle.loads(pickle.dumps(env)), copy.deepcopy(env)):
            assert again.log_partition([1.0] + [0.0] * (env.n_objectives - 1), 2.0) == env.log_partition(
                [1.0] + [0.0] * (env.n_objectives - 1), 2.0
            )
