"""What only the chapter's experiments use: matched weights, initial states, protocols, and the rivals."""

from lib.constrained.moe_constraints.study.instances import implicit_euler, least_squares_fields, matched_weights, vorticities
from lib.constrained.moe_constraints.study.protocols import (
    EarlyDiffusionSorption,
    RandomMoE,
    Run,
    Work,
    border_change,
    build,
    nudged,
    on_grid,
    relative_error,
    solve_work,
    trained,
)

__all__ = [
    "EarlyDiffusionSorption",
    "RandomMoE",
    "Run",
    "Work",
    "border_change",
    "build",
    "implicit_euler",
    "least_squares_fields",
    "matched_weights",
    "nudged",
    "on_grid",
    "relative_error",
    "solve_work",
    "trained",
    "vorticities",
]
