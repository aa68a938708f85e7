"""Torch modules: a layer with its own target, a recurrent one, and a network of them that is trained layer by layer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import nn

from lib import checks
from lib.backprop_free.tpsgd.recurrent import CUTS, TIMES, Time, _recurrent_loss, _recurrent_states
from lib.backprop_free.tpsgd.rules import ACTIVATIONS, Loss, _full, _local_loss, check_loss
from lib.backprop_free.tpsgd.targets import Law, LocalTarget, check_labels

Tensor = torch.Tensor


class _LocalLayer(nn.Module, ABC):
    """What layers with a local loss share."""

    @abstractmethod
    def local_loss(self, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]: ...

    def local_step(
        self, x: Tensor, labels: Tensor, optimizer: torch.optim.Optimizer, clip: float | None = None
    ) -> tuple[Tensor, float]:
        """One step of this layer alone: its output before the step, detached, and its loss.

        Parameters
        ----------
        x : tensor, shape (samples, ...)
        labels : tensor
            As in `LocalTarget`.
        optimizer : torch.optim.Optimizer
            Of this layer's parameters.
        clip : float, optional
            Greatest norm of the gradient.

        Raises
        ------
        FloatingPointError
            If the loss is NaN or infinite; the layer has not moved.
        """
        if clip is not None:
            checks.positive("clip", clip)
        output, loss = self.local_loss(x, labels)
        return output, _descend(self, loss, optimizer, clip, "the layer")


class TPBlock(_LocalLayer):
    """One hidden layer with a local loss: ``y = s(module(x))``, target ``y* P``.

    In the call it is the plain layer. `local_loss` needs labels, and lets no gradient out to earlier layers.

    Parameters
    ----------
    module : nn.Module
        What computes z: ``nn.Linear``, ``nn.Conv2d``, or a whole sub-network that is trained together.
    target : LocalTarget
        Of the shape of the activation for one sample.
    activation : {"tanh", "relu", "sigmoid", "identity"}
    loss : {"l2", "l1", "huber", "linear", "cosine"} or function
        As in `local_loss`. For feature maps (channels, height, width) features are the channels, and the loss is the mean over
        locations: else the learning rate would grow with the size of the map.
    after : nn.Module, optional
        What follows the activation and has no target, such as pooling or ``nn.Flatten()``; its parameters are not trained.

    Raises
    ------
    ValueError, TypeError
        For another activation or loss, or parts that are no modules; in `local_loss`, for an output of another shape than the
        target's, or labels outside the classes.

    Examples
    --------
    >>> import torch
    >>> from lib.backprop_free import tpsgd
    >>> block = tpsgd.TPBlock(torch.nn.Linear(4, 8), tpsgd.LocalTarget(3, 8))
    >>> output, loss = block.local_loss(torch.ones(2, 4), torch.tensor([0, 2]))
    >>> output.shape, loss.requires_grad, output.requires_grad
    (torch.Size([2, 8]), True, False)
    """

    def __init__(
        self,
        module: nn.Module,
        target: LocalTarget,
        activation: str = "tanh",
        loss: Loss = "l2",
        after: nn.Module | None = None,
    ) -> None:
        super().__init__()
        for name, part, kind in (("module", module, nn.Module), ("target", target, LocalTarget), ("after", after, nn.Module)):
            if not isinstance(part, kind) and not (name == "after" and part is None):
                raise TypeError(f"{name} must be a {kind.__name__}, got {checks.shown(part)}")
        self.module, self.target, self.after = module, target, after
        self.activation = checks.choice("activation", activation, ACTIVATIONS)
        self.loss = check_loss(loss)

    def forward(self, x: Tensor) -> Tensor:
        """The layer's output; labels have no part in it."""
        return self._rest(self._activated(x))

    def _activated(self, x: Tensor) -> Tensor:
        return ACTIVATIONS[self.activation](self.module(x))  # (1)

    def _rest(self, y: Tensor) -> Tensor:
        return y if self.after is None else self.after(y)

    def local_loss(self, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The output, detached, for the next layer, and this layer's mean loss, whose gradient ends in this layer."""
        y = self._activated(x.detach())
        if y.shape[1:] != self.target.shape:
            raise ValueError(f"target has shape {self.target.shape}, the layer's output {tuple(y.shape[1:])}")
        t = self.target(labels).to(y.dtype)
        if len(t) != len(y):
            raise ValueError(f"labels must be one for each of {len(y)} samples, got {len(t)}")
        a, b = (_full(v).movedim(1, -1) for v in (y, t))  # channels last: one loss per location
        return self._rest(y.detach()).detach(), _local_loss(a, b, self.loss).mean()  # (4)


class TPRNN(_LocalLayer):
    """One recurrent layer with a local loss, for sequences of shape (samples, steps, features).

    Parameters
    ----------
    n_features : int
    target : LocalTarget
        Its width is the number of units.
    time : {"layer", "last", "all"}
        Target at the last state, gradient through time inside the layer; the same, gradient through the last step only; target
        at every step, gradient through that step only. The latter two can destroy what a random layer remembers.
    sequence : bool
        Whether the output is all states, for another recurrent layer, or the last one.
    activation, loss
        As in `TPBlock`.
    radius : float
        W_h starts as an orthogonal matrix times this.
    seed : int, Generator or None
        Of the initial weights.

    Raises
    ------
    ValueError, TypeError
        For arguments out of range; in the call, for inputs of another shape.

    Examples
    --------
    >>> import torch
    >>> from lib.backprop_free import tpsgd
    >>> layer = tpsgd.TPRNN(4, tpsgd.LocalTarget(10, 16))
    >>> layer(torch.zeros(2, 7, 4)).shape
    torch.Size([2, 16])
    """

    def __init__(
        self, n_features: int, target: LocalTarget, time: Time = "layer", sequence: bool = False, activation: str = "tanh",
        loss: Loss = "l2", radius: float = 0.95, seed: Any = 0,
    ) -> None:  # fmt: skip
        super().__init__()
        if not isinstance(target, LocalTarget) or len(target.shape) != 1:
            raise TypeError(f"target must be a LocalTarget of one dimension, got {checks.shown(target)}")
        (units,), rng = target.shape, checks.generator("seed", seed)
        n_features = checks.integer("n_features", n_features, low=1)
        self.target, self.time = target, checks.choice("time", time, TIMES)
        self.sequence, self.loss = checks.boolean("sequence", sequence), check_loss(loss)
        self.activation = checks.choice("activation", activation, ACTIVATIONS)
        W_h = np.linalg.qr(rng.normal(size=(units, units)))[0] * checks.positive("radius", radius)
        self.W_x = nn.Parameter(_tensor(xavier(n_features, units, rng)))
        self.W_h, self.b = nn.Parameter(_tensor(W_h)), nn.Parameter(_tensor(np.zeros(units)))

    def forward(self, x: Tensor) -> Tensor:
        """All states, or the last one."""
        return self._out(self._states(x, "none"))

    def _states(self, x: Tensor, cut: str) -> Tensor:
        if x.ndim != 3 or x.shape[-1] != len(self.W_x) or not x.shape[1]:
            raise ValueError(f"x must have shape (samples, steps, {len(self.W_x)}), steps at least 1, got {tuple(x.shape)}")
        return _recurrent_states(x, self.W_x, self.W_h, self.b, self.activation, cut)

    def _out(self, states: Tensor) -> Tensor:
        return states if self.sequence else states[:, -1]

    def local_loss(self, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The output, detached, for the next layer, and this layer's mean loss, whose gradient ends in this layer."""
        states = self._states(x.detach(), CUTS[self.time])
        target = self.target(labels).to(states.dtype)
        if len(target) != len(states):
            raise ValueError(f"labels must be one for each of {len(states)} samples, got {len(target)}")
        return self._out(states.detach()), _recurrent_loss(_full(states), _full(target), self.loss, self.time).mean()


class TPSequential(nn.Module):
    """Layers with local losses and a head with the task's loss; trained layer by layer, no gradient crosses a layer.

    Parameters
    ----------
    blocks : sequence of TPBlock or TPRNN
        May be empty: then only the head is trained.
    head : nn.Module
        From the last block's output to logits (or to outputs, with a loss of your own).
    head_loss : "cross_entropy" or function
        A function takes outputs and labels and returns a number.

    Raises
    ------
    TypeError, ValueError
        For parts of another kind, or another name of a loss.

    Examples
    --------
    >>> import torch
    >>> from lib.backprop_free import tpsgd
    >>> block = tpsgd.TPBlock(torch.nn.Linear(64, 32), tpsgd.LocalTarget(10, 32))
    >>> model = tpsgd.TPSequential([block], torch.nn.Linear(32, 10))  # or tpsgd.TPSequential.dense([64, 32, 10])
    >>> optimizers = model.optimizers(torch.optim.SGD, lr=0.01, momentum=0.9)
    >>> losses = model.train_step(torch.rand(8, 64), torch.arange(8), optimizers)
    >>> len(losses), model(torch.rand(8, 64)).shape
    (2, torch.Size([8, 10]))
    """

    def __init__(
        self,
        blocks: Iterable[nn.Module],
        head: nn.Module,
        head_loss: str | Callable[[Tensor, Tensor], Tensor] = "cross_entropy",
    ) -> None:
        super().__init__()
        self.blocks, self.head = nn.ModuleList(blocks), head
        for i, block in enumerate(self.blocks):
            if not hasattr(block, "local_loss"):
                raise TypeError(f"blocks must have a local_loss, as TPBlock and TPRNN have; number {i} is {type(block)}")
        if not callable(head_loss):
            checks.choice("head_loss", head_loss, ("cross_entropy",))
        self.head_loss = head_loss

    @classmethod
    def dense(
        cls, sizes: Sequence[int], activation: str = "tanh", loss: Loss = "l2", law: Law = "normal", scale: float = 1.0,
        seed: Any = 0,
    ) -> TPSequential:  # fmt: skip
        """A fully connected classifier of widths `sizes` (inputs first, classes last): Xavier weights, zero biases."""
        widths = [checks.integer("sizes", n, low=1) for n in sizes]
        if len(widths) < 2:
            raise ValueError(f"sizes must hold inputs and classes at least, got {checks.shown(sizes)}")
        rng, layers = checks.generator("seed", seed), []
        for n_in, n_out in pairwise(widths):
            layers.append(xavier_linear(n_in, n_out, rng))
        K, hidden = widths[-1], zip(layers[:-1], widths[1:-1], strict=True)
        return cls([TPBlock(f, LocalTarget(K, n, law, scale, rng), activation, loss) for f, n in hidden], layers[-1])

    def forward(self, x: Tensor) -> Tensor:
        """The head's output."""
        return self.head(self._body(x))

    def _body(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return x

    def optimizers(
        self, make: Callable[..., torch.optim.Optimizer], lr: float, hidden_scale: float = 1.0, **settings: Any
    ) -> list:
        """One optimizer ``make(parameters, lr=..., **settings)`` per layer, head last; hidden layers at lr * hidden_scale.

        `make` is a torch optimizer whose step needs no closure (not L-BFGS). With ``hidden_scale=0`` the hidden layers stay as
        they are ("shallow" learning: random features).
        """
        lr = checks.positive("lr", lr)
        hidden = lr * checks.number("hidden_scale", hidden_scale, low=0)
        return [make(part.parameters(), lr=hidden, **settings) for part in self.blocks] + [
            make(self.head.parameters(), lr=lr, **settings)
        ]

    def train_step(
        self, x: Tensor, labels: Tensor, optimizers: Sequence[torch.optim.Optimizer], clip: float | None = None,
        recompute: bool = False,
    ) -> list[float]:  # fmt: skip
        """One batch: each layer computes its loss, steps, drops its gradient and hands on its detached output.

        Layers whose parameters are all frozen hand on their output and stay.

        Parameters
        ----------
        x : tensor, shape (samples, ...)
        labels : tensor
            As in `LocalTarget`.
        optimizers : sequence
            One for each block, then the head's, as from `optimizers`.
        clip : float, optional
            Greatest norm of one layer's gradient.
        recompute : bool
            Hand on the output of the new weights instead of the old ones; costs one more forward pass per block.

        Returns
        -------
        list of float
            The loss of each layer, the head's last, before the step.

        Raises
        ------
        FloatingPointError
            If a loss is NaN or infinite; that layer and those after it have not moved.
        ValueError
            If there is not one optimizer for each layer.
        """
        if len(optimizers) != len(self.blocks) + 1:
            raise ValueError(
                f"optimizers must be {len(self.blocks) + 1}, one for each block and the head, got {len(optimizers)}"
            )
        if clip is not None:
            checks.positive("clip", clip)
        parts: list[Any] = [*self.blocks, self.head]
        losses: list[float] = []
        for i, (part, optimizer) in enumerate(zip(parts, optimizers, strict=True)):
            if i < len(self.blocks):
                output, loss = part.local_loss(x, labels)
            else:
                output, loss = None, self._head_loss(x.detach(), labels)
            losses.append(_descend(part, loss, optimizer, clip, f"layer {i + 1} of {len(parts)}"))
            del loss
            if output is not None:
                with torch.no_grad():
                    x = part(x) if recompute else output
        return losses

    def _head_loss(self, x: Tensor, labels: Tensor) -> Tensor:
        output = _full(self.head(x))
        if callable(self.head_loss):
            return self.head_loss(output, labels)
        return nn.functional.cross_entropy(output, check_labels(labels, output.shape[-1]))

    @torch.no_grad()
    def layerwise_losses(self, x: Tensor, labels: Tensor) -> list[float]:
        """The loss of each layer, the head's last, without a step."""
        losses, blocks = [], list[Any](self.blocks)
        for block in blocks:
            x, loss = block.local_loss(x, labels)
            losses.append(float(loss.detach()))
        return [*losses, float(self._head_loss(x, labels))]


def _descend(part: nn.Module, loss: Tensor, optimizer: torch.optim.Optimizer, clip: float | None, name: str) -> float:
    value = float(loss.detach())
    if not np.isfinite(value):
        raise FloatingPointError(f"the loss of {name} is {value}: a smaller learning rate?")
    optimizer.zero_grad(set_to_none=True)
    if any(p.requires_grad for p in part.parameters()):
        loss.backward()
    if clip is not None:
        nn.utils.clip_grad_norm_(part.parameters(), clip)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)  # no gradient outlives its layer
    return value


def xavier(n_in: int, n_out: int, rng: np.random.Generator) -> np.ndarray:
    """Xavier's uniform weights, shape (n_in, n_out)."""
    bound = np.sqrt(6 / (n_in + n_out))
    return rng.uniform(-bound, bound, size=(n_in, n_out))


def xavier_linear(n_in: int, n_out: int, rng: np.random.Generator) -> nn.Linear:
    """A linear layer with Xavier's weights and zero biases."""
    layer = nn.Linear(n_in, n_out)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(xavier(n_in, n_out, rng).T))
        layer.bias.zero_()
    return layer


def _tensor(values: np.ndarray) -> Tensor:
    return torch.tensor(values, dtype=torch.get_default_dtype())
