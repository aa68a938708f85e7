"""What only the chapter's experiments use: pairs of clauses, the learned reward model, the base policy, races, rivals."""

from lib.policies.constrained_rlhf.study.bandits import (
    IDEAL,
    Instance,
    instance,
    joint_point,
    primal,
    proxy_points,
    single_point,
)
from lib.policies.constrained_rlhf.study.evaluation import (
    METRICS,
    REWARDS,
    Evaluation,
    IntentReward,
    evaluate,
    meteor_reward,
    metrics,
    sample,
    score,
)
from lib.policies.constrained_rlhf.study.fixed import ALPHAS, GRID, HIGH, LOW, THRESHOLDS
from lib.policies.constrained_rlhf.study.intents import IntentModel, accuracy, bags, fit_intents
from lib.policies.constrained_rlhf.study.protocols import RUNS, Plan, Run, Search, Setting, follow, run, search, search_cost
from lib.policies.constrained_rlhf.study.text import INTENTS, MAX_NEW, SPLITS, Corpus, clauses, corpus, intent
from lib.policies.constrained_rlhf.study.weights import Base, load, new_policy

__all__ = [
    "ALPHAS",
    "GRID",
    "HIGH",
    "IDEAL",
    "INTENTS",
    "LOW",
    "MAX_NEW",
    "METRICS",
    "REWARDS",
    "RUNS",
    "SPLITS",
    "THRESHOLDS",
    "Base",
    "Corpus",
    "Evaluation",
    "Instance",
    "IntentModel",
    "IntentReward",
    "Plan",
    "Run",
    "Search",
    "Setting",
    "accuracy",
    "bags",
    "clauses",
    "corpus",
    "evaluate",
    "fit_intents",
    "follow",
    "instance",
    "intent",
    "joint_point",
    "load",
    "meteor_reward",
    "metrics",
    "new_policy",
    "primal",
    "proxy_points",
    "run",
    "sample",
    "score",
    "search",
    "search_cost",
    "single_point",
]
