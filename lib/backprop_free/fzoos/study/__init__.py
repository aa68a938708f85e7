"""What only the chapter's experiments use: the paper's tasks, protocols and how runs are measured."""

from __future__ import annotations

from .instances import Clients, synthetic_quadratic

__all__ = ["Clients", "synthetic_quadratic"]
