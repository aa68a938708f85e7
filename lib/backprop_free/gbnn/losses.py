"""The three losses: the constant to start from, pseudo-residuals and one Newton step of the line search.

Emami and Martinez-Munoz, "Sequential Training of Neural Networks with Gradient Boosting", IEEE Access 11 (2023).
Equation numbers are those of the chapter. Scores ``F`` have the shape of ``y``: (n,), or (n, K) for ``"softmax"``.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.special import expit, xlog1py, xlogy

from lib import checks

Floats = npt.NDArray[np.float64]
Loss = Literal["squared", "binary", "softmax"]
Curvature = Literal["diagonal", "exact", "none"]

LOSSES = ("squared", "binary", "softmax")
CURVATURES = ("diagonal", "exact", "none")
#: Below this mean curvature per unit of squared output a step is refused: the fit is saturated, nothing is left to learn.
_FLAT = 1e-12


def mean_loss(y: npt.ArrayLike, F: npt.ArrayLike, loss: Loss = "squared") -> float:
    """Mean over rows of L(y, F): half the squared error, ln(1 + exp(-2 y F)), or the cross-entropy of softmax(F).

    Parameters
    ----------
    y : array, shape (n,) or (n, K)
        Numbers for ``"squared"``, -1 and 1 for ``"binary"``, one-hot rows for ``"softmax"``.
    F : array, shape of `y`
        Scores. For two classes they are half the log-odds.
    loss : {"squared", "binary", "softmax"}

    Raises
    ------
    ValueError
        If `y` is not of the kind that the loss needs, or `F` has another shape or holds NaN or infinity.

    Examples
    --------
    >>> from lib.backprop_free.gbnn import mean_loss
    >>> round(mean_loss([1.0, -1.0], [0.0, 0.0], "binary"), 4)
    0.6931
    """
    return _mean_loss(*_checked(y, F, loss))


def initial_score(y: npt.ArrayLike, loss: Loss = "squared") -> float | Floats:
    """The constant that the network's output starts from: equation (2).

    The mean for ``"squared"``; half the log-odds for ``"binary"``, both of which minimize the loss among constants; zeros
    for ``"softmax"``, as in the paper's code, which do not.

    Parameters
    ----------
    y : array, shape (n,) or (n, K)
        As in `mean_loss`.
    loss : {"squared", "binary", "softmax"}

    Returns
    -------
    float, or array of shape (K,)

    Raises
    ------
    ValueError
        As in `mean_loss`; also for a single class, whose log-odds are infinite.

    Examples
    --------
    >>> from lib.backprop_free.gbnn import initial_score
    >>> round(initial_score([1.0, 1.0, 1.0, -1.0], "binary"), 4)
    0.5493
    """
    y = _targets(y, loss)
    return _initial_score(y, loss)


def pseudo_residuals(y: npt.ArrayLike, F: npt.ArrayLike, loss: Loss = "squared") -> Floats:
    """What the next piece is fit to, -dL/dF at the current scores: equation (3).

    Parameters
    ----------
    y, F : array, shape (n,) or (n, K)
        As in `mean_loss`.
    loss : {"squared", "binary", "softmax"}

    Returns
    -------
    array, shape of `y`

    Raises
    ------
    ValueError
        As in `mean_loss`.

    Examples
    --------
    >>> from lib.backprop_free.gbnn import pseudo_residuals
    >>> pseudo_residuals([1.0, -1.0], [0.0, 0.0], "binary").tolist()
    [1.0, -1.0]
    """
    return _residuals(*_checked(y, F, loss))


def newton_step(
    y: npt.ArrayLike, F: npt.ArrayLike, h: npt.ArrayLike, loss: Loss = "squared", curvature: Curvature = "diagonal"
) -> float:
    """The factor rho of a piece: one Newton iteration, from 0, of the search for the best multiple of `h`; equation (5).

    Parameters
    ----------
    y, F : array, shape (n,) or (n, K)
        As in `mean_loss`; all rows, not only those that the piece was fit to.
    h : array, shape of `y`
        Outputs of the piece.
    loss : {"squared", "binary", "softmax"}
        For ``"squared"`` the factor is 1: the piece is a least-squares fit already.
    curvature : {"diagonal", "exact", "none"}
        The second derivative for ``"softmax"``: its diagonal part (authors), or exact, (6). For ``"binary"`` the two are one.
        ``"none"`` gives 1 for every loss.

    Returns
    -------
    float
        0 where the curvature vanishes, that is, where every row is fit so well that a piece has nothing to add.

    Raises
    ------
    ValueError
        As in `mean_loss`.

    Examples
    --------
    >>> from lib.backprop_free.gbnn import newton_step
    >>> newton_step([1.0, -1.0], [0.0, 0.0], [0.5, -0.5], "binary")
    2.0
    """
    y, F, loss = _checked(y, F, loss)
    h = checks.array("h", h, shape=y.shape).astype(np.float64)
    checks.choice("curvature", curvature, CURVATURES)
    return _newton_step(y, F, h, loss, curvature)


# ------------------------------------------------------------------------------------------------------- without checks


# Exponentials and logarithms are scipy.special's, not NumPy's vector instructions: the same on every CPU, to the last bit.


def _mean(values: Floats) -> float:
    return float(np.add.reduce(values, axis=None) / values.size)


def _softplus(a: Floats) -> Floats:
    """ln(1 + e^a)."""
    return np.maximum(a, 0) + xlog1py(1.0, _exp(-np.abs(a)))


def _exp(a: Floats) -> Floats:
    """e^a for a <= 0."""
    return expit(a) / expit(-a)


def _exponentials(F: Floats) -> tuple[Floats, Floats]:
    """Scores minus their largest, and the sum of their exponentials, by row."""
    z = F - F.max(axis=1, keepdims=True)
    return z, _exp(z).sum(axis=1)


def _softmax(F: Floats) -> Floats:
    z, total = _exponentials(F)
    return _exp(z) / total[:, None]


def _mean_loss(y: Floats, F: Floats, loss: str) -> float:
    if loss == "squared":
        return float(0.5 * np.add.reduce((y - F) ** 2, axis=None) / len(y))  # summed over outputs
    if loss == "binary":
        return _mean(_softplus(-2 * y * F))
    z, total = _exponentials(F)
    return _mean(xlogy(1.0, total) - (y * z).sum(axis=1))


def _initial_score(y: Floats, loss: str) -> float | Floats:
    if loss == "softmax":
        return np.zeros(y.shape[1])  # (2), the authors' choice
    mean = _mean(y)
    if loss == "squared":
        return mean  # (2)
    if abs(mean) == 1:
        raise ValueError("y needs at least 2 classes, got one: its log-odds are infinite")
    return 0.5 * math.log((1 + mean) / (1 - mean))  # (2)


def _residuals(y: Floats, F: Floats, loss: str) -> Floats:
    if loss == "squared":
        return y - F  # (3)
    if loss == "binary":
        return 2 * y * expit(-2 * y * F)  # (3), without overflow
    return y - _softmax(F)  # (3)


def _newton_step(y: Floats, F: Floats, h: Floats, loss: str, curvature: str) -> float:
    if loss == "squared" or curvature == "none":
        return 1.0
    r = _residuals(y, F, loss)
    size = float(np.max(np.abs(h)))
    if size == 0:
        return 0.0
    h = h / size  # no under- or overflow of h^2; rho is divided by it below
    slope = np.sum(r * h)  # (5), the numerator
    if loss == "binary":
        bend = np.sum(np.abs(r) * (2 - np.abs(r)) * h**2)  # (5): |r| (2 - |r|) = r (2 y - r) = 4 p (1 - p)
    else:
        P = y - r
        bend = np.sum(P * (1 - P) * h**2)  # (5), diagonal part
        if curvature == "exact":
            bend = np.sum(P * h**2) - np.sum(np.sum(P * h, axis=1) ** 2)  # (6)
    if bend <= _FLAT * np.sum(h**2):
        return 0.0
    return float(slope / bend / size)  # (5)


# --------------------------------------------------------------------------------------------------------------- checks


def _targets(y: npt.ArrayLike, loss: Loss) -> Floats:
    checks.choice("loss", loss, LOSSES)
    y = checks.array("y", y, ndim=2 if loss == "softmax" else 1).astype(np.float64)
    if loss == "binary" and not (np.abs(y) == 1).all():
        raise ValueError("y must hold -1 and 1 for the binary loss")
    if loss == "softmax" and not (np.isin(y, (0, 1)).all() and (y.sum(axis=1) == 1).all() and y.shape[1] > 1):
        raise ValueError("y must hold one-hot rows of at least 2 classes for the softmax loss")
    return y


def _checked(y: npt.ArrayLike, F: npt.ArrayLike, loss: Loss) -> tuple[Floats, Floats, Loss]:
    y = _targets(y, loss)
    return y, checks.array("F", F, shape=y.shape).astype(np.float64), loss
