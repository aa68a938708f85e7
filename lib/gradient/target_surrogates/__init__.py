"""Target-based surrogates: several model updates for each expensive gradient with respect to the model's outputs.

Jonathan Wilder Lavington, Sharan Vaswani, Reza Babanezhad, Mark Schmidt and Nicolas Le Roux, *Target-based Surrogates for
Stochastic Optimization*, ICML 2023, arXiv:2302.02607. Official code:
https://github.com/WilderLavington/Target-Based-Surrogates-For-Stochastic-Optimization.

Implemented: the surrogate in target space for NumPy and torch, SSO as a `torch.optim.Optimizer` whose closure returns two
functions, with any deterministic inner optimizer, the paper's schedules of the target step (constant, 1/sqrt(t), exponential,
AdaGrad, line search) and steps given by a function (diagonal AdaGrad, Newton); for linear models the exact step and inner
steps on the Gram matrix. The rivals (stochastic line search, Adam, AdaGrad, L-BFGS), the data and the imitation task are in
`lib.gradient.target_surrogates.study`. Not implemented: the surrogate with another Bregman divergence than the squared norm.

=====================  =======================  ============  =======================================================
symbol                 name                     shape         meaning, and equation of the chapter
=====================  =======================  ============  =======================================================
theta                  ``params``, ``theta``    (d,), (d, k)  parameters
f(theta)               ``targets()``            (b,), (b, k)  the model's outputs for a batch, the targets (1)
l(z)                   ``loss(z)``              scalar        mean over examples of l_i(z_i) (1)
g_t                    ``g``                    as z          gradient of each l_i at z_t = f(theta_t): the expensive call
G_t(theta)             `TargetSurrogate`        scalar        surrogate (2), its gradient (3)
eta_t                  ``eta``                  scalar        step in target space; schedules (6), line search (7)
alpha_k                ``alpha``                scalar        inner steps, by Armijo's rule (4)
m                      ``m``                    int           inner steps for each expensive gradient
X^+                    `sso_exact_linear`       (d, b)        m = infinity for a linear model (8)
X^T X                  ``gram``                 (d, d)        the inner quadratic (10), its exact steps (11)
=====================  =======================  ============  =======================================================
"""

from __future__ import annotations

from typing import Any

from .linear import linear_step, sso_exact_linear
from .losses import TARGET_LOSSES, TargetLoss
from .schedules import SCHEDULES, target_armijo, target_step
from .surrogate import TargetSurrogate, armijo

__all__ = [
    "SCHEDULES",
    "SSO",
    "TARGET_LOSSES",
    "TargetLoss",
    "TargetSurrogate",
    "armijo",
    "linear_step",
    "sso_exact_linear",
    "target_armijo",
    "target_step",
]


def __getattr__(name: str) -> Any:
    """`SSO` loads torch, so it is imported when it is asked for."""
    if name == "SSO":
        from .optimizer import SSO

        return SSO
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
