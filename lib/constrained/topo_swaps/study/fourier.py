"""Additive regressions on random Fourier features: a stand-in for the authors' networks in the same search."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lib import checks
from lib.constrained.topo_swaps.scores import Array


@dataclass(frozen=True)
class FourierColumn:
    """Ridge regression on random Fourier features of each parent, summed over parents: a smooth additive model.

    It stands in for the authors' networks where those would take minutes. The strength of a parent is the standard deviation
    of its term.

    Parameters
    ----------
    n_features : int
        Cosines per parent.
    ridge : float
        Penalty per sample.
    length : float
        Length scale of the features, in standard deviations of a parent.
    seed : int
        Of the features, the same for every regression.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.constrained.topo_swaps.study import FourierColumn
    >>> x = np.linspace(-2, 2, 200)[:, None]
    >>> FourierColumn()(x, np.sin(2 * x[:, 0]))[0] < 0.1
    True
    """

    n_features: int = 32
    ridge: float = 1e-3
    length: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        checks.integer("n_features", self.n_features, low=1)
        checks.integer("seed", self.seed, low=0)
        checks.positive("ridge", self.ridge)
        checks.positive("length", self.length)

    def features(self, X: Array) -> Array:
        """Centered features, shape (n, p, n_features)."""
        rng = np.random.default_rng(self.seed)
        frequency, phase = rng.normal(0, 1 / self.length, self.n_features), rng.uniform(0, 2 * np.pi, self.n_features)
        scaled = (X - X.mean(axis=0)) / X.std(axis=0)
        cosines = np.cos(scaled[:, :, None] * frequency + phase) * np.sqrt(2 / self.n_features)
        return cosines - cosines.mean(axis=0)

    def __call__(self, X: Array, y: Array) -> tuple[float, Array]:
        """Half the mean squared residual plus the penalty, and the strength of each parent, shape (p,)."""
        y = y - y.mean()
        if not X.shape[1]:
            return 0.5 * float(np.mean(y * y)), np.empty(0)
        features = self.features(X)
        flat = features.reshape(len(X), -1)
        gram = flat.T @ flat / len(X) + self.ridge * np.eye(flat.shape[1])
        beta = np.linalg.solve(gram, flat.T @ y / len(X))
        terms = np.einsum("npf,pf->np", features, beta.reshape(features.shape[1:]))
        residual = y - terms.sum(axis=1)
        return 0.5 * float(np.mean(residual**2) + self.ridge * beta @ beta), terms.std(axis=0)
