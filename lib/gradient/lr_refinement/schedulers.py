"""Schedulers for any torch optimizer: any factors, linear decay, and the refined schedule."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch.optim.lr_scheduler import LRScheduler

from lib import checks

from .refinement import refine_schedule
from .theory import SCHEDULES, as_sequence


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
    TypeError
        For an optimizer that is none.
    ValueError
        For factors that are negative or not finite; by `step`, when a run goes past its T steps (after the T-th optimizer
        step one more `step` is allowed, as loops call it; the learning rate then stays); by `load_state_dict`, for the
        state of another schedule.

    Notes
    -----
    Call `step` after every optimizer step. The state is plain numbers and lists: ``torch.load(weights_only=True)`` reads it.
    To resume, make the scheduler as before, or as ``ArrayLR(optimizer, state["factors"])``, and load the state.

    A group that `add_param_group` adds in the middle starts with the rate it is given, as in torch's own schedulers, and
    shrinks from there in proportion to the others; added while the factor is 0, its rate counts as its peak.

    Examples
    --------
    >>> import torch
    >>> from lib.gradient.lr_refinement import ArrayLR
    >>> optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=2.0)
    >>> ArrayLR(optimizer, [1, 0.5, 0]).get_last_lr()
    [2.0]
    """

    def __init__(self, optimizer: torch.optim.Optimizer, factors: ArrayLike, last_epoch: int = -1) -> None:
        if not isinstance(optimizer, torch.optim.Optimizer):
            raise TypeError(f"optimizer must be a torch.optim.Optimizer, got {checks.shown(optimizer)}")
        self.factors: list[float] = as_sequence(factors, "factors", least=1).tolist()
        super().__init__(optimizer, checks.integer("last_epoch", last_epoch, low=-1))

    def _factor(self, step: int) -> float:
        return self.factors[min(max(step, 0), len(self.factors) - 1)]

    def get_lr(self) -> list[Any]:
        """Learning rate of each group at the current step."""
        n_steps = len(self.factors)
        if self.last_epoch > n_steps:
            raise ValueError(f"the schedule has {n_steps} steps, this is step {self.last_epoch}; make it as long as the run")
        before = self._factor(self.last_epoch - 1)
        for group in self.optimizer.param_groups[len(self.base_lrs) :]:  # added since the last step
            group.setdefault("initial_lr", group["lr"] / before if before > 0 else group["lr"])
            self.base_lrs.append(group["initial_lr"])
        factor = self._factor(self.last_epoch)
        return [base * factor for base in self.base_lrs]

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where a saved run stopped; ValueError for the state of another schedule or of other parameter groups."""
        if not isinstance(state_dict, Mapping) or not {"factors", "last_epoch", "base_lrs"} <= set(state_dict):
            raise ValueError("state_dict must be what this scheduler's state_dict() gave, with its factors and last_epoch")
        saved = as_sequence(state_dict["factors"], "factors", least=1)
        if len(saved) != len(self.factors):
            raise ValueError(
                f"the state is that of a schedule of {len(saved)} steps, this one has {len(self.factors)}; "
                "to go on with the old schedule, make the scheduler as ArrayLR(optimizer, state['factors'])"
            )
        apart = np.abs(saved - self.factors)
        if (apart > 1e-6 * max(self.factors)).any():
            raise ValueError(
                f"the state is that of another schedule: at step {apart.argmax()} its factor is {saved[apart.argmax()]:.4g}, "
                f"here {self.factors[apart.argmax()]:.4g}; to go on with it, make ArrayLR(optimizer, state['factors'])"
            )
        if len(state_dict["base_lrs"]) != len(self.optimizer.param_groups):
            raise ValueError(
                f"the state has {len(state_dict['base_lrs'])} parameter groups, "
                f"the optimizer {len(self.optimizer.param_groups)}; add the groups before loading"
            )
        super().load_state_dict(state_dict)


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
        total_steps = checks.integer("total_steps", total_steps, low=2)
        warmup_steps = checks.integer("warmup_steps", warmup_steps, low=0, high=total_steps - 2)
        rising = np.arange(1, warmup_steps + 1) / (warmup_steps + 1)
        super().__init__(optimizer, np.append(rising, SCHEDULES["linear"](total_steps - warmup_steps)), last_epoch)


class RefinedLR(ArrayLR):
    """The schedule that `refine_schedule` makes of an earlier run's gradient norms.

    Parameters
    ----------
    optimizer : torch.optim.Optimizer
    norms : array_like, shape (T,)
        Recorded by `GradNormRecorder` in a run of the same length: l2 for SGD, l1 for Adam.
    power, tau, floor, start
        As in `refine_schedule`: power 2 for SGD, 1 for Adam.
    last_epoch : int

    Raises
    ------
    TypeError, ValueError
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
        start: str = "edge",
        last_epoch: int = -1,
    ) -> None:
        norms = as_sequence(norms, "norms")
        super().__init__(optimizer, refine_schedule(norms, power, tau, floor=floor, start=start), last_epoch)
