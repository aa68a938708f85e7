"""The two last-iterate bounds: B1 of weights, whose minimizer is closed, and B2 of any step sizes."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import OptimizeResult, minimize

from lib import checks

from .theory import Array, as_sequence


def as_norms(G: ArrayLike, floor: float | None = None, least: int = 2) -> Array:
    """Gradient norms: finite and positive, after raising those below `floor` to it; ValueError that names the index."""
    G = as_sequence(G, "G", least)
    if floor is not None:
        return np.maximum(G, checks.positive("floor", floor))
    if not G.all():
        index = int(np.argmin(G))
        raise ValueError(
            f"G has the norm 0 at index {index}: its weight would be infinite; "
            "if the gradients vanished, refinement does not apply; else give the least norm to count with as floor=..."
        )
    return G


def optimal_weights(G: ArrayLike, D: float = 1.0) -> Array:
    """Weights that minimize `bound_weights`: ``w_t = D / sqrt(sum_p G_p^-2) * G_t^-2``.

    Parameters
    ----------
    G : array_like, shape (T,)
        Positive gradient norms, T >= 2.
    D : float
        Distance of the first iterate to the comparator.

    Returns
    -------
    ndarray, shape (T,), float64

    Raises
    ------
    ValueError
        For norms that are not positive and finite (the message names the index), or D not positive.

    Examples
    --------
    >>> from lib.gradient.lr_refinement import bound_weights, optimal_weights
    >>> bound_weights(optimal_weights([1, 1, 1, 1]), [1, 1, 1, 1])
    0.5
    """
    G, D = as_norms(G), checks.positive("D", D)
    unit = G.min()  # ratios stay in range where G**-2 would not
    relative = (unit / G) ** 2
    return _in_range(D / unit * relative / np.sqrt(relative.sum()), "the weights for these G and D")  # (8)


def _in_range(values: Array, what: str) -> Array:
    """Values as they are, or a ValueError where they have overflowed."""
    if not np.isfinite(values).all():
        raise ValueError(f"{what} leave the range of float64; rescale G or D")
    return values


def bound_weights(w: ArrayLike, G: ArrayLike, D: float = 1.0) -> float:
    """Bound B1 of f(x_T) - f(u): ``(D^2 + sum_t w_t^2 G_t^2) / (2 w_{1:T})``.

    Parameters
    ----------
    w, G : array_like, shape (T,)
        Weights and gradient norms (one number as G: the same norm at every step).
    D : float

    Raises
    ------
    ValueError
        For lengths that differ, bad numbers, or weights that are all 0.

    Examples
    --------
    >>> from lib.gradient.lr_refinement import bound_weights
    >>> bound_weights([0.5, 0.5, 0.5, 0.5], 1.0)
    0.5
    """
    w, D = as_sequence(w, "w", least=1), checks.positive("D", D)
    G = _matching(G, w)
    total = w.sum()
    if total == 0:
        raise ValueError("the weights w are all 0")
    with np.errstate(over="ignore", invalid="ignore"):  # (B1), without squares that leave the range
        value = D * (D / (2 * total)) + np.sum(w / total * (w * G) * G) / 2
    return float(_in_range(value, "the bound's terms for these w, G and D"))


def _matching(G: ArrayLike, like: Array) -> Array:
    if np.ndim(G) == 0:
        G = np.full(len(like), checks.number("G", G, low=0))
    G = as_sequence(G, "G", least=1)
    if len(G) != len(like):
        raise ValueError(f"G must have one norm per step: {len(like)} steps, {len(G)} norms")
    return G


def bound_steps(eta: ArrayLike, G: ArrayLike = 1.0, D: float = 1.0) -> float:
    r"""Bound B2 of f(x_T) - f(u) for plain SGD with any step sizes.

    With L_k = sum_{t >= k} eta_t it is the classical bound
    ``D^2/(2 L_1) + S_1/(2 L_1) + 1/2 sum_{k<T} eta_k/L_{k+1} S_k/L_k``, S_k = sum_{t >= k} eta_t^2 G_t^2, which Abel summation
    shortens to ``D^2/(2 L_1) + 1/2 sum_{k<T} eta_k^2 G_k^2 / L_{k+1} + eta_T G_T^2 / 2``.

    Parameters
    ----------
    eta : array_like, shape (T,)
        Step sizes, which lead to x_1, ..., x_T. The last one leads past x_T and only serves the proof: any positive number in
        its place bounds the same iterate. After zeros at the end (linear decay ends in one) it is taken as the last positive
        step, and the bound is that of the iterate at which the run stops.
    G : array_like, shape (T,), or float
        Gradient norms.
    D : float

    Raises
    ------
    ValueError
        For lengths that differ, bad numbers, or steps that are all 0.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.gradient.lr_refinement import bound_steps
    >>> round(bound_steps(np.full(4, 0.5)), 4)
    0.9583
    """
    eta, D = as_sequence(eta, "eta", least=1), checks.positive("D", D)
    G = _matching(G, eta)
    if not eta.any():
        raise ValueError("the steps eta are all 0")
    if eta[-1] == 0:
        kept = int(np.flatnonzero(eta)[-1]) + 1
        eta, G = np.append(eta[:kept], eta[kept - 1]), G[: kept + 1]
    L = np.cumsum(eta[::-1])[::-1]
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # (B2), without squares that leave the range
        terms = np.append(eta[:-1] / L[1:], 1.0) * eta * G * G
        value = D * (D / (2 * L[0])) + terms.sum() / 2
    return float(_in_range(value, "the bound's terms for these eta, G and D"))


def _bound_and_gradient(eta: Array, G: Array, D: float) -> tuple[float, Array]:
    L = np.cumsum(eta[::-1])[::-1]
    loss = (eta * G) ** 2
    terms = loss[:-1] / L[1:]
    value = D**2 / (2 * L[0]) + terms.sum() / 2 + eta[-1] * G[-1] ** 2 / 2
    gradient = np.append(eta[:-1] * G[:-1] ** 2 / L[1:], G[-1] ** 2 / 2)
    gradient -= D**2 / (2 * L[0] ** 2)
    gradient[1:] -= np.cumsum(terms / L[1:]) / 2  # eta_j enters L_{k+1} for every k < j
    return float(value), gradient


def optimal_steps(G: ArrayLike, D: float = 1.0, max_iter: int = 2000) -> OptimizeResult:
    """Step sizes that minimize `bound_steps` for given norms, by L-BFGS-B with the analytic gradient.

    Start, memory and tolerance as in the authors' code: ``D/sqrt(T)`` at every step (in units of the root mean square norm),
    20 pairs, projected gradient 1e-10; steps stay above 1e-8 of those units.

    Parameters
    ----------
    G : array_like, shape (T,)
        Positive gradient norms, T >= 2.
    D : float
    max_iter : int

    Returns
    -------
    scipy.optimize.OptimizeResult
        ``x`` the steps (T,), ``fun`` the bound, ``jac``, ``nit``, ``success``, ``message``.

    Raises
    ------
    ValueError
        As `optimal_weights`; for max_iter below 1.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.gradient.lr_refinement import optimal_steps
    >>> round(float(optimal_steps(np.ones(4)).fun), 3)
    0.782
    """
    G, D = as_norms(G), checks.positive("D", D)
    max_iter = checks.integer("max_iter", max_iter, low=1)
    unit = float(G.max() * np.sqrt(np.mean((G / G.max()) ** 2)))
    start = np.full(len(G), len(G) ** -0.5)
    options = {"maxcor": 20, "gtol": 1e-10, "ftol": 1e-15, "maxiter": max_iter, "maxfun": 4 * max_iter}
    result = minimize(
        _bound_and_gradient,
        start,
        args=(G / unit, 1.0),
        jac=True,
        method="L-BFGS-B",
        bounds=[(1e-8, None)] * len(G),
        options=options,
    )
    with np.errstate(over="ignore"):
        jac = _in_range(result.jac * unit * unit, "the bound's derivatives for these G and D")
    return OptimizeResult(
        x=_in_range(result.x * D / unit, "the steps for these G and D"),
        fun=float(_in_range(result.fun * D * unit, "the bound's terms for these G and D")),
        jac=jac,
        nit=result.nit,
        success=bool(result.success),
        message=str(result.message),
    )
