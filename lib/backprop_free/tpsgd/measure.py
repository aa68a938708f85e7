"""Measurements: the angle between local and backpropagated gradients, and the memory that a training step takes."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lib import checks
from lib.backprop_free.tpsgd.blocks import TPSequential

Tensor = torch.Tensor


@dataclass(frozen=True)
class PeakBytes:
    """Most bytes at one time: `saved` by automatic differentiation for later, `total` of tensors made in the call or held."""

    saved: int
    total: int


class _Live:
    """Bytes of storages that live now, and the most there were; a storage counts once, until it is freed."""

    def __init__(self) -> None:
        self.now = self.peak = 0
        self._known: dict[int, int] = {}

    def add(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key not in self._known:
            self._known[key] = storage.nbytes()
            self.now += storage.nbytes()
            weakref.finalize(storage, self._drop, key)
        self.peak = max(self.peak, self.now)

    def _drop(self, key: int) -> None:
        self.now -= self._known.pop(key, 0)


class _Allocations(TorchDispatchMode):
    def __init__(self, live: _Live) -> None:
        super().__init__()
        self.live = live

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = {t.untyped_storage()._cdata for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)}
        result = func(*args, **(kwargs or {}))
        for value in tree_leaves(result):
            if isinstance(value, Tensor) and value.untyped_storage()._cdata not in given:
                self.live.add(value)
        return result


def peak_bytes(step: Callable[[], Any], held: Iterable[Tensor] = ()) -> PeakBytes:
    """The memory of a call, counted in bytes of tensors, not read off the process: the same on every machine.

    Parameters
    ----------
    step : function without arguments
        One training step, say; it is called twice. Tensors that live before it (weights, optimizer states after a first step,
        the batch) do not count towards `total`; parameters do not count towards `saved`.
    held : iterable of tensors
        Tensors that live before the call and count towards `total` all the same, such as ``LocalTarget.P``; may be empty.

    Returns
    -------
    PeakBytes

    Raises
    ------
    TypeError
        If `step` is no function, or `held` is no iterable of tensors.

    Examples
    --------
    >>> import torch
    >>> from lib.backprop_free import tpsgd
    >>> x = torch.ones(1000, requires_grad=True)
    >>> tpsgd.peak_bytes(lambda: x.exp().exp().sum().backward()).saved
    8000
    """
    checks.function("step", step)
    kept = [held] if isinstance(held, Tensor) or not isinstance(held, Iterable) else list(held)
    if isinstance(held, Tensor) or not all(isinstance(tensor, Tensor) for tensor in kept):
        raise TypeError(f"held must be an iterable of tensors, got {checks.shown(held)}")
    saved = _Live()

    def pack(tensor: Tensor) -> Tensor:
        if not isinstance(tensor, torch.nn.Parameter) and not isinstance(tensor._base, torch.nn.Parameter):
            saved.add(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        step()
    total = _Live()
    for tensor in kept:
        total.add(tensor)
    with _Allocations(total):
        step()
    return PeakBytes(saved.peak, total.peak)


def compare_gradients(model: TPSequential, x: Tensor, labels: Tensor) -> list[float]:
    """Cosine of the angle between each block's local gradient and the gradient that backpropagation would give it.

    Parameters, their ``grad`` and buffers stay as they are; 0 where one of the two gradients is zero, or all is frozen.

    Parameters
    ----------
    model : TPSequential
    x : tensor, shape (samples, ...)
    labels : tensor
        As in `LocalTarget`.

    Returns
    -------
    list of float
        One for each block, all of its parameters together.

    Raises
    ------
    TypeError, ValueError
        For another model, or labels that do not fit.

    Examples
    --------
    >>> import torch
    >>> from lib.backprop_free import tpsgd
    >>> model = tpsgd.TPSequential.dense([8, 16, 3])
    >>> len(tpsgd.compare_gradients(model, torch.rand(5, 8), torch.tensor([0, 1, 2, 0, 1])))
    1
    """
    if not isinstance(model, TPSequential):
        raise TypeError(f"model must be a TPSequential, got {checks.shown(model)}")
    checks.tensor("x", x)
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]  # running means move with every forward pass
    try:
        with torch.enable_grad():
            return _cosines(model, x, labels)
    finally:
        for buffer, before in buffers:
            if not torch.equal(buffer, before):
                buffer.copy_(before)


def _cosines(model: TPSequential, x: Tensor, labels: Tensor) -> list[float]:
    output, cosines = x.detach(), []
    through = model._head_loss(model._body(x.detach()), labels)
    for block in list[Any](model.blocks):
        parameters = [p for p in block.parameters() if p.requires_grad]
        far = torch.autograd.grad(through, parameters, retain_graph=True, allow_unused=True) if parameters else ()
        output, loss = block.local_loss(output, labels)
        near = torch.autograd.grad(loss, parameters, allow_unused=True) if parameters else ()
        cosines.append(_cosine(near, far))
    return cosines


def _cosine(near: tuple[Tensor | None, ...], far: tuple[Tensor | None, ...]) -> float:
    pairs = [(a.flatten(), b.flatten()) for a, b in zip(near, far, strict=True) if a is not None and b is not None]
    if not pairs:
        return 0.0
    a, b = (torch.cat(parts).double() for parts in zip(*pairs, strict=True))
    lengths = float(a.norm() * b.norm())
    return float(a @ b) / lengths if lengths > 0 else 0.0
