"""Multi-Objective GFlowNets (Jain, Raparthy, Hernandez-Garcia, Rector-Brooks, Bengio, Miret, Bengio; ICML 2023, PMLR
202:14631-14653, arXiv:2210.12765).

One sampler, conditional on a preference, builds objects step by step and ends in each with a probability proportional to the
object's scalarized reward, raised to a power. Training once serves every trade-off, and samples stay diverse.

Implemented: the preference-conditional GFlowNet of the paper (MOGFN-PC), also conditional on the power; the hypergrid with its
five objectives, the n-gram task, exact oracles of both; the scalarizations, the metrics, and MO-Reinforce on the same policy.
The policy is a small perceptron in double precision. Not implemented: the transformer, molecules, aptamers, and the active
learning of MOGFN-AL, which need licensed or pre-trained models.

================ ====================================================== ============= ========
symbol           name                                                   shape         equation
================ ====================================================== ============= ========
pi(x|w), Z(w)    `HyperGrid.target`, ``log_partition``, ``entropy``     (W, cells)    (1)
R(x|w)           `scalarize`                                            (n,)          (2)
L                `TrajectoryBalanceLoss`, with ``log_z``                scalar        (3)
L, no Z          `TrajectoryBalanceLoss`, without ``log_z`` (VarGrad)   scalar        (4)
enc(w)           `thermometer`                                          (..., bins)   (5)
P_B              ``log_backward`` of an environment: uniform            (n,)          (6)
``P(x|w)``       `MOGFN.terminal_distribution`                          (W, cells)    (7)
N(c)             `NGramTask.log_counts`: strings with counts c          (M,)          (8)
R2               `r2`                                                   scalar        (9)
L of RL          `MOReinforce`                                          scalar        (10)
H                `pc_entropy`                                           scalar        (11)
``P_F(s'|s,w)``  `ConditionalPolicy`                                    (n, actions)
================ ====================================================== ============= ========
"""

from lib.objectives.mogfn.environment import Environment
from lib.objectives.mogfn.grid import HyperGrid
from lib.objectives.mogfn.landscapes import OBJECTIVES, beale, branin, currin, shubert, sphere
from lib.objectives.mogfn.metrics import (
    edit_distance,
    hypervolume,
    igd_plus,
    pareto_front,
    pc_entropy,
    r2,
    simplex_grid,
    topk,
)
from lib.objectives.mogfn.ngrams import AMINO_ACIDS, NGramTask
from lib.objectives.mogfn.policy import ConditionalPolicy, TrajectoryBalanceLoss
from lib.objectives.mogfn.sampler import History
from lib.objectives.mogfn.scalarization import FLOOR, SCALARIZATIONS, scalarize, thermometer
from lib.objectives.mogfn.training import MOGFN, MOReinforce

__all__ = [
    "AMINO_ACIDS",
    "FLOOR",
    "MOGFN",
    "OBJECTIVES",
    "SCALARIZATIONS",
    "ConditionalPolicy",
    "Environment",
    "History",
    "HyperGrid",
    "MOReinforce",
    "NGramTask",
    "TrajectoryBalanceLoss",
    "beale",
    "branin",
    "currin",
    "edit_distance",
    "hypervolume",
    "igd_plus",
    "pareto_front",
    "pc_entropy",
    "r2",
    "scalarize",
    "shubert",
    "simplex_grid",
    "sphere",
    "thermometer",
    "topk",
]
