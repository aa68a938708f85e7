"""Where to try: bases for the poll, random directions, and points that fill the ball around the best point."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lib import checks

Array = NDArray[np.float64]
POLLS = ("2n", "n+1")
COVERINGS = ("random", "farthest", "official")
#: Candidates among which the covering step "farthest" chooses.
CANDIDATES = 32


def householder(v: Array) -> Array:
    """The mirror whose normal is v: symmetric, with orthonormal rows."""
    unit = v / np.linalg.norm(v)
    return np.eye(len(v)) - 2 * np.outer(unit, unit)  # (10)


def random_rotation(n: int, rng: np.random.Generator) -> Array:
    """A random orthogonal matrix, uniformly distributed over all of them."""
    q, r = np.linalg.qr(rng.standard_normal((n, n)))
    return q * np.sign(np.diag(r))


def to_length(moves: Array, radius: float) -> Array:
    """The same directions, their largest entry made equal to the radius."""
    return radius * moves / abs(moves).max(axis=-1, keepdims=True)


def poll_directions(n: int, radius: float, poll: str = "2n", *, seed: object = None) -> Array:
    """Moves of which at least one goes uphill, wherever the gradient is not zero and the radius is small.

    Parameters
    ----------
    n : int
        Number of variables.
    radius : float
        Largest entry of each move.
    poll : {"2n", "n+1"}
        The rows of a random mirror and their opposites; or the rows of a random rotation and minus their sum.
    seed : None, int or Generator
        Of the mirror and the rotation.

    Returns
    -------
    array, shape (2n, n) or (n + 1, n)

    Examples
    --------
    >>> import numpy as np
    >>> from lib.backprop_free.directional_attacks import poll_directions
    >>> moves = poll_directions(3, 0.5, seed=0)
    >>> moves.shape, abs(moves).max(axis=1)
    ((6, 3), array([0.5, 0.5, 0.5, 0.5, 0.5, 0.5]))
    """
    n, radius = checks.integer("n", n, low=1), checks.positive("radius", radius)
    checks.choice("poll", poll, POLLS)
    rng = checks.generator("seed", seed)
    basis = householder(rng.standard_normal(n))
    if poll == "2n":
        return to_length(np.vstack([basis, -basis]), radius)  # (11)
    basis = basis @ random_rotation(n, rng)
    return to_length(np.vstack([basis, -basis.sum(axis=0)]), radius)  # (12)


def random_move(n: int, length: float, rng: np.random.Generator) -> Array:
    """A move in a random direction, its largest entry of this size."""
    return to_length(rng.standard_normal(n), length)


def covering_move(
    n: int, radius: float, covering: str = "random", *, seed: object = None, known: ArrayLike | None = None
) -> Array:
    """A move to a point that helps to fill the box of this radius.

    Parameters
    ----------
    n : int
        Number of variables.
    radius : float
        Half the width of the box.
    covering : {"random", "farthest", "official"}
        Uniform in the box; of 32 such moves the one that ends farthest from all points known; or as in the authors' code: a
        random direction, its largest entry ``(U * radius)**(1/n)`` with U uniform.
    seed : None, int or Generator
        Of the move.
    known : array_like, shape (H, n), optional
        Points that have been evaluated, relative to the best one; for "farthest". May be empty, entries may be negative.

    Returns
    -------
    array, shape (n,)

    Examples
    --------
    >>> from lib.backprop_free.directional_attacks import covering_move
    >>> bool((abs(covering_move(2, 0.1, seed=0)) <= 0.1).all())
    True
    """
    n, radius = checks.integer("n", n, low=1), checks.positive("radius", radius)
    checks.choice("covering", covering, COVERINGS)
    rng = checks.generator("seed", seed)
    if covering == "official":
        return random_move(n, float(rng.random() * radius) ** (1 / n), rng)  # (14)
    if covering == "random" or known is None:
        return rng.uniform(-radius, radius, n)  # (13)
    seen = checks.array("known", known, shape=(None, n), empty=True)
    moves = rng.uniform(-radius, radius, (CANDIDATES, n))
    if not len(seen):
        return moves[0]
    square = (moves**2).sum(axis=1)[:, None] - 2 * moves @ seen.T + (seen**2).sum(axis=1)
    return moves[square.min(axis=1).argmax()]
