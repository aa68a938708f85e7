"""Convolutional networks by the same rules, one setting after the other, with the method's own modules.

A `TPSequential` is trained end to end (BP), by its local losses (tpSGD; DRTP where they are linear), by direct feedback
alignment (the linear loss with the output's errors in place of the labels), with a trained linear classifier per layer, or with
frozen hidden layers.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from lib import checks
from lib.backprop_free.tpsgd.blocks import TPRNN, TPBlock, TPSequential, xavier_linear
from lib.backprop_free.tpsgd.recurrent import CUTS
from lib.backprop_free.tpsgd.study.dense import _batches
from lib.backprop_free.tpsgd.study.grid import Outcome, Setting, check_race
from lib.backprop_free.tpsgd.study.tasks import Stream, Task, _accuracy
from lib.backprop_free.tpsgd.targets import LocalTarget

Tensor = torch.Tensor


class LocalHead(nn.Module):
    """A layer that is trained with a linear classifier of its own, by cross-entropy; no gradient leaves it.

    Parameters
    ----------
    block : TPBlock or TPRNN
        Whose layer; its target is not used.
    n_classes : int
    seed : int, Generator or None

    Examples
    --------
    >>> import torch
    >>> from lib.backprop_free import tpsgd
    >>> from lib.backprop_free.tpsgd import study
    >>> block = tpsgd.TPBlock(torch.nn.Linear(4, 8), tpsgd.LocalTarget(3, 8))
    >>> study.LocalHead(block, 3)(torch.zeros(2, 4)).shape
    torch.Size([2, 8])
    """

    def __init__(self, block: TPBlock | TPRNN, n_classes: int, seed: Any = 0) -> None:
        super().__init__()
        if not isinstance(block, TPBlock | TPRNN):
            raise TypeError(f"block must be a TPBlock or TPRNN, got {checks.shown(block)}")
        n_classes = checks.integer("n_classes", n_classes, low=1)
        self.block, width = block, int(np.prod(block.target.shape))
        self.classify = linear(width, n_classes, checks.generator("seed", seed))

    def forward(self, x: Tensor) -> Tensor:
        """The layer's output."""
        return self.block(x)

    def local_loss(self, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The output, detached, and the cross-entropy of the classifier on top (of the last state, if there is time)."""
        if isinstance(self.block, TPRNN):
            states = self.block._states(x.detach(), CUTS[self.block.time])
            out, seen = self.block._out(states.detach()), states[:, -1]
        else:
            seen = self.block._activated(x.detach())
            out = self.block._rest(seen.detach())
        return out, nn.functional.cross_entropy(self.classify(seen.flatten(1)), labels)


def with_heads(model: TPSequential, n_classes: int, seed: Any = 0) -> TPSequential:
    """A copy of a network with a `LocalHead` on every block.

    Examples
    --------
    >>> from lib.backprop_free import tpsgd
    >>> from lib.backprop_free.tpsgd import study
    >>> len(study.with_heads(tpsgd.TPSequential.dense([4, 8, 8, 3]), 3).blocks)
    2
    """
    if not isinstance(model, TPSequential):
        raise TypeError(f"model must be a TPSequential, got {checks.shown(model)}")
    model, rng = copy.deepcopy(model), checks.generator("seed", seed)
    model.blocks = nn.ModuleList(LocalHead(block, n_classes, rng) for block in list[Any](model.blocks))
    return model


def linear(n_in: int, n_out: int, rng: np.random.Generator) -> nn.Linear:
    """A linear layer with Xavier's weights and zero biases.

    Examples
    --------
    >>> from lib.backprop_free.tpsgd import study
    >>> study.linear(3, 2, 0).weight.shape
    torch.Size([2, 3])
    """
    n_in, n_out = checks.integer("n_in", n_in, low=1), checks.integer("n_out", n_out, low=1)
    return xavier_linear(n_in, n_out, checks.generator("rng", rng))


def convolution(n_in: int, n_out: int, size: int, stride: int, rng: np.random.Generator) -> nn.Conv2d:
    """A convolution that keeps the size at stride 1, with Xavier's weights and zero biases.

    Examples
    --------
    >>> from lib.backprop_free.tpsgd import study
    >>> study.convolution(1, 8, 5, 2, 0).weight.shape
    torch.Size([8, 1, 5, 5])
    """
    n_in, n_out = checks.integer("n_in", n_in, low=1), checks.integer("n_out", n_out, low=1)
    size, stride = checks.integer("size", size, low=1), checks.integer("stride", stride, low=1)
    layer, rng = nn.Conv2d(n_in, n_out, size, stride, padding=size // 2), checks.generator("rng", rng)
    weights = rng.uniform(-1, 1, layer.weight.shape) * np.sqrt(6 / (size * size * (n_in + n_out)))
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(weights))
        nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer


#: (channels, kernel, stride, pooling after it) of the convolutions; then one dense hidden layer.
SHALLOW = ((8, 5, 2, 1), (16, 3, 2, 1))
#: A small relative of VGG: pairs of 3 x 3 convolutions with more and more channels.
DEEP = ((8, 3, 2, 1), (8, 3, 1, 2), (16, 3, 1, 1), (16, 3, 1, 1), (32, 3, 1, 1), (32, 3, 1, 1))


def conv_net(layers: Sequence[tuple[int, int, int, int]], stream: Stream, index: int = 0, loss: Any = "l2",
             activation: str = "tanh", positive: bool = False, width: int = 64, side: int = 14) -> TPSequential:  # fmt: skip
    """A convolutional network for images (1, side, side) and ten classes.

    Parameters
    ----------
    layers : sequence
        Channels, kernel, stride and pooling of each convolution, as in ``SHALLOW`` and ``DEEP``.
    stream : function
        ``stream(name, index)`` gives the generators of weights and projections.
    index : int
    loss, activation
        As in `TPBlock`.
    positive : bool
        Take absolute values of all targets: what ReLU units can reach.
    width, side : int
        Units of the dense hidden layer; pixels of a side.

    Examples
    --------
    >>> import numpy as np, torch
    >>> from lib.backprop_free.tpsgd import study
    >>> net = study.conv_net(study.SHALLOW, lambda *axes: np.random.default_rng(0))
    >>> net(torch.zeros(2, 1, 14, 14)).shape
    torch.Size([2, 10])
    """
    checks.function("stream", stream)
    index, width = checks.integer("index", index, low=0), checks.integer("width", width, low=1)
    side = checks.integer("side", side, low=4)
    weights, patterns = stream("weights", index), stream("patterns", index)
    blocks: list[nn.Module] = []
    channels = 1
    for n, size, stride, pool in layers:
        side = -(-side // stride)
        target = _target((n, side, side), patterns, positive)
        after = nn.MaxPool2d(pool) if pool > 1 else None
        blocks.append(TPBlock(convolution(channels, n, size, stride, weights), target, activation, loss, after))
        side, channels = side // pool, n
    body = nn.Sequential(nn.Flatten(), linear(channels * side * side, width, weights))
    blocks.append(TPBlock(body, _target((width,), patterns, positive), activation, loss))
    return TPSequential(blocks, linear(width, 10, weights))


def _target(shape: tuple[int, ...], rng: np.random.Generator, positive: bool) -> LocalTarget:
    target = LocalTarget(10, shape, seed=rng)
    if positive:
        target.P.abs_()
    return target


def fit(rule: str, make: Callable[[Any], TPSequential], task: Task, setting: Setting, stream: Stream,
        index: int = 0) -> Outcome:  # fmt: skip
    """Train a network of modules once per pair of the grid.

    Parameters
    ----------
    rule : one of `RULES`
    make : function
        ``make(loss)`` gives the network at its start, always the same; `loss` is "linear" for DRTP and DFA.
    task : Task
        Its inputs in the shape that the network takes.
    setting : Setting
        Its widths, activation and law are not used: `make` decides.
    stream : function
        ``stream("batches", index)`` gives the generator of the order of rows, ``stream("heads", index)`` that of local heads.
    index : int

    Examples
    --------
    >>> import numpy as np
    >>> from lib.backprop_free.tpsgd import study
    >>> stream = lambda *axes: np.random.default_rng(0)
    >>> task = study.draw_task("digits", stream(), n=200, n_valid=100, n_test=200).shaped(1, 8, 8)
    >>> make = lambda loss: study.conv_net([(4, 3, 1, 2)], stream, loss=loss, side=8)
    >>> setting = study.Setting(epochs=3, lrs=(0.1,), hidden={"tpSGD": (0.03,)})
    >>> study.fit("tpSGD", make, task, setting, stream).test.shape
    (4, 1)
    """
    checks.function("make", make)
    index = check_race(rule, task, setting, stream, index)
    runs, fixed = [], None
    for pair in setting.grid(rule):
        model = make(setting.local_loss_of(rule)).to(task.X.dtype)
        if rule == "local heads":
            model = with_heads(model, task.n_classes, stream("heads", index)).to(task.X.dtype)
        if rule == "frozen":
            fixed = fixed or _behind(model, task)
            model = TPSequential([], model.head)
        runs.append(_run(rule, model, fixed or task, setting, stream("batches", index), pair))
    return Outcome(rule, setting, *np.array(runs).transpose(2, 1, 0))


@torch.no_grad()
def _behind(model: TPSequential, task: Task) -> Task:
    """The task as the head sees it."""
    X, V, T = (model._body(x) for x in (task.X, task.X_valid, task.X_test))
    return Task(X, task.y, V, task.y_valid, T, task.y_test)


def _run(rule: str, model: TPSequential, task: Task, setting: Setting, order: np.random.Generator,
         pair: tuple[float, float]) -> list[list[float]]:  # fmt: skip
    """Accuracy on choosing and on test rows, at the start and after each epoch; zeros after divergence."""
    lr, hidden = pair
    groups: list[Any] = [{"params": list(block.parameters()), "lr": hidden} for block in model.blocks]
    groups.append({"params": list(model.head.parameters())})
    optimizer = torch.optim.SGD(groups, lr=lr, momentum=setting.momentum)
    scores = [_judge(model, task)] if setting.judges(0) else []
    judged = sum(setting.judges(k) for k in range(setting.epochs + 1))
    for epoch in range(setting.epochs):
        try:
            for rows in _batches(len(task.X), setting.batch, order):
                _one_step(rule, model, task.X[rows], task.y[rows], optimizer)
        except FloatingPointError:
            return scores + [[0.0, 0.0]] * (judged - len(scores))
        if setting.judges(epoch + 1):
            scores.append(_judge(model, task))
    return scores


def _one_step(rule: str, model: TPSequential, x: Tensor, y: Tensor, optimizer: torch.optim.Optimizer) -> None:
    """One batch. Local losses are summed: no gradient crosses a layer, so that it is the step of each by its own."""
    if rule == "BP":
        loss = model._head_loss(model._body(x), y)
    else:
        loss, rows = torch.zeros(()), y
        if rule == "DFA":  # the linear loss with t = (y* - p) P has the slope (p - y*) P
            with torch.no_grad():
                p = torch.softmax(model(x), -1)
            rows = _finite(nn.functional.one_hot(y, p.shape[-1]) - p)
        for block in list[Any](model.blocks):
            x, own = block.local_loss(x, rows)
            loss = loss + own
        loss = loss + model._head_loss(x, y)
    optimizer.zero_grad()
    _finite(loss).backward()
    optimizer.step()


def _finite(value: Tensor) -> Tensor:
    if not torch.isfinite(value).all():
        raise FloatingPointError("the loss is not finite")
    return value


@torch.no_grad()
def _judge(model: TPSequential, task: Task) -> list[float]:
    pairs = ((task.X_valid, task.y_valid), (task.X_test, task.y_test))
    return [float(_accuracy(model(x), y)) for x, y in pairs]
