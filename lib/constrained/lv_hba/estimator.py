"""LV-HBA as a scikit-learn classifier that learns a weight for each of its training samples."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import Tags
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from lib import checks
from lib.constrained.lv_hba.solver import LVHBA
from lib.constrained.lv_hba.svm import train_svm, weighted_svm
from lib.problems.cleaning import validation_split


class BilevelSVC(ClassifierMixin, BaseEstimator):
    """Linear support vector machine whose sample weights are learned on validation data (Yao, Yu, Zeng and Zhang, 2024).

    Features are centered and scaled inside, so that rows have length about 1; coefficients are those of the features as given.

    Parameters
    ----------
    max_iter : int
        Iterations of `LVHBA` (authors: 80).
    alpha, beta, eta, gamma, c0, p
        Steps and constants of `LVHBA`, `gamma` for both proximal parameters (authors: 0.01, 0.1, 0.01, 10, 1, 0.5).
    alpha_x : float
        Step of the logarithms of the weights, whose slopes are small (authors: 0.01).
    low, high : float
        Bounds of the logarithms of the weights; both may be negative.
    start : float
        Where all of them start, between `low` and `high`; may be negative (authors: drawn between -6 and -5).
    refit_lower : bool
        Train the machine to the end with the learned weights. Without, the last iterate is taken, which has been pulled toward
        the validation data and solves no support vector machine.
    validation_fraction : float
        Share of the data set aside where `fit` is given no validation data.
    random_state : int, RandomState or None
        Of that choice only.

    Attributes
    ----------
    coef_, intercept_ : array, shapes (1, d) and (1,)
    sample_weight_ : array, shape (n_train,)
        Learned weights, of the rows ``train_rows_``.
    train_rows_ : int array, shape (n_train,)
        Rows of X that train; the others validate.
    gap_ : float
        How far the last iterate is from solving the lower level; see `LVHBA`.
    n_iter_ : int
    classes_, n_features_in_, feature_names_in_
        As everywhere in scikit-learn.

    Raises
    ------
    ValueError
        For more or fewer than two classes, NaN, or parameters out of range.

    Examples
    --------
    >>> from sklearn.datasets import make_classification
    >>> from lib.constrained.lv_hba import BilevelSVC
    >>> X, y = make_classification(200, 5, class_sep=2.0, random_state=0)
    >>> BilevelSVC(max_iter=50, random_state=0).fit(X, y).score(X, y) > 0.8
    True
    """

    def __init__(
        self,
        max_iter: int = 500,
        alpha: float = 0.02,
        beta: float = 0.02,
        eta: float = 0.02,
        gamma: float = 1.0,
        c0: float = 1.0,
        p: float = 0.3,
        alpha_x: float = 1.0,
        low: float = -6.0,
        high: float = 2.0,
        start: float = -1.0,
        refit_lower: bool = True,
        validation_fraction: float = 0.3,
        random_state: Any = None,
    ) -> None:
        self.max_iter = max_iter
        self.alpha = alpha
        self.beta = beta
        self.eta = eta
        self.gamma = gamma
        self.c0 = c0
        self.p = p
        self.alpha_x = alpha_x
        self.low = low
        self.high = high
        self.start = start
        self.refit_lower = refit_lower
        self.validation_fraction = validation_fraction
        self.random_state = random_state

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        return tags

    def fit(
        self, X: npt.ArrayLike, y: npt.ArrayLike, X_val: npt.ArrayLike | None = None, y_val: npt.ArrayLike | None = None
    ) -> BilevelSVC:
        """Learn weights and machine from X, shape (n, d), and labels y; validation data are set aside where none are given."""
        solver, low, high, start, fraction = self._checked()
        rows, labels = validate_data(self, X, y, dtype=np.float64, ensure_min_samples=2)
        check_classification_targets(labels)
        self.classes_, index = np.unique(labels, return_inverse=True)
        if len(self.classes_) != 2:
            some = "class" if len(self.classes_) == 1 else "classes"
            raise ValueError(f"Only binary classification is supported. BilevelSVC found {len(self.classes_)} {some} in y")
        train, val, labels_val = validation_split(rows, labels, X_val, y_val, fraction, self.random_state)
        index_val = np.searchsorted(self.classes_, labels_val)
        self.mean_ = rows[train].mean(axis=0)
        spread = rows[train].std(axis=0)
        scale = np.where(spread > 1e-12 * (1 + abs(self.mean_)), spread, 1.0) * np.sqrt(rows.shape[1])
        signs, signs_val = 2.0 * index[train] - 1, 2.0 * index_val - 1
        inside = (rows[train] - self.mean_) / scale
        task = weighted_svm(inside, signs, (val - self.mean_) / scale, signs_val, low, high)
        c = torch.full((len(train),), start, dtype=torch.float64)
        first = task.solved(c)
        if not bool((first[: task.width - 1] != 0).any()):
            raise ValueError("X must let a linear machine tell the two classes apart at all: its weights are zero")
        result = solver.solve(task.problem(), c, first)
        v = train_svm(inside, signs, result.x) if self.refit_lower else task.split(result.y)[0]
        w = v[:-1].numpy() / scale
        self.coef_, self.intercept_ = w[None], np.array([float(v[-1]) - float(w @ self.mean_)])
        self.sample_weight_, self.train_rows_ = result.x.exp().numpy(), train
        self.gap_, self.n_iter_, self.history_ = result.gap, result.nit, result.history
        return self

    def decision_function(self, X: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Signed score, shape (n,): positive for ``classes_[1]``."""
        check_is_fitted(self)
        rows = validate_data(self, X, dtype=np.float64, reset=False)
        return rows @ self.coef_[0] + self.intercept_[0]

    def predict(self, X: npt.ArrayLike) -> npt.NDArray[Any]:
        """Class of each row, shape (n,)."""
        check_is_fitted(self)
        return self.classes_[(self.decision_function(X) > 0).astype(np.int64)]

    def _checked(self) -> tuple[LVHBA, float, float, float, float]:
        gamma, alpha_x = checks.positive("gamma", self.gamma), checks.positive("alpha_x", self.alpha_x)
        solver = LVHBA(self.alpha, self.beta, self.eta, gamma, gamma, self.c0, self.p, alpha_x=alpha_x, max_iter=self.max_iter)
        checks.boolean("refit_lower", self.refit_lower)
        low, high = checks.number("low", self.low), checks.number("high", self.high)
        start = checks.number("start", self.start)
        if not low <= start <= high:
            raise ValueError(f"start must lie between low and high, got {start:g}, {low:g} and {high:g}")
        return solver, low, high, start, checks.number("validation_fraction", self.validation_fraction, above=0, below=1)
