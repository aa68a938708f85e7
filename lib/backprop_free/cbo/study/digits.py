"""A model to train without gradients: softmax regression as an energy of particles, and the same model by SGD."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from lib import checks
from lib.backprop_free.cbo.consensus import Array


class SoftmaxEnergy:
    """Mean cross entropy of softmax regression, one minibatch per call, as an energy of parameter vectors ``(..., d)``.

    A parameter vector holds the weights, row by row (features, classes), then the biases: d = (features + 1) classes.

    Parameters
    ----------
    X : array, shape (n, features)
    y : integer array, shape (n,)
        Classes 0, 1, ...
    n_batches : int
        Minibatches per epoch; each call takes the next, all particles the same one; reshuffled every epoch.
    seed : int, SeedSequence or Generator
        Of the shuffling.

    Attributes
    ----------
    dim : int
        d.
    calls : int
        Minibatches used so far.

    Raises
    ------
    ValueError
        For shapes that do not belong together or more batches than rows.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.backprop_free.cbo import study
    >>> energy = study.SoftmaxEnergy(np.eye(4), np.array([0, 1, 0, 1]))
    >>> energy.dim, round(float(energy(np.zeros(energy.dim))), 4)
    (10, 0.6931)
    """

    def __init__(self, X: npt.ArrayLike, y: npt.ArrayLike, n_batches: int = 1, seed: Any = 0) -> None:
        features = checks.array("X", X, ndim=2)
        classes = checks.array("y", y, shape=(len(features),), low=0).astype(np.int64)
        if (classes != np.asarray(y)).any():
            raise ValueError("y must hold classes 0, 1, ..., got numbers that are not whole")
        n_batches = checks.integer("n_batches", n_batches, low=1)
        if n_batches > len(classes):
            raise ValueError(f"n_batches must be at most the number of rows, {len(classes)}, got {n_batches}")
        self.X, self.y = np.hstack([features, np.ones((len(features), 1))]), classes
        self.n_classes = int(classes.max()) + 1
        self.n_batches, self.calls = n_batches, 0
        self.dim = self.X.shape[1] * self.n_classes
        self._rng = checks.generator("seed", seed)
        self._order = self._rng.permutation(len(classes))

    def batch(self) -> npt.NDArray[np.int64]:
        """Row numbers of the next minibatch."""
        position = self.calls % self.n_batches
        if position == 0 and self.calls:
            self._order = self._rng.permutation(len(self.y))
        self.calls += 1
        return self._order[position :: self.n_batches]

    def __call__(self, params: npt.ArrayLike) -> Array:
        rows = self.batch()
        logits = self.logits(params, self.X[rows])
        logits -= logits.max(-2, keepdims=True)
        picked = np.take_along_axis(logits, self.y[rows][None, None, :], axis=-2)[..., 0, :]
        losses = (np.log(np.exp(logits).sum(-2)) - picked).mean(-1)
        return losses.reshape(np.shape(params)[:-1])

    def logits(self, params: npt.ArrayLike, X: Array) -> Array:
        """Logits, shape (particles, classes, rows), of particles ``(..., d)`` for rows with a one appended."""
        W = np.asarray(params, dtype=np.float64).reshape(-1, X.shape[1], self.n_classes)
        stacked = W.transpose(0, 2, 1).reshape(-1, X.shape[1])  # (particles * classes, features + 1): one product for all
        return (stacked @ X.T).reshape(len(W), self.n_classes, len(X))

    def accuracy(self, params: npt.ArrayLike, X: npt.ArrayLike, y: npt.ArrayLike) -> float:
        """Share of the rows that one parameter vector, shape (d,), classifies correctly."""
        rows = np.asarray(X, dtype=np.float64)
        logits = self.logits(params, np.hstack([rows, np.ones((len(rows), 1))]))[0]
        return float((logits.argmax(0) == np.asarray(y)).mean())


def sgd(
    energy: SoftmaxEnergy,
    *,
    learning_rate: float = 0.5,
    max_iter: int = 600,
    callback: Callable[[int, Array], Any] | None = None,
) -> Array:
    """Train the model of `energy` by stochastic gradient descent from zero, one minibatch per step; parameters, shape (d,).

    Examples
    --------
    >>> import numpy as np
    >>> from lib.backprop_free.cbo import study
    >>> energy = study.SoftmaxEnergy(np.eye(4), np.array([0, 1, 0, 1]))
    >>> energy.accuracy(study.sgd(energy, max_iter=10), np.eye(4), [0, 1, 0, 1])
    1.0
    """
    learning_rate = checks.positive("learning_rate", learning_rate)
    W = np.zeros((energy.X.shape[1], energy.n_classes))
    for k in range(checks.integer("max_iter", max_iter, low=1)):
        rows = energy.batch()
        logits = energy.X[rows] @ W
        p = np.exp(logits - logits.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        p[np.arange(len(rows)), energy.y[rows]] -= 1
        W -= learning_rate / len(rows) * energy.X[rows].T @ p
        if callback is not None:
            callback(k, W.ravel())
    return W.ravel()
