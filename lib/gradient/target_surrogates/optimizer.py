"""SSO as a `torch.optim.Optimizer`: one expensive gradient, then several cheap steps through the model."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from lib import checks

from .schedules import SCHEDULES, target_armijo, target_step
from .surrogate import TargetSurrogate, armijo

#: What `SSO` counts and remembers between steps; plain numbers, so that a state_dict holds them exactly.
_START = {"expensive_calls": 0, "value_calls": 0, "inner_steps": 0, "forward_passes": 0, "failures": 0, "squares": 0.0}


class SSO(torch.optim.Optimizer):
    """Surrogate optimization in target space: each `step` asks once for the gradient with respect to the model's outputs.

    The closure returns two functions. ``targets()`` runs the model on the batch and returns its outputs, examples first, with
    their graph; it is called again after every change of the parameters. ``loss(z)`` is the loss of given outputs, a scalar;
    its gradient is taken once per step, at the outputs before the step: this is the expensive call, and it is counted here.
    A step costs one expensive gradient and up to `m` cheap gradients of the surrogate (2). With ``m = 1`` and
    a fixed inner step it is gradient descent.

    Parameters
    ----------
    params : iterable of Parameter
        One group. Parameters that do not require a gradient stay as they are.
    eta : float
        Step in target space for one example's loss, 1/L: 4 for the logistic loss, 1 for half of the squared error, 2 for the
        cross-entropy. With "armijo" the first trial, with "adagrad" the numerator (the paper's code: 1 and 100).
    m : int
        Inner steps; the paper's 1 to 100, and up to 10 000 for imitation.
    inner : "armijo" or function
        Gradient steps with Armijo's rule (4), or a function of the parameters that makes a torch optimizer, such as
        ``functools.partial(torch.optim.SGD, lr=0.1)`` or `torch.optim.LBFGS`: it is made anew at each outer step.
    eta_schedule : {"constant", "sqrt", "exponential", "adagrad", "armijo"} or function
        How `eta` moves (`target_step`, `target_armijo`). A function gets ``(t, z, g)`` and returns the step, positive, a
        number or a tensor that is broadcast to the targets' shape (diagonal AdaGrad, a Newton step in target space).
    total_steps : int, optional
        T of the exponential schedule.
    reduction : {"mean", "sum"}
        What `loss` does over the examples.
    alpha, c, beta, grow, max_trials : float, float, float, float, int
        Of the inner search: first trial of each outer step, share of the promised descent, factor between trials, factor
        from one inner step to the next trial, most trials. The paper's code: 10, 0.1, 0.9, 2 (full batch), 100. `beta` and
        `max_trials` are also those of the "armijo" schedule.
    target_c, target_grow : float
        Of the "armijo" schedule: 0.5, and 1.8 times the last step as next trial, as in the paper's code. No trial is above 1e4.
    tol : float
        The inner loop with Armijo's rule ends where the norm of the surrogate's gradient is at most this (1e-6).

    Raises
    ------
    TypeError, ValueError
        For settings out of range, several groups, a closure of another form, targets or losses that are not finite. What ends
        a step leaves the parameters and counts as they were before it.

    Notes
    -----
    ``targets()`` has to give the same outputs for the same parameters. With dropout a line search compares values of different
    functions; running averages of batch statistics move at every one of `forward_passes`. A ``state_dict`` holds counts and
    the last step, not the functions `inner` and `eta_schedule`.

    Examples
    --------
    >>> import torch
    >>> from lib.gradient.target_surrogates import SSO
    >>> X, y = torch.tensor([[1.0], [2.0]]), torch.tensor([1.0, 0.0])
    >>> w = torch.nn.Parameter(torch.zeros(1))
    >>> sso = SSO([w], eta=4.0, m=20)
    >>> loss = torch.nn.functional.binary_cross_entropy_with_logits
    >>> _ = sso.step(lambda: (lambda: X @ w, lambda z: loss(z, y)))
    >>> round(float(w), 3), sso.expensive_calls
    (-0.4, 1)
    """

    def __init__(
        self,
        params: Iterable[torch.nn.Parameter],
        *,
        eta: float = 4.0,
        m: int = 10,
        inner: str | Callable[..., torch.optim.Optimizer] = "armijo",
        eta_schedule: str | Callable[[int, Tensor, Tensor], Any] = "constant",
        total_steps: int | None = None,
        reduction: str = "mean",
        alpha: float = 10.0,
        c: float = 0.1,
        beta: float = 0.9,
        grow: float = 2.0,
        max_trials: int = 100,
        target_c: float = 0.5,
        target_grow: float = 1.8,
        tol: float = 1e-6,
    ) -> None:
        self.inner = inner if callable(inner) else checks.choice("inner", inner, ("armijo",))
        self.eta_schedule = eta_schedule if callable(eta_schedule) else checks.choice("eta_schedule", eta_schedule, SCHEDULES)
        if self.eta_schedule == "exponential" and total_steps is None:
            raise ValueError("the exponential schedule needs total_steps, the number of outer steps")
        given = {"eta": eta, "m": m, "total_steps": total_steps, "reduction": reduction, "alpha": alpha, "c": c, "beta": beta}
        given |= {"grow": grow, "max_trials": max_trials, "target_c": target_c, "target_grow": target_grow, "tol": tol}
        super().__init__(params, _checked(given))

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Take the first group; a second is refused, since the surrogate is one for all parameters."""
        if self.param_groups:
            raise ValueError("the surrogate is one for all parameters: SSO takes one parameter group, got a second")
        super().add_param_group(param_group)
        if any(p.is_complex() for p in param_group["params"]):
            raise TypeError("SSO takes real parameters, got complex ones")

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "inner": self.inner, "eta_schedule": self.eta_schedule}

    @property
    def _memory(self) -> dict[str, Any]:
        state = self.state[self.param_groups[0]["params"][0]]
        for name, value in _START.items():
            state.setdefault(name, value)
        return state

    @property
    def expensive_calls(self) -> int:
        """Gradients with respect to the targets that were asked for: one per step."""
        return self._memory["expensive_calls"]

    @property
    def value_calls(self) -> int:
        """Values of the loss without gradient, which the schedule "armijo" asks for."""
        return self._memory["value_calls"]

    @property
    def inner_steps(self) -> int:
        """Changes of the parameters; for an inner torch optimizer, its calls of `step`."""
        return self._memory["inner_steps"]

    @property
    def forward_passes(self) -> int:
        """How often the model was run."""
        return self._memory["forward_passes"]

    @property
    def failures(self) -> int:
        """Line searches that found no step within `max_trials`: the step then ends where it stands."""
        return self._memory["failures"]

    @property
    def eta(self) -> Any:
        """The target step that was used last; None before the first step."""
        return self._memory.get("eta")

    @property
    def surrogate_value(self) -> float | None:
        """The surrogate at the new parameters; an upper bound of the new loss where eta is at most 1/L."""
        return self._memory.get("surrogate_value")

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One outer step; returns the loss before it, as `loss` reduces it."""
        if closure is None:
            raise ValueError("SSO.step needs a closure that returns two functions: targets() and loss(z)")
        group = _checked(self.param_groups[0])
        params = [p for p in group["params"] if p.requires_grad]
        if not params:
            raise ValueError("SSO has no parameter that requires a gradient")
        before = [p.detach().clone() for p in params]
        memory, grads = dict(self._memory), [p.grad for p in params]
        try:
            with torch.enable_grad():
                loss = self._step(closure, group, params)
        except BaseException:
            _write(params, before)
            self._memory.clear()
            self._memory.update(memory)
            raise
        finally:
            for p, grad in zip(params, grads, strict=True):
                p.grad = grad
        return loss

    def _step(self, closure: Callable[[], Any], group: dict[str, Any], params: list[Tensor]) -> Tensor:
        targets, loss = _functions(closure())
        memory = self._memory
        f = self._forward(targets)
        z, reported, base, g = _query(f, loss, group["reduction"])
        memory["expensive_calls"] += 1
        eta = self._target_step(group, z, g, base, loss)
        if eta is None:
            memory["surrogate_value"] = base
            return reported
        surrogate = TargetSurrogate(eta)
        memory["eta"] = eta
        if self.inner == "armijo":
            change = self._descend(group, params, surrogate, f, z, g, targets)
        else:
            change = self._delegate(group, params, surrogate, z, g, targets)
        memory["surrogate_value"] = base + change
        return reported

    def _forward(self, targets: Callable[[], Tensor]) -> Tensor:
        self._memory["forward_passes"] += 1
        f = targets()
        if not isinstance(f, Tensor) or not f.is_floating_point() or not f.ndim or not f.numel():
            shape = tuple(f.shape) if isinstance(f, Tensor) else checks.shown(f)
            raise ValueError(f"targets() must return a tensor of real outputs, examples first, got {shape}")
        if not f.requires_grad:
            raise ValueError("targets() must return outputs that depend on the parameters, got a tensor without graph")
        return f

    def _target_step(self, group: dict[str, Any], z: Tensor, g: Tensor, base: float, loss: Callable[[Tensor], Any]) -> Any:
        """The step by the schedule; None where the line search found none."""
        memory, t = self._memory, self._memory["expensive_calls"] - 1
        memory["squares"] += float((g.double() ** 2).sum())
        if callable(self.eta_schedule):
            eta = self.eta_schedule(t, z.clone(), g.clone())
            return checks.positive("what eta_schedule returns", eta) if eta is None else eta
        if self.eta_schedule != "armijo":
            return target_step(self.eta_schedule, t, group["eta"], group["total_steps"], memory["squares"])
        first = group["target_grow"] * memory["eta"] if "eta" in memory else group["eta"]
        share = 1 if group["reduction"] == "mean" else 1 / len(z)
        with torch.no_grad():
            eta, trials = target_armijo(
                lambda new: share * float(loss(new)), z, g, min(first, 1e4), group["target_c"], group["beta"],
                group["max_trials"], base,
            )  # fmt: skip
        memory["value_calls"] += trials
        if eta == 0:
            memory["failures"] += 1
        return eta or None

    def _descend(self, group: dict[str, Any], params: list[Tensor], surrogate: TargetSurrogate,
                 f: Tensor, z: Tensor, g: Tensor, targets: Callable[[], Tensor]) -> float:  # fmt: skip
        """Gradient steps on the surrogate with Armijo's rule; the forward pass of an accepted trial is used again."""
        memory, first = self._memory, group["alpha"]
        value = surrogate.value(f, z, g)
        for _ in range(group["m"]):
            slopes = _gradients(value, params)
            squared = sum(float((s.double() ** 2).sum()) for s in slopes)
            if squared <= group["tol"] ** 2:
                break
            start = [p.detach().clone() for p in params]
            tried: dict[str, Tensor] = {}

            def trial(step: float, start: list = start, slopes: list = slopes, tried: dict = tried) -> float:
                _write(params, [p - step * s for p, s in zip(start, slopes, strict=True)])  # (4)
                tried["value"] = surrogate.value(self._forward(targets), z, g)
                return float(tried["value"].detach())

            step, _ = armijo(trial, float(value.detach()), squared, first, group["c"], group["beta"], group["max_trials"])
            if step == 0:
                _write(params, start)
                memory["failures"] += 1
                break
            value, first = tried["value"], group["grow"] * step
            memory["inner_steps"] += 1
        return float(value.detach())

    def _delegate(self, group: dict[str, Any], params: list[Tensor], surrogate: TargetSurrogate,
                  z: Tensor, g: Tensor, targets: Callable[[], Tensor]) -> float:  # fmt: skip
        """Steps of a torch optimizer on the surrogate."""

        def closure() -> Tensor:
            with torch.enable_grad():
                value = surrogate.value(self._forward(targets), z, g)
                for p, slope in zip(params, _gradients(value, params), strict=True):
                    p.grad = slope
            return value.detach()

        optimizer = checks.function("inner", self.inner)(params)
        for _ in range(group["m"]):
            optimizer.step(closure)
            self._memory["inner_steps"] += 1
        value = float(surrogate.value(self._forward(targets), z, g).detach())
        if not all(bool(torch.isfinite(p).all()) for p in params) or not math.isfinite(value):
            raise ValueError("the inner optimizer made parameters or outputs that are not finite: its step is too long")
        return value


def _functions(pair: Any) -> tuple[Callable[[], Tensor], Callable[[Tensor], Any]]:
    if not isinstance(pair, tuple | list) or len(pair) != 2 or not all(map(callable, pair)):
        raise ValueError(f"the closure must return two functions, targets() and loss(z), got {checks.shown(pair)}")
    return pair[0], pair[1]


def _query(f: Tensor, loss: Callable[[Tensor], Any], reduction: str) -> tuple[Tensor, Tensor, float, Tensor]:
    """The expensive call: targets z, the loss as returned and as a mean, and each example's gradient g."""
    z = f.detach()
    if not torch.isfinite(z).all():
        raise ValueError("targets() must be finite, got NaN or infinity")
    asked = z.clone().requires_grad_()
    value = loss(asked)
    if not isinstance(value, Tensor) or value.numel() != 1:
        shape = tuple(value.shape) if isinstance(value, Tensor) else checks.shown(value)
        raise ValueError(f"loss(z) must return a scalar for targets of shape {tuple(z.shape)}, got {shape}")
    if not bool(torch.isfinite(value.detach()).all()):
        raise ValueError("loss(z) must be finite, got NaN or infinity")
    if not value.requires_grad:
        raise ValueError(f"loss(z) must be differentiable in z, of shape {tuple(z.shape)}: its result has no graph")
    (g,) = torch.autograd.grad(value, asked)
    if not torch.isfinite(g).all():
        raise ValueError("the gradient of loss(z) must be finite, got NaN or infinity")
    if reduction == "mean":
        return z, value.detach(), float(value.detach()), g * len(z)  # (2), each example's own gradient
    return z, value.detach(), float(value.detach()) / len(z), g


def _gradients(value: Tensor, params: list[Tensor]) -> list[Tensor]:
    found = torch.autograd.grad(value, params, allow_unused=True)
    return [torch.zeros_like(p) if s is None else s for p, s in zip(params, found, strict=True)]


def _write(params: list[Tensor], values: list[Tensor]) -> None:
    with torch.no_grad():
        for p, value in zip(params, values, strict=True):
            p.copy_(value)


def _checked(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings, each in its range: they may have been changed since the last step."""
    checked = dict(settings)
    for name in ("eta", "alpha"):
        checked[name] = checks.positive(name, settings[name])
    for name in ("m", "max_trials"):
        checked[name] = checks.integer(name, settings[name], low=1)
    for name in ("c", "beta", "target_c"):
        checked[name] = checks.number(name, settings[name], above=0, below=1)
    for name in ("grow", "target_grow"):
        checked[name] = checks.number(name, settings[name], low=1)
    if settings["total_steps"] is not None:
        checked["total_steps"] = checks.integer("total_steps", settings["total_steps"], low=1)
    checked["tol"] = checks.number("tol", settings["tol"], low=0)
    checked["reduction"] = checks.choice("reduction", settings["reduction"], ("mean", "sum"))
    return checked
