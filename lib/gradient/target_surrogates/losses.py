"""Losses of the targets: one value for each example, its gradient with respect to the targets, and its smoothness.

The surrogate stays above a loss where its step is at most one over the smoothness: 4 for the logistic loss, 1 for half of the
squared error, 2 for the cross-entropy of a softmax.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lib import checks

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class TargetLoss:
    """A loss of the targets; `TARGET_LOSSES` holds the three of the paper.

    Attributes
    ----------
    value : function
        ``value(z, y)`` with targets (n,) or (n, k) and labels; returns one loss for each example, shape (n,).
    gradient : function
        ``gradient(z, y)``: of each example's loss with respect to its own targets, the shape of `z`.
    smoothness : float
        L: Lipschitz constant of `gradient` for one example.
    """

    value: Callable[[ArrayLike, ArrayLike], Floats]
    gradient: Callable[[ArrayLike, ArrayLike], Floats]
    smoothness: float

    @property
    def step(self) -> float:
        """1/L: the largest target step for which the surrogate is certain to be an upper bound."""
        return 1 / self.smoothness


def _pair(z: ArrayLike, y: ArrayLike) -> tuple[Floats, Floats]:
    targets = checks.array("z", z, ndim=1)
    return targets, checks.array("y", y, shape=targets.shape).astype(targets.dtype, copy=False)


def _bits(z: ArrayLike, y: ArrayLike) -> tuple[Floats, Floats]:
    targets, labels = _pair(z, y)
    if not np.isin(labels, (0, 1)).all():
        raise ValueError(f"y must hold zeros and ones, got {np.unique(labels)[:5]}")
    return targets, labels


def _logistic(z: ArrayLike, y: ArrayLike) -> Floats:
    targets, labels = _bits(z, y)
    return np.logaddexp(0, np.where(labels == 1, -targets, targets)).astype(targets.dtype, copy=False)


def _logistic_gradient(z: ArrayLike, y: ArrayLike) -> Floats:
    targets, labels = _bits(z, y)
    return (0.5 * (1 + np.tanh(targets / 2)) - labels).astype(targets.dtype, copy=False)


def _squared(z: ArrayLike, y: ArrayLike) -> Floats:
    targets, labels = _squared_pair(z, y)
    return (0.5 * (targets - labels) ** 2).reshape(len(targets), -1).sum(axis=1)


def _squared_gradient(z: ArrayLike, y: ArrayLike) -> Floats:
    targets, labels = _squared_pair(z, y)
    return targets - labels


def _squared_pair(z: ArrayLike, y: ArrayLike) -> tuple[Floats, Floats]:
    targets = checks.array("z", z, ndim=(1, 2))
    return targets, checks.array("y", y, shape=targets.shape).astype(targets.dtype, copy=False)


def _classes(z: ArrayLike, y: ArrayLike) -> tuple[Floats, NDArray[np.int64]]:
    targets = checks.array("z", z, ndim=2)
    labels = checks.array("y", y, shape=targets.shape[:1], low=0, high=targets.shape[1] - 1)
    if (labels != np.round(labels)).any():
        raise ValueError("y must hold whole numbers: the classes")
    return targets, labels.astype(np.int64)


def _softmax(z: ArrayLike, y: ArrayLike) -> Floats:
    targets, labels = _classes(z, y)
    away = targets - targets.max(axis=1, keepdims=True)
    return np.log(np.exp(away).sum(axis=1)) - away[np.arange(len(away)), labels]


def _softmax_gradient(z: ArrayLike, y: ArrayLike) -> Floats:
    targets, labels = _classes(z, y)
    shares = np.exp(targets - targets.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    shares[np.arange(len(shares)), labels] -= 1
    return shares


#: The losses of the paper: labels 0 and 1 for the logistic loss, numbers for the squared one, classes for the softmax.
TARGET_LOSSES = {
    "logistic": TargetLoss(_logistic, _logistic_gradient, 0.25),
    "squared": TargetLoss(_squared, _squared_gradient, 1.0),
    "softmax": TargetLoss(_softmax, _softmax_gradient, 0.5),
}
