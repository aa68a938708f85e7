"""Small random problems on which identities are checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lib import checks
from lib.constrained.lv_hba.value import ProximalValue, prox_lagrangian_value
from lib.problems.bilevel import BilevelProblem

KINDS = ("inequality", "equation", "box")


@dataclass(frozen=True)
class Quadratic:
    """Lower level ``y'Qy / 2 + x'Ty`` with ``G y + H x <= 1`` (or ``= 1``); 3 variables above, 4 below, 2 constraints."""

    Q: Tensor
    T: Tensor
    G: Tensor
    H: Tensor
    kind: str

    def upper(self, x: Tensor, y: Tensor) -> Tensor:
        return (x.square().sum() + y.square().sum()) / 2

    def lower(self, x: Tensor, y: Tensor) -> Tensor:
        return y @ self.Q @ y / 2 + x @ self.T @ y

    def lower_slopes(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return self.T @ y, self.Q @ y + x @ self.T

    def constraints(self, x: Tensor, y: Tensor) -> Tensor:
        return self.G @ y + self.H @ x - 1

    def pull(self, x: Tensor, y: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        return weights @ self.H, weights @ self.G

    def box(self, y: Tensor) -> Tensor:
        return y.clamp(-0.5, 0.5) if self.kind == "box" else y

    def problem(self) -> BilevelProblem:
        return BilevelProblem(
            self.upper, self.lower, self.constraints, equality=self.kind == "equation", project_y=self.box,
            lower_slopes=self.lower_slopes, constraint_pull=self.pull,
        )  # fmt: skip

    def inside(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """The pair, shrunk toward zero until it satisfies the inequalities."""
        factor = 1 / max(1.0, float((self.constraints(x, y) + 1).max()))
        return factor * x, factor * y


def quadratic(kind: str, seed: int | np.random.Generator) -> Quadratic:
    """A random small problem: "inequality", "equation", or "box" (inequalities and a box for y).

    Examples
    --------
    >>> from lib.constrained.lv_hba.study import quadratic
    >>> quadratic("box", seed=0).G.shape
    torch.Size([2, 4])
    """
    kind, rng = checks.choice("kind", kind, KINDS), checks.generator("seed", seed)
    A, T, G, H = (torch.from_numpy(rng.normal(size=shape)) for shape in ((4, 4), (3, 4), (2, 4), (2, 3)))
    return Quadratic(A @ A.T + 0.1 * torch.eye(4, dtype=A.dtype), T, G, H, kind)


def slope_error(problem: BilevelProblem, x: Any, y: Any, z: Any, h: float = 1e-5, **constants: float) -> float:
    """Largest difference between the value's slopes by formula and by central differences.

    Parameters
    ----------
    problem : BilevelProblem
    x, y, z : array_like or Tensor
    h : float
        Step of the differences.
    **constants
        Of `prox_lagrangian_value`.

    Examples
    --------
    >>> from lib.constrained.lv_hba.study import quadratic, slope_error
    >>> slope_error(quadratic("box", seed=0).problem(), x=[0.1, 0.2, 0.3], y=[1.0, 0.0, 0.0, 0.0], z=[0.5, 0.5]) < 1e-5
    True
    """
    parts = [torch.as_tensor(checks.array(n, v, ndim=1), dtype=torch.float64) for n, v in {"x": x, "y": y, "z": z}.items()]
    h, at, sizes = checks.positive("h", h), torch.cat(parts), [len(part) for part in parts]

    def value(u: Tensor) -> ProximalValue:
        x, y, z = torch.split(u, sizes)
        return prox_lagrangian_value(problem, x, y, z, **({"tol": 1e-12} | constants))  # type: ignore[arg-type]

    found, moves = value(at), h * torch.eye(len(at), dtype=at.dtype)
    wanted = [(value(at + move).value - value(at - move).value) / (2 * h) for move in moves]
    ours = torch.cat([found.slope_x, found.slope_y, found.slope_z])
    return float((ours - torch.tensor(wanted, dtype=at.dtype)).abs().max())
