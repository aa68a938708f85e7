"""Over-optimization without noise: bandits with two correlated rewards and a true score; the primal problem as an oracle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import minimize, minimize_scalar

from lib import checks
from lib.policies.constrained_rlhf.bandit import TiltedBandit

#: Values of the two rewards, in standard deviations, that are truly best.
IDEAL = np.array([1.0, 0.5])
#: Largest multiplier over beta at which a proxy point is looked for.
REACH = 8.0


@dataclass(frozen=True)
class Instance:
    """A bandit, and the true score of each of its responses, shape (M,)."""

    bandit: TiltedBandit
    gold: np.ndarray

    def score(self, mu: Any) -> float:
        """True score of the tilted policy of multipliers (2,)."""
        return float(self.gold @ self.bandit.policy(mu))


def instance(rho: float, responses: int = 2000, beta: float = 0.2, seed: Any = 0) -> Instance:
    """A random bandit whose rewards have mean 0, deviation 1 and correlation rho under the base policy.

    The true score of a response is minus half its squared distance from the ideal rewards (1, 0.5): both rewards measure
    something good, up to a point.

    Parameters
    ----------
    rho : float
        Above -1 and below 1; may be negative.
    responses : int
        At least 8.
    beta : float
    seed : int or Generator

    Examples
    --------
    >>> from lib.policies.constrained_rlhf import study
    >>> toy = study.instance(rho=0.8, responses=50, seed=0)
    >>> toy.bandit.covariance([0.0, 0.0]).round(6).tolist()
    [[1.0, 0.8], [0.8, 1.0]]
    """
    rho, beta = checks.number("rho", rho, above=-1, below=1), checks.positive("beta", beta)
    rng, m = checks.generator("seed", seed), checks.integer("responses", responses, low=8)
    pi0 = rng.dirichlet(np.full(m, 5.0))
    pi0 = (pi0 + 1e-9) / (pi0 + 1e-9).sum()
    drawn = rng.standard_normal((2, m))
    drawn -= (drawn @ pi0)[:, None]
    white = np.linalg.solve(np.linalg.cholesky((drawn * pi0) @ drawn.T), drawn)
    rewards = np.linalg.cholesky(np.array([[1.0, rho], [rho, 1.0]])) @ white
    gold = -0.5 * ((rewards - IDEAL[:, None]) ** 2).sum(0)
    return Instance(TiltedBandit(pi0, rewards, beta), gold)


def single_point(toy: Instance, reward: int) -> tuple[float, float]:
    """Multiplier at which the true score is highest with one reward alone, from 0, and that reward's value there.

    Parameters
    ----------
    toy : Instance
    reward : {0, 1}

    Examples
    --------
    >>> from lib.policies.constrained_rlhf import study
    >>> mu, theta = study.single_point(study.instance(rho=0.0, seed=0), reward=0)
    >>> bool(0.7 < theta < 1.3)
    True
    """
    which = np.eye(2)[checks.integer("reward", reward, low=0, high=1)]
    found = minimize_scalar(
        lambda x: -toy.score(x * which), bounds=(0.0, REACH * toy.bandit.beta), method="bounded", options={"xatol": 1e-10}
    )
    mu = float(found.x) if -found.fun > toy.score(0 * which) else 0.0
    return mu, float(toy.bandit.values(mu * which) @ which)


def joint_point(toy: Instance) -> tuple[np.ndarray, np.ndarray]:
    """Multipliers, of any sign, at which the true score is highest, and the values of both rewards there; shapes (2,).

    Examples
    --------
    >>> from lib.policies.constrained_rlhf import study
    >>> toy = study.instance(rho=0.0, seed=0)
    >>> mu, theta = study.joint_point(toy)
    >>> toy.score(mu) >= toy.score([study.single_point(toy, 0)[0], 0.0])
    True
    """

    def loss(mu: np.ndarray) -> tuple[float, np.ndarray]:
        pi, rewards = toy.bandit.policy(mu), toy.bandit.rewards
        mean = toy.gold @ pi
        return -float(mean), -(rewards @ (pi * (toy.gold - mean))) / toy.bandit.beta

    bounds = [(-REACH * toy.bandit.beta, REACH * toy.bandit.beta)] * 2
    options = {"ftol": 1e-15, "gtol": 1e-10}
    found = minimize(loss, np.full(2, toy.bandit.beta / 2), jac=True, bounds=bounds, method="L-BFGS-B", options=options)
    return found.x, toy.bandit.values(found.x)


def proxy_points(rho: float, seed: Any = 0, responses: int = 2000) -> dict[str, np.ndarray]:
    """Proxy points of one random bandit: "single" and "joint", both (2,), in standard deviations of the rewards.

    Examples
    --------
    >>> from lib.policies.constrained_rlhf import study
    >>> found = study.proxy_points(-0.8, seed=1)
    >>> bool(found["single"][0] < found["joint"][0])
    True
    """
    toy = instance(rho, responses, seed=seed)
    return {"single": np.array([single_point(toy, i)[1] for i in (0, 1)]), "joint": joint_point(toy)[1]}


def primal(bandit: TiltedBandit, theta: Any) -> np.ndarray:
    """The policy nearest to the base policy whose values are the thresholds, (M,), by SLSQP on the probabilities.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.policies.constrained_rlhf import TiltedBandit, study
    >>> bandit = TiltedBandit([0.5, 0.5], [[0.0, 1.0]], beta=1.0)
    >>> study.primal(bandit, [0.75]).round(6).tolist()
    [0.25, 0.75]
    """
    theta = checks.array("theta", theta, shape=(len(bandit.rewards),)).astype(float)

    def divergence(pi: np.ndarray) -> tuple[float, np.ndarray]:
        logs = np.log(np.maximum(pi, 1e-300) / bandit.pi0)
        return float(pi @ logs), logs + 1

    held = np.vstack([np.ones_like(bandit.pi0), bandit.rewards])
    wanted = np.concatenate([[1.0], theta])
    constraint = {"type": "eq", "fun": lambda pi: held @ pi - wanted, "jac": lambda pi: held}
    options = {"maxiter": 1000, "ftol": 1e-15}
    bounds = [(1e-12, 1.0)] * len(bandit.pi0)
    found = minimize(divergence, bandit.pi0, jac=True, method="SLSQP", bounds=bounds, constraints=[constraint], options=options)
    return np.asarray(found.x)
