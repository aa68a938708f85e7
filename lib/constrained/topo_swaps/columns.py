"""Models other than least squares in the same search: one regression per node, kept by (node, set of predecessors)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from lib import checks
from lib.constrained.topo_swaps.scores import Array, Order, check_data, check_order, positions, swapped

#: (X_parents (n, p), y (n,)) -> (loss, strength of each parent (p,)); p may be 0.
Regression = Callable[[Array, Array], tuple[float, Array]]


@dataclass
class ColumnModel:
    """A score that sums one regression loss per node: what `topological_swaps` takes as ``refit``.

    A swap refits only the nodes at positions a .. b. Regressions are kept: a set of predecessors seen before costs nothing.

    Parameters
    ----------
    X : array, shape (n, d)
        Finite, n >= 2, d >= 2, no constant column. The regressions see copies of these columns as they are, means included.
    regression : callable
        ``regression(X_parents, y)`` -> loss and one strength per parent (0 where it has no effect), such as
        `logistic_column`.

    Raises
    ------
    ValueError
        For other data, or where a regression returns another number of strengths, or a loss or strength that is not finite.

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
        check_data(self.X)
        self.X = np.array(self.X, dtype=np.float64)
        checks.function("regression", self.regression)

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
            loss, strength = self.regression(self.X[:, parents], self.X[:, node].copy())
            if np.shape(strength) != parents.shape:
                raise ValueError(f"the regression must return {len(parents)} strengths, got shape {np.shape(strength)}")
            loss = checks.number(f"the regression's loss of node {node}", loss)
            strength = checks.array(f"the regression's strengths for node {node}", strength, empty=True)
            column = np.zeros(self.X.shape[1])
            column[parents] = strength
            self._kept[key] = (loss, column)
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
        pairs = zip(positions("a", a), positions("b", b), strict=True)
        return np.array([self._losses(swapped(self.order, i, j), i, j) - self._losses(self.order, i, j) for i, j in pairs])


def logistic_column(X: npt.ArrayLike, y: npt.ArrayLike, C: float = 0.1) -> tuple[float, Array]:
    """Logistic regression with an l1 penalty (authors' code: liblinear, C = 0.1): mean loss plus penalty / (C n), ``|coef|``.

    Without intercept, as in the authors' code: a node without parents has probability one half.

    Parameters
    ----------
    X : array, shape (n, p)
        The parents; p may be 0 (empty).
    y : array, shape (n,)
        0 or 1, both of them present.
    C : float
        Inverse weight of the penalty, positive.

    Raises
    ------
    ValueError
        If y holds anything but both values 0 and 1.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.constrained.topo_swaps import logistic_column
    >>> loss, strength = logistic_column(np.array([[0.0], [0.0], [1.0], [1.0]]), np.array([0.0, 1.0, 1.0, 1.0]), C=0.1)
    >>> round(loss, 4), strength.tolist()
    (0.6931, [0.0])
    """
    y, C = checks.array("y", y, ndim=1), checks.positive("C", C)
    X = checks.array("X", X, shape=(len(y), None), empty=True)
    if not np.array_equal(np.unique(y), [0.0, 1.0]):
        raise ValueError(f"y must hold both values 0 and 1 and no other (not centered), got {checks.shown(np.unique(y)[:5])}")
    if not X.shape[1]:
        return float(np.log(2.0)), np.empty(0)  # no intercept: probability one half
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(**_l1(), C=C, solver="liblinear", fit_intercept=False, tol=1e-4, random_state=0)
    coef = model.fit(X, y).coef_[0]
    margin = np.where(y > 0, 1.0, -1.0) * (X @ coef)
    return float(np.logaddexp(0.0, -margin).mean() + abs(coef).sum() / (C * len(y))), abs(coef)


def _l1() -> dict[str, float | str]:
    """The l1 penalty in the words of the installed scikit-learn: before 1.8, ``l1_ratio`` alone silently means l2."""
    import sklearn

    version = tuple(int(part) for part in sklearn.__version__.split(".")[:2])
    return {"l1_ratio": 1.0} if version >= (1, 8) else {"penalty": "l1"}
