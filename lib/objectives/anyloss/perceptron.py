"""The paper's first learner: a single-layer perceptron trained by full-batch gradient descent, and its baselines.

Han, Moniz and Chawla, "AnyLoss: Transforming Classification Metrics into Loss Functions", arXiv:2405.14745 (2024).
Implemented as in the authors' experiments: theta starts at 0, 1000 steps of theta <- theta - learning_rate *
gradient, class 1 is predicted where x . theta > 0. Baselines by the same loop: cross-entropy ("BCE"), Adaline on
labels -1/+1 with the mean ("MSE") or the sum ("Delta") of squared errors, the score-oriented loss (SOL), and the
class-weighted cross-entropy that the paper does not have.

K perceptrons train at once: their parameters are the rows of Theta, shape (K, d). A step costs O(K n d) for the two
matrix products and O(K n) for everything else.

==============  ======================  ========  =============================================================
symbol          name here               shape     meaning
==============  ======================  ========  =============================================================
theta           rows of ``Theta``       (K, d)    parameters
z               ``Z``                   (K, n)    logits, one row per perceptron; samples sorted, positives first
dloss/dz        ``R``                   (K, n)    so that the gradient is ``R @ X``
==============  ======================  ========  =============================================================
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lib.objectives.anyloss import functional
from lib.objectives.anyloss.functional import PAPER_L, Confusion, Score

KINDS = ("anyloss", "sol", "bce", "weighted_bce", "mse", "delta")

Array = NDArray[np.float64]
_Residual = Callable[[Array], None]  # overwrites rows of logits with dloss/dlogit


@dataclass(frozen=True)
class Objective:
    """What one perceptron minimizes, and how fast.

    Attributes
    ----------
    kind : {"anyloss", "sol", "bce", "weighted_bce", "mse", "delta"}
        ``"weighted_bce"`` weighs each class by n / (2 n_class). ``"mse"`` is the mean and ``"delta"`` the sum over
        samples of (t_i - z_i)^2 / 2 with t_i = -1 or +1.
    learning_rate : float
        The paper's values are in `paper_objectives`.
    score, beta, L
        Of ``"anyloss"``; ``"sol"`` uses score and beta. As in `lib.objectives.anyloss.AnyLoss`.
    mu, delta : float
        Center and half-width of SOL's raised cosine.

    Examples
    --------
    >>> Objective("anyloss", 0.01, score="f2").L
    73.0
    """

    kind: str = "anyloss"
    learning_rate: float = 0.01
    score: str | Score = "f1"
    beta: float = 1.0
    L: float = PAPER_L
    mu: float = 0.5
    delta: float = 0.1

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind must be one of {KINDS}, got {self.kind!r}")
        if not math.isfinite(self.learning_rate) or self.learning_rate <= 0:
            raise ValueError(f"learning_rate must be positive and finite, got {self.learning_rate}")
        functional.canonical_score(self.score, self.beta)
        functional.check_L(self.L)
        functional.check_threshold("cosine", self.mu, self.delta)


def paper_objectives() -> dict[str, Objective]:
    """The nine perceptrons of the paper's comparison on 102 data sets, with its learning rates.

    Keys: MSE, Delta, BCE and the six target metrics accuracy, f1, f0.5, f2, gmean, balanced_accuracy.

    Examples
    --------
    >>> paper_objectives()["BCE"].learning_rate
    0.1
    """
    rates = {"accuracy": 0.005, "f1": 0.01, "f0.5": 0.005, "f2": 0.005, "gmean": 0.005, "balanced_accuracy": 0.005}
    return {
        "MSE": Objective("mse", 0.01),
        "Delta": Objective("delta", 1e-5),
        "BCE": Objective("bce", 0.1),
        **{name: Objective("anyloss", rate, score=name) for name, rate in rates.items()},
    }


def add_intercept(X: ArrayLike) -> Array:
    """Put a column of ones in front of X, (n, d) -> (n, d + 1)."""
    X = np.asarray(X, dtype=np.float64)
    return np.hstack([np.ones((len(X), 1)), X])


# --- dloss/dlogit, in place, for rows that share a kind -------------------------------------------------------------


def _sigmoid_(Z: Array) -> Array:
    """Logistic function in place; numpy's exp is vectorized, which scipy's expit is not."""
    np.negative(Z, out=Z)
    np.exp(Z, out=Z)
    Z += 1.0
    return np.reciprocal(Z, out=Z)


def _confusion_rows(A: Array, rejected: Array, m: int) -> Confusion:
    """Soft confusion matrices of the rows of A, positives in the first m columns; ``rejected`` is 1 - A."""
    return Confusion(A[:, :m].sum(1), A[:, m:].sum(1), rejected[:, :m].sum(1), rejected[:, m:].sum(1))


def _slopes_of_rows(objectives: Sequence[Objective]) -> Callable[[Confusion], tuple[Array, Array]]:
    """Slopes of K scores at once: one evaluation per distinct score, whatever their beta."""
    scores = [functional.canonical_score(o.score, o.beta) for o in objectives]
    beta = np.array([b for _, b in scores])
    members: dict[Any, list[int]] = {}
    for row, (score, _) in enumerate(scores):
        members.setdefault(score, []).append(row)
    groups = [(score, rows, beta[rows]) for score, rows in members.items()]

    def slopes(cells: Confusion) -> tuple[Array, Array]:
        stacked, out = np.array(cells), np.empty((2, len(beta)))
        for score, rows, b in groups:
            out[:, rows] = functional.score_slopes(score, Confusion(*stacked[:, rows]), b)
        return out[0], out[1]

    return slopes


def _scale_(R: Array, m: int, on_positive: Any, on_negative: Any) -> None:
    R[:, :m] *= on_positive
    R[:, m:] *= on_negative


def _anyloss_residual(objectives: Sequence[Objective], n: int, m: int) -> _Residual:
    L = np.array([[o.L] for o in objectives])
    slopes, A, rest = _slopes_of_rows(objectives), np.empty((len(objectives), n)), np.empty((len(objectives), n))

    def residual(Z: Array) -> None:
        p = _sigmoid_(Z)
        np.subtract(p, 0.5, out=A)
        np.multiply(A, L, out=A)
        _sigmoid_(A)
        np.subtract(1.0, A, out=rest)
        slope_tp, slope_fp = slopes(_confusion_rows(A, rest, m))
        np.multiply(A, rest, out=A)
        np.subtract(1.0, p, out=rest)
        p *= rest
        p *= A  # w / L
        _scale_(p, m, -L * slope_tp[:, None], -L * slope_fp[:, None])

    return residual


def _sol_residual(objectives: Sequence[Objective], n: int, m: int) -> _Residual:
    mu, delta = np.array([[o.mu] for o in objectives]), np.array([[o.delta] for o in objectives])
    slopes = _slopes_of_rows(objectives)

    def residual(Z: Array) -> None:
        p = _sigmoid_(Z)
        u = np.clip((p - mu) / delta, -1.0, 1.0)
        half = u.copy()  # sin(pi u / 2): one sine for both functions below, and none where u is clipped
        inside = np.abs(u) < 1
        half[inside] = np.sin(np.pi / 2 * u[inside])
        density = 1 - half * half  # times delta: (1 + cos(pi u)) / 2; 0 outside [mu - delta, mu + delta]
        F = (1 + u) / 2 + half * np.sqrt(density) / np.pi  # (1 + u + sin(pi u) / pi) / 2
        slope_tp, slope_fp = slopes(_confusion_rows(F, 1 - F, m))
        p *= 1 - p
        p *= density
        _scale_(p, m, -slope_tp[:, None] / delta, -slope_fp[:, None] / delta)

    return residual


def _bce_residual(objectives: Sequence[Objective], n: int, m: int) -> _Residual:
    weighted = np.array([[o.kind == "weighted_bce"] for o in objectives])
    on_positive, on_negative = np.where(weighted, 0.5 / m, 1 / n), np.where(weighted, 0.5 / (n - m), 1 / n)

    def residual(Z: Array) -> None:
        p = _sigmoid_(Z)
        p[:, :m] -= 1.0
        _scale_(p, m, on_positive, on_negative)

    return residual


def _adaline_residual(objectives: Sequence[Objective], n: int, m: int) -> _Residual:
    scale = np.array([[1.0 if o.kind == "delta" else 1 / n] for o in objectives])

    def residual(Z: Array) -> None:
        Z[:, :m] -= 1.0
        Z[:, m:] += 1.0
        np.multiply(Z, scale, out=Z)

    return residual


_RESIDUALS: dict[tuple[str, ...], Callable[[Sequence[Objective], int, int], _Residual]] = {
    ("anyloss",): _anyloss_residual,
    ("sol",): _sol_residual,
    ("bce", "weighted_bce"): _bce_residual,
    ("mse", "delta"): _adaline_residual,
}


# --- training -------------------------------------------------------------------------------------------------------


def train_perceptrons(
    X: ArrayLike,
    y: ArrayLike,
    objectives: Sequence[Objective],
    *,
    max_iter: int = 1000,
    theta0: ArrayLike | None = None,
    callback: Callable[[int, Array], None] | None = None,
) -> Array:
    """Train K perceptrons on one data set by full-batch gradient descent, all in one parameter matrix.

    Parameters
    ----------
    X : array_like, shape (n, d)
        Features with a column of ones for the intercept, see `add_intercept`.
    y : array_like, shape (n,)
        Labels 0/1, -1/+1 or bool, both classes present.
    objectives : sequence of Objective, length K
        What each perceptron minimizes; losses, learning rates and L mix freely.
    max_iter : int, default=1000 (the paper's value)
        Number of steps; there is no other stopping rule.
    theta0 : array_like, shape (d,) or (K, d), optional
        Start; the default 0 (the paper's) makes every p 1/2, where A is steepest.
    callback : callable, optional
        ``callback(step, Theta)`` before each step and once at the end; ``Theta`` is (K, d), a copy.

    Returns
    -------
    ndarray, shape (K, d)
        Parameters after the last step.

    Raises
    ------
    ValueError
        Shapes that do not fit, values that are not finite, a class without samples, max_iter below 1; a perceptron
        whose parameters overflowed (Adaline does when its learning rate is too large).

    References
    ----------
    Han et al. (2024), the single-layer perceptron experiments.

    Examples
    --------
    >>> X = add_intercept([[-2.0], [-1.0], [1.0], [2.0]])
    >>> theta = train_perceptrons(X, [0, 0, 1, 1], [Objective("bce", 0.1), Objective("anyloss", 0.01)], max_iter=10)
    >>> theta.shape
    (2, 2)
    """
    X, positive, Theta = _check_training_input(X, y, objectives, max_iter, theta0)
    # Positives first: every sum over one class is then a sum over adjacent columns, without a mask.
    X = np.ascontiguousarray(X[np.argsort(~positive, kind="stable")])
    groups = [
        (members, make([objectives[i] for i in members], len(X), int(positive.sum())))
        for kinds, make in _RESIDUALS.items()
        if (members := [i for i, o in enumerate(objectives) if o.kind in kinds])
    ]
    # Objectives of one kind become adjacent rows, so that a residual works on a view.
    order = [i for members, _ in groups for i in members]
    back = np.argsort(order)
    ends = np.cumsum([len(members) for members, _ in groups])
    blocks = [(slice(end - len(members), end), residual) for end, (members, residual) in zip(ends, groups, strict=True)]
    Theta, rate = Theta[order], np.array([[objectives[i].learning_rate] for i in order])
    Z = np.empty((len(Theta), len(X)))
    with np.errstate(over="ignore", invalid="ignore"):  # exp(800) = inf is right; divergence is reported below
        for step in range(max_iter):
            if callback is not None:
                callback(step, Theta[back])
            np.matmul(Theta, X.T, out=Z)
            for rows, residual in blocks:
                residual(Z[rows])
            Theta -= rate * (Z @ X)
    Theta = Theta[back]
    if not np.isfinite(Theta).all():
        lost = [o for o, theta in zip(objectives, Theta, strict=True) if not np.isfinite(theta).all()]
        raise ValueError(f"gradient descent overflowed; standardize X or lower the learning rate of {lost}")
    if callback is not None:
        callback(max_iter, Theta.copy())
    return Theta


def _check_training_input(
    X: ArrayLike, y: ArrayLike, objectives: Sequence[Objective], max_iter: int, theta0: ArrayLike | None
) -> tuple[Array, NDArray[np.bool_], Array]:
    X, positive = np.asarray(X, dtype=np.float64), functional.check_target(y)
    if X.ndim != 2 or positive.shape != X.shape[:1]:
        raise ValueError(f"need X of shape (n, d) and y of shape (n,), got {X.shape} and {positive.shape}")
    if not np.isfinite(X).all():
        raise ValueError("X must be finite")
    functional.require_both_classes(positive.sum(), (~positive).sum())
    if not objectives:
        raise ValueError("objectives is empty")
    if max_iter < 1:
        raise ValueError(f"max_iter must be at least 1, got {max_iter}")
    shape = (len(objectives), X.shape[1])
    start = np.zeros(shape) if theta0 is None else np.asarray(theta0, dtype=np.float64)
    if start.shape not in (shape, shape[1:]):
        raise ValueError(f"theta0 must have shape {shape[1:]} or {shape}, got {start.shape}")
    return X, positive, np.broadcast_to(start, shape).copy()
