"""What only the chapter's experiments use: instances, rivals, the exact optimum, other neighborhoods, the published form."""

from __future__ import annotations

from .exact import exact_order_dp
from .fourier import FourierColumn
from .graphs import graph_weights
from .instances import Instance, draw_instance, parse_family
from .neighborhoods import inserted, insertion_changes, insertion_search, random_pair_search
from .networks import Budget, NetworkColumn, notears_networks
from .published import PublishedModel
from .rivals import dagma_linear, nofears, notears_linear

__all__ = [
    "Budget",
    "FourierColumn",
    "Instance",
    "NetworkColumn",
    "PublishedModel",
    "dagma_linear",
    "draw_instance",
    "exact_order_dp",
    "graph_weights",
    "inserted",
    "insertion_changes",
    "insertion_search",
    "nofears",
    "notears_linear",
    "notears_networks",
    "parse_family",
    "random_pair_search",
]
