"""What the chapter on AnyLoss uses beside the method: the small network, evaluation, cross-validation, rivals, data sets."""

from lib.objectives.anyloss.study.comparison import KEEL_SETS, by_set, fresh_network_scores, logistic_regression, rivals
from lib.objectives.anyloss.study.datasets import breast_set, random_set
from lib.objectives.anyloss.study.evaluation import (
    METRICS,
    FoldScores,
    bayesian_sign_test,
    hard_confusion,
    hard_scores,
    tune_threshold,
    win_tie_loss,
)
from lib.objectives.anyloss.study.network import build_network, miscounted_metric, predict_probs, train_network
from lib.objectives.anyloss.study.protocol import Method, cross_validate, resample

__all__ = [
    "KEEL_SETS",
    "METRICS",
    "FoldScores",
    "Method",
    "bayesian_sign_test",
    "breast_set",
    "build_network",
    "by_set",
    "cross_validate",
    "fresh_network_scores",
    "hard_confusion",
    "hard_scores",
    "logistic_regression",
    "miscounted_metric",
    "predict_probs",
    "random_set",
    "resample",
    "rivals",
    "train_network",
    "tune_threshold",
    "win_tie_loss",
]
