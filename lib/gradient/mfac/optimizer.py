"""M-FAC as a `torch.optim.Optimizer`: gradients preconditioned by the inverse Fisher matrix of a sliding window."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch

from lib import checks

from .dynamic import DynamicFisherInverse
from .static import DAMP


class MFAC(torch.optim.Optimizer):
    """Matrix-free approximate natural gradient: each step puts the gradient into a window of the last `ngrads` gradients and
    follows the gradient preconditioned by the inverse of the window's damped empirical Fisher matrix.

    With g the gradient of all parameters in one vector, weight decay added: ``u = F^-1 g``; with momentum mu,
    ``v <- mu v + (1 - mu) u`` and ``u = v``; then ``w <- w - lr u``. The window holds ``ngrads x d`` numbers.

    Parameters
    ----------
    params : iterable of Parameter, or of groups
        Groups may have a learning rate, momentum and weight decay of their own; the window is one for all.
    lr : float
        Learning rate, at least 0 (1e-3, the authors' default).
    ngrads : int
        m, gradients in the window (1024, the authors' default).
    damp : float
        Damping, above zero (1e-5, the authors' default).
    momentum : float
        mu in [0, 1) (0).
    weight_decay : float
        Added to the gradient, times the weights, before it enters the window; at least 0 (0).
    sparse : bool
        Whether weights that are zero at the first step stay so (False): window and step are then over the others alone, so
        memory and time shrink with the network. Biases that start at zero stay there, too.

    Raises
    ------
    TypeError, ValueError
        For settings out of range; in `step`, for a loss or gradient that is not finite. Such a step, and one that the closure
        ends, leaves weights and window as they were.

    Notes
    -----
    A parameter without a gradient counts as zero in the window and is not moved in that step. Learning rate, momentum and
    weight decay may change between steps. The step is about ``lr m / |g|`` long, so it grows as gradients vanish.

    Examples
    --------
    >>> import torch
    >>> from lib.gradient.mfac import MFAC
    >>> w = torch.nn.Parameter(torch.tensor([1.0, 1.0]))
    >>> opt = MFAC([w], lr=0.5, ngrads=8, damp=10.0)
    >>> def closure():
    ...     opt.zero_grad()
    ...     loss = (w**2 * torch.tensor([10.0, 1.0])).sum()
    ...     loss.backward()
    ...     return loss
    >>> losses = [opt.step(closure).item() for _ in range(30)]
    >>> losses[-1] < 0.2 * losses[0]
    True
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        ngrads: int = 1024,
        damp: float = DAMP,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        sparse: bool = False,
    ) -> None:
        self.sparse = checks.boolean("sparse", sparse)
        self._alive: torch.Tensor | None = None  # with `sparse`: which weights, of all in one vector, take part
        given = {"lr": lr, "ngrads": ngrads, "damp": damp, "momentum": momentum, "weight_decay": weight_decay}
        self._window: DynamicFisherInverse | None = None
        super().__init__(params, _checked(given))

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters; refused once the window holds gradients, and with another window size or damping."""
        if getattr(self, "_window", None) is not None:
            raise ValueError("a parameter group cannot be added after the first step: the window holds gradients without it")
        super().add_param_group(param_group)
        self.param_groups[-1].update(_checked(self.param_groups[-1]))
        try:
            self._shared()
        except ValueError:
            self.param_groups.pop()
            raise

    @property
    def window(self) -> DynamicFisherInverse | None:
        """The sliding window; None before the first step."""
        return self._window

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step; returns what the closure, if there is one, returns."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
            if not torch.isfinite(torch.as_tensor(loss)).all():
                raise ValueError("the closure gave a loss that is not finite")
        groups = [_checked(group) for group in self.param_groups]
        trained = [(p, group) for group in groups for p in group["params"] if p.requires_grad]
        if not trained:
            raise ValueError("MFAC has no parameter that requires a gradient")
        g = self._gradient(trained)
        alive = self._taking_part(trained, g)
        g = g if alive is None else g[alive]
        window = self._ready(trained, g)
        n_steps = window.n_updates + 1
        if not torch.isfinite(g).all():
            raise ValueError(f"the gradient at step {n_steps} is not finite")
        window.damp = self._shared()["damp"]
        u, at = window.update_mul(g), 0
        if alive is not None:
            u, self._alive = u.new_zeros(len(alive)).masked_scatter(alive, u), alive
        for p, group in trained:
            part = u[at : at + p.numel()].view_as(p)
            at += p.numel()
            if p.grad is None:
                continue
            if group["momentum"]:
                old = self.state[p].get("momentum_buffer", torch.zeros_like(part))
                part = group["momentum"] * old + (1 - group["momentum"]) * part  # (8)
                self.state[p]["momentum_buffer"] = part.clone()
            p.sub_((group["lr"] * part).to(p))  # (8)
        return loss

    def _gradient(self, trained: list[tuple[torch.nn.Parameter, dict[str, Any]]]) -> torch.Tensor:
        """The gradient of all parameters in one vector, weight decay added."""
        wide = torch.float64 if any(p.dtype == torch.float64 for p, _ in trained) else torch.float32
        parts = []
        for p, group in trained:
            if p.grad is None:
                parts.append(torch.zeros(p.numel(), dtype=wide, device=p.device))
                continue
            if p.grad.is_sparse:
                raise TypeError("MFAC takes no sparse gradients")
            parts.append((p.grad.to(wide) + group["weight_decay"] * p.to(wide)).flatten())  # (8)
        return torch.cat(parts)

    def _taking_part(self, trained: list[tuple[torch.nn.Parameter, dict[str, Any]]], g: torch.Tensor) -> torch.Tensor | None:
        """With `sparse`, which entries of the gradient enter the window: those whose weight was not zero at first."""
        if not self.sparse:
            return None
        alive = self._alive
        if alive is None:
            alive = torch.cat([p.flatten() for p, _ in trained]) != 0
        if not alive.any():
            raise ValueError("sparse leaves no weight to train: all are zero")
        if len(alive) != len(g):
            raise ValueError("the parameters that require a gradient are not those of the first step")
        return alive

    def _ready(self, trained: list[Any], g: torch.Tensor) -> DynamicFisherInverse:
        """The window for this gradient, made at the first step."""
        shared = self._shared()
        if self._window is None:
            self._window = DynamicFisherInverse(shared["ngrads"], len(g), shared["damp"], g.dtype, g.device)
        if self._window.m != shared["ngrads"]:
            raise ValueError(f"ngrads is fixed at the first step: the window has {self._window.m} rows")
        if self._window.d != len(g):
            raise ValueError("the parameters that require a gradient are not those of the first step")
        return self._window

    def _shared(self) -> dict[str, Any]:
        """What the groups must have in common."""
        first = self.param_groups[0]
        for name in ("ngrads", "damp"):
            if any(group[name] != first[name] for group in self.param_groups):
                raise ValueError(f"{name} must be the same in every parameter group: the window is one for all")
        return first

    def state_dict(self) -> dict[str, Any]:
        """Settings, momentum and the window (entry ``"window"``; None before the first step)."""
        window = None if self._window is None else self._window.state_dict()
        alive = None if self._alive is None else self._alive.clone()
        return {**super().state_dict(), "window": window, "sparse": self.sparse, "alive": alive}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over settings, momentum and window; momentum keeps its own type, which may be wider than the network's."""
        saved, own = state_dict.get("window"), ("window", "sparse", "alive")
        super().load_state_dict({key: value for key, value in state_dict.items() if key not in own})
        numbers = [n for group in state_dict["param_groups"] for n in group["params"]]
        params = [p for group in self.param_groups for p in group["params"]]
        for number, p in zip(numbers, params, strict=True):
            if "momentum_buffer" in state_dict["state"].get(number, {}):
                self.state[p]["momentum_buffer"] = state_dict["state"][number]["momentum_buffer"].to(p.device, copy=True)
        self._window, alive = None, state_dict.get("alive")
        self.sparse = state_dict.get("sparse", False)
        self._alive = None if alive is None else alive.to(params[0].device, copy=True)
        if saved is not None:
            m, d = saved["G"].shape
            trained = sum(p.numel() for p in params if p.requires_grad) if alive is None else int(alive.sum())
            if d != trained:
                raise ValueError(f"the saved window is for {d} parameters, this optimizer trains {trained}")
            self._window = DynamicFisherInverse(m, d, saved["damp"], saved["G"].dtype, params[0].device)
            self._window.load_state_dict(saved)

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_window": self._window, "sparse": self.sparse, "_alive": self._alive}


def _checked(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings, each in its range: they may have been changed since the last step."""
    return {
        **settings,
        "lr": checks.number("lr", settings["lr"], low=0),
        "ngrads": checks.integer("ngrads", settings["ngrads"], low=1),
        "damp": checks.positive("damp", settings["damp"]),
        "momentum": checks.number("momentum", settings["momentum"], low=0, below=1),
        "weight_decay": checks.number("weight_decay", settings["weight_decay"], low=0),
    }
