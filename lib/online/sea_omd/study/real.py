"""Streams of real data: logistic losses of rows that arrive in one of several orders."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

from lib import checks
from lib.online.sea_omd import Ball

Array = NDArray[np.float64]

#: The orders that `arrival` makes.
ORDERS = ("replacement", "permutation", "sorted", "blocks", "flips")


def signed_rows(X: ArrayLike, y: ArrayLike) -> Array:
    """Columns standardized, a constant appended, every row scaled to length 1 and multiplied by its label, -1 or 1.

    Parameters
    ----------
    X : array_like, shape (n, d - 1)
        Features; may be negative.
    y : array_like, shape (n,)
        Two classes: the smaller value is -1.

    Returns
    -------
    array, shape (n, d)

    Examples
    --------
    >>> from lib.online.sea_omd.study import signed_rows
    >>> signed_rows([[0.0], [2.0]], [0, 1]).round(4)
    array([[ 0.7071, -0.7071],
           [ 0.7071,  0.7071]])
    """
    X = checks.array("X", X, ndim=2).astype(np.float64)
    y = checks.array("y", y, shape=(len(X),))
    if len(np.unique(y)) != 2:
        raise ValueError(f"y must hold two classes, got {len(np.unique(y))}")
    spread = X.std(axis=0)
    A = np.column_stack([(X - X.mean(axis=0)) / np.where(spread > 0.0, spread, 1.0), np.ones(len(X))])
    return np.where(y == y.max(), 1.0, -1.0)[:, None] * A / np.linalg.norm(A, axis=1, keepdims=True)


def arrival(order: str, y: ArrayLike, n_rounds: int, batch: int, n_seeds: int, seed: Any = 0) -> NDArray[np.int64]:
    """Which rows arrive in which round.

    Parameters
    ----------
    order : {"replacement", "permutation", "sorted", "blocks", "flips"}
        Drawn with replacement; each row at most once, in random order; the same, all of one class first; the same, in blocks
        of 20 rounds of one class; or a permutation in which the labels of every fifth block of 20 rounds are wrong.
    y : array_like, shape (n,)
        Two classes.
    n_rounds, batch, n_seeds : int
        Rounds, rows in a round, and number of orders.
    seed : int, Generator or SeedSequence

    Returns
    -------
    int array, shape (n_rounds, n_seeds, batch)
        Row i, or ``n + i`` for row i with the wrong label.

    Examples
    --------
    >>> from lib.online.sea_omd.study import arrival
    >>> arrival("sorted", [1, 0, 1, 0], 2, 2, 1).tolist()
    [[[1, 3]], [[0, 2]]]
    """
    checks.choice("order", order, ORDERS)
    y = checks.array("y", y, ndim=1)
    T, b = checks.integer("n_rounds", n_rounds, low=1), checks.integer("batch", batch, low=1)
    S, rng = checks.integer("n_seeds", n_seeds, low=1), checks.generator("seed", seed)
    if order == "replacement":
        return rng.integers(len(y), size=(T, S, b))
    if T * b > len(y):
        raise ValueError(f"n_rounds times batch must be at most the number of rows, {len(y)}, got {T * b}")
    drawn = np.array([rng.permutation(len(y))[: T * b] for _ in range(S)])
    if order in ("sorted", "blocks"):
        drawn = np.array([_grouped(rows, y[rows] == y.max(), 20 * b if order == "blocks" else T * b) for rows in drawn])
    index = np.moveaxis(drawn.reshape(S, T, b), 0, 1)
    if order == "flips":
        wrong = np.arange(T) // 20 % 5 == 4
        index = index + wrong[:, None, None] * len(y)
    return index


def _grouped(rows: NDArray[np.int64], positive: NDArray[np.bool_], size: int) -> NDArray[np.int64]:
    """Rows in blocks of `size`, negative and positive ones in turn; what is left of one class comes last."""
    queues, out, turn = [rows[~positive], rows[positive]], [], 0
    queues = [np.sort(q) if size >= len(rows) else q for q in queues]
    while len(queues[0]) + len(queues[1]):
        out.append(queues[turn][:size])
        queues[turn] = queues[turn][size:]
        turn = 1 - turn
    return np.concatenate(out)


class LogisticStream:
    """Mean logistic loss of the rows of a round, on a ball: gradients at most 1 long, smoothness 1/4.

    Parameters
    ----------
    rows : array_like, shape (n, d)
        Rows times labels, at most 1 long; see `signed_rows`.
    index : int array, shape (T, S, b)
        See `arrival`.
    radius : float
        Of the ball; 5.

    Attributes
    ----------
    domain : Ball
    n_rounds, n_seeds : int
    G, L : float

    Examples
    --------
    >>> import numpy as np
    >>> from lib.online.sea_omd.study import LogisticStream
    >>> losses = LogisticStream(np.eye(2), np.array([[[0, 1]], [[1, 1]]]))
    >>> losses.gradient(0, np.zeros((1, 2)))
    array([[-0.25, -0.25]])
    """

    G, L = 1.0, 0.25

    def __init__(self, rows: ArrayLike, index: NDArray[np.int64], radius: float = 5.0) -> None:
        one = checks.array("rows", rows, ndim=2).astype(np.float64)
        if np.linalg.norm(one, axis=1).max() > 1.0 + 1e-9:
            raise ValueError("rows must be at most 1 long")
        given = checks.array("index", index, ndim=3, low=0, high=2 * len(one) - 1)
        self.index = given.astype(np.int64)
        if (given != self.index).any():
            raise ValueError("index must hold whole numbers")
        self.rows = np.concatenate([one, -one])
        self.domain = Ball(one.shape[1], checks.positive("radius", radius))
        self.n_rounds, self.n_seeds = self.index.shape[:2]
        self._best: dict[int, tuple[Array, Array]] = {}  # by number of steps

    def gradient(self, t: int, x: Array) -> Array:
        """Gradients of round t at x, shape (..., S, d)."""
        A = self.rows[self.index[t]]
        pull = expit(-np.einsum("sbd,...sd->...sb", A, x))
        return -np.einsum("...sb,sbd->...sd", pull, A) / A.shape[1]

    def losses(self, x: Array) -> Array:
        """The losses of decisions of shape (T, ..., S, d), shape (T, ..., S)."""
        return np.array([
            np.logaddexp(0.0, -np.einsum("sbd,...sd->...sb", self.rows[rows], at)).mean(axis=-1)
            for rows, at in zip(self.index, x, strict=False)
        ])  # fmt: skip

    def best(self, n_steps: int = 150) -> tuple[Array, Array]:
        """The best fixed decisions in hindsight, (S, d), and their total losses, (S,), by accelerated gradient descent."""
        n_steps = checks.integer("n_steps", n_steps, low=1)
        if n_steps not in self._best:
            self._best[n_steps] = self._descend(n_steps)
        x, total = self._best[n_steps]
        return x.copy(), total.copy()

    def _descend(self, n_steps: int) -> tuple[Array, Array]:
        counts = np.array([np.bincount(self.index[:, s].ravel(), minlength=len(self.rows)) for s in range(self.n_seeds)])
        used = np.flatnonzero(counts.sum(axis=0))
        A, weight = self.rows[used], counts[:, used] / self.index.shape[2]
        eta = 4.0 / np.linalg.norm(A.T * weight.max(axis=0) @ A, 2)
        x, before = np.zeros((self.n_seeds, A.shape[1])), np.zeros((self.n_seeds, A.shape[1]))
        for k in range(n_steps):
            y = x + k / (k + 3.0) * (x - before)
            before, x = x, self.domain.project(y + eta * (weight * expit(-y @ A.T)) @ A)
        return x, np.sum(weight * np.logaddexp(0.0, -x @ A.T), axis=1)

    def regret(self, x: Array) -> Array:
        """Regret of decisions of shape (T, ..., S, d) at the end, against the best in hindsight; shape (..., S)."""
        return self.losses(x).sum(axis=0) - self.best()[1]

    def noise_at(self, u: Array) -> Array:
        """Length of a round's gradient noise at u if rows are drawn with replacement from all; u (S, d), result (S,)."""
        n = len(self.rows) // 2
        g = -expit(-u @ self.rows[:n].T)[..., None] * self.rows[:n]
        return np.sqrt(np.sum(g.var(axis=-2), axis=-1) / self.index.shape[2])
