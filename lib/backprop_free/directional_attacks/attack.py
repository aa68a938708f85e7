"""The attack operator: a short move of the input that pushes a network's output in a given direction."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from lib import checks

Phi = Callable[[torch.Tensor], torch.Tensor]
METHODS = ("fgsm", "pgd")
LOSSES = ("linear", "soft_label")
#: Steps of PGD and their length over the radius: the library's 2/255 of the unit box, which is two radii wide.
PGD_STEPS, PGD_STEP_SIZE = 10, 4 / 255


def attack_loss(v: torch.Tensor, u: torch.Tensor, loss: str = "linear") -> torch.Tensor:
    """What an attack raises, of the change v of the output: ``<v, u>``, or the cross entropy that attack libraries use."""
    if loss == "soft_label":
        return (u * torch.log_softmax(v, dim=-1)).sum()  # (15)
    return (u * v).sum()  # (4)


def sign_step(gradient: torch.Tensor, radius: float) -> torch.Tensor:
    """The best move in a box, for a linear function."""
    return radius * gradient.sign()  # (5)


def sign_steps(slope: Callable[[torch.Tensor], torch.Tensor], start: torch.Tensor, radius: float, steps: int,
               step_size: float) -> torch.Tensor:  # fmt: skip
    """Short sign steps, each cut back to the box; `slope` gives the gradient of the loss at a move."""
    move = torch.zeros_like(start)
    for _ in range(steps):
        move = (move + radius * step_size * slope(move).sign()).clamp(-radius, radius)  # (6)
    return move


def directional_attack(
    phi: Phi, x: ArrayLike | torch.Tensor, direction: ArrayLike | torch.Tensor, radius: float, *, method: str = "fgsm",
    steps: int = PGD_STEPS, step_size: float = PGD_STEP_SIZE, loss: str = "linear",
) -> torch.Tensor:  # fmt: skip
    """A move d with entries within +-radius that makes ``<phi(x + d) - phi(x), direction>`` large.

    A heuristic: the move may lower it, where the radius is too large.

    Parameters
    ----------
    phi : callable
        The network: tensor (n,) to tensor (m,), differentiable by torch.
    x : array_like or tensor, shape (n,)
        Where the attack starts; float32 or float64, which is kept.
    direction : array_like or tensor, shape (m,)
        u: where the output is to go; the gradient of the objective at ``phi(x)`` in this method. Entries may be negative.
    radius : float
        Largest entry of the move.
    method : {"fgsm", "pgd"}
        One sign step of the whole radius, or several short ones, each with a new gradient.
    steps, step_size : int and float
        Of PGD; the step over the radius (the paper's library: 10 and 4/255, so that a move reaches 0.157 of the radius).
    loss : {"linear", "soft_label"}
        The definition, or what the authors' library sees: the direction as a soft label, which takes its mean off.

    Returns
    -------
    tensor, shape (n,)
        The move; zero where the gradient is zero.

    Raises
    ------
    ValueError, TypeError
        For what does not fit, is not finite, or is half precision.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.backprop_free.directional_attacks import directional_attack
    >>> directional_attack(lambda x: x**2, np.array([1.0, -2.0]), np.array([1.0, 1.0]), 0.1)
    tensor([ 0.1000, -0.1000], dtype=torch.float64)
    """
    checks.function("phi", phi)
    at = point("x", x)
    u = point("direction", direction).to(at)
    radius = checks.positive("radius", radius)
    checks.choice("method", method, METHODS)
    steps = checks.integer("steps", steps, low=1)
    step_size = checks.positive("step_size", step_size)
    checks.choice("loss", loss, LOSSES)
    base: list[torch.Tensor] = []  # phi(x), which the first pass gives

    def slope(move: torch.Tensor) -> torch.Tensor:
        start = (at + move).requires_grad_(True)
        with torch.enable_grad():
            y = phi(start)
            if not isinstance(y, torch.Tensor) or y.shape != u.shape:
                shape = tuple(y.shape) if isinstance(y, torch.Tensor) else checks.shown(y)
                raise ValueError(f"direction must have the shape of phi(x), {shape}, got {tuple(u.shape)}")
            base.append(y.detach().clone())
            value = attack_loss(y - base[0], u, loss)
        return _gradient(value, start)

    if method == "fgsm":
        return sign_step(slope(torch.zeros_like(at)), radius)
    return sign_steps(slope, at, radius, steps, step_size)


def _gradient(value: torch.Tensor, start: torch.Tensor) -> torch.Tensor:
    """The gradient, zero where the value does not depend on the start; entries that are not finite count as zero."""
    if not value.requires_grad:
        return torch.zeros_like(start)
    (slope,) = torch.autograd.grad(value, start, allow_unused=True)
    return torch.zeros_like(start) if slope is None else torch.nan_to_num(slope.detach(), 0.0, 0.0, 0.0)


def point(name: str, value: Any) -> torch.Tensor:
    """A copy as a tensor of one dimension, float32 or float64."""
    if isinstance(value, torch.Tensor):
        checks.tensor(name, value, ndim=1)
        if value.dtype not in (torch.float32, torch.float64):
            raise TypeError(f"{name} must be float32 or float64, got {value.dtype}")
        return value.detach().clone()
    if getattr(value, "dtype", None) == np.float16:
        raise TypeError(f"{name} must be float32 or float64, got float16")
    return torch.from_numpy(np.array(checks.array(name, value, ndim=1)))


def attack_success_map(
    problem: Any, points: ArrayLike, radii: ArrayLike, *, method: str = "fgsm", scale: float = 1.0, **options: Any
) -> NDArray[np.bool_]:
    """Whether the attack from each point, with each radius, makes the objective larger.

    Parameters
    ----------
    problem : SurrogateProblem
        With n variables.
    points : array_like, shape (P, n)
        Entries may be negative.
    radii : array_like, shape (R,)
        Positive.
    method : {"fgsm", "pgd"}
        The attack.
    scale : float
        Every radius is multiplied by it (0.157 makes FGSM as short as the library's PGD).
    **options
        Of `directional_attack`.

    Returns
    -------
    bool array, shape (P, R)

    Examples
    --------
    >>> import numpy as np
    >>> from lib.backprop_free.directional_attacks import SurrogateProblem, attack_success_map
    >>> bowl = SurrogateProblem(lambda x: x, lambda y: -(y**2).sum(), n=2)
    >>> attack_success_map(bowl, np.array([[1.0, 1.0]]), np.array([0.5, 1.5, 2.5]))
    array([[ True,  True, False]])
    """
    places = checks.array("points", points, shape=(None, problem.n))
    sizes = checks.array("radii", radii, ndim=1, above=0)
    scale = checks.positive("scale", scale)
    checks.choice("method", method, METHODS)
    found = np.zeros((len(places), len(sizes)), dtype=bool)
    for i, x in enumerate(places):
        y = problem.outputs(x)
        value, u = problem.score(y), problem.direction(y)
        one = problem.attack(x, u, 1.0, **options) if method == "fgsm" else None  # the same direction for every radius
        for j, radius in enumerate(sizes * scale):
            move = problem.attack(x, u, radius, method=method, **options) if one is None else radius * one
            found[i, j] = problem.value(x + move) > value
    return found
