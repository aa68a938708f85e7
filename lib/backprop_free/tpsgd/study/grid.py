"""What all races share: the rules, a grid of learning rates for each, and the outcome with its choice on held-out rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

import numpy as np
import torch

from lib import checks
from lib.backprop_free.tpsgd.rules import ACTIVATIONS, check_loss
from lib.backprop_free.tpsgd.study.tasks import Stream, Task
from lib.backprop_free.tpsgd.targets import LAWS

#: Backpropagation; direct feedback alignment (the output's error through a fixed random matrix); direct random target
#: projection (the labels through it); tpSGD; a trained linear classifier for each layer; hidden layers that stay as they began.
RULES = ("BP", "DFA", "DRTP", "tpSGD", "local heads", "frozen")
#: Learning rates of hidden layers: five for each rule, around its optima in trials on draws that no record uses.
HIDDEN: dict[str, tuple[float, ...]] = {
    "BP": (0.003, 0.01, 0.03, 0.1, 0.3),
    "local heads": (0.003, 0.01, 0.03, 0.1, 0.3),
    "DFA": (0.001, 0.003, 0.01, 0.03, 0.1),
    "DRTP": (0.001, 0.003, 0.01, 0.03, 0.1),
    "tpSGD": (0.001, 0.003, 0.01, 0.03, 0.1),
}


@dataclass(frozen=True)
class Setting:
    """How networks are trained: hidden widths, passes over the rows, the grid, and what tpSGD uses.

    Parameters
    ----------
    widths : tuple of int
        Of hidden layers.
    epochs, batch : int
    lrs : tuple of float
        Learning rates of the head.
    hidden : mapping
        Rule -> learning rates of hidden layers.
    frozen : tuple of float
        Learning rates of the head on frozen layers, which have no other setting.
    momentum : float
    activation, loss, law : str
        Of all hidden layers; `loss` and `law` are tpSGD's (the law of projections also DFA's and DRTP's).
    clip : float
        Greatest norm of a gradient (recurrent networks), infinity allowed.
    curve : bool
        Judge at the start and after each epoch; else after the last one only, which is enough to choose by.
    pairs : tuple of pairs
        Learning rates of the head and of hidden layers to try in the place of all pairs; may be empty.
    """

    widths: tuple[int, ...] = (64,)
    epochs: int = 4
    lrs: tuple[float, ...] = (0.0025, 0.01, 0.04, 0.16, 0.64)
    hidden: Mapping[str, tuple[float, ...]] = field(default_factory=lambda: dict(HIDDEN))
    frozen: tuple[float, ...] = tuple(float(f"{0.001 * 10 ** (0.15 * k):.3g}") for k in range(25))
    batch: int = 32
    momentum: float = 0.9
    activation: str = "tanh"
    loss: Any = "l2"
    law: Any = "normal"
    clip: float = float("inf")
    curve: bool = True
    pairs: tuple[tuple[float, float], ...] = ()

    def __post_init__(self) -> None:
        for name, least in (("epochs", 0), ("batch", 1)):
            checks.integer(name, getattr(self, name), low=least)
        for width in self.widths:
            checks.integer("widths", width, low=1)
        for name, values in (("lrs", self.lrs), ("frozen", self.frozen), *(("hidden", v) for v in self.hidden.values())):
            checks.array(name, values, ndim=1, above=0)
        checks.number("momentum", self.momentum, low=0, below=1)
        checks.number("clip", self.clip, above=0, inf=True)
        checks.boolean("curve", self.curve)
        checks.choice("activation", self.activation, ACTIVATIONS)
        checks.choice("law", self.law, LAWS)
        check_loss(self.loss)

    def sides(self, rule: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """The learning rates of the head and of hidden layers that a rule tries."""
        return (self.frozen, (0.0,)) if rule == "frozen" else (tuple(self.lrs), tuple(self.hidden[rule]))

    def grid(self, rule: str) -> list[tuple[float, float]]:
        """All pairs of the two that a rule tries."""
        return list(self.pairs) or list(product(*self.sides(rule)))

    def columns(self, rule: str) -> tuple[torch.Tensor, torch.Tensor]:
        """Learning rates of the head and of hidden layers for all pairs, shape (pairs, 1, 1)."""
        lr, hidden = (torch.tensor(v, dtype=torch.float64)[:, None, None] for v in zip(*self.grid(rule), strict=True))
        return lr, hidden

    def judges(self, epoch: int) -> bool:
        """Whether networks are judged after this many epochs."""
        return self.curve or epoch == self.epochs

    def local_loss_of(self, rule: str) -> Any:
        """tpSGD's loss; the linear one for DRTP, and for DFA, which has errors in the place of labels."""
        return "linear" if rule in ("DRTP", "DFA") else self.loss


@dataclass(frozen=True)
class Outcome:
    """What a rule reached with each pair of its grid: accuracies after each epoch that is judged, the start first.

    `tried` is the run that the pair was chosen by, where that was another one.
    """

    rule: str
    setting: Setting
    valid: np.ndarray  # (epochs + 1, pairs), on the rows that settings are chosen by
    test: np.ndarray
    tried: Outcome | None = field(default=None, kw_only=True)

    @property
    def best(self) -> int:
        """The pair with the best last accuracy on the choosing rows; the first of equals."""
        return int(np.round(self.valid[-1], 9).argmax())

    def leading(self, n: int) -> tuple[tuple[float, float], ...]:
        """The n best pairs, the best first."""
        order = np.argsort(-np.round(self.valid[-1], 9), kind="stable")
        return tuple(self.setting.grid(self.rule)[int(k)] for k in order[:n])

    @property
    def accuracy(self) -> float:
        """Test accuracy of the chosen pair."""
        return float(self.test[-1, self.best])

    @property
    def curve(self) -> np.ndarray:
        """Test accuracy of the chosen pair after each epoch."""
        return self.test[:, self.best]

    @property
    def chosen(self) -> tuple[float, float]:
        """Learning rates of the head and of hidden layers of the chosen pair."""
        return self.setting.grid(self.rule)[self.best]

    @property
    def at_edge(self) -> bool:
        """Whether pairs at an end of a side (of three or more) beat all inside by over 0.01 on the choosing rows."""
        if self.tried is not None:
            return self.tried.at_edge
        sides = [side if len(side) > 2 else () for side in self.setting.sides(self.rule)]
        ends = [{min(side), max(side)} if side else set() for side in sides]
        inside = [not any(x in end for x, end in zip(p, ends, strict=True)) for p in self.setting.grid(self.rule)]
        last = self.valid[-1]
        return bool(last.max() - last[np.array(inside)].max() > 0.01)


def check_race(rule: str, task: Task, setting: Setting, stream: Stream, index: int) -> int:
    """Refuse what no race can be run with; returns the index."""
    checks.choice("rule", rule, RULES)
    if not isinstance(task, Task) or not isinstance(setting, Setting):
        raise TypeError(f"task and setting must be a Task and a Setting, got {checks.shown(task)} and {checks.shown(setting)}")
    checks.function("stream", stream)
    return checks.integer("index", index, low=0)


def deeper(setting: Setting, depth: int) -> Setting:
    """The same setting with `depth` hidden layers, as wide as its first.

    Examples
    --------
    >>> from lib.backprop_free.tpsgd import study
    >>> study.deeper(study.Setting(widths=(32,)), 3).widths
    (32, 32, 32)
    """
    if not isinstance(setting, Setting):
        raise TypeError(f"setting must be a Setting, got {checks.shown(setting)}")
    return replace(setting, widths=setting.widths[:1] * checks.integer("depth", depth, low=0))
