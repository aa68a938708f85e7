"""Learning to Optimize Multi-Objective Alignment Through Dynamic Reward Weighting (Lu, Wang, Li, Liu, Yu, Yin, Shi, Zhang,
Jiang; TACL 14, 2026, arXiv:2509.11452).

Reinforcement learning of a language policy from several rewards, whose weights change during the run: scaled by how much the
last checkpoint enlarged the hypervolume, or moved toward rewards whose gradients agree with the sum of all.

Implemented: both weightings, fixed weights, the three rewards of the paper, GRPO, Dr. GRPO, RLOO and REINFORCE++ for the
policies of `lib.networks`; for language models on a GPU all three weightings with GRPO in TRL (`language_models`, which imports
TRL when it is used). Not implemented: accumulation of influences over steps, gradients of several processes in TRL.

============== ======================================================== ========= ========
symbol         name                                                     shape     equation
============== ======================================================== ========= ========
w, c           ``weights``, ``scale``; `Trainer.gains`                  (K,), ()  (1)
r              `RunningRewards`                                         (n, K)    (2)
HV             `hypervolume`, `hypervolume_by_slices`                   scalar    (3)
delta HV       `hypervolume_contribution`                               scalar    (4)
c              `meta_reward`, `HypervolumeGuided`                       scalar    (5)
g              `Trainer.reward_gradients`, ``loss_of``                  (K, P)    (6)
I              `influence`                                              (K,)      (7)
w              `mirror_step`, `GradientInfluence`                       (K,)      (8)
============== ======================================================== ========= ========
"""

from lib.policies.dynamic_reward_weighting.pareto import (
    hypervolume,
    hypervolume_by_slices,
    hypervolume_contribution,
    pareto_front,
)
from lib.policies.dynamic_reward_weighting.rewards import RunningRewards, boxed, is_clear, is_right
from lib.policies.dynamic_reward_weighting.training import History, RLConfig, Trainer, train
from lib.policies.dynamic_reward_weighting.weighting import (
    PREFERENCES,
    FixedWeights,
    GradientInfluence,
    HypervolumeGuided,
    RewardWeighting,
    StepInfo,
    influence,
    meta_reward,
    mirror_step,
)

__all__ = [
    "PREFERENCES",
    "FixedWeights",
    "GradientInfluence",
    "History",
    "HypervolumeGuided",
    "RLConfig",
    "RewardWeighting",
    "RunningRewards",
    "StepInfo",
    "Trainer",
    "boxed",
    "hypervolume",
    "hypervolume_by_slices",
    "hypervolume_contribution",
    "influence",
    "is_clear",
    "is_right",
    "meta_reward",
    "mirror_step",
    "pareto_front",
    "train",
]
