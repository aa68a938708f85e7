"""The number gamma(x) itself, estimated by looking in many directions; and rules that combine or bound it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from lib import checks
from lib.gradient.gradient_normalized_smoothness.hessians import Array, Metric
from lib.gradient.gradient_normalized_smoothness.method import check_metric


def gamma_of(
    jac: Callable[[Array], Any],
    x: ArrayLike,
    H: Any,
    g: ArrayLike | None = None,
    metric: Metric | ArrayLike | None = None,
    *,
    n_dirs: int = 32,
    n_radii: int = 48,
    largest: float = 1e6,
    local: bool = True,
    vectorized: bool = False,
    seed: Any = 0,
) -> float:
    """The gradient-normalized smoothness gamma(x, g), as far as sampled steps show it: an upper estimate.

    The largest gamma for which ``||grad f(x + h) - grad f(x) - H h||_* <= ||g||_* ||h|| / gamma`` for all sampled h with
    ``||h|| <= gamma``, and, where `local`, with ``<g, h> + <H h, h> <= 0``, which every step of the method satisfies.

    Parameters
    ----------
    jac : callable
        The gradient, ``jac(x) -> (n,)``.
    x : array_like, shape (n,)
    H : array, LowRank, Banded or LinearOperator
        The approximate Hessian at x.
    g : array_like, shape (n,), optional
        The gradient that normalizes; default that at x.
    metric : Metric or array_like, optional
        B; default the identity.
    n_dirs : int
        Random directions, beside that of the gradient.
    n_radii : int
        Radii on each, in a geometric row that is refined about the answer.
    largest : float
        No radius is larger: also the answer where the model has no error up to there.
    local : bool
        Whether only steps with ``<g, h> + <H h, h> <= 0`` count, in place of the whole ball (a smaller gamma, also valid).
    vectorized : bool
        Whether `jac` takes points of shape (k, n) at once.
    seed : int or Generator
        Of the directions.

    Returns
    -------
    float
        Zero where no sampled radius has a small enough error.

    Raises
    ------
    ValueError, TypeError
        For arguments that are not allowed, or a gradient g of zero.

    Examples
    --------
    For ``f(x) = |x|^3 / 6`` the whole ball gives gamma(x) = x, and the method's steps give 2 x.

    >>> import numpy as np
    >>> from lib.gradient.gradient_normalized_smoothness import gamma_of
    >>> slope = lambda x: x * abs(x) / 2
    >>> [round(gamma_of(slope, [3.0], np.array([[3.0]]), n_dirs=2, local=only), 3) for only in (False, True)]
    [3.0, 6.0]
    """
    x = np.asarray(checks.array("x", x, ndim=1), dtype=float)
    B = check_metric(metric, len(x))
    checks.function("jac", jac)
    base = np.asarray(jac(x[None])[0] if vectorized else jac(x), dtype=float)
    g = base if g is None else np.asarray(checks.array("g", g, shape=(len(x),)), dtype=float)
    n_dirs, n_radii = checks.integer("n_dirs", n_dirs, low=0), checks.integer("n_radii", n_radii, low=4)
    largest, local = checks.positive("largest", largest), checks.boolean("local", local)
    H = H if hasattr(H, "todense") or hasattr(H, "matvec") else checks.array("H", H, shape=(len(x), len(x)))
    if B.dual_norm(g) == 0:
        raise ValueError("g must not be zero: gamma is undefined at a stationary point")

    rows = _directions(B, g, checks.generator("seed", seed).normal(size=(n_dirs, len(x))), both_ways=not local)
    reach = np.full(len(rows), largest)
    if local:
        rows, reach = _within_local_set(rows, g, H, largest)
    error = _Error(jac if vectorized else _one_by_one(jac), x, base, H, B, rows, reach)
    return _longest(error, B.dual_norm(g), largest, n_radii)


def _directions(B: Metric, g: Array, drawn: Array, both_ways: bool) -> Array:
    """Unit vectors: the steepest one, and those drawn, where `both_ways` also their opposites."""
    rows = np.vstack([-B.solve(g), drawn, -drawn] if both_ways else [-B.solve(g), drawn])
    return np.array([row / B.norm(row) for row in rows])


def _within_local_set(rows: Array, g: Array, H: Any, largest: float) -> tuple[Array, Array]:
    """The directions, turned downhill, and how far each stays in ``{h : <g, h> + <H h, h> <= 0}``."""
    slope, bend = rows @ g, np.einsum("ij,ij->i", rows, (H @ rows.T).T)
    rows, slope = rows * np.where(slope > 0, -1.0, 1.0)[:, None], -np.abs(slope)
    return rows, np.minimum(largest, np.divide(-slope, bend, out=np.full(len(rows), np.inf), where=bend > 0))


def _one_by_one(jac: Callable[[Array], Any]) -> Callable[[Array], Any]:
    """A gradient of one point as one of many points."""
    return lambda points: np.array([jac(point) for point in points]).reshape(points.shape)


class _Error(NamedTuple):
    """The relative error of the gradient's linear model along rays from x."""

    jac: Callable[[Array], Any]
    x: Array
    base: Array
    H: Any
    metric: Metric
    rows: Array
    reach: Array

    def __call__(self, radii: Array) -> Array:
        """``||error|| / ||h||`` for each direction and radius, shape (n_dirs, n_radii); 0 outside of the local set."""
        found = np.zeros((len(self.rows), len(radii)))
        i, j = np.nonzero(radii[None, :] <= self.reach[:, None] * (1 + 1e-12))
        steps = self.rows[i] * radii[j][:, None]
        with np.errstate(all="ignore"):
            ahead, bent = np.asarray(self.jac(self.x + steps), dtype=float), (self.H @ steps.T).T
            size = _dual_norms(self.metric, ahead - self.base - bent)  # (2), its left side
            digits = _dual_norms(self.metric, np.abs(ahead) + np.abs(self.base) + np.abs(bent))
        rounding = digits * 2.0**20 * np.finfo(float).eps
        size = np.where((size <= rounding) & np.isfinite(size), 0.0, size)  # an error without six digits tells nothing
        found[i, j] = np.where(np.isfinite(size), size, np.inf) / radii[j]
        return found


def _longest(error: _Error, g_norm: float, largest: float, n_radii: int) -> float:
    """The largest radius up to which ``radius * error`` stays within `g_norm`, narrowed in four rounds."""
    low, high, worst = largest * 1e-18, largest, 0.0  # worst: of all radii up to low
    for _ in range(4):  # each round narrows the interval between a radius that fits and one that does not
        ends = error.reach[(error.reach > low) & (error.reach < high)]  # the last point of every direction that ends here
        radii = np.unique(np.concatenate([np.geomspace(low, high, n_radii), ends]))
        running = np.maximum.accumulate(error(radii).max(axis=0, initial=worst))
        fits = radii * running <= g_norm
        if fits.all():
            return float(radii[-1])
        first = int(np.argmin(fits))
        if first == 0:
            return 0.0
        low, high, worst = float(radii[first - 1]), float(radii[first]), float(running[first - 1])
    return min(high, g_norm / worst) if worst > 0 else low


def _dual_norms(B: Metric, rows: Array) -> Array:
    with np.errstate(all="ignore"):
        squares: Array = np.einsum("ij,ij->i", rows, B.solve(rows.T).T)
    return np.sqrt(np.where(np.isfinite(squares), np.maximum(squares, 0.0), np.inf))


def combine(*gammas: float) -> float:
    """A lower bound of gamma for one Hessian from that for another: the harmonic rule ``1 / sum(1 / gamma_i)``.

    Parameters
    ----------
    gammas : float
        Above 0; infinity allowed (no error).

    Raises
    ------
    ValueError, TypeError
        For no gamma, or one that is not positive.

    Examples
    --------
    >>> from lib.gradient.gradient_normalized_smoothness import combine
    >>> combine(2.0, 2.0)
    1.0
    """
    if not gammas:
        raise ValueError("gammas must not be empty")
    total = sum(1 / checks.number("gammas", gamma, above=0, inf=True) for gamma in gammas)  # (10)
    return 1 / total if total > 0 else np.inf
