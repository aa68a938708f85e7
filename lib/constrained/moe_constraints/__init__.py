"""PI-HC-MoE: hard constraints for neural solvers of differential equations, split over experts.

Nithin Chalapathi, Yiheng Du, Aditi S. Krishnapriyan. "Scaling physics-informed hard constraints with mixture-of-experts",
ICLR 2024, arXiv:2402.13412.

A network gives N basis functions on a grid. Inside the forward pass a nonlinear least-squares problem finds the coefficients
with which their combination satisfies the equation, the initial and the boundary values. Experts own blocks of the grid; each
solves for coefficients of its own. Gradients pass through the solves by the implicit function theorem.

Implemented: the batched solver (`levenberg_marquardt`), the derivative of a solution (`implicit_solution`), the layers
(`HardConstraintLayer`, `ConstraintMoE`), both equations (`DiffusionSorption`, `NavierStokes`) with reference solutions, the
networks (`FNO2d`, `FNO3d`), and training (`SoftConstraint`, `PIHC`, `PIHCMoE`). An equation of one's own is a `PDE`. Not
implemented: devices of their own for the experts; they are one batch here.

Equations::

    (1)  u_t = D / R(u) u_xx,  u(0, t) = 1,  u(1, t) = D u_x(1, t),  u(x, 0) = u_0
    (2)  R(u) = 1 + (1 - phi) / phi * rho * k * n_f * u^(n_f - 1)
    (3)  u = sum_j b_j omega_j
    (4)  min over omega of 1/2 |r(omega; b)|^2
    (5)  (J'J + lambda diag(J'J)) delta = -J'r
    (6)  u(x) = sum_j b_j(x) omega_kj for x in block k
    (7)  loss = weight |residual of u on the whole grid| + errors of the initial and boundary values
    (8)  J of an equation's row = sum over operators c of dF/dz_c times the row of c
    (9)  g = J'r = 0,  d omega = -H^-1 dg
    (10) H = J'J + sum_i r_i (second derivative of r_i)
    (11) w_t + u . grad w = nu lap w,  w = curl u,  div u = 0
    (12) w = w_0 + b omega,  b = 0.005 (t / T) (network),  means removed

================= ======================== ==================== ============
symbol            name                     shape                equation
================= ======================== ==================== ============
b                 ``basis``                (B, grid..., N)      (3), (6)
omega             ``omega``                (B, K, N) or (P, N)  (3)-(6)
r, J              ``residual, jacobian``   (P, R), (P, R, N)    (4), (5), (8)
lambda            ``damping``              (P,)                 (5)
z, F, dF/dz       ``operators, law,``      (C, ...)             (8)
                  ``law_slopes``
g, H              ``optimality,``          (P, N), (P, N, N)    (9), (10)
                  ``curvature``
K, blocks         ``experts``              counts               (6)
m                 ``n_points``             number
================= ======================== ==================== ============

Examples
--------
>>> from lib.constrained.moe_constraints import DiffusionSorption, FNO2d, PIHCMoE
>>> pde = DiffusionSorption(n_t=8, n_x=16)
>>> net = FNO2d(n_basis=3, layers=1, modes=2, width=4, head=8)
>>> PIHCMoE(pde, net, batch=2).fit([0.05, 0.1, 0.15], steps=2).predict([0.12]).shape
(1, 8, 16)
"""

from lib.constrained.moe_constraints.layers import ConstraintMoE, ConstraintOutput, HardConstraintLayer
from lib.constrained.moe_constraints.models import PIHC, PIHCMoE, SoftConstraint
from lib.constrained.moe_constraints.navier_stokes import NavierStokes
from lib.constrained.moe_constraints.network import FNO2d, FNO3d
from lib.constrained.moe_constraints.pde import PDE, DiffusionSorption
from lib.constrained.moe_constraints.solver import implicit_solution, levenberg_marquardt

__all__ = [
    "PDE",
    "PIHC",
    "ConstraintMoE",
    "ConstraintOutput",
    "DiffusionSorption",
    "FNO2d",
    "FNO3d",
    "HardConstraintLayer",
    "NavierStokes",
    "PIHCMoE",
    "SoftConstraint",
    "implicit_solution",
    "levenberg_marquardt",
]
