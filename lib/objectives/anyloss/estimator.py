"""The perceptron of AnyLoss as a scikit-learn classifier.

Han, Moniz and Chawla, "AnyLoss: Transforming Classification Metrics into Loss Functions", arXiv:2405.14745 (2024).
Training is `perceptron.train_perceptrons` with one objective; symbols are in `lib.objectives.anyloss`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import check_is_fitted, validate_data

from lib.objectives.anyloss.functional import PAPER_L, Score
from lib.objectives.anyloss.perceptron import Objective, add_intercept, train_perceptrons

Array = NDArray[np.float64]


class AnyLossClassifier(ClassifierMixin, BaseEstimator):
    """Linear binary classifier that maximizes a score of the confusion matrix, by full-batch gradient descent.

    Parameters
    ----------
    metric : str or callable, default="f1"
        The score to maximize, as in `lib.objectives.anyloss.AnyLoss` (``score`` is a method of classifiers).
    beta : float, default=1.0
        Weight of recall in ``"fbeta"``.
    L : float, default=73.0 (the paper's value)
        Steepness of the amplification.
    learning_rate : float, default=0.01 (the paper's value for F1; 0.005 for its other scores)
        Step size.
    max_iter : int, default=1000 (the paper's value)
        Number of steps.
    threshold : float, default=0.5 (the paper's value)
        Class 1 is predicted where the probability is above it.
    loss : {"anyloss", "sol", "bce", "weighted_bce", "mse", "delta"}, default="anyloss"
        The baselines train by the same loop; those after ``"sol"`` ignore ``metric`` and ``L``.

    Attributes
    ----------
    classes_ : ndarray, shape (2,)
        Labels; the second one is the positive class.
    coef_ : ndarray, shape (1, n_features)
    intercept_ : ndarray, shape (1,)
    n_iter_ : int
    n_features_in_ : int

    Raises
    ------
    ValueError
        In ``fit``: not two classes, parameters out of range, a loss that overflowed.

    Notes
    -----
    Gradient descent at a fixed learning rate needs features of comparable size: put a ``StandardScaler`` in front.
    There is no randomness.

    Examples
    --------
    >>> X, y = [[-2.0], [-1.0], [1.0], [2.0]], ["no", "no", "yes", "yes"]
    >>> AnyLossClassifier("f1").fit(X, y).predict([[-3.0], [3.0]]).tolist()
    ['no', 'yes']
    """

    def __init__(
        self,
        metric: str | Score = "f1",
        *,
        beta: float = 1.0,
        L: float = PAPER_L,
        learning_rate: float = 0.01,
        max_iter: int = 1000,
        threshold: float = 0.5,
        loss: str = "anyloss",
    ) -> None:
        self.metric = metric
        self.beta = beta
        self.L = L
        self.learning_rate = learning_rate
        self.max_iter = max_iter
        self.threshold = threshold
        self.loss = loss

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        return tags

    def fit(self, X: ArrayLike, y: ArrayLike) -> AnyLossClassifier:
        """Train on X, shape (n, n_features), and y, shape (n,), of two classes; returns self."""
        X, y = validate_data(self, X, y, dtype=np.float64)
        check_classification_targets(y)
        kind = type_of_target(y, input_name="y", raise_unknown=True)
        self.classes_ = np.unique(y)
        if kind != "binary":
            raise ValueError(f"Only binary classification is supported. The type of the target is {kind}.")
        if len(self.classes_) < 2:
            raise ValueError(f"Classifier can't train when only one class is present: {self.classes_.tolist()}.")
        if not 0 < self.threshold < 1:
            raise ValueError(f"threshold must lie in (0, 1), got {self.threshold}")
        objective = Objective(self.loss, self.learning_rate, self.metric, self.beta, self.L)
        theta = train_perceptrons(add_intercept(X), y == self.classes_[1], [objective], max_iter=self.max_iter)
        self.intercept_, self.coef_ = theta[:, 0], theta[:, 1:]
        self.n_iter_ = self.max_iter
        return self

    def _logits(self, X: ArrayLike) -> Array:
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float64, reset=False)
        return X @ self.coef_[0] + self.intercept_[0]

    def decision_function(self, X: ArrayLike) -> Array:
        """Logit minus the logit of the threshold, shape (n,): above 0 where class 1 is predicted."""
        return self._logits(X) - logit(self.threshold)

    def predict_proba(self, X: ArrayLike) -> Array:
        """Sigmoid of the logit, shape (n, 2); for the two Adaline losses a monotone score, not a probability."""
        p = expit(self._logits(X))
        return np.column_stack([1 - p, p])

    def predict(self, X: ArrayLike) -> NDArray:
        """Labels, shape (n,)."""
        above = self.decision_function(X) > 0  # first, so that an unfitted estimator says so
        return self.classes_[above.astype(int)]
