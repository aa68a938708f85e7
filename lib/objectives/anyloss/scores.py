"""Metrics of a binary confusion matrix, hard or soft, and their slopes.

Han, Moniz and Chawla, "AnyLoss: Transforming Classification Metrics into Loss Functions", arXiv:2405.14745 (2024); the
table of symbols is in `lib.objectives.anyloss`. A metric takes the four cells as numbers, numpy arrays or torch tensors.

With the class sizes P = TP + FN and N = FP + TN fixed by the labels, a metric depends on the parameters through TP and
FP alone. Its two slopes, d metric / d TP at fixed P and d metric / d FP at fixed N, are all that a gradient needs:

    grad (1 - metric) = - slope_tp * grad TP - slope_fp * grad FP.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lib import checks

Metric = Callable[[Any, Any, Any, Any], Any]
"""``metric(tp, fp, fn, tn)``, elementwise, differentiable by torch where it is given to a loss; larger is better."""


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


def jaccard(tp: Any, fp: Any, fn: Any, tn: Any, eps: float = 0.0) -> Any:
    """Jaccard index (critical success index), TP / (TP + FP + FN); not in the paper."""
    return tp / (tp + fp + fn + eps)


def mcc(tp: Any, fp: Any, fn: Any, tn: Any, eps: float = 0.0) -> Any:
    """Matthews correlation coefficient, (TP TN - FP FN) / sqrt(P N (TP + FP) (FN + TN)); not in the paper."""
    return (tp * tn - fp * fn) / (_sqrt((tp + fp) * (tp + fn)) * _sqrt((tn + fp) * (tn + fn)) + eps)


_NAMED: dict[str, Callable[..., Any]] = {
    "accuracy": accuracy,
    "fbeta": fbeta,
    "gmean": gmean,
    "balanced_accuracy": balanced_accuracy,
    "jaccard": jaccard,
    "mcc": mcc,
}
_BETA_OF_ALIAS = {"f1": 1.0, "f0.5": 0.5, "f2": 2.0}
METRIC_NAMES = (*_BETA_OF_ALIAS, *_NAMED)
"""Metrics known by name, in any case; F1, F0.5 and F2 are F-beta with that beta."""


def canonical_metric(metric: str | Metric, beta: float = 1.0) -> tuple[str | Metric, float]:
    """Resolve capitals and the aliases f1, f0.5 and f2, and refuse what is not a metric.

    Parameters
    ----------
    metric : str or callable
        One of `METRIC_NAMES`, or ``metric(tp, fp, fn, tn)``.
    beta : float, default=1.0
        Weight of recall, at least 0, for ``"fbeta"`` only.

    Returns
    -------
    (str or callable, float)
        ``"fbeta"``, ``"accuracy"``, ``"gmean"``, ... or the callable, and beta.

    Raises
    ------
    ValueError
        Unknown name; a beta below 0 or not finite; a beta with a metric that has none.
    TypeError
        Neither a name nor a callable.
    """
    beta = checks.number("beta", beta, low=0)
    if isinstance(metric, str):
        name = metric.lower()
        if name not in METRIC_NAMES:
            known = ", ".join(METRIC_NAMES)
            raise ValueError(f"metric must be one of {known}, or a callable(tp, fp, fn, tn), got {metric!r}")
    elif not callable(metric):
        raise TypeError(f"metric must be a name or a callable(tp, fp, fn, tn), got {checks.shown(metric)}")
    if beta != 1.0 and (not isinstance(metric, str) or name != "fbeta"):
        raise ValueError(f"beta must be 1 with metric {metric!r}, which has none, got {beta:g}; use metric='fbeta'")
    if not isinstance(metric, str):
        return metric, beta
    return ("fbeta", _BETA_OF_ALIAS[name]) if name in _BETA_OF_ALIAS else (name, beta)


def metric_function(metric: str | Metric, beta: float = 1.0, eps: float = 0.0) -> Metric:
    """Return ``metric(tp, fp, fn, tn)`` for a name or a callable; picklable where the callable is.

    ``eps`` is added to the denominators of the named metrics; a callable looks after its own.

    Examples
    --------
    >>> from lib.objectives.anyloss.functional import metric_function
    >>> float(metric_function("F1")(8, 2, 2, 88))
    0.8
    """
    name, beta = canonical_metric(metric, beta)
    eps = checks.number("eps", eps, low=0)
    if not isinstance(name, str):
        return name
    return functools.partial(_NAMED[name], eps=eps, **({"beta": beta} if name == "fbeta" else {}))


#: Metrics whose slopes divide by FN or TN and need them summed on their own, not as P - TP and N - FP.
NEED_ALL_CELLS = ("gmean", "mcc")


def metric_slopes(metric: str | Metric, cells: Confusion, P: Any, N: Any, beta: Any = 1.0) -> tuple[Any, Any]:
    """Slopes of a metric in TP (at fixed P = TP + FN) and in FP (at fixed N = FP + TN).

    Parameters
    ----------
    metric : str or callable
        A canonical name (closed forms), or a callable of four float64 tensors (automatic differentiation).
    cells : Confusion
        Four float64 arrays of one shape; ``fn`` and ``tn`` are used by `NEED_ALL_CELLS` and by callables only.
    P, N : float or ndarray
        Sizes of the two classes.
    beta : float or ndarray, default=1.0
        Broadcasts against the cells.

    Returns
    -------
    (ndarray, ndarray)
        Broadcast against the cells. Both slopes of the G-mean are 0 where TP * TN is 0.
    """
    if not isinstance(metric, str):
        return _slopes_by_autograd(metric, cells)
    tp, fp, fn, tn = cells
    if metric == "accuracy":
        return 1 / (P + N), -1 / (P + N)
    if metric == "balanced_accuracy":
        return 0.5 / P, -0.5 / N
    if metric == "fbeta":
        scale = (1 + beta**2) / (beta**2 * P + tp + fp) ** 2
        return scale * (beta**2 * P + fp), -scale * tp
    if metric == "jaccard":
        return 1 / (P + fp), -tp / (P + fp) ** 2
    if metric == "gmean":
        # d sqrt(TP TN) = sqrt(TP TN) / 2 * (d TP / TP + d TN / TN): the factor is 1/2, the authors' code has 2.
        half = 0.5 * np.sqrt(tp / P * (tn / N))
        return _ratio(half, tp, half > 0), -_ratio(half, tn, half > 0)
    if metric == "mcc":
        said = (tp + fp) * (fn + tn)
        root = np.sqrt(said * P * N)
        common = _ratio((tp * tn - fp * fn) * (fn + tn - tp - fp), 2 * said, said > 0)
        return _ratio(N - common, root, root > 0), _ratio(-P - common, root, root > 0)
    raise ValueError(f"no closed form for metric {metric!r}")


def _ratio(above: Any, below: Any, where: Any) -> NDArray:
    return np.divide(above, below, out=np.zeros(np.shape(below)), where=where)


def _slopes_by_autograd(metric: Metric, cells: Confusion) -> tuple[NDArray, NDArray]:
    leaves = [torch.tensor(np.asarray(cell), dtype=torch.float64, requires_grad=True) for cell in cells]
    value = metric(*leaves)
    if not isinstance(value, Tensor) or not value.requires_grad:
        raise TypeError("metric, as a callable, must compute its value from tensors tp, fp, fn, tn with torch operations")
    grads = torch.autograd.grad(value.sum(), leaves, allow_unused=True)
    d_tp, d_fp, d_fn, d_tn = (0.0 if g is None else g.numpy() for g in grads)
    shape = leaves[0].shape
    return np.broadcast_to(d_tp - d_fn, shape), np.broadcast_to(d_fp - d_tn, shape)
