"""The chapter's experiments: who races whom on which rows, and what is measured on the way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

import lib.data
from lib.backprop_free.tpsgd.blocks import TPBlock, TPSequential
from lib.backprop_free.tpsgd.measure import compare_gradients
from lib.backprop_free.tpsgd.recurrent import Time
from lib.backprop_free.tpsgd.rules import read_code
from lib.backprop_free.tpsgd.study.dense import Trained, train
from lib.backprop_free.tpsgd.study.grid import RULES, Outcome, Setting, deeper
from lib.backprop_free.tpsgd.study.modules import conv_net, fit, linear
from lib.backprop_free.tpsgd.study.plan import Plan, Tasks
from lib.backprop_free.tpsgd.study.sequences import train_recurrent
from lib.backprop_free.tpsgd.study.tasks import Stream, Task, draw_task
from lib.backprop_free.tpsgd.targets import LocalTarget

Rows = Mapping[str, Any]  # n, n_valid, n_test and bits of `draw_task`


def depths(plan: Plan, name: str, setting: Setting, counts: Sequence[int]) -> dict[int, dict[str, Trained]]:
    """All rules at several numbers of hidden layers: depth -> rule -> Trained; one draw of rows for all."""
    tasks = plan.tasks(name, name, side=14)
    return {k: {rule: dense(plan, tasks, rule, deeper(setting, k)) for rule in RULES} for k in counts}


def dense(plan: Plan, tasks: Tasks, rule: str, setting: Setting) -> Trained:
    """One rule on fully connected layers."""
    return plan.race(tasks, rule, setting, partial(train, rule))


def losses(plan: Plan, setting: Setting, names: Sequence[str]) -> dict[str, Trained]:
    """tpSGD with several local losses, on the rows of `depths`; the cosine, whose slope is small, has 30 times the rates."""
    tasks, found = plan.tasks("mnist", "mnist", side=14), {}
    for loss in names:
        rates = tuple((30.0 if loss == "cosine" else 1.0) * rate for rate in setting.hidden["tpSGD"])
        found[loss] = dense(plan, tasks, "tpSGD", replace(setting, loss=loss, hidden={"tpSGD": rates}))
    return found


def laws(plan: Plan, setting: Setting, names: Sequence[str]) -> dict[str, Trained]:
    """tpSGD with projections of several laws, on the rows of `depths`."""
    tasks = plan.tasks("mnist", "mnist", side=14)
    return {law: dense(plan, tasks, "tpSGD", replace(setting, law=law)) for law in names}


def frozen(plan: Plan, setting: Setting) -> Trained:
    """Frozen layers on the rows of `losses`."""
    return dense(plan, plan.tasks("mnist", "mnist", side=14), "frozen", setting)


Layers = Sequence[tuple[int, int, int, int]]


def convolutions(plan: Plan, layers: Layers, setting: Setting, rules: Sequence[str], **look: Any) -> dict[str, Outcome]:
    """Several rules on a convolutional network; one draw of rows, weights and projections for all; `look` as in `conv_net`."""
    tasks = plan.tasks("mnist", "conv", 1, 14, 14, side=14)

    def run(rule: str, task: Task, setting: Setting, stream: Stream) -> Outcome:
        return fit(rule, lambda loss: conv_net(layers, stream, loss=loss, **look), task, setting, stream)

    return {rule: plan.race(tasks, rule, setting, partial(run, rule)) for rule in rules}


def rectified(plan: Plan, layers: Layers, setting: Setting) -> dict[str, Outcome]:
    """tpSGD on the same convolutional network with ReLU units: normal targets, and their absolute values."""
    ways = {"normal": False, "absolute": True}
    return {
        name: convolutions(plan, layers, setting, ["tpSGD"], activation="relu", positive=positive)["tpSGD"]
        for name, positive in ways.items()
    }


def sequences(
    plan: Plan, steps: int, setting: Setting, cases: Mapping[str, tuple[str, Time, int]]
) -> dict[str, tuple[Outcome, np.ndarray]]:
    """Images read in `steps` pieces, top to bottom, by recurrent networks: name -> (rule, time, layers) are the cases.

    With each outcome comes what the first layer's state knows after each step, as in `train_recurrent`.
    """
    tasks, found = plan.tasks("mnist", "sequences", steps, 784 // steps), {}

    def run(rule: str, time: Time, known: list[np.ndarray], task: Task, setting: Setting, stream: Stream) -> Outcome:
        outcome, after = train_recurrent(rule, task, setting, stream, time=time)
        known.append(after)
        return outcome

    for name, (rule, time, n_layers) in cases.items():
        known: list[np.ndarray] = []
        outcome = plan.race(tasks, rule, deeper(setting, n_layers), partial(run, rule, time, known))
        found[name] = (outcome, known[-1])
    return found


def adaptation(plan: Plan, start: Trained, change: str, setting: Setting) -> dict[str, Trained | float]:
    """Networks for changed images: accuracy as it is; and after training parts of it on a few labeled changed images."""
    tasks = plan.tasks("mnist", "changed", side=14, change=change)
    setting, last = replace(setting, widths=start.setting.widths), len(start.weights) - 1
    ways: dict[str, tuple[str, list[int] | None]] = {
        "head only": ("BP", [last]),
        "layer 1, local": ("tpSGD", [0]),
        "layer 1, BP": ("BP", [0]),
        "all layers, BP": ("BP", None),
    }

    def run(rule: str, only: list[int] | None, task: Task, setting: Setting, stream: Stream) -> Trained:
        begun = start if task is tasks[2] else start.tried  # rates are chosen with a network of their draw
        return train(rule, task, setting, stream, start=begun, only=only)  # type: ignore[arg-type]

    found: dict[str, Trained | float] = {"as it is": start.accuracy_on(tasks[2].X_test, tasks[2].y_test)}
    for name, (rule, only) in ways.items():
        found[name] = plan.race(tasks, rule, setting, partial(run, rule, only))
    return found


def named(outcomes: Mapping[str, Any], by: str = "") -> dict[str, Outcome]:
    """All outcomes in nested mappings, by their names joined: what the appendix lists."""
    found: dict[str, Outcome] = {}
    for name, value in outcomes.items():
        if isinstance(value, Mapping):
            found |= named(value, f"{by}{name}, ")
        elif isinstance(value, Outcome):
            found[f"{by}{name}"] = value
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
