"""What only the chapter's experiments use."""

__all__: list[str] = []
