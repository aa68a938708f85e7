"""Linear models f = X theta: the inner problem is a quadratic, so its gradient steps cost O(d^2), and its solution is known."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lib import checks

Floats = NDArray[np.floating]


def sso_exact_linear(X: ArrayLike, g: ArrayLike, theta: ArrayLike, eta: float | ArrayLike = 4.0) -> Floats:
    """One outer step with the surrogate minimized exactly (m = infinity): ``theta - X^+ (eta g)`` (8).

    With the logistic loss and eta = 4 it is the fixed-Hessian step of Böhning and Lindsay (9). Among all minimizers it takes
    the one nearest to `theta`.

    Parameters
    ----------
    X : array, shape (b, d)
    g : array, shape (b,) or (b, k)
        Gradient of each example's loss with respect to its own targets.
    theta : array, shape (d,) or (d, k)
    eta : float or array of shape (b,)
        Step in target space, or one for each example.

    Returns
    -------
    array
        The new parameters, the shape of `theta`.

    Raises
    ------
    TypeError, ValueError
        For shapes that do not fit or values that are not finite.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.gradient.target_surrogates import sso_exact_linear
    >>> sso_exact_linear([[1.0], [2.0]], [-0.5, 0.5], [0.0], eta=4.0).round(6)
    array([-0.4])
    """
    X, g, theta, steps = _checked(X, g, theta, eta)
    root = np.sqrt(steps)  # (8), each row scaled so that the proximal term is a plain square
    return theta - np.linalg.lstsq(X / root[:, None], (root * g.T).T, rcond=None)[0]  # (8)


def linear_step(
    X: ArrayLike,
    g: ArrayLike,
    theta: ArrayLike,
    eta: float | ArrayLike = 4.0,
    m: float = 10,
    search: str = "exact",
    gram: ArrayLike | None = None,
    alpha: float = 10.0,
    c: float = 0.1,
    beta: float = 0.9,
    grow: float = 2.0,
    tol: float = 1e-6,
) -> Floats:
    """One outer step with `m` gradient steps on the surrogate of a linear model, each in O(d^2 k) after X^T X is known (10).

    Parameters
    ----------
    X, g, theta, eta
        As in `sso_exact_linear`.
    m : int
        Inner steps; infinity allowed: the exact step. The paper tries 1 to 100 (and 1000 for matrix factorization).
    search : {"exact", "armijo", "fixed"}
        How inner steps are found: by the minimum along the gradient (11), by Armijo's rule, whose condition on a quadratic
        needs no trials, or all of them `alpha`.
    gram : array, shape (d, d), optional
        X^T X, where it is known already (a full batch); only for a single `eta`.
    alpha : float
        First trial of Armijo's rule (the paper's code: 10), or the fixed step.
    c, beta, grow : float
        Of Armijo's rule: 0.1 and 0.9 in the paper's code; each inner search starts from the last step times `grow`.
    tol : float
        The inner loop ends where the gradient's norm is at most this; the paper's code: 1e-6. May be 0.

    Returns
    -------
    array
        The new parameters, the shape of `theta`.

    Raises
    ------
    TypeError, ValueError
        For arguments out of range, shapes that do not fit, or a fixed step that diverges.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.gradient.target_surrogates import linear_step
    >>> X, g = np.array([[1.0, 0.0], [1.0, 2.0]]), np.array([-0.5, 0.5])
    >>> linear_step(X, g, np.zeros(2), eta=4.0, m=3).round(2)
    array([ 1. , -1.5])
    """
    X, g, theta, steps = _checked(X, g, theta, eta)
    checks.choice("search", search, ("exact", "armijo", "fixed"))
    if checks.number("m", m, low=1, inf=True) == math.inf:
        return sso_exact_linear(X, g, theta, steps)
    m = checks.integer("m", m, low=1)
    alpha, tol = checks.positive("alpha", alpha), checks.number("tol", tol, low=0)
    c, beta = checks.number("c", c, above=0, below=1), checks.number("beta", beta, above=0, below=1)
    grow = checks.number("grow", grow, low=1)
    if gram is None:
        hessian = X.T @ (X / steps[:, None]) / len(X)  # (10)
    elif np.ptp(steps):
        raise ValueError("gram is used with one eta for all examples only")
    else:
        step = steps[0]
        hessian = checks.array("gram", gram, shape=(X.shape[1],) * 2) / (step * len(X))  # (10)
    slope = X.T @ g / len(X)  # (10)
    return theta + _descend(hessian, slope, m, _Search(search, alpha, c, beta, grow), tol)


class _Search:
    """Inner step sizes on a quadratic with gradient s and curvature s'Hs along it."""

    def __init__(self, kind: str, alpha: float, c: float, beta: float, grow: float) -> None:
        self.kind, self.alpha, self.c, self.beta, self.grow = kind, alpha, c, beta, grow

    def step(self, squared: float, curvature: float) -> float:
        if self.kind == "fixed":
            return self.alpha
        if self.kind == "exact":
            return squared / curvature  # (11)
        limit = 2 * (1 - self.c) * squared / curvature  # (11), what Armijo's rule allows on a quadratic
        trials = max(0, math.ceil(math.log(limit / self.alpha) / math.log(self.beta) - 1e-12))
        accepted = self.alpha * self.beta**trials
        self.alpha = accepted * self.grow
        return accepted


def _descend(hessian: Floats, slope: Floats, m: int, search: _Search, tol: float) -> Floats:
    """Displacement after m gradient steps on <slope, d> + d'Hd / 2 from 0."""
    moved, s = np.zeros_like(slope), slope.copy()
    with np.errstate(over="ignore", invalid="ignore"):
        return _loop(hessian, moved, s, m, search, tol)


def _loop(hessian: Floats, moved: Floats, s: Floats, m: int, search: _Search, tol: float) -> Floats:
    for _ in range(m):
        Hs = hessian @ s
        squared, curvature = float(np.vdot(s, s)), float(np.vdot(s, Hs))
        if not math.isfinite(squared + curvature):
            raise ValueError(f"the inner steps diverge: a fixed step alpha of {search.alpha:g} is too long for this X")
        if squared <= tol**2 or curvature <= 0:
            break
        step = search.step(squared, curvature)
        moved = moved - step * s  # (10)
        s = s - step * Hs  # (10)
    return moved


def _checked(X: ArrayLike, g: ArrayLike, theta: ArrayLike, eta: float | ArrayLike) -> tuple[Floats, Floats, Floats, Floats]:
    """The arrays in one dtype, and one step for each example."""
    X = checks.array("X", X, ndim=2)
    g = checks.array("g", g, ndim=(1, 2))
    if len(g) != len(X):
        raise ValueError(f"g must have one row for each of {len(X)} rows of X, got shape {g.shape}")
    theta = checks.array("theta", theta, shape=(X.shape[1], *g.shape[1:]))
    given = np.full(len(X), checks.positive("eta", eta)) if np.ndim(eta) == 0 else eta
    steps = checks.array("eta", given, shape=(len(X),), above=0)
    dtype = np.result_type(X, g, theta)
    return X.astype(dtype, copy=False), g.astype(dtype, copy=False), theta.astype(dtype, copy=False), steps.astype(dtype)
