"""Consensus-based optimization as a stochastic relaxation of gradient descent.

Konstantin Riedl, Timo Klock, Carina Geldhauser and Massimo Fornasier. *Gradient is All You Need? How Consensus-Based
Optimization can be Interpreted as a Stochastic Relaxation of Gradient Descent*. arXiv:2306.09778, 2023 (version 2: 2026).
Official code (MATLAB): https://github.com/KonstantinRiedl/CBOGlobalConvergenceAnalysis, folder CBOstochasticGD.

Implemented: consensus-based optimization (isotropic and anisotropic noise; also with the published code's order of drift
and noise) and consensus hopping, many runs at once; the minimizing-movement scheme, gradient descent and annealed Langevin
dynamics; mean-field consensus, smoothed energy and its gradient by quadrature; CBO as a `torch.optim.Optimizer`. Each error
of the theorem alone, the race against CMA-ES and restarts, and CBXpy as a peer are in `lib.backprop_free.cbo.study`.

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
from lib.backprop_free.cbo.swarm import cbo_step, minimize_cbo, minimize_consensus_hopping

__all__ = [
    "CBO",
    "cbo_step",
    "central_differences",
    "consensus_point",
    "gradient_descent",
    "langevin",
    "mean_field_consensus",
    "minimize_cbo",
    "minimize_consensus_hopping",
    "minimizing_movement",
    "proximal_point",
    "smoothed_energy",
    "smoothed_gradient",
]


def __getattr__(name: str) -> Any:
    """`CBO` loads torch, so it is imported when it is asked for."""
    if name == "CBO":
        from lib.backprop_free.cbo.optimizer import CBO

        return CBO
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
