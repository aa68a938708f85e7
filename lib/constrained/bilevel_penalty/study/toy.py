"""Many small problems with a plane of minimizers at once, for rates: exact hypergradient, samples with known noise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from lib import checks
from lib.problems.bilevel import BilevelProblem

from ..hypergradient import penalty_slope
from ..loops import DoubleLoopPenalty, SingleLoopPenalty

#: Of the ball Y.
RADIUS = 6.0


def _times(matrix: Tensor, vector: Tensor) -> Tensor:
    return (matrix @ vector[..., None])[..., 0]


def to_ball(y: Tensor) -> Tensor:
    """The nearest point of the ball of radius 6."""
    return y * (RADIUS / y.norm(dim=-1, keepdim=True).clamp(min=RADIUS))


class WideToy:
    """Random problems ``g = |A y - B x|^2 / 2`` with six unknowns, and a quadratic f: all runs in one batch.

    A matrix A of rank 6 has one minimizer y for each x, and an error bound; of rank 4, a plane of minimizers, and none that
    holds for every weight sigma, since along the plane only sigma f acts.

    Y is a ball of radius 6, so that samples have bounded variance: along the plane of minimizers nothing else holds z.

    A sample adds noise to the functions themselves, Gaussian: ``s (y' E x / 3 + e' y)`` to g, ``s (e_x' x + e_y' y)`` to f.
    Gradients are unbiased, and one sample's gradients at two points differ by a multiple of their distance.

    Parameters
    ----------
    seed : int or Generator
    n_runs : int
        Problems of each rank, at least 1.
    repeats : int
        How often all problems are repeated, for settings that are tried side by side; at least 1.
    noise : float
        s, at least 0.
    ranks : sequence of int
        Of A, from 1 to 6; problems of the first rank come first.

    Raises
    ------
    TypeError, ValueError
        For numbers out of range.

    Examples
    --------
    >>> from lib.constrained.bilevel_penalty.study import WideToy
    >>> toy = WideToy(seed=0, n_runs=3, repeats=2, noise=0.3)
    >>> toy.slope(toy.x0).shape
    torch.Size([6, 3])
    """

    def __init__(
        self,
        seed: int | np.random.Generator,
        n_runs: int,
        repeats: int = 1,
        noise: float = 0.3,
        ranks: Sequence[int] = (4,),
    ) -> None:
        rng = checks.generator("seed", seed)
        n_runs, repeats = checks.integer("n_runs", n_runs, low=1), checks.integer("repeats", repeats, low=1)
        self.noise = checks.number("noise", noise, low=0)
        kept = checks.array("ranks", ranks, ndim=1, low=1, high=6)
        if (kept != np.floor(kept)).any():
            raise TypeError(f"ranks must hold integers, got {checks.shown(ranks)}")
        singular = np.where(np.arange(6) < np.repeat(kept, n_runs)[:, None], [0.5, 0.6, 0.75, 1.0, 0.55, 0.85], 0.0)
        n = len(singular)
        left, right = (np.linalg.qr(rng.normal(size=(n, 6, 6)))[0] for _ in range(2))
        A = (left * singular[:, None]) @ np.swapaxes(right, 1, 2)
        parts = A, 0.5 * rng.normal(size=(n, 6, 3)), rng.normal(size=(n, 6)), 0.3 * rng.normal(size=(n, 6, 3))
        self.A, self.B, self.c, self.D = (torch.from_numpy(np.concatenate([part] * repeats)) for part in parts)
        self.runs = n * repeats
        self.x0 = torch.tensor([2.0, -1.0, 1.5], dtype=torch.float64).repeat(self.runs, 1)
        self.y0 = torch.zeros(self.runs, 6, dtype=torch.float64)
        self._pseudo = torch.linalg.pinv(self.A, rtol=1e-9)
        both = torch.cat([-self.B, self.A], 2)
        self._lower = both.mT @ both  # g's second derivatives in (x, y)
        self._AtA, self._AtB = self._lower[:, 3:, 3:], -self._lower[:, 3:, :3]
        self._back = self._pseudo @ self.B  # A^+ B
        at_zero = self._slope(torch.zeros_like(self.x0))
        columns = [self._slope(e.expand_as(self.x0)) - at_zero for e in torch.eye(3, dtype=torch.float64)]
        self._at_zero, self._hessian = at_zero, torch.stack(columns, -1)  # the exact objective is a quadratic

    def _left(self, x: Tensor, y: Tensor) -> Tensor:
        return y - self.c - _times(self.D, x)

    def upper(self, x: Tensor, y: Tensor) -> Tensor:
        """Sum of f over the problems."""
        return (self._left(x, y) ** 2).sum() / 2 + 0.05 * (x**2).sum()

    def lower(self, x: Tensor, y: Tensor) -> Tensor:
        """Sum of g over the problems."""
        return ((_times(self.A, y) - _times(self.B, x)) ** 2).sum() / 2

    def upper_slopes(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients of f."""
        left = self._left(x, y)
        return 0.1 * x - _times(self.D.mT, left), left

    def lower_slopes(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients of g."""
        by_x, by_y = _times(self._lower, torch.cat([x, y], -1)).split((3, 6), -1)
        return by_x, by_y

    @property
    def problem(self) -> BilevelProblem:
        """The problems without noise."""
        return BilevelProblem(
            self.upper, self.lower, project_y=to_ball, upper_slopes=self.upper_slopes, lower_slopes=self.lower_slopes
        )

    def sample(self, generator: np.random.Generator, size: int) -> BilevelProblem:
        """The problems of one batch: the mean of `size` independent samples."""
        s = self.noise / np.sqrt(checks.integer("size", size, low=1))
        drawn = torch.from_numpy(s * generator.normal(size=(self.runs, 6 * 3 + 6 + 3 + 6)))
        E, (e, e_x, e_y) = drawn[:, :18].reshape(-1, 6, 3) / 3, drawn[:, 18:].split((6, 3, 6), 1)

        def upper_slopes(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
            by_x, by_y = self.upper_slopes(x, y)
            return by_x + e_x, by_y + e_y

        def lower_slopes(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
            by_x, by_y = self.lower_slopes(x, y)
            return by_x + _times(E.mT, y), by_y + _times(E, x) + e

        return BilevelProblem(
            lambda x, y: self.upper(x, y) + (e_x * x).sum() + (e_y * y).sum(),
            lambda x, y: self.lower(x, y) + (_times(E, x) * y).sum() + (e * y).sum(),
            project_y=to_ball,
            upper_slopes=upper_slopes,
            lower_slopes=lower_slopes,
        )

    def best(self, x: Tensor) -> Tensor:
        """y*(x): of the lower level's minimizers the one with the least f."""
        free = self.c + _times(self.D, x)
        return _times(self._back, x) + free - _times(self._pseudo, _times(self.A, free))

    def _slope(self, x: Tensor) -> Tensor:
        by_x, by_y = self.upper_slopes(x, self.best(x))
        return by_x + _times(self._back.mT, by_y)

    def slope(self, x: Tensor) -> Tensor:
        """Gradient of the exact hyper-objective, shape (runs, 3)."""
        return self._at_zero + _times(self._hessian, x)

    def curvature(self) -> Tensor:
        """Largest second derivative of each problem's exact hyper-objective, a quadratic; shape (runs,)."""
        return torch.linalg.eigvalsh(self._hessian)[:, -1]

    def solve(self, x: Tensor, sigma: float) -> Tensor:
        """Minimizers of sigma f + g; of g, nearest to zero, for sigma = 0."""
        if checks.number("sigma", sigma, low=0) == 0:
            return _times(self._back, x)
        H = self._AtA + sigma * torch.eye(6, dtype=x.dtype)
        return torch.linalg.solve(H, (_times(self._AtB, x) + sigma * (self.c + _times(self.D, x)))[..., None])[..., 0]


class Trace(NamedTuple):
    """Root mean square of the exact hypergradient's norm between checkpoints: calls so far, and (checkpoints, runs)."""

    calls: np.ndarray
    norms: np.ndarray


def trace(loop: Any, slope: Callable[[Tensor], Tensor], ends: Sequence[float]) -> Trace:
    """Run a loop until it has made so many calls, and follow the exact hypergradient in between.

    Parameters
    ----------
    loop : DoubleLoopPenalty or SingleLoopPenalty
    slope : callable
        x of shape (runs, n) to gradients of that shape.
    ends : sequence of float
        Calls at the checkpoints, above 0 and rising. The step that reaches one is the last before it; two that one step
        reaches are one.

    Raises
    ------
    TypeError, ValueError
        For numbers out of range.

    Examples
    --------
    >>> from lib.constrained.bilevel_penalty import SingleLoopPenalty
    >>> from lib.constrained.bilevel_penalty.study import WideToy, trace
    >>> toy = WideToy(seed=0, n_runs=2)
    >>> loop = SingleLoopPenalty(toy.problem, toy.x0, toy.y0, sigma=0.3, alpha=0.05, gamma=0.5)
    >>> trace(loop, toy.slope, ends=[30, 60, 120]).norms.shape
    (3, 2)
    """
    if not isinstance(loop, DoubleLoopPenalty | SingleLoopPenalty):
        raise TypeError(f"loop must be a penalty loop, got {checks.shown(loop)}")
    checks.function("slope", slope)
    marks = checks.array("ends", ends, ndim=1, above=0, high=1e9)
    if (np.diff(marks) <= 0).any():
        raise ValueError(f"ends must rise, got {checks.shown(ends)}")
    found, calls = [], []
    for end in marks:
        total, steps = torch.zeros(loop.x.shape[:-1], dtype=loop.x.dtype), 0
        while loop.calls < end:
            loop.step()
            total, steps = total + (slope(loop.x) ** 2).sum(-1), steps + 1
        if steps:
            found.append((total / steps).sqrt().numpy())
            calls.append(loop.calls)
    return Trace(np.array(calls), np.array(found))


def gradient_noise(
    toy: WideToy, sigma: float, n_draws: int, shared: bool, near: bool, seed: int | np.random.Generator
) -> tuple[float, np.ndarray]:
    """Bias and standard deviation of one sample's penalized gradient at exact minimizers, at the problems' starts.

    Parameters
    ----------
    toy : WideToy
    sigma : float
        Above 0.
    n_draws : int
        Samples, at least 2.
    shared : bool
        One sample for the terms at y and at z, or two.
    near : bool
        Whether z is the lower level's minimizer nearest to y, or that nearest to zero.
    seed : int or Generator

    Returns
    -------
    bias : float
        Root mean square over the problems.
    deviation : array, shape (runs,)

    Raises
    ------
    TypeError, ValueError
        For numbers out of range.

    Examples
    --------
    >>> from lib.constrained.bilevel_penalty.study import WideToy, gradient_noise
    >>> bias, deviation = gradient_noise(WideToy(seed=0, n_runs=2), sigma=0.01, n_draws=10, shared=True, near=True, seed=0)
    >>> deviation.shape
    (2,)
    """
    sigma, n_draws = checks.positive("sigma", sigma), checks.integer("n_draws", n_draws, low=2, high=1_000_000)
    shared, near = checks.boolean("shared", shared), checks.boolean("near", near)
    generator, y, z, draws = checks.generator("seed", seed), toy.solve(toy.x0, sigma), toy.solve(toy.x0, 0.0), []
    if near:
        z = z + y - _times(toy._pseudo, _times(toy.A, y))
    exact = toy.upper_slopes(toy.x0, y)[0], toy.lower_slopes(toy.x0, y)[0], toy.lower_slopes(toy.x0, z)[0]
    mean = penalty_slope(*exact, sigma)
    for _ in range(n_draws):
        first = toy.sample(generator, 1)
        second = first if shared else toy.sample(generator, 1)
        slopes = first.upper_slopes(toy.x0, y)[0], first.lower_slopes(toy.x0, y)[0], second.lower_slopes(toy.x0, z)[0]
        draws.append(penalty_slope(*slopes, sigma) - mean)
    spread = torch.stack(draws).pow(2).sum(-1).mean(0).sqrt()
    return float((mean - toy.slope(toy.x0)).pow(2).sum(-1).mean().sqrt()), spread.numpy()
