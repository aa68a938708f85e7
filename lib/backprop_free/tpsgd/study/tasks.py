"""Real data for the experiments: rows to train on, to choose settings by, and to judge by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from scipy import ndimage

import lib.data
from lib import checks

Stream = Callable[..., np.random.Generator]
NAMES = ("mnist", "letter", "digits")


@dataclass(frozen=True)
class Task:
    """Inputs (rows, features) and integer labels: for training, for choosing settings, for judging."""

    X: torch.Tensor
    y: torch.Tensor
    X_valid: torch.Tensor
    y_valid: torch.Tensor
    X_test: torch.Tensor
    y_test: torch.Tensor

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return int(self.y.max()) + 1

    def shaped(self, *shape: int) -> Task:
        """The same task with each sample in another shape, such as (1, 28, 28) or (7, 112)."""
        X, V, T = (x.reshape(len(x), *shape) for x in (self.X, self.X_valid, self.X_test))
        return Task(X, self.y, V, self.y_valid, T, self.y_test)


def draw_task(
    name: str, rng: np.random.Generator, n: int, n_valid: int, n_test: int, side: int = 28, change: str = "none", bits: int = 64
) -> Task:
    """Rows drawn without replacement; features are shifted and scaled by the training rows' mean and deviation.

    Parameters
    ----------
    name : {"mnist", "letter", "digits"}
        MNIST's own split; KEEL's letter (16 features, 26 classes) and the 8 x 8 digits, divided once, alike for all draws: rows
        that one draw chooses by are never those that another is judged by.
    rng : Generator
        Decides the rows.
    n, n_valid, n_test : int
        Rows to train on, to choose settings by, to judge by.
    side : {28, 14}
        Of MNIST's images; 14 takes means of 2 x 2 pixels.
    change : {"none", "rotated", "inverted"}
        Of MNIST's images: turned by 30 degrees, or black for white. Scaling is that of the unchanged training rows.

    bits : {64, 32}
        Of the numbers, and so of all networks that are trained on them. With 64, processors that add in another order end
        at the same accuracies.

    Raises
    ------
    ValueError
        For another name, side, change or number of bits, or more rows than there are.
    TypeError
        For arguments of another kind.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.backprop_free.tpsgd import study
    >>> study.draw_task("digits", np.random.default_rng(0), n=100, n_valid=50, n_test=200).X.shape
    torch.Size([100, 64])
    """
    checks.choice("name", name, NAMES)
    checks.choice("side", side, (14, 28))
    checks.choice("change", change, ("none", "rotated", "inverted"))
    checks.choice("bits", bits, (64, 32))
    n, n_valid, n_test = (checks.integer(k, v, low=1) for k, v in (("n", n), ("n_valid", n_valid), ("n_test", n_test)))
    rng = checks.generator("rng", rng)
    (X, y), (X_test, y_test) = _load(name)
    if n + n_valid > len(X) or n_test > len(X_test):
        raise ValueError(f"n + n_valid and n_test must be at most {len(X)} and {len(X_test)}, got {n + n_valid} and {n_test}")
    rows, judged = rng.permutation(len(X))[: n + n_valid], rng.permutation(len(X_test))[:n_test]
    X, y, X_test, y_test = X[rows], y[rows], X_test[judged], y_test[judged]
    axis = None if name == "mnist" else 0  # one scale for all pixels, one for each feature of a table
    shown = _shown(X[:n], side, "none") if name == "mnist" else X[:n]
    mean, std = shown.mean(axis=axis), shown.std(axis=axis)
    if name == "mnist":
        X, X_test = _shown(X, side, change), _shown(X_test, side, change)
    X, X_test = ((x - mean) / np.where(std > 0, std, 1) for x in (X, X_test))
    parts = [X[:n], y[:n], X[n:], y[n:], X_test, y_test]
    return Task(*(_tensor(part, torch.float64 if bits == 64 else torch.float32) for part in parts))


@cache  # a chapter draws from the same sets dozens of times; rows are taken out of them as copies
def _load(name: str) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    if name == "mnist":
        return lib.data.mnist("train"), lib.data.mnist("test")
    X, y = lib.data.keel_multiclass("letter") if name == "letter" else lib.data.digits()
    order = np.random.default_rng(0).permutation(len(X))
    cut = int(0.7 * len(X))
    return (X[order[:cut]], y[order[:cut]]), (X[order[cut:]], y[order[cut:]])


def _shown(images: np.ndarray, side: int, change: str) -> np.ndarray:
    x = images / 255.0
    if change == "rotated":
        x = np.clip(ndimage.rotate(x, 30, axes=(1, 2), reshape=False, order=1), 0, 1)
    if change == "inverted":
        x = 1 - x
    if side == 14:
        x = x.reshape(-1, 14, 2, 14, 2).mean(axis=(2, 4))
    return x.reshape(len(x), -1)


def _tensor(part: Any, dtype: torch.dtype) -> torch.Tensor:
    return torch.tensor(np.asarray(part), dtype=torch.long if part.dtype.kind in "iu" else dtype)


def accuracy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Share of right labels, shape (...), for logits (..., samples, classes).

    Examples
    --------
    >>> import torch
    >>> from lib.backprop_free.tpsgd import study
    >>> study.accuracy(torch.tensor([[2.0, 1.0], [0.0, 1.0]]), torch.tensor([0, 0])).item()
    0.5
    """
    logits = checks.tensor("logits", logits, finite=True)
    if not isinstance(labels, torch.Tensor) or labels.shape != logits.shape[-2:-1]:
        raise ValueError(f"labels must be one for each of the samples in logits of shape {tuple(logits.shape)}")
    return _accuracy(logits, labels)


def _accuracy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return (logits.argmax(-1) == labels).double().mean(-1)
