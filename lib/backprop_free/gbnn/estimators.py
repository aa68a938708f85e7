"""GBNN as scikit-learn estimators: a classifier (two classes or more) and a regressor."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import expit
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.metrics import accuracy_score, r2_score
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import validate_data

from lib import checks
from lib.backprop_free.gbnn.base import _GBNN
from lib.backprop_free.gbnn.boosting import StepRule
from lib.backprop_free.gbnn.losses import _softmax

Floats = npt.NDArray[np.float64]


class GBNNClassifier(ClassifierMixin, _GBNN):
    """A network with one hidden layer, trained by boosting a few hidden units at a time, that classifies.

    Parameters
    ----------
    n_units : int, default=200 (authors: 200)
        Hidden units in all.
    units_per_step : int, default=1 (authors: 1)
        J, hidden units of a boosting step.
    learning_rate : float, default=1.0 (authors: 1.0)
        nu in (0, 1]: shrinks every step.
    subsample : float, default=0.5 (authors: 0.5)
        Share of the rows, in (0, 1], drawn anew for each step, without replacement, to fit its piece.
    max_iter : int, default=200 (authors: 200)
        Iterations of L-BFGS per piece at most.
    tol : float, default=0.0 (authors: 0.0)
        L-BFGS stops where no entry of its gradient is larger.
    alpha : float, default=1e-4 (authors: scikit-learn's 1e-4)
        Penalty on the weights of a piece.
    activation : {"logistic", "tanh", "relu", "identity"}, default="logistic" (authors: "logistic")
    newton : {"diagonal", "exact", "none"} or callable, default="diagonal" (authors: "diagonal")
        How a piece's factor is found, see `newton_step`; or a function ``(y, F, h) -> rho``, with `y` and scores `F` coded as
        in `mean_loss`, that is handed copies.
    warm_start : bool, default=False
        ``fit`` adds units to those that are there, up to `n_units`, as if it had never stopped; X and y must be the same.
    random_state : int, Generator, SeedSequence, RandomState or None
        Initial weights and drawn rows; step t has a stream of its own.

    Attributes
    ----------
    classes_ : array, shape (n_classes,)
    intercept_ : float or array, shape (n_classes,)
        F_0; a number for two classes.
    steps_ : list of (piece, rate)
    n_steps_ : int
    train_losses_ : array, shape (n_steps + 1,)
        Mean loss on the training rows after 0, 1, ... steps.
    coefs_, intercepts_ : list of two arrays
        The assembled network, as in scikit-learn's `MLPClassifier`.
    n_iter_ : array, shape (n_steps,)
        Iterations of L-BFGS.
    n_features_in_, feature_names_in_

    Raises
    ------
    ValueError
        In `fit`: one class, NaN, parameters out of range, fewer than two drawn rows.

    Warns
    -----
    ConvergenceWarning
        The training loss ended above that of a constant. With more than two classes the diagonal Newton step is longer than
        the exact one; with ``learning_rate=1`` and ``subsample=1`` it can diverge, and ``newton="exact"`` does not.

    Notes
    -----
    Put a ``StandardScaler`` in front: large features saturate logistic units. Training ends early once the fit is so good
    that a Newton step has no curvature left. With two classes, scores are half the log-odds.

    Examples
    --------
    >>> from lib.backprop_free.gbnn import GBNNClassifier
    >>> X, y = [[-2.0], [-1.0], [1.0], [2.0]], ["no", "no", "yes", "yes"]
    >>> model = GBNNClassifier(n_units=4, random_state=0).fit(X, y)
    >>> model.predict([[-3.0], [3.0]]).tolist(), model.to_mlp().W1.shape
    (['no', 'yes'], (1, 4))
    """

    def __init__(
        self,
        n_units: int = 200,
        units_per_step: int = 1,
        learning_rate: float = 1.0,
        subsample: float = 0.5,
        max_iter: int = 200,
        tol: float = 0.0,
        alpha: float = 1e-4,
        activation: str = "logistic",
        newton: str | StepRule = "diagonal",
        warm_start: bool = False,
        random_state: Any = None,
    ) -> None:
        self.n_units = n_units
        self.units_per_step = units_per_step
        self.learning_rate = learning_rate
        self.subsample = subsample
        self.max_iter = max_iter
        self.tol = tol
        self.alpha = alpha
        self.activation = activation
        self.newton = newton
        self.warm_start = warm_start
        self.random_state = random_state

    @property
    def _loss(self) -> str:
        return "binary" if len(self.classes_) == 2 else "softmax"

    def fit(self, X: npt.ArrayLike, y: npt.ArrayLike) -> GBNNClassifier:
        """Train on X, shape (n, d), and labels y, shape (n,); returns self."""
        X, y = validate_data(self, X, y, dtype=np.float64, ensure_min_samples=2, reset=not self._resumes())
        check_classification_targets(y)
        classes, labels = np.unique(y, return_inverse=True)
        if len(classes) < 2:
            raise ValueError(f"y needs at least 2 classes, got one class: {classes.tolist()}")
        if self._resumes() and not np.array_equal(classes, self.classes_):
            raise ValueError("y must hold the same classes as before with warm_start")
        self.classes_: npt.NDArray = classes
        coded = 2.0 * labels - 1 if len(classes) == 2 else np.eye(len(classes))[labels]
        self._run(np.asarray(X), np.asarray(coded, dtype=np.float64))
        return self

    def decision_function(self, X: npt.ArrayLike) -> Floats:
        """Scores F: shape (n,) for two classes, half the log-odds of the second; else shape (n, n_classes)."""
        return self._flat(self._scores(X))

    def staged_decision_function(self, X: npt.ArrayLike) -> Iterator[Floats]:
        """`decision_function` after each step."""
        return (self._flat(F) for F in self._stages(X))

    def predict_proba(self, X: npt.ArrayLike) -> Floats:
        """Probabilities, shape (n, n_classes)."""
        return self._proba(self._scores(X))

    def staged_predict_proba(self, X: npt.ArrayLike) -> Iterator[Floats]:
        """`predict_proba` after each step."""
        return (self._proba(F) for F in self._stages(X))

    def predict(self, X: npt.ArrayLike) -> npt.NDArray:
        """Labels, shape (n,)."""
        return self._labels(self._scores(X))

    def staged_predict(self, X: npt.ArrayLike) -> Iterator[npt.NDArray]:
        """`predict` after each step."""
        return (self._labels(F) for F in self._stages(X))

    def staged_score(self, X: npt.ArrayLike, y: npt.ArrayLike) -> Floats:
        """Accuracy after each step, shape (n_steps,)."""
        return np.array([accuracy_score(y, labels) for labels in self.staged_predict(X)])

    def _flat(self, F: Floats) -> Floats:
        return F[:, 0] if len(self.classes_) == 2 else F

    def _proba(self, F: Floats) -> Floats:
        if len(self.classes_) == 2:
            return expit(2 * F * [-1.0, 1.0])  # (2), inverted: F is half the log-odds
        return _softmax(F)

    def _labels(self, F: Floats) -> npt.NDArray:
        return self.classes_[(F[:, 0] > 0).astype(int) if len(self.classes_) == 2 else F.argmax(axis=1)]


class GBNNRegressor(RegressorMixin, _GBNN):
    """A network with one hidden layer, trained by boosting a few hidden units at a time, for a real target.

    Parameters
    ----------
    n_units, units_per_step, learning_rate, subsample, max_iter, tol, alpha, activation, warm_start, random_state
        As in `GBNNClassifier`, with the same defaults; a least-squares piece needs no Newton step.
    standardize_y : bool, default=True (authors: False)
        Fit the pieces to residuals in units of the standard deviation of y, so that predictions follow y's unit. Without it the
        penalty `alpha` weighs more the smaller y is.

    Attributes
    ----------
    intercept_, steps_, n_steps_, train_losses_, coefs_, intercepts_, n_iter_, n_features_in_, feature_names_in_
        As in `GBNNClassifier`; losses are half the mean squared error, in the unit of y squared.

    Raises
    ------
    ValueError
        In `fit`: NaN, parameters out of range, fewer than two drawn rows, a spread of y that overflows.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.backprop_free.gbnn import GBNNRegressor
    >>> X = np.linspace(-1.0, 1.0, 40)[:, None]
    >>> model = GBNNRegressor(n_units=20, learning_rate=0.5, random_state=0).fit(X, np.sin(3 * X[:, 0]))
    >>> bool(model.score(X, np.sin(3 * X[:, 0])) > 0.95)
    True
    """

    _loss = "squared"

    def __init__(
        self,
        n_units: int = 200,
        units_per_step: int = 1,
        learning_rate: float = 1.0,
        subsample: float = 0.5,
        max_iter: int = 200,
        tol: float = 0.0,
        alpha: float = 1e-4,
        activation: str = "logistic",
        standardize_y: bool = True,
        warm_start: bool = False,
        random_state: Any = None,
    ) -> None:
        self.n_units = n_units
        self.units_per_step = units_per_step
        self.learning_rate = learning_rate
        self.subsample = subsample
        self.max_iter = max_iter
        self.tol = tol
        self.alpha = alpha
        self.activation = activation
        self.standardize_y = standardize_y
        self.warm_start = warm_start
        self.random_state = random_state

    def fit(self, X: npt.ArrayLike, y: npt.ArrayLike) -> GBNNRegressor:
        """Train on X, shape (n, d), and y, shape (n,); returns self."""
        X, y = validate_data(self, X, y, dtype=np.float64, y_numeric=True, ensure_min_samples=2, reset=not self._resumes())
        y = np.asarray(y, dtype=np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            spread = float(y.std()) if checks.boolean("standardize_y", self.standardize_y) else 1.0
        if not np.isfinite(spread):
            raise ValueError("y is spread so far that its variance overflows; give it in another unit")
        self._run(np.asarray(X), y, spread or 1.0)
        return self

    def predict(self, X: npt.ArrayLike) -> Floats:
        """Predictions, shape (n,)."""
        return self._scores(X)[:, 0]

    def staged_predict(self, X: npt.ArrayLike) -> Iterator[Floats]:
        """`predict` after each step."""
        return (F[:, 0] for F in self._stages(X))

    def staged_score(self, X: npt.ArrayLike, y: npt.ArrayLike) -> Floats:
        """R^2 after each step, shape (n_steps,)."""
        return np.array([r2_score(y, predicted) for predicted in self.staged_predict(X)])
