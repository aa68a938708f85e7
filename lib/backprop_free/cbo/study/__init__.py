"""What the experiments on consensus-based optimization use: the theorem's errors one by one, a model to train, rivals."""

from lib.backprop_free.cbo.study.digits import SoftmaxEnergy, sgd
from lib.backprop_free.cbo.study.rivals import cbx_consensus, first_hits, race_cma, race_restarts, race_swarm, tune
from lib.backprop_free.cbo.study.theory import (
    contraction_rate,
    downhill,
    hopping_gap,
    implicit_error,
    loglog_slope,
    sampled_consensus,
    sampling_error,
    success_rate,
    temperature_error,
)

__all__ = [
    "SoftmaxEnergy",
    "cbx_consensus",
    "contraction_rate",
    "downhill",
    "first_hits",
    "hopping_gap",
    "implicit_error",
    "loglog_slope",
    "race_cma",
    "race_restarts",
    "race_swarm",
    "sampled_consensus",
    "sampling_error",
    "sgd",
    "success_rate",
    "temperature_error",
    "tune",
]
