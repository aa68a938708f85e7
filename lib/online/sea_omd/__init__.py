"""Online learning between random and adversarial losses: optimistic online mirror descent, whose guess is the last gradient.

Sijia Chen, Yu-Jie Zhang, Wei-Wei Tu, Peng Zhao and Lijun Zhang. *Optimistic Online Mirror Descent for Bridging Stochastic and
Adversarial Online Convex Optimization*. Journal of Machine Learning Research 25(178), 2024; first at ICML 2023.
arXiv:2302.04552. No official code is known; the paper is theory.

Implemented: the three learners (convex, strongly convex, exp-concave) and the ensemble for dynamic regret, each for any number
of runs side by side; balls, boxes and simplices; the bounds with all constants. Streams of losses with exactly known noise and
drift, and rivals, are in `lib.online.sea_omd.study`.

Not implemented: the implicit updates for non-smooth losses of the journal version, and the paper's second analysis, of
optimistic follow-the-regularized-leader (the learner of Sachs et al. is a rival in the study).

================== ============================== =====================================================================
symbol             name                           shape, meaning
================== ============================== =====================================================================
X, D               ``domain``, ``.diameter``      decision set and its diameter
x_t                ``predict()``, ``x_``          (..., d), decision
x^_t               ``xhat_``                      (..., d), secondary point, (2)
g_t                ``grad``                       (..., d), gradient of this round's loss at the decision
G, L               ``G``, ``L``                   bound of gradients; smoothness of expected losses
V_t                ``variation_``                 (...,), sum of squared gradient differences
eta_t              ``eta_``, `step_size`          step, (3) or (10)
delta              ``delta``                      damping of the first steps, ``10 D^2 L^2``
sigma^2, Sigma^2   ``noise``, ``drift``           (1), per round or cumulative
lambda             ``lam``                        strong convexity
alpha, beta        ``alpha``, ``beta``            exp-concavity, (12)
H_t                ``H_``                         (..., d, d), metric, (12)
eta_i, p_i         ``steps``, ``weights_``        (N,), (..., N), pool and weights of the ensemble, (14) and (15)
P_T                ``path``                       length of the comparators' path
================== ============================== =====================================================================
"""

from lib.online.sea_omd.bounds import dynamic_rate, exp_concave_bound, realized_bound, regret_bound, strongly_convex_bound
from lib.online.sea_omd.domains import Ball, Box, Domain, Simplex
from lib.online.sea_omd.ensemble import OptimisticEnsemble, step_pool, weights
from lib.online.sea_omd.learners import (
    OnlineLearner,
    OptimisticOMD,
    OptimisticOMDStronglyConvex,
    OptimisticONS,
    optimistic_round,
    step_size,
)
from lib.online.sea_omd.playing import Play, play

__all__ = [
    "Ball",
    "Box",
    "Domain",
    "OnlineLearner",
    "OptimisticEnsemble",
    "OptimisticOMD",
    "OptimisticOMDStronglyConvex",
    "OptimisticONS",
    "Play",
    "Simplex",
    "dynamic_rate",
    "exp_concave_bound",
    "optimistic_round",
    "play",
    "realized_bound",
    "regret_bound",
    "step_pool",
    "step_size",
    "strongly_convex_bound",
    "weights",
]
