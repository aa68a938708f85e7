"""The paper's two toys, with their exact answers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from lib import checks
from lib.problems.bilevel import BilevelProblem


@dataclass(frozen=True)
class Merely:
    """Toy 1, whose lower level has many solutions: y = (y1, y2), and y2 enters only by its sum.

    Minimize ``|x - y2|^2 / 2 + |y1 - 1|^2 / 2`` where y minimizes ``|y1|^2 / 2 - x'y1 + sum(y2)`` subject to
    ``sum(x) + sum(y1) + sum(y2) = 0``.
    """

    n: int

    def upper(self, x: Tensor, y: Tensor) -> Tensor:
        first, second = y[..., : self.n], y[..., self.n :]
        return ((x - second).square().sum(-1) + (first - 1).square().sum(-1)) / 2

    def lower(self, x: Tensor, y: Tensor) -> Tensor:
        first, second = y[..., : self.n], y[..., self.n :]
        return (first.square() / 2 - x * first + second).sum(-1)

    def constraints(self, x: Tensor, y: Tensor) -> Tensor:
        return x.sum(-1, keepdim=True) + y.sum(-1, keepdim=True)

    def upper_slopes(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        first, second = y[..., : self.n], y[..., self.n :]
        return x - second, torch.cat([first - 1, second - x], dim=-1)

    def lower_slopes(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        first = y[..., : self.n]
        return -first, torch.cat([first - x, torch.ones_like(x)], dim=-1)

    def pull(self, x: Tensor, y: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        return weights.expand_as(x), weights.expand_as(y)

    def project(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        mean = self.constraints(x, y) / (3 * self.n)
        return x - mean, y - mean

    def problem(self) -> BilevelProblem:
        return BilevelProblem(
            self.upper, self.lower, self.constraints, equality=True, project_joint=self.project,
            upper_slopes=self.upper_slopes, lower_slopes=self.lower_slopes, constraint_pull=self.pull,
        )  # fmt: skip

    @property
    def solution(self) -> tuple[float, float, float]:
        """Entries of x, y1 and y2 in the solution; the upper level's value is n / 20."""
        return -0.3, 0.7, -0.4

    def gap(self, x: Tensor, y: Tensor) -> Tensor:
        """Lower level at (x, y) minus its optimal value at x."""
        best = (x + 1).square() / 2 - x * (x + 1) - (2 * x + 1)  # at y1 = x + 1, sum(y2) = -sum(2 x + 1)
        return self.lower(x, y) - best.sum(-1)

    def score(self, x: Tensor) -> Tensor:
        """Relative error of x."""
        return (x - self.solution[0]).norm(dim=-1) / (abs(self.solution[0]) * self.n**0.5)

    @property
    def sizes(self) -> tuple[int, int]:
        return self.n, 2 * self.n

    @property
    def scale(self) -> float:
        """Norm of the constraint's slope in y."""
        return (2 * self.n) ** 0.5

    def parts(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """A, H, the lower level's second derivatives in (y, y) and (y, x), and the projection onto X, as matrices."""
        eye, zero = torch.eye(self.n, dtype=torch.float64), torch.zeros(self.n, self.n, dtype=torch.float64)
        ones = torch.ones(1, 2 * self.n, dtype=torch.float64)
        curved = torch.block_diag(eye, zero)
        return ones, ones[:, : self.n], curved, torch.cat([-eye, zero]), eye


def merely_convex_toy(n: int) -> Merely:
    """Toy 1 with n entries of x and 2 n of y (paper: 100).

    Examples
    --------
    >>> from lib.constrained.lv_hba.study import merely_convex_toy
    >>> merely_convex_toy(100).solution
    (-0.3, 0.7, -0.4)
    """
    return Merely(checks.integer("n", n, low=1))


@dataclass(frozen=True)
class Affine:
    """Toy 2: a lower level with a linear equation that involves x, and an upper level that is not convex.

    Minimize ``sin(c'x + d'y) + log(|x + y|^2 + 1)`` over ``B x = 0`` where y minimizes ``|x - y|^2 / 2`` subject to
    ``A y + H x = 0``. The matrices may carry a leading axis: several draws at once.
    """

    A: Tensor
    H: Tensor
    B: Tensor
    c: Tensor
    d: Tensor
    onto: Tensor
    answer: Tensor

    def upper(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.sin((x * self.c).sum(-1) + (y * self.d).sum(-1)) + torch.log1p((x + y).square().sum(-1))

    def lower(self, x: Tensor, y: Tensor) -> Tensor:
        return (x - y).square().sum(-1) / 2

    def constraints(self, x: Tensor, y: Tensor) -> Tensor:
        return times_vector(self.A, y) + times_vector(self.H, x)

    def upper_slopes(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        both = x + y
        wave = torch.cos((x * self.c).sum(-1) + (y * self.d).sum(-1))[..., None]
        common = 2 * both / (1 + both.square().sum(-1, keepdim=True))
        return wave * self.c + common, wave * self.d + common

    def lower_slopes(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return x - y, y - x

    def pull(self, x: Tensor, y: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        return times_vector(self.H.mT, weights), times_vector(self.A.mT, weights)

    def project(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        both = times_vector(self.onto, torch.cat([x, y], dim=-1))
        return both[..., : x.shape[-1]], both[..., x.shape[-1] :]

    def problem(self) -> BilevelProblem:
        return BilevelProblem(
            self.upper, self.lower, self.constraints, equality=True, project_joint=self.project,
            upper_slopes=self.upper_slopes, lower_slopes=self.lower_slopes, constraint_pull=self.pull,
        )  # fmt: skip

    def score(self, x: Tensor) -> Tensor:
        """The upper level with the lower level solved exactly."""
        return self.upper(x, times_vector(self.answer, x))

    def gap(self, x: Tensor, y: Tensor) -> Tensor:
        """Lower level at (x, y) minus its optimal value at x."""
        return self.lower(x, y) - self.lower(x, times_vector(self.answer, x))

    @property
    def sizes(self) -> tuple[int, int]:
        return self.c.shape[-1], self.c.shape[-1]

    def parts(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """A, H, the lower level's second derivatives in (y, y) and (y, x), and the projection onto X, as matrices."""
        eye = torch.eye(self.c.shape[-1], dtype=self.A.dtype)
        return self.A, self.H, eye, -eye, eye - torch.linalg.pinv(self.B) @ self.B

    @property
    def scale(self) -> Tensor:
        """Norm of the constraints' slopes in y, with a last axis of one entry."""
        return torch.linalg.matrix_norm(self.A, ord=2)[..., None]


def times_vector(M: Tensor, v: Tensor) -> Tensor:
    """The product M v of matrices and vectors, over leading axes; vectors may have one axis more in front."""
    if M.ndim == 2:
        return v @ M.mT
    if v.ndim == M.ndim:
        return (v.transpose(0, 1) @ M.mT).transpose(0, 1)
    return (v[..., None, :] @ M.mT)[..., 0, :]


def affine_toy(n: int, n_rows: int, n_upper: int, seed: int | np.random.Generator, n_draws: int = 1) -> Affine:
    """Toy 2 with entries drawn uniformly from [0, 1], several draws along the first axis.

    Parameters
    ----------
    n : int
        Entries of x and of y (paper: 100).
    n_rows, n_upper : int
        Rows of A and H, at most n, and rows of B (paper: 90; rank 45).
    seed : int or Generator
    n_draws : int

    Examples
    --------
    >>> from lib.constrained.lv_hba.study import affine_toy
    >>> affine_toy(4, n_rows=3, n_upper=2, seed=0, n_draws=2).A.shape
    torch.Size([2, 3, 4])
    """
    n = checks.integer("n", n, low=2)
    n_rows, n_upper = checks.integer("n_rows", n_rows, low=1, high=n), checks.integer("n_upper", n_upper, low=1, high=n - 1)
    rng = checks.generator("seed", seed)
    n_draws = checks.integer("n_draws", n_draws, low=1)
    A, H, B = (torch.from_numpy(rng.random((n_draws, rows, n))) for rows in (n_rows, n_rows, n_upper))
    c, d = torch.from_numpy(rng.random((2, n_draws, n)))
    stacked = torch.cat([torch.cat([H, A], -1), torch.cat([B, torch.zeros_like(B)], -1)], -2)
    onto = torch.eye(2 * n, dtype=A.dtype) - torch.linalg.pinv(stacked) @ stacked
    return Affine(A, H, B, c, d, onto, torch.eye(n, dtype=A.dtype) - torch.linalg.pinv(A) @ (A + H))


def authors_start(toy: Merely | Affine, size: float = 10.0) -> tuple[Tensor, Tensor]:
    """The authors' start: all entries of x and y alike (10), projected. One row, on the second toy one for each draw.

    Examples
    --------
    >>> from lib.constrained.lv_hba.study import authors_start, merely_convex_toy
    >>> [round(a, 4) for a in authors_start(merely_convex_toy(2))[0][0].tolist()]
    [0.0, 0.0]
    """
    if not isinstance(toy, Merely | Affine):
        raise TypeError(f"toy must be merely_convex_toy or affine_toy, got {checks.shown(toy)}")
    count, value = (1 if isinstance(toy, Merely) else len(toy.A)), checks.number("size", size)
    return toy.project(*(torch.full((count, n), value, dtype=torch.float64) for n in toy.sizes))


def best_reduced(toy: Affine, n_starts: int, seed: int | np.random.Generator) -> np.ndarray:
    """Lowest upper level with the lower level solved exactly, for each draw: BFGS from random starts.

    The problem is not convex, so this is a bound from above.

    Examples
    --------
    >>> from lib.constrained.lv_hba.study import affine_toy, best_reduced
    >>> best_reduced(affine_toy(4, n_rows=3, n_upper=2, seed=0), n_starts=2, seed=0).shape
    (1,)
    """
    if not isinstance(toy, Affine):
        raise TypeError(f"toy must be an affine_toy, got {checks.shown(toy)}")
    n_starts, rng = checks.integer("n_starts", n_starts, low=1), checks.generator("seed", seed)
    found = []
    for k in range(len(toy.A)):
        one = Affine(toy.A[k], toy.H[k], toy.B[k], toy.c[k], toy.d[k], toy.onto[k], toy.answer[k])
        free = torch.linalg.svd(one.B)[2][int(torch.linalg.matrix_rank(one.B)) :].T
        starts = rng.normal(size=(n_starts, free.shape[1])) * np.geomspace(0.01, 1, n_starts)[:, None]
        found.append(min(_descend(one, free, start) for start in starts))
    return np.array(found)


def _descend(toy: Affine, free: Tensor, start: np.ndarray) -> float:
    def of(u: np.ndarray) -> tuple[float, np.ndarray]:
        x = free @ torch.from_numpy(u)
        y = toy.answer @ x
        in_x, in_y = toy.upper_slopes(x, y)
        return float(toy.upper(x, y)), (free.T @ (in_x + toy.answer.T @ in_y)).numpy()

    return float(minimize(of, start, jac=True, method="BFGS").fun)
