"""The chapter's experiments: the paper's problems with exact derivatives, its rivals, and what the linear solvers cost."""

from lib.constrained.sketched_sqp.study.instances import (
    DATA,
    PDE_RECORDED,
    logistic_data,
    logistic_problem,
    pde_problem,
    quadratic_problem,
    well_conditioned_problem,
)
from lib.constrained.sketched_sqp.study.jets import Jet, variables
from lib.constrained.sketched_sqp.study.protocols import System, demmel, flops, newton_systems, steps_to
from lib.constrained.sketched_sqp.study.rivals import Outcome, classic_al, l1_sqp, ours, slsqp
from lib.constrained.sketched_sqp.study.small import NAMES, RECORDED, SLACK, small_problem

__all__ = [
    "DATA",
    "NAMES",
    "PDE_RECORDED",
    "RECORDED",
    "SLACK",
    "Jet",
    "Outcome",
    "System",
    "classic_al",
    "demmel",
    "flops",
    "l1_sqp",
    "logistic_data",
    "logistic_problem",
    "newton_systems",
    "ours",
    "pde_problem",
    "quadratic_problem",
    "slsqp",
    "small_problem",
    "steps_to",
    "variables",
    "well_conditioned_problem",
]
