"""The three solvers that are compared: soft constraint, one hard solve, experts; trained on residuals only."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lib import checks
from lib.constrained.moe_constraints.layers import ConstraintMoE, HardConstraintLayer
from lib.constrained.moe_constraints.network import FNO2d
from lib.constrained.moe_constraints.pde import PDE

__all__ = ["PIHC", "PIHCMoE", "SoftConstraint"]


class SoftConstraint:
    """PI-SC: the network gives the field itself; equation and conditions are in the loss (7) only.

    Parameters
    ----------
    pde : PDE
        The equation and its grid.
    network : torch.nn.Module, optional
        From inputs (B, grid..., channels) to (B, grid..., N); default `FNO2d` of the paper's size. N = 1 for a soft one.
    lr, decay, every, floor : float, float, int, float
        Adam's step size, multiplied by `decay` after each `every` steps, not below `floor`. Paper: 1e-3, 0.5, 800, 1e-4.
    clip : float
        Largest norm of the gradient. Paper: 1.
    batch : int
        Conditions a step. Paper: 6.
    seed : int
        Of batches and sampled points.

    Attributes
    ----------
    history_ : dict of list
        ``"loss"``, ``"iterations"`` (mean of the solver), ``"converged"`` (share of the solves), a value a step.

    Examples
    --------
    >>> from lib.constrained.moe_constraints import DiffusionSorption, FNO2d, SoftConstraint
    >>> net = FNO2d(n_basis=1, layers=1, modes=2, width=4, head=8, activate=False)
    >>> model = SoftConstraint(DiffusionSorption(n_t=8, n_x=16), net, batch=2).fit([0.05, 0.1, 0.15], steps=3)
    >>> model.predict([0.1]).shape
    (1, 8, 16)
    """

    _n_basis, _activate = 1, False

    def __init__(
        self,
        pde: PDE,
        network: nn.Module | None = None,
        *,
        lr: float = 1e-3,
        decay: float = 0.5,
        every: int = 800,
        floor: float = 1e-4,
        clip: float = 1.0,
        batch: int = 6,
        seed: int = 0,
    ) -> None:
        if not isinstance(pde, PDE):
            raise TypeError(f"pde must be a PDE, got {checks.shown(pde)}")
        if network is not None and not isinstance(network, nn.Module):
            raise TypeError(f"network must be a torch module, got {checks.shown(network)}")
        self.pde = pde
        self.network = FNO2d(n_basis=self._n_basis, activate=self._activate) if network is None else network
        self.lr, self.floor, self.clip = (
            checks.positive("lr", lr),
            checks.number("floor", floor, low=0),
            checks.positive("clip", clip),
        )
        self.decay = checks.number("decay", decay, above=0, high=1)
        self.every, self.batch = checks.integer("every", every, low=1), checks.integer("batch", batch, low=1)
        self.rng = np.random.default_rng(checks.integer("seed", seed, low=0))
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=self.lr, fused=True)
        self.layer: ConstraintMoE | None = None
        self.history_: dict[str, list[float]] = {"loss": [], "iterations": [], "converged": []}

    def fit(self, conditions: Any, steps: int) -> SoftConstraint:
        """Train for `steps` more steps on conditions (n, ...), without any solution; called again, it goes on.

        Raises
        ------
        TypeError, ValueError
            For bad arguments.
        FloatingPointError
            If the loss or its gradient is not finite; the weights are those of the step before.
        """
        known = self.pde.check_condition(conditions)
        for _ in range(checks.integer("steps", steps, low=1)):
            self._step(known)
        return self

    def _step(self, known: Tensor) -> None:
        picked = self.rng.choice(len(known), size=min(self.batch, len(known)), replace=False)
        condition, done = known[torch.from_numpy(picked)], len(self.history_["loss"])
        for group in self.optimizer.param_groups:
            group["lr"] = max(self.lr * self.decay ** (done // self.every), min(self.floor, self.lr))
        self.optimizer.zero_grad()
        u, told = self._forward(condition, self.rng)
        loss = self.pde.loss(u, condition)
        loss.backward()
        size = nn.utils.clip_grad_norm_(self.network.parameters(), self.clip)
        if not torch.isfinite(loss) or not torch.isfinite(size):
            raise FloatingPointError(f"the loss or its gradient is not finite at step {done}")
        self.optimizer.step()
        for name, value in (("loss", loss.item()), *told.items()):
            self.history_[name].append(value)

    def _forward(self, condition: Tensor, generator: np.random.Generator | None) -> tuple[Tensor, dict[str, float]]:
        basis = self.network(self.pde.inputs(condition))
        if self.layer is None:
            u, base = self.pde.ansatz(basis).sum(-1), self.pde.base(condition)
            return (u if base is None else u + base), {"iterations": 0.0, "converged": 1.0}
        out = self.layer(basis, condition, generator)
        told = {"iterations": out.n_iter.double().mean().item(), "converged": out.converged.double().mean().item()}
        return out.u, told

    def predict(self, conditions: Any) -> np.ndarray:
        """Fields (n, grid...) for conditions (n, ...); a hard constraint solves for each."""
        with torch.no_grad():
            return self._forward(self.pde.check_condition(conditions), None)[0].numpy()


class PIHC(SoftConstraint):
    """PI-HC: one hard-constraint solve for the whole domain; parameters as those of `SoftConstraint`.

    Parameters
    ----------
    pde : PDE
    network : torch.nn.Module, optional
        With N outputs; default `FNO2d`.
    layer : ConstraintMoE, optional
        Default `HardConstraintLayer`.
    **training
        As in `SoftConstraint`.

    Examples
    --------
    >>> from lib.constrained.moe_constraints import PIHC, DiffusionSorption, FNO2d
    >>> net = FNO2d(n_basis=3, layers=1, modes=2, width=4, head=8)
    >>> model = PIHC(DiffusionSorption(n_t=8, n_x=16), net, batch=2).fit([0.05, 0.1, 0.15], steps=2)
    >>> len(model.history_["loss"])
    2
    """

    _n_basis, _activate = 16, True

    def __init__(self, pde: PDE, network: nn.Module | None = None, layer: ConstraintMoE | None = None, **training: Any) -> None:
        super().__init__(pde, network, **training)
        if layer is not None and not isinstance(layer, ConstraintMoE):
            raise TypeError(f"layer must be a ConstraintMoE, got {checks.shown(layer)}")
        self.layer = self._default() if layer is None else layer

    def _default(self) -> ConstraintMoE:
        return HardConstraintLayer(self.pde)


class PIHCMoE(PIHC):
    """PI-HC-MoE: a hard-constraint solve for each expert's block; parameters as those of `PIHC`.

    Parameters
    ----------
    pde : PDE
    network : torch.nn.Module, optional
        With N outputs; default `FNO2d`.
    layer : ConstraintMoE, optional
        Default `ConstraintMoE` with four blocks along the last axis, on a grid of space and time; two by two in the plane.
    **training
        As in `SoftConstraint`.

    Examples
    --------
    >>> from lib.constrained.moe_constraints import PIHCMoE, DiffusionSorption, FNO2d
    >>> net = FNO2d(n_basis=3, layers=1, modes=2, width=4, head=8)
    >>> model = PIHCMoE(DiffusionSorption(n_t=8, n_x=16), net, batch=2).fit([0.05, 0.1, 0.15], steps=2)
    >>> model.predict([0.1]).shape
    (1, 8, 16)
    """

    def _default(self) -> ConstraintMoE:
        return ConstraintMoE(self.pde, (1, 4) if len(self.pde.shape) == 2 else (1, 2, 2))
