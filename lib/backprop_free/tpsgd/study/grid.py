"""What all races share: the rules, a grid of learning rates for each, and the outcome with its choice on held-out rows."""

from __future__ import annotations

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
#: Learning rates of the head, of hidden layers, and of the head on frozen layers: wide enough for the optima of all rules and
#: sizes in trials on draws that no record uses.
HEADS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
HIDDEN = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
FROZEN = tuple(0.0005 * 2**k for k in range(17))


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
    hidden : tuple of float
        Learning rates of hidden layers, for all rules that train them.
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
        Learning rates of the head and of hidden layers to train with in the place of all pairs; may be empty.
    """

    widths: tuple[int, ...] = (64,)
    epochs: int = 4
    lrs: tuple[float, ...] = HEADS
    hidden: tuple[float, ...] = HIDDEN
    frozen: tuple[float, ...] = FROZEN
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
        for name, values in (("lrs", self.lrs), ("frozen", self.frozen), ("hidden", self.hidden)):
            checks.array(name, values, ndim=1, above=0)
        checks.number("momentum", self.momentum, low=0, below=1)
        checks.number("clip", self.clip, above=0, inf=True)
        checks.boolean("curve", self.curve)
        checks.choice("activation", self.activation, ACTIVATIONS)
        checks.choice("law", self.law, LAWS)
        check_loss(self.loss)

    def grid(self, rule: str) -> list[tuple[float, float]]:
        """The pairs of rates, of the head and of hidden layers, that networks are trained with: `pairs`, or all there are."""
        return list(self.pairs) or list(product(*((self.frozen, (0.0,)) if rule == "frozen" else (self.lrs, self.hidden))))

    def first(self, rule: str) -> tuple[tuple[float, float], ...]:
        """The pairs that a rule tries first: all rates of hidden layers, with the head's middle one; frozen layers: all."""
        if rule == "frozen":
            return tuple((rate, 0.0) for rate in self.frozen)
        return tuple((self._middle, rate) for rate in self.hidden)

    def second(self, rule: str, hidden: float) -> tuple[tuple[float, float], ...]:
        """The pairs that it tries then: all other rates of the head, with this one of hidden layers; frozen layers: none."""
        return () if rule == "frozen" else tuple((rate, hidden) for rate in self.lrs if rate != self._middle)

    @property
    def _middle(self) -> float:
        return sorted(self.lrs)[len(self.lrs) // 2]

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
        """Whether a chosen rate is an end of its line (three or more pairs that share the other rate) in the first round, and
        better there than all inside by over 0.01 on the choosing rows."""
        root: Outcome = self
        while root.tried is not None:
            root = root.tried
        lines: dict[tuple[int, float], list[tuple[float, float]]] = {}
        for pair, value in zip(root.setting.grid(root.rule), root.valid[-1], strict=True):
            for side in (0, 1):
                lines.setdefault((side, pair[1 - side]), []).append((pair[side], float(value)))
        for (side, _), line in lines.items():
            (low, first), *inside = sorted(line)
            ends = {low: first} | dict(inside[-1:])
            if len(line) > 2 and ends.get(self.chosen[side], 0.0) - max(value for _, value in inside[:-1]) > 0.01:
                return True
        return False


def joined(first: Outcome, second: Outcome) -> Outcome:
    """What one rule reached with the pairs of two runs that are alike but for these; networks are not kept."""
    pairs = tuple(first.setting.grid(first.rule) + second.setting.grid(second.rule))
    scores = [np.concatenate(both, axis=1) for both in ((first.valid, second.valid), (first.test, second.test))]
    return Outcome(first.rule, replace(first.setting, pairs=pairs), *scores)


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
