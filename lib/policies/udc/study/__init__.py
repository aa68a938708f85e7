"""What only the chapter's experiments use: models and training schemes, sketches and measures, the knapsack, the weights."""

from __future__ import annotations

from lib.policies.udc.study.knapsack import KNAPSACK, ItemPolicy, SubsetSolver, knapsack_instance, new_knapsack_model
from lib.policies.udc.study.measures import (
    best_known,
    fill_in_order,
    fixed_cuts,
    gaps,
    nearest_share,
    rank_correlation,
    sketch,
    smooth,
)
from lib.policies.udc.study.training import RULES, SCHEMES, SIZES, new_model, swap_solver, train_scheme
from lib.policies.udc.study.weights import load_weights

__all__ = [
    "KNAPSACK",
    "RULES",
    "SCHEMES",
    "SIZES",
    "ItemPolicy",
    "SubsetSolver",
    "best_known",
    "fill_in_order",
    "fixed_cuts",
    "gaps",
    "knapsack_instance",
    "load_weights",
    "nearest_share",
    "new_knapsack_model",
    "new_model",
    "rank_correlation",
    "sketch",
    "smooth",
    "swap_solver",
    "train_scheme",
]
