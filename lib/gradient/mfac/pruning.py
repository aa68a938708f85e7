"""Pruning a model: gradients of batches, and the steps of `surgeon` on the way to a sparsity."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch

from lib import checks

from .gradual import check_masks
from .static import DAMP
from .surgeon import obs_step, sparsity_path


def prunable(model: torch.nn.Module) -> list[torch.nn.Parameter]:
    """The weights of a model's linear and convolutional layers, without biases and normalization: what is pruned.

    Raises
    ------
    TypeError
        If `model` is no module.
    ValueError
        For a weight that is computed from others, as by ``torch.nn.utils.prune`` and by parametrizations (what is written into
        it does not stay), and for one without a shape yet (lazy layers).

    Examples
    --------
    >>> import torch
    >>> from lib.gradient.mfac import prunable
    >>> [tuple(p.shape) for p in prunable(torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2)))]
    [(2, 3)]
    """
    if not isinstance(model, torch.nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {checks.shown(model)}")
    kinds = (torch.nn.Linear, torch.nn.modules.conv._ConvNd)
    found: dict[Any, None] = {}
    for name, layer in model.named_modules():
        if not isinstance(layer, kinds):
            continue
        if not isinstance(layer.weight, torch.nn.Parameter):
            raise ValueError(
                f"the weight of {name or 'model'} is computed from others: make pruning or parametrization permanent"
            )
        if isinstance(layer.weight, torch.nn.parameter.UninitializedParameter):
            raise ValueError(f"the weight of {name or 'model'} has no shape yet: run the model once")
        found[layer.weight] = None
    return list(found)


def _given(model: torch.nn.Module, params: Sequence[torch.nn.Parameter] | None) -> list[torch.nn.Parameter]:
    """The parameters that are meant: those of `prunable` by default."""
    params = prunable(model) if params is None else list(params)
    if not params:
        raise ValueError("params must not be empty: the model has no linear or convolutional layer")
    for p in params:
        if not isinstance(p, torch.nn.Parameter):
            raise TypeError(f"params must hold parameters, got {checks.shown(p)}")
    return params


def collect_gradients(
    model: torch.nn.Module,
    loss_fn: Callable[[Any, Any], torch.Tensor],
    batches: Iterable[tuple[Any, Any]],
    params: Sequence[torch.nn.Parameter] | None = None,
) -> torch.Tensor:
    """One gradient a batch, of the mean loss at the model's present weights in evaluation mode, as the rows of a matrix.

    The model's weights, ``grad`` and mode are left as they were.

    Parameters
    ----------
    model : torch.nn.Module
    loss_fn : function
        ``loss_fn(model(inputs), targets)``, a scalar.
    batches : iterable of (inputs, targets)
        As many as gradients are wanted; the authors take 32 samples in each.
    params : sequence of Parameter, optional
        Whose gradients; default `prunable`. A parameter that the loss does not use has gradient zero.

    Returns
    -------
    tensor, shape (m, d)
        Parameters flattened one after another.

    Raises
    ------
    ValueError
        For no batches, frozen parameters, or a loss or gradient that is not finite; the message names the batch.

    Examples
    --------
    >>> import torch
    >>> from lib.gradient.mfac import collect_gradients
    >>> model = torch.nn.Linear(3, 2)
    >>> batches = [(torch.randn(4, 3), torch.zeros(4, 2))] * 5
    >>> collect_gradients(model, torch.nn.functional.mse_loss, batches).shape
    torch.Size([5, 6])
    """
    checks.function("loss_fn", loss_fn)
    params = _given(model, params)
    if not all(p.requires_grad for p in params):
        raise ValueError("params must require gradients: some are frozen")
    training = {layer: layer.training for layer in model.modules()}
    model.eval()
    rows = []
    try:
        for number, (inputs, targets) in enumerate(batches, 1):
            with torch.enable_grad():
                loss = loss_fn(model(inputs), targets)
                grads = torch.autograd.grad(loss, params, allow_unused=True)
            parts = [torch.zeros_like(p) if g is None else g for p, g in zip(params, grads, strict=True)]
            row = torch.cat([part.detach().flatten() for part in parts])
            if not torch.isfinite(row).all() or not torch.isfinite(loss):
                raise ValueError(f"the loss or gradient of batch {number} is not finite")
            rows.append(row)
    finally:
        for layer, mode in training.items():
            layer.training = mode
    if not rows:
        raise ValueError("batches must not be empty")
    return torch.stack(rows)


@dataclasses.dataclass
class PruneResult:
    """What was pruned: masks (True where a weight is left), one for each parameter, and what the last sub-step knew.

    Attributes
    ----------
    masks : list of bool tensors, each of its parameter's shape
    sparsity : float
        Share of the pruned tensors' weights that are zero.
    saliency : tensor, shape (d,)
        Of the last sub-step, all parameters in one vector; infinite where a weight was gone before.
    """

    masks: list[torch.Tensor]
    sparsity: float
    saliency: torch.Tensor


def obs_prune(
    model: torch.nn.Module,
    grads_fn: Callable[[], torch.Tensor],
    sparsity: float,
    block_size: int | None = 128,
    n_recompute: int = 16,
    damp: float = DAMP,
    params: Sequence[torch.nn.Parameter] | None = None,
    masks: Sequence[torch.Tensor] | None = None,
    update: bool = True,
) -> PruneResult:
    """Prune a model in place to a sparsity, in sub-steps with new gradients at each.

    Parameters
    ----------
    model : torch.nn.Module
        Its weights are changed, as by ``torch.nn.utils.prune``.
    grads_fn : function
        Called without arguments once a sub-step; gradients of `params` at the model's present weights, (m, d), by
        `collect_gradients` say. The authors take m = 64.
    sparsity : float
        Wanted share of zeros among all weights of `params` together, in [0, 1), not below that of `masks`.
    block_size : int, optional
        (128, the authors' default); None for the full matrix.
    n_recompute : int
        Sub-steps, at least 1 (16, the authors' default); densities between them are geometric.
    damp : float
        Damping, above zero (1e-5, the authors' default).
    params : sequence of Parameter, optional
        What is pruned; default `prunable`.
    masks : sequence of bool tensors, optional
        Weights that are left at the beginning, as in an earlier result; default all.
    update : bool
        Whether the weights that are left move.

    Returns
    -------
    PruneResult
        Sparsity 0 leaves everything as it was; that of `masks` sets to zero what they leave out, and moves nothing.

    Raises
    ------
    TypeError, ValueError
        For settings out of range, or gradients that do not fit or are not finite; the message names the sub-step. Weights
        are then those of the sub-step before.

    Examples
    --------
    >>> import torch
    >>> from lib.gradient.mfac import collect_gradients, obs_prune
    >>> model = torch.nn.Linear(8, 1)
    >>> batches = [(torch.randn(4, 8), torch.randn(4, 1)) for _ in range(16)]
    >>> def grads():
    ...     return collect_gradients(model, torch.nn.functional.mse_loss, batches)
    >>> obs_prune(model, grads, sparsity=0.75, n_recompute=2).sparsity
    0.75
    """
    checks.function("grads_fn", grads_fn)
    sparsity = checks.number("sparsity", sparsity, low=0, below=1)
    n_recompute = checks.integer("n_recompute", n_recompute, low=1)
    damp, update = checks.positive("damp", damp), checks.boolean("update", update)
    if block_size is not None:
        block_size = checks.integer("block_size", block_size, low=1)
    params = _given(model, params)
    alive = _one_mask(params, masks)
    d, saliency = len(alive), torch.full((len(alive),), math.inf)
    now = 1 - int(alive.sum()) / d
    if sparsity < now - 1 / d:
        raise ValueError(f"sparsity must be at least that of masks, {now:.4g}, got {sparsity:g}")
    path = sparsity_path(now, max(sparsity, now), n_recompute) if sparsity > now else []
    for step, wanted in enumerate(path, 1):
        n_drop = int(alive.sum()) - (d - math.floor(d * wanted + 1e-9))
        try:
            w = torch.cat([p.detach().flatten() for p in params])
            new, alive, saliency = obs_step(w, grads_fn(), max(n_drop, 0), alive, damp, block_size, update)
        except (TypeError, ValueError, FloatingPointError) as error:
            raise type(error)(f"grads_fn, sub-step {step} of {len(path)}: {error}") from error
        _write(params, new)
    shaped = _split(params, alive)
    if not path and masks is not None:
        _write(params, torch.cat([p.detach().flatten() for p in params]).masked_fill(~alive, 0.0))
    return PruneResult(shaped, 1 - int(alive.sum()) / d, saliency)


def _one_mask(params: Sequence[torch.Tensor], masks: Sequence[torch.Tensor] | None) -> torch.Tensor:
    if masks is None:
        return torch.cat([torch.ones(p.numel(), dtype=torch.bool, device=p.device) for p in params])
    masks = list(masks)
    check_masks(params, masks)
    return torch.cat([m.flatten() for m in masks])


def _split(params: Sequence[torch.Tensor], flat: torch.Tensor) -> list[torch.Tensor]:
    parts = flat.split([p.numel() for p in params])
    return [part.view(p.shape).clone() for part, p in zip(parts, params, strict=True)]


@torch.no_grad()
def _write(params: Sequence[torch.Tensor], flat: torch.Tensor) -> None:
    for p, part in zip(params, _split(params, flat), strict=True):
        p.copy_(part)
