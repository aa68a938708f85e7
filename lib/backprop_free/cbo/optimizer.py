"""CBO as a `torch.optim.Optimizer`: trains a network from its loss values alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.nn.utils import parameters_to_vector, vector_to_parameters


class CBO(torch.optim.Optimizer):
    """Consensus-based optimization of a network's parameters; each `step` calls its closure once per particle.

    Particles start as normals round the initial parameters; after each step the network holds the consensus point. No
    gradient is computed: the closure need not call ``backward``.

    Parameters
    ----------
    params : iterable of Parameter
        One group.
    n_particles : int
        N, at least 2 (100).
    alpha, drift, noise, dt : float
        As in `lib.backprop_free.cbo.minimize_cbo`; the noise is anisotropic, since isotropic noise diverges in many dimensions.
        All but `n_particles` may be changed between steps through ``param_groups[0]``.
    std : float
        Of the initial particles (0.5).
    noise_type : {"anisotropic", "isotropic"}
    generator : torch.Generator, optional
        Its state is the caller's to save: `state_dict` holds the settings and the particles.

    Raises
    ------
    ValueError
        For settings out of range, several parameter groups, or a closure that gives NaN.

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
        settings = {"alpha": alpha, "drift": drift, "noise": noise, "dt": dt, "noise_type": noise_type}
        super().__init__(params, settings)
        if len(self.param_groups) != 1:
            raise ValueError(f"the consensus is one for all parameters: give one group, got {len(self.param_groups)}")
        if n_particles < 2 or not alpha > 0 or not dt > 0 or drift < 0 or noise < 0 or std < 0:
            raise ValueError(
                "n_particles must be at least 2, alpha and dt positive, drift, noise and std not negative; got "
                f"n_particles={n_particles}, alpha={alpha}, dt={dt}, drift={drift}, noise={noise}, std={std}"
            )
        if noise_type not in ("isotropic", "anisotropic"):
            raise ValueError(f"noise_type must be 'isotropic' or 'anisotropic', got {noise_type!r}")
        center = parameters_to_vector(self.param_groups[0]["params"]).detach()
        self.generator = generator
        # In the optimizer's state, so that `state_dict` carries it: a resumed run goes on with the same swarm.
        self.state[self._first]["particles"] = center + std * self._normals((n_particles, len(center)), center)

    @property
    def _first(self) -> torch.nn.Parameter:
        return self.param_groups[0]["params"][0]

    @property
    def particles(self) -> torch.Tensor:
        """The swarm, shape (N, d); d counts all parameters."""
        return self.state[self._first]["particles"]

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step of all particles; returns the least loss among them. The closure returns the loss of the network."""
        if closure is None:
            raise ValueError("CBO.step needs a closure that returns the loss")
        group, params, x = self.param_groups[0], self.param_groups[0]["params"], self.particles
        losses = torch.stack([self._loss(closure, particle, params) for particle in x])
        if torch.isnan(losses).any() or not torch.isfinite(losses.min()):
            raise ValueError("the closure gave NaN, or infinity for all particles")
        consensus = torch.softmax(-group["alpha"] * (losses - losses.min()), 0) @ x
        vector_to_parameters(consensus, params)
        away = x - consensus
        scale = away.norm(dim=1, keepdim=True) if group["noise_type"] == "isotropic" else away.abs()
        kick = group["noise"] * group["dt"] ** 0.5 * scale * self._normals(x.shape, x)
        self.state[self._first]["particles"] = x - group["drift"] * group["dt"] * away + kick
        return losses.min()

    def _loss(self, closure: Callable[[], Any], particle: torch.Tensor, params: list[torch.nn.Parameter]) -> torch.Tensor:
        vector_to_parameters(particle, params)
        return torch.as_tensor(closure(), dtype=particle.dtype, device=particle.device).detach()

    def _normals(self, shape: Any, like: torch.Tensor) -> torch.Tensor:
        return torch.randn(shape, generator=self.generator, dtype=like.dtype, device=like.device)
