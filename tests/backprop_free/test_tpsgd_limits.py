"""tpSGD where parts are frozen, keep running means, or have unusual shapes and sizes."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from lib.backprop_free import tpsgd


def frozen_part(number):
    model = tpsgd.TPSequential.dense([6, 5, 4, 3])
    part = [*model.blocks, model.head][number]
    part.requires_grad_(False)
    return model, part, torch.rand(8, 6), torch.arange(8) % 3


@pytest.mark.parametrize("number", range(3))
def test_a_frozen_layer_stays_and_the_others_learn(number):
    model, part, x, labels = frozen_part(number)
    before = [copy.deepcopy(layer.state_dict()) for layer in [*model.blocks, model.head]]
    model.train_step(x, labels, model.optimizers(torch.optim.SGD, lr=0.1), clip=1.0)
    for layer, state in zip([*model.blocks, model.head], before, strict=True):
        moved = any(not torch.equal(state[name], value) for name, value in layer.state_dict().items())
        assert moved == (layer is not part)
    if number < 2:
        assert tpsgd.compare_gradients(model, x, labels)[number] == 0.0


def test_training_without_gradients_is_an_error():
    model = tpsgd.TPSequential.dense([6, 3])
    with torch.no_grad(), pytest.raises(RuntimeError, match="require grad"):
        model.train_step(torch.rand(2, 6), torch.tensor([0, 1]), model.optimizers(torch.optim.SGD, lr=0.1))


def test_comparing_leaves_running_means():
    layer = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5))
    model = tpsgd.TPSequential([tpsgd.TPBlock(layer, tpsgd.LocalTarget(3, 5))], nn.Linear(5, 3))
    before = copy.deepcopy(model.state_dict())
    tpsgd.compare_gradients(model, torch.rand(8, 6), torch.arange(8) % 3)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_what_follows_with_weights_still_hands_on_a_detached_output():
    block = tpsgd.TPBlock(nn.Linear(6, 5), tpsgd.LocalTarget(3, 5), after=nn.Linear(5, 5))
    assert not block.local_loss(torch.ones(2, 6), torch.tensor([0, 1]))[0].requires_grad


def test_patterns_of_different_size_have_a_code():
    P = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1e-3, 0.0]])
    torch.testing.assert_close(tpsgd.read_code(0.25 * P[:1] + 0.75 * P[1:], P), torch.tensor([[0.25, 0.75]]))
    with pytest.raises(ValueError, match="independent"):
        tpsgd.read_code(P[:1], torch.cat([P[:1], 1e-3 * P[:1]]))


def test_a_sequence_without_steps_is_refused():
    with pytest.raises(ValueError, match="steps at least 1"):
        tpsgd.TPRNN(4, tpsgd.LocalTarget(3, 5))(torch.zeros(2, 0, 4))
