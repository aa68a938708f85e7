"""The paper's learners: Tsallis-INF, Tsallis-INF per context bin, and the base class that all policies share.

A policy is asked for an arm by ``select(context)`` and is told the cost of that arm, and of no other, by ``update(loss)``.

What a policy computes decides what it plays, and what it plays decides what it sees: a difference in the last digit of one
CPU can grow into another trajectory. So nothing here hangs on last digits. The nearly equal count as ties, the first of which
wins; and what is fed back (the cumulative losses of Tsallis-INF, where an error grows by the factor ``1 + eta / sqrt(p)``
whenever an arm of probability p is played) is kept to 26 binary digits.
"""

from __future__ import annotations

import inspect
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lib import checks
from lib.online.sor_bandit.solvers import Array

Seed = int | np.random.Generator | np.random.SeedSequence | None

#: Scores that differ by less than this, relative to the largest, are a tie.
TIE = 1e-9


def first_minimum(scores: Array) -> int:
    """The first index whose score is the smallest up to `TIE`: the same on every CPU."""
    return int(np.argmax(scores <= scores.min() + TIE * np.abs(scores).max()))


def _rounded(value: float) -> float:
    """A number with its first 26 binary digits."""
    mantissa, exponent = np.frexp(value)
    return float(np.ldexp(np.round(np.ldexp(mantissa, 26)), exponent - 26))


class Policy(ABC):
    """A bandit: strict alternation of `select` and `update`.

    Parameters
    ----------
    n_arms : int
        Number of arms d.
    seed : int, Generator or SeedSequence, optional
        Source of the random choices.
    offset : float
        The smallest possible cost; a smaller one is refused.

    Attributes
    ----------
    probabilities_ : array, shape (d,)
        Distribution of the last choice (uniform before the first).
    counts_ : int array, shape (d,)
        How often each arm was updated.
    """

    def __init__(self, n_arms: int, *, seed: Seed = None, offset: float = 0.0) -> None:
        self.n_arms = checks.integer("n_arms", n_arms, low=1)
        self.offset = checks.number("offset", offset, low=0)
        self.probabilities_: Array = np.full(self.n_arms, 1.0 / self.n_arms)
        self.counts_ = np.zeros(self.n_arms, dtype=np.int64)
        self._rng = checks.generator("seed", seed)
        self._arm: int | None = None

    def select(self, context: float | None = None) -> int:
        """Choose an arm for the next round.

        Parameters
        ----------
        context : float, optional
            What is known about the instance; policies without context ignore it.

        Raises
        ------
        RuntimeError
            The previous choice has not been updated.
        TypeError, ValueError
            A contextual policy got no finite context.
        """
        if self._arm is not None:
            raise RuntimeError("select was called twice without an update in between")
        self._arm = self._choose(context)
        return self._arm

    def update(self, loss: float) -> None:
        """Report the cost of the chosen arm; after a refused one the choice still waits for its cost.

        Parameters
        ----------
        loss : float
            An iteration count, or any positive number that is not below the policy's `offset`.

        Raises
        ------
        RuntimeError
            No choice is waiting for its cost.
        TypeError, ValueError
            The cost is not finite and positive, or is below the offset.
        """
        if self._arm is None:
            raise RuntimeError("update was called without a select before it")
        cost = checks.number("loss", loss, above=0)
        if cost < self.offset:
            raise ValueError(f"loss must be at least {self.offset:g}, this policy's offset (0 for seconds), got {loss}")
        self.counts_[self._arm] += 1
        try:
            self._learn(self._arm, cost)
        except (TypeError, ValueError):
            self.counts_[self._arm] -= 1
            raise
        self._arm = None

    def _choose(self, context: float | None) -> int:
        self.probabilities_ = self._distribution(context)
        # The last cumulative sum can fall short of 1 by rounding, hence the minimum.
        draw = np.searchsorted(np.cumsum(self.probabilities_), self._rng.random(), side="right")
        return min(int(draw), self.n_arms - 1)

    @abstractmethod
    def _distribution(self, context: float | None) -> Array:
        """Probabilities of the arms in this round."""

    @abstractmethod
    def _learn(self, arm: int, cost: float) -> None:
        """Use the cost of the arm that was played."""


class FixedArm(Policy):
    """Always the same arm: the baseline of a fixed relaxation parameter.

    Examples
    --------
    >>> from lib.online.sor_bandit import FixedArm
    >>> FixedArm(20, 12).select()
    12
    """

    def __init__(self, n_arms: int, arm: int) -> None:
        super().__init__(n_arms)
        self.probabilities_ = np.eye(self.n_arms)[checks.integer("arm", arm, low=0, high=self.n_arms - 1)]

    def _distribution(self, context: float | None) -> Array:
        return self.probabilities_

    def _learn(self, arm: int, cost: float) -> None:
        pass


def tsallis_probabilities(losses: ArrayLike, eta: float) -> Array:
    """Distribution of follow-the-regularized-leader with the 1/2-Tsallis entropy.

    ``p_i = 4 / (eta (k_i - x))^2`` with the unique ``x < min k`` for which the sum is 1. Newton's method from
    ``x = min k - 2 / eta``: there the sum is at least 1, and since it is convex and increasing in x the iteration is monotone.

    Parameters
    ----------
    losses : array, shape (d,)
        Cumulative (normalized) losses k.
    eta : float
        Learning rate, positive; ``2 / sqrt(t)`` in the paper.

    Returns
    -------
    array, shape (d,)

    Raises
    ------
    ValueError
        Losses that are empty or not finite, eta not positive.

    Examples
    --------
    >>> from lib.online.sor_bandit import tsallis_probabilities
    >>> tsallis_probabilities([3.0, 3.0], 0.1)
    array([0.5, 0.5])

    Source: Zimmert and Seldin (2021); used by Khodak et al. (2024).
    """
    k = checks.array("losses", losses, ndim=1).astype(np.float64)
    eta = checks.positive("eta", eta)
    # The distribution is invariant under a shift of k; with scaled = eta (k - min k) / 2 it is 1 / (scaled + y)^2, (11).
    scaled = 0.5 * eta * (k - k.min())
    y, excess = 1.0, np.inf
    while excess > 1e-8:  # Newton from the side where it is monotone: 1 <= y <= sqrt(d)
        root_p = 1.0 / (scaled + y)
        excess = (root_p**2).sum() - 1.0
        y += excess / (2.0 * (root_p**3).sum())  # the last step squares an error of 1e-8
    p = (scaled + y) ** -2.0  # (11)
    return p / p.sum()


class TsallisINF(Policy):
    """Tsallis-INF on the excess ``loss - offset``, normalized by its running mean.

    In round t the learning rate is ``2 / sqrt(t)``, the losses are divided by ``scale_`` = mean cost so far - offset (1 in the
    first round), and the played arm's cumulative loss grows by ``(loss - offset) / p``.

    Parameters
    ----------
    n_arms : int
        Number of relaxation parameters (20 in the paper).
    seed : int, Generator or SeedSequence, optional
    scale : float, optional
        A fixed scale instead of the running mean.
    offset : float
        Smallest possible cost, subtracted from every loss; default 1 (iteration counts). Use 0 for seconds.

    Attributes
    ----------
    probabilities_ : array, shape (d,)
        The distribution that was sampled.
    losses_ : array, shape (d,)
        Cumulative importance-weighted losses k.
    scale_ : float

    Raises
    ------
    TypeError, ValueError
        A bad number of arms, scale or offset.

    Examples
    --------
    >>> from lib.online.sor_bandit import TsallisINF
    >>> policy = TsallisINF(20, seed=0)
    >>> arm = policy.select(); policy.update(87)

    Source: Khodak et al. (2024), learning experiments.
    """

    def __init__(self, n_arms: int, *, seed: Seed = None, scale: float | None = None, offset: float = 1.0) -> None:
        super().__init__(n_arms, seed=seed, offset=offset)
        self.losses_: Array = np.zeros(self.n_arms)
        self.scale_ = 1.0 if scale is None else checks.positive("scale", scale)
        self._fixed_scale = scale is not None
        self._round, self._total = 1, 0.0

    def _distribution(self, context: float | None) -> Array:
        eta = 2.0 / np.sqrt(self._round)  # the paper's rate, (10)
        return tsallis_probabilities(self.losses_ / self.scale_, eta)

    def _learn(self, arm: int, cost: float) -> None:
        excess = cost - self.offset
        self.losses_[arm] = _rounded(self.losses_[arm] + excess / self.probabilities_[arm])  # unbiased, (12)
        self._total += excess
        mean = self._total / self._round
        # All costs equal to the offset: nothing to normalize yet, and the losses are zero anyway.
        if not self._fixed_scale and mean > 0.0:
            self.scale_ = mean
        self._round += 1


def _clip_context(context: float | None, low: float, high: float, stacklevel: int = 4) -> float:
    """A finite context inside [low, high]; one outside is clipped with a warning that points at the caller of `select`."""
    value = checks.number("context", context)
    if not low <= value <= high:
        warnings.warn(f"context {value:.6g} outside [{low:.6g}, {high:.6g}] was clipped", UserWarning, stacklevel=stacklevel)
        value = min(max(value, low), high)
    return value


class BinnedBandit(Policy):
    """An independent copy of a policy in each bin of the context (Tsallis-INF-CB when the copies are `TsallisINF`).

    Parameters
    ----------
    make : callable
        ``make(bin)`` or ``make()`` returns a fresh policy; give each bin a seed of its own.
    edges : array, shape (n_bins + 1,)
        Increasing edges; equispaced ones put a context into the bin of the nearest center. The paper uses 5 bins on
        [-0.15, 0.65] for SOR and 6 on [0, 10] for the heat equation.

    Attributes
    ----------
    policies_ : list of policies
        One per bin.

    Raises
    ------
    ValueError
        Edges that do not increase.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.online.sor_bandit import BinnedBandit, TsallisINF
    >>> policy = BinnedBandit(lambda i: TsallisINF(20, seed=i), np.linspace(-0.15, 0.65, 6))
    >>> arm = policy.select(0.1); policy.update(60)
    """

    def __init__(self, make: Callable[..., Any], edges: ArrayLike) -> None:
        self.edges = checks.array("edges", edges, ndim=1).astype(np.float64)
        if len(self.edges) < 2 or not (np.diff(self.edges) > 0.0).all():
            raise ValueError(f"edges must be an increasing vector of at least two numbers, got {self.edges}")
        numbered = _accepts_an_argument(checks.function("make", make))
        self.policies_ = [make(i) if numbered else make() for i in range(len(self.edges) - 1)]
        super().__init__(self.policies_[0].n_arms)
        self._bin = 0

    def _choose(self, context: float | None) -> int:
        value = _clip_context(context, float(self.edges[0]), float(self.edges[-1]))
        self._bin = int(np.searchsorted(self.edges[1:-1], value))
        arm = self.policies_[self._bin].select(value)
        self.probabilities_ = self.policies_[self._bin].probabilities_
        return int(arm)

    def _distribution(self, context: float | None) -> Array:
        return self.probabilities_

    def _learn(self, arm: int, cost: float) -> None:
        self.policies_[self._bin].update(cost)


def _accepts_an_argument(make: Callable[..., Any]) -> bool:
    try:
        inspect.signature(make).bind(0)
    except TypeError:
        return False
    return True
