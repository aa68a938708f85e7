"""What only the chapter's experiments use: worlds, races with hand-made rules, the noisy quadratic, meta-training, weights."""

from __future__ import annotations

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
from lib.policies.temporal_lpg.study.training import drift_start, train_drift, train_es, train_metagradient
from lib.policies.temporal_lpg.study.weights import load_weights
from lib.policies.temporal_lpg.study.worlds import WORLDS, World

__all__ = [
    "RATES",
    "WORLDS",
    "World",
    "curve_distance",
    "drift_start",
    "hand_made",
    "learned",
    "load_weights",
    "pair_differences",
    "race",
    "rule_of",
    "schedule_loss",
    "train_drift",
    "train_es",
    "train_metagradient",
    "with_clock",
]
