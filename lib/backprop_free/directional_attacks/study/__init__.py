"""What only the chapter's experiments use: the problems, how runs are compared, and rivals."""

from __future__ import annotations

from .instances import Task, barycenter, counterfactual, dictionary, jump, plant
from .protocols import (
    PGD_REACH,
    RADII,
    as_run,
    better,
    race,
    reaches_jump,
    run_points,
    solve,
    traces,
    tuned,
    zero_attack,
)
from .rivals import PASS_COST, Run, rival

__all__ = [
    "PASS_COST",
    "PGD_REACH",
    "RADII",
    "Run",
    "Task",
    "as_run",
    "barycenter",
    "better",
    "counterfactual",
    "dictionary",
    "jump",
    "plant",
    "race",
    "reaches_jump",
    "rival",
    "run_points",
    "solve",
    "traces",
    "tuned",
    "zero_attack",
]
