"""CBO as a `torch.optim.Optimizer`: trains a network from its loss values alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch

from lib import checks


class CBO(torch.optim.Optimizer):
    """Consensus-based optimization of a network's parameters; each `step` calls its closure once per particle.

    Particles start, at the first step, as normals round the weights that the network then has; after each step the network
    holds the consensus point. No gradient is needed: the closure may call ``backward`` or not. Parameters that do not require
    a gradient stay as they are.

    Parameters
    ----------
    params : iterable of Parameter
        One group.
    n_particles : int
        N, at least 2 (100).
    alpha, drift, noise, dt : float
        As in `lib.backprop_free.cbo.minimize_cbo`, finite; the noise is anisotropic, since isotropic noise diverges in many
        dimensions. All but `n_particles` may be changed between steps through ``param_groups[0]``.
    std : float
        Of the initial particles (0.5).
    noise_type : {"anisotropic", "isotropic"}
    generator : torch.Generator, optional
        Its state is the caller's to save: `state_dict` holds the settings and the particles.

    Raises
    ------
    ValueError
        For settings out of range, several parameter groups, or a closure that gives NaN. What ends a step (this, or an
        interrupt) leaves the network as it was before the step.

    Examples
    --------
    >>> import torch
    >>> from lib.backprop_free.cbo import CBO
    >>> w = torch.nn.Parameter(torch.ones(2, dtype=torch.float64))
    >>> opt = CBO([w], generator=torch.Generator().manual_seed(0))
    >>> _ = [opt.step(lambda: (w**2).sum()) for _ in range(50)]
    >>> bool((w**2).sum() < 0.1)
    True
    """

    def __init__(
        self,
        params: Iterable[torch.nn.Parameter],
        *,
        n_particles: int = 100,
        alpha: float = 50.0,
        drift: float = 1.0,
        noise: float = 1.0,
        dt: float = 0.1,
        std: float = 0.5,
        noise_type: str = "anisotropic",
        generator: torch.Generator | None = None,
    ) -> None:
        given = {"n_particles": n_particles, "alpha": alpha, "drift": drift, "noise": noise, "dt": dt, "std": std}
        self.generator = generator
        super().__init__(params, _checked({**given, "noise_type": noise_type}))

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Take the first group; a second is refused, since the consensus is one for all parameters."""
        if self.param_groups:
            raise ValueError("the consensus is one for all parameters: CBO takes one parameter group, got a second")
        super().add_param_group(param_group)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over settings and particles; the particles keep their own type, which may be wider than the network's."""
        super().load_state_dict(state_dict)
        (saved,) = state_dict["param_groups"]
        for number, p in zip(saved["params"], self.param_groups[0]["params"], strict=True):
            if "particles" in state_dict["state"].get(number, {}):
                self.state[p]["particles"] = state_dict["state"][number]["particles"].to(p.device, copy=True)

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        # A generator cannot be pickled, its state can.
        kept = None if self.generator is None else (str(self.generator.device), self.generator.get_state())
        return {**state, "generator": kept}

    def __setstate__(self, state: dict[str, Any]) -> None:
        saved = state.get("generator")
        if isinstance(saved, tuple):
            generator = torch.Generator(saved[0])
            generator.set_state(saved[1])
            state = {**state, "generator": generator}
        super().__setstate__(state)

    @property
    def particles(self) -> torch.Tensor | None:
        """The swarm, shape (N, d), d counting all trained parameters; None before the first step."""
        trained = self._trained()
        return self.state[trained[0]].get("particles") if trained else None

    def _trained(self) -> list[torch.nn.Parameter]:
        return [p for p in self.param_groups[0]["params"] if p.requires_grad]

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step of all particles; returns the least loss among them. The closure returns the loss of the network."""
        if closure is None:
            raise ValueError("CBO.step needs a closure that returns the loss")
        group, params = _checked(self.param_groups[0]), self._trained()
        if not params:
            raise ValueError("CBO has no parameter that requires a gradient")
        with torch.no_grad():
            before = [p.detach().clone() for p in params]
            x = self._swarm(group, params)
        try:
            losses = torch.stack([self._loss(closure, particle, params) for particle in x])
            if torch.isnan(losses).any() or not torch.isfinite(losses.min()):
                raise ValueError("the closure gave NaN, or infinity for all particles")
        except BaseException:
            with torch.no_grad():
                for p, old in zip(params, before, strict=True):
                    p.copy_(old)
            raise
        with torch.no_grad():
            consensus = torch.softmax(-group["alpha"] * (losses - losses.min()), 0).to(x.dtype) @ x  # (1)
            _write(consensus, params)
            away = x - consensus
            scale = away.norm(dim=1, keepdim=True) if group["noise_type"] == "isotropic" else away.abs()
            kick = group["noise"] * group["dt"] ** 0.5 * scale * self._normals(x.shape, x)  # (2)
            self.state[params[0]]["particles"] = x - group["drift"] * group["dt"] * away + kick  # (2)
        return losses.min()

    def _swarm(self, group: dict[str, Any], params: list[torch.nn.Parameter]) -> torch.Tensor:
        """The particles; drawn round the network's weights at the first step, so that weights loaded before it count."""
        state = self.state[params[0]]
        if "particles" not in state:
            wide = torch.float64 if any(p.dtype == torch.float64 for p in params) else torch.float32
            center = torch.cat([p.detach().reshape(-1).to(wide) for p in params])
            state["particles"] = center + group["std"] * self._normals((group["n_particles"], len(center)), center)
        particles = state["particles"]
        if particles.shape[1] != sum(p.numel() for p in params):
            raise ValueError("the parameters that require a gradient are not those of the first step")
        return particles

    def _loss(self, closure: Callable[[], Any], particle: torch.Tensor, params: list[torch.nn.Parameter]) -> torch.Tensor:
        with torch.no_grad():
            _write(particle, params)
        with torch.enable_grad():  # a closure may call backward
            loss = closure()
        if loss is None or (isinstance(loss, torch.Tensor) and loss.numel() != 1):
            found = "None" if loss is None else f"a tensor of shape {tuple(loss.shape)}"
            raise ValueError(f"closure must return the loss, one number, it returned {found}")
        return torch.as_tensor(loss, device=particle.device).detach().to(torch.float64).reshape(())

    def _normals(self, shape: Any, like: torch.Tensor) -> torch.Tensor:
        return torch.randn(shape, generator=self.generator, dtype=like.dtype, device=like.device)


def _checked(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings, each in its range: they may have been changed since the last step."""
    return {
        **settings,
        "n_particles": checks.integer("n_particles", settings["n_particles"], low=2),
        "alpha": checks.positive("alpha", settings["alpha"]),
        "drift": checks.number("drift", settings["drift"], low=0),
        "noise": checks.number("noise", settings["noise"], low=0),
        "dt": checks.positive("dt", settings["dt"]),
        "std": checks.number("std", settings["std"], low=0),
        "noise_type": checks.choice("noise_type", settings["noise_type"], ("anisotropic", "isotropic")),
    }


def _write(vector: torch.Tensor, params: list[torch.nn.Parameter]) -> None:
    """Copy one particle into the parameters, each in its own type."""
    start = 0
    for p in params:
        p.copy_(vector[start : start + p.numel()].reshape(p.shape))
        start += p.numel()
