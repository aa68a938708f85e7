"""Differential equations as rows of a least-squares problem: linear operators of the field, and a law between them."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lib import checks

__all__ = ["PDE", "DiffusionSorption", "Rows"]


@dataclass
class Rows:
    """What P least-squares problems are made of.

    Attributes
    ----------
    points : tensor, shape (C, P, M, N)
        C linear operators, applied to the N basis functions, at M points.
    offset : tensor, shape (C, P, M), or None
        The same of what is added to the combination, an initial state say.
    fixed : tensor, shape (P, F, N)
        Linear conditions of the whole domain (initial and boundary values).
    target : tensor, shape (P, F)
        What they should give.
    """

    points: Tensor
    offset: Tensor | None
    fixed: Tensor
    target: Tensor


class PDE(abc.ABC):
    """A differential equation on a grid, as the hard-constraint layer needs it.

    A new equation defines `operators` (linear in the field), `law` and `law_slopes` (pointwise), and `conditions`; where
    the ansatz is more than the combination of basis functions, also `ansatz` and `base`.

    Attributes
    ----------
    shape : tuple of int
        The grid: times first, then space.
    weight : float
        What the equation's rows are multiplied by in the solve; 1 in the paper.
    loss_weight : float
        The same in the training loss; 1 in the paper.
    ridge : float
        Rows ``ridge * omega``, none for 0.
    start : float
        Every coefficient at the start of the solve.
    tol : float
        The paper's tolerance of the solver.
    """

    shape: tuple[int, ...]
    weight: float = 1.0
    loss_weight: float = 1.0
    ridge: float = 0.0
    start: float = 0.0
    tol: float = 1e-4

    @abc.abstractmethod
    def operators(self, field: Tensor) -> Tensor:
        """C linear operators of fields (B, grid..., N), stacked first: (C, B, grid..., N)."""

    @abc.abstractmethod
    def law(self, z: Tensor) -> Tensor:
        """The equation's residual at each point, from the operators' values (C, ...): (...)."""

    @abc.abstractmethod
    def law_slopes(self, z: Tensor) -> Tensor:
        """The derivatives of `law` in each operator's value: (C, ...)."""

    @abc.abstractmethod
    def conditions(self, field: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """Linear conditions of fields (B, grid..., N): rows (B, F, N), and their targets (B, F)."""

    @abc.abstractmethod
    def condition_losses(self, u: Tensor, condition: Tensor) -> Tensor:
        """What the conditions of a whole field (B, grid...) add to the loss, (B,)."""

    @abc.abstractmethod
    def check_condition(self, condition: Any) -> Tensor:
        """Conditions from outside as a float64 tensor with the batch first."""

    @abc.abstractmethod
    def inputs(self, condition: Tensor) -> Tensor:
        """What the network sees: coordinates scaled to [0, 1], and the condition: (B, grid..., channels)."""

    def ansatz(self, basis: Tensor) -> Tensor:
        """What the network's outputs are made into before they are combined."""
        return basis

    def base(self, condition: Tensor) -> Tensor | None:
        """What is added to the combination, (B, grid...), or None."""
        return None

    def residual(self, omega: Tensor, rows: Rows) -> Tensor:
        """All rows of (4) at coefficients (P, N): (P, R)."""
        law = self.weight * self.law(_values(rows, omega))
        fixed = (rows.fixed @ omega[..., None]).squeeze(-1) - rows.target
        return torch.cat([law, fixed, *([self.ridge * omega] if self.ridge else [])], dim=1)  # (4)

    def jacobian(self, omega: Tensor, rows: Rows) -> Tensor:
        """Their derivatives in the coefficients: (P, R, N)."""
        slopes = self.weight * self.law_slopes(_values(rows, omega))
        law = slopes[0, ..., None] * rows.points[0]  # (8)
        for slope, points in zip(slopes[1:], rows.points[1:], strict=True):
            law = torch.addcmul(law, slope[..., None], points)  # (8)
        parts = [law, rows.fixed]
        if self.ridge:
            parts.append(self.ridge * torch.eye(omega.shape[-1], dtype=omega.dtype).expand(len(omega), -1, -1))
        return torch.cat(parts, dim=-2)

    def field_residual(self, u: Tensor) -> Tensor:
        """The equation's residual of whole fields (B, grid...), differences taken across everything."""
        return self.law(self.operators(u[..., None]).squeeze(-1))

    def loss(self, u: Tensor, condition: Tensor) -> Tensor:
        """The training loss (7) of fields (B, grid...), without any solution."""
        law = self.field_residual(u).flatten(1).norm(dim=1)
        return (self.loss_weight * law + self.condition_losses(u, condition)).mean()  # (7)


def _values(rows: Rows, omega: Tensor) -> Tensor:
    """The operators' values of the combination: (C, P, M)."""
    values = (rows.points @ omega[:, :, None]).squeeze(-1)
    return values if rows.offset is None else values + rows.offset


def difference(field: Tensor, dim: int, spacing: float) -> Tensor:
    """First derivative along `dim`: central inside, one-sided at both ends (exact for quadratics inside, lines at the ends)."""
    return torch.gradient(field, spacing=spacing, dim=dim, edge_order=1)[0]


class DiffusionSorption(PDE):
    """Diffusion and sorption (1), (2): u_t = D / R(u) u_xx on 0 < x < 1, 0 < t <= 500.

    The condition is the initial value, the same at every x; u(0, t) = 1 and u(1, t) = D u_x(1, t).

    Parameters
    ----------
    n_t, n_x : int
        Points of the grid. Paper: 101 and 1024.
    weight, loss_weight : float
        Of the equation's rows in the solve and in the loss. Paper: 1. On a grid of 32 times 64 points, 2.2 and 7 give these
        rows the share that they have on the paper's grid.
    t_end : float
        Last time. Paper: 500.
    retardation : bool
        False for R = 1: the equation is linear then.

    Raises
    ------
    TypeError, ValueError
        For fewer than 3 points along an axis, weights below 0.

    Examples
    --------
    >>> import torch
    >>> from lib.constrained.moe_constraints import DiffusionSorption
    >>> pde = DiffusionSorption(n_t=8, n_x=16)
    >>> pde.field_residual(torch.ones(1, 8, 16, dtype=torch.float64)).abs().max().item()
    0.0
    """

    D, porosity, density, k, exponent, safe = 5e-4, 0.29, 2880.0, 3.5e-4, 0.874, 1e-6
    start, ridge = 1.0, 1e-4

    def __init__(
        self,
        n_t: int = 101,
        n_x: int = 1024,
        weight: float = 1.0,
        loss_weight: float = 1.0,
        t_end: float = 500.0,
        retardation: bool = True,
    ) -> None:
        self.shape = (checks.integer("n_t", n_t, low=3), checks.integer("n_x", n_x, low=3))
        self.weight = checks.number("weight", weight, low=0)
        self.loss_weight = checks.number("loss_weight", loss_weight, low=0)
        self.t_end = checks.positive("t_end", t_end)
        self.retardation = checks.boolean("retardation", retardation)
        self.dt, self.dx = self.t_end / (self.shape[0] - 1), 1.0 / (self.shape[1] - 1)
        void = (1 - self.porosity) / self.porosity
        self._sorption = void * self.density * self.k * self.exponent if self.retardation else 0.0

    def R(self, u: Tensor) -> Tensor:
        """The retardation factor (2), with its singularity at 0 held off."""
        return 1 + self._sorption * (u.clamp(min=0) + self.safe) ** (self.exponent - 1)  # (2)

    def R_slope(self, u: Tensor) -> Tensor:
        """Its derivative; 0 where u <= 0."""
        slope = self._sorption * (self.exponent - 1) * (u.clamp(min=0) + self.safe) ** (self.exponent - 2)
        return torch.where(u > 0, slope, torch.zeros_like(u))

    def operators(self, field: Tensor) -> Tensor:
        """u, u_t and u_xx (differences taken twice) of fields (B, n_t, n_x, N)."""
        u_x = difference(field, 2, self.dx)
        return torch.stack([field, difference(field, 1, self.dt), difference(u_x, 2, self.dx)])

    def law(self, z: Tensor) -> Tensor:
        """u_t - D / R(u) u_xx."""
        u, u_t, u_xx = z
        return u_t - self.D / self.R(u) * u_xx  # (1)

    def law_slopes(self, z: Tensor) -> Tensor:
        """Its derivatives in u, u_t, u_xx."""
        u, u_t, u_xx = z
        R = self.R(u)
        return torch.stack([self.D * self.R_slope(u) / R**2 * u_xx, torch.ones_like(u_t), -self.D / R])  # (8)

    def conditions(self, field: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """Initial values relative to u_0, u at the left end, u - D u_x at the right."""
        initial = field[:, 0] / condition[:, None, None]
        left, right = self._ends(field)
        rows = torch.cat([initial, left, right], dim=1)
        one, zero = torch.ones_like(left[..., 0]), torch.zeros_like(right[..., 0])
        return rows, torch.cat([torch.ones_like(initial[..., 0]), one, zero], dim=1)

    def condition_losses(self, u: Tensor, condition: Tensor) -> Tensor:
        """The initial values' relative error, and the norms of what both boundary conditions leave over."""
        rows, target = self.conditions(u[..., None], condition)
        n_x = self.shape[1]
        n_ends = (rows.shape[1] - n_x) // 2
        initial, left, right = (rows[..., 0] - target).split([n_x, n_ends, n_ends], dim=1)
        return initial.norm(dim=1) / n_x**0.5 + left.norm(dim=1) + right.norm(dim=1)

    def _ends(self, field: Tensor) -> tuple[Tensor, Tensor]:
        slope = (field[:, 1:, -1] - field[:, 1:, -2]) / self.dx
        return field[:, 1:, 0], field[:, 1:, -1] - self.D * slope

    def check_condition(self, condition: Any) -> Tensor:
        """Initial values, shape (B,), above 0."""
        return torch.from_numpy(np.array(checks.array("condition", condition, ndim=1, above=0), dtype=float))

    def inputs(self, condition: Tensor) -> Tensor:
        """t, x and u_0 at every point."""
        t, x = (torch.linspace(0, 1, n, dtype=condition.dtype) for n in self.shape)
        grid = torch.stack(torch.meshgrid(t, x, indexing="ij"), dim=-1).expand(len(condition), -1, -1, -1)
        return torch.cat([grid, condition[:, None, None, None].expand(*grid.shape[:-1], 1)], dim=-1)

    def reference(self, condition: Any, finer: int = 8) -> np.ndarray:
        """Solutions on this grid, by lines on a finer one: backward differences in time, of high order.

        Parameters
        ----------
        condition : array_like, shape (B,)
        finer : int
            How many cells of the finer grid make one of this grid.

        Returns
        -------
        array, shape (B, n_t, n_x)
        """
        from scipy.integrate import solve_ivp
        from scipy.sparse import block_diag, diags, lil_array

        start = self.check_condition(condition).numpy()
        finer = checks.integer("finer", finer, low=1)
        inside, n, ratio = finer * (self.shape[1] - 1) - 1, len(start), self.D / self.dx
        if ratio >= 1:
            raise ValueError(f"n_x must be at most {int(1 / self.D)} for a stable right end, got {self.shape[1]}")

        def whole(u: np.ndarray) -> np.ndarray:  # u = 1 at the left end; u = D (u - u_before) / dx at the right
            right = -ratio / (1 - ratio) * u[..., -finer]
            return np.concatenate([np.ones_like(u[..., :1]), u, right[..., None]], axis=-1)

        def rate(_: float, flat: np.ndarray) -> np.ndarray:
            u = whole(flat.reshape(n, inside))
            u_xx = np.diff(u, 2) * (finer / self.dx) ** 2
            return (self.D / self.R(torch.from_numpy(u[:, 1:-1])).numpy() * u_xx).ravel()

        near = lil_array(diags([1.0, 1.0, 1.0], [-1, 0, 1], shape=(inside, inside)))
        near[-1, -finer] = 1.0
        times = np.linspace(0, self.t_end, self.shape[0])
        pattern = block_diag([near] * n)
        found = solve_ivp(
            rate, (0, self.t_end), np.repeat(start, inside), "BDF", times, rtol=1e-6, atol=1e-8, jac_sparsity=pattern
        )
        if not found.success:
            raise RuntimeError(f"the reference did not get to the end: {found.message}")
        fine = whole(found.y.T.reshape(len(times), n, inside))[..., ::finer].transpose(1, 0, 2)
        fine[:, 0] = start[:, None]
        return fine
