"""From weights to schedules, and the last-iterate theorem behind it, in float64 arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


def as_sequence(values: ArrayLike, name: str, least: int = 2) -> Array:
    """A finite, non-negative float64 sequence of at least `least` numbers, or a ValueError that says what is wrong."""
    if type(values).__module__.startswith("torch"):
        values = values.detach().cpu()  # type: ignore[union-attr]
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or len(array) < least:
        raise ValueError(f"{name} must be a sequence of at least {least} numbers, got shape {array.shape}")
    bad = np.flatnonzero(~np.isfinite(array) | (array < 0))
    if len(bad):
        raise ValueError(f"{name} must be finite and not negative, got {array[bad[0]]} at index {bad[0]}")
    return array


def as_distance(D: float) -> float:
    """D as a positive, finite float, or a ValueError."""
    if not (np.isfinite(D) and D > 0):
        raise ValueError(f"D must be positive and finite, got {D}")
    return float(D)


def as_weights(w: ArrayLike) -> Array:
    """Weights: non-negative with a positive last one, without which no later weight is left to divide by."""
    w = as_sequence(w, "w")
    if w[-1] == 0:
        raise ValueError(f"the last weight must be positive, got 0 at index {len(w) - 1}")
    return w


def later(w: ArrayLike) -> Array:
    """Sums of the later weights ``w_{t+1:T}``, shape (T,); the last one is 0.

    Examples
    --------
    >>> from lib.gradient.lr_refinement import later
    >>> later([1, 2, 3])
    array([5., 3., 0.])
    """
    w = as_sequence(w, "w", least=1)
    return np.append(np.cumsum(w[:0:-1])[::-1], 0.0)


def weights_to_schedule(w: ArrayLike) -> Array:
    r"""Learning rates ``eta_t = w_t w_{t+1:T} / w_{1:T}`` of the last-iterate theorem's SGD instance.

    Parameters
    ----------
    w : array_like, shape (T,)
        Non-negative weights, the last one positive, T >= 2. Equal weights give linear decay.

    Returns
    -------
    ndarray, shape (T,), float64
        Not normalized; the last entry is 0.

    Raises
    ------
    ValueError
        For fewer than two weights, negative, NaN or infinite ones, or a last weight of 0.

    Examples
    --------
    >>> from lib.gradient.lr_refinement import weights_to_schedule
    >>> weights_to_schedule([1, 1, 1, 1])
    array([0.75, 0.5 , 0.25, 0.  ])
    """
    w = as_weights(w)
    # shares keep products of very large or small weights in range
    shares = w / w.sum()
    return w * later(shares)


def value_coefficients(w: ArrayLike) -> Array:
    """Coefficient of each f(x_t) in the theorem's double sum: ``[-w_1, ..., -w_{T-1}, w_{1:T-1}]`` (T >= 2).

    Added up from its definition, sum over t and s < t of w_t (c_s - c_{s-1}) (f(x_t) - f(x_s)) with
    c_s = w_{1:s} / w_{s+1:T}, so that the telescoping can be checked.

    Parameters
    ----------
    w : array_like, shape (T,)
        Positive last weight.

    Returns
    -------
    ndarray, shape (T,)

    Raises
    ------
    ValueError
        As `weights_to_schedule`.

    Examples
    --------
    >>> from lib.gradient.lr_refinement import value_coefficients
    >>> value_coefficients([1, 1, 1]).round(12) + 0.0
    array([-1., -1.,  2.])
    """
    w = as_weights(w)
    c = np.cumsum(w)[:-1] / later(w)[:-1]
    steps = np.diff(c, prepend=0.0)  # c_s - c_{s-1} >= 0, s = 1..T-1
    pairs = np.tril(np.outer(w, np.append(steps, 0.0)), k=-1)  # row t, column s < t
    return pairs.sum(axis=1) - pairs.sum(axis=0)


class Trajectory(NamedTuple):
    """Iterates x, the learner's iterates z and the subgradients g at x, each of shape (T, ..., d)."""

    x: Array
    z: Array
    g: Array


def last_iterate(
    oracle: Callable[[Array], Array],
    x1: ArrayLike,
    w: ArrayLike,
    learner: Callable[[Array, Array, int], Array] | None = None,
) -> Trajectory:
    """Turn an online learner into a sequence whose last iterate is good: ``x_{t+1} = x_t + (w_{t+1:T}/w_{1:T}) (z_{t+1}-z_t)``.

    Parameters
    ----------
    oracle : callable
        Subgradient at x; arrays of shape (..., d) in and out (many problems at once).
    x1 : array_like, shape (..., d)
    w : array_like, shape (T,)
        Weights as in `weights_to_schedule`.
    learner : callable, optional
        ``learner(z, g, t)`` gives the next z after subgradient g with weight ``w[t]``; default gradient descent
        ``z - w[t] g``, which makes x_t plain SGD with the learning rates of `weights_to_schedule`.

    Returns
    -------
    Trajectory

    Raises
    ------
    ValueError
        For weights as in `weights_to_schedule`, or an `x1` that is not finite.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.gradient.lr_refinement import last_iterate
    >>> last_iterate(np.sign, [1.0], np.full(4, 0.5)).x[:, 0]
    array([1.   , 0.625, 0.375, 0.25 ])
    """
    w = as_weights(w)
    shares = later(w) / w.sum()
    x = z = np.asarray(x1, dtype=np.float64)
    if not np.isfinite(x).all():
        raise ValueError("x1 must be finite")
    step = learner or (lambda z, g, t: z - w[t] * g)
    xs, zs, gs = [], [], []
    for t in range(len(w)):
        g = oracle(x)
        xs.append(x)
        zs.append(z)
        gs.append(g)
        following = step(z, g, t)
        x = x + shares[t] * (following - z)
        z = following
    return Trajectory(np.array(xs), np.array(zs), np.array(gs))


def _steps(n_steps: int) -> Array:
    if isinstance(n_steps, bool) or not isinstance(n_steps, int | np.integer):
        raise TypeError(f"the number of steps must be an integer, got {n_steps!r}")
    if n_steps < 2:
        raise ValueError(f"the number of steps must be at least 2, got {n_steps}")
    return np.arange(n_steps, dtype=np.float64)


def _flat(n_steps: int) -> Array:
    return np.ones_like(_steps(n_steps))


def _linear(n_steps: int) -> Array:
    return 1 - (_steps(n_steps) + 1) / n_steps


def _cosine(n_steps: int) -> Array:
    return (1 + np.cos(np.pi * _steps(n_steps) / n_steps)) / 2


def _inverse(n_steps: int) -> Array:
    return 1 / (1 + _steps(n_steps))


def _inverse_sqrt(n_steps: int) -> Array:
    return 1 / np.sqrt(1 + _steps(n_steps))


def _step(n_steps: int) -> Array:
    drops = np.searchsorted([0.3, 0.6, 0.9], _steps(n_steps) / n_steps, side="right")
    return np.power(0.1, drops.astype(np.float64))


def _sqrt_decay(n_steps: int) -> Array:
    return np.sqrt(1 - _steps(n_steps) / n_steps)


def _wsd(n_steps: int) -> Array:
    return np.minimum(1, (1 - _steps(n_steps) / n_steps) / 0.2)


#: Name -> callable: n_steps -> factors of the peak learning rate, shape (n_steps,). ``step`` divides by 10 at 30, 60 and 90 %;
#: ``cosine`` is torch's CosineAnnealingLR; ``wsd`` (warm-up, stable, decay, here without warm-up) decays over the last 20 %.
SCHEDULES: dict[str, Callable[[int], Any]] = {
    "flat": _flat,
    "inverse": _inverse,
    "inverse_sqrt": _inverse_sqrt,
    "step": _step,
    "cosine": _cosine,
    "linear": _linear,
    "sqrt_decay": _sqrt_decay,
    "wsd": _wsd,
}
