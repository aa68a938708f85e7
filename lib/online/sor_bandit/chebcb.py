"""ChebCB: inverse-gap weighting over Chebyshev models of the cost of each arm."""

from __future__ import annotations

import numpy as np
from numpy.polynomial.chebyshev import chebvander
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import lsq_linear

from lib import checks
from lib.online.sor_bandit.bandits import Policy, Seed, _clip_context, first_minimum
from lib.online.sor_bandit.solvers import Array

#: Directions with a singular value below this share of the largest count as not determined by the data. Contexts that change
#: slowly give singular values of every size; at the usual cut, near rounding, which of them count differs from CPU to CPU.
RANK_TOLERANCE = 1e-8


def box_least_squares(design: ArrayLike, target: ArrayLike, bound: ArrayLike, start: ArrayLike | None = None) -> Array:
    """Minimize ``||design @ theta - target||`` subject to ``|theta| <= bound``.

    The bounded-variable active-set method (Stark and Parker 1995): exact, and for the half-dozen unknowns of `ChebCB` faster
    than a general solver, which takes over if the active set should cycle.

    Parameters
    ----------
    design : array, shape (r, m)
    target : array, shape (r,)
    bound : array, shape (m,)
        Nonnegative.
    start : array, shape (m,), optional
        A guess, clipped to the box; default the minimum-norm solution. Only the time depends on it, or, when the minimizer
        is not unique, which one is found.

    Returns
    -------
    array, shape (m,)

    Raises
    ------
    ValueError
        Shapes that do not match, a negative bound, non-finite input.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.online.sor_bandit import box_least_squares
    >>> box_least_squares(np.eye(2), [3.0, 0.5], [1.0, 1.0])
    array([1. , 0.5])
    """
    matrix = checks.array("design", design, ndim=2).astype(np.float64)
    y = checks.array("target", target, shape=(len(matrix),)).astype(np.float64)
    u = checks.array("bound", bound, shape=(matrix.shape[1],), low=0).astype(np.float64)
    guess = _least_squares(matrix, y) if start is None else checks.array("start", start, shape=u.shape).astype(np.float64)
    theta = np.clip(guess, -u, u)
    free = np.abs(theta) < u
    tolerance = RANK_TOLERANCE * float(np.linalg.norm(matrix) * np.linalg.norm(y))
    for _ in range(4 * len(u)):
        _solve_free(matrix, y, u, theta, free)
        # At a bound the slope along the outward direction must be nonpositive.
        slope = np.where(free, -np.inf, np.sign(theta) * (matrix.T @ (matrix @ theta - y)))
        worst = int(np.argmax(slope))
        if slope[worst] <= tolerance:
            return theta
        free[worst] = True
    inside = lsq_linear(matrix, y, bounds=(-np.maximum(u, 1e-300), np.maximum(u, 1e-300)), method="bvls").x
    return np.clip(inside, -u, u)


def _least_squares(matrix: Array, y: Array) -> Array:
    """The minimum-norm solution, see `RANK_TOLERANCE`."""
    return np.asarray(np.linalg.lstsq(matrix, y, rcond=RANK_TOLERANCE)[0], dtype=np.float64)


def _solve_free(matrix: Array, y: Array, u: Array, theta: Array, free: NDArray[np.bool_]) -> None:
    """Least squares over the free unknowns, in place; one that would leave the box is stopped there and fixed."""
    while free.any():
        now = theta[free]
        goal = _least_squares(matrix[:, free], y - matrix[:, ~free] @ theta[~free])
        limit = u[free]
        outside = np.abs(goal) > limit
        if not outside.any():
            theta[free] = goal
            return
        wall = np.sign(goal) * limit
        fraction = np.full(len(now), np.inf)
        fraction[outside] = (wall[outside] - now[outside]) / (goal[outside] - now[outside])
        step = min(1.0, max(0.0, float(fraction.min())))
        hit = fraction <= step
        theta[free] = np.where(hit, wall, now + step * (goal - now))
        free[np.flatnonzero(free)[hit]] = False


def interval(context_range: tuple[float, float]) -> tuple[float, float]:
    """A context range (a, b) with a < b as floats."""
    ends = checks.array("context_range", context_range, shape=(2,))
    if not ends[0] < ends[1]:
        raise ValueError(f"context_range must be an interval (a, b) with a < b, got {context_range}")
    return float(ends[0]), float(ends[1])


class ChebCB(Policy):
    """Contextual bandit with one Chebyshev polynomial in the context per arm.

    Regression targets are ``(loss - offset) / scale_`` with ``scale_ = K N``, K the largest cost so far and
    ``N = 2 + 4 (1 + log m)``. The model of an arm is the minimum-norm least-squares fit of its own rounds, or the fit
    inside the box ``|theta_0| <= 1/N, |theta_j| <= 2/(N j)`` when the former leaves it. With predictions yhat the best
    arm keeps the probability left by ``p_i = 1 / (d + eta (yhat_i - min yhat))``; eta grows with the rounds and shrinks
    with the regret of the predictions.

    Faithful to the published code in what one might not expect: the Lipschitz estimate is the range of a *zero-padded* array
    of costs, hence ``K / (b - a)`` and the constants above (`zero_padded` = False uses the true range); the prediction error
    behind eta compares with ``loss / scale_`` although the models are fitted to the excess; and the residual
    subtracted from it is that of the last box-constrained fit of the round only, 0 if there was none.

    Parameters
    ----------
    n_arms : int
        Number of arms d (20 in the paper).
    n_features : int
        Chebyshev polynomials ``T_0 .. T_{m-1}`` (6 in the paper).
    context_range : (float, float)
        Interval [a, b]; the paper uses (-0.15, 0.65) for shifts and (0, 10) for the diffusion coefficient. A context outside is
        clipped with a warning.
    seed : int, Generator or SeedSequence, optional
    offset : float
        Smallest possible cost, subtracted from every loss; default 1 (iteration counts). Use 0 for seconds.
    zero_padded : bool
        See above; default True (the published code).

    Attributes
    ----------
    theta_ : array, shape (d, m)
        Coefficients in units of `scale_`.
    eta_, scale_ : float

    Raises
    ------
    ValueError
        Fewer than one feature, an empty context range.

    Examples
    --------
    >>> from lib.online.sor_bandit import ChebCB
    >>> policy = ChebCB(20, 6, (-0.15, 0.65), seed=0)
    >>> arm = policy.select(0.1); policy.update(60)

    Source: Khodak et al. (2024), contextual experiments. A round costs O(m^3 + d m) whatever its number: the data of an arm are
    kept as the triangular factor of its design matrix.
    """

    def __init__(
        self,
        n_arms: int,
        n_features: int,
        context_range: tuple[float, float],
        *,
        seed: Seed = None,
        offset: float = 1.0,
        zero_padded: bool = True,
    ) -> None:
        super().__init__(n_arms, seed=seed, offset=offset)
        self.n_features = checks.integer("n_features", n_features, low=1)
        self.context_range = interval(context_range)
        self.zero_padded = checks.boolean("zero_padded", zero_padded)
        self.theta_: Array = np.zeros((self.n_arms, self.n_features))
        self.eta_, self.scale_ = 0.0, 0.0
        # Triangular factors of [features | loss - offset] per arm: they hold all that least squares needs.
        self._factors = np.zeros((self.n_arms, self.n_features + 1, self.n_features + 1))
        self._round, self._largest, self._smallest, self._norm = 1, 0.0, np.inf, 1.0
        self._sums = np.zeros(3)  # over the rounds: prediction^2, prediction * loss, loss^2
        self._features: Array = np.zeros(self.n_features)

    def features(self, contexts: ArrayLike) -> Array:
        """Chebyshev features of contexts in `context_range`; adds an axis of length m."""
        low, high = self.context_range
        x = np.clip(2.0 * (checks.array("contexts", contexts) - low) / (high - low) - 1.0, -1.0, 1.0)
        return np.asarray(chebvander(x, self.n_features - 1), dtype=np.float64).reshape(
            *x.shape, self.n_features
        )  # T_0 .. T_{m-1}

    def predict_cost(self, contexts: ArrayLike) -> Array:
        """The learned cost model in the unit of the costs, shape ``(d,) + contexts.shape``."""
        return self.offset + self.scale_ * np.moveaxis(self.features(contexts) @ self.theta_.T, -1, 0)

    def _distribution(self, context: float | None) -> Array:
        self._features = self.features(_clip_context(context, *self.context_range, stacklevel=5))
        predicted = self.theta_ @ self._features
        best = first_minimum(predicted)
        gaps = np.maximum(predicted - predicted[best], 0.0)
        p = 1.0 / (self.n_arms + self.eta_ * gaps)  # (14)
        p[best] = 0.0
        p[best] = 1.0 - p.sum()  # (14)
        return p

    def _learn(self, arm: int, cost: float) -> None:
        prediction = float(self.theta_[arm] @ self._features)
        self._sums += [prediction**2, prediction * cost, cost**2]
        row = np.append(self._features, cost - self.offset)
        self._factors[arm] = np.linalg.qr(np.vstack([self._factors[arm], row]), mode="r")
        self._largest, self._smallest = max(self._largest, cost), min(self._smallest, cost)
        residual = self._refit(arm)
        self._set_eta(residual)
        self._round += 1

    def _spread(self) -> float:
        """Range of the costs relative to the largest, ``(b - a) Lhat / K``: 1 when padded with zeros."""
        return 1.0 if self.zero_padded else (self._largest - self._smallest) / self._largest

    def _refit(self, played: int) -> float:
        """Fit the played arm, or all arms when the scale has changed; returns the squared residual of the last box fit."""
        spread = self._spread()
        self._norm = 2.0 + 4.0 * spread * (1.0 + np.log(self.n_features))  # N, Algorithm 3, line 2
        scale = self._largest * self._norm
        arms = [played] if scale == self.scale_ else np.flatnonzero(self.counts_).tolist()
        self.scale_ = scale
        slopes = 2.0 * spread / (self._norm * np.arange(1, self.n_features))  # the box, (13)
        bound = np.concatenate([[1.0 / self._norm], slopes])
        residual = 0.0
        for arm in arms:
            factor, target = self._factors[arm, :, :-1], self._factors[arm, :, -1] / scale
            theta = _least_squares(factor, target)  # minimum norm, as published
            if (np.abs(theta) > bound).any():
                theta = box_least_squares(factor, target, bound, self.theta_[arm])
                residual = float(((factor @ theta - target) ** 2).sum())
            self.theta_[arm] = theta
        return residual

    def _set_eta(self, residual: float) -> None:
        m, t = self.n_features, self._round
        # Algorithm 3, line 4: the approximation error of m features, and the rate from the prediction error so far.
        alpha = (np.pi + 2.0 / np.pi * np.log(2.0 * m + 1.0)) / (2.0 * self._norm * (m + 1)) * self._spread()  # Algorithm 3
        squared, mixed, losses = self._sums
        error = squared - 2.0 * mixed / self.scale_ + losses / self.scale_**2  # Algorithm 3, line 4
        # Positive but for costs without any spread; the guard keeps eta finite there.
        denominator = max(error - residual + 2.0 * alpha**2 * t, 1e-300)  # Algorithm 3, line 4
        self.eta_ = float(2.0 * t * np.sqrt(self.n_arms * t / denominator))  # Algorithm 3, line 4
