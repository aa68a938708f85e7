"""TOPO as a scikit-learn estimator."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import OptimizeResult
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted, validate_data

from lib import checks
from lib.constrained.topo_swaps.acyclicity import dag_from_weights
from lib.constrained.topo_swaps.columns import ColumnModel, Regression
from lib.constrained.topo_swaps.scores import Order, check_data, check_order
from lib.constrained.topo_swaps.search import Size, Swap, topological_swaps


class TOPO(BaseEstimator):
    """Directed acyclic graph by topological swaps (Deng, Bello, Aragam and Ravikumar, 2023).

    Parameters
    ----------
    size_small, size_large : int, "auto" or "all"
        Candidate swaps per round, and where none of them improves; see `default_sizes`. Authors' demonstration: 100, 400.
    n_large : int
        How often the large set may be used with success (authors: 1).
    swap : {"greedy", "best", "first"}
        See `topological_swaps`.
    loss : "l2" or callable
        Least squares, or ``regression(X_parents, y) -> (loss, strengths)`` (see `ColumnModel`), which sees centered columns
        unless `assume_centered`.
    threshold : float
        Edges below it in absolute weight are left out of ``adjacency_`` and ``edges_`` (authors: 0.3).
    init : "random", "variance", int array of shape (d,) or array of shape (d, d)
        Start: a random order; columns by growing variance; an order; or another method's weights, W[i, j] = edge i -> j,
        whose smallest entries are dropped until no cycle is left.
    n_restarts : int
        Random starts, of which the best is kept; with another ``init``, the further ones are random.
    assume_centered : bool
        Do not remove the column means (least squares warns where they are not small). Binary columns for `logistic_column`
        need it.
    eps : float
        Ridge of the least-squares score, relative to the mean variance, for more columns than rows.
    random_state : int, Generator, RandomState or None

    Attributes
    ----------
    weights_ : array, shape (d, d)
        Regression weights of the best order; W[i, j] = edge i -> j.
    adjacency_ : int array, shape (d, d)
        1 where ``abs(weights_) >= threshold``.
    edges_ : list of (parent, child, weight)
        The edges of ``adjacency_``, strongest first; columns by name where X has names, else by index.
    order_ : int array, shape (d,)
    loss_ : float
        Of the best order, on the data of `fit`.
    mean_ : array, shape (d,)
        What was taken off the columns.
    history_ : dict
        Of the best start; see `topological_swaps`.
    n_evaluations_ : int
        Candidate swaps evaluated, over all starts.
    restarts_ : list of OptimizeResult
        One per start.
    n_features_in_, feature_names_in_
        As everywhere in scikit-learn.

    Raises
    ------
    ValueError
        For NaN, constant columns, d = 1, an ``init`` that is no permutation, or parameters out of range.

    Examples
    --------
    >>> from lib.constrained.topo_swaps import TOPO
    >>> from lib.problems.dags import simulate_sem
    >>> X = simulate_sem([[0, 1.5], [0, 0]], 500, seed=0)
    >>> TOPO(random_state=0).fit(X).adjacency_.tolist()
    [[0, 1], [0, 0]]
    """

    def __init__(
        self,
        size_small: Size = "auto",
        size_large: Size = "auto",
        n_large: int = 1,
        swap: Swap = "greedy",
        loss: str | Regression = "l2",
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
        self.loss = loss
        self.threshold = threshold
        self.init = init
        self.n_restarts = n_restarts
        self.assume_centered = assume_centered
        self.eps = eps
        self.random_state = random_state

    def fit(self, X: npt.ArrayLike, y: None = None) -> TOPO:
        """Find the graph of the columns of X, shape (n, d); ``y`` is ignored."""
        raw = validate_data(self, X, dtype=[np.float64, np.float32], ensure_min_samples=2, ensure_min_features=2)
        n_restarts = checks.integer("n_restarts", self.n_restarts, low=1)
        threshold = checks.number("threshold", self.threshold, low=0)
        rng = checks.generator("random_state", self.random_state)
        data = self._prepared(raw)
        self.mean_ = np.zeros(data.shape[1]) if self.assume_centered else raw.mean(axis=0, dtype=np.float64)
        model, S = self._model(data)
        self.restarts_: list[OptimizeResult] = [
            topological_swaps(S, order, self.size_small, self.size_large, self.n_large, self.swap, eps=self.eps, refit=model)
            for order in self._starts(data, n_restarts, rng)
        ]
        best = min(self.restarts_, key=lambda run: run.fun)
        self.order_, self.loss_, self.weights_, self.history_ = best.order, best.fun, best.weights, best.history
        self.adjacency_ = ((abs(best.weights) >= threshold) & (best.weights != 0)).astype(np.int64)
        self.edges_ = self._named_edges()
        self.n_evaluations_ = sum(run.nfev for run in self.restarts_)
        return self

    def score(self, X: npt.ArrayLike, y: None = None) -> float:
        """Minus the loss of the graph that was found, on data of shape (n, d): higher is better, also on data held out.

        Least squares takes the weights and means of `fit`: ``-||X - X W||^2 / (2n)``. Another loss has no predictions, so its
        regressions are solved anew on X, in the order that was found. ``y`` is ignored.
        """
        check_is_fitted(self)
        data = validate_data(self, X, dtype=np.float64, reset=False) - self.mean_
        if not callable(self.loss):
            return -0.5 * float(np.mean(np.sum((data - data @ self.weights_) ** 2, axis=1)))
        return -ColumnModel(data, self.loss)(self.order_).score

    def _prepared(self, raw: npt.NDArray) -> npt.NDArray:
        """The checked data, centered where asked for; a warning about means only where they matter."""
        if callable(self.loss) and self.assume_centered:
            check_data(raw)
            return raw.astype(np.float64)
        return check_data(raw, self.assume_centered)

    def _model(self, data: npt.NDArray) -> tuple[ColumnModel | None, npt.NDArray | None]:
        if callable(self.loss):
            return ColumnModel(data, self.loss), None
        if not isinstance(self.loss, str) or self.loss != "l2":
            raise ValueError(f"loss must be 'l2' or a callable, got {self.loss!r}")
        return None, data.T @ data / len(data)

    def _starts(self, X: npt.NDArray, n: int, rng: np.random.Generator) -> list[Order]:
        d = X.shape[1]
        if isinstance(self.init, str):
            if self.init not in ("random", "variance"):
                raise ValueError(f"init must be 'random', 'variance', an order or a weight matrix, got {self.init!r}")
            first = rng.permutation(d) if self.init == "random" else np.argsort(X.var(axis=0), kind="stable")
        else:
            start = checks.array("init", self.init)
            if start.ndim == 2 and start.shape != (d, d):
                raise ValueError(f"init as weights must have shape ({d}, {d}), got {start.shape}")
            first = dag_from_weights(start)[1] if start.ndim == 2 else check_order(start, d, "init")
        return [first, *(rng.permutation(d) for _ in range(n - 1))]

    def _named_edges(self) -> list[tuple[Any, Any, float]]:
        names = getattr(self, "feature_names_in_", np.arange(len(self.order_))).tolist()
        pairs = sorted(np.argwhere(self.adjacency_).tolist(), key=lambda pair: -abs(self.weights_[tuple(pair)]))
        return [(names[i], names[j], float(self.weights_[i, j])) for i, j in pairs]
