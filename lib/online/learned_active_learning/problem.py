"""What is asked and what is answered: queries, hypotheses, a loss, the noise of answers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lib import checks

Array = NDArray[np.float64]
#: Gaps below this multiple of the entries' size count as ties.
TIE = 1e-12
#: Largest absolute entry of an instance in a class, where answers are -1 or 1: an answer is never certain.
LARGEST = 0.98


class BanditProblem:
    """A task of adaptive data collection: n queries, each of one entry of an instance theta, and K hypotheses.

    Query i is answered by a noisy theta_i. The best hypothesis is the row z of Z with the largest z . theta.

    Parameters
    ----------
    Z : array_like, shape (K, n)
        The hypotheses, at least 2, no two equal. May be negative.
    loss : {"error", "regret"}
        What a recommendation z costs: 1 unless it is best, or how much smaller z . theta is than the best one's.
    noise : {"bernoulli", "gaussian"}
        Answers of 1 with probability (1 + theta_i) / 2 and of -1 otherwise, for entries between -1 and 1; or theta_i plus a
        standard normal number, for entries of any size.

    Attributes
    ----------
    Z : array, shape (K, n)
    loss, noise : str
    largest : float
        Bound on the entries of a class's instances: 0.98, or infinity for Gaussian answers.
    n_queries, n_hypotheses : int

    Raises
    ------
    ValueError
        For fewer than two hypotheses, or equal ones.

    Examples
    --------
    >>> from lib.online.learned_active_learning import BanditProblem
    >>> problem = BanditProblem([[1, 0], [0, 1]], loss="regret")
    >>> problem.best([[0.2, 0.5]]).tolist(), problem.losses([[0.2, 0.5]]).round(1).tolist()
    ([1], [[0.3, 0.0]])
    """

    def __init__(self, Z: ArrayLike, loss: str = "error", noise: str = "bernoulli") -> None:
        self.Z: Array = checks.array("Z", Z, ndim=2).astype(float)
        self.loss: str = checks.choice("loss", loss, ("error", "regret"))
        self.noise: str = checks.choice("noise", noise, ("bernoulli", "gaussian"))
        self.largest = LARGEST if noise == "bernoulli" else np.inf
        if len(self.Z) < 2 or len(np.unique(self.Z, axis=0)) < len(self.Z):
            raise ValueError(f"Z must hold at least two hypotheses, no two of them equal, got {checks.shown(self.Z)}")
        if np.abs(self.Z).max() > 1e150:
            raise ValueError("Z must have entries whose squares are finite")

    @property
    def n_queries(self) -> int:
        """How many queries there are."""
        return self.Z.shape[1]

    @property
    def n_hypotheses(self) -> int:
        """How many hypotheses there are."""
        return self.Z.shape[0]

    def best(self, thetas: ArrayLike) -> NDArray[np.int64]:
        """The best hypothesis of each instance, shape (M,); of equally good ones the first."""
        return self._values(thetas).argmax(1)

    def losses(self, thetas: ArrayLike) -> Array:
        """What each recommendation costs, shape (M, K): the loss of (2) before the expectation."""
        values = self._values(thetas)
        if self.loss == "regret":
            return values.max(1, keepdims=True) - values
        return (np.arange(self.n_hypotheses) != values.argmax(1)[:, None]).astype(float)

    def tied(self, thetas: ArrayLike) -> NDArray[np.bool_]:
        """Whether two hypotheses are equally good, up to rounding, shape (M,): such instances belong to no class."""
        values = np.sort(self._values(thetas), axis=1)
        size = np.abs(self.Z).sum(1).max() * np.abs(np.asarray(thetas, dtype=float)).max(1)
        return values[:, -1] - values[:, -2] <= TIE * size

    def _values(self, thetas: ArrayLike) -> Array:
        return np.asarray(thetas, dtype=float) @ self.Z.T

    def instances(self, name: str, thetas: Any) -> Array:
        """Check instances: shape (M, n), entries that the noise allows, no ties; a single one becomes a row."""
        rows = checks.array(name, np.atleast_2d(thetas) if _is_row(thetas) else thetas, shape=(None, self.n_queries))
        self.check_range(name, rows)
        if (tied := self.tied(rows)).any():
            raise ValueError(f"{name} must have one best hypothesis each; rows {np.flatnonzero(tied)[:5].tolist()} have ties")
        return rows.astype(float)

    def check_range(self, name: str, rows: Any) -> None:
        """Refuse entries that are no means of answers."""
        if self.noise == "bernoulli":
            checks.array(name, rows, low=-1, high=1)
        elif np.abs(rows).max() > 1e100:
            raise ValueError(f"{name} must have entries whose squares are finite")

    def draw(self, means: ArrayLike, rng: np.random.Generator) -> Array:
        """Answers to queries with these means, shape (B,): (1) or its Gaussian form."""
        means = np.asarray(means, dtype=float)
        if self.noise == "gaussian":
            return means + rng.standard_normal(means.shape)
        return np.where(rng.random(means.shape) < (1 + means) / 2, 1.0, -1.0)  # (1)

    def check_answers(self, name: str, answers: Array) -> None:
        """Refuse what cannot be an answer."""
        if self.noise == "bernoulli" and not np.isin(answers, (-1, 1)).all():
            raise ValueError(f"{name} must be -1 or 1, got {checks.shown(answers)}")


def _is_row(value: Any) -> bool:
    return isinstance(value, list | tuple | np.ndarray) and np.ndim(value) == 1 and np.size(value) > 0


def thresholds(n: int, noise: str = "bernoulli") -> BanditProblem:
    """Learn a threshold: n points in a row, hypothesis k says -1 to the first k of them and 1 to the rest.

    Parameters
    ----------
    n : int
        Points, at most 1000; there are n + 1 hypotheses.
    noise : {"bernoulli", "gaussian"}
        See `BanditProblem`.

    Examples
    --------
    >>> from lib.online.learned_active_learning import thresholds
    >>> thresholds(2).Z.astype(int).tolist()
    [[1, 1], [-1, 1], [-1, -1]]
    """
    n = checks.integer("n", n, low=1, high=1000)
    return BanditProblem(np.where(np.arange(n) >= np.arange(n + 1)[:, None], 1.0, -1.0), noise=noise)


def best_arm(n: int, loss: str = "regret", noise: str = "bernoulli") -> BanditProblem:
    """Find the arm with the largest mean: hypothesis k is arm k.

    Parameters
    ----------
    n : int
        Arms, 2 to 1000.
    loss, noise : str
        See `BanditProblem`.

    Examples
    --------
    >>> from lib.online.learned_active_learning import best_arm
    >>> best_arm(3).n_hypotheses
    3
    """
    return BanditProblem(np.eye(checks.integer("n", n, low=2, high=1000)), loss, noise)
