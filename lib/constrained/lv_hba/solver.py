"""LV-HBA for any `BilevelProblem`: one loop, first derivatives only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from scipy.optimize import OptimizeResult

from lib import checks
from lib.constrained.lv_hba.core import State, Steps, iterate, penalty_weight
from lib.constrained.lv_hba.value import constraint_scale, of_problem, prox_lagrangian_value, vector
from lib.problems.bilevel import BilevelProblem

_DIVERGED = (
    "the iterates left all bounds after {k} iterations. The step eta of the saddle point has to stay below about "
    "2 mu / L^2, where mu = min(1 / gamma1, 1 / gamma2) and L is the steepness of the saddle operator, at least the norm of "
    "the constraints' slopes: take scale_constraints=True, or smaller eta and alpha"
)
_FEASIBLE = 1e-8


class LVHBA:
    r"""Single-loop first-order method for bilevel problems with constraints in the lower level.

    It minimizes the penalized :math:`F / c_k + f - v` over pairs that satisfy the constraints, where v is the proximal
    Lagrangian value of the lower level, with the saddle point behind v followed by one step in each iteration.

    Parameters
    ----------
    alpha, beta, eta : float
        Steps of (x, y), of the multiplier's center z, and of the saddle point. Authors' first toy: 0.008, 0.02, 0.01; with
        constraints scaled to slope 1, larger ones serve problems of any size.
    gamma1, gamma2 : float
        Proximal parameters (authors' toys: 10, 10 and 1, 1).
    c0, p : float
        Weight of the lower level's gap, ``c0 * (k + 1) ** p`` (authors' toys: 0.025 and 1, 0.3); see `penalty_weight`.
    r : float
        Bound of the multipliers (authors: 1000), of the scaled constraints where they are scaled.
    scale_constraints : bool
        Divide the constraints by the norm of their slopes at the start (authors: no).
    alpha_x : float, optional
        A step of its own for x; `alpha` by default. Only where C is a product of a set of x and a set of y: else the
        projection would not fit the step.
    max_iter : int
    tol : float
        Stop with success once all moves, per unit of step, and the gap f - v are below ``tol``, relative to the first moves
        and to 1 + abs(f). 0: run all iterations.
    record_every : int
        Iterations between two entries of the history.
    callback : callable, optional
        Given each new `State`.

    Raises
    ------
    TypeError, ValueError
        For parameters out of range.

    Examples
    --------
    >>> from lib.constrained.lv_hba import LVHBA
    >>> from lib.problems.bilevel import BilevelProblem
    >>> problem = BilevelProblem(lambda x, y: ((y - 1) ** 2).sum() / 2, lambda x, y: ((y - x) ** 2).sum() / 2)
    >>> result = LVHBA(alpha=0.3, eta=0.3, beta=0.3, max_iter=300).solve(problem, x0=[0.0], y0=[0.0])
    >>> round(result.x.item(), 3), round(result.y.item(), 3)
    (1.0, 1.0)
    """

    def __init__(
        self,
        alpha: float = 0.1,
        beta: float = 0.1,
        eta: float = 0.1,
        gamma1: float = 1.0,
        gamma2: float = 1.0,
        c0: float = 1.0,
        p: float = 0.3,
        r: float = 1000.0,
        scale_constraints: bool = True,
        alpha_x: float | None = None,
        max_iter: int = 1000,
        tol: float = 0.0,
        record_every: int = 10,
        callback: Callable[[State], Any] | None = None,
    ) -> None:
        self.alpha, self.beta = checks.positive("alpha", alpha), checks.positive("beta", beta)
        self.eta = checks.positive("eta", eta)
        self.gamma1, self.gamma2 = checks.positive("gamma1", gamma1), checks.positive("gamma2", gamma2)
        penalty_weight(0, c0, p)
        self.c0, self.p, self.r = float(c0), float(p), checks.positive("r", r)
        self.scale_constraints = checks.boolean("scale_constraints", scale_constraints)
        self.alpha_x = self.alpha if alpha_x is None else checks.positive("alpha_x", alpha_x)
        self.max_iter = checks.integer("max_iter", max_iter, low=1)
        self.tol = checks.number("tol", tol, low=0)
        self.record_every = checks.integer("record_every", record_every, low=1)
        self.callback = None if callback is None else checks.function("callback", callback)

    def start(self, problem: BilevelProblem, x0: Any, y0: Any, z0: Any = None) -> State:
        """The state before the first iteration: theta = y0, the multiplier and its center at `z0` (zero by default).

        Raises
        ------
        ValueError
            If the start is not feasible, or `project_joint` does not lead to feasible points.
        """
        x, y = vector("x0", x0), vector("y0", y0)
        y = y.to(x.dtype)
        near_x, near_y = of_problem(problem).project_joint(x, y)
        lam = x.new_zeros(0)
        if problem.constraints is not None:
            inside = problem.constraints(near_x, near_y)
            worst = float((inside.abs() if problem.equality else inside).max())
            if not worst <= _tolerance(x) * (1 + float(near_y.norm())):
                raise ValueError(f"problem.project_joint leaves constraints violated by {worst:.3g}: is the set empty?")
            lam = torch.zeros_like(inside)
        if z0 is not None:
            given = vector("z0", z0, empty=True).to(x.dtype)
            if given.shape != lam.shape:
                raise ValueError(f"z0 must have one entry for each of {len(lam)} constraints, got {tuple(given.shape)}")
            lam = given
        far = float(torch.cat([near_x - x, near_y - y]).norm())
        if far > _tolerance(x) * (1 + float(near_x.norm() + near_y.norm())):
            raise ValueError(
                f"x0 and y0 must satisfy all constraints; they are {far:.3g} away. problem.project_joint(x0, y0) is feasible"
            )
        return State(x, y, y.clone(), lam, lam.clone())

    def steps(self, problem: BilevelProblem, s: State) -> Steps:
        """Step sizes and constants for a problem, with the scale of its constraints at a state."""
        scale = constraint_scale(problem, s.x, s.y) if self.scale_constraints else 1.0
        return Steps(self.alpha, self.alpha_x, self.beta, self.eta, self.gamma1, self.gamma2, self.r, scale)

    def step(self, problem: BilevelProblem, s: State, steps: Steps) -> State:
        """One iteration.

        Raises
        ------
        FloatingPointError
            If a variable is no longer finite.
        """
        new = iterate(problem, s, penalty_weight(s.k, self.c0, self.p), steps)
        total = new.x.sum() + new.y.sum() + new.theta.sum() + new.lam.sum() + new.z.sum()
        if not bool(torch.isfinite(total)):
            raise FloatingPointError(_DIVERGED.format(k=new.k))
        return new

    def solve(
        self, problem: BilevelProblem, x0: Any = None, y0: Any = None, z0: Any = None, resume: OptimizeResult | None = None
    ) -> OptimizeResult:
        """Run `max_iter` iterations, from a start or from where an earlier result stopped.

        Parameters
        ----------
        problem : BilevelProblem
            Its `project_joint` has to lead to pairs that satisfy the constraints.
        x0, y0 : Tensor or array_like, shapes (n,) and (m,)
            A feasible start.
        z0 : Tensor or array_like, shape (p,), optional
            Start of the multiplier and of its center, of the scaled constraints; zero by default.
        resume : OptimizeResult, optional
            What this method returned; `x0`, `y0` and `z0` are then left out, and `max_iter` counts further iterations.

        Returns
        -------
        OptimizeResult
            ``x``, ``y``; ``fun`` (F there); ``multiplier`` (of the unscaled constraints); ``gap`` (f - v by the accurate
            oracle: 0 where y solves the lower level, never below); ``residual``; ``nit`` (all iterations); ``history`` (lists
            ``k``, ``upper``, ``lower``, ``c``, ``residual``, ``x_move``); ``success``, ``status`` (0 or 1), ``message``;
            ``state`` and ``steps``, to resume.

        Raises
        ------
        TypeError, ValueError
            For bad arguments or a start that is not feasible.
        FloatingPointError
            If the iterates leave all bounds.
        """
        of_problem(problem)
        if resume is None:
            if x0 is None or y0 is None:
                raise TypeError("x0 and y0 are needed where nothing is resumed")
            s = self.start(problem, x0, y0, z0)
            steps, first = self.steps(problem, s), None
            history: dict[str, list[float]] = {name: [] for name in ("k", "upper", "lower", "c", "residual", "x_move")}
        else:
            if not (x0 is None and y0 is None and z0 is None):
                raise ValueError("x0, y0 and z0 must be left out where an earlier result is resumed")
            if not isinstance(resume, OptimizeResult) or not isinstance(resume.get("state"), State):
                raise TypeError(f"resume must be a result of LVHBA.solve, got {checks.shown(resume)}")
            s, steps, first = resume.state, resume.steps, resume.first_residual
            history = {name: list(entries) for name, entries in resume.history.items()}
        residual, done = float("inf"), False
        for k in range(self.max_iter):
            c = penalty_weight(s.k, self.c0, self.p)
            new = self.step(problem, s, steps)
            record = new.k % self.record_every == 0 or k == self.max_iter - 1
            if record or self.tol or first is None:
                residual = _residual(s, new, steps)
                first = residual if first is None else first
            if record:
                self._record(history, problem, s, new, c, residual, steps)
            s = new
            if self.callback is not None:
                self.callback(s)
            if self.tol and residual <= self.tol * first and s.k % 20 == 0 and self._gap(problem, s, steps)[1]:
                done = True
                break
        gap, _ = self._gap(problem, s, steps)
        c = penalty_weight(s.k, self.c0, self.p)
        limit = f"iteration limit; gap of the lower level {gap:.3g}, residual {residual:.3g}"
        if bool((s.lam.abs() >= self.r).any()):
            limit += f"; a multiplier at its bound r = {self.r:g}: the saddle point's step eta may be too long, or r too small"
        done_text = f"stationary for penalty weight c = {c:.3g}, and the lower level is solved to {gap:.3g}"
        return OptimizeResult(
            x=s.x, y=s.y, fun=float(problem.upper(s.x, s.y)), multiplier=s.lam / steps.scale, gap=gap, residual=residual,
            nit=s.k, history=history, success=done, status=0 if done else 1,
            message=done_text if done else limit,
            state=s, steps=steps, first_residual=first,
        )  # fmt: skip

    def _gap(self, problem: BilevelProblem, s: State, steps: Steps) -> tuple[float, bool]:
        found = prox_lagrangian_value(
            problem, s.x, s.y, s.z, self.gamma1, self.gamma2, self.r, float(steps.scale), _accuracy(s.x), 5000
        )
        lower = float(problem.lower(s.x, s.y))
        gap = lower - found.value
        return gap, found.success and gap <= self.tol * (1 + abs(lower))

    @staticmethod
    def _record(
        history: dict[str, list[float]], problem: BilevelProblem, s: State, new: State, c: float, residual: float, steps: Steps
    ) -> None:
        history["k"].append(new.k)
        history["upper"].append(float(problem.upper(new.x, new.y)))
        history["lower"].append(float(problem.lower(new.x, new.y)))
        history["c"].append(c)
        history["residual"].append(residual)
        history["x_move"].append(float((new.x - s.x).norm()) / float(steps.alpha_x))


def _tolerance(x: torch.Tensor) -> float:
    return _FEASIBLE if x.dtype == torch.float64 else 1e-4


def _accuracy(x: torch.Tensor) -> float:
    return 1e-10 if x.dtype == torch.float64 else 1e-5


def _residual(s: State, new: State, steps: Steps) -> float:
    """Moves of (x, y) and z, per unit of step: zero where the penalized problem of this iteration is stationary."""
    moved = [(new.x - s.x) / steps.alpha_x, (new.y - s.y) / steps.alpha, (new.z - s.z) / steps.beta]
    return float(torch.cat([move.reshape(-1) for move in moved]).norm())
