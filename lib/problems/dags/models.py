"""Structural equation models on a DAG: weights, samples, population covariance.

The simulators follow NOTEARS (Zheng et al., 2018, arXiv:1803.01422): weights uniform on ±[0.5, 2], ``X = E (I - W)^{-1}``
for the noise E.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from lib import checks
from lib.problems.dags.graphs import Array, Seed, square, topological_order

Noise = Literal["gaussian", "exponential", "gumbel", "uniform"]


def simulate_weights(adjacency: npt.ArrayLike, low: float = 0.5, high: float = 2.0, seed: Seed = None) -> Array:
    """Edge weights uniform on [-high, -low] and [low, high] (NOTEARS: 0.5 and 2), zero elsewhere; shape (d, d).

    Raises
    ------
    ValueError
        If the graph has a cycle, or not 0 <= low <= high.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.problems import dags
    >>> bool(abs(dags.simulate_weights(np.array([[0, 1], [0, 0]]), seed=0)[0, 1]) >= 0.5)
    True
    """
    edges = square(adjacency, "adjacency") != 0
    topological_order(edges)
    low = checks.number("low", low, low=0)
    high = checks.number("high", high, low=low)
    rng = checks.generator("seed", seed)
    size = rng.uniform(low, high, edges.shape)
    return np.where(edges, size * rng.choice([-1.0, 1.0], edges.shape), 0.0)


_NOISES = {
    "gaussian": lambda rng, shape: rng.standard_normal(shape),
    "exponential": lambda rng, shape: rng.exponential(1.0, shape) - 1.0,
    "gumbel": lambda rng, shape: (rng.gumbel(0.0, 1.0, shape) - np.euler_gamma) * (np.sqrt(6) / np.pi),
    "uniform": lambda rng, shape: rng.uniform(-np.sqrt(3), np.sqrt(3), shape),
}


def _scales(scales: npt.ArrayLike, d: int) -> Array:
    values = checks.array("scales", scales, above=0)
    if values.ndim > 1 or (values.ndim == 1 and len(values) != d):
        raise ValueError(f"scales must be one number or shape ({d},), got shape {values.shape}")
    return np.broadcast_to(values.astype(np.float64), (d,))


def simulate_sem(
    W: npt.ArrayLike, n_samples: int, noise: Noise = "gaussian", scales: npt.ArrayLike = 1.0, seed: Seed = None
) -> Array:
    """Samples of the linear model x_j = sum_i W_ij x_i + e_j: rows of ``X = E (I - W)^{-1}``.

    Parameters
    ----------
    W : array, shape (d, d)
        Weights of a DAG.
    n_samples : int
        n, at least 1.
    noise : {"gaussian", "exponential", "gumbel", "uniform"}
        All with mean 0 and variance 1.
    scales : float or array, shape (d,)
        Standard deviation of each node's noise. 1 is the equal-variance model.
    seed : int, Generator or SeedSequence, optional

    Returns
    -------
    X : array, shape (n, d)
        With population mean 0; the sample mean is not removed.

    Raises
    ------
    ValueError
        If W has a cycle or a bad shape, for an unknown noise, or scales that are not positive.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.problems import dags
    >>> dags.simulate_sem(np.array([[0, 2.0], [0, 0]]), 5, seed=0).shape
    (5, 2)
    """
    W = square(W)
    order, n = topological_order(W), checks.integer("n_samples", n_samples, low=1)
    checks.choice("noise", noise, tuple(_NOISES))
    X = _NOISES[noise](checks.generator("seed", seed), (n, len(W))) * _scales(scales, len(W))
    for j in order:  # forward substitution through the order: exact, and no inverse
        X[:, j] += X @ W[:, j]
    return X


def population_covariance(W: npt.ArrayLike, scales: npt.ArrayLike = 1.0) -> Array:
    """Covariance (I - W)^{-T} diag(scales^2) (I - W)^{-1} of the linear model, shape (d, d).

    Raises
    ------
    ValueError
        If W has a cycle or a bad shape, or scales are not positive.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.problems import dags
    >>> dags.population_covariance(np.array([[0, 2.0], [0, 0]])).tolist()
    [[1.0, 2.0], [2.0, 5.0]]
    """
    W = square(W)
    topological_order(W)
    factor = _scales(scales, len(W))[:, None] * np.linalg.inv(np.eye(len(W)) - W)
    return factor.T @ factor


def simulate_binary_sem(W: npt.ArrayLike, n_samples: int, seed: Seed = None) -> Array:
    """Samples of the logistic model P(x_j = 1) = 1 / (1 + exp(-sum_i W_ij x_i)), entries 0 or 1; shape (n, d).

    Raises
    ------
    ValueError
        If W has a cycle or a bad shape.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.problems import dags
    >>> sorted(set(dags.simulate_binary_sem(np.array([[0, 2.0], [0, 0]]), 50, seed=0).ravel().tolist()))
    [0.0, 1.0]
    """
    W = square(W)
    rng, n = checks.generator("seed", seed), checks.integer("n_samples", n_samples, low=1)
    X = np.zeros((n, len(W)))
    for j in topological_order(W):
        X[:, j] = rng.random(n) < expit(X @ W[:, j])
    return X


def simulate_nonlinear_sem(adjacency: npt.ArrayLike, n_samples: int, hidden: int = 100, seed: Seed = None) -> Array:
    """Samples of x_j = sigmoid(x_pa U) v + e_j, a random network per node as in NOTEARS-MLP; shape (n, d).

    Entries of U (parents, hidden) and v are uniform on ±[0.5, 2], the noise is standard normal.

    Raises
    ------
    ValueError
        If the graph has a cycle or a bad shape.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.problems import dags
    >>> dags.simulate_nonlinear_sem(np.array([[0, 1], [0, 0]]), 5, seed=0).shape
    (5, 2)
    """
    edges = square(adjacency, "adjacency") != 0
    rng, n = checks.generator("seed", seed), checks.integer("n_samples", n_samples, low=1)
    hidden = checks.integer("hidden", hidden, low=1)
    X = rng.standard_normal((n, len(edges)))
    for j in topological_order(edges):
        parents = np.flatnonzero(edges[:, j])
        if len(parents):
            U, v = (rng.uniform(0.5, 2.0, s) * rng.choice([-1.0, 1.0], s) for s in ((len(parents), hidden), (hidden,)))
            X[:, j] += expit(X[:, parents] @ U) @ v
    return X
