"""The paper's two larger kinds of problems: control of an elliptic equation, and logistic regression on a sphere."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

import lib.data
from lib import checks
from lib.constrained.sketched_sqp.problem import EqualityProblem

Array = NDArray[np.float64]
#: Recorded by the authors for the control problem on a grid of 3 by 3: KKT residual at the start.
PDE_RECORDED = 19.18673507
DATA = ("breast_cancer", "ionosphere", "mushroom", "sonar", "spambase", "splice")


def pde_problem(N: int = 3) -> EqualityProblem:
    """Linear-quadratic control of Poisson's equation on a square of side 2, with N by N points inside.

    Half of ``||W - target||^2 + 0.1 ||Z||^2``, subject to ``Laplace W + Z = 0`` with the state W and the control Z, stacked
    column by column; all variables and multipliers start at 1.

    Parameters
    ----------
    N : int
        Points along a side (the authors' record: 3).

    Examples
    --------
    >>> from lib.constrained.sketched_sqp.study import pde_problem
    >>> pde_problem(3).n, pde_problem(3).m
    (18, 9)
    """
    N = checks.integer("N", N, low=1, high=64)
    m, step = N * N, 2 / (N + 1)
    line = (np.eye(N, k=1) + np.eye(N, k=-1) - 2 * np.eye(N)) / step**2
    G = np.hstack([np.kron(np.eye(N), line) + np.kron(line, np.eye(N)), np.eye(m)])
    off = 0.1 / np.sqrt(15) * (np.arange(1, N + 1) - (N + 1) / 2)
    target = np.concatenate([(np.sin(4 + off)[:, None] + np.cos(3 + off)[None, :]).ravel(order="F"), np.zeros(m)])
    weights = np.concatenate([np.ones(m), np.full(m, 0.1)])
    return quadratic_problem(np.diag(weights), weights * target, G, np.zeros(m), x0=np.ones(2 * m), lam0=np.ones(m))


def quadratic_problem(
    Q: ArrayLike, q: ArrayLike, A: ArrayLike, b: ArrayLike, x0: ArrayLike, lam0: ArrayLike | None = None
) -> EqualityProblem:
    """Minimize ``x'Qx/2 - q'x`` subject to A x = b.

    Parameters
    ----------
    Q : array_like, shape (n, n)
        Symmetric.
    q : array_like, shape (n,)
        Linear term.
    A : array_like, shape (m, n)
        Constraints.
    b : array_like, shape (m,)
        Their right-hand side.
    x0, lam0 : array_like, shapes (n,) and (m,)
        Start; multipliers default to 0.

    Examples
    --------
    >>> from lib.constrained.sketched_sqp import AdaSketchNewton
    >>> from lib.constrained.sketched_sqp.study import quadratic_problem
    >>> task = quadratic_problem([[1.0, 0.0], [0.0, 1.0]], [0.0, 0.0], [[1.0, 1.0]], [2.0], [5.0, 0.0])
    >>> AdaSketchNewton("rk", accuracy=1e-6, tol=1e-8).minimize(task, seed=0).x.round(6)
    array([1., 1.])
    """
    q = checks.array("q", q, ndim=1).astype(float)
    Q = checks.array("Q", Q, shape=(len(q), len(q))).astype(float)
    A = checks.array("A", A, shape=(None, len(q))).astype(float)
    b = checks.array("b", b, shape=(len(A),)).astype(float)
    return EqualityProblem(partial(_half_square, Q, q), partial(_shifted, A, b), x0, lam0, grad=partial(_shifted, Q, q),
                           jac=partial(_constant, A), lag_hess=partial(_constant, Q))  # fmt: skip


def _half_square(Q: Array, q: Array, x: Array) -> float:
    return float(x @ (Q @ x) / 2 - q @ x)


def _shifted(A: Array, b: Array, x: Array) -> Array:
    return A @ x - b


def _constant(A: Array, *_: Any) -> Array:
    return A


def logistic_data(name: str, rows: int | None = None) -> tuple[Array, Array]:
    """Data of a two-class problem: columns scaled to [-1, 1] as LIBSVM does, labels -1 and 1.

    Parameters
    ----------
    name : str
        "breast_cancer" (scikit-learn), or KEEL's "ionosphere" and "sonar" (the paper's; the first without a constant column),
        "mushroom" (edible or not), "spambase" or "splice" (the most frequent class against the others).
    rows : int, optional
        Keep that many, evenly spaced; default all.

    Examples
    --------
    >>> from lib.constrained.sketched_sqp.study import logistic_data
    >>> Z, y = logistic_data("breast_cancer")
    >>> Z.shape, float(Z.min()), float(Z.max())
    ((569, 30), -1.0, 1.0)
    """
    checks.choice("name", name, DATA)
    X, y = lib.data.breast_cancer() if name == "breast_cancer" else lib.data.keel_multiclass(name)
    if rows is not None:
        keep = np.linspace(0, len(X) - 1, min(checks.integer("rows", rows, low=2), len(X))).astype(int)
        X, y = X[keep], y[keep]
    X = X[:, np.ptp(X, axis=0) > 0]
    low, high = X.min(axis=0), X.max(axis=0)
    return 2 * (X - low) / (high - low) - 1, np.where(y == np.bincount(y).argmax(), 1.0, -1.0)


class _Logistic:
    """Mean logistic loss with linear constraints and the unit sphere: the five functions of a problem."""

    def __init__(self, Z: Array, y: Array, A: Array, b: Array) -> None:
        self.Zy, self.A, self.b = Z * y[:, None], A, b

    def f(self, x: Array) -> float:
        return float(np.logaddexp(0, -self.Zy @ x).mean())

    def grad(self, x: Array) -> Array:
        return -self.Zy.T @ self._odds(x) / len(self.Zy)

    def _odds(self, x: Array) -> Array:
        return np.exp(-np.logaddexp(0, self.Zy @ x))

    def c(self, x: Array) -> Array:
        return np.append(self.A @ x - self.b, x @ x - 1)

    def jac(self, x: Array) -> Array:
        return np.vstack([self.A, 2 * x])

    def lag_hess(self, x: Array, lam: Array) -> Array:
        s = self._odds(x)
        return self.Zy.T @ (self.Zy * (s * (1 - s))[:, None]) / len(self.Zy) + 2 * lam[-1] * np.eye(len(x))


def logistic_problem(Z: ArrayLike, y: ArrayLike, seed: Any = 0, m_linear: int = 10) -> EqualityProblem:
    """Logistic regression subject to A x = b (standard normal) and ||x||^2 = 1; variables and multipliers start at 1.

    Draws of A and b whose least-norm solution is longer than 0.9 are thrown away: the constraints could contradict each other.

    Parameters
    ----------
    Z : array_like, shape (N, n)
        Data.
    y : array_like, shape (N,)
        Labels, -1 and 1.
    seed : int or Generator
        Of A and b.
    m_linear : int
        Rows of A (the paper: 10).

    Examples
    --------
    >>> from lib.constrained.sketched_sqp import AdaSketchNewton
    >>> from lib.constrained.sketched_sqp.study import logistic_data, logistic_problem
    >>> task = logistic_problem(*logistic_data("breast_cancer"), seed=0)
    >>> AdaSketchNewton("exact", eps_H=1e-2).minimize(task).success
    True
    """
    Z = checks.array("Z", Z, ndim=2).astype(float)
    y = checks.array("y", y, shape=(len(Z),)).astype(float)
    if not (abs(y) == 1).all():
        raise ValueError(f"y must hold -1 and 1, got {np.unique(y)[:5]}")
    n = Z.shape[1]
    rng, m = checks.generator("seed", seed), checks.integer("m_linear", m_linear, low=1, high=max(1, (n - 1) // 2))
    for _ in range(1000):
        A, b = rng.standard_normal((m, n)), rng.standard_normal(m)
        if np.linalg.norm(np.linalg.lstsq(A, b, rcond=None)[0]) <= 0.9:
            break
    task = _Logistic(Z, y, A, b)
    return EqualityProblem(task.f, task.c, np.ones(n), np.ones(m + 1), grad=task.grad, jac=task.jac, lag_hess=task.lag_hess)


def well_conditioned_problem(d: int, seed: Any = 0) -> EqualityProblem:
    """A dense quadratic problem that suits Kaczmarz: eigenvalues between 0.7 and 1.4, orthonormal constraints, d/5 of them.

    Parameters
    ----------
    d : int
        Size n + m of the KKT system.
    seed : int or Generator
        Of everything.

    Examples
    --------
    >>> from lib.constrained.sketched_sqp.study import well_conditioned_problem
    >>> task = well_conditioned_problem(50)
    >>> task.n, task.m
    (40, 10)
    """
    d, rng = checks.integer("d", d, low=5, high=4000), checks.generator("seed", seed)
    m = d // 5
    n = d - m
    v, values = rng.standard_normal(n), rng.uniform(0.7, 1.4, n)
    mirror = np.eye(n) - np.outer(v, v) * (2 / (v @ v))
    G = np.linalg.qr(rng.standard_normal((n, m)))[0].T
    Q = (mirror * values) @ mirror
    return quadratic_problem((Q + Q.T) / 2, np.zeros(n), G, rng.standard_normal(m), x0=rng.standard_normal(n))
