"""Hyper-cleaning with softmax regression: closed forms, samples, and three methods on one budget of gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from lib import checks
from lib.problems.bilevel import BilevelProblem
from lib.problems.cleaning import CleaningTask, detection_auc

from ..loops import SingleLoopPenalty
from ..softmax import residual_and_losses


class SoftmaxCleaning:
    """A `CleaningTask` as a bilevel problem: x are logits of the samples' weights, y the classifier's coefficients.

    Lower level: mean of weight times cross-entropy over the training samples, plus ``penalty / 2`` times the squared norm.
    Upper level: mean cross-entropy of the validation samples. Coefficients, scores and residuals have the classes first, so
    that the long axis of the samples is the one that numbers lie next to each other on.

    Parameters
    ----------
    task : CleaningTask
    penalty : float
        Above 0.

    Raises
    ------
    TypeError, ValueError
        For something that is no task, or a penalty out of range.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.constrained.bilevel_penalty.study import SoftmaxCleaning
    >>> from lib.problems.cleaning import cleaning_task
    >>> task = cleaning_task(np.eye(10), np.arange(10) % 2, n_train=5, n_val=2, share=0.4, seed=0)
    >>> SoftmaxCleaning(task, penalty=1e-3).y0.shape
    torch.Size([22])
    """

    def __init__(self, task: CleaningTask, penalty: float = 1e-3) -> None:
        if not isinstance(task, CleaningTask):
            raise TypeError(f"task must be a CleaningTask, got {checks.shown(task)}")
        self.task, self.penalty = task, checks.positive("penalty", penalty)
        self.X, self.X_val, self.X_test = (_with_bias(X) for X in (task.X, task.X_val, task.X_test))
        self.y, self.y_val = torch.from_numpy(task.y), torch.from_numpy(task.y_val)
        self.shape = task.n_classes, self.X.shape[1]
        self.x0 = torch.zeros(len(self.X), dtype=torch.float64)
        self.y0 = torch.zeros(self.shape[0] * self.shape[1], dtype=torch.float64)

    def scores(self, X: Tensor, y: Tensor) -> Tensor:
        """Scores of the classes, shape (rows, classes)."""
        return (y.view(self.shape) @ X.T).T

    def _losses(self, X: Tensor, labels: Tensor, y: Tensor) -> Tensor:
        return torch.nn.functional.cross_entropy(self.scores(X, y), labels, reduction="none")

    def upper(self, x: Tensor, y: Tensor) -> Tensor:
        """Validation loss; it does not depend on x."""
        return self._losses(self.X_val, self.y_val, y).mean()

    def lower(self, x: Tensor, y: Tensor) -> Tensor:
        """Weighted training loss."""
        return self._lower(self.X, self.y, x, y)

    def _lower(self, X: Tensor, labels: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return (torch.sigmoid(x) * self._losses(X, labels, y)).mean() + self.penalty / 2 * (y @ y)

    def _upper_slopes(self, X: Tensor, labels: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        residual, _ = residual_and_losses(y.view(self.shape) @ X.T, labels)
        return torch.zeros_like(x), (residual @ X / len(X)).view(-1)

    def _lower_slopes(self, X: Tensor, labels: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        residual, losses = residual_and_losses(y.view(self.shape) @ X.T, labels)
        weight = torch.sigmoid(x)
        by_y = ((weight * residual) @ X / len(X)).view(-1) + self.penalty * y
        return weight * (1 - weight) * losses / len(X), by_y

    @property
    def problem(self) -> BilevelProblem:
        """All samples."""
        return BilevelProblem(
            self.upper,
            self.lower,
            upper_slopes=lambda x, y: self._upper_slopes(self.X_val, self.y_val, x, y),
            lower_slopes=lambda x, y: self._lower_slopes(self.X, self.y, x, y),
        )

    def sample(self, generator: np.random.Generator, size: int) -> BilevelProblem:
        """A batch of `size` training and `size` validation samples; x keeps its length."""
        size = checks.integer("size", size, low=1)
        rows, others = (torch.from_numpy(generator.choice(len(X), size)) for X in (self.X, self.X_val))
        X, labels, X_val, y_val = self.X[rows], self.y[rows], self.X_val[others], self.y_val[others]

        def lower_slopes(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
            by_x, by_y = self._lower_slopes(X, labels, x[rows], y)
            return torch.zeros_like(x).index_add_(0, rows, by_x), by_y

        return BilevelProblem(
            lambda x, y: self._losses(X_val, y_val, y).mean(),
            lambda x, y: self._lower(X, labels, x[rows], y),
            upper_slopes=lambda x, y: self._upper_slopes(X_val, y_val, x, y),
            lower_slopes=lower_slopes,
        )

    def products(self, x: Tensor, y: Tensor) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
        """Products with a vector as two functions: of the lower level's Hessian in y, and of its mixed second derivatives."""
        residual, _ = residual_and_losses(y.view(self.shape) @ self.X.T, self.y)
        P = residual.scatter_add(0, self.y[None], torch.ones_like(residual[:1]))
        weight = torch.sigmoid(x)

        def hessian_times(v: Tensor) -> Tensor:
            A = P * (v.view(self.shape) @ self.X.T)
            return ((weight * (A - P * A.sum(0))) @ self.X / len(self.X)).view(-1) + self.penalty * v

        def mixed_times(v: Tensor) -> Tensor:
            return weight * (1 - weight) * (residual * (v.view(self.shape) @ self.X.T)).sum(0) / len(self.X)

        return hessian_times, mixed_times

    def solve(self, x: Tensor, start: Tensor | None = None, max_iter: int = 300, sigma: float = 0.0) -> Tensor:
        """The minimizer of the lower level, or of ``sigma f + g``, by L-BFGS."""
        weight = torch.sigmoid(x)

        def value_and_slope(y: np.ndarray) -> tuple[float, np.ndarray]:
            at = torch.from_numpy(y)
            residual, losses = residual_and_losses(at.view(self.shape) @ self.X.T, self.y)
            slope = ((weight * residual) @ self.X / len(self.X)).view(-1) + self.penalty * at
            value = float((weight * losses).mean() + self.penalty / 2 * (at @ at))
            if sigma > 0:
                value += sigma * float(self.upper(x, at))
                slope = slope + sigma * self._upper_slopes(self.X_val, self.y_val, x, at)[1]
            return value, slope.numpy()

        options = {"maxiter": max_iter, "maxcor": 20, "gtol": 1e-7, "ftol": 0.0}
        found = minimize(value_and_slope, (self.y0 if start is None else start).numpy(), jac=True, method="L-BFGS-B",
                         options=options)  # fmt: skip
        return torch.from_numpy(found.x)

    def accuracy(self, y: Tensor) -> float:
        """Share of the test samples that are classified rightly."""
        return float((self.scores(self.X_test, y).argmax(1).numpy() == self.task.y_test).mean())


class CleaningRun(NamedTuple):
    """What a method ends with: logits, calls, and of the lower level solved anew the validation loss, accuracy, and AUC."""

    x: Tensor
    calls: int
    loss: float
    accuracy: float
    auc: float


def _finished(cleaning: SoftmaxCleaning, x: Tensor, calls: int) -> CleaningRun:
    y = cleaning.solve(x)
    auc = detection_auc(torch.sigmoid(x).numpy(), cleaning.task.flipped)
    return CleaningRun(x, calls, float(cleaning.upper(x, y)), cleaning.accuracy(y), auc)


def clean_penalty(cleaning: SoftmaxCleaning, calls: int, alpha: float = 100.0, gamma: float = 0.5, sigma: float = 0.1,
                  batch: int | None = None, seed: int = 0) -> CleaningRun:  # fmt: skip
    """The paper's single loop, without momentum: three gradients a step.

    Parameters
    ----------
    cleaning : SoftmaxCleaning
    calls : int
        Gradients of one function at all samples, at least 3 (at a batch where there is one).
    alpha, gamma, sigma : float
        Steps of x and of y, and the weight; above 0.
    batch : int, optional
        Samples of a batch; all by default.
    seed : int
        Of the batches.

    Returns
    -------
    CleaningRun

    Raises
    ------
    TypeError, ValueError
        For numbers out of range.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.constrained.bilevel_penalty.study import SoftmaxCleaning, clean_penalty
    >>> from lib.problems.cleaning import cleaning_task
    >>> task = cleaning_task(np.eye(10)[np.arange(20) % 2], np.arange(20) % 2, n_train=10, n_val=5, share=0.4, seed=0)
    >>> clean_penalty(SoftmaxCleaning(task), calls=300, alpha=10.0, gamma=0.5, sigma=0.1, seed=0).calls
    300
    """
    calls = checks.integer("calls", calls, low=3)
    problem, size = (cleaning.problem, 1) if batch is None else (cleaning.sample, checks.integer("batch", batch, low=1))
    loop = SingleLoopPenalty(
        problem, cleaning.x0, cleaning.y0, sigma=checks.positive("sigma", sigma), alpha=checks.positive("alpha", alpha),
        gamma=checks.positive("gamma", gamma), batch=size, seed=checks.integer("seed", seed, low=0),
    )  # fmt: skip
    loop.run(calls // 3)
    return _finished(cleaning, loop.x, loop.calls // size)


def clean_implicit(
    cleaning: SoftmaxCleaning, calls: int, alpha: float = 100.0, gamma: float = 0.5, inner: int = 10
) -> CleaningRun:
    """Implicit differentiation: `inner` gradient steps of y, as many products of conjugate gradients, one step of x.

    The steps and the conjugate gradients start from where the last ones ended.

    Parameters
    ----------
    cleaning : SoftmaxCleaning
    calls : int
        Gradients, and products with the Hessian or the mixed derivatives, at least ``2 inner + 3``.
    alpha, gamma : float
        Steps of x and of y, above 0.
    inner : int
        At least 1.

    Returns
    -------
    CleaningRun

    Raises
    ------
    TypeError, ValueError
        For numbers out of range.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.constrained.bilevel_penalty.study import SoftmaxCleaning, clean_implicit
    >>> from lib.problems.cleaning import cleaning_task
    >>> task = cleaning_task(np.eye(10)[np.arange(20) % 2], np.arange(20) % 2, n_train=10, n_val=5, share=0.4, seed=0)
    >>> clean_implicit(SoftmaxCleaning(task), calls=300, alpha=10.0, gamma=0.5, inner=5).calls
    299
    """
    alpha, gamma, inner = _settings(calls, alpha, gamma, inner)
    problem, x, y, spent = cleaning.problem, cleaning.x0, cleaning.y0, 0
    q = torch.zeros_like(y)
    while spent + 2 * inner + 3 <= calls:
        for _ in range(inner):
            y = y - gamma * problem.lower_slopes(x, y)[1]
        hessian_times, mixed_times = cleaning.products(x, y)
        q = _few_steps(hessian_times, problem.upper_slopes(x, y)[1], q, inner)
        x = x + alpha * mixed_times(q)
        spent += 2 * inner + 3  # inner slopes, inner + 1 products, f's slope, the mixed product
    return _finished(cleaning, x, spent)


def clean_unrolled(
    cleaning: SoftmaxCleaning, calls: int, alpha: float = 100.0, gamma: float = 0.5, inner: int = 10
) -> CleaningRun:
    """Unrolled differentiation: the chain rule back through `inner` gradient steps of y, which go on from the last ones.

    Parameters
    ----------
    cleaning : SoftmaxCleaning
    calls : int
        Gradients, and steps back (a Hessian and a mixed product, one call), at least ``2 inner + 1``.
    alpha, gamma : float
        Steps of x and of y, above 0.
    inner : int
        At least 1.

    Returns
    -------
    CleaningRun

    Raises
    ------
    TypeError, ValueError
        For numbers out of range.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.constrained.bilevel_penalty.study import SoftmaxCleaning, clean_unrolled
    >>> from lib.problems.cleaning import cleaning_task
    >>> task = cleaning_task(np.eye(10)[np.arange(20) % 2], np.arange(20) % 2, n_train=10, n_val=5, share=0.4, seed=0)
    >>> clean_unrolled(SoftmaxCleaning(task), calls=300, alpha=10.0, gamma=0.5, inner=5).calls
    297
    """
    alpha, gamma, inner = _settings(calls, alpha, gamma, inner)
    problem, x, y, spent = cleaning.problem, cleaning.x0, cleaning.y0, 0
    while spent + 2 * inner + 1 <= calls:
        path = [y]
        for _ in range(inner):
            path.append(path[-1] - gamma * problem.lower_slopes(x, path[-1])[1])
        y = path[-1]
        x = x - alpha * back_through(cleaning, x, path, gamma)
        spent += 2 * inner + 1
    return _finished(cleaning, x, spent)


def back_through(cleaning: SoftmaxCleaning, x: Tensor, path: list[Tensor], gamma: float) -> Tensor:
    """Gradient in x of the upper level at the end of a path of gradient steps, which starts at a constant."""
    q, by_x = cleaning.problem.upper_slopes(x, path[-1])[1], torch.zeros_like(x)
    for y in reversed(path[:-1]):
        hessian_times, mixed_times = cleaning.products(x, y)
        by_x, q = by_x - gamma * mixed_times(q), q - gamma * hessian_times(q)
    return by_x


def _settings(calls: int, alpha: float, gamma: float, inner: int) -> tuple[float, float, int]:
    inner = checks.integer("inner", inner, low=1)
    checks.integer("calls", calls, low=2 * inner + 3)
    return checks.positive("alpha", alpha), checks.positive("gamma", gamma), inner


def _few_steps(times: Callable[[Tensor], Tensor], right: Tensor, q: Tensor, steps: int) -> Tensor:
    """Some conjugate gradients for ``H q = right``, from where `q` is."""
    r = right - times(q)
    p, rho = r, r @ r
    for _ in range(steps):
        if rho == 0:
            break
        Hp = times(p)
        step = rho / (p @ Hp)
        q, r = q + step * p, r - step * Hp
        rho, before = r @ r, rho
        p = r + rho / before * p
    return q


def _with_bias(X: np.ndarray) -> Tensor:
    return torch.from_numpy(np.column_stack([X, np.ones(len(X))]))
