"""The problem on finitely many responses, where it has a closed form: tilted policies and their convex dual."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from lib import checks

#: Largest number of rewards whose active sets are tried one by one.
_MOST_REWARDS = 12


@dataclass(frozen=True)
class TiltedPolicy:
    """A solution of a `TiltedBandit`.

    mu : multipliers, (N,)
    policy : probabilities of the responses, (M,)
    values : expected rewards, (N,)
    kl : divergence from the base policy
    dual : value of the dual function at mu; without thresholds, beta times the log-partition
    """

    mu: np.ndarray
    policy: np.ndarray
    values: np.ndarray
    kl: float
    dual: float


class TiltedBandit:
    """One prompt, M responses, N rewards: maximize -beta KL(pi, pi_0), subject to expected rewards at thresholds.

    For given multipliers the best policy is the base policy, tilted: pi(y) ~ pi_0(y) exp(sum mu_i r_i(y) / beta). The
    multipliers minimize the dual beta log sum pi_0 exp(sum mu_i r_i / beta) - sum mu_i theta_i, which is convex: its gradient
    is v - theta, its second derivative the covariance of the rewards under pi, over beta.

    Parameters
    ----------
    pi0 : array_like, shape (M,)
        Probabilities of the base policy, above zero, with sum 1.
    rewards : array_like, shape (N, M)
    beta : float
        Coefficient of the divergence.

    Raises
    ------
    TypeError, ValueError
        For probabilities that are none, shapes that do not agree, thresholds that no policy has.

    Examples
    --------
    >>> from lib.policies.constrained_rlhf import TiltedBandit
    >>> bandit = TiltedBandit(pi0=[0.5, 0.25, 0.25], rewards=[[0.0, 1.0, 0.5]], beta=0.1)
    >>> solution = bandit.solve(theta=[0.8])
    >>> solution.values.round(6).tolist()
    [0.8]
    """

    def __init__(self, pi0: Any, rewards: Any, beta: float = 0.2) -> None:
        self.pi0 = checks.array("pi0", pi0, ndim=1, above=0).astype(float)
        if abs(self.pi0.sum() - 1) > 1e-8:
            raise ValueError(f"pi0 must sum to 1, got {self.pi0.sum():.10g}")
        self.rewards = checks.array("rewards", rewards, shape=(None, len(self.pi0))).astype(float)
        self.beta = checks.positive("beta", beta)

    def policy(self, mu: Any) -> np.ndarray:
        """The tilted policy of multipliers (N,), shape (M,)."""
        return self._tilt(self._multipliers(mu))[0]

    def values(self, mu: Any) -> np.ndarray:
        """Expected rewards of the tilted policy, shape (N,)."""
        return self.rewards @ self.policy(mu)

    def covariance(self, mu: Any) -> np.ndarray:
        """Covariance of the rewards under the tilted policy, (N, N); over beta it is the derivative of `values`."""
        return self._covariance(self.policy(mu))

    def kl(self, mu: Any) -> float:
        """Divergence of the tilted policy from the base policy."""
        mu = self._multipliers(mu)
        pi, log_partition = self._tilt(mu)
        return max(float(pi @ (mu @ self.rewards) / self.beta - log_partition), 0.0)

    def solve(self, mu: Any = None, theta: Any = None, kind: str = "equality", tol: float = 1e-12) -> TiltedPolicy:
        """The best policy for multipliers `mu`, or for thresholds `theta` by Newton's method on the dual.

        Parameters
        ----------
        mu, theta : array_like, shape (N,)
            One of them.
        kind : {"equality", "inequality"}
            Values at their thresholds, or at least.
        tol : float
            Largest violation of a constraint, as a multiple of its reward's range.

        Raises
        ------
        ValueError
            Where no policy that gives every response a probability has such values.
        """
        if (mu is None) == (theta is None):
            raise ValueError("mu or theta must be given, and not both")
        checks.choice("kind", kind, ("equality", "inequality"))
        tol = checks.positive("tol", tol)
        if mu is not None:
            return self._solution(self._multipliers(mu), np.zeros(len(self.rewards)))
        wanted = checks.array("theta", theta, shape=(len(self.rewards),)).astype(float)
        if kind == "equality":
            return self._solution(self._newton(wanted, list(range(len(wanted))), tol), wanted)
        return self._solution(self._active_set(wanted, tol), wanted)

    # ---------------------------------------------------------------------------------------------------------------------

    def _multipliers(self, mu: Any) -> np.ndarray:
        return checks.array("mu", mu, shape=(len(self.rewards),)).astype(float)

    def _tilt(self, mu: np.ndarray) -> tuple[np.ndarray, float]:
        """The tilted policy and the log-partition."""
        scores = np.log(self.pi0) + mu @ self.rewards / self.beta  # (8)
        top = scores.max()
        weights = np.exp(scores - top)
        return weights / weights.sum(), float(top + np.log(weights.sum()))  # (8)

    def _covariance(self, pi: np.ndarray) -> np.ndarray:
        centered = self.rewards - (self.rewards @ pi)[:, None]
        return (centered * pi) @ centered.T  # (10)

    def _dual(self, mu: np.ndarray, theta: np.ndarray) -> float:
        return self.beta * self._tilt(mu)[1] - float(mu @ theta)  # (9)

    def _solution(self, mu: np.ndarray, theta: np.ndarray) -> TiltedPolicy:
        pi = self._tilt(mu)[0]
        return TiltedPolicy(mu, pi, self.rewards @ pi, self.kl(mu), self._dual(mu, theta))

    def _newton(self, theta: np.ndarray, active: list[int], tol: float) -> np.ndarray:
        """Multipliers of the active constraints with equality, the others zero."""
        mu, spread = np.zeros(len(theta)), np.ptp(self.rewards, axis=1)
        for _ in range(200):
            pi = self._tilt(mu)[0]
            gap = (self.rewards @ pi - theta)[active]  # (9)
            if (np.abs(gap) <= tol * np.maximum(spread[active], 1e-300)).all():
                return mu
            curvature = self._covariance(pi)[np.ix_(active, active)] / self.beta  # (10)
            step = np.zeros_like(mu)
            step[active] = -np.linalg.lstsq(curvature, gap, rcond=1e-13)[0]
            # Far from the solution the step is long where the policy is nearly certain: no log-odds moves by more than 5.
            if not np.isfinite(step).all():
                break
            reach = np.ptp(step @ self.rewards) / self.beta
            step *= min(1.0, 5.0 / max(reach, 1e-300))
            slope, now, size = float(gap @ step[active]), self._dual(mu, theta), 1.0
            while self._dual(mu + size * step, theta) > now + 1e-4 * size * slope + 1e-14 * (1 + abs(now)) and size > 1e-8:
                size /= 2
            mu = mu + size * step
        raise ValueError(f"theta must be values of a policy that can give every response; got {theta.tolist()}")

    def _active_set(self, theta: np.ndarray, tol: float) -> np.ndarray:
        """Multipliers at or above zero: those of the one set of active constraints that satisfies all of them."""
        n = len(theta)
        if n > _MOST_REWARDS:
            raise ValueError(f"theta must hold at most {_MOST_REWARDS} thresholds for inequalities, got {n}")
        slack = tol * np.ptp(self.rewards, axis=1)
        for size in range(n + 1):
            for active in combinations(range(n), size):
                try:
                    mu = self._newton(theta, list(active), tol)
                except ValueError:
                    continue
                if (mu >= 0).all() and (self.values(mu) >= theta - slack).all():
                    return mu
        raise ValueError(f"theta must be reachable: no policy has values of at least {theta.tolist()}")
