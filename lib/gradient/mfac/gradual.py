"""Gradual pruning: when to prune to what, and how pruned weights stay zero while the rest trains on."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch

from lib import checks


def check_masks(params: Sequence[torch.Tensor], masks: Sequence[torch.Tensor]) -> None:
    """Refuse masks that are not one bool tensor for each parameter, of its shape."""
    if len(params) != len(masks) or any(
        getattr(m, "dtype", None) != torch.bool or m.shape != p.shape for m, p in zip(masks, params, strict=True)
    ):
        raise ValueError("masks must be bool tensors of the shapes of params, one for each")


class KeepPruned:
    """Sets pruned weights to zero after every step of an optimizer: momentum and weight decay cannot revive them.

    Parameters
    ----------
    optimizer : torch.optim.Optimizer
    params : sequence of Parameter
    masks : sequence of bool tensors
        True where a weight is left, one for each parameter. May be replaced, by assigning to ``masks``, after more pruning.

    Raises
    ------
    TypeError, ValueError
        For an `optimizer` that is none, and for masks that do not fit, also where they are replaced.

    Examples
    --------
    >>> import torch
    >>> from lib.gradient.mfac import KeepPruned
    >>> w = torch.nn.Parameter(torch.ones(3))
    >>> opt = torch.optim.SGD([w], lr=0.1)
    >>> keep = KeepPruned(opt, [w], [torch.tensor([True, False, True])])
    >>> w.sum().backward()
    >>> opt.step()
    >>> w.tolist()[1]
    0.0
    """

    def __init__(
        self, optimizer: torch.optim.Optimizer, params: Sequence[torch.nn.Parameter], masks: Sequence[torch.Tensor]
    ) -> None:
        if not isinstance(optimizer, torch.optim.Optimizer):
            raise TypeError(f"optimizer must be a torch.optim.Optimizer, got {checks.shown(optimizer)}")
        self.params = list(params)
        self.masks = list(masks)
        self.apply()
        self._optimizer = optimizer
        self._handle: Any = optimizer.register_step_post_hook(self)

    @property
    def masks(self) -> list[torch.Tensor]:
        """True where a weight is left."""
        return self._masks

    @masks.setter
    def masks(self, masks: Sequence[torch.Tensor]) -> None:
        masks = list(masks)
        check_masks(self.params, masks)
        self._masks = masks

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_handle": self._handle is not None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)  # an optimizer's copy comes without hooks
        self._handle = self._optimizer.register_step_post_hook(self) if state["_handle"] else None

    @torch.no_grad()
    def apply(self) -> None:
        """Set pruned weights to zero."""
        for p, mask in zip(self.params, self.masks, strict=True):
            p.masked_fill_(~mask, 0.0)

    def remove(self) -> None:
        """Stop doing so."""
        if self._handle is not None:
            self._handle.remove()
        self._handle = None

    def __call__(self, *_: Any) -> None:
        """What the optimizer calls after each step."""
        self.apply()


@dataclasses.dataclass(frozen=True)
class PruneSchedule:
    """The authors' schedule for gradual pruning: prune every few epochs, train between with a high, then a low rate.

    Parameters
    ----------
    sparsities : tuple of float
        Targets, rising, each in (0, 1) (0.5, 0.75, 0.875).
    every : int
        Epochs between prunings, at least 1 (2); the first pruning is at epoch 0.
    high, low : float
        Learning rates: `low` in the last of the `every` epochs after each pruning, where that is not also the first of them
        (0.005, 0.0005).

    Examples
    --------
    >>> from lib.gradient.mfac import PruneSchedule
    >>> schedule = PruneSchedule()
    >>> [(schedule.target(epoch), schedule.lr(epoch)) for epoch in range(4)]
    [(0.5, 0.005), (None, 0.0005), (0.75, 0.005), (None, 0.0005)]
    """

    sparsities: tuple[float, ...] = (0.5, 0.75, 0.875)
    every: int = 2
    high: float = 0.005
    low: float = 0.0005

    def __post_init__(self) -> None:
        values = checks.array("sparsities", self.sparsities, ndim=1, above=0.0, high=1.0)
        if (values >= 1).any() or (values[1:] <= values[:-1]).any():
            raise ValueError(f"sparsities must rise and stay below 1, got {checks.shown(self.sparsities)}")
        object.__setattr__(self, "sparsities", tuple(values.tolist()))
        object.__setattr__(self, "every", checks.integer("every", self.every, low=1))
        for name in ("high", "low"):
            object.__setattr__(self, name, checks.number(name, getattr(self, name), low=0))

    def target(self, epoch: int) -> float | None:
        """The sparsity to prune to before this epoch (counted from 0), or None."""
        turn, rest = divmod(checks.integer("epoch", epoch, low=0), self.every)
        return self.sparsities[turn] if rest == 0 and turn < len(self.sparsities) else None

    def lr(self, epoch: int) -> float:
        """The learning rate of this epoch: low in the last of the epochs that belong to a pruning, high else."""
        turn, rest = divmod(checks.integer("epoch", epoch, low=0), self.every)
        return self.low if rest == self.every - 1 and self.every > 1 and turn < len(self.sparsities) else self.high

    @property
    def n_epochs(self) -> int:
        """Epochs until each target has been reached and trained for `every` epochs."""
        return self.every * len(self.sparsities)
