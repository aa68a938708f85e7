"""Preferences: how they make one reward of several, and how a network sees them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from lib import checks

#: Smallest scalarized reward, so that its logarithm is finite. The official n-gram code takes 1e-80.
FLOOR = 1e-3
#: The paper's main choice first; the last is the official code's form, which is large for bad candidates.
SCALARIZATIONS = ("weighted_sum", "log_sum", "tchebycheff", "tchebycheff_official")


def scalarize(R: Any, omega: Any, kind: str = "weighted_sum", floor: float = FLOOR) -> Tensor:
    """One reward of several, for a preference; at least `floor`. Equation (2).

    ======================= ======================================================================================
    "weighted_sum"          sum of omega_i R_i
    "log_sum"               product of R_i to the power omega_i, each R_i at least `floor`
    "tchebycheff"           1 - max of omega_i (1 - R_i): large for good candidates
    "tchebycheff_official"  max of omega_i abs(1 - R_i), as in the authors' code: large for bad candidates
    ======================= ======================================================================================

    Parameters
    ----------
    R : array_like, shape (..., d)
        Rewards, none negative; about 0 to 1. Values only: no gradient flows back into a tensor.
    omega : array_like, shape (..., d)
        Preferences, not negative, that sum to 1 along the last axis; other axes broadcast against those of `R`.
    kind : str
        One of `SCALARIZATIONS`.
    floor : float
        Above zero.

    Returns
    -------
    tensor of float64, shape (...)

    Raises
    ------
    TypeError, ValueError
        For negative rewards, preferences that are not on the simplex, shapes that do not fit.

    Examples
    --------
    >>> from lib.objectives.mogfn import scalarize
    >>> scalarize([[1.0, 0.0], [0.5, 0.5]], omega=[0.25, 0.75])
    tensor([0.2500, 0.5000], dtype=torch.float64)
    """
    rewards = checks.array("R", R, low=0)
    preferences = on_simplex("omega", omega)
    checks.choice("kind", kind, SCALARIZATIONS)
    floor = checks.positive("floor", floor)
    if rewards.ndim == 0 or rewards.shape[-1] != preferences.shape[-1]:
        raise ValueError(f"R must have {preferences.shape[-1]} columns, one for each entry of omega, got {rewards.shape}")
    try:
        np.broadcast_shapes(rewards.shape, preferences.shape)
    except ValueError:
        raise ValueError(f"omega must broadcast against R, shape {rewards.shape}, got {preferences.shape}") from None
    return combined(torch.tensor(rewards, dtype=torch.float64), torch.from_numpy(preferences), kind, floor)


def combined(R: Tensor, omega: Tensor, kind: str, floor: float) -> Tensor:
    """`scalarize` of arguments that are known to be right."""
    if kind == "weighted_sum":
        value = (omega * R).sum(-1)  # (2)
    elif kind == "log_sum":
        value = (omega * R.clamp(min=floor).log()).sum(-1).exp()  # (2)
    elif kind == "tchebycheff":
        value = 1 - (omega * (1 - R)).amax(-1)  # (2)
    else:
        value = (omega * (1 - R).abs()).amax(-1)  # (2), the official code's sign
    return value.clamp(min=floor)


def thermometer(v: Any, bins: int = 50, low: float = 0.0, high: float = 1.0) -> Tensor:
    """A number as a column of mercury: bins below it are 1, those above 0, its own is filled in part. Equation (5).

    Parameters
    ----------
    v : array_like, shape (...)
        Numbers; beyond `low` and `high` the encoding saturates.
    bins : int
        At least 2; 50 in the paper's sequence tasks, 16 for molecules. The last bin begins at `high`: up to there it stays 0.
    low, high : float

    Returns
    -------
    tensor of float64, shape (..., bins)

    Raises
    ------
    TypeError, ValueError
        For arguments out of range.

    Examples
    --------
    >>> from lib.objectives.mogfn import thermometer
    >>> thermometer(0.375, bins=5)
    tensor([1.0000, 0.5000, 0.0000, 0.0000, 0.0000], dtype=torch.float64)
    """
    value = torch.tensor(checks.array("v", v), dtype=torch.float64)
    bins = checks.integer("bins", bins, low=2)
    low, high = checks.number("low", low), checks.number("high", high)
    if not 0 < high - low < np.inf:
        raise ValueError(f"low must be below high, by a number that is finite, got low={low:g} and high={high:g}")
    edges = torch.linspace(low, high, bins, dtype=torch.float64)
    gap = (high - low) / (bins - 1)  # (5)
    return (value[..., None] - edges).clamp(0, gap) / gap  # (5)


def on_simplex(name: str, omega: Any, d: int | None = None) -> np.ndarray:
    """Preferences as float64, shape (..., d): not negative, sums of 1.

    Raises
    ------
    TypeError, ValueError
        For anything else; the message says the first row that is not.
    """
    given = checks.array(name, omega).astype(float)
    if given.ndim == 0 or (d is not None and given.shape[-1] != d):
        wanted = f"{d} entries" if d is not None else "entries"
        raise ValueError(f"{name} must have {wanted} along its last axis, got shape {given.shape}")
    wrong = (given < 0).any(-1) | (np.abs(given.sum(-1) - 1) > 1e-6)
    if wrong.any():
        row = np.round(given.reshape(-1, given.shape[-1])[wrong.ravel().argmax()], 4).tolist()
        raise ValueError(f"{name} must hold preferences on the simplex (not negative, sum 1), got {checks.shown(row)}")
    return given
