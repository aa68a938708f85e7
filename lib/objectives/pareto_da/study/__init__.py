"""What only the chapter's experiments use: tasks, many runs at once, protocols, rivals, instances."""

from .conv import ConvNetwork, conv_compare, conv_starts
from .instances import fonseca, front_point, gaussian_refinement, harmed_without_guard, random_program, walk
from .measures import first_order_errors, rank_correlation, relative_slack, spread, stacked_difference, stepper
from .protocols import Network, Outcome, Start, Variant, compare, cosines, warm_starts
from .rivals import pcgrad, upgrad
from .stacked import train_together, warm_together
from .tasks import TASKS, DomainTask, digits_task, images_task
from .tuning import (
    CONV_DOMAIN_WEIGHT,
    CONV_GRID,
    CONV_RATES,
    CONV_TUNED,
    DOMAIN_WEIGHT,
    DOMAIN_WEIGHTS,
    GRID,
    RATES,
    TUNED,
    conv_variants,
    scaled,
    variants,
)

__all__ = [
    "CONV_DOMAIN_WEIGHT",
    "CONV_GRID",
    "CONV_RATES",
    "CONV_TUNED",
    "DOMAIN_WEIGHT",
    "DOMAIN_WEIGHTS",
    "GRID",
    "RATES",
    "TASKS",
    "TUNED",
    "ConvNetwork",
    "DomainTask",
    "Network",
    "Outcome",
    "Start",
    "Variant",
    "compare",
    "conv_compare",
    "conv_starts",
    "conv_variants",
    "cosines",
    "digits_task",
    "first_order_errors",
    "fonseca",
    "front_point",
    "gaussian_refinement",
    "harmed_without_guard",
    "images_task",
    "pcgrad",
    "random_program",
    "rank_correlation",
    "relative_slack",
    "scaled",
    "spread",
    "stacked_difference",
    "stepper",
    "train_together",
    "upgrad",
    "variants",
    "walk",
    "warm_starts",
    "warm_together",
]
