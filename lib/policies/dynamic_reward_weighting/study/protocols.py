"""The races: which methods there are, on which base policy, under one budget; and what is read off their histories."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from lib import checks
from lib.networks import ESTIMATORS, Transformer
from lib.policies.dynamic_reward_weighting.pareto import hypervolume
from lib.policies.dynamic_reward_weighting.study.language import MOST, ArithmeticTask
from lib.policies.dynamic_reward_weighting.study.rivals import MinNorm
from lib.policies.dynamic_reward_weighting.training import History, RLConfig, train
from lib.policies.dynamic_reward_weighting.weighting import (
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
#: Reference of the hypervolume: nothing right, one token too long, nothing clear; and units in which it is at most 1.
REFERENCE = np.array([0.0, MOST + 1.0, 0.0])
UNITS = np.array([1.0, MOST + 1.0, 1.0])


@dataclass(frozen=True)
class Plan:
    """A race: steps, prompts of a step and responses to each, learning rate, its share of mu, tests."""

    steps: int = 40
    prompts: int = 8
    group: int = 8
    lr: float = 1e-3
    factor: float = 0.02
    test_every: int = 5
    test_prompts: int = 100
    validation: int = 100
    extra: dict[str, Any] = field(default_factory=dict)

    def config(self, estimator: str) -> RLConfig:
        """Settings of the reinforcement learning: one update a step, no clipping of ratios."""
        checks.choice("estimator", estimator, ESTIMATORS)
        own = {"prompts": self.prompts, "group": self.group, "minibatch": self.prompts, "lr": self.lr}
        return RLConfig(**own, ratio=np.inf, estimator=estimator, validation=self.validation, **self.extra)


def weighting_of(method: str, lr: float = 1e-3, factor: float = 0.02) -> RewardWeighting:
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
    tests = {"test_every": plan.test_every, "test_prompts": plan.test_prompts}
    begin = time.process_time()
    history = train(policy, ArithmeticTask(), weighting, config, steps=plan.steps, seed=seed, **tests)
    return history, time.process_time() - begin


def volume(points: Any) -> float:
    """Hypervolume of test points beyond `REFERENCE`, as a share of the largest that there could be.

    Parameters
    ----------
    points : array_like, shape (M, 3)

    Examples
    --------
    >>> from lib.policies.dynamic_reward_weighting import study
    >>> study.volume([[0.5, 12.5, 1.0]])
    0.25
    """
    given = checks.array("points", points, shape=(None, 3))
    return hypervolume(given / UNITS, REFERENCE / UNITS, ArithmeticTask.maximize)


def volumes(history: History) -> np.ndarray:
    """`volume` of the points up to each test, shape (M,)."""
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
