"""Exact iteration counts of many 5-point problems at once.

All matrices of the experiments on a square grid have the form ``A = diagonal * I - off * (S + S^T)``, S the links to the left
and lower neighbor. A lexicographic SOR sweep has a sequential order, but the unknowns of one anti-diagonal depend only on
the anti-diagonal before: they can be updated together, and with them all instances and all relaxation parameters of a batch.
The counts are those of `sor` and `ssor_pcg` (up to a residual that meets the tolerance within rounding).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lib import checks
from lib.online.sor_bandit.solvers import Array, check_omegas
from lib.online.sor_bandit.theory import sor_spectral_radius

Counts = NDArray[np.int64]
Slices = tuple[slice, slice, slice, slice, slice]

# Doubles of one batched vector, SOR and CG (measured): fewer and the calls cost more than the arithmetic, more and it leaves
# the cache.
BATCH_DOUBLES, PCG_BATCH_DOUBLES = 240_000, 960_000


class Wavefront:
    """Storage order of an m x m grid by anti-diagonals, with rows of zeros between them.

    Attributes
    ----------
    rows : int
        Number of stored rows, ``m**2 + 2 m``.
    position : int array, shape (m**2,)
        Row of each unknown, unknowns in lexicographic order.
    fronts : list
        For each anti-diagonal the slices of its own rows, its two predecessors and its two successors.
    """

    def __init__(self, m: int) -> None:
        self.m = m
        sums = np.arange(2 * m - 1)
        self._lengths = np.minimum(sums + 1, 2 * m - 1 - sums)
        # One zero row before each anti-diagonal and one after the last: they are the boundary values.
        self._starts = 1 + np.concatenate([[0], np.cumsum(self._lengths + 1)[:-1]])
        self.rows = m * m + 2 * m
        i, j = np.divmod(np.arange(m * m), m)
        first_i = np.maximum(0, i + j - m + 1)
        self.position = self._starts[i + j] + i - first_i
        self.fronts = [self._slices(s) for s in range(2 * m - 1)]

    def _slices(self, s: int) -> Slices:
        start, length = int(self._starts[s]), int(self._lengths[s])

        def rows(other: int, shift: int) -> slice:
            # (i + shift, .) on the anti-diagonal `other`; outside the grid this is one of its zero rows.
            if not 0 <= other < len(self._starts):
                return slice(0, 1)
            first = int(self._starts[other]) + max(0, s - self.m + 1) - max(0, other - self.m + 1) + shift
            return slice(first, first + length)

        return slice(start, start + length), rows(s - 1, -1), rows(s - 1, 0), rows(s + 1, 1), rows(s + 1, 0)

    def pack(self, vectors: Array) -> Array:
        """Store ``vectors`` of shape (batch, n) as an array of shape (rows, batch)."""
        packed = np.zeros((self.rows, vectors.shape[0]))
        packed[self.position] = vectors.T
        return packed


def _sweep(front: Wavefront, z: Array, own: Array, gain: Array, work: Array) -> Array:
    """One homogeneous SOR sweep of `z` in place; returns the squared norms of the residuals it meets on the way."""
    squares = np.zeros_like(gain)
    for rows, left, below, right, above in front.fronts:
        length = rows.stop - rows.start
        v, square = z[rows], work[:length]
        v *= own[:length]
        v += z[right]
        v += z[above]  # the residual: own * z + S^T z
        np.multiply(v, v, out=square)
        squares[:length] += square
        v += z[left]
        v += z[below]
        v *= gain[:length]  # solved with M = 1 / gain - S
    return squares.sum(axis=0)


def _sor_batch(front: Wavefront, diagonal: Array, omega: Array, right: Array, tol: float, max_iter: int) -> Counts:
    """SOR counts of one batch with ``off = 1``: `diagonal` and `omega` of shape (batch,), `right` of shape (batch, n).

    With ``z_k = M^{-1} r_k = x_{k+1} - x_k`` the residual is ``r_{k+1} = (diagonal / omega)(1 - omega) z_k + S^T z_k``, so z
    follows the sweep without right-hand side: no solution vector, no matrix product and no cancellation.
    """
    counts = np.full(len(diagonal), max_iter, dtype=np.int64)
    target = tol**2 * np.einsum("bn,bn->b", right, right)
    counts[target == 0.0] = 0
    active = np.flatnonzero(target)
    z, target = front.pack(right[active]), target[active]
    # Scalars of an instance are tiled over the longest anti-diagonal: numpy is twice as fast on equal contiguous operands.
    gain = np.tile((omega / diagonal)[active], (front.m, 1))
    own = np.tile((diagonal * (1.0 - omega) / omega)[active], (front.m, 1))
    for rows, left, below, _, _ in front.fronts:
        z[rows] = (z[rows] + z[left] + z[below]) * gain[: rows.stop - rows.start]
    waiting = len(active)
    for iteration in range(1, max_iter + 1):
        if not waiting:
            break
        done = np.flatnonzero(_sweep(front, z, own, gain, np.empty_like(gain)) < target)
        if done.size:
            counts[active[done]] = iteration
            target[done] = -1.0  # counted; swept on until enough of them make a copy of the rest worth its time
            waiting -= len(done)
            if waiting < 0.94 * len(active):
                rest = target >= 0.0
                active, target = active[rest], target[rest]
                z, gain, own = (array.compress(rest, axis=1) for array in (z, gain, own))
    return counts


def _pcg_batch(front: Wavefront, off: Array, omega: Array | None, residual: Array, limit: Array, max_iter: int) -> Counts:
    """Counts of (SSOR-preconditioned) CG for ``A = I - off (S + S^T)``: `off` and `omega` of shape (batch,).

    `residual` (batch, n) is the first residual and `limit` (batch,) the norm to reach; the solution is not needed to count.
    The factor ``omega (2 - omega)`` of the preconditioner does not change the iterates and is left out.
    """
    counts = np.full(len(off), max_iter, dtype=np.int64)
    norms = np.linalg.norm(residual, axis=1)
    counts[norms <= limit] = 0
    active = np.flatnonzero(norms > limit)
    r, limit, previous = front.pack(residual[active]), limit[active], np.full(len(active), np.inf)
    p, z, image = np.zeros_like(r), np.empty_like(r), np.empty_like(r)
    links = np.tile(off[active], (front.m, 1))
    relaxed = links if omega is None else np.tile((off * omega)[active], (front.m, 1))
    for iteration in range(1, max_iter + 1):
        if not active.size:
            break
        np.copyto(z, r)
        if omega is not None:
            _ssor(front, z, relaxed)
        rho = _dots(r, z)
        p *= rho / previous
        p += z
        _product(front, p, links, image)
        image *= rho / _dots(p, image)
        r -= image
        previous = rho
        waiting = np.sqrt(_dots(r, r)) > limit
        if not waiting.all():
            counts[active[~waiting]] = iteration
            active, limit, previous = active[waiting], limit[waiting], rho[waiting]
            r, p, links, relaxed = (array.compress(waiting, axis=1) for array in (r, p, links, relaxed))
            z, image = np.empty_like(r), np.empty_like(r)
    return counts


def _dots(a: Array, b: Array) -> Array:
    """Inner products over the rows."""
    return np.einsum("nb,nb->b", a, b)


def _ssor(front: Wavefront, z: Array, relaxed: Array) -> None:
    """``z <- (I - relaxed S)^{-T} (I - relaxed S)^{-1} z`` by a forward and a backward pass over the anti-diagonals."""
    work = np.empty_like(relaxed)
    forward = [(rows, left, below) for rows, left, below, _, _ in front.fronts]
    backward = [(rows, right, above) for rows, _, _, right, above in reversed(front.fronts)]
    for rows, one, other in forward + backward:
        sums = work[: rows.stop - rows.start]
        np.add(z[one], z[other], out=sums)
        sums *= relaxed[: len(sums)]
        z[rows] += sums


def _product(front: Wavefront, p: Array, links: Array, image: Array) -> None:
    """``image <- (I - links (S + S^T)) p``."""
    work = np.empty_like(links)
    np.copyto(image, p)
    for rows, left, below, right, above in front.fronts:
        sums = work[: rows.stop - rows.start]
        np.add(p[left], p[below], out=sums)
        sums += p[right]
        sums += p[above]
        sums *= links[: len(sums)]
        image[rows] -= sums


def _check_family(
    diagonal: ArrayLike, off: ArrayLike, b: ArrayLike, tol: float, max_iter: int
) -> tuple[Array, Array, Array, int]:
    """Broadcast and validate the instances of a table; returns diagonal (T,), off (T,), b (T, n) and m."""
    right = checks.array("b", b, ndim=2).astype(np.float64)
    m = round(right.shape[1] ** 0.5)
    if m * m != right.shape[1]:
        raise ValueError(f"b must have m*m columns (a square grid), got {right.shape[1]}")
    d, links = (_per_instance(name, value, len(right)) for name, value in (("diagonal", diagonal), ("off", off)))
    if not (d > 4.0 * np.abs(links) * np.cos(np.pi / (m + 1))).all():
        raise ValueError("every matrix must be positive definite: diagonal > 4 |off| cos(pi / (m + 1))")
    checks.number("tol", tol, above=1e-100, below=1)
    checks.integer("max_iter", max_iter, low=1, high=10**9)
    if max(_extreme(right), _extreme(d), _extreme(links)) > 100.0:
        raise ValueError("b, diagonal and off must lie between 1e-100 and 1e100: the batched counts square them")
    return d, links, right, m


def _per_instance(name: str, value: ArrayLike, n: int) -> Array:
    """One number for each of n instances."""
    given = checks.array(name, value, ndim=(0, 1)).astype(np.float64)
    if given.ndim and len(given) not in (1, n):
        raise ValueError(f"{name} must be a number or one for each of the {n} rows of b, got {len(given)}")
    return np.broadcast_to(given, (n,))


def _extreme(values: Array) -> float:
    """The largest decimal exponent, positive or negative, of the rows' largest entries but zeros: small tails do no harm."""
    largest = np.abs(values).max(axis=-1) if values.ndim > 1 else np.abs(values)
    nonzero = largest[largest != 0.0]
    return float(np.abs(np.log10(nonzero)).max(initial=0.0))


def sor_cost_table(
    diagonal: ArrayLike,
    off: ArrayLike,
    b: ArrayLike,
    grid: ArrayLike,
    *,
    tol: float = 1e-8,
    max_iter: int = 10_000,
) -> Counts:
    """Number of SOR sweeps of every instance at every relaxation parameter, started from zero.

    Parameters
    ----------
    diagonal, off : array, shape (T,) or scalar
        off may be negative. Instance t has the matrix
        ``diagonal[t] * I - off[t] * (S + S^T)``; ``(4 + c, 1)`` is the shifted Laplacian.
    b : array, shape (T, n)
        Right-hand sides on a square grid, ``n = m * m``.
    grid : array, shape (d,)
        Relaxation parameters in (0, 2).
    tol, max_iter
        As in `sor`.

    Returns
    -------
    int array, shape (T, d)
        Entry (t, i) equals ``sor(A_t, b_t, grid[i]).nit``. Time O(n) per sweep, about 2.5 ns per unknown.

    Raises
    ------
    ValueError
        A matrix that is not positive definite, a grid that is not square, omega outside (0, 2), non-finite input.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.online.sor_bandit.study import sor_cost_table
    >>> sor_cost_table([4.0, 4.4], 1.0, np.ones((2, 100)), [1.0, 1.5]).shape
    (2, 2)
    """
    d, links, right, m = _check_family(diagonal, off, b, tol, max_iter)
    arms = check_omegas(grid, "grid")
    if (links == 0.0).any():
        raise ValueError("off must not be zero: a diagonal system has no sweeps to count")
    front = Wavefront(m)
    # A negative off has the counts of its absolute value after the sign change x_ij -> (-1)^(i+j) x_ij.
    signs = np.where(np.add.outer(np.arange(m), np.arange(m)).ravel() % 2, -1.0, 1.0)
    right = np.where((links < 0.0)[:, None], right * signs, right)
    # Dividing A and b by |off| changes no count; ratio is the diagonal of the scaled matrix.
    ratio = d / np.abs(links)
    instance, arm = np.divmod(np.arange(len(d) * len(arms)), len(arms))
    # Instances of about equal cost go together, so that a batch stays full until it ends.
    radius = sor_spectral_radius(arms, (4.0 * np.cos(np.pi / (m + 1)) / ratio)[:, None]).ravel()
    order = np.argsort(radius, kind="stable")
    counts = np.empty(len(order), dtype=np.int64)
    batch = max(1, BATCH_DOUBLES // front.rows)
    for first in range(0, len(order), batch):
        part = order[first : first + batch]
        t = instance[part]
        counts[part] = _sor_batch(front, ratio[t], arms[arm[part]], right[t], tol, max_iter)
    return counts.reshape(len(d), len(arms))


def ssor_pcg_cost_table(
    diagonal: ArrayLike,
    off: ArrayLike,
    b: ArrayLike,
    grid: ArrayLike | None,
    *,
    x0: ArrayLike | None = None,
    tol: float = 1e-8,
    max_iter: int = 10_000,
) -> Counts:
    """Number of SSOR-preconditioned CG iterations of every instance at every relaxation parameter.

    Parameters
    ----------
    diagonal, off, b, tol, max_iter
        As `sor_cost_table`; off may be zero.
    grid : array, shape (d,), or None
        None counts conjugate gradients without a preconditioner (one column).
    x0 : array, shape (T, n), optional
        Starts, default zero.

    Returns
    -------
    int array, shape (T, d)
        Entry (t, i) equals ``ssor_pcg(A_t, b_t, grid[i], x0=x0_t).nit``.

    Raises
    ------
    ValueError
        As `sor_cost_table`.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.online.sor_bandit.study import ssor_pcg_cost_table
    >>> ssor_pcg_cost_table([4.0, 4.4], 1.0, np.ones((2, 100)), None).shape
    (2, 1)
    """
    d, links, right, m = _check_family(diagonal, off, b, tol, max_iter)
    start = np.zeros_like(right) if x0 is None else checks.array("x0", x0, shape=right.shape).astype(np.float64)
    arms = np.ones(1) if grid is None else check_omegas(grid, "grid")
    front = Wavefront(m)
    # Dividing A and b by the diagonal changes no count.
    scaled = links / d
    grid_start = start.reshape(-1, m, m)
    padded = np.pad(grid_start, ((0, 0), (1, 1), (1, 1)))
    neighbors = padded[:, :-2, 1:-1] + padded[:, 2:, 1:-1] + padded[:, 1:-1, :-2] + padded[:, 1:-1, 2:]
    residual = right / d[:, None] - start + scaled[:, None] * neighbors.reshape(start.shape)
    limit = tol * np.linalg.norm(right, axis=1) / d
    # As in ssor_pcg: a right-hand side of zero is solved by zero, whatever the start.
    residual[limit == 0.0] = 0.0
    # Arm by arm: neighbors in time need about as many iterations, so that a batch stays full.
    counts = np.empty((len(arms), len(d)), dtype=np.int64)
    batch = max(1, PCG_BATCH_DOUBLES // front.rows)
    for first in range(0, counts.size, batch):
        arm, t = np.divmod(np.arange(first, min(first + batch, counts.size)), len(d))
        omega = None if grid is None else arms[arm]
        counts.flat[first : first + batch] = _pcg_batch(front, scaled[t], omega, residual[t], limit[t], max_iter)
    return np.ascontiguousarray(counts.T)
