"""Learning to relax: bandits that set the relaxation parameter of a linear solver while it solves a sequence of systems.

Mikhail Khodak, Edmond Chow, Maria-Florina Balcan and Ameet Talwalkar. *Learning to Relax: Setting Solver Parameters Across a
Sequence of Linear System Instances*. International Conference on Learning Representations (ICLR), 2024. arXiv:2310.02246.
Official code (MATLAB): https://github.com/mkhodak/learning-to-relax.

Implemented: SOR and SSOR-preconditioned CG with the paper's stopping rules and counts; Young's formulas, the near-asymptotic
surrogate, the energy-norm and the CG bounds; Tsallis-INF, Tsallis-INF per context bin and ChebCB, each also with what the
published code does differently; the random shifted Laplacians, the degenerate target and the heat equation; batched kernels
that count iterations for a whole table (instances x relaxation parameters); rivals that the paper does not run.

Not implemented: the constants of the regret theorems; batched kernels for anything but square 5-point grids (the solvers take
any matrix).

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

from lib.online.sor_bandit.bandits import (
    BinnedBandit,
    FixedArm,
    Policy,
    TsallisINF,
    official_tsallis_weights,
    tsallis_probabilities,
)
from lib.online.sor_bandit.bounds import energy_cost_bound, energy_norm_bound, ssor_cg_bound, ssor_cg_tau
from lib.online.sor_bandit.chebcb import ChebCB, box_least_squares
from lib.online.sor_bandit.heat import (
    HeatEquation2D,
    bump,
    heat_cost_table,
    paper_coefficient,
    paper_forcing,
    paper_initial,
)
from lib.online.sor_bandit.instances import (
    ShiftedLaplacians,
    degenerate_target,
    delsq,
    laplacian,
    numgrid,
    sample_shifts,
    truncated_normal,
)
from lib.online.sor_bandit.kernels import sor_cost_table, ssor_pcg_cost_table
from lib.online.sor_bandit.rivals import EXP3, UCB1, EpsilonGreedy, GPThompson, RestartedBandit, WindowedTsallisINF
from lib.online.sor_bandit.sequence import (
    best_fixed,
    central_minimizer,
    golden_section,
    instance_optimal,
    replay,
    run_sequence,
)
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
    "EXP3",
    "TAU_THRESHOLD",
    "UCB1",
    "BinnedBandit",
    "ChebCB",
    "EpsilonGreedy",
    "FixedArm",
    "GPThompson",
    "HeatEquation2D",
    "Policy",
    "RestartedBandit",
    "SSORPreconditioner",
    "ShiftedLaplacians",
    "TsallisINF",
    "WindowedTsallisINF",
    "asymptoticity",
    "best_fixed",
    "box_least_squares",
    "bump",
    "central_minimizer",
    "cg",
    "defect_matrix",
    "degenerate_target",
    "delsq",
    "energy_cost_bound",
    "energy_norm_bound",
    "golden_section",
    "heat_cost_table",
    "instance_optimal",
    "jacobi_radius",
    "laplacian",
    "near_asymptotic_bound",
    "numgrid",
    "official_tsallis_weights",
    "omega_grid",
    "optimal_omega",
    "paper_coefficient",
    "paper_forcing",
    "paper_initial",
    "replay",
    "run_sequence",
    "sample_shifts",
    "sor",
    "sor_cost_table",
    "sor_spectral_radius",
    "ssor_cg_bound",
    "ssor_cg_tau",
    "ssor_pcg",
    "ssor_pcg_cost_table",
    "surrogate_cost",
    "truncated_normal",
    "tsallis_probabilities",
]
