"""Problems with equality constraints: values and derivatives from functions, from torch or from SciPy's terms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import LinearConstraint, NonlinearConstraint
from scipy.sparse import issparse

from lib import checks

Array = NDArray[np.float64]
Function = Callable[..., Any]


class EqualityProblem:
    """Minimize f(x) subject to c(x) = 0.

    Parameters
    ----------
    f : callable
        ``f(x) -> float``.
    c : callable
        ``c(x) -> (m,)``, m at most n.
    x0 : array_like, shape (n,)
        Start, float64; float32 is refused, as the method needs residuals of 1e-9.
    lam0 : array_like, shape (m,), optional
        First multipliers; default zeros.
    grad, jac, lag_hess : callable, optional
        ``grad(x) -> (n,)``, ``jac(x) -> (m, n)`` and ``lag_hess(x, lam) -> (n, n)``, the Hessian of f + lam'c. All three or
        none: without them `f` and `c` are called with float64 torch tensors and differentiated by torch.

    Raises
    ------
    ValueError, TypeError
        For arguments that are not allowed, shapes that do not match, or values at `x0` that are not finite.

    Examples
    --------
    >>> from lib.constrained.sketched_sqp import AdaSketchNewton, EqualityProblem
    >>> circle = EqualityProblem(lambda x: x[0] + x[1], lambda x: [x[0] ** 2 + x[1] ** 2 - 2], [-2.0, 0.5])
    >>> AdaSketchNewton("exact").minimize(circle).x.round(4)
    array([-1., -1.])
    """

    def __init__(self, f: Function, c: Function, x0: ArrayLike, lam0: ArrayLike | None = None, *, grad: Function | None = None,
                 jac: Function | None = None, lag_hess: Function | None = None) -> None:  # fmt: skip
        self.x0 = np.array(float64("x0", x0))
        self.n = len(self.x0)
        checks.function("f", f)
        checks.function("c", c)
        given = [name for name, d in (("grad", grad), ("jac", jac), ("lag_hess", lag_hess)) if d is not None]
        if len(given) not in (0, 3):
            raise ValueError(f"give grad, jac and lag_hess, or none of them, got {', '.join(given)} only")
        if not given:
            f, c, grad, jac, lag_hess = _differentiated(f, c)
        self._f, self._c = f, c
        self._grad = checks.function("grad", grad)
        self._jac, self._lag_hess = checks.function("jac", jac), checks.function("lag_hess", lag_hess)
        self.m = 0
        self.m = len(self._array("c", self._c(self.x0.copy()), None))
        if not 1 <= self.m <= self.n:
            raise ValueError(f"c must return 1 to {self.n} numbers, as many as x0 at most, got {self.m}")
        self.lam0 = np.zeros(self.m) if lam0 is None else multipliers("lam0", lam0, self.m)
        f0, *others = self.first_order(self.x0)
        for name, value in zip(("f", "c", "grad", "jac"), (np.array(f0), *others), strict=True):
            if not np.isfinite(value).all():
                raise ValueError(f"{name} must be finite at x0, got NaN or infinity")

    def _array(self, name: str, value: Any, shape: tuple[int, ...] | None) -> Array:
        value = value.toarray() if issparse(value) else value
        given = np.asarray(value.detach().numpy() if hasattr(value, "detach") else value)
        if given.dtype.kind not in "biuf":
            raise ValueError(f"{name} must return real numbers, got {checks.shown(value)}")
        if shape is not None and _without_ones(given.shape) != _without_ones(shape):
            raise ValueError(f"{name} must return an array of shape {shape}, got {given.shape}")
        return np.array(given, dtype=float).reshape(-1 if shape is None else shape)

    def values(self, x: Array) -> tuple[float, Array]:
        """f and c at x; not checked for being finite."""
        f = self._array("f", self._f(x.copy()), ())
        return float(f), self._array("c", self._c(x.copy()), (self.m,))

    def first_order(self, x: Array) -> tuple[float, Array, Array, Array]:
        """f, c, gradient and Jacobian at x; not checked for being finite."""
        g = self._array("grad", self._grad(x.copy()), (self.n,))
        G = self._array("jac", self._jac(x.copy()), (self.m, self.n))
        return *self.values(x), g, G

    def lag_hess(self, x: Array, lam: Array) -> Array:
        """Hessian of f + lam'c at x, shape (n, n), made symmetric."""
        H = self._array("lag_hess", self._lag_hess(x.copy(), lam.copy()), (self.n, self.n))
        return (H + H.T) / 2


def _without_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape without its axes of one entry: a row may stand for a vector, a transposed matrix for none."""
    return tuple(k for k in shape if k != 1)


def float64(name: str, value: Any) -> Array:
    """A vector in double precision; single precision is refused."""
    given = checks.array(name, value, ndim=1)
    if given.dtype != np.float64:
        raise TypeError(f"{name} must be float64: residuals of 1e-9 are asked for, got {given.dtype}")
    return given


def multipliers(name: str, value: Any, m: int) -> Array:
    """Multipliers as a copy, shape (m,): one for each constraint, in double precision."""
    given = float64(name, value)
    if given.shape != (m,):
        raise ValueError(f"{name} must have shape ({m},), one for each constraint, got {given.shape}")
    return np.array(given)


class _Torch:
    """f, c and their derivatives as functions of NumPy arrays, by torch; can be pickled where f and c can."""

    def __init__(self, f: Function, c: Function) -> None:
        self.f, self.c = f, c

    def _scalar(self, x: Any) -> Any:
        import torch

        return torch.as_tensor(self.f(x), dtype=x.dtype).reshape(()) + 0 * x.sum()  # a constant f has a gradient, too

    def _vector(self, x: Any) -> Any:
        import torch

        value = self.c(x)
        if not isinstance(value, torch.Tensor):
            value = torch.stack([torch.as_tensor(part, dtype=x.dtype) for part in value])
        return value.reshape(-1)

    def _lagrangian(self, x: Any, lam: Any) -> Any:
        return self._scalar(x) + lam @ self._vector(x)

    def call(self, what: str, x: Array, lam: Array | None = None) -> Any:
        """One of f, c, grad, jac and lag_hess."""
        import torch

        at = torch.from_numpy(x)
        if what == "lag_hess":
            return torch.func.hessian(self._lagrangian)(at, torch.from_numpy(lam))
        rule = self._scalar if what in ("f", "grad") else self._vector
        return rule(at) if what in ("f", "c") else torch.func.jacrev(rule)(at)


def _differentiated(f: Function, c: Function) -> tuple[Function, ...]:
    """The five functions of a problem, from two of torch tensors."""
    made = _Torch(f, c)
    return tuple(partial(made.call, what) for what in ("f", "c", "grad", "jac", "lag_hess"))


def from_scipy(fun: Any, x0: Any, args: tuple[Any, ...], jac: Any, hess: Any, constraints: Any, lam0: Any) -> EqualityProblem:
    """The problem that the arguments of `scipy.optimize.minimize` describe."""
    checks.function("fun", fun)
    checks.function("hess", hess)
    if jac is not True:
        checks.function("jac", jac)
    alone = isinstance(constraints, dict) or not isinstance(constraints, Sequence)
    parts = [_constraint(part) for part in ([constraints] if alone else constraints)]
    if not parts:
        raise ValueError("constraints must hold at least one equality constraint")
    x = np.array(float64("x0", x0))
    sizes = np.cumsum([0] + [np.size(value(x.copy())) for value, _, _ in parts])

    def curvature(x: Array, lam: Array) -> Array:
        H = hess(x.copy(), *args)
        total = np.array(H.toarray() if issparse(H) else H, dtype=float)
        for (_, _, bend), a, b in zip(parts, sizes[:-1], sizes[1:], strict=True):
            H = bend(x.copy(), lam[a:b].copy())
            total = total + (H.toarray() if issparse(H) else np.asarray(H, dtype=float))
        return total

    def slopes(x: Array) -> Array:
        rows = [slope(x.copy()) for _, slope, _ in parts]
        return np.vstack([row.toarray() if issparse(row) else np.atleast_2d(row) for row in rows])

    return EqualityProblem(
        lambda x: fun(x, *args)[0] if jac is True else fun(x, *args),
        lambda x: np.concatenate([np.atleast_1d(value(x.copy())) for value, _, _ in parts]),
        x,
        lam0,
        grad=lambda x: fun(x, *args)[1] if jac is True else jac(x, *args),
        jac=slopes,
        lag_hess=curvature,
    )


def _constraint(part: Any) -> tuple[Function, Function, Function]:
    """Value, Jacobian and curvature ``(x, v) -> sum of v_i times the Hessian of c_i`` of one of SciPy's constraints."""
    if isinstance(part, LinearConstraint):
        level, A = _level(part), part.A
        n = np.atleast_2d(A.toarray() if issparse(A) else A).shape[1]
        return lambda x: A @ x - level, lambda x: A, lambda x, v: np.zeros((n, n))
    if isinstance(part, NonlinearConstraint):
        if not callable(part.jac) or not callable(part.hess):
            raise ValueError("constraints need jac and hess as functions, hess(x, v): the method asks for exact derivatives")
        level = _level(part)
        return lambda x: part.fun(x) - level, part.jac, part.hess
    if isinstance(part, dict) and part.get("type") == "eq":
        if not callable(part.get("jac")) or not callable(part.get("hess")):
            raise ValueError("constraints given as dictionaries need 'jac' and 'hess' as functions, hess(x, v)")
        more, fun, jac, hess = part.get("args", ()), part["fun"], part["jac"], part["hess"]
        return lambda x: fun(x, *more), lambda x: jac(x, *more), lambda x, v: hess(x, v, *more)
    raise ValueError(f"constraints must be equalities in one of SciPy's forms, got {checks.shown(part)}")


def _level(part: Any) -> Array:
    low, high = np.asarray(part.lb, dtype=float), np.asarray(part.ub, dtype=float)
    if not (np.isfinite(low).all() and np.array_equal(low, high)):
        raise ValueError(f"constraints must be equalities, lb equal to ub, got lb {low} and ub {high}")
    return low
