"""Constrained Optimization via Exact Augmented Lagrangian and Randomized Iterative Sketching (Hong, Na, Mahoney, Kolar;
ICML 2023, arXiv:2305.18379).

Newton's method on the KKT equations of a problem with equality constraints. The linear system of each step is solved roughly,
by random projections; a smooth merit function of variables and multipliers, whose penalties adapt, certifies the direction.

Implemented: the method with both sketches of the paper (Gaussian vectors, randomized Kaczmarz), of any size, in exact blocks of
steps, with a factorization or MINRES in their place, also as a method of `scipy.optimize.minimize`; the exact augmented
Lagrangian. Not implemented: inequality constraints (the paper has none), sparse matrices.

=============== ======================================= ============== ==========
symbol          name                                    shape          equation
=============== ======================================= ============== ==========
x, lambda       ``x``, ``lam`` (results: ``v``)         (n,), (m,)
f, c, G, H      ``f``, ``c``, ``jac``, ``lag_hess``     (m, n), (n, n)
L_eta           `exact_augmented_lagrangian`, ``merit``  scalar        (1), (2)
Gamma           ``kkt_matrix``                          (n+m, n+m)     (3)
Psi, Upsilon    ``bounds``                              scalars        (5)
delta           ``delta``, ``trial_delta``              scalar         (4), (6)
eta_1, eta_2    ``eta1``, ``eta2``, ``descends``        scalars        (7), (8)
alpha           ``line_search``, ``falls_enough``       scalar         (9)
S               ``projection_step``                     (n+m, s)       (10)
a               ``step_lengths``                        (T,)           (11)
=============== ======================================= ============== ==========
"""

from lib.constrained.sketched_sqp.lagrangian import exact_augmented_lagrangian
from lib.constrained.sketched_sqp.method import AdaSketchNewton
from lib.constrained.sketched_sqp.problem import EqualityProblem
from lib.constrained.sketched_sqp.sketching import Solution, sketch_and_project

__all__ = ["AdaSketchNewton", "EqualityProblem", "Solution", "exact_augmented_lagrangian", "sketch_and_project"]
