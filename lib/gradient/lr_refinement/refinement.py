"""Refinement: from the gradient norms of one run to the schedule of the next."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.ndimage import gaussian_filter1d, median_filter

from .bounds import as_norms
from .theory import Array, as_sequence, later

#: The paper's synthetic illustration: gradient norms at six points of the run, joined by straight lines.
SYNTHETIC_KNOTS = (0, 0.003, 0.02, 0.03, 0.1, 1)
SYNTHETIC_NORMS = {
    "constant": (1, 1, 1, 1, 1, 1),
    "large at first": (15, 6, 4, 2, 1, 1),
    "then rising": (15, 6, 4, 2, 1, 2),
    "then falling": (15, 6, 4, 2, 1, 0.7),
}


def smooth_norms(G: ArrayLike, tau: float | None = 0.1) -> Array:
    """Median-filter a sequence of norms over a share `tau` of the run, as the authors' code does.

    The filter is ``2 floor(tau T / 2) + 1`` wide. At the end the sequence is continued by its mirror image (so that the end
    of the schedule, where norms often rise, is not flattened), at the start by its first value.

    Parameters
    ----------
    G : array_like, shape (T,)
        Non-negative norms, T >= 2.
    tau : float or None
        In (0, 1], the paper's value 0.1; None: no smoothing.

    Returns
    -------
    ndarray, shape (T,), float64

    Raises
    ------
    ValueError
        For norms that are negative or not finite, fewer than two, or tau outside (0, 1].

    Examples
    --------
    >>> from lib.gradient.lr_refinement import smooth_norms
    >>> smooth_norms([1, 9, 1, 1, 1, 2], tau=0.5)
    array([1., 1., 1., 1., 1., 1.])
    """
    G = as_sequence(G, "G")
    if tau is None:
        return G.copy()
    if not 0 < tau <= 1:
        raise ValueError(f"tau must be in (0, 1] or None, got {tau}")
    width = 2 * int(tau * len(G) / 2) + 1
    padded = np.pad(G, (0, 2 * width), mode="reflect")
    return median_filter(padded, width, mode="nearest")[: len(G)]


def refine_schedule(
    G: ArrayLike, power: float = 2, tau: float | None = 0.1, normalize: bool = True, floor: float | None = None
) -> Array:
    """Learning rates from recorded gradient norms: weights ``w_t = Ghat_t^-power``, then rates as ``w_t w_{t+1:T}``.

    Parameters
    ----------
    G : array_like, shape (T,)
        Norms of the stochastic gradients of an earlier run of the same length, before clipping: l2 norms with power 2 for SGD
        (with or without momentum), l1 norms with power 1 for Adam and its like.
    power : float
        2 (SGD) or 1 (Adam); positive.
    tau : float or None
        Share of the run that the median filter spans; the paper's value is 0.1. None: no smoothing.
    normalize : bool
        Divide by the maximum (the peak learning rate is then a factor to tune). Otherwise ``w_t w_{t+1:T} / w_{1:T}``.
    floor : float, optional
        Norms below it count as it. Without it a norm of 0 is refused.

    Returns
    -------
    ndarray, shape (T,), float64
        The last entry is 0.

    Raises
    ------
    ValueError
        For norms that are 0 (the message names the index), negative or not finite; fewer than two; tau outside (0, 1]; power
        or floor not positive; or norms so far apart that their weights leave the range of float64.

    Examples
    --------
    >>> from lib.gradient.lr_refinement import refine_schedule
    >>> refine_schedule([2, 1, 1, 2])
    array([0.45, 1.  , 0.2 , 0.  ])
    """
    if not (np.isfinite(power) and power > 0):
        raise ValueError(f"power must be positive and finite, got {power}")
    G = smooth_norms(as_norms(G, floor), tau)
    unit = 1.0 if not normalize else float(np.exp(np.log(G).mean()))
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        w = (G / unit) ** -float(power)
        eta = w * later(w / w.sum()) if np.isfinite(w.sum()) else np.full_like(w, np.nan)
    if not np.isfinite(eta).all() or not eta[:-1].all():
        index = int(np.argmin(G))
        raise ValueError(
            f"the norms span {G.min():.3g} (index {index}) to {G.max():.3g}: too far apart for weights G**-{power:g}; "
            "give the least norm to count with as floor=..."
        )
    return eta / eta.max() if normalize else eta


def synthetic_norms(name: str, n_steps: int = 2000, sigma: float = 40.0) -> Array:
    """A norm curve of the paper's illustration: linear through six knots, then smoothed by a Gaussian of `sigma` samples.

    Parameters
    ----------
    name : {"constant", "large at first", "then rising", "then falling"}
    n_steps : int
    sigma : float

    Returns
    -------
    ndarray, shape (n_steps,)

    Raises
    ------
    ValueError
        For another name, or fewer than two steps.

    Examples
    --------
    >>> from lib.gradient.lr_refinement import synthetic_norms
    >>> synthetic_norms("constant", 3)
    array([1., 1., 1.])
    """
    if name not in SYNTHETIC_NORMS:
        raise ValueError(f"unknown curve {name!r}; allowed: {', '.join(SYNTHETIC_NORMS)}")
    if n_steps < 2:
        raise ValueError(f"n_steps must be at least 2, got {n_steps}")
    curve = np.interp(np.linspace(0, 1, n_steps), SYNTHETIC_KNOTS, SYNTHETIC_NORMS[name])
    return gaussian_filter1d(curve, sigma, mode="nearest")
