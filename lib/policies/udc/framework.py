"""The framework: joint training of divider and conqueror by REINFORCE, and repeated conquering.

Equation numbers are those of the module docstring of `lib.policies.udc`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import torch
from scipy.optimize import OptimizeResult
from torch import Tensor, nn

from lib import checks
from lib.policies.udc.divide import as_tensor
from lib.policies.udc.problem import TSP, Problem, as_numpy, piece_length, stage
from lib.policies.udc.solvers import Solver

Sampler = Callable[[np.random.Generator], Any]


class Divider(Protocol):
    """What draws initial solutions, for example `HeatmapPolicy`."""

    def sample(
        self,
        coords: Tensor,
        alpha: int,
        revisit: int = 1,
        greedy: bool = False,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Solutions (B, alpha, N) of instances (B, N, 2) and their log-probabilities (B, alpha; None when greedy)."""


def reinforce(logp: Tensor, cost: Tensor) -> Tensor:
    """Surrogate loss of REINFORCE with the mean over the last axis as baseline, equations (11) and (12).

    Its gradient is the mean of (cost - mean cost) grad logp; costs may be negative.

    Parameters
    ----------
    logp : Tensor, shape (..., m)
        Differentiable log-probabilities.
    cost : Tensor, same shape
        Of the draws.

    Raises
    ------
    ValueError, TypeError
        For another shape, or numbers that are not finite.

    Examples
    --------
    >>> import torch
    >>> from lib.policies.udc import reinforce
    >>> logp = torch.tensor([-1.0, -2.0], requires_grad=True)
    >>> reinforce(logp, torch.tensor([3.0, 5.0])).backward()
    >>> logp.grad.tolist()
    [-0.5, 0.5]
    """
    logp, cost = checks.tensor("logp", logp), checks.tensor("cost", cost)
    if logp.shape != cost.shape or logp.ndim < 1:
        raise ValueError(f"logp and cost must have the same shape (..., m), got {tuple(logp.shape)} and {tuple(cost.shape)}")
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

    def __init__(self, divider: Divider, solver: Solver, n: int = 100, problem: Problem = TSP) -> None:
        checks.function("divider.sample", getattr(divider, "sample", None))
        checks.function("solver.solve", getattr(solver, "solve", None))
        if not isinstance(problem, Problem):
            raise TypeError(f"problem must be a Problem, got {checks.shown(problem)}")
        self.divider, self.solver, self.n, self.problem, self.steps = divider, solver, piece_length(n), problem, 0
        nets = {"divider": divider, "solver": solver}
        self.nets: dict[str, nn.Module] = {name: net for name, net in nets.items() if isinstance(net, nn.Module)}
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

        Called again with the same generator it goes on as one longer call would have.

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
            Largest norm of a network's gradient (paper: none); infinity allowed.
        seed : int or numpy.random.Generator
        callback : callable, optional
            Gets the step's number and its mean costs after each; may raise StopIteration to end the training.

        Returns
        -------
        float64, shape (steps made, 3): mean cost of the sketch, after conquer, after reunion (NaN without reunion)

        Raises
        ------
        ValueError, TypeError
            For negative steps, unknown network names, alpha or beta below 2, an odd beta, a learning rate or clip that is
            not positive, or what the sampler returns being no instance of at least n nodes.
        FloatingPointError
            If a loss or gradient is not finite; the networks stay as they were before that update.
        """
        steps, reunion = checks.integer("steps", steps, low=0), checks.boolean("reunion", reunion)
        alpha, beta = checks.integer("alpha", alpha, low=2), checks.integer("beta", beta, low=2)
        lr, clip = checks.positive("lr", lr), checks.number("clip", clip, above=0, inf=True)
        if beta % 2:
            raise ValueError(f"beta must be even, got {beta}")
        if isinstance(train, str) or not set(train) <= set(self.nets):
            raise ValueError(f"train may name {', '.join(self.nets)} in a tuple, got {train!r}")
        checks.function("sampler", sampler)
        rng = checks.generator("seed", seed)
        for optimizer in self.optimizers.values():
            optimizer.param_groups[0]["lr"] = lr
        history = np.full((steps, 3), np.nan)
        try:
            for step in range(steps):
                for net in self.nets.values():
                    net.train()
                points, _ = self.problem.instance(sampler(rng))
                piece_length(self.n, points.shape[1])
                generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
                history[step] = self._train_step(points, reunion, train, alpha, beta, clip, generator)
                self.steps += 1
                if _ends(callback, step, history[step].copy()):
                    return history[: step + 1]
        finally:
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
            tours, logp = self.divider.sample(points, alpha, revisit, generator=rng)
        tours = self.problem.solutions("the divider's solutions", tours, points)
        cost = self.problem.length(points, tours)
        costs[0] = float(cost.mean())
        for number in range(1 + reunion):
            pieces = self.problem.split(points, tours, self.n, half, rng)
            paths = self.problem.normalize(pieces.data)
            with torch.set_grad_enabled("solver" in train):
                answers, piece_logp, piece_cost = self.solver.solve(paths, beta, generator=rng)
            if "solver" in train:
                self._update("solver", piece_logp, piece_cost, clip)  # (12)
            tours = self.problem.merge(pieces, answers)
            cost = self.problem.length(points, tours)
            costs[1 + number] = float(cost.mean())
        if "divider" in train:
            self._update("divider", logp, cost, clip)  # (11)
        return costs

    def _update(self, name: str, logp: Tensor | None, cost: Tensor, clip: float) -> None:
        """One step of Adam on a network; FloatingPointError, and no step, where its gradient is not finite."""
        if logp is None or not bool(torch.isfinite(logp.detach()).all() & torch.isfinite(cost).all()):
            raise FloatingPointError(
                f"the {name}'s log-probabilities or costs are not finite: nothing was changed by this step"
            )
        self.optimizers[name].zero_grad()
        reinforce(logp, cost).backward()
        norm = nn.utils.clip_grad_norm_(self.nets[name].parameters(), clip)
        if not bool(torch.isfinite(norm)):
            raise FloatingPointError(f"the {name}'s gradient is not finite: nothing was changed by this step")
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
            Gets the stage's number and the solutions after it, (alpha, N) or (B, alpha, N); may raise StopIteration.
        sketches : int array, shape (alpha, N) or (B, alpha, N), optional
            Initial solutions to use instead of the divider's.
        beta : int, default 2
            2: each piece is solved from both ends (paper); 1: from its first end only.
        seed : int or numpy.random.Generator
            Of the starts and the shifts.

        Returns
        -------
        scipy.optimize.OptimizeResult
            ``x`` the best solution (N,), ``fun`` its cost, ``history`` (nit + 1, alpha) costs after every stage,
            ``solutions`` (alpha, N), ``nit``, ``success`` (all stages made) and ``message``; with a batch of instances
            ``x``, ``fun``, ``solutions`` and ``history`` (there the second) have its axis.

        Raises
        ------
        ValueError, TypeError
            For bad coordinates, N < n, negative stages, or sketches that are no solutions.
        """
        points, single = self.problem.instance(coords)
        piece_length(self.n, points.shape[1])
        stages, alpha = checks.integer("stages", stages, low=0), checks.integer("alpha", alpha, low=1)
        beta, rng = checks.integer("beta", beta, low=1, high=2), checks.generator("seed", seed)
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        for net in self.nets.values():
            net.eval()
        if sketches is None:
            with torch.no_grad():
                found, _ = self.divider.sample(points, alpha, self.revisits(points), True, generator)
            found = self.problem.solutions("the divider's solutions", found, points)
        else:
            found = as_tensor("sketches", sketches)
            found = self.problem.solutions("sketches", found[None] if single else found, points)
        history, done, ended = [self.problem.length(points, found)], 0, False
        while done < stages and not ended:
            done += 1
            shift = self.n // 2 if done <= 2 else int(rng.integers(1, self.n + 1))
            found = stage(self.problem, points, found, self.solver, self.n, shift, beta, generator)
            history.append(self.problem.length(points, found))
            ended = _ends(callback, done, as_numpy(found[0] if single else found))
        best = history[-1].argmin(1)
        x = as_numpy(found[torch.arange(len(found)), best])
        result = {"x": x, "fun": as_numpy(history[-1].amin(1)), "solutions": as_numpy(found)}
        trace = as_numpy(torch.stack(history))
        if single:
            result, trace = {name: value[0] for name, value in result.items()}, trace[:, 0]
        message = "the callback ended it" if ended else "all stages made"
        return OptimizeResult(**result, history=trace, nit=done, success=not ended, message=message)


def _ends(callback: Callable[[int, np.ndarray], None] | None, number: int, value: np.ndarray) -> bool:
    """Whether the callback wants to end it."""
    if callback is None:
        return False
    try:
        checks.function("callback", callback)(number, value)
    except StopIteration:
        return True
    return False
