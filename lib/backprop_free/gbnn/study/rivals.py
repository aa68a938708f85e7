"""The networks and trees that GBNN is compared with, and what each is tuned over."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import expit
from sklearn.base import BaseEstimator
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.utils.validation import check_is_fitted, validate_data

from lib import checks
from lib.backprop_free.gbnn import GBNNClassifier, GBNNRegressor
from lib.backprop_free.gbnn.lbfgs import minimize_lbfgs
from lib.backprop_free.gbnn.losses import _mean_loss, _residuals
from lib.backprop_free.gbnn.pieces import _initial_weights, _unpack

Floats = npt.NDArray[np.float64]
#: Method -> what is tuned, and the eight settings that are tried; a penalty of 0 and a rate of 1 are bounds.
GRIDS: dict[str, tuple[tuple[str, ...], tuple[Any, ...]]] = {
    "GBNN": (("learning_rate", "subsample"), tuple((rate, share) for rate in (0.02, 0.06, 0.25, 1.0) for share in (0.5, 1.0))),
    "Adam": (("alpha",), (0.0, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 100.0)),
    "L-BFGS": (("alpha",), (0.0, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 300.0)),
    "SGD": (("learning_rate_init",), (0.0005, 0.001, 0.002, 0.005, 0.015, 0.04, 0.12, 0.3)),
    "trees": (("learning_rate",), (0.005, 0.01, 0.02, 0.04, 0.08, 0.15, 0.3, 1.0)),
}


class WideNetwork(BaseEstimator):
    """A network with one hidden layer of logistic units, all trained together by L-BFGS on the loss itself.

    As scikit-learn's ``MLPClassifier(solver="lbfgs", activation="logistic")``, but with numbers rounded to a fixed grid before
    each matrix product. Products and sums are then exact, in whatever order a linear-algebra library takes them, and results
    the same on every CPU.

    Parameters
    ----------
    n_units : int
        Hidden units.
    alpha : float
        Penalty on the weights, over n.
    max_iter : int
        Iterations of L-BFGS.
    random_state : int, Generator, RandomState or None
        Of the initial weights.
    regression : bool
        Whether y is a number and not a label.

    Attributes
    ----------
    classes_ : array
    n_features_in_ : int

    Raises
    ------
    ValueError
        In `fit`: one class, NaN, numbers out of range, features beyond 2^10.

    Examples
    --------
    >>> from lib.backprop_free.gbnn.study import WideNetwork
    >>> model = WideNetwork(n_units=5, random_state=0).fit([[-2.0], [-1.0], [1.0], [2.0]], [0, 0, 1, 1])
    >>> model.predict([[-3.0], [3.0]]).tolist()
    [0, 1]
    """

    def __init__(
        self, n_units: int = 100, alpha: float = 1e-4, max_iter: int = 200, random_state: Any = None, regression: bool = False
    ) -> None:
        self.n_units = n_units
        self.alpha = alpha
        self.max_iter = max_iter
        self.random_state = random_state
        self.regression = regression

    def fit(self, X: npt.ArrayLike, y: npt.ArrayLike) -> WideNetwork:
        """Train on X, shape (n, d), and y, shape (n,); returns self."""
        n_units = checks.integer("n_units", self.n_units, low=1)
        alpha = checks.number("alpha", self.alpha, low=0)
        max_iter = checks.integer("max_iter", self.max_iter, low=1)
        regression = checks.boolean("regression", self.regression)
        rng = checks.generator("random_state", self.random_state)
        X, y = validate_data(self, X, y, dtype=np.float64, y_numeric=regression)
        data = np.asarray(X)
        target, loss = self._coded(y)
        sizes = (data.shape[1], n_units, 1 if target.ndim == 1 else target.shape[1])
        if np.abs(data).max() >= 1024:
            raise ValueError("X must be below 1024 in size; standardize it")
        data = _on_grid(data, 10)
        theta, _ = minimize_lbfgs(
            lambda theta: _wide_objective(theta, data, target, sizes, alpha, loss),
            _initial_weights(sizes, "logistic", rng),
            max_iter,
            0.0,
        )
        self.weights_ = _unpack(theta, sizes)
        return self

    def _coded(self, y: npt.ArrayLike) -> tuple[Floats, str]:
        if self.regression:
            values = np.asarray(y, dtype=np.float64)
            self.center_, self.spread_ = float(values.mean()), float(values.std()) or 1.0
            return (values - self.center_) / self.spread_, "squared"
        self.classes_, labels = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError("y needs at least 2 classes")
        if len(self.classes_) == 2:
            return np.where(labels == 1, 1.0, -1.0), "binary"
        return np.eye(len(self.classes_), dtype=np.float64)[labels], "softmax"

    def predict(self, X: npt.ArrayLike) -> npt.NDArray:
        """Labels or values, shape (n,)."""
        check_is_fitted(self)
        W, c, A, b = self.weights_
        F = expit(np.asarray(validate_data(self, X, dtype=np.float64, reset=False)) @ W + c) @ A + b
        if self.regression:
            return self.center_ + self.spread_ * F[:, 0]
        return self.classes_[(F[:, 0] > 0).astype(int) if F.shape[1] == 1 else F.argmax(axis=1)]


def _on_grid(a: Floats, bits: int) -> Floats:
    """Rounded to multiples of 2^-bits."""
    return np.rint(a * 2.0**bits) * 2.0**-bits


def _wide_objective(
    theta: Floats, X: Floats, y: Floats, sizes: tuple[int, int, int], alpha: float, loss: str
) -> tuple[float, Floats]:
    """Mean loss plus penalty, and its gradient; every product is exact as long as weights stay below 2^6."""
    theta = _on_grid(theta, 18)
    W, c, A, b = _unpack(theta, sizes)
    n = len(X)
    H = _on_grid(expit(X @ W + c), 18)
    F = (H @ A + b).reshape(y.shape)
    weights = theta[: W.size + A.size]
    value = _mean_loss(y, F, loss) + 0.5 * alpha / n * np.add.reduce(weights * weights)
    error = _on_grid(-_residuals(y, F, loss).reshape(n, -1), 20)
    back = _on_grid((error @ A.T) * H * (1 - H), 20)
    parts = (X.T @ back).ravel(), (H.T @ error).ravel(), np.add.reduce(back, axis=0), np.add.reduce(error, axis=0)
    gradient = np.concatenate(parts) / n
    gradient[: weights.size] += alpha / n * weights
    return float(value), gradient


def make(method: str, value: Any, seed: int, n_units: int, regression: bool = False, effort: int = 200, **more: Any) -> Any:
    """A fresh estimator of a method, with what is tuned at a value: a number, or for GBNN a pair (learning rate, subsample).

    `effort` is the number of epochs of Adam and SGD, of iterations of L-BFGS, and twice that of the trees' rounds; `more` goes
    to GBNN alone, which has 3 units a step by default.
    """
    names, _ = GRIDS[checks.choice("method", method, GRIDS)]
    if method == "GBNN":
        made = GBNNRegressor if regression else GBNNClassifier
        values = value if isinstance(value, tuple) else (value,)
        settings = {"units_per_step": 3} | dict(zip(names, values, strict=False)) | more
        return made(n_units, **settings, random_state=seed)
    if method == "L-BFGS":
        return WideNetwork(n_units, alpha=value, max_iter=effort, random_state=seed, regression=regression)
    if method == "trees":
        boosted = HistGradientBoostingRegressor if regression else HistGradientBoostingClassifier
        return boosted(learning_rate=value, max_iter=max(1, effort // 2), early_stopping=False, random_state=seed)
    made_mlp = MLPRegressor if regression else MLPClassifier
    settings = {"solver": method.lower(), "learning_rate_init": 0.01, "hidden_layer_sizes": (n_units,), "max_iter": effort}
    return made_mlp(**(settings | {names[0]: value}), random_state=seed)


def told(value: Any) -> str:
    """A setting as a table shows it: numbers parted by a slash."""
    return "/".join(f"{number:g}" for number in np.atleast_1d(value))


def fitted(estimator: Any, X: Floats, y: npt.NDArray) -> Any:
    """The estimator, fit; that it stops at its number of iterations is known, and one that overflows raises ValueError."""
    with warnings.catch_warnings(), np.errstate(over="ignore", invalid="ignore"):
        warnings.simplefilter("ignore", ConvergenceWarning)
        return estimator.fit(X, y)
