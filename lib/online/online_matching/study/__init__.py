"""The chapter's experiments: hard families and random graphs, real click logs, rivals, and what is measured."""

from lib.online.online_matching.study.clicks import CAMPAIGNS, ClickLog, click_instance, click_log
from lib.online.online_matching.study.coupling import Displacement, PriceLoss, displacement, price_loss
from lib.online.online_matching.study.instances import private_and_shared, random_graph, triangle, two_groups
from lib.online.online_matching.study.protocols import (
    Ladder,
    batch_means,
    coin_mean,
    form_gaps,
    ladder,
    least_mass,
)
from lib.online.online_matching.study.rivals import BidPrice, LeastLoaded, forecast

__all__ = [
    "CAMPAIGNS",
    "BidPrice",
    "ClickLog",
    "Displacement",
    "Ladder",
    "LeastLoaded",
    "PriceLoss",
    "batch_means",
    "click_instance",
    "click_log",
    "coin_mean",
    "displacement",
    "forecast",
    "form_gaps",
    "ladder",
    "least_mass",
    "price_loss",
    "private_and_shared",
    "random_graph",
    "triangle",
    "two_groups",
]
