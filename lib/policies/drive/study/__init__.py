"""What only the chapter's experiments use: the division of problems, shipped policies, arms at equal numbers of programs.

================================ ===============================================================================
`problems`, `demonstration`      which problems are for what; noisy solutions for the base policy
`load_policy`, `new_policy`      the base policy and the one after stage 1; `make_weights` makes them
`Plan`, `first_stage`,           stages, with equal steps and programs for all second ones, and their tests
`second_stage`, `held_out`
`cluster_gains`                  gain of pass rate by initial pass rate
`rare_cases`, `single_case`      runs on single hard problems, or on a few together
`standard_error`                 of a paired difference on a small test set
`enumerated_informative` etc.    exact small cases behind the derivation
================================ ===============================================================================
"""

from .problems import HELD_OUT, Problems, demonstration, problems
from .protocols import (
    ARMS,
    CLUSTERS,
    Plan,
    cluster_gains,
    first_stage,
    held_out,
    pass_rate,
    rare_cases,
    second_stage,
    single_case,
    standard_error,
)
from .theory import entropy_slope, enumerated_informative, enumerated_pass_at_k, traced_drift
from .weights import STAGES, load_policy, new_policy

__all__ = [
    "ARMS",
    "CLUSTERS",
    "HELD_OUT",
    "STAGES",
    "Plan",
    "Problems",
    "cluster_gains",
    "demonstration",
    "entropy_slope",
    "enumerated_informative",
    "enumerated_pass_at_k",
    "first_stage",
    "held_out",
    "load_policy",
    "new_policy",
    "pass_rate",
    "problems",
    "rare_cases",
    "second_stage",
    "single_case",
    "standard_error",
    "traced_drift",
]
