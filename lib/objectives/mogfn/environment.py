"""What a sampler needs of the objects it builds, and the exact target where objects can be counted."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lib import checks
from lib.objectives.mogfn.scalarization import FLOOR, SCALARIZATIONS, combined, on_simplex


class Environment(ABC):
    """Objects that are built step by step; states are rows of integers, the last action stops. Derive from it for your own.

    Samplers need the widths and the abstract methods; the exact target needs `values` and `log_counts` too.

    n_objectives, n_actions, obs_dim : d, actions with the stop, width of an observation
    values : rewards that occur, shape (M, d)
    log_counts : logarithm of how many objects have them, shape (M,)
    """

    n_objectives: int
    n_actions: int
    obs_dim: int
    values: np.ndarray
    log_counts: np.ndarray

    @abstractmethod
    def start(self, n: int) -> Tensor:
        """n times the first state, shape (n, s)."""

    @abstractmethod
    def observe(self, states: Tensor) -> Tensor:
        """What the policy sees, float64, shape (n, obs_dim)."""

    @abstractmethod
    def allowed(self, states: Tensor) -> Tensor:
        """Which actions a state has, bool, shape (n, n_actions)."""

    @abstractmethod
    def move(self, states: Tensor, actions: Tensor) -> Tensor:
        """The states after actions other than the stop."""

    @abstractmethod
    def log_backward(self, states: Tensor) -> Tensor:
        """log P_B of the step into each state: uniform over parents, shape (n,)."""

    @abstractmethod
    def rewards_of(self, states: Tensor) -> Tensor:
        """Objectives of the objects in which states stop, float64, shape (n, d)."""

    @abstractmethod
    def objects(self, states: Tensor) -> Any:
        """The objects, as a reader would write them."""

    @abstractmethod
    def evaluate(self, objects: Any) -> np.ndarray:
        """Objectives of objects, shape (n, d)."""

    # ------------------------------------------------------------------------------------------------- the exact target

    def log_partition(self, omega: Any, beta: Any, kind: str = "weighted_sum", floor: float = FLOOR) -> Any:
        """log Z(omega), the logarithm of the sum over all objects of the scalarized reward to the power beta. Equation (1).

        Parameters
        ----------
        omega : array_like, shape (d,) or (W, d)
        beta : float
        kind, floor
            Of `scalarize`.

        Returns
        -------
        float or array, shape (W,)
        """
        logits, _ = self._logits(omega, beta, kind, floor)
        return _as_given(torch.logsumexp(logits, -1))  # (1)

    def expected_reward(self, omega: Any, beta: Any, kind: str = "weighted_sum", floor: float = FLOOR) -> Any:
        """Mean scalarized reward of an object drawn from the exact target; arguments as for `log_partition`."""
        logits, log_r = self._logits(omega, beta, kind, floor)
        return _as_given((logits.softmax(-1) * log_r.exp()).sum(-1))  # (1)

    def entropy(self, omega: Any, beta: Any, kind: str = "weighted_sum", floor: float = FLOOR) -> Any:
        """Entropy of the exact target over objects, log Z - beta E[log R]; arguments as for `log_partition`."""
        logits, log_r = self._logits(omega, beta, kind, floor)
        mean = (logits.softmax(-1) * log_r).sum(-1)
        return _as_given(torch.logsumexp(logits, -1) - checks.positive("beta", beta) * mean)  # (1)

    def maximum(self, omega: Any, kind: str = "weighted_sum", floor: float = FLOOR) -> Any:
        """Largest scalarized reward of any object; arguments as for `log_partition`."""
        return _as_given(self._logits(omega, 1.0, kind, floor)[1].amax(-1).exp())

    def _logits(self, omega: Any, beta: Any, kind: str, floor: float) -> tuple[Tensor, Tensor]:
        preferences = torch.from_numpy(preferences_of(omega, self.n_objectives))
        checks.choice("kind", kind, SCALARIZATIONS)
        beta, floor = checks.positive("beta", beta), checks.positive("floor", floor)
        log_r = combined(torch.from_numpy(self.values), preferences[..., None, :], kind, floor).log()
        return beta * log_r + torch.from_numpy(self.log_counts), log_r  # (1)


def preferences_of(omega: Any, d: int, name: str = "omega") -> np.ndarray:
    """Preferences of shape (d,) or (W, d), checked."""
    found = on_simplex(name, omega, d)
    if found.ndim > 2:
        raise ValueError(f"{name} must have shape ({d},) or (W, {d}), got {found.shape}")
    return found


def _as_given(value: Tensor) -> Any:
    return float(value) if value.ndim == 0 else value.numpy()
