"""What only the chapter's experiments use: the small language, the base policies, rivals, races, a toy front."""

from lib.policies.dynamic_reward_weighting.study.language import (
    RECIPES,
    ArithmeticTask,
    decode,
    demonstrations,
    encode,
    new_policy,
    verify,
)
from lib.policies.dynamic_reward_weighting.study.protocols import (
    METHODS,
    RACES,
    REFERENCE,
    Plan,
    linearity_gap,
    race,
    run,
    scale_effect,
    settling_step,
    steps_to,
    volume,
    volumes,
    weighting_of,
)
from lib.policies.dynamic_reward_weighting.study.rivals import MinNorm, min_norm_weights
from lib.policies.dynamic_reward_weighting.study.toy import ascend, bent_front
from lib.policies.dynamic_reward_weighting.study.weights import load_base

__all__ = [
    "METHODS",
    "RACES",
    "RECIPES",
    "REFERENCE",
    "ArithmeticTask",
    "MinNorm",
    "Plan",
    "ascend",
    "bent_front",
    "decode",
    "demonstrations",
    "encode",
    "linearity_gap",
    "load_base",
    "min_norm_weights",
    "new_policy",
    "race",
    "run",
    "scale_effect",
    "settling_step",
    "steps_to",
    "verify",
    "volume",
    "volumes",
    "weighting_of",
]
