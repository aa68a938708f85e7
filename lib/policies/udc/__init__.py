r"""UDC: A Unified Neural Divide-and-Conquer Framework for Large-Scale Combinatorial Optimization Problems.

Zhi Zheng, Changliang Zhou, Xialiang Tong, Mingxuan Yuan, Zhenkun Wang. NeurIPS 2024, arXiv:2407.00312.

A graph network draws a whole tour (divide), the tour is cut into pieces of n cities and a second network solves each
piece anew between its fixed ends (conquer), then the cuts move by n / 2 and all pieces are solved once more (reunion).
Both networks learn together, from scratch, by REINFORCE; at test time the conquering stage is repeated with random shifts.

Implemented: the divider (`AGNN`, `HeatmapPolicy`), the conqueror (`SubpathSolver`) with decoding from both ends, exact
conquerors as drop-ins (`HeldKarpSolver`, `LKHSolver`), the stage (`conquer`), joint training and testing (`UDC`), problems as
plug-ins (`Problem`, with the traveling salesman as `TSP`). Not implemented: the other nine problems of the paper (a small
knapsack plug-in is in `lib.policies.udc.study`), and training at the paper's size.

Equations::

    (1)  x_i  <- x_i + SiLU(BN(U1 x_i + mean_{j in N(i)} sigmoid(w_ij) * U2 x_j))
    (2)  w_ij <- w_ij + SiLU(BN(W w_ij + U3 x_i + U4 x_j))
    (3)  H_ij = softmax over j in N(i) of <q, e_ij>,  q = first city + last city + mean of the visited
    (4)  p(j | i) = h_ij / sum of h_il over the unvisited l,  h_ij = H_ij / (min H + 1e-5) + 1e-5, without H off the graph
    (5)  log pi_d(x_0) = sum of log p over the steps
    (6)  f(x) = sum of the lengths inside the pieces + the links between them
    (7)  a piece is shifted to 0, its longer axis made x, and divided by its range
    (8)  out_i = sigmoid(q_i) * sum_j b_ij exp(k_j) v_j / sum_j b_ij exp(k_j),  b_ij = exp(-a log2(n) d_ij)
    (9)  the same for the decoder's query W1 h_target + W2 h_current over the cities that are free, a' in place of a
    (10) logits = 50 tanh(<out, h_j> / sqrt(d) - a'' log2(n) d(current, j))
    (11) grad L_d = mean_i (f(x_2^i) - mean f(x_2)) grad log pi_d(x_0^i)
    (12) grad L_c = mean over pieces and beta of (f'(s) - mean f') grad log pi_c(s), in normalized coordinates

======================= ======================== ==================== ============
symbol                  name                     shape                equation
======================= ======================== ==================== ============
coordinates             ``coords``               (N, 2), (B, N, 2)
neighbors K             ``k``                    itself included      (1)-(3)
tours x_0, x_r          ``tours``, ``sketches``  (alpha, N)           (5), (6)
heatmap H               `HeatmapPolicy`          (alpha, N, K)        (3), (4)
log pi_d                ``logp``                 (alpha,)             (5), (11)
n, C                    ``n``, N // n            numbers              (6)
p                       ``shift``                number
pieces                  ``pieces``, ``paths``    (P, n, 2)            (7)
T                       ``revisit``              number               (3)
alpha, beta             ``alpha``, ``beta``      numbers              (11), (12)
r                       ``stages``               number
======================= ======================== ==================== ============

Known differences from the authors' code are listed in the chapter. In (4) the floor is used as printed; greedy decoding
breaks its ties towards the nearest city. Instances are moved and scaled to the unit square before the divider sees them.

Examples
--------
>>> import numpy as np
>>> from lib.policies.udc import UDC, HeatmapPolicy, SubpathSolver
>>> model = UDC(HeatmapPolicy(d=8, depth=2, k=5), SubpathSolver(d=8, depth=1), n=10)
>>> history = model.fit(lambda rng: rng.random((20, 2)), steps=2, alpha=4, beta=2)
"""

from __future__ import annotations

from lib.policies.udc.divide import AGNN, HeatmapPolicy, knn_graph
from lib.policies.udc.framework import UDC, reinforce
from lib.policies.udc.problem import TSP, Pieces, Problem, conquer
from lib.policies.udc.solvers import HeldKarpSolver, LKHSolver, SubpathSolver, normalize

__all__ = [
    "AGNN",
    "TSP",
    "UDC",
    "HeatmapPolicy",
    "HeldKarpSolver",
    "LKHSolver",
    "Pieces",
    "Problem",
    "SubpathSolver",
    "conquer",
    "knn_graph",
    "normalize",
    "reinforce",
]
