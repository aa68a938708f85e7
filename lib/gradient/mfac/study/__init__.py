"""What only the chapter's experiments use: networks and training, rivals, counted operations; `protocols` runs them."""

from __future__ import annotations

from .counting import count_operations, slope
from .network import convnet, deep_net
from .rivals import magnitude_prune, solved_vectors

__all__ = ["convnet", "count_operations", "deep_net", "magnitude_prune", "slope", "solved_vectors"]
