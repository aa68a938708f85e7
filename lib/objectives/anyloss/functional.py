"""Formulas of AnyLoss as pure functions: amplification, soft confusion matrix, losses and their closed-form gradient.

Han, Moniz and Chawla, "AnyLoss: Transforming Classification Metrics into Loss Functions", arXiv:2405.14745 (2024). The
table of symbols is in `lib.objectives.anyloss`; the scores themselves are in `scores` and can be had from here as well.
Everything is deterministic and keeps the dtype and the device of its input.
"""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit
from torch import Tensor

from lib.objectives.anyloss.scores import (
    SCORE_NAMES,
    Confusion,
    Score,
    accuracy,
    balanced_accuracy,
    canonical_score,
    fbeta,
    gmean,
    jaccard,
    mcc,
    score_function,
    score_slopes,
)

__all__ = [
    "PAPER_L",
    "SCORE_NAMES",
    "THRESHOLD_DISTRIBUTIONS",
    "Confusion",
    "Score",
    "accuracy",
    "amplify",
    "any_loss",
    "balanced_accuracy",
    "canonical_score",
    "check_L",
    "check_batch",
    "check_probs",
    "check_target",
    "check_threshold",
    "confusion_of",
    "fbeta",
    "gmean",
    "jaccard",
    "max_safe_L",
    "mcc",
    "one_minus_score",
    "require_both_classes",
    "score_function",
    "score_slopes",
    "slp_gradient",
    "soft_confusion",
    "threshold_cdf",
]

PAPER_L = 73.0
"""The paper's amplification; the largest integer at which A(1) < 1 in double precision, see `max_safe_L`."""

THRESHOLD_DISTRIBUTIONS = ("cosine", "uniform", "logistic")


# --- input checks ---------------------------------------------------------------------------------------------------


def check_L(L: float) -> float:
    """Return L as a float; raise if it is not a positive finite number."""
    if isinstance(L, bool) or not isinstance(L, Real):
        raise TypeError(f"L must be a real number, got {L!r}")
    if not math.isfinite(L) or L <= 0:
        raise ValueError(f"L must be positive and finite, got {L}")
    return float(L)


def check_threshold(distribution: str, mu: float, delta: float) -> None:
    """Raise ``ValueError`` unless the arguments describe a random threshold of `threshold_cdf`."""
    if distribution not in THRESHOLD_DISTRIBUTIONS:
        raise ValueError(f"distribution must be one of {THRESHOLD_DISTRIBUTIONS}, got {distribution!r}")
    if not 0 < mu < 1:
        raise ValueError(f"mu must lie in (0, 1), got {mu}")
    if not math.isfinite(delta) or delta <= 0:
        raise ValueError(f"delta must be positive and finite, got {delta}")


def check_probs(probs: Any) -> Any:
    """Return a tensor or float array of probabilities; raise ``ValueError`` on NaN or values outside [0, 1]."""
    if not isinstance(probs, Tensor):
        probs = np.asarray(probs)
    floating = probs.is_floating_point() if isinstance(probs, Tensor) else np.issubdtype(probs.dtype, np.floating)
    if not floating:
        raise TypeError(f"probabilities must be floating point, got {probs.dtype}")
    if 0 in probs.shape:
        raise ValueError(f"no samples: got shape {tuple(probs.shape)}")
    values = probs.detach() if isinstance(probs, Tensor) else probs
    low, high = float(values.min()), float(values.max())  # NaN propagates through both
    if math.isnan(low) or math.isnan(high):
        raise ValueError("input contains NaN")
    if low < 0 or high > 1:
        raise ValueError(f"probabilities must lie in [0, 1], got {low:.4g}..{high:.4g}; logits (from_logits)?")
    return probs


def check_target(target: Any) -> Any:
    """Return a boolean mask of the positives, of the type (tensor or array) and shape of ``target``.

    Accepted are bool, {0, 1} and {-1, +1} of any dtype; anything else raises ``ValueError``.
    """
    if not isinstance(target, Tensor):
        target = np.asarray(target)
    positive = target == 1
    if bool((positive | (target == 0)).all()) or bool((positive | (target == -1)).all()):
        return positive
    some = sorted({float(v) for v in target.reshape(-1)[:1000]}, key=lambda v: (math.isnan(v), v))[:4]
    raise ValueError(f"target must hold labels 0/1, -1/+1 or bool, got values like {some}")


def check_batch(probs: Any, target: Any) -> tuple[Tensor, Tensor]:
    """Return probabilities (at least float32) and the mask of positives, two tensors of one shape (N,) or (N, 1)."""
    p, y = (v if isinstance(v, Tensor) else torch.as_tensor(np.asarray(v)) for v in (probs, target))
    if p.shape != y.shape:
        raise ValueError(f"input and target must have one shape, got {tuple(p.shape)} and {tuple(y.shape)}")
    if p.ndim not in (1, 2) or (p.ndim == 2 and p.shape[1] != 1):
        raise ValueError(f"input must have shape (N,) or (N, 1), got {tuple(p.shape)}")
    p = check_probs(p)
    # Sums of thousands of half-precision terms are meaningless; autocast hands us such inputs.
    return p.float() if p.dtype in (torch.float16, torch.bfloat16) else p, check_target(y)


def require_both_classes(n_positive: Any, n_negative: Any) -> None:
    """Raise ``ValueError`` if either class is empty."""
    if n_positive == 0 or n_negative == 0:
        raise ValueError(
            f"a score needs both classes, got {int(n_positive)} positives and {int(n_negative)} negatives; "
            "use larger or stratified batches (StratifiedBatchSampler) or eps > 0"
        )


# --- amplification and soft confusion matrix ------------------------------------------------------------------------


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
    >>> amplify([0.25, 0.5, 0.75], L=4.0).round(3).tolist()
    [0.269, 0.5, 0.731]
    """
    L, probs = check_L(L), check_probs(probs)
    u = L * (probs - 0.5)
    return torch.sigmoid(u) if isinstance(u, Tensor) else expit(u)


def threshold_cdf(probs: Tensor, distribution: str = "cosine", mu: float = 0.5, delta: float = 0.1) -> Tensor:
    """Probability that a random threshold lies below p: the soft decision of score-oriented losses (SOL).

    ``"cosine"``: raised cosine on [mu - delta, mu + delta]; ``"uniform"``: uniform there; ``"logistic"``: logistic with
    scale ``delta``, which is ``amplify`` for mu = 1/2, delta = 1/L.
    Marchetti, Guastavino, Piana and Campi, "Score-oriented loss (SOL) functions", arXiv:2103.15522.
    """
    check_threshold(distribution, mu, delta)
    u = (check_probs(probs) - mu) / delta
    if distribution == "logistic":
        return torch.sigmoid(u)
    u = u.clamp(-1.0, 1.0)
    return (1 + u) / 2 if distribution == "uniform" else (1 + u + torch.sin(math.pi * u) / math.pi) / 2


def confusion_of(decisions: Tensor, positive: Tensor) -> Confusion:
    """Confusion matrix of (soft) decisions in [0, 1]: four 0-dimensional tensors.

    Each cell is summed on its own. TN as n - S_y - S_h + S_hy would lose all digits where it is small, and the gradient
    of the G-mean divides by it.
    """
    y, rejected = positive.to(decisions.dtype), 1 - decisions
    cells = (y * decisions, (1 - y) * decisions, y * rejected, (1 - y) * rejected)
    return Confusion(*(cell.sum() for cell in cells))


def soft_confusion(probs: Tensor, target: Tensor, L: float = PAPER_L) -> Confusion:
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

    Returns
    -------
    Confusion
        ``(tp, fp, fn, tn)``, 0-dimensional tensors of the dtype of ``probs``.

    Raises
    ------
    ValueError
        Shapes that differ, no samples, NaN, probabilities outside [0, 1], other labels, L not positive and finite.
    TypeError
        Probabilities that are not floating point.

    Examples
    --------
    >>> cells = soft_confusion(torch.tensor([0.9, 0.2, 0.4]), torch.tensor([1, 0, 1]))
    >>> [round(float(c), 2) for c in cells]
    [1.0, 0.0, 1.0, 1.0]
    """
    probs, positive = check_batch(probs, target)
    return confusion_of(amplify(probs, L), positive)


def any_loss(
    probs: Tensor, target: Tensor, score: str | Score = "f1", beta: float = 1.0, L: float = PAPER_L, eps: float = 0.0
) -> Tensor:
    """1 - score(soft confusion matrix) as a function; see `lib.objectives.anyloss.AnyLoss` for parameters and errors.

    Examples
    --------
    >>> round(float(any_loss(torch.tensor([0.9, 0.2]), torch.tensor([1, 0]))), 6)
    0.0
    """
    cells = soft_confusion(probs, target, L)
    return one_minus_score(score_function(score, beta, eps), cells, eps)


def one_minus_score(score: Score, cells: Confusion, eps: float = 0.0) -> Tensor:
    """1 - score(cells) as a scalar tensor, with the checks that a loss owes: both classes, one finite number."""
    tp, fp, fn, tn = (cell.item() for cell in cells)
    if eps == 0:
        require_both_classes(round(tp + fn), round(fp + tn))
    value = score(*cells)
    if not isinstance(value, Tensor) or value.ndim != 0:
        raise TypeError(f"score must return a 0-dimensional tensor, got {value!r}")
    if not math.isfinite(value.item()):
        raise ValueError(f"score returned {value.item()} for tp={tp:.6g}, fp={fp:.6g}, fn={fn:.6g}, tn={tn:.6g}")
    return 1 - value


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
    >>> max_safe_L(torch.float64), max_safe_L("float32")
    (73, 33)
    """
    try:
        eps = torch.finfo(dtype).eps if isinstance(dtype, torch.dtype) else float(np.finfo(np.dtype(dtype)).eps)
    except (TypeError, ValueError) as error:
        raise TypeError(f"dtype must be a floating-point type, got {dtype!r}") from error
    return math.floor(2 * (1 - math.log2(eps)) * math.log(2))


# --- closed-form gradient of the single-layer perceptron --------------------------------------------------------------


def slp_gradient(
    score: str | Score, X: ArrayLike, y: ArrayLike, theta: ArrayLike, L: float = PAPER_L, *, beta: float = 1.0
) -> NDArray[np.float64]:
    """Gradient of the AnyLoss of a single-layer perceptron, p_i = sigma(x_i . theta), in closed form.

    With w_i = L A_i (1 - A_i) p_i (1 - p_i), the gradients of TP and FP are sums of w_i x_i over the positives and over
    the negatives; the two slopes of the score (`score_slopes`) combine them.

    Parameters
    ----------
    score : str or callable
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
        For ``score="fbeta"``.

    Returns
    -------
    ndarray, shape (d,)
        float64.

    Raises
    ------
    ValueError
        Shapes that do not fit, values that are not finite, other labels, a class without samples, bad L or score.

    Notes
    -----
    The G-mean gradient written out in the authors' notebook has the factor 2 where the derivative of a square root has
    1/2: it is four times this one, that is, a learning rate four times as large.

    Examples
    --------
    >>> X, y = np.array([[1.0, -1.0], [1.0, 1.0]]), np.array([0, 1])
    >>> slp_gradient("accuracy", X, y, np.zeros(2)).tolist()
    [-0.0, -4.5625]
    """
    X, theta = np.asarray(X, dtype=np.float64), np.asarray(theta, dtype=np.float64)
    positive, L = check_target(y), check_L(L)
    if X.ndim != 2 or positive.shape != X.shape[:1] or theta.shape != X.shape[1:]:
        raise ValueError(f"need X (n, d), y (n,), theta (d,), got {X.shape}, {positive.shape}, {theta.shape}")
    if not (np.isfinite(X).all() and np.isfinite(theta).all()):
        raise ValueError("X and theta must be finite")
    require_both_classes(positive.sum(), (~positive).sum())
    score, beta = canonical_score(score, beta)

    p = expit(X @ theta)
    a = expit(L * (p - 0.5))
    w = L * a * (1 - a) * p * (1 - p)
    g_pos, g_neg = w[positive] @ X[positive], w[~positive] @ X[~positive]
    cells = Confusion(a[positive].sum(), a[~positive].sum(), (1 - a[positive]).sum(), (1 - a[~positive]).sum())
    slope_tp, slope_fp = score_slopes(score, cells, beta)
    return -(slope_tp * g_pos + slope_fp * g_neg)
