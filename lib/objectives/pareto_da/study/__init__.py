"""What only the chapter's experiments use: tasks, many runs at once, protocols, rivals, instances."""

from .instances import fonseca, front_point, gaussian_refinement, harmed_without_guard, random_program, walk
from .measures import first_order_errors, rank_correlation, relative_slack, spread, stacked_difference, stepper
from .protocols import Network, Outcome, Start, Variant, compare, cosines, warm_starts
from .rivals import pcgrad
from .stacked import train_together, warm_together
from .tasks import TASKS, DomainTask, digits_task
from .tuning import DOMAIN_WEIGHT, DOMAIN_WEIGHTS, GRID, RATES, TUNED, scaled, variants

__all__ = [
    "DOMAIN_WEIGHT",
    "DOMAIN_WEIGHTS",
    "GRID",
    "RATES",
    "TASKS",
    "TUNED",
    "DomainTask",
    "Network",
    "Outcome",
    "Start",
    "Variant",
    "compare",
    "cosines",
    "digits_task",
    "first_order_errors",
    "fonseca",
    "front_point",
    "gaussian_refinement",
    "harmed_without_guard",
    "pcgrad",
    "random_program",
    "rank_correlation",
    "relative_slack",
    "scaled",
    "spread",
    "stacked_difference",
    "stepper",
    "train_together",
    "variants",
    "walk",
    "warm_starts",
    "warm_together",
]
