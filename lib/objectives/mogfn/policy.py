"""The conditional policy and the loss that makes it a sampler."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from lib import checks


def perceptron(sizes: Sequence[int], generator: torch.Generator, zero_last: bool = False) -> nn.Sequential:
    """Linear layers with leaky rectifiers between them, in double precision; drawn from the generator only."""
    layers: list[nn.Module] = []
    for k, (inputs, outputs) in enumerate(pairwise(sizes)):
        layer = nn.utils.skip_init(nn.Linear, inputs, outputs, dtype=torch.float64)
        bound, last = 1 / math.sqrt(inputs), k == len(sizes) - 2
        for parameter in (layer.weight, layer.bias):
            with torch.no_grad():
                parameter.uniform_(-bound, bound, generator=generator)
                if zero_last and last:
                    parameter.zero_()
        layers += [layer] if last else [layer, nn.LeakyReLU()]
    return nn.Sequential(*layers)


class ConditionalPolicy(nn.Module):
    """Scores of the actions in a state, for a condition: a perceptron on both, in double precision.

    The first layer is a sum of one on the observation and one on the condition, so that the latter is computed once a path.

    Parameters
    ----------
    obs_dim, cond_dim, n_actions : int
        Widths of observations and conditions, number of scores.
    hidden : sequence of int
        Widths of the hidden layers; three of 64 in the official hypergrid example.
    seed : None, int or Generator

    Examples
    --------
    >>> import torch
    >>> from lib.objectives.mogfn import ConditionalPolicy
    >>> policy = ConditionalPolicy(obs_dim=4, cond_dim=2, n_actions=3, hidden=(8,), seed=0)
    >>> policy(torch.zeros(5, 4).double(), torch.zeros(5, 2).double()).shape
    torch.Size([5, 3])
    """

    def __init__(
        self, obs_dim: int, cond_dim: int, n_actions: int, hidden: Sequence[int] = (64, 64, 64), seed: Any = None
    ) -> None:
        super().__init__()
        obs_dim, cond_dim = checks.integer("obs_dim", obs_dim, low=1), checks.integer("cond_dim", cond_dim, low=1)
        n_actions, hidden = checks.integer("n_actions", n_actions, low=1), widths("hidden", hidden)
        if not hidden:
            raise ValueError("hidden must hold at least one width, got none")
        generator = torch.Generator().manual_seed(int(checks.generator("seed", seed).integers(2**62)))
        bound = 1 / math.sqrt(obs_dim + cond_dim)
        drawn = torch.rand(hidden[0], obs_dim + cond_dim + 1, generator=generator, dtype=torch.float64) * 2 * bound - bound
        self.on_obs = nn.Parameter(drawn[:, :obs_dim].clone())
        self.on_cond = nn.Parameter(drawn[:, obs_dim:-1].clone())
        self.bias = nn.Parameter(drawn[:, -1].clone())
        self.rest = nn.Sequential(nn.LeakyReLU(), *perceptron([*hidden, n_actions], generator))

    def forward(self, obs: Tensor, cond: Tensor, rows: Tensor | None = None) -> Tensor:
        """Scores, shape (n, n_actions).

        Parameters
        ----------
        obs : tensor of float64, shape (n, obs_dim)
        cond : tensor of float64, shape (n, cond_dim), or (m, cond_dim) with `rows`
        rows : tensor of int, shape (n,), optional
            Which condition belongs to an observation.

        Raises
        ------
        TypeError, ValueError
            For another type than the policy's, or widths that do not fit.
        """
        for name, given, wanted in (("obs", obs, self.on_obs), ("cond", cond, self.on_cond)):
            if not isinstance(given, Tensor) or given.dtype != wanted.dtype:
                kind = given.dtype if isinstance(given, Tensor) else checks.shown(given)
                raise TypeError(f"{name} must be a tensor of {wanted.dtype}, as the policy is, got {kind}")
            if given.ndim != 2 or given.shape[1] != wanted.shape[1]:
                raise ValueError(f"{name} must have shape (n, {wanted.shape[1]}), got {tuple(given.shape)}")
        if rows is None and len(cond) not in (1, len(obs)):
            raise ValueError(f"cond must have a row for each of the {len(obs)} of obs, or rows must say which, got {len(cond)}")
        return self.scores(obs, self.of_condition(cond) if rows is None else self.of_condition(cond)[rows])

    def of_condition(self, cond: Tensor) -> Tensor:
        """The condition's part of the first layer, shape (m, width)."""
        return nn.functional.linear(cond, self.on_cond, self.bias)

    def scores(self, obs: Tensor, of_cond: Tensor) -> Tensor:
        """What `forward` gives, from the condition's part of the first layer, shape (n, width)."""
        return self.rest(torch.addmm(of_cond, obs, self.on_obs.T))


class TrajectoryBalanceLoss(nn.Module):
    """Squared excess of each path's forward flow over its backward flow; zero for all paths only if the sampler is right.

    With ``log_z`` the mean of (log Z + log P_F - log r - log P_B)^2, equation (3). Without it the variance of
    log P_F - log r - log P_B over the last axis, equation (4): VarGrad, where Z needs no parameter, and the paths along that
    axis must share a preference.

    Examples
    --------
    >>> import torch
    >>> from lib.objectives.mogfn import TrajectoryBalanceLoss
    >>> log_pf = torch.tensor([0.25, 0.75]).log()
    >>> loss = TrajectoryBalanceLoss()
    >>> round(float(loss(log_pf, torch.tensor([1.0, 3.0]).log(), log_z=torch.tensor(4.0).log())), 6)
    0.0
    """

    def forward(self, log_pf: Tensor, log_r: Tensor, *, log_pb: Tensor | None = None, log_z: Tensor | None = None) -> Tensor:
        """The loss of a batch, a scalar; half precision is summed in single.

        Parameters
        ----------
        log_pf, log_r : tensors of one shape, (B,) or (..., B)
            Sums over a path of log P_F (of the policy itself, also where actions were explored), log rewards.
        log_pb : tensor of that shape, optional
            Sums of log P_B; 0 by default, right for objects that have one parent.
        log_z : tensor of that shape or a scalar, optional
            Without it, B must be at least 2.
        """
        log_pf, log_r = checks.tensor("log_pf", log_pf), checks.tensor("log_r", log_r)
        log_pb = torch.zeros_like(log_r) if log_pb is None else checks.tensor("log_pb", log_pb)
        if log_pf.ndim == 0 or not log_pf.shape == log_r.shape == log_pb.shape:
            shapes = ", ".join(str(tuple(t.shape)) for t in (log_pf, log_r, log_pb))
            raise ValueError(f"log_pf, log_r and log_pb must have one shape, at least (B,), got {shapes}")
        low = log_pf.dtype in (torch.float16, torch.bfloat16)
        log_pf, log_r, log_pb = (t.float() if low else t for t in (log_pf, log_r, log_pb))
        excess = log_pf - log_r - log_pb
        if log_z is None:
            if excess.shape[-1] < 2:
                raise ValueError(f"log_pf must hold 2 paths or more without log_z, got shape {tuple(log_pf.shape)}")
            return (excess - excess.mean(-1, keepdim=True)).square().mean()  # (4)
        log_z = checks.tensor("log_z", log_z)
        if log_z.ndim and log_z.shape != excess.shape:
            shape = tuple(log_pf.shape)
            raise ValueError(f"log_z must be a scalar or have the shape of log_pf, {shape}, got {tuple(log_z.shape)}")
        return (log_z + excess).square().mean()  # (3)


def widths(name: str, value: Any) -> tuple[int, ...]:
    """Widths of layers as a tuple of whole numbers, each at least 1; possibly none."""
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise TypeError(f"{name} must be a sequence of integers, got {checks.shown(value)}")
    return tuple(checks.integer(name, width, low=1) for width in value)
