"""ParetoDA with convolutions and batch normalization: the network, its protocol, and the door of the estimator."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from lib.objectives.pareto_da import Adaptation, ParetoDA, study
from lib.objectives.pareto_da.networks import conv_net, mlp, seeded
from lib.objectives.pareto_da.study import Variant, conv, tasks, tuning

SMALL = study.ConvNetwork(channels=(2, 4), features=8, hidden=8, batch_size=12)


def starts(names=("M-O",), n=40, warmup=2):
    return study.conv_starts(list(names), n, warmup, [5], SMALL)


def precise(start):
    start = copy.deepcopy(start)
    for part in ("net", "head", "domain", "classwise"):
        getattr(start.run, part).double()
    for part in ("X", "target", "held_out", "everything"):
        setattr(start, part, getattr(start, part).double())
    return start


def same(one, other, atol=0.0):
    states = [[p for part in ("net", "head", "domain", "classwise") for p in getattr(run, part).state_dict().values()]
              for run in (one, other)]  # fmt: skip
    return all(torch.allclose(p.double(), q.double(), rtol=0, atol=atol) for p, q in zip(*states, strict=True))


def test_network_is_the_one_described():
    net = conv_net((3, 16, 16))
    kinds = [type(layer).__name__ for layer in net]
    assert kinds == ["Conv2d", "ReLU", "MaxPool2d"] * 2 + ["Flatten", "Linear", "BatchNorm1d", "ReLU"]
    assert [net[0].weight.shape, net[3].weight.shape] == [(16, 3, 5, 5), (32, 16, 5, 5)]
    assert net[7].weight.shape == (128, 512)
    assert net(torch.zeros(2, 3, 16, 16)).shape == (2, 128)
    assert [type(layer).__name__ for layer in mlp([4, 3, 1], norm=True)] == ["Linear", "BatchNorm1d", "ReLU", "Linear"]
    with pytest.raises(ValueError, match="image"):
        conv_net((1, 16, 18))
    with pytest.raises(ValueError, match="channels"):
        conv_net((1, 16, 16), channels=())


def test_images_are_larger_ones_of_the_same_digits():
    flat = np.full((2, 8, 8), 0.3)
    np.testing.assert_allclose(tasks.enlarge(flat), 0.3)
    ramp = np.tile(np.arange(8.0), (1, 8, 1))
    np.testing.assert_allclose(tasks.enlarge(ramp)[0, 0, 1:-1], np.arange(14) / 2 + 0.25)
    np.testing.assert_allclose(tasks.enlarge(ramp)[0, 0, [0, -1]], [0, 7])
    some = np.random.default_rng(0).random((3, 28, 28)) * 255
    np.testing.assert_allclose(tasks.shrink(some, 16, 0).mean(1), some.mean((1, 2)) / 255)


@pytest.mark.parametrize(("name", "colors"), [("M-O", 1), ("O-M", 1), ("M-C", 3)])
def test_image_tasks_repeat_and_hold_images(name, colors):
    one, two = study.images_task(name, 30, 25, 3), study.images_task(name, 30, 25, 3)
    np.testing.assert_array_equal(one.X_target, two.X_target)
    assert one.X_source.shape == (30, colors, 16, 16)
    assert one.X_target.shape == (25, colors, 16, 16)
    assert min(one.X_source.min(), one.X_target.min()) >= 0
    assert max(one.X_source.max(), one.X_target.max()) <= 1
    with pytest.raises(ValueError, match="n_source"):
        study.images_task("O-M", 1798, 30, 3)


@pytest.mark.parametrize("method", ["source", "dann", "sum"])
def test_one_backward_pass_takes_the_same_step(method):
    start = precise(starts()[0])
    one, other = (conv.branch(start.run, Variant("x", method, lr=0.01, scales=(1.0, 0.3, 2.0)), 10) for _ in range(2))
    for i in range(3):
        batch = start.X[i : i + 12], start.y[i : i + 12], start.target[i : i + 12]
        one.step(*batch, start.held_out)
        conv.fixed_step(other, conv.FIXED[method], *batch)
    assert one.step_count == other.step_count == 3
    if method == "source":  # there the discriminators stay; here they follow, and move nothing else
        other.domain, other.classwise = one.domain, one.classwise
    assert same(one, other, 1e-12)


def test_alone_never_sees_the_target():
    start = starts()[0]
    changed = copy.deepcopy(start)
    changed.target += 1.0
    runs = [study.conv_compare([s], [Variant("x", "alone", lr=0.01)], 2, 2, SMALL)["x"][0].run for s in (start, changed)]
    assert same(*runs)
    runs = [study.conv_compare([s], [Variant("x", "source", lr=0.01)], 2, 2, SMALL)["x"][0].run for s in (start, changed)]
    assert not same(*runs)


def test_looking_changes_nothing():
    start = starts()[0]
    run = study.conv_compare([start], [Variant("ParetoDA", lr=0.01)], 1, 1, SMALL)["ParetoDA"][0].run
    before = copy.deepcopy(run)
    start.accuracy(run), start.surrogate(run), study.cosines(start, run)
    assert same(run, before)
    assert run.net.training
    often = study.conv_compare([start], [Variant("ParetoDA", lr=0.01)], 4, 1, SMALL)["ParetoDA"][0].run
    once = study.conv_compare([start], [Variant("ParetoDA", lr=0.01)], 4, 4, SMALL)["ParetoDA"][0].run
    assert same(often, once)


def test_methods_share_start_and_batches():
    found = study.conv_compare(starts(("M-O", "M-C")), study.conv_variants(), 2, 1, SMALL)
    assert {tuple(o.task for o in outcomes) for outcomes in found.values()} == {("M-O", "M-C")}
    assert len({o[0].accuracy[0] for o in found.values()}) == 1
    assert found["ParetoDA"][0].steps == [0, 1, 2]
    assert found["ParetoDA"][0].history["modes"].shape == (2,)


def test_runs_with_batch_normalization_are_not_stacked():
    start = starts()[0]
    rows = np.zeros((1, 1, 4), dtype=int)
    with pytest.raises(ValueError, match="batch normalization"):
        study.train_together([start.run], tuple(part[None] for part in (start.X, start.y, start.target, start.held_out)),
                             (rows, rows, rows))  # fmt: skip


def test_conv_settings_are_the_best_of_their_rows_and_no_end():
    for method, row in study.CONV_GRID.items():
        best = max(row, key=row.get)
        if method == "joint batches":
            assert list(row) == [tuning.JOINT_RATE]
            continue
        assert best == (study.CONV_DOMAIN_WEIGHT if method == "tuned sum" else study.CONV_TUNED[method])
        assert min(row) < best < max(row)
        assert len(row) == len(tuning.DOMAIN_WEIGHTS if method == "tuned sum" else study.CONV_RATES)


def test_conv_tuning_gives_the_table():
    grid = tuning.tune_conv(seeds=[0], n=40, warmup=1, iterations=1, net=SMALL)
    assert {method: set(row) for method, row in grid.items()} == {method: set(row) for method, row in study.CONV_GRID.items()}


def test_saved_in_the_middle_statistics_go_on_alike():
    with seeded(0):
        one = Adaptation(conv_net((1, 4, 4), 6, (2,)), 6, 3, norm=True, lr=0.01, hidden=4)
    g = torch.Generator().manual_seed(0)
    x, z, v = torch.rand(3, 9, 1, 4, 4, generator=g)
    y = torch.arange(9) % 3
    one.step(x, y, z, v)
    two = Adaptation(conv_net((1, 4, 4), 6, (2,)), 6, 3, norm=True, lr=0.01, hidden=4)
    two.load_state_dict(one.state_dict())
    for run in (one, two):
        run.step(x, y, z, v)
    assert same(one, two)


def test_estimator_takes_the_convolutional_network_by_name():
    rng = np.random.default_rng(0)
    X, y, Z = rng.random((30, 1, 8, 8)), np.arange(30) % 3, rng.random((30, 1, 8, 8))
    settings = {"net": "conv", "features": 6, "norm": True, "iterations": 2, "warmup": 2, "dtype": "float32"}
    model = ParetoDA(**settings, random_state=0).fit(X, y, Z)
    assert model.predict_proba(Z).shape == (30, 3)
    assert isinstance(model.adaptation_.net[0], nn.Conv2d)
    assert model.adaptation_.optimizer.param_groups[0]["factor"] == 1.0
    with pytest.raises(ValueError, match="X_target"):
        ParetoDA(**settings).fit(X, y, Z[..., :4])
    with pytest.raises(ValueError, match="image"):
        ParetoDA(**settings).fit(X[:, 0, 0], y, Z[:, 0, 0])
    with pytest.raises(TypeError, match="norm"):
        ParetoDA(**settings).set_params(norm="yes").fit(X, y, Z)
