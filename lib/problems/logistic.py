"""Logistic regression with two classes or more, for one weight vector or many at once (torch, float64 unless X says
otherwise)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import OptimizeResult, linprog
from torch import Tensor
from torch.nn.functional import one_hot, softplus

from lib import checks


class _Regression:
    """Data, checks and Newton's method, which the two models below share."""

    def __init__(self, X: ArrayLike, y: ArrayLike, l2: float = 0.0, standardize: bool = True, intercept: bool = True) -> None:
        columns = checks.array("X", X, ndim=2)
        classes = checks.array("y", y, shape=columns.shape[:1])
        self._check_classes(classes)
        self.l2 = checks.number("l2", l2, low=0)
        standardize, intercept = checks.boolean("standardize", standardize), checks.boolean("intercept", intercept)
        if standardize:
            scale = columns.std(axis=0)
            columns = (columns - columns.mean(axis=0)) / np.where(scale > 0, scale, 1).astype(columns.dtype)
        if intercept:
            columns = np.column_stack([columns, np.ones(len(columns), dtype=columns.dtype)])
        self.X = torch.from_numpy(np.array(columns))  # a copy: the caller's array is his own
        self.y = torch.from_numpy(classes.astype(columns.dtype))

    def _check_classes(self, classes: NDArray[Any]) -> None:
        raise NotImplementedError

    @property
    def dim(self) -> int:
        """Number of weights."""
        return self.X.shape[1]

    def _check_weights(self, w: Tensor) -> None:
        if not isinstance(w, Tensor):
            raise TypeError(f"w must be a tensor of shape (..., {self.dim}), got {checks.shown(w)}")
        if w.shape[-1:] != (self.dim,):
            raise ValueError(f"w must have shape (..., {self.dim}), got {tuple(w.shape)}")

    def loss(self, w: Tensor, rows: Tensor | None = None) -> Tensor:
        """f(w), shape (...): of all rows or of a minibatch."""
        raise NotImplementedError

    def gradient(self, w: Tensor, rows: Tensor | None = None) -> Tensor:
        """Gradient of `loss`, shape (..., dim)."""
        raise NotImplementedError

    def hessian(self, w: Tensor) -> Tensor:
        """Hessian of `loss` over all rows, shape (..., dim, dim)."""
        raise NotImplementedError

    def minimum(self, tolerance: float = 1e-10, max_iter: int = 100) -> OptimizeResult:
        """Minimizer by Newton's method with step halving: ``x`` (Tensor, (dim,)), ``fun``, ``nit``, ``success``.

        Without penalty and with separable classes there is none: the loss sinks without end and ``success`` is False, also
        where its gradient has become smaller than `tolerance` (the next Newton step would still be long).

        Raises
        ------
        TypeError, ValueError
            For a tolerance that is not positive or a max_iter below 1.
        """
        tolerance, max_iter = checks.positive("tolerance", tolerance), checks.integer("max_iter", max_iter, low=1)
        w = torch.zeros(self.dim, dtype=self.X.dtype)
        ridge = 1e-12 * torch.eye(self.dim, dtype=self.X.dtype)
        for iteration in range(max_iter + 1):
            g = self.gradient(w)
            direction, step = torch.linalg.lstsq(self.hessian(w) + ridge, g[:, None]).solution[:, 0], 1.0
            small = bool(g.norm() <= tolerance)
            if small or iteration == max_iter:
                settled = small and bool(direction.norm() <= 1e-4 * (1 + w.norm()))
                return OptimizeResult(x=w, fun=float(self.loss(w)), nit=iteration, success=settled)
            while self.loss(w - step * direction) > self.loss(w) and step > 1e-8:
                step /= 2
            w = w - step * direction
        raise AssertionError("unreachable")


class LogisticRegression(_Regression):
    """Mean logistic loss ``f(w) = mean_i log(1 + exp(-s_i x_i.w)) + l2/2 ||w||^2`` with s_i = 2 y_i - 1.

    Parameters
    ----------
    X : array_like, shape (n, d)
        Finite numbers. float32 input stays float32; everything else becomes float64.
    y : array_like, shape (n,)
        Classes 0 and 1, both present.
    l2 : float
        Weight of the quadratic penalty (of every weight, the intercept too), not negative.
    standardize : bool
        Give each column mean 0 and standard deviation 1 (constant columns become 0).
    intercept : bool
        Append a column of ones.

    Attributes
    ----------
    X : Tensor, shape (n, dim)
    y : Tensor, shape (n,)

    Raises
    ------
    ValueError
        For shapes that do not match, numbers that are not finite, other classes than 0 and 1, only one class, or l2 < 0;
        TypeError for text, objects or complex numbers.

    Notes
    -----
    ``w`` has shape (..., dim); ``rows`` of a minibatch have shape (..., B), where the leading axes are those of ``w`` without
    the last one of them: w (S, R, dim) with rows (S, B) gives each of the S minibatches to R weight vectors.

    Examples
    --------
    >>> import torch
    >>> from lib.problems.logistic import LogisticRegression
    >>> problem = LogisticRegression([[0.0], [1.0]], [0, 1])
    >>> round(problem.loss(torch.zeros(2, dtype=torch.float64)).item(), 4)
    0.6931
    """

    def _check_classes(self, classes: NDArray[Any]) -> None:
        if set(np.unique(classes).tolist()) != {0, 1}:
            raise ValueError(f"y must hold the classes 0 and 1, both, got {np.unique(classes)[:5].tolist()}")

    def _batch(self, w: Tensor, rows: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Rows, classes with an axis for the weight vectors, and logits (..., B)."""
        self._check_weights(w)
        if rows is None:
            return self.X, self.y, w @ self.X.T
        X, y = self.X[rows], self.y[rows]
        if w.ndim == 1:
            return X, y, X @ w
        return X, y.unsqueeze(-2), w @ X.mT

    def loss(self, w: Tensor, rows: Tensor | None = None) -> Tensor:
        """f(w), shape (...): of all rows or of a minibatch."""
        _, y, logits = self._batch(w, rows)
        return (softplus(logits) - y * logits).mean(-1) + self.l2 / 2 * w.square().sum(-1)

    def gradient(self, w: Tensor, rows: Tensor | None = None) -> Tensor:
        """Gradient of `loss`, shape (..., dim)."""
        X, y, logits = self._batch(w, rows)
        return (torch.sigmoid(logits) - y) @ X / X.shape[-2] + self.l2 * w

    def hessian(self, w: Tensor) -> Tensor:
        """Hessian of `loss` over all rows, shape (..., dim, dim)."""
        p = torch.sigmoid(self._batch(w, None)[2])
        curvature = (self.X.T * (p * (1 - p)).unsqueeze(-2)) @ self.X / len(self.X)
        return curvature + self.l2 * torch.eye(self.dim, dtype=self.X.dtype)

    def smoothness(self) -> float:
        """Lipschitz constant of the gradient: largest eigenvalue of X'X/(4n), plus l2."""
        return float(torch.linalg.eigvalsh(self.X.T @ self.X)[-1]) / (4 * len(self.X)) + self.l2

    def is_separable(self) -> bool:
        """Whether some w classifies every row rightly, so that the loss without penalty has infimum 0 (a linear program)."""
        signed = self.X.double() * (2 * self.y.double() - 1)[:, None]
        total = -signed.sum(0).numpy()
        result: Any = linprog(total, A_ub=-signed.numpy(), b_ub=np.zeros(len(signed)), bounds=(-1, 1), method="highs")
        # sum of margins > 0 with none negative: separable in the weak sense, which is enough for an unbounded minimizer
        return bool(result.fun < -1e-9)


class SoftmaxRegression(_Regression):
    """Mean logistic loss of C classes, ``f(W) = mean_i (log sum_c exp(x_i.W_c) - x_i.W_{y_i}) + l2/2 ||W||^2``.

    Parameters
    ----------
    X, l2, standardize, intercept
        As in `LogisticRegression`.
    y : array_like, shape (n,)
        Classes 0, ..., C-1, each present, C >= 2.

    Attributes
    ----------
    X : Tensor, shape (n, columns)
    y : Tensor, shape (n,), of the dtype of X
    n_classes : int

    Raises
    ------
    ValueError
        For shapes that do not match, numbers that are not finite, other classes or absent ones, or l2 < 0.

    Notes
    -----
    The weights are one vector ``w`` of shape (..., dim), dim = C * columns, class after class, so that the interface is that
    of `LogisticRegression`. Adding the same vector to every class changes nothing but the penalty: without it, a minimizer is
    one of many. Two classes give `LogisticRegression` with weights W_1 - W_0 (and half the penalty).

    Examples
    --------
    >>> import torch
    >>> from lib.problems.logistic import SoftmaxRegression
    >>> problem = SoftmaxRegression([[0.0], [1.0], [2.0]], [0, 1, 2])
    >>> round(problem.loss(torch.zeros(6, dtype=torch.float64)).item(), 4)
    1.0986
    """

    def _check_classes(self, classes: NDArray[Any]) -> None:
        present = np.unique(classes)
        if len(present) < 2 or not np.array_equal(present, np.arange(len(present))):
            raise ValueError(f"y must hold the classes 0, 1, ..., C-1, each of at least two, got {present[:5].tolist()}")
        self.n_classes = len(present)
        self._targets = one_hot(torch.from_numpy(classes.astype(np.int64))).T  # (C, n)

    @property
    def dim(self) -> int:
        """Number of weights, all classes together."""
        return self.n_classes * self.X.shape[1]

    def _batch(self, w: Tensor, rows: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Rows, targets 0 or 1 and logits, both (..., C, B): those of all weight vectors in one matrix product."""
        self._check_weights(w)
        X = self.X if rows is None else self.X[rows]
        targets = self._targets if rows is None else self._targets.T[rows].mT
        if rows is not None and w.ndim > 1:
            targets = targets.unsqueeze(-3)
        stacked = w.reshape(*w.shape[:-2], -1, self.X.shape[1])  # (..., R C, columns)
        return X, targets, (stacked @ X.mT).reshape(*w.shape[:-1], self.n_classes, -1)

    def loss(self, w: Tensor, rows: Tensor | None = None) -> Tensor:
        """f(w), shape (...): of all rows or of a minibatch."""
        _, targets, logits = self._batch(w, rows)
        return (logits.logsumexp(-2) - (targets * logits).sum(-2)).mean(-1) + self.l2 / 2 * w.square().sum(-1)

    def gradient(self, w: Tensor, rows: Tensor | None = None) -> Tensor:
        """Gradient of `loss`, shape (..., dim)."""
        X, targets, logits = self._batch(w, rows)
        residual = torch.softmax(logits, -2).sub_(targets).reshape(*w.shape[:-2], -1, X.shape[-2])
        return (residual @ X).reshape(w.shape).div_(X.shape[-2]).add_(w, alpha=self.l2)

    def hessian(self, w: Tensor) -> Tensor:
        """Hessian of `loss` over all rows, shape (dim, dim), at one weight vector."""
        if w.ndim != 1:
            raise ValueError(f"w must have shape ({self.dim},), got {tuple(w.shape)}")
        p = torch.softmax(self._batch(w, None)[2], 0)
        blocks = [(p[c] * (float(c == k) - p[k]) * self.X.T) @ self.X for c in range(len(p)) for k in range(len(p))]
        columns = self.X.shape[1]
        table = torch.stack(blocks).view(len(p), len(p), columns, columns).transpose(1, 2)
        return table.reshape(self.dim, self.dim) / len(self.X) + self.l2 * torch.eye(self.dim, dtype=self.X.dtype)

    def smoothness(self) -> float:
        """A Lipschitz constant of the gradient: largest eigenvalue of X'X/(2n), plus l2."""
        return float(torch.linalg.eigvalsh(self.X.T @ self.X)[-1]) / (2 * len(self.X)) + self.l2

    def is_separable(self) -> bool:
        """Whether some W gives no row a higher logit in a wrong class than in its own, and not only ties.

        Then the loss without penalty has no minimizer (its infimum is positive where ties remain, as when only one of three
        classes can be split off). A linear program over the margins (n (C - 1) of them); as few of them decide, those that
        the last solution violates are added until none is.
        """
        X, own = self.X.double().numpy(), self.y.long().numpy()
        shape = (self.n_classes, X.shape[1])
        total = np.stack([X[own == c].sum(0) for c in range(shape[0])]) * shape[0] - X.sum(0)
        total /= len(X) * (shape[0] - 1)  # W . total: mean margin
        W, kept = total / np.abs(total).max(), np.empty((0, total.size))
        for _ in range(200):
            logits = X @ W.T
            margins = logits[np.arange(len(X)), own][:, None] - logits
            if margins.min() >= -1e-6:
                return bool((W * total).sum() > 1e-6)
            worst = np.argsort(margins, axis=None)[: 4 * total.size]
            i, wrong = np.unravel_index(worst[margins.ravel()[worst] < -1e-6], margins.shape)
            cuts = np.zeros((len(i), *shape))
            cuts[np.arange(len(i)), own[i]] += X[i]
            cuts[np.arange(len(i)), wrong] -= X[i]
            kept = np.vstack([kept, cuts.reshape(len(i), -1)])
            result: Any = linprog(-total.ravel(), A_ub=-kept, b_ub=np.zeros(len(kept)), bounds=(-1, 1), method="highs")
            W = result.x.reshape(shape)
            if -result.fun <= 1e-6:
                return False
        raise RuntimeError("the linear program for separability did not settle in 200 rounds")
