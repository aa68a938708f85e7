"""What only the chapter's experiments use: data, rivals, protocols."""

from __future__ import annotations

__all__: list[str] = []
