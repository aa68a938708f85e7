"""What the experiments of Learning to Relax use: instances, cost tables, comparators, textbook bounds and rivals."""

from lib.online.sor_bandit.study.bounds import energy_cost_bound, energy_norm_bound, ssor_cg_bound, ssor_cg_tau
from lib.online.sor_bandit.study.comparators import best_fixed, central_minimizer, golden_section, instance_optimal
from lib.online.sor_bandit.study.heat import (
    HeatEquation2D,
    bump,
    heat_cost_table,
    paper_coefficient,
    paper_forcing,
    paper_initial,
)
from lib.online.sor_bandit.study.instances import (
    ShiftedLaplacians,
    degenerate_target,
    delsq,
    laplacian,
    numgrid,
    sample_shifts,
    truncated_normal,
)
from lib.online.sor_bandit.study.kernels import sor_cost_table, ssor_pcg_cost_table
from lib.online.sor_bandit.study.official import official_tsallis_weights
from lib.online.sor_bandit.study.rivals import UCB1, EpsilonGreedy, GPThompson, RestartedBandit
from lib.online.sor_bandit.study.timing import Timing, cost_ratios, time_together

__all__ = [
    "UCB1",
    "EpsilonGreedy",
    "GPThompson",
    "HeatEquation2D",
    "RestartedBandit",
    "ShiftedLaplacians",
    "Timing",
    "best_fixed",
    "bump",
    "central_minimizer",
    "cost_ratios",
    "degenerate_target",
    "delsq",
    "energy_cost_bound",
    "energy_norm_bound",
    "golden_section",
    "heat_cost_table",
    "instance_optimal",
    "laplacian",
    "numgrid",
    "official_tsallis_weights",
    "paper_coefficient",
    "paper_forcing",
    "paper_initial",
    "sample_shifts",
    "sor_cost_table",
    "ssor_cg_bound",
    "ssor_cg_tau",
    "ssor_pcg_cost_table",
    "time_together",
    "truncated_normal",
]
