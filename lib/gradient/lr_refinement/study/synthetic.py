"""The paper's synthetic illustration: norm curves whose refined schedules it shows."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter1d

from lib import checks

from ..theory import Array

#: The paper's synthetic illustration: gradient norms at six points of the run, joined by straight lines.
SYNTHETIC_KNOTS = (0, 0.003, 0.02, 0.03, 0.1, 1)
SYNTHETIC_NORMS = {
    "constant": (1, 1, 1, 1, 1, 1),
    "large at first": (15, 6, 4, 2, 1, 1),
    "then rising": (15, 6, 4, 2, 1, 2),
    "then falling": (15, 6, 4, 2, 1, 0.7),
}


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
        For another name, fewer than two steps, or a sigma that is not positive.

    Examples
    --------
    >>> from lib.gradient.lr_refinement.study import synthetic_norms
    >>> synthetic_norms("constant", 3)
    array([1., 1., 1.])
    """
    checks.choice("name", name, list(SYNTHETIC_NORMS))
    n_steps, sigma = checks.integer("n_steps", n_steps, low=2), checks.positive("sigma", sigma)
    curve = np.interp(np.linspace(0, 1, n_steps), SYNTHETIC_KNOTS, SYNTHETIC_NORMS[name])
    return gaussian_filter1d(curve, sigma, mode="nearest")
