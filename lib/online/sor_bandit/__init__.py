"""Learning to relax: bandits that set the relaxation parameter of a linear solver while it solves a sequence of systems.

Mikhail Khodak, Edmond Chow, Maria-Florina Balcan and Ameet Talwalkar. *Learning to Relax: Setting Solver Parameters Across a
Sequence of Linear System Instances*. International Conference on Learning Representations (ICLR), 2024. arXiv:2310.02246.
Official code (MATLAB): https://github.com/mkhodak/learning-to-relax.

Implemented: SOR and SSOR-preconditioned CG with the paper's stopping rules and counts; Young's formulas and the
near-asymptotic surrogate; Tsallis-INF, Tsallis-INF per context bin and ChebCB, each also with what the published code does
differently; the loop that lets one of them set the parameter of a solver. The paper's instances, bounds, batched kernels and
the rivals are in `lib.online.sor_bandit.study`.

Not implemented: the constants of the regret theorems.

================== ============================== =====================================================================
symbol             name                           shape, meaning
================== ============================== =====================================================================
A = D + L + L^T    ``A``                          (n, n), symmetric positive definite
omega, G           ``omega``, ``grid``            relaxation parameter in (0, 2); the arms, (d,)
C_omega            `defect_matrix`                (n, n), ``I - A (D/omega + L)^{-1}``
beta               `jacobi_radius`                spectral radius of ``I - D^{-1} A``
omega*             `optimal_omega`                minimizer of the spectral radius of C_omega
rho(C_omega)       `sor_spectral_radius`          Young's formula
tau                ``asymptoticity(...).tau``     distance of ``||C^k||^(1/k)`` from rho, relative to 1 - rho
U(omega)           `near_asymptotic_bound`        (d,), upper bound of the cost
c_t                ``context``                    diagonal shift, or diffusion coefficient
k                  ``TsallisINF.losses_``         (d,), cumulative importance-weighted losses
theta              ``ChebCB.theta_``              (d, m), Chebyshev coefficients of the cost of each arm
================== ============================== =====================================================================
"""

from lib.online.sor_bandit.bandits import BinnedBandit, FixedArm, Policy, TsallisINF, tsallis_probabilities
from lib.online.sor_bandit.chebcb import ChebCB, box_least_squares
from lib.online.sor_bandit.sequence import replay, run_sequence
from lib.online.sor_bandit.solvers import SSORPreconditioner, cg, sor, ssor_pcg
from lib.online.sor_bandit.theory import (
    BETA_SQUARED_THRESHOLD,
    TAU_THRESHOLD,
    asymptoticity,
    defect_matrix,
    jacobi_radius,
    near_asymptotic_bound,
    omega_grid,
    optimal_omega,
    sor_spectral_radius,
    surrogate_cost,
)

__all__ = [
    "BETA_SQUARED_THRESHOLD",
    "TAU_THRESHOLD",
    "BinnedBandit",
    "ChebCB",
    "FixedArm",
    "Policy",
    "SSORPreconditioner",
    "TsallisINF",
    "asymptoticity",
    "box_least_squares",
    "cg",
    "defect_matrix",
    "jacobi_radius",
    "near_asymptotic_bound",
    "omega_grid",
    "optimal_omega",
    "replay",
    "run_sequence",
    "sor",
    "sor_spectral_radius",
    "ssor_pcg",
    "surrogate_cost",
    "tsallis_probabilities",
]
