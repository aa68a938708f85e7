"""The paper's objectives with their exact and approximate Hessians: softmax, powers of residuals, logistic regression.

Every class has ``value(x)``, ``grad(x)``, ``value_and_grad(x)`` and ``hess(x, kind)``, ready for `minimize_gns`:
``minimize_gns(f.value_and_grad, x0, jac=True, hess=partial(f.hess, kind="fisher"))``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit, logsumexp, softmax

from lib import checks
from lib.gradient.gradient_normalized_smoothness.hessians import Array, Banded, LowRank


class Objective(ABC):
    """A smooth function with several Hessians; ``kinds`` names them."""

    kinds: tuple[str, ...]

    @abstractmethod
    def value_and_grad(self, x: ArrayLike) -> tuple[float, Array]:
        """The value and the gradient, shape (n,)."""

    @abstractmethod
    def _hess(self, x: Array, kind: str) -> Array | LowRank | Banded: ...

    def value(self, x: ArrayLike) -> float:
        """The value."""
        return self.value_and_grad(x)[0]

    def grad(self, x: ArrayLike) -> Array:
        """The gradient, shape (n,)."""
        return self.value_and_grad(x)[1]

    def hess(self, x: ArrayLike, kind: str = "exact") -> Array | LowRank | Banded:
        """The Hessian of the given kind; "zero" makes the method a gradient method.

        Raises
        ------
        ValueError
            If the kind is none of `kinds`.
        """
        checks.choice("kind", kind, self.kinds)
        x = np.asarray(x, dtype=float)
        return LowRank.zero(len(x)) if kind == "zero" else self._hess(x, kind)


class LogSumExp(Objective):
    """The soft maximum ``f(x) = mu log sum_i exp((<a_i, x> - b_i) / mu)``.

    Parameters
    ----------
    A : array_like, shape (m, n)
        Rows a_i.
    b : array_like, shape (m,)
    mu : float
        Smoothing, above 0 (the paper: 1); f tends to ``max_i <a_i, x> - b_i`` with mu.

    Attributes
    ----------
    kinds : tuple of str
        "exact"; "gauss_newton", the weighted Gauss-Newton matrix, which leaves out ``-grad grad^T / mu``; "zero".

    Examples
    --------
    >>> from lib.gradient.gradient_normalized_smoothness import LogSumExp
    >>> f = LogSumExp([[1.0], [-1.0]], [0.0, 0.0], mu=1.0)
    >>> f.hess([0.0], "exact"), round(f.value([0.0]), 4)
    (array([[1.]]), 0.6931)
    """

    kinds = ("exact", "gauss_newton", "zero")

    def __init__(self, A: ArrayLike, b: ArrayLike, mu: float = 1.0) -> None:
        self.A: Array = np.array(checks.array("A", A, ndim=2), dtype=float)
        self.b: Array = np.array(checks.array("b", b, shape=(len(self.A),)), dtype=float)
        self.mu = checks.positive("mu", mu)

    @classmethod
    def centered(cls, A: ArrayLike, b: ArrayLike, mu: float = 1.0) -> LogSumExp:
        """The same with ``A - sum_i pi_i(0) a_i`` in place of A, so that the gradient at 0 vanishes: 0 is the minimizer."""
        made = cls(A, b, mu)
        made.A = made.A - softmax(-made.b / made.mu) @ made.A
        return made

    def value_and_grad(self, x: ArrayLike) -> tuple[float, Array]:
        """The value and the gradient ``A^T pi``, pi = softmax((A x - b) / mu); of one point or of many, (..., n)."""
        z = (np.asarray(x, dtype=float) @ self.A.T - self.b) / self.mu
        return _plain(self.mu * logsumexp(z, axis=-1)), softmax(z, axis=-1) @ self.A

    def _hess(self, x: Array, kind: str) -> Array:
        weights = softmax((self.A @ x - self.b) / self.mu)
        rows = self.A if kind == "gauss_newton" else self.A - weights @ self.A  # (11), the second term without cancellation
        return _gram(rows, weights / self.mu)  # (11)


class ResidualPower(Objective):
    """A power of a residual norm, ``f(x) = ||u(x)||^p / p``, p >= 2, for nonlinear equations u(x) = 0.

    Parameters
    ----------
    u : callable
        ``u(x) -> (m,)``.
    jac : callable
        Its Jacobian, ``jac(x) -> (m, n)``.
    p : float
        At least 2 (least squares).
    hess_u : callable, optional
        ``hess_u(x, w) -> (n, n)``, the sum of ``w_i`` times the Hessian of u_i; default zero: u is linear.

    Attributes
    ----------
    kinds : tuple of str
        "exact"; "inexact", without the second derivatives of u; "fisher", only ``(p - 2) / ||u||^p grad grad^T``, of rank one;
        "zero".

    Examples
    --------
    >>> import numpy as np
    >>> from lib.gradient.gradient_normalized_smoothness import ResidualPower
    >>> f = ResidualPower(lambda x: x - 1.0, lambda x: np.eye(len(x)), p=4.0)
    >>> f.value([3.0]), f.grad([3.0]), f.hess([3.0])
    (4.0, array([8.]), array([[12.]]))
    """

    kinds = ("exact", "inexact", "fisher", "zero")

    def __init__(
        self,
        u: Callable[[Array], Array],
        jac: Callable[[Array], Array],
        p: float = 2.0,
        hess_u: Callable[[Array, Array], Array] | None = None,
    ) -> None:
        self.u, self.jac = checks.function("u", u), checks.function("jac", jac)
        self.p = checks.number("p", p, low=2)
        self.hess_u = None if hess_u is None else checks.function("hess_u", hess_u)

    def value_and_grad(self, x: ArrayLike) -> tuple[float, Array]:
        """The value and the gradient ``||u||^(p-2) J^T u``."""
        x = np.asarray(x, dtype=float)
        u = self.u(x)
        size = float(np.linalg.norm(u))
        return size**self.p / self.p, size ** (self.p - 2) * (self.jac(x).T @ u)

    def _hess(self, x: Array, kind: str) -> Array | LowRank:
        u, J = self.u(x), self.jac(x)
        size = float(np.linalg.norm(u))
        v = J.T @ (u / size) if size > 0 else np.zeros(J.shape[1])
        outer = (self.p - 2) * size ** (self.p - 2)  # of v v^T: (p - 2) / ||u||^p grad grad^T without a quotient
        if kind == "fisher":
            return LowRank(v, [outer])  # (12), the rank-one term
        H: Array = size ** (self.p - 2) * (J.T @ J) + outer * np.outer(v, v)  # (12), without second derivatives
        if kind == "exact" and self.hess_u is not None:
            H = H + size ** (self.p - 2) * self.hess_u(x, u)  # (12), what "inexact" leaves out
        return H


class Logistic(Objective):
    """The mean logistic loss ``f(x) = (1/n) sum_i log(1 + exp(-<a_i, x>))``.

    Parameters
    ----------
    A : array_like, shape (n, d)
        Rows a_i: the label, 1 or -1, times the features.

    Attributes
    ----------
    kinds : tuple of str
        "exact"; "fisher", the mean of the outer products of the samples' gradients; "zero".

    Examples
    --------
    >>> from lib.gradient.gradient_normalized_smoothness import Logistic
    >>> f = Logistic([[1.0], [3.0]])
    >>> f.grad([0.0]), f.hess([0.0], "fisher")
    (array([-1.]), array([[1.25]]))
    """

    kinds = ("exact", "fisher", "zero")

    def __init__(self, A: ArrayLike) -> None:
        self.A: Array = np.array(checks.array("A", A, ndim=2), dtype=float)

    @classmethod
    def of(cls, X: ArrayLike, y: ArrayLike, standardize: bool = True) -> Logistic:
        """From features (n, d) and two classes (n,), the larger one positive; a column of ones is added.

        Raises
        ------
        ValueError
            If y does not hold two classes.
        """
        columns, labels = np.asarray(checks.array("X", X, ndim=2), dtype=float), np.asarray(y)
        if labels.shape != columns.shape[:1] or labels.dtype.kind in "cO" or len(np.unique(labels)) != 2:
            raise ValueError(f"y must hold one of two classes for each row of X, got {checks.shown(labels)}")
        if checks.boolean("standardize", standardize):
            spread = columns.std(axis=0)
            columns = (columns - columns.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
        sign = np.where(labels == np.unique(labels)[1], 1.0, -1.0)
        return cls(np.column_stack([columns, np.ones(len(columns))]) * sign[:, None])

    def metric(self, ridge: float = 1e-8) -> Array:
        """``A^T A / n + ridge I``, shape (d, d)."""
        ridge = checks.number("ridge", ridge, low=0)
        return self.A.T @ self.A / len(self.A) + ridge * np.eye(self.A.shape[1])

    def value_and_grad(self, x: ArrayLike) -> tuple[float, Array]:
        """The value and the gradient ``-A^T s / n``, s_i = sigmoid(-<a_i, x>); of one point or of many, (..., d)."""
        t = np.asarray(x, dtype=float) @ self.A.T
        return _plain(np.logaddexp(0.0, -t).mean(axis=-1)), -expit(-t) @ self.A / len(self.A)

    def _hess(self, x: Array, kind: str) -> Array:
        t = self.A @ x
        weights = expit(-t) * (expit(t) if kind == "exact" else expit(-t))  # (14)
        return _gram(self.A, weights / len(t))


def _gram(rows: Array, weights: Array) -> Array:
    """The weighted sum of the rows' outer products: a matrix times itself, which is half the work and exactly symmetric."""
    half = rows * np.sqrt(weights)[:, None]
    return half.T @ half


def _plain(value: Any) -> Any:
    """A number as float, an array as it is."""
    return float(value) if np.ndim(value) == 0 else value
