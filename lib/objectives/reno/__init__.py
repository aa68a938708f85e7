"""ReNO: Enhancing One-step Text-to-Image Models through Reward-based Noise Optimization (Eyring, Karthik, Roth, Dosovitskiy,
Akata; NeurIPS 2024, arXiv:2406.04312; official code: github.com/ExplainableML/ReNO, MIT).

A generator that makes an image in one step is a function of its noise. For one prompt, climb a sum of reward models by changing
the noise; all weights stay as they are.

Implemented: the ascent with all optimizers of the official code, its regularizer, its baseline (best of n draws), a start from
the best of some draws (beyond the paper). For a GPU: the paper's generators (`lib.objectives.reno.diffusion`) and reward models
(`lib.objectives.reno.reward_models`, their losses in `lib.objectives.reno.losses`), whose packages are imported when they are
used. Not implemented: FLUX, and carrying the noise over to a generator with many steps.

=================== ======================================================== ==================== ===============
symbol              name                                                     shape                equation
=================== ======================================================== ==================== ===============
epsilon             ``noise``                                                (n, ...)             (1)
G                   `OneStepGenerator`                                       images (n, C, H, W)  (1)
C_i, lambda_i       `RewardEnsemble`                                         (n,)                 (1)
K                   `chi_norm_regularizer`                                   (n,)                 (2)
alpha               ``reg``                                                  scalar               (1)
clipped gradient    `clip_by_sample`                                         as noise             (3)
velocity, step      `nesterov_ascent`                                        as noise             (4)
learning rate       `auto_lr`                                                scalar               (5)
=================== ======================================================== ==================== ===============

(1) maximize ``sum_i lambda_i C_i(G(epsilon, p), p) + alpha K(epsilon)``; (2) ``K = (d - 1) log r - r^2 / 2`` with r the norm;
(3) ``g min(1, c / |g|)`` in each sample; (4) ``v <- mu v + g``, ``epsilon <- epsilon + lr (g + mu v)``;
(5) ``lr = 5 sqrt(d / 16384)``. Algorithm 1: 1 draw; 2 for n iterations: 3 image and rewards, 4 keep the best, 5 objective (1),
6 clip (3) and step (4), not after the last.
"""

from lib.objectives.reno.norms import auto_lr, chi_norm_regularizer
from lib.objectives.reno.optimizer import OPTIMIZERS, NoiseOptimizer, NoiseOptResult, NoiseOptState, best_of_n
from lib.objectives.reno.rewards import FunctionGenerator, OneStepGenerator, RewardEnsemble
from lib.objectives.reno.steps import clip_by_sample, nesterov_ascent

__all__ = [
    "OPTIMIZERS",
    "FunctionGenerator",
    "NoiseOptResult",
    "NoiseOptState",
    "NoiseOptimizer",
    "OneStepGenerator",
    "RewardEnsemble",
    "auto_lr",
    "best_of_n",
    "chi_norm_regularizer",
    "clip_by_sample",
    "nesterov_ascent",
]
