"""TOPO: search over topological orders by swaps that the gradient of the acyclicity function proposes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt
from scipy.linalg.lapack import dtrtri
from scipy.optimize import OptimizeResult

from lib.constrained.topo_swaps.acyclicity import candidate_pairs
from lib.constrained.topo_swaps.scores import Array, Order, OrderFit, check_moments, check_order, positive_integer, swapped

Swap = Literal["greedy", "best", "first"]
Select = Literal["gradient", "random"]
Pairs = npt.NDArray[np.intp]


class Fit(Protocol):
    """What the search needs to know about one order."""

    @property
    def order(self) -> Order: ...
    @property
    def score(self) -> float: ...
    @property
    def weights(self) -> Array: ...
    def swap_changes(self, a: npt.ArrayLike, b: npt.ArrayLike) -> Array:
        """Change of the score by exchanging the nodes at positions a < b, shape of a."""


def default_sizes(d: int) -> tuple[int, int]:
    """(s_small, s_large) where none are given: max(100, d^2 / 20) and four times that, at most all d (d - 1) / 2 pairs.

    The authors' demonstration has (100, 400) at d = 30. Where swaps cost as little as they do here, ``d * d`` (all pairs)
    for both is the better choice.

    Examples
    --------
    >>> from lib.constrained import topo_swaps
    >>> topo_swaps.default_sizes(30), topo_swaps.default_sizes(100)
    ((100, 400), (500, 2000))
    """
    pairs = d * (d - 1) // 2
    small = min(max(100, d * d // 20), pairs)
    return small, min(4 * small, pairs)


def path_weights(W: Array, order: Order) -> Array:
    """``∇h(|W|) = (I - |W|)^{-T}`` of weights that respect an order: entry (i, j) sums the paths from j to i; shape (d, d)."""
    upper = abs(W[np.ix_(order, order)])
    inverse, _ = dtrtri(np.eye(len(W)) - upper.T, lower=1, unitdiag=1)
    G = np.empty_like(inverse)
    G[np.ix_(order, order)] = np.tril(inverse)
    return G


def disjoint_swaps(a: Pairs, b: Pairs, changes: Array) -> Pairs:
    """Greedy choice among improving swaps: best first, each whose positions a .. b meet none chosen before.

    The score is a sum over nodes, and a node's term depends on the *set* of its predecessors only, so swaps on disjoint
    intervals add up exactly.

    Returns
    -------
    int array
        Indices of the chosen swaps, best first; only those with a negative change.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.constrained.topo_swaps import disjoint_swaps
    >>> disjoint_swaps(np.array([0, 1, 3]), np.array([2, 3, 4]), np.array([-1.0, -3.0, -2.0])).tolist()
    [1]
    """
    chosen: list[int] = []
    busy = np.zeros(int(b.max(initial=0)) + 1, dtype=bool)
    for index in np.argsort(changes, kind="stable"):
        if changes[index] >= 0:
            break
        where = slice(a[index], b[index] + 1)
        if not busy[where].any():
            busy[where] = True
            chosen.append(int(index))
    return np.array(chosen, dtype=np.intp)


@dataclass
class _Search:
    """One run's settings and counters."""

    refit: Callable[[Order], Fit]
    swap: Swap
    select: Select
    rng: np.random.Generator
    tol: float
    evaluations: int = 0

    def proposals(self, fit: Fit, size: int, skip: int = 0) -> tuple[Pairs, Pairs]:
        """Positions a < b of the candidate swaps, most promising first, without the first `skip` of them."""
        d = len(fit.order)
        if self.select == "random":
            later, earlier = np.tril_indices(d, -1)
            some = self.rng.permutation(len(later))[skip:size]
            return earlier[some], later[some]
        pairs = candidate_pairs(path_weights(fit.weights, fit.order), fit.order, size)[skip:]
        place = np.empty(d, dtype=np.intp)
        place[fit.order] = np.arange(d)
        return place[pairs[:, 1]], place[pairs[:, 0]]

    def step(self, fit: Fit, a: Pairs, b: Pairs) -> tuple[Fit, int]:
        """The order after this round's swaps and how many were made (0: none of the candidates improves)."""
        if self.swap == "first":
            chosen, changes = self._first(fit, a, b)
        else:
            self.evaluations += len(a)
            changes = fit.swap_changes(a, b)
            changes = np.where(changes < -self.tol * (1 + abs(fit.score)), changes, 0.0)
            chosen = disjoint_swaps(a, b, changes)
            chosen = chosen[:1] if self.swap == "best" else chosen
        order = fit.order
        for index in chosen:
            order = swapped(order, int(a[index]), int(b[index]))
        new = self.refit(order) if len(chosen) else fit
        return (new, len(chosen)) if new.score < fit.score else (fit, 0)

    def _first(self, fit: Fit, a: Pairs, b: Pairs) -> tuple[Pairs, Array]:
        """The first improving candidate; candidates are evaluated in blocks, counted one by one."""
        for start in range(0, len(a), 64):
            changes = fit.swap_changes(a[start : start + 64], b[start : start + 64])
            better = np.flatnonzero(changes < -self.tol * (1 + abs(fit.score)))
            if len(better):
                self.evaluations += int(better[0]) + 1
                return better[:1] + start, changes
            self.evaluations += len(changes)
        return np.empty(0, dtype=np.intp), np.empty(0)


def topological_swaps(
    S: npt.ArrayLike | None,
    order: npt.ArrayLike,
    size_small: int | None = None,
    size_large: int | None = None,
    n_large: int = 1,
    swap: Swap = "greedy",
    select: Select = "gradient",
    max_rounds: int = 10_000,
    tol: float = 1e-12,
    eps: float = 0.0,
    seed: int | np.random.Generator | None = None,
    refit: Callable[[Order], Fit] | None = None,
) -> OptimizeResult:
    """Swap pairs of nodes of an order until no candidate swap lowers the score (TOPO).

    Each round evaluates the swaps of the small candidate set; where none improves, those that the large set adds, at most
    ``n_large`` times with success. The score falls strictly from round to round, so the search ends.

    Parameters
    ----------
    S : array, shape (d, d)
        Second moments X'X / n for the least-squares score; None if `refit` is given.
    order : int array, shape (d,)
        The start, parents first: random, or taken from another method's graph.
    size_small, size_large : int, optional
        s_small and s_large, pairs per set; defaults of `default_sizes`, clipped to all pairs. Paper's demonstration: 100, 400.
    n_large : int
        How often the large set may be used with success. Authors' code: 1.
    swap : {"greedy", "best", "first"}
        All improving swaps on disjoint intervals, best first (authors' linear code); the best one (the paper's basic form);
        the first that improves (authors' code for networks).
    select : {"gradient", "random"}
        Candidates by smallest [∇h]_ij, or, for comparison, as many forbidden pairs drawn at random.
    max_rounds : int
    tol : float
        A swap improves if it lowers the score by more than ``tol * (1 + score)``: above rounding.
    eps : float
        Ridge, relative to the mean variance, for S that is not positive definite.
    seed : int or Generator, optional
        Of ``select="random"``.
    refit : callable, optional
        ``refit(order)`` gives a `Fit` of any other model whose score is a sum over nodes (see `ColumnModel`).

    Returns
    -------
    OptimizeResult
        ``order``, ``x`` (the same), ``fun`` (score), ``weights`` (d, d), ``nit`` (rounds with a swap), ``nfev`` (candidate
        swaps evaluated), ``success`` (stopped by itself), ``message``, ``history``: per round, the start first, lists
        ``score``, ``evaluations``, ``swaps`` and ``set`` ("start", "small" or "large").

    Raises
    ------
    ValueError
        For bad input: S, the order, sizes below 1, an unknown choice.

    Examples
    --------
    >>> from lib.constrained import topo_swaps
    >>> found = topo_swaps.topological_swaps([[1.0, 2.0], [2.0, 5.0]], [1, 0])
    >>> found.order.tolist(), found.fun, found.history["evaluations"]
    ([0, 1], 1.0, [0, 1])
    """
    start, refit = _opened(S, order, eps, refit)
    small, large = _sizes(len(start.order), size_small, size_large)
    _one_of("swap", swap, ("greedy", "best", "first"))
    _one_of("select", select, ("gradient", "random"))
    n_large, max_rounds = positive_integer(n_large, "n_large", 0), positive_integer(max_rounds, "max_rounds")
    search = _Search(refit, swap, select, np.random.default_rng(seed), tol)
    return _run(search, start, small, large, n_large, max_rounds)


def _run(search: _Search, fit: Fit, small: int, large: int, n_large: int, max_rounds: int) -> OptimizeResult:
    history: dict[str, list] = {"score": [fit.score], "evaluations": [0], "swaps": [0], "set": ["start"]}
    success, used = False, 0
    for _ in range(max_rounds):
        fit, swaps = search.step(fit, *search.proposals(fit, small))
        name = "small"
        if not swaps and used < n_large and large > small:
            fit, swaps = search.step(fit, *search.proposals(fit, large, skip=small))
            name, used = "large", used + 1
        if not swaps:
            success = True
            break
        for key, value in (("score", fit.score), ("evaluations", search.evaluations), ("swaps", swaps), ("set", name)):
            history[key].append(value)
    message = "no candidate swap improves the score" if success else f"stopped after {max_rounds} rounds"
    return OptimizeResult(
        x=fit.order,
        order=fit.order,
        fun=fit.score,
        weights=fit.weights,
        nit=len(history["score"]) - 1,
        nfev=search.evaluations,
        success=success,
        message=message,
        history=history,
    )


def _opened(
    S: npt.ArrayLike | None, order: npt.ArrayLike, eps: float, refit: Callable[[Order], Fit] | None
) -> tuple[Fit, Callable[[Order], Fit]]:
    if (S is None) == (refit is None):
        raise ValueError("give either S (least squares) or refit (another model)")
    if S is not None:
        moments = check_moments(S, eps)

        def refit(order: Order) -> Fit:
            return OrderFit.of(moments, order)

        return refit(check_order(order, len(moments))), refit
    assert refit is not None
    return refit(check_order(order, np.asarray(order).size)), refit


def _sizes(d: int, small: int | None, large: int | None) -> tuple[int, int]:
    default_small, default_large = default_sizes(d)
    small = default_small if small is None else positive_integer(small, "size_small")
    large = max(default_large, small) if large is None else positive_integer(large, "size_large")
    if large < small:
        raise ValueError(f"size_large must not be below size_small, got {large} < {small}")
    pairs = d * (d - 1) // 2
    return min(small, pairs), min(large, pairs)


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}, got {value!r}")
