"""At the edges of what a caller may hand in: overflow, fractions, functions that change their points, rates that blow up."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from lib.objectives import mogfn

SMALL = {"beta": 4.0, "hidden": (8,), "seed": 0}


@pytest.fixture(scope="module")
def grid():
    return mogfn.HyperGrid(["branin", "currin"], horizon=4)


def test_objectives_that_change_their_points_do_not_change_those_of_the_next():
    def greedy(points):
        points *= 0
        return np.ones(len(points))

    found = mogfn.HyperGrid([greedy, lambda points: (points[:, 0] + 1) / 2], horizon=3)
    np.testing.assert_array_equal(found.rewards[:, 0, 1], [0, 0.5, 1])


def test_cells_are_whole_numbers(grid):
    np.testing.assert_array_equal(grid.evaluate([[1.0, 2.0]]), grid.rewards[1, 2][None])
    with pytest.raises(ValueError, match="objects must be cells"):
        grid.evaluate([[0.5, 1.2]])
    with pytest.raises(ValueError, match="ndim=3"):
        mogfn.HyperGrid(["branin"], horizon=4, ndim=3)


def test_more_strings_than_floats_can_count_are_refused():
    task = mogfn.NGramTask(["AV"], min_len=200, max_len=230)  # 20^230 is a float
    assert np.isfinite(task.log_partition([1.0], 1.0))
    with pytest.raises(ValueError, match="max_len"):
        mogfn.NGramTask(["AV"], min_len=200, max_len=300)
    with pytest.raises(ValueError, match="max_count"):
        mogfn.NGramTask(["AV"], 2, 4, max_count=1e-308)


@pytest.mark.parametrize(
    ("settings", "steps", "word"),
    [({"lr": 1e300}, 3, "lr"), ({"lr_z": 1e300}, 3, "learning rate"), ({"lr_z": 1e308}, 3, "lr_z|learning rate"),
     ({"beta": 1e300}, 1, "beta")],
)  # fmt: skip
def test_training_that_blows_up_says_by_what(grid, settings, steps, word):
    with pytest.raises(FloatingPointError, match=word):
        mogfn.MOGFN(grid, **(SMALL | settings)).fit(steps, 8)


@pytest.mark.parametrize("env", ["grid", "strings"])
def test_a_policy_that_blew_up_in_its_last_step_draws_nothing(grid, env):
    made = grid if env == "grid" else mogfn.NGramTask(["AV", "VC"], 4, 6)
    sampler = mogfn.MOGFN(made, **(SMALL | {"lr": 1e300}))
    sampler.fit(1, 8)  # it drew strings below the least length, and a distribution of NaN
    with pytest.raises(FloatingPointError, match="not finite"):
        sampler.sample([0.5, 0.5], 2)
    if env == "grid":
        with pytest.raises(FloatingPointError, match="not finite"):
            sampler.terminal_distribution([0.5, 0.5])


def test_wrong_preferences_are_named(grid):
    with pytest.raises(ValueError, match="preferences must hold preferences"):
        mogfn.MOGFN(grid, preferences=[[0.5, 0.6]], **SMALL)


def test_policy_names_what_does_not_fit():
    policy, zero = mogfn.ConditionalPolicy(4, 2, 3, (8,), seed=0), lambda *shape: torch.zeros(*shape, dtype=torch.float64)
    for call, kind, word in (
        (lambda: policy(zero(5, 4).float(), zero(5, 2)), TypeError, "obs must be a tensor of torch.float64"),
        (lambda: policy(zero(5, 4), [[0.0, 0.0]]), TypeError, "cond must be a tensor"),
        (lambda: policy(zero(5, 3), zero(5, 2)), ValueError, "obs must have shape"),
        (lambda: policy(zero(5, 4), zero(2, 2)), ValueError, "cond must have a row"),
    ):
        with pytest.raises(kind, match=word):
            call()
    assert policy(zero(5, 4), zero(1, 2)).shape == (5, 3)
    assert copy.deepcopy(policy).float()(zero(5, 4).float(), zero(5, 2).float()).dtype == torch.float32


def test_metrics_beyond_floats_are_no_numbers():
    for call, word in (
        (lambda: mogfn.hypervolume([[1e200, 1e200]]), "R must lead to a finite number"),
        (lambda: mogfn.igd_plus([[1e200, 0.0]], [[0.0, 1e200]]), "R must lead to a finite number"),
        (lambda: mogfn.r2([[1.0, 0.5]], [[1e-200, 1e-200]]), "prefs"),
        (lambda: mogfn.r2([[1.0, 0.5]], [[1e200, 1e200]]), "prefs"),
        (lambda: mogfn.topk([1.0, 2.0], ["a", "b"], 2, distance=lambda a, b: np.nan), "distance"),
        (lambda: mogfn.simplex_grid(10**6, 2), "points"),
        (lambda: mogfn.thermometer(0.5, low=-1e308, high=1e308), "low must be below high"),
    ):
        with pytest.raises(ValueError, match=word):
            call()
