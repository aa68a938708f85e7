"""OpenES: the meta-gradient of a whole lifetime, without looking inside it."""

from __future__ import annotations

from typing import Any

import numpy as np

from lib import checks


def pair_weights(scores: np.ndarray) -> np.ndarray:
    """Weights of the directions from the scores [plus members, minus members]: 1/2 or -1/2 by rank in the pair, 0 in a tie."""
    plus, minus = np.split(scores, 2)
    return 0.5 * np.sign(plus - minus)  # (10)


class OpenES:
    """Evolution strategy with mirrored directions, ranks inside each pair, and Adam on the mean.

    Parameters
    ----------
    mean : array, shape (d,)
        Where to start; may be negative.
    pairs : int
        Directions in each generation; the authors' 512.
    sigma : float
        Length of a perturbation's entries; the authors' 0.1, constant.
    lr : float
        First step size of Adam; the authors' 0.01.
    decay, lr_least : float
        Factor on the step size after each generation and its least value; the authors' 0.999 and 1e-5.
    seed : seed
        Of the directions.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.policies.temporal_lpg import OpenES
    >>> es = OpenES(np.ones(3), pairs=50, lr=0.05, seed=0)
    >>> for _ in range(100):
    ...     _ = es.tell(-np.square(es.ask()).sum(1))
    >>> bool(np.square(es.mean).sum() < 0.1)
    True
    """

    def __init__(self, mean: Any, pairs: int = 512, sigma: float = 0.1, lr: float = 0.01, decay: float = 0.999,
                 lr_least: float = 1e-5, *, seed: Any = None) -> None:  # fmt: skip
        self.mean = np.array(checks.array("mean", mean, ndim=1), float)
        self.pairs = checks.integer("pairs", pairs, low=1, high=10**6)
        self.sigma, self.lr = checks.positive("sigma", sigma), checks.positive("lr", lr)
        self.decay, self.lr_least = checks.number("decay", decay, above=0, high=1), checks.number("lr_least", lr_least, low=0)
        self.rng = checks.generator("seed", seed)
        self.first, self.second = np.zeros_like(self.mean), np.zeros_like(self.mean)
        self.generation = 0
        self._directions: np.ndarray | None = None

    def ask(self) -> np.ndarray:
        """Candidates (2 pairs, d): all plus members, then their minus members in the same order."""
        directions = self.rng.standard_normal((self.pairs, len(self.mean)))
        self._directions, step = directions, self.sigma * directions
        return np.concatenate([self.mean + step, self.mean - step])  # (9)

    def tell(self, scores: Any) -> np.ndarray:
        """Take a step of Adam uphill from the scores (2 pairs,) of the last candidates; returns the estimated gradient."""
        if self._directions is None:
            raise ValueError("scores were told before candidates were asked for")
        told = checks.array("scores", scores, shape=(2 * self.pairs,))
        gradient = pair_weights(told) @ self._directions / (self.pairs * self.sigma)  # (10)
        self._directions, self.generation = None, self.generation + 1
        self.first = 0.9 * self.first + 0.1 * gradient
        self.second = 0.999 * self.second + 0.001 * gradient**2
        size = self.lr * np.sqrt(1 - 0.999**self.generation) / (1 - 0.9**self.generation)
        self.mean = self.mean + size * self.first / (np.sqrt(self.second) + 1e-8)
        self.lr = max(self.decay * self.lr, self.lr_least)
        return gradient
