"""The study's rivals, counters and protocols."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.utils.prune

from lib.experiment import rng as make_rng
from lib.gradient.mfac import MFAC, PruneSchedule, prunable, rank_one_vectors
from lib.gradient.mfac.study import (
    convnet,
    costs,
    count_operations,
    deep_net,
    magnitude_prune,
    network,
    protocols,
    races,
    slope,
    solved_vectors,
)


@pytest.fixture
def images():
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.normal(size=(256, 1, 28, 28)))
    return network.Images(x, torch.from_numpy(rng.integers(0, 10, 256)))


def rng(*axes):
    return make_rng(0, *axes)


def test_magnitude_pruning_is_torchs(images):
    ours, theirs = convnet(np.random.default_rng(1)), convnet(np.random.default_rng(1))
    result = magnitude_prune(ours, 0.7)
    layers = [(layer, "weight") for layer in theirs.modules() if hasattr(layer, "weight")]
    torch.nn.utils.prune.global_unstructured(layers, torch.nn.utils.prune.L1Unstructured, amount=result.sparsity)
    for mine, (layer, _) in zip(prunable(ours), layers, strict=True):
        assert torch.equal(mine, layer.weight)
    assert result.sparsity == pytest.approx(0.7, abs=1e-4)


def test_solved_vectors_are_those_of_the_recursion():
    G = torch.from_numpy(np.random.default_rng(0).normal(size=(9, 30)))
    for found, expected in zip(solved_vectors(G, 1e-3), rank_one_vectors(G, 1e-3), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda a: a @ a, 1000),
        (lambda a: a @ a[0], 100),
        (lambda a: a * a, 100),
        (lambda a: a.sum(), 100),
        (lambda a: torch.linalg.cholesky_ex(a @ a), 1000 + 333),
        (lambda a: torch.cholesky_solve(a[:, :1], a), 200),
        (lambda a: torch.linalg.solve_triangular(a, a, upper=False), 500),
        (lambda a: a.mT, 0),
    ],
)
def test_operations_are_counted(call, expected):
    a = torch.eye(10, dtype=torch.float64)
    assert count_operations(lambda: call(a)) == expected


def test_counted_powers_are_the_promised_ones():
    powers = costs.counted()
    assert powers["setup_m"] == pytest.approx(2, abs=0.1)
    assert powers["setup_d"] == pytest.approx(1, abs=0.01)
    assert powers["element_m"] == pytest.approx(1, abs=0.01)
    assert powers["slide"] < 4


def test_slope_is_that_of_a_power():
    assert slope([1, 10, 100], [5, 50, 500]) == pytest.approx(1)
    with pytest.raises(ValueError, match="sizes"):
        slope([2, 2], [1, 1])


def test_exactness_is_found():
    assert costs.exact_cases(rng("exact")) == {"static": 0, "blocks": 0, "dynamic": 0}


def test_training_stops_where_it_diverges(images):
    model = deep_net(np.random.default_rng(0), torch.nn.ReLU)
    flat = network.Images(images.x.flatten(1)[:, :64] * 1e3, images.y)
    losses = network.train(model, torch.optim.SGD(model.parameters(), 1e200), flat, 1, 64, rng("a"))
    assert len(losses) == 4
    assert np.isinf(losses[-1])
    assert races.last_epoch(losses, 1) == 10


def test_rates_fall_tenfold_at_half_and_three_quarters():
    assert [network.tenfold(8)(e) for e in range(8)] == pytest.approx([1, 1, 1, 1, 0.1, 0.1, 0.01, 0.01])


def test_batches_pass_over_all_once(images):
    seen = torch.cat([y for _, y in images.batches(rng("b"), 50)])
    assert len(seen) == 250
    drawn = images.batches(rng("b"), 32, 3)
    assert [len(y) for _, y in drawn] == [32] * 3
    assert len(images.first(7)) == 7
    assert images.halved().x.shape == (256, 1, 14, 14)
    torch.testing.assert_close(images.halved().x[0, 0, 0, 0], images.x[0, 0, :2, :2].mean())


def test_schemes_prune_to_the_same_sparsity_and_leave_the_dense_network(images):
    dense = convnet(rng("dense"))
    before = copy.deepcopy(dense.state_dict())
    for scheme in protocols.SCHEMES:
        model = protocols.pruned(dense, scheme, 0.8, images, 4, 2, rng("g"))
        zeros = sum(int((p == 0).sum()) for p in prunable(model)) / 26760
        assert zeros == pytest.approx(0.8, abs=1e-3)
    assert all(torch.equal(a, b) for a, b in zip(before.values(), dense.state_dict().values(), strict=True))


def test_gradual_pruning_keeps_zeros(images):
    dense = convnet(rng("dense"))
    for by in protocols.GRADUAL:
        seen = protocols.gradual(dense, by, PruneSchedule((0.5, 0.9), every=1), images, images, 4, 2, rng)
        assert len(seen) == 5
        assert all(0 <= a <= 1 for a in seen)


def test_gradual_pruning_by_the_diagonal_moves_nothing_but_by_training(images, monkeypatch):
    monkeypatch.setattr(protocols, "train", lambda *args: None)
    dense = convnet(rng("dense"))
    asked = []
    real = protocols.obs_prune
    monkeypatch.setattr(
        protocols, "obs_prune", lambda model, *a, **kw: asked.append((model, a, r := real(model, *a, **kw))) or r
    )
    protocols.gradual(dense, "diagonal", PruneSchedule((0.5, 0.9), every=1), images, images, 4, 2, rng)
    assert [arguments[1:] for _, arguments, _ in asked] == [(0.5, 1, 2), (0.9, 1, 2)]
    model, _, last = asked[-1]
    for before, after, mask in zip(prunable(dense), prunable(model), last.masks, strict=True):
        assert torch.equal(after, before * mask)


def test_second_data_prunes_one_network_by_all_schemes():
    args = (64, 32, 1, 0.9, (2, 2), PruneSchedule((0.5, 0.9), every=1), 64, 1)
    found = protocols.second_data("mnist", *args, rng)
    assert list(found) == [
        "before", "magnitude", "diagonal, recomputed", "blocks, recomputed", "gradual, magnitude", "gradual, blocks",
    ]  # fmt: skip
    assert found == protocols.second_data("mnist", *args, rng)


def test_trials_are_the_middle_rates_and_the_first_changes(images):
    small = images.halved()
    for name, racer in races.RACERS.items():
        trials = races.tune(name, small, small, 1, 4, 3, 2, rng)
        assert [t.settings["lr"] for t in trials[:3]] == list(racer.rates[1:4])
        best = races.best_trial(trials[:3])
        assert [t.settings for t in trials[3:5]] == [best.settings | change for change in racer.changes[:2]]
        helped = [t for t in trials[3:5] if t.validation > best.validation]
        assert len(trials) == 5 + (len(helped) == 2)


def test_of_two_values_of_one_setting_the_first_counts(images, monkeypatch):
    order = iter([0.1, 0.5, 0.5, 0.5])
    monkeypatch.setattr(races, "accuracy", lambda *_: next(order))
    racer = races.Racer(races.RACERS["SGD"].make, (0.1,), ({"momentum": 0.8}, {"momentum": 0.7}))
    monkeypatch.setitem(races.RACERS, "SGD", racer)
    trials = races.tune("SGD", images.halved(), images, 1, 4, 1, 2, rng)
    assert trials[-1].settings == {"lr": 0.1, "momentum": 0.8}
    assert races.best_trial(trials) is trials[1]


def test_all_optimizers_start_at_the_same_weights(images):
    small = images.halved()
    chosen = {name: races.Trial({"lr": 1e-3}, 0.0, 0.0) for name in races.RACERS}
    found = races.rerun(chosen, small, small, 1, 4, 2, rng)
    for k in (0, 1):
        assert len({runs[k][1][0] for runs in found.values()}) == 1
    assert len({runs[1][0] for runs in found["SGD"]}) == 2


def test_a_window_twice_as_large_has_half_the_rate():
    w = torch.nn.Parameter(torch.ones(2))
    made = races.RACERS["M-FAC"].make([w], 8, lr=0.1, windows=2, damp=1e-3)
    assert isinstance(made, MFAC)
    assert {made.defaults[key] for key in ("ngrads",)} == {16}
    assert made.defaults["lr"] == pytest.approx(0.05)


def test_windows_share_the_middle_run(images):
    found = races.windows(images.halved(), 1, (2, 4), 1e-3, rng, 4)
    assert found["same rate"][1] == found["same product"][1]


def test_step_ratios_are_over_sgd(images):
    found = races.step_ratios(images.halved(), 4, rng, 1)
    assert found["SGD"] == 1
    assert min(found.values()) > 0


def test_times_hold_a_dense_inverse_where_it_is_small():
    small, large = costs.times([(4, 50), (4, 2001)], np.random.default_rng(0))
    assert {"setup", "product", "slide", "solve", "dense"} == set(small)
    assert "dense" not in large


def test_single_weights_are_as_by_hand(images):
    dense = convnet(rng("dense"))
    found = protocols.single_weights(dense, images, 6, 4, rng("w"))
    assert {len(v) for v in found.values()} == {len(found["alone"])}
    assert np.isfinite(np.array(list(found.values()))).all()
    assert set(found) == {"squared", "full", "diagonal", "single images", "alone", "even"}
    again = protocols.single_weights(dense, network.Images(images.x, images.y), 6, 4, rng("w"))
    assert all(np.array_equal(found[key], again[key]) for key in found)
    assert protocols.rank_correlation([1, 2, 3], [2, 4, 9]) == pytest.approx(1)
