"""Fully connected networks, all settings of a rule's grid side by side: the same start, data, batches and budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from lib.backprop_free.tpsgd.blocks import xavier
from lib.backprop_free.tpsgd.rules import ACTIVATIONS, _dense_gradients, _local_delta, _slope
from lib.backprop_free.tpsgd.study.grid import Outcome, Setting, check_race
from lib.backprop_free.tpsgd.study.tasks import Stream, Task, _accuracy
from lib.backprop_free.tpsgd.targets import draw_patterns

Tensor = torch.Tensor


@dataclass(frozen=True)
class Trained(Outcome):
    """An outcome with its networks: first axis of weights and biases, one copy for each pair of the grid."""

    weights: list[Tensor]
    biases: list[Tensor]
    patterns: list[Tensor]

    def outputs(self, X: Tensor, copy: int | None = None) -> list[Tensor]:
        """Outputs of all layers of one copy (default the chosen one), logits last."""
        k = self.best if copy is None else copy
        return _forward(X, [W[k] for W in self.weights], [b[k] for b in self.biases], self.setting.activation)

    def accuracy_on(self, X: Tensor, y: Tensor) -> float:
        """Accuracy of the chosen copy on other rows."""
        return float(_accuracy(self.outputs(X)[-1], y))


def train(rule: str, task: Task, setting: Setting, stream: Stream, index: int = 0, start: Trained | None = None,
          only: Sequence[int] | None = None) -> Trained:  # fmt: skip
    """Train one network per pair of the grid by a rule.

    Parameters
    ----------
    rule : one of `RULES`
    task : Task
    setting : Setting
    stream : function
        ``stream(name, index)`` gives a generator: of the first weights, the projections and the order of rows. Rules that are
        compared share all three.
    index : int
        Which draw.
    start : Trained, optional
        Start from its chosen copy, with its projections, instead.
    only : sequence of int, optional
        The layers that are trained, 0 the first; default all.

    Raises
    ------
    ValueError, TypeError
        For another rule, or arguments of another kind.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.backprop_free.tpsgd import study
    >>> stream = lambda *axes: np.random.default_rng(0)
    >>> task = study.draw_task("digits", stream(), n=300, n_valid=100, n_test=300)
    >>> study.train("tpSGD", task, study.Setting(epochs=3), stream).accuracy > 0.5
    True
    """
    index = check_race(rule, task, setting, stream, index)
    with torch.no_grad():
        return _train(rule, task, setting, stream, index, start, only)


def _train(rule: str, task: Task, setting: Setting, stream: Stream, index: int, start: Trained | None, only: Any) -> Trained:
    sizes = [task.X.shape[1], *setting.widths, task.n_classes]
    K, R, L = sizes[-1], len(setting.grid(rule)), len(sizes) - 1
    dtype, rng = task.X.dtype, stream("weights", index)
    first = [xavier(m, n, rng) for m, n in pairwise(sizes)]
    W = [_copies(w, R, dtype) for w in first]
    b = [torch.zeros(R, 1, n, dtype=dtype) for n in sizes[1:]]
    rng = stream("patterns", index)
    P = [torch.tensor(draw_patterns(K, n, setting.law, seed=rng), dtype=dtype) for n in setting.widths]
    if start is not None:
        W = [_copies(w[start.best], R, dtype) for w in start.weights]
        b, P = [_copies(v[start.best], R, dtype) for v in start.biases], start.patterns
    moved = range(L) if only is None else only
    heads = [_copies(xavier(n, K, rng), R, dtype) for n in setting.widths] if rule == "local heads" else []
    lr, hidden = (rates.to(dtype) for rates in setting.columns(rule))
    speeds = [[torch.zeros_like(v) for v in group] for group in (W, b, heads)]
    order, one_hot = stream("batches", index), torch.eye(K, dtype=dtype)
    valid: list[np.ndarray] = []
    test: list[np.ndarray] = []

    def judge() -> None:
        for rows, labels, kept in ((task.X_valid, task.y_valid, valid), (task.X_test, task.y_test, test)):
            kept.append(_accuracy(_forward(rows, W, b, setting.activation)[-1], labels).numpy())

    if setting.judges(0):
        judge()
    for epoch in range(setting.epochs):
        for rows in _batches(len(task.X), setting.batch, order):
            x, y = task.X[rows], one_hot[task.y[rows]]
            out = _forward(x, W, b, setting.activation)
            inputs = [x, *out[:-1]]
            deltas = [torch.softmax(out[-1], -1) - y]  # error of the last layer
            for i in reversed(range(L - 1)):
                deltas.insert(0, _signal(rule, i, out, y, deltas, W, P, heads, setting))
            for i, h in enumerate(heads):
                wrong = torch.softmax(out[i] @ h, -1) - y
                _step(h, speeds[2][i], _dense_gradients(out[i], wrong)[0], hidden, setting.momentum)
            for i in moved:
                if i < L - 1 and rule == "frozen":
                    continue
                gW, gb = _dense_gradients(inputs[i], deltas[i])
                rate = lr if i == L - 1 else hidden
                _step(W[i], speeds[0][i], gW, rate, setting.momentum)
                _step(b[i], speeds[1][i], gb[:, None], rate, setting.momentum)
        if setting.judges(epoch + 1):
            judge()
    return Trained(rule, setting, np.array(valid), np.array(test), W, b, P)


def _signal(rule: str, i: int, out: list[Tensor], y: Tensor, deltas: list[Tensor], W: list[Tensor], P: list[Tensor],
            heads: list[Tensor], setting: Setting) -> Tensor:  # fmt: skip
    """The error signal of hidden layer i, (copies, samples, width); deltas holds those of the layers after it."""
    a = setting.activation
    if rule == "frozen":
        return torch.zeros_like(out[i][..., :1])
    if rule == "BP":
        return (deltas[0] @ W[i + 1].transpose(-1, -2)) * _slope(out[i], a)
    if rule == "local heads":
        return ((torch.softmax(out[i] @ heads[i], -1) - y) @ heads[i].transpose(-1, -2)) * _slope(out[i], a)
    rows = -deltas[-1] if rule == "DFA" else y  # -<t, y> with t = (y* - p) P has the slope (p - y*) P
    return _local_delta(out[i], (rows @ P[i]).expand_as(out[i]), setting.local_loss_of(rule), a)


def _forward(x: Tensor, W: list[Tensor], b: list[Tensor], activation: str) -> list[Tensor]:
    out = []
    for i, (w, v) in enumerate(zip(W, b, strict=True)):
        z = x @ w + v
        x = z if i == len(W) - 1 else ACTIVATIONS[activation](z)
        out.append(x)
    return out


def _step(weight: Tensor, speed: Tensor, gradient: Tensor, rate: Tensor, momentum: float) -> None:
    speed.mul_(momentum).add_(gradient)
    weight.sub_(rate * speed)


def _copies(values: Any, n: int, dtype: torch.dtype) -> Tensor:
    return torch.as_tensor(values, dtype=dtype).expand(n, *values.shape).clone()


def _batches(n: int, batch: int, rng: np.random.Generator) -> list[Tensor]:
    """Whole batches of a random order; the last rows wait for another epoch."""
    order = torch.tensor(rng.permutation(n))
    return list(order[: max(n // batch, 1) * batch].split(batch))
