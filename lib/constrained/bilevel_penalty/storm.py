"""STORM as a `torch.optim.Optimizer`: gradients with recursive momentum."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from lib import checks

from .steps import momentum


class STORM(torch.optim.Optimizer):
    """Stochastic gradient steps along the estimator with recursive momentum (8).

    A step calls the closure twice, on the same sample: at the parameters, and where they were one step before. The closure
    therefore holds one batch, and torch's generator is put back in between, so that dropout draws the same masks.

    Parameters
    ----------
    params : iterable of Parameter, or of groups
        Parameters that do not require a gradient stay as they are.
    lr : float
        Step, at least 0 (0.01).
    eta : float
        Momentum parameter in (0, 1] (0.1): the estimate averages about ``1 / eta`` samples; 1 is plain SGD, with one call.

    Raises
    ------
    TypeError, ValueError
        For settings out of range; in `step`, without a closure or for a loss or gradient that is not finite. What ends a step
        leaves the parameters and the estimates as they were.

    Notes
    -----
    Half-precision parameters have estimates and steps in float32. A parameter without a gradient is not moved in that step.
    Only the generator of the CPU is put back: on an accelerator dropout draws other masks. Running statistics of a batch
    normalization see each batch twice.

    Examples
    --------
    >>> import torch
    >>> from lib.constrained.bilevel_penalty import STORM
    >>> w = torch.nn.Parameter(torch.tensor([1.0, 1.0]))
    >>> opt = STORM([w], lr=0.1, eta=0.5)
    >>> for sample in (1.5, 0.5, 1.2, 0.8):
    ...     _ = opt.step(lambda sample=sample: sample * (w**2).sum())
    >>> round(float(w[0].detach()), 3)
    0.316
    """

    def __init__(self, params: Iterable[Any], lr: float = 0.01, eta: float = 0.1) -> None:
        super().__init__(params, _checked({"lr": lr, "eta": eta}))

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from where a `state_dict` was taken; the estimates keep their precision."""
        super().load_state_dict(state_dict)
        names = [name for group in state_dict["param_groups"] for name in group["params"]]
        for name, p in zip(names, (p for group in self.param_groups for p in group["params"]), strict=True):
            if "estimate" in (saved := state_dict["state"].get(name, {})):
                self.state[p]["estimate"] = saved["estimate"].detach().clone().to(p.device)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step; returns the loss at the parameters before it.

        Parameters
        ----------
        closure : callable
            Returns the loss of one fixed batch; whether it calls ``backward`` itself is its choice.
        """
        if closure is None:
            raise ValueError("STORM.step needs a closure: the sample's loss is asked for at two points")
        groups = [_checked(group) for group in self.param_groups]
        trained = [(p, group) for group in groups for p in group["params"] if p.requires_grad]
        if not trained:
            raise ValueError("STORM has no parameter that requires a gradient")
        params = [p for p, _ in trained]
        here, kept = [p.detach().clone() for p in params], [p.grad for p in params]
        try:
            drawn = torch.get_rng_state()
            loss, slopes = _query(closure, params)
            before = [self.state[p].get("before") for p in params]
            old: list[Tensor | None] = [None] * len(params)
            if any(b is not None for b in before) and any(group["eta"] < 1 for group in groups):
                after = torch.get_rng_state()
                torch.set_rng_state(drawn)
                _write(params, [h if b is None else b for h, b in zip(here, before, strict=True)])
                old = _query(closure, params)[1]
                torch.set_rng_state(after)
        finally:
            _write(params, here)
            for p, grad in zip(params, kept, strict=True):
                p.grad = grad
        for (p, group), slope, past, at in zip(trained, slopes, old, here, strict=True):
            if slope is None:
                continue
            state, d = self.state[p], slope
            if past is not None and "estimate" in state:
                d = momentum(state["estimate"].to(slope.dtype), slope, past, group["eta"])  # (8)
            state["estimate"], state["before"] = d, at
            with torch.no_grad():
                p.copy_(at.to(d.dtype) - group["lr"] * d)  # (7)
        return loss


def _query(closure: Callable[[], Any], params: list[Tensor]) -> tuple[Tensor, list[Tensor | None]]:
    """Loss and gradients of the closure where the parameters stand; None for a parameter that it does not use."""
    for p in params:
        p.grad = None
    with torch.enable_grad():
        value = closure()
    loss = value if isinstance(value, Tensor) else torch.as_tensor(checks.number("the closure's loss", value))
    if not torch.isfinite(loss.detach()).all():
        raise ValueError("the closure gave a loss that is not finite")
    if all(p.grad is None for p in params):
        if not loss.requires_grad:
            raise ValueError("the closure's loss does not depend on the parameters")
        slopes = torch.autograd.grad(loss, params, allow_unused=True)
    else:
        slopes = tuple(p.grad for p in params)  # type: ignore[misc]
    half = (torch.float16, torch.bfloat16)
    found: list[Tensor | None] = [
        None if s is None else s.detach().float() if s.dtype in half else s.detach().clone() for s in slopes
    ]
    if not all(bool(torch.isfinite(s).all()) for s in found if s is not None):
        raise ValueError("the closure gave a gradient that is not finite")
    return loss.detach(), found


def _write(params: list[Tensor], values: list[Tensor]) -> None:
    with torch.no_grad():
        for p, value in zip(params, values, strict=True):
            p.copy_(value)


def _checked(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings, each in its range: they may have been changed since the last step."""
    checked = dict(settings)
    checked["lr"] = checks.number("lr", settings["lr"], low=0)
    checked["eta"] = checks.number("eta", settings["eta"], above=0, high=1)
    return checked
