"""Mini-batches for losses that need both classes in each of them.

Han, Moniz and Chawla, "AnyLoss: Transforming Classification Metrics into Loss Functions", arXiv:2405.14745 (2024). A
metric of a batch without positives is undefined; on imbalanced data plain shuffling draws such batches.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import Sampler

from lib import checks
from lib.objectives.anyloss import functional


class StratifiedBatchSampler(Sampler[list[int]]):
    """Shuffled mini-batches that all hold both classes, in the proportion of the data.

    Parameters
    ----------
    target : array_like or Tensor, shape (n,)
        Labels 0/1, -1/+1 or bool.
    batch_size : int
        Largest size; the ceil(n / batch_size) batches differ by at most one sample.
    seed : int or torch.Generator, default=0
        Of the shuffling, which goes on from one epoch to the next, also in a pickled copy.

    Raises
    ------
    ValueError
        batch_size out of 1..n, or fewer samples of a class than batches.

    Examples
    --------
    >>> from lib.objectives.anyloss import StratifiedBatchSampler
    >>> sampler = StratifiedBatchSampler([0, 0, 0, 0, 1, 1], batch_size=3)
    >>> [len(batch) for batch in sampler]
    [3, 3]
    """

    def __init__(self, target: Any, batch_size: int, seed: int | torch.Generator = 0) -> None:
        positive = torch.as_tensor(functional.check_target(target)).reshape(-1)
        batch_size = checks.integer("batch_size", batch_size, low=1, high=len(positive))
        self.n_batches = math.ceil(len(positive) / batch_size)
        self._classes = [torch.nonzero(mask).squeeze(1) for mask in (positive, ~positive)]
        smallest = min(len(members) for members in self._classes)
        if smallest < self.n_batches:
            raise ValueError(
                f"target: a class of {smallest} samples cannot be in all of {self.n_batches} batches; raise batch_size"
            )
        self._generator = seeded(seed)

    def __len__(self) -> int:
        return self.n_batches

    def __iter__(self) -> Iterator[list[int]]:
        pos, neg = (
            members[torch.randperm(len(members), generator=self._generator)].tensor_split(self.n_batches)
            for members in self._classes
        )
        # The larger shares of one class meet the smaller shares of the other.
        return (torch.cat(pair).tolist() for pair in zip(pos, reversed(neg), strict=True))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_generator": self._generator.get_state()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        generator = torch.Generator()
        generator.set_state(state["_generator"])
        self.__dict__.update({**state, "_generator": generator})


def seeded(seed: int | torch.Generator) -> torch.Generator:
    """A generator from a seed; a generator is used as it is."""
    if isinstance(seed, torch.Generator):
        return seed
    return torch.Generator().manual_seed(checks.integer("seed", seed, low=0))
