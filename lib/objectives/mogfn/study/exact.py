"""What can be had exactly on a grid: the policy of the flows, all trajectories, paths to draw; and a front that sags."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from lib import checks
from lib.objectives.mogfn import HyperGrid

__all__ = ["Trajectories", "enumerate_trajectories", "exact_policy", "sagging_front", "walks"]

Array = npt.NDArray[np.float64]


def exact_policy(grid: HyperGrid, omega: Any, beta: float) -> Array:
    """The policy that samples every cell in proportion to its reward, from flows that are summed backward.

    The flow through a cell is the reward of stopping there plus what its children receive from it, a uniform share of
    their flow. The policy is the flow along an action over the flow through the cell.

    Parameters
    ----------
    grid : HyperGrid
    omega : array_like, shape (W, d)
    beta : float

    Returns
    -------
    array, shape (W, cells, n_actions)

    Examples
    --------
    >>> from lib.objectives.mogfn import HyperGrid
    >>> from lib.objectives.mogfn.study import exact_policy
    >>> exact_policy(HyperGrid(["sphere"], 3), [[1.0]], 1.0).sum(-1).min().round(9)
    np.float64(1.0)
    """
    target = grid.target(omega, beta).reshape(-1, len(grid.cells))
    flows = np.zeros((*target.shape, grid.n_actions))
    flows[..., -1] = target
    level, cells = grid.cells.sum(1), torch.from_numpy(grid.cells)
    strides = [grid.horizon**k for k in reversed(range(grid.ndim))]
    for step in range(level.max() - 1, -1, -1):
        here = np.flatnonzero(level == step)
        for axis in range(grid.ndim):
            rows = here[grid.cells[here, axis] < grid.horizon - 1]
            children = rows + strides[axis]
            share = grid.log_backward(cells[children]).exp().numpy()
            flows[:, rows, axis] = flows[:, children].sum(-1) * share
    return flows / flows.sum(-1, keepdims=True)


@dataclass
class Trajectories:
    """Every trajectory of a grid under a policy.

    Attributes
    ----------
    cells : list of list of int
        Numbers of the cells on its way.
    end : array of int, shape (N,)
        The cell in which it stops.
    log_pf, log_pb : array, shape (N,)
        Logarithms of its forward probability, the stop included, and of its backward probability.
    """

    cells: list[list[int]]
    end: npt.NDArray[np.int64]
    log_pf: Array
    log_pb: Array


def enumerate_trajectories(grid: HyperGrid, policy: npt.ArrayLike) -> Trajectories:
    """All trajectories of a small grid in two dimensions, with their probabilities, one by one.

    Parameters
    ----------
    grid : HyperGrid
        At most 6 cells along an axis: the number of trajectories grows like ``4 ** horizon``.
    policy : array_like, shape (cells, n_actions)

    Examples
    --------
    >>> from lib.objectives.mogfn import HyperGrid
    >>> from lib.objectives.mogfn.study import enumerate_trajectories, exact_policy
    >>> grid = HyperGrid(["sphere"], 3)
    >>> all_of_them = enumerate_trajectories(grid, exact_policy(grid, [[1.0]], 1.0)[0])
    >>> len(all_of_them.end), round(sum(2.718281828459045**all_of_them.log_pf), 9)
    (19, np.float64(1.0))
    """
    if grid.ndim != 2 or grid.horizon > 6:
        raise ValueError(f"the grid must have two axes of at most 6 cells, got {grid.ndim} of {grid.horizon}")
    p = checks.array("policy", policy, shape=(len(grid.cells), 3), low=0, high=1)
    ways, log_pf, log_pb = [], [], []
    for way in _ways(grid.horizon):
        numbers = [i * grid.horizon + j for i, j in way]
        forward = sum(np.log(p[a, int(b - a == 1)]) for a, b in itertools.pairwise(numbers))
        inner = torch.tensor(way[1:], dtype=torch.long).reshape(-1, 2)
        ways.append(numbers)
        log_pf.append(float(forward + np.log(p[numbers[-1], -1])))
        log_pb.append(float(grid.log_backward(inner).sum()))
    return Trajectories(ways, np.array([way[-1] for way in ways]), np.array(log_pf), np.array(log_pb))


def _ways(horizon: int) -> Iterator[list[tuple[int, int]]]:
    """Every way from the origin to every cell, as lists of cells; the first coordinate's step comes first in a policy."""
    for i, j in itertools.product(range(horizon), repeat=2):
        for ups in itertools.combinations(range(i + j), i):
            a = b = 0
            way = [(0, 0)]
            for k in range(i + j):
                a, b = (a + 1, b) if k in ups else (a, b + 1)
                way.append((a, b))
            yield way


def walks(grid: HyperGrid, policy: npt.ArrayLike, n: int, seed: int | np.random.Generator | None = None) -> list[Array]:
    """Paths of a policy, as cells in the order they are visited.

    Parameters
    ----------
    grid : HyperGrid
    policy : array_like, shape (cells, n_actions)
    n : int
    seed : int, Generator or None

    Returns
    -------
    list of array, each of shape (length, ndim)

    Examples
    --------
    >>> from lib.objectives.mogfn import HyperGrid
    >>> from lib.objectives.mogfn.study import exact_policy, walks
    >>> grid = HyperGrid(["sphere"], 4)
    >>> walks(grid, exact_policy(grid, [[1.0]], 1.0)[0], 2, seed=0)[0][0].tolist()
    [0.0, 0.0]
    """
    p = checks.array("policy", policy, shape=(len(grid.cells), grid.n_actions), low=0, high=1)
    rng, paths = checks.generator("seed", seed), []
    for _ in range(checks.integer("n", n, low=1)):
        cell = np.zeros(grid.ndim, dtype=int)
        path = [cell]
        while (action := rng.choice(grid.n_actions, p=p[np.ravel_multi_index(tuple(cell), grid.shape)])) < grid.ndim:
            cell = cell + np.eye(grid.ndim, dtype=int)[action]
            path.append(cell)
        paths.append(np.array(path, dtype=float))
    return paths


def sagging_front(n: int = 121) -> tuple[Array, Array]:
    """Candidates along a front that sags toward the origin: ``R = (t^2, (1 - t)^2)``, none of which dominates another.

    Every weighted sum is convex in `t`, so that one of the ends has the largest.

    Returns
    -------
    t : array, shape (n,)
    R : array, shape (n, 2)

    Examples
    --------
    >>> from lib.objectives.mogfn.study import sagging_front
    >>> sagging_front(3)[1].tolist()
    [[0.0, 1.0], [0.25, 0.25], [1.0, 0.0]]
    """
    t = np.linspace(0.0, 1.0, checks.integer("n", n, low=2, high=100_000))
    return t, np.stack([t**2, (1 - t) ** 2], axis=1)
