"""The hard-constraint layer: a solve inside the forward pass, once for the domain or once for each expert."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lib import checks
from lib.constrained.moe_constraints import solver
from lib.constrained.moe_constraints.pde import PDE, Rows

__all__ = ["ConstraintMoE", "ConstraintOutput", "HardConstraintLayer"]


@dataclass
class ConstraintOutput:
    """A combined field with what its solves were.

    Attributes
    ----------
    u : tensor, shape (B, grid...)
    omega : tensor, shape (B, K, N)
    n_iter, cost, converged : tensor, shape (B, K)
    """

    u: Tensor
    omega: Tensor
    n_iter: Tensor
    cost: Tensor
    converged: Tensor


class ConstraintMoE(nn.Module):
    """Experts with equal blocks of the grid: each solves for its own coefficients of the shared basis (6).

    Parameters
    ----------
    pde : PDE
        The equation and its grid.
    experts : sequence of int
        Blocks along each axis of the grid, times first; each divides its axis. Paper: (1, 4), Navier-Stokes (1, 2, 2).
    n_points : int, optional
        Points where the equation enters a solve, for each expert, drawn anew at every call; default all of the block. Paper:
        20000.
    max_iter : int
        Of the solver. Paper: 50.
    tol : float, optional
        Of the solver; default the equation's own. Paper: 1e-4, Navier-Stokes 1e-7.
    hessian : {"gauss_newton", "exact"}
        The matrix of the backward pass (9).
    implicit : bool
        Whether the coefficients carry a derivative; False leaves it out (an ablation).

    Raises
    ------
    TypeError, ValueError
        For blocks that do not divide the grid, more points than a block has.

    Examples
    --------
    >>> import torch
    >>> from lib.constrained.moe_constraints import ConstraintMoE, DiffusionSorption
    >>> layer = ConstraintMoE(DiffusionSorption(n_t=8, n_x=16), experts=(1, 4), max_iter=20)
    >>> basis = torch.rand(1, 8, 16, 3, dtype=torch.float64)
    >>> tuple(layer(basis, [0.1]).omega.shape)
    (1, 4, 3)
    """

    def __init__(
        self,
        pde: PDE,
        experts: Any = (1, 4),
        n_points: int | None = None,
        max_iter: int = 50,
        tol: float | None = None,
        hessian: str = "gauss_newton",
        implicit: bool = True,
    ) -> None:
        super().__init__()
        if not isinstance(pde, PDE):
            raise TypeError(f"pde must be a PDE, got {checks.shown(pde)}")
        self.pde, self.experts = pde, _blocks(experts, pde.shape)
        self.n_experts = math.prod(self.experts)
        self.block = math.prod(pde.shape) // self.n_experts
        self.n_points = None if n_points is None else checks.integer("n_points", n_points, low=1, high=self.block)
        self.max_iter = checks.integer("max_iter", max_iter, low=1)
        self.tol = pde.tol if tol is None else checks.number("tol", tol, low=0)
        self.hessian = checks.choice("hessian", hessian, ("gauss_newton", "exact"))
        self.implicit = checks.boolean("implicit", implicit)

    def partition(self, x: Tensor) -> Tensor:
        """Fields (..., grid..., N) as points of experts (..., K, M, N)."""
        lead = x.ndim - 1 - len(self.experts)
        sizes = [n for k, size in zip(self.experts, self.pde.shape, strict=True) for n in (k, size // k)]
        x = x.reshape(*x.shape[:lead], *sizes, x.shape[-1])
        which = list(range(lead, lead + len(sizes), 2))
        inside = [axis + 1 for axis in which]
        x = x.permute(*range(lead), *which, *inside, x.ndim - 1)
        return x.reshape(*x.shape[:lead], self.n_experts, self.block, x.shape[-1])  # (6)

    def assemble(self, x: Tensor) -> Tensor:
        """Points of experts (B, K, M) as fields (B, grid...): the inverse of `partition`."""
        sizes = [size // k for k, size in zip(self.experts, self.pde.shape, strict=True)]
        n = len(sizes)
        x = x.reshape(len(x), *self.experts, *sizes)
        order = [axis for i in range(n) for axis in (1 + i, 1 + n + i)]
        return x.permute(0, *order).reshape(len(x), *self.pde.shape)  # (6)

    def rows(self, basis: Tensor, condition: Tensor, generator: np.random.Generator | None = None) -> Rows:
        """The rows of every expert's problem, P = B K of them: its own points, and the conditions of the whole domain."""
        points = self.partition(self.pde.operators(basis)).flatten(1, 2)
        fixed, target = self.pde.conditions(basis, condition)
        fixed, target = (part.repeat_interleave(self.n_experts, dim=0) for part in (fixed, target))
        offset, base = None, self.pde.base(condition)
        if base is not None:
            offset = self.partition(self.pde.operators(base[..., None])).flatten(1, 2)
        if self.n_points is not None and self.n_points < self.block:
            rng = np.random.default_rng(0) if generator is None else generator
            picked = torch.from_numpy(rng.random((points.shape[1], self.block)).argsort(axis=1)[:, : self.n_points])
            points = points.take_along_dim(picked[None, :, :, None], dim=2)
            offset = None if offset is None else offset.take_along_dim(picked[None, :, :, None], dim=2)
        return Rows(points, None if offset is None else offset.squeeze(-1), fixed, target)

    def forward(self, basis: Tensor, condition: Any, generator: np.random.Generator | None = None) -> ConstraintOutput:
        """Solve for the coefficients and combine.

        Parameters
        ----------
        basis : tensor, shape (B, grid..., N)
            The network's outputs.
        condition : array_like or tensor, shape (B, ...)
            As `pde` takes it.
        generator : numpy.random.Generator, optional
            Draws the points; by default the same at every call.
        """
        basis = checks.tensor("basis", basis, ndim=len(self.pde.shape) + 2).double()
        condition = self.pde.check_condition(condition)
        if basis.shape[:-1] != (len(condition), *self.pde.shape):
            raise ValueError(f"basis must have shape ({len(condition)}, {self.pde.shape}, N), got {tuple(basis.shape)}")
        basis = self.pde.ansatz(basis)
        rows = self.rows(basis, condition, generator)
        run, omega = self._solve(rows)
        per_expert = (len(condition), self.n_experts)
        omega = omega.reshape(*per_expert, -1)
        u = self.assemble((self.partition(basis) @ omega[..., None])[..., 0])  # (3), (6)
        base = self.pde.base(condition)
        u = u if base is None else u + base
        told = (run[name].reshape(per_expert) for name in ("n_iter", "cost", "converged"))
        return ConstraintOutput(u, omega, *told)

    def _solve(self, rows: Rows) -> tuple[dict[str, Any], Tensor]:
        pde, n = self.pde, rows.points.shape[-1]
        if n > rows.points.shape[2] + rows.fixed.shape[1]:
            raise ValueError(f"basis must not have more functions than an expert has rows, got {n}")
        with torch.no_grad():
            start = rows.points.new_full((rows.points.shape[1], n), pde.start)
            lam = torch.full_like(start[:, 0], solver.DAMPING)
            own = Rows(rows.points.detach(), _detached(rows.offset), rows.fixed.detach(), rows.target.detach())
            calls = (lambda w: pde.residual(w, own)), (lambda w: pde.jacobian(w, own))
            run = solver.iterate(*calls, start, lam, None, self.tol, self.max_iter, solver.SHRINK, solver.GROW)
        omega = run["x"]
        if not (self.implicit and torch.is_grad_enabled() and rows.points.requires_grad):
            return run, omega
        return run, solver.implicit_solution(omega, self.optimality(omega, rows), self.curvature(omega, own))

    def optimality(self, omega: Tensor, rows: Rows) -> Tensor:
        """The gradient of the cost in the coefficients, (P, N): zero at a solution (9)."""
        r, J = self.pde.residual(omega, rows), self.pde.jacobian(omega, rows)
        return (J.mT @ r[..., None]).squeeze(-1)  # (9)

    def curvature(self, omega: Tensor, rows: Rows) -> Tensor:
        """Its derivative in the coefficients, (P, N, N): exact, or without the residual's curvature (10)."""
        if self.hessian == "exact":

            def along(direction: Tensor) -> Tensor:
                return torch.func.jvp(lambda w: self.optimality(w, rows), (omega,), (direction.expand_as(omega),))[1]

            return torch.func.vmap(along, out_dims=-1)(torch.eye(omega.shape[-1], dtype=omega.dtype))
        J = self.pde.jacobian(omega, rows)
        return J.mT @ J  # (10)


class HardConstraintLayer(ConstraintMoE):
    """One solve for the whole domain: `ConstraintMoE` with a single expert.

    Parameters
    ----------
    pde : PDE
    n_points : int, optional
        Points where the equation enters the solve; default all of the grid. Paper: 20000.
    max_iter, tol, hessian, implicit
        As in `ConstraintMoE`.

    Examples
    --------
    >>> import torch
    >>> from lib.constrained.moe_constraints import DiffusionSorption, HardConstraintLayer
    >>> layer = HardConstraintLayer(DiffusionSorption(n_t=8, n_x=16), max_iter=20)
    >>> tuple(layer(torch.rand(1, 8, 16, 3, dtype=torch.float64), [0.1]).u.shape)
    (1, 8, 16)
    """

    def __init__(
        self,
        pde: PDE,
        n_points: int | None = None,
        max_iter: int = 50,
        tol: float | None = None,
        hessian: str = "gauss_newton",
        implicit: bool = True,
    ) -> None:
        one = (1,) * len(getattr(pde, "shape", ()))
        super().__init__(pde, one, n_points, max_iter, tol, hessian, implicit)


def _detached(x: Tensor | None) -> Tensor | None:
    return None if x is None else x.detach()


def _blocks(experts: Any, shape: tuple[int, ...]) -> tuple[int, ...]:
    if isinstance(experts, str | bytes) or not hasattr(experts, "__iter__"):
        raise TypeError(f"experts must be one count for each axis, got {checks.shown(experts)}")
    counts = tuple(checks.integer("experts", k, low=1) for k in experts)
    if len(counts) != len(shape) or any(n % k for n, k in zip(shape, counts, strict=True)):
        raise ValueError(f"experts must divide the grid {shape} axis by axis, got {counts}")
    return counts
