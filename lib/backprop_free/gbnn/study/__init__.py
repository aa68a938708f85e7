"""What only the chapter's experiments use: data sets, rivals, pruning, protocols."""

from __future__ import annotations

from .rivals import WideNetwork

__all__ = ["WideNetwork"]
