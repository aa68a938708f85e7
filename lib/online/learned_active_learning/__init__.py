"""Learning to Actively Learn: A Robust Approach (Zhang, Jain, Jamieson; 2020, arXiv:2010.15382).

A policy that asks questions and then recommends is trained against its worst instances. Instances are sorted into classes by
how many answers an ideal plan needs. A specialist is trained for each class; one robust policy then has to be close to every
specialist on its class.

Implemented: complexity and projection, training with sampled episodes and, for small tasks, with all histories at once, the
workflow, attacks, and the exact game on finitely many instances. Not implemented: queries that show a mixture of entries of
theta (each query shows one entry), the paper's network; Gaussian answers have sampled episodes, no list of histories.

================= ===================================== ============== ===============
symbol            name                                  shape          equation
================= ===================================== ============== ===============
theta, y          ``thetas``, ``answers``               (M, n)         (1)
l(pi, theta)      ``losses``                            (M,)           (2), (15)
rho, lambda       `complexity`: ``rho``, ``plan``       (M,), (M, n)   (3), (11), (12)
l*_r              ``Workflow.values``                   (K,)           (4)
sup_r [...]       ``Workflow.gaps``                     (K,)           (5)
q, w              ``MAPO.weights``, ``logits``          (M,)           (6), (9)
gradients         `policy_surrogate`, `instance_scores` (B, n)         (7), (8)
projection        `project`                             (M, n)         (10)
A(s), L(s, theta) ``Lattice.reach``, ``likelihood``     (S,), (S_T, M) (13), (14)
V_t(s)            `solve_game`                          scalar         (16), (17)
grad rho          ``outward``                           (M, n)         (19)
================= ===================================== ============== ===============
"""

from lib.online.learned_active_learning.attack import Attack, worst_case
from lib.online.learned_active_learning.game import Game, solve_game
from lib.online.learned_active_learning.hardness import complexity, draw_class, project
from lib.online.learned_active_learning.lattice import Lattice
from lib.online.learned_active_learning.mapo import MAPO
from lib.online.learned_active_learning.policy import QueryPolicy, TablePolicy
from lib.online.learned_active_learning.problem import BanditProblem, best_arm, thresholds
from lib.online.learned_active_learning.rollouts import Episodes, instance_scores, policy_surrogate, rollout
from lib.online.learned_active_learning.workflow import Workflow, learn_robust

__all__ = [
    "MAPO",
    "Attack",
    "BanditProblem",
    "Episodes",
    "Game",
    "Lattice",
    "QueryPolicy",
    "TablePolicy",
    "Workflow",
    "best_arm",
    "complexity",
    "draw_class",
    "instance_scores",
    "learn_robust",
    "policy_surrogate",
    "project",
    "rollout",
    "solve_game",
    "thresholds",
    "worst_case",
]
