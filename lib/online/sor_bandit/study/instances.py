"""The test problems: 5-point Laplacians, their random shifts and targets, and a degenerate target."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike, NDArray

from lib import checks
from lib.online.sor_bandit.solvers import Array
from lib.online.sor_bandit.theory import defect_matrix

# Shift c = SHIFT_LOW + SHIFT_WIDTH * Beta(a, b); the two distributions of the paper.
SHIFT_LOW, SHIFT_WIDTH = -0.15, 0.6
BETA_PARAMETERS = {"low": (2.0, 6.0), "high": (0.5, 1.5)}


def numgrid(region: str, size: int) -> NDArray[np.int64]:
    """Number the interior points of a square or L-shaped domain on a ``size x size`` array.

    Parameters
    ----------
    region : {"S", "L"}
        Square, or square without its quadrant of negative coordinates.
    size : int
        Points per side including the boundary; at least 3.

    Returns
    -------
    int array, shape (size, size)
        0 outside, else 1, 2, ... down the columns (MATLAB's convention).

    Raises
    ------
    ValueError
        Unknown region or a size below 3.

    Examples
    --------
    >>> from lib.online.sor_bandit.study import numgrid
    >>> int(numgrid("S", 12).max()), int(numgrid("L", 12).max())
    (100, 75)
    """
    checks.choice("region", region, ("S", "L"))
    x = np.linspace(-1.0, 1.0, checks.integer("size", size, low=3, high=10_000))
    across, up = np.meshgrid(x, -x)  # the first row is the top
    inside = (np.abs(across) < 1.0) & (np.abs(up) < 1.0)
    if region == "L":
        inside &= (across > 1e-12) | (up > 1e-12)
    points = np.zeros(inside.shape, dtype=np.int64)
    points.T[inside.T] = np.arange(1, inside.sum() + 1)
    return points


def delsq(points: ArrayLike) -> sp.csr_array:
    """Five-point Laplacian (4 on the diagonal, -1 between neighbors, zero boundary) of a numbered grid.

    Parameters
    ----------
    points : int array, shape (s, s)
        As made by `numgrid`: 0 outside, numbers 1..n inside.

    Returns
    -------
    scipy.sparse.csr_array, shape (n, n)

    Raises
    ------
    ValueError
        An array without interior points.

    Examples
    --------
    >>> from lib.online.sor_bandit.study import delsq, numgrid
    >>> delsq(numgrid("L", 12)).shape
    (75, 75)
    """
    given = checks.array("points", points, ndim=2, low=0)
    grid = given.astype(np.int64)
    n = int(grid.max())
    if n == 0 or not np.array_equal(np.sort(grid[grid > 0]), np.arange(1, n + 1)) or (grid != given).any():
        raise ValueError(f"points must number its interior points 1..n, as numgrid does, got shape {grid.shape}")
    pairs = [(grid[1:], grid[:-1]), (grid[:, 1:], grid[:, :-1])]
    first = np.concatenate([a[(a > 0) & (b > 0)] for a, b in pairs]) - 1
    second = np.concatenate([b[(a > 0) & (b > 0)] for a, b in pairs]) - 1
    links = sp.coo_array((np.ones(len(first)), (first, second)), shape=(n, n))
    return sp.csr_array(4.0 * sp.eye_array(n) - links - links.T)


def laplacian(m: int, shift: float = 0.0) -> sp.csr_array:
    """Five-point Laplacian of an ``m x m`` interior grid plus ``shift * I``; ``m = 10`` is the matrix of the paper.

    Parameters
    ----------
    m : int
        Interior points per side.
    shift : float
        The context c of the learning experiments; may be negative.

    Returns
    -------
    scipy.sparse.csr_array, shape (m*m, m*m)

    Examples
    --------
    >>> from lib.online.sor_bandit.study import laplacian
    >>> float(laplacian(10, 0.5).diagonal()[0])
    4.5
    """
    m, shift = checks.integer("m", m, low=1, high=2000), checks.number("shift", shift)
    matrix = delsq(numgrid("S", m + 2))
    return sp.csr_array(matrix + shift * sp.eye_array(m * m)) if shift else matrix


def truncated_normal(
    n: int, size: int | None = None, *, seed: int | np.random.Generator | np.random.SeedSequence | None = None
) -> Array:
    """Standard Gaussian vectors conditioned on ``||b|| <= sqrt(n)``, by rejection (about every second draw is kept).

    Parameters
    ----------
    n : int
        Dimension.
    size : int, optional
        Number of vectors; None gives one of shape (n,).
    seed : int, Generator or SeedSequence, optional

    Returns
    -------
    array, shape (n,) or (size, n)

    Raises
    ------
    ValueError
        n below 1 or a negative size.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.online.sor_bandit.study import truncated_normal
    >>> bool(np.linalg.norm(truncated_normal(100, seed=0)) <= 10)
    True
    """
    n, rng = checks.integer("n", n, low=1, high=10**8), checks.generator("seed", seed)
    wanted = 1 if size is None else checks.integer("size", size, low=0, high=10**8)
    kept = np.empty((0, n))
    while len(kept) < wanted:
        draws = rng.standard_normal((2 * (wanted - len(kept)) + 8, n))
        kept = np.concatenate([kept, draws[np.einsum("bn,bn->b", draws, draws) <= n]])
    return kept[0] if size is None else kept[:wanted]


def sample_shifts(size: int, variance: str, *, seed: int | np.random.Generator | np.random.SeedSequence | None = None) -> Array:
    """Random diagonal shifts ``c = -0.15 + 0.6 Beta``: Beta(2, 6) for low variance, Beta(1/2, 3/2) for high variance.

    Parameters
    ----------
    size : int
    variance : {"low", "high"}
    seed : int, Generator or SeedSequence, optional

    Returns
    -------
    array, shape (size,), values in [-0.15, 0.45]

    Raises
    ------
    ValueError
        An unknown variance.

    Examples
    --------
    >>> from lib.online.sor_bandit.study import sample_shifts
    >>> bool(sample_shifts(1000, "high", seed=0).std() > sample_shifts(1000, "low", seed=0).std())
    True
    """
    checks.choice("variance", variance, BETA_PARAMETERS)
    size = checks.integer("size", size, low=0, high=10**9)
    return SHIFT_LOW + SHIFT_WIDTH * checks.generator("seed", seed).beta(*BETA_PARAMETERS[variance], size=size)


class ShiftedLaplacians:
    """The sequence of the learning experiments: ``A_t = laplacian(m) + c_t I`` with truncated Gaussian targets.

    Shifts and targets have generators of their own, so that both variances of one seed share the targets.

    Parameters
    ----------
    n_rounds : int
        Number of instances T (5000 in the paper).
    variance : {"low", "high"}
        Distribution of the shifts.
    m : int
        Interior points per side, default 10 (the paper's value).
    seed : int, optional

    Attributes
    ----------
    contexts : array, shape (T,)
        The shifts c_t.
    targets : array, shape (T, m*m)

    Examples
    --------
    >>> from lib.online.sor_bandit.study import ShiftedLaplacians
    >>> A, b, context = next(iter(ShiftedLaplacians(3, "low", seed=0)))
    >>> A.shape, b.shape
    ((100, 100), (100,))
    """

    def __init__(self, n_rounds: int, variance: str, *, m: int = 10, seed: int | None = None) -> None:
        n_rounds, self.m = checks.integer("n_rounds", n_rounds, low=0, high=10**7), checks.integer("m", m, low=1, high=2000)
        checks.choice("variance", variance, BETA_PARAMETERS)
        seed = None if seed is None else checks.integer("seed", seed, low=0)
        for_shifts, for_targets = np.random.SeedSequence(seed).spawn(2)
        self.contexts = sample_shifts(n_rounds, variance, seed=for_shifts)
        self.targets = truncated_normal(self.m**2, n_rounds, seed=for_targets)

    def __len__(self) -> int:
        return len(self.contexts)

    def __iter__(self) -> Iterator[tuple[sp.csr_array, Array, float]]:
        base = laplacian(self.m)
        on_diagonal = base.data == 4.0
        for c, b in zip(self.contexts, self.targets, strict=True):
            # Only the values change: assembling each matrix anew would take as long as solving with it.
            data = base.data + float(c) * on_diagonal
            matrix = sp.csr_array((data, base.indices.copy(), base.indptr.copy()), shape=base.shape)
            yield matrix, b.copy(), float(c)  # copies: a solver may write into them


def degenerate_target(A: Any, omega: float = 1.4) -> Array:
    """Unit eigenvector of ``C_omega`` for the smallest positive real eigenvalue: SOR at that omega is unusually fast.

    For this right-hand side the cost as a function of omega has a deep notch at `omega` (1.4 in the paper), so no
    Lipschitz constant holds; random right-hand sides have no such notch.

    Parameters
    ----------
    A : array or sparse matrix, shape (n, n)
    omega : float
        In (0, 2), default 1.4 (the paper's value).

    Returns
    -------
    array, shape (n,)

    Raises
    ------
    ValueError
        No positive real eigenvalue exists.

    Examples
    --------
    >>> from lib.online.sor_bandit import sor
    >>> from lib.online.sor_bandit.study import degenerate_target, laplacian
    >>> sor(laplacian(10), degenerate_target(laplacian(10)), 1.4).nit
    12
    """
    values, vectors = np.linalg.eig(defect_matrix(A, omega))
    scale = np.abs(values).max()
    candidates = np.flatnonzero((np.abs(values.imag) <= 1e-10 * scale) & (values.real > 1e-10 * scale))
    if not candidates.size:
        raise ValueError(f"C_omega has no positive real eigenvalue at omega = {omega}")
    vector = vectors[:, candidates[np.argmin(values.real[candidates])]].real
    # The sign of an eigenvector is arbitrary; fix it.
    return vector / np.linalg.norm(vector) * np.sign(vector[np.argmax(np.abs(vector))])
