"""AdaSketch-Newton: Newton steps on the KKT equations from a randomized linear solver, with one smooth merit function."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import OptimizeResult

from lib import checks
from lib.callbacks import asks_to_stop
from lib.constrained.sketched_sqp import lagrangian as al
from lib.constrained.sketched_sqp.directions import DIRECTIONS, Newton
from lib.constrained.sketched_sqp.problem import EqualityProblem, float64, from_scipy, multipliers
from lib.constrained.sketched_sqp.sketching import EPS, Solution

Array = NDArray[np.float64]
MAX_ETA1, MIN_ETA2, MIN_DELTA = 1e8, 1e-8, 1e-6  # the authors' code: where the loop gives up, and the floor of delta
MAX_HALVINGS = 60
PER_STEP = ("alpha", "inner", "rounds", "capped", "demanded", "rel_residual", "eta1", "eta2", "delta", "shifted")
MESSAGES = {
    "kkt": (0, "the KKT residual is small: tol or rtol is met"),
    "max_iter": (1, "max_iter iterations are done"),
    "precision": (2, "no step decreases the merit function: rounding hides the decrease, or a derivative is wrong"),
    "descent": (3, "no direction of descent was found before the penalties reached their limits"),
    "jacobian": (4, "the constraints' Jacobian is (nearly) singular: its least squared singular value is below xi_G"),
    "kkt_matrix": (5, "the KKT matrix is singular"),
    "not_finite": (6, "a derivative is not finite where the last step led"),
    "callback": (99, "the callback has asked to stop"),
}


class State(NamedTuple):
    """Where a run stands: all that the next iteration depends on."""

    x: Array
    lam: Array
    eta1: float
    eta2: float
    delta: float
    nit: int
    first: float
    rng: np.random.Generator


class AdaSketchNewton:
    """Newton's method for equality constraints with an exact augmented Lagrangian and randomized linear solves.

    Call `minimize` with an `EqualityProblem`, or give an instance to `scipy.optimize.minimize` as its `method`.

    Parameters
    ----------
    sketch : {"rk", "gv", "exact", "minres"}
        Who solves the Newton system: randomized Kaczmarz or Gaussian vectors (the paper), a factorization, or MINRES.
    sketch_size : int
        Columns of a sketch (the paper: 1).
    block : int
        Sketches that are computed at once; for speed only.
    eta1, eta2 : float
        First penalties of the constraints and of the dual gradient (the paper: 1 and 0.1).
    delta : float
        First accuracy (the paper: 0.1).
    xi_B : float
        Curvature added to a Hessian that is modified (the paper: 0.1).
    beta : float
        Share of the predicted decrease that a step must reach, below 1/2 (the paper: 0.1).
    nu : float
        Growth of the penalties: eta1 by nu^2, eta2 by 1/nu (the paper: 1.5).
    theta : callable, optional
        ``theta(k)`` in [0, 1], sharpens the accuracy in iteration k = 0, 1, ... (default, as in the paper's runs: 1).
    accuracy : "paper", float or callable
        The paper's rule; or the residual relative to the right-hand side, in (0, 1), as a number or ``accuracy(k)``.
    tol, rtol : float
        Success where the KKT residual is at most ``max(tol, rtol * first residual)`` (the paper: 1e-4 and 0).
    max_iter : int
        Most iterations of one call (the paper: 10 000).
    inner_max : int
        Most steps of the linear solver in one round (the paper: 100 000 or a million).
    eps_H : float
        The Hessian is modified where its curvature on the null space of the Jacobian is less (the paper: 1e-6 or 1e-2).
    xi_G : float
        The run ends where the least eigenvalue of G G' is less (the paper: 0.01).
    merit_hessian : {"lagrangian", "objective"}
        Hessian in the merit function's gradient; the authors' code takes that of the objective, right for linear constraints.

    Examples
    --------
    >>> from lib.constrained.sketched_sqp import AdaSketchNewton, EqualityProblem
    >>> circle = EqualityProblem(lambda x: x[0] + x[1], lambda x: [x[0] ** 2 + x[1] ** 2 - 2], [-2.0, 0.5])
    >>> res = AdaSketchNewton("rk", tol=1e-8).minimize(circle, seed=0)
    >>> res.success, res.x.round(6), res.v.round(6)
    (True, array([-1., -1.]), array([0.5]))
    """

    def __init__(
        self, sketch: str = "rk", *, sketch_size: int = 1, block: int = 128, eta1: float = 1.0, eta2: float = 0.1,
        delta: float = 0.1, xi_B: float = 0.1, beta: float = 0.1, nu: float = 1.5, theta: Callable[[int], float] | None = None,
        accuracy: str | float | Callable[[int], float] = "paper", tol: float = 1e-4, rtol: float = 0.0, max_iter: int = 10_000,
        inner_max: int = 100_000, eps_H: float = 1e-6, xi_G: float = 1e-2, merit_hessian: str = "lagrangian",
    ) -> None:  # fmt: skip
        self.sketch = checks.choice("sketch", sketch, DIRECTIONS)
        self.sketch_size = checks.integer("sketch_size", sketch_size, low=1)
        self.block = checks.integer("block", block, low=1)
        self.eta1, self.eta2 = checks.positive("eta1", eta1), checks.positive("eta2", eta2)
        self.delta, self.xi_B = checks.positive("delta", delta), checks.positive("xi_B", xi_B)
        self.beta = checks.number("beta", beta, above=0, below=0.5)
        self.nu = checks.number("nu", nu, above=1)
        self.theta = None if theta is None else checks.function("theta", theta)
        self.accuracy = accuracy
        if not callable(accuracy) and accuracy != "paper":
            self.accuracy = checks.number("accuracy", accuracy, above=0, below=1)
        self.tol, self.rtol = checks.number("tol", tol, low=0), checks.number("rtol", rtol, low=0, below=1)
        self.max_iter = checks.integer("max_iter", max_iter, low=0)
        self.inner_max = checks.integer("inner_max", inner_max, low=1)
        self.eps_H, self.xi_G = checks.number("eps_H", eps_H, low=0), checks.number("xi_G", xi_G, low=0)
        self.merit_hessian = checks.choice("merit_hessian", merit_hessian, ("lagrangian", "objective"))

    def minimize(
        self, problem: EqualityProblem, x0: ArrayLike | None = None, lam0: ArrayLike | None = None, *, seed: Any = None,
        callback: Callable[..., Any] | None = None, state: State | None = None,
    ) -> OptimizeResult:  # fmt: skip
        """Find a KKT point.

        Parameters
        ----------
        problem : EqualityProblem
            With n variables and m constraints.
        x0, lam0 : array_like, shapes (n,) and (m,), optional
            Start; default the problem's.
        seed : None, int or Generator
            Of the sketches.
        callback : callable, optional
            ``callback(intermediate_result)`` or ``callback(x)`` after each iteration; StopIteration or True ends the run.
        state : State, optional
            ``result.state`` of an earlier run: goes on as if it had not stopped, and `x0`, `lam0` and `seed` are not used.

        Returns
        -------
        OptimizeResult
            ``x``, ``v`` (multipliers), ``fun``, ``constr``, ``kkt``, ``success``, ``status``, ``message``, ``nit``, ``nfev``
            and ``njev`` (evaluations of f with c, and of their gradients), ``nhev``, ``ninner`` (steps of the linear solver),
            ``state``, and ``history``: ``kkt`` of length nit + 1, and of length nit ``alpha``, ``inner``, ``rounds`` (of the
            adaptive loop), ``capped`` (rounds that met inner_max), ``demanded`` and ``rel_residual`` (of the last round: what
            was asked of the linear solver and what it gave, relative to the right-hand side), ``eta1``, ``eta2``, ``delta``,
            ``shifted`` (whether the Hessian was modified).

        Raises
        ------
        ValueError, TypeError
            For a start that does not fit, or at which a value is not finite.
        """
        if not isinstance(problem, EqualityProblem):
            raise TypeError(f"problem must be an EqualityProblem, got {checks.shown(problem)}")
        if state is None:
            x = problem.x0.copy() if x0 is None else np.array(float64("x0", x0))
            if x.shape != (problem.n,):
                raise ValueError(f"x0 must have shape ({problem.n},), got {x.shape}")
            lam = problem.lam0.copy() if lam0 is None else multipliers("lam0", lam0, problem.m)
            rng = checks.generator("seed", seed)
            state = State(x, lam, self.eta1, self.eta2, self.delta, 0, np.nan, rng)
        elif not isinstance(state, State):
            raise TypeError(f"state must be the state of an earlier result, got {checks.shown(state)}")
        else:
            state = copy.deepcopy(state)
        return _Run(self, problem, state).run(callback)

    def __call__(self, fun: Any, x0: Any, args: Any = (), jac: Any = None, hess: Any = None, hessp: Any = None,
                 bounds: Any = None, constraints: Any = (), callback: Any = None,
                 **options: Any) -> OptimizeResult:  # fmt: skip
        """What `scipy.optimize.minimize` calls; `options` are settings of this class, `lam0` and `seed`."""
        if hessp is not None or bounds is not None:
            raise ValueError("hessp and bounds are not supported: give hess, and equality constraints only")
        lam0, seed = options.pop("lam0", None), options.pop("seed", None)
        unknown = sorted(set(options) - set(vars(self)))
        if unknown:
            raise TypeError(f"options must be settings of AdaSketchNewton, lam0 or seed, got {', '.join(unknown)}")
        args = args if isinstance(args, tuple) else (args,)
        problem = from_scipy(fun, x0, args, jac, hess, constraints, lam0)
        return AdaSketchNewton(**{**vars(self), **options}).minimize(problem, seed=seed, callback=callback)

    def __repr__(self) -> str:
        plain = inspect.signature(AdaSketchNewton).parameters
        changed = [f"{k}={v!r}" for k, v in vars(self).items() if v != plain[k].default]
        return f"AdaSketchNewton({', '.join(changed)})"


class _Step(NamedTuple):
    """What belongs to one iterate: Hessian for the merit function, KKT matrix's solver, norms."""

    H: Array
    newton: Newton
    scale: float
    psi: float
    upsilon: float
    shifted: bool


class _Run:
    """One run: where it is, and what it has seen."""

    def __init__(self, settings: AdaSketchNewton, problem: EqualityProblem, state: State) -> None:
        self.set, self.problem, self.rng, self.nit = settings, problem, state.rng, 0
        self.eta1, self.eta2, self.delta, self.before = state.eta1, state.eta2, state.delta, state.nit
        self.nfev = self.njev = self.nhev = 0
        self.at = self.evaluate(state.x, state.lam)
        seen = (np.array(self.at.f), self.at.c, self.at.g, self.at.G)
        for name, value in zip(("f", "c", "grad", "jac"), seen, strict=True):
            if not np.isfinite(value).all():
                raise ValueError(f"{name} must be finite at x0, got NaN or infinity")
        self.kkt = float(np.linalg.norm(self.at.kkt))
        self.first = self.kkt if np.isnan(state.first) else state.first
        self.history: dict[str, list[Any]] = {"kkt": [self.kkt], **{name: [] for name in PER_STEP}}

    def evaluate(self, x: Array, lam: Array) -> al.Point:
        self.nfev, self.njev = self.nfev + 1, self.njev + 1
        return al.Point(x, lam, *self.problem.first_order(x))

    def run(self, callback: Callable[..., Any] | None) -> OptimizeResult:
        reason = ""
        while True:
            if self.kkt <= max(self.set.tol, self.set.rtol * self.first):
                reason = "kkt"
            elif not reason and self.nit == self.set.max_iter:
                reason = "max_iter"
            reason = reason or self.step()
            if reason in MESSAGES:
                return self.result(reason)
            if callback is not None and asks_to_stop(callback, self.told()):
                reason = "callback"

    def step(self) -> str:
        """One iteration; the reason why there is none, or empty."""
        prepared = self.prepare()
        if isinstance(prepared, str):
            return prepared
        found = self.direction(prepared)
        if isinstance(found, str):
            return found
        move, decrease, record = found
        alpha = self.line_search(move, decrease)
        if not alpha:
            return "precision"
        self.nit += 1
        self.kkt = float(np.linalg.norm(self.at.kkt))
        record.update(alpha=alpha, eta1=self.eta1, eta2=self.eta2, delta=self.delta, shifted=prepared.shifted)
        for name in PER_STEP:
            self.history[name].append(record[name])
        self.history["kkt"].append(self.kkt)
        return ""

    def prepare(self) -> _Step | str:
        """Second derivatives, the KKT matrix and the bounds; or why there are none."""
        at, s = self.at, self.set
        H = self.problem.lag_hess(at.x, at.lam)
        self.nhev += 1
        if not np.isfinite(H).all():
            if self.before + self.nit == 0:
                raise ValueError("lag_hess must be finite at x0, got NaN or infinity")
            return "not_finite"
        xi_G = float(np.linalg.eigvalsh(at.G @ at.G.T)[0])
        if xi_G < s.xi_G or xi_G <= 0:
            return "jacobian"
        B = al.modified_hessian(H, at.G, s.xi_B, s.eps_H)
        gamma = al.kkt_matrix(B, at.G)
        psi, upsilon = al.bounds(B, H, at.G, s.xi_B, xi_G)
        merit_H = H if s.merit_hessian == "lagrangian" else self.problem.lag_hess(at.x, np.zeros_like(at.lam))
        newton = Newton(gamma, s.sketch, s.sketch_size, s.block, s.inner_max)
        return _Step(merit_H, newton, float(np.linalg.norm(gamma)), psi, upsilon, B is not H)

    def direction(self, step: _Step) -> tuple[Array, float, dict[str, Any]] | str:
        """The adaptive loop: solve more sharply and change the penalties until the direction is one of descent."""
        residual, move = self.at.kkt, np.zeros(len(self.at.kkt))
        inner = rounds = capped = 0
        self.sharpen(step, shrink=1.0)
        while True:
            wanted = self.wanted(step, rounds)
            solved = step.newton(-residual, move, wanted, self.rng)
            if solved is None or not np.isfinite(solved.residual):
                return "kkt_matrix"
            move, rounds, inner, capped = solved.x, rounds + 1, inner + solved.steps, capped + _is_capped(solved)
            decrease = float(al.merit_gradient(self.at, step.H, self.eta1, self.eta2) @ move)
            if al.descends(decrease, self.eta2, self.kkt):
                break
            if self.eta1 > MAX_ETA1 or self.eta2 < MIN_ETA2:
                if decrease >= 0:
                    return "descent"
                break
            self.eta1, self.eta2 = self.set.nu**2 * self.eta1, self.eta2 / self.set.nu  # (8)
            self.sharpen(step, shrink=self.set.nu**-4)
        record: dict[str, Any] = {"inner": inner, "rounds": rounds, "capped": capped}
        record |= {"demanded": wanted / self.kkt, "rel_residual": solved.residual / self.kkt}
        return move, decrease, record

    def sharpen(self, step: _Step, shrink: float) -> None:
        """Lower delta as the penalties demand."""
        trial = al.trial_delta(self.eta1, self.eta2, self.set.beta, step.psi, step.upsilon)
        self.delta = max(min(self.delta * shrink, trial), MIN_DELTA)  # (8)

    def wanted(self, step: _Step, rounds: int) -> float:
        """The residual that is asked of the linear solver."""
        k = self.before + self.nit
        if self.set.accuracy == "paper":
            theta = 1.0 if self.set.theta is None else checks.number("theta(k)", self.set.theta(k), low=0, high=1)
            return theta * self.delta * self.kkt / (step.scale * step.psi)  # (4)
        tau = self.set.accuracy(k) if callable(self.set.accuracy) else self.set.accuracy
        return checks.number("accuracy(k)", tau, low=0, below=1) * self.set.nu ** (-4 * rounds) * self.kkt

    def line_search(self, move: Array, decrease: float) -> float:
        """Halve the step until the merit function falls by enough; moves there; 0 where it never does."""
        at, n = self.at, self.problem.n
        here = al.merit(at, self.eta1, self.eta2)
        slack = 10 * EPS * max(1.0, abs(here))
        for halvings in range(MAX_HALVINGS):
            alpha = 0.5**halvings
            x, lam = at.x + alpha * move[:n], at.lam + alpha * move[n:]
            if np.array_equal(x, at.x) and np.array_equal(lam, at.lam):
                return 0.0  # the step is lost in rounding
            with np.errstate(all="ignore"):
                new = self.evaluate(x, lam)
                value = al.merit(new, self.eta1, self.eta2)
                finite = np.isfinite(value) and np.isfinite(new.kkt).all() and np.isfinite(new.G).all()
            if finite and al.falls_enough(here - value + slack, alpha, self.set.beta, decrease):
                self.at = new
                return alpha
        return 0.0

    def told(self) -> OptimizeResult:
        """What a callback is told."""
        at = self.at
        record = {name: values[-1] for name, values in self.history.items() if values}
        return OptimizeResult(x=at.x.copy(), v=at.lam.copy(), fun=at.f, nit=self.nit, **record)

    def result(self, reason: str) -> OptimizeResult:
        (status, message), at = MESSAGES[reason], self.at
        history = {name: np.array(values) for name, values in self.history.items()}
        k = self.before + self.nit
        state = State(at.x.copy(), at.lam.copy(), self.eta1, self.eta2, self.delta, k, self.first, self.rng)
        return OptimizeResult(
            x=at.x, v=at.lam, fun=at.f, constr=at.c, kkt=self.kkt, success=status == 0, status=status, message=message,
            nit=self.nit, nfev=self.nfev, njev=self.njev, nhev=self.nhev, ninner=int(history["inner"].sum()),
            state=copy.deepcopy(state), history=history,
        )  # fmt: skip


def _is_capped(solved: Solution) -> bool:
    return solved.status == "max_steps"
