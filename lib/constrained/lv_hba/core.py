"""The four updates of LV-HBA as functions of tensors, and the penalty that drives them.

Numbers in brackets are those of the chapter's equations. Everything acts on the last axis, so that closed-form problems may
carry leading axes: several problems of one size, or several step sizes, at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lib import checks
from lib.problems.bilevel import BilevelProblem

Number = float | Tensor


@dataclass(frozen=True)
class State:
    """Where a run stands: everything that the next iteration reads.

    Attributes
    ----------
    x, y : Tensor, shapes (n,) and (m,)
        Upper- and lower-level variables, always a point of C.
    theta, lam : Tensor, shapes (m,) and (p,)
        Estimate of the saddle point that defines the value, in the units of the scaled constraints.
    z : Tensor, shape (p,)
        Center of the multiplier's proximal term.
    k : int
        Iterations done.
    """

    x: Tensor
    y: Tensor
    theta: Tensor
    lam: Tensor
    z: Tensor
    k: int = 0


@dataclass(frozen=True)
class Steps:
    """Step sizes and constants of one iteration, as numbers or tensors that broadcast against the variables."""

    alpha: Number
    alpha_x: Number
    beta: Number
    eta: Number
    gamma1: Number
    gamma2: Number
    r: Number
    scale: Number


def penalty_weight(k: int, c0: float = 1.0, p: float = 0.3) -> float:
    r"""Weight of the lower level's gap in iteration k, :math:`c_k = c_0 (k + 1)^p`: (6).

    Parameters
    ----------
    k : int
        Iterations done, at least 0.
    c0 : float
        Positive (authors' toys: 0.025 and 1).
    p : float
        At least 0 and below 1/2, where the theory ends; 0 keeps the weight constant (authors: 0.3).

    Examples
    --------
    >>> from lib.constrained.lv_hba import penalty_weight
    >>> penalty_weight(15, c0=2.0, p=0.25)
    4.0
    """
    k, c0 = checks.integer("k", k, low=0), checks.positive("c0", c0)
    return c0 * (k + 1) ** checks.number("p", p, low=0, below=0.5)  # (6)


def clip_multiplier(lam: Tensor, r: Number, equality: bool) -> Tensor:
    """Nearest point of Z: [0, r] for inequalities, [-r, r] for equations."""
    upper = torch.as_tensor(r, dtype=lam.dtype)
    return torch.minimum(torch.maximum(lam, -upper if equality else torch.zeros_like(upper)), upper)


def scaled_constraints(problem: BilevelProblem, x: Tensor, y: Tensor, scale: Number, like: Tensor) -> Tensor:
    """g(x, y) over its scale; no entries where there are no constraints."""
    return like if problem.constraints is None else problem.constraints(x, y) / scale


def saddle_step(problem: BilevelProblem, s: State, steps: Steps) -> tuple[Tensor, Tensor]:
    """One step of descent in theta and ascent in lambda, both from the old point: (7)."""
    slope = problem.lower_slopes(s.x, s.theta)[1] + problem.constraint_pull(s.x, s.theta, s.lam / steps.scale)[1]
    d_theta = slope + (s.theta - s.y) / steps.gamma1  # (7)
    inside = scaled_constraints(problem, s.x, s.theta, steps.scale, s.lam)
    d_lam = (s.lam - s.z) / steps.gamma2 - inside  # (7)
    theta = problem.project_y(s.theta - steps.eta * d_theta)  # (7)
    return theta, clip_multiplier(s.lam - steps.eta * d_lam, steps.r, problem.equality)  # (7)


def value_slopes(
    problem: BilevelProblem, x: Tensor, y: Tensor, z: Tensor, theta: Tensor, lam: Tensor, steps: Steps
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of the value in x, y and z, exact where (theta, lambda) is its saddle point: (4)."""
    in_x = problem.lower_slopes(x, theta)[0] + problem.constraint_pull(x, theta, lam / steps.scale)[0]  # (4)
    return in_x, (y - theta) / steps.gamma1, (lam - z) / steps.gamma2  # (4)


def penalty_slopes(
    problem: BilevelProblem, s: State, theta: Tensor, lam: Tensor, c: Number, steps: Steps
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of F / c + f - v in x, y and z, with an estimate of v's saddle point: (6)."""
    upper_x, upper_y = problem.upper_slopes(s.x, s.y)
    lower_x, lower_y = problem.lower_slopes(s.x, s.y)
    value_x, value_y, value_z = value_slopes(problem, s.x, s.y, s.z, theta, lam, steps)
    return upper_x / c + lower_x - value_x, upper_y / c + lower_y - value_y, -value_z  # (6)


def iterate(problem: BilevelProblem, s: State, c: Number, steps: Steps) -> State:
    """One iteration: saddle point (7), then x and y together (8), then the multiplier's center (9)."""
    theta, lam = saddle_step(problem, s, steps)
    d_x, d_y, d_z = penalty_slopes(problem, s, theta, lam, c, steps)
    x, y = problem.project_joint(s.x - steps.alpha_x * d_x, s.y - steps.alpha * d_y)  # (8)
    z = clip_multiplier(s.z - steps.beta * d_z, steps.r, problem.equality)  # (9)
    return State(x, y, theta, lam, z, s.k + 1)
