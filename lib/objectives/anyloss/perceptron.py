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
-z              ``Z``                   (K, n)    negated logits, a row per perceptron; samples sorted, positives first
g_t, g_h - g_t  ``Z[:, :m] @ X[:m]``    (K, d)    sums of r_i x_i over positives and negatives, Z holding r by then
==============  ======================  ========  =============================================================
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lib import checks
from lib.objectives.anyloss import functional
from lib.objectives.anyloss.functional import PAPER_L, Confusion, Metric
from lib.objectives.anyloss.scores import NEED_ALL_CELLS

KINDS = ("anyloss", "sol", "bce", "weighted_bce", "mse", "delta")

Array = NDArray[np.float64]


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
    metric, beta, L
        Of ``"anyloss"``; ``"sol"`` uses metric and beta. As in `lib.objectives.anyloss.AnyLoss`.
    mu, delta : float
        Center and half-width of SOL's raised cosine.

    Examples
    --------
    >>> from lib.objectives.anyloss import Objective
    >>> Objective("anyloss", 0.01, metric="f2").L
    73.0
    """

    kind: str = "anyloss"
    learning_rate: float = 0.01
    metric: str | Metric = "f1"
    beta: float = 1.0
    L: float = PAPER_L
    mu: float = 0.5
    delta: float = 0.1

    def __post_init__(self) -> None:
        checks.choice("kind", self.kind, KINDS)
        functional.canonical_metric(self.metric, self.beta)
        for name in ("learning_rate", "L", "delta"):
            object.__setattr__(self, name, checks.positive(name, getattr(self, name)))
        object.__setattr__(self, "mu", checks.number("mu", self.mu, above=0, below=1))


def paper_objectives() -> dict[str, Objective]:
    """The nine perceptrons of the paper's comparison on 102 data sets, with its learning rates.

    Keys: MSE, Delta, BCE and the six target metrics accuracy, f1, f0.5, f2, gmean, balanced_accuracy.

    Examples
    --------
    >>> from lib.objectives.anyloss import paper_objectives
    >>> paper_objectives()["BCE"].learning_rate
    0.1
    """
    rates = {"accuracy": 0.005, "f1": 0.01, "f0.5": 0.005, "f2": 0.005, "gmean": 0.005, "balanced_accuracy": 0.005}
    return {
        "MSE": Objective("mse", 0.01),
        "Delta": Objective("delta", 1e-5),
        "BCE": Objective("bce", 0.1),
        **{name: Objective("anyloss", rate, metric=name) for name, rate in rates.items()},
    }


def add_intercept(X: ArrayLike) -> Array:
    """Put a column of ones in front of X, (n, d) -> (n, d + 1).

    Examples
    --------
    >>> from lib.objectives.anyloss import add_intercept
    >>> add_intercept([[2.0], [3.0]]).tolist()
    [[1.0, 2.0], [1.0, 3.0]]
    """
    X = checks.array("X", X, ndim=2).astype(np.float64)
    return np.hstack([np.ones((len(X), 1)), X])


# --- the gradient's coefficients ------------------------------------------------------------------------------------
#
# Every gradient here is c_pos * (sum over positives of r_i x_i) + c_neg * (sum over negatives of r_i x_i). A residual
# overwrites the rows of negated logits -z with r and returns c_pos and c_neg, each of shape (K,) or a number.

_Residual = Callable[[Array], tuple[Any, Any]]


@dataclass(frozen=True)
class _Classes:
    """The positives are the first m samples; P and N are the sizes of the classes (sums of the weights)."""

    n: int
    m: int
    P: float
    N: float
    weight: Array | None

    def sums(self, A: Array) -> tuple[Array, Array]:
        """Sums of the rows of A over the positives and over the negatives."""
        if self.weight is not None:
            return A[:, : self.m] @ self.weight[: self.m], A[:, self.m :] @ self.weight[self.m :]
        return A[:, : self.m].sum(1), A[:, self.m :].sum(1)


def _sigmoid_of_negated_(Z: Array) -> Array:
    """1 / (1 + exp(Z)) in place; numpy's exp is vectorized, which scipy's expit is not."""
    np.exp(Z, out=Z)
    Z += 1.0
    return np.reciprocal(Z, out=Z)


def _slopes_of_rows(objectives: Sequence[Objective], classes: _Classes) -> Callable[[Array, Array], tuple[Array, Array]]:
    """Slopes of K metrics at once, from decisions and one minus them: one evaluation per distinct metric."""
    named = [functional.canonical_metric(o.metric, o.beta) for o in objectives]
    beta = np.array([b for _, b in named])
    members: dict[Any, list[int]] = {}
    for row, (metric, _) in enumerate(named):
        members.setdefault(metric, []).append(row)
    groups = [(metric, np.array(rows), beta[rows]) for metric, rows in members.items()]
    all_cells = any(not isinstance(metric, str) or metric in NEED_ALL_CELLS for metric in members)

    def slopes(A: Array, rest: Array) -> tuple[Array, Array]:
        tp, fp = classes.sums(A)
        fn, tn = classes.sums(rest) if all_cells else (tp, fp)  # the others' slopes do not read them
        out = np.empty((2, len(beta)))
        for metric, rows, b in groups:
            cells = Confusion(tp[rows], fp[rows], fn[rows], tn[rows])
            out[0, rows], out[1, rows] = functional.metric_slopes(metric, cells, classes.P, classes.N, b)
        return out[0], out[1]

    return slopes


def _anyloss_residual(objectives: Sequence[Objective], classes: _Classes) -> _Residual:
    L = np.array([[o.L] for o in objectives])
    slopes = _slopes_of_rows(objectives, classes)
    A, rest = np.empty((2, len(objectives), classes.n))

    def residual(Z: Array) -> tuple[Array, Array]:
        p = _sigmoid_of_negated_(Z)  # (1)
        np.subtract(0.5, p, out=A)
        np.multiply(A, L, out=A)
        _sigmoid_of_negated_(A)  # (2)
        np.subtract(1.0, A, out=rest)
        slope_tp, slope_fp = slopes(A, rest)
        np.multiply(A, rest, out=A)
        np.subtract(1.0, p, out=rest)
        p *= rest
        p *= A  # (3): w / L
        return -L[:, 0] * slope_tp, -L[:, 0] * slope_fp  # (6)

    return residual


def _sol_residual(objectives: Sequence[Objective], classes: _Classes) -> _Residual:
    mu, delta = np.array([[o.mu] for o in objectives]), np.array([[o.delta] for o in objectives])
    slopes = _slopes_of_rows(objectives, classes)

    def residual(Z: Array) -> tuple[Array, Array]:
        p = _sigmoid_of_negated_(Z)
        u = np.clip((p - mu) / delta, -1.0, 1.0)
        half = u.copy()  # sin(pi u / 2): one sine for both functions below, and none where u is clipped
        inside = np.abs(u) < 1
        half[inside] = np.sin(np.pi / 2 * u[inside])
        density = 1 - half * half  # times delta: (1 + cos(pi u)) / 2; 0 outside [mu - delta, mu + delta]
        F = (1 + u) / 2 + half * np.sqrt(density) / np.pi  # (1 + u + sin(pi u) / pi) / 2
        slope_tp, slope_fp = slopes(F, 1 - F)
        p *= 1 - p
        p *= density
        return -slope_tp / delta[:, 0], -slope_fp / delta[:, 0]

    return residual


def _bce_residual(objectives: Sequence[Objective], classes: _Classes) -> _Residual:
    weighted, total = np.array([o.kind == "weighted_bce" for o in objectives]), classes.P + classes.N
    on_positive, on_negative = (np.where(weighted, 0.5 / size, 1 / total) for size in (classes.P, classes.N))

    def residual(Z: Array) -> tuple[Array, Array]:
        p = _sigmoid_of_negated_(Z)
        p[:, : classes.m] -= 1.0
        return on_positive, on_negative

    return residual


def _adaline_residual(objectives: Sequence[Objective], classes: _Classes) -> _Residual:
    scale = np.array([1.0 if o.kind == "delta" else 1 / (classes.P + classes.N) for o in objectives])

    def residual(Z: Array) -> tuple[Array, Array]:
        np.negative(Z, out=Z)
        Z[:, : classes.m] -= 1.0
        Z[:, classes.m :] += 1.0
        return scale, scale

    return residual


_RESIDUALS: dict[tuple[str, ...], Callable[[Sequence[Objective], _Classes], _Residual]] = {
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
    callback: Callable[[int, Array], bool | None] | None = None,
    sample_weight: ArrayLike | None = None,
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
        Number of steps; there is no other stopping rule, unless ``callback`` has one.
    theta0 : array_like, shape (d,) or (K, d), optional
        Start; the default 0 (the paper's) makes every p 1/2, where A is steepest. Parameters that came out of a
        shorter run go on as a longer one would.
    callback : callable, optional
        ``callback(step, Theta)`` before each step and once at the end; ``Theta`` is (K, d), a copy. Training stops
        where it returns True.
    sample_weight : array_like, shape (n,), optional
        How much each sample counts, at least 0; a weight of 2 is the sample twice.

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
    >>> from lib.objectives.anyloss import Objective, add_intercept, train_perceptrons
    >>> X = add_intercept([[-2.0], [-1.0], [1.0], [2.0]])
    >>> theta = train_perceptrons(X, [0, 0, 1, 1], [Objective("bce", 0.1), Objective("anyloss", 0.01)], max_iter=10)
    >>> theta.shape
    (2, 2)
    """
    X, positive, Theta, weight = _check_training_input(X, y, objectives, theta0, sample_weight)
    max_iter = checks.integer("max_iter", max_iter, low=1)
    # Positives first: every sum over one class is then a sum over adjacent columns, without a mask.
    first = np.argsort(~positive, kind="stable")
    m = int(positive.sum())
    X = np.ascontiguousarray(X[first])
    weight = None if weight is None else weight[first]
    P, N = (m, len(X) - m) if weight is None else (weight[:m].sum(), weight[m:].sum())
    classes = _Classes(len(X), m, float(P), float(N), weight)
    groups = [
        (members, make([objectives[i] for i in members], classes))
        for kinds, make in _RESIDUALS.items()
        if (members := [i for i, o in enumerate(objectives) if o.kind in kinds])
    ]
    # Objectives of one kind become adjacent rows, so that a residual works on a view.
    order = [i for members, _ in groups for i in members]
    back = np.argsort(order)
    ends = np.cumsum([len(members) for members, _ in groups])
    blocks = [(slice(end - len(members), end), residual) for end, (members, residual) in zip(ends, groups, strict=True)]
    Theta, rate = Theta[order], np.array([[objectives[i].learning_rate] for i in order])
    Z, c_pos, c_neg = np.empty((len(Theta), len(X))), np.empty((len(Theta), 1)), np.empty((len(Theta), 1))
    minus_XT = np.ascontiguousarray(-X.T)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # exp(800) = inf is right; see below for divergence
        for step in range(max_iter):
            if callback is not None and callback(step, Theta[back]):
                return _finite(Theta[back], objectives)
            np.matmul(Theta, minus_XT, out=Z)  # -z
            for rows, residual in blocks:
                c_pos[rows, 0], c_neg[rows, 0] = residual(Z[rows])
            if weight is not None:
                Z *= weight
            Theta -= rate * (c_pos * (Z[:, :m] @ X[:m]) + c_neg * (Z[:, m:] @ X[m:]))
    Theta = _finite(Theta[back], objectives)
    if callback is not None:
        callback(max_iter, Theta.copy())
    return Theta


def _finite(Theta: Array, objectives: Sequence[Objective]) -> Array:
    finite = np.array([np.isfinite(row).all() for row in Theta])
    if not finite.all():
        lost = [o for o, ok in zip(objectives, finite.tolist(), strict=True) if not ok]
        raise ValueError(f"gradient descent overflowed; standardize X or lower the learning rate of {lost}")
    return Theta


def _check_training_input(
    X: ArrayLike, y: ArrayLike, objectives: Sequence[Objective], theta0: ArrayLike | None, sample_weight: ArrayLike | None
) -> tuple[Array, NDArray[np.bool_], Array, Array | None]:
    X, positive = checks.array("X", X).astype(np.float64), functional.check_target(y, "y")
    if X.ndim != 2 or positive.shape != X.shape[:1]:
        raise ValueError(f"need X of shape (n, d) and y of shape (n,), got {X.shape} and {positive.shape}")
    if isinstance(objectives, Objective) or not all(isinstance(o, Objective) for o in objectives):
        raise TypeError(f"objectives must be a sequence of Objective, got {checks.shown(objectives)}")
    if not objectives:
        raise ValueError("objectives is empty")
    weight = None
    if sample_weight is not None:
        weight = checks.array("sample_weight", sample_weight, shape=positive.shape, low=0).astype(np.float64)
        functional.require_both_classes(weight[positive].sum(), weight[~positive].sum(), "y (by sample_weight)")
    functional.require_both_classes(positive.sum(), (~positive).sum(), "y")
    shape = (len(objectives), X.shape[1])
    start = np.zeros(shape) if theta0 is None else checks.array("theta0", theta0).astype(np.float64)
    if start.shape not in (shape, shape[1:]):
        raise ValueError(f"theta0 must have shape {shape[1:]} or {shape}, got {start.shape}")
    return X, positive, np.broadcast_to(start, shape).copy(), weight
