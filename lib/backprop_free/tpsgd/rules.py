"""The rule of one layer, as functions of tensors: local losses, their derivatives, the step of a fully connected layer.

Lomnitz, Daniels, Zhang and Piacentino, "Learning with Local Gradients at the Edge", arXiv:2208.08503 (2022). Equation numbers
are those of the chapter. Features stand on the last axis, samples on the one before; any axes in front of these count copies
of the layer that are trained side by side (other seeds, other learning rates).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch

from lib import checks

Tensor = torch.Tensor
Loss = Literal["l2", "l1", "huber", "linear", "cosine"] | Callable[[Tensor, Tensor], Tensor]

LOSSES = ("l2", "l1", "huber", "linear", "cosine")
#: Names of activations and how they are computed.
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
    "identity": lambda z: z,
}
#: A vector shorter than this has no direction: its cosine loss is 1 with derivative 0.
_SHORT = 1e-8


def check_loss(loss: Loss) -> Loss:
    """A name of `LOSSES` or a function of output and target; else an error that names the argument."""
    return loss if callable(loss) else checks.choice("loss", loss, LOSSES)


def _pair(output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    output, target = checks.tensor("output", output), checks.tensor("target", target)
    if output.ndim == 0 or output.shape != target.shape:
        raise ValueError(
            f"output and target must have one shape (..., features), got {tuple(output.shape)} and {tuple(target.shape)}"
        )
    return _full(output), _full(target)


def _full(x: Tensor) -> Tensor:
    """Half precision as float32: sums over features then neither overflow nor stall."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def local_loss(output: Tensor, target: Tensor, loss: Loss = "l2") -> Tensor:
    """What one layer minimizes, per sample: J(y, t), equation (4).

    Parameters
    ----------
    output, target : tensor, shape (..., features)
        y and t. Half precision is computed in float32.
    loss : {"l2", "l1", "huber", "linear", "cosine"} or function
        ``|t - y|^2 / 2``; the sum of ``|t - y|``; Huber's loss with threshold 1; ``-<t, y>``, which is direct random target
        projection (DRTP); one minus the cosine. A function takes output and target and returns shape (...).

    Returns
    -------
    tensor, shape (...)

    Raises
    ------
    ValueError
        For different shapes, an unknown name, NaN or infinity, or a function that returns another shape.
    TypeError
        If output or target is no tensor of floating-point numbers.

    Examples
    --------
    >>> import torch
    >>> from lib.backprop_free import tpsgd
    >>> tpsgd.local_loss(torch.tensor([[1.0, 2.0]]), torch.tensor([[0.0, 0.0]]))
    tensor([2.5000])
    """
    return _local_loss(*_pair(output, target), check_loss(loss))


def _local_loss(y: Tensor, t: Tensor, loss: Loss) -> Tensor:
    if callable(loss):
        value = loss(y, t)
        if not isinstance(value, torch.Tensor) or value.shape != y.shape[:-1]:
            got = tuple(value.shape) if isinstance(value, torch.Tensor) else checks.shown(value)
            raise ValueError(f"loss must return one number per sample, shape {tuple(y.shape[:-1])}, got {got}")
        return value
    if loss == "l2":
        return 0.5 * (t - y).square().sum(-1)  # (4a)
    if loss == "l1":
        return (t - y).abs().sum(-1)  # (4b)
    if loss == "huber":
        r = (t - y).abs()
        return torch.where(r <= 1, 0.5 * r.square(), r - 0.5).sum(-1)  # (4c)
    if loss == "linear":
        return -(t * y).sum(-1)  # (4d)
    t_hat, y_hat, _ = _directions(y, t)
    return 1 - (t_hat * y_hat).sum(-1)  # (4e)


def _directions(y: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Both as unit vectors, zero where they are too short, and the length of y (infinite where too short)."""
    length = torch.linalg.vector_norm(y, dim=-1, keepdim=True)
    length_t = torch.linalg.vector_norm(t, dim=-1, keepdim=True)
    length = length.masked_fill(length < _SHORT, torch.inf)
    return t / length_t.masked_fill(length_t < _SHORT, torch.inf), y / length, length


def residual(output: Tensor, target: Tensor, loss: Loss = "l2") -> Tensor:
    """The derivative of the local loss by the layer's output, per sample: dJ/dy, equation (4).

    Parameters
    ----------
    output, target : tensor, shape (..., features)
    loss : {"l2", "l1", "huber", "linear", "cosine"} or function
        As in `local_loss`; a function is differentiated automatically.

    Returns
    -------
    tensor, shape (..., features)

    Raises
    ------
    ValueError, TypeError
        As in `local_loss`.

    Examples
    --------
    >>> import torch
    >>> from lib.backprop_free import tpsgd
    >>> tpsgd.residual(torch.tensor([[0.5, -2.0]]), torch.tensor([[1.0, 1.0]]), "l1")
    tensor([[-1., -1.]])
    """
    return _residual(*_pair(output, target), check_loss(loss))


def _residual(y: Tensor, t: Tensor, loss: Loss) -> Tensor:
    if callable(loss):
        with torch.enable_grad():
            free = y.detach().clone().requires_grad_()
            return torch.autograd.grad(_local_loss(free, t.detach().clone(), loss).sum(), free)[0]
    if loss == "l2":
        return y - t  # (4a)
    if loss == "l1":
        return torch.sign(y - t)  # (4b)
    if loss == "huber":
        return torch.clamp(y - t, -1, 1)  # (4c)
    if loss == "linear":
        return -t  # (4d)
    t_hat, y_hat, length = _directions(y, t)
    return ((t_hat * y_hat).sum(-1, keepdim=True) * y_hat - t_hat) / length  # (4e)


def slope(output: Tensor, activation: str = "tanh") -> Tensor:
    """The activation's derivative s'(z), from its value y = s(z).

    Parameters
    ----------
    output : tensor
        y, what the activation returned.
    activation : {"tanh", "relu", "sigmoid", "identity"}

    Raises
    ------
    ValueError, TypeError
        For another activation, or an output that is no finite floating-point tensor.

    Examples
    --------
    >>> import torch
    >>> from lib.backprop_free import tpsgd
    >>> tpsgd.slope(torch.tensor([0.0, 0.5]), "tanh")
    tensor([1.0000, 0.7500])
    """
    return _slope(checks.tensor("output", output), checks.choice("activation", activation, ACTIVATIONS))


def _slope(y: Tensor, activation: str) -> Tensor:
    if activation == "tanh":
        return 1 - y.square()  # (1)
    if activation == "relu":
        return (y > 0).to(y.dtype)
    if activation == "sigmoid":
        return y * (1 - y)  # (1)
    return torch.ones_like(y)


def local_delta(output: Tensor, target: Tensor, loss: Loss = "l2", activation: str = "tanh") -> Tensor:
    """The error signal of one hidden layer, per sample: delta = dJ/dy * s'(z), equation (3). No later layer enters.

    Parameters
    ----------
    output, target : tensor, shape (..., features)
        The layer's output y = s(z) and its target t = y* P.
    loss : {"l2", "l1", "huber", "linear", "cosine"} or function
    activation : {"tanh", "relu", "sigmoid", "identity"}

    Returns
    -------
    tensor, shape (..., features)

    Raises
    ------
    ValueError, TypeError
        As in `local_loss`, and for another activation.

    Examples
    --------
    >>> import torch
    >>> from lib.backprop_free import tpsgd
    >>> tpsgd.local_delta(torch.tensor([[0.5]]), torch.tensor([[1.0]]))
    tensor([[-0.3750]])
    """
    checks.choice("activation", activation, ACTIVATIONS)
    y, t = _pair(output, target)
    return _local_delta(y, t, check_loss(loss), activation)


def _local_delta(y: Tensor, t: Tensor, loss: Loss, activation: str) -> Tensor:
    return _residual(y, t, loss) * _slope(y, activation)  # (3)


def dense_gradients(inputs: Tensor, delta: Tensor) -> tuple[Tensor, Tensor]:
    """The gradients of a fully connected layer's weights and biases, equation (3): input times delta, mean over samples.

    Parameters
    ----------
    inputs : tensor, shape (..., samples, features in)
    delta : tensor, shape (..., samples, features out)
        Axes in front of the last two broadcast.

    Returns
    -------
    weights : tensor, shape (..., features in, features out)
    biases : tensor, shape (..., features out)

    Raises
    ------
    ValueError
        If the numbers of samples differ, or for NaN or infinity.
    TypeError
        If one is no tensor of floating-point numbers.

    Examples
    --------
    >>> import torch
    >>> from lib.backprop_free import tpsgd
    >>> tpsgd.dense_gradients(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0]]))
    (tensor([[3.],
            [6.]]), tensor([3.]))
    """
    inputs, delta = _full(checks.tensor("inputs", inputs)), _full(checks.tensor("delta", delta))
    if min(inputs.ndim, delta.ndim) < 2 or inputs.shape[-2] != delta.shape[-2]:
        raise ValueError(
            f"inputs and delta must have shapes (..., samples, features), got {tuple(inputs.shape)} and {tuple(delta.shape)}"
        )
    return _dense_gradients(inputs, delta)


def _dense_gradients(inputs: Tensor, delta: Tensor) -> tuple[Tensor, Tensor]:
    return inputs.transpose(-1, -2) @ delta / inputs.shape[-2], delta.mean(-2)  # (3)


def read_code(output: Tensor, patterns: Tensor) -> Tensor:
    """What a layer believes about the classes: the least-squares solution q of y = q P, equation (6).

    Parameters
    ----------
    output : tensor, shape (samples, features)
    patterns : tensor, shape (classes, features)
        P; row c is the target of class c. At least as many features as classes.

    Returns
    -------
    tensor, shape (samples, classes)
        Near the classes' probabilities where the layer has learned its target; rows need not sum to one.

    Raises
    ------
    ValueError
        For shapes that do not fit, fewer features than classes, or patterns that are linearly dependent.
    TypeError
        If one is no tensor of floating-point numbers.

    Examples
    --------
    >>> import torch
    >>> from lib.backprop_free import tpsgd
    >>> P = torch.tensor([[1.0, 1.0, 0.0], [0.0, 1.0, -1.0]])
    >>> tpsgd.read_code(0.25 * P[:1] + 0.75 * P[1:], P)
    tensor([[0.2500, 0.7500]])
    """
    output, patterns = _full(checks.tensor("output", output, ndim=2)), _full(checks.tensor("patterns", patterns, ndim=2))
    if output.shape[1] != patterns.shape[1] or len(patterns) > patterns.shape[1]:
        raise ValueError(
            "output and patterns must have the same features, at least as many as there are classes, "
            f"got {tuple(output.shape)} and {tuple(patterns.shape)}"
        )
    gram = patterns @ patterns.T
    factor, failed = torch.linalg.cholesky_ex(gram)
    smallest = torch.diagonal(factor).square().min() / torch.diagonal(gram).max()
    if failed or not smallest > 100 * torch.finfo(gram.dtype).eps:
        raise ValueError("patterns must be linearly independent: two classes have one code")
    return torch.cholesky_solve((output @ patterns.T).T, factor).T  # (6)
