"""Load balancing of sparse mixtures of experts without an auxiliary loss: the bias of an expert is a price.

X. Y. Han and Yuan Zhong. *A Theoretical Framework for Auxiliary-Loss-Free Load Balancing of Sparse Mixture-of-Experts in
Large-Scale AI Models*. 2025, third version 2026. arXiv:2512.03915. The procedure itself is that of Wang, Gao, Zhao, Sun and Dai
(arXiv:2408.15664), used in DeepSeek-V3. No official code of the paper is known.

Implemented: the procedure on a fixed batch and on fresh tokens, with the step rules that the theory speaks of; the Lagrangian,
its dual, the exact assignment with its prices; the curvature and the regret bound of the online objective; a balancer and a
sparse mixture-of-experts layer for PyTorch, with the auxiliary loss as rival; balancers for the gates of a model that is there
already, such as DeepSeek-V3 of the package transformers. Language model, text, rivals and instances are in
`lib.online.alf_lb.study`.

Not implemented: expert parallelism over devices, capacity limits that drop tokens, the sequence-wise loss of DeepSeek-V3.

================== =============================== ====================================================================
symbol             name                            shape, meaning
================== =============================== ====================================================================
T, E, K, L         ``T``, ``E``, ``K``, ``L``      tokens, experts, experts of a token, balanced load ``K T / E``
gamma              ``gamma``, ``scores``           (T, E), affinities, (1)
x                  ``x``, `topk_assign`            (T, E), assignment, (5)
p                  ``p``, ``bias``                 (E,), prices, (4)
eps                `StepRule.eps`                  (E,), steps, (6)
A                  ``load``, ``loads``             (E,), loads
D                  `dual_value`                    dual function, (3)
b                  ``benefit``                     switching benefit, (10)
F                  `cumulative_regret`             online objective ``D / L``, (14)
H, mu              `price_hessian`                 (E, E), curvature of F, (15); its least eigenvalue but 0
alpha              ``alpha``                       weight of the auxiliary loss, (9)
================== =============================== ====================================================================
"""

from lib.online.alf_lb.balancing import (
    AssignmentTrace,
    OnlineTrace,
    alf_lb,
    cumulative_regret,
    online_balance,
    regret_bound,
)
from lib.online.alf_lb.gates import GateBalancers
from lib.online.alf_lb.layers import LoadBalancer, SparseMoE, auxiliary_loss
from lib.online.alf_lb.routing import dual_value, lagrangian, max_violation, price_hessian, solve_assignment_lp, topk_assign
from lib.online.alf_lb.steps import ConstStep, InvStep, SignStep, SqrtStep, StepRule

__all__ = [
    "AssignmentTrace",
    "ConstStep",
    "GateBalancers",
    "InvStep",
    "LoadBalancer",
    "OnlineTrace",
    "SignStep",
    "SparseMoE",
    "SqrtStep",
    "StepRule",
    "alf_lb",
    "auxiliary_loss",
    "cumulative_regret",
    "dual_value",
    "lagrangian",
    "max_violation",
    "online_balance",
    "price_hessian",
    "regret_bound",
    "solve_assignment_lp",
    "topk_assign",
]
