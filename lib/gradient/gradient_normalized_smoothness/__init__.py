"""Gradient-Normalized Smoothness for Optimization with Approximate Hessians (Semenov, Jaggi, Doikov; ICLR 2026,
arXiv:2506.13710).

Newton's method with any positive semidefinite matrix H in place of the Hessian, damped by ``||grad f|| / gamma``. One number,
gamma(x), says how far the linear model of the gradient holds relative to the gradient itself; a search that doubles and halves
finds it, and with it the rate of whatever class the function is in.

Implemented: the method with both tests of the search (`minimize_gns`, also as a method of `scipy.optimize.minimize`), for
Hessians as arrays, linear operators, low-rank and banded matrices, in any metric; gamma itself (`gamma_of`) and its
harmonic rule (`combine`); the paper's objectives with their approximate Hessians. Not implemented: the complexity bounds,
which the chapter states.

=============== ======================================= ========= ========================================
symbol          name                                    shape     equation
=============== ======================================= ========= ========================================
x, f, grad f    ``x``, ``fun``, ``jac``                 (n,)
H(x)            ``hess(x)``                             (n, n)    (11), (12), (14)
B               ``Metric``                              (n, n)
gamma           ``gamma``, `gamma_of`                   scalar    (2), (9), (10)
lambda          ``lam``                                 scalar    (1)
h               ``damped_step``                         (n,)      (1), (13)
test            ``passes_function_test``                          (3), from (7)
gradient test   ``passes_gradient_test``                          (8)
=============== ======================================= ========= ========================================
"""

from lib.gradient.gradient_normalized_smoothness.hessians import Banded, LowRank, Metric
from lib.gradient.gradient_normalized_smoothness.method import minimize_gns
from lib.gradient.gradient_normalized_smoothness.objectives import Logistic, LogSumExp, Objective, ResidualPower
from lib.gradient.gradient_normalized_smoothness.smoothness import combine, gamma_of

__all__ = [
    "Banded",
    "LogSumExp",
    "Logistic",
    "LowRank",
    "Metric",
    "Objective",
    "ResidualPower",
    "combine",
    "gamma_of",
    "minimize_gns",
]
