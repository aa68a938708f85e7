"""The chapter's experiments: the paper's problems with exact derivatives."""

from lib.constrained.sketched_sqp.study.instances import (
    DATA,
    PDE_RECORDED,
    logistic_data,
    logistic_problem,
    orthogonal_problem,
    pde_problem,
    quadratic_problem,
)
from lib.constrained.sketched_sqp.study.jets import Jet, variables
from lib.constrained.sketched_sqp.study.small import NAMES, RECORDED, SLACK, small_problem

__all__ = [
    "DATA",
    "NAMES",
    "PDE_RECORDED",
    "RECORDED",
    "SLACK",
    "Jet",
    "logistic_data",
    "logistic_problem",
    "orthogonal_problem",
    "pde_problem",
    "quadratic_problem",
    "small_problem",
    "variables",
]
