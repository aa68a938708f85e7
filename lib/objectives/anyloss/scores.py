"""Scores of a binary confusion matrix, hard or soft, and their slopes.

Han, Moniz and Chawla, "AnyLoss: Transforming Classification Metrics into Loss Functions", arXiv:2405.14745 (2024); the
table of symbols is in `lib.objectives.anyloss`. A score takes the four cells as numbers, numpy arrays or torch tensors.

With the class sizes P = TP + FN and N = FP + TN fixed by the labels, a score depends on the parameters through TP and
FP alone. Its two slopes, d score / d TP at fixed P and d score / d FP at fixed N, are all that a gradient needs:

    grad (1 - score) = - slope_tp * grad TP - slope_fp * grad FP.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Score = Callable[[Any, Any, Any, Any], Any]
"""``score(tp, fp, fn, tn)``, elementwise, differentiable by torch where a callable is given to a loss."""


class Confusion(NamedTuple):
    """The four cells of a binary confusion matrix; numbers, arrays or tensors of one shape."""

    tp: Any
    fp: Any
    fn: Any
    tn: Any


def _sqrt(u: Any) -> Any:
    """Square root that has a finite gradient at 0: there the true gradient of the G-mean tends to 0, and so is ours."""
    if isinstance(u, Tensor):
        return torch.sqrt(u.clamp_min(torch.finfo(u.dtype).tiny))
    return np.sqrt(np.maximum(u, 0.0))


def accuracy(tp: Any, fp: Any, fn: Any, tn: Any, eps: float = 0.0) -> Any:
    """Accuracy, (TP + TN) / n; in sums (n - S_y - S_h + 2 S_hy) / n."""
    return (tp + tn) / (tp + fp + fn + tn + eps)


def fbeta(tp: Any, fp: Any, fn: Any, tn: Any, beta: Any = 1.0, eps: float = 0.0) -> Any:
    """F-beta, (1 + b^2) TP / (b^2 (TP + FN) + TP + FP); in sums (1 + b^2) S_hy / (b^2 S_y + S_h)."""
    b2 = beta**2
    return (1 + b2) * tp / (b2 * (tp + fn) + tp + fp + eps)


def gmean(tp: Any, fp: Any, fn: Any, tn: Any, eps: float = 0.0) -> Any:
    """Geometric mean of recall and specificity, sqrt(TP / (TP + FN) * TN / (TN + FP))."""
    return _sqrt(tp / (tp + fn + eps) * (tn / (tn + fp + eps)))


def balanced_accuracy(tp: Any, fp: Any, fn: Any, tn: Any, eps: float = 0.0) -> Any:
    """Arithmetic mean of recall and specificity, (TP / (TP + FN) + TN / (TN + FP)) / 2."""
    return (tp / (tp + fn + eps) + tn / (tn + fp + eps)) / 2


def jaccard(tp: Any, fp: Any, fn: Any, tn: Any) -> Any:
    """Jaccard index (critical success index), TP / (TP + FP + FN); not in the paper, an example of a callable score."""
    return tp / (tp + fp + fn)


def mcc(tp: Any, fp: Any, fn: Any, tn: Any) -> Any:
    """Matthews correlation coefficient; not in the paper, an example of a callable score."""
    return (tp * tn - fp * fn) / (_sqrt((tp + fp) * (tp + fn)) * _sqrt((tn + fp) * (tn + fn)))


_NAMED: dict[str, Callable[..., Any]] = {
    "accuracy": accuracy,
    "fbeta": fbeta,
    "gmean": gmean,
    "balanced_accuracy": balanced_accuracy,
}
_BETA_OF_ALIAS = {"f1": 1.0, "f0.5": 0.5, "f2": 2.0}
SCORE_NAMES = (*_BETA_OF_ALIAS, *_NAMED)
"""Scores known by name; F1, F0.5 and F2 are F-beta with that beta."""


def canonical_score(score: str | Score, beta: float = 1.0) -> tuple[str | Score, float]:
    """Resolve the aliases f1, f0.5 and f2 and refuse what is not a score.

    Parameters
    ----------
    score : str or callable
        One of `SCORE_NAMES`, or ``score(tp, fp, fn, tn)``.
    beta : float, default=1.0
        Weight of recall, for ``"fbeta"`` only.

    Returns
    -------
    (str or callable, float)
        ``"fbeta"``, ``"accuracy"``, ``"gmean"``, ``"balanced_accuracy"`` or the callable, and beta.

    Raises
    ------
    ValueError
        Unknown name; a beta below 0 or not finite; a beta with a score that has none.
    TypeError
        Neither a name nor a callable.
    """
    if not math.isfinite(beta) or beta < 0:
        raise ValueError(f"beta must be finite and at least 0, got {beta}")
    if isinstance(score, str) and score not in SCORE_NAMES:
        raise ValueError(f"unknown score {score!r}; known are {', '.join(SCORE_NAMES)}, or a callable(tp, fp, fn, tn)")
    if not isinstance(score, str) and not callable(score):
        raise TypeError(f"score must be a name or a callable(tp, fp, fn, tn), got {type(score).__name__}")
    if score != "fbeta" and beta != 1.0:
        raise ValueError(f"beta={beta} has no meaning for score {score!r}; use score='fbeta'")
    if isinstance(score, str) and score in _BETA_OF_ALIAS:
        return "fbeta", _BETA_OF_ALIAS[score]
    return score, beta


def score_function(score: str | Score, beta: float = 1.0, eps: float = 0.0) -> Score:
    """Return ``score(tp, fp, fn, tn)`` for a name or a callable.

    ``eps`` is added to the denominators of the named scores; a callable looks after its own.

    Examples
    --------
    >>> float(score_function("f1")(8, 2, 2, 88))
    0.8
    """
    name, beta = canonical_score(score, beta)
    if not isinstance(name, str):
        return name
    function, extra = _NAMED[name], {"beta": beta} if name == "fbeta" else {}
    return lambda tp, fp, fn, tn: function(tp, fp, fn, tn, eps=eps, **extra)


def score_slopes(score: str | Score, cells: Confusion, beta: Any = 1.0) -> tuple[NDArray, NDArray]:
    """Slopes of a score in TP (at fixed P = TP + FN) and in FP (at fixed N = FP + TN).

    Parameters
    ----------
    score : str or callable
        ``"accuracy"``, ``"fbeta"``, ``"gmean"``, ``"balanced_accuracy"`` (closed forms), or a callable of four float64
        tensors (automatic differentiation).
    cells : Confusion
        Four float64 arrays of one shape.
    beta : float or ndarray, default=1.0
        Broadcasts against the cells.

    Returns
    -------
    (ndarray, ndarray)
        Each of the shape of the cells. Both slopes of the G-mean are 0 where TP * TN is 0.
    """
    if not isinstance(score, str):
        return _slopes_by_autograd(score, cells)
    tp, fp, fn, tn = (np.asarray(cell, dtype=np.float64) for cell in cells)
    P, N = tp + fn, fp + tn
    if score == "accuracy":
        return 1 / (P + N), -1 / (P + N)
    if score == "balanced_accuracy":
        return 0.5 / P, -0.5 / N
    if score == "fbeta":
        scale = (1 + beta**2) / (beta**2 * P + tp + fp) ** 2
        return scale * (beta**2 * P + fp), -scale * tp
    if score == "gmean":
        g = np.sqrt(tp / P * (tn / N))
        # d sqrt(TP TN) = sqrt(TP TN) / 2 * (d TP / TP + d TN / TN): the factor is 1/2, the authors' code has 2.
        half = np.full_like(g, 0.5)
        return (np.divide(half * g, tp, out=np.zeros_like(g), where=g > 0),
                -np.divide(half * g, tn, out=np.zeros_like(g), where=g > 0))  # fmt: skip
    raise ValueError(f"no closed form for score {score!r}")


def _slopes_by_autograd(score: Score, cells: Confusion) -> tuple[NDArray, NDArray]:
    leaves = [torch.tensor(np.asarray(cell), dtype=torch.float64, requires_grad=True) for cell in cells]
    value = score(*leaves)
    if not isinstance(value, Tensor) or not value.requires_grad:
        raise TypeError("a callable score must compute its value from tensors tp, fp, fn, tn with torch operations")
    grads = torch.autograd.grad(value.sum(), leaves, allow_unused=True)
    d_tp, d_fp, d_fn, d_tn = (0.0 if g is None else g.numpy() for g in grads)
    shape = leaves[0].shape
    return np.broadcast_to(d_tp - d_fn, shape), np.broadcast_to(d_fp - d_tn, shape)
