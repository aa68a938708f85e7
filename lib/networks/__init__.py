"""A small language policy, sampling from it, and what policy-gradient methods make of the samples.

Chapters that train language models by reinforcement learning share these; losses, rewards and constraints are their own.

======================= =========================================================================================
`Transformer`           decoder with tied embeddings, value heads on request, and a cache of keys and values
`generate`              samples of responses to prompts of any length
`Rollouts`              what comes out: tokens, which of them count, log-probabilities
`response_log_probs`    log-probabilities of sampled responses under another policy, with their graph
`fit_supervised`        next-token training on given responses
`advantages`            of GRPO, Dr. GRPO, RLOO and REINFORCE++, from rewards of groups
`gae`                   generalized advantage estimates, for several rewards at once
`clipped_surrogate`     the clipped objective of proximal policy optimization
`kl_k3`                 the low-variance estimate of the divergence from a reference policy
======================= =========================================================================================
"""

from .gradients import ESTIMATORS, advantages, clipped_surrogate, gae, kl_k3
from .sampling import Rollouts, fit_supervised, generate, response_log_probs
from .transformer import Cache, Transformer

__all__ = [
    "ESTIMATORS",
    "Cache",
    "Rollouts",
    "Transformer",
    "advantages",
    "clipped_surrogate",
    "fit_supervised",
    "gae",
    "generate",
    "kl_k3",
    "response_log_probs",
]
