"""Optimal Brain Surgeon with the static algorithm: which weights to remove, and how the others make up for it."""

from __future__ import annotations

import math

import torch

from lib import checks

from .static import DAMP, StaticFisherInverse, working


def sparsity_path(current: float, target: float, n_steps: int) -> list[float]:
    """Sparsities of the sub-steps from `current` to `target`: each keeps the same fraction of what is left.

    Parameters
    ----------
    current, target : float
        Shares of weights that are zero, ``0 <= current <= target < 1``.
    n_steps : int
        At least 1 (the authors' `n_recompute`: 16).

    Examples
    --------
    >>> from lib.gradient.mfac import sparsity_path
    >>> sparsity_path(0.0, 0.75, 2)
    [0.5, 0.75]
    """
    current = checks.number("current", current, low=0, below=1)
    target = checks.number("target", target, low=current, below=1)
    n_steps = checks.integer("n_steps", n_steps, low=1)
    ratio = (1 - target) / (1 - current)
    inner = [1 - (1 - current) * ratio ** (j / n_steps) for j in range(1, n_steps)]  # (11)
    return [*inner, target]


def obs_saliency(weights: torch.Tensor, diagonal: torch.Tensor) -> torch.Tensor:
    """By how much the quadratic model says that the loss grows if one weight is removed and the others adapt.

    Parameters
    ----------
    weights : tensor, shape (d,)
    diagonal : tensor, shape (d,)
        Of the inverse of the Hessian or Fisher matrix; above zero.

    Returns
    -------
    tensor, shape (d,)
        ``w_i^2 / (2 [F^-1]_ii)``.

    Examples
    --------
    >>> import torch
    >>> from lib.gradient.mfac import obs_saliency
    >>> obs_saliency(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 8.0]))
    tensor([0.5000, 0.2500])
    """
    w, diag = working("weights", weights, 1), working("diagonal", diagonal, 1)
    if w.shape != diag.shape:
        raise ValueError(f"diagonal must have as many entries as weights, got {len(diag)} and {len(w)}")
    if not (diag > 0).all():
        raise ValueError("every entry of diagonal must be above zero")
    return w**2 / (2 * diag)  # (9)


def obs_step(
    weights: torch.Tensor,
    grads: torch.Tensor,
    n_drop: int,
    mask: torch.Tensor | None = None,
    damp: float = DAMP,
    block_size: int | None = 128,
    update: bool = True,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Remove the `n_drop` least salient of the weights that are left, and move the others to make up for it.

    The move is the sum of the moves for single weights: interactions of the removed weights are left out, as in the
    authors' code. Blocks are of consecutive weights among those that are left.

    Parameters
    ----------
    weights : tensor, shape (d,)
    grads : tensor, shape (m, d)
        Gradients at these weights.
    n_drop : int
        Between 0 and the number of weights that are left.
    mask : bool tensor, shape (d,), optional
        Weights that are left; default all.
    damp : float
        Damping, above zero (1e-5).
    block_size : int, optional
        As in `StaticFisherInverse` (128, the authors' default); 1 is the diagonal Fisher matrix, without a move.
    update : bool
        Whether the other weights move.

    Returns
    -------
    weights : tensor, shape (d,)
        New, zero where the new mask is False.
    mask : bool tensor, shape (d,)
    saliency : tensor, shape (d,)
        Of the weights that were left; infinite where none was.

    Examples
    --------
    >>> import torch
    >>> from lib.gradient.mfac import obs_step
    >>> w, mask, _ = obs_step(torch.tensor([1.0, 1.0]), torch.tensor([[3.0, 1.0], [0.0, 0.5]]), 1)
    >>> mask.tolist(), [round(v, 3) for v in w.tolist()]
    ([True, False], [1.333, 0.0])
    """
    w, G = working("weights", weights, 1), working("grads", grads, 2)
    alive = torch.ones(len(w), dtype=torch.bool, device=w.device) if mask is None else torch.as_tensor(mask).clone()
    if alive.dtype != torch.bool or alive.shape != w.shape:
        raise ValueError(f"mask must be a bool tensor of shape ({len(w)},), got {alive.dtype} of {tuple(alive.shape)}")
    if G.shape[1] != len(w):
        raise ValueError(f"grads must have one column for each of {len(w)} weights, got shape {tuple(G.shape)}")
    left = int(alive.sum())
    n_drop = checks.integer("n_drop", n_drop, low=0, high=left)
    saliency = torch.full_like(w, math.inf)
    if not left:
        return w * alive, alive, saliency
    inverse = StaticFisherInverse(G[:, alive].to(w), damp, block_size)
    diag, kept = inverse.diag(), w[alive]
    saliency[alive] = obs_saliency(kept, diag)
    if not n_drop:
        return w * alive, alive, saliency
    dropped = torch.argsort(saliency[alive], stable=True)[:n_drop]
    if checks.boolean("update", update):
        z = torch.zeros_like(kept)
        z[dropped] = -kept[dropped] / diag[dropped]  # (10)
        kept = kept + inverse.mul(z)  # (10)
    kept[dropped] = 0.0
    left_over = alive.nonzero()[:, 0]
    alive[left_over[dropped]] = False
    new = torch.zeros_like(w)
    new[left_over] = kept
    return new, alive, saliency
