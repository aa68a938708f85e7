"""What only the chapter's experiments use: problems with known solutions, rates, hyper-cleaning, rivals."""

from .cleaning import CleaningRun, SoftmaxCleaning, clean_implicit, clean_penalty, clean_unrolled
from .instances import FAMILIES, Instance, instance, no_error_bound, ring_radius
from .landscape import Gaps, landscape_gaps, log_slope, numeric_hypergradient
from .meeting import clean_by
from .modulus import rise, weak_instance
from .network import NetworkCleaning, simple_rivals
from .protocols import RANKS, SCHEDULES, Rate, Tuned, least_loss, mnist_task, rate_race, tune_cleaning
from .toy import Trace, WideToy, gradient_noise, trace

__all__ = [
    "FAMILIES",
    "RANKS",
    "SCHEDULES",
    "CleaningRun",
    "Gaps",
    "Instance",
    "NetworkCleaning",
    "Rate",
    "SoftmaxCleaning",
    "Trace",
    "Tuned",
    "WideToy",
    "clean_by",
    "clean_implicit",
    "clean_penalty",
    "clean_unrolled",
    "gradient_noise",
    "instance",
    "landscape_gaps",
    "least_loss",
    "log_slope",
    "mnist_task",
    "no_error_bound",
    "numeric_hypergradient",
    "rate_race",
    "ring_radius",
    "rise",
    "simple_rivals",
    "trace",
    "tune_cleaning",
    "weak_instance",
]
