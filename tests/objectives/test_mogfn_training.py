"""The sampler, its rival and the metrics: what training reaches, that it repeats, and libraries as oracles."""

from __future__ import annotations

import copy
import itertools
import math
import pickle

import numpy as np
import pytest
import torch

from lib.objectives import mogfn
from lib.objectives.mogfn.sampler import roll_out

OMEGAS = mogfn.simplex_grid(2, 11)
SMALL = {"hidden": (32, 32), "hidden_z": (16,), "encoding": "raw"}


def grid_of(horizon=6):
    return mogfn.HyperGrid(["branin", "currin"], horizon=horizon)


def ones(points):
    return np.ones(len(points))


def total_variation(sampler, omegas=OMEGAS, beta=None):
    exact = sampler.env.target(omegas, beta or sampler.beta)
    return np.abs(sampler.terminal_distribution(omegas, beta) - exact).sum((1, 2)) / 2


@pytest.fixture(scope="module")
def trained():
    sampler = mogfn.MOGFN(grid_of(), beta=8.0, seed=0, **SMALL)
    untrained = total_variation(sampler)
    sampler.fit(250, 64)
    return sampler, untrained


# ------------------------------------------------------------------------------------------------- what training reaches


def test_training_brings_every_preference_closer_and_learns_its_partition_function(trained):
    sampler, untrained = trained
    reached = total_variation(sampler)
    assert (reached < untrained).all()
    assert reached.mean() < 0.1
    np.testing.assert_allclose(sampler.log_z(OMEGAS), sampler.env.log_partition(OMEGAS, 8.0), atol=0.5)
    assert np.abs(sampler.log_z(OMEGAS) - sampler.env.log_partition(OMEGAS, 8.0)).mean() < 0.2
    assert sampler.history.losses[-1] < sampler.history.losses[0] / 10


def test_one_conditional_model_beats_one_for_the_middle(trained):
    middle = mogfn.MOGFN(grid_of(), beta=8.0, preferences=[0.5, 0.5], seed=0, **SMALL)
    middle.fit(250, 64)
    assert total_variation(middle, OMEGAS[5:6])[0] < 0.1
    assert total_variation(trained[0]).mean() < total_variation(middle).mean() / 2


def test_samples_are_distributed_as_the_exact_distribution_says(trained):
    sampler, _ = trained
    drawn = sampler.sample(OMEGAS[[2, 9]], 4000, seed=1)
    assert drawn.shape == (8000, 2)
    for k, cells in enumerate(drawn.reshape(2, 4000, 2)):
        seen = np.bincount(np.ravel_multi_index(tuple(cells.T), (6, 6)), minlength=36) / 4000
        expected = sampler.terminal_distribution(OMEGAS[[2, 9][k]]).ravel()
        assert ((seen - expected) ** 2 / np.maximum(expected, 1e-4)).sum() * 4000 < 36 + 6 * np.sqrt(72)


def test_exact_distribution_of_one_preference_and_of_several_agree(trained):
    sampler, _ = trained
    many = sampler.terminal_distribution(OMEGAS)
    assert many.shape == (11, 6, 6)
    np.testing.assert_allclose(many.sum((1, 2)), 1)
    np.testing.assert_allclose(sampler.terminal_distribution(OMEGAS[3]), many[3], atol=1e-14)
    assert sampler.log_z(OMEGAS[3]) == pytest.approx(sampler.log_z(OMEGAS)[3])


class Forgetful(mogfn.HyperGrid):
    """A grid whose steps back are not counted."""

    def log_backward(self, states):
        return torch.zeros(len(states), dtype=torch.float64)


def test_without_the_backward_policy_mass_goes_by_the_number_of_ways_too():
    grid = Forgetful(["branin", "currin"], horizon=5)
    sampler = mogfn.MOGFN(grid, beta=8.0, preferences=[0.5, 0.5], seed=0, **SMALL)
    sampler.fit(150, 64)
    ways = np.array([[math.comb(i + j, i) for j in range(5)] for i in range(5)])
    found, right = sampler.terminal_distribution([0.5, 0.5]), grid.target([0.5, 0.5], 8.0)
    wrong = right * ways / (right * ways).sum()
    assert np.abs(found - wrong).sum() / 2 < 0.08
    assert np.abs(found - right).sum() / 2 > 0.2


def test_constant_rewards_are_sampled_uniformly():
    sampler = mogfn.MOGFN(mogfn.HyperGrid([ones], horizon=5), beta=1e-6, seed=0, **SMALL)
    sampler.fit(200, 64)
    assert total_variation(sampler, np.ones((1, 1)))[0] < 0.05
    assert sampler.log_z([1.0]) == pytest.approx(np.log(25), abs=0.1)


@pytest.mark.parametrize(
    ("settings", "bound"),
    [
        ({"loss": "vargrad", "group": 8}, 0.2),
        ({"encoding": "thermometer", "bins": 11}, 0.2),
        ({"scalarization": "tchebycheff"}, 0.2),
        ({"beta": (2.0, 10.0)}, 0.25),
    ],
)
def test_variants_learn_too(settings, bound):
    sampler = mogfn.MOGFN(grid_of(5), **({"beta": 8.0} | SMALL | settings), seed=0)
    sampler.fit(150, 64)
    beta = 8.0 if isinstance(sampler.beta, tuple) else None
    exact = sampler.env.target(OMEGAS, 8.0, sampler.scalarization)
    assert np.abs(sampler.terminal_distribution(OMEGAS, beta) - exact).sum((1, 2)).mean() / 2 < bound


def test_a_range_of_powers_sharpens_the_samples():
    sampler = mogfn.MOGFN(grid_of(5), beta=(1.0, 16.0), seed=0, **SMALL)
    sampler.fit(150, 64)
    rows = sampler.env.values @ [0.5, 0.5]
    means = [(sampler.terminal_distribution([0.5, 0.5], beta).ravel() * rows).sum() for beta in (1.0, 4.0, 16.0)]
    assert means == sorted(means)
    for beta, message in ((None, "must be given"), (0.5, "at least 1"), (20.0, "at most 16")):
        with pytest.raises(ValueError, match=message):
            sampler.sample([0.5, 0.5], 1, beta)


def test_strings_follow_the_oracle():
    task = mogfn.NGramTask(["AC", "CA"], 4, 6, alphabet="ACDE", max_count=3)
    sampler = mogfn.MOGFN(task, beta=6.0, lr=1e-2, lr_z=1e-1, seed=0, **SMALL)
    sampler.fit(150, 64)
    for omega in ([0.5, 0.5], [0.8, 0.2]):
        strings = sampler.sample(omega, 1000, seed=0)
        assert {len(s) for s in strings} <= {4, 5, 6}
        rewards = mogfn.scalarize(task.evaluate(strings), omega).mean().item()
        assert rewards == pytest.approx(task.expected_reward(omega, 6.0), abs=0.03)
        assert sampler.log_z(omega) == pytest.approx(task.log_partition(omega, 6.0), abs=0.5)


class Stairs(mogfn.Environment):
    """A reader's own objects: stairs 0 to 5, climbed by one or two; low stairs are cheap, high ones have the view."""

    n_objectives, n_actions, obs_dim = 2, 3, 6

    def __init__(self):
        self.values = np.column_stack([np.linspace(1, 0, 6), np.linspace(0, 1, 6)])
        self.log_counts = np.zeros(6)

    def start(self, n):
        return torch.zeros(n, 1, dtype=torch.long)

    def observe(self, states):
        return torch.eye(6, dtype=torch.float64)[states[:, 0]]

    def allowed(self, states):
        return torch.cat([states < 5, states < 4, states < 6], 1)

    def move(self, states, actions):
        return states + 1 + actions[:, None]

    def log_backward(self, states):
        return -states[:, 0].clamp(max=2).double().log()

    def rewards_of(self, states):
        return torch.from_numpy(self.values)[states[:, 0]]

    def objects(self, states):
        return states[:, 0].numpy()

    def evaluate(self, objects):
        return self.values[objects]


def test_objects_of_ones_own_are_sampled_in_proportion_too():
    sampler = mogfn.MOGFN(Stairs(), beta=3.0, lr=1e-2, seed=0, **SMALL)
    sampler.fit(150, 64)
    seen = np.bincount(sampler.sample([0.7, 0.3], 4000, seed=0), minlength=6) / 4000
    power = (sampler.env.values @ [0.7, 0.3]) ** 3
    assert np.abs(seen - power / power.sum()).sum() / 2 < 0.06
    assert sampler.log_z([0.7, 0.3]) == pytest.approx(sampler.env.log_partition([0.7, 0.3], 3.0), abs=0.1)


def entropy(sampler):
    share = sampler.terminal_distribution([0.5, 0.5]).ravel()
    return -(share[share > 0] * np.log(share[share > 0])).sum()


def test_policy_gradients_lose_entropy_where_the_sampler_keeps_the_targets():
    grid, found = grid_of(), {}
    for name, made in (
        ("reinforce", mogfn.MOReinforce(grid, lr=1e-3, preferences=[0.5, 0.5], hidden=(32, 32), encoding="raw", seed=0)),
        ("sampler", mogfn.MOGFN(grid, beta=8.0, preferences=[0.5, 0.5], seed=0, **SMALL)),
    ):
        found[name] = []
        for _ in range(5):
            made.fit(50, 64, total=250)
            found[name].append(entropy(made))
    exact = grid.entropy([0.5, 0.5], 8.0)
    assert min(found["sampler"]) > exact - 0.3
    assert found["reinforce"] == sorted(found["reinforce"], reverse=True)
    assert found["reinforce"][-1] < exact - 1


# ------------------------------------------------------------------------------------------------------- the training loop


def test_equal_seeds_repeat_bit_for_bit_and_others_differ():
    runs = [mogfn.MOGFN(grid_of(), seed=seed, **SMALL).fit(5, 16).losses for seed in (3, 3, 4)]
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


def test_global_randomness_is_left_alone():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    mogfn.MOGFN(grid_of(), seed=0, **SMALL).fit(2, 16)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("method", [mogfn.MOGFN, mogfn.MOReinforce])
def test_copies_and_pickles_go_on_alike_and_two_calls_are_one(method):
    settings = {"hidden": (16,), "seed": 0}
    whole = method(grid_of(), **settings).fit(8, 16).losses
    parts = method(grid_of(), **settings)
    parts.fit(4, 16, total=8)
    kept, copied = pickle.loads(pickle.dumps(parts)), copy.deepcopy(parts)
    for sampler in (kept, copied, parts):
        assert sampler.fit(4, 16, total=8).losses == whole
        assert sampler.steps == 8
    np.testing.assert_array_equal(kept.sample([0.5, 0.5], 5), parts.sample([0.5, 0.5], 5))


def test_to_sample_does_not_change_training():
    runs = []
    for look in (False, True):
        sampler = mogfn.MOGFN(grid_of(), seed=0, **SMALL)
        runs.append(sampler.fit(4, 16, callback=lambda s, look=look: look and s.sample([0.5, 0.5], 3) is None).losses)
    assert runs[0] == runs[1]


def test_learning_rates_fall_to_a_tenth_for_the_last_quarter():
    rates = []
    sampler = mogfn.MOGFN(grid_of(), lr=0.01, lr_z=0.1, seed=0, hidden=(8,))
    sampler.fit(8, 4, callback=lambda s: rates.append([group["lr"] for group in s.optimizer.param_groups]))
    np.testing.assert_allclose(rates, [[0.01, 0.1]] * 6 + [[0.001, 0.01]] * 2)


@pytest.mark.parametrize("stop", [lambda s: s.steps == 3, lambda s: next(iter([])) if s.steps == 3 else None])
def test_a_callback_can_end_the_run(stop):
    assert len(mogfn.MOGFN(grid_of(), seed=0, **SMALL).fit(10, 8, callback=stop).losses) == 3


def test_a_loss_that_is_not_finite_ends_the_run():
    sampler = mogfn.MOGFN(grid_of(), lr=1e200, seed=0, **SMALL)
    with pytest.raises(FloatingPointError, match="lr"):
        sampler.fit(20, 8)


def test_groups_share_a_preference_and_preferences_are_dirichlet():
    sampler = mogfn.MOGFN(grid_of(), group=4, beta=(1.0, 3.0), dirichlet_alpha=5.0, seed=0, **SMALL)
    omega, beta = sampler._draw(4000)
    assert (omega.reshape(-1, 4, 2).diff(dim=1) == 0).all()
    assert (beta.reshape(-1, 4).diff(dim=1) == 0).all()
    assert omega[:, 0].std().item() == pytest.approx(np.sqrt(0.25 / 11), rel=0.1)
    assert (beta.min().item(), beta.max().item()) == pytest.approx((1, 3), abs=0.02)
    chosen = mogfn.MOGFN(grid_of(), preferences=[[0.2, 0.8], [1.0, 0.0]], seed=0, **SMALL)._draw(200)[0]
    assert {tuple(row) for row in chosen.tolist()} == {(0.2, 0.8), (1.0, 0.0)}


def test_conditions_are_encoded_preferences_and_powers():
    omega, beta = torch.tensor([[0.25, 0.75]], dtype=torch.float64), torch.tensor([2.0], dtype=torch.float64)
    raw = mogfn.MOGFN(grid_of(), beta=(1.0, 4.0), encoding="raw", hidden=(8,))
    np.testing.assert_allclose(raw._condition(omega, beta), [[0.25, 0.75, 0.5]])
    warm = mogfn.MOGFN(grid_of(), bins=3, hidden=(8,))
    np.testing.assert_allclose(warm._condition(omega, beta), [[0.5, 0, 0, 1, 0.5, 0]])


def test_policy_takes_a_condition_per_row_or_per_path():
    policy = mogfn.ConditionalPolicy(4, 2, 3, hidden=(8, 8), seed=0)
    rng = np.random.default_rng(0)
    obs, cond = torch.from_numpy(rng.normal(size=(5, 4))), torch.from_numpy(rng.normal(size=(2, 2)))
    rows = torch.tensor([0, 1, 1, 0, 1])
    torch.testing.assert_close(policy(obs, cond, rows), policy(obs, cond[rows]))
    again = mogfn.ConditionalPolicy(4, 2, 3, hidden=(8, 8), seed=0)
    assert all(torch.equal(a, b) for a, b in zip(policy.parameters(), again.parameters(), strict=True))


def test_paths_record_what_they_saw():
    grid = grid_of(4)
    policy = mogfn.ConditionalPolicy(8, 2, 3, hidden=(8,), seed=0)
    paths = roll_out(grid, policy, torch.zeros(40, 2).double(), 0.5, np.random.default_rng(0))
    for k in range(40):
        mine = paths.rows == k
        moves = paths.actions[mine]
        assert moves[-1] == 2
        assert torch.equal(paths.final[k], torch.bincount(moves[:-1], minlength=2))
        on_way = torch.stack([(moves[:-1] == axis).long().cumsum(0) for axis in (0, 1)], 1)
        assert paths.log_pb[k].item() == pytest.approx(grid.log_backward(on_way).sum().item())
        seen = paths.seen[mine].reshape(-1, 2, 4).argmax(2)
        assert torch.equal(seen, torch.cat([torch.zeros(1, 2, dtype=torch.long), on_way]))


def test_the_rivals_loss_is_the_policy_gradient_with_a_mean_baseline():
    rival = mogfn.MOReinforce(grid_of(), seed=0)
    log_pf, log_r = torch.tensor([-1.0, -2.0, -4.0]), torch.tensor([0.2, 0.5, 0.8]).log()
    value = rival._loss(log_pf, log_r, torch.zeros(3), torch.zeros(3, 1))
    assert value.item() == pytest.approx(-np.mean([-1 * -0.3, 0.0, -4 * 0.3]))


def test_what_is_not_learned_is_not_answered():
    with pytest.raises(RuntimeError, match="log_z"):
        mogfn.MOGFN(grid_of(), seed=0).log_z([0.5, 0.5])
    task = mogfn.NGramTask(["A"], 2, 3)
    with pytest.raises(TypeError, match="HyperGrid"):
        mogfn.MOGFN(task, seed=0).terminal_distribution([1.0])
    with pytest.raises(ValueError, match="beta must be 16"):
        mogfn.MOGFN(grid_of(), seed=0).sample([0.5, 0.5], 1, beta=2.0)


# ---------------------------------------------------------------------------------------------------------------- metrics


@pytest.mark.parametrize("d", [2, 3, 4])
def test_hypervolume_is_that_of_another_library(d):
    pymoo = pytest.importorskip("pymoo.indicators.hv")
    points = np.random.default_rng(d).random((30, d))
    expected = pymoo.HV(ref_point=np.zeros(d))(-points)
    assert mogfn.hypervolume(points) == pytest.approx(expected, abs=1e-10)
    assert mogfn.hypervolume(points, ref=np.full(d, -1.0)) > mogfn.hypervolume(points, ref=[0.0] * d)
    assert mogfn.hypervolume([[0.5] * d]) == pytest.approx(0.5**d)


def test_igd_plus_is_that_of_another_library_and_by_hand():
    pymoo = pytest.importorskip("pymoo.indicators.igd_plus")
    rng = np.random.default_rng(0)
    points, front = rng.random((20, 3)), rng.random((10, 3))
    assert mogfn.igd_plus(points, front) == pytest.approx(pymoo.IGDPlus(-front)(-points), abs=1e-12)
    assert mogfn.igd_plus([[2.0, 0.5]], [[1.0, 1.0]]) == pytest.approx(0.5)
    assert mogfn.igd_plus(front, front) == 0


def test_front_by_brute_force():
    points = np.round(np.random.default_rng(0).random((60, 2)), 1)
    beaten = [
        any((q >= p).all() and ((q > p).any() or j < i) for j, q in enumerate(points) if j != i) for i, p in enumerate(points)
    ]
    assert mogfn.pareto_front(points).tolist() == np.flatnonzero(~np.array(beaten)).tolist()


def test_r2_by_hand_and_of_the_utopia_point():
    prefs = [[1.0, 0.0], [0.5, 0.5]]
    points = [[0.5, 1.0], [0.9, 0.2]]
    total = min(0.5, 0.1) + min(0.25, 0.4)
    assert mogfn.r2(points, prefs) == pytest.approx(total / np.sqrt(1.5))
    assert mogfn.r2(points, prefs, norm="mean") == pytest.approx(total / 2)
    assert mogfn.r2(points, prefs, utopia=[2.0, 1.0], norm="mean") == pytest.approx((1.1 + min(0.75, 0.55)) / 2)
    assert mogfn.r2([[0.2, 0.3], [1.0, 1.0]], mogfn.simplex_grid(2)) == 0
    assert mogfn.r2([[1.5]], [[1.0]]) == pytest.approx(0.5)


def test_entropy_over_the_front():
    front = np.column_stack([np.linspace(0, 1, 5), np.linspace(1, 0, 5)])
    assert mogfn.pc_entropy(np.repeat(front, 3, 0), front) == pytest.approx(np.log(5))
    assert str(mogfn.pc_entropy(np.repeat(front[:1], 7, 0), front)) == "0.0"
    share = np.array([0.75, 0.25])
    assert mogfn.pc_entropy(front[[0, 0, 0, 4]] + 0.01, front) == pytest.approx(-(share * np.log(share)).sum())


def test_the_best_few():
    rewards, objects = [0.1, 0.9, 0.5, 0.7], ["AAAA", "AV", "AC", "VC"]
    reward, spread = mogfn.topk(rewards, objects, 3)
    assert (reward, spread) == pytest.approx((0.7, (1 + 1 + 2) / 3))
    assert mogfn.topk(rewards, [0, 1, 2, 4], 2, distance=lambda a, b: abs(a - b))[1] == 3


def edit_by_table(a, b):
    table = np.zeros((len(a) + 1, len(b) + 1), int)
    table[:, 0], table[0] = np.arange(len(a) + 1), np.arange(len(b) + 1)
    for i, j in itertools.product(range(1, len(a) + 1), range(1, len(b) + 1)):
        table[i, j] = min(table[i - 1, j] + 1, table[i, j - 1] + 1, table[i - 1, j - 1] + (a[i - 1] != b[j - 1]))
    return table[-1, -1]


def test_edit_distance_is_that_of_the_table():
    rng = np.random.default_rng(0)
    for _ in range(200):
        a, b = ("".join(rng.choice(list("ABC"), size=rng.integers(0, 9))) for _ in range(2))
        assert mogfn.edit_distance(a, b) == edit_by_table(a, b)
    assert mogfn.edit_distance("AV" * 60, "VA" * 60) == 2


@pytest.mark.parametrize(("d", "points", "size"), [(2, 11, 11), (3, 5, 15), (4, 3, 10)])
def test_simplex_grid_holds_all_multiples(d, points, size):
    grid = mogfn.simplex_grid(d, points)
    assert grid.shape == (size, d)
    np.testing.assert_allclose(grid.sum(1), 1)
    assert len(np.unique(grid, axis=0)) == size
    np.testing.assert_allclose(grid * (points - 1), np.rint(grid * (points - 1)), atol=1e-12)
