"""The worst instance of a class for a given policy, looked for from many starts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lib import checks
from lib.online.learned_active_learning.hardness import draw_class, outward, scaled
from lib.online.learned_active_learning.lattice import Lattice

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Attack:
    """What an attack found.

    Attributes
    ----------
    theta : array, shape (n,)
        The worst instance.
    loss : float
        The policy's exact expected loss on it.
    history : array, shape (steps + 1,)
        The largest loss found so far, after each step.
    losses : array, shape (starts,)
        The largest loss along each path.
    """

    theta: Array
    loss: float
    history: Array
    losses: Array


def worst_case(
    policy: Any, lattice: Lattice, r: float, starts: int = 100, steps: int = 30, step: float = 0.1, seed: Any = None
) -> Attack:
    """Ascend the exact loss of a policy within the class of complexity `r`.

    Each path starts at a random instance and goes along the gradient, by steps that shrink to 0; after each step it is scaled
    back into the class. What is found bounds the worst case from below.

    Parameters
    ----------
    policy : object
        With ``probabilities(counts, sums)``.
    lattice : Lattice
        Problem and budget.
    r : float
        Largest complexity.
    starts : int
        Number of paths, at most 100000.
    steps : int
        Steps of each.
    step : float
        Length of the first step.
    seed : int or Generator, optional
        Of the starts.

    Returns
    -------
    Attack

    Examples
    --------
    >>> from lib.online.learned_active_learning import Lattice, TablePolicy, thresholds, worst_case
    >>> lattice = Lattice(thresholds(1), 3)
    >>> worst_case(TablePolicy(lattice), lattice, r=4.0, starts=4, steps=2, seed=0).loss.__round__(3)
    0.156
    """
    problem = lattice.problem
    r, step = checks.positive("r", r), checks.number("step", step, low=0, high=2)
    starts, steps = checks.integer("starts", starts, low=1, high=100_000), checks.integer("steps", steps, low=0)
    queries, decisions = policy.probabilities(lattice.counts, lattice.sums)
    ends = lattice.ends(torch.as_tensor(queries), torch.as_tensor(decisions)[lattice.layer(lattice.budget)])
    thetas = draw_class(problem, r, starts, checks.generator("seed", seed))
    best, worst, history = thetas.copy(), np.full(starts, -np.inf), []
    for k in range(steps + 1):
        losses, slope = losses_and_slopes(lattice, ends, thetas)
        better = losses > worst
        best[better], worst[better] = thetas[better], losses[better]
        history.append(worst.max())
        length = step * (1 - k / (steps + 1))
        thetas = ascend(thetas, slope, length, np.full(starts, r), problem)
    top = int(worst.argmax())
    return Attack(best[top], float(worst[top]), np.array(history), worst)


def losses_and_slopes(lattice: Lattice, ends: torch.Tensor, thetas: Array) -> tuple[Array, Array]:
    """Exact losses of instances and their gradients, for a policy that ends as `ends` says, shape (S_T, K)."""
    variable = torch.tensor(thetas, requires_grad=True)
    told = lattice.likelihood(variable).T @ ends  # (15)
    costs = torch.as_tensor(lattice.problem.losses(thetas))
    if lattice.problem.loss == "regret":
        values = variable @ torch.as_tensor(lattice.problem.Z).T
        costs = values.max(1, keepdim=True).values - values
    losses = (told * costs).sum(1)
    losses.sum().backward()
    assert variable.grad is not None
    return losses.detach().numpy(), variable.grad.numpy()


def ascend(thetas: Array, slope: Array, length: float, limits: Array, problem: Any) -> Array:
    """One step along the gradient within each instance's class; those that would leave it stay where they were.

    On the border of the class the part of the gradient that points outward is left out; what the step's curve adds to the
    complexity is scaled away.
    """
    rho, normal = outward(thetas, problem)
    out = np.maximum((slope * normal).sum(1), 0) * (rho > 0.98 * limits)
    slope = slope - out[:, None] * normal  # (19)
    norms = np.linalg.norm(slope, axis=1, keepdims=True)
    moved = np.clip(thetas + length * slope / np.maximum(norms, 1e-12), -problem.largest, problem.largest)
    kept = thetas.copy()
    for r in np.unique(limits):
        here = np.flatnonzero(limits == r)
        tied = problem.tied(moved[here])
        rows, inside = scaled(moved[here[~tied]], float(r), problem)
        kept[here[~tied][inside]] = rows[inside]
    return kept
