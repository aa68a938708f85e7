"""What the chapter's experiments use: a text, a small language model, instances with known optima, rivals, protocols."""

from lib.online.alf_lb.study.instances import Population, drifting, plane, population, sigmoid_scores
from lib.online.alf_lb.study.language import LanguageModel, Training, router_scores, train
from lib.online.alf_lb.study.protocols import (
    BatchRun,
    RegretRun,
    added,
    arms,
    fixed_batch,
    growth_of_objective,
    race,
    regret_run,
    routings,
)
from lib.online.alf_lb.study.rivals import sinkhorn_prices
from lib.online.alf_lb.study.text import Text, bible

__all__ = [
    "BatchRun",
    "LanguageModel",
    "Population",
    "RegretRun",
    "Text",
    "Training",
    "added",
    "arms",
    "bible",
    "drifting",
    "fixed_batch",
    "growth_of_objective",
    "plane",
    "population",
    "race",
    "regret_run",
    "router_scores",
    "routings",
    "sigmoid_scores",
    "sinkhorn_prices",
    "train",
]
