"""The paper's learners: Tsallis-INF, Tsallis-INF per context bin, and the base class that all policies share.

A policy is asked for an arm by ``select(context)`` and is told the cost of that arm, and of no other, by ``update(loss)``.
"""

from __future__ import annotations

import inspect
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lib.online.sor_bandit.solvers import Array

Seed = int | np.random.Generator | np.random.SeedSequence | None


class Policy(ABC):
    """A bandit: strict alternation of `select` and `update`.

    Parameters
    ----------
    n_arms : int
        Number of arms d.
    seed : int, Generator or SeedSequence, optional
        Source of the random choices.

    Attributes
    ----------
    probabilities_ : array, shape (d,)
        Distribution of the last choice (uniform before the first).
    counts_ : int array, shape (d,)
        How often each arm was updated.
    """

    def __init__(self, n_arms: int, *, seed: Seed = None) -> None:
        if int(n_arms) != n_arms or n_arms < 1:
            raise ValueError(f"n_arms must be a positive integer, got {n_arms}")
        self.n_arms = int(n_arms)
        self.probabilities_: Array = np.full(self.n_arms, 1.0 / self.n_arms)
        self.counts_ = np.zeros(self.n_arms, dtype=np.int64)
        self._rng = np.random.default_rng(seed)
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
        ValueError
            A contextual policy got no finite context.
        """
        if self._arm is not None:
            raise RuntimeError("select was called twice without an update in between")
        self._arm = self._choose(context)
        return self._arm

    def update(self, loss: float) -> None:
        """Report the cost of the chosen arm (an iteration count, or any positive number).

        Raises
        ------
        RuntimeError
            No choice is waiting for its cost.
        ValueError
            The cost is not finite and positive.
        """
        if self._arm is None:
            raise RuntimeError("update was called without a select before it")
        cost = float(loss)
        if not (np.isfinite(cost) and cost > 0.0):
            raise ValueError(f"the cost must be finite and positive, got {loss}")
        arm, self._arm = self._arm, None
        self.counts_[arm] += 1
        self._learn(arm, cost)

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
        if not 0 <= arm < n_arms:
            raise ValueError(f"arm must lie in 0..{n_arms - 1}, got {arm}")
        self.probabilities_ = np.eye(n_arms)[arm]

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
    k = np.asarray(losses, dtype=np.float64)
    if k.ndim != 1 or not k.size or not np.isfinite(k).all():
        raise ValueError("losses must be a non-empty vector of finite numbers")
    if not (np.isfinite(eta) and eta > 0.0):
        raise ValueError(f"eta must be positive, got {eta}")
    # The distribution is invariant under a shift of k; with scaled = eta (k - min k) / 2 it is 1 / (scaled + y)^2.
    scaled = 0.5 * eta * (k - k.min())
    y = 1.0
    for _ in range(100):
        p = (scaled + y) ** -2.0
        excess = p.sum() - 1.0
        if abs(excess) < 1e-12:
            break
        y += excess / (2.0 * (p**1.5).sum())
    return p / p.sum()


def official_tsallis_weights(losses: ArrayLike, eta: float, *, start: float = -1.0, n_steps: int = 20) -> Array:
    """The weights that the paper's published code computes: Newton's method from a fixed start, not normalized.

    From ``x = start`` far below ``min k`` the first step overshoots the pole, and the weights need not sum to 1 (or be finite).

    Parameters
    ----------
    losses, eta
        As `tsallis_probabilities`.
    start : float
        Default -1 (the published code).
    n_steps : int
        Default 20 (the published code).

    Returns
    -------
    array, shape (d,)

    Examples
    --------
    >>> from lib.online.sor_bandit.study import official_tsallis_weights
    >>> bool(abs(official_tsallis_weights([900.0, 1000.0], 0.1).sum() - 1) > 0.5)
    True
    """
    k, x = np.asarray(losses, dtype=np.float64), float(start)
    weights = np.empty_like(k)
    with np.errstate(all="ignore"):
        for _ in range(n_steps):
            weights = 4.0 * (eta * (k - x)) ** -2.0
            x -= (weights.sum() - 1.0) / (eta * (weights**1.5).sum())
    return weights


class TsallisINF(Policy):
    """Tsallis-INF on the excess ``loss - 1``, normalized by its running mean.

    In round t the learning rate is ``2 / sqrt(t)``, the losses are divided by ``scale_`` = mean cost so far - 1 (1 in the
    first round), and the played arm's cumulative loss grows by ``(loss - 1) / p``.

    Parameters
    ----------
    n_arms : int
        Number of relaxation parameters (20 in the paper).
    seed : int, Generator or SeedSequence, optional
    scale : float, optional
        A fixed scale instead of the running mean.
    offset : float
        Smallest possible cost, subtracted from every loss; default 1 (iteration counts). Use 0 for seconds.
    root_finding : {"monotone", "official", "official-normalized"}
        "monotone" (default) finds the distribution; "official" uses `official_tsallis_weights` as the published code does,
        dividing by the raw weight of the played arm; "official-normalized" divides by the normalized one.

    Attributes
    ----------
    probabilities_ : array, shape (d,)
        The distribution that was sampled.
    weights_ : array, shape (d,)
        The numbers used as importance weights: the probabilities, except with "official".
    losses_ : array, shape (d,)
        Cumulative importance-weighted losses k.
    scale_ : float

    Raises
    ------
    ValueError
        A bad number of arms, scale or name of the root finding.

    Examples
    --------
    >>> from lib.online.sor_bandit import TsallisINF
    >>> policy = TsallisINF(20, seed=0)
    >>> arm = policy.select(); policy.update(87)

    Source: Khodak et al. (2024), learning experiments.
    """

    def __init__(
        self,
        n_arms: int,
        *,
        seed: Seed = None,
        scale: float | None = None,
        offset: float = 1.0,
        root_finding: str = "monotone",
    ) -> None:
        super().__init__(n_arms, seed=seed)
        if scale is not None and not scale > 0.0:
            raise ValueError(f"scale must be positive, got {scale}")
        if root_finding not in ("monotone", "official", "official-normalized"):
            raise ValueError(f'root_finding must be "monotone", "official" or "official-normalized", got {root_finding!r}')
        self.root_finding = root_finding
        self.offset = float(offset)
        self.losses_: Array = np.zeros(self.n_arms)
        self.scale_ = 1.0 if scale is None else float(scale)
        self.weights_: Array = self.probabilities_
        self._fixed_scale = scale is not None
        self._round, self._total = 1, 0.0

    def _distribution(self, context: float | None) -> Array:
        normalized, eta = self.losses_ / self.scale_, 2.0 / np.sqrt(self._round)
        if self.root_finding == "monotone":
            self.weights_ = tsallis_probabilities(normalized, eta)
            return self.weights_
        raw = official_tsallis_weights(normalized, eta)
        total = raw.sum()
        usable = np.isfinite(total) and total > 0.0
        # The published code falls back to a uniform draw, but keeps the unusable weight.
        p = raw / total if usable else np.full(self.n_arms, 1.0 / self.n_arms)
        self.weights_ = p if self.root_finding == "official-normalized" else raw
        return p

    def _learn(self, arm: int, cost: float) -> None:
        excess = cost - self.offset
        self.losses_[arm] += excess / self.weights_[arm]
        self._total += excess
        mean = self._total / self._round
        # All costs equal to the offset: nothing to normalize yet, and the losses are zero anyway.
        if not self._fixed_scale and mean > 0.0:
            self.scale_ = mean
        self._round += 1


def _clip_context(context: float | None, low: float, high: float, stacklevel: int = 4) -> float:
    """A finite context inside [low, high]; one outside is clipped with a warning that points at the caller of `select`."""
    if context is None or not np.isfinite(context):
        raise ValueError(f"this policy needs a finite context, got {context}")
    value = float(context)
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
        self.edges = np.asarray(edges, dtype=np.float64)
        if self.edges.ndim != 1 or len(self.edges) < 2 or not (np.diff(self.edges) > 0.0).all():
            raise ValueError("edges must be an increasing vector of at least two numbers")
        numbered = _accepts_an_argument(make)
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
