"""The perceptron of AnyLoss as a scikit-learn classifier.

Han, Moniz and Chawla, "AnyLoss: Transforming Classification Metrics into Loss Functions", arXiv:2405.14745 (2024).
Training is `perceptron.train_perceptrons` with one objective; symbols are in `lib.objectives.anyloss`.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from lib import checks
from lib.objectives.anyloss.functional import PAPER_L, Metric
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
        Largest number of steps.
    tol : float, default=0.0 (the paper has no stopping rule)
        Stop where no entry of the gradient is larger; 0 always takes ``max_iter`` steps.
    class_weight : dict, "balanced" or None, default=None
        Factors on the weights of the samples. Balanced accuracy and G-mean do not feel them; for F-beta they act as other
        class sizes would.
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
        Steps taken.
    n_features_in_ : int

    Raises
    ------
    ValueError
        In ``fit`` (parameters are checked there, as scikit-learn's are): not two classes, parameters out of range, a loss
        that overflowed.

    Warns
    -----
    ConvergenceWarning
        ``tol`` was not reached; or all training samples ended so far from the cut that none has a gradient, with
        errors left, or on one side of it while two sides score better: what features of very unequal size lead to.

    Notes
    -----
    Gradient descent at a fixed learning rate needs features of comparable size: put a ``StandardScaler`` in front.
    There is no randomness.

    Examples
    --------
    >>> from lib.objectives.anyloss import AnyLossClassifier
    >>> X, y = [[-2.0], [-1.0], [1.0], [2.0]], ["no", "no", "yes", "yes"]
    >>> AnyLossClassifier("f1").fit(X, y).predict([[-3.0], [3.0]]).tolist()
    ['no', 'yes']
    """

    def __init__(
        self,
        metric: str | Metric = "f1",
        *,
        beta: float = 1.0,
        L: float = PAPER_L,
        learning_rate: float = 0.01,
        max_iter: int = 1000,
        tol: float = 0.0,
        class_weight: Mapping[Any, float] | str | None = None,
        threshold: float = 0.5,
        loss: str = "anyloss",
    ) -> None:
        self.metric = metric
        self.beta = beta
        self.L = L
        self.learning_rate = learning_rate
        self.max_iter = max_iter
        self.tol = tol
        self.class_weight = class_weight
        self.threshold = threshold
        self.loss = loss

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        return tags

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> AnyLossClassifier:
        """Train on X, shape (n, n_features), and y, shape (n,), of two classes; returns self."""
        X, y = validate_data(self, X, y, dtype=np.float64)
        check_classification_targets(y)
        kind = type_of_target(y, input_name="y", raise_unknown=True)
        self.classes_ = np.unique(y)
        if kind != "binary":
            raise ValueError(f"Only binary classification is supported. The type of the target is {kind}.")
        if len(self.classes_) < 2:
            raise ValueError(f"Classifier can't train when only one class is present: {self.classes_.tolist()}.")
        checks.number("threshold", self.threshold, above=0, below=1)
        tol = checks.number("tol", self.tol, low=0)
        weight = None
        if sample_weight is not None or self.class_weight is not None:
            weight = _check_sample_weight(sample_weight, X, ensure_non_negative=True)
            weight = weight * compute_sample_weight(self.class_weight, y)
        objective = Objective(self.loss, self.learning_rate, self.metric, self.beta, self.L)
        steps: list[Array] = []  # the parameters of the last two steps

        def watch(step: int, Theta: Array) -> bool:
            self.n_iter_ = step
            moved = np.inf if not steps else np.abs(Theta - steps[-1]).max() / objective.learning_rate
            steps[:] = [Theta]
            return tol > 0 and moved <= tol

        positive, data = y == self.classes_[1], add_intercept(X)
        theta = train_perceptrons(data, positive, [objective], max_iter=self.max_iter, callback=watch, sample_weight=weight)
        self.intercept_, self.coef_ = theta[:, 0], theta[:, 1:]
        self._warn(expit(data @ theta[0]), positive, tol, objective)
        return self

    def _warn(self, p: Array, positive: NDArray[np.bool_], tol: float, objective: Objective) -> None:
        """Say where the result is not what was asked for."""
        if tol > 0 and self.n_iter_ == self.max_iter:
            warnings.warn(f"gradient above tol={tol:g} after {self.n_iter_} steps", ConvergenceWarning, stacklevel=3)
        said = p > 0.5
        if self.loss not in ("anyloss", "sol") or (said == positive).all():
            return
        reach = objective.L * np.abs(p - 0.5).min() if self.loss == "anyloss" else np.abs(p - 0.5).min() / objective.delta
        one_class = said.all() or not said.any()
        if reach > 30 or (one_class and self.metric != "accuracy"):
            state = "called one class" if one_class else "left without a gradient"
            advice = "features of very unequal size do this: put a StandardScaler in front, or lower learning_rate or L"
            warnings.warn(f"all training samples are {state}; {advice}", ConvergenceWarning, stacklevel=3)

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
