"""What only the chapter's experiments use: networks, protocols, rivals."""

__all__: list[str] = []
