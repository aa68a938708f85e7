"""What only the chapter's experiments use: the division of problems, shipped policies, arms at equal numbers of programs.

================================ ===============================================================================
`problems`, `demonstration`      which problems are for what; noisy solutions for the base policy
`load_policy`, `new_policy`      the base policy and the one after stage 1; `make_weights` makes them
`enumerated_informative` etc.    exact small cases behind the derivation
================================ ===============================================================================
"""

from .problems import HELD_OUT, Problems, demonstration, problems
from .theory import entropy_slope, enumerated_informative, enumerated_pass_at_k, traced_drift
from .weights import STAGES, load_policy, new_policy

__all__ = [
    "HELD_OUT",
    "STAGES",
    "Problems",
    "demonstration",
    "entropy_slope",
    "enumerated_informative",
    "enumerated_pass_at_k",
    "load_policy",
    "new_policy",
    "problems",
    "traced_drift",
]
