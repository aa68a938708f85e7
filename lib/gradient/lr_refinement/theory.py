"""From weights to schedules, and the last-iterate theorem behind it, in float64 arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lib import checks

Array = NDArray[np.float64]


def as_sequence(values: ArrayLike, name: str, least: int = 2) -> Array:
    """A finite, non-negative float64 sequence of at least `least` numbers with a finite sum, or an error that names it."""
    array = checks.array(name, values, ndim=1, nan=True, inf=True, empty=True).astype(np.float64)  # a copy
    if len(array) < least:
        raise ValueError(f"{name} must be a sequence of at least {least} numbers, got shape {array.shape}")
    bad = np.flatnonzero(~np.isfinite(array) | (array < 0))
    if len(bad):
        raise ValueError(f"{name} must be finite and not negative, got {array[bad[0]]} at index {bad[0]}")
    with np.errstate(over="ignore"):
        if np.isinf(array.sum()):
            raise ValueError(f"{name} must have a finite sum in float64, its entries go up to {array.max():.3g}")
    return array


def as_weights(w: ArrayLike) -> Array:
    """Weights: non-negative with a positive last one, without which no later weight is left to divide by."""
    w = as_sequence(w, "w")
    if w[-1] == 0:
        raise ValueError(f"the last weight of w must be positive, got 0 at index {len(w) - 1}")
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
    shares = w / w.sum()  # keeps products of very large or small weights in range
    return w * later(shares)  # (6): eta_t = w_t w_{t+1:T} / w_{1:T}


def value_coefficients(w: ArrayLike) -> Array:
    """Coefficient of each f(x_t) in the theorem's double sum: ``[-w_1, ..., -w_{T-1}, w_{1:T-1}]`` (T >= 2).

    Added up from its definition, sum over t and s < t of w_t (c_s - c_{s-1}) (f(x_t) - f(x_s)) with
    c_s = w_{1:s} / w_{s+1:T}, so that the telescoping can be checked (equation 5 of the chapter). Memory grows like T^2.

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
    if not np.isfinite(c).all():
        raise ValueError("the weights w are too far apart: their ratios leave the range of float64")
    steps = np.diff(c, prepend=0.0)  # c_s - c_{s-1} >= 0, s = 1..T-1
    pairs = np.tril(np.outer(w, steps), k=-1)  # (4): row t, column s < t
    coefficients = pairs.sum(axis=1)
    coefficients[:-1] -= pairs.sum(axis=0)
    return coefficients


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
    TypeError
        For an oracle or learner that is no function.
    ValueError
        For weights as in `weights_to_schedule`, an `x1` that is empty or not finite, or an oracle or learner whose answer
        has another shape or is not finite (the message names the step).

    Notes
    -----
    Both functions get copies: what they write into their arguments changes nothing.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.gradient.lr_refinement import last_iterate
    >>> last_iterate(np.sign, [1.0], np.full(4, 0.5)).x[:, 0]
    array([1.   , 0.625, 0.375, 0.25 ])
    """
    checks.function("oracle", oracle)
    w = as_weights(w)
    x = z = checks.array("x1", x1).astype(np.float64)
    if x.ndim == 0:
        raise ValueError("x1 must have shape (..., d), got a single number")
    step = (lambda z, g, t: z - w[t] * g) if learner is None else checks.function("learner", learner)
    shares = later(w / w.sum())
    xs, zs, gs = [], [], []
    for t in range(len(w)):
        g = _answer("oracle", oracle(x.copy()), x, t)
        xs.append(x)
        zs.append(z)
        gs.append(g)
        following = _answer("learner", step(z.copy(), g.copy(), t), x, t)
        x = x + shares[t] * (following - z)  # (1)
        z = following
    return Trajectory(np.array(xs), np.array(zs), np.array(gs))


def _answer(name: str, value: ArrayLike, like: Array, t: int) -> Array:
    array = np.array(value, dtype=np.float64)  # a copy: the function may use its memory again
    if array.shape != like.shape:
        raise ValueError(f"the {name} must answer with shape {like.shape}, got {array.shape} at step {t}")
    if not np.isfinite(array).all():
        raise ValueError(f"the {name}'s answer at step {t} is not finite")
    return array


def _steps(n_steps: int) -> Array:
    return np.arange(checks.integer("n_steps", n_steps, low=2), dtype=np.float64)


def _flat(n_steps: int) -> Array:
    return np.ones_like(_steps(n_steps))


def _linear(n_steps: int) -> Array:
    return 1 - (_steps(n_steps) + 1) / n_steps  # (7): 1 - t/T, t from 1


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
