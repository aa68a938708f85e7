"""Value and gradient of the penalized problem, and the exact hypergradient: pure functions of tensors."""

from __future__ import annotations

import torch
from torch import Tensor

from lib import checks
from lib.problems.bilevel import BilevelProblem

__all__ = ["DegenerateActiveSet", "exact_hypergrad", "penalty_hypergrad", "penalty_value"]


class DegenerateActiveSet(ValueError):
    """The constraints that are active at a point are dependent, or one of them has no multiplier: no formula holds there."""


def penalty_value(problem: BilevelProblem, x: Tensor, y: Tensor, z: Tensor, sigma: float) -> float:
    r"""Value of the penalized objective, :math:`f(x, y) + (g(x, y) - g(x, z)) / \sigma` (3).

    Parameters
    ----------
    problem : BilevelProblem
        `upper` is f, `lower` is g.
    x, y, z : Tensor, shapes (n,), (m,), (m,)
        `y` minimizes ``sigma f + g``, `z` minimizes ``g``, both over Y: then this is the paper's :math:`\psi_\sigma(x)`.
    sigma : float
        Weight of the upper level, above 0.

    Returns
    -------
    float

    Raises
    ------
    TypeError, ValueError
        For a problem of another kind, tensors that are not finite or of unlike shapes, a weight that is not above 0.

    Examples
    --------
    >>> import torch
    >>> from lib.constrained.bilevel_penalty import penalty_value
    >>> from lib.problems.bilevel import BilevelProblem
    >>> problem = BilevelProblem(lambda x, y: ((y - 1) ** 2).sum(), lambda x, y: ((y - x) ** 2).sum())
    >>> penalty_value(problem, torch.tensor([3.0]), torch.tensor([2.0]), torch.tensor([3.0]), sigma=1.0)
    2.0
    """
    x, y, z, sigma = _point(problem, x, y, z, sigma)
    rise = problem.lower(x.clone(), y.clone()) - problem.lower(x.clone(), z.clone())
    return float((problem.upper(x.clone(), y.clone()) + rise / sigma).detach())  # (3)


def penalty_hypergrad(problem: BilevelProblem, x: Tensor, y: Tensor, z: Tensor, sigma: float) -> Tensor:
    r"""Gradient of the penalized objective, by first derivatives only (4).

    .. math:: \nabla\psi_\sigma(x) = \nabla_x f(x, y) + \frac{\nabla_x g(x, y) - \nabla_x g(x, z)}{\sigma}

    Parameters
    ----------
    problem : BilevelProblem
    x, y, z : Tensor, shapes (n,), (m,), (m,)
        `y` minimizes ``sigma f + g``, `z` minimizes ``g``, any minimizers. An error of either is divided by `sigma`.
    sigma : float
        Above 0.

    Returns
    -------
    Tensor, shape (n,)

    Raises
    ------
    TypeError, ValueError
        As `penalty_value`.

    Examples
    --------
    >>> import torch
    >>> from lib.constrained.bilevel_penalty import penalty_hypergrad
    >>> from lib.problems.bilevel import BilevelProblem
    >>> problem = BilevelProblem(lambda x, y: ((y - 1) ** 2).sum(), lambda x, y: ((y - x) ** 2).sum())
    >>> penalty_hypergrad(problem, torch.tensor([3.0]), torch.tensor([2.0]), torch.tensor([3.0]), sigma=1.0)
    tensor([2.])
    """
    x, y, z, sigma = _point(problem, x, y, z, sigma)
    slope_f = problem.upper_slopes(x.clone(), y.clone())[0]
    return penalty_slope(
        slope_f, problem.lower_slopes(x.clone(), y.clone())[0], problem.lower_slopes(x.clone(), z.clone())[0], sigma
    )


def penalty_slope(slope_f: Tensor, slope_y: Tensor, slope_z: Tensor, sigma: float | Tensor) -> Tensor:
    """The gradient from its three parts: of f at y, of g at y, of g at z."""
    return slope_f + (slope_y - slope_z) / sigma  # (4)


def exact_hypergrad(
    problem: BilevelProblem,
    x: Tensor,
    y: Tensor,
    *,
    method: str = "pinv",
    rtol: float = 1e-9,
    active_tol: float = 1e-7,
    check_tol: float = 1e-5,
    max_iter: int | None = None,
) -> Tensor:
    r"""Gradient of the hyper-objective by the pseudo-inverse of the lower level's KKT matrix (10), (11).

    The problem's constraints, if any, are those of Y. Which of them are active, and their multipliers, follow from `y`.

    Parameters
    ----------
    problem : BilevelProblem
        Its functions are differentiated twice by autograd.
    x : Tensor, shape (n,)
    y : Tensor, shape (m,)
        Minimizes the upper level over the lower level's minimizers.
    method : {"pinv", "cg"}
        The pseudo-inverse of a dense matrix, or conjugate gradients on products with the Hessian (without active constraints).
    rtol : float
        Singular values below `rtol` times the largest count as 0.
    active_tol : float
        A constraint above ``-active_tol`` is active, and its multiplier has to be above `active_tol`.
    check_tol : float
        Largest relative residual of stationarity, and of the linear system; infinity allowed: nothing is checked.
    max_iter : int, optional
        Of conjugate gradients; 10 m by default.

    Returns
    -------
    Tensor, shape (n,)

    Raises
    ------
    DegenerateActiveSet
        If active constraints are linearly dependent, or one has no positive multiplier.
    TypeError, ValueError
        For arguments out of range, a `y` that is infeasible, not stationary, or no minimizer of the upper level, constraints
        that depend on x.

    Examples
    --------
    >>> import torch
    >>> from lib.constrained.bilevel_penalty import exact_hypergrad
    >>> from lib.problems.bilevel import BilevelProblem
    >>> problem = BilevelProblem(lambda x, y: ((y - 1) ** 2).sum(), lambda x, y: (y.sum() - x.sum()) ** 2)
    >>> exact_hypergrad(problem, torch.tensor([4.0]), torch.tensor([2.0, 2.0])).round(decimals=3)
    tensor([2.])
    """
    x, y, _, _ = _point(problem, x, y, y, 1.0)
    method = checks.choice("method", method, ("pinv", "cg"))
    rtol, active_tol = checks.number("rtol", rtol, low=0), checks.number("active_tol", active_tol, low=0)
    check_tol = checks.number("check_tol", check_tol, low=0, inf=True)
    steps = 10 * len(y) if max_iter is None else checks.integer("max_iter", max_iter, low=1)
    slope_x, slope_y = problem.upper_slopes(x.clone(), y.clone())
    pull, multipliers = _active(problem, x, y, active_tol, check_tol)
    if method == "cg":
        if len(pull):
            raise ValueError(f"method 'cg' is for interior points, and {len(pull)} constraints are active: take 'pinv'")
        q = _conjugate_gradients(problem, x, y, slope_y, check_tol, steps)
        return slope_x - _mixed(problem, x, y, q)
    mixed, hessian = _second(problem, x, y, multipliers, active_tol)
    n_active = len(pull)
    kkt = torch.zeros(n_active + len(y), n_active + len(y), dtype=y.dtype)
    kkt[:n_active, n_active:], kkt[n_active:, :n_active], kkt[n_active:, n_active:] = pull, pull.T, hessian  # (10)
    right = torch.cat([torch.zeros(n_active, dtype=y.dtype), slope_y])
    q = torch.linalg.pinv(kkt, rtol=rtol, hermitian=True) @ right  # (11)
    _check_span(kkt @ q - right, slope_y, check_tol)
    return slope_x - mixed.T @ q[n_active:]  # (11)


def _point(problem: BilevelProblem, x: Tensor, y: Tensor, z: Tensor, sigma: float) -> tuple[Tensor, Tensor, Tensor, float]:
    """The arguments, checked and in one precision; half precision becomes float32."""
    if not isinstance(problem, BilevelProblem):
        raise TypeError(f"problem must be a BilevelProblem, got {checks.shown(problem)}")
    given = {name: checks.tensor(name, value, ndim=1).detach() for name, value in (("x", x), ("y", y), ("z", z))}
    if given["z"].shape != given["y"].shape:
        raise ValueError(f"z must have the shape of y, {tuple(given['y'].shape)}, got {tuple(given['z'].shape)}")
    kind = wide(*given.values())
    return *(value.to(kind) for value in given.values()), checks.positive("sigma", sigma)  # type: ignore[return-value]


def wide(*tensors: Tensor) -> torch.dtype:
    """The type to compute in: the widest of the given, at least float32."""
    kind = torch.float32
    for value in tensors:
        kind = torch.promote_types(kind, value.dtype)
    return kind


def _active(problem: BilevelProblem, x: Tensor, y: Tensor, tol: float, check_tol: float) -> tuple[Tensor, Tensor]:
    """Jacobian of the active constraints, (p, m), and their multipliers, (p,)."""
    slope = problem.lower_slopes(x.clone(), y.clone())[1]
    scale = 1 + float(slope.abs().max())
    if problem.constraints is None:
        _check_stationary(slope, scale, check_tol)
        return y.new_zeros(0, len(y)), y.new_zeros(0)
    values = problem.constraints(x.clone(), y.clone()).detach()
    off = values.abs() if problem.equality else values
    if float(off.max()) > max(tol, 1e-12):
        raise ValueError(f"y must satisfy the constraints, got one at {float(off.max()):.3g}")
    by_x, by_y = torch.autograd.functional.jacobian(problem.constraints, (x, y))
    if bool((by_x != 0).any()):
        raise ValueError("problem has constraints that depend on x: the formula is for a fixed set Y")
    where = _where(problem, values, tol)
    pull = by_y[where]
    if not len(pull):
        _check_stationary(slope, scale, check_tol)
        return pull, y.new_zeros(0)
    if int(torch.linalg.matrix_rank(pull)) < len(pull):
        raise DegenerateActiveSet(f"y has {len(pull)} active constraints, and they are linearly dependent")
    multipliers = torch.linalg.lstsq(pull.T, -slope[:, None]).solution[:, 0]
    _check_stationary(slope + pull.T @ multipliers, scale, check_tol)
    if not problem.equality and float(multipliers.min()) <= tol * scale:
        raise DegenerateActiveSet(f"y has an active constraint with multiplier {float(multipliers.min()):.3g}, not above 0")
    return pull, multipliers


def _where(problem: BilevelProblem, values: Tensor, tol: float) -> Tensor:
    return torch.ones_like(values, dtype=torch.bool) if problem.equality else values >= -tol


def _check_stationary(residual: Tensor, scale: float, tol: float) -> None:
    if float(residual.abs().max()) > tol * scale:
        raise ValueError(f"y must be stationary for the lower level, got a residual of {float(residual.abs().max()):.3g}")


def _check_span(residual: Tensor, right: Tensor, tol: float) -> None:
    if float(residual.norm()) > tol * float(right.norm()):
        share = float(residual.norm() / right.norm())
        raise ValueError(
            f"y must minimize the upper level over the lower level's minimizers, or the linear system is not solved: "
            f"{share:.3g} of the upper level's slope is left"
        )


def _second(problem: BilevelProblem, x: Tensor, y: Tensor, multipliers: Tensor, tol: float) -> tuple[Tensor, Tensor]:
    """Mixed second derivatives, (m, n), and Hessian in y, (m, m), of the Lagrangian."""
    where = None
    if len(multipliers):
        where = _where(problem, problem.constraints(x.clone(), y.clone()).detach(), tol)  # type: ignore[misc]

    def slope(a: Tensor, b: Tensor) -> Tensor:
        value = problem.lower(a, b)
        if where is not None:
            value = value + multipliers @ problem.constraints(a, b)[where]  # type: ignore[misc]
        return _grad(value, b)

    mixed, hessian = torch.autograd.functional.jacobian(slope, (x, y))
    return mixed, (hessian + hessian.T) / 2


def _grad(value: Tensor, by: Tensor) -> Tensor:
    if not value.requires_grad:
        return torch.zeros_like(by)
    (found,) = torch.autograd.grad(value, by, create_graph=True, allow_unused=True)
    return torch.zeros_like(by) if found is None else found


def _mixed(problem: BilevelProblem, x: Tensor, y: Tensor, q: Tensor) -> Tensor:
    """The mixed derivatives times q, without a matrix."""
    a, b = x.clone().requires_grad_(), y.clone().requires_grad_()
    with torch.enable_grad():
        return _grad(_grad(problem.lower(a, b), b) @ q, a).detach()


def _conjugate_gradients(problem: BilevelProblem, x: Tensor, y: Tensor, right: Tensor, tol: float, steps: int) -> Tensor:
    """A solution of H q = right by Hessian-vector products; right in the range of H, which is positive semidefinite."""
    b = y.clone().requires_grad_()
    with torch.enable_grad():
        slope = _grad(problem.lower(x.clone(), b), b)
    q, r = torch.zeros_like(right), right.clone()
    p, rho = r.clone(), r @ r
    target = (0.1 * min(tol, 1e-3)) ** 2 * rho
    for _ in range(steps):
        if rho <= target:
            break
        Hp = torch.zeros_like(p)
        if slope.requires_grad:
            (Hp,) = torch.autograd.grad(slope, b, p, retain_graph=True)
        curvature = p @ Hp
        if curvature <= 0:
            break
        q, r = q + rho / curvature * p, r - rho / curvature * Hp
        rho, before = r @ r, rho
        p = r + rho / before * p
    _check_span(r, right, tol)
    return q
