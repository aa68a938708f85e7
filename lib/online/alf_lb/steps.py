"""Step rules: how far each expert's price moves in one iteration."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import numpy.typing as npt

from lib import checks

__all__ = ["ConstStep", "InvStep", "SignStep", "SqrtStep", "StepRule"]

Array = npt.NDArray[np.float64]


class StepRule(ABC):
    """A step rule: `eps` gives the step of every expert; the price moves by ``eps * (target - load)``."""

    def __init__(self, u: float) -> None:
        self.u = checks.number("u", u, low=0, high=1e100)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.u:g})"

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash((type(self).__name__, self.u))

    def eps(self, n: int, load: npt.ArrayLike, target: float) -> Array:
        """Steps of the experts.

        Parameters
        ----------
        n : int
            Iteration, from 1.
        load : array_like, shape (..., E)
            Tokens of each expert.
        target : float
            Balanced load, positive, at least 1e-150.
        """
        count = checks.integer("n", n, low=1)
        given = checks.array("load", load, low=0).astype(np.float64)
        return self._eps(count, given, checks.number("target", target, low=1e-150))

    @abstractmethod
    def _eps(self, n: int, load: Array, target: float) -> Array: ...


class SignStep(StepRule):
    """The rule of DeepSeek: every price moves by `u`, up for an underloaded expert, down for an overloaded one.

    Parameters
    ----------
    u : float
        Move of a price, at least 0; default and DeepSeek-V3: 0.001.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.online.alf_lb import SignStep
    >>> load = np.array([12.0, 10.0, 8.0])
    >>> SignStep(0.001).eps(1, load, 10.0) * (10.0 - load)
    array([-0.001,  0.   ,  0.001])
    """

    def __init__(self, u: float = 0.001) -> None:
        super().__init__(u)

    def _eps(self, n: int, load: Array, target: float) -> Array:
        off = np.abs(target - load)
        return np.divide(self.u, off, out=np.zeros_like(off), where=off > 0)  # (6)


class ConstStep(StepRule):
    """Moves in proportion to the relative imbalance, with a constant step.

    Parameters
    ----------
    u : float
        Step, at least 0: an expert with twice the balanced load loses `u`.

    Examples
    --------
    >>> from lib.online.alf_lb import ConstStep
    >>> ConstStep(0.05).eps(7, [12.0, 8.0], 10.0)
    array([0.005, 0.005])
    """

    def __init__(self, u: float = 0.05) -> None:
        super().__init__(u)

    def _eps(self, n: int, load: Array, target: float) -> Array:
        return np.full(load.shape, self.u / target)  # (6)


class SqrtStep(StepRule):
    """Moves in proportion to the relative imbalance, with steps ``u / sqrt(n)``.

    Parameters
    ----------
    u : float
        First step, at least 0.

    Examples
    --------
    >>> from lib.online.alf_lb import SqrtStep
    >>> SqrtStep(0.1).eps(4, [12.0, 8.0], 10.0)
    array([0.005, 0.005])
    """

    def __init__(self, u: float = 0.1) -> None:
        super().__init__(u)

    def _eps(self, n: int, load: Array, target: float) -> Array:
        return np.full(load.shape, self.u / (np.sqrt(n) * target))  # (6)


class InvStep(StepRule):
    """Moves in proportion to the relative imbalance, with steps ``u / n``: the schedule of logarithmic regret.

    Parameters
    ----------
    u : float
        First step, at least 0; theory: one over the strong convexity, which `price_hessian` estimates.

    Examples
    --------
    >>> from lib.online.alf_lb import InvStep
    >>> InvStep(1.0).eps(4, [12.0, 8.0], 10.0)
    array([0.025, 0.025])
    """

    def __init__(self, u: float = 1.0) -> None:
        super().__init__(u)

    def _eps(self, n: int, load: Array, target: float) -> Array:
        return np.full(load.shape, self.u / (n * target))  # (6)


def rule_of(name: str, value: object) -> StepRule:
    """A step rule at a door."""
    if not isinstance(value, StepRule):
        raise TypeError(f"{name} must be a step rule such as SignStep(0.001), got {checks.shown(value)}")
    return value
