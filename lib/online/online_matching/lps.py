"""The linear programs that bound what a planner can get, solved by HiGHS through SciPy.

Each returns an `OptimizeResult` with ``fun`` (the bound, to be maximized), ``x`` (n, m): the probability that u is offered v,
``alpha`` (n,) and ``beta`` (m,): prices of offline and online vertices, whose sum is the bound again, ``columns`` where the
program has one variable for a set, ``nit``: linear programs solved, ``success``, ``status`` and ``message``.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import OptimizeResult, linprog
from scipy.sparse import csc_array, csr_array

from lib import checks
from lib.online.online_matching.problem import Array, StochasticMatching, as_problem

#: All sets of so many neighbors are listed at most.
MOST_NEIGHBORS = 14
#: Variables beyond which the interior-point method is used.
LARGE = 2_000
#: Relative gap between the bound and the prices' sum that counts as solved.
GAP = 1e-6


class Column(NamedTuple):
    """A configuration: an offline vertex, the online vertices it would be offered (in order), and the LP's weight of it."""

    u: int
    offers: tuple[int, ...]
    weight: float


def matching_lp(P: ArrayLike | StochasticMatching) -> OptimizeResult:
    """The matching LP: offers add up to at most one for each arrival, chances to at most one for each offline vertex.

    Parameters
    ----------
    P : array_like, shape (n, m), or StochasticMatching

    Returns
    -------
    scipy.optimize.OptimizeResult
        ``fun``, ``x`` (n, m), ``alpha``, ``beta``, ``nit``, ``success``, ``status``, ``message``.

    Examples
    --------
    >>> from lib.online.online_matching import matching_lp
    >>> round(matching_lp([[0.5, 0.5, 0.5], [0.5, 0.0, 0.0]]).fun, 6)
    1.5
    """
    problem = as_problem(P)
    u, v = np.nonzero(problem.P)
    p = problem.P[u, v]
    n, m = problem.shape
    edges = np.arange(len(u))
    rows, cols = np.r_[u, n + v], np.r_[edges, edges]
    A = csr_array((np.r_[p, np.ones(len(u))], (rows, cols)), shape=(n + m, len(u)))  # (3)
    solved = _maximize(problem.weights[u] * p, A, np.ones(n + m))
    return _result(problem, solved, _offers(problem, u, v, solved), solved.prices[:n], solved.prices[n:])


def configuration_lp(P: ArrayLike | StochasticMatching) -> OptimizeResult:
    """The configuration LP (Huang and Zhang, 2020): a set of chances p is worth ``min(1, sum p)``.

    Parameters
    ----------
    P : array_like, shape (n, m), or StochasticMatching
        At most 14 neighbors of each offline vertex: all their sets are listed.

    Returns
    -------
    scipy.optimize.OptimizeResult
        As `matching_lp`, with ``columns``.

    Raises
    ------
    ValueError
        For an offline vertex with too many neighbors.

    Examples
    --------
    >>> from lib.online.online_matching import configuration_lp
    >>> round(configuration_lp([[0.6, 0.6], [0.5, 0.0]]).fun, 6)
    1.1
    """
    problem = as_problem(P)
    columns = all_columns(problem)
    worth = np.array([problem.weights[u] * min(1.0, problem.P[u, list(s)].sum()) for u, s in columns])  # (4)
    solved = _maximize(worth, _incidence(problem, columns, survival=False), np.ones(sum(problem.shape)))
    return _column_result(problem, columns, solved, survival=False)


def stochastic_configuration_lp(
    P: ArrayLike | StochasticMatching, method: str = "compact", max_rounds: int = 500
) -> OptimizeResult:
    """The Stochastic Configuration LP: a bound for every planner that does not know the coins.

    Parameters
    ----------
    P : array_like, shape (n, m), or StochasticMatching
        The order of the columns, the order of arrival, matters.
    method : {"compact", "columns", "generation"}
        ``"compact"``: two variables an edge. ``"columns"``: every set of neighbors, at most 14 of each offline vertex.
        ``"generation"``: sets are added while one is worth more than its price. All have the same value.
    max_rounds : int
        Of column generation; beyond them ``success`` is False and ``fun`` is what its columns reach so far.

    Returns
    -------
    scipy.optimize.OptimizeResult
        As `matching_lp`, with ``columns`` for the last two methods.

    Raises
    ------
    ValueError
        For an unknown method, or an offline vertex with too many neighbors for ``"columns"``.

    Examples
    --------
    >>> from lib.online.online_matching import stochastic_configuration_lp
    >>> round(stochastic_configuration_lp([[0.5, 0.5, 0.5], [0.5, 0.0, 0.0]]).fun, 6)
    1.25
    """
    problem = as_problem(P)
    checks.choice("method", method, ("compact", "columns", "generation"))
    max_rounds = checks.integer("max_rounds", max_rounds, low=1)
    if method == "compact":
        return _compact(problem)
    if method == "generation":
        return _generation(problem, max_rounds)
    columns = all_columns(problem)
    solved = _stochastic_master(problem, columns)
    return _column_result(problem, columns, solved, survival=True)


def all_columns(problem: StochasticMatching) -> list[tuple[int, tuple[int, ...]]]:
    """Every offline vertex with every set of its neighbors that is not empty, in order of arrival."""
    columns = []
    for u, row in enumerate(problem.P):
        near = np.flatnonzero(row)
        if len(near) > MOST_NEIGHBORS:
            text = f"P has {len(near)} neighbors in row {u}: all sets of more than {MOST_NEIGHBORS} are too many"
            raise ValueError(f"{text}; use the compact form")
        for bits in range(1, 2 ** len(near)):
            columns.append((u, tuple(int(v) for i, v in enumerate(near) if bits >> i & 1)))
    return columns


def survivals(p: Array) -> Array:
    """Chance that each of a list of offers is still made: that all before it failed, shape of p."""
    return np.append(1.0, np.cumprod(1.0 - p[:-1]))


def _incidence(problem: StochasticMatching, columns: list[tuple[int, tuple[int, ...]]], survival: bool) -> csc_array:
    """Rows: one for each offline vertex, one for each arrival. A column uses its vertex once, its arrivals by survival."""
    n, m = problem.shape
    rows, cols, entries = [], [], []
    for j, (u, offers) in enumerate(columns):
        used = survivals(problem.P[u, list(offers)]) if survival else np.ones(len(offers))  # (5)
        rows += [u, *(n + v for v in offers)]
        cols += [j] * (1 + len(offers))
        entries += [1.0, *used.tolist()]
    return csc_array((entries, (rows, cols)), shape=(n + m, len(columns)))


def _stochastic_master(problem: StochasticMatching, columns: list[tuple[int, tuple[int, ...]]]) -> _Solved:
    worth = [problem.weights[u] * -np.expm1(-problem.hazards[u, list(offers)].sum()) for u, offers in columns]  # (5)
    return _maximize(np.array(worth), _incidence(problem, columns, survival=True), np.ones(sum(problem.shape)))


def best_column(p: Array, beta: Array, weight: float = 1.0) -> tuple[Array, np.ndarray]:
    """The best list of offers to one offline vertex at given prices: optimal stopping, backward in time.

    Parameters
    ----------
    p, beta : ndarray, shape (m,)
        Chances, and the price of each arrival.
    weight : float

    Returns
    -------
    values : ndarray, shape (m + 1,)
        ``values[t]``: what the vertex is worth, if it is still there before arrival t.
    taken : ndarray of bool, shape (m,)
        The list.
    """
    values, taken = np.zeros(len(p) + 1), np.zeros(len(p), dtype=bool)
    for t in range(len(p) - 1, -1, -1):
        offered = p[t] * weight - beta[t] + (1 - p[t]) * values[t + 1]  # (7)
        taken[t] = p[t] > 0 and offered > values[t + 1]
        values[t] = max(values[t + 1], offered) if taken[t] else values[t + 1]
    return values, taken


def opportunity(problem: StochasticMatching, beta: Array) -> Array:
    """`best_column` for all offline vertices at once: what each is worth before each arrival, shape (n, m + 1)."""
    n, m = problem.shape
    values = np.zeros((n, m + 1))
    for t in range(m - 1, -1, -1):
        p = problem.P[:, t]
        offered = p * problem.weights - beta[t] + (1 - p) * values[:, t + 1]  # (7)
        values[:, t] = np.where(p > 0, np.maximum(values[:, t + 1], offered), values[:, t + 1])
    return values


def _generation(problem: StochasticMatching, max_rounds: int) -> OptimizeResult:
    n, rounds = problem.shape[0], 0
    columns: list[tuple[int, tuple[int, ...]]] = [(u, (int(v),)) for u in range(n) for v in np.flatnonzero(problem.P[u])]
    known = set(columns)
    while True:
        rounds += 1
        solved = _stochastic_master(problem, columns)
        alpha, beta = solved.prices[:n], solved.prices[n:]
        fresh = []
        for u in range(n):
            values, taken = best_column(problem.P[u], beta, problem.weights[u])
            column = (u, tuple(np.flatnonzero(taken).tolist()))
            if values[0] > alpha[u] + 1e-9 * problem.weights[u] * problem.P[u].max() and column not in known:
                fresh.append(column)
        if not fresh or not solved.success or rounds == max_rounds:
            break
        columns += fresh
        known.update(fresh)
    result = _column_result(problem, columns, solved, survival=True, rounds=rounds)
    if fresh and result.success:
        result.update(success=False, status=1, message=f"{max_rounds} rounds, and there are still columns to add")
    return result


def _compact(problem: StochasticMatching) -> OptimizeResult:
    """Offers a and survival s on the edges: u is offered v with chance a <= s, and survives that with chance s - p a."""
    u, v = np.nonzero(problem.P)  # by offline vertex, in order of arrival
    p, count, m = problem.P[u, v], len(u), problem.shape[1]
    edge = np.arange(count)
    later = np.flatnonzero(np.r_[False, u[1:] == u[:-1]]) if count else edge
    first = np.setdiff1d(edge, later)
    rows = [edge, edge, count + v]  # a - s <= 0; sum over u of a <= 1
    cols = [edge, count + edge, edge]
    A = csr_array(
        (np.r_[np.ones(count), -np.ones(count), np.ones(count)], (np.concatenate(rows), np.concatenate(cols))),
        shape=(count + m, 2 * count),
    )  # (8)
    step = np.arange(len(later))
    flow = csr_array(
        (
            np.r_[np.ones(len(later)), -np.ones(len(later)), p[later - 1]],
            (np.r_[step, step, step], np.r_[count + later, count + later - 1, later - 1]),
        ),
        shape=(len(later), 2 * count),
    )  # (8)
    low, high = np.zeros(2 * count), np.full(2 * count, np.inf)
    low[count + first] = high[count + first] = 1.0
    cost = np.r_[problem.weights[u] * p, np.zeros(count)]
    solved = _maximize(cost, A, np.r_[np.zeros(count), np.ones(m)], flow, np.c_[low, high])
    beta = np.clip(solved.prices[count:], 0.0, None)
    return _result(problem, solved, _offers(problem, u, v, solved), opportunity(problem, beta)[:, 0], beta)


class _Solved(NamedTuple):
    fun: float
    x: Array
    prices: Array
    status: int
    message: str

    @property
    def success(self) -> bool:
        return self.status == 0


def _maximize(worth: Array, A: Any, b: Array, A_eq: Any = None, bounds: Any = (0, None)) -> _Solved:
    """Maximize ``worth x`` subject to ``A x <= b``, ``A_eq x = 0``, and bounds."""
    if not len(worth):
        return _Solved(0.0, np.zeros(0), np.zeros(len(b)), 0, "there are no edges")
    unit = math.ldexp(1.0, math.frexp(float(worth.max()))[1])  # the solver's tolerances are absolute; nothing is rounded
    method = "highs-ipm" if len(worth) > LARGE else "highs-ds"
    b_eq = None if A_eq is None or not A_eq.shape[0] else np.zeros(A_eq.shape[0])
    found = linprog(-worth / unit, A, b, None if b_eq is None else A_eq, b_eq, bounds, method=method)
    if found.x is None:
        return _Solved(np.nan, np.zeros(len(worth)), np.zeros(len(b)), int(found.status) or 4, found.message)
    prices = -unit * found.ineqlin.marginals
    return _Solved(-unit * float(found.fun), found.x, prices, int(found.status), found.message)


def _offers(problem: StochasticMatching, u: np.ndarray, v: np.ndarray, solved: _Solved) -> Array:
    x = np.zeros(problem.shape)
    x[u, v] = solved.x[: len(u)]
    return x


def _column_result(
    problem: StochasticMatching, columns: list[tuple[int, tuple[int, ...]]], solved: _Solved, survival: bool, rounds: int = 1
) -> OptimizeResult:
    n, x = problem.shape[0], np.zeros(problem.shape)
    kept = [Column(u, offers, float(w)) for (u, offers), w in zip(columns, solved.x, strict=True) if w > 1e-9]
    for column in kept:
        offers = list(column.offers)
        x[column.u, offers] += column.weight * (survivals(problem.P[column.u, offers]) if survival else 1.0)
    return _result(problem, solved, x, solved.prices[:n], solved.prices[n:], columns=kept, nit=rounds)


def _result(problem: StochasticMatching, solved: _Solved, x: Array, alpha: Array, beta: Array, **more: Any) -> OptimizeResult:
    bound, scale = float(alpha.sum() + beta.sum()), max(abs(solved.fun), float((problem.weights[:, None] * problem.P).max()))
    status, message = solved.status, solved.message
    if solved.success and not abs(bound - solved.fun) <= GAP * scale:
        status, message = 4, f"the prices add up to {bound:.9g}, not to the value {solved.fun:.9g}"
    fields = {"fun": solved.fun, "x": x, "alpha": alpha, "beta": beta, "nit": 1, "success": status == 0}
    return OptimizeResult(**fields | {"status": status, "message": message} | more)
