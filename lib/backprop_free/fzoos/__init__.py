"""Federated Zeroth-Order Optimization using Trajectory-Informed Surrogate Gradients (Shu, Lin, Dai, Low; 2023,
arXiv:2308.04077).

Clients hold private functions of which only values can be asked, and minimize their average. Each client fits a Gaussian
process to all that it has asked and differentiates it; it sends the process as weights of random features that all clients
share; the average of the weights is a surrogate of the global function, whose difference to the own surrogate corrects the
local steps.

Implemented: FZooS with both kernels, any correction length and the authors' rollback (`federated_minimize`), its two
surrogates (`GPGradient`, `RandomFourierSurrogate`), and what it is compared with: FedZO, FedProx, two SCAFFOLDs, exact
gradients. Not implemented: the authors' search for kernel parameters with 20 restarts (here one of seven length scales) and
their ranking of extra queries by the first coordinate's variance (here the trace over all).

=============== =========================================== ========= =========
symbol          name                                        shape     equation
=============== =========================================== ========= =========
g_i             `GPGradient.gradient`                       (d,)      (1)
tr Sigma        `GPGradient.gradient_variance`              scalar    (2)
phi, W, b       `RandomFourierSurrogate.features`           (M,)      (3)
v_i             `RandomFourierSurrogate.fit`                (M,)      (4)
grad phi^T v    `RandomFourierSurrogate.gradient`           (d,)      (5)
v               `RandomFourierSurrogate.aggregate`          (M,)      (6)
direction       ``corrected``                               (d,)      (7)
gamma_t         ``gamma_decay``                             scalar    (8)
g_i, RGF        `rgf_gradient`                              (d,)      (9)
gamma*          `gamma_best`                                scalar    (11)
=============== =========================================== ========= =========
"""

from lib.backprop_free.fzoos.features import RandomFourierSurrogate, Weights
from lib.backprop_free.fzoos.federated import federated_minimize
from lib.backprop_free.fzoos.gp import GPGradient
from lib.backprop_free.fzoos.steps import gamma_best, rgf_gradient

__all__ = ["GPGradient", "RandomFourierSurrogate", "Weights", "federated_minimize", "gamma_best", "rgf_gradient"]
