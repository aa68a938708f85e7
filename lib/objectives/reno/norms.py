"""What the noise's norm should be, and how long steps are in noise of another dimension."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from lib import checks

#: Numbers of a latent of 4 x 64 x 64, for which the paper's learning rate is meant.
PAPER_DIMENSION = 16384
#: The paper's learning rate.
PAPER_LR = 5.0


def chi_norm_regularizer(noise: Tensor) -> Tensor:
    """K of equation (2): the log-density of the norm of a standard Gaussian vector, up to a constant.

    With r the norm and d the numbers of a sample, ``(d - 1) log r - r^2 / 2``. It is greatest at ``r = sqrt(d - 1)``, its
    curvature there is -2 whatever d, and it says nothing of the direction. Half precision is computed in float32, because
    squares of 16384 numbers may leave its range.

    Parameters
    ----------
    noise : Tensor, shape (n, ...)

    Returns
    -------
    Tensor, shape (n,)

    Raises
    ------
    TypeError, ValueError
        For no floating-point tensor of at least two dimensions, NaN, infinity, or a sample that is zero throughout.

    Examples
    --------
    >>> import torch
    >>> from lib.objectives.reno import chi_norm_regularizer
    >>> chi_norm_regularizer(torch.ones(1, 4)).tolist()
    [0.07944154739379883]
    """
    wide = widened(checks.tensor("noise", noise))
    if wide.ndim < 2:
        raise ValueError(f"noise must have shape (n, *shape), got {tuple(wide.shape)}")
    rows = wide.flatten(1)
    norm = torch.linalg.vector_norm(rows, dim=1)
    if not (torch.isfinite(norm) & (norm > 0)).all():
        raise ValueError("noise must have a finite norm above zero in every sample")
    return (rows.shape[1] - 1) * norm.log() - norm.square() / 2  # (2)


def auto_lr(dimension: Any) -> float:
    """The paper's learning rate 5, carried from 16384 numbers to another count: ``5 sqrt(d / 16384)``, equation (5).

    A clipped step has a length that does not know of d, a Gaussian vector has the norm sqrt(d): so steps stay as long in
    comparison. At d = 65536, the 1024-pixel model HyperSDXL, the rule gives the 10 that the official page recommends.

    Parameters
    ----------
    dimension : int
        Numbers of one sample of noise.

    Examples
    --------
    >>> from lib.objectives.reno import auto_lr
    >>> auto_lr(16384), auto_lr(4 * 128 * 128)
    (5.0, 10.0)
    """
    return PAPER_LR * math.sqrt(checks.integer("dimension", dimension, low=1) / PAPER_DIMENSION)  # (5)


def widened(value: Tensor) -> Tensor:
    """Half precision as float32, other types as they are."""
    return value.float() if value.dtype in (torch.float16, torch.bfloat16) else value


def changes(value: Any) -> int:
    """How often a tensor was changed in place; 0 where that is not counted, as in inference mode."""
    return value._version if isinstance(value, Tensor) and not value.is_inference() else 0


def lengths(name: str, value: Tensor) -> Tensor:
    """Norm of each sample, shape (n,); in double precision where its squares leave the range of floats, as it does not."""
    if value.ndim < 2:
        raise ValueError(f"{name} must have shape (n, *shape), got {tuple(value.shape)}")
    rows = value.flatten(1)
    norm = torch.linalg.vector_norm(rows, dim=1)
    if torch.isfinite(norm).all():
        return norm
    high = rows.abs().amax(1, keepdim=True).clamp(min=1.0).double()
    return high[:, 0] * torch.linalg.vector_norm(rows.double() / high, dim=1)
