"""TOPO: search over topological orders by swaps that the gradient of the acyclicity function proposes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt
from scipy.linalg.lapack import dtrtri
from scipy.optimize import OptimizeResult

from lib import checks
from lib.constrained.topo_swaps.acyclicity import candidate_pairs
from lib.constrained.topo_swaps.scores import Array, Order, OrderFit, check_moments, check_order, positions, swapped

Swap = Literal["greedy", "best", "first"]
Size = int | Literal["auto", "all"]
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

    The authors' demonstration has (100, 400) at d = 30. Where swaps cost as little as they do here, ``"all"`` for both is the
    better choice.

    Parameters
    ----------
    d : int
        Nodes, at least 2.

    Examples
    --------
    >>> from lib.constrained import topo_swaps
    >>> topo_swaps.default_sizes(30), topo_swaps.default_sizes(100)
    ((100, 400), (500, 2000))
    """
    d = checks.integer("d", d, low=2)
    pairs = d * (d - 1) // 2
    small = min(max(100, d * d // 20), pairs)
    return small, min(4 * small, pairs)


def path_weights(W: npt.ArrayLike, order: npt.ArrayLike) -> Array:
    """``∇h(|W|) = (I - |W|)^{-T}`` of weights that respect an order: entry (i, j) sums the paths from j to i; shape (d, d).

    Parameters
    ----------
    W : array, shape (d, d)
        Zero unless i stands before j in the order.
    order : int array, shape (d,)

    Raises
    ------
    ValueError
        If W is not square and finite, or an entry contradicts the order.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.constrained import topo_swaps
    >>> topo_swaps.path_weights(np.array([[0, -2.0], [0, 0]]), np.array([0, 1])).tolist()
    [[1.0, 0.0], [2.0, 1.0]]
    """
    W = checks.array("W", W, ndim=2).astype(np.float64)
    if W.shape[0] != W.shape[1]:
        raise ValueError(f"W must be square, shape (d, d), got shape {W.shape}")
    order = check_order(order, len(W))
    if np.tril(W[np.ix_(order, order)]).any():
        raise ValueError("W must respect the order: zero at (i, j) unless i stands before j")
    return _path_weights(W, order)


def _path_weights(W: Array, order: Order) -> Array:
    upper = abs(W[np.ix_(order, order)])
    inverse, _ = dtrtri(np.eye(len(W)) - upper.T, lower=1, unitdiag=1)  # (2)
    G = np.empty_like(inverse)
    # Sums that overflow come out as infinite or NaN: strong paths, the last candidates.
    G[np.ix_(order, order)] = np.nan_to_num(np.tril(inverse), nan=np.inf, posinf=np.inf, neginf=np.inf)
    return G


def disjoint_swaps(a: npt.ArrayLike, b: npt.ArrayLike, changes: npt.ArrayLike) -> Pairs:
    """Greedy choice among improving swaps: best first, each whose positions a .. b meet none chosen before.

    The score is a sum over nodes, and a node's term depends on the *set* of its predecessors only, so swaps on disjoint
    intervals add up exactly. Changes that agree to nine digits of the largest are ties: the first of them wins, so that
    rounding does not choose.

    Parameters
    ----------
    a, b : int arrays, shape (m,)
        Positions, 0 <= a <= b; may be empty.
    changes : array, shape (m,)
        Change of the score by each swap; may be empty.

    Returns
    -------
    int array
        Indices of the chosen swaps, best first; only those with a negative change.

    Raises
    ------
    ValueError
        If the shapes differ, positions are negative or not whole, or a change is not finite.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.constrained.topo_swaps import disjoint_swaps
    >>> disjoint_swaps(np.array([0, 1, 3]), np.array([2, 3, 4]), np.array([-1.0, -3.0, -2.0])).tolist()
    [1]
    """
    a, b, changes = positions("a", a), positions("b", b), checks.array("changes", changes, ndim=1, empty=True)
    if not a.shape == b.shape == changes.shape:
        raise ValueError(f"a, b and changes must have one shape, got {a.shape}, {b.shape} and {changes.shape}")
    if np.any(a < 0) or np.any(a > b):
        raise ValueError("positions need 0 <= a <= b")
    return _disjoint_swaps(a, b, changes)


def _disjoint_swaps(a: Pairs, b: Pairs, changes: Array) -> Pairs:
    chosen: list[int] = []
    busy = np.zeros(int(b.max(initial=0)) + 1, dtype=bool)
    scale = abs(changes).max(initial=0.0)
    for index in np.argsort(np.round(changes / scale, 9) if scale else changes, kind="stable"):
        where = slice(a[index], b[index] + 1)
        if changes[index] < 0 and not busy[where].any():  # disjoint intervals of positions
            busy[where] = True
            chosen.append(int(index))
    return np.array(chosen, dtype=np.intp)


@dataclass
class _Search:
    """One run's settings and counters."""

    refit: Callable[[Order], Fit]
    swap: Swap
    tol: float
    block: int
    evaluations: int = 0

    def proposals(self, fit: Fit, size: int, skip: int = 0) -> tuple[Pairs, Pairs]:
        """Positions a < b of the candidate swaps, weakest path first, without the first `skip` of them."""
        pairs = candidate_pairs(_path_weights(fit.weights, fit.order), fit.order, size)[skip:]
        place = np.argsort(fit.order)
        return place[pairs[:, 1]], place[pairs[:, 0]]

    def step(self, fit: Fit, a: Pairs, b: Pairs) -> tuple[Fit, int]:
        """The order after this round's swaps and how many were made (0: none of the candidates improves)."""
        if self.swap == "first":
            chosen = self._first(fit, a, b)
        else:
            self.evaluations += len(a)
            changes = fit.swap_changes(a, b)
            chosen = _disjoint_swaps(a, b, np.where(changes < -self.tol * abs(fit.score), changes, 0.0))
            chosen = chosen[:1] if self.swap == "best" else chosen
        order = fit.order
        for index in chosen:
            order = swapped(order, int(a[index]), int(b[index]))
        new = self.refit(order) if len(chosen) else fit
        return (new, len(chosen)) if new.score < fit.score else (fit, 0)

    def _first(self, fit: Fit, a: Pairs, b: Pairs) -> Pairs:
        """The first improving candidate; candidates are evaluated in blocks, counted one by one."""
        for start in range(0, len(a), self.block):
            stop = start + self.block
            changes = fit.swap_changes(a[start:stop], b[start:stop])
            better = np.flatnonzero(changes < -self.tol * abs(fit.score))
            if len(better):
                self.evaluations += int(better[0]) + 1
                return better[:1] + start
            self.evaluations += len(changes)
        return np.empty(0, dtype=np.intp)


def topological_swaps(
    S: npt.ArrayLike | None,
    order: npt.ArrayLike,
    size_small: Size = "auto",
    size_large: Size = "auto",
    n_large: int = 1,
    swap: Swap = "greedy",
    max_rounds: int = 10_000,
    tol: float = 1e-12,
    eps: float = 0.0,
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
    size_small, size_large : int, "auto" or "all"
        s_small and s_large, pairs per set, clipped to all pairs; ``"auto"``: `default_sizes`. Paper's demonstration: 100, 400.
    n_large : int
        How often the large set may be used with success. Authors' code: 1.
    swap : {"greedy", "best", "first"}
        All improving swaps on disjoint intervals, best first (authors' linear code); the best one (the paper's basic form);
        the first that improves (authors' code for networks).
    max_rounds : int
        Rounds after which it stops unfinished.
    tol : float
        A swap improves if it lowers the score by more than ``tol`` times the score's size: above rounding.
    eps : float
        Ridge, relative to the mean variance, for S that is not positive definite.
    refit : callable, optional
        ``refit(order)`` gives a `Fit` of any other model whose score is a sum over nodes (see `ColumnModel`).

    Returns
    -------
    OptimizeResult
        ``order``, ``x`` (the same), ``fun`` (score), ``weights`` (d, d), ``nit`` (rounds with a swap), ``nfev`` (candidate
        swaps evaluated), ``success`` (stopped by itself), ``message``, ``history``: per round, the start first, lists
        ``score``, ``evaluations``, ``swaps`` and ``set`` ("start", "small" or "large"); ``n_large_left``, for going on where
        `max_rounds` stopped: start again from ``order`` with ``n_large=n_large_left``.

    Raises
    ------
    ValueError
        For bad input: S, the order, sizes below 1, an unknown choice; or a model whose score is not finite.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.constrained import topo_swaps
    >>> found = topo_swaps.topological_swaps(np.array([[1.0, 2.0], [2.0, 5.0]]), np.array([1, 0]))
    >>> found.order.tolist(), found.fun, found.history["evaluations"]
    ([0, 1], 1.0, [0, 1])
    """
    tol = checks.number("tol", tol, low=0)
    start, refit = _opened(S, order, checks.number("eps", eps, low=0), refit)
    small, large = _sizes(len(start.order), size_small, size_large)
    checks.choice("swap", swap, ("greedy", "best", "first"))
    n_large, max_rounds = checks.integer("n_large", n_large, low=0), checks.integer("max_rounds", max_rounds, low=1)
    block = 1 if S is None else 64  # another model's regressions are dear: none beyond the first swap that improves
    return _run(_Search(refit, swap, tol, block), start, small, large, n_large, max_rounds)


def _run(search: _Search, fit: Fit, small: int, large: int, n_large: int, max_rounds: int) -> OptimizeResult:
    history: dict[str, list] = {"score": [fit.score], "evaluations": [0], "swaps": [0], "set": ["start"]}
    success = False
    while len(history["score"]) <= max_rounds and not success:
        a, b = search.proposals(fit, small)
        fit, swaps = search.step(fit, a, b)
        name = "small"
        if not swaps and n_large and large > small:
            fit, swaps = search.step(fit, *search.proposals(fit, large, skip=len(a)))
            name, n_large = "large", n_large - bool(swaps)
        success = not swaps
        if swaps:
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
        n_large_left=n_large,
    )


def _opened(
    S: npt.ArrayLike | None, order: npt.ArrayLike, eps: float, refit: Callable[[Order], Fit] | None
) -> tuple[Fit, Callable[[Order], Fit]]:
    if (S is None) == (refit is None):
        raise ValueError("give either S (least squares) or refit (another model)")
    if S is not None:
        moments = check_moments(S, eps)
        start = check_order(order, len(moments))

        def least_squares(order: Order) -> Fit:
            return OrderFit.checked(moments, order)

        return least_squares(start), least_squares
    model = checks.function("refit", refit)

    def checked(order: Order) -> Fit:
        fit = model(order.copy())
        if not np.isfinite(fit.score):
            raise ValueError(f"refit must give a finite score, got {fit.score} for the order {order.tolist()}")
        return fit

    return checked(check_order(order)), checked


def _sizes(d: int, small: Size, large: Size) -> tuple[int, int]:
    pairs, auto = d * (d - 1) // 2, default_sizes(d)
    first = _size("size_small", small, auto[0], pairs)
    second = _size("size_large", large, max(auto[1], first), pairs)
    if second < first:
        raise ValueError(f"size_large must not be below size_small, got {large} < {small}")
    return first, second


def _size(name: str, value: Size, auto: int, pairs: int) -> int:
    if isinstance(value, str):
        if value not in ("auto", "all"):
            raise ValueError(f"{name} must be an integer, 'auto' or 'all', got {value!r}")
        return min(auto, pairs) if value == "auto" else pairs
    return min(checks.integer(name, value, low=1), pairs)
