"""Models other than least squares in the same search: one regression per node, kept by (node, set of predecessors)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from lib.constrained.topo_swaps.scores import Array, Order, check_order, swapped

#: (X_parents (n, p), y (n,)) -> (loss, strength of each parent (p,)); p may be 0.
Regression = Callable[[Array, Array], tuple[float, Array]]


@dataclass
class ColumnModel:
    """A score that sums one regression loss per node: what `topological_swaps` takes as ``refit``.

    A swap refits only the nodes at positions a .. b. Regressions are kept: a set of predecessors seen before costs nothing.

    Parameters
    ----------
    X : array, shape (n, d)
    regression : callable
        ``regression(X_parents, y)`` -> loss and one strength per parent (0 where it has no effect), for example
        `logistic_column` or `fourier_column`.

    Raises
    ------
    ValueError
        If X is not a finite matrix with d >= 2 columns, or a regression returns another number of strengths.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.constrained import topo_swaps
    >>> X = np.array([[0.0, 0.1], [1.0, 1.9], [2.0, 4.2]])
    >>> model = topo_swaps.ColumnModel(X, lambda A, y: (float(np.var(y)) if not A.size else 0.0, np.ones(A.shape[1])))
    >>> topo_swaps.topological_swaps(None, [1, 0], refit=model).order.tolist()
    [0, 1]
    """

    X: Array
    regression: Regression
    _kept: dict[tuple[int, frozenset[int]], tuple[float, Array]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self.X = np.asarray(self.X, dtype=np.float64)
        if self.X.ndim != 2 or self.X.shape[1] < 2 or not np.all(np.isfinite(self.X)):
            raise ValueError(f"X must be finite, shape (n, d) with d >= 2, got shape {self.X.shape}")

    @property
    def n_regressions(self) -> int:
        """Regressions solved so far."""
        return len(self._kept)

    def __call__(self, order: npt.ArrayLike) -> ColumnFit:
        """All regressions of an order."""
        return ColumnFit(self, check_order(order, self.X.shape[1]))

    def column(self, node: int, before: Order) -> tuple[float, Array]:
        """Loss and column of W of a node regressed on the nodes before it."""
        parents = np.sort(before)
        key = (int(node), frozenset(parents.tolist()))
        if key not in self._kept:
            loss, strength = self.regression(self.X[:, parents], self.X[:, node])
            if np.shape(strength) != parents.shape:
                raise ValueError(f"the regression must return {len(parents)} strengths, got shape {np.shape(strength)}")
            column = np.zeros(self.X.shape[1])
            column[parents] = strength
            self._kept[key] = (float(loss), column)
        return self._kept[key]


@dataclass(frozen=True)
class ColumnFit:
    """A `ColumnModel` at one order: its score, weights and swap changes, from the regressions that the model keeps.

    Attributes
    ----------
    model : ColumnModel
    order : int array, shape (d,)
    """

    model: ColumnModel
    order: Order

    def _losses(self, order: Order, a: int, b: int) -> float:
        return sum(self.model.column(order[k], order[:k])[0] for k in range(a, b + 1))

    @property
    def score(self) -> float:
        """Sum of the losses."""
        return self._losses(self.order, 0, len(self.order) - 1)

    @property
    def weights(self) -> Array:
        """W with the strength of parent i in the regression of j at (i, j), shape (d, d)."""
        W = np.zeros((len(self.order),) * 2)
        for k, node in enumerate(self.order):
            W[:, node] = self.model.column(node, self.order[:k])[1]
        return W

    def swap_changes(self, a: npt.ArrayLike, b: npt.ArrayLike) -> Array:
        """Change of the score by each swap: the nodes at positions a .. b are regressed again."""
        pairs = zip(np.atleast_1d(a), np.atleast_1d(b), strict=True)
        return np.array([self._losses(swapped(self.order, i, j), i, j) - self._losses(self.order, i, j) for i, j in pairs])


def logistic_column(X: Array, y: Array, C: float = 0.1) -> tuple[float, Array]:
    """Logistic regression with an l1 penalty (authors' code: liblinear, C = 0.1): mean loss plus penalty / (C n), ``|coef|``.

    Parameters
    ----------
    X : array, shape (n, p)
    y : array, shape (n,)
        0 or 1.
    C : float
        Inverse weight of the penalty.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.constrained.topo_swaps import logistic_column
    >>> round(logistic_column(np.empty((4, 0)), np.array([0.0, 1.0, 0.0, 1.0]))[0], 4)
    0.6931
    """
    if not X.shape[1]:
        return float(np.log(2.0)), np.empty(0)  # no intercept: probability one half
    if len(np.unique(y)) < 2:
        raise ValueError("a logistic column needs both values 0 and 1")
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(l1_ratio=1.0, C=C, solver="liblinear", fit_intercept=False, tol=1e-4, random_state=0)
    coef = model.fit(X, y).coef_[0]
    margin = np.where(y > 0, 1.0, -1.0) * (X @ coef)
    return float(np.logaddexp(0.0, -margin).mean() + abs(coef).sum() / (C * len(y))), abs(coef)


@dataclass(frozen=True)
class FourierColumn:
    """Ridge regression on random Fourier features of each parent, summed over parents: a smooth additive model.

    It stands in for the authors' networks where those would take minutes. The strength of a parent is the standard deviation
    of its term.

    Parameters
    ----------
    n_features : int
        Cosines per parent.
    ridge : float
        Penalty per sample.
    length : float
        Length scale of the features, in standard deviations of a parent.
    seed : int
        Of the features, the same for every regression.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.constrained.topo_swaps import FourierColumn
    >>> x = np.linspace(-2, 2, 200)[:, None]
    >>> FourierColumn()(x, np.sin(2 * x[:, 0]))[0] < 0.1
    True
    """

    n_features: int = 32
    ridge: float = 1e-3
    length: float = 1.0
    seed: int = 0

    def features(self, X: Array) -> Array:
        """Centered features, shape (n, p, n_features)."""
        rng = np.random.default_rng(self.seed)
        frequency, phase = rng.normal(0, 1 / self.length, self.n_features), rng.uniform(0, 2 * np.pi, self.n_features)
        scaled = (X - X.mean(axis=0)) / X.std(axis=0)
        cosines = np.cos(scaled[:, :, None] * frequency + phase) * np.sqrt(2 / self.n_features)
        return cosines - cosines.mean(axis=0)

    def __call__(self, X: Array, y: Array) -> tuple[float, Array]:
        """Half the mean squared residual plus the penalty, and the strength of each parent, shape (p,)."""
        y = y - y.mean()
        if not X.shape[1]:
            return 0.5 * float(np.mean(y * y)), np.empty(0)
        features = self.features(X)
        flat = features.reshape(len(X), -1)
        gram = flat.T @ flat / len(X) + self.ridge * np.eye(flat.shape[1])
        beta = np.linalg.solve(gram, flat.T @ y / len(X))
        terms = np.einsum("npf,pf->np", features, beta.reshape(features.shape[1:]))
        residual = y - terms.sum(axis=1)
        return 0.5 * float(np.mean(residual**2) + self.ridge * beta @ beta), terms.std(axis=0)
