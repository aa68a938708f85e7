"""Dynamic regret: several optimistic learners with different steps, and optimistic weights over them.

All of them use the one gradient at the combined decision. The correction makes experts that move a lot look worse.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lib import checks
from lib.online.sea_omd.domains import Domain, sized
from lib.online.sea_omd.learners import OnlineLearner

Array = NDArray[np.float64]


def step_pool(D: float, G: float, L: float, T: int) -> Array:
    """The steps of the experts: doubling from ``sqrt(D^2 / (8 G^2 T))`` up to ``1 / (8 L)``.

    Parameters
    ----------
    D, G, L : float
        Diameter, bound of the gradients, smoothness; positive, 1e-40 to 1e40.
    T : int
        Number of rounds that are planned.

    Returns
    -------
    array, shape (N,)
        ``N = ceil(log2(G^2 T / (8 L^2 D^2)) / 2) + 1``, at least 1.

    Examples
    --------
    >>> from lib.online.sea_omd import step_pool
    >>> step_pool(2.0, 2.5, 1.0, 4000).round(4)
    array([0.0045, 0.0089, 0.0179, 0.0358, 0.0716, 0.125 ])
    """
    D, G, L = sized("D", D), sized("G", G), sized("L", L)
    T = checks.integer("T", T, low=1)
    n = max(int(np.ceil(0.5 * np.log2(G**2 * T / (8.0 * L**2 * D**2)))) + 1, 1)  # (14)
    smallest = np.sqrt(D**2 / (8.0 * G**2 * T))  # (14)
    return np.minimum(1.0 / (8.0 * L), smallest * 2.0 ** np.arange(n))  # (14)


def weights(scores: ArrayLike, rate: ArrayLike) -> Array:
    """Exponential weights, ``p_i`` proportional to ``exp(-rate * scores_i)``.

    Parameters
    ----------
    scores : array_like, shape (..., N)
        Cumulative losses; may be negative.
    rate : float or array_like, shape (...,)
        Learning rate, positive.

    Returns
    -------
    array, shape (..., N)

    Examples
    --------
    >>> from lib.online.sea_omd import weights
    >>> weights([0.0, 0.0], 1.0)
    array([0.5, 0.5])
    """
    scores, rate = checks.array("scores", scores).astype(np.float64), checks.array("rate", rate, above=0)
    if scores.ndim < 1:
        raise ValueError("scores must have an axis of experts, got a single number")
    return _weights(scores, rate)


def _weights(scores: Array, rate: Array) -> Array:
    with np.errstate(over="ignore"):  # what is infinitely worse has weight 0
        logits = -rate[..., None] * (scores - scores.min(axis=-1, keepdims=True))  # (15)
    p = np.exp(logits)  # (15)
    return p / p.sum(axis=-1, keepdims=True)  # (15)


class OptimisticEnsemble(OnlineLearner):
    """Experts with fixed steps under optimistic exponential weights, for targets that move.

    Parameters
    ----------
    domain : Domain
        Decision set with diameter D.
    G, L : float
        Bound of the gradients and smoothness of the expected losses, positive.
    T : int
        Number of rounds that are planned: it sets the smallest step.
    steps : array_like, shape (N,), optional
        Steps of the experts, positive; default and paper `step_pool`.
    correction : float, optional
        Weight c of the squared movement in the experts' losses, at least 0; default and paper ``2 L``.
    damping : float
        Added under the root of the learning rate of the weights, positive; 1.
    shape : tuple of int
        Batch of runs; may be empty.

    Attributes
    ----------
    x_ : array, shape (..., d)
        The combined decision.
    experts_ : array, shape (..., N, d)
        The experts' decisions.
    secondary_ : array, shape (..., N, d)
        Their secondary points.
    weights_ : array, shape (..., N)

    Examples
    --------
    >>> from lib.online.sea_omd import Ball, OptimisticEnsemble
    >>> learner = OptimisticEnsemble(Ball(2), G=1.0, L=1.0, T=1000)
    >>> x = learner.predict(); learner.update([1.0, 0.0])
    >>> learner.predict().round(3)
    array([-0.143,  0.   ])
    """

    def __init__(self, domain: Domain, G: float, L: float, T: int, *, steps: ArrayLike | None = None,
                 correction: float | None = None, damping: float = 1.0, shape: tuple[int, ...] = ()) -> None:  # fmt: skip
        super().__init__(domain, sized("G", G), shape)
        self.L, self.T = sized("L", L), checks.integer("T", T, low=1)
        pool = step_pool(domain.diameter, float(G), self.L, self.T) if steps is None else steps
        self.steps = checks.array("steps", pool, ndim=1, above=0).astype(np.float64)
        self.correction = 2.0 * self.L if correction is None else checks.number("correction", correction, low=0)
        self.damping = checks.positive("damping", damping)
        self.experts_: Array = np.repeat(self.x_[..., None, :], len(self.steps), axis=-2)
        self.secondary_: Array = self.experts_.copy()
        self.weights_: Array = np.full(self.experts_.shape[:-1], 1.0 / len(self.steps))
        self._before = self.experts_.copy()  # the experts' decisions of the round before
        self._guesses = np.zeros_like(self.weights_)
        self._losses = np.zeros_like(self.weights_)
        self._surprise = np.zeros(self.shape)

    def _priced(self, g: Array, experts: Array, before: Array) -> Array:
        moved = np.sum((experts - before) ** 2, axis=-1)
        # measured from the domain's middle, so that the learning rate does not depend on where the origin lies
        linear = np.einsum("...d,...nd->...n", g, experts - self.domain.start)
        return linear + self.correction * moved  # (15): losses and guesses

    def _learn(self, g: Array) -> None:
        losses = self._priced(g, self.experts_, self._before)
        surprise = self._surprise + np.abs(losses - self._guesses).max(axis=-1) ** 2  # (15): rate
        step = self.steps[:, None] * g[..., None, :]
        secondary = self.domain._project(self.secondary_ - step)  # (2) for every expert
        experts = self.domain._project(secondary - step)  # (2) for every expert
        guesses = self._priced(g, experts, self.experts_)
        total = self._losses + losses
        p = _weights(total + guesses, 1.0 / np.sqrt(self.damping + surprise))  # (15)
        self.x_ = np.einsum("...n,...nd->...d", p, experts)
        self._before, self.experts_, self.secondary_ = self.experts_, experts, secondary
        self.weights_, self._guesses, self._losses, self._surprise = p, guesses, total, surprise
