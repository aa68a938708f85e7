"""Instances of the paper's simulation, and how a method's result is judged on one."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from lib import checks
from lib.constrained.topo_swaps.acyclicity import dag_from_weights, kkt_violation
from lib.constrained.topo_swaps.scores import Array, Order, order_score, order_weights, score_and_gradient, second_moments
from lib.problems.dags import shd, simulate_dag, simulate_sem, simulate_weights, topological_order


@dataclass(frozen=True)
class Instance:
    """A true DAG and data from it.

    Attributes
    ----------
    W : array, shape (d, d)
        True weights.
    X : array, shape (n, d)
    S : array, shape (d, d)
        Second moments of the centered data.
    order : int array, shape (d,)
        A true topological order.
    score : float
        The order's score on the data: what `gap` is measured from.
    threshold : float
        Below it an estimated weight is no edge.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.constrained.topo_swaps.study import Instance
    >>> inst = Instance.of(np.array([[0, 2.0], [0, 0]]), np.array([[-1.0, -2.5], [0.0, 0.5], [1.0, 2.0]]))
    >>> inst.gap([0, 1]), inst.gap([1, 0]) > 0
    (0.0, True)
    """

    W: Array
    X: Array
    S: Array
    order: Order
    score: float
    threshold: float = 0.3

    @classmethod
    def of(cls, W: Array, X: Array) -> Instance:
        """From true weights (d, d) and data (n, d)."""
        S, order = second_moments(X), topological_order(W)
        return cls(W, X, S, order, order_score(S, order))

    def gap(self, order: npt.ArrayLike) -> float:
        """Score of an order minus that of the true order."""
        return order_score(self.S, order) - self.score

    def distance(self, W: npt.ArrayLike) -> int:
        """SHD between the edges of absolute weight >= threshold and the true ones."""
        return shd(abs(np.asarray(W)) >= self.threshold, self.W)

    def judge(self, W: npt.ArrayLike) -> dict[str, float]:
        """Of a method's weights, perhaps with small cycles: ``gap`` of the order they imply, ``shd``, KKT violations.

        Cycles are cut at their smallest entries (`dag_from_weights`); what is left is refit on its order for ``gap``, and
        judged as it is for ``kkt_full``. ``shd`` and ``kkt`` are those of the entries of at least `threshold`, the form in
        which such methods are published; dropping entries violates the KKT condition by itself, for any method.
        """
        D, order, _ = dag_from_weights(W)
        published = dag_from_weights(W, self.threshold)[0]
        return {
            "gap": self.gap(order),
            "shd": self.distance(published),
            "kkt": self._violation(published),
            "kkt_full": self._violation(D),
        }

    def judge_order(self, order: npt.ArrayLike) -> dict[str, float]:
        """The same for an order with its regression weights, of which ``kkt`` sees all, like ``kkt_full``."""
        W = order_weights(self.S, order)
        violation = self._violation(W)
        return {"gap": self.gap(order), "shd": self.distance(W), "kkt": violation, "kkt_full": violation}

    def _violation(self, W: Array) -> float:
        return kkt_violation(W, score_and_gradient(self.S, W)[1])


def parse_family(family: str) -> tuple[Literal["ER", "SF"], int, int]:
    """(kind, k, d) of a name such as ``"ER4-50"``: Erdős–Rényi, 4 edges per node, 50 nodes; ValueError for another form.

    Examples
    --------
    >>> from lib.constrained.topo_swaps.study import parse_family
    >>> parse_family("SF4-50")
    ('SF', 4, 50)
    """
    match = re.fullmatch(r"(ER|SF)(\d+)-(\d+)", family) if isinstance(family, str) else None
    if match is None:
        raise ValueError(f"a family is named like 'ER4-50' (kind, edges per node, nodes), got {family!r}")
    kind: Literal["ER", "SF"] = "ER" if match[1] == "ER" else "SF"
    return kind, int(match[2]), int(match[3])


def draw_instance(
    rng: Callable[..., np.random.Generator], family: str, index: int = 0, n: int = 1000, scales: npt.ArrayLike = 1.0
) -> Instance:
    """An instance of the paper's simulation: k d edges, weights ±[0.5, 2], standard normal noise, n = 1000.

    Parameters
    ----------
    rng : callable
        ``rng(*axes)`` -> a Generator of its own for these axes, such as ``Config.rng`` of a chapter's run.
    family : str
        See `parse_family`.
    index : int
        Which of the family's instances.
    n : int
        Samples, at least 2.
    scales : float or array, shape (d,)
        Standard deviations of the noise; the graph, weights and standardized noise do not depend on them.

    Raises
    ------
    ValueError
        For a name of another form, or numbers out of range.

    Examples
    --------
    >>> from lib.constrained.topo_swaps.study import draw_instance
    >>> from lib.experiment import rng
    >>> draw_instance(lambda *axes: rng(0, *axes), "ER1-5", index=0, n=1000, scales=1.0).X.shape
    (1000, 5)
    """
    kind, k, d = parse_family(family)
    checks.function("rng", rng)
    index = checks.integer("index", index, low=0)
    n, axes = checks.integer("n", n, low=2), (family, index)
    W = simulate_weights(simulate_dag(d, k * d, kind, rng("graph", *axes)), seed=rng("weights", *axes))
    return Instance.of(W, simulate_sem(W, n, scales=scales, seed=rng("noise", *axes)))
