"""What the method is compared with: gradient methods, Super-Universal and cubic Newton, SciPy's, and the published search."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import scipy.optimize as so
from scipy import linalg
from scipy.optimize import OptimizeResult

from lib import checks
from lib.gradient.gradient_normalized_smoothness.hessians import Array, Metric, prepare
from lib.gradient.gradient_normalized_smoothness.method import passes_function_test, passes_gradient_test
from lib.gradient.gradient_normalized_smoothness.study.instances import Instance

TRIALS = 40


def _result(x: Array, values: list[float], solves: list[int], problem: Instance, ftol: float, **more: Any) -> OptimizeResult:
    history = {"fun": np.array(values), "solves": np.array(solves), **more}
    success = bool(values[-1] - problem.minimum <= ftol)
    return OptimizeResult(x=x, fun=values[-1], nit=len(values) - 1, nsolve=solves[-1], success=success, history=history)


def _settings(problem: Instance, first: float, max_iter: int, ftol: float) -> tuple[Metric, Array, int, float]:
    checks.positive("first", first)
    max_iter, ftol = checks.integer("max_iter", max_iter, low=1), checks.number("ftol", ftol, low=0)
    return Metric(problem.metric), problem.x0.copy(), max_iter, ftol


def gradient_method(problem: Instance, first: float = 1.0, *, max_iter: int = 1000, ftol: float = 1e-8) -> OptimizeResult:
    """The gradient method in the problem's metric, with a line search on the Lipschitz constant L.

    Accepted is ``f(T) <= f + <g, T - x> + L/2 ||T - x||^2``; then L is halved (not below 1e-5), else doubled.

    Parameters
    ----------
    problem : Instance
    first : float
        First L.
    max_iter : int
    ftol : float
        Ends at this distance to the minimum.

    Examples
    --------
    >>> from lib.gradient.gradient_normalized_smoothness import study
    >>> study.gradient_method(study.linear_residual(), ftol=1e-10).nit
    28
    """
    B, x, max_iter, ftol = _settings(problem, first, max_iter, ftol)
    L, (f, g) = first, problem.f.value_and_grad(x)
    values, solves = [f], [0]
    while len(values) <= max_iter and values[-1] - problem.minimum > ftol:
        direction, norm = B.solve(g), B.dual_norm(g)
        for _ in range(TRIALS):
            new = x - direction / L
            f_new, g_new = problem.f.value_and_grad(new)
            if f_new <= f - norm**2 / (2 * L):
                break
            L *= 2
        x, f, g, L = new, f_new, g_new, max(L / 2, 1e-5)
        values.append(f)
        solves.append(solves[-1] + 1)
    return _result(x, values, solves, problem, ftol)


def fast_gradient_method(problem: Instance, first: float = 1.0, *, max_iter: int = 1000, ftol: float = 1e-8) -> OptimizeResult:
    """Nesterov's accelerated gradient method in the problem's metric, with the same search for L.

    Parameters
    ----------
    problem, first, max_iter, ftol
        As in `gradient_method`.

    Examples
    --------
    >>> from lib.gradient.gradient_normalized_smoothness import study
    >>> study.fast_gradient_method(study.soft_maximum(20)).success
    True
    """
    B, x, max_iter, ftol = _settings(problem, first, max_iter, ftol)
    L, total, v = first, 0.0, x.copy()
    values, solves = [problem.f.value(x)], [0]
    while len(values) <= max_iter and values[-1] - problem.minimum > ftol:
        for _ in range(TRIALS):
            a = (1 + np.sqrt(1 + 4 * total * L)) / (2 * L)
            y = (a * v + total * x) / (a + total)
            f_y, g_y = problem.f.value_and_grad(y)
            new = y - B.solve(g_y) / L
            f_new = problem.f.value(new)
            solves[-1] += 1
            if f_new <= f_y - B.dual_norm(g_y) ** 2 / (2 * L):
                break
            L *= 2
        v = new + total / a * (new - x)
        x, total, L = new, total + a, max(L / 2, 1e-5)
        values.append(f_new)
        solves.append(solves[-1])
    return _result(x, values, solves, problem, ftol)


def super_universal_newton(
    problem: Instance, kind: str = "exact", first: float = 1.0, *, alpha: float = 1.0, max_iter: int = 1000, ftol: float = 1e-8
) -> OptimizeResult:
    """Super-Universal Newton (Doikov, Mishchenko, Nesterov): lambda = H_k ||g||^alpha, H_k by the gradient test.

    Parameters
    ----------
    problem : Instance
    kind : str
        Which Hessian of the problem.
    first : float
        First H_k; a fourth after each success, four times as much after each failure (also of the factorization).
    alpha : float
        Between 0 and 1 (the paper's code: 1).
    max_iter, ftol
        As in `gradient_method`.

    Examples
    --------
    >>> from lib.gradient.gradient_normalized_smoothness import study
    >>> study.super_universal_newton(study.soft_maximum(20)).success
    True
    """
    B, x, max_iter, ftol = _settings(problem, first, max_iter, ftol)
    alpha = checks.number("alpha", alpha, low=0, high=1)
    factor, (f, g) = first, problem.f.value_and_grad(x)
    values, solves = [f], [0]
    while len(values) <= max_iter and values[-1] - problem.minimum > ftol:
        solve, norm = prepare(problem.f.hess(x, kind), B), B.dual_norm(g)
        for _ in range(TRIALS):
            lam = factor * norm**alpha
            h, _products = solve(lam, -g)
            solves[-1] += 1
            if h is not None:
                f_new, g_new = problem.f.value_and_grad(x + h)
                if -g_new @ h >= B.dual_norm(g_new) ** 2 / (4 * lam):
                    break
            factor *= 4
        else:
            break
        x, f, g, factor = x + h, f_new, g_new, max(factor / 4, 1e-5)
        values.append(f)
        solves.append(solves[-1])
    return _result(x, values, solves, problem, ftol)


def cubic_newton(
    problem: Instance, kind: str = "exact", first: float = 1.0, *, max_iter: int = 1000, ftol: float = 1e-8
) -> OptimizeResult:
    """Cubic Newton (Nesterov, Polyak) with an adaptive constant M: each step minimizes the quadratic model plus M/6 ||h||^3.

    Parameters
    ----------
    problem, kind, max_iter, ftol
        As in `super_universal_newton`.
    first : float
        First M; halved after each success (not below 1e-5), doubled while the value is above the model.

    Returns
    -------
    OptimizeResult
        ``nsolve`` counts damped systems: each step needs several, one for each value of ``||h||`` that is tried.

    Examples
    --------
    >>> from lib.gradient.gradient_normalized_smoothness import study
    >>> study.cubic_newton(study.soft_maximum(20)).success
    True
    """
    B, x, max_iter, ftol = _settings(problem, first, max_iter, ftol)
    M, (f, g) = first, problem.f.value_and_grad(x)
    values, solves = [f], [0]
    while len(values) <= max_iter and values[-1] - problem.minimum > ftol:
        H = problem.f.hess(x, kind)
        H = H @ np.eye(len(x)) if hasattr(H, "todense") else H
        w, Q = linalg.eigh(H, B.apply(np.eye(len(x))))  # Q^T B Q = I: in these coordinates every system is a division
        c = Q.T @ g
        for _ in range(TRIALS):
            y, tried = cubic_step(w, c, M)
            solves[-1] += tried
            model = c @ y + (w * y) @ y / 2 + M / 6 * np.linalg.norm(y) ** 3
            f_new, g_new = problem.f.value_and_grad(x + Q @ y)
            if f_new <= f + model:
                break
            M *= 2
        else:
            break
        x, f, g, M = x + Q @ y, f_new, g_new, max(M / 2, 1e-5)
        values.append(f)
        solves.append(solves[-1])
    return _result(x, values, solves, problem, ftol)


def cubic_step(w: Array, c: Array, M: float) -> tuple[Array, int]:
    """The minimizer of ``c.y + y.diag(w).y / 2 + M/6 ||y||^3``, and how many systems its search solves.

    Newton's method for ``1/||y|| = 1/r`` with ``y = -c / (w + M r / 2)``; the hard case (c orthogonal to the lowest
    eigenvector) is not treated.

    Parameters
    ----------
    w, c : array, shape (n,)
        Eigenvalues, which may be negative, and gradient in the eigenvectors' coordinates.
    M : float

    Examples
    --------
    >>> import numpy as np
    >>> from lib.gradient.gradient_normalized_smoothness import study
    >>> study.cubic_step(np.array([0.0]), np.array([-2.0]), 4.0)[0]
    array([1.])
    """
    w, c = checks.array("w", w, ndim=1), checks.array("c", c, ndim=1)
    M = checks.positive("M", M)
    lowest = max(0.0, -2 * float(w.min()) / M)
    low, high = lowest, lowest + np.sqrt(2 * np.linalg.norm(c) / M) + 1e-300  # the root is in between
    r, tried = high, 0
    while tried < 100:
        tried += 1
        d = w + M * r / 2
        with np.errstate(all="ignore"):
            y = -c / np.maximum(d, 1e-300)
        size = float(np.linalg.norm(y))
        if size > r:
            low = r
        else:
            high = r
        if abs(size - r) <= 1e-10 * r:
            break
        slope = -M / 2 * float(y @ (y / d)) / size  # of ||y|| in r
        step = (1 / size - 1 / r) / (-slope / size**2 + 1 / r**2)
        r = r - step if low < r - step < high else (low + high) / 2
    return y, tried


def scipy_newton(
    problem: Instance, method: str = "trust-exact", first: float = 1.0, *, max_iter: int = 1000, ftol: float = 1e-8
) -> OptimizeResult:
    """A Newton method of SciPy with the exact Hessian, in coordinates in which the problem's metric is the identity.

    Parameters
    ----------
    problem : Instance
    method : {"trust-exact", "trust-ncg", "Newton-CG"}
    first : float
        First radius of the trust region; Newton-CG, which searches along lines, has none.
    max_iter : int
        Most Hessians.
    ftol : float
        Ends at this distance to the minimum.

    Returns
    -------
    OptimizeResult
        ``nit`` counts Hessians, ``nfev`` values.

    Examples
    --------
    >>> from lib.gradient.gradient_normalized_smoothness import study
    >>> study.scipy_newton(study.soft_maximum(20)).success
    True
    """
    checks.choice("method", method, ("trust-exact", "trust-ncg", "Newton-CG"))
    _, x0, max_iter, ftol = _settings(problem, first, max_iter, ftol)
    L, f = linalg.cholesky(np.eye(len(x0)) if problem.metric is None else problem.metric, lower=True), problem.f
    counts = {"fun": 0, "hess": 0}

    def value(z: Array) -> tuple[float, Array]:
        counts["fun"] += 1
        fun, g = f.value_and_grad(linalg.solve_triangular(L, z, lower=True, trans="T"))
        return fun, linalg.solve_triangular(L, g, lower=True)

    def hess(z: Array) -> Array:
        counts["hess"] += 1
        H = f.hess(linalg.solve_triangular(L, z, lower=True, trans="T")) @ np.eye(len(z))
        half = linalg.solve_triangular(L, H, lower=True)
        return linalg.solve_triangular(L, half.T, lower=True)

    def watch(intermediate_result: OptimizeResult) -> None:
        if intermediate_result.fun - problem.minimum <= ftol or counts["hess"] >= max_iter:
            raise StopIteration

    own = {"xtol": 1e-15} if method == "Newton-CG" else {"initial_trust_radius": first, "max_trust_radius": 1e3 * max(first, 1)}
    options = {"maxiter": 10 * max_iter, **own, **({} if method == "Newton-CG" else {"gtol": 0.0})}
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        end = so.minimize(value, L.T @ x0, jac=True, hess=hess, method=method, callback=watch, options=options)
    success = bool(end.fun - problem.minimum <= ftol)
    return OptimizeResult(
        x=linalg.solve_triangular(L, end.x, lower=True, trans="T"),
        fun=float(end.fun),
        nit=counts["hess"],
        nfev=counts["fun"],
        success=success,
    )


def published_search(problem: Instance, kind: str = "exact", *, max_iter: int = 200, ftol: float = 1e-8) -> OptimizeResult:
    """The method with the search of the authors' code: a failed factorization ends the search as if it had succeeded.

    gamma is not halved then, and the step, the value and the gradient of the last trial are used once more.

    Parameters
    ----------
    problem, kind, max_iter, ftol
        As in `super_universal_newton`.

    Examples
    --------
    >>> from lib.gradient.gradient_normalized_smoothness import study
    >>> study.published_search(study.chebyshev(50)).success
    False
    """
    B, x, max_iter, ftol = _settings(problem, 1.0, max_iter, ftol)
    gamma, (f, g) = 1.0, problem.f.value_and_grad(x)
    h, f_new, g_new = np.zeros_like(x), f, g
    values, solves = [f], [0]
    while len(values) <= max_iter and values[-1] - problem.minimum > ftol:
        solve, norm = prepare(problem.f.hess(x, kind), B), B.dual_norm(g)
        for _ in range(TRIALS):
            step, _products = solve(norm / (gamma + 1e-8), -g)
            solves[-1] += 1
            if step is None:
                break
            h = step
            f_new, g_new = problem.f.value_and_grad(x + h)
            if passes_function_test(f - f_new, norm, B.dual_norm(g_new), gamma + 1e-8):
                gamma = max(2 * gamma, 1e-9)
                break
            gamma /= 2
        x, f, g = x + h, f_new, g_new
        values.append(f)
        solves.append(solves[-1])
    return _result(x, values, solves, problem, ftol)


def largest_gamma(problem: Instance, x: Array, kind: str, test: str, exponents: range = range(-20, 21)) -> float:
    """The largest power of two that one of the two tests accepts as gamma at a point; 0 where it accepts none.

    Parameters
    ----------
    problem, kind
        As in `super_universal_newton`.
    x : array, shape (n,)
    test : {"function", "gradient"}
    exponents : range
        Of the powers.

    Examples
    --------
    >>> from lib.gradient.gradient_normalized_smoothness import study
    >>> problem = study.soft_maximum(20)
    >>> study.largest_gamma(problem, problem.x0, "exact", "function") >= 1
    True
    """
    checks.choice("test", test, ("function", "gradient"))
    x = np.asarray(checks.array("x", x, shape=problem.x0.shape), dtype=float)
    B, (f, g) = Metric(problem.metric), problem.f.value_and_grad(x)
    solve, norm = prepare(problem.f.hess(x, kind), B), B.dual_norm(g)
    for exponent in sorted(exponents, reverse=True):
        gamma = 2.0**exponent
        h, _products = solve(norm / gamma, -g)
        if h is None:
            continue
        f_new, g_new = problem.f.value_and_grad(x + h)
        norms = norm, B.dual_norm(g_new)
        if test == "function" and passes_function_test(f - f_new, *norms, gamma):
            return gamma
        if test == "gradient" and passes_gradient_test(float(-g_new @ h), *norms, gamma, share=4.0):
            return gamma
    return 0.0
