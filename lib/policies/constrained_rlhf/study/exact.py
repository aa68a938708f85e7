"""A task for the trainer whose best policy is known: one prompt, 43 responses of up to two tokens, several rewards.

The base policy is a small transformer with random weights. Its responses can be listed, so that the constrained problem is a
`TiltedBandit`, and what `ConstrainedPPO` learns from samples can be held against the exact solution.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from lib import checks
from lib.networks import Rollouts, Transformer, response_log_probs
from lib.policies.constrained_rlhf.bandit import TiltedPolicy
from lib.policies.constrained_rlhf.ppo import ConstrainedPPO
from lib.policies.constrained_rlhf.settings import PPOConfig
from lib.policies.constrained_rlhf.study.bandits import Instance, instance_on

#: Padding, the end of a response, the one prompt, and how many tokens there are.
_PAD, _END, _PROMPT, _TOKENS = 0, 1, [[2]], 8
#: Every response with its end: empty, or a token and then the end or another token.
_RESPONSES = [(_END,), *((a, b) for a in range(2, _TOKENS) for b in range(1, _TOKENS))]
#: How far apart the scores of tokens are in the base policy.
_SPREAD = 10.0


@dataclass(frozen=True)
class Task:
    """Base policy, the bandit of its responses, thresholds (N,), and the exact solution."""

    policy: Transformer
    toy: Instance
    theta: np.ndarray
    solution: TiltedPolicy

    def reward_models(self) -> list[Any]:
        """One function for each reward: the bandit's, looked up."""
        place = {tuple(t for t in said if t != _END): row for row, said in enumerate(_RESPONSES)}

        def model(column: np.ndarray) -> Any:
            return lambda prompts, responses, references: [column[place[tuple(said)]] for said in responses]

        return [model(column) for column in self.toy.bandit.rewards]

    def trainer(self, variant: str = "xi", seed: Any = 0, **changes: Any) -> ConstrainedPPO:
        """A run that has not begun; `changes` are of `PPOConfig`."""
        own: dict[str, Any] = {
            "episodes": 256, "minibatch": 64, "epochs": 2, "lr": 1e-3, "beta": self.toy.bandit.beta, "max_new": 2, "min_new": 1,
            "top_k": None, "gamma": 1.0, "lam": 1.0,
        }  # fmt: skip
        theta, config = None if variant == "ppo" else self.theta, PPOConfig(**(own | changes))
        return ConstrainedPPO(self.policy, self.reward_models(), theta, variant, config, end=_END, pad=_PAD, seed=seed)

    def distance(self, policy: Any) -> tuple[float, float]:
        """Largest distance of a value from its threshold, and divergence from the exact solution, both without noise."""
        pi = probabilities(policy)
        missed = np.abs(self.toy.bandit.rewards @ pi - self.theta).max()
        return float(missed), float(pi @ np.log(pi / self.solution.policy))


def probabilities(policy: Any) -> np.ndarray:
    """Probability of each of the 43 responses under a policy, shape (43,).

    Examples
    --------
    >>> from lib.policies.constrained_rlhf import study
    >>> round(float(study.probabilities(study.task(seed=0).policy).sum()), 9)
    1.0
    """
    if not isinstance(policy, Transformer):
        raise TypeError(f"policy must be a Transformer, got {checks.shown(policy)}")
    rows = [[*_PROMPT[0], *said, *[_PAD] * (2 - len(said))] for said in _RESPONSES]
    tokens = torch.tensor(rows)
    with torch.no_grad():
        logs, _ = response_log_probs(policy, Rollouts(tokens, tokens != _PAD, 1, torch.zeros(len(rows), 2), _PAD))
    return logs.sum(1).double().exp().numpy()


def task(seed: Any = 0, rewards: int = 3, rho: float = 0.2, beta: float = 0.2) -> Task:
    """A random task; thresholds are values of a tilted policy, one multiplier of it negative where there are three rewards.

    Parameters
    ----------
    seed : int or Generator
    rewards : int
        1 to 3.
    rho : float
        Correlation of the rewards under the base policy; may be negative.
    beta : float

    Examples
    --------
    >>> from lib.policies.constrained_rlhf import study
    >>> toy = study.task(seed=0)
    >>> toy.theta.shape, toy.distance(toy.policy)[0] > 0.1
    ((3,), True)
    """
    rng = checks.generator("seed", seed)
    policy = Transformer(_TOKENS, 3, width=16, n_layers=1, n_heads=2, seed=int(rng.integers(2**31))).to(torch.float64)
    with torch.no_grad():
        policy.tokens.weight.mul_(_SPREAD)
    toy = instance_on(probabilities(policy), rho, beta, rng, rewards)
    theta = toy.bandit.values(beta * np.array([0.6, 0.4, -0.5])[:rewards])
    return Task(policy, toy, theta, toy.bandit.solve(theta=theta))


def learn(toy: Task, squash: bool, iterations: int = 60, seed: Any = 0) -> dict[str, Any]:
    """xi-PPO on a task, in the paper's form or as the Lagrangian itself: multipliers and advantages as they are, from zero.

    Parameters
    ----------
    toy : Task
    squash : bool
        True for the paper's form: squashed multipliers of normalized advantages.
    iterations : int
    seed : int or Generator

    Returns
    -------
    dict
        "missed", the largest distance of a value from its threshold; "apart", the divergence from the exact policy, over the
        base policy's; "mu", the means of the multipliers over the second half of the run, (N,).

    Examples
    --------
    >>> from lib.policies.constrained_rlhf import study
    >>> found = study.learn(study.task(seed=0), squash=False, iterations=2)
    >>> found["mu"].shape
    (3,)
    """
    if not isinstance(toy, Task):
        raise TypeError(f"toy must be a Task, got {checks.shown(toy)}")
    squash, iterations = checks.boolean("squash", squash), checks.integer("iterations", iterations, low=1)
    own = {} if squash else {"multiplier_squash": False, "normalize": "sum", "multiplier_lr": 0.005}
    trainer = toy.trainer("xi", seed, **own)
    if not squash and trainer.multipliers is not None:
        torch.nn.init.zeros_(trainer.multipliers.mu)
    history = trainer.fit(_PROMPT, iterations=iterations)
    missed, apart = toy.distance(trainer.policy)
    mu = history.array("weights")[iterations // 2 :].mean(0)
    return {"missed": missed, "apart": apart / toy.distance(toy.policy)[1], "mu": mu}
