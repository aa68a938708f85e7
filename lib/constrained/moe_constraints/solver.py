"""Batches of small least-squares problems by Levenberg and Marquardt, and the derivative of their solutions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy.optimize import OptimizeResult
from torch import Tensor

from lib import checks
from lib.callbacks import asks_to_stop

__all__ = ["implicit_solution", "levenberg_marquardt"]

Rows = Callable[[Tensor], Tensor]
#: Where even a step along the gradient gains nothing any more.
_MOST_DAMPING = 1e8
#: A step this little damped is a Gauss-Newton step: that it gains little says something.
_LITTLE_DAMPING = 1.0
#: Largest cosine of residual and columns at which a point is stationary to rounding.
_STATIONARY = 1e-10
_STUCK = 1e-4
#: lambda in (5) at the start, and what it is multiplied by after a gain and after a loss.
DAMPING, SHRINK, GROW = 1e-2, 0.3, 5.0
#: A step of so many roundings of the point is none.
_ROUNDING = 64


def levenberg_marquardt(
    residual: Rows,
    x0: Any,
    jacobian: Rows | None = None,
    *,
    tol: float = 1e-4,
    max_iter: int = 50,
    damping: Any = DAMPING,
    shrink: float = SHRINK,
    grow: float = GROW,
    callback: Callable[..., Any] | None = None,
) -> OptimizeResult:
    """Minimize half the squared norm of each of P residuals at once.

    Parameters
    ----------
    residual : function
        From a tensor of shape (P, N) to residuals (P, R); problem p sees row p only.
    x0 : array_like or tensor, shape (P, N) or (N,)
        Starts; float32 or float64. A tensor gives a tensor back, other things an array.
    jacobian : function, optional
        From (P, N) to (P, R, N); by default forward automatic differentiation.
    tol : float
        A nearly undamped step that lowers the cost by less than this share ends a problem. Paper: 1e-4, Navier-Stokes 1e-7.
    max_iter : int
        Most steps, failed ones counted. Paper: 50.
    damping : float or array_like, shape (P,)
        lambda in (5) at the start. A result's ``damping`` goes on where that run ended.
    shrink, grow : float
        What lambda is multiplied by after a step that lowers the cost, and after one that does not.
    callback : function, optional
        As in SciPy: called with ``intermediate_result`` after each step; a true answer or StopIteration ends the run.

    Returns
    -------
    OptimizeResult
        ``x``, ``fun`` (cost of each problem), ``converged`` and ``n_iter`` (of each), ``damping``, ``nit``, ``success``
        (all problems converged), ``message``.

    Raises
    ------
    TypeError, ValueError
        For bad arguments, and residuals that are not finite at the start or of a wrong shape.

    Examples
    --------
    >>> from lib.constrained.moe_constraints import levenberg_marquardt
    >>> found = levenberg_marquardt(lambda x: x**2 - 2.0, [1.0, 3.0], tol=1e-8)
    >>> [round(float(v), 6) for v in found.x], found.success
    ([1.414214, 1.414214], True)
    """
    start, like = _start(x0)
    options = _options(tol, max_iter, shrink, grow)
    rows = checks.function("residual", residual)
    slopes = _forward_jacobian(rows) if jacobian is None else checks.function("jacobian", jacobian)
    lam = _dampings(damping, start)
    told = None
    if callback is not None:
        checks.function("callback", callback)

        def told(x: Tensor, cost: Tensor) -> bool:
            return asks_to_stop(callback, OptimizeResult(x=like(x.clone()), fun=like(cost.clone())))

    with torch.no_grad():
        run = iterate(rows, slopes, start, lam, told, *options)
    return _result(run, like)


def step(J: Tensor, r: Tensor, damping: Tensor) -> Tensor:
    """The step (5) of each problem; columns of zeros get no step."""
    JtJ = J.mT @ J
    scale = JtJ.diagonal(dim1=-2, dim2=-1)
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))
    slope = (J.mT @ r[..., None]).squeeze(-1)
    delta, _ = torch.linalg.solve_ex(JtJ + torch.diag_embed(damping[:, None] * scale), -slope)  # (5)
    return delta


def iterate(
    rows: Rows,
    slopes: Rows,
    x: Tensor,
    lam: Tensor,
    told: Callable[[Tensor, Tensor], bool] | None,
    tol: float,
    max_iter: int,
    shrink: float,
    grow: float,
) -> dict[str, Any]:
    """Run (5) on every problem until each has converged or is stuck; finished ones stay as they are."""
    x, r = x.clone(), _checked(rows, x)
    J, cost = _checked_jacobian(slopes, x, r), 0.5 * r.square().sum(1)  # (4)
    if not torch.isfinite(cost).all():
        raise ValueError("residual must be finite at x0, and its squares too, got NaN or infinity")
    converged = _cosine(J, r) <= _STATIONARY
    open_, n_iter = ~converged, torch.zeros(len(x), dtype=torch.long)
    lam, stopped = lam.clone(), False
    while open_.any() and int(n_iter.max()) < max_iter and not stopped:
        delta = step(J, r, lam)
        trial = torch.where(open_[:, None], x + delta, x)
        r_new = rows(trial.clone())
        cost_new = 0.5 * r_new.square().sum(-1)
        better = open_ & (cost_new < cost)  # NaN is not better
        tiny = ~better & (delta.norm(dim=-1) <= _ROUNDING * torch.finfo(x.dtype).eps * x.norm(dim=-1))
        little = ((better & (cost - cost_new <= tol * cost)) | (open_ & tiny)) & (lam <= _LITTLE_DAMPING)
        n_iter += open_
        x = torch.where(better[:, None], trial, x)
        r, cost = torch.where(better[:, None], r_new, r), torch.where(better, cost_new, cost)
        lam = torch.where(open_, lam * torch.where(better, shrink, grow), lam)
        if better.any():
            J = torch.where(better[:, None, None], slopes(x.clone()), J)
        cosine, hopeless = _cosine(J, r), lam > _MOST_DAMPING
        converged = converged | little | (open_ & (cosine <= torch.where(hopeless, _STUCK, _STATIONARY)))
        open_ = open_ & ~converged & ~hopeless
        stopped = told is not None and told(x, cost)
    return {"x": x, "cost": cost, "converged": converged, "n_iter": n_iter, "damping": lam, "stopped": stopped}


def implicit_solution(omega: Tensor, gradient: Tensor, hessian: Tensor) -> Tensor:
    """The solution with its derivative (9) attached: the same numbers, and the implicit function theorem in the backward pass.

    Parameters
    ----------
    omega : tensor, shape (P, N)
        Solutions of the optimality condition; no derivative of their own is used.
    gradient : tensor, shape (P, N)
        The optimality condition at `omega`, differentiable in whatever it depends on beside `omega`.
    hessian : tensor, shape (P, N, N)
        Its derivative in `omega`.

    Returns
    -------
    tensor, shape (P, N)

    Raises
    ------
    TypeError, ValueError
        For tensors that are not finite or do not fit, or a singular `hessian`.

    Examples
    --------
    >>> import torch
    >>> from lib.constrained.moe_constraints import implicit_solution
    >>> b = torch.tensor([[2.0]], requires_grad=True)
    >>> root = torch.tensor([[1.4142135]])
    >>> implicit_solution(root, root**2 - b, 2 * root[..., None]).sum().backward()
    >>> round(float(b.grad), 4)
    0.3536
    """
    omega = checks.tensor("omega", omega, ndim=2).detach()
    gradient = checks.tensor("gradient", gradient, ndim=2)
    hessian = checks.tensor("hessian", hessian, ndim=3).detach()
    if gradient.shape != omega.shape or hessian.shape != (*omega.shape, omega.shape[1]):
        raise ValueError(
            f"gradient must have shape {tuple(omega.shape)} and hessian {(*omega.shape, omega.shape[1])}, "
            f"got {tuple(gradient.shape)} and {tuple(hessian.shape)}"
        )
    factors, pivots, info = torch.linalg.lu_factor_ex(hessian)
    if info.any():
        raise ValueError("hessian must not be singular")
    moved = torch.linalg.lu_solve(factors, pivots, (gradient - gradient.detach())[..., None])
    return omega - moved.squeeze(-1)  # (9)


def _cosine(J: Tensor, r: Tensor) -> Tensor:
    """Largest cosine between the residual and a column of the Jacobian, of each problem; 0 for no residual."""
    along = (J.mT @ r[..., None]).squeeze(-1).abs()
    size = J.norm(dim=-2) * r.norm(dim=-1, keepdim=True)
    return torch.where(size > 0, along / size, torch.zeros_like(along)).amax(-1)


def _forward_jacobian(rows: Rows) -> Rows:
    def slopes(x: Tensor) -> Tensor:
        def along(direction: Tensor) -> Tensor:
            return torch.func.jvp(rows, (x,), (direction.expand_as(x),))[1]

        return torch.func.vmap(along, out_dims=-1)(torch.eye(x.shape[-1], dtype=x.dtype))

    return slopes


def _checked(rows: Rows, x: Tensor) -> Tensor:
    r = rows(x.clone())
    if not isinstance(r, Tensor) or r.ndim != 2 or len(r) != len(x) or r.dtype != x.dtype:
        raise ValueError(f"residual must give a tensor of shape ({len(x)}, R) and type {x.dtype}, got {checks.shown(r)}")
    return r


def _checked_jacobian(slopes: Rows, x: Tensor, r: Tensor) -> Tensor:
    J = slopes(x.clone())
    if not isinstance(J, Tensor) or J.shape != (*r.shape, x.shape[1]) or not torch.isfinite(J).all():
        raise ValueError(f"jacobian must give a finite tensor of shape {(*r.shape, x.shape[1])}, got {checks.shown(J)}")
    return J


def _start(x0: Any) -> tuple[Tensor, Callable[[Tensor], Any]]:
    if isinstance(x0, Tensor):
        given = checks.tensor("x0", x0)
        if given.dtype not in (torch.float32, torch.float64):
            raise TypeError(f"x0 must be float32 or float64, got {given.dtype}")
        start: Tensor = given.detach().clone()
    else:
        start = torch.from_numpy(np.array(checks.array("x0", x0)))
    if start.ndim not in (1, 2):
        raise ValueError(f"x0 must have 1 or 2 dimensions, got shape {tuple(start.shape)}")
    single, tensor = start.ndim == 1, isinstance(x0, Tensor)

    def like(value: Tensor) -> Any:
        value = value[0] if single else value
        return value if tensor else value.numpy()

    return start.reshape(-1, start.shape[-1]), like


def _dampings(damping: Any, x: Tensor) -> Tensor:
    given = torch.as_tensor(np.array(checks.array("damping", damping, above=0)), dtype=x.dtype)
    if given.ndim > 1 or given.numel() not in (1, len(x)):
        raise ValueError(f"damping must be a number or one for each of {len(x)} problems, got shape {tuple(given.shape)}")
    return given.expand(len(x)).clone()


def _options(tol: Any, max_iter: Any, shrink: Any, grow: Any) -> tuple[float, int, float, float]:
    return (
        checks.number("tol", tol, low=0),
        checks.integer("max_iter", max_iter, low=1),
        checks.number("shrink", shrink, above=0, below=1),
        checks.number("grow", grow, above=1),
    )


def _result(run: dict[str, Any], like: Callable[[Tensor], Any]) -> OptimizeResult:
    done, stopped = bool(run["converged"].all()), run["stopped"]
    left = int((~run["converged"]).sum())
    message = "all problems converged" if done else f"{left} of {len(run['converged'])} problems did not converge"
    return OptimizeResult(
        x=like(run["x"]),
        fun=like(run["cost"]),
        converged=like(run["converged"]),
        n_iter=like(run["n_iter"]),
        damping=like(run["damping"]),
        nit=int(run["n_iter"].max()),
        success=done,
        message="stopped by callback" if stopped and not done else message,
    )
