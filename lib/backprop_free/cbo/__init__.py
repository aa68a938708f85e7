"""Consensus-based optimization as a stochastic relaxation of gradient descent.

Konstantin Riedl, Timo Klock, Carina Geldhauser and Massimo Fornasier. *Gradient is All You Need? How Consensus-Based
Optimization can be Interpreted as a Stochastic Relaxation of Gradient Descent*. arXiv:2306.09778, 2023 (version 2: 2026).
Official code (MATLAB): https://github.com/KonstantinRiedl/CBOGlobalConvergenceAnalysis, folder CBOstochasticGD.

Implemented: consensus-based optimization (isotropic and anisotropic noise; also with the published code's order of drift
and noise) and consensus hopping, many runs at once; the minimizing-movement scheme, gradient descent and annealed Langevin
dynamics; mean-field consensus, smoothed energy and its gradient by quadrature; each error of the theorem alone; CBO as a
`torch.optim.Optimizer`; a race against CMA-ES and restarts, and CBXpy as a peer.

Not implemented: random batches of particles, memory, truncated noise and gradient drift (other papers of the same authors).

=================== ============================ ===================================== ==========================
symbol              name                         shape, meaning                        equation of the chapter
=================== ============================ ===================================== ==========================
E                   ``fun``                      points (..., d) -> energies (...)
X^i                 ``x``, ``particles``         ([runs,] N, d)                        (2)
x_alpha             `consensus_point`            ([runs,] d)                           (1)
lambda, sigma       ``drift``, ``noise``         1 and 1.6 in the paper's figure       (2)
Delta t             ``dt``                       0.01                                  (2)
alpha               ``alpha``                    inverse temperature, 100              (1)
sigma tilde         ``width``                    sampling width of hopping, 0.7        (3)
tau                 ``step``                     alpha width^2, effective step size    (4)
F_{alpha,s}         `smoothed_energy`            ([runs])                              (5)
x^MMS               `minimizing_movement`        (d,)                                  (7)
=================== ============================ ===================================== ==========================
"""

from __future__ import annotations

from typing import Any

from lib.backprop_free.cbo.consensus import consensus_point, mean_field_consensus, smoothed_energy, smoothed_gradient
from lib.backprop_free.cbo.descent import (
    central_differences,
    gradient_descent,
    langevin,
    minimizing_movement,
    proximal_point,
)
from lib.backprop_free.cbo.digits import SoftmaxEnergy, sgd
from lib.backprop_free.cbo.rivals import cbx_consensus, first_hits, race_cma, race_restarts, tune
from lib.backprop_free.cbo.swarm import cbo_step, minimize_cbo, minimize_consensus_hopping
from lib.backprop_free.cbo.theory import (
    contraction_rate,
    hopping_gap,
    implicit_error,
    loglog_slope,
    sampled_consensus,
    sampling_error,
    success_rate,
    temperature_error,
)

__all__ = [
    "CBO",
    "SoftmaxEnergy",
    "cbo_step",
    "cbx_consensus",
    "central_differences",
    "consensus_point",
    "contraction_rate",
    "first_hits",
    "gradient_descent",
    "hopping_gap",
    "implicit_error",
    "langevin",
    "loglog_slope",
    "mean_field_consensus",
    "minimize_cbo",
    "minimize_consensus_hopping",
    "minimizing_movement",
    "proximal_point",
    "race_cma",
    "race_restarts",
    "sampled_consensus",
    "sampling_error",
    "sgd",
    "smoothed_energy",
    "smoothed_gradient",
    "success_rate",
    "temperature_error",
    "tune",
]


def __getattr__(name: str) -> Any:
    """`CBO` loads torch, so it is imported when it is asked for."""
    if name == "CBO":
        from lib.backprop_free.cbo.optimizer import CBO

        return CBO
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
