"""A network for every node: the authors' third model in TOPO's search, and NOTEARS-MLP with the same networks and loss."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.linalg import expm
from scipy.optimize import minimize
from scipy.special import expit

from lib import checks
from lib.constrained.topo_swaps.scores import Array, check_data


@dataclass
class Budget:
    """Passes spent: evaluations of the loss and gradient of *one* node's network on all rows.

    Examples
    --------
    >>> from lib.constrained.topo_swaps.study import Budget
    >>> Budget().passes
    0
    """

    passes: int = 0


@dataclass(frozen=True)
class NetworkColumn:
    """Regression of a node by one hidden layer of sigmoids: half the mean squared residual plus penalties, by L-BFGS-B.

    The model is ``y ~ c + sigmoid(X A + a) v`` with centered parents, its loss half the mean squared residual plus ``l1`` times
    the absolute values of A and a, plus ``l2 / 2`` times the squares of A, a and v. The authors have no a and no c. The
    strength of a parent is the norm of its row of A.

    Parameters
    ----------
    hidden : int
        Units, default 10 (NOTEARS-MLP; the authors: 40).
    l1, l2 : float
        Penalties, default 0.01 each (the authors').
    max_iter : int
        Iterations of L-BFGS-B.
    seed : int
        Of the starts, the same for every regression with as many parents.
    budget : Budget
        Is told every pass.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.constrained.topo_swaps.study import NetworkColumn
    >>> x = np.linspace(-3, 3, 100)[:, None]
    >>> NetworkColumn(l1=1e-4, l2=1e-4)(x, np.tanh(2 * x[:, 0]))[0] < 0.02
    True
    """

    hidden: int = 10
    l1: float = 0.01
    l2: float = 0.01
    max_iter: int = 200
    seed: int = 0
    budget: Budget = field(default_factory=Budget, compare=False)

    def __post_init__(self) -> None:
        checks.integer("hidden", self.hidden, low=1)
        checks.integer("max_iter", self.max_iter, low=1)
        checks.integer("seed", self.seed, low=0)
        for name in ("l1", "l2"):
            checks.number(name, getattr(self, name), low=0)

    def __call__(self, X: Array, y: Array) -> tuple[float, Array]:
        """The loss, and the strength of each parent, shape (p,)."""
        y, p = y - y.mean(), X.shape[1]
        if not p:
            return 0.5 * float(np.mean(y * y)), np.empty(0)
        X = _with_bias(X)
        A = np.random.default_rng(self.seed).normal(size=(p + 1, self.hidden)) / np.sqrt(p)
        v = np.random.default_rng(self.seed + 1).normal(size=self.hidden)

        def objective(theta: Array) -> tuple[float, Array]:
            self.budget.passes += 1
            return _column_loss(theta, X, y, self)

        found = minimize(objective, _split(A, v), jac=True, bounds=_bounds(A, v), **_optimizer(self))
        A, _ = _joined(found.x, A.shape, v.shape)
        return float(found.fun), np.linalg.norm(A[:p], axis=1)


def _with_bias(X: Array) -> Array:
    """Centered columns and a column of ones."""
    return np.hstack([X - X.mean(axis=0), np.ones((len(X), 1))])


def _split(A: Array, v: Array) -> Array:
    """One vector: the positive and the negative parts of A, so that the absolute values are linear, and v."""
    return np.concatenate([np.maximum(A, 0).ravel(), np.maximum(-A, 0).ravel(), v.ravel()])


def _joined(theta: Array, shape: tuple[int, ...], shape_v: tuple[int, ...]) -> tuple[Array, Array]:
    size = int(np.prod(shape))
    return (theta[:size] - theta[size : 2 * size]).reshape(shape), theta[2 * size :].reshape(shape_v)


def _bounds(A: Array, v: Array, free: Array | bool = True) -> list[tuple[float | None, float | None]]:
    ends = [(0.0, None if ok else 0.0) for ok in np.broadcast_to(free, A.shape).ravel()]
    return [*ends, *ends, *[(None, None)] * v.size]


def _optimizer(column: NetworkColumn) -> dict[str, Any]:
    return {"method": "L-BFGS-B", "options": {"maxiter": column.max_iter, "ftol": 1e-6}}


def _column_loss(theta: Array, X: Array, y: Array, column: NetworkColumn) -> tuple[float, Array]:
    """Loss and gradient of one network: y (n,) centered, X (n, p + 1) from `_with_bias`."""
    A, v = _joined(theta, (X.shape[1], column.hidden), (column.hidden,))
    s = expit(X @ A)
    residual = s @ v - y
    residual -= residual.mean()
    by_A = X.T @ (s * (1 - s) * v * residual[:, None]) / len(X)
    return _penalized(theta, 0.5 * float(np.mean(residual**2)), (A, by_A), (v, residual @ s / len(X)), column)


def _joint_loss(theta: Array, X: Array, rho: float, alpha: float, column: NetworkColumn) -> tuple[float, Array]:
    """Loss and gradient of all networks plus the augmented Lagrangian of the acyclicity: X (n, d + 1) from `_with_bias`."""
    n, d, hidden = len(X), X.shape[1] - 1, column.hidden
    A, V = _joined(theta, (d + 1, d, hidden), (d, hidden))  # A[i, j]: from parent i into the network of j; A[d]: biases
    s = expit(X @ A.reshape(d + 1, -1)).reshape(n, d, hidden)
    residual = np.einsum("njh,jh->nj", s, V) - X[:, :d]
    residual -= residual.mean(axis=0)
    back = s * (1 - s) * (V * residual[:, :, None])
    E = expm((A[:d] ** 2).sum(axis=2))
    h = float(np.trace(E)) - d
    by_A = (X.T @ back.reshape(n, -1)).reshape(A.shape) / n
    by_A[:d] += (rho * h + alpha) * E.T[:, :, None] * 2 * A[:d]
    value = 0.5 * float(np.sum(residual**2)) / n + 0.5 * rho * h * h + alpha * h
    return _penalized(theta, value, (A, by_A), (V, np.einsum("nj,njh->jh", residual, s) / n), column)


def _penalized(
    theta: Array, value: float, first: tuple[Array, Array], second: tuple[Array, Array], column: NetworkColumn
) -> tuple[float, Array]:
    """Add both penalties to a value and to its gradients by A and v, given as (A, gradient), (v, gradient)."""
    (A, by_A), (v, by_v) = first, second
    value += column.l1 * float(theta[: 2 * A.size].sum()) + 0.5 * column.l2 * float(np.sum(A * A) + np.sum(v * v))
    flat = (by_A + column.l2 * A).ravel()
    return value, np.concatenate([flat + column.l1, column.l1 - flat, (by_v + column.l2 * v).ravel()])


def notears_networks(
    X: npt.ArrayLike,
    column: NetworkColumn | None = None,
    seed: int = 0,
    max_iter: int = 100,
    h_tol: float = 1e-8,
    rho_max: float = 1e16,
) -> Array:
    """NOTEARS-MLP (Zheng et al., 2020): all networks at once, acyclicity ``tr e^{W∘W} = d`` by an augmented Lagrangian.

    ``W[i, j]`` is the norm of parent i's first-layer weights in the network of j. Networks, loss and penalties are those of
    `column`, so that the orders it ends in can be scored by it; a joint evaluation is d passes of its budget.

    Parameters
    ----------
    X : array, shape (n, d)
    column : NetworkColumn, optional
        Default ``NetworkColumn()``.
    seed : int
        Of the start.
    max_iter, h_tol, rho_max : int, float, float
        Outer rounds, and where they stop (official values).

    Returns
    -------
    array, shape (d, d)
        W, acyclic only up to ``h_tol`` (see `dag_from_weights`).

    Raises
    ------
    ValueError
        For bad data.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.constrained.topo_swaps.study import notears_networks
    >>> x = np.random.default_rng(0).normal(size=(100, 1))
    >>> W = notears_networks(np.hstack([x, 3 * np.tanh(x) + 0.3 * x[::-1]]))
    >>> bool(W.max() > 0.5), bool(W.min() < 1e-3)
    (True, True)
    """
    X = _with_bias(check_data(X))
    column = NetworkColumn() if column is None else column
    max_iter, seed = checks.integer("max_iter", max_iter, low=1), checks.integer("seed", seed, low=0)
    h_tol, rho_max = checks.number("h_tol", h_tol, low=0), checks.positive("rho_max", rho_max)
    d, rng = X.shape[1] - 1, np.random.default_rng(seed)
    free = ~np.eye(d + 1, d, dtype=bool)[:, :, None]
    A = np.where(free, rng.normal(size=(d + 1, d, column.hidden)) / np.sqrt(d - 1), 0.0)
    V = rng.normal(size=(d, column.hidden))

    def objective(theta: Array, rho: float, alpha: float) -> tuple[float, Array]:
        column.budget.passes += d
        return _joint_loss(theta, X, rho, alpha, column)

    theta, bounds = _split(A, V), _bounds(A, V, free)
    rho, alpha, h = 1.0, 0.0, np.inf
    for _ in range(max_iter):
        while True:
            new = minimize(objective, theta, (rho, alpha), jac=True, bounds=bounds, **_optimizer(column)).x
            A, _ = _joined(new, A.shape, V.shape)
            h_new = float(np.trace(expm((A[:d] ** 2).sum(axis=2)))) - d
            if h_new <= 0.25 * h or rho >= rho_max:
                break
            rho *= 10
        theta, h = new, h_new
        alpha += rho * h
        if h <= h_tol or rho >= rho_max:
            break
    return np.sqrt((_joined(theta, A.shape, V.shape)[0][:d] ** 2).sum(axis=2))
