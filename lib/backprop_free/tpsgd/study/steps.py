"""Training steps whose memory and time are compared: backpropagation, tpSGD, and a trained classifier for each layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from lib.backprop_free.tpsgd.blocks import TPRNN, TPSequential
from lib.backprop_free.tpsgd.measure import PeakBytes, peak_bytes
from lib.backprop_free.tpsgd.study.modules import conv_net, linear, with_heads
from lib.backprop_free.tpsgd.study.tasks import Stream
from lib.backprop_free.tpsgd.targets import LocalTarget

Tensor = torch.Tensor


@dataclass(frozen=True)
class Step:
    """One training step, and the tensors that only its rule keeps from step to step: patterns, or local classifiers."""

    run: Callable[[], Any]
    held: tuple[Tensor, ...] = ()

    def __call__(self) -> Any:
        return self.run()


def steps_of(model: TPSequential, x: Tensor, labels: Tensor, stream: Stream) -> dict[str, Step]:
    """One step by each of the three rules, warmed up; weights of the network and their momentum are no rule's own."""
    with_own = with_heads(model, 10, stream("heads"))
    whole = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    local, own = (net.optimizers(torch.optim.SGD, lr=0.01, momentum=0.9) for net in (model, with_own))

    def backpropagation() -> None:
        whole.zero_grad(set_to_none=True)
        nn.functional.cross_entropy(model(x), labels).backward()
        whole.step()
        whole.zero_grad(set_to_none=True)

    runs = {
        "BP": backpropagation,
        "tpSGD": lambda: model.train_step(x, labels, local),
        "local heads": lambda: with_own.train_step(x, labels, own),
    }
    for step in runs.values():
        step()
    heads = zip(list[Any](with_own.blocks), own, strict=False)  # the network's head has the last optimizer
    kept = [(p, o.state[p]["momentum_buffer"]) for block, o in heads for p in block.classify.parameters()]
    held = {"tpSGD": [b.target.P for b in list[Any](model.blocks)], "local heads": [v for pair in kept for v in pair]}
    return {name: Step(run, tuple(held.get(name, ()))) for name, run in runs.items()}


def example(kind: str, depth: int, stream: Stream, layers: Sequence[tuple[int, int, int, int]] = (), batch: int = 128,
            width: int = 256) -> dict[str, Step]:  # fmt: skip
    """Training steps of a network: ``"dense"`` on 784 inputs, ``"conv"`` on 14 x 14 images, ``"recurrent"`` with 28 steps."""
    labels, rng = torch.arange(batch) % 10, stream("memory")
    if kind == "dense":
        model = TPSequential.dense([784, *[width] * depth, 10], seed=rng)
        return steps_of(model, torch.rand(batch, 784), labels, stream)
    if kind == "conv":
        return steps_of(conv_net(layers, stream), torch.rand(batch, 1, 14, 14), labels, stream)
    sizes = [28, *[width] * depth]
    made = [TPRNN(sizes[i], LocalTarget(10, width, seed=rng), sequence=i < depth - 1, seed=rng) for i in range(depth)]
    return steps_of(TPSequential(made, linear(width, 10, rng)), torch.rand(batch, 28, 28), labels, stream)


def memory(steps: Mapping[str, Step]) -> dict[str, PeakBytes]:
    """Peak memory of each of several training steps, by name, as `peak_bytes` counts it, with what its rule keeps."""
    return {name: peak_bytes(step, step.held) for name, step in steps.items()}
