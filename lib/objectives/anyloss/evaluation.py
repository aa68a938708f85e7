"""How classifiers are judged: metrics of hard decisions, tuned thresholds, and comparisons over data sets.

Han, Moniz and Chawla, "AnyLoss: Transforming Classification Metrics into Loss Functions", arXiv:2405.14745 (2024).
Scores are averaged over folds, as in the paper, not computed from pooled predictions. The threshold tuned on the
training data is a baseline that the paper does not have.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lib.objectives.anyloss import functional
from lib.objectives.anyloss.functional import Confusion, Score

METRICS = ("accuracy", "f1", "f0.5", "f2", "gmean", "balanced_accuracy")
"""The paper's six target metrics."""

Array = NDArray[np.float64]


def hard_confusion(decisions: ArrayLike, y: ArrayLike) -> Confusion:
    """Confusion matrix of hard decisions (n,) against labels (n,): four floats."""
    said, positive = np.asarray(decisions, dtype=bool), functional.check_target(y)
    if said.shape != positive.shape or said.ndim != 1:
        raise ValueError(f"decisions and y must have one shape (n,), got {said.shape} and {positive.shape}")
    counts = (said & positive, said & ~positive, ~said & positive, ~said & ~positive)
    return Confusion(*(float(np.count_nonzero(cell)) for cell in counts))


def hard_scores(decisions: ArrayLike, y: ArrayLike, metrics: Sequence[str | Score] = METRICS) -> Array:
    """Scores of hard decisions, shape (len(metrics),); both classes must be present in y.

    Examples
    --------
    >>> hard_scores([1, 0, 0, 0], [1, 1, 0, 0], ["accuracy", "f1"]).round(4).tolist()
    [0.75, 0.6667]
    """
    cells = hard_confusion(decisions, y)
    functional.require_both_classes(cells.tp + cells.fn, cells.fp + cells.tn)
    return np.array([functional.score_function(metric)(*cells) for metric in metrics])


def tune_threshold(decision: ArrayLike, y: ArrayLike, score: str | Score = "f1", beta: float = 1.0) -> float:
    """Cut that maximizes a score of ``decision > cut`` on these data, by an exact sweep over all distinct cuts.

    Parameters
    ----------
    decision : array_like, shape (n,)
        Real-valued output of a classifier, larger for class 1.
    y : array_like, shape (n,)
        Labels, both classes present.
    score, beta
        As in `AnyLoss`; a callable gets float arrays.

    Returns
    -------
    float
        Halfway between two neighboring values, or -inf or inf where one class for all is best. The lowest of equally
        good cuts.

    Raises
    ------
    ValueError
        Shapes that differ, NaN, a class without samples.

    Notes
    -----
    O(n log n). scikit-learn's ``TunedThresholdClassifierCV`` tries 100 cuts.

    Examples
    --------
    >>> tune_threshold([-3.0, -2.0, -1.0, 4.0], [0, 0, 1, 1])
    -1.5
    """
    values, positive = np.asarray(decision, dtype=np.float64), functional.check_target(y)
    if values.shape != positive.shape or values.ndim != 1:
        raise ValueError(f"decision and y must have one shape (n,), got {values.shape} and {positive.shape}")
    if np.isnan(values).any():
        raise ValueError("decision contains NaN")
    functional.require_both_classes(positive.sum(), (~positive).sum())
    order = np.argsort(values)
    values, positive = values[order], positive[order]
    # Cut k calls the k lowest samples negative; only cuts between distinct values exist.
    fn = np.concatenate([[0.0], np.cumsum(positive)])
    tn = np.concatenate([[0.0], np.cumsum(~positive)])
    exists = np.concatenate([[True], values[1:] > values[:-1], [True]])
    fn, tn = fn[exists], tn[exists]
    with np.errstate(invalid="ignore", divide="ignore"):
        scored = functional.score_function(score, beta)(positive.sum() - fn, (~positive).sum() - tn, fn, tn)
    best = np.flatnonzero(exists)[np.nanargmax(scored)]
    if best in (0, len(values)):
        return -np.inf if best == 0 else np.inf
    return float((values[best - 1] + values[best]) / 2)


@dataclass(frozen=True)
class FoldScores:
    """Test scores of several methods on several folds.

    Attributes
    ----------
    methods, metrics : tuple of str
        Names of the first and the last axis.
    values : ndarray, shape (methods, folds, metrics)
    """

    methods: tuple[str, ...]
    metrics: tuple[str, ...]
    values: Array

    def __getitem__(self, key: tuple[str, str]) -> Array:
        """``scores[method, metric]``: one value per fold."""
        method, metric = key
        if method not in self.methods or metric not in self.metrics:
            raise KeyError(f"{key}; methods are {self.methods}, metrics are {self.metrics}")
        return self.values[self.methods.index(method), :, self.metrics.index(metric)]

    def mean(self, method: str, metric: str) -> float:
        """Mean over folds."""
        return float(self[method, metric].mean())


class WinTieLoss(NamedTuple):
    """On how many data sets ours is above, equal, below."""

    win: int
    tie: int
    loss: int


def win_tie_loss(ours: ArrayLike, theirs: ArrayLike, tie: float = 0.0) -> WinTieLoss:
    """Count data sets; a difference of at most ``tie`` in absolute value is a tie.

    Examples
    --------
    >>> win_tie_loss([0.8, 0.7, 0.5], [0.6, 0.7, 0.6])
    WinTieLoss(win=1, tie=1, loss=1)
    """
    gain = _gain(ours, theirs)
    if tie < 0:
        raise ValueError(f"tie must be at least 0, got {tie}")
    return WinTieLoss(int((gain > tie).sum()), int((abs(gain) <= tie).sum()), int((gain < -tie).sum()))


class SignTest(NamedTuple):
    """Posterior probabilities that ours is better, practically equal, worse."""

    ours: float
    rope: float
    theirs: float


def bayesian_sign_test(
    ours: ArrayLike, theirs: ArrayLike, rope: float = 0.01, *, n_samples: int = 50_000, seed: int = 0
) -> SignTest:
    """Bayesian sign test over data sets (Benavoli et al., JMLR 2017), by the package ``baycomp``.

    Parameters
    ----------
    ours, theirs : array_like, shape (n_data_sets,)
        Scores.
    rope : float, default=0.01
        Half-width of the region of practical equivalence; the paper shows several, 0.1 among them.
    n_samples : int, default=50000
        Draws from the posterior.
    seed : int, default=0
        Of the draws.

    Raises
    ------
    ImportError
        ``baycomp`` is not installed.
    ValueError
        Shapes that differ, values that are not finite, rope not positive.
    """
    _gain(ours, theirs)
    if not rope > 0:
        raise ValueError(f"rope must be positive, got {rope}")
    baycomp: Any = require_package("baycomp", "baycomp")
    left, middle, right = baycomp.SignTest.probs(
        np.asarray(ours, float), np.asarray(theirs, float), rope, nsamples=n_samples, random_state=seed
    )
    return SignTest(float(left), float(middle), float(right))


def require_package(module: str, distribution: str) -> Any:
    """Import an optional package or raise ``ImportError`` that says how to get it."""
    from importlib import import_module

    try:
        return import_module(module)
    except ImportError as error:
        raise ImportError(f"this comparison needs {distribution}: pip install {distribution}") from error


def _gain(ours: ArrayLike, theirs: ArrayLike) -> Array:
    a, b = np.asarray(ours, dtype=np.float64), np.asarray(theirs, dtype=np.float64)
    if a.shape != b.shape or a.ndim != 1 or not len(a):
        raise ValueError(f"ours and theirs must have one shape (n,), n >= 1, got {a.shape} and {b.shape}")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError("scores must be finite")
    return a - b
