"""The evaluation of a swap in its published form, kept apart from ours: regressions on the data, a column at a time."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from lib.constrained.topo_swaps.scores import Array, Order, check_data, check_order, positions, swapped


@dataclass
class PublishedModel:
    """Least squares as the authors' code computes it: what `topological_swaps` takes as ``refit`` in place of S.

    A swap of positions a < b regresses the columns at a .. b anew with scikit-learn, on all n rows. The same orders and scores
    as from S, at another price.

    Parameters
    ----------
    X : array, shape (n, d)

    Examples
    --------
    >>> import numpy as np
    >>> from lib.constrained import topo_swaps
    >>> from lib.constrained.topo_swaps import study
    >>> X = np.array([[-1.0, -2.5], [0.0, 0.5], [1.0, 2.0]])
    >>> found = topo_swaps.topological_swaps(None, [1, 0], refit=study.PublishedModel(X))
    >>> found.order.tolist()
    [0, 1]
    """

    X: Array

    def __post_init__(self) -> None:
        self.X = check_data(self.X)

    def __call__(self, order: npt.ArrayLike) -> PublishedFit:
        """The regressions of an order."""
        return PublishedFit(self.X, check_order(order, self.X.shape[1]))


@dataclass(frozen=True)
class PublishedFit:
    """One order: its score, weights and swap changes by regressions on the data."""

    X: Array
    order: Order

    def _column(self, order: Order, k: int) -> tuple[float, Array]:
        from sklearn.linear_model import LinearRegression

        y = self.X[:, order[k]]
        if not k:
            return 0.5 * float(np.mean(y * y)), np.empty(0)
        parents = self.X[:, order[:k]]
        coef = LinearRegression(fit_intercept=False).fit(parents, y).coef_
        return 0.5 * float(np.mean((y - parents @ coef) ** 2)), coef

    @cached_property
    def _columns(self) -> list[tuple[float, Array]]:
        return [self._column(self.order, k) for k in range(len(self.order))]

    @property
    def score(self) -> float:
        """Sum of the halved residual variances."""
        return sum(loss for loss, _ in self._columns)

    @property
    def weights(self) -> Array:
        """W, shape (d, d)."""
        W = np.zeros((len(self.order),) * 2)
        for k, (_, coef) in enumerate(self._columns):
            W[self.order[:k], self.order[k]] = coef
        return W

    def swap_changes(self, a: npt.ArrayLike, b: npt.ArrayLike) -> Array:
        """Change of the score by each swap."""
        changes = []
        for i, j in zip(positions("a", a), positions("b", b), strict=True):
            order = swapped(self.order, i, j)
            changes.append(sum(self._column(order, k)[0] - self._columns[k][0] for k in range(i, j + 1)))
        return np.array(changes)
