"""How the constants of the landscape theorem grow where the lower level's error bound is weak."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from lib import checks
from lib.problems.bilevel import BilevelProblem

from .instances import Instance


def weak_instance(kind: str, mu: float, seed: int | np.random.Generator) -> Instance:
    """A random problem whose lower level rises from its minimizer at the rate `mu` in one direction, and at about 1 in others.

    At x0 the minimizer is 0. Only `mu` depends on `mu`: f, the mixed derivatives and the third ones do not.

    ==========  =================================================================================================
    kind        lower level
    ==========  =================================================================================================
    quadratic   ``y' H y / 2 - y' B (x - x0)``, H with least eigenvalue `mu`
    cubic       the same plus ``(v' y)^3 / 6`` along the weak direction v, in a ball around 0 in which it is convex
    ==========  =================================================================================================

    Parameters
    ----------
    kind : {"quadratic", "cubic"}
    mu : float
        Above 0, at most 1.
    seed : int or Generator

    Returns
    -------
    Instance

    Raises
    ------
    TypeError, ValueError
        For arguments out of range.

    Examples
    --------
    >>> from lib.constrained.bilevel_penalty.study import weak_instance
    >>> case = weak_instance("cubic", mu=0.01, seed=0)
    >>> float(case.best(case.x0).norm())
    0.0
    """
    cubic, mu = checks.choice("kind", kind, ("quadratic", "cubic")) == "cubic", checks.number("mu", mu, above=0, high=1)
    rng, n, m = checks.generator("seed", seed), 3, 6
    while True:  # until f pulls along the weak direction
        basis, rest = np.linalg.qr(rng.normal(size=(m, m)))[0], rng.uniform(0.7, 1.5, m - 1)
        B, c, D, x0 = (torch.from_numpy(rng.normal(size=shape)) for shape in ((m, n), m, (m, n), n))
        v = torch.from_numpy(basis[:, 0].copy())
        if abs(float(v @ (c + D @ x0))) > 0.5 and float((B.T @ v).norm()) > 0.5:
            break
    H = torch.from_numpy((basis * np.append(mu, rest)) @ basis.T)

    def upper(x: Tensor, y: Tensor) -> Tensor:
        return ((y - c - D @ x) ** 2).sum() / 2 + 0.1 * torch.sin(x).sum()

    def lower_level(x: Tensor, y: Tensor) -> Tensor:
        return y @ (H @ y) / 2 - y @ (B @ (x - x0)) + cubic * (v @ y) ** 3 / 6

    def lower(x: Tensor, sigma: float) -> Tensor:
        """Newton's method from 0; with the cubic, there is no minimizer nearby where sigma is large against mu^2."""
        y = torch.zeros(m, dtype=x.dtype)
        for _ in range(100):
            along = v @ y
            slope = sigma * (y - c - D @ x) + H @ y - B @ (x - x0) + cubic * along**2 / 2 * v
            step = torch.linalg.solve(H + sigma * torch.eye(m, dtype=x.dtype) + cubic * along * torch.outer(v, v), slope)
            y = y - step
            if float(step.abs().max()) <= 1e-10 * float(y.abs().max()):  # and squared by the step that is taken
                return y
        raise ValueError(f"sigma must be small against mu^2: Newton's method finds no minimizer near 0 for {sigma:g}")

    return Instance(BilevelProblem(upper, lower_level), x0, lower, lambda x: lower(x, 0.0))


def rise(case: Instance, x: Tensor, sigma: float) -> float:
    """Least eigenvalue of the Hessian of ``sigma f + g`` at its minimizer: how fast the slope rises off it, at the slowest.

    Parameters
    ----------
    case : Instance
        Without constraints.
    x : Tensor, shape (n,)
    sigma : float
        Above 0.

    Raises
    ------
    TypeError, ValueError
        For numbers out of range, or a problem with constraints.

    Examples
    --------
    >>> from lib.constrained.bilevel_penalty.study import instance, rise
    >>> ring = instance("ring", seed=0)
    >>> rise(ring, ring.x0, sigma=0.01) < 0.1
    True
    """
    if not isinstance(case, Instance):
        raise TypeError(f"case must be an Instance, got {checks.shown(case)}")
    if case.problem.constraints is not None:
        raise ValueError("case must have no constraints: it is about curvature in the interior")
    x, sigma = checks.tensor("x", x, ndim=1), checks.positive("sigma", sigma)

    def both(y: Tensor) -> Tensor:
        return sigma * case.problem.upper(x, y) + case.problem.lower(x, y)

    hessian = torch.autograd.functional.hessian(both, case.lower(x, sigma))
    return float(torch.linalg.eigvalsh(hessian)[0])
