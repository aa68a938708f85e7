"""Recurrent networks by the same rules, all settings of a rule's grid side by side."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import torch

from lib import checks
from lib.backprop_free.tpsgd.blocks import xavier
from lib.backprop_free.tpsgd.recurrent import CUTS, TIMES, Time, _recurrent_loss, _recurrent_states
from lib.backprop_free.tpsgd.study.dense import _batches, _copies
from lib.backprop_free.tpsgd.study.grid import Outcome, Setting, check_race
from lib.backprop_free.tpsgd.study.tasks import Stream, Task, _accuracy
from lib.backprop_free.tpsgd.targets import draw_patterns

Tensor = torch.Tensor
Layers = list[list[Tensor]]


def train_recurrent(
    rule: str, task: Task, setting: Setting, stream: Stream, index: int = 0, time: Time = "layer"
) -> tuple[Outcome, np.ndarray]:
    """Train recurrent layers and a linear head on the last state, one network per pair of the grid.

    Parameters
    ----------
    rule : one of `RULES`
        BP is backpropagation through time and through all layers.
    task : Task
        Inputs of shape (rows, steps, features).
    setting : Setting
        One recurrent layer for each of its widths.
    stream, index
        As in `train`.
    time : {"layer", "last", "all"}
        Where local targets stand in time, as in `TPRNN`.

    Returns
    -------
    outcome : Outcome
    known : array, shape (steps,)
        Of the chosen network: accuracy on test rows of reading the first layer's state, after each step, by the pattern that
        is nearest in direction.

    Raises
    ------
    ValueError, TypeError
        For another rule or time, or arguments of another kind.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.backprop_free.tpsgd import study
    >>> stream = lambda *axes: np.random.default_rng(0)
    >>> task = study.draw_task("digits", stream(), n=200, n_valid=100, n_test=200).shaped(8, 8)
    >>> setting = study.Setting(epochs=3, lrs=(0.1,), hidden={"tpSGD": (0.1,)}, clip=1.0)
    >>> study.train_recurrent("tpSGD", task, setting, stream)[1].shape
    (8,)
    """
    checks.choice("time", time, TIMES)
    return _train(rule, task, setting, stream, check_race(rule, task, setting, stream, index), time)


def _train(rule: str, task: Task, setting: Setting, stream: Stream, index: int, time: str) -> tuple[Outcome, np.ndarray]:
    K, R, sizes = task.n_classes, len(setting.grid(rule)), [task.X.shape[-1], *setting.widths]
    rng, patterns, dtype = stream("weights", index), stream("patterns", index), task.X.dtype
    layers: Layers = []
    for n_in, n in pairwise(sizes):
        W_h = 0.95 * np.linalg.qr(rng.normal(size=(n, n)))[0]
        layers.append([_copies(v, R, dtype).requires_grad_() for v in (xavier(n_in, n, rng), W_h, np.zeros(n))])
    head = [_copies(v, R, dtype).requires_grad_() for v in (xavier(sizes[-1], K, rng), np.zeros((1, K)))]
    P = [torch.tensor(draw_patterns(K, n, setting.law, seed=patterns), dtype=dtype) for n in setting.widths]
    own = [_copies(xavier(n, K, patterns), R, dtype).requires_grad_() for n in setting.widths] if rule == "local heads" else []
    lr, hidden = (rates.to(dtype) for rates in setting.columns(rule))
    groups = [[*layer, *own[i : i + 1]] for i, layer in enumerate(layers)]
    speeds = [[torch.zeros_like(p) for p in group] for group in [*groups, head]]
    order, one_hot, scores = stream("batches", index), torch.eye(K, dtype=dtype), []
    given, moved = (_behind(task, layers, setting), []) if rule == "frozen" else (task, layers)

    def judge() -> None:
        with torch.no_grad():
            pairs = ((given.X_valid, task.y_valid), (given.X_test, task.y_test))
            scores.append([_accuracy(_logits(x, moved, head, setting), y).numpy() for x, y in pairs])

    if setting.judges(0):
        judge()
    for epoch in range(setting.epochs):
        for rows in _batches(len(task.X), setting.batch, order):
            x, y = given.X[rows], one_hot[task.y[rows]]
            if rule == "BP":
                together = [*(p for group in groups for p in group), *head]
                gradients = torch.autograd.grad(_cross_entropy(_logits(x, layers, head, setting), y), together)
                speed = [v for group in speeds for v in group]
                rates = [hidden] * (len(together) - 2) + [lr] * 2
                _move(together, gradients, speed, rates, setting)
                continue
            states, labels = x, y
            if rule == "DFA":
                with torch.no_grad():
                    labels = y - torch.softmax(_logits(x, layers, head, setting), -1)
            for i, layer in enumerate(moved):
                states = _states(states, layer, setting, CUTS[time])
                if rule == "local heads":
                    loss = _cross_entropy(states[..., -1, :] @ own[i], y)
                else:
                    target = (labels @ P[i]).expand_as(states[..., -1, :])
                    loss = _recurrent_loss(states, target, setting.local_loss_of(rule), time).mean(-1).sum()
                gradients = torch.autograd.grad(loss, groups[i])
                _move(groups[i], gradients, speeds[i], [hidden] * len(groups[i]), setting)
                states = states.detach()
            loss = _cross_entropy(states[..., -1, :] @ head[0] + head[1], y)
            _move(head, torch.autograd.grad(loss, head), speeds[-1], [lr] * 2, setting)
        if setting.judges(epoch + 1):
            judge()
    outcome = Outcome(rule, setting, *np.moveaxis(np.array(scores), 1, 0))
    with torch.no_grad():
        first = _states(task.X_test, [p[outcome.best] for p in layers[0]], setting)
        nearest = (first @ torch.nn.functional.normalize(P[0], dim=1).T).argmax(-1)
    return outcome, (nearest == task.y_test[:, None]).double().mean(0).numpy()


@torch.no_grad()
def _behind(task: Task, layers: Layers, setting: Setting) -> Task:
    """The task as the head sees it: last states of the layers, which are alike in all copies, as sequences of one step."""
    seen = []
    for x in (task.X, task.X_valid, task.X_test):
        for layer in layers:
            x = _states(x, [p[0] for p in layer], setting)
        seen.append(x[:, -1:])
    return Task(seen[0], task.y, seen[1], task.y_valid, seen[2], task.y_test)


def _states(x: Tensor, layer: list[Tensor], setting: Setting, cut: str = "none") -> Tensor:
    W_x, W_h, b = layer
    return _recurrent_states(x, W_x, W_h, b, setting.activation, cut)


def _logits(x: Tensor, layers: Layers, head: list[Tensor], setting: Setting) -> Tensor:
    for layer in layers:
        x = _states(x, layer, setting)
    return x[..., -1, :] @ head[0] + head[1]


def _cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """Mean over samples, sum over copies: each copy has its own gradient."""
    return -(y * torch.log_softmax(logits, -1)).sum(-1).mean(-1).sum()


@torch.no_grad()
def _move(parameters: list[Tensor], gradients: Any, speeds: list[Tensor], rates: list[Tensor], setting: Setting) -> None:
    """One step with momentum; the gradient of each copy is cut to the greatest norm."""
    square = sum(g.flatten(1).square().sum(1) for g in gradients)
    factor = torch.clamp(setting.clip / square.sqrt().clamp_min(1e-12), max=1.0)
    for p, g, v, rate in zip(parameters, gradients, speeds, rates, strict=True):
        shape = (-1, *[1] * (p.ndim - 1))
        v.mul_(setting.momentum).add_(g * factor.view(shape))
        p.sub_(rate.view(shape) * v)
