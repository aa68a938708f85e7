"""Over-optimization without noise: bandits with correlated rewards and a true score; the primal problem as an oracle."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import minimize, minimize_scalar

from lib import checks
from lib.policies.constrained_rlhf.bandit import TiltedBandit
from lib.policies.constrained_rlhf.thresholds import nelder_mead_thresholds

#: Values of the rewards, in standard deviations, that are truly best: as many of them as there are rewards.
IDEAL = np.array([1.0, 0.5, 0.75])
#: Largest multiplier over beta at which a proxy point is looked for.
REACH = 8.0


@dataclass(frozen=True)
class Instance:
    """A bandit, and the true score of each of its responses, shape (M,)."""

    bandit: TiltedBandit
    gold: np.ndarray

    def score(self, mu: Any) -> float:
        """True score of the tilted policy of multipliers (N,)."""
        return float(self.gold @ self.bandit.policy(mu))


def instance(rho: float, responses: int = 2000, beta: float = 0.2, seed: Any = 0, rewards: int = 2) -> Instance:
    """A random bandit whose rewards have mean 0, deviation 1 and correlation rho under the base policy.

    The true score of a response is minus half its squared distance from the ideal rewards (1, 0.5, 0.75): every reward
    measures something good, up to a point.

    Parameters
    ----------
    rho : float
        Above -1 and below 1, with three rewards above -1/2; may be negative.
    responses : int
        At least 8.
    beta : float
    seed : int or Generator
    rewards : int
        1 to 3.

    Examples
    --------
    >>> from lib.policies.constrained_rlhf import study
    >>> toy = study.instance(rho=0.8, responses=50, seed=0)
    >>> toy.bandit.covariance([0.0, 0.0]).round(6).tolist()
    [[1.0, 0.8], [0.8, 1.0]]
    """
    rng, m = checks.generator("seed", seed), checks.integer("responses", responses, low=8)
    pi0 = rng.dirichlet(np.full(m, 5.0))
    return instance_on((pi0 + 1e-9) / (pi0 + 1e-9).sum(), rho, beta, rng, rewards)


def instance_on(pi0: Any, rho: float, beta: float = 0.2, seed: Any = 0, rewards: int = 2) -> Instance:
    """The same on a given base policy, (M,) probabilities, M at least 8.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.policies.constrained_rlhf import study
    >>> toy = study.instance_on(np.full(10, 0.1), rho=0.2, rewards=3)
    >>> toy.bandit.rewards.shape
    (3, 10)
    """
    pi0 = checks.array("pi0", pi0, ndim=1, above=0).astype(float)
    n = checks.integer("rewards", rewards, low=1, high=len(IDEAL))
    rho = checks.number("rho", rho, above=-1 / max(n - 1, 1), below=1)
    beta, rng = checks.positive("beta", beta), checks.generator("seed", seed)
    if len(pi0) < 8:
        raise ValueError(f"pi0 must hold at least 8 probabilities, got {len(pi0)}")
    drawn = rng.standard_normal((n, len(pi0)))
    drawn -= (drawn @ pi0)[:, None]
    white = np.linalg.solve(np.linalg.cholesky((drawn * pi0) @ drawn.T), drawn)
    found = np.linalg.cholesky(np.eye(n) + rho * (1 - np.eye(n))) @ white
    gold = -0.5 * ((found - IDEAL[:n, None]) ** 2).sum(0)
    return Instance(TiltedBandit(pi0, found, beta), gold)


def single_point(toy: Instance, reward: int) -> tuple[float, float]:
    """Multiplier at which the true score is highest with one reward alone, from 0, and that reward's value there.

    Parameters
    ----------
    toy : Instance
    reward : int
        Which; from 0.

    Examples
    --------
    >>> from lib.policies.constrained_rlhf import study
    >>> mu, theta = study.single_point(study.instance(rho=0.0, seed=0), reward=0)
    >>> bool(0.7 < theta < 1.3)
    True
    """
    n = len(toy.bandit.rewards)
    which = np.eye(n)[checks.integer("reward", reward, low=0, high=n - 1)]
    found = minimize_scalar(
        lambda x: -toy.score(x * which), bounds=(0.0, REACH * toy.bandit.beta), method="bounded", options={"xatol": 1e-10}
    )
    mu = float(found.x) if -found.fun > toy.score(0 * which) else 0.0
    return mu, float(toy.bandit.values(mu * which) @ which)


def joint_point(toy: Instance) -> tuple[np.ndarray, np.ndarray]:
    """Multipliers, of any sign, at which the true score is highest, and the values of the rewards there; shapes (N,).

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

    n = len(toy.bandit.rewards)
    bounds = [(-REACH * toy.bandit.beta, REACH * toy.bandit.beta)] * n
    options = {"ftol": 1e-15, "gtol": 1e-10}
    found = minimize(loss, np.full(n, toy.bandit.beta / 2), jac=True, bounds=bounds, method="L-BFGS-B", options=options)
    return found.x, toy.bandit.values(found.x)


def searched_point(toy: Instance) -> tuple[np.ndarray, float]:
    """Thresholds (N,) that a simplex search finds by solving the constrained problem at each vertex, and their true score.

    It begins at the base policy's values and a third of a deviation above, one reward at a time. Thresholds that no policy
    has count as the worst response does.

    Examples
    --------
    >>> from lib.policies.constrained_rlhf import study
    >>> toy = study.instance(rho=0.2, responses=1000, seed=0, rewards=3)
    >>> theta, score = study.searched_point(toy)
    >>> bool(abs(score - toy.score(study.joint_point(toy)[0])) < 1e-3)
    True
    """

    def worth(theta: np.ndarray) -> float:
        try:
            return toy.score(toy.bandit.solve(theta=theta).mu)
        except ValueError:
            return float(toy.gold.min())

    n = len(toy.bandit.rewards)
    simplex = toy.bandit.values(np.zeros(n)) + np.vstack([np.zeros(n), np.eye(n) / 3])
    found = nelder_mead_thresholds(worth, simplex, max_evals=400, max_iter=200, tol=1e-6, cache_tol=0.0)
    return found.x, float(found.fun)


def proxy_points(rho: float, seed: Any = 0, responses: int = 2000) -> dict[str, np.ndarray]:
    """Proxy points of one random bandit of two rewards: "single" and "joint", both (2,), in standard deviations.

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
    with warnings.catch_warnings():  # SciPy before 1.16 says that it moves trial points into the bounds
        warnings.filterwarnings("ignore", "Values in x were outside bounds", RuntimeWarning)
        found = minimize(
            divergence, bandit.pi0, jac=True, method="SLSQP", bounds=bounds, constraints=[constraint], options=options
        )
    return np.asarray(found.x)


def balance(bandit: TiltedBandit, mu: Any) -> tuple[np.ndarray, float]:
    """Multipliers (N,) at which the paper's mixture of normalized advantages is zero on a tilted policy, and how near to zero.

    Equation (13). Moments are exact, no floor is under a deviation. A policy to which training comes to rest has such
    multipliers; squashed ones must be below 1.

    Parameters
    ----------
    bandit : TiltedBandit
    mu : array_like, shape (N,)
        Multipliers of the policy, not all zero; no reward may be constant.

    Examples
    --------
    >>> from lib.policies.constrained_rlhf import study
    >>> bandit = study.instance(rho=0.0, seed=0).bandit
    >>> lam, rest = study.balance(bandit, [0.1, -0.05])
    >>> bool(lam[0] > 1), rest < 1e-9
    (True, True)
    """
    pi = bandit.policy(mu)
    own = -bandit.beta * np.log(pi / bandit.pi0)
    columns = np.vstack([own, bandit.rewards])
    columns = columns - (columns @ pi)[:, None]
    spread = np.sqrt(columns**2 @ pi)
    if not (spread > 1e-12 * np.abs(columns).max()).all():
        raise ValueError("mu must tilt the base policy, and no reward may be constant")
    pull = np.asarray(mu, dtype=float) * spread[1:]
    lam = len(pull) * pull / (spread[0] + pull.sum())  # (13)
    weights = np.concatenate([[len(lam) - lam.sum()], lam])  # (2)
    return lam, float(np.abs(weights @ (columns / spread[:, None])).max())
