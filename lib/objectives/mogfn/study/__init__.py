"""What the chapter's experiments use: exact policies and trajectories of a grid, tuned protocols, rivals."""

from lib.objectives.mogfn.study.exact import Trajectories, enumerate_trajectories, exact_policy, sagging_front, walks
from lib.objectives.mogfn.study.protocols import (
    GRID,
    GRID_RIVAL,
    NSGA_RATE,
    STRINGS,
    STRINGS_RAW,
    STRINGS_RIVAL,
    VARIANTS,
    GridFit,
    StringRun,
    grid_rival,
    grid_sampler,
    judge,
    near_best,
    separate_samplers,
    string_race,
    variation,
)
from lib.objectives.mogfn.study.rivals import nsga2_strings, uniform_strings

__all__ = [
    "GRID",
    "GRID_RIVAL",
    "NSGA_RATE",
    "STRINGS",
    "STRINGS_RAW",
    "STRINGS_RIVAL",
    "VARIANTS",
    "GridFit",
    "StringRun",
    "Trajectories",
    "enumerate_trajectories",
    "exact_policy",
    "grid_rival",
    "grid_sampler",
    "judge",
    "near_best",
    "nsga2_strings",
    "sagging_front",
    "separate_samplers",
    "string_race",
    "uniform_strings",
    "variation",
    "walks",
]
