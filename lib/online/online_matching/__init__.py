"""Online Matching with Stochastic Rewards: Advanced Analyses Using Configuration Linear Programs (Huang, Jiang, Shen, Song, Wu,
Zhang; WINE 2023, arXiv:2309.10289).

Each arrival is offered at once to one offline vertex, which succeeds with a known probability, at most once. Stochastic Balance
offers to whom was offered least. The paper bounds what it loses against the best planner that faces the same coins, by a linear
program with one variable for each offline vertex and each list of offers to it.

Implemented: Stochastic Balance for any gain function, Ranking, Greedy, random offers; their expected rewards, simulated or
exact; the matching LP, the configuration LP, and the Stochastic Configuration LP with all columns, by column generation and in
a compact form; the stochastic optimum by dynamic programming; the constants of three analyses against two benchmarks. The
paper's body was not available: the statement of its LP follows the abstract, the derivations of the constants and the compact
form are ours. Not implemented: the paper's analysis of Ranking.

=============== ======================================================== ============= =============
symbol          name                                                     shape         equation
=============== ======================================================== ============= =============
p_uv            ``P``                                                    (n, m)
l, theta        ``loads``, ``thresholds``                                (n,)          (1)
g, 1 - g        `gain_function`, `StochasticBalance`                     function      (2), (12)-(14)
MLP, CLP        `matching_lp`, `configuration_lp`                                      (3), (4)
SCLP            `stochastic_configuration_lp`                                          (5), (8)
V_v(A)          `offline_optimum`                                        (m+1, 2^n)    (6)
W_t             ``best_column``, ``opportunity``                         (m+1,)        (7)
F, h, Gamma     `competitive_ratio`: ``achieved``, ``kept``, ``ratio``   (points,)     (11)-(16)
=============== ======================================================== ============= =============
"""

from lib.online.online_matching.gains import Guarantee, competitive_ratio, gain_function
from lib.online.online_matching.lps import Column, configuration_lp, matching_lp, stochastic_configuration_lp
from lib.online.online_matching.optimum import Optimum, offline_optimum
from lib.online.online_matching.policies import Greedy, Policy, RandomPolicy, Ranking, StochasticBalance
from lib.online.online_matching.problem import StochasticMatching
from lib.online.online_matching.simulation import OnlineMatcher, SimResult, exact_value, simulate

__all__ = [
    "Column",
    "Greedy",
    "Guarantee",
    "OnlineMatcher",
    "Optimum",
    "Policy",
    "RandomPolicy",
    "Ranking",
    "SimResult",
    "StochasticBalance",
    "StochasticMatching",
    "competitive_ratio",
    "configuration_lp",
    "exact_value",
    "gain_function",
    "matching_lp",
    "offline_optimum",
    "simulate",
    "stochastic_configuration_lp",
]
