"""What only the chapter's experiments use: stacks of training runs, fair comparisons, problems, networks and rivals."""

from __future__ import annotations

from .comparison import REFINEMENTS, Comparison, Race, Tuned, compare_schedules, race, tune
from .convex import batch_rows, keel_problem
from .max_affine import MaxAffine
from .network import image_sets, network_task, prepare_images
from .schedule_free import train_schedule_free
from .sweeps import Task, grid_rates, logistic_task, minibatch_rows, train_stack
from .synthetic import SYNTHETIC_NORMS, synthetic_norms
from .transformer import CharTransformer, shipped_text, train_transformer
from .worst_case import best_worst_case, worst_case

__all__ = [
    "REFINEMENTS",
    "SYNTHETIC_NORMS",
    "CharTransformer",
    "Comparison",
    "MaxAffine",
    "Race",
    "Task",
    "Tuned",
    "batch_rows",
    "best_worst_case",
    "compare_schedules",
    "grid_rates",
    "image_sets",
    "keel_problem",
    "logistic_task",
    "minibatch_rows",
    "network_task",
    "prepare_images",
    "race",
    "shipped_text",
    "synthetic_norms",
    "train_schedule_free",
    "train_stack",
    "train_transformer",
    "tune",
    "worst_case",
]
