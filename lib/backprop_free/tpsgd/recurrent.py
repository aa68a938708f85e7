"""Recurrent layers: states, the three ways to place a local target in time, and the layer-local gradient in forward mode.

The paper says that it trains recurrent networks; how far it differentiates through time is not known to us. So there are three
documented forms, equation (7) of the chapter. Only ``"layer"`` trains the recurrent weights usefully.
"""

from __future__ import annotations

from typing import Literal

import torch

from lib import checks
from lib.backprop_free.tpsgd.rules import ACTIVATIONS, Loss, _full, _local_loss, _residual, _slope, check_loss

Tensor = torch.Tensor
Time = Literal["layer", "last", "all"]
#: Where the target stands in time -> at which steps the gradient through the state before is cut.
CUTS = {"layer": "none", "last": "last", "all": "all"}
TIMES = tuple(CUTS)


def recurrent_states(
    inputs: Tensor, W_x: Tensor, W_h: Tensor, b: Tensor, activation: str = "tanh", cut: Literal["none", "last", "all"] = "none"
) -> Tensor:
    """All hidden states of one recurrent layer: h_t = s(x_t W_x + h_{t-1} W_h + b) from h_0 = 0, equation (7).

    Parameters
    ----------
    inputs : tensor, shape (..., samples, steps, features)
    W_x : tensor, shape (..., features, units)
    W_h : tensor, shape (..., units, units)
    b : tensor, shape (..., units)
        Axes in front count copies of the layer; they broadcast.
    activation : {"tanh", "relu", "sigmoid", "identity"}
    cut : {"none", "last", "all"}
        Where no gradient passes from one state to the one before: nowhere, at the last step, at every step.

    Returns
    -------
    tensor, shape (..., samples, steps, units)

    Raises
    ------
    ValueError, TypeError
        For shapes that do not fit, NaN or infinity, another activation.

    Examples
    --------
    >>> import torch
    >>> from lib.backprop_free import tpsgd
    >>> x, one = torch.ones(1, 3, 1), torch.ones(1, 1)
    >>> tpsgd.recurrent_states(x, one, one, torch.zeros(1), "identity")[0, :, 0]
    tensor([1., 2., 3.])
    """
    for name, value, least in (("inputs", inputs, 3), ("W_x", W_x, 2), ("W_h", W_h, 2), ("b", b, 1)):
        if checks.tensor(name, value).ndim < least:
            raise ValueError(f"{name} must have at least {least} dimensions, got shape {tuple(value.shape)}")
    units = W_h.shape[-1]
    if W_h.shape[-2] != units or W_x.shape[-2:] != (inputs.shape[-1], units) or b.shape[-1] != units:
        raise ValueError(
            "W_x, W_h and b must have shapes (..., features, units), (..., units, units) and (..., units), got "
            f"{tuple(W_x.shape)}, {tuple(W_h.shape)} and {tuple(b.shape)} for inputs of shape {tuple(inputs.shape)}"
        )
    checks.choice("activation", activation, ACTIVATIONS)
    checks.choice("cut", cut, ("none", "last", "all"))
    return _recurrent_states(inputs, W_x, W_h, b, activation, cut)


def _recurrent_states(x: Tensor, W_x: Tensor, W_h: Tensor, b: Tensor, activation: str, cut: str) -> Tensor:
    s, steps = ACTIVATIONS[activation], x.shape[-2]
    driven = x.flatten(-3, -2) @ W_x + b.unsqueeze(-2)  # (7): the input's share, all steps at once
    shares = driven.unflatten(-2, x.shape[-3:-1]).unbind(-2)
    del driven
    h, states = None, []
    for t, z in enumerate(shares):
        if h is not None:
            before = h.detach() if cut == "all" or (cut == "last" and t == steps - 1) else h
            z = z + before @ W_h  # (7)
        h = s(z)
        states.append(h)
    return torch.stack(states, dim=-2)


def recurrent_loss(states: Tensor, target: Tensor, loss: Loss = "l2", time: Time = "layer") -> Tensor:
    """The local loss of a recurrent layer, per sample: at the last state, or the mean over all steps for ``time="all"``.

    Parameters
    ----------
    states : tensor, shape (..., samples, steps, units)
        As from `recurrent_states` with the `cut` that belongs to `time`: "none" for "layer", "last", "all".
    target : tensor, shape (..., samples, units)
    loss : as in `local_loss`
    time : {"layer", "last", "all"}

    Returns
    -------
    tensor, shape (..., samples)

    Raises
    ------
    ValueError, TypeError
        As in `local_loss`.

    Examples
    --------
    >>> import torch
    >>> from lib.backprop_free import tpsgd
    >>> tpsgd.recurrent_loss(torch.ones(1, 3, 2), torch.zeros(1, 2))
    tensor([1.])
    """
    checks.choice("time", time, TIMES)
    states, target = checks.tensor("states", states), checks.tensor("target", target)
    if states.ndim < 3 or states.shape[:-2] + states.shape[-1:] != target.shape:
        raise ValueError(
            "states and target must have shapes (..., samples, steps, units) and (..., samples, units), "
            f"got {tuple(states.shape)} and {tuple(target.shape)}"
        )
    return _recurrent_loss(_full(states), _full(target), check_loss(loss), time)


def _recurrent_loss(states: Tensor, target: Tensor, loss: Loss, time: str) -> Tensor:
    if time == "all":
        return _local_loss(states, target.unsqueeze(-2).expand_as(states), loss).mean(-1)  # (7)
    return _local_loss(states[..., -1, :], target, loss)  # (7)


def forward_mode_gradients(
    inputs: Tensor, target: Tensor, W_x: Tensor, W_h: Tensor, b: Tensor, loss: Loss = "l2"
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of the mean of J(h_T, t) by forward passes only: real-time recurrent learning, equation (8), tanh units.

    The derivative of the state by the weights is carried along, so no past state is kept. It takes
    ``samples * units^2 * (units + features + 1)`` numbers whatever the number of steps: for small layers and long sequences.

    Parameters
    ----------
    inputs : tensor, shape (samples, steps, features)
    target : tensor, shape (samples, units)
    W_x, W_h, b : tensor, shapes (features, units), (units, units), (units,)
    loss : as in `local_loss`

    Returns
    -------
    tuple of tensors
        By W_x, W_h and b, in their shapes.

    Raises
    ------
    ValueError, TypeError
        For shapes that do not fit, NaN or infinity.

    Examples
    --------
    >>> import torch
    >>> from lib.backprop_free import tpsgd
    >>> x, eye = torch.zeros(1, 4, 2), torch.eye(2)
    >>> tpsgd.forward_mode_gradients(x, torch.ones(1, 2), eye, eye, torch.zeros(2))[2]
    tensor([-4., -4.])
    """
    named = (("inputs", inputs), ("target", target), ("W_x", W_x), ("W_h", W_h), ("b", b))
    for (name, value), n in zip(named, (3, 2, 2, 2, 1), strict=True):
        checks.tensor(name, value, ndim=n)
    (n, _, d), H = inputs.shape, W_h.shape[0]
    if W_x.shape != (d, H) or W_h.shape != (H, H) or b.shape != (H,) or target.shape != (n, H):
        shapes = ", ".join(f"{name} {tuple(value.shape)}" for name, value in named)
        raise ValueError(f"shapes must fit: inputs (n, steps, d), target (n, H), W_x (d, H), W_h (H, H), b (H,); got {shapes}")
    check_loss(loss)
    with torch.no_grad():
        return _forward_mode(_full(inputs), _full(target), _full(W_x), _full(W_h), _full(b), loss)


def _forward_mode(x: Tensor, target: Tensor, W_x: Tensor, W_h: Tensor, b: Tensor, loss: Loss) -> tuple[Tensor, Tensor, Tensor]:
    (n, steps, d), H = x.shape, len(W_h)
    one, h = torch.eye(H, dtype=x.dtype, device=x.device), x.new_zeros(n, H)
    S = x.new_zeros(n, H, d + H + 1, H)  # dh_k / dU_ij, U = [W_x; W_h; b]
    for t in range(steps):
        u = torch.cat([x[:, t], h, x.new_ones(n, 1)], dim=1)
        h = torch.tanh(u @ torch.cat([W_x, W_h, b[None]]))  # (7)
        direct = u[:, None, :, None] * one[None, :, None, :]
        S = _slope(h, "tanh")[:, :, None, None] * (torch.einsum("nmij,mk->nkij", S, W_h) + direct)  # (8)
    gradient = torch.einsum("nk,nkij->ij", _residual(h, target, loss), S) / n  # (8)
    return gradient[:d], gradient[d : d + H], gradient[-1]
