"""Formulas of AnyLoss as pure functions: amplification, soft confusion matrix, losses and their closed-form gradient.

Han, Moniz and Chawla, "AnyLoss: Transforming Classification Metrics into Loss Functions", arXiv:2405.14745 (2024). The
table of symbols is in `lib.objectives.anyloss`; the metrics themselves are in `scores` and can be had from here as well.
Everything is deterministic and keeps the dtype and the device of its input; half precision is computed in float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit
from torch import Tensor

from lib import checks
from lib.objectives.anyloss.scores import (
    METRIC_NAMES,
    Confusion,
    Metric,
    accuracy,
    balanced_accuracy,
    canonical_metric,
    fbeta,
    gmean,
    jaccard,
    mcc,
    metric_function,
    metric_slopes,
)

__all__ = [
    "METRIC_NAMES",
    "PAPER_L",
    "THRESHOLD_DISTRIBUTIONS",
    "Confusion",
    "Metric",
    "accuracy",
    "amplify",
    "any_loss",
    "balanced_accuracy",
    "canonical_metric",
    "check_target",
    "confusion_of",
    "fbeta",
    "gmean",
    "jaccard",
    "max_safe_L",
    "mcc",
    "metric_function",
    "metric_slopes",
    "require_both_classes",
    "sharpen",
    "slp_gradient",
    "soft_confusion",
    "soft_loss",
    "threshold_cdf",
]

PAPER_L = 73.0
"""The paper's amplification; the largest integer at which A(1) < 1 in double precision, see `max_safe_L`."""

THRESHOLD_DISTRIBUTIONS = ("cosine", "uniform", "logistic")


# --- labels ---------------------------------------------------------------------------------------------------------


def check_target(target: Any, name: str = "target") -> Any:
    """Return a boolean mask of the positives, of the type (tensor or array) and shape of ``target``.

    Accepted are bool, {0, 1} and {-1, +1} of any dtype; anything else raises ``ValueError``.
    """
    if not isinstance(target, Tensor):
        target = np.asarray(target)
        if target.dtype.kind not in "biuf":
            raise TypeError(f"{name} must hold labels 0/1, -1/+1 or bool, got {checks.shown(target)}")
    if 0 in target.shape:
        raise ValueError(f"{name} must not be empty, got shape {tuple(target.shape)}")
    positive = target == 1
    if bool((positive | (target == 0)).all()) or bool((positive | (target == -1)).all()):
        return positive
    raise _bad_labels(target, name)


def _bad_labels(target: Any, name: str) -> ValueError:
    some = sorted({float(v) for v in target.reshape(-1)[:1000]}, key=lambda v: (math.isnan(v), v))[:4]
    return ValueError(f"{name} must hold labels 0/1, -1/+1 or bool, got values like {some}")


def require_both_classes(n_positive: Any, n_negative: Any, name: str = "target") -> None:
    """Raise ``ValueError`` if either class is empty."""
    if n_positive == 0 or n_negative == 0:
        raise ValueError(
            f"{name} needs both classes, got {n_positive:g} positives and {n_negative:g} negatives; "
            "use larger or stratified batches (StratifiedBatchSampler) or eps > 0"
        )


# --- amplification and soft confusion matrix ------------------------------------------------------------------------


def sharpen(probs: Tensor, L: float) -> Tensor:
    """A(p) = 1 / (1 + exp(-L (p - 1/2))) without any check: the core of `amplify`."""
    return torch.sigmoid(L * (probs - 0.5))  # (2)


def amplify(probs: Any, L: float = PAPER_L) -> Any:
    """Push probabilities towards 0 and 1, A(p) = 1 / (1 + exp(-L (p - 1/2))).

    Parameters
    ----------
    probs : Tensor or array_like
        Probabilities of any shape.
    L : float, default=73.0 (the paper's value)
        Steepness, positive and finite. Above ``max_safe_L(dtype)`` A(1) is 1 in floating point, and a sample that is
        wrong with certainty has no gradient at all.

    Returns
    -------
    Tensor or ndarray
        As ``probs``.

    Raises
    ------
    ValueError
        L not positive or not finite; probabilities NaN or outside [0, 1].

    Examples
    --------
    >>> from lib.objectives.anyloss import amplify
    >>> amplify([0.25, 0.5, 0.75], L=4.0).round(3).tolist()
    [0.269, 0.5, 0.731]
    """
    L = checks.positive("L", L)
    if isinstance(probs, Tensor):
        checks.tensor("probs", probs, finite=False)
        _check_range(*probs.detach().aminmax(), "probs")
        return sharpen(probs, L)
    probs = checks.array("probs", probs)
    _check_range(probs.min(), probs.max(), "probs")
    return expit(L * (probs - 0.5))


def threshold_cdf(probs: Tensor, distribution: str = "cosine", mu: float = 0.5, delta: float = 0.1) -> Tensor:
    """Probability that a random threshold lies below p: the soft decision of score-oriented losses (SOL).

    ``"cosine"``: raised cosine on [mu - delta, mu + delta]; ``"uniform"``: uniform there; ``"logistic"``: logistic with
    scale ``delta``, which is ``amplify`` for mu = 1/2, delta = 1/L. Nothing is checked here.
    Marchetti, Guastavino, Piana and Campi, "Score-oriented loss (SOL) functions", arXiv:2103.15522.
    """
    u = (probs - mu) / delta
    if distribution == "logistic":
        return torch.sigmoid(u)
    u = u.clamp(-1.0, 1.0)
    return (1 + u) / 2 if distribution == "uniform" else (1 + u + torch.sin(math.pi * u) / math.pi) / 2


def confusion_of(decisions: Tensor, positive: Tensor, weight: Tensor | None = None) -> Confusion:
    """Confusion matrix of (soft) decisions (N,) in [0, 1]: four 0-dimensional tensors.

    Each cell is summed on its own. TN as n - S_y - S_h + S_hy would lose all digits where it is small, and the gradient
    of the G-mean divides by it.
    """
    y = positive.to(decisions.dtype)
    sides = torch.stack((y, 1 - y))  # row 0 picks the positives, row 1 the negatives
    if weight is not None:
        sides = sides * weight
    tp, fp = (sides * decisions).sum(1).unbind()  # (4): S_hy, S_h - S_hy
    fn, tn = (sides * (1 - decisions)).sum(1).unbind()  # (4): S_y - S_hy, n - S_y - S_h + S_hy
    return Confusion(tp, fp, fn, tn)


def soft_confusion(probs: Tensor, target: Tensor, L: float = PAPER_L, weight: Tensor | None = None) -> Confusion:
    """Differentiable confusion matrix of amplified probabilities.

    TP = sum y A(p), FP = sum (1 - y) A(p), FN = sum y (1 - A(p)), TN = sum (1 - y) (1 - A(p)); their sum is n.

    Parameters
    ----------
    probs : Tensor, shape (N,) or (N, 1)
        Probabilities in [0, 1]; arrays are converted.
    target : Tensor, same shape
        Labels 0/1, -1/+1 or bool, any dtype.
    L : float, default=73.0 (the paper's value)
        Steepness of the amplification.
    weight : Tensor, same shape, optional
        How much each sample counts, at least 0; the cells then sum to the sum of the weights.

    Returns
    -------
    Confusion
        ``(tp, fp, fn, tn)``, 0-dimensional tensors of the dtype of ``probs`` (float32 for half precision).

    Raises
    ------
    ValueError
        Shapes that differ, no samples, NaN, probabilities outside [0, 1], other labels, L not positive and finite.
    TypeError
        Probabilities that are not floating point.

    Examples
    --------
    >>> import torch
    >>> from lib.objectives.anyloss import soft_confusion
    >>> cells = soft_confusion(torch.tensor([0.9, 0.2, 0.4]), torch.tensor([1, 0, 1]))
    >>> [round(float(c), 2) for c in cells]
    [1.0, 0.0, 1.0, 1.0]
    """
    L = checks.positive("L", L)
    p, target, weight = _batch(probs, target, weight, ("probs", "target", "weight"))
    cells = confusion_of(sharpen(p, L), target == 1, weight)
    _check_values(p, target, weight, cells, None, True, ("probs", "target", "weight"))
    return cells


def any_loss(
    probs: Tensor,
    target: Tensor,
    metric: str | Metric = "f1",
    beta: float = 1.0,
    L: float = PAPER_L,
    eps: float = 0.0,
    weight: Tensor | None = None,
    check: bool = True,
) -> Tensor:
    """1 - metric(soft confusion matrix) as a function; see `lib.objectives.anyloss.AnyLoss` for parameters and errors.

    With ``check=False`` no value is looked at, nothing is synchronized, and the function can go through
    ``torch.compile(fullgraph=True)`` and ``torch.func.vmap``.

    Examples
    --------
    >>> import torch
    >>> from lib.objectives.anyloss import any_loss
    >>> round(float(any_loss(torch.tensor([0.9, 0.2]), torch.tensor([1, 0]))), 6)
    0.0
    """
    if check:
        L, check = checks.positive("L", L), checks.boolean("check", check)
    function = metric_function(metric, beta, eps)
    return soft_loss(lambda p: sharpen(p, L), probs, target, function, weight, eps > 0, check, "probs")


def soft_loss(
    decide: Callable[[Tensor], Tensor],
    probs: Any,
    target: Any,
    metric: Metric,
    weight: Any = None,
    one_class: bool = False,
    check: bool = True,
    name: str = "input",
    from_logits: bool = False,
) -> Tensor:
    """1 - metric(confusion matrix of decide(p)): what all losses share; values are checked last, in one transfer."""
    names = (name, "target", "weight")
    given, target, weight = _batch(probs, target, weight, names)
    p = torch.sigmoid(given) if from_logits else given  # (1)
    cells = confusion_of(decide(p), target == 1, weight)
    value = metric(*cells)
    if not isinstance(value, Tensor) or value.ndim != 0:
        raise TypeError(f"metric must return a 0-dimensional tensor, got {value!r}")
    if check and not torch.compiler.is_compiling():
        _check_values(p, target, weight, cells, value, not one_class, names)
    return 1 - value  # (5)


def _batch(probs: Any, target: Any, weight: Any, names: tuple[str, str, str]) -> tuple[Tensor, Tensor, Tensor | None]:
    """Tensors of shape (N,), probabilities and weights at least float32; looks at shapes and types only."""
    p, y = (v if isinstance(v, Tensor) else _as_tensor(n, v) for n, v in zip(names, (probs, target), strict=False))
    if not p.is_floating_point():
        raise TypeError(f"{names[0]} must be floating point, got {p.dtype}")
    if y.is_complex():
        raise TypeError(f"{names[1]} must hold labels 0/1, -1/+1 or bool, got {y.dtype}")
    if p.shape != y.shape:
        raise ValueError(f"{names[0]} and {names[1]} must have one shape, got {tuple(p.shape)} and {tuple(y.shape)}")
    if p.ndim not in (1, 2) or (p.ndim == 2 and p.shape[1] != 1):
        raise ValueError(f"{names[0]} must have shape (N,) or (N, 1), got {tuple(p.shape)}")
    if p.numel() == 0:
        raise ValueError(f"{names[0]} and {names[1]} must not be empty: no samples in shape {tuple(p.shape)}")
    # Sums of thousands of half-precision terms are meaningless; autocast hands us such inputs.
    p = p.float() if p.dtype in (torch.float16, torch.bfloat16) else p
    if weight is not None:
        weight = weight if isinstance(weight, Tensor) else _as_tensor(names[2], weight)
        if weight.shape != y.shape:
            raise ValueError(f"{names[2]} must have the shape of {names[1]}, got {tuple(weight.shape)}, not {tuple(y.shape)}")
        weight = weight.to(p.dtype).reshape(-1)
    return p.reshape(-1), y.reshape(-1), weight


def _as_tensor(name: str, value: Any) -> Tensor:
    given = np.asarray(value)
    if given.dtype.kind not in "biuf":
        raise TypeError(f"{name} must be a tensor or an array of real numbers, got {checks.shown(value)}")
    return torch.as_tensor(given)


@torch.no_grad()
def _check_values(
    p: Tensor, target: Tensor, weight: Tensor | None, cells: Confusion, value: Tensor | None, both: bool, names: tuple[str, ...]
) -> None:
    """Everything that a loss owes about values, read from the device once."""
    low, high = p.aminmax()  # NaN propagates through both
    facts = [low, high, *cells]
    facts.append(low if value is None else value)
    if target.dtype != torch.bool:  # both 0 for {0, 1}; both 1 for {-1, +1}; neither for anything else
        t = target.to(p.dtype)
        facts += [*(t * (1 - t)).aminmax(), *(t * t).aminmax()]
    if weight is not None:
        facts += weight.aminmax()
    low, high, tp, fp, fn, tn, result, *more = torch.stack(facts).tolist()
    _check_range(low, high, names[0])
    if target.dtype != torch.bool and more[:2] != [0, 0] and more[2:4] != [1, 1]:
        raise _bad_labels(target, names[1])
    if weight is not None and not 0 <= more[-2] <= more[-1] < math.inf:
        raise ValueError(f"{names[2]} must be finite and at least 0, got {more[-2]:.4g} to {more[-1]:.4g}")
    if both:
        require_both_classes(tp + fn, fp + tn, names[1])
    if not math.isfinite(result):
        raise ValueError(f"metric must be finite: returned {result} for tp={tp:.6g}, fp={fp:.6g}, fn={fn:.6g}, tn={tn:.6g}")


def _check_range(low: Any, high: Any, name: str) -> None:
    if math.isnan(low) or math.isnan(high):
        raise ValueError(f"{name} contains NaN")
    if low < 0 or high > 1:
        raise ValueError(f"{name} must lie in [0, 1], got {low:.4g} to {high:.4g}; logits (from_logits)?")


def max_safe_L(dtype: Any = torch.float64) -> int:
    """Largest integer L at which A(1) = 1 / (1 + exp(-L/2)) is below 1 in floating point.

    With a significand of t bits, 1 + e is above 1 iff e > 2^-t, so L < 2 t ln 2: 73 for float64 (the paper's L), 33 for
    float32. At a larger L, 1 - A(p) is 0 for samples near p = 1 and their gradient vanishes exactly.

    Parameters
    ----------
    dtype : torch.dtype or anything that numpy takes as a dtype, default=torch.float64
        A floating-point type.

    Returns
    -------
    int

    Raises
    ------
    TypeError
        Not a floating-point type.

    Examples
    --------
    >>> import torch
    >>> from lib.objectives.anyloss import max_safe_L
    >>> max_safe_L(torch.float64), max_safe_L("float32")
    (73, 33)
    """
    try:
        if dtype is None:  # numpy reads None as float64
            raise TypeError
        eps = torch.finfo(dtype).eps if isinstance(dtype, torch.dtype) else float(np.finfo(np.dtype(dtype)).eps)
    except (TypeError, ValueError) as error:
        raise TypeError(f"dtype must be a floating-point type, got {dtype!r}") from error
    return math.floor(2 * (1 - math.log2(eps)) * math.log(2))  # (7)


# --- closed-form gradient of the single-layer perceptron --------------------------------------------------------------


def slp_gradient(
    metric: str | Metric, X: ArrayLike, y: ArrayLike, theta: ArrayLike, L: float = PAPER_L, *, beta: float = 1.0
) -> NDArray[np.float64]:
    """Gradient of the AnyLoss of a single-layer perceptron, p_i = sigma(x_i . theta), in closed form.

    With w_i = L A_i (1 - A_i) p_i (1 - p_i), the gradients of TP and FP are sums of w_i x_i over the positives and over
    the negatives; the two slopes of the metric (`metric_slopes`) combine them.

    Parameters
    ----------
    metric : str or callable
        As in `AnyLoss`.
    X : array_like, shape (n, d)
        Features; add a column of ones for an intercept.
    y : array_like, shape (n,)
        Labels 0/1, -1/+1 or bool, both classes present.
    theta : array_like, shape (d,)
        Parameters.
    L : float, default=73.0 (the paper's value)
        Steepness of the amplification.
    beta : float, default=1.0
        For ``metric="fbeta"``.

    Returns
    -------
    ndarray, shape (d,)
        float64.

    Raises
    ------
    ValueError
        Shapes that do not fit, values that are not finite, other labels, a class without samples, bad L or metric.

    Notes
    -----
    The G-mean gradient written out in the authors' notebook has the factor 2 where the derivative of a square root has
    1/2: it is four times this one, that is, a learning rate four times as large.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.objectives.anyloss import slp_gradient
    >>> X, y = np.array([[1.0, -1.0], [1.0, 1.0]]), np.array([0, 1])
    >>> slp_gradient("accuracy", X, y, np.zeros(2)).tolist()
    [-0.0, -4.5625]
    """
    X, theta = checks.array("X", X).astype(np.float64), checks.array("theta", theta).astype(np.float64)
    positive, L = check_target(y, "y"), checks.positive("L", L)
    if X.ndim != 2 or positive.shape != X.shape[:1] or theta.shape != X.shape[1:]:
        raise ValueError(f"need X (n, d), y (n,), theta (d,), got {X.shape}, {positive.shape}, {theta.shape}")
    require_both_classes(positive.sum(), (~positive).sum(), "y")
    metric, beta = canonical_metric(metric, beta)

    p = expit(X @ theta)  # (1)
    a = expit(L * (p - 0.5))  # (2)
    w = L * a * (1 - a) * p * (1 - p)  # (3)
    g_pos, g_neg = w[positive] @ X[positive], w[~positive] @ X[~positive]  # g_t and g_h - g_t
    cells = Confusion(a[positive].sum(), a[~positive].sum(), (1 - a[positive]).sum(), (1 - a[~positive]).sum())  # (4)
    slope_tp, slope_fp = metric_slopes(metric, cells, positive.sum(), (~positive).sum(), beta)
    return -(slope_tp * g_pos + slope_fp * g_neg)  # (6)
