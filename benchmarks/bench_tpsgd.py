"""tpSGD: a training step against backpropagation and the closed form; growth with depth; recurrent layers, both modes."""

from __future__ import annotations

import pytest
import torch

from lib import experiment
from lib.backprop_free import tpsgd
from lib.backprop_free.tpsgd.study import steps

#: Peer -> why ours takes longer.
SLOWER = {
    "backpropagation": "every layer trains through a projection and a loss of its own; the gain is memory, not time",
    "backpropagation through time": "each layer's gradients run forward through time; the gain is memory, not time",
    "backward mode": "forward mode carries a derivative for every weight; it needs no history",
    "automatic differentiation of the layer": "the same products; ours writes them out",
}


def stream(*axes):
    return experiment.rng(0, *axes)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    experiment.one_thread()


@pytest.mark.parametrize("peer", [None, "backpropagation"])
def test_dense_step(benchmark, peer):
    benchmark.extra_info.update(slug="tpsgd", work="one step, 4 hidden layers of 256 units, 128 rows", peer=peer)
    benchmark.pedantic(steps.example("dense", 4, stream)["BP" if peer else "tpSGD"], rounds=20)


@pytest.mark.parametrize("peer", [None, "backpropagation through time"])
def test_recurrent_step(benchmark, peer):
    benchmark.extra_info.update(slug="tpsgd", work="one step, 2 recurrent layers of 64 units, 28 steps, 128 rows", peer=peer)
    benchmark.pedantic(steps.example("recurrent", 2, stream, width=64)["BP" if peer else "tpSGD"], rounds=10)


@pytest.mark.parametrize("peer", [None, "automatic differentiation of the layer"])
def test_gradient_of_one_layer(benchmark, peer):
    benchmark.extra_info.update(slug="tpsgd", work="gradient of one layer, 784 to 256 units, 128 rows", peer=peer)
    block = tpsgd.TPBlock(torch.nn.Linear(784, 256), tpsgd.LocalTarget(10, 256))
    x, labels = torch.rand(128, 784), torch.arange(128) % 10

    def closed_form():
        with torch.no_grad():
            y = block(x)
            return tpsgd.dense_gradients(x, tpsgd.local_delta(y, block.target(labels)))

    def automatic():
        return torch.autograd.grad(block.local_loss(x, labels)[1], list(block.module.parameters()))

    benchmark.pedantic(automatic if peer else closed_form, rounds=20)


@pytest.mark.parametrize("peer", [None, "backward mode"])
def test_forward_mode(benchmark, peer):
    benchmark.extra_info.update(slug="tpsgd", work="gradient of a recurrent layer of 16 units, 28 steps, 32 rows", peer=peer)
    x, t, U = torch.rand(32, 28, 28), torch.rand(32, 16), torch.rand(28, 16) / 8
    weights = [w.requires_grad_() for w in (U, torch.eye(16) * 0.9, torch.zeros(16))]
    plain = [w.detach() for w in weights]

    def backward():
        states = tpsgd.recurrent_states(x, *weights)
        return torch.autograd.grad(tpsgd.recurrent_loss(states, t).mean(), weights)

    benchmark.pedantic(backward if peer else lambda: tpsgd.forward_mode_gradients(x, t, *plain), rounds=5)


@pytest.mark.parametrize("size", [2, 4, 8])
def test_growth_with_depth(benchmark, size):
    benchmark.extra_info.update(slug="tpsgd", work="one step, hidden layers of 256 units, 128 rows", size=size)
    benchmark.pedantic(steps.example("dense", size, stream)["tpSGD"], rounds=20)
