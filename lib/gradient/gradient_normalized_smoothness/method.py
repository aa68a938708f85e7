"""Newton's method damped by ``||grad f|| / gamma``, with a search for gamma (Algorithms 1 and 3 of the paper)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import OptimizeResult
from scipy.sparse import issparse
from scipy.sparse.linalg import LinearOperator

from lib import checks
from lib.callbacks import asks_to_stop
from lib.gradient.gradient_normalized_smoothness.hessians import Array, Banded, LowRank, Metric, Solve, check_symmetric, prepare

TESTS = ("function", "gradient")
HISTORY = ("fun", "grad_norm", "gamma", "lam", "step_norm", "trials")
MESSAGES = {
    "gradient": (0, "the gradient is small: gtol or atol is met"),
    "value": (0, "the value is within ftol of f_star"),
    "max_iter": (1, "max_iter iterations are done"),
    "precision": (
        2,
        "no step passes the test: rounding hides the decrease, gamma0 is far from the unit of x, or the Hessian "
        "or the gradient is wrong",
    ),
    "hessian": (3, "the Hessian is not finite where the last step led"),
    "callback": (99, "the callback has asked to stop"),
}


def damped_step(solve: Solve, g: Array, g_norm: float, gamma: float) -> tuple[Array | None, float, int]:
    """The step h, lambda and the number of products with H; h is None where H + lambda B is not positive definite."""
    lam = g_norm / gamma
    h, products = solve(lam, -g)  # (1)
    if h is not None and not np.isfinite(h).all():
        h = None
    return h, lam, products


def passes_function_test(decrease: float, g_norm: float, g_norm_new: float, gamma: float) -> bool:
    """Whether the value falls by ``||g_new||_*^2 / (8 lambda)``, lambda = ||g||_* / gamma."""
    return decrease >= gamma / 8 * g_norm_new * (g_norm_new / g_norm)  # (3)


def passes_gradient_test(slope: float, g_norm: float, g_norm_new: float, gamma: float, share: float = 2.0) -> bool:
    """Whether ``<g_new, -h>`` is at least ``||g_new||_*^2 / (share lambda)``."""
    return slope >= gamma / share * g_norm_new * (g_norm_new / g_norm)  # (8)


def minimize_gns(
    fun: Callable[..., Any], x0: ArrayLike, args: tuple[Any, ...] = (), jac: Callable[..., Any] | bool | None = None,
    hess: Callable[..., Any] | None = None, hessp: Callable[..., Any] | None = None, *,
    metric: Metric | ArrayLike | None = None, gamma0: float = 1.0, max_iter: int = 1000, gtol: float = 1e-8, atol: float = 0.0,
    f_star: float | None = None, ftol: float = 1e-8, test: str = "function", max_trials: int = 40, cg_rtol: float = 1e-8,
    cg_max_iter: int | None = None, callback: Callable[..., Any] | None = None, tol: float | None = None, bounds: Any = None,
    constraints: Sequence[Any] = (),
) -> OptimizeResult:  # fmt: skip
    """Minimize a smooth function by Newton's method with an approximate Hessian, damped by ``||grad f|| / gamma``.

    Each iteration solves ``(H + lam B) h = -grad f(x)`` with ``lam = ||grad f(x)||_* / gamma`` and accepts x + h if the value
    falls by ``||grad f(x + h)||_*^2 / (8 lam)``; then gamma doubles, else it is halved and the step is tried again.

    Parameters
    ----------
    fun : callable
        ``fun(x, *args) -> float``.
    x0 : array_like, shape (n,)
        Start; computed in float64, as in `scipy.optimize.minimize`.
    args : tuple
        Further arguments of `fun`, `jac`, `hess` and `hessp`; anything else than a tuple is the one argument.
    jac : callable or True
        ``jac(x, *args) -> (n,)``, or True if `fun` returns the value and the gradient.
    hess : callable
        ``hess(x, *args)``: an approximate Hessian as an array (n, n) (Cholesky; or a sparse matrix, made dense), a `LowRank`
        (Woodbury), a `Banded` (O(n)) or a `scipy.sparse.linalg.LinearOperator` (conjugate gradients, preconditioned by the
        metric). It should be positive semidefinite; where the damped matrix is not positive definite, gamma is halved.
    hessp : callable
        ``hessp(x, p, *args) -> (n,)``, a product with the Hessian, instead of `hess`.
    metric : Metric or array_like, optional
        B, shape (n, n), or its diagonal; default the identity.
    gamma0 : float
        First gamma (the paper's code: 1), in the unit of x: steps start about as long.
    max_iter : int
        Most iterations; 0 evaluates the start only.
    gtol, atol : float
        Success where ``||grad f||_* <= max(gtol * ||grad f(x0)||_*, atol)``: relative to the start, and absolute.
    f_star, ftol : float, optional
        Success where ``f - f_star <= ftol`` (the paper's 1e-8), if the minimum `f_star` is known; it may be negative.
    test : {"function", "gradient"}
        The paper's test, or that of Doikov, Mishchenko and Nesterov: ``<g_new, -h> >= ||g_new||_*^2 / (4 lam)``.
    max_trials : int
        Most halvings of gamma in one iteration (the paper's code: 40).
    cg_rtol, cg_max_iter : float, int or None
        Conjugate gradients end at this relative residual (dual norm), or after so many products (default 10 n).
    callback : callable, optional
        ``callback(x)`` or ``callback(intermediate_result)``, after every iteration; StopIteration or True ends the run.
    tol : float, optional
        What `scipy.optimize.minimize` passes as `tol`: replaces `gtol`.
    bounds, constraints
        Refused where there are any; here because `scipy.optimize.minimize` passes them.

    Returns
    -------
    OptimizeResult
        ``x``, ``fun``, ``jac``, ``success``, ``status``, ``message``, ``nit``, ``nfev``, ``njev``, ``nhev``, ``nsolve``
        (damped systems), ``nchol_fail`` (those that were not positive definite), ``nprod`` (products with a LinearOperator),
        ``gamma`` (for the next iteration), ``grad_norm``, and ``history``: arrays ``fun`` and ``grad_norm`` of length
        nit + 1, ``gamma``, ``lam``, ``step_norm`` and ``trials`` of length nit.

    Raises
    ------
    ValueError, TypeError
        For arguments that are not allowed; at `x0`, also for values that are not finite or shapes that do not match.

    Notes
    -----
    The state is (x, gamma): ``minimize_gns(fun, res.x, gamma0=res.gamma, ...)`` goes on as if it had not stopped.
    Beyond the paper: a factorization that fails counts as a rejected step; and where the decrease is below the rounding of
    the value, ``<g_new, -h> >= ||g_new||_*^2 / (2 lam)`` decides, which holds for every gamma up to gamma(x).

    Examples
    --------
    >>> import scipy.optimize as so
    >>> from lib.gradient.gradient_normalized_smoothness import minimize_gns
    >>> res = minimize_gns(so.rosen, [-2.0, 2.0], jac=so.rosen_der, hess=so.rosen_hess)
    >>> res.success, res.x.round(6)
    (True, array([1., 1.]))
    >>> so.minimize(so.rosen, [-2.0, 2.0], method=minimize_gns, jac=so.rosen_der, hess=so.rosen_hess).nit == res.nit
    True
    """
    check_callables(fun, jac, hess, hessp, bounds, constraints)
    x = np.atleast_1d(np.array(checks.array("x0", x0, ndim=(0, 1)), dtype=float))
    B, gamma = check_metric(metric, len(x)), checks.positive("gamma0", gamma0)
    goals = _Goals.checked(gtol, tol, atol, f_star, ftol, max_iter)
    problem = _Problem(fun, jac, hess, hessp, args if isinstance(args, tuple) else (args,), len(x))
    search = _Search.checked(problem, B, test, max_trials, cg_rtol, cg_max_iter)
    return _Descent(search, x, gamma).run(goals, callback)


class _Goals(NamedTuple):
    """Where a run ends."""

    gtol: float
    atol: float
    f_star: float
    ftol: float
    max_iter: int

    @classmethod
    def checked(cls, gtol: Any, tol: Any, atol: Any, f_star: Any, ftol: Any, max_iter: Any) -> _Goals:
        return cls(
            checks.number("gtol" if tol is None else "tol", gtol if tol is None else tol, low=0),
            checks.number("atol", atol, low=0),
            -np.inf if f_star is None else checks.number("f_star", f_star),
            checks.number("ftol", ftol, low=0),
            checks.integer("max_iter", max_iter, low=0),
        )

    def met(self, f: float, g_norm: float, first_norm: float) -> str:
        """Which goal a point meets; empty if none."""
        if g_norm <= max(self.gtol * first_norm, self.atol):
            return "gradient"
        return "value" if f - self.f_star <= self.ftol else ""


class _Descent:
    """One run: where it is, gamma, and what it has seen."""

    def __init__(self, search: _Search, x: Array, gamma: float) -> None:
        self.search, self.problem, self.gamma, self.nit = search, search.problem, gamma, 0
        self.at = _Point(x, *self.problem.start(x), search.metric)
        self.history: dict[str, list[float]] = {name: [] for name in HISTORY}

    def run(self, goals: _Goals, callback: Callable[..., Any] | None) -> OptimizeResult:
        reason = ""
        while True:
            self.history["fun"].append(self.at.f)
            self.history["grad_norm"].append(self.at.g_norm)
            reason = goals.met(self.at.f, self.at.g_norm, self.history["grad_norm"][0]) or reason
            if not reason and self.nit == goals.max_iter:
                reason = "max_iter"
            reason = reason or self.step()
            if reason in MESSAGES:
                return self.result(reason)
            if callback is not None and asks_to_stop(callback, self.state()):
                reason = "callback"

    def step(self) -> str:
        """One iteration; the reason why there is none, or empty."""
        try:
            H = self.problem.hessian(self.at.x, first=self.nit == 0)
        except _NotFinite:
            if self.nit == 0:
                raise ValueError("hess must return finite numbers at x0, got NaN or infinity") from None
            return "hessian"
        found = self.search(self.at, self.search.prepare(H), self.gamma)
        if found is None:
            return "precision"
        self.at, gamma, record = found
        for name, value in record.items():
            self.history[name].append(value)
        self.nit, self.gamma = self.nit + 1, min(2 * gamma, 1e300)
        return ""

    def state(self) -> OptimizeResult:
        """What a callback is told."""
        at = self.at
        return OptimizeResult(x=at.x.copy(), fun=at.f, jac=at.g.copy(), gamma=self.gamma, nit=self.nit)

    def result(self, reason: str) -> OptimizeResult:
        (status, message), at, problem, search = MESSAGES[reason], self.at, self.problem, self.search
        return OptimizeResult(
            x=at.x, fun=at.f, jac=at.g, success=status == 0, status=status, message=message, nit=self.nit, nfev=problem.nfev,
            njev=problem.njev, nhev=problem.nhev, nsolve=search.nsolve, nchol_fail=search.nchol_fail, nprod=search.nprod,
            gamma=self.gamma, grad_norm=at.g_norm, history={k: np.array(values) for k, values in self.history.items()},
        )  # fmt: skip


class _Point:
    """A point with its value, its gradient and the gradient's dual norm."""

    def __init__(self, x: Array, f: float, g: Array, metric: Metric) -> None:
        self.x, self.f, self.g, self.g_norm = x, f, g, metric.dual_norm(g)


class _Search:
    """The search for gamma at one point: halve it until a step is accepted."""

    def __init__(self, problem: _Problem, metric: Metric, test: str, max_trials: int, prepare: Callable[[Any], Solve]) -> None:
        self.problem, self.metric, self.test, self.max_trials, self.prepare = problem, metric, test, max_trials, prepare
        self.nsolve = self.nchol_fail = self.nprod = 0

    @classmethod
    def checked(cls, problem: _Problem, B: Metric, test: Any, max_trials: Any, cg_rtol: Any, cg_max_iter: Any) -> _Search:
        checks.choice("test", test, TESTS)
        rtol = checks.number("cg_rtol", cg_rtol, above=0, below=1)
        most = None if cg_max_iter is None else checks.integer("cg_max_iter", cg_max_iter, low=1)
        max_trials = checks.integer("max_trials", max_trials, low=1)
        return cls(problem, B, test, max_trials, lambda H: prepare(H, B, cg_rtol=rtol, cg_max_iter=most))

    def __call__(self, at: _Point, solve: Solve, gamma: float) -> tuple[_Point, float, dict[str, float]] | None:
        for trial in range(1, self.max_trials + 1):
            h, lam = self._step(at, solve, gamma)
            if h is not None and np.array_equal(at.x + h, at.x):
                return None  # the step is lost in rounding
            new = None if h is None else self._trial(at, h)
            if h is not None and new is not None and self._accepts(at, new, h, gamma):
                size = self.metric.norm(h)
                return new, gamma, {"gamma": gamma, "lam": lam, "step_norm": size, "trials": trial}
            gamma /= 2
        return None

    def _step(self, at: _Point, solve: Solve, gamma: float) -> tuple[Array | None, float]:
        h, lam, products = damped_step(solve, at.g, at.g_norm, gamma)
        self.nsolve, self.nprod, self.nchol_fail = self.nsolve + 1, self.nprod + products, self.nchol_fail + (h is None)
        return h, lam

    def _trial(self, at: _Point, h: Array) -> _Point | None:
        f, g = self.problem.trial(at.x + h, at.f if self.test == "function" else np.inf)
        return None if g is None else _Point(at.x + h, f, g, self.metric)

    def _accepts(self, at: _Point, new: _Point, h: Array, gamma: float) -> bool:
        slope, norms = float(-(new.g @ h)), (at.g_norm, new.g_norm)
        if self.test == "gradient":
            return passes_gradient_test(slope, *norms, gamma, share=4.0)
        rounding = _rounding(at.f, new.f)
        if abs(at.f - new.f) <= rounding and passes_function_test(rounding, *norms, gamma):
            return passes_gradient_test(slope, *norms, gamma)  # the demand, too, is lost in rounding
        return passes_function_test(at.f - new.f, *norms, gamma)


def _rounding(f: float, f_new: float) -> float:
    """How far two values may be apart by rounding alone."""
    return 8 * float(np.finfo(float).eps) * max(abs(f), abs(f_new)) if f < np.inf else 0.0


class _NotFinite(ValueError):
    """The Hessian has entries that are not finite."""


class _Problem:
    """The user's functions: called with copies, counted, and looked at before they are believed."""

    def __init__(self, fun: Any, jac: Any, hess: Any, hessp: Any, args: tuple[Any, ...], n: int) -> None:
        self._fun, self._jac, self._hess, self._hessp, self._args, self._n = fun, jac, hess, hessp, args, n
        self.nfev = self.njev = self.nhev = 0

    def _value(self, x: Array) -> tuple[float, Any]:
        answer = self._fun(x.copy(), *self._args)
        self.nfev += 1
        value, slope = answer if self._jac is True else (answer, None)
        value = np.asarray(value)
        if value.size != 1 or value.dtype.kind not in "biuf":
            raise ValueError(f"fun must return one real number, got {checks.shown(answer)}")
        return float(value.item()), slope

    def _gradient(self, x: Array, slope: Any) -> Array:
        self.njev += 1
        g = np.asarray(self._jac(x.copy(), *self._args) if self._jac is not True else slope)
        if g.dtype.kind not in "biuf" or g.size != self._n:
            raise ValueError(f"jac must return {self._n} real numbers, got {checks.shown(g)}")
        return np.array(g, dtype=float).reshape(self._n)

    def start(self, x: Array) -> tuple[float, Array]:
        f, slope = self._value(x)
        if not np.isfinite(f):
            raise ValueError(f"fun must be finite at x0, got {f}")
        g = self._gradient(x, slope)
        if not np.isfinite(g).all():
            raise ValueError("jac must be finite at x0, got NaN or infinity")
        return f, g

    def trial(self, x: Array, f: float) -> tuple[float, Array | None]:
        """Value and gradient; no gradient where the value does not fall from f and so refuses the step."""
        with np.errstate(all="ignore"):
            f_new, slope = self._value(x)
            if not f_new - f <= _rounding(f, f_new) or f_new == -np.inf:
                return f_new, None
            g = self._gradient(x, slope)
        return f_new, g if np.isfinite(g).all() else None

    def hessian(self, x: Array, first: bool) -> Any:
        self.nhev += 1
        n = self._n
        if self._hess is None:
            return LinearOperator((n, n), matvec=lambda p: self._hessp(x.copy(), p, *self._args), dtype=float)
        H = self._hess(x.copy(), *self._args)
        if issparse(H):
            H = H.toarray()
        if not isinstance(H, LowRank | Banded | LinearOperator):
            H = np.asarray(H)
            if H.dtype.kind not in "biuf" or H.size != n * n:
                raise ValueError(f"hess must return real numbers of shape ({n}, {n}), got {checks.shown(H)}")
            digits = float(np.finfo(H.dtype).eps) if H.dtype.kind == "f" else 0.0
            H = np.asarray(H, dtype=float).reshape(n, n)
            if not np.isfinite(H).all():
                raise _NotFinite
            if first:
                check_symmetric("what hess returns", H, max(1e-8, 100 * digits))
        elif tuple(H.shape) != (n, n):
            raise ValueError(f"hess must return a matrix of shape ({n}, {n}), got {H.shape}")
        return H


def check_callables(fun: Any, jac: Any, hess: Any, hessp: Any, bounds: Any, constraints: Any) -> None:
    """Refuse what `minimize_gns` cannot work with: no gradient, none or two kinds of Hessian, bounds, constraints."""
    checks.function("fun", fun)
    if jac is not True:
        checks.function("jac", jac)
    if (hess is None) == (hessp is None):
        raise ValueError("give either hess or hessp; for the gradient method, hess=lambda x: LowRank.zero(len(x))")
    checks.function("hess" if hessp is None else "hessp", hess if hessp is None else hessp)
    if bounds is not None:
        raise ValueError("bounds are not supported: the method is for unconstrained problems")
    if constraints is not None and not (isinstance(constraints, list | tuple) and not constraints):
        raise ValueError("constraints are not supported: the method is for unconstrained problems")


def check_metric(metric: Any, n: int) -> Metric:
    """The metric that an argument means, for n variables; ValueError where it does not fit."""
    if metric is not None and not isinstance(metric, Metric):
        metric = Metric(checks.array("metric", metric, ndim=(1, 2)))
    B = metric or Metric()
    if B.size not in (None, n):
        raise ValueError(f"metric must have size {n} as x0 has, got {B.size}")
    return B
