"""What a problem must tell the framework, the traveling salesman in these words, and one conquering stage.

Equation numbers are those of the module docstring of `lib.policies.udc`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lib import checks
from lib.policies.udc.divide import as_batch, as_tensor
from lib.policies.udc.solvers import Solver, check_orders, normalize

#: A sub-solution replaces the old one only when it is better by more than this part of it: rounding is no improvement.
LEAST_GAIN = 1e-9


@dataclass(frozen=True)
class Pieces:
    """Sub-problems of a batch of solutions: their `data` (P, n, 2) and what `Problem.merge` needs to put answers back.

    Examples
    --------
    >>> import torch
    >>> from lib.policies.udc import TSP
    >>> pieces = TSP.split(torch.rand(1, 20, 2), torch.arange(20)[None, None], 10, 5, None)
    >>> pieces.data.shape
    torch.Size([2, 10, 2])
    """

    data: Tensor
    nodes: Tensor
    rest: Tensor


@dataclass(frozen=True)
class Problem:
    """A decomposable problem, as six functions; all costs are to be minimized, float64, in original units.

    Attributes
    ----------
    length : (instance (B, N, 2), solutions (B, alpha, N)) -> costs (B, alpha)
    split : (instance, solutions, n, shift, generator) -> `Pieces`
    merge : (pieces, answers (P, beta, n)) -> solutions; the best answer of each piece where it beats the old one
    normalize : piece data -> what the solver sees
    instance : what a user gives -> (instance (B, N, 2), whether a batch axis was added); raises for what is none
    solutions : (name, what a user gives, instance) -> solutions (B, alpha, N); raises for what is infeasible

    Examples
    --------
    >>> import torch
    >>> from lib.policies.udc import Problem, TSP
    >>> raw = Problem(TSP.length, TSP.split, TSP.merge, lambda pieces: pieces, TSP.instance, TSP.solutions)
    >>> raw.normalize(torch.zeros(1, 4, 2)).shape
    torch.Size([1, 4, 2])
    """

    length: Callable[[Tensor, Tensor], Tensor]
    split: Callable[[Tensor, Tensor, int, int, torch.Generator | None], Pieces]
    merge: Callable[[Pieces, Tensor], Tensor]
    normalize: Callable[[Tensor], Tensor]
    instance: Callable[[Any], tuple[Tensor, bool]] = field(default=as_batch)
    solutions: Callable[[str, Any, Tensor], Tensor] = field(default=lambda name, value, instance: value)

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            checks.function(name, value)


def _places(coords: Tensor, order: Tensor) -> Tensor:
    """Points (..., n, 2) of node numbers (B, ..., n), float64."""
    index = order.reshape(len(order), -1, 1).expand(-1, -1, 2)
    return coords.double().gather(1, index).reshape(*order.shape, 2)


def _tour_lengths(coords: Tensor, tours: Tensor) -> Tensor:
    path = _places(coords, tours)
    step = path - path.roll(-1, 2)
    return torch.hypot(step[..., 0], step[..., 1]).sum(-1)


def _cut_tours(coords: Tensor, tours: Tensor, n: int, shift: int, generator: torch.Generator | None = None) -> Pieces:
    """Roll by `shift`, cut into N // n pieces of n cities; the cities left over stay as they are."""
    rolled = tours.roll(-shift, 2)
    count = tours.shape[2] // n
    nodes = rolled[:, :, : count * n].reshape(*tours.shape[:2], count, n)
    return Pieces(_places(coords, nodes).flatten(0, 2), nodes, rolled[:, :, count * n :])


def _join_tours(pieces: Pieces, answers: Tensor) -> Tensor:
    """The best answer of each piece, in original units, where it is shorter than the old one."""
    answers = check_orders("the solver's answers", answers, len(pieces.data), pieces.data.shape[1])
    new = _walk_lengths(pieces.data, answers)
    old = _walk_lengths(pieces.data, torch.arange(answers.shape[2]).expand(len(answers), 1, -1))[:, 0]
    best = new.min(1)
    order = answers[torch.arange(len(answers)), best.indices]
    keep = torch.arange(answers.shape[2]).expand_as(order)
    order = torch.where((best.values < old * (1 - LEAST_GAIN))[:, None], order, keep)
    nodes = pieces.nodes.flatten(0, 2).gather(1, order).reshape(pieces.nodes.shape)
    return torch.cat([nodes.flatten(2), pieces.rest], dim=2)


def _walk_lengths(paths: Tensor, answers: Tensor) -> Tensor:
    step = _places(paths, answers).diff(dim=2)
    return torch.hypot(step[..., 0], step[..., 1]).sum(-1)


def _check_tours(name: str, tours: Any, points: Tensor) -> Tensor:
    """Tours (B, alpha, N), int64."""
    b, n, _ = points.shape
    order = tours if isinstance(tours, Tensor) and not tours.is_floating_point() else as_tensor(name, tours)
    fits = order.ndim == 3 and len(order) == b and order.shape[1] > 0 and order.shape[2] == n
    if not fits or not bool((order.sort(-1).values == torch.arange(n)).all()):
        raise ValueError(f"{name} must hold permutations of 0..{n - 1}, shape (alpha, {n}) for each instance")
    return order.long()


#: The Euclidean traveling-salesman problem.
TSP = Problem(_tour_lengths, _cut_tours, _join_tours, normalize, as_batch, _check_tours)


def piece_length(n: Any, n_nodes: int | None = None) -> int:
    """n as int, when it is an even number from 4 to N.

    Raises
    ------
    ValueError, TypeError
        For another number, or an instance of fewer nodes.
    """
    n = checks.integer("n", n, low=4)
    if n % 2:
        raise ValueError(f"n must be an even number of at least 4 (pieces are shifted by n / 2), got {n}")
    if n_nodes is not None and n > n_nodes:
        raise ValueError(f"a piece has n = {n} nodes, but the instance (coords) only {n_nodes}")
    return n


def conquer(
    coords: Any,
    tours: Any,
    solver: Solver,
    n: int,
    shift: int,
    beta: int = 2,
    problem: Problem = TSP,
    generator: torch.Generator | None = None,
) -> Any:
    """One conquering stage: shift, cut, solve all pieces, keep what is better, merge.

    Parameters
    ----------
    coords : array or Tensor, shape (N, 2) or (B, N, 2)
    tours : int array or Tensor, shape (alpha, N) or (B, alpha, N)
    solver : Solver
        Learned or exact.
    n : int
        Nodes per piece, even (paper: 100).
    shift : int
        Positions by which the tours are rolled first (paper: n / 2 in the first two stages, then 1 to n at random).
    beta : int, default 2
        Answers per piece, decoded greedily (paper: 2, one from each end).
    problem : Problem, default `TSP`
    generator : torch.Generator, optional

    Returns
    -------
    tours of the same type and shape, rolled by `shift`; none is longer than before.

    Raises
    ------
    ValueError, TypeError
        For bad coordinates, tours that are no permutations, n odd, below 4 or above N, a negative shift, or a solver
        whose answers are no orders of the pieces with their ends fixed.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.policies.udc import HeldKarpSolver, conquer
    >>> conquer(np.random.default_rng(0).random((20, 2)), np.arange(20)[None], HeldKarpSolver(), n=10, shift=5).shape
    (1, 20)
    """
    points, single = problem.instance(coords)
    n, shift = piece_length(n, points.shape[1]), checks.integer("shift", shift, low=0)
    order = problem.solutions("tours", as_tensor("tours", tours)[None] if single else tours, points)
    merged = stage(problem, points, order, solver, n, shift, checks.integer("beta", beta, low=1), generator)
    merged = merged[0] if single else merged
    return merged if isinstance(tours, Tensor) else merged.numpy()


def stage(
    problem: Problem,
    points: Tensor,
    found: Tensor,
    solver: Solver,
    n: int,
    shift: int,
    beta: int,
    generator: torch.Generator | None,
) -> Tensor:
    """One stage of `conquer` on tensors that are already checked: split, solve every piece, merge."""
    with torch.no_grad():
        pieces = problem.split(points, found, n, shift, generator)
        answers = solver.solve(problem.normalize(pieces.data), beta, True, generator)[0]
        return problem.merge(pieces, answers)


def as_numpy(value: Tensor) -> np.ndarray:
    """A copy that a user may write into."""
    return value.detach().numpy().copy()
