"""The chapter's experiments: who races whom on which rows, and what is measured on the way."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

import lib.data
from lib.backprop_free.tpsgd.blocks import TPBlock, TPRecurrent, TPSequential
from lib.backprop_free.tpsgd.measure import PeakBytes, compare_gradients, peak_bytes
from lib.backprop_free.tpsgd.rules import read_code
from lib.backprop_free.tpsgd.study.dense import Trained, train
from lib.backprop_free.tpsgd.study.grid import RULES, Outcome, Setting, deeper
from lib.backprop_free.tpsgd.study.modules import conv_net, fit, linear
from lib.backprop_free.tpsgd.study.sequences import train_recurrent
from lib.backprop_free.tpsgd.study.tasks import Stream, Task, draw_task
from lib.backprop_free.tpsgd.targets import LocalTarget

Rows = Mapping[str, Any]  # n, n_valid, n_test and bits of `draw_task`


def depths(stream: Stream, index: int, name: str, rows: Rows, setting: Setting, counts: Sequence[int]) -> dict[int, dict]:
    """All rules at several numbers of hidden layers: depth -> rule -> Trained; one draw of rows for all."""
    task = draw_task(name, stream("rows " + name, index), **rows, side=14)
    return {k: {rule: train(rule, task, deeper(setting, k), stream, index) for rule in RULES} for k in counts}


def losses(stream: Stream, index: int, rows: Rows, setting: Setting, names: Sequence[str]) -> dict[str, Trained]:
    """tpSGD with several local losses, on the rows of `depths`; the cosine, whose slope is small, has 30 times the rates."""
    task, found = draw_task("mnist", stream("rows mnist", index), **rows, side=14), {}
    for loss in names:
        rates = tuple((30.0 if loss == "cosine" else 1.0) * rate for rate in setting.hidden["tpSGD"])
        found[loss] = train("tpSGD", task, replace(setting, loss=loss, hidden={"tpSGD": rates}), stream, index)
    return found


def laws(stream: Stream, index: int, rows: Rows, setting: Setting, names: Sequence[str]) -> dict[str, Trained]:
    """tpSGD with projections of several laws, on the rows of `depths`."""
    task = draw_task("mnist", stream("rows mnist", index), **rows, side=14)
    return {law: train("tpSGD", task, replace(setting, law=law), stream, index) for law in names}


def convolutions(stream: Stream, index: int, layers: Sequence[tuple[int, int, int, int]], rows: Rows, setting: Setting,
                 rules: Sequence[str]) -> dict[str, Outcome]:  # fmt: skip
    """Several rules on a convolutional network; one draw of rows, weights and projections for all."""
    task = draw_task("mnist", stream("rows conv", index), **rows, side=14).shaped(1, 14, 14)
    make = partial(conv_net, layers, stream, index)
    return {rule: fit(rule, lambda loss: make(loss=loss), task, setting, stream, index) for rule in rules}


def rectified(stream: Stream, index: int, layers: Sequence[tuple[int, int, int, int]], rows: Rows,
              setting: Setting) -> dict[str, Outcome]:  # fmt: skip
    """tpSGD on the same convolutional network with ReLU units: normal targets, and their absolute values."""
    task = draw_task("mnist", stream("rows conv", index), **rows, side=14).shaped(1, 14, 14)
    found = {}
    for name, positive in (("normal", False), ("absolute", True)):
        make = partial(conv_net, layers, stream, index, activation="relu", positive=positive)
        found[name] = fit("tpSGD", lambda loss, make=make: make(loss=loss), task, setting, stream, index)  # type: ignore[misc]
    return found


def sequences(stream: Stream, index: int, steps: int, rows: Rows, setting: Setting,
              cases: Mapping[str, tuple[str, str, int]]) -> dict[str, tuple[Outcome, np.ndarray]]:  # fmt: skip
    """Images read in `steps` pieces, top to bottom, by recurrent networks: name -> (rule, time, layers) are the cases."""
    task = draw_task("mnist", stream("rows sequences", index), **rows).shaped(steps, 784 // steps)
    return {
        name: train_recurrent(rule, task, deeper(setting, n_layers), stream, index, time)  # type: ignore[arg-type]
        for name, (rule, time, n_layers) in cases.items()
    }


def adaptation(stream: Stream, index: int, start: Trained, change: str, rows: Rows, setting: Setting) -> dict[str, float]:
    """Test accuracy on changed images: as it is, and after training parts of it on a few labeled changed images."""
    task = draw_task("mnist", stream("rows changed", index), **rows, side=14, change=change)
    setting, last = replace(setting, widths=start.setting.widths), len(start.weights) - 1
    ways: dict[str, tuple[str, list[int] | None]] = {
        "head only": ("BP", [last]),
        "layer 1, local": ("tpSGD", [0]),
        "layer 1, BP": ("BP", [0]),
        "all layers, BP": ("BP", None),
    }
    found = {"as it is": start.accuracy_on(task.X_test, task.y_test)}
    for name, (rule, only) in ways.items():
        found[name] = train(rule, task, setting, stream, index, start=start, only=only).accuracy
    return found


def readouts(trained: Trained, task: Task) -> np.ndarray:
    """Test accuracy of reading each hidden layer by its own patterns, the head's last."""
    out = trained.outputs(task.X_test)
    beliefs = [read_code(y, P) for y, P in zip(out[:-1], trained.patterns, strict=True)] + [out[-1]]
    return np.array([float((q.argmax(1) == task.y_test).double().mean()) for q in beliefs])


def angles(stream: Stream, rows: Rows, depth: int, marks: Sequence[int], lr: float = 0.03, hidden_scale: float = 0.3) -> dict:
    """Along tpSGD's training, head at zero first: angles between local and true gradients, and head against patterns.

    Returns
    -------
    dict
        ``"gradients"``, shape (marks, depth): cosine with backpropagation's gradient for each hidden layer; ``"head"``, shape
        (marks,): cosine between the head's weights and the last layer's patterns.
    """
    task = draw_task("mnist", stream("rows angles"), **{**rows, "bits": 64}, side=14)
    model = TPSequential.dense([196, *[64] * depth, 10], seed=stream("angles")).double()
    last: Any = model
    nn.init.zeros_(last.head.weight)
    optimizers = model.optimizers(torch.optim.SGD, lr, hidden_scale, momentum=0.9)
    order, found, head = stream("angle batches"), [], []
    for step in range(max(marks) + 1):
        if step in marks:
            found.append(compare_gradients(model, task.X_valid, task.y_valid))
            pair = [v.detach().flatten() for v in (last.head.weight, last.blocks[-1].target.P)]
            head.append(float(torch.cosine_similarity(pair[0], pair[1], dim=0)))
        batch = torch.tensor(order.choice(len(task.X), 64, replace=False))
        model.train_step(task.X[batch], task.y[batch], optimizers)
    return {"gradients": np.array(found), "head": np.array(head)}


def three_digits(stream: Stream, marks: Sequence[int]) -> dict[str, Any]:
    """Two hidden layers of two units each on the digits 0, 1 and 2: what both put out as training goes on.

    Returns
    -------
    dict
        ``"outputs"``, shape (marks, 2, samples, 2); ``"patterns"``, shape (2, 3, 2); ``"labels"``; ``"accuracy"`` of the head.
    """
    X, y = lib.data.digits()
    X, y = X[y < 3] / 8 - 1, y[y < 3]
    x, labels = torch.tensor(X, dtype=torch.float64), torch.tensor(y)
    model = TPSequential.dense([64, 2, 2, 3], seed=stream("three")).double()
    turns = (0.3, 1.6)  # 120 degrees apart, within reach of tanh: chosen for the picture
    for block, turn in zip(list[Any](model.blocks), turns, strict=True):
        angle = turn + 2 * np.pi / 3 * torch.arange(3)
        block.target.P.copy_(0.8 * torch.stack([angle.cos(), angle.sin()], 1))
    optimizers = model.optimizers(torch.optim.SGD, lr=0.05, momentum=0.9)
    order, outputs, accuracy = stream("three batches"), [], []
    for step in range(max(marks) + 1):
        if step in marks:
            with torch.no_grad():
                first = model.blocks[0](x)
                outputs.append([first.numpy(), model.blocks[1](first).numpy()])
                accuracy.append(float((model(x).argmax(1) == labels).double().mean()))
        batch = torch.tensor(order.choice(len(x), 32, replace=False))
        model.train_step(x[batch], labels[batch], optimizers)
    patterns = [block.target.P.numpy() for block in list[Any](model.blocks)]
    return {"outputs": np.array(outputs), "patterns": np.array(patterns), "labels": y, "accuracy": np.array(accuracy)}


def steps_of(model: TPSequential, x: torch.Tensor, labels: torch.Tensor) -> dict[str, Callable[[], Any]]:
    """One training step by backpropagation and one by local losses, as functions without arguments; both warmed up."""
    whole = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    optimizers = model.optimizers(torch.optim.SGD, lr=0.01, momentum=0.9)

    def backpropagation() -> None:
        whole.zero_grad(set_to_none=True)
        nn.functional.cross_entropy(model(x), labels).backward()
        whole.step()
        whole.zero_grad(set_to_none=True)

    made = {"BP": backpropagation, "tpSGD": lambda: model.train_step(x, labels, optimizers)}
    for step in made.values():
        step()
    return made


def example(kind: str, depth: int, stream: Stream, layers: Sequence[tuple[int, int, int, int]] = (), batch: int = 128,
            width: int = 256) -> dict[str, Callable[[], Any]]:  # fmt: skip
    """Training steps of a network: ``"dense"`` on 784 inputs, ``"conv"`` on 14 x 14 images, ``"recurrent"`` with 28 steps."""
    labels = torch.arange(batch) % 10
    if kind == "dense":
        return steps_of(TPSequential.dense([784, *[width] * depth, 10], seed=stream("memory")), torch.rand(batch, 784), labels)
    if kind == "conv":
        return steps_of(conv_net(layers, stream), torch.rand(batch, 1, 14, 14), labels)
    made = [TPRecurrent(width if i else 28, LocalTarget(10, width, seed=i), sequence=i < depth - 1) for i in range(depth)]
    model = TPSequential(made, linear(width, 10, stream("memory")))
    return steps_of(model, torch.rand(batch, 28, 28), labels)


def memory(steps: Mapping[str, Callable[[], Any]]) -> dict[str, PeakBytes]:
    """Peak memory of each of several training steps, by name, as `peak_bytes` counts it."""
    return {name: peak_bytes(step) for name, step in steps.items()}


def frozen(stream: Stream, index: int, rows: Rows, setting: Setting) -> Trained:
    """Frozen layers on the rows of `losses`."""
    return train("frozen", draw_task("mnist", stream("rows mnist", index), **rows, side=14), setting, stream, index)


class _HalfFree(nn.Module):
    """A dense tanh block whose second half of units stays at random weights."""

    def __init__(self, block: TPBlock, n_in: int, stream: Stream, index: int) -> None:
        super().__init__()
        self.block, self.free = block, linear(n_in, block.target.shape[0], stream("free units", index))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.block(x), torch.tanh(self.free(x)).detach()], dim=1)

    def local_loss(self, x: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y, loss = self.block.local_loss(x, labels)
        return torch.cat([y, torch.tanh(self.free(x)).detach()], dim=1), loss


def half_free(task: Task, setting: Setting, stream: Stream, n_layers: int) -> dict[str, float]:
    """Test accuracy of tpSGD with all units trained, and with half of them free of targets (at the same width)."""
    K, width = task.n_classes, setting.widths[0]

    def make(loss: Any, free: bool) -> TPSequential:
        weights, patterns, blocks = stream("weights"), stream("patterns"), []
        n_in, n = task.X.shape[1], width // 2 if free else width
        for i in range(n_layers):
            block = TPBlock(linear(n_in, n, weights), LocalTarget(K, n, seed=patterns), loss=loss)
            blocks.append(_HalfFree(block, n_in, stream, i) if free else block)
            n_in = width
        return TPSequential(blocks, linear(width, K, weights))

    grid = replace(setting, lrs=(0.1,), hidden={"tpSGD": (0.003, 0.01)})
    ways = {"all trained": False, "half free": True}
    return {name: fit("tpSGD", partial(make, free=free), task, grid, stream).accuracy for name, free in ways.items()}
