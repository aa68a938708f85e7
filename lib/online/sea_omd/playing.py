"""The protocol as a loop: a learner against a stream of gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lib import checks
from lib.online.sea_omd.learners import OnlineLearner

Array = NDArray[np.float64]


class Play(NamedTuple):
    """What happened: decisions and gradients, shape (T, ..., d), and the sum V of squared gradient differences so far."""

    decisions: Array
    gradients: Array

    @property
    def variation(self) -> Array:
        """V after each round, shape (T, ...)."""
        before = np.concatenate([np.zeros_like(self.gradients[:1]), self.gradients[:-1]])
        return np.cumsum(np.sum((self.gradients - before) ** 2, axis=-1), axis=0)


def play(learner: OnlineLearner, gradient: Callable[[int, Array], Any], n_rounds: int) -> Play:
    """Let a learner play: predict, get the gradient of this round's loss there, update.

    Parameters
    ----------
    learner : OnlineLearner
        Goes on from where it stands.
    gradient : callable
        ``gradient(t, x)`` with t = 0, 1, ... and x of shape (..., d), a copy, gives the gradients, of the same shape.
    n_rounds : int
        At least 1.

    Returns
    -------
    Play

    Raises
    ------
    TypeError, ValueError
        From the learner, for gradients that it refuses.

    Examples
    --------
    >>> from lib.online.sea_omd import Ball, OptimisticOMD, play
    >>> learner = OptimisticOMD(Ball(2), G=1.0, L=0.0)
    >>> out = play(learner, lambda t, x: [1.0, 0.0], 5)
    >>> out.decisions.shape, float(out.variation[-1])
    ((5, 2), 1.0)
    """
    if not isinstance(learner, OnlineLearner):
        raise TypeError(f"learner must be an OnlineLearner, got {checks.shown(learner)}")
    checks.function("gradient", gradient)
    n_rounds = checks.integer("n_rounds", n_rounds, low=1)
    decisions = np.empty((n_rounds, *learner.x_.shape))
    gradients = np.empty_like(decisions)
    for t in range(n_rounds):
        decisions[t] = learner.predict()
        gradients[t] = checks.array("gradient", gradient(t, decisions[t].copy()), shape=learner.x_.shape)
        learner.update(gradients[t])
    return Play(decisions, gradients)
