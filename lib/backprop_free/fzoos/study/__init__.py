"""What only the chapter's experiments use: the paper's tasks, protocols and how runs are measured."""

from __future__ import annotations

from .attack import Attack, attacks, client_networks
from .instances import Clients, synthetic_quadratic
from .metric import macro_loss, metric_clients

__all__ = ["Attack", "Clients", "attacks", "client_networks", "macro_loss", "metric_clients", "synthetic_quadratic"]
