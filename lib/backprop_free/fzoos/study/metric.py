"""Metric optimization: the weights of a half-trained classifier, perturbed to raise a metric that has no gradient."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

import lib.data
from lib import checks
from lib.backprop_free.fzoos.gp import Array

METRICS = ("precision", "recall", "f1", "jaccard")


def macro_loss(truth: Array, predicted: Array, n_classes: int, metric: str = "precision") -> Array:
    """1 minus the mean of a metric over the classes that occur, for predictions in rows, shape (m, n).

    A class that is never predicted has precision 0. All confusion matrices come from one `numpy.bincount`.
    """
    cells = (np.arange(len(predicted))[:, None] * n_classes + truth) * n_classes + predicted
    table = np.bincount(cells.ravel(), minlength=len(predicted) * n_classes**2).reshape(-1, n_classes, n_classes)
    hit, of_class, called = np.diagonal(table, axis1=1, axis2=2), table.sum(2), table.sum(1)
    below = {"precision": called, "recall": of_class, "f1": (called + of_class) / 2, "jaccard": called + of_class - hit}[metric]
    values = np.divide(hit, below, out=np.zeros(hit.shape), where=below > 0)
    return 1 - (values * (of_class > 0)).sum(1) / (of_class[:1] > 0).sum()


class MetricLoss:
    """A client's function: the loss of its own rows with the weights ``start + span (2 x - 1)``; (n, d) -> (n,)."""

    def __init__(self, X: Array, y: Array, layers: tuple[int, ...], start: Array, span: float, metric: str) -> None:
        self.X, self.y, self.layers, self.start, self.span, self.metric = X, y, layers, start, span, metric

    def __call__(self, x: ArrayLike) -> Any:
        at = np.asarray(x, dtype=float)
        weights = self.start + self.span * (2 * np.atleast_2d(at) - 1)
        h = np.broadcast_to(self.X, (len(weights), *self.X.shape))
        used = 0
        for k, (fan_in, fan_out) in enumerate(zip(self.layers, self.layers[1:], strict=False)):
            matrix = weights[:, used : used + fan_in * fan_out].reshape(-1, fan_in, fan_out)
            used += fan_in * fan_out
            h = h @ matrix + weights[:, None, used : used + fan_out]
            used += fan_out
            h = np.maximum(h, 0) if k < len(self.layers) - 2 else h
        found = macro_loss(self.y, h.argmax(-1), self.layers[-1], self.metric)
        return float(found[0]) if at.ndim == 1 else found


def metric_clients(name: str = "satimage", n_clients: int = 7, portion: float = 0.5, rows: int = 300, span: float = 0.2,
                   metric: str = "precision", hidden: tuple[int, ...] = (14,), iterations: int = 10,
                   seed: Any = 0) -> list[MetricLoss]:  # fmt: skip
    """Clients that share a classifier and hold rows of different classes of one of KEEL's data sets.

    Parameters
    ----------
    name : str
        Of `lib.data.keel_multiclass` (the paper: Covertype).
    n_clients : int
        The paper: 7.
    portion : float
        P, the share of the classes that a client holds, at least two classes.
    rows : int
        Rows of a client, at most.
    span : float
        Largest change of a weight (the authors' code: 0.2).
    metric : {"precision", "recall", "f1", "jaccard"}
    hidden, iterations : tuple of int, int
        Hidden layers (the authors' code: 30 and 14); steps of L-BFGS on all rows beforehand (the authors' code: 10).
    seed : int or Generator

    Returns
    -------
    list of callables
        Of x in [0, 1]^d, of which 1/2 leaves the classifier as it is.

    Examples
    --------
    >>> from lib.backprop_free.fzoos.study import metric_clients
    >>> fs = metric_clients("iris", n_clients=2, portion=0.7, rows=50, span=0.2, hidden=(4,), seed=0)
    >>> 0 <= fs[0]([0.5] * 35) <= 1
    True
    """
    checks.choice("metric", metric, METRICS)
    n, rows = checks.integer("n_clients", n_clients, low=1), checks.integer("rows", rows, low=1)
    span, share = checks.positive("span", span), checks.probability("portion", portion)
    iterations = checks.integer("iterations", iterations, low=1)
    rng = checks.generator("seed", seed)
    X, y = lib.data.keel_multiclass(name)
    X = (X - X.mean(0)) / np.where(X.std(0) > 0, X.std(0), 1)
    k = int(y.max()) + 1
    start, layers = _half_trained(X, y, hidden, iterations, int(rng.integers(2**31)))
    fs = []
    for _ in range(n):
        classes = rng.permutation(k)[: max(2, round(k * share))]
        own = rng.permutation(np.flatnonzero(np.isin(y, classes)))[:rows]
        fs.append(MetricLoss(X[own], y[own], layers, start, span, metric))
    return fs


def _half_trained(X: Array, y: Any, hidden: tuple[int, ...], iterations: int, seed: int) -> tuple[Array, tuple[int, ...]]:
    """All weights of a classifier after a few steps, layer by layer: matrix, then intercepts; and the sizes of its layers."""
    from sklearn.neural_network import MLPClassifier

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it has not converged is meant
        net = MLPClassifier(hidden, solver="lbfgs", max_iter=iterations, random_state=seed).fit(X, y)
    parts = [part.ravel() for pair in zip(net.coefs_, net.intercepts_, strict=True) for part in pair]
    flat, sizes = np.concatenate(parts), (X.shape[1], *hidden, net.n_outputs_)
    return flat, sizes
