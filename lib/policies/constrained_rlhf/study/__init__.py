"""TODO: what only the chapter's experiments use: protocols, rivals, instances, training scripts."""

__all__: list[str] = []
