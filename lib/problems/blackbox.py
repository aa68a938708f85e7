"""Black-box test functions with known minimizers: small callables over arrays ``(..., d)``, each with its gradient.

A function is a `TestFunction`: call it with points of shape ``(..., d)`` to get values of shape ``(...)``; ``gradient`` takes
the same points and returns their shape. All formulas are written once, over the last axis, so that any number of leading
axes (runs, particles, grid) costs one call.

=================== ====================================================== ============================ =====================
name                value                                                  minimizer                    where it is from
=================== ====================================================== ============================ =====================
`grand_canyon`      a curved valley with ripples and a wall, d = 2         0                            Riedl et al. (2023)
`rippled_bowl`      0.5 (x^2 + 2 y^2) + 0.3 (1 - cos 3x), d = 2            0                            here
`quadratic`         0.5 x^T A x                                            0
`rastrigin`         sum of x_i^2 + amplitude (1 - cos 2 pi x_i)            0                            Rastrigin (1974)
`ackley`            nearly flat, many small wells                          0                            Ackley (1987)
`rosenbrock`        a bent, flat valley                                    (1, ..., 1)                  Rosenbrock (1960)
`griewank`          a bowl with a product of cosines                       0                            Griewank (1981)
`styblinski_tang`   separable quartic, 2^d local minima                    (-2.9035..., ...)            Styblinski, Tang (1990)
=================== ====================================================== ============================ =====================
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lib import checks

Array = npt.NDArray[np.float64]

__all__ = [
    "TestFunction",
    "ackley",
    "canyon_floor",
    "grand_canyon",
    "griewank",
    "quadratic",
    "rastrigin",
    "rippled_bowl",
    "rosenbrock",
    "styblinski_tang",
]


@dataclass(frozen=True, eq=False)
class TestFunction:
    """A function of points ``(..., dim)`` with what is known about it.

    Attributes
    ----------
    name : str
    dim : int
    minimizer : array, shape (dim,)
        The global minimizer.
    minimum : float
        Its value.
    box : tuple of float
        Customary range of each coordinate, for plots and for uniform starts.

    Examples
    --------
    >>> from lib.problems import blackbox
    >>> fun = blackbox.rastrigin(3)
    >>> float(fun(fun.minimizer)), fun.gradient([[1.0, 0.0, 0.0]]).shape
    (0.0, (1, 3))
    """

    __test__ = False  # not a test case, whatever pytest makes of the name

    name: str
    dim: int
    minimizer: Array
    minimum: float
    box: tuple[float, float]
    _value: Callable[[Array], Array]
    _gradient: Callable[[Array], Array]

    def __call__(self, x: npt.ArrayLike) -> Array:
        """Values at points ``(..., dim)``, shape ``(...)``; ValueError for another last axis."""
        return self._value(self._points(x))

    def gradient(self, x: npt.ArrayLike) -> Array:
        """Gradients at points ``(..., dim)``, same shape; ValueError for another last axis."""
        return self._gradient(self._points(x))

    def _points(self, x: npt.ArrayLike) -> Array:
        points = np.asarray(x, dtype=np.float64)
        if points.ndim == 0 or points.shape[-1] != self.dim:
            raise ValueError(f"{self.name} takes points of shape (..., {self.dim}), got shape {points.shape}")
        return points


def _dimension(dim: int, least: int = 1) -> int:
    return checks.integer("dim", dim, low=least)


# ------------------------------------------------------------------------------------------------------ the grand canyon


def canyon_floor(x: npt.ArrayLike) -> Array:
    """Height y of the canyon's floor over x: the cubic (x - 1)(x - 4)^2 / 8 + 2, which runs from (0, 0) to (8, 16).

    Examples
    --------
    >>> from lib.problems import blackbox
    >>> float(blackbox.canyon_floor(0.0))
    0.0
    """
    x = checks.array("x", x).astype(np.float64)
    return (x - 1) * (x - 4) ** 2 / 8 + 2


def grand_canyon(noisy: bool = True) -> TestFunction:
    """The "Grand Canyon 3" of Riedl et al. (arXiv:2306.09778): a curved valley with ripples and a wall behind x* = 0.

    With ``a = y - canyon_floor(x)`` and ``b = -x - 1.6 y``, the value is::

        25 (1 - exp(-1.4 a^2 exp(-0.002 x^4))) + 0.4 x^2 + 0.2 y^2
        + ripple [(1 - cos 0.75 pi x) + (1 - cos 0.75 pi y)] + 4 exp(1 - 2 a^4) max((1 - exp(-9 b^2)) sign b, 0)

    with ``ripple`` 1.1625 (``noisy``, the paper's figures) or 0.25. The last term has a continuous gradient: only its curvature
    jumps on the line b = 0.

    Examples
    --------
    >>> from lib.problems import blackbox
    >>> round(float(blackbox.grand_canyon()([8.0, 8.0])), 6)
    39.012537
    """
    ripple, turn = (1.1625 if noisy else 0.25), 0.75 * np.pi

    def value(v: Array) -> Array:
        # beyond 1e20 the value stays that of the edge, finite; contiguous copies are twice as fast
        x, y = np.clip(v[..., 0], -1e20, 1e20), np.clip(v[..., 1], -1e20, 1e20)
        x2, a, b = x * x, y - canyon_floor(x), -x - 1.6 * y
        a2 = a * a
        total = 0.4 * x2 + 0.2 * (y * y) - 25 * np.expm1(-1.4 * a2 * np.exp(-0.002 * (x2 * x2)))
        total += 2 * ripple * (np.sin(turn / 2 * x) ** 2 + np.sin(turn / 2 * y) ** 2)  # 1 - cos u = 2 sin^2(u / 2)
        return total - 4 * np.exp(1 - 2 * (a2 * a2)) * np.where(b > 0, np.expm1(-9 * (b * b)), 0.0)

    def gradient(v: Array) -> Array:
        x, y = np.clip(v[..., 0], -1e20, 1e20), np.clip(v[..., 1], -1e20, 1e20)
        a, b, x3 = y - canyon_floor(x), -x - 1.6 * y, x * x * x
        a_x = -(x - 4) * (3 * x - 6) / 8
        fade = np.exp(-0.002 * x3 * x)
        slope = 35 * np.exp(-1.4 * a * a * fade) * fade  # of the walls, per unit of a^2
        bump, positive = 4 * np.exp(1 - 2 * a**4), b > 0
        drop = np.exp(-9 * b * b)
        along_a = 2 * slope * a - 8 * a**3 * bump * np.where(positive, 1 - drop, 0.0)
        along_b = bump * np.where(positive, 18 * b * drop, 0.0)
        g_x = along_a * a_x - slope * 0.008 * x3 * a * a + 0.8 * x + ripple * turn * np.sin(turn * x) - along_b
        g_y = along_a + 0.4 * y + ripple * turn * np.sin(turn * y) - 1.6 * along_b
        return np.stack([g_x, g_y], axis=-1)

    name = "grand_canyon" if noisy else "calm grand_canyon"
    return TestFunction(name, 2, np.zeros(2), 0.0, (-2.0, 8.0), value, gradient)


# --------------------------------------------------------------------------------------------------------------- bowls


def rippled_bowl() -> TestFunction:
    """A smooth bowl with a ripple, 0.5 (x^2 + 2 y^2) + 0.3 (1 - cos 3x): gentle enough for small steps, not a quadratic.

    Examples
    --------
    >>> from lib.problems import blackbox
    >>> blackbox.rippled_bowl().gradient([0.0, 1.0]).tolist()
    [0.0, 2.0]
    """

    def value(v: Array) -> Array:
        x, y = v[..., 0], v[..., 1]
        return 0.5 * x * x + y * y + 0.3 * (1 - np.cos(3 * x))

    def gradient(v: Array) -> Array:
        x, y = v[..., 0], v[..., 1]
        return np.stack([x + 0.9 * np.sin(3 * x), 2 * y], axis=-1)

    return TestFunction("rippled_bowl", 2, np.zeros(2), 0.0, (-3.0, 3.0), value, gradient)


def quadratic(matrix: npt.ArrayLike) -> TestFunction:
    """0.5 x^T A x for a symmetric positive definite matrix A, shape (d, d); ValueError otherwise.

    Examples
    --------
    >>> from lib.problems import blackbox
    >>> float(blackbox.quadratic([[2.0]])([3.0]))
    9.0
    """
    A = np.asarray(matrix, dtype=np.float64)
    if A.ndim != 2 or A.shape[0] != A.shape[1] or not np.allclose(A, A.T):
        raise ValueError(f"matrix must be symmetric, shape (d, d), got shape {A.shape}")
    if np.linalg.eigvalsh(A)[0] <= 0:
        raise ValueError("matrix must be positive definite, its least eigenvalue is not positive")
    d = len(A)
    return TestFunction("quadratic", d, np.zeros(d), 0.0, (-3.0, 3.0), lambda x: 0.5 * ((x @ A) * x).sum(-1), lambda x: x @ A)


# ------------------------------------------------------------------------------------------------- any number of dimensions


def rastrigin(dim: int = 2, amplitude: float = 10.0) -> TestFunction:
    """Sum of x_i^2 + amplitude (1 - cos 2 pi x_i): a bowl with a well in each unit cell.

    ``amplitude`` 10 is the customary value; the papers on consensus-based optimization use 2.5.

    Examples
    --------
    >>> from lib.problems import blackbox
    >>> float(blackbox.rastrigin(2, amplitude=2.5)([0.5, 0.0]))
    5.25
    """
    d, two_pi = _dimension(dim), 2 * np.pi
    amplitude = checks.number("amplitude", amplitude, low=0)

    def value(x: Array) -> Array:
        return np.einsum("...d,...d->...", x, x) + amplitude * (d - np.cos(two_pi * x).sum(-1))

    def gradient(x: Array) -> Array:
        return 2 * x + amplitude * two_pi * np.sin(two_pi * x)

    return TestFunction("rastrigin", d, np.zeros(d), 0.0, (-5.12, 5.12), value, gradient)


def ackley(dim: int = 2) -> TestFunction:
    """-20 exp(-0.2 sqrt(mean x_i^2)) - exp(mean cos 2 pi x_i) + e + 20; its gradient at the kink 0 is given as 0.

    Examples
    --------
    >>> from lib.problems import blackbox
    >>> round(float(blackbox.ackley()([1.0, 1.0])), 4)
    3.6254
    """
    d, two_pi = _dimension(dim), 2 * np.pi

    def value(x: Array) -> Array:
        radius = np.sqrt((x * x).mean(-1))
        return -20 * np.expm1(-0.2 * radius) - np.exp(np.cos(two_pi * x).mean(-1)) + np.e

    def gradient(x: Array) -> Array:
        radius = np.sqrt((x * x).mean(-1, keepdims=True))
        bowl = 4 * np.exp(-0.2 * radius) * x / (d * np.where(radius > 0, radius, 1.0))
        return bowl + two_pi / d * np.exp(np.cos(two_pi * x).mean(-1, keepdims=True)) * np.sin(two_pi * x)

    return TestFunction("ackley", d, np.zeros(d), 0.0, (-32.768, 32.768), value, gradient)


def rosenbrock(dim: int = 2) -> TestFunction:
    """Sum of 100 (x_{i+1} - x_i^2)^2 + (1 - x_i)^2, for at least two dimensions.

    Examples
    --------
    >>> from lib.problems import blackbox
    >>> float(blackbox.rosenbrock()([-1.0, 1.0]))
    4.0
    """
    d = _dimension(dim, least=2)

    def value(x: Array) -> Array:
        head, tail = x[..., :-1], x[..., 1:]
        return (100 * (tail - head**2) ** 2 + (1 - head) ** 2).sum(-1)

    def gradient(x: Array) -> Array:
        head, bend = x[..., :-1], x[..., 1:] - x[..., :-1] ** 2
        g = np.zeros_like(x)
        g[..., :-1] = -400 * head * bend - 2 * (1 - head)
        g[..., 1:] += 200 * bend
        return g

    return TestFunction("rosenbrock", d, np.ones(d), 0.0, (-2.048, 2.048), value, gradient)


def griewank(dim: int = 2) -> TestFunction:
    """1 + sum x_i^2 / 4000 - product of cos(x_i / sqrt(i)).

    Examples
    --------
    >>> from lib.problems import blackbox
    >>> float(blackbox.griewank(4)([0.0, 0.0, 0.0, 0.0]))
    0.0
    """
    d = _dimension(dim)
    root = np.sqrt(np.arange(1, d + 1))

    def value(x: Array) -> Array:
        return 1 + (x * x).sum(-1) / 4000 - np.cos(x / root).prod(-1)

    def gradient(x: Array) -> Array:
        cosines = np.cos(x / root)
        others = np.stack([np.delete(cosines, i, axis=-1).prod(-1) for i in range(d)], axis=-1)
        return x / 2000 + np.sin(x / root) / root * others

    return TestFunction("griewank", d, np.zeros(d), 0.0, (-600.0, 600.0), value, gradient)


def styblinski_tang(dim: int = 2) -> TestFunction:
    """Half the sum of x_i^4 - 16 x_i^2 + 5 x_i: each coordinate has a deep and a shallow well.

    Examples
    --------
    >>> from lib.problems import blackbox
    >>> round(blackbox.styblinski_tang(1).minimum, 4)
    -39.1662
    """
    d = _dimension(dim)
    best = float(np.roots([4.0, 0.0, -32.0, 5.0]).real.min())  # the least root of the derivative

    def value(x: Array) -> Array:
        return 0.5 * (x**4 - 16 * x**2 + 5 * x).sum(-1)

    def gradient(x: Array) -> Array:
        return 2 * x**3 - 16 * x + 2.5

    minimizer = np.full(d, best)
    return TestFunction("styblinski_tang", d, minimizer, float(value(minimizer)), (-5.0, 5.0), value, gradient)
