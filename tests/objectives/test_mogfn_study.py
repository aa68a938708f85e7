"""Exact policies and trajectories, protocols, rivals and tuning of the chapter."""

import numpy as np
import pytest
import torch

from lib.objectives.mogfn import HyperGrid, NGramTask, edit_distance, hypervolume, scalarize, simplex_grid, study
from lib.objectives.mogfn.study import tuning

PAIR = ["branin", "currin"]


@pytest.fixture(scope="module")
def grid():
    return HyperGrid(PAIR, 4)


@pytest.fixture
def task():
    return NGramTask(["AV", "VC", "CA"], 4, 6, max_count=3)


def test_the_exact_policy_samples_the_target(grid):
    omega = simplex_grid(2, 5)
    policy = study.exact_policy(grid, omega, 16.0)
    ended = grid.absorbed(torch.from_numpy(policy)).numpy().reshape(5, 4, 4)
    np.testing.assert_allclose(ended, grid.target(omega, 16.0), atol=1e-13)
    np.testing.assert_allclose(policy.sum(-1), 1)
    assert (policy[:, ~grid.allowed(torch.from_numpy(grid.cells)).numpy()] == 0).all()


def test_the_exact_policy_works_in_three_dimensions():
    cube = HyperGrid([lambda p: 2 + p.sum(1) / 3, lambda p: 1 + p[:, 0] ** 2], 3, ndim=3)
    policy = study.exact_policy(cube, [[0.3, 0.7]], 4.0)
    ended = cube.absorbed(torch.from_numpy(policy)).numpy().reshape(1, 3, 3, 3)
    np.testing.assert_allclose(ended, cube.target([[0.3, 0.7]], 4.0), atol=1e-13)


def test_every_trajectory_of_a_grid_is_listed_once(grid):
    every = study.enumerate_trajectories(grid, study.exact_policy(grid, [[0.5, 0.5]], 4.0)[0])
    assert len({tuple(way) for way in every.cells}) == len(every.end) == 69  # sums of binomials (i + j over i), i, j < 4
    assert np.exp(every.log_pf).sum() == pytest.approx(1)
    np.testing.assert_allclose(np.bincount(every.end, np.exp(every.log_pb)), 1)


def test_exact_policy_is_balanced_on_every_trajectory(grid):
    omega = np.array([0.2, 0.8])
    every = study.enumerate_trajectories(grid, study.exact_policy(grid, omega[None], 16.0)[0])
    log_r = 16 * scalarize(grid.values[every.end], omega).log().numpy()
    excess = grid.log_partition(omega, 16.0) + every.log_pf - log_r - every.log_pb
    assert np.abs(excess).max() < 1e-11


def test_only_small_grids_are_listed():
    with pytest.raises(ValueError, match="two axes of at most 6 cells, got 2 of 7"):
        study.enumerate_trajectories(HyperGrid(PAIR, 7), np.full((49, 3), 1 / 3))


def test_walks_start_in_the_corner_and_end_as_the_policy_says(grid):
    policy = study.exact_policy(grid, [[0.5, 0.5]], 8.0)[0]
    ways = study.walks(grid, policy, 2000, seed=0)
    assert all((way[0] == 0).all() and (np.diff(way, axis=0).sum(1) == 1).all() for way in ways)
    ends = np.array([way[-1] for way in ways]).astype(int)
    share = np.bincount(ends @ [4, 1], minlength=16) / 2000
    assert study.variation(share[None], grid.target([[0.5, 0.5]], 8.0).reshape(1, 16))[0] < 0.06


def test_no_candidate_of_the_sagging_front_dominates_another():
    t, R = study.sagging_front(41)
    assert (np.diff(R[:, 0]) > 0).all()
    assert (np.diff(R[:, 1]) < 0).all()
    best = scalarize(R[None], simplex_grid(2, 21)[:, None]).argmax(1)
    assert set(best.tolist()) <= {0, 40}  # the weighted sum takes an end
    assert 0.4 < t[scalarize(R, [0.5, 0.5], "tchebycheff").argmax()] < 0.6


def test_variation_is_half_the_distance():
    assert study.variation([[[0.5, 0.5]]], [[[0.0, 1.0]]]) == pytest.approx([0.5])
    with pytest.raises(ValueError, match="one shape"):
        study.variation([[1.0]], [[0.5, 0.5]])


def test_training_approaches_the_target_and_judge_sees_it(grid):
    omega = simplex_grid(2, 3)
    early, late = (study.judge(study.grid_sampler(grid, n, 32, seed=1), omega) for n in (1, 150))
    assert (late.variation < early.variation).all()
    assert late.variation.mean() < 0.15
    assert late.log_z_error.mean() < 1
    flat = late.learned.reshape(3, -1)
    np.testing.assert_allclose(late.reward, (flat * (omega @ grid.values.T)).sum(1))
    np.testing.assert_allclose(late.entropy, -(flat * np.log(flat)).sum(1))
    np.testing.assert_allclose(late.variation, 0.5 * np.abs(late.learned - late.target).sum((1, 2)))


def test_judge_takes_another_exponent_for_a_rival(grid):
    rival = study.grid_rival(grid, 2, 8, seed=0)
    fit = study.judge(rival, [[0.5, 0.5]], 3.0)
    np.testing.assert_allclose(fit.target[0], grid.target([0.5, 0.5], 3.0))
    assert np.isnan(fit.log_z_error).all()


def test_variants_change_what_they_say(grid):
    made = {name: study.grid_sampler(grid, 1, 8, 16.0, name, seed=0) for name in study.VARIANTS}
    assert made["thermometer"].encoding == "thermometer"
    assert made["plain"].encoding == "raw"
    assert (made["corners"].dirichlet_alpha, made["middle"].dirichlet_alpha, made["plain"].dirichlet_alpha) == (0.2, 5.0, 1.0)
    assert made["one omega"].group == 8
    assert made["plain"].group == 1
    assert (made["beta 4"].beta, made["beta 64"].beta, made["plain"].beta) == (4.0, 64.0, 16.0)
    np.testing.assert_array_equal(made["middle only"].preferences, [[0.5, 0.5]])


def test_separate_samplers_share_the_updates(grid):
    omega = simplex_grid(2, 3)
    few = study.separate_samplers(grid, omega, 3, 16, seed=0)
    many = study.separate_samplers(grid, omega, 300, 16, seed=0)
    assert (many < few).all()
    with pytest.raises(ValueError, match="steps"):
        study.separate_samplers(grid, omega, 2, 16, seed=0)


def test_separate_samplers_have_their_own_rate(grid):
    omega = np.array([[0.25, 0.75]])
    (rng,) = np.random.default_rng(0).spawn(1)
    alone = study.grid_sampler(grid, 5, 16, seed=rng, preferences=omega[0], **study.SEPARATE)
    assert study.separate_samplers(grid, omega, 5, 16, seed=0).tolist() == study.judge(alone, omega).variation.tolist()
    other = study.separate_samplers(grid, omega, 5, 16, seed=0, lr=1e-4, lr_z=1e-3)
    assert other.tolist() != study.judge(alone, omega).variation.tolist()


def test_tuning_on_the_grid_trains_the_variant_it_names():
    grid, omega = HyperGrid(["branin", "currin"], 3), simplex_grid(2, 11)
    for name, key in tuning.VARIANTS.items():
        value, found = next(tuning.tune(f"{name}, grid", 2, 8, horizon=3))
        model = study.grid_sampler(grid, 2, 8, variant=key, seed=10_000, lr=value, lr_z=10 * value)
        assert found == study.judge(model, omega).variation.mean()
    value, found = next(tuning.tune("separate, grid", 11, 8, horizon=3))
    assert found == study.separate_samplers(grid, omega, 11, 8, seed=10_000, lr=value, lr_z=10 * value).mean()


def test_near_best_by_hand(task):
    strings = ["AVCA", "AAAA", "AVAV", "CCCC", "AVAV", "VCVC"]
    best, diversity, mean = study.near_best(task, strings, [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], k=2)
    assert best == pytest.approx([(2 + 1) / 6, (2 + 0) / 6])
    assert diversity == pytest.approx([edit_distance("AVAV", "AVCA"), edit_distance("VCVC", "CCCC")])
    assert mean == pytest.approx([3 / 9, 2 / 9])
    with pytest.raises(ValueError, match="2 equal parts, got 3"):
        study.near_best(task, strings[:3], [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])


def test_a_race_repeats_itself_and_looks_at_both(task):
    omega = simplex_grid(3, 2)
    first, second = (study.string_race(task, omega, 6, 8, 12, moments=3, seed=3) for _ in range(2))
    assert list(first) == ["sampler", "MO-Reinforce"]
    for name in first:
        assert first[name].strings == second[name].strings
        assert first[name].steps == [2, 4, 6]
        assert first[name].best.shape == (3, 3)
        assert first[name].volume == hypervolume(task.evaluate(first[name].strings))
        assert first[name].model.steps == 6


def test_uniform_strings_have_all_lengths_and_letters(task):
    strings = study.uniform_strings(task, 600, seed=0)
    assert {len(s) for s in strings} == {4, 5, 6}
    assert set("".join(strings)) == set(task.alphabet)


def test_nsga2_finds_a_front_of_strings_that_are_allowed(task):
    bred = study.nsga2_strings(task, 1500, population=40, seed=1)
    assert len(set(bred)) == len(bred) == 40
    assert all(4 <= len(s) <= 6 and set(s) <= set(task.alphabet) for s in bred)
    blind = study.uniform_strings(task, 1500, seed=1)
    assert hypervolume(task.evaluate(bred)) > hypervolume(task.evaluate(blind))
    assert bred == study.nsga2_strings(task, 1500, population=40, seed=1)


@pytest.mark.parametrize("method", tuning.GRIDS)
def test_tuning_tries_every_setting(method):
    rows = list(tuning.tune(method, 11 if "separate" in method else 2, 8, horizon=3, max_len=5))
    values = sorted({row[0] for row in rows})
    assert values == tuning.GRIDS[method]
    assert len(rows) == len(values) * (len(tuning.EXPONENTS) if "rival" in method else 1)
    assert np.isfinite([row[-1] for row in rows]).all()


def test_no_tuned_setting_lies_at_an_edge():
    on_grid = [(study.GRID | study.VARIANTS[key], f"{name}, grid") for name, key in tuning.VARIANTS.items()]
    for settings, method in (*on_grid, (study.SEPARATE, "separate, grid"),
                             (study.STRINGS, "sampler, strings"), (study.STRINGS_RAW, "raw, strings"),
                             (study.GRID_RIVAL, "rival, grid"), (study.STRINGS_RIVAL, "rival, strings")):  # fmt: skip
        tried = tuning.GRIDS[method]
        assert settings["lr"] in tried, method
        assert tried[0] < settings["lr"] < tried[-1], method
        if "rival" in method:
            assert tuning.EXPONENTS[0] <= settings["beta"] < tuning.EXPONENTS[-1], method
    assert tuning.GRIDS["NSGA-II, strings"][0] < study.NSGA_RATE < tuning.GRIDS["NSGA-II, strings"][-1]
