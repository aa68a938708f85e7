"""Small problems of the paper's CUTEst set, from their published formulas."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lib import checks
from lib.constrained.sketched_sqp.problem import EqualityProblem
from lib.constrained.sketched_sqp.study.jets import atan, exp, log, sin, variables

Array = NDArray[np.float64]
R2 = math.sqrt(2)


def _differences(x: Any, powers: tuple[int, ...]) -> Any:
    return sum((x[i] - x[i + 1]) ** p for i, p in enumerate(powers))


def _linear(x: Any, rows: Sequence[Sequence[float]], level: Sequence[float]) -> list[Any]:
    return [sum(a * t for a, t in zip(row, x, strict=True) if a) - b for row, b in zip(rows, level, strict=True)]


def _hs77(x: Any) -> Any:
    a, b, c, d, e = x
    f = (a - 1) ** 2 + (a - b) ** 2 + (c - 1) ** 2 + (d - 1) ** 4 + (e - 1) ** 6
    return f, [a**2 * d + sin(d - e) - 2 * R2, b + c**4 * d**2 - 8 - R2]


def _hs100lnp(x: Any) -> Any:
    a, b, c, d, e, f, g = x
    value = (a - 10) ** 2 + 5 * (b - 12) ** 2 + c**4 + 3 * (d - 11) ** 2 + 10 * e**6 + 7 * f**2 + g**4
    value = value - 4 * f * g - 10 * f - 8 * g
    first = 2 * a**2 + 3 * b**4 + c + 4 * d**2 + 5 * e - 127
    return value, [first, -4 * a**2 - b**2 + 3 * a * b - 2 * c**2 - 5 * f + 11 * g]


def _hs56(x: Any) -> Any:
    squares = [4.2 * sin(t) ** 2 for t in x[3:6]] + [7.2 * sin(x[6]) ** 2]
    return -(x[0] * x[1] * x[2]), [t - s for t, s in zip([*x[:3], x[0] + 2 * x[1] + 2 * x[2]], squares, strict=True)]


def _helix(x: Any) -> Any:
    angle = atan(x[1] / x[0]) / (2 * math.pi) + (0.5 if x[0].value < 0 else 0.0)
    return 0, [10 * (x[2] - 10 * angle), 10 * ((x[0] ** 2 + x[1] ** 2) ** 0.5 - 1), x[2]]


def _mwright(x: Any) -> Any:
    c = [x[0] + x[1] ** 2 + x[2] ** 3 - 2 - 3 * R2, x[1] - x[2] ** 2 + x[3] + 2 - 2 * R2, x[0] * x[4] - 2]
    return x[0] ** 2 + _differences(x, (2, 3, 4, 4)), c


def _hs79(x: Any) -> Any:
    c = [x[0] + x[1] ** 2 + x[2] ** 3 - 2 - 3 * R2, x[1] - x[2] ** 2 + x[3] + 2 - 2 * R2, x[0] * x[4] - 2]
    return (x[0] - 1) ** 2 + _differences(x, (2, 2, 4, 4)), c


_THREE = [[1, 3, 0, 0, 0], [0, 0, 1, 1, -2], [0, 1, 0, 0, -1]]
_CHAIN = [[1, 2, 3, 0, 0], [0, 1, 2, 3, 0], [0, 0, 1, 2, 3]]
_A56, _B56 = math.asin(math.sqrt(1 / 4.2)), math.asin(math.sqrt(5 / 7.2))


def _squares(x: Any, first: Any) -> Any:
    return first**2 + (x[1] + x[2] - 2) ** 2 + (x[3] - 1) ** 2 + (x[4] - 1) ** 2


def _bt6(x: Any) -> Any:
    f, (first, _) = _hs77(x)  # the same objective and first constraint; the second has the square of another variable
    return f, [first, x[1] + x[2] ** 4 * x[1] ** 2 - 8 - R2]


#: Six points in space, to which an ellipsoid is fitted by orthogonal distance.
_CLOUD = ((9.5, 9.5, 0.5), (6.5, -5.5, 0.5), (-8.5, -8.5, 0.5), (-5.5, 6.5, 0.5), (0.5, 0.5, 7.5), (0.5, 0.5, -6.5))


def _orthregb(x: Any) -> Any:
    """Nine coefficients of a quadric, then a point on it for each of the six given ones."""
    xx, xy, xz, yy, yz, zz, *g = x[:9]
    near = [x[9 + 3 * i : 12 + 3 * i] for i in range(len(_CLOUD))]
    f = sum((a - b) ** 2 for point, given in zip(near, _CLOUD, strict=True) for a, b in zip(point, given, strict=True))
    return f, [
        xx * a * a + yy * b * b + zz * c * c + 2 * (xy * a * b + xz * a * c + yz * b * c)
        - 2 * (g[0] * a + g[1] * b + g[2] * c) - 1
        for a, b, c in near
    ]  # fmt: skip


#: Name -> (function of the variables that gives f and the constraints, start).
_PROBLEMS: dict[str, tuple[Callable[[Any], tuple[Any, list[Any]]], Sequence[float]]] = {
    "HS6": (lambda x: ((1 - x[0]) ** 2, [10 * (x[1] - x[0] ** 2)]), [-1.2, 1]),
    "HS7": (lambda x: (log(1 + x[0] ** 2) - x[1], [(1 + x[0] ** 2) ** 2 + x[1] ** 2 - 4]), [2, 2]),
    "HS28": (lambda x: ((x[0] + x[1]) ** 2 + (x[1] + x[2]) ** 2, _linear(x, [[1, 2, 3]], [1])), [-4, 1, 1]),
    "HS40": (
        lambda x: (
            -(x[0] * x[1] * x[2] * x[3]),
            [x[0] ** 3 + x[1] ** 2 - 1, x[0] ** 2 * x[3] - x[2], x[3] ** 2 - x[1]],
        ),
        [0.8] * 4,
    ),
    "HS42": (
        lambda x: (sum((t - i) ** 2 for i, t in enumerate(x, 1)), [x[0] - 2, x[2] ** 2 + x[3] ** 2 - 2]),
        [1] * 4,
    ),
    "HS47": (
        lambda x: (
            _differences(x, (2, 3, 4, 4)),
            [x[0] + x[1] ** 2 + x[2] ** 3 - 3, x[1] - x[2] ** 2 + x[3] - 1, x[0] * x[4] - 1],
        ),
        [2, R2, -1, 2 - R2, 0.5],
    ),
    "HS48": (
        lambda x: (
            (x[0] - 1) ** 2 + (x[1] - x[2]) ** 2 + (x[3] - x[4]) ** 2,
            _linear(x, [[1, 1, 1, 1, 1], [0, 0, 1, -2, -2]], [5, -3]),
        ),
        [3, 5, -3, 2, -2],
    ),
    "HS50": (lambda x: (_differences(x, (2, 2, 4, 2)), _linear(x, _CHAIN, [6, 6, 6])), [35, -31, 11, 5, -5]),
    "HS51": (lambda x: (_squares(x, x[0] - x[1]), _linear(x, _THREE, [4, 0, 0])), [2.5, 0.5, 2, -1, 0.5]),
    "HS52": (lambda x: (_squares(x, 4 * x[0] - x[1]), _linear(x, _THREE, [0, 0, 0])), [2] * 5),
    "HS56": (_hs56, [1, 1, 1, _A56, _A56, _A56, _B56]),
    "HS77": (_hs77, [2] * 5),
    "HS78": (
        lambda x: (
            x[0] * x[1] * x[2] * x[3] * x[4],
            [sum(t**2 for t in x) - 10, x[1] * x[2] - 5 * x[3] * x[4], x[0] ** 3 + x[1] ** 3 + 1],
        ),
        [-2, 1.5, 2, -1, -1],
    ),
    "HS79": (_hs79, [2] * 5),
    "HS100LNP": (_hs100lnp, [1, 2, 0, 4, 0, 1, 1]),
    "BT2": (
        lambda x: (
            (x[0] - 1) ** 2 + (x[0] - x[1]) ** 2 + (x[1] - x[2]) ** 4,
            [x[0] * (1 + x[1] ** 2) + x[2] ** 4 - 8.2426407],
        ),
        [10] * 3,
    ),
    "BT3": (lambda x: (_squares(x, x[0] - x[1]), _linear(x, _THREE, [0, 0, 0])), [20] * 5),
    "BT5": (
        lambda x: (
            1000 - x[0] ** 2 - x[2] ** 2 - 2 * x[1] ** 2 - x[0] * x[1] - x[0] * x[2],
            [sum(t**2 for t in x) - 25, 8 * x[0] + 14 * x[1] + 7 * x[2] - 56],
        ),
        [2] * 3,
    ),
    "BT9": (
        lambda x: (-x[0], [x[1] - x[0] ** 3 - x[2] ** 2, -x[1] + x[0] ** 2 - x[3] ** 2]),
        [2] * 4,
    ),
    "BT10": (lambda x: (-x[0], [x[1] - x[0] ** 3, -x[1] + x[0] ** 2]), [2] * 2),
    "GENHS28": (
        lambda x: (
            sum((x[i] + x[i + 1]) ** 2 for i in range(9)),
            [x[i] + 2 * x[i + 1] + 3 * x[i + 2] - 1 for i in range(8)],
        ),
        [-4] + [1] * 9,
    ),
    "MWRIGHT": (_mwright, [-1, 2, 1, -2, -2]),
    "BOOTH": (lambda x: (0, _linear(x, [[1, 2], [2, 1]], [7, 5])), [0, 0]),
    "HELIXNE": (_helix, [-1, 0, 0]),
    "HIMMELBC": (lambda x: (0, [x[0] ** 2 + x[1] - 11, x[0] + x[1] ** 2 - 7]), [1, 1]),
    "ZANGWIL3": (lambda x: (0, _linear(x, [[1, -1, 1], [-1, 1, 1], [1, 1, -1]], [0, 0, 0])), [100, -1, 2.5]),
    "DENSCHNCNE": (lambda x: (0, [x[0] ** 2 + x[1] ** 2 - 2, exp(x[0] - 1) + x[1] ** 3 - 2]), [2, 3]),
    "DENSCHNFNE": (
        lambda x: (0, [(x[0] + x[1]) ** 2 + (x[0] - x[1]) ** 2 - 8, 5 * x[0] ** 2 + (x[1] - 3) ** 2 - 9]),
        [2, 0],
    ),
    "RSNBRNE": (lambda x: (0, [10 * (x[1] - x[0] ** 2), 1 - x[0]]), [-1.2, 1]),
    "BT6": (_bt6, [2] * 5),
    "BT11": (
        lambda x: (
            (x[0] - 1) ** 2 + _differences(x, (2, 2, 4, 4)),
            [x[0] + x[1] ** 2 + x[2] ** 3 + 2 - 3 * R2, x[1] - x[2] ** 2 + x[3] + 2 - 2 * R2, x[0] - x[4] - 2],
        ),
        [2] * 5,
    ),
    "BT12": (
        lambda x: (
            0.01 * x[0] ** 2 + x[1] ** 2,
            [x[0] + x[1] - x[2] ** 2 - 25, x[0] ** 2 + x[1] ** 2 - x[3] ** 2 - 25, x[0] - x[4] ** 2 - 2],
        ),
        [15.811, 1.5811, 0, 15.083, 3.7164],
    ),
    "HIMMELBA": (lambda x: (0, _linear(x, [[4, 0], [0, 1]], [20, 6])), [8, 9]),
    "HIMMELBE": (lambda x: (0, [0.25 * (x[0] + x[1]) ** 2 - x[2], 1 - x[0], 1 - x[1]]), [-1.2, 2, 0]),
    "SINVALNE": (lambda x: (0, [10 * (x[1] - sin(x[0])), 0.5 * x[0]]), [4.712389, -1]),
    "CUBENE": (lambda x: (0, [x[0] - 1, 10 * (x[1] - x[0] ** 3)]), [-1.2, 1]),
    "WAYSEA1NE": (lambda x: (0, [x[0] ** 6 + x[1] ** 4 - 17, 2 * x[0] + x[1] - 4]), [1, 5]),
    "WAYSEA2NE": (
        lambda x: (0, [-4 * x[0] ** 2 - 4 * x[1] ** 2 + 2.5 * x[0] + 13 * x[1] - 9.340125, x[1] - 1]),
        [1, 5],
    ),
    "PRICE4NE": (lambda x: (0, [2 * x[0] ** 3 * x[1] - x[1] ** 3, 6 * x[0] - x[1] ** 2 + x[1]]), [1, 5]),
    "GOTTFR": (
        lambda x: (0, [x[0] - 0.1136 * (x[0] + 3 * x[1]) * (1 - x[0]), x[1] + 7.5 * (2 * x[0] - x[1]) * (1 - x[1])]),
        [0.5, 0.5],
    ),
    "ORTHREGB": (_orthregb, [1, 0, 0, 1, 0, 1, 0, 0, 0, *(a for point in _CLOUD for a in point)]),
}  # fmt: skip
NAMES = tuple(_PROBLEMS)
#: Recorded by the authors: KKT residual at the start, iterations with Gaussian vectors, evaluations, iterations of the adaptive
#: l1 method.
RECORDED = {
    "HS6": (6.22254, 9, 72, 9), "HS7": (25.0328, 10, 66, 7), "HS28": (7.48331, 1, 6, 5), "HS40": (1.08638, 3, 14, 5),
    "HS47": (40.4973, 14, 63.6, 14), "HS48": (25.6125, 1, 6, 5), "HS50": (1294.42, 8, 34, 11), "HS52": (49.558, 2, 10, 3),
    "HS77": (57.3472, 8, 36, 9), "BT2": (11001.8, 11, 48, 15), "BT3": (144.361, 1, 6, 4), "BT5": (19.3132, 5, 24, 5),
    "BT9": (10.247, 11, 61.2, 10), "BOOTH": (8.60233, 1, 6, 3), "HELIXNE": (50.0, 8, 36, 10),
    "HIMMELBA": (12.3693, 1, 6, 4), "ORTHREGB": (261.001, 42, 170, 44),
}  # fmt: skip
#: How far the outer iterations of a run may be from the recorded ones; their records spread as far on these three.
SLACK = {"HS47": 3, "BT2": 3, "BT9": 3}


def small_problem(name: str) -> EqualityProblem:
    """One of the small problems, with exact derivatives; its multipliers start at zero.

    Parameters
    ----------
    name : str
        One of `NAMES`.

    Examples
    --------
    >>> from lib.constrained.sketched_sqp.study import small_problem
    >>> small_problem("HS7").lag_hess([2.0, 2.0], [0.0]).round(2)[0, 0]
    np.float64(-0.24)
    """
    checks.choice("name", name, NAMES)
    x0 = _PROBLEMS[name][1]
    f, c, grad, jac, lag_hess = (_Part(name, what) for what in ("f", "c", "grad", "jac", "lag_hess"))
    return EqualityProblem(f, c, np.array(x0, dtype=float), grad=grad, jac=jac, lag_hess=lag_hess)


class _Part:
    """One of the five functions of a problem: can be pickled, as it holds names only."""

    def __init__(self, name: str, what: str) -> None:
        self.name, self.what = name, what

    def __call__(self, x: Array, lam: Array | None = None) -> Any:
        n = len(x)
        f, c = _PROBLEMS[self.name][0](variables(x))
        if self.what == "c":
            return np.array([part.value for part in c])
        if self.what == "jac":
            return np.array([part.g for part in c])
        if self.what == "lag_hess":
            start = np.zeros((n, n)) if isinstance(f, int) else f.H
            return start + sum(v * part.H for v, part in zip(np.asarray(lam), c, strict=True))
        if isinstance(f, int):
            return 0.0 if self.what == "f" else np.zeros(n)
        return f.value if self.what == "f" else f.g
