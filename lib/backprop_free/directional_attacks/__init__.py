"""Optimization by Directional Attacks: Solving Problems with Neural Network Surrogates (Bouchet, Vidal; arXiv:2510.01461).

Maximize a function of a trained network's output, under constraints. An adversarial attack is a local optimizer through a
network; a covering direct search method (cDSM) takes over where attacks gain little.

Implemented: the attack operator (FGSM and PGD, both losses), the hybrid, and what the paper compares it with: cDSM, attacks
alone, random line searches; the covering step in three forms. Not implemented: other attacks (give a function), the authors'
random "rotation", which is none (a uniformly distributed one is taken in its place).

=================== ============================================ ============= ================
symbol              name                                         shape         equation
=================== ============================================ ============= ================
Phi, c, z           ``phi``, ``constraints``, ``outputs``        (m,), (p,)    (1)
f                   ``f``, ``score``                             scalar        (2)
u                   ``direction``                                (m + p,)      (3)
d                   `directional_attack`                         (n,)          (4) - (6), (15)
r_a, r_d            ``r_atk``, ``r_dsm``                         scalars       (7), (8)
s                   ``searches``                                 scalar        (9)
H, R                ``householder``, ``random_rotation``         (n, n)        (10) - (12)
t                   `covering_move`                              (n,)          (13), (14)
=================== ============================================ ============= ================
"""

from lib.backprop_free.directional_attacks.attack import attack_success_map, directional_attack
from lib.backprop_free.directional_attacks.directions import covering_move, poll_directions
from lib.backprop_free.directional_attacks.problem import SurrogateProblem
from lib.backprop_free.directional_attacks.solvers import (
    maximize_attacks,
    maximize_cdsm,
    maximize_hybrid,
    maximize_random_line_search,
)

__all__ = [
    "SurrogateProblem",
    "attack_success_map",
    "covering_move",
    "directional_attack",
    "maximize_attacks",
    "maximize_cdsm",
    "maximize_hybrid",
    "maximize_random_line_search",
    "poll_directions",
]
