"""TOPO: directed acyclic graphs by swapping nodes of a topological order.

Chang Deng, Kevin Bello, Bryon Aragam and Pradeep Ravikumar. *Optimizing NOTEARS Objectives via Topological Swaps*.
International Conference on Machine Learning (ICML), 2023. arXiv:2305.17277.
Official code: https://github.com/Duntrain/TOPO.

Implemented: the search with small and large candidate sets chosen by the gradient of the acyclicity function, in its greedy
(several disjoint swaps), best and first-improvement forms; the least-squares score, all swaps of an order evaluated from one
Cholesky factor in O(d) operations each; any other score that sums one regression per node (`ColumnModel`: logistic columns,
additive random-feature columns); the KKT check; the exact optimum for d <= 15; NOTEARS, GOLEM-EV and a NOFEARS-like repair,
and DAGMA through its package.

Not implemented: the authors' networks (an MLP per node, trained by L-BFGS; `ColumnModel` takes any regression), an l1
penalty in the least-squares score, and the gradient test xi inside the search (`candidate_pairs` has it; the authors' code does
not use it either).

================== =============================== ============================================================================
symbol             name                            shape, meaning
================== =============================== ============================================================================
W                  ``W``, ``weights``              (d, d), W[i, j] = weight of the edge i -> j
S                  ``S``                           (d, d), second moments X'X / n
pi, Z(pi)          ``order``                       (d,), parents first; Z forbids i -> j unless i stands before j
W*(pi), q(pi)      `order_weights`, `order_score`  best weights that respect the order, and their score
Q, grad Q          `score_and_gradient`            float and (d, d)
h, grad h          `acyclicity`                    float and (d, d), with respect to A = ``|W|``
Y(W, tau, xi)      `candidate_pairs`               (m, 2), the s pairs with the smallest [grad h]_ij (tau follows from s)
s_small, s_large   ``size_small, size_large``      candidate pairs per round
L, T               ``OrderFit.L``                  (d, d), Cholesky factor of S in the order; T = D L^{-1}
================== =============================== ============================================================================
"""

from lib.constrained.topo_swaps.acyclicity import acyclicity, candidate_pairs, dag_from_weights, kkt_violation
from lib.constrained.topo_swaps.columns import ColumnModel, FourierColumn, logistic_column
from lib.constrained.topo_swaps.estimator import TOPO
from lib.constrained.topo_swaps.exact import exact_order_dp
from lib.constrained.topo_swaps.instances import Instance, draw_instance, parse_family
from lib.constrained.topo_swaps.rivals import dagma_linear, golem_ev, nofears, notears_linear
from lib.constrained.topo_swaps.scores import (
    OrderFit,
    check_data,
    graph_weights,
    order_score,
    order_weights,
    score_and_gradient,
    second_moments,
    swapped,
)
from lib.constrained.topo_swaps.search import default_sizes, disjoint_swaps, path_weights, topological_swaps
from lib.problems.dags import count_accuracy, shd, simulate_dag, simulate_sem, simulate_weights

__all__ = [
    "TOPO",
    "ColumnModel",
    "FourierColumn",
    "Instance",
    "OrderFit",
    "acyclicity",
    "candidate_pairs",
    "check_data",
    "count_accuracy",
    "dag_from_weights",
    "dagma_linear",
    "default_sizes",
    "disjoint_swaps",
    "draw_instance",
    "exact_order_dp",
    "golem_ev",
    "graph_weights",
    "kkt_violation",
    "logistic_column",
    "nofears",
    "notears_linear",
    "order_score",
    "order_weights",
    "parse_family",
    "path_weights",
    "score_and_gradient",
    "second_moments",
    "shd",
    "simulate_dag",
    "simulate_sem",
    "simulate_weights",
    "swapped",
    "topological_swaps",
]
