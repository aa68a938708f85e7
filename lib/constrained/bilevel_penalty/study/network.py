"""Hyper-cleaning with a small network as the lower level, which is then not convex; and rivals without a bilevel problem."""

from __future__ import annotations

import numpy as np
import torch
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from lib import checks
from lib.problems.bilevel import BilevelProblem
from lib.problems.cleaning import CleaningTask

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
        rng, inputs = np.random.default_rng(checks.integer("seed", seed, low=0)), self.shape[1]
        first = rng.normal(size=(inputs, self.hidden)) / np.sqrt(inputs)
        second = rng.normal(size=(self.hidden + 1, self.shape[0])) / np.sqrt(self.hidden)
        self.y0 = torch.from_numpy(np.concatenate([first.ravel(), second.ravel()]))

    def scores(self, X: Tensor, y: Tensor) -> Tensor:
        """Scores of the classes, shape (rows, classes)."""
        classes, inputs = self.shape
        first, second = y.split((inputs * self.hidden, (self.hidden + 1) * classes))
        inside = torch.tanh(X @ first.view(inputs, self.hidden))
        second = second.view(self.hidden + 1, classes)
        return inside @ second[:-1] + second[-1]

    @property
    def problem(self) -> BilevelProblem:
        """All samples; slopes by autograd."""
        return BilevelProblem(self.upper, self.lower)

    def solve(self, x: Tensor, start: Tensor | None = None, max_iter: int = 300, sigma: float = 0.0) -> Tensor:
        """A local minimizer of the lower level, or of ``sigma f + g``, by L-BFGS from `start`, or from `y0`."""

        def value_and_slope(y: np.ndarray) -> tuple[float, np.ndarray]:
            at = torch.from_numpy(y.copy()).requires_grad_()
            value = self.lower(x, at) + (sigma * self.upper(x, at) if sigma > 0 else 0.0)
            return float(value.detach()), torch.autograd.grad(value, at)[0].numpy()

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
