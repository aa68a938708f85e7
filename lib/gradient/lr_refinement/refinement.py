"""Refinement: from the gradient norms of one run to the schedule of the next."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.ndimage import median_filter

from lib import checks

from .bounds import as_norms
from .theory import Array, as_sequence, later

#: How the sequence goes on before its first norm, for the median filter: name -> numpy's and scipy's name of it.
PADDINGS = {"edge": "nearest", "reflect": "mirror"}


def smooth_norms(G: ArrayLike, tau: float | None = 0.1, start: str = "edge") -> Array:
    """Median-filter a sequence of norms over a share `tau` of the run, as the authors' code does up to 10 000 steps.

    The filter is ``2 floor(tau T / 2) + 1`` wide. At the end the sequence is continued by its mirror image (so that the end
    of the schedule, where norms often rise, is not flattened), at the start by its first value: that one norm then fills
    half of the first window and decides how the schedule opens. ``start="reflect"`` mirrors there, too.

    The authors' code resamples every run to 10 000 points, so that its window has 1001 of them; for longer runs, ours
    scales with the run.

    Parameters
    ----------
    G : array_like, shape (T,)
        Non-negative norms, T >= 2.
    tau : float or None
        In (0, 1], the paper's value 0.1; None: no smoothing.
    start : {"edge", "reflect"}
        How the sequence goes on before its first norm; the authors' code repeats the edge.

    Returns
    -------
    ndarray, shape (T,), float64

    Raises
    ------
    ValueError
        For norms that are negative or not finite, fewer than two, tau outside (0, 1], or another start.

    Examples
    --------
    >>> from lib.gradient.lr_refinement import smooth_norms
    >>> smooth_norms([1, 9, 1, 1, 1, 2], tau=0.5)
    array([1., 1., 1., 1., 1., 1.])
    """
    G = as_sequence(G, "G")
    mode = PADDINGS[checks.choice("start", start, list(PADDINGS))]
    if tau is None:
        return G
    width = 2 * int(checks.number("tau", tau, above=0, high=1) * len(G) / 2) + 1  # odd, so that the window has a center
    padded = np.pad(G, (0, 2 * width), mode="reflect")
    return median_filter(padded, width, mode=mode)[: len(G)]


def refine_schedule(
    G: ArrayLike,
    power: float = 2,
    tau: float | None = 0.1,
    normalize: bool = True,
    floor: float | None = None,
    start: str = "edge",
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
    start : {"edge", "reflect"}
        As in `smooth_norms`.

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
    power, normalize = checks.positive("power", power), checks.boolean("normalize", normalize)
    G = smooth_norms(as_norms(G, floor), tau, start)
    unit = float(np.exp(np.log(G).mean())) if normalize else 1.0
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        w = (G / unit) ** -power  # Algorithms 1 and 2
        eta = w * later(w / w.sum()) if np.isfinite(w.sum()) else np.full_like(w, np.nan)  # (6)
    if not np.isfinite(eta).all() or not eta[:-1].all():
        index = int(np.argmin(G))
        raise ValueError(
            f"the norms G span {G.min():.3g} (index {index}) to {G.max():.3g}: too far apart for weights G**-{power:g}; "
            "give the least norm to count with as floor=..."
        )
    return eta / eta.max() if normalize else eta
