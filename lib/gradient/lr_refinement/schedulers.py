"""Schedulers for any torch optimizer, and the recorder of gradient norms that refinement needs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.hooks import RemovableHandle

from .refinement import refine_schedule
from .theory import SCHEDULES, Array, as_sequence


class ArrayLR(LRScheduler):
    """Multiply each group's learning rate by ``factors[t]`` at step t (t = 0, 1, ..., T - 1).

    Parameters
    ----------
    optimizer : torch.optim.Optimizer
    factors : array_like, shape (T,)
        Non-negative factors of the groups' peak learning rates, T >= 1.
    last_epoch : int
        As in every torch scheduler; -1 starts.

    Raises
    ------
    ValueError
        For factors that are negative or not finite; by `step`, when a run goes past its T steps. (After the T-th optimizer
        step one more `step` is allowed, as loops call it; the learning rate then stays.)

    Notes
    -----
    Call `step` after every optimizer step. The state is plain numbers and lists: ``torch.load(weights_only=True)`` reads it.

    Examples
    --------
    >>> import torch
    >>> from lib.gradient.lr_refinement import ArrayLR
    >>> optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=2.0)
    >>> ArrayLR(optimizer, [1, 0.5, 0]).get_last_lr()
    [2.0]
    """

    def __init__(self, optimizer: torch.optim.Optimizer, factors: ArrayLike, last_epoch: int = -1) -> None:
        self.factors: list[float] = as_sequence(factors, "factors", least=1).tolist()
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[Any]:
        """Learning rate of each group at the current step."""
        n_steps = len(self.factors)
        if self.last_epoch > n_steps:
            raise ValueError(f"the schedule has {n_steps} steps, this is step {self.last_epoch}; make it as long as the run")
        factor = self.factors[min(self.last_epoch, n_steps - 1)]
        return [base * factor for base in self.base_lrs]


class LinearDecayLR(ArrayLR):
    """Linear decay to zero, ``1 - t/T`` at the t-th of T steps (t = 1..T): the optimal schedule without further knowledge.

    Parameters
    ----------
    optimizer : torch.optim.Optimizer
    total_steps : int
        T >= 2; the paper uses the whole run.
    warmup_steps : int
        Steps of linear warm-up before it, counted in T; default 0.
    last_epoch : int

    Raises
    ------
    TypeError, ValueError
        For a number of steps that is no integer or too small, or a warm-up that is negative or leaves fewer than two steps.

    Examples
    --------
    >>> import torch
    >>> from lib.gradient.lr_refinement import LinearDecayLR
    >>> optimizer = torch.optim.Adam([torch.zeros(1, requires_grad=True)], lr=1.0)
    >>> LinearDecayLR(optimizer, total_steps=4).factors
    [0.75, 0.5, 0.25, 0.0]
    """

    def __init__(self, optimizer: torch.optim.Optimizer, total_steps: int, warmup_steps: int = 0, last_epoch: int = -1) -> None:
        if warmup_steps < 0:
            raise ValueError(f"warmup_steps must not be negative, got {warmup_steps}")
        rising = np.arange(1, warmup_steps + 1) / (warmup_steps + 1)
        super().__init__(optimizer, np.append(rising, SCHEDULES["linear"](total_steps - warmup_steps)), last_epoch)


class RefinedLR(ArrayLR):
    """The schedule that `refine_schedule` makes of an earlier run's gradient norms.

    Parameters
    ----------
    optimizer : torch.optim.Optimizer
    norms : array_like, shape (T,)
        Recorded by `GradNormRecorder` in a run of the same length: l2 for SGD, l1 for Adam.
    power, tau, floor
        As in `refine_schedule`: 2 for SGD, 1 for Adam.
    last_epoch : int

    Raises
    ------
    ValueError
        As `refine_schedule`.

    Examples
    --------
    >>> import torch
    >>> from lib.gradient.lr_refinement import RefinedLR
    >>> optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    >>> RefinedLR(optimizer, [2, 1, 1, 2]).factors
    [0.45, 1.0, 0.2, 0.0]
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        norms: ArrayLike,
        power: float = 2,
        tau: float | None = 0.1,
        floor: float | None = None,
        last_epoch: int = -1,
    ) -> None:
        super().__init__(optimizer, refine_schedule(norms, power, tau, floor=floor), last_epoch)


class GradNormRecorder:
    """Record the norm of the raw gradient at every optimizer step, without changing the run.

    Parameters
    ----------
    params : iterable of torch.Tensor
        Parameters whose gradients count, together, as one vector.
    norm : {"l2", "l1"}
        ``"l2"`` for SGD, ``"l1"`` (sum of absolute values) for Adam and its like.

    Attributes
    ----------
    norms : ndarray, shape (T,)
        One per step so far.

    Raises
    ------
    ValueError
        For another norm or no parameters.
    RuntimeError
        By a step at which no parameter has a gradient; by `attach` while attached.

    Notes
    -----
    The hook runs before the step, so clip, if at all, inside the optimizer, or call `record` yourself before clipping. With
    mixed precision unscale first. An optimizer that calls a closure (LBFGS) computes its gradients after the hook.

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

    def __init__(self, params: Iterable[torch.Tensor], norm: str = "l2") -> None:
        if norm not in ("l2", "l1"):
            raise ValueError(f"norm must be 'l2' or 'l1', got {norm!r}")
        self.params = list(params)
        if not self.params:
            raise ValueError("params is empty: there is no gradient to record")
        self.norm = norm
        self._norms: list[torch.Tensor] = []
        self._handle: RemovableHandle | None = None

    def attach(self, optimizer: torch.optim.Optimizer) -> GradNormRecorder:
        """Record before each of this optimizer's steps, until `detach` or the end of the ``with`` block."""
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
        dense = [g.coalesce().values() if g.is_sparse else g for g in grads]
        parts = torch.stack([torch.linalg.vector_norm(g, order).to(dense[0].device) for g in dense])
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
        """Go on from a saved state; ValueError if it holds the other norm."""
        if state["norm"] != self.norm:
            raise ValueError(f"the state holds {state['norm']} norms, this recorder takes {self.norm}")
        device = self.params[0].device
        self._norms = [torch.tensor(value, dtype=torch.float64, device=device) for value in state["norms"]]
