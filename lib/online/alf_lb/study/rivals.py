"""Other ways to route a batch: entropic optimal transport."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logsumexp

from lib import checks

__all__ = ["sinkhorn_prices"]

Array = npt.NDArray[np.float64]

#: Newton's steps of a scaling, and the change of prices over the temperature at which sweeps have converged.
NEWTON, CHANGE = 100, 1e-10


def sinkhorn_prices(gamma: npt.ArrayLike, K: int, temperature: float = 0.02, n_iter: int = 50, once: bool = False) -> Array:
    """Prices by Sinkhorn's algorithm: the assignment program with entropy added, both constraints scaled in turn.

    Without `once` this is the algorithm as it is usual for transport: a token may take a place at an expert more than once, and
    with `K` above 1 the prices are those of another program. With it an entry is a logistic function, not an exponential one,
    and a scaling has no closed form: Newton's method finds it.

    Parameters
    ----------
    gamma : array_like, shape (T, E)
        Affinities.
    K : int
        Experts of a token; fewer than E with `once`.
    temperature : float
        Weight of the entropy, positive.
    n_iter : int
        Sweeps over both constraints, at least 1; with `once` they end early where prices no longer change.
    once : bool
        Whether a token takes a place at an expert at most once, as in the assignment program.

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
    once = checks.boolean("once", once)
    k = checks.integer("K", K, low=1, high=g.shape[1] - once)
    with np.errstate(over="ignore"):
        scaled = g / tau
    if not np.isfinite(scaled).all():
        raise ValueError(f"gamma over temperature must be finite, got temperature {tau:.3g}")
    p = np.zeros(g.shape[1])
    if not once:
        load = np.log(k * len(g) / g.shape[1])
        for _ in range(sweeps):
            rows = np.log(k) - logsumexp(scaled + p, axis=1)
            p = load - logsumexp(scaled + rows[:, None], axis=0)
        return np.asarray(tau * (p - p.mean()))
    for _ in range(sweeps):
        rows = _shift(scaled + p, k)
        before, p = p, _shift((scaled + rows[:, None]).T, k * len(g) / g.shape[1])
        p = p - p.mean()
        if np.abs(p - before).max() <= CHANGE:
            break
    return np.asarray(tau * p)


def _shift(z: Array, total: float) -> Array:
    """What is added to each row, so that its logistic function sums to `total`: Newton's method inside a bracket."""
    low, high = -z.max(axis=1) - 40.0, -z.min(axis=1) + 40.0
    s = (low + high) / 2
    for _ in range(NEWTON):
        entries = expit(z + s[:, None])
        excess = entries.sum(axis=1) - total
        low, high = np.where(excess < 0, s, low), np.where(excess > 0, s, high)
        if np.abs(excess).max() <= 1e-12 * total:
            break
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            step = s - excess / (entries * (1 - entries)).sum(axis=1)
        s = np.where((step > low) & (step < high), step, (low + high) / 2)
    return s
