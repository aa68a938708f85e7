r"""Discovering Temporally-Aware Reinforcement Learning Algorithms.

Matthew T. Jackson, Chris Lu, Louis Kirsch, Robert T. Lange, Shimon Whiteson, Jakob N. Foerster. ICLR 2024, arXiv:2402.05828.

A learned objective tells an agent how to change its policy. Here it is a recurrent network that reads a rollout backwards. Told
which fraction of the lifetime is over and how long the lifetime is, it can learn a schedule that stretches with the budget.

Implemented: the rule with and without lifetime inputs (`LPG`), tabular agents on whole populations of tasks (`train_agent`,
their loss `lpg_loss`), bandits and grid worlds (`GaussianBandits`, `GridWorld`), evolution strategies over whole lifetimes
(`OpenES`, `MetaES`), gradients through windows of updates (`MetaGradient`), and mirror learning with a learned drift
(`DriftNet`, `mirror_loss`, `ppo_drift`, `dpo_drift`), with agents that balance a pole (`train_control`) and the drift's
meta-training on them (`DriftES`). Not implemented: agents with networks for the rules, MinAtar and Brax.

Equations::

    (1)  L = mean log pi(a_t|s_t) pi_hat_t + alpha_y mean KL(y(s_t) || y_hat_t)
    (2)  x_t = [r_t, d_t, pi(a_t|s_t), phi(y(s_t)), (1 - d_t) phi(y(s_{t+1}))]
    (3)  h_t = GRU(x_t, (4)),  pi_hat_t = w ReLU(h_t) + b,  y_hat_t = softmax(W ReLU(h_t) + b')
    (4)  the state that comes back: (1 - d_t) h_{t+1}, and 0 at the end of the rollout
    (5)  x_t <- [x_t, n/N, log N]
    (6)  dL/dtheta[s] = mean over t with s_t = s of pi_hat_t (onehot(a_t) - pi(.|s))
    (7)  dL/dpsi[s] = alpha_y mean over t with s_t = s of y (v - <y, v>),  v = log y - log y_hat
    (8)  theta <- theta - lr clip(gradient), psi likewise
    (9)  candidates eta +- sigma eps
    (10) g = sum over pairs of sign(F+ - F-) / 2 * eps / (pairs sigma)
    (11) outer loss = - mean log pi'(a) A - 0.05 entropy
    (12) A_t = delta_t + gamma lambda (1 - d_t) A_{t+1}
    (13) mirror loss = - mean (p A - D(p, A))
    (14) D = ReLU(f(x_pA) - 1e-6), f without biases, x_pA eight products of (1 - p), log p and A
    (15) x_pA <- [x_pA, (n/N) x_pA]
    (16) gradient of the smoothed score = E (F(eta + sigma eps) - F(eta - sigma eps)) / (2 sigma) eps
    (17) e <- (1 - a h)^2 e + a^2 s^2
    (18) D_PPO = ReLU((p - clip(p)) A)
    (19) D_DPO = ReLU(u - alpha tanh(u / alpha)), u = (p - 1) A; with beta and A log p where A < 0

=================== ======================== ====================== ==========
symbol              name                     shape                  equation
=================== ======================== ====================== ==========
meta-parameters     ``vectors``              (P, size)              (3), (9)
theta, psi          ``theta``, ``psi``       (P, E, S, A or m)      (6)-(8)
pi_hat, y_hat       ``pi_hat``, ``y_hat``    (P, L, E, W), (..., m) (1), (3)
n, N                ``n``, ``N``             numbers                (5)
K                   ``unroll``               number                 (11)
p, A, D             ``p``, ``advantage``     any                    (13)-(19)
=================== ======================== ====================== ==========

P rules in one batch, E tasks each, S states, A actions, W workers, L steps of a rollout. What differs from the authors' code:
they pass n and N themselves where the paper says n/N and log N; a tie in a pair counts for its second member there, for neither
here; their recurrent width is 256, their agents in larger worlds are networks.

Examples
--------
>>> from lib.policies.temporal_lpg import LPG, Agent, GaussianBandits, MetaES, train_agent
>>> rule, small = LPG(hidden=8, seed=0), Agent(workers=4, steps=1, lr_actor=4.0)
>>> search = MetaES(rule, GaussianBandits.sample, small, pairs=8, lifetimes=(5, 10), seed=0)
>>> scores = [search.step().mean() for _ in range(3)]
>>> train_agent(rule, GaussianBandits.sample(1, 50, seed=1), 10, small, seed=1).score.shape
(1, 50)
"""

from __future__ import annotations

from lib.policies.temporal_lpg.agents import lpg_loss
from lib.policies.temporal_lpg.control import CartPole, ControlAgent, ControlResult, DriftES, train_control
from lib.policies.temporal_lpg.drift import DriftNet, dpo_drift, mirror_loss, ppo_drift
from lib.policies.temporal_lpg.envs import GaussianBandits, GridWorld
from lib.policies.temporal_lpg.es import OpenES
from lib.policies.temporal_lpg.meta import Agent, MetaES, MetaGradient, train_agent
from lib.policies.temporal_lpg.rules import LPG

__all__ = [
    "LPG",
    "Agent",
    "CartPole",
    "ControlAgent",
    "ControlResult",
    "DriftES",
    "DriftNet",
    "GaussianBandits",
    "GridWorld",
    "MetaES",
    "MetaGradient",
    "OpenES",
    "dpo_drift",
    "lpg_loss",
    "mirror_loss",
    "ppo_drift",
    "train_agent",
    "train_control",
]
