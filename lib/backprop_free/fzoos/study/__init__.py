"""What only the chapter's experiments use: the paper's tasks, how runs are compared, and a rival of ours."""

from __future__ import annotations

from .attack import Attack, attacks, client_networks
from .instances import Clients, synthetic_quadratic
from .metric import metric_clients
from .protocols import (
    Best,
    Cost,
    best_setting,
    cost_to,
    drift_limit,
    history_cosines,
    local_average,
    shared_points,
    up_to,
    value_at,
)

__all__ = [
    "Attack",
    "Best",
    "Clients",
    "Cost",
    "attacks",
    "best_setting",
    "client_networks",
    "cost_to",
    "drift_limit",
    "history_cosines",
    "local_average",
    "metric_clients",
    "shared_points",
    "synthetic_quadratic",
    "up_to",
    "value_at",
]
