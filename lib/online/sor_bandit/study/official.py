"""What the paper's published code does instead of finding the distribution of Tsallis-INF."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from lib import checks
from lib.online.sor_bandit.solvers import Array


def official_tsallis_weights(losses: ArrayLike, eta: float, *, start: float = -1.0, n_steps: int = 20) -> Array:
    """The weights that the paper's published code computes: Newton's method from a fixed start, not normalized.

    From ``x = start`` far below ``min k`` the first step overshoots the pole, and the weights need not sum to 1 (or be finite).

    Parameters
    ----------
    losses, eta
        As `tsallis_probabilities`.
    start : float
        Default -1 (the published code); may be negative.
    n_steps : int
        Default 20 (the published code).

    Returns
    -------
    array, shape (d,)

    Examples
    --------
    >>> from lib.online.sor_bandit.study import official_tsallis_weights
    >>> bool(abs(official_tsallis_weights([900.0, 1000.0], 0.1).sum() - 1) > 0.5)
    True
    """
    k, x = checks.array("losses", losses, ndim=1).astype(np.float64), checks.number("start", start)
    eta, weights = checks.positive("eta", eta), np.empty_like(k)
    with np.errstate(all="ignore"):
        for _ in range(checks.integer("n_steps", n_steps, low=1, high=10_000)):
            weights = 4.0 * (eta * (k - x)) ** -2.0
            x -= (weights.sum() - 1.0) / (eta * (weights**1.5).sum())
    return weights
