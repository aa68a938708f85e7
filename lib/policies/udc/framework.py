"""Divide, conquer, reunite: the stage on whole solutions, joint training by REINFORCE, and repeated conquering.

Equation numbers are those of the module docstring of `lib.policies.udc`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from scipy.optimize import OptimizeResult
from torch import Tensor, nn

from lib.policies.udc.divide import as_batch
from lib.policies.udc.solvers import Solver, normalize

#: A sub-solution replaces the old one only when it is better by more than this: float ties are no improvement.
LEAST_GAIN = 1e-9


@contextmanager
def initialized(seed: int, dtype: torch.dtype) -> Iterator[None]:
    """Networks made inside are initialized by `seed` in `dtype`; in float64 to the same numbers on every CPU."""
    before = torch.get_default_dtype()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.set_default_dtype(dtype)
        try:
            yield
        finally:
            torch.set_default_dtype(before)


Sampler = Callable[[np.random.Generator], Any]


@dataclass(frozen=True)
class Pieces:
    """Sub-problems of a batch of solutions: their `data` (P, n, 2) and what `Problem.merge` needs to put answers back."""

    data: Tensor
    nodes: Tensor
    rest: Tensor


class Divider(Protocol):
    """What draws initial solutions: `HeatmapPolicy`, `knapsack.ItemPolicy`."""

    def sample(
        self,
        coords: Tensor,
        alpha: int,
        revisit: int = 1,
        greedy: bool = False,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Solutions (B, alpha, N) and their log-probabilities (B, alpha)."""


@dataclass(frozen=True)
class Problem:
    """A decomposable problem, as four functions; all costs are to be minimized, float64, in original units.

    Attributes
    ----------
    length : (instance (B, N, 2), solutions (B, alpha, N)) -> costs (B, alpha)
    split : (instance, solutions, n, shift, generator) -> `Pieces`
    merge : (pieces, answers (P, beta, n)) -> solutions; the best answer of each piece where it beats the old one
    normalize : piece data -> what the solver sees
    """

    length: Callable[[Tensor, Tensor], Tensor]
    split: Callable[[Tensor, Tensor, int, int, torch.Generator | None], Pieces]
    merge: Callable[[Pieces, Tensor], Tensor]
    normalize: Callable[[Tensor], Tensor]


def _places(coords: Tensor, order: Tensor) -> Tensor:
    """Points (..., n, 2) of node numbers (B, ..., n), float64."""
    index = order.reshape(len(order), -1, 1).expand(-1, -1, 2)
    return coords.double().gather(1, index).reshape(*order.shape, 2)


def _tour_lengths(coords: Tensor, tours: Tensor) -> Tensor:
    path = _places(coords, tours)
    return (path - path.roll(-1, 2)).norm(dim=-1).sum(-1)


def _cut_tours(coords: Tensor, tours: Tensor, n: int, shift: int, generator: torch.Generator | None = None) -> Pieces:
    """Roll by `shift`, cut into N // n pieces of n cities; the cities left over stay as they are."""
    rolled = tours.roll(-shift, 2)
    count = tours.shape[2] // n
    nodes = rolled[:, :, : count * n].reshape(*tours.shape[:2], count, n)
    return Pieces(_places(coords, nodes).flatten(0, 2), nodes, rolled[:, :, count * n :])


def _join_tours(pieces: Pieces, answers: Tensor) -> Tensor:
    """The best answer of each piece, in original units, where it is shorter than the old one."""
    new = _walk_lengths(pieces.data, answers)
    old = pieces.data.diff(dim=1).norm(dim=-1).sum(-1)
    best = new.min(1)
    order = answers[torch.arange(len(answers)), best.indices]
    keep = torch.arange(answers.shape[2]).expand_as(order)
    order = torch.where((best.values < old - LEAST_GAIN)[:, None], order, keep)
    nodes = pieces.nodes.flatten(0, 2).gather(1, order).reshape(pieces.nodes.shape)
    return torch.cat([nodes.flatten(2), pieces.rest], dim=2)


def _walk_lengths(paths: Tensor, answers: Tensor) -> Tensor:
    return _places(paths, answers).diff(dim=2).norm(dim=-1).sum(-1)


#: The Euclidean traveling-salesman problem.
TSP = Problem(_tour_lengths, _cut_tours, _join_tours, normalize)


def _as_is(pieces: Tensor) -> Tensor:
    return pieces


#: The same without normalization of the pieces, for the ablation.
TSP_UNNORMALIZED = Problem(_tour_lengths, _cut_tours, _join_tours, _as_is)


def check_piece(n: int, n_nodes: int) -> int:
    """n itself, when it is an even number from 4 to N; else ValueError."""
    if n != int(n) or n < 4 or n % 2:
        raise ValueError(f"n must be an even number of at least 4 (pieces are shifted by n / 2), got {n}")
    if n > n_nodes:
        raise ValueError(f"a piece has n = {n} nodes, but the instance only {n_nodes}")
    return int(n)


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

    Returns
    -------
    tours of the same type and shape, rolled by `shift`; none is longer than before.

    Raises
    ------
    ValueError
        For bad coordinates, tours that are no permutations, or n odd, below 4 or above N.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.policies.udc import HeldKarpSolver, conquer
    >>> conquer(np.random.default_rng(0).random((20, 2)), np.arange(20)[None], HeldKarpSolver(), n=10, shift=5).shape
    (1, 20)
    """
    points, single = as_batch(torch.as_tensor(coords))
    order = torch.as_tensor(tours)
    order = order[None] if single else order
    check_piece(n, points.shape[1])
    if problem.split is _cut_tours:
        _check_tours(order, points)
    with torch.no_grad():
        pieces = problem.split(points, order, n, shift, generator)
        answers, _, _ = solver.solve(problem.normalize(pieces.data), beta, True, generator)
        merged = problem.merge(pieces, answers)
    merged = merged[0] if single else merged
    return merged if isinstance(tours, Tensor) else merged.numpy()


def _check_tours(tours: Tensor, points: Tensor) -> None:
    b, n, _ = points.shape
    shape_fits = tours.ndim == 3 and len(tours) == b and tours.shape[2] == n
    if not shape_fits or not bool((tours.sort(-1).values == torch.arange(n)).all()):
        raise ValueError(f"tours must be permutations of 0..{n - 1}, shape (alpha, {n}) per instance, got {tuple(tours.shape)}")


def reinforce(logp: Tensor, cost: Tensor) -> Tensor:
    """Surrogate loss of REINFORCE with the mean over the last axis as baseline, equations (11) and (12).

    Its gradient is the mean of (cost - mean cost) grad logp.
    """
    advantage = (cost - cost.mean(-1, keepdim=True)).detach().to(logp)
    return (advantage * logp).mean()


class UDC:
    """A divider and a conqueror, trained together and applied again and again.

    Parameters
    ----------
    divider : HeatmapPolicy or another `Divider`
    solver : SubpathSolver or another `Solver`
    n : int, default 100
        Nodes per piece (paper: 100), even.
    problem : Problem, default `TSP`

    Attributes
    ----------
    steps : int
        Training steps made so far.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.policies.udc import UDC, HeatmapPolicy, SubpathSolver
    >>> model = UDC(HeatmapPolicy(d=8, depth=2, k=5), SubpathSolver(d=8, depth=1), n=10)
    >>> model.solve(np.random.default_rng(0).random((20, 2)), stages=3, seed=0).history.shape
    (4, 1)
    """

    def __init__(self, divider: Any, solver: Any, n: int = 100, problem: Problem = TSP) -> None:
        if n != int(n) or n < 4 or n % 2:
            raise ValueError(f"n must be an even number of at least 4 (pieces are shifted by n / 2), got {n}")
        self.divider, self.solver, self.n, self.problem, self.steps = divider, solver, int(n), problem, 0
        nets = {"divider": divider, "solver": solver}
        self.nets = {name: net for name, net in nets.items() if isinstance(net, nn.Module)}
        self.optimizers = {name: torch.optim.Adam(net.parameters()) for name, net in self.nets.items()}

    def fit(
        self,
        sampler: Sampler,
        steps: int,
        *,
        reunion: bool = True,
        train: tuple[str, ...] = ("divider", "solver"),
        alpha: int = 40,
        beta: int = 50,
        lr: float = 1e-4,
        clip: float = float("inf"),
        seed: int | np.random.Generator = 0,
        callback: Callable[[int, np.ndarray], None] | None = None,
    ) -> np.ndarray:
        """Train by REINFORCE on fresh instances, equations (11) and (12).

        Parameters
        ----------
        sampler : callable
            Takes a NumPy generator, returns an instance (N, 2) or a batch (B, N, 2) (paper: one instance per step).
        steps : int
        reunion : bool, default True
            Whether the divider's reward is taken after a second, shifted stage; without, after the first.
        train : tuple of "divider", "solver"
            The networks to train (paper: both at once).
        alpha, beta : int
            Tours per instance and orders per piece (paper: 40 and 50).
        lr : float
            Of Adam, for both networks (paper: 1e-4).
        clip : float, default inf
            Largest norm of a network's gradient (paper: none).
        seed : int or numpy.random.Generator
        callback : callable, optional
            Gets the step's number and its mean costs after each.

        Returns
        -------
        float64, shape (steps, 3): mean cost of the sketch, after conquer, after reunion (NaN without reunion)

        Raises
        ------
        ValueError
            For negative steps, unknown network names, alpha or beta below 2, an odd beta, or instances below n nodes.
        """
        if steps < 0 or alpha < 2 or beta < 2 or beta % 2:
            raise ValueError(f"steps >= 0, alpha >= 2 and an even beta >= 2 are needed, got {steps}, {alpha}, {beta}")
        if not set(train) <= set(self.nets):
            raise ValueError(f"train may name {', '.join(self.nets)}, got {train!r}")
        rng = np.random.default_rng(seed)
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        for optimizer in self.optimizers.values():
            optimizer.param_groups[0]["lr"] = lr
        history = np.full((steps, 3), np.nan)
        for net in self.nets.values():
            net.train()
        for step in range(steps):
            points, _ = as_batch(torch.as_tensor(sampler(rng)))
            check_piece(self.n, points.shape[1])
            history[step] = self._train_step(points, reunion, train, alpha, beta, clip, generator)
            self.steps += 1
            if callback is not None:
                callback(step, history[step])
        for net in self.nets.values():
            net.eval()
        return history

    def _train_step(
        self,
        points: Tensor,
        reunion: bool,
        train: tuple[str, ...],
        alpha: int,
        beta: int,
        clip: float,
        rng: torch.Generator,
    ) -> np.ndarray:
        """One step: conquer, update, reunite, update, then the divider."""
        costs = np.full(3, np.nan)
        revisit, half = self.revisits(points), self.n // 2
        with torch.set_grad_enabled("divider" in train):
            draws = self.divider.sample(points, alpha, revisit, generator=rng)
        tours, logp = draws
        cost = self.problem.length(points, tours)
        costs[0] = float(cost.mean())
        for stage in range(1 + reunion):
            pieces = self.problem.split(points, tours, self.n, half, rng)
            paths = self.problem.normalize(pieces.data)
            with torch.set_grad_enabled("solver" in train):
                solved = self.solver.solve(paths, beta, generator=rng)
            answers, piece_logp, piece_cost = solved
            if "solver" in train:
                loss = reinforce(piece_logp, piece_cost)  # (12)
                self._update("solver", loss, clip)
            tours = self.problem.merge(pieces, answers)
            cost = self.problem.length(points, tours)
            costs[1 + stage] = float(cost.mean())
        if "divider" in train:
            self._update("divider", reinforce(logp, cost), clip)  # (11)
        return costs

    def _update(self, name: str, loss: Tensor, clip: float) -> None:
        self.optimizers[name].zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.nets[name].parameters(), clip)
        self.optimizers[name].step()

    def revisits(self, points: Tensor) -> int:
        """T: one read-out of the heatmap for every n steps."""
        return max(1, points.shape[-2] // self.n)

    def solve(
        self,
        coords: Any,
        alpha: int = 1,
        stages: int = 50,
        callback: Callable[[int, np.ndarray], None] | None = None,
        *,
        sketches: Any = None,
        beta: int = 2,
        seed: int | np.random.Generator = 0,
    ) -> OptimizeResult:
        """Greedy sketches, then `stages` conquering stages with shifts n/2, n/2, then 1 to n at random.

        Parameters
        ----------
        coords : array or Tensor, shape (N, 2) or (B, N, 2)
        alpha : int, default 1
            Sketches per instance (paper: 1 or 50).
        stages : int, default 50
            r (paper: 2, 50, 250); 0 returns the sketch.
        callback : callable, optional
            Gets the stage's number and the solutions after it, (alpha, N) or (B, alpha, N).
        sketches : int array, shape (alpha, N) or (B, alpha, N), optional
            Initial solutions to use instead of the divider's.
        beta : int, default 2
            2: each piece is solved from both ends (paper); 1: from its first end only.
        seed : int or numpy.random.Generator
            Of the starts and the shifts.

        Returns
        -------
        scipy.optimize.OptimizeResult
            ``x`` the best solution (N,), ``fun`` its cost, ``history`` (stages + 1, alpha) costs after every stage,
            ``solutions`` (alpha, N), ``nit``; with a batch of instances all but ``nit`` have its axis (in ``history``
            the second).

        Raises
        ------
        ValueError
            For bad coordinates, N < n, negative stages, or sketches that are no permutations.
        """
        points, single = as_batch(torch.as_tensor(coords))
        check_piece(self.n, points.shape[1])
        if stages < 0:
            raise ValueError(f"stages must not be negative, got {stages}")
        rng = np.random.default_rng(seed)
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        for net in self.nets.values():
            net.eval()
        with torch.no_grad():
            if sketches is None:
                found, _ = self.divider.sample(points, alpha, self.revisits(points), True, generator)
            else:
                found = torch.as_tensor(sketches)
                found = found[None] if single else found
                if self.problem.split is _cut_tours:
                    _check_tours(found, points)
            history = [self.problem.length(points, found)]
            for stage in range(1, stages + 1):
                shift = self.n // 2 if stage <= 2 else int(rng.integers(1, self.n + 1))
                found = conquer(points, found, self.solver, self.n, shift, beta, self.problem, generator)
                history.append(self.problem.length(points, found))
                if callback is not None:
                    callback(stage, (found[0] if single else found).numpy())
        best = history[-1].argmin(1)
        x = found[torch.arange(len(found)), best].numpy()
        result = {"x": x, "fun": history[-1].amin(1).numpy(), "solutions": found.numpy()}
        trace = torch.stack(history).numpy()
        if single:
            result, trace = {name: value[0] for name, value in result.items()}, trace[:, 0]
        return OptimizeResult(**result, history=trace, nit=stages, success=True)
