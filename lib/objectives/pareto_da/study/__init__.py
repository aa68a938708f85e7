"""What only the chapter's experiments use: tasks, many runs at once, protocols, rivals, instances."""

from .instances import fonseca, front_point, gaussian_refinement, harmed_without_guard, random_program, walk
from .measures import rank_correlation, spread
from .protocols import Network, Outcome, Start, Variant, compare, cosines, warm_starts
from .rivals import pcgrad
from .stacked import train_together, warm_together
from .tasks import TASKS, DomainTask, digits_task
from .tuning import DOMAIN_WEIGHTS, RATES, tune

__all__ = [
    "DOMAIN_WEIGHTS",
    "RATES",
    "TASKS",
    "DomainTask",
    "Network",
    "Outcome",
    "Start",
    "Variant",
    "compare",
    "cosines",
    "digits_task",
    "fonseca",
    "front_point",
    "gaussian_refinement",
    "harmed_without_guard",
    "pcgrad",
    "random_program",
    "rank_correlation",
    "spread",
    "train_together",
    "tune",
    "walk",
    "warm_starts",
    "warm_together",
]
