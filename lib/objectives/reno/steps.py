"""One step up from a gradient: clipped by sample, then momentum of Nesterov or Adam. All are functions of tensors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lib import checks
from lib.objectives.reno.norms import lengths, widened


def clip_by_sample(gradient: Tensor, limit: Any) -> Tensor:
    """Scale each sample's gradient down to a norm of at most `limit`, equation (3).

    The paper optimizes one image at a time; a joint norm over a batch would let one hard prompt hold up the others. As
    `torch.nn.utils.clip_grad_norm_` does, 1e-6 is added to the norm.

    Parameters
    ----------
    gradient : Tensor, shape (n, ...)
    limit : float
        The paper's is 0.1; infinity does not clip.

    Returns
    -------
    Tensor, shape (n, ...)

    Examples
    --------
    >>> import torch
    >>> from lib.objectives.reno import clip_by_sample
    >>> clip_by_sample(torch.tensor([[3.0, 4.0], [0.03, 0.04]]), 0.1).norm(dim=1).round(decimals=4)
    tensor([0.1000, 0.0500])
    """
    wide = widened(checks.tensor("gradient", gradient))
    limit = checks.number("limit", limit, above=0, inf=True)
    norm = lengths("gradient", wide)
    scale = (limit / (norm + 1e-6)).clamp(max=1.0)  # (3)
    return (wide * scale.view(-1, *[1] * (wide.ndim - 1))).to(gradient.dtype)


def nesterov_ascent(
    noise: Tensor, gradient: Tensor, velocity: Tensor | None, lr: Any, momentum: Any = 0.9, nesterov: bool = True
) -> tuple[Tensor, Tensor]:
    """One step up with momentum, equation (4): what `torch.optim.SGD` does with the negative gradient.

    Parameters
    ----------
    noise, gradient : Tensor, shape (n, ...)
        `gradient` of what shall grow.
    velocity : Tensor or None
        Of the step before; None at the first.
    lr : float
        The paper's is 5 in 16384 dimensions.
    momentum : float
        The paper's is 0.9.
    nesterov : bool
        Look ahead, as the paper does.

    Returns
    -------
    noise, velocity : Tensor
        New ones. With gradients of norm c, a step is no longer than ``lr c / (1 - momentum)``.

    Examples
    --------
    >>> import torch
    >>> from lib.objectives.reno import nesterov_ascent
    >>> noise, velocity = nesterov_ascent(torch.zeros(1, 2), torch.ones(1, 2), None, lr=1.0)
    >>> noise
    tensor([[1.9000, 1.9000]])
    """
    noise, gradient, velocity = _alike(noise, gradient, velocity)
    lr, momentum = checks.number("lr", lr, low=0), checks.number("momentum", momentum, low=0, below=1)
    nesterov = checks.boolean("nesterov", nesterov)
    velocity = gradient.clone() if velocity is None else momentum * velocity + gradient  # (4)
    ahead = gradient + momentum * velocity if nesterov else velocity  # (4)
    return noise + lr * ahead, velocity  # (4)


def adam_ascent(
    noise: Tensor, gradient: Tensor, moments: tuple[Tensor, Tensor, int] | None, lr: float, eps: float = 1e-2
) -> tuple[Tensor, tuple[Tensor, Tensor, int]]:
    """One step up of Adam with the official code's eps of 1e-2: what `torch.optim.Adam` does with the negative gradient."""
    first, second, steps = (torch.zeros_like(noise), torch.zeros_like(noise), 0) if moments is None else moments
    first = 0.9 * first + (1 - 0.9) * gradient
    second = 0.999 * second + (1 - 0.999) * gradient.square()
    steps += 1
    mean, spread = first / (1 - 0.9**steps), second / (1 - 0.999**steps)
    return noise + lr * mean / (spread.sqrt() + eps), (first, second, steps)


def _alike(noise: Tensor, gradient: Tensor, velocity: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
    """Tensors of one shape."""
    shape = checks.tensor("noise", noise).shape
    for name, given in (("gradient", gradient), ("velocity", velocity)):
        if given is not None and checks.tensor(name, given).shape != shape:
            raise ValueError(f"{name} must have the shape of noise, {tuple(shape)}, got {tuple(given.shape)}")
    return noise, checks.tensor("gradient", gradient), velocity
