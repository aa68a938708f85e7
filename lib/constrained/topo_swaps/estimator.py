"""TOPO as a scikit-learn estimator."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import OptimizeResult
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import validate_data

from lib.constrained.topo_swaps.acyclicity import dag_from_weights
from lib.constrained.topo_swaps.columns import ColumnModel, Regression
from lib.constrained.topo_swaps.scores import Order, check_data, check_order, positive_integer
from lib.constrained.topo_swaps.search import Swap, topological_swaps


class TOPO(BaseEstimator):
    """Directed acyclic graph by topological swaps (Deng, Bello, Aragam and Ravikumar, 2023).

    Parameters
    ----------
    size_small, size_large : int or "auto"
        Candidate swaps per round, and where none of them improves; see `default_sizes`. Authors' demonstration: 100, 400.
    n_large : int
        How often the large set may be used with success (authors: 1).
    swap : {"greedy", "best", "first"}
        See `topological_swaps`.
    score : "l2" or callable
        Least squares, or ``regression(X_parents, y) -> (loss, strengths)`` (see `ColumnModel`).
    threshold : float
        Edges below it in absolute weight are left out of ``adjacency_`` (authors: 0.3).
    init : "random", "variance", int array of shape (d,) or array of shape (d, d)
        Start: a random order; columns by growing variance; an order; or another method's weights, W[i, j] = edge i -> j,
        whose smallest entries are dropped until no cycle is left.
    n_restarts : int
        Random starts, of which the best is kept; with another ``init``, the further ones are random.
    assume_centered : bool
        Do not remove the column means (warns where they are not small).
    eps : float
        Ridge, relative to the mean variance, for more columns than rows.
    random_state : int, RandomState or None

    Attributes
    ----------
    weights_ : array, shape (d, d)
        Regression weights of the best order; W[i, j] = edge i -> j.
    adjacency_ : int array, shape (d, d)
        1 where ``abs(weights_) >= threshold``.
    order_ : int array, shape (d,)
    score_ : float
    history_ : dict
        Of the best start; see `topological_swaps`.
    n_evaluations_ : int
        Candidate swaps evaluated, over all starts.
    restarts_ : list of OptimizeResult
        One per start.
    n_features_in_ : int

    Raises
    ------
    ValueError
        For NaN, constant columns, d = 1, an ``init`` that is no permutation, or parameters out of range.

    Examples
    --------
    >>> from lib.constrained.topo_swaps import TOPO, simulate_sem
    >>> X = simulate_sem([[0, 1.5], [0, 0]], 500, seed=0)
    >>> TOPO(random_state=0).fit(X).adjacency_.tolist()
    [[0, 1], [0, 0]]
    """

    def __init__(
        self,
        size_small: int | str = "auto",
        size_large: int | str = "auto",
        n_large: int = 1,
        swap: Swap = "greedy",
        score: str | Regression = "l2",
        threshold: float = 0.3,
        init: Any = "random",
        n_restarts: int = 1,
        assume_centered: bool = False,
        eps: float = 0.0,
        random_state: Any = None,
    ) -> None:
        self.size_small = size_small
        self.size_large = size_large
        self.n_large = n_large
        self.swap = swap
        self.score = score
        self.threshold = threshold
        self.init = init
        self.n_restarts = n_restarts
        self.assume_centered = assume_centered
        self.eps = eps
        self.random_state = random_state

    def fit(self, X: npt.ArrayLike, y: None = None) -> TOPO:
        """Find the graph of the columns of X, shape (n, d); ``y`` is ignored."""
        raw = validate_data(self, X, dtype=np.float64, ensure_min_samples=2, ensure_min_features=2)
        n_restarts = positive_integer(self.n_restarts, "n_restarts")
        if not self.threshold >= 0:
            raise ValueError(f"threshold must not be negative, got {self.threshold}")
        if callable(self.score):
            model, S = ColumnModel(raw, self.score), None
        elif isinstance(self.score, str) and self.score == "l2":
            centered = check_data(raw, self.assume_centered)
            model, S = None, centered.T @ centered / len(centered)
        else:
            raise ValueError(f"score must be 'l2' or a callable, got {self.score!r}")
        small, large = _size(self.size_small), _size(self.size_large)
        rng = check_random_state(self.random_state)
        self.restarts_: list[OptimizeResult] = [
            topological_swaps(S, order, small, large, self.n_large, self.swap, eps=self.eps, refit=model)
            for order in self._starts(raw, n_restarts, rng)
        ]
        best = min(self.restarts_, key=lambda run: run.fun)
        self.order_, self.score_, self.weights_, self.history_ = best.order, best.fun, best.weights, best.history
        self.adjacency_ = ((abs(best.weights) >= self.threshold) & (best.weights != 0)).astype(np.int64)
        self.n_evaluations_ = sum(run.nfev for run in self.restarts_)
        return self

    def _starts(self, X: npt.NDArray, n: int, rng: np.random.RandomState) -> list[Order]:
        d = X.shape[1]
        if isinstance(self.init, str):
            if self.init not in ("random", "variance"):
                raise ValueError(f"init must be 'random', 'variance', an order or a weight matrix, got {self.init!r}")
            first = rng.permutation(d) if self.init == "random" else np.argsort(X.var(axis=0), kind="stable")
        elif np.ndim(self.init) == 2:
            if np.shape(self.init) != (d, d):
                raise ValueError(f"init as weights must have shape ({d}, {d}), got {np.shape(self.init)}")
            first = dag_from_weights(self.init)[1]
        else:
            first = check_order(self.init, d)
        return [first, *(rng.permutation(d) for _ in range(n - 1))]


def _size(value: Any) -> int | None:
    return None if isinstance(value, str) and value == "auto" else value
