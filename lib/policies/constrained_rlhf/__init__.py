"""Constrained RLHF: rewards are held at the values up to which they are useful, instead of being maximized.

Ted Moskovitz, Aaditya K. Singh, DJ Strouse, Tuomas Sandholm, Ruslan Salakhutdinov, Anca D. Dragan and Stephen McAleer.
*Confronting Reward Model Overoptimization with Constrained RLHF*. ICLR 2024. arXiv:2310.04373. Official code:
github.com/tedmoskovitz/ConstrainedRL4LMs.

Implemented: proximal policy optimization with a value head for each reward, in the paper's five variants; multipliers with
their squashing, momentum and clipping; the adaptive coefficient of the divergence; proxy points from recorded runs, and by a
simplex search within one run; the problem on finitely many responses, exactly; scores of responses; language models of
transformers as policies (`lib.policies.constrained_rlhf.language_models`). Advantages of several rewards are
`lib.networks.gae`.

Not implemented: the fine-tuned classifier of DailyDialog's intents, an entropy bonus (its weight is 0 in the paper), clipped
value losses. Text, rewards, rivals and instances are in `lib.policies.constrained_rlhf.study`.

==================== ================================ ==================================================================
symbol               name                             shape, meaning
==================== ================================ ==================================================================
r_0                  `Batch.rewards`, column 0        (B, T), minus beta times log pi / pi_0 of a token, (1)
r_i                  `Batch.scores`                   (B, N), rewards of a response, paid with its last token
A_0, A_i             `Batch.advantages`               (B, T, 1 + N)
A                    `ConstrainedPPO.advantage`       (B, T), mixed: (2); of "upper" (5), not squashed (6)
theta                ``thresholds``                   (N,), proxy points
mu, lambda           ``mu``, ``weights``              (N,), multipliers before and after squashing, moved by (3)
-(r_i - theta_i)^2   `ConstrainedPPO.paid`            (B, N), reward of "ppo_sat", (4)
beta                 `KLController.beta`              coefficient of the divergence, (7)
pi_mu                `TiltedBandit.policy`            (M,), tilted policy, (8); its dual (9), derivative of its values (10)
alpha, beta, gamma   `meteor`                         of the score METEOR, (11)
1, 2, 0.5, 0.5       `nelder_mead_thresholds`         coefficients of the simplex search, (12)
==================== ================================ ==================================================================

The numbers are those of the chapter.
"""

from lib.policies.constrained_rlhf.bandit import TiltedBandit, TiltedPolicy
from lib.policies.constrained_rlhf.multipliers import KLController, LagrangeMultipliers
from lib.policies.constrained_rlhf.ppo import VARIANTS, ConstrainedPPO
from lib.policies.constrained_rlhf.scores import bleu, chrf, distinct_ngrams, meteor, rouge
from lib.policies.constrained_rlhf.settings import Batch, History, PPOConfig, normalized, with_value_heads
from lib.policies.constrained_rlhf.thresholds import ProxyPoint, find_proxy_point, nelder_mead_thresholds

__all__ = [
    "VARIANTS",
    "Batch",
    "ConstrainedPPO",
    "History",
    "KLController",
    "LagrangeMultipliers",
    "PPOConfig",
    "ProxyPoint",
    "TiltedBandit",
    "TiltedPolicy",
    "bleu",
    "chrf",
    "distinct_ngrams",
    "find_proxy_point",
    "meteor",
    "nelder_mead_thresholds",
    "normalized",
    "rouge",
    "with_value_heads",
]
