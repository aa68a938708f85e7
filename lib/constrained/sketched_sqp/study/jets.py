"""Values with first and second derivatives, carried through arithmetic: exact derivatives of the small test problems."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lib import checks

Array = NDArray[np.float64]


class Jet:
    """A number that depends on x: its value, gradient g (n,) and Hessian H (n, n).

    Parameters
    ----------
    value : float
        May be negative.
    g : array_like, shape (n,)
        Gradient.
    H : array_like, shape (n, n)
        Hessian.

    Examples
    --------
    >>> from lib.constrained.sketched_sqp.study import Jet
    >>> t = Jet(2.0, [1.0], [[0.0]])
    >>> (t**3).value, (t**3).g, (t**3).H
    (8.0, array([12.]), array([[12.]]))
    """

    __array_ufunc__ = None  # so that NumPy's numbers leave the arithmetic to this class

    def __init__(self, value: float, g: ArrayLike, H: ArrayLike) -> None:
        self.value = checks.number("value", value, inf=False)
        self.g = checks.array("g", g, ndim=1)
        self.H = checks.array("H", H, shape=(len(self.g), len(self.g)))

    @staticmethod
    def _made(value: float, g: Array, H: Array) -> Jet:
        made = object.__new__(Jet)  # past the door: the parts are ours
        made.value, made.g, made.H = value, g, H
        return made

    def _chain(self, value: float, first: float, second: float) -> Jet:
        return Jet._made(value, first * self.g, first * self.H + second * np.outer(self.g, self.g))

    def __add__(self, other: Any) -> Jet:
        if isinstance(other, Jet):
            return Jet._made(self.value + other.value, self.g + other.g, self.H + other.H)
        return Jet._made(self.value + float(other), self.g, self.H)

    def __mul__(self, other: Any) -> Jet:
        if not isinstance(other, Jet):
            return Jet._made(self.value * float(other), self.g * float(other), self.H * float(other))
        cross = np.outer(self.g, other.g)
        H = self.value * other.H + other.value * self.H + cross + cross.T
        return Jet._made(self.value * other.value, self.value * other.g + other.value * self.g, H)

    __radd__, __rmul__ = __add__, __mul__

    def __neg__(self) -> Jet:
        return self * -1.0

    def __sub__(self, other: Any) -> Jet:
        return self + -other

    def __rsub__(self, other: Any) -> Jet:
        return -self + other

    def __truediv__(self, other: Any) -> Jet:
        return self * (other**-1 if isinstance(other, Jet) else 1 / float(other))

    def __rtruediv__(self, other: Any) -> Jet:
        return self**-1 * other

    def __pow__(self, p: float) -> Jet:
        v = self.value
        return self._chain(v**p, p * v ** (p - 1), p * (p - 1) * v ** (p - 2) if p not in (1, 2) else p * (p - 1.0))


def variables(x: ArrayLike) -> list[Jet]:
    """The coordinates of x as jets.

    Parameters
    ----------
    x : array_like, shape (n,)
        Where to differentiate.

    Examples
    --------
    >>> from lib.constrained.sketched_sqp.study import variables
    >>> a, b = variables([2.0, 3.0])
    >>> (a * b).g
    array([3., 2.])
    """
    point = checks.array("x", x, ndim=1)
    eye, zero = np.eye(len(point)), np.zeros((len(point), len(point)))
    return [Jet._made(v, row, zero) for v, row in zip(point.tolist(), eye, strict=True)]


def _unary(rule: Callable[[float], tuple[float, float, float]]) -> Callable[[Jet], Jet]:
    return lambda t: t._chain(*rule(t.value))


sin = _unary(lambda v: (math.sin(v), math.cos(v), -math.sin(v)))
exp = _unary(lambda v: (math.exp(v), math.exp(v), math.exp(v)))
log = _unary(lambda v: (math.log(v), 1 / v, -1 / v**2))
atan = _unary(lambda v: (math.atan(v), 1 / (1 + v**2), -2 * v / (1 + v**2) ** 2))
