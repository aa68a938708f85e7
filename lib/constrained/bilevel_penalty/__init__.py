r"""Penalty methods for bilevel problems whose lower level may have many minimizers: both levels in one weighted sum.

Jeongyeol Kwon, Dohyun Kwon, Stephen Wright and Robert Nowak, *On Penalty Methods for Nonconvex Bilevel Optimization and
First-Order Stochastic Approximation*, ICLR 2024, arXiv:2309.01753. There is no official code, and the paper has no experiments.

Implemented: the penalized objective and its gradient, the exact hypergradient with a pseudo-inverse and active constraints,
Algorithm 1 (double loop) and Algorithm 2 (single loop with recursive momentum), for deterministic problems and for samples, and
the recursive momentum as a `torch.optim.Optimizer`; and `HyperCleaner`, a scikit-learn classifier that weighs its training
samples. A problem is a `lib.problems.bilevel.BilevelProblem`; a sample is one, too.
The test problems, hyper-cleaning and the rivals (implicit and unrolled differentiation) are in
`lib.constrained.bilevel_penalty.study`. Not implemented: constraints of the lower level that depend on x.

=======================  ===========================  =========  ========================================================
symbol                   name                         shape      meaning, and equation of the chapter
=======================  ===========================  =========  ========================================================
f, g                     ``problem.upper, .lower``    scalar     upper and lower level (1)
sigma                    ``sigma``                    scalar     weight of the upper level in sigma f + g (2)
psi_sigma(x)             `penalty_value`              scalar     penalized objective (3)
grad psi_sigma(x)        `penalty_hypergrad`          (n,)       its gradient (4)
grad psi(x)              `exact_hypergrad`            (n,)       gradient of the hyper-objective (10), (11)
w_y, w_z                 ``wy, wz``                   (m,)       points of the two inner problems (5)
y, z; beta; rho          ``y, z``; ``beta``; ``rho``  (m,)       their centers, averaged (6); width of the proximal term
x; alpha                 ``x``; ``alpha``             (n,)       upper variable and its step (7)
d; eta                   `recursive_momentum`         any        estimate of a gradient, and its forgetting (8)
T, M                     ``inner_steps``, ``batch``   scalar     inner steps and batch size of Algorithm 1
=======================  ===========================  =========  ========================================================
"""

from .cleaner import HyperCleaner
from .hypergradient import DegenerateActiveSet, exact_hypergrad, penalty_hypergrad, penalty_value
from .loops import DoubleLoopPenalty, SingleLoopPenalty
from .steps import PowerSchedule, recursive_momentum
from .storm import STORM

__all__ = [
    "STORM",
    "DegenerateActiveSet",
    "DoubleLoopPenalty",
    "HyperCleaner",
    "PowerSchedule",
    "SingleLoopPenalty",
    "exact_hypergrad",
    "penalty_hypergrad",
    "penalty_value",
    "recursive_momentum",
]
