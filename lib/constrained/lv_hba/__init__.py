r"""LV-HBA: bilevel problems with constraints in the lower level, by a proximal Lagrangian value and first derivatives only.

Wei Yao, Chengming Yu, Shangzhi Zeng and Jin Zhang. *Constrained Bi-Level Optimization: Proximal Lagrangian Value function
Approach and Hessian-free Algorithm*. International Conference on Learning Representations (ICLR), 2024. arXiv:2401.16164.
Official code: https://github.com/SUSTech-Optimization/LV-HBA.

Implemented: the value function with an accurate oracle and its gradients; the single-loop method for any
`lib.problems.bilevel.BilevelProblem` (inequalities or equations, any sets one can project on), with constraints scaled to
slope 1 on demand; the paper's support vector machine with a weight for each sample, its projection without a QP solver, and a
scikit-learn classifier made of it. `study` holds what the chapter compares with: the two toys with exact answers, E-AiPOD,
implicit differentiation, grid search.

Not implemented: minibatches, the federated experiment (its code is not public any more), a mix of inequalities and equations.

==================== ==================================== ===============================================================
symbol               name                                 shape, meaning
==================== ==================================== ===============================================================
x, y                 ``x, y``                             (n,), (m,): upper and lower level: (1)
F, f, g              ``upper, lower, constraints``        of a `BilevelProblem`: (1)
v, theta, lambda     `prox_lagrangian_value`              value and saddle point (m,), (p,): (2), (3)
grad v               ``slope_x, slope_y, slope_z``        (4)
z                    ``z``                                (p,), center of the multiplier's proximal term: (2)
c_k                  `penalty_weight`                     ``c0 (k + 1)^p``: (6)
psi_k                ``core.penalty_slopes``              F / c_k + f - v: (6)
theta, lambda step   ``core.saddle_step``                 (7)
x, y, z step         ``core.iterate``                     (8), (9)
c (SVM)              `weighted_svm`                       (N,), logarithms of the sample weights: (13), (14)
P_C (SVM)            `project_svm`                        (15)
==================== ==================================== ===============================================================
"""

from lib.constrained.lv_hba.core import penalty_weight
from lib.constrained.lv_hba.estimator import BilevelSVC
from lib.constrained.lv_hba.solver import LVHBA
from lib.constrained.lv_hba.svm import project_svm, train_svm, weighted_svm
from lib.constrained.lv_hba.value import constraint_scale, prox_lagrangian_value

__all__ = [
    "LVHBA",
    "BilevelSVC",
    "constraint_scale",
    "penalty_weight",
    "project_svm",
    "prox_lagrangian_value",
    "train_svm",
    "weighted_svm",
]
