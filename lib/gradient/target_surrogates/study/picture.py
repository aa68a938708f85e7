"""The smallest model with a curved image: one parameter, two outputs, logistic losses with labels 1 and 0."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lib import checks

from ..losses import TARGET_LOSSES
from ..surrogate import TargetSurrogate, armijo

Floats = NDArray[np.float64]
#: The labels of the two examples.
BENT_LABELS = np.array([1.0, 0.0])


def bent_outputs(theta: ArrayLike) -> Floats:
    """The outputs ``(1.3 t + 0.8, 1.2 sin(1.6 t) - 0.6)``: what the model can make is a curve in the plane.

    Parameters
    ----------
    theta : float or array

    Returns
    -------
    array, shape (..., 2)

    Examples
    --------
    >>> from lib.gradient.target_surrogates import study
    >>> study.bent_outputs(0.0).tolist()
    [0.8, -0.6]
    """
    t = checks.array("theta", theta)
    return np.stack([1.3 * t + 0.8, 1.2 * np.sin(1.6 * t) - 0.6], axis=-1)


def bent_path(theta: float, m: int, eta: float = 4.0) -> tuple[Floats, Floats, Floats]:
    """One outer step from `theta`: outputs, outputs that the gradient asks for, and parameters after each inner step.

    Parameters
    ----------
    theta : float
        May be negative.
    m : int
    eta : float

    Returns
    -------
    z, wanted, path : array, shapes (2,), (2,) and (m + 1,)

    Examples
    --------
    >>> from lib.gradient.target_surrogates import study
    >>> z, wanted, path = study.bent_path(-1.0, m=12)
    >>> path.shape
    (13,)
    """
    theta, m, eta = checks.number("theta", theta), checks.integer("m", m, low=1), checks.positive("eta", eta)
    z = bent_outputs(theta)
    g, surrogate, path = TARGET_LOSSES["logistic"].gradient(z, BENT_LABELS), TargetSurrogate(eta), [theta]
    for _ in range(m):
        t = path[-1]
        slope = float(surrogate.gradient(bent_outputs(t), z, g) @ [1.3, 1.2 * 1.6 * np.cos(1.6 * t)])
        base = float(surrogate.value(bent_outputs(t), z, g))
        step, _ = armijo(lambda a, t=t, s=slope: surrogate.value(bent_outputs(t - a * s), z, g), base, slope**2, 0.3)  # type: ignore[misc]
        path.append(t - step * slope)
    return z, z - eta * g, np.array(path)
