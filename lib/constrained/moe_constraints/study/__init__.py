"""What only the chapter's experiments use: matched weights, initial states, protocols, and the rivals."""

from lib.constrained.moe_constraints.study.instances import implicit_euler, matched_weights, vorticities
from lib.constrained.moe_constraints.study.protocols import (
    EarlyDiffusionSorption,
    RandomMoE,
    Run,
    Work,
    build,
    nudged,
    relative_error,
    solve_work,
    trained,
)

__all__ = [
    "EarlyDiffusionSorption",
    "RandomMoE",
    "Run",
    "Work",
    "build",
    "implicit_euler",
    "matched_weights",
    "nudged",
    "relative_error",
    "solve_work",
    "trained",
    "vorticities",
]
