"""Rivals and the ablation, all with the protocol of the paper's learners: predict, then update."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lib import checks
from lib.online.sea_omd import Ball, Domain, OnlineLearner, OptimisticOMD, OptimisticONS, step_pool, weights

Array = NDArray[np.float64]


class OGD(OnlineLearner):
    """Online gradient descent, steps ``scale D / (G sqrt t)`` (Zinkevich 2003).

    Parameters
    ----------
    domain : Domain
    G : float
        Bound of the gradients, positive.
    scale : float or array_like
        Factor on every step; 1.
    constant : bool
        Whether all steps are `scale` instead.
    shape : tuple of int
        Batch of runs; may be empty.

    Examples
    --------
    >>> from lib.online.sea_omd import Ball
    >>> from lib.online.sea_omd.study import OGD
    >>> learner = OGD(Ball(2), G=4.0)
    >>> x = learner.predict(); learner.update([1.0, 0.0])
    >>> float(learner.predict()[0])
    -0.5
    """

    def __init__(self, domain: Domain, G: float, *, scale: ArrayLike = 1.0, constant: bool = False,
                 shape: tuple[int, ...] = ()) -> None:  # fmt: skip
        super().__init__(domain, checks.positive("G", G), shape)
        self.scale, self.constant = self._per_run("scale", scale), checks.boolean("constant", constant)

    def _learn(self, g: Array) -> None:
        assert self.G is not None
        factor = 1.0 if self.constant else self.domain.diameter / (self.G * np.sqrt(self.n_rounds_ + 1))
        eta = self.scale * factor
        self.x_ = self.domain._project(self.x_ - eta[..., None] * g)


class AdaGradNorm(OnlineLearner):
    """Online gradient descent with steps ``scale D / sqrt(2 sum ||g||^2)``.

    Parameters
    ----------
    domain : Domain
    scale : float or array_like
        Factor on every step; 1.
    shape : tuple of int
        Batch of runs; may be empty.

    Examples
    --------
    >>> from lib.online.sea_omd import Ball
    >>> from lib.online.sea_omd.study import AdaGradNorm
    >>> learner = AdaGradNorm(Ball(2), scale=0.5)
    >>> x = learner.predict(); learner.update([3.0, 0.0])
    >>> float(learner.predict()[0].round(4))
    -0.7071
    """

    def __init__(self, domain: Domain, *, scale: ArrayLike = 1.0, shape: tuple[int, ...] = ()) -> None:
        super().__init__(domain, None, shape)
        self.scale = self._per_run("scale", scale)
        self.total_: Array = np.zeros(self.shape)

    def _learn(self, g: Array) -> None:
        self.total_ = self.total_ + np.sum(g**2, axis=-1)
        eta = self.scale * self.domain.diameter / np.sqrt(np.maximum(2.0 * self.total_, np.finfo(float).tiny))
        self.x_ = self.domain._project(self.x_ - eta[..., None] * g)


class OFTRL(OnlineLearner):
    """Optimistic follow-the-regularized-leader on linear losses (Sachs et al. 2022), the guess is the last gradient.

    ``x_t`` minimizes ``<g_1 + ... + g_{t-1} + g_{t-1}, x> + ||x||^2 / eta_t`` with
    ``eta_t = scale D^2 / (nu + sum eta_s ||g_s - g_{s-1}||^2)`` and ``nu = L D^2 + D G`` (``2 D G`` for L = 0).

    Parameters
    ----------
    domain : Domain
    G, L : float
        Bound of the gradients, positive; smoothness, at least 0.
    scale : float or array_like
        Factor on every step; 1.
    shape : tuple of int
        Batch of runs; may be empty.

    Examples
    --------
    >>> from lib.online.sea_omd import Ball
    >>> from lib.online.sea_omd.study import OFTRL
    >>> learner = OFTRL(Ball(2), G=4.0, L=0.0)
    >>> x = learner.predict(); learner.update([1.0, 0.0])
    >>> float(learner.predict()[0].round(4))
    -0.2462
    """

    def __init__(self, domain: Domain, G: float, L: float, *, scale: ArrayLike = 1.0, shape: tuple[int, ...] = ()) -> None:
        super().__init__(domain, checks.positive("G", G), shape)
        D, smooth = domain.diameter, checks.number("L", L, low=0)
        self.scale = self._per_run("scale", scale)
        self.total_: Array = np.full(self.shape, smooth * D**2 + D * float(G) if smooth else 2.0 * D * float(G))
        self.sum_ = np.zeros_like(self.x_)
        self._last = np.zeros_like(self.x_)

    def _learn(self, g: Array) -> None:
        D2 = self.domain.diameter**2
        self.total_ = self.total_ + D2 / self.total_ * np.sum((g - self._last) ** 2, axis=-1)
        self.sum_, self._last = self.sum_ + g, g
        eta = self.scale * D2 / self.total_
        self.x_ = self.domain._project(self.domain.start - 0.5 * eta[..., None] * (self.sum_ + g))


class ONS(OptimisticONS):
    """The online Newton step (Hazan et al. 2007): no guess, and a metric that starts at ``I / (beta D)^2``.

    Parameters
    ----------
    domain : Domain
        Ball or box.
    G, alpha : float
        Bound of the gradients, exp-concavity; positive.
    beta : float or array_like, optional
        Default ``min(1 / (4 G D), alpha) / 2``.
    shape : tuple of int
        Batch of runs; may be empty.

    Examples
    --------
    >>> from lib.online.sea_omd import Ball
    >>> from lib.online.sea_omd.study import ONS
    >>> learner = ONS(Ball(1), G=1.0, alpha=1.0, beta=0.5)
    >>> x = learner.predict(); learner.update([0.5])
    >>> float(learner.predict()[0].round(4))
    -0.8
    """

    def __init__(self, domain: Domain, G: float, alpha: float, *, beta: ArrayLike | None = None,
                 shape: tuple[int, ...] = ()) -> None:  # fmt: skip
        super().__init__(domain, G, alpha, beta=beta, optimistic=False, shape=shape)
        first = 1.0 / (np.broadcast_to(self.beta, self.shape) * domain.diameter) ** 2
        self.H_ = first[..., None, None] * np.eye(domain.dim)

    def _learn(self, g: Array) -> None:
        self.H_ = self.H_ + g[..., :, None] * g[..., None, :]
        self.x_ = self._newton(self.x_, g / self.beta[..., None], self.H_)


class CoinBetting(OnlineLearner):
    """Coin betting with the Krichevsky-Trofimov bettor, which has no step, reduced to a ball (Orabona and Pal 2016).

    Parameters
    ----------
    domain : Ball
    G : float
        Bound of the gradients, positive.
    scale : float or array_like
        Money at first, in units of the diameter; 1.
    shape : tuple of int
        Batch of runs; may be empty.

    Examples
    --------
    >>> from lib.online.sea_omd import Ball
    >>> from lib.online.sea_omd.study import CoinBetting
    >>> learner = CoinBetting(Ball(2), G=2.0)
    >>> x = learner.predict(); learner.update([1.0, 0.0])
    >>> float(learner.predict()[0].round(4))
    -0.5
    """

    def __init__(self, domain: Ball, G: float, *, scale: ArrayLike = 1.0, shape: tuple[int, ...] = ()) -> None:
        super().__init__(domain, checks.positive("G", G), shape)
        if not isinstance(domain, Ball):
            raise TypeError(f"domain must be a Ball, got {checks.shown(domain)}")
        self.scale = self._per_run("scale", scale)
        self.wealth_: Array = np.broadcast_to(self.scale * domain.diameter, self.shape).copy()
        self.bet_ = np.zeros_like(self.x_)
        self.sum_ = np.zeros_like(self.x_)

    def _learn(self, g: Array) -> None:
        assert self.G is not None
        # Outside the ball a gradient that pushes further out is bent, so that the bettor pays for leaving.
        out = self.domain.start + self.bet_ - self.x_
        unit = out / np.maximum(np.linalg.norm(out, axis=-1, keepdims=True), 1e-300)
        along = np.minimum(np.sum(g * unit, axis=-1, keepdims=True), 0.0)
        coin = -(g - along * unit) / (self.G * (1.0 + 1e-9))
        self.wealth_ = self.wealth_ + np.sum(coin * self.bet_, axis=-1)
        self.sum_ = self.sum_ + coin
        self.bet_ = self.sum_ * (self.wealth_ / (self.n_rounds_ + 2))[..., None]
        self.x_ = self.domain._project(self.domain.start + self.bet_)


class Ader(OnlineLearner):
    """The ensemble without a guess: gradient descent with several steps under exponential weights (Zhang et al. 2018).

    Parameters
    ----------
    domain : Domain
    G, L : float
        Bound of the gradients and smoothness, positive: they set the same pool of steps as in the paper's ensemble.
    T : int
        Number of rounds that are planned.
    shape : tuple of int
        Batch of runs; may be empty.

    Examples
    --------
    >>> from lib.online.sea_omd import Ball
    >>> from lib.online.sea_omd.study import Ader
    >>> learner = Ader(Ball(2), G=1.0, L=1.0, T=1000)
    >>> x = learner.predict(); learner.update([1.0, 0.0])
    >>> float(learner.predict()[0].round(4))
    -0.0704
    """

    def __init__(self, domain: Domain, G: float, L: float, T: int, *, shape: tuple[int, ...] = ()) -> None:
        super().__init__(domain, checks.positive("G", G), shape)
        self.steps = step_pool(domain.diameter, G, L, T)
        self.rate = float(np.sqrt(2.0 / (checks.integer("T", T, low=1) * (float(G) * domain.diameter) ** 2)))
        self.experts_: Array = np.repeat(self.x_[..., None, :], len(self.steps), axis=-2)
        self._losses: Array = np.zeros(self.experts_.shape[:-1])

    def _learn(self, g: Array) -> None:
        self._losses = self._losses + np.einsum("...d,...nd->...n", g, self.experts_)
        self.experts_ = self.domain._project(self.experts_ - self.steps[:, None] * g[..., None, :])
        self.x_ = np.einsum("...n,...nd->...d", weights(self._losses, self.rate), self.experts_)


class Ablated(OptimisticOMD):
    """Optimistic OMD in its two parts: the guess, and the steps from differences of gradients.

    Parameters
    ----------
    domain : Domain
    G : float
        Bound of the gradients, positive; no damping beside it.
    guess : bool
        Whether the last gradient is the guess for the next.
    differences : bool
        Whether V sums ``||g_s - g_{s-1}||^2``, or else ``||g_s||^2``.
    shape : tuple of int
        Batch of runs; may be empty.

    Examples
    --------
    >>> from lib.online.sea_omd import Ball
    >>> from lib.online.sea_omd.study import Ablated
    >>> learner = Ablated(Ball(2), G=1.0, guess=False, differences=True)
    >>> x = learner.predict(); learner.update([0.5, 0.0])
    >>> float(learner.predict()[0])
    -0.5
    """

    def __init__(self, domain: Domain, G: float, guess: bool, differences: bool, *, shape: tuple[int, ...] = ()) -> None:
        self.differences = checks.boolean("differences", differences)
        super().__init__(domain, G, L=0.0, optimistic=checks.boolean("guess", guess), shape=shape)

    def _reference(self) -> Array | float:
        return self._last if self.differences else 0.0
