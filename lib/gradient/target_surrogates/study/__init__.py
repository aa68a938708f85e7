"""What only the experiments of target_surrogates use: problems, rivals, protocols."""

from __future__ import annotations

from .imitation import Imitation, imitate, learner
from .pendulum import features, pendulum_expert, pendulum_step, roll_out, start_states
from .rules import adagrad_rule, adam_rule, follow, gradient_rule, lbfgs_curve, sls_rule, sso_rule
from .tasks import DATASETS, LinearTask, batch_order, linear_task

__all__ = [
    "DATASETS",
    "Imitation",
    "LinearTask",
    "adagrad_rule",
    "adam_rule",
    "batch_order",
    "follow",
    "gradient_rule",
    "features",
    "imitate",
    "lbfgs_curve",
    "learner",
    "linear_task",
    "pendulum_expert",
    "pendulum_step",
    "roll_out",
    "sls_rule",
    "sso_rule",
    "start_states",
]
