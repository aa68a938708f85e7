"""Other ways to route a batch: entropic optimal transport."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import logsumexp

from lib import checks

__all__ = ["sinkhorn_prices"]

Array = npt.NDArray[np.float64]


def sinkhorn_prices(gamma: npt.ArrayLike, K: int, temperature: float = 0.02, n_iter: int = 50) -> Array:
    """Prices by Sinkhorn's algorithm: the assignment program with entropy added, both constraints scaled in turn.

    Parameters
    ----------
    gamma : array_like, shape (T, E)
        Affinities.
    K : int
        Experts of a token.
    temperature : float
        Weight of the entropy, positive.
    n_iter : int
        Sweeps over both constraints, at least 1.

    Returns
    -------
    array, shape (E,)
        Prices of mean 0: tokens go to the `K` largest of affinity plus price.

    Examples
    --------
    >>> from lib.online.alf_lb import max_violation, topk_assign
    >>> from lib.online.alf_lb.study import sigmoid_scores, sinkhorn_prices
    >>> gamma = sigmoid_scores(400, 4, seed=0)
    >>> before, after = (topk_assign(gamma + p, 1).sum(0) for p in (0.0, sinkhorn_prices(gamma, 1)))
    >>> max_violation(after) < max_violation(before)
    True
    """
    g = checks.array("gamma", gamma, ndim=2).astype(np.float64)
    tau, sweeps = checks.positive("temperature", temperature), checks.integer("n_iter", n_iter, low=1)
    k = checks.integer("K", K, low=1, high=g.shape[1])
    with np.errstate(over="ignore"):
        scaled = g / tau
    if not np.isfinite(scaled).all():
        raise ValueError(f"gamma over temperature must be finite, got temperature {tau:.3g}")
    p = np.zeros(g.shape[1])
    load = np.log(k * len(g) / g.shape[1])
    for _ in range(sweeps):
        rows = np.log(k) - logsumexp(scaled + p, axis=1)
        p = load - logsumexp(scaled + rows[:, None], axis=0)
    return np.asarray(tau * (p - p.mean()))
