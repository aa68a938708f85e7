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

from lib import checks
from lib.objectives.anyloss import functional
from lib.objectives.anyloss.functional import Confusion, Metric

METRICS = ("accuracy", "f1", "f0.5", "f2", "gmean", "balanced_accuracy")
"""The paper's six target metrics."""

Array = NDArray[np.float64]


def hard_confusion(decisions: ArrayLike, y: ArrayLike) -> Confusion:
    """Confusion matrix of hard decisions (n,) against labels (n,): four floats.

    Examples
    --------
    >>> from lib.objectives.anyloss.study import hard_confusion
    >>> hard_confusion([1, 0, 0, 0], [1, 1, 0, 0])
    Confusion(tp=1.0, fp=0.0, fn=1.0, tn=2.0)
    """
    said, positive = functional.check_target(decisions, "decisions"), functional.check_target(y, "y")
    if said.shape != positive.shape or said.ndim != 1:
        raise ValueError(f"decisions and y must have one shape (n,), got {said.shape} and {positive.shape}")
    counts = (said & positive, said & ~positive, ~said & positive, ~said & ~positive)
    return Confusion(*(float(np.count_nonzero(cell)) for cell in counts))


def hard_scores(decisions: ArrayLike, y: ArrayLike, metrics: Sequence[str | Metric] = METRICS) -> Array:
    """Scores of hard decisions, shape (len(metrics),); both classes must be present in y.

    Examples
    --------
    >>> from lib.objectives.anyloss.study import hard_scores
    >>> hard_scores([1, 0, 0, 0], [1, 1, 0, 0], ["accuracy", "f1"]).round(4).tolist()
    [0.75, 0.6667]
    """
    cells = hard_confusion(decisions, y)
    functional.require_both_classes(cells.tp + cells.fn, cells.fp + cells.tn, "y")
    return np.array([functional.metric_function(metric)(*cells) for metric in metrics])


def tune_threshold(decision: ArrayLike, y: ArrayLike, metric: str | Metric = "f1", beta: float = 1.0) -> float:
    """Cut that maximizes a metric of ``decision > cut`` on these data, by an exact sweep over all distinct cuts.

    Parameters
    ----------
    decision : array_like, shape (n,)
        Real-valued output of a classifier, larger for class 1; infinity allowed.
    y : array_like, shape (n,)
        Labels, both classes present.
    metric, beta
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
    >>> from lib.objectives.anyloss.study import tune_threshold
    >>> tune_threshold([-3.0, -2.0, -1.0, 4.0], [0, 0, 1, 1])
    -1.5
    """
    values, positive = checks.array("decision", decision, inf=True), functional.check_target(y, "y")
    if values.shape != positive.shape or values.ndim != 1:
        raise ValueError(f"decision and y must have one shape (n,), got {values.shape} and {positive.shape}")
    functional.require_both_classes(positive.sum(), (~positive).sum(), "y")
    order = np.argsort(values)
    values, positive = values[order], positive[order]
    # Cut k calls the k lowest samples negative; only cuts between distinct values exist.
    fn = np.concatenate([[0.0], np.cumsum(positive)])
    tn = np.concatenate([[0.0], np.cumsum(~positive)])
    exists = np.concatenate([[True], values[1:] > values[:-1], [True]])
    fn, tn = fn[exists], tn[exists]
    with np.errstate(invalid="ignore", divide="ignore"):
        scored = functional.metric_function(metric, beta)(positive.sum() - fn, (~positive).sum() - tn, fn, tn)
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
    >>> from lib.objectives.anyloss.study import win_tie_loss
    >>> win_tie_loss([0.8, 0.7, 0.5], [0.6, 0.7, 0.6])
    WinTieLoss(win=1, tie=1, loss=1)
    """
    gain, tie = _gain(ours, theirs), checks.number("tie", tie, low=0)
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

    Examples
    --------
    >>> from lib.objectives.anyloss.study import bayesian_sign_test
    >>> bayesian_sign_test([0.8] * 9, [0.6] * 9, n_samples=2000).ours > 0.9
    True
    """
    _gain(ours, theirs)
    rope = checks.positive("rope", rope)
    n_samples, seed = checks.integer("n_samples", n_samples, low=1), checks.integer("seed", seed, low=0)
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
    a, b = checks.array("ours", ours, ndim=1), checks.array("theirs", theirs, ndim=1)
    if a.shape != b.shape:
        raise ValueError(f"ours and theirs must have one shape (n,), n >= 1, got {a.shape} and {b.shape}")
    return a - b
