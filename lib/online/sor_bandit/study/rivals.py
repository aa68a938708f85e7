"""Policies that the paper does not run: classic bandits, fresh copies, Thompson sampling with a Gaussian process."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg import cho_factor, cho_solve, cholesky

from lib import checks
from lib.online.sor_bandit.bandits import Policy, Seed, _accepts_an_argument, _clip_context, first_minimum
from lib.online.sor_bandit.chebcb import interval
from lib.online.sor_bandit.solvers import Array


class _MeanPolicy(Policy):
    """Keeps the mean cost of each arm and of all rounds."""

    def __init__(self, n_arms: int, *, seed: Seed = None) -> None:
        super().__init__(n_arms, seed=seed)
        self.means_: Array = np.zeros(self.n_arms)
        self._round, self._total = 1, 0.0

    def _learn(self, arm: int, cost: float) -> None:
        self.means_[arm] += (cost - self.means_[arm]) / self.counts_[arm]
        self._total += cost
        self._round += 1

    def _untried(self) -> Array | None:
        """Uniform over the arms without a cost, or None."""
        new = self.counts_ == 0
        return new / new.sum() if new.any() else None


class EpsilonGreedy(_MeanPolicy):
    """The best mean so far, and with probability ``min(1, c / sqrt(t))`` any arm.

    Parameters
    ----------
    n_arms : int
    seed : int, Generator or SeedSequence, optional
    exploration : float
        The constant c, default 1.

    Examples
    --------
    >>> from lib.online.sor_bandit.study import EpsilonGreedy
    >>> policy = EpsilonGreedy(20, seed=0)
    >>> arm = policy.select(); policy.update(87)
    """

    def __init__(self, n_arms: int, *, seed: Seed = None, exploration: float = 1.0) -> None:
        super().__init__(n_arms, seed=seed)
        self.exploration = checks.number("exploration", exploration, low=0)

    def _distribution(self, context: float | None) -> Array:
        untried = self._untried()
        if untried is not None:
            return untried
        epsilon = min(1.0, self.exploration / np.sqrt(self._round))
        p = np.full(self.n_arms, epsilon / self.n_arms)
        p[first_minimum(self.means_)] += 1.0 - epsilon
        return p


class UCB1(_MeanPolicy):
    """Lower confidence bound ``mean - scale * sqrt(width log t / n)``, the scale being the running mean of the cost.

    Parameters
    ----------
    n_arms : int
    seed : int, Generator or SeedSequence, optional
        Only orders the first trial of each arm.
    width : float
        Default 2 (Auer et al. 2002, for losses in [0, 1]).

    Examples
    --------
    >>> from lib.online.sor_bandit.study import UCB1
    >>> policy = UCB1(20, seed=0)
    >>> arm = policy.select(); policy.update(87)
    """

    def __init__(self, n_arms: int, *, seed: Seed = None, width: float = 2.0) -> None:
        super().__init__(n_arms, seed=seed)
        self.width = checks.number("width", width, low=0)

    def _distribution(self, context: float | None) -> Array:
        untried = self._untried()
        if untried is not None:
            return untried
        scale = self._total / (self._round - 1)
        bound = self.means_ - scale * np.sqrt(self.width * np.log(self._round) / self.counts_)
        p = np.zeros(self.n_arms)
        p[first_minimum(bound)] = 1.0
        return p


class RestartedBandit(Policy):
    """A fresh copy of a policy every `period` rounds.

    Parameters
    ----------
    make : callable
        ``make(k)`` or ``make()`` returns the k-th copy; give each a seed of its own.
    period : int

    Raises
    ------
    ValueError
        A period below 1.

    Examples
    --------
    >>> from lib.online.sor_bandit import TsallisINF
    >>> from lib.online.sor_bandit.study import RestartedBandit
    >>> policy = RestartedBandit(lambda k: TsallisINF(20, seed=k), 1000)
    >>> arm = policy.select(); policy.update(87)
    """

    def __init__(self, make: Callable[..., Policy], period: int) -> None:
        self._period = checks.integer("period", period, low=1)
        self._make, self._numbered = make, _accepts_an_argument(checks.function("make", make))
        self._round = 0
        self.policy_ = self._fresh()
        super().__init__(self.policy_.n_arms)

    def _fresh(self) -> Policy:
        return self._make(self._round // self._period) if self._numbered else self._make()

    def _choose(self, context: float | None) -> int:
        if self._round and self._round % self._period == 0:
            self.policy_ = self._fresh()
        arm = self.policy_.select(context)
        self.probabilities_ = self.policy_.probabilities_
        # Counted here so that a copy is replaced only once its last choice has been made.
        self._round += 1
        return arm

    def _distribution(self, context: float | None) -> Array:
        return self.probabilities_

    def _learn(self, arm: int, cost: float) -> None:
        self.policy_.update(cost)


class GPThompson(Policy):
    """Thompson sampling with a Gaussian process over (context, relaxation parameter) for the logarithm of the cost.

    Squared-exponential kernel with fixed lengths, exact inference. When `max_points` rounds are stored, every second is
    dropped, so the time per round stays O(max_points^2).

    Parameters
    ----------
    grid : array, shape (d,)
        The relaxation parameters behind the arms.
    context_range : (float, float)
        A context outside is clipped with a warning.
    seed : int, Generator or SeedSequence, optional
    lengths : (float, float)
        Correlation lengths in the context and in omega, as fractions of their ranges; default (0.25, 0.15).
    noise : float
        Standard deviation of the log cost around the model, at least 1e-6, default 0.1; the prior standard deviation is 1.
    max_points : int
        Default 400.

    Raises
    ------
    ValueError
        A bad grid, range, length, noise or number of points.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.online.sor_bandit.study import GPThompson
    >>> policy = GPThompson(np.linspace(1, 1.95, 20), (-0.15, 0.65), seed=0)
    >>> arm = policy.select(0.1); policy.update(60)
    """

    def __init__(
        self,
        grid: ArrayLike,
        context_range: tuple[float, float],
        *,
        seed: Seed = None,
        lengths: tuple[float, float] = (0.25, 0.15),
        noise: float = 0.1,
        max_points: int = 400,
    ) -> None:
        arms = checks.array("grid", grid, ndim=1).astype(np.float64)
        super().__init__(len(arms), seed=seed)
        self.context_range = low, high = interval(context_range)
        correlation = checks.array("lengths", lengths, shape=(2,), above=0)
        self.noise = checks.number("noise", noise, low=1e-6)
        self.max_points = checks.integer("max_points", max_points, low=2)
        span = float(np.ptp(arms)) or 1.0
        self._scales = np.array([correlation[0] * (high - low), correlation[1] * span])
        self._arms = arms / self._scales[1]
        self._points, self._values = np.empty((0, 2)), np.empty(0)
        self._query: Array = np.zeros((self.n_arms, 2))
        self._factor: tuple[Array, bool] | None = None

    @staticmethod
    def _kernel(first: Array, second: Array) -> Array:
        return np.exp(-0.5 * ((first[:, None, :] - second[None, :, :]) ** 2).sum(axis=-1))

    def posterior(self, context: float) -> tuple[Array, Array]:
        """Mean (d,) and covariance (d, d) of the log cost of the arms at a context."""
        query = np.column_stack([np.full(self.n_arms, context / self._scales[0]), self._arms])
        prior = self._kernel(query, query)
        if not len(self._values):
            return np.zeros(self.n_arms), prior
        if self._factor is None:
            gram = self._kernel(self._points, self._points)
            self._factor = cho_factor(gram + self.noise**2 * np.eye(len(gram)), lower=True)
        cross = self._kernel(self._points, query)
        offset = self._values.mean()
        solved = cho_solve(self._factor, np.column_stack([self._values - offset, cross]))
        return offset + cross.T @ solved[:, 0], prior - cross.T @ solved[:, 1:]

    def _choose(self, context: float | None) -> int:
        value = _clip_context(context, *self.context_range)
        mean, covariance = self.posterior(value)
        root = cholesky(covariance + 1e-8 * np.eye(self.n_arms), lower=True)
        arm = int(np.argmin(mean + root @ self._rng.standard_normal(self.n_arms)))
        self._query = np.array([[value / self._scales[0], self._arms[arm]]])
        # Thompson sampling draws without computing its distribution; what is known is the draw.
        self.probabilities_ = np.eye(self.n_arms)[arm]
        return arm

    def _distribution(self, context: float | None) -> Array:
        return self.probabilities_

    def _learn(self, arm: int, cost: float) -> None:
        self._points = np.concatenate([self._points, self._query])
        self._values = np.append(self._values, np.log(cost))
        if len(self._values) > self.max_points:
            self._points, self._values = self._points[::2], self._values[::2]
        self._factor = None
