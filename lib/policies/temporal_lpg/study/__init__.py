"""What only the chapter's experiments use: worlds, races with hand-made rules, the noisy quadratic, meta-training, weights."""

from __future__ import annotations

from lib.policies.temporal_lpg.study.balancing import EPSILONS, control_race, dpo, ppo, timed
from lib.policies.temporal_lpg.study.quadratic import schedule_loss
from lib.policies.temporal_lpg.study.races import (
    RATES,
    curve_distance,
    hand_made,
    learned,
    pair_differences,
    race,
    rule_of,
    with_clock,
)
from lib.policies.temporal_lpg.study.training import LIFETIME, drift_start, train_drift, train_es, train_metagradient
from lib.policies.temporal_lpg.study.weights import load_weights
from lib.policies.temporal_lpg.study.worlds import WORLDS, World

__all__ = [
    "EPSILONS",
    "LIFETIME",
    "RATES",
    "WORLDS",
    "World",
    "control_race",
    "curve_distance",
    "dpo",
    "drift_start",
    "hand_made",
    "learned",
    "load_weights",
    "pair_differences",
    "ppo",
    "race",
    "rule_of",
    "schedule_loss",
    "timed",
    "train_drift",
    "train_es",
    "train_metagradient",
    "with_clock",
]
