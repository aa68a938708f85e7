"""The proximal Lagrangian value function by an accurate oracle, and the scale of constraints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lib import checks
from lib.constrained.lv_hba.core import Steps, clip_multiplier, scaled_constraints, value_slopes
from lib.problems.bilevel import BilevelProblem


@dataclass(frozen=True)
class ProximalValue:
    """What `prox_lagrangian_value` finds.

    Attributes
    ----------
    value : float
    theta, lam : Tensor, shapes (m,) and (p,)
        The saddle point.
    slope_x, slope_y, slope_z : Tensor
        Gradients of the value.
    residual : float
        Length of the last gradient step in theta, per unit of step.
    nit : int
    success : bool
        Whether the residual came below the tolerance.
    """

    value: float
    theta: Tensor
    lam: Tensor
    slope_x: Tensor
    slope_y: Tensor
    slope_z: Tensor
    residual: float
    nit: int
    success: bool


def vector(name: str, value: Any, empty: bool = False) -> Tensor:
    """A vector in single or double precision, copied; half precision becomes single, other types become double."""
    if isinstance(value, Tensor) and value.is_floating_point() and not (empty and value.numel() == 0):
        given = checks.tensor(name, value, ndim=1).detach()
        return given.float() if given.dtype in (torch.float16, torch.bfloat16) else given.clone()
    return torch.as_tensor(checks.array(name, value, ndim=1, empty=empty).copy())


def of_problem(problem: Any) -> BilevelProblem:
    """The argument, if it is a bilevel problem."""
    if not isinstance(problem, BilevelProblem):
        raise TypeError(f"problem must be a BilevelProblem, got {checks.shown(problem)}")
    return problem


def constraint_scale(problem: BilevelProblem, x: Any, y: Any) -> float:
    """Largest stretch of the constraints in y at a point: the operator norm of their Jacobian, 1 without constraints.

    Constraints divided by it let one set of step sizes serve problems of any size.

    Parameters
    ----------
    problem : BilevelProblem
    x, y : Tensor or array_like, shapes (n,) and (m,)
        Where to measure; for linear constraints it does not matter.

    Raises
    ------
    ValueError
        If the constraints do not depend on y there.

    Examples
    --------
    >>> from lib.constrained.lv_hba import constraint_scale
    >>> from lib.problems.bilevel import BilevelProblem
    >>> problem = BilevelProblem(lambda x, y: x @ y, lambda x, y: y @ y, lambda x, y: y.sum().reshape(1) - x)
    >>> constraint_scale(problem, [0.0], [0.0, 0.0, 0.0, 0.0])
    2.0
    """
    x, y = vector("x", x), vector("y", y)
    if of_problem(problem).constraints is None:
        return 1.0
    jacobian = torch.autograd.functional.jacobian(lambda at: problem.constraints(x, at), y, vectorize=True)  # type: ignore[misc]
    found = float(torch.linalg.matrix_norm(jacobian, ord=2))
    if not 0 < found < float("inf"):
        raise ValueError(f"problem has constraints with slope {found:g} in y here: nothing to scale by")
    return found


def prox_lagrangian_value(
    problem: BilevelProblem,
    x: Any,
    y: Any,
    z: Any = None,
    gamma1: float = 1.0,
    gamma2: float = 1.0,
    r: float = 1000.0,
    scale: float = 1.0,
    tol: float = 1e-10,
    max_iter: int = 100_000,
) -> ProximalValue:
    r"""The value v(x, y, z) of (2), its saddle point and its gradients (4), to high accuracy.

    For given theta the best multiplier is :math:`P_Z(z + \gamma_2 g(x, \theta))`: (3). What is left to minimize over theta is
    smooth and strongly convex where f is convex; Nesterov's method with a constant momentum does it.

    Parameters
    ----------
    problem : BilevelProblem
        The lower level convex in y.
    x, y : Tensor or array_like, shapes (n,) and (m,)
    z : Tensor or array_like, shape (p,), optional
        Center of the multiplier; zero by default. May be empty without constraints.
    gamma1, gamma2 : float
        Positive; authors' toys: 10 and 1.
    r : float
        Bound of the multipliers; authors: 1000.
    scale : float
        The constraints are divided by it; see `constraint_scale`. Multipliers are then those of the scaled constraints.
    tol : float
        On the gradient step, relative to 1 plus the size of the gradient at y.
    max_iter : int

    Returns
    -------
    ProximalValue
        ``success`` says whether the tolerance was reached.

    Raises
    ------
    TypeError, ValueError
        For bad arguments.
    FloatingPointError
        If the functions give values that are not finite.

    Examples
    --------
    >>> from lib.constrained.lv_hba import prox_lagrangian_value
    >>> from lib.problems.bilevel import BilevelProblem
    >>> problem = BilevelProblem(lambda x, y: x @ y, lambda x, y: 0.5 * y @ y)
    >>> round(prox_lagrangian_value(problem, x=[0.0], y=[2.0], gamma1=3.0).value, 6)  # the Moreau envelope
    0.5
    """
    x, y = vector("x", x), vector("y", y)
    known = {"gamma1": gamma1, "gamma2": gamma2, "r": r, "scale": scale, "tol": tol}
    gamma1, gamma2, r, scale, tol = (checks.positive(name, value) for name, value in known.items())
    max_iter = checks.integer("max_iter", max_iter, low=1)
    constraints = of_problem(problem).constraints
    g_y = x.new_zeros(0) if constraints is None else constraints(x, y)
    z = torch.zeros_like(g_y) if z is None else vector("z", z, empty=True).to(g_y.dtype)
    if z.shape != g_y.shape:
        raise ValueError(f"z must have one entry for each of {len(g_y)} constraints, got shape {tuple(z.shape)}")
    steps = Steps(0, 0, 0, 0, gamma1, gamma2, r, scale)

    def best(theta: Tensor) -> Tensor:
        raised = z + gamma2 * scaled_constraints(problem, x, theta, scale, z)  # (3)
        return clip_multiplier(raised, r, problem.equality)

    def slope(theta: Tensor) -> Tensor:
        pulled = problem.constraint_pull(x, theta, best(theta) / scale)[1]
        return problem.lower_slopes(x, theta)[1] + pulled + (theta - y) / gamma1  # (2)

    theta, residual, nit = _nesterov(slope, problem.project_y, y, 1 / gamma1, tol, max_iter)
    lam = best(theta)
    inner = lam @ scaled_constraints(problem, x, theta, scale, lam)
    close = (theta - y).square().sum() / (2 * gamma1) - (lam - z).square().sum() / (2 * gamma2)
    value = float(problem.lower(x, theta) + inner + close)  # (2)
    slopes = value_slopes(problem, x, y, z, theta, lam, steps)
    done = residual <= tol
    return ProximalValue(value, theta, lam, *slopes, residual, nit, done)


def _nesterov(slope: Any, project: Any, start: Tensor, strong: float, tol: float, max_iter: int) -> tuple[Tensor, float, int]:
    """Accelerated projected descent on a strongly convex function, its steepness found by doubling.

    Returns the point, the relative residual and the iterations.
    """
    at = ahead = project(start)
    slope_ahead = slope(ahead)
    size, steep, residual = 1 + float(slope_ahead.norm()), 2 * strong, float("inf")
    for k in range(1, max_iter + 1):
        while True:
            new = project(ahead - slope_ahead / steep)
            move, slope_new = new - ahead, slope(new)
            turned = float((slope_new - slope_ahead) @ move)
            if turned <= steep * float(move @ move) * (1 + 1e-9) or float(move.norm()) < 1e-15 * (1 + float(new.norm())):
                break
            if not steep < 1e300:
                raise FloatingPointError("problem gives slopes that are not finite or grow without bound")
            steep *= 2
        residual = steep * float(move.norm()) / size
        if residual != residual:
            raise FloatingPointError("problem gives slopes that are not finite")
        if residual <= tol:
            return new, residual, k
        root = (strong / steep) ** 0.5
        step = new - at
        uphill = float(slope_new @ step) > 0
        at, ahead = new, new + (0.0 if uphill else (1 - root) / (1 + root)) * step
        slope_ahead = slope(ahead)
    return at, residual, max_iter
