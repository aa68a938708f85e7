"""The networks and trees that GBNN is compared with, and what each is tuned over."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.utils.validation import check_is_fitted, validate_data

from lib import checks
from lib.backprop_free.gbnn import GBNNClassifier, GBNNRegressor
from lib.backprop_free.gbnn.lbfgs import minimize_lbfgs
from lib.backprop_free.gbnn.losses import _mean_loss, _residuals
from lib.backprop_free.gbnn.pieces import ACTIVATIONS, _initial_weights, _unpack

Floats = npt.NDArray[np.float64]
_RATES, _KINDS = (0.02, 0.06, 0.25, 1.0), ((0.5, "logistic"), (1.0, "logistic"), (1.0, "relu"))


def _settings(first: tuple[float, ...], rest: Any, second: tuple[float, ...], other: Any) -> tuple[Any, ...]:
    """Eight values with a method's usual choice of the rest, four with the other one."""
    return (*((value, rest) for value in first), *((value, other) for value in second))


#: Method -> what is tuned, and the twelve settings that are tried; a penalty of 0 and a rate of 1 are bounds. Eight have the
#: method's usual activation (trees: 20 rows a leaf), four the other one.
GRIDS: dict[str, tuple[tuple[str, ...], tuple[Any, ...]]] = {
    "GBNN": (("learning_rate", "subsample", "activation"), tuple((rate, *kind) for kind in _KINDS for rate in _RATES)),
    "Adam": (
        ("alpha", "activation"),
        _settings((0.0, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 100.0), "relu", (0.0, 0.3, 3.0, 30.0), "logistic"),
    ),
    "L-BFGS": (
        ("alpha", "activation"),
        _settings((0.0, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 300.0), "logistic", (0.0, 1.0, 10.0, 100.0), "relu"),
    ),
    "SGD": (
        ("learning_rate_init", "activation"),
        _settings((0.0005, 0.001, 0.002, 0.005, 0.015, 0.04, 0.12, 0.3), "relu", (0.005, 0.03, 0.15, 0.6), "logistic"),
    ),
    "trees": (
        ("learning_rate", "min_samples_leaf"),
        _settings((0.005, 0.01, 0.02, 0.04, 0.08, 0.15, 0.3, 1.0), 20, (0.01, 0.04, 0.15, 1.0), 5),
    ),
}
#: The eight settings of each method where units are switched off; the learning rates are those of the paper's grid.
SWITCHED: dict[str, tuple[Any, ...]] = {
    "GBNN": tuple((rate, 0.5, kind) for kind in ("logistic", "relu") for rate in (0.1, 0.25, 0.5, 1.0)),
    "Adam": tuple((alpha, kind) for kind in ("relu", "logistic") for alpha in (0.0, 0.3, 3.0, 30.0)),
}


class WideNetwork(BaseEstimator):
    """A network with one hidden layer, all of it trained together by L-BFGS on the loss itself.

    As scikit-learn's ``MLPClassifier(solver="lbfgs")``, but with numbers rounded to a fixed grid before
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
    activation : {"logistic", "relu"}
        Of the hidden units.

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
        self,
        n_units: int = 100,
        alpha: float = 1e-4,
        max_iter: int = 200,
        random_state: Any = None,
        regression: bool = False,
        activation: str = "logistic",
    ) -> None:
        self.n_units = n_units
        self.alpha = alpha
        self.max_iter = max_iter
        self.random_state = random_state
        self.regression = regression
        self.activation = activation

    def fit(self, X: npt.ArrayLike, y: npt.ArrayLike) -> WideNetwork:
        """Train on X, shape (n, d), and y, shape (n,); returns self."""
        n_units = checks.integer("n_units", self.n_units, low=1)
        alpha = checks.number("alpha", self.alpha, low=0)
        max_iter = checks.integer("max_iter", self.max_iter, low=1)
        regression = checks.boolean("regression", self.regression)
        activation = checks.choice("activation", self.activation, ("logistic", "relu"))
        rng = checks.generator("random_state", self.random_state)
        X, y = validate_data(self, X, y, dtype=np.float64, y_numeric=regression)
        data = np.asarray(X)
        target, loss = self._coded(y)
        sizes = (data.shape[1], n_units, 1 if target.ndim == 1 else target.shape[1])
        if np.abs(data).max() >= 1024:
            raise ValueError("X must be below 1024 in size; standardize it")
        data = _on_grid(data, 10)
        theta, _ = minimize_lbfgs(
            lambda theta: _wide_objective(theta, data, target, sizes, alpha, loss, activation),
            _initial_weights(sizes, activation, rng),
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
        act, _ = ACTIVATIONS[self.activation]
        F = act(np.asarray(validate_data(self, X, dtype=np.float64, reset=False)) @ W + c) @ A + b
        if self.regression:
            return self.center_ + self.spread_ * F[:, 0]
        return self.classes_[(F[:, 0] > 0).astype(int) if F.shape[1] == 1 else F.argmax(axis=1)]


def _on_grid(a: Floats, bits: int) -> Floats:
    """Rounded to multiples of 2^-bits."""
    return np.rint(a * 2.0**bits) * 2.0**-bits


def _wide_objective(
    theta: Floats, X: Floats, y: Floats, sizes: tuple[int, int, int], alpha: float, loss: str, activation: str
) -> tuple[float, Floats]:
    """Mean loss plus penalty, and its gradient; products are exact while weights stay below 2^6, rectified units below 2^8."""
    theta = _on_grid(theta, 18)
    W, c, A, b = _unpack(theta, sizes)
    n = len(X)
    act, slope = ACTIVATIONS[activation]
    H = _on_grid(act(X @ W + c), 18 if activation == "logistic" else 12)
    F = (H @ A + b).reshape(y.shape)
    weights = theta[: W.size + A.size]
    value = _mean_loss(y, F, loss) + 0.5 * alpha / n * np.add.reduce(weights * weights)
    error = _on_grid(-_residuals(y, F, loss).reshape(n, -1), 20)
    back = _on_grid((error @ A.T) * slope(H), 20)
    parts = (X.T @ back).ravel(), (H.T @ error).ravel(), np.add.reduce(back, axis=0), np.add.reduce(error, axis=0)
    gradient = np.concatenate(parts) / n
    gradient[: weights.size] += alpha / n * weights
    return float(value), gradient


def make(method: str, value: Any, seed: int, n_units: int, regression: bool = False, effort: int = 200, **more: Any) -> Any:
    """A fresh estimator of a method, with what is tuned at a value: a setting as in `GRIDS`, or a number, its first entry.

    `effort` is the number of epochs of Adam and SGD, of iterations of L-BFGS, and twice that of the trees' rounds; `more` goes
    to GBNN alone, which has 3 units a step by default.
    """
    names, _ = GRIDS[checks.choice("method", method, GRIDS)]
    chosen = dict(zip(names, value if isinstance(value, tuple) else (value,), strict=False))
    if method == "GBNN":
        made = GBNNRegressor if regression else GBNNClassifier
        return made(n_units, **({"units_per_step": 3} | chosen | more), random_state=seed)
    if method == "L-BFGS":
        return WideNetwork(n_units, **chosen, max_iter=effort, random_state=seed, regression=regression)
    if method == "trees":
        boosted = HistGradientBoostingRegressor if regression else HistGradientBoostingClassifier
        return boosted(**chosen, max_iter=max(1, effort // 2), early_stopping=False, random_state=seed)
    made_mlp = MLPRegressor if regression else MLPClassifier
    settings = {"solver": method.lower(), "learning_rate_init": 0.01, "hidden_layer_sizes": (n_units,), "max_iter": effort}
    return made_mlp(**(settings | chosen), random_state=seed)


def told(value: Any) -> str:
    """A setting as a table shows it: entries parted by slashes, logistic units as "log"."""
    entries = value if isinstance(value, tuple) else (value,)
    return "/".join(entry.replace("logistic", "log") if isinstance(entry, str) else f"{entry:g}" for entry in entries)


def fitted(estimator: Any, X: Floats, y: npt.NDArray) -> Any:
    """The estimator, fit; that it stops at its number of iterations is known, and one that overflows raises ValueError."""
    with warnings.catch_warnings(), np.errstate(over="ignore", invalid="ignore"):
        warnings.simplefilter("ignore", ConvergenceWarning)
        return estimator.fit(X, y)
