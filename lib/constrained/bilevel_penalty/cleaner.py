"""Hyper-cleaning as a scikit-learn classifier: softmax regression whose sample weights follow from validation data."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import minimize
from scipy.special import log_softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from lib import checks
from lib.problems.bilevel import BilevelProblem
from lib.problems.cleaning import validation_split

from .loops import SingleLoopPenalty
from .softmax import residual_and_losses

Floats = npt.NDArray[np.float64]


class HyperCleaner(ClassifierMixin, BaseEstimator):
    r"""Softmax regression that learns a weight for each training sample, so that its loss on clean validation data is small.

    Lower level: the mean of weight times cross-entropy, plus ``penalty / 2`` times the squared norm of the coefficients. Upper
    level: the cross-entropy of the validation data. `SingleLoopPenalty` moves the weights' logits, both classifiers at once;
    in the end the classifier is trained anew with the weights found. Features are centered inside, and all are divided by one
    number, so that rows have length about 1.

    Parameters
    ----------
    sigma : float
        Weight of the upper level in the sum of both, above 0.
    alpha : float
        Step of the logits, for one sample's share of the loss; above 0.
    gamma : float
        Step of the coefficients, in units of one over a bound of the curvature; above 0, at most 2.
    penalty : float
        Above 0.
    max_iter : int
        Steps of the loop, at least 1.
    refit_validation : bool
        Whether the last training also uses the validation data, with weight 1 each.
    validation_fraction : float
        Share of the data set aside where `fit` is given no validation data; clean ones should be given.
    random_state : int or None
        Of that choice only.

    Attributes
    ----------
    coef_, intercept_ : array, shapes (classes, d) and (classes,)
    sample_weight_ : array, shape (n_train,)
        Learned weights between 0 and 1, of the rows ``train_rows_``; small where the label looks wrong.
    train_rows_ : int array, shape (n_train,)
        Rows of X that train; the others validate.
    n_iter_ : int
    classes_, n_features_in_, feature_names_in_
        As everywhere in scikit-learn.

    Raises
    ------
    ValueError
        For fewer than two classes, NaN, or parameters out of range.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import make_classification
    >>> from lib.constrained.bilevel_penalty import HyperCleaner
    >>> X, y = make_classification(300, 5, class_sep=2.0, random_state=0)
    >>> wrong = np.where(np.arange(200) % 3 == 0, 1 - y[:200], y[:200])
    >>> cleaner = HyperCleaner(max_iter=100).fit(X[:200], wrong, X[200:], y[200:])
    >>> low = cleaner.sample_weight_ < 0.5
    >>> bool(np.mean(low == (wrong != y[:200])) > 0.9)
    True
    """

    def __init__(
        self,
        sigma: float = 1.0,
        alpha: float = 10.0,
        gamma: float = 1.0,
        penalty: float = 1e-4,
        max_iter: int = 200,
        refit_validation: bool = False,
        validation_fraction: float = 0.3,
        random_state: Any = None,
    ) -> None:
        self.sigma = sigma
        self.alpha = alpha
        self.gamma = gamma
        self.penalty = penalty
        self.max_iter = max_iter
        self.refit_validation = refit_validation
        self.validation_fraction = validation_fraction
        self.random_state = random_state

    def fit(
        self, X: npt.ArrayLike, y: npt.ArrayLike, X_val: npt.ArrayLike | None = None, y_val: npt.ArrayLike | None = None
    ) -> HyperCleaner:
        """Learn weights and classifier from X, shape (n, d), and labels y; some validate where no data for it are given."""
        sigma, alpha = checks.positive("sigma", self.sigma), checks.positive("alpha", self.alpha)
        gamma, penalty = checks.number("gamma", self.gamma, above=0, high=2), checks.positive("penalty", self.penalty)
        steps, fraction = checks.integer("max_iter", self.max_iter, low=1), self.validation_fraction
        fraction = checks.number("validation_fraction", fraction, above=0, below=1)
        rows, labels = validate_data(self, X, y, dtype=np.float64, ensure_min_samples=2)
        check_classification_targets(labels)
        self.classes_, index = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError("y must hold at least two classes, got 1 class")
        train, val, labels_val = validation_split(rows, labels, X_val, y_val, fraction, self.random_state)
        index_val = np.searchsorted(self.classes_, labels_val)
        mean = rows[train].mean(0)
        scale = float(np.sqrt(((rows[train] - mean) ** 2).sum(1).mean())) or 1.0
        inside, inside_val = (np.column_stack([(part - mean) / scale, np.ones(len(part))]) for part in (rows[train], val))
        shape, x = (len(self.classes_), inside.shape[1]), torch.zeros(len(train), dtype=torch.float64)
        parts = inside, index[train], inside_val, index_val, shape, penalty
        problem, last = _problem(*parts), _problem(*parts, both=checks.boolean("refit_validation", self.refit_validation))
        curvature = sum(w * np.linalg.norm(A, 2) ** 2 / len(A) / 2 for w, A in ((1.0, inside), (sigma, inside_val))) + penalty
        loop = SingleLoopPenalty(problem, x, x.new_zeros(shape[0] * shape[1]), sigma=sigma, alpha=alpha * len(train),
                                 gamma=gamma / float(curvature))  # fmt: skip
        loop.run(steps)
        W = _trained(last, loop.x, loop.wz).reshape(shape)
        self.coef_ = W[:, :-1] / scale
        self.intercept_ = W[:, -1] - self.coef_ @ mean
        self.sample_weight_, self.train_rows_, self.n_iter_ = torch.sigmoid(loop.x).numpy(), train, loop.k
        return self

    def decision_function(self, X: npt.ArrayLike) -> Floats:
        """Scores, shape (n, classes); with two classes the log odds of ``classes_[1]``, shape (n,)."""
        scores = self._scores(X)
        return scores[:, 1] - scores[:, 0] if len(self.classes_) == 2 else scores

    def predict_proba(self, X: npt.ArrayLike) -> Floats:
        """Probabilities of the classes, shape (n, classes)."""
        return np.exp(log_softmax(self._scores(X), axis=1))

    def predict(self, X: npt.ArrayLike) -> npt.NDArray[Any]:
        """Class of each row, shape (n,)."""
        scores = self._scores(X)
        return self.classes_[scores.argmax(1)]

    def _scores(self, X: npt.ArrayLike) -> Floats:
        check_is_fitted(self)
        return validate_data(self, X, dtype=np.float64, reset=False) @ self.coef_.T + self.intercept_


def _problem(X: Floats, y: Any, X_val: Floats, y_val: Any, shape: tuple[int, int], penalty: float,
             both: bool = False) -> BilevelProblem:  # fmt: skip
    """Upper level: loss on the validation data. Lower: weighted loss on the training data, or on all of it, and the ridge."""
    data = torch.from_numpy(X), torch.from_numpy(X_val)
    labels = torch.from_numpy(y.astype(np.int64)), torch.from_numpy(y_val.astype(np.int64))

    def loss(part: int, w: Tensor, weight: Any = 1.0) -> tuple[Tensor, Tensor, Tensor]:
        """Losses (rows,), their weighted sum, and its slope in w."""
        residual, losses = residual_and_losses(w.view(shape) @ data[part].T, labels[part])
        return losses, (weight * losses).sum(), ((weight * residual) @ data[part]).view(-1)

    n_val, n = len(X_val), len(X) + both * len(X_val)

    def upper_slopes(x: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
        return torch.zeros_like(x), loss(1, w)[2] / n_val

    def lower(x: Tensor, w: Tensor) -> Tensor:
        total = loss(0, w, torch.sigmoid(x))[1] + (loss(1, w)[1] if both else 0.0)
        return total / n + penalty / 2 * (w @ w)

    def lower_slopes(x: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
        weight = torch.sigmoid(x)
        losses, _, slope = loss(0, w, weight)
        if both:
            slope = slope + loss(1, w)[2]
        return weight * (1 - weight) * losses / n, slope / n + penalty * w

    return BilevelProblem(lambda x, w: loss(1, w)[1] / n_val, lower, upper_slopes=upper_slopes, lower_slopes=lower_slopes)


def _trained(problem: BilevelProblem, x: Tensor, start: Tensor) -> Floats:
    """The lower level's minimizer at x."""

    def value_and_slope(w: Floats) -> tuple[float, Floats]:
        at = torch.from_numpy(w.copy())
        return float(problem.lower(x, at)), problem.lower_slopes(x, at)[1].numpy()

    options = {"maxiter": 1000, "maxcor": 20, "gtol": 1e-8, "ftol": 1e-15}
    return minimize(value_and_slope, start.numpy(), jac=True, method="L-BFGS-B", options=options).x
