"""The recorder of gradient norms that refinement needs, for any torch optimizer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch.utils.hooks import RemovableHandle

from lib import checks

from .theory import Array

#: What torch's optimizers take: tensors, pairs of a name and a tensor, or groups.
Params = Iterable[torch.Tensor] | Iterable[tuple[str, torch.Tensor]] | Iterable[dict[str, Any]]


class GradNormRecorder:
    """Record the norm of the raw gradient at every optimizer step, without changing the run.

    Parameters
    ----------
    params : iterable
        Parameters whose gradients count, together, as one vector: tensors, pairs of a name and a tensor
        (``model.named_parameters()``) or parameter groups. A tensor that comes twice counts once.
    norm : {"l2", "l1"}
        ``"l2"`` for SGD, ``"l1"`` (sum of absolute values) for Adam and its like.

    Attributes
    ----------
    norms : ndarray, shape (T,)
        One per step so far.

    Raises
    ------
    TypeError
        For a single tensor, or parameters that are no tensors.
    ValueError
        For another norm or no parameters.
    RuntimeError
        By a step at which no parameter has a gradient; by `attach` while attached.

    Notes
    -----
    The hook runs before the step, so clip, if at all, inside the optimizer, or call `record` yourself before clipping. With
    mixed precision unscale first. Norms come out in float64; half precision is summed in float32 first. An
    optimizer that calls a closure (LBFGS) computes its gradients after the hook.

    Examples
    --------
    >>> import torch
    >>> from lib.gradient.lr_refinement import GradNormRecorder
    >>> p = torch.tensor([3.0, -4.0], requires_grad=True)
    >>> optimizer = torch.optim.SGD([p], lr=0.1)
    >>> with GradNormRecorder([p]).attach(optimizer) as recorder:
    ...     (0.5 * p @ p).backward()
    ...     optimizer.step()
    >>> recorder.norms
    array([5.])
    """

    def __init__(self, params: Params, norm: str = "l2") -> None:
        self.norm: str = checks.choice("norm", norm, ["l2", "l1"])
        self.params = _tensors(params)
        self._norms: list[torch.Tensor] = []
        self._handle: RemovableHandle | None = None

    def attach(self, optimizer: torch.optim.Optimizer) -> GradNormRecorder:
        """Record before each of this optimizer's steps, until `detach` or the end of the ``with`` block."""
        if not isinstance(optimizer, torch.optim.Optimizer):
            raise TypeError(f"optimizer must be a torch.optim.Optimizer, got {checks.shown(optimizer)}")
        if self._handle is not None:
            raise RuntimeError("this recorder is attached already; detach it first")
        self._handle = optimizer.register_step_pre_hook(lambda *_: self.record())
        return self

    def detach(self) -> None:
        """Stop recording; what was recorded stays."""
        if self._handle is not None:
            self._handle.remove()
            self._handle = None

    def __enter__(self) -> GradNormRecorder:
        return self

    def __exit__(self, *_: object) -> None:
        self.detach()

    @torch.no_grad()
    def record(self) -> None:
        """Take the norm of the gradients as they are now."""
        grads = [p.grad for p in self.params if p.grad is not None]
        if not grads:
            raise RuntimeError(f"no parameter has a gradient at step {len(self._norms)}; call backward() before the step")
        order = 2 if self.norm == "l2" else 1
        parts = torch.stack([_norm(g, order).to(grads[0].device) for g in grads])
        self._norms.append(torch.linalg.vector_norm(parts, order))  # stays on its device: no wait per step

    @property
    def norms(self) -> Array:
        """Norms so far, shape (T,), float64."""
        if not self._norms:
            return np.zeros(0)
        return torch.stack(self._norms).double().cpu().numpy()

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs: the norm's name and the values so far, as plain numbers."""
        return {"norm": self.norm, "norms": self.norms.tolist()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved state; ValueError if it holds the other norm or no norms."""
        if not isinstance(state, Mapping) or not {"norm", "norms"} <= set(state):
            raise ValueError("state must be what this recorder's state_dict() gave, with norm and norms")
        if state["norm"] != self.norm:
            raise ValueError(f"the state holds {state['norm']} norms, this recorder takes {self.norm}")
        values = checks.array("norms", state["norms"], ndim=1, low=0, nan=True, inf=True, empty=True).astype(np.float64)
        device = self.params[0].device
        self._norms = [torch.tensor(value, dtype=_wide(device), device=device) for value in values.tolist()]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_handle": None}  # a copy is not attached: the optimizer's hook stays with the original


def _tensors(params: Params) -> list[torch.Tensor]:
    """Every parameter once, from tensors, (name, tensor) pairs or parameter groups, as torch's optimizers take them."""
    if isinstance(params, torch.Tensor | str | Mapping) or not isinstance(params, Iterable):
        raise TypeError(f"params must be an iterable of tensors, pairs with names or groups, got {checks.shown(params)}; "
                        "a single tensor goes in a list")  # fmt: skip
    found: dict[int, torch.Tensor] = {}
    for entry in params:
        if isinstance(entry, Mapping) and "params" in entry:
            inner = entry["params"]
            found |= {id(p): p for p in ([inner] if isinstance(inner, torch.Tensor) else _tensors(inner))}
            continue
        p = entry[1] if isinstance(entry, tuple) and len(entry) == 2 else entry
        if not isinstance(p, torch.Tensor):
            raise TypeError(f"params must hold tensors, pairs of a name and a tensor, or groups, got {checks.shown(entry)}")
        found[id(p)] = p
    if not found:
        raise ValueError("params is empty: there is no gradient to record")
    return list(found.values())


def _wide(device: torch.device) -> torch.dtype:
    return torch.float32 if device.type == "mps" else torch.float64  # which has no float64


#: Entries that are summed at a stretch in single precision, before float64 takes over.
CHUNK = 256


def _norm(g: torch.Tensor, order: int) -> torch.Tensor:
    """The norm of one gradient: chunks in its own precision (half precision in float32), then all of them in float64.

    Half precision overflows at 65504 and keeps three digits; one long sum in float32 loses three of seven digits.
    """
    if g.layout is not torch.strided:
        g = g.coalesce().values() if g.layout is torch.sparse_coo else g.to_dense()
    narrow = torch.float32 if g.dtype in (torch.float16, torch.bfloat16) else None
    whole, flat = g.numel() // CHUNK * CHUNK, g.reshape(-1)
    chunks = torch.linalg.vector_norm(flat[:whole].view(-1, CHUNK), order, dim=1, dtype=narrow)
    rest = torch.linalg.vector_norm(flat[whole:], order, dtype=narrow)
    return torch.linalg.vector_norm(torch.cat([chunks, rest[None]]).to(_wide(g.device)), order)
