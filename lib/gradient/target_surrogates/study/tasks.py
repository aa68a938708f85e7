"""The supervised problems: data with a constant column, a loss of the targets, and batches in a random order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize

import lib.data
from lib import checks

from ..losses import TARGET_LOSSES, TargetLoss

#: What `linear_task` knows: the paper's mushrooms from LIBSVM, KEEL's complete rows of them, and others.
DATASETS = ("mushrooms", "mushroom", "spambase", "splice", "optdigits", "satimage", "segment")


@dataclass(frozen=True)
class LinearTask:
    """A linear model's problem: columns with a constant, labels, and the name of a loss in `TARGET_LOSSES`."""

    X: NDArray[np.float64]
    y: NDArray[np.float64]
    kind: str

    @property
    def loss(self) -> TargetLoss:
        return TARGET_LOSSES[self.kind]

    @property
    def start(self) -> NDArray[np.float64]:
        """Zero parameters."""
        d = self.X.shape[1]
        return np.zeros((d, int(self.y.max()) + 1) if self.kind == "softmax" else d)

    @property
    def smoothness(self) -> float:
        """L of the mean loss as a function of the parameters: what the parametric step 1/L refers to."""
        return self.loss.smoothness * float(np.linalg.eigvalsh(self.X.T @ self.X / len(self.X))[-1])

    def value(self, theta: ArrayLike) -> float:
        """Mean loss over all rows."""
        return float(self.loss.value(self.X @ np.asarray(theta), self.y).mean())

    def gradient(self, theta: ArrayLike) -> NDArray[np.float64]:
        """Gradient of `value`."""
        return self.X.T @ self.loss.gradient(self.X @ np.asarray(theta), self.y) / len(self.X)

    def minimum(self) -> float:
        """The least mean loss, by L-BFGS to a gradient of 1e-9; for data that cannot be separated."""
        shape = self.start.shape

        def both(theta: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
            return self.value(theta.reshape(shape)), self.gradient(theta.reshape(shape)).ravel()

        options = {"maxiter": 20_000, "maxfun": 40_000, "ftol": 0.0, "gtol": 1e-9, "maxcor": 30}
        return float(minimize(both, self.start.ravel(), jac=True, method="L-BFGS-B", options=options).fun)


def linear_task(name: str, kind: str | None = None, rows: int | None = None) -> LinearTask:
    """A data set as a problem: one-hot columns as they are, others standardized; a constant column is added.

    Parameters
    ----------
    name : str
        One of `DATASETS`.
    kind : {"logistic", "squared", "softmax"}, optional
        The loss; by default "logistic" for two classes and "softmax" for more. With "squared" the labels are 0 and 1.
    rows : int, optional
        Only so many, evenly spaced over the rows.

    Raises
    ------
    TypeError, ValueError
        For an unknown name or loss, or rows below 2.

    Examples
    --------
    >>> from lib.gradient.target_surrogates import study
    >>> study.linear_task("spambase", rows=100).X.shape
    (100, 58)
    """
    checks.choice("name", name, DATASETS)
    X, y = lib.data.mushrooms() if name == "mushrooms" else lib.data.keel_multiclass(name)
    if kind is None:
        kind = "logistic" if y.max() == 1 else "softmax"
    checks.choice("kind", kind, tuple(TARGET_LOSSES))
    if rows is not None:
        rows = checks.integer("rows", rows, low=2)
        kept = np.linspace(0, len(X) - 1, min(rows, len(X))).astype(int)
        X, y = X[kept], y[kept]
    if not np.isin(X, (0, 1)).all():
        spread = X.std(axis=0)
        X = (X - X.mean(axis=0)) / np.where(spread > 0, spread, 1)
    return LinearTask(np.column_stack([X, np.ones(len(X))]), y.astype(float), kind)


def batch_order(n: int, size: int | None, steps: int, seed: int | np.random.Generator) -> list[NDArray[np.int64] | slice]:
    """Row numbers of each step's batch: without replacement in an epoch, the last incomplete batch dropped.

    Parameters
    ----------
    n : int
        Rows.
    size : int or None
        Rows in a batch; None for all of them.
    steps : int
    seed : int or Generator

    Raises
    ------
    TypeError, ValueError
        For numbers out of range.

    Examples
    --------
    >>> from lib.gradient.target_surrogates import study
    >>> [sorted(rows.tolist()) for rows in study.batch_order(4, 4, steps=2, seed=0)]
    [[0, 1, 2, 3], [0, 1, 2, 3]]
    """
    n, steps = checks.integer("n", n, low=1), checks.integer("steps", steps, low=1)
    rng = checks.generator("seed", seed)
    if size is None:
        return [slice(None)] * steps
    size = checks.integer("size", size, low=1, high=n)
    per_epoch = n // size
    epochs = [rng.permutation(n)[: per_epoch * size].reshape(per_epoch, size) for _ in range(-(-steps // per_epoch))]
    return list(np.concatenate(epochs)[:steps])
