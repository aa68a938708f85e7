"""Small bilevel problems whose hyper-objective is known exactly, and one that breaks the theorem's assumption."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lib import checks
from lib.problems.bilevel import BilevelProblem

FAMILIES = ("strong", "wide", "box", "ring")


class Instance(NamedTuple):
    """A problem with its exact solutions: `lower` gives the minimizer of sigma f + g near a start, `best` y* of x."""

    problem: BilevelProblem
    x0: Tensor
    lower: Callable[[Tensor, float], Tensor]
    best: Callable[[Tensor], Tensor]


def instance(family: str, seed: int | np.random.Generator) -> Instance:
    """A random problem of one of four families.

    ==========  ==========================================================================================
    family      lower level
    ==========  ==========================================================================================
    strong      least squares with more equations than unknowns: one minimizer
    wide        least squares with fewer equations than unknowns: a plane of minimizers
    box         strongly convex quadratic on the unit box, with active bounds
    ring        not convex: a circle of minimizers whose radius depends on x
    ==========  ==========================================================================================

    Parameters
    ----------
    family : {"strong", "wide", "box", "ring"}
    seed : int or Generator

    Returns
    -------
    Instance

    Raises
    ------
    TypeError, ValueError
        For another family or a bad seed.

    Examples
    --------
    >>> from lib.constrained.bilevel_penalty.study import instance
    >>> ring = instance("ring", seed=0)
    >>> ring.best(ring.x0).shape
    torch.Size([2])
    """
    family, rng = checks.choice("family", family, FAMILIES), checks.generator("seed", seed)
    if family == "ring":
        return _ring(rng)
    return _box(rng) if family == "box" else _least_squares(rng, 8 if family == "strong" else 4)


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float64))


def _least_squares(rng: np.random.Generator, rows: int, n: int = 3, m: int = 6) -> Instance:
    """``g = |A y - B x|^2 / 2`` with singular values between 0.7 and 1.5; f smooth and convex, not quadratic."""
    left, right = (np.linalg.qr(rng.normal(size=(size, size)))[0] for size in (rows, m))
    rank = min(rows, m)
    A = _tensor(left[:, :rank] @ np.diag(rng.uniform(0.7, 1.5, rank)) @ right[:, :rank].T)
    B, c, D = _tensor(0.5 * rng.normal(size=(rows, n))), _tensor(rng.normal(size=m)), _tensor(0.5 * rng.normal(size=(m, n)))
    null = _tensor(right[:, rank:])

    def upper(x: Tensor, y: Tensor) -> Tensor:
        return ((y - c - D @ x) ** 2).sum() / 2 + 0.1 * torch.sin(x).sum() + (y**4).sum() / 16

    def lower_level(x: Tensor, y: Tensor) -> Tensor:
        return ((A @ y - B @ x) ** 2).sum() / 2

    def newton(y: Tensor, basis: Tensor, x: Tensor, sigma: float, weight: float) -> Tensor:
        """Newton's method for sigma f + weight g on y + span(basis)."""
        for _ in range(100):
            g = sigma * (y - c - D @ x + y**3 / 4) + weight * A.T @ (A @ y - B @ x)
            H = sigma * (torch.eye(m, dtype=y.dtype) + torch.diag(0.75 * y**2)) + weight * A.T @ A
            step = basis @ torch.linalg.solve(basis.T @ H @ basis, basis.T @ g)
            y = y - step
            if float(step.abs().max()) < 1e-14:
                break
        return y

    def lower(x: Tensor, sigma: float) -> Tensor:
        nearest = torch.linalg.lstsq(A, (B @ x)[:, None], driver="gelsd").solution[:, 0]
        return nearest if sigma == 0 else newton(nearest, torch.eye(m, dtype=x.dtype), x, sigma, 1.0)

    def best(x: Tensor) -> Tensor:
        start = lower(x, 0.0)
        return newton(start, null, x, 1.0, 0.0) if null.shape[1] else start

    return Instance(BilevelProblem(upper, lower_level), _tensor(rng.normal(size=n)), lower, best)


def _box(rng: np.random.Generator, n: int = 3, m: int = 6) -> Instance:
    """A quadratic on [0, 1]^m; drawn anew until bounds are active with clear multipliers, and some coordinates free."""
    while True:
        R, B = rng.normal(size=(m, m)) / np.sqrt(m), _tensor(1.5 * rng.normal(size=(n, m)))
        Q, c = _tensor(R @ R.T + 0.5 * np.eye(m)), _tensor(rng.normal(size=m))
        x0 = _tensor(rng.normal(size=n))
        made = _box_instance(Q, B, c, x0)
        y = made.lower(x0, 0.0)
        slope = Q @ y - B.T @ x0
        free = (y > 0) & (y < 1)
        clear = bool((slope[~free].abs() > 0.2).all()) and bool(((y > 0.05) & (y < 0.95))[free].all())
        if clear and 1 <= int(free.sum()) <= m - 1:
            return made


def _box_instance(Q: Tensor, B: Tensor, c: Tensor, x0: Tensor) -> Instance:
    def upper(x: Tensor, y: Tensor) -> Tensor:
        return ((y - c) ** 2).sum() / 2 + 0.1 * (x**2).sum()

    def lower_level(x: Tensor, y: Tensor) -> Tensor:
        return y @ (Q @ y) / 2 - y @ (B.T @ x)

    def lower(x: Tensor, sigma: float) -> Tensor:
        """Projected gradients name the active bounds, a linear system then gives the free coordinates exactly."""
        H, r = Q + sigma * torch.eye(len(c), dtype=x.dtype), B.T @ x + sigma * c
        y, step = torch.zeros_like(c), 1 / float(torch.linalg.matrix_norm(H, 2))
        for _ in range(400):
            y = (y - step * (H @ y - r)).clamp(0, 1)
        free = (y > 1e-7) & (y < 1 - 1e-7)
        fixed = torch.where(free, 0.0, y.round())
        fixed[free] = torch.linalg.solve(H[free][:, free], (r - H @ fixed)[free])
        return fixed

    problem = BilevelProblem(
        upper, lower_level, lambda x, y: torch.cat([-y, y - 1]), project_y=lambda y: y.clamp(0, 1)
    )  # fmt: skip
    return Instance(problem, x0, lower, lambda x: lower(x, 0.0))


def ring_radius(x: Tensor) -> Tensor:
    """Radius of the ring's circle of minimizers at x.

    Examples
    --------
    >>> import torch
    >>> from lib.constrained.bilevel_penalty.study import ring_radius
    >>> ring_radius(torch.tensor([0.0]))
    tensor([1.])
    """
    return 1 + torch.sin(2 * checks.tensor("x", x)) / 2


def _ring(rng: np.random.Generator) -> Instance:
    c = _tensor(np.array([1.5, 1.0]) * rng.uniform(0.9, 1.3) + 0.2 * rng.normal(size=2))

    def upper(x: Tensor, y: Tensor) -> Tensor:
        return ((y - c) ** 2).sum() / 2

    def lower_level(x: Tensor, y: Tensor) -> Tensor:
        return ((y @ y) - (1 + torch.sin(2 * x[0]) / 2) ** 2) ** 2 / 4

    def lower(x: Tensor, sigma: float) -> Tensor:
        """On the ray to c, by symmetry: Newton's method for the distance t from the origin."""
        r, far = float(1 + torch.sin(2 * x[0]) / 2), float(c.norm())
        t = r
        for _ in range(100):
            value, slope = sigma * (t - far) + (t * t - r * r) * t, sigma + 3 * t * t - r * r
            t -= value / slope
            if abs(value / slope) < 1e-16:
                break
        return t * c / far

    return Instance(BilevelProblem(upper, lower_level), _tensor(rng.uniform(-0.4, 0.4, size=1)), lower, lambda x: lower(x, 0.0))


def no_error_bound(x: np.ndarray, sigma: float) -> tuple[np.ndarray, np.ndarray]:
    r"""The example without an error bound, f = x^2 + y^2 and g = x y for x, y in [-1, 1]: its objective and the penalized one.

    Parameters
    ----------
    x : array, shape (n,)
        Between -1 and 1; entries may be negative.
    sigma : float
        Above 0.

    Returns
    -------
    psi, psi_sigma : arrays, shape (n,)
        ``x^2 + 1``, but 0 at x = 0; and the same, but ``x^2 + abs(x) / sigma - x^2 / (4 sigma^2)`` up to 2 sigma from 0.

    Raises
    ------
    TypeError, ValueError
        For points outside, or a weight that is not above 0.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.constrained.bilevel_penalty.study import no_error_bound
    >>> no_error_bound(np.array([0.0, 0.1]), sigma=0.1)[1].round(3).tolist()
    [0.0, 0.76]
    """
    x, sigma = checks.array("x", x, ndim=1, low=-1, high=1), checks.positive("sigma", sigma)
    near = np.abs(x) <= 2 * sigma
    rise = np.where(near, np.abs(x) / sigma - (np.minimum(np.abs(x), 2 * sigma) / sigma) ** 2 / 4, 1.0)
    return np.where(x == 0, 0.0, x**2 + 1), x**2 + rise
