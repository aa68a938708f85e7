"""Problems on real data: MNIST's digits in half their resolution, labels flipped by a rule, softmax regression by products."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse.linalg import LinearOperator
from scipy.special import logsumexp, softmax

import lib.data
from lib import checks
from lib.gradient.gradient_normalized_smoothness.hessians import Array
from lib.gradient.gradient_normalized_smoothness.objectives import Logistic
from lib.gradient.gradient_normalized_smoothness.study.instances import Instance
from lib.gradient.gradient_normalized_smoothness.study.protocols import solve


def mnist_images(n: int, seed: Any = 0, classes: Sequence[int] = tuple(range(10))) -> tuple[Array, Array]:
    """Random training images of MNIST, every two by two pixels averaged, scaled to [0, 1], and their classes.

    Parameters
    ----------
    n : int
        At most as many as there are.
    seed : int or Generator
    classes : sequence of int
        Which digits.

    Returns
    -------
    X : array, shape (n, 196)
    y : array of int, shape (n,)

    Examples
    --------
    >>> from lib.gradient.gradient_normalized_smoothness import study
    >>> study.mnist_images(5, 0, (4, 9))[0].shape
    (5, 196)
    """
    wanted = checks.array("classes", classes, ndim=1, low=0)
    images, digits = lib.data.mnist()
    rows = np.flatnonzero(np.isin(digits, wanted))
    n = checks.integer("n", n, low=1, high=len(rows))
    take = checks.generator("seed", seed).permutation(rows)[:n]
    return images[take].reshape(n, 14, 2, 14, 2).mean(axis=(2, 4)).reshape(n, 196) / 255, digits[take].astype(int)


def rule_of_two(X: ArrayLike, seed: Any = 0, low: float = 0.05, high: float = 0.25, n_pairs: int = 30) -> Array:
    """Rows where two columns of zeros and ones are both 1: the pair, of those drawn, that linear regression explains worst.

    Parameters
    ----------
    X : array_like, shape (n, d)
    seed : int or Generator
    low, high : float
        Between these shares of the rows.
    n_pairs : int
        Pairs with such a share that are drawn and compared.

    Returns
    -------
    array of bool, shape (n,)

    Raises
    ------
    ValueError
        If no pair out of a thousand drawn has such a share.

    Examples
    --------
    >>> from lib.gradient.gradient_normalized_smoothness import study
    >>> study.rule_of_two([[1, 1], [1, 0], [0, 1], [0, 0]], 0, 0.2, 0.3)
    array([ True, False, False, False])
    """
    columns = np.asarray(checks.array("X", X, ndim=2, low=0), dtype=float)
    if columns.shape[1] < 2:
        raise ValueError(f"X must have two columns or more, got shape {columns.shape}")
    low, high, draw = checks.probability("low", low), checks.probability("high", high), checks.generator("seed", seed)
    n_pairs = checks.integer("n_pairs", n_pairs, low=1)
    found: list[Array] = []
    for _ in range(1000):
        first, second = draw.permutation(columns.shape[1])[:2]
        both = (columns[:, first] * columns[:, second]) > 0
        if low <= both.mean() <= high and len(found) < n_pairs:
            found.append(both)
    if not found:
        raise ValueError(f"X must have two columns that are both 1 in a share of {low:g} to {high:g} of its rows")
    masks = np.array(found, dtype=float).T
    design = np.column_stack([columns, np.ones(len(columns))])
    left = masks - design @ np.linalg.lstsq(design, masks, rcond=1e-10)[0]
    unexplained = (left**2).sum(axis=0) / ((masks - masks.mean(axis=0)) ** 2).sum(axis=0).clip(1e-12)
    return np.asarray(found[int(np.argmax(np.round(unexplained, 9)))])


class Softmax:
    """Multi-class logistic regression whose Hessian is only a product: for conjugate gradients.

    Parameters
    ----------
    X : array_like, shape (n, d)
    y : array_like of int, shape (n,)
        Classes 0 to C - 1.
    l2 : float
        Weight of ``||x||^2 / 2``.

    Examples
    --------
    >>> from lib.gradient.gradient_normalized_smoothness import study
    >>> f = study.Softmax([[0.0], [1.0], [2.0]], [0, 1, 1])
    >>> round(f.value_and_grad([0.0, 0.0])[0], 4)
    0.6931
    """

    def __init__(self, X: ArrayLike, y: ArrayLike, l2: float = 1e-3) -> None:
        self.X: Array = np.array(checks.array("X", X, ndim=2), dtype=float)
        classes = checks.array("y", y, shape=(len(self.X),), low=0).astype(int)
        self.Y = np.eye(classes.max() + 1)[classes]
        self.l2 = checks.number("l2", l2, low=0)

    def value_and_grad(self, x: ArrayLike) -> tuple[float, Array]:
        """The mean loss and its gradient, shape (C d,)."""
        x = np.asarray(x, dtype=float)
        z = self.X @ x.reshape(self.Y.shape[1], -1).T
        slope = (softmax(z, axis=1) - self.Y).T @ self.X / len(z)
        return float((logsumexp(z, axis=1) - (z * self.Y).sum(1)).mean() + self.l2 / 2 * (x @ x)), slope.ravel() + self.l2 * x

    def hess(self, x: ArrayLike) -> LinearOperator:
        """The Hessian, which for this loss is the Gauss-Newton matrix, as products only."""
        x = np.asarray(x, dtype=float)
        p = softmax(self.X @ x.reshape(self.Y.shape[1], -1).T, axis=1)

        def product(v: Array) -> Array:
            t = self.X @ v.reshape(self.Y.shape[1], -1).T
            q = p * (t - (p * t).sum(1, keepdims=True))
            return (q.T @ self.X / len(q)).ravel() + self.l2 * v.ravel()

        return LinearOperator((len(x), len(x)), matvec=product, dtype=float)


def flip(task: Instance, mask: ArrayLike) -> Instance:
    """Logistic regression with other labels: a row of its A is label times features, so the sign of some rows changes.

    Parameters
    ----------
    task : Instance
        Of `Logistic`; its minimum stays as it was and is that of the old labels.
    mask : array_like of bool, shape (n,)

    Examples
    --------
    >>> from lib.gradient.gradient_normalized_smoothness import study
    >>> task = study.logistic([[0.0], [1.0], [2.0], [3.0]], [0, 1, 0, 1], False)
    >>> study.flip(task, [True, False, False, False]).f.A[0]
    array([0., 1.])
    """
    rows = _rows(task)
    flipped = np.where(checks.array("mask", mask, shape=(len(rows),)), -1.0, 1.0)
    return task._replace(f=Logistic(rows * flipped[:, None]))


def flip_by_rule(task: Instance, seed: Any = 0, low: float = 0.05, high: float = 0.25) -> tuple[Instance, Array]:
    """Logistic regression on columns of zeros and ones with the labels flipped by `rule_of_two`.

    Rules after which the classes can still be separated (a minimum below 0.01) are drawn again, ten times at most.

    Parameters
    ----------
    task : Instance
        Of `Logistic`, its last column the ones of the constant.
    seed : int or Generator
    low, high : float
        As in `rule_of_two`.

    Returns
    -------
    task : Instance
    mask : array of bool, shape (n,)
        Which labels are flipped.

    Examples
    --------
    >>> from lib.gradient.gradient_normalized_smoothness import study
    >>> task = study.logistic([[1, 1], [1, 0], [0, 1], [0, 0]], [1, 1, 0, 0], False)
    >>> study.flip_by_rule(task, 0, 0.2, 0.3)[1]
    array([ True, False, False, False])
    """
    draw = checks.generator("seed", seed)
    for _ in range(10):
        mask = rule_of_two(np.abs(_rows(task)[:, :-1]), draw, low, high)
        other = flip(task, mask)
        if solve(other._replace(minimum=0.0), ftol=0.01, max_iter=60).fun > 0.01:
            break
    return other, mask


def _rows(task: Instance) -> Array:
    if not isinstance(task.f, Logistic):
        raise TypeError(f"task must be a logistic regression, got {checks.shown(task.f)}")
    return task.f.A
