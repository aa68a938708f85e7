"""What the chapter compares: data sets, rival methods, and fresh networks that live or die.

Han, Moniz and Chawla, "AnyLoss: Transforming Classification Metrics into Loss Functions", arXiv:2405.14745 (2024). Its
102 data sets are not named; ours are 20 imbalanced KEEL sets. Its rivals are MSE, BCE, SMOTE, random undersampling and
SOL; ours are also class weights, a converged logistic regression, and a threshold tuned on the training fold.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.linear_model import LogisticRegression

from lib import checks
from lib.objectives.anyloss import functional
from lib.objectives.anyloss.perceptron import Objective
from lib.objectives.anyloss.study.evaluation import FoldScores, hard_scores
from lib.objectives.anyloss.study.network import Criterion, predict_probs, train_network
from lib.objectives.anyloss.study.protocol import Method

KEEL_SETS = (
    *("ecoli1", "glass0", "haberman", "new-thyroid1", "pima", "vehicle1", "yeast3", "abalone9-18"),
    *("car-good", "ecoli3", "flare-F", "glass6", "page-blocks0", "segment0", "vowel0", "winequality-red-4"),
    *("wisconsin", "yeast1", "yeast4", "yeast6"),
)
"""The data sets of `lib.data.keel` that stand in for the paper's; a shorter run takes the first ones."""


def logistic_regression() -> LogisticRegression:
    """Logistic regression to convergence, almost without regularization: what 1000 steps of BCE are on the way to."""
    return LogisticRegression(C=1e3, solver="newton-cholesky", tol=1e-8)


def rivals(targets: Sequence[str] = ("f1", "balanced_accuracy"), bce: Objective | None = None) -> dict[str, Method]:
    """The methods that AnyLoss has to beat, by name.

    Parameters
    ----------
    targets : sequence of str, default=("f1", "balanced_accuracy")
        Target metrics of the methods that have one: ``"SOL f1"``, ``"BCE cut f1"``, ``"logistic cut f1"``, ...
    bce : Objective, optional
        Cross-entropy as it is trained beside AnyLoss; default learning rate 0.1 (the paper's).

    Returns
    -------
    dict of str to Method
        Without target: ``"weighted BCE"``, ``"SMOTE"``, ``"undersampling"`` (both to the paper's ratio 0.2, then BCE),
        ``"logistic"``. With target: SOL (at 0.01, AnyLoss's learning rate for F1), and BCE and logistic regression with
        the cut that is best for the target on the training fold.

    Examples
    --------
    >>> from lib.objectives.anyloss.study import rivals
    >>> list(rivals(["f1"]))[-2:]
    ['BCE cut f1', 'logistic cut f1']
    """
    bce = bce or Objective("bce", 0.1)
    methods = {
        "weighted BCE": Method(Objective("weighted_bce", bce.learning_rate)),
        "SMOTE": Method(bce, resample="smote"),
        "undersampling": Method(bce, resample="under"),
        "logistic": Method(logistic_regression()),
    }
    for target in targets:
        methods[f"SOL {target}"] = Method(Objective("sol", 0.01, metric=target))
        methods[f"BCE cut {target}"] = Method(bce, tune=target)
        methods[f"logistic cut {target}"] = Method(logistic_regression(), tune=target)
    return methods


def by_set(scores: Mapping[str, FoldScores], method: str, metric: str) -> NDArray[np.float64]:
    """Mean over folds on each data set, shape (n_data_sets,).

    Examples
    --------
    >>> import numpy as np
    >>> from lib.objectives.anyloss.study import FoldScores, by_set
    >>> by_set({"a": FoldScores(("BCE",), ("f1",), np.array([[[0.5], [0.7]]]))}, "BCE", "f1").round(6).tolist()
    [0.6]
    """
    return np.array([one.mean(method, metric) for one in scores.values()])


def pooled(runs: Iterable[FoldScores]) -> FoldScores:
    """Several runs of the same methods (other draws, other fresh networks) as one with all their folds.

    Raises
    ------
    ValueError
        No run, or runs of different methods or metrics.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.objectives.anyloss.study import FoldScores
    >>> one = FoldScores(("BCE",), ("f1",), np.array([[[0.5], [0.7]]]))
    >>> pooled([one, one]).values.shape
    (1, 4, 1)
    """
    runs = list(runs)
    if not runs:
        raise ValueError("no runs to pool")
    named = {(run.methods, run.metrics) for run in runs}
    if len(named) > 1:
        raise ValueError(f"runs must have the same methods and metrics, got {sorted(named)}")
    return FoldScores(runs[0].methods, runs[0].metrics, np.concatenate([run.values for run in runs], axis=1))


def fresh_network_scores(
    X: ArrayLike, y: ArrayLike, criterion: Criterion, metric: str, seeds: Iterable[int], **training: Any
) -> NDArray[np.float64]:
    """Test score of networks that differ in their initial weights only.

    Parameters
    ----------
    X, y : array_like, shapes (n, d) and (n,)
        Every second sample trains, the others test.
    criterion : callable
        Loss of probabilities, as in `train_network`.
    metric : str
        A score that both halves can have: both classes must be in each.
    seeds : iterable of int
        Of weights and batches, one network each.
    **training
        Settings of `train_network`.

    Returns
    -------
    ndarray, shape (number of seeds,)

    Examples
    --------
    >>> import numpy as np
    >>> from lib.objectives.anyloss.study import fresh_network_scores
    >>> import torch
    >>> X, y = np.random.default_rng(0).normal(size=(80, 2)), np.arange(80) % 4 < 2
    >>> net = {"epochs": 1, "batch_fraction": 0.5}
    >>> fresh_network_scores(X, y, torch.nn.BCELoss(), "f1", range(2), **net).shape
    (2,)
    """
    rows, positive = checks.array("X", X, ndim=2), functional.check_target(y, "y")
    trained = (train_network(rows[::2], positive[::2], criterion, seed=seed, **training) for seed in seeds)
    return np.array([hard_scores(predict_probs(net, rows[1::2]) > 0.5, positive[1::2], [metric])[0] for net in trained])
