"""What only the experiments of target_surrogates use."""

__all__: list[str] = []
