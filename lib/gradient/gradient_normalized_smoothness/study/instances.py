"""The paper's problems, with its notebook's draws or with draws of one's own."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from lib import checks
from lib.gradient.gradient_normalized_smoothness.hessians import Array, Banded, LowRank
from lib.gradient.gradient_normalized_smoothness.objectives import Logistic, LogSumExp, Objective, ResidualPower

#: The seed of the paper's notebook.
NOTEBOOK = 3124


class Instance(NamedTuple):
    """A function with its start, its metric (None: the identity) and its minimum."""

    f: Objective
    x0: Array
    metric: Array | None
    minimum: float


class ChebyshevChain(Objective):
    """``||u(x)||^p / p`` with ``u_1 = (1 - x_1) / 2`` and ``u_i = x_i - (2 x_{i-1}^2 - 1)``, in O(d) time and memory.

    Parameters
    ----------
    p : float
        Power, at least 2 (the paper: 4).

    Attributes
    ----------
    kinds : tuple of str
        "exact" and "inexact" (without the second derivatives of u), both `Banded` with a rank-one term; "zero".

    Examples
    --------
    >>> from lib.gradient.gradient_normalized_smoothness.study import ChebyshevChain
    >>> ChebyshevChain(4.0).value([1.0, 1.0, 1.0]), ChebyshevChain(2.0).grad([0.0, 0.0])
    (0.0, array([-0.25,  1.  ]))
    """

    kinds = ("exact", "inexact", "zero")

    def __init__(self, p: float = 4.0) -> None:
        self.p = checks.number("p", p, low=2)

    @staticmethod
    def _residual(x: Array) -> tuple[Array, Array]:
        """u and J^T u; J has -1/2, 1, ..., 1 on its diagonal and -4 x_i below it."""
        u = np.concatenate([[(1 - x[0]) / 2], x[1:] - (2 * x[:-1] ** 2 - 1)])
        v = u.copy()
        v[0] *= -0.5
        v[:-1] -= 4 * x[:-1] * u[1:]
        return u, v

    def value_and_grad(self, x: ArrayLike) -> tuple[float, Array]:
        """The value and the gradient."""
        u, v = self._residual(np.asarray(x, dtype=float))
        size = float(np.linalg.norm(u))
        return size**self.p / self.p, size ** (self.p - 2) * v

    def _hess(self, x: Array, kind: str) -> Banded:
        u, v = self._residual(x)
        size = float(np.linalg.norm(u))
        diagonal, below = np.ones(len(x)), np.zeros(len(x))
        diagonal[0] = 0.25
        diagonal[:-1] += 16 * x[:-1] ** 2
        below[:-1] = 0.0 - 4 * x[:-1]
        if kind == "exact":
            diagonal[:-1] -= 4 * u[1:]
        scale = size ** (self.p - 2)
        v = v / size if size > 0 else v
        return Banded(scale * np.stack([diagonal, below]), v, [(self.p - 2) * scale])


def soft_maximum(n: int, mu: float = 1.0, seed: Any = NOTEBOOK) -> Instance:
    """The paper's LogSumExp: n terms in n variables, uniform on [-1, 1], centered so that 0 is the minimizer; start at ones.

    Parameters
    ----------
    n : int
    mu : float
        Smoothing.
    seed : int or Generator
        An integer draws as the notebook does (NumPy's older generator: A, of shape (n, n), its columns the a_i; then b).

    Returns
    -------
    Instance
        With the metric ``sum_i a_i a_i^T`` of the vectors before they are centered.

    Examples
    --------
    >>> from lib.gradient.gradient_normalized_smoothness import study
    >>> study.soft_maximum(20).x0.shape
    (20,)
    """
    n = checks.integer("n", n, low=1)
    uniform = _uniform(seed)
    A, b = uniform(-1, 1, (n, n)), uniform(-1, 1, n)
    f = LogSumExp.centered(A.T, b, mu)
    return Instance(f, np.ones(n), A @ A.T, f.value(np.zeros(n)))


def linear_residual(n: int = 200, m: int = 100, p: float = 4.0, seed: Any = NOTEBOOK) -> Instance:
    """The paper's linear equations: ``||A x - b||^p / p``, A of shape (m, n), m < n, uniform on [-1, 1]; start at ones.

    Parameters
    ----------
    n, m : int
        Unknowns and equations (the paper: 200 and 100).
    p : float
        The power (the paper: 4).
    seed : int or Generator
        An integer draws as the notebook does.

    Returns
    -------
    Instance
        With the metric ``A^T A + 1e-8 I``.

    Examples
    --------
    >>> from lib.gradient.gradient_normalized_smoothness import study
    >>> problem = study.linear_residual()
    >>> f"{problem.f.value(problem.x0):.3g}"
    '7.93e+06'
    """
    n, m = checks.integer("n", n, low=1), checks.integer("m", m, low=1)
    uniform = _uniform(seed)
    A, b = uniform(-1, 1, (m, n)), uniform(-1, 1, m)
    f = ResidualPower(lambda x: A @ x - b, lambda x: A, p)
    return Instance(f, np.ones(n), A.T @ A + 1e-8 * np.eye(n), 0.0)


def rosenbrock(p: float = 2.0, x0: ArrayLike = (-2.0, 2.0)) -> Instance:
    """Rosenbrock's function as the power p of a residual: ``||(10 (x_2 - x_1^2), 1 - x_1)||^p / p``.

    Parameters
    ----------
    p : float
        At least 2.
    x0 : array_like, shape (2,)
        Start (the paper: -2, 2).

    Examples
    --------
    >>> from lib.gradient.gradient_normalized_smoothness import study
    >>> study.rosenbrock().f.value([0.0, 0.0])
    0.5
    """
    f = ResidualPower(
        lambda x: np.array([10 * (x[1] - x[0] ** 2), 1 - x[0]]),
        lambda x: np.array([[-20 * x[0], 10.0], [-1.0, 0.0]]),
        p,
        lambda x, w: np.array([[-20.0 * w[0], 0.0], [0.0, 0.0]]),
    )
    return Instance(f, np.array(checks.array("x0", x0, shape=(2,)), dtype=float), None, 0.0)


def chebyshev(d: int, p: float = 4.0, seed: Any = NOTEBOOK) -> Instance:
    """The paper's Chebyshev chain of d variables, start uniform on [0, 1]; see `ChebyshevChain`.

    Examples
    --------
    >>> from lib.gradient.gradient_normalized_smoothness import study
    >>> study.chebyshev(50).x0.shape
    (50,)
    """
    d = checks.integer("d", d, low=2)
    return Instance(ChebyshevChain(p), _uniform(seed)(0, 1, d), None, 0.0)


class DenseHessian(Objective):
    """The same function with every Hessian as an array, for rivals that need one.

    Examples
    --------
    >>> from lib.gradient.gradient_normalized_smoothness import study
    >>> study.DenseHessian(study.ChebyshevChain(2.0)).hess([0.0, 0.0], "inexact")
    array([[0.25, 0.  ],
           [0.  , 1.  ]])
    """

    def __init__(self, f: Objective) -> None:
        self.f, self.kinds = f, f.kinds

    def value_and_grad(self, x: ArrayLike) -> tuple[float, Array]:
        """The value and the gradient."""
        return self.f.value_and_grad(x)

    def _hess(self, x: Array, kind: str) -> Array:
        H = self.f.hess(x, kind)
        return H.todense() if isinstance(H, Banded | LowRank) else H


def logistic(X: ArrayLike, y: ArrayLike, standardize: bool = True, minimum: float | None = None) -> Instance:
    """Logistic regression from zero, in the metric ``A^T A / n + 1e-8 I``.

    Parameters
    ----------
    X : array_like, shape (n, d)
    y : array_like, shape (n,)
        Two classes.
    standardize : bool
    minimum : float, optional
        Of the loss; default: found by Newton's method to rounding. 0 where the classes can be separated.

    Examples
    --------
    >>> from lib.gradient.gradient_normalized_smoothness import study
    >>> study.logistic([[0.0], [1.0], [2.0]], [0, 1, 0]).minimum < 0.7
    True
    """
    from lib.gradient.gradient_normalized_smoothness.method import minimize_gns

    f = Logistic.of(X, y, standardize)
    x0, B = np.zeros(f.A.shape[1]), f.metric()
    if minimum is None:
        minimum = minimize_gns(f.value_and_grad, x0, jac=True, hess=f.hess, metric=B, gtol=1e-11, max_iter=100).fun
    return Instance(f, x0, B, checks.number("minimum", minimum))


def _uniform(seed: Any) -> Any:
    if isinstance(seed, np.random.Generator):
        return seed.uniform
    return np.random.RandomState(checks.integer("seed", seed, low=0)).uniform  # as the notebook draws
