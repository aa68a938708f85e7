"""The races: which methods there are, on which base policy, under one budget; and what is read off their histories."""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from lib import checks
from lib.networks import ESTIMATORS, Transformer
from lib.policies.dynamic_reward_weighting.pareto import hypervolume
from lib.policies.dynamic_reward_weighting.rewards import RunningRewards
from lib.policies.dynamic_reward_weighting.study.language import MOST, ArithmeticTask
from lib.policies.dynamic_reward_weighting.study.rivals import MinNorm
from lib.policies.dynamic_reward_weighting.study.weights import load_base
from lib.policies.dynamic_reward_weighting.training import History, RLConfig, Trainer, train
from lib.policies.dynamic_reward_weighting.weighting import (
    PLACES,
    PREFERENCES,
    FixedWeights,
    GradientInfluence,
    HypervolumeGuided,
    RewardWeighting,
)

EQUAL = (1 / 3, 1 / 3, 1 / 3)
#: Method -> what it is in words.
METHODS = {
    "balanced": "fixed, equal",
    "accuracy": "fixed, for accuracy",
    "efficiency": "fixed, for efficiency",
    "gradient": "gradient-based",
    "guided": "hypervolume on rewards",
    "guided advantage": "hypervolume on advantages",
    "normalized": "each reward normalized",
    "min norm": "shortest gradient",
}
#: Race -> base policy, estimator, method, and what differs from the plan (as factors of its settings).
RACES: dict[str, tuple[str, str, str, dict[str, float]]] = {
    **{method: ("V", "grpo", method, {}) for method in METHODS if method != "guided"},
    **{f"{method} again": ("V", "grpo", method, {}) for method in ("balanced", "gradient")},
    "gradient slow": ("V", "grpo", "gradient", {"factor": 1 / 3}),
    "gradient fast": ("V", "grpo", "gradient", {"factor": 10 / 3}),
    "rate half": ("V", "grpo", "balanced", {"lr": 0.5}),
    "rate double": ("V", "grpo", "balanced", {"lr": 2.0}),
    **{f"rloo {method}": ("V", "rloo", method, {}) for method in ("balanced", "gradient", "guided")},
    **{f"reinforce {method}": ("V", "reinforce_pp", method, {}) for method in ("balanced", "gradient")},
    **{f"C {method}": ("C", "grpo", method, {}) for method in ("balanced", "gradient")},
}
#: Reference of the hypervolume: nothing right, one token too long, nothing clear; and units in which it is at most 1.
REFERENCE = np.array([0.0, MOST + 1.0, 0.0])
UNITS = np.array([1.0, MOST + 1.0, 1.0])


@dataclass(frozen=True)
class Plan:
    """A race: steps, prompts of a step and responses to each, learning rate, its share of mu, tests, clipping of gradients."""

    steps: int = 40
    prompts: int = 8
    group: int = 8
    lr: float = 2e-4
    factor: float = 0.06
    test_every: int = 5
    test_prompts: int = 100
    validation: int = 100
    clip_norm: float = np.inf

    def config(self, estimator: str) -> RLConfig:
        """Settings of the reinforcement learning: one update a step, no clipping of ratios."""
        checks.choice("estimator", estimator, ESTIMATORS)
        own: dict[str, Any] = {"prompts": self.prompts, "group": self.group, "minibatch": self.prompts, "lr": self.lr}
        return RLConfig(**own, ratio=np.inf, estimator=estimator, validation=self.validation, clip_norm=self.clip_norm)


def weighting_of(method: str, lr: float = 2e-4, factor: float = 0.06) -> RewardWeighting:
    """The weighting of a method of `METHODS`; weights that follow gradients take mu = lr / factor.

    Parameters
    ----------
    method : str
    lr, factor : float

    Examples
    --------
    >>> from lib.policies.dynamic_reward_weighting import study
    >>> study.weighting_of("accuracy").weights.tolist()
    [0.5, 0.25, 0.25]
    """
    checks.choice("method", method, METHODS)
    lr, factor = checks.positive("lr", lr), checks.positive("factor", factor)
    if method in ("accuracy", "efficiency"):
        return FixedWeights(PREFERENCES[method])
    if method == "gradient":
        return GradientInfluence(EQUAL, mu=lr / factor)
    if method == "min norm":
        return MinNorm(EQUAL)
    if method.startswith("guided"):
        where = "advantage" if method.endswith("advantage") else "reward"
        return HypervolumeGuided(EQUAL, ArithmeticTask.maximize, where=where)
    return FixedWeights(EQUAL)


def run(policy: Transformer, method: str, plan: Plan, estimator: str = "grpo", seed: Any = 0) -> tuple[History, float]:
    """One method on one base policy; its history and CPU seconds. Methods that share a seed share prompts and draws.

    Examples
    --------
    >>> from lib.policies.dynamic_reward_weighting import study
    >>> plan = study.Plan(steps=1, prompts=2, group=2, test_prompts=4)
    >>> study.run(study.new_policy(width=16), "balanced", plan)[0].tested
    [0, 1]
    """
    weighting = weighting_of(method, plan.lr, plan.factor)
    config = replace(plan.config(estimator), each=method == "normalized")
    tests: dict[str, Any] = {"test_every": plan.test_every, "test_prompts": plan.test_prompts}
    begin = time.process_time()
    history = train(policy, ArithmeticTask(), weighting, config, steps=plan.steps, seed=seed, **tests)
    return history, time.process_time() - begin


def race(name: str, plan: Plan, seed: Any = 0) -> tuple[History, float]:
    """A race of `RACES`; its history and CPU seconds. Races that share a seed share prompts and random numbers.

    Parameters
    ----------
    name : str
    plan : Plan
    seed : int or Generator

    Examples
    --------
    >>> from lib.policies.dynamic_reward_weighting import study
    >>> study.race("C gradient", study.Plan(steps=1, prompts=2, group=2, test_prompts=4), seed=0)[0].tested
    [0, 1]
    """
    base, estimator, method, factors = RACES[checks.choice("name", name, RACES)]
    own = replace(plan, **{key: getattr(plan, key) * factor for key, factor in factors.items()})
    return run(load_base(base)[0], method, own, estimator, seed)


def scale_effect(
    policy: Transformer, estimator: str, plan: Plan, where: str = "reward", scale: float = 2.0, seed: int = 0
) -> float:
    """By how much an update changes if rewards (or advantages) are scaled: after a step without scale, on the same batch.

    The length of the difference of both updates over that of the update without scale.

    Examples
    --------
    >>> from lib.policies.dynamic_reward_weighting import study
    >>> study.scale_effect(study.new_policy(width=16), "rloo", study.Plan(prompts=2, group=2), scale=1.0)
    0.0
    """
    moved = []
    for factor in (1.0, checks.positive("scale", scale)):
        weighting = FixedWeights(EQUAL)
        weighting.where = checks.choice("where", where, PLACES)
        trainer = Trainer(copy.deepcopy(policy), ArithmeticTask(), weighting, plan.config(estimator), seed)
        trainer.step()
        before = _flat(trainer.policy)
        weighting.scale = factor
        trainer.step()
        moved.append(_flat(trainer.policy) - before)
    return _apart(moved[1], moved[0])


def linearity_gap(policy: Transformer, estimator: str, plan: Plan, seed: int = 0) -> float:
    """Weighted sum of the rewards' gradients against the gradient of the weighted reward: relative length of the difference.

    Examples
    --------
    >>> from lib.policies.dynamic_reward_weighting import study
    >>> study.linearity_gap(study.load_base("V")[0], "rloo", study.Plan(prompts=2, group=4)) < 1e-9
    True
    """
    method = GradientInfluence(EQUAL, mu=1.0, clip=np.inf)
    trainer = Trainer(copy.deepcopy(policy), ArithmeticTask(), method, plan.config(estimator), seed)
    trainer.step()
    drawn = trainer.rollouts
    rewards = RunningRewards(ArithmeticTask.maximize)(trainer.task.measure(drawn))
    together = np.tile((rewards @ np.array(EQUAL))[:, None], 3)
    whole = trainer.reward_gradients(drawn, together)[0]
    apart = np.array(EQUAL) @ trainer.reward_gradients(drawn, rewards)
    return _apart(apart, whole)


def _apart(found: np.ndarray, wanted: np.ndarray) -> float:
    """Length of the difference over that of what is wanted; 0 where both are nothing."""
    return float(np.linalg.norm(found - wanted) / max(np.linalg.norm(wanted), np.finfo(float).tiny))


def _flat(policy: Transformer) -> np.ndarray:
    return torch.cat([p.detach().flatten() for p in policy.parameters()]).double().numpy()


def volume(points: Any) -> float:
    """Hypervolume of test points beyond `REFERENCE`, as a share of the largest that there could be.

    Parameters
    ----------
    points : array_like, shape (M, 3)

    Examples
    --------
    >>> from lib.policies.dynamic_reward_weighting import study
    >>> study.volume([[0.5, 9.5, 1.0]])
    0.25
    """
    given = checks.array("points", points, shape=(None, 3))
    return hypervolume(given / UNITS, REFERENCE / UNITS, ArithmeticTask.maximize)


def volumes(history: History) -> np.ndarray:
    """`volume` of the points up to each test, shape (M,).

    Examples
    --------
    >>> from lib.policies.dynamic_reward_weighting import History, study
    >>> history = History([True, False, True], points=[[0.5, 9.5, 0.5], [0.5, 9.5, 1.0]])
    >>> study.volumes(history).tolist()
    [0.125, 0.25]
    """
    return np.array([volume(history.points[: m + 1]) for m in range(len(history.points))])


def steps_to(curve: Any, level: float, every: float = 1.0) -> float:
    """When a curve first reaches a level, between tests by a straight line; past its end, one test more, where it never does.

    Parameters
    ----------
    curve : array_like, shape (M,)
        Values at tests, the first at step 0.
    level : float
        May be negative.
    every : float
        Steps between tests.

    Examples
    --------
    >>> from lib.policies.dynamic_reward_weighting import study
    >>> study.steps_to([0.0, 1.0, 3.0], level=2.0, every=5), study.steps_to([0.0, 1.0], level=2.0, every=5)
    (7.5, 10.0)
    """
    values = checks.array("curve", curve, ndim=1).astype(float)
    level, every = checks.number("level", level), checks.positive("every", every)
    over = np.flatnonzero(values >= level)
    if not len(over):
        return float(every * len(values))
    m = over[0]
    return float(every * (m if m == 0 else m - 1 + (level - values[m - 1]) / (values[m] - values[m - 1])))


def settling_step(curve: Any, share: float = 0.9, every: float = 1.0) -> float:
    """When a curve has gone a share of the way from its first to its best value (the largest).

    Parameters
    ----------
    curve : array_like, shape (M,)
        A quantity that shall be large; one that shall be small comes with its sign changed.
    share : float
    every : float

    Examples
    --------
    >>> from lib.policies.dynamic_reward_weighting import study
    >>> study.settling_step([0.0, 5.0, 10.0, 10.0], share=0.5, every=2)
    2.0
    """
    values = checks.array("curve", curve, ndim=1).astype(float)
    share = checks.probability("share", share)
    return steps_to(values, values[0] + share * (values.max() - values[0]), every)
