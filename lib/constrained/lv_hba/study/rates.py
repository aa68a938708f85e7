"""What the convergence theorem speaks of, measured exactly on toy 2: the saddle point of the value has a closed form there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lib import checks
from lib.constrained.lv_hba.core import State, Steps, penalty_slopes
from lib.constrained.lv_hba.solver import LVHBA
from lib.constrained.lv_hba.study.loops import follow, steps_of, times
from lib.constrained.lv_hba.study.toys import Affine, times_vector


@dataclass(frozen=True)
class Rates:
    """Quantities of the theorem after each of some iterations.

    Attributes
    ----------
    k : array, shape (times,)
        Iterations done.
    gap : array, shape (times, exponents, draws)
        f - v.
    residual : array of the same shape
        Least so far, all iterations counted: distance from stationarity of the penalized problem, times c.
    """

    k: np.ndarray
    gap: np.ndarray
    residual: np.ndarray

    def slope(self, name: str, start: float = 0.1) -> np.ndarray:
        """Exponent of a quantity, from `start` times the last iteration on: least squares on logarithms, (exponents, draws).

        Where less than 1e-12 is left, the fit sees 1e-12.
        """
        start = checks.number("start", start, above=0, below=1)
        checks.choice("name", name, ("gap", "residual"))
        late = self.k >= start * self.k[-1]
        logs = np.log(np.maximum(getattr(self, name)[late], 1e-12))
        at = np.log(self.k[late]) - np.log(self.k[late]).mean()
        return np.tensordot(at, logs, axes=1) / (at @ at)


class _Saddle:
    """The saddle point for given x, y and z: with the best multiplier put in, theta solves a linear system."""

    def __init__(self, toy: Affine, steps: Steps) -> None:
        self.toy, self.steps = toy, steps
        A, H = toy.A / toy.scale[..., None], toy.H / toy.scale[..., None]
        eye = torch.eye(A.shape[-1], dtype=A.dtype)
        inverse = torch.linalg.inv((1 + 1 / steps.gamma1) * eye + steps.gamma2 * A.mT @ A)
        self.A, self.H = A, H
        self.of_x, self.of_y = inverse @ (eye - steps.gamma2 * A.mT @ H), inverse / steps.gamma1
        self.of_z = -inverse @ A.mT

    def __call__(self, x: Tensor, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        theta = times_vector(self.of_x, x) + times_vector(self.of_y, y) + times_vector(self.of_z, z)
        return theta, z + self.steps.gamma2 * self.broken(x, theta)

    def broken(self, x: Tensor, theta: Tensor) -> Tensor:
        return times_vector(self.A, theta) + times_vector(self.H, x)

    def gap(self, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
        theta, lam = self(x, y, z)
        value = self.toy.lower(x, theta) + (lam * self.broken(x, theta)).sum(-1)
        near = (theta - y).square().sum(-1) / (2 * self.steps.gamma1)
        return self.toy.lower(x, y) - value - near + (lam - z).square().sum(-1) / (2 * self.steps.gamma2)


def affine_rates(
    toy: Affine, start: tuple[Tensor, Tensor], solver: LVHBA, exponents: Sequence[float], n_records: int = 60
) -> Rates:
    """LV-HBA on toy 2 with several exponents p of the penalty weight, and what the theorem says about.

    Parameters
    ----------
    toy : Affine
    start : pair of Tensor, shapes (draws, n)
    solver : LVHBA
        Its `c0` is used, its `p` is not; constraints are scaled.
    exponents : sequence of float
        At least 0, below 1/2.
    n_records : int

    Examples
    --------
    >>> from lib.constrained.lv_hba import LVHBA
    >>> from lib.constrained.lv_hba.study import affine_rates, affine_toy, toy_starts
    >>> toy = affine_toy(4, n_rows=3, n_upper=2, seed=0)
    >>> affine_rates(toy, toy_starts(toy, n=1, seed=0), LVHBA(max_iter=20), exponents=[0.1, 0.3]).gap.shape[1:]
    (2, 1)
    """
    if not isinstance(toy, Affine):
        raise TypeError(f"toy must be an affine_toy, got {checks.shown(toy)}")
    if not isinstance(solver, LVHBA):
        raise TypeError(f"solver must be an LVHBA, got {checks.shown(solver)}")
    p = torch.from_numpy(checks.array("exponents", exponents, ndim=1, low=0))[:, None, None]
    if not bool((p < 0.5).all()):
        raise ValueError(f"exponents must be below 1/2, got {float(p.max()):g}")
    x, y = (part.expand(len(p), *part.shape) for part in start)
    steps, problem = steps_of(solver, toy.scale), toy.problem()
    saddle, wanted = _Saddle(toy, steps), set(times(solver.max_iter, checks.integer("n_records", n_records, low=1)))
    rows: list[tuple[Any, ...]] = []
    least = [torch.full(x.shape[:2], torch.inf, dtype=x.dtype)]

    def visit(_: State, new: State, c: Any) -> None:
        slopes = penalty_slopes(problem, new, *saddle(new.x, new.y, new.z), c, steps)
        inside = torch.cat([*toy.project(*slopes[:2]), slopes[2]], dim=-1)  # what the normal cone of C cannot balance
        least.append(torch.minimum(least.pop(), (c * inside).norm(dim=-1)))
        if new.k in wanted:
            rows.append((new.k, saddle.gap(new.x, new.y, new.z), least[0]))

    follow(problem, x, y, steps, lambda k: solver.c0 * (k + 1) ** p, solver.max_iter, visit)
    return Rates(*(np.stack([np.asarray(part) for part in column]) for column in zip(*rows, strict=True)))
