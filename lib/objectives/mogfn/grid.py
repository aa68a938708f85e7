"""A grid whose cells are the objects; a path starts in the lowest corner and goes up, one coordinate at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lib import checks
from lib.objectives.mogfn.environment import Environment
from lib.objectives.mogfn.landscapes import OBJECTIVES
from lib.objectives.mogfn.scalarization import FLOOR

#: Cells of the largest grid: the exact distribution looks at all of them.
_MOST_CELLS = 200_000


class HyperGrid(Environment):
    """The hypergrid: moves add 1 to a coordinate, a path may stop in every cell, moves that leave the grid are forbidden.

    The official example ends a path as soon as a coordinate reaches the last line; here every cell is an object.

    Parameters
    ----------
    objectives : sequence of str or function
        Names of `OBJECTIVES`, or functions of points, shape (n, ndim), that return n numbers, none negative (what is above
        -0.001 counts as 0). They are evaluated once; only their values are kept.
    horizon : int
        H, cells along an axis, at least 2; 32 in the paper's example.
    ndim : int
        The named objectives need 2.
    low, high : float
        Coordinates of the first and of the last cell.

    Attributes
    ----------
    rewards : array, shape (H, ..., H, d)
    names : tuple of str

    Raises
    ------
    TypeError, ValueError
        For arguments out of range, objectives that return something else or negative rewards.

    Examples
    --------
    >>> from lib.objectives.mogfn import HyperGrid
    >>> grid = HyperGrid(["branin", "currin"], horizon=8)
    >>> grid.rewards.shape, round(grid.log_partition([0.5, 0.5], beta=4), 3)
    ((8, 8, 2), 2.842)
    """

    def __init__(
        self,
        objectives: Sequence[str | Callable[[np.ndarray], Any]],
        horizon: int = 32,
        ndim: int = 2,
        low: float = -1.0,
        high: float = 1.0,
    ) -> None:
        self.horizon, self.ndim = checks.integer("horizon", horizon, low=2), checks.integer("ndim", ndim, low=1)
        low, high = checks.number("low", low), checks.number("high", high)
        if not low < high:
            raise ValueError(f"low must be below high, got low={low:g} and high={high:g}")
        if self.ndim * np.log(self.horizon) > np.log(_MOST_CELLS):
            raise ValueError(f"horizon must leave at most {_MOST_CELLS} cells, got {self.horizon} in {self.ndim} dimensions")
        if isinstance(objectives, str) or not isinstance(objectives, Sequence) or not objectives:
            raise TypeError(f"objectives must be a list of names or functions, got {checks.shown(objectives)}")
        axes = np.meshgrid(*[np.arange(self.horizon)] * self.ndim, indexing="ij")
        self.cells = np.stack(axes, -1).reshape(-1, self.ndim)
        points = low + (high - low) * self.cells / (self.horizon - 1)
        named = [(checks.choice("objectives", f, OBJECTIVES), OBJECTIVES[f]) if isinstance(f, str)
                 else (getattr(f, "__name__", "objective"), checks.function("objectives", f)) for f in objectives]  # fmt: skip
        self.names = tuple(name for name, _ in named)
        if self.ndim != 2 and any(isinstance(f, str) for f in objectives):
            raise ValueError(f"objectives that are named are functions in 2 dimensions, got ndim={self.ndim}")
        columns = [_measured(name, function, points.copy()) for name, function in named]
        self.values = np.ascontiguousarray(np.stack(columns, 1))
        self.log_counts = np.zeros(len(self.values))
        self.n_objectives, self.n_actions = len(columns), self.ndim + 1
        self.obs_dim = self.ndim * self.horizon
        self.shape = (self.horizon,) * self.ndim
        self._strides = torch.tensor([self.horizon**k for k in reversed(range(self.ndim))])

    @property
    def rewards(self) -> np.ndarray:
        """Objectives of every cell, shape (H, ..., H, d)."""
        return self.values.reshape(*self.shape, self.n_objectives)

    def target(self, omega: Any, beta: Any, kind: str = "weighted_sum", floor: float = FLOOR) -> np.ndarray:
        """The exact target over cells, shape (H, ..., H) or (W, H, ..., H). Equation (1).

        Parameters
        ----------
        omega : array_like, shape (d,) or (W, d)
        beta : float
        kind, floor
            Of `scalarize`.
        """
        logits, _ = self._logits(omega, beta, kind, floor)
        return logits.softmax(-1).reshape(*logits.shape[:-1], *self.shape).numpy()  # (1)

    # --------------------------------------------------------------------------------------------------- as environment

    def start(self, n: int) -> Tensor:
        return torch.zeros(n, self.ndim, dtype=torch.long)

    def observe(self, states: Tensor) -> Tensor:
        seen = torch.zeros(len(states), self.obs_dim, dtype=torch.float64)
        return seen.scatter_(1, states + self.horizon * torch.arange(self.ndim), 1.0)

    def allowed(self, states: Tensor) -> Tensor:
        moves = states < self.horizon - 1
        return torch.cat([moves, torch.ones_like(moves[:, :1])], 1)

    def move(self, states: Tensor, actions: Tensor) -> Tensor:
        return states.scatter_add(1, actions[:, None], torch.ones_like(actions)[:, None])

    def log_backward(self, states: Tensor) -> Tensor:
        return -(states > 0).sum(1).double().log()  # (6)

    def rewards_of(self, states: Tensor) -> Tensor:
        return torch.from_numpy(self.values)[self.index(states)]

    def index(self, states: Tensor) -> Tensor:
        """Numbers of cells, in the order of `cells`."""
        return (states * self._strides).sum(1)

    def objects(self, states: Tensor) -> np.ndarray:
        """Cells, shape (n, ndim)."""
        return states.numpy()

    def evaluate(self, objects: Any) -> np.ndarray:
        """Objectives of cells (n, ndim), shape (n, d)."""
        cells = checks.array("objects", objects, shape=(None, self.ndim), low=0, high=self.horizon - 1)
        if (cells != np.floor(cells)).any():
            raise ValueError("objects must be cells, rows of whole numbers, got fractions")
        return self.values[self.index(torch.from_numpy(cells).long()).numpy()]

    def absorbed(self, probabilities: Tensor) -> Tensor:
        """Where paths end, from the probabilities of the actions in every cell. Equation (7).

        Parameters
        ----------
        probabilities : tensor, shape (W, cells, n_actions)

        Returns
        -------
        tensor, shape (W, cells)
        """
        level = torch.from_numpy(self.cells.sum(1))
        reached = torch.zeros(probabilities.shape[:2], dtype=probabilities.dtype)
        reached[:, 0] = 1.0
        inside = self.allowed(torch.from_numpy(self.cells))
        for step in range(self.ndim * (self.horizon - 1)):
            here = (level == step).nonzero()[:, 0]
            for axis in range(self.ndim):
                rows = here[inside[here, axis]]
                flow = reached[:, rows] * probabilities[:, rows, axis]  # (7)
                reached = reached.index_add(1, rows + self._strides[axis], flow)
        return reached * probabilities[..., -1]  # (7)


def _measured(name: str, function: Callable[[np.ndarray], Any], points: np.ndarray) -> np.ndarray:
    values = checks.array(f"objectives: {name}", function(points), shape=(len(points),)).astype(float)
    if values.min() < -1e-3:
        raise ValueError(f"objectives must not be negative from low to high, got {values.min():.6g} from {name}")
    return values.clip(min=0.0)
