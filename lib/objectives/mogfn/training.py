"""The two methods: the GFlowNet conditional on preferences, and policy gradients on the same policy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lib import checks
from lib.objectives.mogfn.environment import Environment, preferences_of
from lib.objectives.mogfn.policy import TrajectoryBalanceLoss, perceptron, widths
from lib.objectives.mogfn.sampler import ConditionalSampler
from lib.objectives.mogfn.scalarization import FLOOR


class MOGFN(ConditionalSampler):
    """The preference-conditional GFlowNet: one sampler of objects with probability R(x|omega)^beta / Z(omega).

    A sampler can be pickled or copied in the middle and goes on alike. Official settings, where others, are in brackets.

    Parameters
    ----------
    env : HyperGrid or NGramTask
    beta : float or pair of floats
        Power of the reward [96 for n-grams]. A pair (low, high): drawn uniformly for each group, and part of the condition.
    dirichlet_alpha : float
        Preferences are drawn from a symmetric Dirichlet distribution [1; 1.5 in the hypergrid example].
    encoding : {"thermometer", "raw"}
        Of preferences, and of the power divided by its largest value [thermometer; raw in the hypergrid example].
    hidden : sequence of int
        Widths of the policy's layers [64, 64, 64 in the hypergrid example].
    lr, lr_z : float
        Learning rates of Adam for the policy and for log Z [1e-4 and 1e-3; 1e-2 in the hypergrid example].
    eps : float
        Probability of a uniform action in training [0.01].
    hidden_z : sequence of int
        Widths of the network of log Z, which starts at the first batch's mean; empty: a linear map [linear; 32, 32, 32].
    loss : {"trajectory_balance", "vargrad"}
        The latter without a parameter for Z; it needs a group of at least 2.
    bins : int
        Of the thermometer [50].
    group : int
        Paths that share a preference, a divisor of the batch [the batch in the sequence code, 1 on the grid].
    clip_norm : float
        Norm to which the policy's gradient is clipped [10]; infinity allowed.
    scalarization : str
        See `scalarize` [weighted_sum].
    floor : float
        Smallest scalarized reward [1e-80 for n-grams].
    preferences : array_like, shape (d,) or (P, d), optional
        Train for these only, each as likely; one row makes an unconditional GFlowNet.
    seed : None, int or Generator

    Attributes
    ----------
    policy : ConditionalPolicy
    history : History
    steps : int

    Raises
    ------
    TypeError, ValueError
        For arguments out of range.

    Examples
    --------
    >>> from lib.objectives.mogfn import MOGFN, HyperGrid
    >>> sampler = MOGFN(HyperGrid(["branin", "currin"], horizon=4), beta=4.0, hidden=(16,), seed=0)
    >>> losses = sampler.fit(20, batch_size=16).losses
    >>> sampler.sample([0.5, 0.5], n=3).shape, len(losses)
    ((3, 2), 20)
    """

    def __init__(
        self,
        env: Environment,
        beta: float | tuple[float, float] = 16.0,
        dirichlet_alpha: float = 1.0,
        encoding: str = "thermometer",
        hidden: Sequence[int] = (64, 64, 64),
        lr: float = 5e-3,
        lr_z: float = 5e-2,
        eps: float = 0.01,
        *,
        hidden_z: Sequence[int] = (32, 32),
        loss: str = "trajectory_balance",
        bins: int = 50,
        group: int = 1,
        clip_norm: float = 10.0,
        scalarization: str = "weighted_sum",
        floor: float = FLOOR,
        preferences: Any = None,
        seed: Any = None,
    ) -> None:
        super().__init__(
            env, beta, dirichlet_alpha, encoding, hidden, lr, eps, bins=bins, group=group, clip_norm=clip_norm,
            scalarization=scalarization, floor=floor, preferences=preferences, seed=seed,
        )  # fmt: skip
        self.lr_z = checks.positive("lr_z", lr_z)
        self.loss = checks.choice("loss", loss, ("trajectory_balance", "vargrad"))
        if self.loss == "vargrad" and self.group < 2:
            raise ValueError(f"group must be at least 2 for vargrad, got {self.group}")
        generator = torch.Generator().manual_seed(int(self._start.integers(2**62)))
        self.z_network = perceptron([self.cond_dim, *widths("hidden_z", hidden_z), 1], generator, zero_last=True)
        self.z_offset = torch.tensor(torch.nan, dtype=torch.float64)
        self._criterion = TrajectoryBalanceLoss()
        self.optimizer = torch.optim.Adam(
            [{"params": list(module.parameters()), "lr": rate, "base": rate}
             for module, rate in ((self.policy, self.lr), (self.z_network, self.lr_z))]
        )  # fmt: skip

    def _loss(self, log_pf: Tensor, log_r: Tensor, log_pb: Tensor, cond: Tensor) -> Tensor:
        if self.loss == "vargrad":
            log_pf, log_r, log_pb = (x.reshape(-1, self.group) for x in (log_pf, log_r, log_pb))
            return self._criterion(log_pf, log_r, log_pb=log_pb)
        if self.steps == 0:
            self.z_offset = (log_r + log_pb - log_pf).mean().detach()
        log_z = self._log_z(cond)
        if not torch.isfinite(log_z).all():
            raise FloatingPointError(f"log Z is not finite at step {self.steps}: lr_z={self.lr_z:g} is too large")
        return self._criterion(log_pf, log_r, log_pb=log_pb, log_z=log_z)

    def _log_z(self, cond: Tensor) -> Tensor:
        return self.z_offset + self.z_network(cond)[:, 0]

    @torch.no_grad()
    def log_z(self, omega: Any, beta: float | None = None) -> Any:
        """The learned log Z of preferences (d,) or (W, d): a float or an array of shape (W,).

        Raises
        ------
        RuntimeError
            Before training, or for "vargrad", which has no parameter for it.
        """
        if self.loss == "vargrad" or self.steps == 0:
            raise RuntimeError("log_z is learned by fit with the loss 'trajectory_balance' only")
        given = preferences_of(omega, self.env.n_objectives)
        found = self._log_z(self._asked(np.atleast_2d(given), beta))
        return float(found[0]) if given.ndim == 1 else found.numpy()


class MOReinforce(ConditionalSampler):
    """The paper's rival: the same policy, trained by policy gradients to raise the mean of R(x|omega)^beta. Equation (10).

    Parameters are those of `MOGFN` without log Z; `beta` is 1 by default.

    Parameters
    ----------
    env : HyperGrid or NGramTask
    beta : float or pair of floats
    dirichlet_alpha : float
    encoding : {"thermometer", "raw"}
    hidden : sequence of int
    lr : float
    eps : float
    bins, group : int
    clip_norm : float
        Of the gradient; infinity allowed.
    scalarization : str
    floor : float
    preferences : array_like, shape (d,) or (P, d), optional
    seed : None, int or Generator

    Examples
    --------
    >>> from lib.objectives.mogfn import HyperGrid, MOReinforce
    >>> rival = MOReinforce(HyperGrid(["branin", "currin"], horizon=4), hidden=(16,), seed=0)
    >>> len(rival.fit(5, batch_size=16).rewards)
    5
    """

    def __init__(
        self,
        env: Environment,
        beta: float | tuple[float, float] = 1.0,
        dirichlet_alpha: float = 1.0,
        encoding: str = "thermometer",
        hidden: Sequence[int] = (64, 64, 64),
        lr: float = 5e-3,
        eps: float = 0.01,
        *,
        bins: int = 50,
        group: int = 1,
        clip_norm: float = 10.0,
        scalarization: str = "weighted_sum",
        floor: float = FLOOR,
        preferences: Any = None,
        seed: Any = None,
    ) -> None:
        super().__init__(
            env, beta, dirichlet_alpha, encoding, hidden, lr, eps, bins=bins, group=group, clip_norm=clip_norm,
            scalarization=scalarization, floor=floor, preferences=preferences, seed=seed,
        )  # fmt: skip
        self.optimizer = torch.optim.Adam([{"params": list(self.policy.parameters()), "lr": self.lr, "base": self.lr}])

    def _loss(self, log_pf: Tensor, log_r: Tensor, log_pb: Tensor, cond: Tensor) -> Tensor:
        reward = log_r.exp()
        return -(log_pf * (reward - reward.mean())).mean()  # (10)
