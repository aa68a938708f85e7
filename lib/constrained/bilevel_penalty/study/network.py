"""Hyper-cleaning with a small network as the lower level, which is then not convex; and rivals without a bilevel problem."""

from __future__ import annotations

from typing import NoReturn

import numpy as np
import torch
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from lib import checks
from lib.problems.cleaning import CleaningTask

from ..softmax import residual_and_losses
from .cleaning import SoftmaxCleaning


class NetworkCleaning(SoftmaxCleaning):
    """A `CleaningTask` whose classifier has one hidden layer (tanh): y holds all its coefficients.

    The levels are those of `SoftmaxCleaning`. The lower level has many local minimizers; `solve` finds the one to which L-BFGS
    goes from a fixed random start, `y0`.

    Parameters
    ----------
    task : CleaningTask
    hidden : int
        Units, at least 1.
    penalty : float
        Above 0.
    seed : int
        Of the start.

    Raises
    ------
    TypeError, ValueError
        For something that is no task, or numbers out of range.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.constrained.bilevel_penalty.study import NetworkCleaning
    >>> from lib.problems.cleaning import cleaning_task
    >>> task = cleaning_task(np.eye(10), np.arange(10) % 2, n_train=5, n_val=2, share=0.4, seed=0)
    >>> NetworkCleaning(task, hidden=3, penalty=1e-3, seed=0).y0.shape
    torch.Size([41])
    """

    def __init__(self, task: CleaningTask, hidden: int = 32, penalty: float = 1e-3, seed: int = 0) -> None:
        super().__init__(task, penalty)
        self.hidden = checks.integer("hidden", hidden, low=1, high=10_000)
        rng, (classes, inputs) = np.random.default_rng(checks.integer("seed", seed, low=0)), self.shape
        first = rng.normal(size=(inputs, self.hidden)).T / np.sqrt(inputs)
        second = rng.normal(size=(self.hidden + 1, classes)).T / np.sqrt(self.hidden)
        self.y0 = torch.from_numpy(np.concatenate([first.ravel(), second.ravel()]))

    def _layers(self, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Coefficients (hidden, inputs) and (classes, hidden), and the bias (classes, 1)."""
        (classes, inputs), hidden = self.shape, self.hidden
        first, second = y.split((inputs * hidden, (hidden + 1) * classes))
        second = second.view(classes, hidden + 1)
        return first.view(hidden, inputs), second[:, :-1], second[:, -1:]

    def scores(self, X: Tensor, y: Tensor) -> Tensor:
        """Scores of the classes, shape (rows, classes)."""
        first, second, bias = self._layers(y)
        return (second @ torch.tanh(first @ X.T) + bias).T

    def _slope(self, X: Tensor, labels: Tensor, y: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """The losses, and the slope in y of their weighted sum: backwards through both layers."""
        first, second, bias = self._layers(y)
        inside = torch.tanh(first @ X.T)
        residual, losses = residual_and_losses(second @ inside + bias, labels)
        residual = weight * residual
        back = (second.T @ residual) * (1 - inside**2)
        outer = torch.cat([residual @ inside.T, residual.sum(1, keepdim=True)], 1)
        return losses, torch.cat([(back @ X).view(-1), outer.view(-1)])

    def _upper_slopes(self, X: Tensor, labels: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return torch.zeros_like(x), self._slope(X, labels, y, X.new_full((len(X),), 1 / len(X)))[1]

    def _lower_slopes(self, X: Tensor, labels: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        weight = torch.sigmoid(x)
        losses, slope = self._slope(X, labels, y, weight / len(X))
        return weight * (1 - weight) * losses / len(X), slope + self.penalty * y

    def products(self, x: Tensor, y: Tensor) -> NoReturn:
        """Second derivatives of the network are not at hand.

        Raises
        ------
        NotImplementedError
            Always: `clean_implicit` and `clean_unrolled` do not take networks.
        """
        raise NotImplementedError("a network's lower level has no closed second derivatives here")

    def solve(self, x: Tensor, start: Tensor | None = None, max_iter: int = 300, sigma: float = 0.0) -> Tensor:
        """A local minimizer of the lower level, or of ``sigma f + g``, by L-BFGS from `start`, or from `y0`."""
        weight = torch.sigmoid(x) / len(x)

        def value_and_slope(y: np.ndarray) -> tuple[float, np.ndarray]:
            at = torch.from_numpy(y.copy())
            losses, slope = self._slope(self.X, self.y, at, weight)
            value, slope = float(weight @ losses + self.penalty / 2 * (at @ at)), slope + self.penalty * at
            if sigma > 0:
                value += sigma * float(self.upper(x, at))
                slope = slope + sigma * self._upper_slopes(self.X_val, self.y_val, x, at)[1]
            return value, slope.numpy()

        begin = (self.y0 if start is None else start).numpy()
        options = {"maxiter": max_iter, "maxcor": 20, "gtol": 1e-6, "ftol": 0.0}
        return torch.from_numpy(minimize(value_and_slope, begin, jac=True, method="L-BFGS-B", options=options).x)


def simple_rivals(task: CleaningTask, C: float = 1.0) -> dict[str, float]:
    """Test accuracies of softmax regression that uses the validation data in simpler ways.

    ===============  ==========================================================================================
    key              trained on
    ===============  ==========================================================================================
    all labels       the training samples as they are
    validation       the clean validation samples alone
    filter           both, without the training samples whose label the classifier of the line above contradicts
    ===============  ==========================================================================================

    Parameters
    ----------
    task : CleaningTask
    C : float
        Inverse ridge, as in scikit-learn; above 0.

    Raises
    ------
    TypeError, ValueError
        For something that is no task, or a number out of range.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.constrained.bilevel_penalty.study import simple_rivals
    >>> from lib.problems.cleaning import cleaning_task
    >>> task = cleaning_task(np.eye(10)[np.arange(40) % 2], np.arange(40) % 2, n_train=10, n_val=9, share=0.4, seed=0)
    >>> simple_rivals(task, C=1.0)["validation"]
    1.0
    """
    if not isinstance(task, CleaningTask):
        raise TypeError(f"task must be a CleaningTask, got {checks.shown(task)}")
    C = checks.positive("C", C)

    def fitted(X: np.ndarray, y: np.ndarray) -> LogisticRegression:
        return LogisticRegression(C=C, max_iter=2000, tol=1e-6).fit(X, y)

    plain, clean = fitted(task.X, task.y), fitted(task.X_val, task.y_val)
    kept = clean.predict(task.X) == task.y
    both = fitted(np.concatenate([task.X_val, task.X[kept]]), np.concatenate([task.y_val, task.y[kept]]))
    models = {"all labels": plain, "validation": clean, "filter": both}
    return {name: float(model.score(task.X_test, task.y_test)) for name, model in models.items()}
