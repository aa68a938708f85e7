"""TOPO: directed acyclic graphs by swapping nodes of a topological order.

Chang Deng, Kevin Bello, Bryon Aragam and Pradeep Ravikumar. *Optimizing NOTEARS Objectives via Topological Swaps*.
International Conference on Machine Learning (ICML), 2023. arXiv:2305.17277.
Official code: https://github.com/Duntrain/TOPO.

Implemented: the search with small and large candidate sets chosen by the gradient of the acyclicity function, in its greedy
(several disjoint swaps), best and first-improvement forms; the least-squares score, all swaps of an order evaluated from one
Cholesky factor in O(d) operations each; any other score that sums one regression per node (`ColumnModel`, `logistic_column`);
the KKT check. `study` holds what the chapter compares with: the published form of an evaluation, the exact optimum for
d <= 15, NOTEARS, a NOFEARS-like repair, DAGMA through its package, random pairs, insertions, and a network for every node in
TOPO's search and in NOTEARS-MLP.

Not implemented: warm starts of the networks from one swap to the next, an l1 penalty in the least-squares score, and the
gradient test xi inside the search (`candidate_pairs` has it; the authors' code does not use it either).

================== =============================== ============================================================================
symbol             name                            shape, meaning
================== =============================== ============================================================================
W                  ``W``, ``weights``              (d, d), W[i, j] = weight of the edge i -> j
S                  ``S``                           (d, d), second moments X'X / n
pi, Z(pi)          ``order``                       (d,), parents first; Z forbids i -> j unless i stands before j
W*(pi), q(pi)      `order_weights`, `order_score`  best weights that respect the order, and their score: (3) of the chapter
Q, grad Q          `score_and_gradient`            float and (d, d): (1)
h, grad h          `acyclicity`                    float and (d, d), with respect to A = ``|W|``: (2)
Y(W, tau, xi)      `candidate_pairs`               (m, 2), the s pairs with the smallest [grad h]_ij (tau follows from s)
s_small, s_large   ``size_small, size_large``      candidate pairs per round
L, T               ``OrderFit.L``                  (d, d), Cholesky factor of S in the order; T = D L^{-1}: (3)
M, t, tau          `OrderFit.swap_changes`         all swaps of an order from one factor: (4), (5)
================== =============================== ============================================================================
"""

from lib.constrained.topo_swaps.acyclicity import acyclicity, candidate_pairs, dag_from_weights, kkt_violation
from lib.constrained.topo_swaps.columns import ColumnModel, logistic_column
from lib.constrained.topo_swaps.estimator import TOPO
from lib.constrained.topo_swaps.scores import (
    OrderFit,
    order_score,
    order_weights,
    score_and_gradient,
    second_moments,
    swapped,
)
from lib.constrained.topo_swaps.search import default_sizes, disjoint_swaps, path_weights, topological_swaps

__all__ = [
    "TOPO",
    "ColumnModel",
    "OrderFit",
    "acyclicity",
    "candidate_pairs",
    "dag_from_weights",
    "default_sizes",
    "disjoint_swaps",
    "kkt_violation",
    "logistic_column",
    "order_score",
    "order_weights",
    "path_weights",
    "score_and_gradient",
    "second_moments",
    "swapped",
    "topological_swaps",
]
