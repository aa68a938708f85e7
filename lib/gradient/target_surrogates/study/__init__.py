"""What only the experiments of target_surrogates use: problems, rivals, protocols."""

from __future__ import annotations

from .imitation import IMITATORS, Imitation, imitate, learner
from .networks import (
    DIGIT_METHODS,
    digits_network,
    drawn,
    factorize,
    factors,
    ill_conditioned,
    least_loss,
    mnist_digits,
    train_digits,
)
from .pendulum import features, pendulum_expert, pendulum_step, roll_out, start_states
from .picture import BENT_LABELS, bent_outputs, bent_path
from .protocols import (
    GRIDS,
    endings,
    gradients_saved,
    gradients_to,
    log_ratio,
    paper_rules,
    race,
    residual_steps,
    steps_to,
    tuned_race,
)
from .rules import adagrad_rule, adam_rule, follow, gradient_rule, lbfgs_curve, sls_rule, sso_rule
from .tasks import DATASETS, LinearTask, batch_order, linear_task

__all__ = [
    "BENT_LABELS",
    "DATASETS",
    "DIGIT_METHODS",
    "GRIDS",
    "IMITATORS",
    "Imitation",
    "LinearTask",
    "adagrad_rule",
    "adam_rule",
    "batch_order",
    "bent_outputs",
    "bent_path",
    "digits_network",
    "drawn",
    "endings",
    "factorize",
    "factors",
    "features",
    "follow",
    "gradient_rule",
    "gradients_saved",
    "gradients_to",
    "ill_conditioned",
    "imitate",
    "lbfgs_curve",
    "learner",
    "least_loss",
    "linear_task",
    "log_ratio",
    "mnist_digits",
    "paper_rules",
    "pendulum_expert",
    "pendulum_step",
    "race",
    "residual_steps",
    "roll_out",
    "sls_rule",
    "sso_rule",
    "start_states",
    "steps_to",
    "train_digits",
    "tuned_race",
]
