"""What the chapter of ParetoDA rests on: tasks, stacked training, settings, measures."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from lib.objectives.pareto_da import min_norm_weights, pareto_weights, study
from lib.objectives.pareto_da.study import tasks, tuning


def test_digits_are_block_means():
    image = np.zeros((1, 28, 28))
    image[0, 4:24, 4:24] = 255.0
    np.testing.assert_allclose(tasks.shrink(image), 1.0)
    image[0, :, 14:] = 0.0
    np.testing.assert_allclose(tasks.shrink(image).reshape(8, 8)[0], [1, 1, 1, 1, 0, 0, 0, 0])
    rng = np.random.default_rng(0)
    some = rng.random((3, 28, 28))
    np.testing.assert_allclose(tasks.shrink(some).mean(1), some[:, 4:24, 4:24].mean((1, 2)) / 255)


@pytest.mark.parametrize("name", list(study.TASKS))
def test_tasks_are_drawn_without_overlap_and_repeat(name):
    one, two = study.digits_task(name, 50, 40, 3), study.digits_task(name, 50, 40, 3)
    np.testing.assert_array_equal(one.X_target, two.X_target)
    assert one.X_source.shape[1] == one.X_target.shape[1] == (192 if name == "M-C" else 64)
    assert one.X_source.min() >= 0
    assert one.X_target.max() <= 1
    assert set(one.y_target) <= set(range(10))
    with pytest.raises(ValueError, match="n_target"):
        study.digits_task("M-O", 50, 1798, 3)


def test_blended_digits_are_differences_from_patches():
    digits = np.zeros((6, 64))
    dark = tasks.blend(digits, np.random.default_rng(1))
    lit = tasks.blend(digits + 1.0, np.random.default_rng(1))
    np.testing.assert_allclose(lit, 1 - dark)
    assert dark.max() <= 0.5


def test_runs_trained_together_are_those_trained_alone():
    assert study.stacked_difference(seed=1) < 1e-10


def test_every_variant_takes_its_own_steps():
    starts = study.warm_starts(["M-O"], 60, 2, [0])
    variants = study.variants()
    found = study.compare(starts, variants, 2, 1)
    for variant in variants:
        run = study.compare(starts, [variant], 2, 1)[variant.name][0].run
        pairs = zip(run.shared, found[variant.name][0].run.shared, strict=True)
        assert max(float((p - q).detach().abs().max()) for p, q in pairs) < 1e-10
    assert found["ParetoDA"][0].steps == [0, 1, 2]
    assert len(found["ParetoDA"][0].cosines) == 2
    assert starts[0].run.step_count == 0
    np.testing.assert_allclose(found["plain sum"][0].history["weights"], 1)


def test_stacking_refuses_what_differs():
    starts = study.warm_starts(["M-O"], 60, 0, [0])
    one, other = copy.deepcopy(starts[0].run), copy.deepcopy(starts[0].run)
    other.refine = "none"
    X, y = torch.rand(2, 20, 64, dtype=torch.float64), torch.zeros(2, 20, dtype=torch.long)
    rows = np.zeros((1, 2, 4), dtype=int)
    with pytest.raises(ValueError, match="refine"):
        study.train_together([one, other], (X, y, X, X), (rows, rows, rows))
    with pytest.raises(ValueError, match="batches"):
        study.warm_together([one, other], X, y, rows[:, :1], 0.1)


def test_settings_are_the_best_of_their_rows_and_no_end():
    for method, row in study.GRID.items():
        best = max(row, key=row.get)
        assert best == (study.DOMAIN_WEIGHT if method == "weighted sum" else study.TUNED[method])
        assert min(row) < best < max(row)
        assert len(row) == 4
    assert {variant.lr for variant in study.variants()} <= set(study.RATES)


def test_tuning_seeds_are_nobody_elses():
    chapter = {1000 * (seed + 1) + i for seed in range(50) for i in range(50)}
    assert not chapter & set(tuning.TUNING_SEEDS)


def test_tuning_gives_the_table():
    grid = tuning.tune(seeds=[0], n=60, warmup=1, iterations=1)
    assert grid.keys() == study.GRID.keys()
    assert grid["weighted sum"].keys() == study.GRID["weighted sum"].keys()


def test_scaled_variants_scale_one_objective():
    found = study.scaled([0.5])
    assert found["plain sum", "domain", 0.5].scales == (1.0, 0.5, 1.0)
    assert found["ParetoDA", "source", 0.5].scales == (0.5, 1.0, 1.0)
    assert found["ParetoDA", "source", 0.5].method == "pareto"


def test_toy_gradients_are_those_of_differences():
    x = np.array([0.3, -0.2, 0.1])
    values, G = study.fonseca(x)
    for j in range(3):
        moved = (study.fonseca(x + 1e-6 * np.eye(3)[j])[0] - study.fonseca(x - 1e-6 * np.eye(3)[j])[0]) / 2e-6
        np.testing.assert_allclose(G[:, j], moved, atol=1e-9)
    assert values.shape == (2,)


def test_three_rules_end_where_theory_says():
    wish, x0 = study.front_point(0.35, 2), np.array([-0.45, 0.15])
    ends = {name: study.walk(rule, x0, wish, 0.1, 300)[-1] for name, rule in {
        "sum": lambda C, a, h: [0.5, 0.5], "mgda": lambda C, a, h: min_norm_weights(C),
        "pareto": lambda C, a, h: pareto_weights(C, a, h).x}.items()}  # fmt: skip
    assert min(study.fonseca(ends["sum"])[0]) < 0.05
    assert np.linalg.norm(ends["pareto"] - wish) < 0.06
    assert abs(ends["mgda"][0] - ends["mgda"][1]) < 1e-3
    assert np.linalg.norm(ends["mgda"] - wish) > 0.2


def test_first_order_errors_fall_to_a_quarter():
    start = study.warm_starts(["M-O"], 60, 5, [2])[0]
    run = study.compare([start], [study.Variant("x", refine="none", lr=0.01)], 2)["x"][0].run
    errors = study.first_order_errors(run, (start.X, start.y, start.target, start.held_out), (1e-3, 5e-4))
    np.testing.assert_allclose(errors[:, 1] / errors[:, 0], 0.25, atol=0.03)


def test_slack_is_that_of_the_program():
    start = study.warm_starts(["M-O"], 60, 5, [2])
    outcome = study.compare(start, [study.Variant("ParetoDA", lr=0.05)], 5)["ParetoDA"][0]
    for step, slack in enumerate(study.relative_slack(outcome)):
        told = outcome.run.history[step]
        assert slack == pytest.approx(told["slack"].min() / abs(told["gram"]).max(), abs=1e-12)


def test_spread_and_rank_correlation():
    made = [[study.Outcome("M-O", accuracy=[0.1, v]), study.Outcome("M-O", accuracy=[0.1, 2 * v])] for v in (0.2, 0.3)]
    np.testing.assert_allclose(study.spread(made), [0.1, 0.2])
    falling = study.Outcome("M-O", [0, 1, 2, 3, 4], [0, 0.1, 0.3, 0.2, 0.4], [0, -1, -2, -3, -4])
    assert study.rank_correlation(falling) == pytest.approx(0.8)
