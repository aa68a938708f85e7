"""Searches over orders that the chapter compares with TOPO: random pairs with redraws, and insertions instead of swaps."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import OptimizeResult

from lib import checks
from lib.constrained.topo_swaps.scores import Array, Order, OrderFit, check_moments, check_order, swapped
from lib.constrained.topo_swaps.search import disjoint_swaps

#: A move improves if it lowers the score by more than this share of it, as in `topological_swaps`.
_TOL = 1e-12


def random_pair_search(S: npt.ArrayLike, order: npt.ArrayLike, size: int, redraws: int = 1, seed: Any = None) -> OptimizeResult:
    """The search of TOPO with pairs drawn at random instead of by the gradient: the ablation of the candidate sets.

    Each round draws `size` pairs and makes the improving swaps on disjoint intervals, best first. A draw without an
    improvement is followed by another; after `redraws` of them in a row the search ends.

    Parameters
    ----------
    S : array, shape (d, d)
        Second moments, positive definite.
    order : int array, shape (d,)
        The start.
    size : int
        Pairs per draw, clipped to all.
    redraws : int
        Draws in a row without an improvement that end the search, at least 1.
    seed : int, Generator or SeedSequence, optional

    Returns
    -------
    OptimizeResult
        ``order``, ``fun``, ``nit``, ``nfev``, ``history`` with lists ``score`` and ``evaluations``.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.constrained.topo_swaps import study
    >>> study.random_pair_search(np.array([[1.0, 2.0], [2.0, 5.0]]), np.array([1, 0]), size=1, redraws=1, seed=0).fun
    1.0
    """
    S = check_moments(S)
    size, redraws = checks.integer("size", size, low=1), checks.integer("redraws", redraws, low=1)
    rng = checks.generator("seed", seed)
    later, earlier = np.tril_indices(len(S), -1)

    def moves(fit: OrderFit) -> tuple[Order, Order, Array]:
        some = rng.permutation(len(later))[:size]
        return earlier[some], later[some], fit.swap_changes(earlier[some], later[some])

    return _descend(S, check_order(order, len(S)), moves, swapped, redraws)


def insertion_changes(fit: OrderFit) -> Array:
    """Change of the score by taking the node at position i out and putting it at position j, for all pairs; O(d^2) in all.

    Parameters
    ----------
    fit : OrderFit

    Returns
    -------
    array, shape (d, d)
        Entry (i, j); zero on the diagonal.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.constrained.topo_swaps import OrderFit, study
    >>> fit = OrderFit.of(np.array([[1.0, 2.0], [2.0, 5.0]]), np.array([1, 0]))
    >>> study.insertion_changes(fit).round(6).tolist()
    [[0.0, -1.6], [-1.6, 0.0]]
    """
    if not isinstance(fit, OrderFit):
        raise TypeError(f"fit must be an OrderFit, got {checks.shown(fit)}")
    d, pivots = len(fit.order), fit.pivots
    _, t, grow, _ = fit._updates
    # To the right, i < j: the nodes between lose x_i, which gains them.
    lost = np.cumsum(np.triu(pivots * (grow**2 - 1), 1), axis=1)
    right = np.triu(lost + pivots[:, None] * (1 / t - 1), 1)
    # To the left, j < i: the nodes between gain x_i, which loses them; tau[i, k] is the variance of x_i given those before k.
    squares = np.tril(fit.L**2)
    tau = np.cumsum(squares[:, ::-1], axis=1)[:, ::-1]
    below = np.tri(d, k=-1, dtype=bool)
    following = np.hstack([tau[:, 1:], np.zeros((d, 1))])
    shrink = np.divide(following, tau, out=np.ones_like(tau), where=below) - 1
    gained = np.cumsum((np.where(below, shrink * pivots, 0.0))[:, ::-1], axis=1)[:, ::-1]
    left = np.where(below, gained + tau - pivots[:, None], 0.0)
    return 0.5 * (right + left)


def inserted(order: npt.ArrayLike, i: int, j: int) -> Order:
    """The order with the node at position i taken out and put at position j.

    Parameters
    ----------
    order : int array, shape (d,)
    i, j : int
        Positions, 0 .. d - 1.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.constrained.topo_swaps import study
    >>> study.inserted(np.array([2, 0, 1]), 0, 2).tolist()
    [0, 1, 2]
    """
    order = check_order(order)
    i, j = (checks.integer(name, k, low=0, high=len(order) - 1) for name, k in (("i", i), ("j", j)))
    return np.insert(np.delete(order, i), j, order[i])


def insertion_search(S: npt.ArrayLike, order: npt.ArrayLike) -> OptimizeResult:
    """The same greedy search with insertions: every round looks at all d (d - 1) of them.

    Parameters
    ----------
    S : array, shape (d, d)
        Second moments, positive definite.
    order : int array, shape (d,)
        The start.

    Returns
    -------
    OptimizeResult
        As of `random_pair_search`.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.constrained.topo_swaps import study
    >>> study.insertion_search(np.array([[1.0, 2.0], [2.0, 5.0]]), np.array([1, 0])).fun
    1.0
    """
    S = check_moments(S)
    i, j = np.nonzero(~np.eye(len(S), dtype=bool))
    return _descend(S, check_order(order, len(S)), lambda fit: (i, j, insertion_changes(fit)[i, j]), inserted, 1)


def _descend(S: Array, order: Order, moves: Any, apply: Any, redraws: int) -> OptimizeResult:
    fit, evaluations, idle = OrderFit.checked(S, order), 0, 0
    history: dict[str, list] = {"score": [fit.score], "evaluations": [0]}
    while idle < redraws:
        a, b, changes = moves(fit)
        evaluations += len(a)
        changes = np.where(changes < -_TOL * fit.score, changes, 0.0)
        order = fit.order
        for index in disjoint_swaps(np.minimum(a, b), np.maximum(a, b), changes):
            order = apply(order, int(a[index]), int(b[index]))
        new = OrderFit.checked(S, order)
        if not new.score < fit.score:
            idle += 1
            continue
        fit, idle = new, 0
        history["score"].append(fit.score)
        history["evaluations"].append(evaluations)
    message = "no move that was looked at improves the score"
    return OptimizeResult(
        x=fit.order, order=fit.order, fun=fit.score, nit=len(history["score"]) - 1, nfev=evaluations, success=True,
        message=message, history=history,
    )  # fmt: skip
