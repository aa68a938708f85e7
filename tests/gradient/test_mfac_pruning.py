"""Optimal Brain Surgeon: exact on quadratics, exact counts, zeros that stay."""

import copy
import itertools
import math
import pickle

import pytest
import torch
import torch.nn.utils.prune

from lib.gradient.mfac import (
    KeepPruned,
    PruneSchedule,
    collect_gradients,
    obs_prune,
    obs_saliency,
    obs_step,
    prunable,
    sparsity_path,
)


@pytest.fixture
def gen():
    return torch.Generator().manual_seed(11)


def draw(gen, *shape):
    return torch.randn(*shape, generator=gen, dtype=torch.float64)


def network(gen):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return torch.nn.Sequential(
            torch.nn.Conv2d(1, 3, 3), torch.nn.BatchNorm2d(3), torch.nn.Flatten(), torch.nn.Dropout(0.5), torch.nn.Linear(48, 4)
        )


def batches(gen, n=6, size=5):
    return [(torch.randn(size, 1, 6, 6, generator=gen), torch.randint(0, 4, (size,), generator=gen)) for _ in range(n)]


LOSS = torch.nn.functional.cross_entropy


def grads_of(model, data, params=None):
    return lambda: collect_gradients(model, LOSS, data, params)


# One step, on a quadratic whose Hessian is the damped Fisher matrix itself


def quadratic(gen, d=6, m=9, damp=0.1):
    G, w = draw(gen, m, d), draw(gen, d)
    H = damp * torch.eye(d, dtype=torch.float64) + G.T @ G / m
    return G, w, H


def test_saliency_is_the_least_loss_at_which_a_weight_vanishes(gen):
    _, w, H = quadratic(gen)
    inverse = torch.linalg.inv(H)
    saliency = obs_saliency(w, inverse.diagonal())
    for i in range(6):
        rest = [j for j in range(6) if j != i]  # the constrained minimum, by its normal equations
        move = torch.zeros(6, dtype=torch.float64)
        move[i] = -w[i]
        move[rest] = torch.linalg.solve(H[rest][:, rest], H[rest, i] * w[i])
        assert float(saliency[i]) == pytest.approx(float(move @ H @ move) / 2, rel=1e-12)


def test_removing_one_weight_moves_the_others_to_the_constrained_minimum(gen):
    G, w, H = quadratic(gen)
    new, mask, saliency = obs_step(w, G, 1, damp=0.1, block_size=None)
    (i,) = (~mask).nonzero()[:, 0].tolist()
    assert i == int(saliency.argmin())
    assert new[i] == 0
    move = new - w
    assert float(move @ H @ move) / 2 == pytest.approx(float(saliency[i]), rel=1e-12)
    slope = H @ move
    assert slope[mask].abs().max() < 1e-12


def test_several_weights_move_the_others_by_the_sum_of_single_moves(gen):
    G, w, H = quadratic(gen)
    inverse = torch.linalg.inv(H)
    new, mask, _ = obs_step(w, G, 3, damp=0.1, block_size=None)
    dropped = (~mask).nonzero()[:, 0].tolist()
    expected = w + sum(-w[i] / inverse[i, i] * inverse[:, i] for i in dropped)
    torch.testing.assert_close(new[mask], expected[mask], rtol=1e-10, atol=1e-12)
    assert len(dropped) == 3
    assert (new[~mask] == 0).all()


def test_without_update_the_others_stay(gen):
    G, w, _ = quadratic(gen)
    new, mask, _ = obs_step(w, G, 2, damp=0.1, block_size=None, update=False)
    assert torch.equal(new, w * mask)


def test_blocks_of_one_are_the_diagonal_fisher_matrix(gen):
    G, w, _ = quadratic(gen)
    new, mask, saliency = obs_step(w, G, 2, damp=1e-5, block_size=1)
    expected = w**2 * (1e-5 + (G**2).mean(0)) / 2
    torch.testing.assert_close(saliency, expected, rtol=1e-9, atol=0)
    assert torch.equal(new, w * mask)
    assert set((~mask).nonzero()[:, 0].tolist()) == set(expected.argsort()[:2].tolist())


def test_weights_that_are_gone_take_no_part(gen):
    G, w, _ = quadratic(gen)
    mask = torch.tensor([True, False, True, True, False, True])
    new, left, saliency = obs_step(w, G, 2, mask, 0.1, None)
    sub_w, sub_left, sub_saliency = obs_step(w[mask], G[:, mask], 2, damp=0.1, block_size=None)
    torch.testing.assert_close(new[mask], sub_w)
    assert torch.equal(left[mask], sub_left)
    torch.testing.assert_close(saliency[mask], sub_saliency)
    assert torch.isinf(saliency[~mask]).all()
    assert not left[~mask].any()
    assert (new[~mask] == 0).all()


def test_everything_and_nothing_can_be_dropped(gen):
    G, w, _ = quadratic(gen)
    new, mask, _ = obs_step(w, G, 0)
    assert torch.equal(new, w)
    assert mask.all()
    new, mask, _ = obs_step(w, G, 6)
    assert not mask.any()
    assert (new == 0).all()
    new, mask, saliency = obs_step(w, G, 0, torch.zeros(6, dtype=torch.bool))
    assert (new == 0).all()
    assert torch.isinf(saliency).all()


# The path


def test_densities_are_geometric():
    path = sparsity_path(0.2, 0.9, 4)
    densities = [0.8, *(1 - s for s in path)]
    ratios = [b / a for a, b in itertools.pairwise(densities)]
    assert ratios == pytest.approx([(0.1 / 0.8) ** 0.25] * 4)
    assert path[-1] == 0.9
    assert sparsity_path(0.5, 0.5, 3) == [0.5] * 3
    assert sparsity_path(0.0, 0.75, 2) == [0.5, 0.75]


# Models


def test_prunable_are_linear_and_convolutional_weights_once(gen):
    model = network(gen)
    assert [tuple(p.shape) for p in prunable(model)] == [(3, 1, 3, 3), (4, 48)]
    tied = torch.nn.Linear(2, 2)
    assert len(prunable(torch.nn.Sequential(tied, tied))) == 1


def test_gradients_are_those_of_backward_in_evaluation_mode(gen):
    model, data = network(gen), batches(gen)
    model.train()
    state = copy.deepcopy(model.state_dict())
    G = collect_gradients(model, LOSS, data)
    assert model.training
    assert all(layer.training for layer in model.modules())
    assert all(p.grad is None for p in model.parameters())
    assert all(torch.equal(a, b) for a, b in zip(state.values(), model.state_dict().values(), strict=True))
    model.eval()
    for row, (x, y) in zip(G, data, strict=True):
        model.zero_grad()
        LOSS(model(x), y).backward()
        torch.testing.assert_close(row, torch.cat([p.grad.flatten() for p in prunable(model)]))


def test_unused_parameters_have_gradient_zero(gen):
    model = network(gen)
    extra = torch.nn.Parameter(torch.ones(2))
    G = collect_gradients(model, LOSS, batches(gen, 2), [*prunable(model), extra])
    assert (G[:, -2:] == 0).all()
    assert G.shape[1] == 27 + 192 + 2


def test_a_mode_of_one_layer_is_kept(gen):
    model = network(gen).train()
    model[1].eval()
    collect_gradients(model, LOSS, batches(gen, 1))
    assert model.training
    assert not model[1].training


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_batch_that_is_not_finite_is_named(gen, bad):
    data = batches(gen, 3)
    data[1][0][0, 0, 0, 0] = bad
    with pytest.raises(ValueError, match="batch 2"):
        collect_gradients(network(gen), LOSS, data)
    with pytest.raises(ValueError, match="batches"):
        collect_gradients(network(gen), LOSS, [])
    with pytest.raises(ValueError, match="params"):
        collect_gradients(torch.nn.ReLU(), LOSS, data)


@pytest.mark.parametrize(("block_size", "n_recompute"), [(None, 1), (16, 3), (1, 2)])
def test_sparsity_is_exact_and_only_weights_are_pruned(gen, block_size, n_recompute):
    model, data = network(gen), batches(gen)
    others = {n: p.clone() for n, p in model.named_parameters() if "bias" in n or n.startswith("1.")}
    result = obs_prune(model, grads_of(model, data), 0.6, block_size, n_recompute)
    d = sum(p.numel() for p in prunable(model))
    zeros = sum(int((p == 0).sum()) for p in prunable(model))
    assert zeros == math.floor(0.6 * d)
    assert result.sparsity == pytest.approx(zeros / d)
    assert all(torch.equal(p == 0, ~mask) for p, mask in zip(prunable(model), result.masks, strict=True))
    assert all(torch.equal(p, others[n]) for n, p in model.named_parameters() if n in others)
    assert pickle.loads(pickle.dumps(result)).sparsity == result.sparsity


def test_sub_steps_are_those_of_the_path_written_out(gen):
    model, data = network(gen), batches(gen)
    by_hand = copy.deepcopy(model)
    obs_prune(model, grads_of(model, data), 0.8, 32, 3)
    w = torch.cat([p.detach().flatten() for p in prunable(by_hand)])
    mask = torch.ones(len(w), dtype=torch.bool)
    for wanted in sparsity_path(0, 0.8, 3):
        n_drop = math.floor(len(w) * wanted) - int((~mask).sum())
        w, mask, _ = obs_step(w, grads_of(by_hand, data)(), n_drop, mask, block_size=32)
        torch.nn.utils.vector_to_parameters(w, prunable(by_hand))
    assert torch.equal(torch.cat([p.detach().flatten() for p in prunable(model)]), w)


def test_pruning_goes_on_from_masks(gen):
    model, data = network(gen), batches(gen)
    first = obs_prune(model, grads_of(model, data), 0.5, n_recompute=1)
    second = obs_prune(model, grads_of(model, data), 0.9, n_recompute=2, masks=first.masks)
    assert all(not (new & ~old).any() for old, new in zip(first.masks, second.masks, strict=True))
    again = obs_prune(model, grads_of(model, data), second.sparsity, masks=second.masks)
    assert again.sparsity == second.sparsity
    with pytest.raises(ValueError, match="sparsity"):
        obs_prune(model, grads_of(model, data), 0.3, masks=second.masks)
    with pytest.raises(ValueError, match="masks"):
        obs_prune(model, grads_of(model, data), 0.95, masks=second.masks[:1])


def test_sparsity_zero_changes_nothing(gen):
    model = network(gen)
    before = copy.deepcopy(model.state_dict())
    result = obs_prune(model, lambda: 1 / 0, 0.0)
    assert result.sparsity == 0
    assert all(torch.equal(a, b) for a, b in zip(before.values(), model.state_dict().values(), strict=True))


@pytest.mark.parametrize("sparsity", [1.0, -0.1, math.nan, "0.5", None])
def test_a_sparsity_out_of_range_is_refused(gen, sparsity):
    model = network(gen)
    with pytest.raises((TypeError, ValueError), match="sparsity"):
        obs_prune(model, grads_of(model, batches(gen)), sparsity)


def test_bad_gradients_name_the_sub_step_and_leave_the_weights(gen):
    model, calls = network(gen), []
    good = grads_of(model, batches(gen))

    def broken():
        calls.append([p.clone() for p in prunable(model)])
        return good() if len(calls) == 1 else good() * torch.nan

    with pytest.raises(ValueError, match="sub-step 2 of 3"):
        obs_prune(model, broken, 0.9, n_recompute=3)
    assert all(torch.equal(a, b) for a, b in zip(calls[1], prunable(model), strict=True))
    with pytest.raises(ValueError, match="one column for each"):
        obs_prune(network(gen), lambda: torch.ones(3, 5), 0.5)


def test_defaults_are_the_authors():
    assert obs_prune.__defaults__[:3] == (128, 16, 1e-5)
    assert obs_step.__defaults__[1:3] == (1e-5, 128)
    assert PruneSchedule() == PruneSchedule((0.5, 0.75, 0.875), 2, 0.005, 0.0005)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda w, G: obs_step(w, G, 7), "n_drop"),
        (lambda w, G: obs_step(w, G[:, :5], 1), "grads"),
        (lambda w, G: obs_step(w, G, 1, torch.ones(6)), "mask"),
        (lambda w, G: obs_step(w, G, 1, update=1), "update"),
        (lambda w, G: obs_saliency(w, w[:5]), "diagonal"),
        (lambda w, G: obs_saliency(w, 0 * w), "diagonal"),
        (lambda w, G: sparsity_path(0.5, 0.4, 1), "target"),
        (lambda w, G: sparsity_path(0.5, 1.0, 1), "target"),
        (lambda w, G: sparsity_path(0.0, 0.5, 0), "n_steps"),
        (lambda w, G: prunable(w), "model"),
        (lambda w, G: KeepPruned(w, [], []), "optimizer"),
        (lambda w, G: KeepPruned(torch.optim.SGD([w], 0.1), [w], [w]), "masks"),
        (lambda w, G: PruneSchedule((0.5, 0.4)), "sparsities"),
        (lambda w, G: PruneSchedule((0.5, 1.0)), "sparsities"),
        (lambda w, G: PruneSchedule(every=0), "every"),
        (lambda w, G: PruneSchedule(high=-1.0), "high"),
        (lambda w, G: PruneSchedule().lr(-1), "epoch"),
    ],
)
def test_bad_input_is_refused_by_name(gen, call, match):
    G, w, _ = quadratic(gen)
    with pytest.raises((TypeError, ValueError), match=match):
        call(w, G)


def test_schedule_prunes_and_lowers_the_rate_before():
    schedule = PruneSchedule((0.5, 0.9), every=3)
    assert [schedule.target(e) for e in range(8)] == [0.5, None, None, 0.9, None, None, None, None]
    assert [schedule.lr(e) for e in range(8)] == [0.005, 0.005, 0.0005, 0.005, 0.005, 0.0005, 0.005, 0.005]
    assert schedule.n_epochs == 6
    assert PruneSchedule((0.5,), every=1).lr(0) == 0.005


def test_wider_gradients_give_their_digits_to_narrow_weights():
    G = 10 * torch.randn(20, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with pytest.raises(FloatingPointError, match="float64"):
        obs_step(torch.ones(8), G.float(), 2, block_size=None)
    for mine, wide in zip(obs_step(torch.ones(8), G, 2, block_size=None), obs_step(torch.ones(8).double(), G, 2), strict=True):
        assert torch.equal(mine, wide)


def test_masks_of_the_wanted_sparsity_are_applied():
    model = torch.nn.Linear(4, 1)
    mask, before = torch.tensor([[True, True, False, False]]), model.weight.detach().clone()
    assert obs_prune(model, lambda: torch.ones(2, 4), 0.5, masks=[mask]).sparsity == 0.5
    assert torch.equal(model.weight, before * mask)


def test_frozen_weights_are_refused_by_name():
    model = torch.nn.Linear(3, 1)
    model.weight.requires_grad_(False)
    with pytest.raises(ValueError, match="params must require gradients"):
        collect_gradients(model, torch.nn.functional.mse_loss, [(torch.ones(2, 3), torch.ones(2, 1))])


def frozen_by_torch(how):
    model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Linear(3, 2))
    how(model[1])
    return model


@pytest.mark.parametrize(
    "how",
    [
        lambda layer: torch.nn.utils.prune.l1_unstructured(layer, "weight", 0.5),
        lambda layer: torch.nn.utils.parametrizations.weight_norm(layer),
    ],
)
def test_a_weight_that_is_computed_from_others_is_refused_and_not_said_to_be_pruned(gen, how):
    model = frozen_by_torch(how)
    batches = [(torch.randn(4, 4), torch.randn(4, 2))] * 3
    for call in (lambda: prunable(model), lambda: collect_gradients(model, torch.nn.functional.mse_loss, batches)):
        with pytest.raises(ValueError, match="weight of 1 is computed from others"):
            call()
    with pytest.raises(TypeError, match="params must hold parameters"):
        obs_prune(model, lambda: torch.zeros(2, 6), 0.5, params=[model[1].weight])


def test_a_lazy_layer_is_refused_until_it_has_a_shape():
    model = torch.nn.Sequential(torch.nn.LazyLinear(2))
    with pytest.raises(ValueError, match="weight of 0 has no shape yet"):
        prunable(model)
    model(torch.ones(1, 3))
    assert [tuple(p.shape) for p in prunable(model)] == [(2, 3)]


def test_masks_that_are_replaced_are_checked_too():
    w = torch.nn.Parameter(torch.ones(3))
    keep = KeepPruned(torch.optim.SGD([w], 0.1), [w], [torch.tensor([True, False, True])])
    for bad in ([torch.tensor([False])], [torch.ones(3)], []):
        with pytest.raises(ValueError, match="masks"):
            keep.masks = bad
    keep.masks = [torch.tensor([False, False, True])]
    keep.apply()
    assert w.tolist() == [0.0, 0.0, 1.0]
