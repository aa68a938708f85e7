"""How the methods are compared: the same networks, conditions and steps; and what a solve costs."""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lib import checks
from lib.constrained.moe_constraints.layers import ConstraintMoE, HardConstraintLayer
from lib.constrained.moe_constraints.models import PIHC, PIHCMoE, SoftConstraint
from lib.constrained.moe_constraints.network import FNO2d, FNO3d
from lib.constrained.moe_constraints.pde import PDE, DiffusionSorption, Rows

__all__ = [
    "EarlyDiffusionSorption",
    "RandomMoE",
    "Run",
    "Work",
    "border_change",
    "build",
    "nudged",
    "on_grid",
    "relative_error",
    "solve_work",
    "trained",
]


def build(
    kind: str,
    pde: PDE,
    n_basis: int = 16,
    experts: Any = None,
    *,
    layer: ConstraintMoE | None = None,
    lr: float = 2.5e-3,
    steps: int = 100,
    seed: int = 0,
    width: int = 16,
    layers: int = 3,
    modes: int = 6,
    batch: int = 4,
) -> SoftConstraint:
    """One of the three methods with a small network, and a step size that falls to a twentieth over `steps`.

    Parameters
    ----------
    kind : {"soft", "global", "experts"}
    pde : PDE
    n_basis : int
        N, for the hard methods.
    experts : sequence of int, optional
        Blocks along each axis; default the paper's.
    layer : ConstraintMoE, optional
        Another layer in place of that.
    lr, steps, seed, width, layers, modes, batch
        Of the training and the network.

    Examples
    --------
    >>> from lib.constrained.moe_constraints import DiffusionSorption
    >>> from lib.constrained.moe_constraints.study import build
    >>> model = build("experts", DiffusionSorption(n_t=8, n_x=16), n_basis=3, width=4, layers=1, modes=2)
    >>> model.layer.n_experts
    4
    """
    checks.choice("kind", kind, ("soft", "global", "experts"))
    if not isinstance(pde, PDE):
        raise TypeError(f"pde must be a PDE, got {checks.shown(pde)}")
    flat = len(pde.shape) == 2
    steps, width, lr = checks.integer("steps", steps, low=1), checks.integer("width", width, low=1), checks.positive("lr", lr)
    net: Any = FNO2d if flat else FNO3d
    network = net(
        n_basis=1 if kind == "soft" else n_basis,
        layers=layers,
        modes=modes,
        width=width,
        head=2 * width,
        activate=kind != "soft",
        seed=seed,
    )
    training = {"lr": lr, "decay": 0.05 ** (1 / steps), "every": 1, "floor": 0.0, "batch": batch, "seed": seed}
    if kind == "soft":
        return SoftConstraint(pde, network, **training)
    if layer is None:
        blocks = (1, 4) if flat else (1, 2, 2)
        layer = HardConstraintLayer(pde) if kind == "global" else ConstraintMoE(pde, blocks if experts is None else experts)
    return (PIHC if kind == "global" else PIHCMoE)(pde, network, layer, **training)


def relative_error(u: Any, truth: Any) -> np.ndarray:
    """Norm of the difference over the norm of the truth, of each field.

    Parameters
    ----------
    u, truth : array_like, shape (B, ...)

    Returns
    -------
    array, shape (B,)

    Examples
    --------
    >>> from lib.constrained.moe_constraints.study import relative_error
    >>> relative_error([[3.0, 4.4]], [[3.0, 4.0]]).round(3)
    array([0.08])
    """
    given, known = checks.array("u", u), checks.array("truth", truth)
    if given.shape != known.shape or given.ndim < 2:
        raise ValueError(f"u and truth must have the same shape (B, ...), got {given.shape} and {known.shape}")
    size = np.linalg.norm(known.reshape(len(known), -1), axis=1)
    if not (size > 0).all():
        raise ValueError("truth must not be zero")
    return np.linalg.norm((given - known).reshape(len(known), -1), axis=1) / size


def border_change(u: Any, truth: Any, experts: int) -> float:
    """How much fields change from cell to cell across the borders of blocks in space, over the change of the solution there.

    Parameters
    ----------
    u, truth : array_like, shape (B, n_t, n_x)
    experts : int
        Blocks, 2 at least; they divide n_x.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.constrained.moe_constraints.study import border_change
    >>> line = np.arange(8.0).reshape(1, 1, 8)
    >>> border_change(line + 2.0 * (line > 3), line, experts=2)
    3.0
    """
    given, known = checks.array("u", u, ndim=3), checks.array("truth", truth, ndim=3)
    if given.shape != known.shape:
        raise ValueError(f"u and truth must have the same shape, got {given.shape} and {known.shape}")
    experts, n_x = checks.integer("experts", experts, low=2), given.shape[2]
    if n_x % experts:
        raise ValueError(f"experts must divide the {n_x} points in space, got {experts}")
    at = np.arange(1, experts) * n_x // experts
    ours, theirs = (np.abs(f[..., at] - f[..., at - 1]).mean() for f in (given, known))
    if theirs == 0:
        raise ValueError("truth must change across the borders")
    return float(ours / theirs)


@dataclass
class Run:
    """A trained model with its errors on the way.

    Attributes
    ----------
    model : SoftConstraint
    steps : list of int
    errors : array, shape (len(steps), n_test)
    """

    model: SoftConstraint
    steps: list[int]
    errors: np.ndarray


def trained(model: SoftConstraint, conditions: Any, test: Any, truth: Any, *, steps: int = 50, every: int = 10) -> Run:
    """Train a copy of a model and measure its errors on the way.

    Parameters
    ----------
    model : SoftConstraint
        Untrained, or trained in part.
    conditions, test : array_like
        To train on, without solutions; and to measure at.
    truth : array_like, shape (n_test, grid...)
    steps, every : int
        Steps of training, and between two measurements.

    Examples
    --------
    >>> from lib.constrained.moe_constraints import DiffusionSorption
    >>> from lib.constrained.moe_constraints.study import build, trained
    >>> pde = DiffusionSorption(n_t=8, n_x=16)
    >>> model = build("global", pde, n_basis=3, width=4, layers=1, modes=2, batch=2)
    >>> trained(model, [0.05, 0.1], [0.1], pde.reference([0.1]), steps=3, every=2).steps
    [0, 2, 3]
    """
    if not isinstance(model, SoftConstraint):
        raise TypeError(f"model must be a SoftConstraint, got {checks.shown(model)}")
    steps, every = checks.integer("steps", steps, low=1), checks.integer("every", every, low=1)
    named = (("conditions", conditions), ("test", test), ("truth", truth))
    conditions, test, truth = (checks.array(name, value) for name, value in named)
    model = copy.deepcopy(model)
    marks, errors = [0], [relative_error(model.predict(test), truth)]
    for end in [*range(every, steps, every), steps]:
        model.fit(conditions, steps=end - marks[-1])
        marks.append(end)
        errors.append(relative_error(model.predict(test), truth))
    return Run(model, marks, np.array(errors))


def nudged(model: SoftConstraint, size: float = 1e-15, seed: int = 0) -> SoftConstraint:
    """A copy of a model whose weights are changed as rounding would change them.

    Parameters
    ----------
    model : SoftConstraint
    size : float
        Standard deviation of the relative changes.
    seed : int

    Examples
    --------
    >>> from lib.constrained.moe_constraints import DiffusionSorption
    >>> from lib.constrained.moe_constraints.study import build, nudged
    >>> model = build("global", DiffusionSorption(n_t=8, n_x=16), n_basis=3, width=4, layers=1, modes=2)
    >>> float(abs(nudged(model).network.out.bias / model.network.out.bias - 1).max()) < 1e-13
    True
    """
    if not isinstance(model, SoftConstraint):
        raise TypeError(f"model must be a SoftConstraint, got {checks.shown(model)}")
    size, model = checks.positive("size", size), copy.deepcopy(model)
    rng = np.random.default_rng(checks.integer("seed", seed, low=0))
    with torch.no_grad():
        for part in model.network.parameters():
            part.mul_(1 + size * torch.from_numpy(rng.standard_normal(tuple(part.shape))))
    return model


def on_grid(model: SoftConstraint, pde: PDE) -> SoftConstraint:
    """A copy of a trained model for another grid: the same network, and as many experts that solve for all of its points.

    Parameters
    ----------
    model : SoftConstraint
    pde : PDE
        The same equation on another grid.

    Examples
    --------
    >>> from lib.constrained.moe_constraints import NavierStokes
    >>> from lib.constrained.moe_constraints.study import build, on_grid, vorticities
    >>> model = build("experts", NavierStokes(n_t=4, n=8), n_basis=2, width=2, layers=1, modes=2)
    >>> on_grid(model, NavierStokes(n_t=4, n=16)).predict(vorticities(16, 1)).shape
    (1, 4, 16, 16)
    """
    if not isinstance(model, SoftConstraint):
        raise TypeError(f"model must be a SoftConstraint, got {checks.shown(model)}")
    if type(pde) is not type(model.pde):
        raise TypeError(f"pde must be a {type(model.pde).__name__}, got {checks.shown(pde)}")
    model = copy.deepcopy(model)
    model.pde = pde
    if model.layer is not None:
        model.layer = ConstraintMoE(pde, model.layer.experts)
    return model


class RandomMoE(ConstraintMoE):
    """Experts with random points of the grid in place of blocks: as many coefficients, no neighborhood.

    Parameters
    ----------
    pde, experts
        As in `ConstraintMoE`; only the number of experts counts.
    seed : int
        Of the assignment, the same at every call.

    Examples
    --------
    >>> import torch
    >>> from lib.constrained.moe_constraints import DiffusionSorption
    >>> from lib.constrained.moe_constraints.study import RandomMoE
    >>> layer = RandomMoE(DiffusionSorption(n_t=8, n_x=16), seed=1)
    >>> tuple(layer.partition(torch.zeros(1, 8, 16, 3)).shape)
    (1, 4, 32, 3)
    """

    def __init__(self, pde: PDE, experts: Any = (1, 4), seed: int = 0) -> None:
        super().__init__(pde, experts)
        rng = np.random.default_rng(checks.integer("seed", seed, low=0))
        self.order = torch.from_numpy(rng.permutation(self.block * self.n_experts))

    def partition(self, x: Tensor) -> Tensor:
        """Fields (..., grid..., N) as points of experts (..., K, M, N)."""
        lead = x.ndim - 1 - len(self.experts)
        flat = x.flatten(lead, -2)[..., self.order, :]
        return flat.reshape(*x.shape[:lead], self.n_experts, self.block, x.shape[-1])

    def assemble(self, x: Tensor) -> Tensor:
        """Points of experts (B, K, M) as fields (B, grid...)."""
        return x.flatten(1)[:, self.order.argsort()].reshape(len(x), *self.pde.shape)


class EarlyDiffusionSorption(DiffusionSorption):
    """Diffusion and sorption seen up to a time: later rows count neither in a solve nor in the loss.

    Parameters
    ----------
    n_t, n_x, weight, loss_weight
        As in `DiffusionSorption`.
    seen : int
        Times that count, from the first.

    Examples
    --------
    >>> import torch
    >>> from lib.constrained.moe_constraints.study import EarlyDiffusionSorption
    >>> pde = EarlyDiffusionSorption(n_t=8, n_x=16, seen=6)
    >>> pde.operators(torch.ones(1, 8, 16, 1, dtype=torch.float64))[0, 0, -1].abs().max().item()
    0.0
    """

    def __init__(self, n_t: int = 101, n_x: int = 1024, weight: float = 1.0, loss_weight: float = 1.0, seen: int = 81) -> None:
        super().__init__(n_t, n_x, weight, loss_weight)
        self.seen = checks.integer("seen", seen, low=3, high=self.shape[0])

    def operators(self, field: Tensor) -> Tensor:
        """Those of the times that count; zeros, of which nothing is asked, at the others."""
        early = super().operators(field[:, : self.seen])
        return torch.cat([early, early.new_zeros(3, len(field), self.shape[0] - self.seen, *early.shape[3:])], dim=2)

    def _ends(self, field: Tensor) -> tuple[Tensor, Tensor]:
        return super()._ends(field[:, : self.seen])


@dataclass
class Work:
    """What the solves of one field cost.

    Attributes
    ----------
    rows : int
        Of one expert's problem.
    iterations : array, shape (K,)
    seconds, slowest : float
        Of all solves at once on this core, and of the slowest expert's alone.
    """

    rows: int
    iterations: np.ndarray
    seconds: float
    slowest: float

    @property
    def longest(self) -> float:
        """Rows times iterations of the expert with the most: what K devices wait for."""
        return float(self.rows * self.iterations.max())

    @property
    def total(self) -> float:
        """Rows times iterations of all experts."""
        return float(self.rows * self.iterations.sum())


def solve_work(pde: PDE, basis: Tensor, condition: Any, experts: Any, total: int, seed: int = 0) -> Work:
    """Solve for the coefficients of one field, with `total` points shared equally by the experts.

    Parameters
    ----------
    pde : PDE
    basis : tensor, shape (1, grid..., N)
    condition : array_like, shape (1, ...)
    experts : sequence of int
    total : int
        Points of all experts together.
    seed : int
        Of the points.

    Examples
    --------
    >>> import torch
    >>> from lib.constrained.moe_constraints import DiffusionSorption
    >>> from lib.constrained.moe_constraints.study import solve_work
    >>> work = solve_work(DiffusionSorption(n_t=8, n_x=16), torch.rand(1, 8, 16, 3).double(), [0.1], (1, 4), total=64)
    >>> work.rows
    49
    """
    total, rng = checks.integer("total", total, low=1), np.random.default_rng(checks.integer("seed", seed, low=0))
    basis = checks.tensor("basis", basis)
    whole = ConstraintMoE(pde, experts)
    each = total // whole.n_experts
    if not 1 <= each <= whole.block:
        raise ValueError(f"total must be between {whole.n_experts} and {whole.n_experts * whole.block}, got {total}")
    layer = ConstraintMoE(pde, experts, n_points=each)
    with torch.no_grad():
        rows = layer.rows(pde.ansatz(basis), pde.check_condition(condition), rng)
        begin = time.process_time()
        run, _ = layer._solve(rows)
        middle = time.process_time()
        last = run["n_iter"].argmax()[None]
        offset = None if rows.offset is None else rows.offset[:, last]
        layer._solve(Rows(rows.points[:, last], offset, rows.fixed[last], rows.target[last]))
        end = time.process_time()
    n_rows = rows.points.shape[2] + rows.fixed.shape[1] + (basis.shape[-1] if pde.ridge else 0)
    return Work(n_rows, run["n_iter"].numpy(), middle - begin, end - middle)
